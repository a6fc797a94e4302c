"""Servers of a test's own, made quickly, that may be stopped, killed, filled up and upgraded."""

import contextlib
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import psycopg
from cluster import Cluster, as_owner

# As a careful administrator has it, but for the size.
SETTINGS = """
listen_addresses = ''
port = 5432
shared_buffers = 32MB
max_connections = 60
max_prepared_transactions = 10
max_wal_size = 2GB
wal_level = logical
hot_standby = on
log_error_verbosity = verbose
restart_after_crash = on
autovacuum = off
"""
# Crashes of processes, not of the machine: what the kernel was given survives, so nothing has to be waited for.
QUICK = "fsync = off\n"


class Server(Cluster):
    """A server in a directory of its own below the state directory of `like`."""

    def __init__(self, like, name):
        self.__dict__.update(like.__dict__)
        self.name, self.port = name, 5432
        # Bytes of address space that each of its processes may have; None for any.
        self.memory = None
        self.home = like.state / "clusters" / name
        self.data, self.log, self.socket_dir = self.home / "data", self.home / "log", str(self.home / "sock")

    def create(self, *arguments, settings=QUICK):
        """Makes the data directory; `arguments` are initdb's."""
        self.drop()
        self.own_directory()
        self.run("initdb", "-D", self.data, "-U", self.user, "-A", "trust", "--no-sync", "-E", "UTF8", "--locale=C.UTF-8", *arguments)
        self.configure(SETTINGS + f"unix_socket_directories = '{self.socket_dir}'\n" + settings)
        return self

    def own_directory(self):
        """The directories beside the data, which may be there already."""
        self.home.mkdir(parents=True, exist_ok=True)
        for directory in (self.home, Path(self.socket_dir)):
            directory.mkdir(exist_ok=True)
            os.chmod(directory, 0o755)
            if os.getuid() == 0:
                shutil.chown(directory, self.owner)

    def configure(self, settings):
        """Adds settings; they count from the next start on."""
        with open(self.data / "postgresql.conf", "a", encoding="utf-8") as file:
            file.write(settings)

    def run(self, program, *arguments, check=True, **options):
        """Runs one of Postgres' programs as the owner of the files."""
        return as_owner(self, self.bindir / program, *arguments, check=check, **options)

    def start(self, check=True):
        """Starts it and waits until it takes connections."""
        limit = ["prlimit", f"--as={self.memory}"] if self.memory else []
        return as_owner(self, *limit, self.bindir / "pg_ctl", "-D", self.data, "-w", "-t", "60", "-l", self.log, "start", check=check)

    def stop(self, mode="fast"):
        """Stops it if it runs."""
        self.run("pg_ctl", "-D", self.data, "-w", "-m", mode, "stop", check=False)

    def postmaster(self):
        """The process id of the postmaster, or None."""
        try:
            return int((self.data / "postmaster.pid").read_text(encoding="ascii").split()[0])
        except (FileNotFoundError, IndexError):
            return None

    def kill_everything(self):
        """SIGKILL to the postmaster, then to its children; returns when all of them are gone."""
        postmaster = self.postmaster()
        children = self.children()
        for pid in [postmaster, *children]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        deadline = time.monotonic() + 20
        while any(alive(pid) for pid in [postmaster, *children]):
            assert time.monotonic() < deadline
            time.sleep(0.005)
        # A postmaster that init has not reaped yet would count as running.
        (self.data / "postmaster.pid").unlink(missing_ok=True)
        Path(self.socket_dir, f".s.PGSQL.{self.port}.lock").unlink(missing_ok=True)

    def children(self):
        """Process ids of the postmaster's children."""
        done = subprocess.run(["ps", "-o", "pid=", "--ppid", str(self.postmaster())], text=True, capture_output=True, check=False)
        return [int(pid) for pid in done.stdout.split()]

    def ready(self, seconds=60):
        """Waits until it takes connections (again)."""
        deadline = time.monotonic() + seconds
        while True:
            try:
                self.connect("postgres").close()
                return
            except psycopg.OperationalError:
                assert time.monotonic() < deadline, self.log.read_text(errors="replace")[-2000:]
                time.sleep(0.005)

    def drop(self):
        """Stops it at once and removes it."""
        if (self.data / "postmaster.pid").exists():
            self.stop("immediate")
        shutil.rmtree(self.home, ignore_errors=True)


def alive(pid):
    """Whether a process runs; one that is only waiting to be reaped does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rsplit(")", 1)[1].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        # The latter where it went between opening and reading.
        return False


@contextlib.contextmanager
def server(like, name, *arguments, memory=None, **options):
    """A started server for the block, dropped afterwards."""
    made = Server(like, name).create(*arguments, **options)
    made.memory = memory
    try:
        made.start()
        yield made
    finally:
        made.drop()
