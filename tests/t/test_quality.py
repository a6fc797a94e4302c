"""The v2 encoders on real data: worth searching, and dependent on nothing that they should not see."""

import sys
from pathlib import Path

import pytest
from jointdata import load_vectors

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))
import quality  # noqa: E402  (its measure of volatility)

DAYS = ("2018-12-31", "2018-06-29")
V2 = (("num-regime-core-v2", 126), ("num-regime-core-v2", 252), ("num-stab-core-v2", 63))
PUBLISHED = (("num-regime-core-v1", 63), ("num-stab-core-v1", 63))

PRECISION = """
WITH v AS MATERIALIZED (
    SELECT i.issuer_id, i.sector, i.industry, e.vector
      FROM issuers i
      JOIN LATERAL (SELECT s.instrument_id FROM instruments s WHERE s.issuer_id = i.issuer_id
                     ORDER BY s.instrument_id COLLATE "C" LIMIT 1) r ON true
      JOIN ({vectors}) e ON e.id IN (r.instrument_id, i.issuer_id)
     WHERE i.sector IS NOT NULL AND i.issuer_id IN (SELECT issuer_id FROM profiles)),
near AS (
    SELECT (a.sector = b.sector)::int AS sector, (a.industry = b.industry)::int AS industry, row_number() OVER (
             PARTITION BY a.issuer_id ORDER BY cosine_sim(a.vector, b.vector) DESC, b.issuer_id COLLATE "C") AS rank
      FROM v a JOIN v b ON a.issuer_id <> b.issuer_id)
SELECT (SELECT count(*) FROM v), avg(sector) FILTER (WHERE rank <= 10)::float8, avg(industry) FILTER (WHERE rank <= 5)::float8
  FROM near"""
NUMERIC = """SELECT entity_id AS id, vector FROM numeric_window_embeddings
              WHERE model_id = '{model}' AND as_of_date = '{day}' AND window_spec ->> 'window_days' = '{window}'"""
JOINT = "SELECT entity_scope ->> 'issuer_id' AS id, vector FROM joint_embeddings WHERE model_id = '{model}' AND as_of_date = '{day}'"


def precision(connection, vectors, **names):
    """Issuers, same-sector precision at 10, same-industry precision at 5."""
    return connection.execute(PRECISION.format(vectors=vectors.format(**names))).fetchone()


def backfill(connection, day, model, window):
    connection.execute(
        "SELECT count(*) FROM backfill_numeric(%s::date, %s, 'US_EQ', model_id => %s)", (day, window, model)
    )


@pytest.fixture(scope="module")
def measured(cluster, sp500_template, shared):
    """A database with the v2 vectors and joints of both dates, and those fitted at each."""
    name = cluster.create_database(sp500_template)
    try:
        with cluster.connect(name) as connection:
            load_vectors(connection, shared / "oracle", "text_embeddings")
            # The descriptions are of one date; the same texts stand for the other.
            connection.execute(
                "INSERT INTO profiles (issuer_id, as_of_date, structured, risk_flags)"
                " SELECT issuer_id, '2018-06-29', structured, risk_flags FROM profiles"
            )
            connection.execute(
                "INSERT INTO text_embeddings (source_type, source_id, model_id, vector) SELECT source_type,"
                " split_part(source_id, ':', 1) || ':2018-06-29', model_id, vector FROM text_embeddings"
            )
            for day in DAYS:
                fill(connection, day)
            yield connection
    finally:
        cluster.drop_database(name)


def fill(connection, day):
    for model, window in (*V2[1:], V2[0]):
        backfill(connection, day, model, window)
    connection.execute("SELECT count(*) FROM backfill_joint_profiles(%s::date, joint_model_id => 'joint-profile-core-v2')", (day,))
    connection.execute("SELECT * FROM fit_embedding_model(%s, 'num-regime-core-v2', %s::date, 756, 30)", (f"factors-{day}", day))
    backfill(connection, day, f"factors-{day}", 756)
    connection.execute(
        "SELECT * FROM fit_embedding_model(%s, 'text-profile-v1', %s::date, components => 48)", (f"text-{day}", day)
    )
    connection.execute(
        """SELECT register_joint_space('PROFILE_CORE_V0', %s, 'ISSUER', jsonb_build_array(
             jsonb_build_object('name', 'factors', 'weight', 0.5, 'required', true, 'dims', 30,
               'table', 'numeric_window_embeddings', 'entity_type', 'INSTRUMENT', 'model_id', %s::text),
             jsonb_build_object('name', 'description', 'weight', 0.5, 'required', true, 'dims', 48, 'transform', %s::text,
               'table', 'text_embeddings', 'entity_type', 'ISSUER', 'model_id', 'text-profile-v1', 'source_type', 'PROFILE')),
             fusion => 'concat', entities => 'profiles')""",
        (f"joint-{day}", f"factors-{day}", f"text-{day}"),
    )
    connection.execute("SELECT count(*) FROM backfill_joint_profiles(%s::date, joint_model_id => %s)", (day, f"joint-{day}"))


