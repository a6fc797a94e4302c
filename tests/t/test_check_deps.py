"""The dependency check of `make lint` finds what it should (no server needed)."""

import sys

import pytest
from cluster import ROOT

sys.path.insert(0, str(ROOT / "scripts"))
import check_deps  # noqa: E402

ALLOWED = {"MIT", "Apache-2.0", "Apache-2.0 WITH LLVM-exception"}
REGISTRY = "registry+one"


@pytest.mark.parametrize(
    ("expression", "allowed"),
    [
        ("MIT", True),
        ("GPL-3.0", False),
        ("GPL-3.0 OR MIT", True),
        ("GPL-3.0/MIT", True),
        ("GPL-3.0 AND MIT", False),
        ("(MIT OR GPL-3.0) AND Apache-2.0", True),
        ("MIT AND (GPL-3.0 OR LGPL-3.0)", False),
        ("Apache-2.0 WITH LLVM-exception", True),
        ("MIT WITH LLVM-exception", False),
        ("MIT OR GPL-3.0 AND LGPL-3.0", True),
    ],
)
def test_licence_expression(expression, allowed):
    assert check_deps.licence_allowed(expression, ALLOWED) is allowed


@pytest.mark.parametrize("expression", ["(MIT", "MIT MIT", "MIT)"])
def test_unreadable_licence_expression(expression):
    with pytest.raises(ValueError, match="licence expression"):
        check_deps.licence_allowed(expression, ALLOWED)


def package(name="p", version="1.0.0", licence="MIT", source=REGISTRY):
    return {"name": name, "version": version, "license": licence, "source": source}


def test_licences():
    packages = [package("good"), package("bad", licence="AGPL-3.0"), package("silent", licence=None)]
    assert list(check_deps.check_licences(packages, ALLOWED)) == [
        "bad 1.0.0 is under AGPL-3.0, which deny.toml does not allow",
        "silent 1.0.0 names no licence",
    ]


def test_sources():
    assert list(check_deps.check_sources([package(), package(source=None)])) == []
    assert list(check_deps.check_sources([package(source="git+x")])) == ["p 1.0.0 comes from git, not from the registry"]
    two = [package(), package(source="registry+two")]
    assert list(check_deps.check_sources(two)) == ["packages come from 2 different registries"]


def test_single_versions():
    packages = [package("ort"), package("ort", "2.0.0"), package("syn"), package("syn", "2.0.0")]
    assert list(check_deps.check_single(packages, ["ort"])) == ["ort is there more than once: 1.0.0, 2.0.0"]


def test_exact_pins():
    dependencies = [{"name": "pgrx", "req": "^0.18"}, {"name": "ort", "req": "=2.0.0"}, {"name": "serde", "req": "^1"}]
    assert list(check_deps.check_pins(dependencies)) == ["Cargo.toml must pin pgrx exactly, it says ^0.18"]


def test_lock_has_checksums():
    lock = {"package": [{"name": "us", "version": "1"}, {"name": "p", "version": "1", "source": REGISTRY}]}
    assert list(check_deps.check_lock(lock)) == ["Cargo.lock has no checksum for p 1"]
