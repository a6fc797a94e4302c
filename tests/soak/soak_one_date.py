"""A search of one date of 10,000 issuers among 10 million rows reads that date only; one of all dates is one parallel scan.

The vectors are short (2 components), so that the table is 2 GB and not 20: what is read is counted in rows and pages of
the date, which the width of a vector does not change. PE_DATES sets the number of dates, 1,000 by default.
"""

import os
import time

from faults import record
from jointdata import fill_dates, scan_of_search

DATES, ISSUERS = int(os.environ.get("PE_DATES", "1000")), 10_000


def test_one_date_of_ten_thousand_issuers_among_ten_million_rows(db):
    db.execute("SET synchronous_commit = off")
    fill_dates(db, DATES, ISSUERS)
    db.execute("VACUUM (ANALYZE) joint_embeddings")
    rows, pages = db.execute("SELECT reltuples::bigint, relpages FROM pg_class WHERE oid = 'joint_embeddings'::regclass").fetchone()
    assert abs(rows - DATES * ISSUERS) < DATES * ISSUERS / 50
    scan = scan_of_search(db, f"SELECT * FROM find_similar_profiles('I7', date '2020-01-01' + {DATES * 7 // 10})")
    read = scan["Shared Hit Blocks"] + scan["Shared Read Blocks"]
    assert scan["Node Type"] in ("Index Scan", "Bitmap Heap Scan")
    workers = scan.get("Actual Loops", 1)
    assert scan["Actual Rows"] * workers == ISSUERS
    assert scan.get("Rows Removed by Filter", 0) == 0
    # The date's share of the pages of the table and of its key's index, twice over.
    index = db.execute("SELECT relpages FROM pg_class WHERE relname = 'joint_embeddings_natural_key'").fetchone()[0]
    assert read <= ISSUERS + 2 * (pages + index) / DATES, (read, pages, index)
    record("one_date", rows=int(rows), pages=pages, index_pages=index, pages_read=read, milliseconds=scan["Actual Total Time"], node=scan["Node Type"])
    all_dates(db, DATES * ISSUERS)


def rows_read(db):
    """Rows of the table that sequential scans have read, of this session and its workers."""
    return db.execute("SELECT seq_scan, seq_tup_read FROM pg_stat_user_tables WHERE relname = 'joint_embeddings'").fetchone()


def all_dates(db, rows):
    """The nearest of every date, exact: each worker ranks what it reads, and every row is read once."""
    db.execute("SET max_parallel_workers_per_gather = 2; SET client_min_messages = debug1")
    target = "find_similar('PROFILE_CORE_V0', '{\"entity_type\": \"ISSUER\", \"issuer_id\": \"I7\"}', '2020-01-01', top_k => 5"
    span = f"start_date => '2020-01-01', end_date => date '2020-01-01' + {DATES - 1}"
    said = []
    db.add_notice_handler(lambda notice: said.append(notice.message_primary))
    time.sleep(2)
    _, before = rows_read(db)
    began = time.monotonic()
    found = db.execute(f"SELECT * FROM {target}, {span})").fetchall()
    seconds = time.monotonic() - began
    assert len(found) == 5
    assert "reading all of public.joint_embeddings without the executor" in said
    workers = said.count("reading a share of a table without the executor")
    assert workers >= 1, said
    # Counts are told to the server's statistics with some delay.
    deadline = time.monotonic() + 30
    while rows_read(db)[1] - before < rows and time.monotonic() < deadline:
        time.sleep(1)
    assert rows_read(db)[1] - before == rows
    record("all_dates", rows=rows, processes=workers + 1, milliseconds=1000 * seconds)
