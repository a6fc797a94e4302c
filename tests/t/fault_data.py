"""A database that every backfill, search and inference of the extension has something to do in: one market of
instruments with prices, profiles, risk reports, scenarios, and the vectors that joint spaces read."""

import datetime

from faults import size

DAY = "2024-06-28"
INSTRUMENTS, DAYS, PROFILE_DATES, PORTFOLIOS, PATHS = size(80, 160), 260, size(12, 40), size(800, 4000), size(60, 400)

SOURCES = f"""
INSERT INTO markets (market_id, name, region, timezone) VALUES ('M', 'market', 'EU', 'UTC');
INSERT INTO issuers (issuer_id, issuer_type, name) SELECT format('I%s', lpad(i::text, 4, '0')), 'COMPANY', 'issuer ' || i FROM generate_series(1, {INSTRUMENTS}) i;
INSERT INTO instruments (instrument_id, issuer_id, market_id, asset_class, symbol, currency, status)
SELECT replace(issuer_id, 'I', 'X'), issuer_id, 'M', 'EQUITY', issuer_id, 'USD', 'ACTIVE' FROM issuers;
CREATE TABLE days AS SELECT day::date, row_number() OVER (ORDER BY day DESC) AS back
  FROM generate_series(date '{DAY}' - {DAYS * 7 // 5 + 9}, date '{DAY}', interval '1 day') day WHERE extract(isodow FROM day) < 6;
DELETE FROM days WHERE back > {DAYS};
INSERT INTO prices_daily (instrument_id, trade_date, open, high, low, close, adjusted_close, volume, currency)
SELECT x.instrument_id, d.day, p, p, p, p, p, 1e5 + (hashtext(x.instrument_id || d.day) & 65535), 'USD'
  FROM instruments x CROSS JOIN days d
 CROSS JOIN LATERAL (SELECT 50 + (hashtext(x.instrument_id) & 63) + 9 * sin(d.back / (7.0 + (hashtext(x.instrument_id) & 15)))
                            + (hashtext(x.instrument_id || d.day) & 1023) / 512.0) AS close(p);
INSERT INTO profiles (issuer_id, as_of_date, structured, risk_flags)
SELECT i.issuer_id, d.day, jsonb_build_object('business_description',
         repeat(format('Company %s makes pumps, valves and bonds of kind %s. ', i.issuer_id, hashtext(i.issuer_id) & 7), 1 + (hashtext(i.issuer_id) & 15)),
         'risk_summary', 'Rates and demand, as of ' || d.day, 'gross_margin', (hashtext(i.issuer_id) & 255) / 256.0), '{{}}'
  FROM issuers i CROSS JOIN days d WHERE d.back <= {PROFILE_DATES};
INSERT INTO portfolio_risk_reports (report_id, portfolio_id, as_of_date, portfolio_value, cash, net_exposure, gross_exposure, leverage, risk_metrics, exposures_by_sector, exposures_by_factor)
SELECT 'R' || n, 'P' || lpad(n::text, 5, '0'), '{DAY}', 1e6, 1e4, 0.5 + n % 7 / 10.0, 1, 1 + n % 5,
       jsonb_build_object('vol_21d', 0.1 + n % 31 / 100.0, 'var_95', -0.01 * (n % 5), 'beta', n % 11 / 10.0),
       jsonb_build_object('Energy', n % 3 / 10.0, 'Banks', n % 8 / 10.0), jsonb_build_object('market', n % 13 / 10.0)
  FROM generate_series(1, {PORTFOLIOS}) n;
INSERT INTO scenario_sets (scenario_set_id, name, category, horizon_days, num_paths, base_date_end)
VALUES ('S', 'set', 'TEST', 21, {PATHS}, '{DAY}');
INSERT INTO scenario_paths (scenario_set_id, scenario_id, horizon_index, instrument_id, factor_id, macro_id, return_value, price)
SELECT 'S', k, h, x.instrument_id, '__NONE__', '__NONE__', 0.01 * sin(k * h + hashtext(x.instrument_id) % 100), 100 + h
  FROM generate_series(0, {PATHS - 1}) k, generate_series(0, 21) h, (SELECT instrument_id FROM instruments ORDER BY 1 LIMIT 12) x;
ANALYZE;
"""

