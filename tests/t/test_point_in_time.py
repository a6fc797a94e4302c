"""Point in time, and what must not matter, tried on every model of the catalog: published and v2, prices, texts,
portfolios, profiles, joint spaces, and fitted ones; and that the checks see what they are for."""

import fault_data
import numpy as np
import psycopg
import pytest

DAY, EARLIER = fault_data.DAY, "2024-06-21"
WINDOWS = {"num-profile-core-v1": 126, "num-regime-core-v2": 126}
PRICED = ["num-regime-core-v1", "num-stab-core-v1", "num-profile-core-v1", "num-regime-core-v2", "num-stab-core-v2"]
JOINT = ["joint-profile-core", "joint-portfolio-core", "joint-stab-fragility"]
V2 = [*PRICED[3:], "num-profile-core-v2", "num-portfolio-core-v2", *(f"{name}-v2" for name in JOINT)]
PUBLISHED = [*PRICED[:3], "joint-profile-core-v1", "joint-stab-fragility-v1"]

# Features of an issuer out of its prices, as a user would write them.
BEHAVIOUR = """
CREATE VIEW behaviour AS
SELECT i.issuer_id, d.day AS as_of_date, jsonb_build_object('price_vol_63d', stddev(r), 'price_dd_63d', 1 - min(p) / max(p),
         'price_trend_63d', sum(r), 'turnover', ln(sum(p * v)) - ln(max(p * v))) AS features
  FROM (SELECT DISTINCT as_of_date FROM profiles) d(day), instruments i, LATERAL (
    SELECT q.adjusted_close AS p, q.volume * q.close / q.adjusted_close AS v,
           ln(q.adjusted_close / lag(q.adjusted_close) OVER (ORDER BY q.trade_date)) AS r
      FROM prices_daily q WHERE q.instrument_id = i.instrument_id AND q.trade_date > d.day - 95 AND q.trade_date <= d.day) w
 GROUP BY 1, 2"""

# Texts are not what these tests are about (but for the text model's own): theirs are numbers out of a hash.
TEXTS = """
INSERT INTO text_embeddings (source_type, source_id, model_id, vector)
SELECT 'PROFILE', issuer_id || ':' || as_of_date, 'text-profile-v1', l2_normalize(vector_from_array(ARRAY(
         SELECT sin(hashtext(issuer_id || n)::float8) FROM generate_series(1, 384) n)))
  FROM profiles WHERE as_of_date IN ('{earlier}', '{day}')"""
FITS = """
SELECT * FROM fit_embedding_model('fitted-factors', 'num-regime-core-v2', '{earlier}', 126, 10);
SELECT * FROM fit_embedding_model('fitted-named', 'num-profile-core-v2', '{earlier}', features => 'behaviour');
SELECT * FROM fit_embedding_model('fitted-text', 'text-profile-v1', '{earlier}', components => 12);
SELECT register_joint_space('PROFILE_CORE_V0', 'fitted-joint', 'ISSUER', '[
    {{"name": "factors", "weight": 0.5, "required": true, "dims": 10, "table": "numeric_window_embeddings",
     "entity_type": "INSTRUMENT", "model_id": "fitted-factors"}},
    {{"name": "text", "weight": 0.5, "required": true, "dims": 12, "transform": "fitted-text", "table": "text_embeddings",
     "entity_type": "ISSUER", "model_id": "text-profile-v1", "source_type": "PROFILE"}}]',
  fusion => 'concat', entities => 'profiles')"""


