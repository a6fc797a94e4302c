"""Long backfills: progress, cancellation, resuming, a second runner, restated prices, several connections, a crash."""

import os
import signal
import threading
import time

import psycopg
import pytest
from cluster import Cluster, install

DATES = "start_date => '2015-06-01', end_date => '2015-12-31', market_id => 'US_EQ'"
CALL = f"CALL backfill_numeric_range({DATES}, batch_entities => 2)"
INSTRUMENTS = 40

FILL = f"""
INSERT INTO markets (market_id, name, region, timezone) VALUES ('US_EQ', 'Test', 'US', 'UTC');
INSERT INTO instruments (instrument_id, market_id, asset_class, symbol, currency)
SELECT format('I%s.US', lpad(i::text, 3, '0')), 'US_EQ', 'EQUITY', 'I' || i, 'USD' FROM generate_series(1, {INSTRUMENTS}) AS i;
INSERT INTO prices_daily (instrument_id, trade_date, open, high, low, close, adjusted_close, volume, currency)
SELECT format('I%s.US', lpad(i::text, 3, '0')), date '2015-01-01' + (d / 5) * 7 + d % 5, p, p, p, p, p, 1e6 + d * i, 'USD'
  FROM generate_series(1, {INSTRUMENTS}) AS i, generate_series(CASE i WHEN 7 THEN 200 ELSE 1 END, 250) AS d,
       LATERAL (SELECT 50 + (hashint4(i * 1009 + d) & 65535) / 6553.6) AS price(p);
ANALYZE prices_daily;
"""

# Each batch takes a while, so that there is something to see and to stop.
SLOW = """
CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(0.05); RETURN NULL; END';
CREATE TRIGGER slow AFTER INSERT ON numeric_window_embeddings FOR EACH STATEMENT EXECUTE FUNCTION slow();
"""
FAST = "DROP TRIGGER slow ON numeric_window_embeddings"
DIGEST = """SELECT count(*), md5(string_agg(entity_id || as_of_date || encode(vector, 'hex') || input_digest, '|' ORDER BY entity_id, as_of_date))
              FROM numeric_window_embeddings"""
PROGRESS = "SELECT state, total, done, inserted, replaced, skipped, failed, runs, pid FROM embed_job_progress ORDER BY job_id"


@pytest.fixture
def market(db):
    db.execute(FILL)
    return db


def progress(session):
    """The latest job's row as a dictionary; every value is None before there is one."""
    cursor = session.execute(PROGRESS)
    rows = cursor.fetchall() or [[None] * len(cursor.description)]
    return dict(zip([column.name for column in cursor.description], rows[-1], strict=True))


def digest(session):
    return session.execute(DIGEST).fetchone()


def whole(session):
    """What one uninterrupted statement writes; the table is empty afterwards."""
    session.execute("TRUNCATE numeric_window_embeddings")
    session.execute(f"SELECT count(*) FROM backfill_numeric({DATES})")
    found = digest(session)
    session.execute("TRUNCATE numeric_window_embeddings")
    return found


class Running:
    """A statement that runs in a session and a thread of its own."""

    def __init__(self, session, statement):
        self.session, self.error, self.notices = session, None, []
        session.add_notice_handler(lambda notice: self.notices.append(notice.message_primary))
        self.thread = threading.Thread(target=self.run, args=[statement])
        self.thread.start()

    def run(self, statement):
        try:
            self.session.execute(statement)
        except psycopg.Error as error:
            self.error = error

    def end(self):
        self.thread.join(60)
        assert not self.thread.is_alive()
        return self.error


def until(condition, what, seconds=20):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.01)


def test_a_job_writes_what_one_statement_writes(market):
    expected = whole(market)
    market.execute(CALL)
    assert digest(market) == expected
    done = progress(market)
    assert (done["state"], done["pid"], done["replaced"], done["skipped"]) == ("done", None, 0, 0)
    assert done["total"] == done["done"] == done["inserted"] + done["failed"] == expected[0] + done["failed"]
    errors = market.execute("SELECT entity_id, dates, last_date - first_date > 100, detail FROM embed_job_errors").fetchall()
    assert [(entity, dates, long) for entity, dates, long, _ in errors] == [("I007.US", done["failed"], True)]
    assert errors[0][3].startswith("need at least 54 of 63 price rows in ")


