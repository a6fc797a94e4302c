"""Dynamic batching: short texts that come one by one in many sessions share runs of a model, each gets the vector that it
would get alone, and nobody who goes, stops or dies in the middle keeps the others waiting."""

import os
import re
import signal
import threading
import time

import pytest
from cluster import install
from faults import Running, rng, size, until
from servers import QUICK, server
from test_text_process import private_kb

CLIENTS = 8
NAME = "all-MiniLM-L6-v2"
ONE = "SELECT text_profile_embed(%s::text, %s)"
# Of 4 to 60 tokens.
TEXTS = [" ".join(["margins", "rose", "credit", "fell"][(n + word) % 4] for word in range(2 + n * 7 % 57)) for n in range(40)]
# Long enough that a run takes a while, short enough to wait for others.
SLOW = "ARRAY(SELECT text_profile_embed(repeat('risk ', 100) || i) FROM generate_series(1, 100000) i)"


@pytest.fixture(scope="module")
def own(cluster):
    with server(cluster, "batching") as made:
        with made.connect("postgres") as session:
            install(session)
        yield made


@pytest.fixture
def connect(own):
    made = []

    def open_session(**options):
        made.append(own.connect("postgres", **options))
        return made[-1]

    yield open_session
    for session in made:
        session.close()


def status(session):
    value = session.execute("SELECT value FROM embed_status() WHERE item = 'dynamic_batching'").fetchone()[0]
    names = ("limit", "running", "waiting", "texts", "runs", "most")
    return dict(zip(names, (int(number) for number in re.findall(r"\d+", value)), strict=True))


def at_rest(session):
    found = status(session)
    return found["running"] == found["waiting"] == 0


def alone(session, model="text-profile-v1"):
    session.execute("SET prometheus_embed.dynamic_batching = off")
    vectors = [session.execute(ONE, [text, model]).fetchone()[0] for text in TEXTS]
    session.execute("RESET prometheus_embed.dynamic_batching")
    return vectors


class Client:
    """A session that sends texts one by one, in an order of its own."""

    def __init__(self, session, number, model="text-profile-v1"):
        self.session, self.order, self.model = session, rng(f"client {number}").sample(range(len(TEXTS)), len(TEXTS)), model
        self.vectors, self.error = {}, None
        self.thread = threading.Thread(target=self._run)
        self.thread.start()

    def _run(self):
        try:
            for n in self.order:
                self.vectors[n] = self.session.execute(ONE, [TEXTS[n], self.model]).fetchone()[0]
        except Exception as error:
            self.error = error

    def end(self):
        self.thread.join(120)
        assert not self.thread.is_alive()
        return self.error


def check(client, expected):
    assert client.end() is None, client.error
    assert [client.vectors[n] for n in range(len(TEXTS))] == expected


def test_sessions_share_runs_and_get_the_vectors_that_they_get_alone(connect):
    witness = connect()
    expected = alone(witness)
    before = status(witness)
    assert 1 <= before["limit"] <= os.cpu_count()
    clients = [Client(connect(), n) for n in range(CLIENTS)]
    for client in clients:
        check(client, expected)
    after = status(witness)
    assert after["texts"] - before["texts"] >= CLIENTS * len(TEXTS)
    assert after["runs"] - before["runs"] < after["texts"] - before["texts"]
    assert 2 <= after["most"] <= 512 // 4
    assert at_rest(witness)


def test_idle_sessions_that_shared_runs_keep_little(connect):
    """The model and the room for the next text: at most 8 MB, whatever holes runs of many texts have left."""
    sessions = [connect() for _ in range(2 * CLIENTS)]
    for client in [Client(session, n) for n, session in enumerate(sessions)]:
        assert client.end() is None, client.error
    models = []
    for session in sessions:
        used = private_kb(session.info.backend_pid)
        session.execute("SELECT unload_text_models()")
        models.append(used - private_kb(session.info.backend_pid))
    assert 1024 < max(models) <= 8 * 1024, models