def backfill(db, day):
    """Vectors of every model at `day`."""
    for model in PRICED:
        db.execute("SELECT count(*) FROM backfill_numeric(%s::date, %s, 'M', model_id => %s)", (day, WINDOWS.get(model, 63), model))
    db.execute("SELECT count(*) FROM backfill_numeric_portfolio(%s, max_entities => 20)", (day,))
    db.execute("SELECT count(*) FROM backfill_numeric_profile(%s, model_id => 'num-portfolio-core-v2', entity_type => 'PORTFOLIO',"
               " source => 'portfolio_risk_reports', entity_column => 'portfolio_id', max_entities => 20)", (day,))
    db.execute("SELECT count(*) FROM backfill_numeric_profile(%s, source => 'behaviour')", (day,))
    for version in ("v1", "v2"):
        for call in (f"backfill_joint_profiles(%s, joint_model_id => 'joint-profile-core-{version}')",
                     f"backfill_joint_portfolios(%s, numeric_model_id => 'num-portfolio-core-{version}',"
                     f" joint_model_id => 'joint-portfolio-core-{version}')",
                     f"backfill_joint_stab_fragility(%s, 'M', joint_model_id => 'joint-stab-fragility-{version}')"):
            failed = db.execute(f"SELECT count(*) FROM {call} WHERE status NOT IN ('inserted', 'replaced')", (day,)).fetchone()
            assert failed == (0,), (call, failed)


def vectors(db, day):
    """Vectors of a date by model and entity."""
    rows = db.execute(
        "SELECT model_id, entity_id, vector FROM numeric_window_embeddings WHERE as_of_date = %(day)s UNION ALL"
        " SELECT model_id, coalesce(entity_scope ->> 'entity_id', entity_scope ->> 'portfolio_id', entity_scope ->> 'issuer_id'), vector"
        "   FROM joint_embeddings WHERE as_of_date = %(day)s", {"day": day}).fetchall()
    found = {(model, entity): np.frombuffer(vector, "<f4") for model, entity, vector in rows}
    assert len(found) == len(rows)
    return found


@pytest.fixture(scope="module")
def market(module_db):
    """A market with vectors of every model at two dates; each test's changes are rolled back."""
    module_db.execute(fault_data.SOURCES)
    module_db.execute(BEHAVIOUR)
    module_db.execute(
        "INSERT INTO portfolio_risk_reports (report_id, portfolio_id, as_of_date, portfolio_value, cash, net_exposure, gross_exposure,"
        " leverage, risk_metrics, exposures_by_sector, exposures_by_factor) SELECT 'early ' || report_id, portfolio_id, %s,"
        " portfolio_value, cash, net_exposure, gross_exposure, leverage, risk_metrics, exposures_by_sector, exposures_by_factor"
        " FROM portfolio_risk_reports", (EARLIER,))
    module_db.execute(TEXTS.format(day=DAY, earlier=EARLIER))
    module_db.execute(FITS.format(earlier=EARLIER))
    for day in (EARLIER, DAY):
        backfill(module_db, day)
        module_db.execute("SELECT count(*) FROM backfill_numeric(%s::date, 126, 'M', model_id => 'fitted-factors')", (day,))
        module_db.execute("SELECT count(*) FROM backfill_joint_profiles(%s::date, joint_model_id => 'fitted-joint')", (day,))
    module_db.execute("ANALYZE")
    return module_db


@pytest.fixture
def changed(market):
    with market.transaction(force_rollback=True):
        yield market


def source_of(model):
    """Where named features of issuers are, and texts."""
    return "behaviour" if model in ("fitted-named", "num-profile-core-v2") else "profiles"


def entity_of(model, modality, encoder):
    """Whom a model is tried on, and over how many days."""
    if "portfolio" in model and (modality == "joint" or encoder == "named"):
        return "P00001", 63
    if modality != "numeric" or encoder == "named":
        return ("X0001" if "stab" in model else "I0001"), 63
    return "X0001", 126 if model == "fitted-factors" else WINDOWS.get(model, 63)


@pytest.mark.parametrize("day", [EARLIER, DAY])
def test_no_model_of_the_catalog_looks_ahead(market, day):
    models = market.execute("SELECT model_id, modality, spec ->> 'encoder' FROM embed_models ORDER BY 1").fetchall()
    assert {model for model, *_ in models} >= {*V2, *PUBLISHED, "num-scenario-core-v1", "numeric-simple-v1", "text-profile-v1",
                                               "fitted-factors", "fitted-named", "fitted-text", "fitted-joint"}
    for model, modality, encoder in models:
        entity, window = entity_of(model, modality, encoder)
        ok, known, later, detail = market.execute(
            "SELECT * FROM check_no_lookahead(%s, %s, %s, %s, entity_type => %s, profiles => %s)",
            (model, entity, day, window, "PORTFOLIO" if entity[0] == "P" else None, source_of(model))).fetchone()
        assert ok and known > 0 and later > 0 and "same" in detail, (model, day, known, later, detail)
    left = market.execute("SELECT count(*) FROM pg_class WHERE relname LIKE 'embed_check%'").fetchone()
    assert left == (0,)


