"""The private cluster that the tests talk to, as scripts/cluster.sh describes it in PE_* variables."""

import os
import subprocess
import uuid
from pathlib import Path

import psycopg
from psycopg import sql

ROOT = Path(__file__).resolve().parents[2]


def as_owner(cluster, *command, check=True, **options):
    """Runs a program as the user who owns the cluster's files; returns the finished process."""
    prefix = ["runuser", "-u", cluster.owner, "--"] if os.getuid() == 0 and cluster.owner != "root" else []
    options = {"cwd": "/", **options}
    done = subprocess.run([*prefix, *map(str, command)], text=True, capture_output=True, check=False, **options)
    if check and done.returncode != 0:
        raise RuntimeError(f"{command} failed: {done.stdout}{done.stderr}")
    return done


class Cluster:
    """A running private cluster. Databases made through it have names of their own and can live side by side."""

    def __init__(self, environment):
        self.name = environment["PE_CLUSTER"]
        self.socket_dir = environment["PE_SOCKET_DIR"]
        self.port = int(environment["PE_PORT"])
        self.user = environment["PE_USER"]
        self.owner = environment["PE_OWNER"]
        self.bindir = Path(environment["PE_BINDIR"])
        self.data = Path(environment["PE_DATA"])
        self.log = Path(environment["PE_LOG"])
        self.state = Path(environment["PE_STATE"])

    @classmethod
    def named(cls, name):
        """The cluster called `name`, running or not: for tests that crash or restart one of their own."""
        printed = _script(name, "env").stdout
        return cls(dict(line.split("=", 1) for line in printed.splitlines()))

    def control(self, command):
        """start, stop, restart or drop: what scripts/cluster.sh can do."""
        _script(self.name, command)

    def connect(self, dbname, **options):
        """A new session, in autocommit unless told otherwise."""
        options = {"autocommit": True, "user": self.user, **options}
        return psycopg.connect(host=self.socket_dir, port=self.port, dbname=dbname, **options)

    def execute(self, statement, dbname="postgres"):
        """Runs one statement in a session of its own."""
        with self.connect(dbname) as connection:
            connection.execute(statement)

    def create_database(self, template="template1", prefix="t"):
        """A new database, copied from `template`; returns its name."""
        name = f"{prefix}_{uuid.uuid4().hex[:12]}"
        self.execute(sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(sql.Identifier(name), sql.Identifier(template)))
        return name

    def drop_database(self, name):
        """Drops a database, and whoever is still connected to it."""
        self.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))

    def psql(self, dbname, script, *options):
        """Runs `script` through psql from the checkout's root. Errors and notices are part of the output, in
        their place. Returns the finished process; stopping at the first error is exit code 3."""
        command = [self.bindir / "psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-h", self.socket_dir]
        command += ["-p", str(self.port), "-U", self.user, "-d", dbname, *options]
        return subprocess.run(
            command, input=script, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd=ROOT, check=False
        )


def _script(name, command):
    environment = {**os.environ, "PE_CLUSTER": name}
    done = subprocess.run(
        [ROOT / "scripts" / "cluster.sh", command], env=environment, text=True, capture_output=True, check=False
    )
    if done.returncode != 0:
        raise RuntimeError(f"cluster.sh {command} failed for {name}: {done.stderr}")
    return done


def install(connection):
    """Creates the extension and, if this build has migrations, the data tables."""
    connection.execute("CREATE EXTENSION prometheus_embed")
    migrates = connection.execute("SELECT 1 FROM pg_catalog.pg_proc WHERE proname = 'embed_migrate'").fetchone()
    if migrates:
        connection.execute("SELECT embed_migrate()")
