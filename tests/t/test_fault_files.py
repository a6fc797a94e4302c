"""No file outside the model directory is opened, whatever a path says: seen from outside, by strace, over 200 paths and
every kind of file; by whoever registers, and by whoever writes a row of the catalog himself."""

import json
import os
import re
import shutil
import socket
import subprocess
import time
from pathlib import Path

import psycopg
import pytest
from faults import record, rng, strace

MODEL = "all-MiniLM-L6-v2"
REFUSED = {"42501", "22023", "58P01", "58030", "42809", "XX001", "22021", "54000", "0A000", "F0000", "38000"}


@pytest.fixture
def models(fault_cluster):
    """A model directory in a place of its own, and beside it what must not be read."""
    share = subprocess.run([fault_cluster.bindir / "pg_config", "--sharedir"], capture_output=True, text=True, check=True)
    source = Path(share.stdout.strip()) / "prometheus_embed" / "models" / MODEL
    if not source.is_dir():
        pytest.skip("no text model is installed")
    root = fault_cluster.home / "models"
    shutil.rmtree(root, ignore_errors=True)
    shutil.copytree(source, root / MODEL)
    shutil.copytree(source, fault_cluster.home / "outside" / MODEL, dirs_exist_ok=True)
    (fault_cluster.home / "secret").write_text("secret", encoding="utf-8")
    os.chmod(root, 0o755)
    yield root
    shutil.rmtree(root)
    shutil.rmtree(fault_cluster.home / "outside")


class Traced:
    """What files a backend opened in the block."""

    def __init__(self, pid, directory):
        self.output = directory / "trace"
        self.process = strace(pid, "-f", "-e", "trace=open,openat,openat2,socket,connect,execve,mmap", "-o", self.output)

    def opened(self):
        """Stops tracing; the paths that were opened, and the calls for sockets or programs."""
        self.process.terminate()
        self.process.wait(10)
        lines = self.output.read_text(errors="replace").splitlines()
        paths = [match[1] for line in lines if (match := re.search(r'open(?:at2?)?\((?:AT_FDCWD, |\d+, )?"([^"]*)"', line)) and " = -1" not in line]
        return paths, [line for line in lines if re.search(r"\b(socket|connect|execve)\(", line)]


@pytest.mark.parametrize("call", ["openat", "read"])
def test_an_error_of_the_disk_while_a_model_is_read(fault_cluster, fault_db, models, call):
    """Each file in turn cannot be read: 58030 without its path, and the next call works."""
    directory = (models / MODEL).resolve()
    (directory / "manifest.seal").unlink(missing_ok=True)
    embed, codes = "SELECT text_profile_embed('pumps'::text)", {}
    with fault_cluster.connect(fault_db) as session:
        session.execute(f"SET prometheus_embed.model_directory = '{models}'")
        expected = session.execute(embed).fetchone()
        for name in sorted(path.name for path in directory.iterdir()):
            session.execute("SELECT unload_text_models()")
            tracer = strace(session.info.backend_pid, "-e", f"trace={call}", "-e", f"inject={call}:error=EIO", "-P", str(directory / name), "-o", "/dev/null")
            try:
                found = session.execute(embed).fetchone()
                codes[name] = "00000"
                assert found == expected
            except psycopg.Error as error:
                codes[name] = error.sqlstate
                assert str(models) not in str(error)
            finally:
                tracer.terminate()
                tracer.wait(10)
            session.execute("SELECT unload_text_models()")
            assert session.execute(embed).fetchone() == expected, name
    record(f"errors of the disk: {call}", codes=codes)
    assert set(codes.values()) <= {"00000", "58030"}, codes
    # The others are there for other CPUs, or are mapped.
    assert {name for name, code in codes.items() if code == "58030"} >= {"manifest.json", "tokenizer.json", "model.onnx"}


