"""Numeric backfills beside others that write the same keys: no row twice, none lost, no error that is not the user's;
and errors of the user's own, which keep their code on the way out."""

import threading
import time

import pytest
from numeric_data import BACKFILL, count, fails, fill

DAY = "2024-06-28"
ROW = """INSERT INTO numeric_window_embeddings (entity_type, entity_id, window_spec, as_of_date, model_id, vector)
         VALUES ('INSTRUMENT', %s, '{"window_days": 63, "entity_type": "INSTRUMENT"}', %s, 'num-regime-core-v1', 'old')"""


@pytest.fixture
def market(db):
    fill(db)
    return db


def statuses(session, call=BACKFILL, parameters=(DAY,)):
    return {row[0]: row[1] for row in session.execute(call, parameters)}


def olds(session):
    return session.execute("SELECT count(*) FROM numeric_window_embeddings WHERE vector = 'old'").fetchone()[0]


class Backfill(threading.Thread):
    """A backfill in a session and a thread of its own; `found` has its statuses."""

    def __init__(self, session, call=BACKFILL, parameters=(DAY,)):
        super().__init__()
        self.session, self.call, self.parameters = session, call, parameters
        self.found = self.error = None
        self.start()

    def run(self):
        try:
            self.found = statuses(self.session, self.call, self.parameters)
        except Exception as error:
            self.error = error

    def end(self):
        self.join(30)
        assert not self.is_alive()
        if self.error:
            raise self.error
        return self.found


def until_waiting(session, backend):
    """Until `backend` waits for a lock."""
    deadline = time.monotonic() + 20
    query = "SELECT count(*) FROM pg_locks WHERE pid = %s AND NOT granted"
    while not session.execute(query, (backend,)).fetchone()[0]:
        assert time.monotonic() < deadline
        time.sleep(0.005)


@pytest.mark.parametrize("choice, status", [("replace", "replaced"), ("skip", "skipped"), ("update", "replaced")])
def test_a_row_that_comes_in_between_is_met_as_one_that_was_there(market, connect, choice, status):
    """The table is empty when the backfill begins, so it inserts without looking; the other row commits first."""
    other = connect(autocommit=False)
    other.execute(ROW, ("X0003", DAY))
    run = Backfill(connect(), BACKFILL[:-1] + f", on_existing => '{choice}')")
    until_waiting(market, run.session.info.backend_pid)
    other.commit()
    assert run.end() == {f"X000{n}": status if n == 3 else "inserted" for n in range(1, 9)}
    assert (count(market), olds(market)) == (8, int(choice == "skip"))


def test_a_row_that_comes_in_between_and_goes_again_is_nothing(market, connect):
    other = connect(autocommit=False)
    other.execute(ROW, ("X0003", DAY))
    run = Backfill(connect())
    until_waiting(market, run.session.info.backend_pid)
    other.rollback()
    assert set(run.end().values()) == {"inserted"}
    assert count(market) == 8


def test_a_circle_of_waiting_is_left_and_the_work_done_again(market, connect):
    """Each waits for the other; the backfill is the one that Postgres stops, and its user does not see it."""
    other, session = connect(autocommit=False), connect()
    session.execute("SET deadlock_timeout = '1s'")
    other.execute("SET deadlock_timeout = '100s'")
    other.execute(ROW, ("X0008", DAY))
    run = Backfill(session)
    until_waiting(market, session.info.backend_pid)
    # Waits for the backfill, until that one gives way.
    other.execute(ROW, ("X0001", DAY))
    other.commit()
    found = run.end()
    assert {name for name, status in found.items() if status == "inserted"} >= {f"X000{n}" for n in range(2, 8)}
    # Of the other's rows the second try may see both, or meet them only while it writes.
    assert {found["X0001"], found["X0008"]} <= {"inserted", "replaced"}
    assert (count(market), olds(market)) == (8, 0)


