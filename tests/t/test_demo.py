"""The demo universe: the same rows on every run, the oddities that it promises, and the structure that it plants."""

import re

import psycopg
import pytest
from cluster import ROOT

SCRIPT = "\\i demo/generate.sql\n"
TABLES = [
    "markets", "issuers", "instruments", "prices_daily", "profiles", "portfolio_risk_reports", "scenario_sets", "scenario_paths",
]  # fmt: skip


def digests(connection):
    """{table: (rows, digest)}, the same whatever the session's settings."""
    connection.execute("SET TimeZone = 'UTC'; SET DateStyle = 'ISO'")
    query = "SELECT count(*), md5(string_agg(t::text, '|' ORDER BY t::text COLLATE \"C\")) FROM {} t"
    return {table: connection.execute(query.format(table)).fetchone() for table in TABLES}


def rows(connection, query):
    return connection.execute(query).fetchall()


def test_same_rows_on_every_run_and_server_setting(cluster, demo):
    """The second run replaces the rows of the first."""
    expected = digests(demo)
    strange = "SET TimeZone = 'Asia/Tokyo'; SET DateStyle = 'German'; SET jit = on; SET extra_float_digits = 0;\n"
    done = cluster.psql(demo.info.dbname, strange + SCRIPT)
    assert done.returncode == 0 and done.stdout == "", done.stdout
    assert digests(demo) == expected


def test_header_tells_the_truth(demo):
    header = (ROOT / "demo" / "generate.sql").read_text(encoding="utf-8")
    promised = dict(re.findall(r"^--   (\w+) +([\d,]+)(?::|$)", header, re.M))
    assert set(promised) == set(TABLES)
    found = {table: f"{count:,}" for table, (count, _) in digests(demo).items()}
    assert found == promised


def test_refuses_to_mix_with_other_rows(cluster, db):
    db.execute("""INSERT INTO instruments (instrument_id, asset_class, symbol, currency) VALUES ('MINE', 'EQUITY', 'MINE', 'USD')""")
    done = cluster.psql(db.info.dbname, SCRIPT)
    assert done.returncode == 3
    assert "instruments or profiles holds rows that the demo did not make" in done.stdout
    assert rows(db, "SELECT count(*) FROM markets") == [(0,)]


def test_later_profiles_get_ids_of_their_own(demo):
    demo.execute("INSERT INTO profiles (issuer_id, as_of_date, structured, risk_flags) VALUES ('X', '2025-01-31', '{}', '{}')")


def test_bars_are_possible(demo):
    assert rows(demo, """SELECT count(*) FROM prices_daily
        WHERE NOT (low > 0 AND low <= least(open, close) AND high >= greatest(open, close) AND volume >= 0
                   AND adjusted_close > 0 AND high < 1e6)""") == [(0,)]


def test_young_dead_stale_and_absent_instruments(demo):
    few = rows(demo, """SELECT count(p.trade_date) FROM instruments i LEFT JOIN prices_daily p USING (instrument_id)
        WHERE i.status = 'ACTIVE' AND i.asset_class = 'EQUITY' GROUP BY i.instrument_id HAVING count(p.trade_date) < 200 ORDER BY 1""")
    assert [count for (count,) in few] == [0, 12, 40, 53, 54, 63, 150]
    dead = rows(demo, """SELECT i.status, max(p.trade_date) < '2025-01-31', count(DISTINCT i.instrument_id)
        FROM instruments i JOIN prices_daily p USING (instrument_id) GROUP BY i.instrument_id, i.status""")
    ends = [status for status, ended, _ in dead if ended]
    assert sorted(ends) == ["ACTIVE"] + ["INACTIVE"] * 8, "one stopped trading and is still called active"


def test_splits_show_in_raw_prices_only(demo):
    jumps = rows(demo, """SELECT instrument_id, close / before, adjusted_close / adjusted_before
        FROM (SELECT instrument_id, close, adjusted_close, lag(close) OVER w AS before, lag(adjusted_close) OVER w AS adjusted_before
                FROM prices_daily WINDOW w AS (PARTITION BY instrument_id ORDER BY trade_date)) x
        WHERE close / before NOT BETWEEN 0.71 AND 2.5""")
    assert len(jumps) >= 10
    assert sum(raw > 5 for _, raw, _ in jumps) == 1, "one reverse split"
    quiet = [name for name, _, adjusted in jumps if 0.75 < adjusted < 1.3]
    assert len(quiet) >= len(jumps) - 2


def test_not_only_shares(demo):
    classes = dict(rows(demo, "SELECT asset_class, count(*) FROM instruments GROUP BY 1"))
    assert {"ETF", "FUTURE", "BOND", "COMMODITY"} < set(classes)
    assert classes["EQUITY"] > 250
    several = rows(demo, """SELECT count(*) FROM (SELECT FROM instruments WHERE asset_class = 'EQUITY'
        GROUP BY issuer_id HAVING count(*) > 1) x""")
    assert several[0][0] >= 10
    assert rows(demo, "SELECT count(*) FROM instruments WHERE issuer_id IS NULL") == [(1,)]