def hostile_paths(root, home):
    """More than 200 strings."""
    fixed = [
        "/etc/passwd", "/etc/shadow", "/etc", "/", "//", ".", "..", "../", "../..", "./..", f"../outside/{MODEL}", f"{MODEL}/../../outside/{MODEL}",
        str(home / "outside" / MODEL), str(home / "secret"), "../secret", f"{MODEL}/manifest.json", f"{MODEL}/../../secret", "/dev/zero", "/dev/stdin", "/dev/fd/0",
        "/proc/self/environ", "/proc/self/mem", "/proc/self/cwd", "/proc/self/root/etc", "/proc/1/environ", "link-dir", "link-file", "link-up", "link-loop", "link-zero",
        "fifo", "socket", "empty", "file", "fifo/x", "dir-fifo", "dir-link", "dir-zero", "dir-dir", "dir-sparse", "dir-unreadable", "dir-writable", "", " ", "\t", "\n", "a\nb",
        "%2e%2e/secret", "..%2fsecret", "..%252fsecret", "%2e%2e%2f", "\u2025/secret", "\uff0e\uff0e/secret", "..\\secret", "..\u2215secret", "..\u2044secret",
        "~", "~root", "~postgres/.pgpass", "$HOME", "${HOME}", "$(id)", "`id`", "|id", "; id", "$libdir", "$sharedir", "$libdir/../../etc", "file:///etc/passwd",
        "http://localhost/x", "\\\\server\\share", "C:\\windows", "CON", "nul", "x" * 255, "x" * 256, "x" * 4096, "x/" * 2048, "../" * 500 + "etc/passwd", "./" * 1000 + MODEL + "/../../secret",
        MODEL.upper(), MODEL + " ", " " + MODEL, MODEL + "\u200b", MODEL + "/.", MODEL + "/..", f"./{MODEL}/../../outside/{MODEL}", "\u202e" + MODEL, "-rf", "--help", "*", "?", "[a-z]*", "{a,b}", "\x01", "\x7f",
    ]
    random, pieces = rng("paths"), ["..", ".", "/", "//", MODEL, "etc", "passwd", "outside", "secret", "link-up", "link-dir", "%2e", "dev", "zero", "proc", "self", "\\", "~", " ", "\u0301"]
    while len(fixed) < 220:
        fixed.append("/".join(random.choice(pieces) for _ in range(random.randint(2, 7))))
    # Those that in truth lead to the model are not hostile.
    inside = (root / MODEL).resolve()

    def harmless(path):
        try:
            return (root / path).resolve() == inside
        except (OSError, ValueError, RuntimeError):
            return False

    return [path for path in fixed if not harmless(path)]


def traps(root, home, owner):
    """Every kind of file below the model directory."""
    (root / "link-dir").symlink_to(home / "outside" / MODEL)
    (root / "link-file").symlink_to("/etc/passwd")
    (root / "link-up").symlink_to("..")
    (root / "link-loop").symlink_to("link-loop")
    (root / "link-zero").symlink_to("/dev/zero")
    os.mkfifo(root / "fifo")
    (root / "file").write_text("{}", encoding="ascii")
    (root / "empty").mkdir()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(root / "socket"))
    for name in ("fifo", "link", "zero", "dir", "sparse", "unreadable", "writable"):
        directory = root / f"dir-{name}"
        shutil.copytree(root / MODEL, directory)
        file = directory / ("manifest.json" if name in ("fifo", "link", "sparse") else "tokenizer.json")
        file.unlink()
        if name == "fifo":
            os.mkfifo(file)
        elif name == "link":
            file.symlink_to(home / "secret")
        elif name == "zero":
            file.symlink_to("/dev/zero")
        elif name == "dir":
            file.mkdir()
        elif name == "sparse":
            with open(file, "wb") as sparse:
                sparse.truncate(10 << 30)
        else:
            shutil.copy(root / MODEL / "tokenizer.json", file)
            os.chmod(file, 0o000 if name == "unreadable" else 0o666)
    for path in [*root.rglob("*")]:
        if os.getuid() == 0 and not path.is_symlink():
            shutil.chown(path, owner)


def strange(paths, cluster, root):
    """Opened paths that are neither below the model directory nor what a backend opens anyway."""
    allowed = [str(root / MODEL), str(cluster.data), "/dev/shm", "/usr/share/zoneinfo", "/etc/localtime", "/etc/ld.so.cache", "/sys/bus/", "/sys/class/", "/sys/devices/", "/proc/cpuinfo",
               "/proc/self/maps", "/proc/self/statm", "/lib/", "/usr/lib/", str(cluster.bindir.parent), "/sys/fs/cgroup", "/proc/self/cgroup", "/proc/self/mountinfo", "/proc/meminfo", "/etc/nsswitch.conf", "/etc/passwd-"]
    # Of directories with traps in them the manifest and what it names are looked at, never a link, a pipe or a device.
    mine = [str(root / name) for name in os.listdir(root) if name.startswith("dir-") or name == "empty"]
    return sorted({path for path in paths if path.startswith("/") and not any(path.startswith(place) for place in [*allowed, *mine])})


