-- Demo universe, part 5: risk reports of portfolios of six styles at three dates, and of a few that went wrong.
--
-- A style leans to sectors and factors; its portfolios differ by a little chance. The odd ones (PF_ODD_...) hold an
-- array or a string where an object belongs, values that are no numbers, and nothing at all.
CREATE TEMPORARY TABLE demo_styles ON COMMIT DROP AS
SELECT * FROM (VALUES
    ('GROWTH',   'Growth',         1.25, 0.98, 0.98, '{"Information Technology": 4.5, "Communication Services": 2.0, "Health Care": 1.8, "Consumer Discretionary": 1.5}'::jsonb,
     '{"market": 1.22, "size": 0.05, "value": -0.55, "momentum": 0.40, "quality": 0.10, "low_vol": -0.35}'::jsonb),
    ('INCOME',   'Income',         0.70, 0.96, 0.96, '{"Utilities": 3.5, "Consumer Staples": 3.0, "Real Estate": 2.2, "Health Care": 1.0, "Financials": 0.8}',
     '{"market": 0.68, "size": -0.10, "value": 0.35, "momentum": -0.10, "quality": 0.30, "low_vol": 0.60}'),
    ('CYCLICAL', 'Cyclical',       1.30, 0.99, 0.99, '{"Energy": 2.8, "Materials": 2.6, "Industrials": 3.0, "Consumer Discretionary": 1.2}',
     '{"market": 1.28, "size": 0.30, "value": 0.45, "momentum": 0.05, "quality": -0.20, "low_vol": -0.40}'),
    ('NEUTRAL',  'Market neutral', 0.05, 0.02, 1.85, '{"Information Technology": 0.1, "Financials": -0.1, "Health Care": 0.1, "Energy": -0.1, "Industrials": 0.05, "Utilities": -0.05}',
     '{"market": 0.02, "size": 0.02, "value": 0.10, "momentum": 0.55, "quality": 0.50, "low_vol": 0.05}'),
    ('BALANCED', 'Balanced',       0.95, 0.90, 0.90, '{"Information Technology": 2.4, "Financials": 1.4, "Health Care": 1.3, "Consumer Discretionary": 1.1, "Industrials": 1.0, "Communication Services": 0.9, "Consumer Staples": 0.7, "Energy": 0.5, "Utilities": 0.4, "Materials": 0.4, "Real Estate": 0.4}',
     '{"market": 0.95, "size": -0.05, "value": 0.02, "momentum": 0.02, "quality": 0.05, "low_vol": 0.05}'),
    ('BANKS',    'Banks',          1.10, 0.97, 0.97, '{"Financials": 8.0, "Real Estate": 0.6, "Information Technology": 0.4}',
     '{"market": 1.05, "size": 0.35, "value": 0.70, "momentum": -0.15, "quality": -0.10, "low_vol": -0.05}')
) AS v (style, label, beta, net, gross, sectors, factors);

CREATE TEMPORARY TABLE demo_reports ON COMMIT DROP AS
SELECT 'PF_' || s.style || '_' || to_char(n, 'FM00') AS portfolio_id, s.*, n, d.as_of_date,
       md5(s.style || n) AS own, md5(s.style || n || d.as_of_date) AS now
  FROM demo_styles AS s
 CROSS JOIN generate_series(1, 4) AS n
 CROSS JOIN (VALUES (date '2024-07-31'), ('2024-10-31'), ('2025-01-31')) AS d (as_of_date);

INSERT INTO portfolio_risk_reports (report_id, portfolio_id, as_of_date, portfolio_value, cash, net_exposure, gross_exposure,
                                    leverage, risk_metrics, scenario_pnl, exposures_by_sector, exposures_by_factor, metadata, created_at)
