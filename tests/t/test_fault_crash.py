"""A backend killed with SIGKILL, an immediate shutdown, the whole server killed, at random moments of backfills, and
with a transaction prepared. After recovery exactly what was committed is there, byte by byte what an undisturbed run
writes, and the next run ends with the same bytes as it."""

import contextlib
import os
import signal
import time

import psycopg
import pytest
from cluster import install
from fault_data import KEYED as KEYS
from fault_data import WORK, fill
from faults import BROKEN, Running, record, rng, size
from servers import server

CYCLES = int(os.environ.get("PE_CYCLES", size(60, 1000)))
# Most of a run's time is spent by the job, which commits as it goes; the others are all or nothing.
WORKS = ("range", "range", "joint range", "text range", "numeric", "numeric v2", "joint", "joint states", "portfolio", "scenario", "text")
# A backend's death is the quickest to recover from.
MODES = ("backend",) * size(4, 2) + ("immediate", "everything")


class Crashes:
    """The server, what an undisturbed run of each work writes, and what happened so far."""

    def __init__(self, own, name):
        self.own, self.name, self.random = own, name, rng("crash")
        self.seconds, self.rows = {}, {}
        self.seen = {"mid": 0, "after": 0, "finished": 0, "partly": 0} | dict.fromkeys(MODES, 0)
        self.recovery = []

    def connect(self):
        return self.own.connect(self.name)

    def golden(self, work):
        """Runs a work undisturbed and keeps what it wrote."""
        statement, sink = WORK[work]
        with self.connect() as session:
            began = time.monotonic()
            session.execute(statement)
            self.seconds[work] = time.monotonic() - began
            session.execute(f'CREATE TABLE "golden {work}" AS SELECT {KEYS[sink]}, vector, input_digest FROM {sink}')
            self.rows[work] = session.execute(f'SELECT count(*) FROM "golden {work}"').fetchone()[0]
            assert self.rows[work] > 0
        self.clear(work)

    def strike(self, mode, pid):
        """Crashes it and waits until it takes connections again."""
        if mode == "backend":
            offset = self.own.log.stat().st_size
            os.kill(pid, signal.SIGKILL)
            self.back_after(offset)
        else:
            if mode == "immediate":
                self.own.stop("immediate")
            else:
                self.own.kill_everything()
            began = time.monotonic()
            self.own.start()
            self.recovery.append(time.monotonic() - began)

    def back_after(self, offset):
        began = time.monotonic()
        while b"ready to accept connections" not in self.own.log.read_bytes()[offset:]:
            assert time.monotonic() < began + 60, self.own.log.read_text(errors="replace")[-2000:]
            time.sleep(0.003)
        self.recovery.append(time.monotonic() - began)

    def cycle(self, work, mode):
        """One crash in the middle of a work; whether the work had begun and not ended."""
        statement, sink = WORK[work]
        session = self.connect()
        pid = session.info.backend_pid
        # A job that goes on has less to do than it had at first.
        there = session.execute(f"SELECT count(*), embed_version() FROM {sink}").fetchone()[0]
        seconds = self.seconds[work] * max(1 - there / self.rows[work], 0.1)
        run = Running(session, statement)
        time.sleep(self.random.uniform(0.0, 0.9 * min(seconds, size(0.3, 60.0))))
        running = run.ended is None
        self.strike(mode, pid)
        code = run.end()
        with contextlib.suppress(psycopg.Error):
            session.close()
        self.seen[mode] += 1
        self.seen["mid" if running and code is not None else "after"] += 1
        self.check(work, sink, done=code is None)

    def check(self, work, sink, done):
        """What is there: only whole rows of the undisturbed run, none twice, all that was reported as committed."""
        with self.connect() as session:
            rows, keys, wrong = session.execute(
                f"""SELECT count(*), count(DISTINCT ({KEYS[sink]})),
                           count(*) FILTER (WHERE g.vector IS NULL OR s.vector <> g.vector OR s.input_digest IS DISTINCT FROM g.input_digest)
                      FROM {sink} s LEFT JOIN "golden {work}" g USING ({KEYS[sink]})"""
            ).fetchone()
            assert (rows - keys, wrong) == (0, 0), f"{work}: {rows - keys} rows twice, {wrong} torn or strange"
            if done:
                expected = {self.rows[work]}
            elif work.endswith("range"):
                expected = {session.execute("SELECT coalesce(sum(inserted), 0) FROM embed_jobs").fetchone()[0]}
                self.seen["partly"] += 0 < rows < self.rows[work]
            else:
                # The crash may have come between the commit and the answer.
                expected = {0, self.rows[work]}
            assert rows in expected, f"{work}: {rows} rows, not {expected}"

    def finish(self, work):
        """The next run ends with the bytes of an undisturbed one."""
        statement, sink = WORK[work]
        with self.connect() as session:
            session.execute(statement)
            difference = session.execute(
                f"""SELECT count(*) FROM (SELECT {KEYS[sink]}, vector, input_digest FROM {sink}) s
                      FULL JOIN "golden {work}" g USING ({KEYS[sink]})
                     WHERE s.vector IS NULL OR g.vector IS NULL OR s.vector <> g.vector OR s.input_digest IS DISTINCT FROM g.input_digest"""
            ).fetchone()[0]
            assert difference == 0, f"{work}: {difference} rows differ"
            assert session.execute(f"SELECT count(*) FROM {sink}").fetchone()[0] == self.rows[work]
            if work.endswith("range"):
                assert session.execute("SELECT DISTINCT state FROM embed_job_progress").fetchall() == [("done",)]
        self.clear(work)
        self.seen["finished"] += 1

    def prepared(self, work):
        """A prepared transaction is there after the whole server was killed, and commits every byte."""
        statement, sink = WORK[work]
        with self.connect() as session:
            session.execute(f"BEGIN; {statement}; PREPARE TRANSACTION 'mine'")
        self.strike("everything", None)
        with self.connect() as session:
            assert session.execute(f"SELECT count(*) FROM {sink}").fetchone() == (0,)
            session.execute("COMMIT PREPARED 'mine'")
        self.check(work, sink, done=True)
        self.clear(work)

    def clear(self, work):
        """The target is empty again."""
        with self.connect() as session:
            session.execute(f"TRUNCATE {WORK[work][1]}; DELETE FROM embed_jobs")

    def amcheck(self):
        self.own.run("pg_amcheck", "-h", self.own.socket_dir, "-p", self.own.port, "-U", self.own.user, "--heapallindexed", "--install-missing", self.name)


