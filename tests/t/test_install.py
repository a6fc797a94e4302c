"""The extension installs, reports its version, and leaves nothing behind."""

import os
import shutil
import subprocess
from pathlib import Path

import psycopg
import pytest
from cluster import ROOT
from servers import Server


def test_version_is_the_installed_one(db):
    installed = db.execute("SELECT extversion FROM pg_extension WHERE extname = 'prometheus_embed'").fetchone()
    assert db.execute("SELECT embed_version()").fetchone() == installed


def test_every_session_sees_it(db, connect):
    assert connect(db).execute("SELECT embed_version()").fetchone() == db.execute("SELECT embed_version()").fetchone()


def test_drop_removes_the_functions(db):
    db.execute("DROP EXTENSION prometheus_embed")
    with pytest.raises(psycopg.errors.UndefinedFunction):
        db.execute("SELECT embed_version()")


def test_installs_into_a_schema_of_the_users_choice(cluster, db):
    db.execute("DROP EXTENSION prometheus_embed")
    db.execute("CREATE SCHEMA elsewhere")
    db.execute("CREATE EXTENSION prometheus_embed SCHEMA elsewhere")
    assert db.execute("SELECT elsewhere.embed_version() IS NOT NULL").fetchone() == (True,)


def directory(bindir, kind):
    return Path(subprocess.run([bindir / "pg_config", f"--{kind}"], capture_output=True, text=True, check=True).stdout.strip())


@pytest.fixture
def bare(cluster):
    """A server that has never seen the extension, from a copy of the private Postgres."""
    lib, share = directory(cluster.bindir, "pkglibdir"), directory(cluster.bindir, "sharedir")
    root = Path(os.path.commonpath([cluster.bindir, lib, share]))
    copy = cluster.state / "bare-prefix"
    shutil.rmtree(copy, ignore_errors=True)
    # Links cost nothing; files of ours are left out, so nothing that is installed later goes into the original.
    shutil.copytree(root, copy, symlinks=True, copy_function=os.link, ignore=shutil.ignore_patterns("prometheus_embed*"))
    server = Server(cluster, "bare")
    server.bindir = copy / cluster.bindir.relative_to(root)
    server.create()
    server.start()
    yield server
    server.drop()
    shutil.rmtree(copy)


def test_a_server_of_somebody_elses_has_text_after_the_installation(bare):
    """What `make install` does after building. No setting, no restart."""
    name = bare.create_database()
    with bare.connect(name) as session:
        with pytest.raises(psycopg.errors.FeatureNotSupported):
            session.execute("CREATE EXTENSION prometheus_embed")
        places = [directory(bare.bindir, kind) for kind in ("pkglibdir", "sharedir")]
        subprocess.run([ROOT / "scripts" / "stage.sh", *places], check=True, capture_output=True)
        session.execute("CREATE EXTENSION prometheus_embed")
        assert len(session.execute("SELECT text_profile_embed('A text.'::text)").fetchone()[0]) == 1536
        assert session.execute("SELECT files_read FROM embed_loaded_models").fetchone() == (0,)
        assert session.execute("SELECT string_agg(warning, '; ') FROM embed_status()").fetchone() == (None,)
        assert session.execute("SELECT bool_and(ok) FROM embed_check_models()").fetchone() == (True,)
        maps = Path(f"/proc/{session.info.backend_pid}/maps").read_text()
        assert f"{places[0]}/prometheus_embed/libonnxruntime" in maps and f"{places[1]}/prometheus_embed/models" in maps