def test_same_sector_moves_together(demo):
    """Correlation of daily returns less the market's, over a year: high within an industry, lower within a sector, none
    across. Volume knows nothing of sectors."""
    alike = dict(rows(demo, """
        WITH r AS (
            SELECT p.instrument_id, i.sector, i.industry, p.trade_date, ln(p.adjusted_close / lag(p.adjusted_close) OVER w) AS move
              FROM prices_daily p JOIN instruments s USING (instrument_id) JOIN issuers i USING (issuer_id)
             WHERE s.market_id = 'US_EQ' AND s.asset_class = 'EQUITY' AND s.status = 'ACTIVE' AND p.trade_date >= '2024-01-31'
            WINDOW w AS (PARTITION BY p.instrument_id ORDER BY p.trade_date)
        ), x AS (
            SELECT *, move - avg(move) OVER (PARTITION BY trade_date) AS own FROM r WHERE md5(instrument_id) < '8'
        ), pairs AS (
            SELECT corr(a.own, b.own) AS c,
                   CASE WHEN a.industry = b.industry THEN 'industry' WHEN a.sector = b.sector THEN 'sector' ELSE 'none' END AS kin
              FROM x a JOIN x b ON a.trade_date = b.trade_date AND a.instrument_id < b.instrument_id
             GROUP BY a.instrument_id, b.instrument_id, kin HAVING count(*) > 200
        )
        SELECT kin, avg(c) FROM pairs GROUP BY 1"""))  # fmt: skip
    assert alike["industry"] > alike["sector"] + 0.05
    assert alike["sector"] > alike["none"] + 0.08
    assert abs(alike["none"]) < 0.06


def test_profiles_read_like_profiles(demo):
    kinds = dict(rows(demo, """SELECT jsonb_typeof(structured), count(*) FROM profiles GROUP BY 1"""))
    assert kinds["string"] == 1 and kinds["object"] > 700
    texts = ["business_description", "risk_summary", "recent_events_summary"]
    for key in texts:
        blank = rows(demo, f"""SELECT count(*) FROM profiles WHERE jsonb_typeof(structured) = 'object'
            AND btrim(coalesce(structured ->> '{key}', '')) = ''""")
        assert 5 < blank[0][0] < 200, key
    none = rows(demo, """SELECT count(*) FROM profiles WHERE jsonb_typeof(structured) = 'object' AND NOT structured ?| %s""" % f"ARRAY{texts}")
    assert none == [(3,)]
    longest, shortest = rows(demo, """SELECT max(length(structured ->> 'business_description')), min(length(structured ->> 'business_description'))
        FROM profiles""")[0]
    assert longest > 4000 and shortest < 120
    other = rows(demo, "SELECT count(*) FROM profiles WHERE jsonb_typeof(structured -> 'recent_events_summary') = 'array'")
    assert other == [(3,)]
    shared = dict(rows(demo, """
        WITH words AS (SELECT DISTINCT p.issuer_id, i.industry, w FROM profiles p JOIN issuers i USING (issuer_id),
                              regexp_split_to_table(lower(p.structured ->> 'business_description'), '[^a-z]+') w
                        WHERE p.as_of_date = '2025-01-31' AND length(w) > 5)
        SELECT a.industry = b.industry, avg(n)::float8 FROM (
            SELECT x.issuer_id, y.issuer_id AS other, count(*) AS n FROM words x JOIN words y ON x.w = y.w AND x.issuer_id < y.issuer_id GROUP BY 1, 2) c
          JOIN issuers a USING (issuer_id) JOIN issuers b ON b.issuer_id = c.other GROUP BY 1"""))  # fmt: skip
    assert shared[True] > 1.5 * shared[False]


def test_reports_and_scenarios(demo):
    odd = rows(demo, """SELECT count(*) FILTER (WHERE jsonb_typeof(exposures_by_sector) = 'array'),
        count(*) FILTER (WHERE jsonb_typeof(exposures_by_factor) = 'string'), count(*) FILTER (WHERE exposures_by_sector IS NULL),
        count(*) FILTER (WHERE risk_metrics = '{}') FROM portfolio_risk_reports""")
    assert odd == [(1, 1, 1, 1)]
    twice = rows(demo, "SELECT portfolio_id FROM portfolio_risk_reports GROUP BY portfolio_id, as_of_date HAVING count(*) > 1")
    assert twice == [("PF_ODD_06",)]
    confused = rows(demo, "SELECT count(*) FROM scenario_sets WHERE scenario_set_id LIKE 'STRESS_2020'")
    assert confused == [(2,)], "what a careless wildcard finds"
    short = rows(demo, """SELECT scenario_set_id, scenario_id FROM scenario_paths GROUP BY 1, 2 HAVING max(horizon_index) < 21""")
    assert short == [("STRESS_2020", 29)]


def test_failing_half_way_leaves_nothing(cluster, db):
    db.execute("ALTER TABLE instruments ADD CHECK (status <> 'INACTIVE')")
    done = cluster.psql(db.info.dbname, SCRIPT)
    assert done.returncode == 3 and "instruments_status_check" in done.stdout
    assert rows(db, "SELECT (SELECT count(*) FROM markets), (SELECT count(*) FROM issuers)") == [(0, 0)]
    with pytest.raises(psycopg.errors.UndefinedTable):
        db.execute("SELECT * FROM demo_listings")
