"""META.json against the rules of PGXN's specification 1.0, the versions that packaging files repeat, and what is in
the Debian packages, if `make package` made some."""

import json
import os
import re
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CARGO = tomllib.loads((ROOT / "Cargo.toml").read_text())
SEMVER = r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)(-[0-9A-Za-z.-]+)?(\+[0-9A-Za-z.-]+)?"
LICENCES = {
    "agpl_3", "apache_1_1", "apache_2_0", "artistic_1", "artistic_2", "bsd", "freebsd", "gfdl_1_2", "gfdl_1_3",
    "gpl_1", "gpl_2", "gpl_3", "lgpl_2_1", "lgpl_3_0", "mit", "mozilla_1_0", "mozilla_1_1", "openssl", "perl_5",
    "postgresql", "qpl_1_0", "ssleay", "sun", "zlib", "open_source", "restricted", "unrestricted", "unknown",
}
REQUIRED = {"name", "version", "abstract", "maintainer", "license", "provides", "meta-spec"}
OPTIONAL = {"description", "generated_by", "tags", "no_index", "prereqs", "release_status", "resources"}


def problems(meta):
    """What PGXN would refuse about a META.json."""
    keys = {key for key in meta if not re.match(r"[xX]_.", key)}
    yield from (f"{key} is missing" for key in sorted(REQUIRED - keys))
    yield from (f"{key} is unknown" for key in sorted(keys - REQUIRED - OPTIONAL))
    for key in ("name", "abstract", "maintainer", "description", "generated_by"):
        if key in meta and not (isinstance(meta[key], str) and meta[key]):
            yield f"{key} is not a text"
    if not re.fullmatch(r"[^/\\\s\x00-\x1f]{2,}", str(meta.get("name"))):
        yield "name is not a term"
    if not re.fullmatch(SEMVER, str(meta.get("version"))):
        yield "version is not semantic"
    if meta.get("license") not in LICENCES:
        yield "license is none of PGXN's"
    if meta.get("release_status", "stable") not in ("stable", "testing", "unstable"):
        yield "release_status is unknown"
    if not re.fullmatch(r"1\.0\.\d+", str(meta.get("meta-spec", {}).get("version"))):
        yield "meta-spec is not 1.0"
    yield from provides(meta.get("provides") or {})
    yield from prereqs(meta.get("prereqs", {}))
    tags = meta.get("tags", ["none"])
    if len(set(tags)) != len(tags) or not tags or any(not re.fullmatch(r"[^/\\\x00-\x1f]{2,255}", tag) for tag in tags):
        yield "tags are odd"


def provides(extensions):
    if not extensions:
        yield "provides nothing"
    for name, extension in extensions.items():
        if not {"file", "version"} <= set(extension) <= {"file", "version", "abstract", "docfile", "docpath"}:
            yield f"{name} has odd keys"
        if not re.fullmatch(SEMVER, extension.get("version", "")):
            yield f"{name} has no semantic version"
        for key in ("file", "docfile"):
            if key in extension and not (ROOT / extension[key]).is_file():
                yield f"{name} names a {key} that is not there"


def prereqs(phases):
    if not set(phases) <= {"configure", "build", "test", "runtime", "develop"}:
        yield "prereqs of an unknown phase"
    for phase in phases.values():
        if not phase or not set(phase) <= {"requires", "recommends", "suggests", "conflicts"}:
            yield "prereqs of an unknown relation"
        for versions in phase.values():
            for wanted in versions.values():
                if not re.fullmatch(rf"(([=!]=|[<>]=?)\s*)?({SEMVER}|0)", str(wanted)):
                    yield f"{wanted} is no version"


@pytest.fixture(scope="module")
def meta():
    return json.loads((ROOT / "META.json").read_text())


def test_pgxn_would_take_the_metadata(meta):
    assert list(problems(meta)) == []


@pytest.mark.parametrize("change", [
    {"license": "Apache-2.0"}, {"version": "0.1"}, {"meta-spec": {}}, {"provides": {}}, {"licence": "apache_2_0"},
    {"name": "two words"}, {"provides": {"x": {"file": "nowhere.sql", "version": "0.1.0"}}}, {"tags": ["a"]},
    {"prereqs": {"runtime": {"requires": {"PostgreSQL": "fourteen"}}}},
])
def test_pgxn_would_refuse(meta, change):
    assert list(problems({**meta, **change})) != []