@pytest.mark.parametrize("day", DAYS)
def test_precision_is_what_was_promised(measured, day):
    by_window = {window: precision(measured, NUMERIC, model="num-regime-core-v2", day=day, window=window) for window in (126, 252)}
    assert by_window[126][0] == by_window[252][0] == 257
    assert by_window[126][1] >= 0.50 and by_window[252][1] >= 0.60
    joint = precision(measured, JOINT, model="joint-profile-core-v2", day=day)
    assert joint[0] == 257 and joint[1] >= 0.70 and joint[2] >= 0.35
    fitted = precision(measured, JOINT, model=f"joint-{day}", day=day)
    assert fitted[0] == 257 and fitted[1] >= 0.77 and fitted[2] >= 0.35


def test_both_dates_agree(measured):
    for vectors, model, window in ((NUMERIC, "num-regime-core-v2", 126), (JOINT, "joint-profile-core-v2", None)):
        first, second = (precision(measured, vectors, model=model, day=day, window=window)[1] for day in DAYS)
        assert abs(first - second) <= 0.04


@pytest.mark.parametrize("model, least, most", [("num-stab-core-v2", 0.5, 0.80), ("num-stab-core-v1", 0.86, 1.1)])
def test_what_is_near_in_stability_is_about_as_wild_in_the_next_quarter(measured, model, least, most):
    """The volatility to come, which no vector knows: how far the ten nearest are apart, beside any two."""
    with measured.transaction(force_rollback=True):
        backfill(measured, DAYS[1], model, 63)
        measured.execute("CREATE TEMP TABLE v AS SELECT i.issuer_id, e.id AS instrument_id, e.vector FROM"
                         f" ({NUMERIC.format(model=model, day=DAYS[1], window=63)}) e JOIN instruments i ON i.instrument_id = e.id")
        apart = measured.execute(quality.CALM, {"day": DAYS[1]}).fetchone()[0]
    assert least < apart < most


OTHER_DAYS = ("2017-06-30", "2018-03-29")


@pytest.mark.parametrize("day", OTHER_DAYS)
def test_other_dates_are_about_as_good(measured, day):
    """Dates that nothing was chosen by."""
    backfill(measured, day, "num-regime-core-v2", 126)
    found = precision(measured, NUMERIC, model="num-regime-core-v2", day=day, window=126)
    assert found[0] > 240 and found[1] >= 0.55 and found[2] >= 0.25


@pytest.mark.parametrize("half", [0, 1])
def test_either_half_of_the_names_is_far_better_than_chance(measured, half):
    """Among half of the issuers there are half as many of a sector, so that the ten nearest cannot be as good."""
    joint = f"SELECT * FROM ({JOINT}) e WHERE hashtext(e.id) & 1 = {half}"
    issuers, *found = precision(measured, joint, model="joint-profile-core-v2", day=DAYS[0])
    assert 100 < issuers < 160 and found[0] >= 0.45 and found[1] >= 0.20, found
    issuers, *fitted = precision(measured, joint, model=f"joint-{DAYS[0]}", day=DAYS[0])
    assert fitted[0] >= 0.50 and fitted[1] >= 0.20, fitted


def test_a_fit_of_an_earlier_date_serves_a_later_one(measured):
    backfill(measured, DAYS[0], f"factors-{DAYS[1]}", 756)
    aged = precision(measured, NUMERIC, model=f"factors-{DAYS[1]}", day=DAYS[0], window=756)
    assert aged[0] == 257 and aged[1] >= 0.74


