"""Byte for byte what the Python system wrote: every instrument vector it made from the real prices."""

import collections

import pytest
from realdata import read_csv

BACKFILL = "SELECT entity_id, status, dim, rows_used, detail FROM backfill_numeric(%s, %s, model_id => %s, market_id => 'US_EQ')"


def expected_vectors(shared):
    """{(as_of, window, model): {instrument: vector}} of the instruments in the recorded table."""
    runs = collections.defaultdict(dict)
    for row in read_csv(shared / "oracle" / "numeric_window_embeddings.csv.gz"):
        if row["entity_type"] == "INSTRUMENT":
            window = int(row["window_spec"].split('"window_days": ')[1].rstrip("}").split(",")[0])
            runs[row["as_of_date"], window, row["model_id"]][row["entity_id"]] = bytes.fromhex(row["vector_hex"])
    return runs


@pytest.fixture(scope="module")
def expected(shared):
    return expected_vectors(shared)


def test_backfill_writes_every_vector_of_the_python_system(sp500, expected):
    assert sum(map(len, expected.values())) == 2264
    active = [row[0] for row in sp500.execute("SELECT instrument_id FROM instruments WHERE status = 'ACTIVE'")]
    for (as_of, window, model), vectors in sorted(expected.items()):
        result = {row[0]: row[1:] for row in sp500.execute(BACKFILL, (as_of, window, model))}
        assert set(result) == set(active)
        stored = dict(
            sp500.execute(
                "SELECT entity_id, vector FROM numeric_window_embeddings WHERE as_of_date = %s AND model_id = %s"
                " AND window_spec = jsonb_build_object('window_days', %s::int, 'entity_type', 'INSTRUMENT')",
                (as_of, model, window),
            )
        )
        assert stored == vectors, (as_of, window, model)
        for instrument, (status, dim, rows_used, detail) in result.items():
            if instrument in vectors:
                assert (status, dim) == ("inserted", len(vectors[instrument]) // 4)
            else:
                assert (status, dim) == ("failed", None)
                assert detail.startswith(f"need at least {int(window * 0.87)} of {window} price rows in ")
                assert detail.endswith(f"..{as_of}, found {rows_used}")


def test_look_up_and_array_forms_and_the_aggregate_agree(sp500, expected):
    for (as_of, window, model), vectors in sorted(expected.items()):
        for instrument in sorted(vectors)[::40]:
            forms = sp500.execute(
                """
                WITH rows AS (
                    SELECT trade_date, close, volume FROM prices_daily
                     WHERE instrument_id = %(id)s
                       AND trade_date BETWEEN %(as_of)s::date - 3 * %(window)s::int AND %(as_of)s)
                SELECT num_window_embed(%(id)s, %(as_of)s, %(window)s, %(model)s),
                       (SELECT num_window_embed(array_agg(close ORDER BY trade_date),
                                                array_agg(volume ORDER BY trade_date), %(window)s, %(model)s) FROM rows),
                       (SELECT num_window_agg(trade_date, close, volume, %(window)s, %(model)s) FROM rows)
                """,
                {"id": instrument, "as_of": as_of, "window": window, "model": model},
            ).fetchone()
            assert forms == (vectors[instrument],) * 3, (instrument, as_of, window, model)


def test_running_twice_leaves_the_same_rows(sp500):
    state = "SELECT count(*), md5(string_agg(concat_ws('|', entity_id, as_of_date, model_id, encode(vector, 'hex')), ',' ORDER BY entity_id)) FROM numeric_window_embeddings"
    first = sp500.execute(BACKFILL, ("2018-12-31", 63, "num-regime-core-v1")).fetchall()
    before = sp500.execute(state).fetchone()
    second = sp500.execute(BACKFILL, ("2018-12-31", 63, "num-regime-core-v1")).fetchall()
    assert sp500.execute(state).fetchone() == before
    assert {row[1] for row in first} == {"inserted", "failed"}
    assert [row[0] for row in first if row[1] == "inserted"] == [row[0] for row in second if row[1] == "replaced"]


def test_a_range_equals_its_days(sp500, expected):
    sp500.execute("SELECT backfill_numeric('2018-06-25'::date, '2018-06-29'::date, market_id => 'US_EQ')")
    days = sp500.execute("SELECT as_of_date::text, count(*) FROM numeric_window_embeddings GROUP BY 1 ORDER BY 1").fetchall()
    assert [day for day, _ in days] == [f"2018-06-{day}" for day in (25, 26, 27, 28, 29)]
    stored = dict(sp500.execute("SELECT entity_id, vector FROM numeric_window_embeddings WHERE as_of_date = '2018-06-29'"))
    assert stored == expected["2018-06-29", 63, "num-regime-core-v1"]