def test_texts_of_different_models_do_not_share_runs(connect):
    witness = connect()
    witness.execute("SELECT register_text_model('other', %s, 'not of unit length', normalise => false)", [NAME])
    try:
        expected = {model: alone(witness, model) for model in ("text-profile-v1", "other")}
        assert expected["other"] != expected["text-profile-v1"]
        clients = [Client(connect(), n, ("text-profile-v1", "other")[n % 2]) for n in range(CLIENTS)]
        for client in clients:
            check(client, expected[client.model])
    finally:
        witness.execute("SELECT drop_embedding_model('other')")


def test_sessions_that_are_stopped_keep_nobody_waiting(connect):
    """At random moments: those that run, those that wait, and those whose text rides in another's run."""
    witness, random = connect(), rng("stopped")
    expected = alone(witness)
    for how in ("cancel", "terminate", "timeout") * size(1, 40):
        victims = [connect() for _ in range(3)]
        clients = [Client(connect(), n) for n in range(3)]
        for session in victims:
            session.execute("SELECT text_profile_embed('a'::text)")
            if how == "timeout":
                session.execute(f"SET statement_timeout = {random.randint(2, 60)}")
        running = [Running(session, f"SELECT {SLOW}") for session in victims]
        time.sleep(random.random() * 0.1)
        for session in victims:
            if how != "timeout":
                witness.execute(f"SELECT pg_{how}_backend(%s)", [session.info.backend_pid])
        codes = {run.end() for run in running}
        assert codes <= ({"57P01", "lost"} if how == "terminate" else {"57014"}), codes
        for client in clients:
            check(client, expected)
        for session in victims:
            session.close()
        until(lambda: at_rest(witness), "nobody runs or waits")


def test_a_session_without_a_processor_keeps_nobody_waiting_for_long(connect):
    """Who was to compute a text is stopped as by a debugger: after three seconds the others compute for themselves."""
    witness = connect()
    limit = status(witness)["limit"]
    frozen = [connect() for _ in range(limit)]
    for session in frozen:
        session.execute("SELECT text_profile_embed('a'::text)")
    running = [Running(session, f"SELECT {SLOW}") for session in frozen]
    pids = [session.info.backend_pid for session in frozen]

    def stopped_in_a_run():
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        if status(witness)["running"] == limit:
            return True
        for pid in pids:
            os.kill(pid, signal.SIGCONT)
        return False

    until(stopped_in_a_run, "all runs are taken")
    try:
        assert connect().execute(ONE, [TEXTS[0], "text-profile-v1"]).fetchone() == (alone(witness)[0],)
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)
    for pid in pids:
        witness.execute("SELECT pg_cancel_backend(%s)", [pid])
    assert {run.end() for run in running} == {"57014"}
    until(lambda: at_rest(witness), "nobody runs or waits")


def test_a_crash_leaves_an_empty_board(own, connect):
    session = connect()
    expected = alone(session)
    session.execute("SELECT text_profile_embed('a'::text)")
    pid, running = session.info.backend_pid, Running(session, f"SELECT {SLOW}")
    witness = connect()
    until(lambda: status(witness)["running"] >= 1, "it runs")
    os.kill(pid, signal.SIGKILL)
    assert running.end() == "lost" or running.error.sqlstate.startswith("57P")
    own.ready()
    after = own.connect("postgres")
    until(lambda: at_rest(after), "the board is a new one")
    check(Client(after, 0), expected)
    after.close()


def test_a_server_without_memory_to_share_embeds_all_the_same(cluster):
    with server(cluster, "unshared", settings=QUICK + "dynamic_shared_memory_type = mmap\n") as own:
        segments = own.data / "pg_dynshmem"
        os.chmod(segments, 0o500)
        with own.connect("postgres") as session:
            install(session)
            assert len(session.execute("SELECT text_profile_embed('a'::text)").fetchone()[0]) == 1536
            value = "SELECT value FROM embed_status() WHERE item = 'dynamic_batching'"
            assert session.execute(value).fetchone() == ("off: the server has no shared memory for it",)
            os.chmod(segments, 0o700)
            # Not asked for again here, but by the next session, which finds no lock held.
            assert session.execute(value).fetchone() == ("off: the server has no shared memory for it",)
            with own.connect("postgres") as other:
                assert other.execute(value).fetchone()[0].startswith("at most ")
        log = own.log.read_text()
        assert "leak" not in log and "PANIC" not in log
