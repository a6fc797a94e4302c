"""Whatever runs can be stopped at any moment, soon, and leaves nothing: cancelled, timed out or terminated at random
moments of every backfill, search, fit and inference, in turn. A witness connection and the server live on."""

import os
import time

import pytest
from fault_data import WORK
from faults import Gates, Running, Starved, percentile, record, rng, size, until

HITS = int(os.environ.get("PE_HITS", size(4, 200)))
# In the short form only moments of the first part of what runs long.
LATEST = 60.0 if HITS >= 100 else 0.2
HOW = ("cancel", "timeout", "terminate")
CODES = {"cancel": {"57014"}, "timeout": {"57014"}, "terminate": {"57P01", "lost"}}
ALIVE = "SELECT embed_version() IS NOT NULL, octet_length(num_window_embed(ARRAY[1, 2, 3]::float8[], ARRAY[1, 2, 3]::float8[], 3))"
LEFT = """SELECT (SELECT count(*) FROM pg_locks WHERE pid = %(pid)s AND (locktype, virtualtransaction) IS NOT NULL
                     AND NOT (locktype = 'virtualxid' AND virtualxid = virtualtransaction)),
                 (SELECT count(*) FROM pg_stat_activity WHERE pid = %(pid)s AND (state <> 'idle' OR backend_xid IS NOT NULL))"""

# One dimension of the input far beyond the usual: loops over it ask for interrupts, and none is over pairs.
MANY = 20_000
LARGE = {
    # Regression: each name that was given was looked for in the list of all reports, seconds without an answer.
    "many portfolios": (
        f"""SELECT count(*) FROM backfill_numeric_portfolio('2020-01-01', ARRAY(SELECT 'L' || 100000 + n FROM generate_series(1, {2 * MANY}) n),
            max_entities => NULL, target => 'sink_numeric')""", "sink_numeric"),
    # Regression: so was each number of a row among those before it.
    "a row of many numbers": (
        "SELECT count(*) FROM generate_series(1, 4), LATERAL backfill_numeric_profile('2020-01-01', source => 'large_row', target => 'sink_numeric')", "sink_numeric"),
    "many keys": ("SELECT count(*) FROM backfill_joint_profiles(as_of => '2020-01-01', max_entities => 1000000, profiles => 'large_profiles', target => 'sink_joint')", "sink_joint"),
}  # fmt: skip
FILL_LARGE = f"""
INSERT INTO portfolio_risk_reports (report_id, portfolio_id, as_of_date, portfolio_value, cash, net_exposure, gross_exposure, leverage, risk_metrics, exposures_by_sector, exposures_by_factor)
SELECT 'L' || n, 'L' || 100000 + n, '2020-01-01', 1, 1, 1, 1, 1, '{{"vol_21d": 0.5}}', '{{}}', '{{}}' FROM generate_series(1, {MANY}) n;
CREATE TABLE large_row (LIKE profiles INCLUDING DEFAULTS INCLUDING IDENTITY);
INSERT INTO large_row (issuer_id, as_of_date, structured, risk_flags)
SELECT 'L', '2020-01-01', jsonb_build_object('fundamentals', jsonb_object_agg('number ' || 100000 + n, n)), '{{}}' FROM generate_series(1, {2 * MANY}) n;
CREATE TABLE large_profiles (LIKE profiles INCLUDING DEFAULTS INCLUDING IDENTITY);
INSERT INTO large_profiles (issuer_id, as_of_date, structured, risk_flags) SELECT 'L' || n, '2020-01-01', '{{}}', '{{}}' FROM generate_series(1, {size(2, 10) * MANY}) n;
ANALYZE portfolio_risk_reports;
"""


