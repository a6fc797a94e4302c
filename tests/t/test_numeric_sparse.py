"""Instruments whose windows reach further back than a business day for every row takes: the backfill reads less than all
that is searched first, and must find what the look-up form finds."""

import pytest

AS_OF = "2015-12-31"

# Every day, every other day, three of five, one recent row too few for a window, one long gap, young, dead, long dead.
FILL = """
INSERT INTO markets (market_id, name, region, timezone) VALUES ('US_EQ', 'Test', 'US', 'UTC');
INSERT INTO instruments (instrument_id, market_id, asset_class, symbol, currency)
SELECT i, 'US_EQ', 'EQUITY', i, 'USD' FROM unnest('{DAILY,HALF,SOME,EDGE,GAP,YOUNG,DEAD,GONE,NONE}'::text[]) AS i;
INSERT INTO prices_daily (instrument_id, trade_date, open, high, low, close, adjusted_close, volume, currency)
SELECT i, d::date, p, p, p, p, p, 1e6 + n, 'USD'
  FROM unnest('{DAILY,HALF,SOME,EDGE,GAP,YOUNG,DEAD,GONE}'::text[]) AS i,
       generate_series(timestamp '2015-01-01', timestamp '2015-12-31', interval '1 day') WITH ORDINALITY AS day(d, n),
       LATERAL (SELECT 50 + (hashtext(i || n) & 65535) / 6553.6) AS price(p)
 WHERE extract(isodow FROM d) < 6
   AND CASE i WHEN 'HALF' THEN n % 2 = 0 WHEN 'SOME' THEN n % 5 > 1
              WHEN 'EDGE' THEN d >= '2015-10-07' OR d = '2015-07-10'
              WHEN 'GAP' THEN d NOT BETWEEN '2015-09-01' AND '2015-11-30'
              WHEN 'YOUNG' THEN d >= '2015-12-01' WHEN 'DEAD' THEN d <= '2015-11-01' WHEN 'GONE' THEN d <= '2015-03-01'
              ELSE true END;
ANALYZE prices_daily;
"""


@pytest.fixture
def market(db):
    db.execute(FILL)
    return db


def test_windows_longer_than_usual_are_found_whole(market):
    """One date, a few dates and a job write the vectors of the look-up form; what failed says how many rows there were."""
    rows = "SELECT entity_id, detail FROM backfill_numeric(%s, market_id => 'US_EQ') WHERE status = 'failed' ORDER BY 1"
    found = market.execute(rows, (AS_OF,)).fetchall()
    searched = "in 2015-06-25..2015-12-31, found"
    assert found == [
        ("GONE", f"need at least 54 of 63 price rows {searched} 0"),
        ("NONE", f"need at least 54 of 63 price rows {searched} 0"),
        ("YOUNG", f"need at least 54 of 63 price rows {searched} 23"),
    ]
    differing = """SELECT entity_id FROM numeric_window_embeddings
                    WHERE vector IS DISTINCT FROM num_window_embed(entity_id, as_of_date) ORDER BY 1"""
    count = "SELECT count(*), count(DISTINCT entity_id), max(rows_used) FROM numeric_window_embeddings"
    assert market.execute(count).fetchone() == (6, 6, 63)
    assert market.execute(differing).fetchall() == []

    market.execute("TRUNCATE numeric_window_embeddings")
    market.execute("SELECT count(*) FROM backfill_numeric('2015-12-21', %s, market_id => 'US_EQ')", (AS_OF,))
    assert market.execute(count).fetchone()[1] == 6
    assert market.execute(differing).fetchall() == []

    market.execute("TRUNCATE numeric_window_embeddings")
    market.execute(f"CALL backfill_numeric_range('2015-12-31', '{AS_OF}', market_id => 'US_EQ', batch_entities => 2)")
    assert market.execute(count).fetchone() == (6, 6, 63)
    assert market.execute(differing).fetchall() == []


def test_a_window_short_of_one_recent_row_takes_an_older_one(market):
    """EDGE has 62 rows in the span read first, and its 63rd long before: the window must not be padded instead."""
    market.execute("SELECT count(*) FROM backfill_numeric(%s, instrument_ids => '{EDGE}')", (AS_OF,))
    used = "SELECT rows_used, rows_padded FROM numeric_window_embeddings"
    assert market.execute(used).fetchone() == (63, 0)