def test_progress_is_seen_from_another_session_while_it_goes_on(market, connect):
    market.execute(SLOW)
    run = Running(connect(), CALL)
    until(lambda: (progress(market)["done"] or 0) > 0, "a first batch")
    seen = progress(market)
    assert (seen["state"], seen["pid"]) == ("running", run.session.info.backend_pid)
    assert 0 < seen["done"] < seen["total"]
    assert seen["inserted"] + seen["failed"] == seen["done"] and seen["inserted"] <= digest(market)[0]
    rate, left = market.execute("SELECT rate_per_second, time_left FROM embed_job_progress").fetchone()
    assert rate > 0 and left is not None
    assert run.end() is None
    assert progress(market)["state"] == "done"
    assert run.notices[-1].startswith("job 1: ")


def test_notices_come_every_ten_seconds(market, connect):
    market.execute(SLOW.replace("0.05", "1.2"))
    session = connect()
    run = Running(session, f"CALL backfill_numeric_range({DATES}, batch_entities => 2, max_entities => 24)")
    until(lambda: run.notices, "a notice", 25)
    assert " left" in run.notices[0] and "/s, " in run.notices[0]
    session.cancel()
    assert run.end().sqlstate == "57014"


def test_cancel_keeps_what_is_committed_and_the_next_call_resumes(market, connect):
    expected = whole(market)
    market.execute(SLOW)
    session = connect()
    run = Running(session, CALL)
    until(lambda: digest(market)[0] > 0, "a first batch")
    session.cancel()
    assert run.end().sqlstate == "57014"
    until(lambda: progress(market)["state"] == "interrupted", "to be called interrupted", 3)
    stopped = progress(market)
    assert 0 < stopped["done"] < stopped["total"]
    assert digest(market)[0] == stopped["inserted"]
    market.execute(FAST)
    before = market.execute("SELECT max(embedding_id) FROM numeric_window_embeddings").fetchone()
    # From another session than the one that was cancelled, which is still there.
    session = connect()
    notices = []
    session.add_notice_handler(lambda notice: notices.append(notice.message_primary))
    session.execute(CALL)
    assert notices[0].startswith("job 1 resumes after I")
    assert digest(market) == expected
    done = progress(market)
    assert (done["state"], done["runs"], done["replaced"], done["skipped"]) == ("done", 2, 0, 0)
    first = market.execute("SELECT count(*) FROM numeric_window_embeddings WHERE embedding_id <= %s", before).fetchone()[0]
    assert first == stopped["inserted"]
    assert market.execute("SELECT count(*) FROM embed_jobs").fetchone() == (1,)


def stop_in_the_middle(market, connect):
    """Runs CALL and cancels it when a batch of it, and of no job before it, is committed."""
    session = connect()
    run = Running(session, CALL)

    def a_batch_of_this_run():
        # One look: the latest job may be another one a moment later.
        seen = progress(market)
        return seen["state"] == "running" and seen["pid"] in (None, session.info.backend_pid) and seen["done"] > 0

    until(a_batch_of_this_run, "a first batch")
    session.cancel()
    assert run.end().sqlstate == "57014"


def notices_of(session, statement):
    """What a statement says, in a session that has said nothing yet."""
    notices = []
    session.add_notice_handler(lambda notice: notices.append(notice.message_primary))
    session.execute(statement)
    return notices


def test_a_changed_scope_or_resume_false_starts_over(market, connect):
    market.execute(SLOW)
    changed = "starts over: its entities or dates have changed"
    for change, argument, message in (
        ("DELETE FROM prices_daily WHERE trade_date = '2015-07-02'", "", changed),
        ("UPDATE instruments SET status = 'DELISTED' WHERE instrument_id = 'I039.US'", "", changed),
        ("SELECT 1", ", resume => false", "starts over"),
    ):
        stop_in_the_middle(market, connect)
        market.execute(change)
        job = market.execute("SELECT max(job_id) FROM embed_jobs").fetchone()[0]
        notices = notices_of(connect(), f"CALL backfill_numeric_range({DATES}, batch_entities => 20{argument})")
        assert notices[0] == f"job {job} {message}", notices
        assert not any(" resumes after " in notice for notice in notices), notices
        assert progress(market)["state"] == "done"
        market.execute("TRUNCATE numeric_window_embeddings")