class Bench:
    """One piece of work, stopped again and again."""

    def __init__(self, cluster, dbname, work, witness):
        self.cluster, self.dbname, self.witness = cluster, dbname, witness
        self.statement, self.sink = (WORK | LARGE)[work]
        self.session, self.random = None, rng(work)
        self.times, self.wall = [], []

    def fresh(self):
        """A session in which everything is loaded already."""
        if self.session is None or self.session.closed:
            self.session = self.cluster.connect(self.dbname)
            self.session.execute(ALIVE)
            if "text" in self.statement:
                self.session.execute("SELECT text_profile_embed('a'::text)")
        if self.sink:
            self.witness.execute(f"TRUNCATE {self.sink}; TRUNCATE embed_jobs CASCADE")
        return self.session

    def undisturbed(self):
        """Seconds that the work takes."""
        run = Running(self.fresh(), self.statement)
        assert run.end() is None, run.error
        if self.sink:
            assert self.witness.execute(f"SELECT count(*) FROM {self.sink}").fetchone()[0] > 0
        self.witness.execute("SELECT drop_embedding_model(model_id) FROM embed_models WHERE NOT builtin")
        return run.ended - run.began

    def stop(self, how, delay):
        """Stops the work after `delay` seconds. False when it was done before."""
        session = self.fresh()
        pid = session.info.backend_pid
        timeout = max(1, int(delay * 1000)) if how == "timeout" else 0
        session.execute(f"SET statement_timeout = {timeout}")
        starved = Starved(pid)
        run = Running(session, self.statement)
        if how == "timeout":
            asked = run.began + timeout / 1000
        else:
            time.sleep(max(0.0, run.began + delay - time.monotonic()))
            asked = time.monotonic()
            self.witness.execute(f"SELECT pg_{how}_backend(%s)", [pid])
        code = run.end()
        # What others on the machine took from it is none of its delay.
        starved = starved.since(asked)
        if code is None:
            # The signal may still be on its way.
            session.close()
            self.witness.execute("SELECT drop_embedding_model(model_id) FROM embed_models WHERE NOT builtin")
            return False
        assert code in CODES[how], run.error
        took = run.ended - asked
        self.wall.append(took)
        self.times.append(max(0.0, took - starved))
        self.nothing_left(pid, how)
        return True

    def nothing_left(self, pid, how):
        if how == "terminate":
            self.session.close()
            until(lambda: not os.path.exists(f"/proc/{pid}"), "the backend to be gone", 5)
        else:
            self.session.execute("RESET statement_timeout")
            assert self.session.execute(ALIVE).fetchone() == (True, 1536)
            until(lambda: self.witness.execute(LEFT, {"pid": pid}).fetchone() == (0, 0), "locks to be free", 2)
        if self.sink:
            rows = self.witness.execute(f"SELECT count(*) FROM {self.sink}").fetchone()[0]
            committed = self.witness.execute("SELECT coalesce(sum(inserted), 0) FROM embed_jobs").fetchone()[0]
            assert rows == committed, f"{rows} rows, {committed} of committed batches"
        assert self.witness.execute("SELECT count(*) FROM embed_models WHERE NOT builtin").fetchone() == (0,)
        assert self.witness.execute("SELECT count(*) FROM embed_model_parts").fetchone() == (0,)


@pytest.fixture(scope="module")
def stopped(fault_cluster, fault_template):
    """A database for all of them, and the times of all answers, which are judged at the end."""
    name = fault_cluster.create_database(fault_template)
    gates, times = Gates(fault_cluster, name), {}
    try:
        yield fault_cluster, name, gates, times
        gates.close()
    finally:
        gates.witness.close()
        fault_cluster.drop_database(name)


@pytest.mark.parametrize("work", WORK)
def test_stopped_at_random_moments(stopped, work):
    cluster, name, gates, times = stopped
    bench = Bench(cluster, name, work, gates.witness)
    seconds = bench.undisturbed()
    hits = tries = 0
    while hits < HITS:
        delay = bench.random.uniform(0.0, min(0.9 * seconds, LATEST))
        hits += bench.stop(HOW[hits % len(HOW)], delay)
        tries += 1
        assert tries < 5 * HITS + 20, f"it was done before {tries - hits} of {tries} times"
    bench.session.close()
    gates.check()
    times[work] = (bench.times, bench.wall)
    record(
        f"stop: {work}", work_seconds=round(seconds, 3), hits=hits, p50_ms=round(1000 * percentile(bench.wall, 0.5), 1),
        max_ms=round(1000 * max(bench.wall), 1), max_own_ms=round(1000 * max(bench.times), 1),
    )
    assert max(bench.times) < 1.0


@pytest.mark.parametrize("work", LARGE)
def test_large_inputs_stopped_at_random_moments(stopped, work):
    cluster, name, gates, times = stopped
    if gates.witness.execute("SELECT to_regclass('large_row') IS NULL").fetchone()[0]:
        gates.witness.execute(FILL_LARGE)
    bench = Bench(cluster, name, work, gates.witness)
    run = Running(bench.fresh(), bench.statement)
    assert run.end() is None, run.error
    for hit in range(max(6, HITS)):
        bench.stop(HOW[hit % len(HOW)], bench.random.uniform(0.0, min(0.9 * (run.ended - run.began), max(1.0, LATEST))))
    bench.session.close()
    gates.check()
    times[work] = (bench.times, bench.wall)
    record(
        f"stop: {work}", work_seconds=round(run.ended - run.began, 3), hits=len(bench.wall), max_ms=round(1000 * max(bench.wall), 1),
        max_own_ms=round(1000 * max(bench.times), 1),
    )
    assert max(bench.times) < 1.0


def test_nearly_all_answers_come_within_a_quarter_of_a_second(stopped):
    times = [t for own, _ in stopped[3].values() for t in own]
    wall = [t for _, wall in stopped[3].values() for t in wall]
    if not times:
        pytest.skip("nothing was stopped in this run")
    record("stop: all", hits=len(times), p99_ms=round(1000 * percentile(times, 0.99), 1), max_ms=round(1000 * max(times), 1),
           p99_wall_ms=round(1000 * percentile(wall, 0.99), 1), max_wall_ms=round(1000 * max(wall), 1))
    assert percentile(times, 0.99) <= 0.25
    assert max(times) <= 1.0