@pytest.fixture
def crashes(cluster):
    with server(cluster, "crash") as own:
        name = own.create_database()
        with own.connect(name) as session:
            install(session)
            fill(session)
        yield Crashes(own, name)


def test_killed_at_random_moments(crashes):
    for work in dict.fromkeys(WORKS):
        crashes.golden(work)
    cycles, works = 0, []
    while cycles < CYCLES:
        if not works:
            works = crashes.random.sample(WORKS, len(WORKS))
        work = works.pop()
        # A job is crashed several times before it is allowed to end.
        for _ in range(crashes.random.randint(1, 4) if work.endswith("range") else 1):
            crashes.cycle(work, crashes.random.choice(MODES))
            cycles += 1
        if work.endswith("range") or crashes.random.random() < size(0.2, 0.5):
            crashes.finish(work)
        else:
            crashes.clear(work)
        if cycles % 100 < 4:
            crashes.amcheck()
    for work in ("numeric", "joint"):
        crashes.prepared(work)
    crashes.amcheck()
    # Signal 9 is ours; nothing else may have ended a process.
    strange = [line for line in crashes.own.log.read_text(errors="replace").splitlines() if BROKEN.search(line) and "signal 9" not in line]
    assert strange == []
    record("crash", cycles=cycles, **crashes.seen, recovery_max_ms=round(1000 * max(crashes.recovery)))
    assert crashes.seen["mid"] >= 0.8 * cycles
    assert crashes.seen["partly"] > 0