def test_a_job_stopped_before_its_first_batch_has_nothing_to_start_over(market, connect):
    """Nothing of it is done, so nothing is said, whatever `resume` is."""
    for argument in (", resume => false", ", resume => true"):
        market.execute("TRUNCATE numeric_window_embeddings")
        with market.transaction():
            # Holds the first batch back at its first row.
            market.execute("LOCK TABLE numeric_window_embeddings IN SHARE MODE")
            session, other = connect(), connect()
            run = Running(session, CALL)
            waits = "SELECT wait_event_type FROM pg_stat_activity WHERE pid = %s"
            until(lambda: other.execute(waits, [session.info.backend_pid]).fetchone() == ("Lock",), "to wait")  # noqa: B023
            session.cancel()
            assert run.end().sqlstate == "57014"
        stopped = progress(market)
        assert (stopped["done"], stopped["inserted"]) == (0, 0)
        notices = notices_of(connect(), f"CALL backfill_numeric_range({DATES}, batch_entities => 20{argument})")
        assert not any("starts over" in notice or "resumes" in notice for notice in notices), notices
        done = progress(market)
        assert (done["state"], done["runs"], done["skipped"]) == ("done", 2, 0)


def test_the_second_runner_is_told_who_runs(market, connect):
    market.execute("CREATE ROLE second_runner")
    try:
        market.execute("GRANT ALL ON ALL TABLES IN SCHEMA public TO second_runner; GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO second_runner")
        market.execute(SLOW)
        session = connect()
        run = Running(session, CALL)
        until(lambda: digest(market)[0] > 0, "a first batch")
        for _ in range(5):
            with pytest.raises(psycopg.errors.LockNotAvailable) as refused:
                market.execute(CALL)
        assert refused.value.diag.message_primary == "this backfill is running already"
        assert refused.value.diag.message_detail.startswith(f"Process {session.info.backend_pid} of user postgres runs it since 20")
        # Another role may not see the job, and is refused all the same.
        other = connect()
        other.execute("SET ROLE second_runner")
        with pytest.raises(psycopg.errors.LockNotAvailable) as refused:
            other.execute(CALL)
        assert refused.value.diag.message_detail == f"Process {session.info.backend_pid} of user postgres runs it."
        assert other.execute("SELECT count(*) FROM embed_job_progress").fetchone() == (0,)
        other.execute("RESET ROLE; GRANT pg_monitor TO second_runner; SET ROLE second_runner")
        assert other.execute("SELECT state FROM embed_job_progress").fetchall() == [("running",)]
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            other.execute("INSERT INTO embed_jobs (procedure, arguments, digest, owner) VALUES ('x', '{}', 1, 'postgres')")
        assert other.execute("UPDATE embed_jobs SET done = 0").rowcount == 0
        # Other arguments are another job.
        market.execute("CALL backfill_numeric_range('2015-06-01', '2015-06-02', instrument_ids => ARRAY['I001.US'])")
        assert run.end() is None
        other.execute(CALL)
        assert progress(market)["skipped"] == digest(market)[0]
    finally:
        market.execute("DROP OWNED BY second_runner; DROP ROLE second_runner")


def test_a_restated_history_is_found_and_nothing_else_is_written(market):
    market.execute(CALL)
    market.execute("UPDATE prices_daily SET close = close * 2 WHERE instrument_id = 'I011.US' AND trade_date < '2015-02-01'")
    expected = market.execute(f"SELECT count(*) FROM backfill_numeric({DATES}, on_existing => 'update') WHERE status = 'replaced'").fetchone()[0]
    assert expected == 0, "windows of June do not reach back to January"
    market.execute("UPDATE prices_daily SET close = close * 2 WHERE instrument_id = 'I011.US' AND trade_date = '2015-06-12'")
    rows = market.execute("SELECT ctid, entity_id FROM numeric_window_embeddings").fetchall()
    market.execute(CALL)
    done = progress(market)
    # The day itself and every date whose window holds it.
    assert (done["inserted"], done["replaced"]) == (0, 63)
    assert done["skipped"] == len(rows) - 63
    moved = set(rows) ^ set(market.execute("SELECT ctid, entity_id FROM numeric_window_embeddings").fetchall())
    assert {entity for _, entity in moved} == {"I011.US"}
    assert digest(market) == whole(market)


