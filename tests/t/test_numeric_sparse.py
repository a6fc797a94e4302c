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


V2 = ["num-regime-core-v2", "num-stab-core-v2"]


@pytest.mark.parametrize("model", V2)
def test_v2_reads_less_and_makes_the_same(market, model):
    """What a table with one row a day allows to leave unread changes neither vectors nor reasons: a view says nothing of
    keys, and is read whole."""
    market.execute("CREATE VIEW whole AS SELECT * FROM prices_daily")
    made = ("SELECT entity_id, as_of_date, status, rows_used, detail FROM backfill_numeric(%s::date, %s::date, 63, 'US_EQ', model_id => %s, prices => %s)"
            " ORDER BY 1, 2")
    rows = ("SELECT entity_id, as_of_date, encode(vector, 'hex'), rows_used, rows_padded, last_trade_date, input_digest"
            " FROM numeric_window_embeddings ORDER BY 1, 2")
    # The last day, a few, and days of which the table holds too little before.
    for start in (AS_OF, "2015-12-29", "2015-05-04"):
        found = []
        for table in ("prices_daily", "whole"):
            market.execute("TRUNCATE numeric_window_embeddings")
            told = market.execute(made, (start, AS_OF if start > "2015-12" else start, model, table)).fetchall()
            found.append((told, market.execute(rows).fetchall()))
        assert found[0] == found[1] and len(found[0][1]) > 3
        statuses = {(entity, status) for entity, _, status, *_ in found[0][0]}
        assert start < "2015-12" or {("DAILY", "inserted"), ("DEAD", "failed"), ("GONE", "failed"), ("NONE", "failed")} <= statuses
    differing = "SELECT entity_id FROM numeric_window_embeddings WHERE vector IS DISTINCT FROM num_window_embed(entity_id, as_of_date, 63, model_id)"
    assert market.execute(differing).fetchall() == []


@pytest.mark.parametrize("model", V2)
def test_sessions_are_those_of_all_rows_where_older_days_were_busier(market, model):
    """Of the newest days fewer than a fifth moved of what moved before: they are no sessions, however little is read."""
    market.execute("INSERT INTO prices_daily SELECT 'OLD' || n, p.trade_date, p.open, p.high, p.low, p.close, p.adjusted_close, p.volume, 'USD'"
                   " FROM prices_daily p, generate_series(1, 60) n WHERE p.instrument_id = 'DAILY' AND p.trade_date < '2015-09-01'")
    market.execute("CREATE VIEW whole AS SELECT * FROM prices_daily")
    found = []
    for table in ("prices_daily", "whole"):
        market.execute("TRUNCATE numeric_window_embeddings")
        told = market.execute("SELECT entity_id, status, rows_used, detail FROM backfill_numeric(%s, 63, 'US_EQ', model_id => %s, prices => %s) ORDER BY 1",
                              (AS_OF, model, table)).fetchall()
        found.append((told, market.execute("SELECT entity_id, encode(vector, 'hex'), input_digest FROM numeric_window_embeddings ORDER BY 1").fetchall()))
    assert found[0] == found[1]
    # Against the market nothing has moved since September but for what sessions before it tell.
    rows = dict((entity, rows) for entity, _, rows, _ in found[0][0])
    assert rows["DAILY"] == 20 if model == "num-stab-core-v2" else rows["DAILY"] < 50


@pytest.mark.parametrize("model, changes", [
    ("num-regime-core-v2", {"adjusted_close": True, "volume": False, "close": False}),
    ("num-stab-core-v2", {"adjusted_close": True, "volume": True, "close": True}),
])
def test_a_fingerprint_covers_what_the_vector_depends_on_and_nothing_else(market, model, changes):
    fill = "SELECT status FROM backfill_numeric(%s, 63, instrument_ids => '{DAILY}', model_id => %s, on_existing => 'update')"

    def status():
        return market.execute(fill, (AS_OF, model)).fetchone()[0]

    assert (status(), status()) == ("inserted", "skipped")
    # The 63 days of the window, and the price that its first return starts from; volatility looks at no return of the oldest day.
    oldest = market.execute("SELECT min(trade_date) FROM (SELECT trade_date FROM prices_daily WHERE instrument_id = 'DAILY' AND trade_date <= %s"
                            " ORDER BY 1 DESC LIMIT %s) d", (AS_OF, 64 if model == "num-regime-core-v2" else 63)).fetchone()[0]
    market.execute("UPDATE prices_daily SET adjusted_close = adjusted_close * 1.5, close = close * 1.5, volume = volume + 1"
                   " WHERE instrument_id = 'DAILY' AND trade_date < %s", (oldest,))
    assert status() == "skipped"
    for column, counts in changes.items():
        market.execute(f"UPDATE prices_daily SET {column} = {column} * 1.5 WHERE instrument_id = 'DAILY' AND trade_date = %s", (oldest,))
        assert status() == ("replaced" if counts else "skipped"), column
        assert status() == "skipped"
