"""Several writers add pages to one table at once. PostgreSQL 14 and 15 lengthen a table page by page; from where a backfill
meets another that does so, it adds all pages for the rows at hand under one lock (src/pg/ffi/pages.rs). Who writes is slowed
from outside, by strace, so that they meet for certain."""

import contextlib
import threading

import pytest
from faults import Running, strace, until
from numeric_data import count, digest, fill

TABLE = "numeric_window_embeddings"
DAYS = ("2024-05-20", "2024-06-28")
RUN = f"SELECT count(*) FROM backfill_numeric('{DAYS[0]}', '{DAYS[1]}', instrument_ids => %s, target => 'sink') WHERE status = 'inserted'"
ALL = [f"X000{n}" for n in range(1, 9)]
# Rows as long as those of a backfill, of somebody else.
OTHERS = """INSERT INTO sink (entity_type, entity_id, window_spec, as_of_date, model_id, vector)
            SELECT 'OTHER', i::text, '{"window_days": 63}', date '2024-01-01', 'num-regime-core-v1', decode(repeat(md5(i::text), 96), 'hex')
              FROM generate_series(1, %s) i"""
PATH = "SELECT setting || '/' || pg_relation_filepath('sink') FROM pg_settings WHERE name = 'data_directory'"
# Pages that nobody has put a row into yet.
NEW = "SELECT count(*) FROM generate_series(1, pg_relation_size('sink') / 8192) b, LATERAL page_header(get_raw_page('sink', b::int - 1)) h WHERE h.upper = 0"
EXTENDS = "SELECT count(*) FROM pg_locks WHERE pid = %s AND locktype = 'extend' AND relation = 'sink'::regclass AND granted"
PAGE_BY_PAGE = 160000


@pytest.fixture
def market(db):
    """A session, what the vectors of its market are, how many pages they take, and an empty table for them."""
    fill(db)
    db.execute(f"CREATE EXTENSION pageinspect; CREATE EXTENSION amcheck; CREATE TABLE sink (LIKE {TABLE} INCLUDING ALL)")
    (rows,) = db.execute(RUN, [ALL]).fetchone()
    assert rows == count(db, "sink") > 200
    found = digest(db, "sink"), pages(db)
    db.execute("TRUNCATE sink; ALTER TABLE sink SET (vacuum_truncate = off)")
    return db, *found


def pages(db, table="sink"):
    return db.execute("SELECT pg_relation_size(%s) / 8192", [table]).fetchone()[0]


@contextlib.contextmanager
def slowed(session, path, seconds, times="1+"):
    """Each time the session's backend lengthens the file it takes that much longer."""
    inject = f"inject=pwrite64:delay_enter={int(seconds * 1e6)}:when={times}"
    process = strace(session.info.backend_pid, "-e", "trace=pwrite64", "-e", inject, "-P", path, "-o", "/dev/null")
    try:
        yield
    finally:
        process.terminate()
        process.wait(10)


def page_by_page(session):
    if session.info.server_version >= PAGE_BY_PAGE:
        pytest.skip("this server adds many pages at a time itself")


def watched(market, session):
    """A backfill that takes its time for each page, and how many pages without a row there were at once while it ran."""
    with slowed(session, market.execute(PATH).fetchone()[0], 0.006):
        run, most = Running(session, RUN, [ALL]), 0
        while run.ended is None:
            most = max(most, market.execute(NEW).fetchone()[0])
    run.end()
    return run, most


def meet(market, connect):
    """The same, of one that begins while another session holds the lock for lengthening the table."""
    # On a machine that stands still, the backfill may begin when the other is done.
    for hold in (1, 2, 4, 8, 16):
        market.execute("TRUNCATE sink")
        other = connect()
        with slowed(other, market.execute(PATH).fetchone()[0], hold, "1"):
            writing = Running(other, OTHERS, [1])
            until(lambda: market.execute(EXTENDS, [other.info.backend_pid]).fetchone()[0], "the other to lengthen the table", pause=0.001)
            run, most = watched(market, connect())
            assert writing.end() is None, writing.error
        if most > 1:
            break
    # 64 rows are added at a time, of which four fill a page.
    assert most >= 8
    return run