def test_published_portfolios_do_not_look_ahead(market):
    ok, known, later, _ = market.execute(
        "SELECT * FROM check_no_lookahead('num-portfolio-core-v1', 'P00001', %s, entity_type => 'PORTFOLIO')", (EARLIER,)).fetchone()
    assert ok and known == 1 and later > 0


def test_a_fit_to_later_rows_is_told(market):
    for model, entity in (("fitted-factors", "X0001"), ("fitted-named", "I0001"), ("fitted-text", "I0001")):
        ok, *_, detail = market.execute("SELECT * FROM check_no_lookahead(%s, %s, '2024-06-20', 126, profiles => %s)",
                                        (model, entity, source_of(model))).fetchone()
        assert not ok and "fitted at 2024-06-21" in detail, model


# Functions that read five days more than they are asked for, under the names that the check calls.
PEEKING = {
    "windows": ("num-regime-core-v2", "X0001", "num_window_embed(text,date,int,text,regclass,regclass)", """
        CREATE FUNCTION num_window_embed(instrument_id text, as_of date, window_days int, model_id text, prices regclass, instruments regclass)
            RETURNS bytea LANGUAGE sql AS 'SELECT public.peeking($1, $2 + 5, $3, $4, $5, $6)'"""),
    "named features": ("num-profile-core-v2", "I0001", "backfill_numeric_profile", """
        CREATE FUNCTION backfill_numeric_profile(as_of date, entity_ids text[], model_id text, entity_type text, entity_column text,
            source regclass, target regclass) RETURNS TABLE (status text, detail text) LANGUAGE sql
            AS 'SELECT p.status, p.detail FROM public.peeking($1 + 5, $2, $3, $4, $5, source => $6, target => $7) p'"""),
    "joint vectors": ("joint-profile-core-v2", "I0001", "backfill_joint", """
        CREATE FUNCTION backfill_joint(joint_type text, as_of date, model_id text, entity_type text, entity_ids text[],
            numeric_embeddings regclass, text_embeddings regclass, target regclass, profiles regclass, instruments regclass,
            markets regclass, scenario_sets regclass) RETURNS TABLE (status text, detail text) LANGUAGE plpgsql AS $$ BEGIN
            -- The vectors of the days after it, under its own date.
            CREATE TEMP TABLE seen ON COMMIT DROP AS SELECT * FROM pg_temp.embed_check_numeric n ORDER BY n.as_of_date;
            UPDATE pg_temp.seen n SET vector = (SELECT m.vector FROM pg_temp.seen m WHERE m.entity_id = n.entity_id AND m.model_id = n.model_id
                                         ORDER BY m.as_of_date DESC LIMIT 1);
            RETURN QUERY SELECT p.status, p.detail FROM public.peeking(joint_type, as_of, model_id => $3, entity_type => $4, entity_ids => $5,
              numeric_embeddings => 'pg_temp.seen', text_embeddings => $7, target => $8, profiles => $9, instruments => $10,
              markets => $11, scenario_sets => $12) p;
            DROP TABLE pg_temp.seen; END $$"""),
}


@pytest.mark.parametrize("what", PEEKING)
def test_an_encoder_that_peeks_is_caught(changed, what):
    model, entity, function, peeks = PEEKING[what]
    honest = changed.execute("SELECT ok FROM check_no_lookahead(%s, %s, %s, 126)", (model, entity, EARLIER)).fetchone()
    changed.execute(f"ALTER FUNCTION {function} RENAME TO peeking")
    changed.execute(peeks)
    ok, *_, detail = changed.execute("SELECT * FROM check_no_lookahead(%s, %s, %s, 126)", (model, entity, EARLIER)).fetchone()
    assert honest == (True,) and not ok and "later rows move the vector by" in detail


