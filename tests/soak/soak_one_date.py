"""A search of one date of 10,000 issuers among 10 million rows reads that date only.

The vectors are short (2 components), so that the table is 2 GB and not 20: what is read is counted in rows and pages of
the date, which the width of a vector does not change. PE_DATES sets the number of dates, 1,000 by default.
"""

import os

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
