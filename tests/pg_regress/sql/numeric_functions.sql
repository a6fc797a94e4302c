-- num_window_embed and num_window_agg.

-- Row-major, oldest day first: close, volume, log return. The first return is 0.
SELECT vector_to_array(num_window_embed(ARRAY[9, 10, 11], ARRAY[1, 2, 3], 2, 'numeric-simple-v1')) AS window_of_two;
SELECT model_id, vector_dim(v) AS dim, (vector_to_array(v))[1:6] AS first, (vector_to_array(v))[382:384] AS last
  FROM embed_models m
 CROSS JOIN LATERAL (SELECT num_window_embed(array_agg(100 + i), array_agg(1000.0 * i), 63, m.model_id) AS v FROM generate_series(1, 63) i) e
 WHERE modality = 'numeric' AND m.model_id LIKE 'num%-v1' ORDER BY model_id COLLATE "C";
-- Only the latest rows count.
SELECT num_window_embed(ARRAY[7, 1, 2, 3], ARRAY[7, 1, 1, 1], 3) = num_window_embed(ARRAY[1, 2, 3], ARRAY[1, 1, 1], 3) AS same;
-- 54 of 63 rows are enough; the last row is repeated, rounded to float32: two of its returns are not 0.
SELECT (vector_to_array(v))[160:168] AS around_the_end
  FROM (SELECT num_window_embed(array_agg(100.123456789 + i), array_agg(1000.0 * i), 63, 'numeric-simple-v1') AS v FROM generate_series(1, 54) i) e;
-- A window longer than 384 / 3 days keeps its first components: the oldest days.
SELECT (vector_to_array(v))[1:3] AS first, (vector_to_array(v))[382:384] AS last
  FROM (SELECT num_window_embed(array_agg(i::float8), array_agg(i::float8), 200) AS v FROM generate_series(1, 200) i) e;
-- Fewest rows: trunc(0.87 * window_days), at least 1.
SELECT w, min(n) AS fewest
  FROM unnest(ARRAY[1, 2, 5, 21, 63, 126]) w, generate_series(1, 126) n
 WHERE n <= w
   AND (SELECT num_window_agg(date '2024-01-01' + i, 1, 1, w, 'num-regime-core-v1') FROM generate_series(1, n) i) IS NOT NULL
 GROUP BY w ORDER BY w;
-- Odd prices go through the arithmetic as they are.
SELECT vector_to_array(num_window_embed('{0,0,5,-5,-10,NaN,Infinity}', array_fill(1.0, ARRAY[7]), 7, 'numeric-simple-v1')) AS odd;
SELECT num_window_embed(NULL, ARRAY[1.0]) IS NULL AS null_close, num_window_embed(ARRAY[1.0], ARRAY[1.0], NULL) IS NULL AS null_window;

-- The look-up form.
CREATE SCHEMA numeric_functions;
SET search_path = numeric_functions, public;
CREATE TABLE prices_daily (instrument_id text, trade_date date, close float8, adjusted_close float8, volume bigint);
INSERT INTO prices_daily
SELECT id, date '2024-01-01' + i, 50 + i + length(id), 25 + i, 1000 + i
  FROM unnest(ARRAY['A', 'BB']) id, generate_series(0, 199) i WHERE extract(isodow FROM date '2024-01-01' + i) < 6;
SELECT num_window_embed('A', '2024-06-28') = num_window_embed('A', date '2024-06-28') AS literal_dates,
       num_window_embed('A', '2024-06-29') = num_window_embed('A', '2024-06-28') AS a_saturday_is_its_friday,
       num_window_embed('A', '2024-06-28') = num_window_embed('A', '2024-06-27') AS another_day;
SELECT num_window_embed('A', '2024-06-28', 63, m) =
       (SELECT num_window_embed(array_agg(close ORDER BY trade_date), array_agg(volume::float8 ORDER BY trade_date), 63, m)
          FROM prices_daily WHERE instrument_id = 'A' AND trade_date <= '2024-06-28') AS same, m
  FROM unnest(ARRAY['num-regime-core-v1', 'numeric-simple-v1']) m;
-- Another table, found by name in any schema.
SET search_path = public;
SELECT vector_dim(num_window_embed('A', '2024-06-28', prices => 'numeric_functions.prices_daily'));
SET search_path = numeric_functions, public;
SELECT num_window_embed(NULL, '2024-06-28') IS NULL AS null_id, num_window_embed('A', NULL::date) IS NULL AS null_date;

-- The aggregate: any order of rows, by group, over a frame, filtered, distinct.
SELECT instrument_id,
       num_window_agg(trade_date, close, volume, 63, 'num-regime-core-v1' ORDER BY random()) =
       num_window_embed(instrument_id, max(trade_date)) AS as_the_look_up,
       num_window_agg(trade_date, close, volume, 63, 'num-regime-core-v1') FILTER (WHERE trade_date <= '2024-06-14') =
       num_window_embed(instrument_id, '2024-06-14') AS filtered,
       num_window_agg(DISTINCT trade_date, close, volume, 63, 'num-regime-core-v1') =
       num_window_embed(instrument_id, max(trade_date)) AS "distinct"
  FROM prices_daily GROUP BY instrument_id ORDER BY instrument_id;
SELECT count(v) AS vectors, count(*) AS rows, bool_and(v = num_window_embed(instrument_id, trade_date, 20)) FILTER (WHERE n >= 20) AS as_the_look_up
  FROM (SELECT instrument_id, trade_date, row_number() OVER w AS n,
               num_window_agg(trade_date, close, volume, 20, 'num-regime-core-v1') OVER w AS v
          FROM prices_daily WINDOW w AS (PARTITION BY instrument_id ORDER BY trade_date ROWS BETWEEN 19 PRECEDING AND CURRENT ROW)) s;
-- Rows with a NULL are left out; without rows, or with too few, the result is NULL.
SELECT num_window_agg(d, c, v, 1, 'numeric-simple-v1')
  FROM (VALUES (date '2024-01-01', 1.0, 2.0), (NULL, 3, 4), ('2024-01-03', NULL, 6), ('2024-01-04', 7, NULL)) AS r(d, c, v);
SELECT num_window_agg(trade_date, close, volume, 63, 'num-regime-core-v1') IS NULL AS no_rows FROM prices_daily WHERE false;
SELECT num_window_agg(trade_date, close, volume, 63, 'num-regime-core-v1') IS NULL AS too_few FROM prices_daily WHERE trade_date < '2024-02-01' AND instrument_id = 'A';
-- A day that occurs twice matters only inside the window.
SELECT num_window_agg(d, c, 1, 2, 'numeric-simple-v1') = num_window_embed(ARRAY[2, 3], ARRAY[1, 1], 2, 'numeric-simple-v1') AS older_duplicate
  FROM (VALUES (date '2024-01-01', 1.0), ('2024-01-01', 9), ('2024-01-02', 2), ('2024-01-03', 3)) AS r(d, c);

SET client_min_messages = warning;
DROP SCHEMA numeric_functions CASCADE;
RESET search_path;