LATER = """
INSERT INTO prices_daily (instrument_id, trade_date, open, high, low, close, adjusted_close, volume, currency)
SELECT instrument_id, '2024-07-01', 1, 1, 1, close * 2, adjusted_close * 2, volume * 9, 'USD' FROM prices_daily WHERE trade_date = '2024-06-28';
INSERT INTO profiles (issuer_id, as_of_date, structured, risk_flags) SELECT issuer_id, '2024-07-01', '{"gross_margin": 9}', '{}' FROM issuers;
INSERT INTO portfolio_risk_reports (report_id, portfolio_id, as_of_date, portfolio_value, cash, net_exposure, gross_exposure, leverage,
    risk_metrics, exposures_by_sector, exposures_by_factor)
SELECT 'late ' || report_id, portfolio_id, '2024-07-01', 1, 1, 9, 9, 9, '{"beta": 9}', '{}', '{}'
  FROM portfolio_risk_reports WHERE as_of_date = '2024-06-28'"""
CHANGES = {
    "a later row": LATER,
    "a split": "UPDATE prices_daily SET close = close / 4, volume = volume * 4 WHERE trade_date < '2024-05-15' AND instrument_id < 'X0040'",
    "adjusted prices restated": "UPDATE prices_daily SET adjusted_close = adjusted_close / 7.3",
    "another unit of volume": "UPDATE prices_daily SET volume = volume / 1000;"
                              "UPDATE portfolio_risk_reports SET portfolio_value = portfolio_value / 1000, cash = cash / 1000",
}


@pytest.mark.parametrize("what", CHANGES)
def test_what_must_not_matter_does_not(changed, what):
    before = vectors(changed, DAY)
    changed.execute(CHANGES[what])
    backfill(changed, DAY)
    after = vectors(changed, DAY)
    assert before.keys() == after.keys()
    moved = {}
    for key, vector in before.items():
        moved[key[0]] = max(moved.get(key[0], 0.0), float(np.abs(vector - after[key]).max()))
    assert all(moved[model] <= 1e-6 for model in V2), moved
    if what in ("a split", "another unit of volume"):
        assert all(moved[model] > 1e-3 for model in PUBLISHED), moved
    elif what == "a later row":
        assert all(moved[model] == 0 for model in PUBLISHED), moved


def test_a_collapsed_cross_section_is_told_and_a_good_one_is_not(changed):
    warnings = dict(changed.execute("SELECT model_id, warning FROM embedding_health"))
    for model in ("num-regime-core-v1", "num-stab-core-v1"):
        assert "collapsed: any two of 80 vectors have a median cosine of" in warnings[model], warnings
    for model in ("num-regime-core-v2", "joint-profile-core-v2", "text-profile-v1"):
        assert warnings[model] is None, (model, warnings[model])
    changed.execute("UPDATE text_embeddings SET vector = (SELECT vector FROM text_embeddings LIMIT 1) WHERE source_id < 'I0075'")
    warning, compared, nearest = changed.execute(
        "SELECT warning, compared, nearest_cosine FROM embedding_health WHERE model_id = 'text-profile-v1'").fetchone()
    assert compared == 80 and nearest == 1 and warning.startswith("collapsed")


def cosine(db, table, where, model, a, b):
    return db.execute(
        f"SELECT cosine_sim(a.vector, b.vector) FROM {table} a, {table} b WHERE a.model_id = %(m)s AND b.model_id = %(m)s"
        f" AND a.as_of_date = %(d)s AND b.as_of_date = %(d)s AND a.{where} = %(a)s AND b.{where} = %(b)s",
        {"m": model, "d": DAY, "a": a, "b": b}).fetchone()[0]


