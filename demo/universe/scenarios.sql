-- Demo universe, part 6: two scenario sets and their paths.
--
-- Paths are strung together from five-day blocks of what really happened (to the demo's prices) in a span of history:
-- STRESS_2020 draws from the crash of 2020, STRESSX2020 from the year before the base date. '_' is a wildcard of LIKE,
-- so a careless search for the first finds the second too.
INSERT INTO scenario_sets (scenario_set_id, name, description, category, horizon_days, num_paths, base_universe_filter, base_date_start,
                           base_date_end, regime_filter, generator_spec, created_at, created_by, tags, metadata)
VALUES ('STRESS_2020', 'Crash of 2020, block bootstrap', 'Paths of a month drawn in blocks of a week from the ten weeks of the crash.', 'STRESS',
        21, 30, '{"market_id": "US_EQ", "instruments": 12}', '2020-02-20', '2024-12-31', ARRAY['CRISIS'],
        '{"method": "block bootstrap", "block_days": 5}', '2025-01-02Z', 'demo', ARRAY['crash', 'equities'], '{"source": "demo"}'),
       ('STRESSX2020', 'The past year, block bootstrap', 'Paths of a month drawn in blocks of a week from the year before the base date.', 'BOOTSTRAP',
        21, 30, '{"market_id": "US_EQ", "instruments": 12}', '2024-01-02', '2025-01-31', NULL,
        '{"method": "block bootstrap", "block_days": 5}', '2025-02-01Z', 'demo', ARRAY['calm', 'equities'], '{"source": "demo"}');

INSERT INTO scenario_paths (scenario_set_id, scenario_id, horizon_index, instrument_id, factor_id, macro_id, return_value, price, shock_metadata)
WITH members AS (
    -- Twelve shares with a whole history.
    SELECT l.instrument_id
      FROM demo_listings AS l
     WHERE l.market_id = 'US_EQ' AND l.asset_class = 'EQUITY' AND l.class = '' AND l.luck > 62 AND l.luck % 15 <> 4
     ORDER BY l.luck LIMIT 12
), spans AS (
    SELECT s.*, (SELECT count(DISTINCT d.trade_date) FROM demo_days AS d
                  WHERE d.us_open AND d.trade_date BETWEEN s.first_day AND s.last_day) AS days
      FROM (VALUES ('STRESS_2020', date '2020-02-20', date '2020-04-30', date '2024-12-31'),
                   ('STRESSX2020', date '2024-01-02', date '2024-12-31', date '2025-01-31'))
           AS s (scenario_set_id, first_day, last_day, base_day)
    OFFSET 0
), history AS (
    SELECT s.scenario_set_id, p.instrument_id, p.move,
           dense_rank() OVER (PARTITION BY s.scenario_set_id ORDER BY p.trade_date) - 1 AS day
      FROM spans AS s
      JOIN (SELECT m.instrument_id, q.trade_date,
                   q.adjusted_close / lag(q.adjusted_close) OVER (PARTITION BY m.instrument_id ORDER BY q.trade_date) - 1 AS move
              FROM members AS m JOIN prices_daily AS q USING (instrument_id)) AS p
        ON p.trade_date BETWEEN s.first_day AND s.last_day
), steps AS (
    -- Path 29 of the first set was cut short: it ends before the horizon.
    SELECT s.scenario_set_id, k AS scenario_id, h AS horizon_index,
           floor(pg_temp.demo_u(md5(s.scenario_set_id || k || ':' || (h - 1) / 5), 0) * (s.days - 5))::int + (h - 1) % 5 AS day
      FROM spans AS s
     CROSS JOIN generate_series(0, 29) AS k
     CROSS JOIN generate_series(1, 21) AS h
     WHERE s.scenario_set_id <> 'STRESS_2020' OR k <> 29 OR h <= 12
    OFFSET 0
), moves AS (
    SELECT t.scenario_set_id, t.scenario_id, t.horizon_index, y.instrument_id, floor(y.move * 1e8 + 0.5) / 1e8 AS move
      FROM steps AS t JOIN history AS y USING (scenario_set_id, day)
    UNION ALL
    SELECT s.scenario_set_id, k, 0, m.instrument_id, 0
      FROM spans AS s CROSS JOIN generate_series(0, 29) AS k CROSS JOIN members AS m
)
SELECT m.scenario_set_id, m.scenario_id, m.horizon_index, m.instrument_id, '__NONE__', '__NONE__', m.move,
       floor(b.close * exp(sum(ln(1 + m.move)) OVER (PARTITION BY m.scenario_set_id, m.scenario_id, m.instrument_id
                                                     ORDER BY m.horizon_index)) * 100 + 0.5) / 100,
       CASE WHEN m.horizon_index = 0 THEN '{"baseline": true}'::jsonb END
  FROM moves AS m
  JOIN spans AS s USING (scenario_set_id)
 CROSS JOIN LATERAL (SELECT p.close FROM prices_daily AS p WHERE p.instrument_id = m.instrument_id AND p.trade_date <= s.base_day
                      ORDER BY p.trade_date DESC LIMIT 1) AS b
 ORDER BY 1, 2, 3, 4;