def test_vectors_are_unit_and_of_one_size(measured):
    odd = measured.execute(
        "SELECT model_id, count(*) FROM (SELECT model_id, vector FROM numeric_window_embeddings UNION ALL"
        " SELECT model_id, vector FROM joint_embeddings) v"
        " WHERE octet_length(vector) <> 1536 OR abs(l2_norm(vector) - 1) > 1e-6 GROUP BY 1"
    ).fetchall()
    assert odd == []


def test_a_cosine_is_explained_to_the_last_part(measured):
    for model in ("joint-profile-core-v2", f"joint-{DAYS[0]}"):
        parts = measured.execute(
            "SELECT branch, sum(contribution) FROM explain_similarity('PROFILE_CORE_V0', 'ISS_MSFT', 'ISS_ADBE', %s, %s, 126)"
            " GROUP BY 1", (DAYS[0], model)
        ).fetchall()
        cosine = measured.execute(
            "SELECT cosine_sim(a.vector, b.vector) FROM joint_embeddings a, joint_embeddings b WHERE a.model_id = %(m)s"
            " AND b.model_id = %(m)s AND a.as_of_date = %(d)s AND b.as_of_date = %(d)s"
            " AND a.entity_scope ->> 'issuer_id' = 'ISS_MSFT' AND b.entity_scope ->> 'issuer_id' = 'ISS_ADBE'",
            {"m": model, "d": DAYS[0]},
        ).fetchone()[0]
        assert len(parts) == 2 and abs(sum(part for _, part in parts) - cosine) < 1e-9
    nearest = measured.execute("SELECT issuer_id FROM find_similar_profiles('ISS_MSFT', %s::date, 'joint-profile-core-v2', 5)", (DAYS[0],))
    assert {row[0] for row in nearest} >= {"ISS_ADBE", "ISS_CRM", "ISS_GOOG"}


def test_volume_is_everything_in_the_published_ids(sp500):
    backfill(sp500, DAYS[0], "num-regime-core-v1", 63)
    parts = dict(sp500.execute(
        "SELECT feature, sum(contribution) FROM explain_numeric_similarity('num-regime-core-v1', 'MSFT.US', 'ADBE.US', %s) GROUP BY 1",
        (DAYS[0],)
    ).fetchall())
    assert parts["volume"] > 0.9 and abs(parts["close"]) < 1e-6 and abs(parts["log_return"]) < 1e-6


def vectors_of(connection, models, day):
    """Vectors by model, window and instrument."""
    for model, window in models:
        backfill(connection, day, model, window)
    rows = connection.execute(
        "SELECT model_id, window_spec ->> 'window_days', entity_id, vector_to_array(vector) FROM numeric_window_embeddings"
        " WHERE as_of_date = %s", (day,)
    )
    return {tuple(key): vector for *key, vector in rows}


def farthest(before, after):
    """The largest change of a component, by model."""
    assert before.keys() == after.keys()
    moved = {}
    for key, vector in before.items():
        most = max(abs(x - y) for x, y in zip(vector, after[key]))
        moved[key[0]] = max(moved.get(key[0], 0), most)
    return moved


def test_a_split_does_not_matter(sp500):
    """And adjusted prices restated with it: the other changes are tried on smaller data."""
    day = "2018-06-29"
    models = (*V2, *PUBLISHED)
    before = vectors_of(sp500, models, day)
    sp500.execute("UPDATE prices_daily SET close = close / 4, volume = volume * 4 WHERE trade_date < '2018-05-15';"
                  "UPDATE prices_daily SET adjusted_close = adjusted_close / 7.3")
    moved = farthest(before, vectors_of(sp500, models, day))
    assert all(moved[model] <= 1e-6 for model, _ in V2), moved
    assert all(moved[model] > 1 for model, _ in PUBLISHED), moved


@pytest.mark.parametrize("model", ["num-stab-core-v1", "num-regime-core-v2"])
def test_no_model_looks_ahead(sp500, model):
    ok, known, changed, detail = sp500.execute("SELECT * FROM check_no_lookahead(%s, 'MSFT.US', '2018-06-29')", (model,)).fetchone()
    assert ok and known > 0 and changed > 0, detail