@pytest.mark.parametrize("model, kind, a, b", [
    *((model, "INSTRUMENT", "X0001", "X0002") for model in PRICED),
    ("fitted-factors", "INSTRUMENT", "X0001", "X0002"),
    ("num-portfolio-core-v1", "PORTFOLIO", "P00001", "P00002"),
    ("num-portfolio-core-v2", "PORTFOLIO", "P00001", "P00002"),
    ("num-profile-core-v2", "ISSUER", "I0001", "I0002"),
])
def test_a_numeric_cosine_is_the_sum_of_its_parts(market, model, kind, a, b):
    window = 126 if model == "fitted-factors" else WINDOWS.get(model, 63)
    if kind != "INSTRUMENT":
        window = market.execute("SELECT DISTINCT (window_spec ->> 'window_days')::int FROM numeric_window_embeddings WHERE model_id = %s", (model,)).fetchone()[0]
    parts = market.execute(
        "SELECT feature, block, contribution FROM explain_numeric_similarity(%s, %s, %s, %s, %s, %s)", (model, a, b, DAY, window, kind)).fetchall()
    score = cosine(market, "numeric_window_embeddings", "entity_id", model, a, b)
    assert parts and abs(sum(part for *_, part in parts) - score) < 1e-9
    if model in ("num-regime-core-v1", "num-stab-core-v1", "num-profile-core-v1"):
        by_feature = {}
        for feature, _, part in parts:
            by_feature[feature] = by_feature.get(feature, 0) + part
        assert by_feature["volume"] / score > 0.999999
    elif model == "num-stab-core-v2":
        assert len({feature for feature, *_ in parts}) == 4 and len({block for _, block, _ in parts}) > 1


@pytest.mark.parametrize("joint_type, model, a, b", [
    (joint_type, model, a, b) for joint_type, name, a, b in (
        ("PROFILE_CORE_V0", "joint-profile-core", "I0001", "I0002"), ("PORTFOLIO_CORE_V0", "joint-portfolio-core", "P00001", "P00002"),
        ("STAB_FRAGILITY_V0", "joint-stab-fragility", "X0001", "X0002"))
    for model in (f"{name}-v1", f"{name}-v2")] + [("PROFILE_CORE_V0", "fitted-joint", "I0001", "I0002")])
def test_a_joint_cosine_is_the_sum_of_its_parts(market, joint_type, model, a, b):
    parts = market.execute(
        "SELECT branch, feature, contribution FROM explain_similarity(%s, %s, %s, %s, %s, 63)", (joint_type, a, b, DAY, model)).fetchall()
    key = {"I": "issuer_id", "P": "portfolio_id", "X": "entity_id"}[a[0]]
    score = cosine(market, "joint_embeddings", f"entity_scope ->> '{key}'", model, a, b)
    assert abs(sum(part for *_, part in parts) - score) < 1e-9
    branches, = market.execute(
        "SELECT branches FROM embed_spaces WHERE joint_type = %s AND model_id = %s AND entity_type <> 'SCENARIO'", (joint_type, model)).fetchone()
    if not model.endswith("-v1"):
        assert {branch for branch, *_ in parts} == {branch["name"] for branch in branches}
    elif model != "joint-portfolio-core-v1":
        volume = sum(part for _, feature, part in parts if feature == "volume")
        assert volume / score > 0.999


@pytest.mark.parametrize("model, kind, a, b, source, names", [
    ("num-portfolio-core-v2", "PORTFOLIO", "P00001", "P00002", {}, {("book", "leverage"), ("shape", "concentration")}),
    ("num-profile-core-v2", "ISSUER", "I0001", "I0002", {"profiles": "behaviour"},
     {("profile", "price_vol_63d"), ("profile", "price_dd_63d"), ("profile", "price_trend_63d"), ("profile", "turnover")}),
])
def test_named_features_are_explained_by_name(market, model, kind, a, b, source, names):
    arguments = "".join(f", {name} => '{table}'" for name, table in source.items())
    query = f"SELECT block, feature, contribution FROM explain_numeric_similarity('{model}', %s, %s, '{DAY}', 1, '{kind}'{arguments})"
    parts = market.execute(query, (a, b)).fetchall()
    assert names <= {(block, feature) for block, feature, _ in parts}
    assert abs(sum(part for *_, part in parts) - cosine(market, "numeric_window_embeddings", "entity_id", model, a, b)) < 1e-9
    # With itself every feature counts for what it is of the vector, and either order says the same.
    alone = {(block, feature): part for block, feature, part in market.execute(query, (a, a)).fetchall()}
    assert abs(sum(alone.values()) - 1) < 1e-9 and all(part > -0.2 for part in alone.values())
    turned = {(block, feature): part for block, feature, part in market.execute(query, (b, a)).fetchall()}
    assert turned.keys() == {(block, feature) for block, feature, _ in parts}
    assert all(abs(turned[block, feature] - part) < 1e-9 for block, feature, part in parts)