@pytest.mark.parametrize("fillfactor", [100, 40])
def test_pages_are_added_many_at_a_time_where_writers_meet(market, connect, fillfactor):
    db, expected, _ = market
    page_by_page(db)
    db.execute(f"ALTER TABLE sink SET (fillfactor = {fillfactor})")
    run = meet(db, connect)
    assert run.error is None and run.rows == [(expected[1],)]
    assert db.execute("DELETE FROM sink WHERE entity_type = 'OTHER'").rowcount == 1
    assert digest(db, "sink") == expected
    db.execute(f"CREATE TABLE same (LIKE sink INCLUDING DEFAULTS) WITH (fillfactor = {fillfactor}); INSERT INTO same SELECT * FROM sink ORDER BY embedding_id")
    # No more of them than the rows fill; one is that of the other.
    assert pages(db) <= pages(db, "same") + 2
    assert_sound(db)


def test_pages_are_added_one_at_a_time_by_a_writer_alone(market, connect):
    """What the test above would see if they were."""
    db, (_, rows), _ = market
    page_by_page(db)
    run, most = watched(db, connect())
    assert run.rows == [(rows,)] and most <= 1


def assert_sound(db, table="sink"):
    assert db.execute("SELECT * FROM verify_heapam(%s)", [table]).fetchall() == []
    indexes = db.execute("SELECT indexrelid::regclass::text FROM pg_index WHERE indrelid = %s::regclass AND indisunique", [table]).fetchall()
    assert indexes
    for (index,) in indexes:
        db.execute("SELECT bt_index_check(%s, true)", [index])


def unused(db):
    """Pages without any row."""
    return db.execute("SELECT pg_relation_size('sink') / 8192 - count(DISTINCT (ctid::text::point)[0]) FROM sink").fetchone()[0]


@pytest.mark.parametrize("when", ["alone", "beside VACUUM"])
def test_writers_side_by_side_leave_every_row_once_and_every_page_used(market, connect, when):
    """Six backfills and a plain INSERT, each slowed as a slow disk would."""
    db, expected, _ = market
    (path,) = db.execute(PATH).fetchone()
    calls = [(RUN, [ALL[n : n + 1]]) for n in range(6)] + [(RUN, [ALL[6:]]), (OTHERS, [200])]
    sessions, cleaner, done = [connect() for _ in calls], connect(), threading.Event()

    def clean():
        while not done.is_set():
            cleaner.execute("VACUUM sink")

    vacuum = threading.Thread(target=clean)
    with contextlib.ExitStack() as stack:
        for session in sessions:
            stack.enter_context(slowed(session, path, 0.003))
        if when == "beside VACUUM":
            vacuum.start()
        runs = [Running(session, *call) for session, call in zip(sessions, calls, strict=True)]
        codes = [run.end() for run in runs]
        done.set()
    if vacuum.ident:
        vacuum.join()
    assert codes == [None] * len(calls), [run.error for run in runs]
    assert db.execute("DELETE FROM sink WHERE entity_type = 'OTHER'").rowcount == 200
    assert digest(db, "sink") == expected
    assert_sound(db)
    # Of the last rows of each writer a page, or what the server itself adds for writers that wait.
    assert unused(db) <= 20 * len(calls)
    db.execute("VACUUM sink")
    assert digest(db, "sink") == expected
    assert_sound(db)
    # What is left of free pages takes the next rows: the table does not grow.
    free, before = unused(db), pages(db)
    assert free >= 30, "most of those of the rows that were deleted; a page that VACUUM gave away has rows of others, too"
    db.execute(OTHERS, [2 * free])
    assert pages(db) == before


def test_pages_of_a_run_that_failed_are_found_by_vacuum(market, connect):
    """The last row is refused: no row stays, the lock for lengthening is free, and the next run takes the same pages."""
    db, expected, needed = market
    page_by_page(db)
    db.execute(f"ALTER TABLE sink ADD CONSTRAINT few CHECK (entity_id <> 'X0008' OR as_of_date <> '{DAYS[1]}')")
    run = meet(db, connect)
    assert run.error.sqlstate == "23514", run.error
    assert count(db, "sink") == 1
    assert db.execute("SELECT count(*) FROM pg_locks WHERE locktype = 'extend' AND relation = 'sink'::regclass").fetchone() == (0,)
    assert_sound(db)
    db.execute("ALTER TABLE sink DROP CONSTRAINT few")
    db.execute("VACUUM sink")
    assert pages(db) > needed // 2
    assert run.session.execute(RUN, [ALL]).fetchone() == (expected[1],)
    assert pages(db) <= needed + 2
    db.execute("DELETE FROM sink WHERE entity_type = 'OTHER'")
    assert digest(db, "sink") == expected
    assert_sound(db)