def test_stale_rows_without_a_unique_key_or_a_digest(market):
    market.execute("DROP INDEX numeric_window_embeddings_natural_key")
    market.execute("CREATE INDEX ON numeric_window_embeddings (entity_id, as_of_date)")
    market.execute(CALL)
    expected = digest(market)
    market.execute("""INSERT INTO numeric_window_embeddings (entity_type, entity_id, window_spec, as_of_date, model_id, vector, input_digest)
                      SELECT entity_type, entity_id, window_spec, as_of_date, model_id, vector, input_digest
                        FROM numeric_window_embeddings WHERE entity_id = 'I003.US'""")
    market.execute("UPDATE numeric_window_embeddings SET input_digest = NULL WHERE entity_id = 'I005.US' AND as_of_date < '2015-06-10'")
    market.execute(CALL)
    assert digest(market) == expected
    per_entity = expected[0] // (INSTRUMENTS - 1)
    assert progress(market)["replaced"] > 7 and progress(market)["replaced"] < 2 * per_entity
    market.execute("ALTER TABLE numeric_window_embeddings DROP COLUMN input_digest")
    with pytest.raises(psycopg.errors.UndefinedColumn, match="cannot tell stale rows"):
        market.execute(CALL)
    market.execute(CALL.replace("batch_entities", "on_existing => 'skip', batch_entities"))
    assert progress(market)["skipped"] == expected[0]


def test_a_split_over_two_connections_writes_the_same_without_duplicates(market, connect):
    expected = whole(market)
    market.execute(SLOW)
    runs = [Running(connect(), f"CALL backfill_numeric_range({DATES}, batch_entities => 2, partition => {n}, partitions => 2)") for n in (1, 2)]
    until(lambda: market.execute("SELECT count(*) FROM embed_job_progress WHERE state = 'running'").fetchone() == (2,), "both to run")
    assert [run.end() for run in runs] == [None, None]
    assert digest(market) == expected
    assert market.execute("SELECT sum(total), sum(inserted), sum(replaced + skipped) FROM embed_job_progress").fetchone()[1:] == (expected[0], 0)
    parts = market.execute("SELECT embed_partition(instrument_id, 2), count(*) FROM instruments GROUP BY 1 ORDER BY 1").fetchall()
    assert market.execute("SELECT entities FROM embed_jobs ORDER BY (arguments->>'partition')::int").fetchall() == [(n,) for _, n in parts]


def test_prices_read_ahead_for_some_batches_at_a_time(market):
    """Windows of a thousand days searched over thirty times as many: 18 of the 40 instruments are read at once."""
    market.execute(
        """SELECT register_numeric_model('num-long-test-v1', '{"features": ["close", "volume", "log_return"],
               "price_column": "close", "encoder": "pad_to_dim", "dim": 384,
               "window": {"min_fill": 0.1, "look_back": 30, "short_history": "repeat_last"}}')"""
    )
    long = DATES + ", window_days => 1000, model_id => 'num-long-test-v1'"
    market.execute(f"SELECT count(*) FROM backfill_numeric({long})")
    expected = digest(market)
    assert expected[0] > 0
    for batch in (1, 5, 19, 40):
        market.execute("TRUNCATE numeric_window_embeddings; DELETE FROM embed_jobs")
        market.execute(f"CALL backfill_numeric_range({long}, batch_entities => {batch})")
        assert digest(market) == expected, batch
    covered = """SELECT covered, pool IS NULL FROM embed_numeric_job_scope(ARRAY(SELECT instrument_id FROM instruments), '2015-06-01',
        '2015-12-31', 1000, 'num-long-test-v1', 'replace', 'prices_daily', 'instruments', 'numeric_window_embeddings') AS s,
        embed_numeric_job_read(ARRAY(SELECT instrument_id FROM instruments), %s, s.scope, 1000, 'num-long-test-v1', 'replace',
        'prices_daily', 'instruments', 'numeric_window_embeddings')"""
    assert market.execute(covered, (5,)).fetchone() == (15, False)
    assert market.execute(covered, (19,)).fetchone() == (0, True)


@pytest.mark.parametrize("pool", ["\\x01", "\\x0100000041", "\\x01000000410300000000", "\\x01000000ff00000000", ""])
def test_prices_read_ahead_that_are_damaged(market, pool):
    """Whatever the bytes say, an instrument is never taken for one without prices."""
    step = """SELECT embed_numeric_job_step('{I001.US}', s.scope, %s::bytea, 63, 'num-regime-core-v1', 'replace',
        'prices_daily', 'instruments', 'numeric_window_embeddings') FROM embed_numeric_job_scope('{I001.US}', '2015-06-01',
        '2015-12-31', 63, 'num-regime-core-v1', 'replace', 'prices_daily', 'instruments', 'numeric_window_embeddings') AS s"""
    with pytest.raises(psycopg.errors.InvalidBinaryRepresentation):
        market.execute(step, (pool,))
    market.rollback() if not market.autocommit else None
    assert digest(market)[0] == 0