# Vectors of the branches. Texts get those of prices: a model would take minutes, and nobody here looks at meaning.
BRANCHES = f"""
SELECT count(*) FROM (SELECT min(day) AS first FROM days WHERE back <= {PROFILE_DATES}) d,
  LATERAL (SELECT 1 FROM backfill_numeric(start_date => d.first, end_date => '{DAY}', market_id => 'M', model_id => 'num-regime-core-v1')
           UNION ALL SELECT 1 FROM backfill_numeric(start_date => d.first, end_date => '{DAY}', market_id => 'M', model_id => 'num-stab-core-v1')
           UNION ALL SELECT 1 FROM backfill_numeric(start_date => d.first, end_date => '{DAY}', window_days => 126, market_id => 'M', model_id => 'num-profile-core-v1')) b;
SELECT count(*) FROM backfill_numeric_portfolio('{DAY}', max_entities => 100000);
SELECT count(*) FROM backfill_numeric_scenario('S', max_entities => 100000);
INSERT INTO text_embeddings (source_type, source_id, model_id, vector)
SELECT 'PROFILE', replace(entity_id, 'X', 'I') || ':' || as_of_date, 'text-profile-v1', l2_normalize(vector)
  FROM numeric_window_embeddings WHERE model_id = 'num-regime-core-v1';
ANALYZE;
SELECT count(*) FROM (SELECT min(day) AS first FROM days WHERE back <= {PROFILE_DATES}) d,
  LATERAL backfill_joint_profiles(start_date => d.first, end_date => '{DAY}', max_entities => 1000000) b;
SELECT count(*) FROM backfill_joint_portfolios('{DAY}', max_entities => 100000);
SELECT count(*) FROM (SELECT min(day) AS first FROM days WHERE back <= {PROFILE_DATES}) d,
  LATERAL backfill_joint_stab_fragility(start_date => d.first, end_date => '{DAY}', market_id => 'M', max_entities => 1000000) b;
SELECT count(*) FROM backfill_joint_stab_scenarios('S', max_entities => 100000);
CREATE TABLE sink_numeric (LIKE numeric_window_embeddings INCLUDING ALL);
CREATE TABLE sink_text (LIKE text_embeddings INCLUDING ALL);
CREATE TABLE sink_joint (LIKE joint_embeddings INCLUDING ALL);
ANALYZE;
"""


def fill(connection):
    """Fills the migrated tables of a database."""
    connection.execute(SOURCES)
    connection.execute(BRANCHES)
    connection.execute("CHECKPOINT")


def first_day(back):
    """The first of the last `back` business days, as an SQL literal."""
    day = datetime.date.fromisoformat(DAY)
    while back > 1:
        day -= datetime.timedelta(days=1)
        back -= day.weekday() < 5
    return f"'{day}'"


_TEXTS = f"(SELECT array_agg(repeat('credit risk of the issuer is rising ', 1 + i % 60) || i) FROM generate_series(1, {size(8, 400)}) i)"

