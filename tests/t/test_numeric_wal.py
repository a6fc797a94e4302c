"""A backfill that writes much has the server's process for the log write it out meanwhile (src/pg/ffi/wal.rs)."""

import time

import pytest
from cluster import install
from numeric_data import count, fill
from servers import server

MARGIN = 4 << 20
# That process looks for work of its own accord once in ten seconds; a full buffer would hold twice the margin.
SETTINGS = "fsync = off\nwal_writer_delay = 10s\nwal_buffers = 8MB\nshared_buffers = 256MB\n"
LOGGED = "SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), %s)::bigint"
BEHIND = "SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), pg_current_wal_flush_lsn())::bigint"
# A trigger is what an INSERT statement is for.
TRIGGER = """
CREATE FUNCTION nothing() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$;
CREATE TRIGGER nothing AFTER INSERT ON numeric_window_embeddings FOR EACH STATEMENT EXECUTE FUNCTION nothing();
"""


@pytest.mark.parametrize("target", ["", TRIGGER], ids=["pages", "statements"])
def test_the_log_of_a_backfill_is_written_out_before_it_commits(cluster, target):
    with server(cluster, "wal", settings=SETTINGS) as own:
        with own.connect("postgres") as session:
            install(session)
            fill(session, instruments=40, days=300)
            session.execute(target)
            (start,) = session.execute("SELECT pg_current_wal_insert_lsn()").fetchone()
            with session.transaction():
                session.execute("SELECT count(*) FROM backfill_numeric('2023-10-02', '2024-06-28', market_id => 'M')")
                (logged,) = session.execute(LOGGED, [start]).fetchone()
                behind = lag(session)
            assert logged > 3 * MARGIN and count(session) > 7000
            assert behind < MARGIN


def lag(session, seconds=3):
    """Bytes of log that are not on disk, at their least within some seconds."""
    deadline = time.monotonic() + seconds
    while True:
        (behind,) = session.execute(BEHIND).fetchone()
        if behind < MARGIN or time.monotonic() > deadline:
            return behind
        time.sleep(0.05)