def test_a_part_is_what_its_feature_changes(changed):
    """Where one feature differs from its centre in both rows, it is all of the cosine, negative where the signs differ."""
    changed.execute("UPDATE portfolio_risk_reports SET exposures_by_sector = '{}', exposures_by_factor = '{}', net_exposure = 0.8,"
                    " gross_exposure = 1.2, leverage = 1.2, risk_metrics = jsonb_build_object('beta', CASE portfolio_id"
                    " WHEN 'P00001' THEN 1.4 WHEN 'P00002' THEN 1.2 ELSE 0.6 END) WHERE as_of_date = %s", (DAY,))
    changed.execute("SELECT count(*) FROM backfill_numeric_profile(%s, model_id => 'num-portfolio-core-v2', entity_type => 'PORTFOLIO',"
                    " source => 'portfolio_risk_reports', entity_column => 'portfolio_id', max_entities => 20)", (DAY,))
    for other, expected in (("P00002", 1), ("P00003", -1)):
        (block, feature, part), = changed.execute(
            "SELECT block, feature, contribution FROM explain_numeric_similarity('num-portfolio-core-v2', 'P00001', %s, %s, 1, 'PORTFOLIO')",
            (other, DAY)).fetchall()
        assert (block, feature) == ("risk", "beta") and abs(part - expected) < 1e-6


def test_rows_that_no_longer_give_the_vector_are_not_named(changed):
    changed.execute("UPDATE portfolio_risk_reports SET risk_metrics = '{\"beta\": 3}' WHERE portfolio_id = 'P00001' AND as_of_date = %s", (DAY,))
    for model, call in (("num-portfolio-core-v2", "explain_numeric_similarity('num-portfolio-core-v2', 'P00001', 'P00002', %s, 1, 'PORTFOLIO')"),
                        ("joint-portfolio-core-v2", "explain_similarity('PORTFOLIO_CORE_V0', 'P00001', 'P00002', %s, 'joint-portfolio-core-v2')")):
        (feature, part), = changed.execute(f"SELECT feature, contribution FROM {call}", (DAY,)).fetchall()
        table, where = ("joint_embeddings", "entity_scope ->> 'portfolio_id'") if "joint" in model else ("numeric_window_embeddings", "entity_id")
        assert feature == "all" and abs(part - cosine(changed, table, where, model, "P00001", "P00002")) < 1e-9


def test_of_two_rows_of_a_date_the_explanation_reads_the_one_of_the_vector(changed):
    changed.execute("INSERT INTO portfolio_risk_reports (report_id, portfolio_id, as_of_date, portfolio_value, cash, net_exposure, gross_exposure,"
                    " leverage, risk_metrics, exposures_by_sector, exposures_by_factor) SELECT report_id || ' tie ' || n, portfolio_id, as_of_date,"
                    " portfolio_value, cash, net_exposure, gross_exposure, leverage + n / 10.0, risk_metrics, exposures_by_sector, exposures_by_factor"
                    " FROM portfolio_risk_reports, generate_series(-2, 2) n WHERE portfolio_id = 'P00001' AND as_of_date = %s", (DAY,))
    changed.execute("SELECT count(*) FROM backfill_numeric_profile(%s, ARRAY['P00001'], 'num-portfolio-core-v2', 'PORTFOLIO',"
                    " 'portfolio_id', source => 'portfolio_risk_reports')", (DAY,))
    parts = changed.execute("SELECT feature FROM explain_numeric_similarity('num-portfolio-core-v2', 'P00001', 'P00002', %s, 1, 'PORTFOLIO')",
                            (DAY,)).fetchall()
    assert len(parts) > 5