def test_no_path_opens_a_file_outside(fault_cluster, fault_db, models):
    home = fault_cluster.home
    traps(models, home, fault_cluster.owner)
    with fault_cluster.connect(fault_db) as session:
        session.execute(f"SET prometheus_embed.model_directory = '{models}'; SET statement_timeout = '10s'")
        assert session.execute("SELECT length(text_profile_embed('a'::text))").fetchone() == (1536,)
        paths = hostile_paths(models, home)
        assert len(paths) >= 200
        trace = Traced(session.info.backend_pid, home)
        codes = {}
        for path in paths:
            with pytest.raises(psycopg.Error) as error:
                session.execute("SELECT register_text_model('evil', %s)", [path])
            code = error.value.sqlstate
            assert code in REFUSED, (path, error.value)
            assert "secret" not in str(error.value).replace(path, "") and str(home) not in str(error.value).replace(path, ""), (path, error.value)
            codes[code] = codes.get(code, 0) + 1
        # Rows that nobody checked when they were written.
        spec = session.execute("SELECT spec FROM embed_models WHERE model_id = 'text-profile-v1'").fetchone()[0]
        for number, path in enumerate(paths[:60]):
            bad = json.dumps(spec | {"directory": path})
            try:
                session.execute("INSERT INTO embed_models (model_id, modality, dim, spec) VALUES (%s, 'text', 384, %s)", [f"evil-{number}", bad])
            except psycopg.Error as error:
                assert error.sqlstate in {"22P05", "22P02"}, error
                continue
            with pytest.raises(psycopg.Error) as error:
                session.execute("SELECT text_embed('{a}', %s)", [f"evil-{number}"])
            assert error.value.sqlstate in REFUSED, (path, error.value)
        opened, calls = trace.opened()
        assert strange(opened, fault_cluster, models) == []
        assert calls == []
        assert "/dev/zero" not in opened and not any(path.endswith(("fifo", "secret")) for path in opened)
        session.execute("DELETE FROM embed_models WHERE NOT builtin; SELECT unload_text_models()")
        assert session.execute("SELECT length(text_profile_embed('a'::text))").fetchone() == (1536,)
        record("paths", tried=len(paths), opened=len(opened), strange=0, codes=codes)


def test_loading_and_running_a_model_opens_its_files_only(fault_cluster, fault_db, models):
    with fault_cluster.connect(fault_db) as session:
        session.execute(f"SET prometheus_embed.model_directory = '{models}'")
        session.execute("SELECT embed_version()")
        trace = Traced(session.info.backend_pid, fault_cluster.home)
        assert session.execute("SELECT cardinality(text_embed('{a,b}'))").fetchone() == (2,)
        opened, calls = trace.opened()
        assert any(path.endswith("model.onnx") for path in opened), "the trace sees what is read"
        assert strange(opened, fault_cluster, models) == []
        assert calls == []


def test_a_file_that_becomes_a_link_is_not_followed(fault_cluster, fault_db, models):
    """Swapped while models are loaded: never an answer from another file, never a hang."""
    target, own = models / MODEL / "tokenizer.json", models / MODEL / "kept"
    shutil.copy(target, own)
    with fault_cluster.connect(fault_db) as session:
        session.execute(f"SET prometheus_embed.model_directory = '{models}'; SET statement_timeout = '5s'")
        expected = session.execute("SELECT text_profile_embed('a b'::text)").fetchone()
        forged = own.read_bytes().replace(b'"hello"', b'"hallo"')
        (models / "forged").write_bytes(forged)
        for number in range(12):
            session.execute("SELECT unload_text_models()")
            target.unlink()
            if number % 3 == 0:
                target.symlink_to(models / "forged")
            elif number % 3 == 1:
                target.write_bytes(forged)
            else:
                target.write_bytes(own.read_bytes())
            os.chmod(target, 0o644)
            if number % 3 == 2:
                assert session.execute("SELECT text_profile_embed('a b'::text)").fetchone() == expected
            else:
                with pytest.raises(psycopg.Error) as error:
                    session.execute("SELECT text_profile_embed('a b'::text)")
                assert error.value.sqlstate in {"XX001", "42501", "58P01", "22023"}, error.value

