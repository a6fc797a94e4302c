"""One odd price at a time, of every kind and at every place of a window, for every model of prices: no vector of a v2 model
has a value that is not finite, and nobody else's changes by more than a market does."""

import pytest
from numeric_data import fill

ODD = ["0", "-0", "-1", "NaN", "Infinity", "-Infinity", "1e308", "-1e308", "1e-308", "5e-324", "1e-45", "1.7976931348623157e308"]
# Sessions before the last one: the ends of the window of 63 rows, its middle, and what is read before it.
BACK = [0, 1, 31, 61, 62, 125]
SOUND = 8
DAY = "2024-06-28"
SPOIL = """
UPDATE prices_daily p SET close = odd.price, adjusted_close = odd.price
  FROM (SELECT format('X%%s', lpad((%s + row_number() OVER ())::text, 4, '0')) AS id, price::float8, back
          FROM unnest(%s::text[]) price, unnest(%s::int[]) back) odd,
       (SELECT trade_date, row_number() OVER (ORDER BY trade_date DESC) - 1 AS back FROM (SELECT DISTINCT trade_date FROM prices_daily) d) day
 WHERE p.instrument_id = odd.id AND p.trade_date = day.trade_date AND day.back = odd.back"""
FINITE = """SELECT bool_and(x = x AND abs(x) < 'Infinity') FROM numeric_window_embeddings n, unnest(vector_to_array(n.vector)) x WHERE n.model_id = %s"""


@pytest.mark.parametrize("model", ["num-regime-core-v2", "num-stab-core-v2"])
def test_an_odd_price_gives_finite_vectors_or_a_reason(db, model):
    fill(db, instruments=SOUND + len(ODD) * len(BACK), days=400)
    assert db.execute(SPOIL, [SOUND, ODD, BACK]).rowcount == len(ODD) * len(BACK)
    rows = db.execute("SELECT entity_id, status, detail FROM backfill_numeric(%s, market_id => 'M', model_id => %s)", [DAY, model]).fetchall()
    assert len(rows) == SOUND + len(ODD) * len(BACK)
    assert {status for _, status, _ in rows} <= {"inserted", "failed"}
    assert all(detail for _, status, detail in rows if status == "failed")
    # The others are none the worse for it.
    assert [status for _, status, _ in rows[:SOUND]] == ["inserted"] * SOUND
    assert db.execute(FINITE, [model]).fetchone() == (True,)


@pytest.mark.parametrize("model", ["num-regime-core-v1", "num-stab-core-v1", "num-profile-core-v1", "numeric-simple-v1"])
def test_what_a_published_model_makes_of_an_odd_price_is_told(db, model):
    """It gives what the Python system gives, NaN and infinity included; the outcome says how many of them."""
    fill(db, instruments=SOUND + len(ODD) * len(BACK), days=400)
    db.execute(SPOIL, [SOUND, ODD, BACK])
    rows = db.execute("SELECT entity_id, status, detail FROM backfill_numeric(%s, market_id => 'M', model_id => %s)", [DAY, model]).fetchall()
    assert {status for _, status, _ in rows} == {"inserted"}
    odd = dict(
        db.execute(
            "SELECT n.entity_id, count(*) FROM numeric_window_embeddings n, unnest(vector_to_array(n.vector)) x WHERE x <> x OR abs(x) = 'Infinity' OR x = 'NaN' GROUP BY 1"
        ).fetchall()
    )
    assert 0 < len(odd) < len(ODD) * len(BACK)
    assert {entity for entity, _, detail in rows if detail and "not finite" in detail} == set(odd)
    assert not set(odd) & {entity for entity, _, _ in rows[:SOUND]}