def test_portfolios_are_explained_by_name_in_the_joint_space_too(market):
    numeric, joint = (dict(market.execute(f"SELECT block || '/' || feature, contribution FROM {call}").fetchall()) for call in (
        f"explain_numeric_similarity('num-portfolio-core-v2', 'P00001', 'P00002', '{DAY}', 1, 'PORTFOLIO')",
        f"explain_similarity('PORTFOLIO_CORE_V0', 'P00001', 'P00002', '{DAY}', 'joint-portfolio-core-v2')"))
    assert len(joint) > 5 and joint.keys() == numeric.keys()
    assert all(abs(joint[name] - part) < 1e-6 for name, part in numeric.items())


def test_a_projected_branch_is_explained_by_features_and_days(changed):
    changed.execute("SELECT register_joint_space('CALM', 'calm', 'INSTRUMENT', (SELECT jsonb_set(branches, '{0}', branches -> 0 || '{\"seed\": 1, \"dims\": 60}')"
                    " FROM embed_spaces WHERE model_id = 'joint-stab-fragility-v2'), fusion => 'concat', entities => 'instruments')")
    changed.execute("SELECT count(*) FROM backfill_joint('CALM', %s, market_id => 'M')", (DAY,))
    query = "SELECT branch, feature, block, contribution FROM explain_similarity('CALM', 'X0001', 'X0002', %s, 'calm')"
    parts = changed.execute(query, (DAY,)).fetchall()
    stability = {(feature, block): part for branch, feature, block, part in parts if branch == "stability"}
    features = {f"{c['feature']}{' %d' % c['days'] if 'days' in c else ''}" for c, in changed.execute(
        "SELECT jsonb_array_elements(spec -> 'channels') FROM embed_models WHERE model_id = 'num-stab-core-v2'")}
    assert {feature for feature, _ in stability} == features and {block for _, block in stability} == {"newest 21 days", "days 22-63"}
    # The projection keeps angles nearly, so its parts are near those of the branch alone, and add up to the place's.
    whole = dict(((feature, block), part) for feature, block, part in changed.execute(
        "SELECT feature, block, contribution FROM explain_numeric_similarity('num-stab-core-v2', 'X0001', 'X0002', %s)", (DAY,)))
    assert all(abs(part / 0.7 - whole[name]) < 0.15 for name, part in stability.items())
    score = cosine(changed, "joint_embeddings", "entity_scope ->> 'entity_id'", "calm", "X0001", "X0002")
    assert abs(sum(part for *_, part in parts) - score) < 1e-9
    # Without the branch's own vectors there is nothing to split by, and the sum is the same.
    changed.execute("DELETE FROM numeric_window_embeddings WHERE model_id = 'num-stab-core-v2' AND entity_id = 'X0002'")
    blind = changed.execute(query, (DAY,)).fetchall()
    assert [(feature, block) for branch, feature, block, _ in blind if branch == "stability"] == [("all", "all")]
    assert abs(sum(part for *_, part in blind) - score) < 1e-9


@pytest.mark.parametrize("arguments, code, words", [
    ("'num-scenario-core-v1', 'S:1', '2024-06-28', entity_type => 'SCENARIO'", "0A000", "no dates"),
    ("'num-regime-core-v2', 'X0001', '2024-06-28', entity_type => 'FUND'", "22023", '"FUND"'),
    ("'num-regime-core-v2', 'X9999', '2024-06-28'", "22000", "of 63 days with a usable price"),
    ("'num-nothing', 'X0001', '2024-06-28'", "42704", "num-nothing"),
    ("'joint-profile-core-v2', 'I9999', '2024-06-28'", "P0002", 'no vector of "I9999"'),
])
def test_what_cannot_be_checked_says_why(changed, arguments, code, words):
    with pytest.raises(psycopg.Error) as caught:
        changed.execute(f"SELECT * FROM check_no_lookahead({arguments})")
    assert caught.value.sqlstate == code and words in str(caught.value)