@pytest.mark.parametrize(
    ("arguments", "sqlstate", "message"),
    [
        ("partition => 3, partitions => 2", "22023", "partition must be between 1 and 2, not 3"),
        ("partition => NULL", "22004", 'argument "partition" must not be null'),
        ("partitions => 0", "22023", "partitions must be between 1 and 2147483647, not 0"),
        ("batch_entities => 0", "22023", "batch_entities must be between 1 and 2147483647, not 0"),
        ("on_existing => 'never'", "22023", 'invalid value for argument "on_existing": "never"'),
        ("model_id => 'num-regime-core-v9'", "42704", 'model "num-regime-core-v9" does not exist'),
        ("prices => NULL", "42P01", 'relation "prices_daily" does not exist'),
    ],
)
def test_bad_arguments_leave_no_job(market, arguments, sqlstate, message):
    with pytest.raises(psycopg.Error) as refused:
        market.execute(f"CALL backfill_numeric_range({DATES}, {arguments})")
    assert (refused.value.sqlstate, refused.value.diag.message_primary) == (sqlstate, message)
    assert market.execute("SELECT count(*) FROM embed_jobs").fetchone() == (0,)


def test_inside_a_transaction_and_read_only(market, connect):
    with pytest.raises(psycopg.errors.InvalidTransactionTermination), market.transaction():
        market.execute(CALL)
    market.execute("SET default_transaction_read_only = on")
    with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
        market.execute(CALL)
    market.execute("RESET default_transaction_read_only")
    assert market.execute("SELECT count(*) FROM embed_jobs").fetchone() == (0,)


def test_no_search_path_changes_what_runs(market):
    market.execute("CREATE SCHEMA evil")
    for operator, left, right in (("=", "text", "text"), (">", "int", "int"), ("+", "int", "int"), ("/", "int", "int"), ("-", "timestamptz", "timestamptz")):
        market.execute(f"""CREATE OR REPLACE FUNCTION evil.f(a {left}, b {right}) RETURNS text LANGUAGE plpgsql AS $$BEGIN RAISE 'trapped'; END$$;
                           CREATE OPERATOR evil.{operator} (LEFTARG = {left}, RIGHTARG = {right}, FUNCTION = evil.f)""")
    for function in ("cardinality(a text[])", "clock_timestamp()", "pg_try_advisory_xact_lock(a bigint)"):
        market.execute(f"CREATE FUNCTION evil.{function} RETURNS text LANGUAGE plpgsql AS $$BEGIN RAISE 'trapped'; END$$")
    expected = whole(market)
    market.execute("SET search_path = evil, public, pg_catalog")
    market.execute(CALL)
    market.execute("RESET search_path")
    assert digest(market) == expected


@pytest.fixture
def crashing():
    """A cluster of this test's own, which may crash."""
    own = Cluster.named("jobs")
    own.control("drop")
    own.control("start")
    try:
        yield own
    finally:
        own.control("drop")


def test_a_killed_backend_leaves_a_job_that_can_be_resumed(crashing):
    name = crashing.create_database()
    with crashing.connect(name) as session:
        install(session)
        session.execute(FILL)
        expected = whole(session)
        session.execute(SLOW)
        # The test clusters commit without waiting for the log, which a crash may then lack.
        victim = crashing.connect(name, options="-c synchronous_commit=on")
        run = Running(victim, CALL)
        until(lambda: digest(session)[0] > 0, "a first batch")
        os.kill(victim.info.backend_pid, signal.SIGKILL)
        assert run.end() is not None
        victim.close()
        session.close()

    until(lambda: crashing.log.read_text().count("ready to accept connections") == 2, "recovery", 60)
    with crashing.connect(name) as session:
        until(lambda: progress(session)["state"] == "interrupted", "to be called interrupted", 3)
        stopped = progress(session)
        assert 0 < stopped["done"] < stopped["total"]
        # Exactly what the job's row says is in the table.
        assert digest(session)[0] == stopped["inserted"]
        session.execute(FAST)
        session.execute(CALL)
        assert digest(session) == expected
        done = progress(session)
        assert (done["state"], done["runs"], done["done"]) == ("done", 2, done["total"])
