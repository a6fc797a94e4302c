-- Numeric windows: embed every active equity of a market, see what was skipped and why, check the sizes, compare.
\pset footer off
\echo
\echo Embed the US market as of 2025-01-31 (windows of 63 trading days)
CREATE TEMP TABLE run AS
SELECT * FROM backfill_numeric('2025-01-31', market_id => 'US_EQ');

SELECT status, count(*) AS instruments, min(rows_used) AS fewest_rows, max(rows_used) AS most_rows
  FROM run GROUP BY status ORDER BY status DESC;

\echo What could not be embedded, or only with gaps
SELECT r.entity_id, i.name AS issuer, r.status, r.rows_used AS rows, r.detail
  FROM run r LEFT JOIN instruments s ON s.instrument_id = r.entity_id LEFT JOIN issuers i USING (issuer_id)
 WHERE r.detail IS NOT NULL ORDER BY r.status, r.rows_used LIMIT 12;

\echo The same for windows of 126 days, and every trading day of a week, without touching what is there
SELECT as_of_date, model_id, status, count(*)
  FROM (SELECT * FROM backfill_numeric('2025-01-31', 126, market_id => 'US_EQ', model_id => 'num-profile-core-v1')
        UNION ALL
        SELECT * FROM backfill_numeric(start_date => '2025-01-27', end_date => '2025-01-31', market_id => 'US_EQ', on_existing => 'skip')
        UNION ALL
        SELECT * FROM backfill_numeric('2025-01-31', market_id => 'US_EQ', model_id => 'numeric-simple-v1')) AS runs
 GROUP BY 1, 2, 3 ORDER BY 2, 1, 3;

\echo 'Every vector has its size: 1536 bytes for 384 dimensions, 756 for 63 days of three values'
SELECT entity_type, model_id, count(*), min(octet_length(vector)), max(octet_length(vector))
  FROM numeric_window_embeddings GROUP BY 1, 2 ORDER BY 1, 2;

\echo Two instruments compared, and the first days of a window
WITH v AS (SELECT i.symbol, c.name, c.industry, e.vector
             FROM numeric_window_embeddings e
             JOIN instruments i ON i.instrument_id = e.entity_id JOIN issuers c USING (issuer_id)
            WHERE e.model_id = 'num-regime-core-v1' AND e.as_of_date = '2025-01-31')
SELECT a.name || ' (' || a.industry || ')' AS a, b.name || ' (' || b.industry || ')' AS b,
       round(cosine_sim(a.vector, b.vector)::numeric, 6) AS cosine_sim,
       round(euclidean_dist(a.vector, b.vector)) AS euclidean_dist
  FROM v a JOIN v b ON a.symbol < b.symbol ORDER BY a.symbol, b.symbol LIMIT 3;

SELECT day, round(x[3 * day - 2]::numeric, 2) AS close, x[3 * day - 1]::bigint AS volume, round(x[3 * day]::numeric, 5) AS log_return
  FROM (SELECT vector_to_array(vector) AS x FROM numeric_window_embeddings
         WHERE model_id = 'num-regime-core-v1' AND as_of_date = '2025-01-31' ORDER BY entity_id COLLATE "C" LIMIT 1) v,
       generate_series(1, 4) AS day;