WITH drawn AS (
    SELECT r.*, round(exp(18.2 + 0.9 * pg_temp.demo_z(r.own, 0))::numeric, 2)::float8 AS value,
           (0.0072 * abs(r.beta) + 0.002) * exp(0.12 * pg_temp.demo_z(r.now, 0)) AS day_vol,
           (SELECT jsonb_object_agg(key, round((weight::numeric * r.net::numeric / (CASE WHEN total = 0 OR r.style = 'NEUTRAL' THEN 1 ELSE total END)), 4))
              FROM (SELECT w.key, w.weight, sum(w.weight::numeric) OVER () AS total
                      FROM (SELECT key, (value::float8 * (1 + 0.2 * pg_temp.demo_z(md5(r.own || r.as_of_date || key), 0)))::numeric AS weight
                              FROM jsonb_each_text(r.sectors)
                             -- A small portfolio may have nothing in a sector; then the sector is not named.
                             WHERE pg_temp.demo_u(md5(r.own || key), 0) > 0.12 OR value::float8 > 1.4) AS w) AS x) AS by_sector,
           (SELECT jsonb_object_agg(key, round((value::float8 + 0.07 * pg_temp.demo_z(md5(r.own || r.as_of_date || key), 1))::numeric, 4))
              FROM jsonb_each_text(r.factors)) AS by_factor
      FROM demo_reports AS r
)
SELECT 'RISK_' || portfolio_id || '_' || to_char(as_of_date, 'YYYYMMDD'), portfolio_id, as_of_date, value,
       round((value * (1 - net) * 0.6)::numeric, 2), net, gross, gross,
       jsonb_build_object('vol_21d', round((day_vol * sqrt(252))::numeric, 6), 'var_95', round((-1.645 * day_vol)::numeric, 6),
                          'expected_shortfall', round((-2.06 * day_vol)::numeric, 6), 'max_drawdown', round((-9 * day_vol)::numeric, 6),
                          'beta', round((beta + 0.05 * pg_temp.demo_z(now, 1))::numeric, 4),
                          'n_positions', 20 + floor(90 * pg_temp.demo_u(own, 3))::int, 'hedged', style = 'NEUTRAL', 'base_currency', 'USD'),
       jsonb_build_object('crash', round((-0.30 * beta)::numeric, 4), 'rates_up', round((-0.05 * beta)::numeric, 4)),
       by_sector, by_factor, jsonb_build_object('source', 'demo', 'name', label || ' ' || n), as_of_date::timestamptz
  FROM drawn
UNION ALL
SELECT 'RISK_' || v.portfolio_id || '_20250131' || v.version, v.portfolio_id, date '2025-01-31', 25000000, 500000, 0.98, 0.98, 0.98,
       v.risk::jsonb, NULL, v.sectors::jsonb, v.factors::jsonb, '{"source": "demo", "name": "Odd"}', timestamptz '2025-01-31Z'
  FROM (VALUES
    -- An array where an object belongs.
    ('PF_ODD_01', '',   '{"vol_21d": 0.14, "beta": 1.0}', '["Energy", 0.4, "Utilities", 0.6]', '{"market": 1.0}'),
    -- Numbers as strings, a string where an object belongs.
    ('PF_ODD_02', '',   '{"vol_21d": "0.14", "beta": "n/a"}', '{"Energy": "40%"}', '"not computed"'),
    -- Nothing to embed.
    ('PF_ODD_03', '',   '{}', '{}', NULL),
    -- Nested values, nulls, a number beyond float32, keys in other scripts.
    ('PF_ODD_04', '',   '{"vol_21d": 0.18, "limits": {"var": -0.02}, "beta": null, "notional": 1e40}', '{"Énergie": 0.3, "エネルギー": 0.2, "Energy": 0.5}', '{"market": 0.9}'),
    -- No exposures at all.
    ('PF_ODD_05', '',   '{"vol_21d": 0.11, "beta": 0.7, "hedged": true}', NULL, NULL),
    -- Two reports of one portfolio and date.
    ('PF_ODD_06', '',   '{"vol_21d": 0.15, "beta": 1.1}', '{"Financials": 1.0}', '{"market": 1.1}'),
    ('PF_ODD_06', '_B', '{"vol_21d": 0.16, "beta": 1.2}', '{"Financials": 0.9}', '{"market": 1.2}')
  ) AS v (portfolio_id, version, risk, sectors, factors);
