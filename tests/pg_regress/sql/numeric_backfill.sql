-- backfill_numeric: what is written, what is told.
SET client_min_messages = warning;
SET datestyle = 'ISO';
CREATE SCHEMA numeric_backfill;
SET search_path = numeric_backfill, public;
SELECT count(*) > 0 AS migrated FROM embed_migrate();
RESET client_min_messages;

INSERT INTO markets (market_id, name, region, timezone) VALUES ('M1', 'one', 'X', 'UTC'), ('M2', 'two', 'X', 'UTC'), ('M3', 'empty', 'X', 'UTC');
INSERT INTO issuers (issuer_id, issuer_type, name) VALUES ('I', 'COMPANY', 'issuer');
INSERT INTO instruments (instrument_id, issuer_id, market_id, asset_class, symbol, currency, status)
VALUES ('b.full', 'I', 'M1', 'EQUITY', 'b', 'USD', 'ACTIVE'),   -- all rows
       ('A.full', 'I', 'M1', 'EQUITY', 'A', 'USD', 'ACTIVE'),
       ('a.young', 'I', 'M1', 'EQUITY', 'a', 'USD', 'ACTIVE'),  -- 12 rows
       ('C.short', 'I', 'M1', 'EQUITY', 'C', 'USD', 'ACTIVE'),  -- 55 rows of 63
       ('ä.none', 'I', 'M1', 'EQUITY', 'ä', 'USD', 'ACTIVE'),   -- no row
       ('D.gone', 'I', 'M1', 'EQUITY', 'D', 'USD', 'DELISTED'),
       ('E.bond', 'I', 'M1', 'BOND', 'E', 'USD', 'ACTIVE'),
       ('F.else', 'I', 'M2', 'EQUITY', 'F', 'USD', 'ACTIVE');
INSERT INTO prices_daily (instrument_id, trade_date, open, high, low, close, adjusted_close, volume, currency)
SELECT id, day, 1, 1, 1, 100 + day - date '2024-01-01', 1, 1000, 'USD'
  FROM (VALUES ('b.full', date '2024-01-01'), ('A.full', '2024-01-01'), ('a.young', '2024-06-13'), ('C.short', '2024-04-15'),
               ('D.gone', '2024-01-01'), ('E.bond', '2024-01-01'), ('F.else', '2024-01-01')) AS i (id, since)
 CROSS JOIN LATERAL (SELECT day::date FROM generate_series(since, '2024-06-28', interval '1 day') day) d
 WHERE extract(isodow FROM day) < 6;

-- Active equities of the market in byte order, whatever the collation.
SELECT * FROM backfill_numeric('2024-06-28', market_id => 'M1');
-- Again: the same rows.
SELECT entity_id, status, detail FROM backfill_numeric('2024-06-28', market_id => 'M1');
SELECT entity_id, status, detail FROM backfill_numeric('2024-06-28', market_id => 'M1', on_existing => 'skip');
SELECT entity_type, entity_id, window_spec, as_of_date, model_id, octet_length(vector), vector_ref, rows_used, rows_padded,
       last_trade_date, input_digest IS NOT NULL AS digest, computed_at IS NOT NULL AS computed
  FROM numeric_window_embeddings ORDER BY entity_id COLLATE "C";

-- A limit takes the first, an offset counts only beside a limit.
SELECT entity_id FROM backfill_numeric('2024-06-27', market_id => 'M1', max_entities => 2);
SELECT entity_id FROM backfill_numeric('2024-06-27', market_id => 'M1', max_entities => 2, skip_entities => 2);
SELECT count(*) AS all_of_them FROM backfill_numeric('2024-06-27', market_id => 'M1', skip_entities => 2);
SELECT count(*) AS none FROM backfill_numeric('2024-06-27', market_id => 'M1', max_entities => 0);
-- Named instruments of any status; both together; repeats count once; a market without active equities is no error.
SELECT entity_id, status FROM backfill_numeric('2024-06-26', instrument_ids => '{D.gone,unknown,D.gone}');
SELECT entity_id, status FROM backfill_numeric('2024-06-26', instrument_ids => '{D.gone}', market_id => 'M2');
SELECT count(*) FROM backfill_numeric('2024-06-26', instrument_ids => '{}');

-- Another model and another window are other rows.
SELECT entity_id, status, dim FROM backfill_numeric('2024-06-28', 63, 'M2', model_id => 'numeric-simple-v1');
SELECT entity_id, status, dim FROM backfill_numeric('2024-06-28', 20, 'M2', model_id => 'numeric-simple-v1');
SELECT model_id, window_spec ->> 'window_days' AS window_days, min(octet_length(vector)), max(octet_length(vector)), count(*)
  FROM numeric_window_embeddings GROUP BY 1, 2 ORDER BY model_id COLLATE "C", 2;

-- A range: every day on which one of the instruments has a price. An empty range of trading days has no rows.
SELECT * FROM backfill_numeric('2024-06-20', '2024-06-25', instrument_ids => '{A.full,C.short,a.young}', window_days => 5);
SELECT count(*) FROM backfill_numeric('2024-06-22', '2024-06-23', instrument_ids => '{A.full}');
SELECT count(*) FROM backfill_numeric(start_date => '2030-01-01', end_date => '2030-12-31', market_id => 'M1');

-- Values that are not finite are stored and told.
UPDATE prices_daily SET close = CASE trade_date WHEN '2024-06-25' THEN 0::float8 WHEN '2024-06-26' THEN -1 WHEN '2024-06-27' THEN 'NaN' ELSE 'Infinity' END
 WHERE instrument_id = 'b.full' AND trade_date BETWEEN '2024-06-25' AND '2024-06-28';
SELECT entity_id, status, dim, detail FROM backfill_numeric('2024-06-28', 10, 'M1', max_entities => 4, model_id => 'numeric-simple-v1');

-- Every stored vector is what the functions compute.
SELECT count(*) > 10 AS some, bool_and(e.vector = num_window_embed(e.entity_id, e.as_of_date, (e.window_spec ->> 'window_days')::int, e.model_id)) AS equal
  FROM numeric_window_embeddings e WHERE entity_id <> 'b.full';

SET client_min_messages = warning;
DROP SCHEMA numeric_backfill CASCADE;
RESET search_path;