def test_a_vector_does_not_depend_on_the_call(sp500):
    """One instrument or all, one date or a range, the table or a view of it, the look-up: the same bytes."""
    day = "2018-06-29"
    for model, window in V2:
        backfill(sp500, day, model, window)
        query = ("SELECT vector FROM numeric_window_embeddings WHERE entity_id = 'MSFT.US' AND model_id = %s AND as_of_date = %s"
                 " AND window_spec ->> 'window_days' = %s")
        key = (model, day, str(window))
        whole = sp500.execute(query, key).fetchone()
        sp500.execute("SELECT count(*) FROM backfill_numeric(%s::date, %s, instrument_ids => ARRAY['MSFT.US'], model_id => %s)", (day, window, model))
        assert sp500.execute(query, key).fetchone() == whole
        sp500.execute("SELECT count(*) FROM backfill_numeric('2018-06-20'::date, '2018-07-05'::date, %s, instrument_ids => ARRAY['MSFT.US'], model_id => %s)", (window, model))
        assert sp500.execute(query, key).fetchone() == whole
        sp500.execute("CREATE OR REPLACE VIEW seen AS SELECT * FROM prices_daily")
        looked_up = sp500.execute("SELECT num_window_embed('MSFT.US', %s::date, %s, %s, 'seen')", (day, window, model)).fetchone()
        assert looked_up == whole


@pytest.mark.parametrize("statement, code, words", [
    ("SELECT * FROM fit_embedding_model('x', 'num-regime-core-v1', '2018-12-31'::date)", "42809", "its encoder learns nothing"),
    ("SELECT * FROM fit_embedding_model('x', 'num-regime-core-v2', '2018-12-31'::date, 63, 0)", "22023", "components must be between 1 and 384"),
    ("SELECT * FROM fit_embedding_model('x', 'num-regime-core-v2', '2018-12-31'::date, 63, 384)", "22000", "found 321 usable"),
    ("SELECT * FROM fit_embedding_model('num-regime-core-v1', 'num-regime-core-v2', '2018-12-31'::date, 63, 5)", "42710", "already exists"),
    ("SELECT * FROM fit_embedding_model('x', 'text-profile-v1', '2018-12-31'::date)", "22000", "found 0 usable vectors that vary, need at least 31\nHINT:  A fit learns"),
    ("SELECT num_window_embed('{1,2,3}'::float8[], '{1,2,3}'::float8[], 3, 'num-regime-core-v2')", "22023", "against a market"),
    ("SELECT backfill_numeric('2018-12-31'::date, 63, 'US_EQ', model_id => 'num-profile-core-v2')", "42809", "named features"),
    ("SELECT backfill_numeric_profile('2018-12-31'::date, model_id => 'num-regime-core-v2')", "42809", "windows of prices"),
    ("SELECT explain_similarity('PROFILE_CORE_V0', 'ISS_A', 'ISS_B', '2018-12-31')", "P0002", "no joint embedding"),
])
def test_what_cannot_be_done_says_why(sp500, statement, code, words):
    with pytest.raises(Exception) as caught:
        sp500.execute(statement)
    assert caught.value.sqlstate == code and words in str(caught.value)


def test_named_features(sp500):
    rows = sp500.execute(
        "SELECT status, count(*) FROM backfill_numeric_profile('2018-12-31'::date, model_id => 'num-portfolio-core-v2',"
        " entity_type => 'PORTFOLIO', source => 'portfolio_risk_reports', entity_column => 'portfolio_id') GROUP BY 1"
    ).fetchall()
    assert rows == [("inserted", 40)]
    sp500.execute("SELECT count(*) FROM backfill_joint_portfolios('2018-12-31'::date, joint_model_id => 'joint-portfolio-core-v2')")
    assert sp500.execute("SELECT count(*) FROM joint_embeddings WHERE model_id = 'joint-portfolio-core-v2'").fetchone() == (40,)
    # A later report is not read.
    sp500.execute("UPDATE portfolio_risk_reports SET as_of_date = '2019-01-01' WHERE portfolio_id = 'PORT_000'")
    found = sp500.execute(
        "SELECT count(*) FROM backfill_numeric_profile('2018-12-31'::date, ARRAY['PORT_000', 'PORT_001'], 'num-portfolio-core-v2',"
        " 'PORTFOLIO', 'portfolio_id', source => 'portfolio_risk_reports')").fetchone()
    assert found == (1,)