def test_versions_that_are_repeated_agree(meta):
    version = CARGO["package"]["version"]
    assert meta["version"] == version
    assert meta["provides"]["prometheus_embed"]["version"] == version
    majors = sorted(int(name[2:]) for name in CARGO["features"] if re.fullmatch(r"pg\d+", name))
    assert meta["prereqs"]["runtime"]["requires"]["PostgreSQL"] == f"{majors[0]}.0.0"
    dockerfile = (ROOT / "Dockerfile").read_text()
    assert int(re.search(r"^ARG PG_MAJOR=(\d+)$", dockerfile, re.M)[1]) in majors
    channel = tomllib.loads((ROOT / "rust-toolchain.toml").read_text())["toolchain"]["channel"]
    assert re.search(r"^ARG RUST_VERSION=(.+)$", dockerfile, re.M)[1] == channel


def packages():
    return sorted((ROOT / "build").glob("packages*/*.deb"))


def field(package, name):
    done = subprocess.run(["dpkg-deb", "--field", package, name], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def contents(package):
    """Paths in the package, with their owners and modes; links with what they point to."""
    done = subprocess.run(["dpkg-deb", "--contents", package], capture_output=True, text=True, check=True)
    lines = [line.split(maxsplit=5) for line in done.stdout.splitlines()]
    return {path.lstrip("."): (mode, owner) for mode, owner, _, _, _, path in lines}


def target(links, path):
    """What a link leads to."""
    return os.path.normpath(os.path.join(os.path.dirname(path), links[path]))


@pytest.mark.skipif(not packages(), reason="no packages: make package makes them")
@pytest.mark.parametrize("package", packages(), ids=lambda path: path.name.split("_")[0])
def test_files_of_a_package_are_where_they_belong(package):
    name, files = field(package, "Package"), contents(package)
    assert all(owner == "root/root" for _, owner in files.values())
    assert all(mode[5] != "w" and mode[8] != "w" for mode, _ in files.values() if mode[0] != "l")
    assert name.endswith("-dbgsym") or f"/usr/share/doc/{name}/copyright" in files
    papers = ("/usr/share/doc/", "/usr/share/lintian/")
    found = [path for path, (mode, _) in files.items() if mode[0] != "d" and not path.startswith(papers)]
    if name == "prometheus-embed-model":
        assert all(path.startswith("/usr/share/prometheus-embed/") for path in found)
        assert "/usr/share/prometheus-embed/models/all-MiniLM-L6-v2/manifest.json" in found
        assert not any(path.endswith("manifest.seal") for path in found)
    elif name == "prometheus-embed-runtime":
        version = field(package, "Version").split("-")[0]
        (library,) = found
        assert re.fullmatch(rf"/usr/lib/[^/]+/prometheus-embed/libonnxruntime\.so\.{re.escape(version)}", library)
        # The default of the setting, read where it is written.
        settings = (ROOT / "src" / "pg" / "settings.rs").read_text()
        assert f"$libdir/prometheus_embed/libonnxruntime.so.{version}" in settings
    elif name.endswith("-dbgsym"):
        (symbols,) = found
        assert re.fullmatch(r"/usr/lib/debug/\.build-id/[0-9a-f]{2}/[0-9a-f]+\.debug", symbols)
    else:
        major = re.fullmatch(r"postgresql-(\d+)-prometheus-embed", name)[1]
        lib, share = f"/usr/lib/postgresql/{major}/lib", f"/usr/share/postgresql/{major}"
        version = CARGO["package"]["version"]
        assert f"{lib}/prometheus_embed.so" in found
        assert {f"{share}/extension/prometheus_embed{tail}" for tail in (".control", f"--{version}.sql")} <= set(found)
        links = dict(path.split(" -> ") for path in found if " -> " in path)
        assert set(links) == {f"{lib}/prometheus_embed", f"{share}/prometheus_embed"}
        # Where the other two packages put their files.
        assert re.fullmatch(r"/usr/lib/[^/]+-linux-[^/]+/prometheus-embed", target(links, f"{lib}/prometheus_embed"))
        assert target(links, f"{share}/prometheus_embed") == "/usr/share/prometheus-embed"
        assert f"postgresql-{major}" in field(package, "Depends")