def test_like_is_compared_with_like(changed):
    """In a space whose branches may be missing, a search ranks vectors of the same branches."""
    changed.execute(
        """SELECT register_joint_space('PROFILE_CORE_V0', 'gaps', 'ISSUER', '[
             {"name": "behaviour", "weight": 0.5, "required": true, "dims": 160, "table": "numeric_window_embeddings",
              "entity_type": "INSTRUMENT", "model_id": "num-regime-core-v2"},
             {"name": "text", "weight": 0.5, "dims": 224, "seed": 1, "table": "text_embeddings", "entity_type": "ISSUER",
              "model_id": "text-profile-v1", "source_type": "PROFILE"}]', fusion => 'concat', entities => 'profiles')""")
    changed.execute("DELETE FROM text_embeddings WHERE source_id BETWEEN 'I0001' AND 'I0010'")
    changed.execute("SELECT count(*) FROM backfill_joint_profiles(%s::date, joint_model_id => 'gaps')", (DAY,))
    search = "SELECT entity_id, entity_scope ->> 'source' FROM find_similar('PROFILE_CORE_V0', %s, %s, 100, model_id => 'gaps', filter => %s)"
    found = {}
    for issuer, many in (("I0001", 8), ("I0020", 70)):
        hits = changed.execute(search, (f'{{"issuer_id": "{issuer}"}}', DAY, None)).fetchall()
        sources = {source for _, source in hits}
        assert len(sources) == 1 and len(hits) == many, (issuer, len(hits), sources)
        found[issuer] = sources.pop()
    assert found["I0001"] != found["I0020"] and "text" in found["I0020"] and "text" not in found["I0001"]
    # Who names another source gets it.
    other = changed.execute(search, ('{"issuer_id": "I0001"}', DAY, f'{{"source": "{found["I0020"]}"}}')).fetchall()
    assert {source for _, source in other} == {found["I0020"]} and len(other) == 71


CENTRED = """[{"name": "text", "required": true, "dims": 384, %s"table": "text_embeddings", "entity_type": "ISSUER",
    "model_id": "text-profile-v1", "source_type": "PROFILE"}]"""


def test_a_branch_is_centred_if_its_space_says_so(changed):
    for name, key in (("plain", ""), ("centred", '"center": "fitted-text", ')):
        changed.execute("SELECT register_joint_space('TEXTS', %s, 'ISSUER', %s, fusion => 'concat', entities => 'profiles')", (name, CENTRED % key))
        changed.execute("SELECT count(*) FROM backfill_joint('TEXTS', %s, model_id => %s)", (DAY, name))
    found = vectors(changed, DAY)
    texts = {source.split(":")[0]: np.frombuffer(vector, "<f4").astype("float64") for source, vector in changed.execute(
        "SELECT source_id, vector FROM text_embeddings WHERE source_id LIKE %s", (f"%{DAY}",))}
    # The mean is that of the day of the fit: what came later moves nothing.
    mean = np.mean([np.frombuffer(vector, "<f4").astype("float64") for vector, in changed.execute(
        "SELECT vector FROM text_embeddings WHERE source_id LIKE %s", (f"%{EARLIER}",))], axis=0)
    assert len(texts) > 50 and np.linalg.norm(mean) > 0.01
    for issuer, text in texts.items():
        expected = text / np.linalg.norm(text) - mean
        assert np.abs(found["centred", issuer] - expected / np.linalg.norm(expected)).max() < 1e-6
        assert np.abs(found["plain", issuer] - text / np.linalg.norm(text)).max() < 1e-6
    parts = changed.execute("SELECT feature, contribution FROM explain_similarity('TEXTS', 'I0001', 'I0002', %s, 'centred')", (DAY,)).fetchall()
    assert [feature for feature, _ in parts] == ["all"]
    score = cosine(changed, "joint_embeddings", "entity_scope ->> 'issuer_id'", "centred", "I0001", "I0002")
    assert abs(parts[0][1] - score) < 1e-9


@pytest.mark.parametrize("key, code, words", [
    ('"center": "fitted-text", "transform": "fitted-text", ', "22023", "center: cannot be there beside a transform"),
    ('"center": "text-profile-v1", ', "42809", "text-profile-v1"),
    ('"center": "nothing", ', "42704", "nothing"),
])
def test_a_center_that_is_none_is_refused(changed, key, code, words):
    with pytest.raises(psycopg.Error) as caught:
        changed.execute("SELECT register_joint_space('TEXTS', 'wrong', 'ISSUER', %s, fusion => 'concat', entities => 'profiles')", (CENTRED % key,))
    assert caught.value.sqlstate == code and words in f"{caught.value} {caught.value.diag.message_detail}"
