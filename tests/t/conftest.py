"""Fixtures of the tests that need servers. `make test` starts the cluster and sets PE_*; to run pytest alone:
scripts/test.sh sessions, or with a cluster already up: PE_CLUSTER=dev scripts/test-sessions.sh tests/t/test_x.py

    cluster      the private cluster (tests/t/cluster.py)
    db           session in a fresh database with the extension and the data tables
    connect      opens further sessions to the database of `db`
    module_db    as `db`, one for all tests of a file (for data that is only read)
    shared       directory of the real data, or the test is skipped
    sp500        session in a database of this test's own with the real data loaded
    demo         session in a database of this test's own with the generated demo data
    fault_db     name of a database in a cluster for fault tests, with work for every backfill and search
"""

import os

import fault_data
import faults
import pytest
from cluster import Cluster, install
from realdata import SHARED, load_sp500
from servers import QUICK, server


# Inherited by the servers that tests start, it would put Rust frames into the DETAIL of errors.
os.environ.pop("RUST_BACKTRACE", None)


def pytest_configure(config):
    config.addinivalue_line("markers", "last: waits for a clock meanwhile, and runs after everything else")


def pytest_collection_modifyitems(items):
    items.sort(key=lambda item: item.get_closest_marker("last") is not None)


@pytest.fixture(scope="session")
def cluster():
    if "PE_SOCKET_DIR" not in os.environ:
        pytest.fail("no cluster: run scripts/test.sh sessions, or scripts/test-sessions.sh with PE_CLUSTER set")
    return Cluster(os.environ)


def _template(cluster, fill):
    """A database to copy for each test: much quicker than to create and fill it anew."""
    name = cluster.create_database(prefix="template")
    try:
        with cluster.connect(name) as connection:
            install(connection)
        fill(name)
        yield name
    finally:
        cluster.drop_database(name)


@pytest.fixture(scope="session")
def empty_template(cluster):
    yield from _template(cluster, lambda name: None)


@pytest.fixture(scope="session")
def sp500_template(cluster, shared):
    def fill(name):
        with cluster.connect(name) as connection:
            load_sp500(connection, shared / "sp500")

    yield from _template(cluster, fill)


@pytest.fixture(scope="session")
def demo_template(cluster):
    def fill(name):
        # From its file: it includes others that lie beside it.
        done = cluster.psql(name, "\\i demo/generate.sql\n")
        assert done.returncode == 0, done.stdout

    yield from _template(cluster, fill)


@pytest.fixture(scope="session")
def shared():
    if not (SHARED / "sp500").is_dir():
        pytest.skip("no real data in ../shared")
    return SHARED


def _session(cluster, template):
    """A session in a copy of `template`, dropped afterwards."""
    name = cluster.create_database(template)
    try:
        with cluster.connect(name) as connection:
            yield connection
    finally:
        cluster.drop_database(name)


@pytest.fixture
def db(cluster, empty_template):
    yield from _session(cluster, empty_template)


@pytest.fixture(scope="module")
def module_db(cluster, empty_template):
    yield from _session(cluster, empty_template)


@pytest.fixture
def sp500(cluster, sp500_template):
    yield from _session(cluster, sp500_template)


@pytest.fixture
def demo(cluster, demo_template):
    yield from _session(cluster, demo_template)


@pytest.fixture
def connect(cluster, request):
    """connect(session=db, **options): another session to the same database, closed after the test."""
    opened = []

    def open_session(session=None, **options):
        session = session if session is not None else request.getfixturevalue("db")
        opened.append(cluster.connect(session.info.dbname, **options))
        return opened[-1]

    yield open_session
    for connection in opened:
        connection.close()


@pytest.fixture(scope="session")
def fault_cluster(cluster):
    """A server whose log names every SQLSTATE, for tests that look into it."""
    with server(cluster, "faults", settings=QUICK + "synchronous_commit = off\nshared_buffers = 256MB\n") as own:
        yield own


@pytest.fixture(scope="session")
def fault_template(fault_cluster):
    """A database of that cluster in which every backfill and search has something to do (tests/t/fault_data.py)."""

    def filled(name):
        with fault_cluster.connect(name) as connection:
            fault_data.fill(connection)

    yield from _template(fault_cluster, filled)


@pytest.fixture
def fault_db(fault_cluster, fault_template):
    """The name of a copy of it, and that no gate of tests/t/faults.py was broken meanwhile."""
    name = fault_cluster.create_database(fault_template)
    gates = faults.Gates(fault_cluster, name)
    try:
        yield name
        gates.close()
    finally:
        gates.witness.close()
        fault_cluster.drop_database(name)