def test_two_runs_over_the_same_keys(market, connect):
    """The dates and instruments of one lie across those of the other, and one instrument is young, so that the order
    of dates is no order of keys."""
    market.execute("DELETE FROM prices_daily WHERE instrument_id = 'X0001' AND trade_date < '2024-03-01'")
    calls = [
        "SELECT entity_id || as_of_date, status FROM backfill_numeric('2024-05-01', %s, market_id => 'M')",
        "SELECT entity_id || as_of_date, status FROM backfill_numeric('2024-04-01', %s, instrument_ids => '{X0008,X0005,X0001}')",
    ]
    for _ in range(5):
        market.execute("TRUNCATE numeric_window_embeddings")
        runs = [Backfill(connect(), call) for call in calls]
        found = [run.end() for run in runs]
        assert {status for statuses in found for status in statuses.values()} <= {"inserted", "replaced", "failed"}
        made = {key for statuses in found for key, status in statuses.items() if status != "failed"}
        assert count(market) == len(made)


def test_runs_over_different_instruments_do_not_wait(market, connect):
    first, second = connect(autocommit=False), connect()
    call = "SELECT entity_id, status FROM backfill_numeric(%s, instrument_ids => %s)"
    first.execute(call, (DAY, ["X0001", "X0002"]))
    second.execute("SET lock_timeout = '5s'")
    assert statuses(second, call, (DAY, ["X0003"])) == {"X0003": "inserted"}
    first.rollback()
    assert count(market) == 1


def test_appending_runs_do_not_wait_and_need_no_view_of_the_keys(market, connect):
    """Appended rows may be there twice: neither a lock nor an isolation level stands in the way."""
    market.execute("CREATE TABLE log_of_rows AS TABLE numeric_window_embeddings WITH NO DATA")
    call = BACKFILL[:-1] + ", on_existing => 'append', target => 'log_of_rows')"
    sessions = [connect(autocommit=False) for _ in range(2)]
    for session in sessions:
        session.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        session.execute("SET lock_timeout = '5s'")
        assert set(statuses(session, call).values()) == {"inserted"}
    for session in sessions:
        session.commit()
    assert count(market, "log_of_rows") == 16


def test_a_row_that_the_snapshot_cannot_see_is_a_serialization_failure(market, connect):
    """And no row twice, and nothing half-written; the transaction can be tried again."""
    session = connect(autocommit=False)
    session.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
    session.execute("SELECT count(*) FROM numeric_window_embeddings")
    market.execute(ROW, ("X0003", DAY))
    with fails("40001"):
        statuses(session)
    session.rollback()
    assert (count(market), olds(market)) == (1, 1)
    assert statuses(session)["X0003"] == "replaced"
    session.commit()
    assert (count(market), olds(market)) == (8, 0)


def test_a_unique_key_of_the_users_own_still_holds(market):
    market.execute("CREATE UNIQUE INDEX once ON numeric_window_embeddings (rows_used)")
    with fails("23505", "once"):
        market.execute(BACKFILL, (DAY,))
    assert count(market) == 0


def test_a_run_that_failed_leaves_the_block_that_caught_it_intact(market):
    """The run's own subtransaction is inside that of the block."""
    market.execute("ALTER TABLE numeric_window_embeddings ADD CONSTRAINT few CHECK (entity_id <> 'X0007')")
    market.execute(
        """DO $$
        BEGIN
            CREATE TABLE before_it (n int);
            FOR i IN 1..3 LOOP
                BEGIN
                    PERFORM backfill_numeric('2024-06-28', market_id => 'M');
                EXCEPTION WHEN check_violation THEN INSERT INTO before_it VALUES (i);
                END;
            END LOOP;
            PERFORM backfill_numeric('2024-06-28', instrument_ids => '{X0001}');
        END $$"""
    )
    assert market.execute("SELECT count(*) FROM before_it").fetchone()[0] == 3
    assert count(market) == 1


