"""Disks that fill up: under a table, under temporary files, under the log. What fails says 53100 and leaves nothing,
or the server stops and comes back with whole transactions only. On small tmpfs mounts, which only root can make."""

import contextlib
import os
import subprocess

import psycopg
import pytest
from cluster import install
from fault_data import KEYED, WORK, fill
from faults import record, until
from servers import QUICK, Server, server


class Small:
    """A file system of its own that can be filled up and emptied again."""

    def __init__(self, path, megabytes, owner):
        self.path, self.ballast = path, path / "ballast"
        path.mkdir(parents=True)
        mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", path], capture_output=True, text=True, check=False)
        if mounted.returncode != 0:
            path.rmdir()
            pytest.skip(f"cannot mount a tmpfs here: {mounted.stderr.strip()}")
        subprocess.run(["chown", owner, path], check=True)

    def leave(self, megabytes):
        """Fills it up to so much."""
        size = os.statvfs(self.path).f_bavail * os.statvfs(self.path).f_frsize - (megabytes << 20)
        with open(self.ballast, "wb") as file:
            os.posix_fallocate(file.fileno(), 0, size)

    def free(self):
        self.ballast.unlink(missing_ok=True)


@contextlib.contextmanager
def small(path, megabytes, owner):
    """A small file system for the block."""
    disk = Small(path, megabytes, owner)
    try:
        yield disk
    finally:
        subprocess.run(["umount", "-l", path], check=False)


@pytest.fixture
def filling(cluster):
    """A server with the data of tests/t/fault_data.py, and a directory for mounts."""
    if os.getuid() != 0:
        pytest.skip("only root can mount a small file system")
    with server(cluster, "disk") as own:
        name = own.create_database()
        with own.connect(name) as session:
            install(session)
            fill(session)
        yield own, name


def digest(session, sink):
    return session.execute(f"SELECT count(*), md5(string_agg(({KEYED[sink]})::text || encode(vector, 'hex'), '|' ORDER BY ({KEYED[sink]})::text)) FROM {sink}").fetchone()


def refused(session, statement):
    with pytest.raises(psycopg.Error) as error:
        session.execute(statement)
    assert error.value.sqlstate == "53100", error.value


def test_a_full_disk_under_tables_and_temporary_files(filling):
    own, name = filling
    with small(own.home / "small", 300, own.owner) as disk, own.connect(name) as session:
        start = session.execute("SELECT pg_postmaster_start_time()").fetchone()
        (disk.path / "space").mkdir()
        subprocess.run(["chown", own.owner, disk.path / "space"], check=True)
        session.execute(f"CREATE TABLESPACE small LOCATION '{disk.path / 'space'}'")
        for work in ("numeric", "joint", "range"):
            statement, sink = WORK[work]
            session.execute(f"ALTER TABLE {sink} SET TABLESPACE small")
            session.execute(statement)
            expected = digest(session, sink)
            session.execute(f"TRUNCATE {sink}; DELETE FROM embed_jobs")
            session.execute("CHECKPOINT")
            # Less than it needs.
            disk.leave(1)
            refused(session, statement)
            rows = session.execute(f"SELECT count(*) FROM {sink}").fetchone()[0]
            assert rows == session.execute("SELECT coalesce(sum(inserted), 0) FROM embed_jobs").fetchone()[0], work
            assert work != "range" or 0 < rows < expected[0]
            disk.free()
            session.execute(statement)
            assert digest(session, sink) == expected, work
            session.execute(f"TRUNCATE {sink}; DELETE FROM embed_jobs; ALTER TABLE {sink} SET TABLESPACE pg_default")

        # Temporary files: sorts and hash tables of what reads, staged rows of what writes.
        disk.leave(0)
        for work in ("numeric", "joint"):
            statement, sink = WORK[work]
            session.execute("SET temp_tablespaces = small; SET work_mem = '64kB'")
            refused(session, statement)
            assert session.execute(f"SELECT count(*) FROM {sink}").fetchone() == (0,)
            session.execute("RESET temp_tablespaces; RESET work_mem")
            session.execute(statement)
            assert session.execute(f"SELECT count(*) FROM {sink}").fetchone()[0] > 0
        assert session.execute("SELECT pg_postmaster_start_time()").fetchone() == start
        disk.free()
        session.execute("DROP TABLESPACE small")
        record("disk full: tables, temporary files", refused=5, restarts=0)


def test_a_full_disk_under_the_log(cluster):
    """Postgres stops when it cannot write its log. With room again it comes back with what was committed."""
    if os.getuid() != 0:
        pytest.skip("only root can mount a small file system")
    mount = cluster.state / "clusters" / "smallwal"
    own = Server(cluster, "diskwal")
    with small(mount, 1200, own.owner) as disk:
        try:
            own.create("-X", mount / "wal", settings=QUICK + "max_wal_size = 10GB\nmin_wal_size = 32MB\ncheckpoint_timeout = 1h\nwal_recycle = off\n")
            own.start()
            name = own.create_database()
            statement, sink = WORK["range"]
            with own.connect(name) as session:
                install(session)
                fill(session)
                session.execute(statement)
                expected = digest(session, sink)
                session.execute(f"TRUNCATE {sink}; DELETE FROM embed_jobs")
                session.execute("CHECKPOINT")
                disk.leave(24)
                with pytest.raises(psycopg.OperationalError):
                    for _ in range(100):
                        session.execute(f"TRUNCATE {sink}; DELETE FROM embed_jobs")
                        session.execute(statement)
            until(lambda: "PANIC" in own.log.read_text(errors="replace"), "the server to stop")
            assert "No space left on device" in own.log.read_text(errors="replace")
            disk.free()
            own.stop("immediate")
            own.start()
            with own.connect(name) as session:
                rows = session.execute(f"SELECT count(*) FROM {sink}").fetchone()[0]
                assert rows == session.execute("SELECT coalesce(sum(inserted), 0) FROM embed_jobs").fetchone()[0]
                session.execute(statement)
                assert digest(session, sink) == expected
            own.run("pg_amcheck", "-h", own.socket_dir, "-p", own.port, "-U", own.user, "--heapallindexed", "--install-missing", name)
            record("disk full: log", rows_kept=rows, of=expected[0])
        finally:
            own.drop()
    mount.rmdir()