# Name: statement, and the table it writes to (none for what only reads).
WORK = {
    "numeric": (f"SELECT count(*) FROM backfill_numeric(start_date => {first_day(80)}, end_date => '{DAY}', market_id => 'M', target => 'sink_numeric')", "sink_numeric"),
    "numeric v2": (f"SELECT count(*) FROM backfill_numeric(start_date => {first_day(60)}, end_date => '{DAY}', market_id => 'M', model_id => 'num-regime-core-v2', target => 'sink_numeric')", "sink_numeric"),
    "numeric stab v2": (f"SELECT count(*) FROM backfill_numeric(start_date => {first_day(40)}, end_date => '{DAY}', market_id => 'M', model_id => 'num-stab-core-v2', target => 'sink_numeric')", "sink_numeric"),
    "range": (f"CALL backfill_numeric_range({first_day(80)}, '{DAY}', market_id => 'M', target => 'sink_numeric', batch_entities => 2)", "sink_numeric"),
    "text range": (f"CALL backfill_profile_text_range('{DAY}', '{DAY}', max_entities => {size(8, 120)}, target => 'sink_text', batch_entities => 2)", "sink_text"),
    "joint range": (f"CALL backfill_joint_range('PROFILE_CORE_V0', {first_day(PROFILE_DATES)}, '{DAY}', target => 'sink_joint', batch_entities => 5)", "sink_joint"),
    "text": (f"SELECT count(*) FROM backfill_profile_text('{DAY}', max_entities => {size(8, 120)}, target => 'sink_text')", "sink_text"),
    "portfolio": (f"SELECT count(*) FROM backfill_numeric_portfolio('{DAY}', max_entities => 100000, target => 'sink_numeric')", "sink_numeric"),
    "portfolio v2": (f"SELECT count(*) FROM backfill_numeric_profile('{DAY}', model_id => 'num-portfolio-core-v2', entity_type => 'PORTFOLIO', entity_column => 'portfolio_id', source => 'portfolio_risk_reports', target => 'sink_numeric')", "sink_numeric"),
    "profile numbers": (f"SELECT count(*) FROM generate_series(1, 20), LATERAL backfill_numeric_profile('{DAY}', target => 'sink_numeric')", "sink_numeric"),
    "scenario": ("SELECT count(*) FROM generate_series(1, 4), LATERAL backfill_numeric_scenario('S', max_entities => 100000, target => 'sink_numeric')", "sink_numeric"),
    "joint": (f"SELECT count(*) FROM backfill_joint_profiles(start_date => {first_day(PROFILE_DATES)}, end_date => '{DAY}', max_entities => 100000, target => 'sink_joint')", "sink_joint"),
    "joint states": (f"SELECT count(*) FROM backfill_joint_stab_fragility(start_date => {first_day(PROFILE_DATES)}, end_date => '{DAY}', market_id => 'M', max_entities => 100000, target => 'sink_joint')", "sink_joint"),
    "joint portfolios": (f"SELECT count(*) FROM generate_series(1, 4), LATERAL backfill_joint_portfolios('{DAY}', max_entities => 100000, target => 'sink_joint')", "sink_joint"),
    "joint scenarios": ("SELECT count(*) FROM generate_series(1, 20), LATERAL backfill_joint_stab_scenarios('S', max_entities => 100000, target => 'sink_joint')", "sink_joint"),
    "search": (f"SELECT count(*) FROM generate_series(1, 60) g, LATERAL find_similar('PROFILE_CORE_V0', '{{\"issuer_id\": \"I0001\"}}', '{DAY}', 10 + g, start_date => '2000-01-01', model_id => 'joint-profile-core-v1') s", None),
    "search portfolios": (f"SELECT count(*) FROM generate_series(1, 100) g, LATERAL find_similar_portfolios('P00001', '{DAY}', top_k => 10 + g) s", None),
    "inference": (f"SELECT cardinality(text_embed({_TEXTS}))", None),
    "aggregate": ("SELECT count(v) FROM (SELECT num_window_agg(trade_date, close, volume, 63, 'num-regime-core-v1') AS v FROM prices_daily, generate_series(1, 10) g GROUP BY instrument_id, g) s", None),
    "listing": (f"SELECT count(*) FROM generate_series(1, 10), LATERAL show_joint_profiles(start_date => '2000-01-01', max_rows => 100000) s", None),
    "fit": (f"SELECT * FROM fit_embedding_model('fitted', 'num-regime-core-v2', '{DAY}', 252, 20)", None),
    "fit components": (f"SELECT * FROM fit_embedding_model('fitted', 'text-profile-v1', '{DAY}', components => 60)", None),
}

# What identifies a row of each target.
KEYED = {
    "sink_numeric": "entity_type, entity_id, window_spec, as_of_date, model_id",
    "sink_text": "source_type, source_id, model_id",
    "sink_joint": "joint_type, as_of_date, entity_scope, model_id",
}