# --- codes of the user's own ----------------------------------------------------------------------------

REFUSE = """
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'not today' USING ERRCODE = TG_ARGV[0], DETAIL = 'It is closed.', HINT = 'Come back.';
END $$;
CREATE TRIGGER refuse BEFORE INSERT ON numeric_window_embeddings FOR EACH ROW EXECUTE FUNCTION refuse('{}');
"""


def test_a_code_of_the_users_own_comes_out_as_it_was_raised(market):
    """Regression: it came out as XX000, since pgrx knows its own list of codes only."""
    market.execute(REFUSE.format("AB001"))
    with fails("AB001", "not today") as found:
        market.execute(BACKFILL, (DAY,))
    assert (found[0].message_detail, found[0].message_hint) == ("It is closed.", "Come back.")
    # The next error is its own.
    with fails("42704"):
        market.execute("SELECT backfill_numeric('2024-06-28', market_id => 'M', model_id => 'none')")
    market.execute("DROP FUNCTION refuse CASCADE")
    assert set(statuses(market).values()) == {"inserted"}


@pytest.mark.parametrize("code", ["XX000", "XX001", "22012", "P0001"])
def test_other_codes_are_what_they_were(market, code):
    market.execute(REFUSE.format("AB001"))
    with fails("AB001"):
        market.execute(BACKFILL, (DAY,))
    market.execute("DROP FUNCTION refuse CASCADE")
    market.execute(REFUSE.format(code))
    with fails(code, "not today"):
        market.execute(BACKFILL, (DAY,))


def test_a_code_of_the_users_own_can_be_caught_by_it(market):
    market.execute(REFUSE.format("AB001"))
    market.execute(
        """CREATE FUNCTION tried() RETURNS text LANGUAGE plpgsql AS $$
        BEGIN
            PERFORM backfill_numeric('2024-06-28', market_id => 'M');
            RETURN 'done';
        EXCEPTION WHEN SQLSTATE 'AB001' THEN
            BEGIN
                PERFORM 1 / 0;
            EXCEPTION WHEN division_by_zero THEN RETURN 'refused';
            END;
        END $$"""
    )
    assert market.execute("SELECT tried() FROM generate_series(1, 3)").fetchall() == [("refused",)] * 3


def test_a_code_of_the_users_own_raised_while_reading(market):
    market.execute(
        """CREATE FUNCTION closed() RETURNS float8 LANGUAGE plpgsql AS $$
           BEGIN RAISE WARNING 'about to fail'; RAISE EXCEPTION 'closed' USING ERRCODE = 'AB002'; END $$;
           CREATE VIEW p AS SELECT instrument_id, trade_date, closed() AS close, volume FROM prices_daily"""
    )
    with fails("AB002", "closed"):
        market.execute(BACKFILL[:-1] + ", prices => 'p')", (DAY,))
    with fails("AB002", "closed"):
        market.execute("SELECT num_window_embed('X0001', '2024-06-28', prices => 'p')")


def test_a_code_of_the_users_own_through_a_backfill_inside_a_trigger(market):
    market.execute("CREATE TABLE inner_rows (LIKE numeric_window_embeddings INCLUDING ALL)")
    market.execute(REFUSE.format("AB003").replace("ON numeric_window_embeddings", "ON inner_rows"))
    market.execute(
        """
        CREATE FUNCTION nest() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            PERFORM backfill_numeric(NEW.as_of_date, 5, instrument_ids => ARRAY[NEW.entity_id], target => 'inner_rows');
            RETURN NEW;
        END $$;
        CREATE TRIGGER nest BEFORE INSERT ON numeric_window_embeddings FOR EACH ROW EXECUTE FUNCTION nest();
        """
    )
    with fails("AB003", "not today"):
        market.execute(BACKFILL, (DAY,))
    assert (count(market), count(market, "inner_rows")) == (0, 0)
