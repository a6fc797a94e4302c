-- Bad arguments: SQLSTATE, message, detail and hint of each. Tables, rights and rows are in tests/t/test_numeric_errors.py.
\pset format unaligned
\pset tuples_only on
CREATE FUNCTION pg_temp.fails(statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    detail text;
    hint text;
BEGIN
    EXECUTE statement;
    RETURN 'NO ERROR';
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
    -- Which names come second changes with every model.
    hint := regexp_replace(hint, '(with a like name: "[^"]*").*', '\1 ...');
    RETURN concat_ws(E'\n    ', SQLSTATE || ': ' || SQLERRM, 'DETAIL: ' || nullif(detail, ''), 'HINT: ' || nullif(hint, ''));
END
$$;

-- Vectors.
SELECT pg_temp.fails($$SELECT vector_dim('\x')$$);
SELECT pg_temp.fails($$SELECT l2_norm('\x010203')$$);
SELECT pg_temp.fails($$SELECT l2_normalize('\x0000803f00')$$);
SELECT pg_temp.fails($$SELECT l2_normalize(vector_from_array('{1,NaN,-Infinity}'::real[]))$$);
SELECT pg_temp.fails($$SELECT cosine_sim('\x00', '\x00000000')$$);
SELECT pg_temp.fails($$SELECT cosine_sim(vector_from_array(ARRAY[1, 2]), vector_from_array(ARRAY[1, 2, 3]))$$);
SELECT pg_temp.fails($$SELECT euclidean_dist(vector_from_array(ARRAY[1]), vector_from_array(ARRAY[1, 2]))$$);
SELECT pg_temp.fails($$SELECT dot_product(vector_from_array(ARRAY[1, 2]), vector_from_array(ARRAY[1]))$$);
SELECT pg_temp.fails($$SELECT vector_to_array('\x00000000000000')$$);
SELECT pg_temp.fails($$SELECT vector_from_array('{}'::real[])$$);
SELECT pg_temp.fails($$SELECT vector_from_array('{{1,2},{3,4}}'::float8[])$$);
SELECT pg_temp.fails($$SELECT vector_from_array('{1,NULL,3}'::real[])$$);
SELECT pg_temp.fails($$SELECT vector_from_array(array_fill(0::real, ARRAY[65536]))$$);
SELECT pg_temp.fails($$SELECT vector_dim(decode(repeat('00', 4 * 65536), 'hex'))$$);
SELECT pg_temp.fails($$SELECT pad_to_dim(ARRAY[1, 2], 0)$$);
SELECT pg_temp.fails($$SELECT pad_to_dim(ARRAY[1, 2], -1)$$);
SELECT pg_temp.fails($$SELECT pad_to_dim(ARRAY[1, 2], 65536)$$);
SELECT pg_temp.fails($$SELECT pad_to_dim(ARRAY[1, 2], 2147483647)$$);
SELECT pg_temp.fails($$SELECT pad_to_dim('\x01'::bytea, 4)$$);
SELECT pg_temp.fails($$SELECT pad_to_dim('{{{1}}}'::real[], 4)$$);
SELECT pg_temp.fails($$SELECT pad_to_dim(ARRAY[NULL, 1]::float8[], 4)$$);

-- Windows from arrays.
SELECT pg_temp.fails($$SELECT num_window_embed('{}'::float8[], '{}'::float8[])$$);
SELECT pg_temp.fails($$SELECT num_window_embed(ARRAY[1, 2], ARRAY[1])$$);
SELECT pg_temp.fails($$SELECT num_window_embed('{{1,2},{3,4}}', ARRAY[1, 2, 3, 4])$$);
SELECT pg_temp.fails($$SELECT num_window_embed(ARRAY[1, 2], '{{1},{2}}')$$);
SELECT pg_temp.fails($$SELECT num_window_embed(ARRAY[1, NULL], ARRAY[1, 2])$$);
SELECT pg_temp.fails($$SELECT num_window_embed(ARRAY[1, 2], ARRAY[1, NULL])$$);
SELECT pg_temp.fails($$SELECT num_window_embed(ARRAY[1, 2], ARRAY[1, 2], 0)$$);
SELECT pg_temp.fails($$SELECT num_window_embed(ARRAY[1, 2], ARRAY[1, 2], -63)$$);
SELECT pg_temp.fails($$SELECT num_window_embed(ARRAY[1, 2], ARRAY[1, 2], 10000000)$$);
SELECT pg_temp.fails($$SELECT num_window_embed(ARRAY[1, 2], ARRAY[1, 2], 10001, 'numeric-simple-v1')$$);
SELECT pg_temp.fails($$SELECT num_window_embed(ARRAY[1, 2], ARRAY[1, 2], 63)$$);
SELECT pg_temp.fails($$SELECT num_window_embed(array_fill(1.0, ARRAY[200001]), array_fill(1.0, ARRAY[200001]), 63)$$);
SELECT pg_temp.fails($$SELECT num_window_embed(ARRAY[1, 2], ARRAY[1, 2], 1, 'num-regime-core-v9')$$);
SELECT pg_temp.fails($$SELECT num_window_embed(ARRAY[1, 2], ARRAY[1, 2], 1, 'NUMERIC-SIMPLE-V1')$$);
SELECT pg_temp.fails($$SELECT num_window_embed(ARRAY[1, 2], ARRAY[1, 2], 1, 'zzz')$$);
SELECT pg_temp.fails($$SELECT num_window_embed(ARRAY[1, 2], ARRAY[1, 2], 1, '')$$);
SELECT pg_temp.fails($$SELECT num_window_embed(ARRAY[1, 2], ARRAY[1, 2], 1, E'x''; DROP TABLE embed_models; --')$$);

-- Windows by look-up.
SELECT pg_temp.fails($$SELECT num_window_embed('A', '2024-01-01')$$);
SELECT pg_temp.fails($$SELECT num_window_embed('A', '2024-01-01', prices => NULL)$$);
SELECT pg_temp.fails($$SELECT num_window_embed('A', '2024-01-01', prices => 'no_such_table')$$);
SELECT pg_temp.fails($$SELECT num_window_embed('A', '2024-01-01', prices => 'pg_catalog.pg_class')$$);
SELECT pg_temp.fails($$SELECT num_window_embed('A', '2024-01-01', prices => 'pg_catalog.pg_class_oid_index')$$);
SELECT pg_temp.fails($$SELECT num_window_embed('A', '2024-01-01', prices => '4294967295'::oid::regclass)$$);
SELECT pg_temp.fails($$SELECT num_window_embed('A', 'infinity')$$);
SELECT pg_temp.fails($$SELECT num_window_embed('A', '-infinity')$$);
SELECT pg_temp.fails($$SELECT num_window_embed('A', 'yesterdayish')$$);
SELECT pg_temp.fails($$SELECT num_window_embed('A', '2024-01-01', window_days => NULL)$$);
SELECT pg_temp.fails($$SELECT num_window_embed('A', '2024-01-01', model_id => NULL)$$);

-- The aggregate.
SELECT pg_temp.fails($$SELECT num_window_agg('infinity', 1, 1, 5, 'num-regime-core-v1')$$);
SELECT pg_temp.fails($$SELECT num_window_agg('2024-01-01', 1, 1, NULL, 'num-regime-core-v1')$$);
SELECT pg_temp.fails($$SELECT num_window_agg('2024-01-01', 1, 1, 5, NULL)$$);
SELECT pg_temp.fails($$SELECT num_window_agg('2024-01-01', 1, 1, 0, 'num-regime-core-v1')$$);
SELECT pg_temp.fails($$SELECT num_window_agg('2024-01-01', 1, 1, 5, 'num-regime-core')$$);
SELECT pg_temp.fails($$SELECT num_window_agg(d, 1, 1, w, 'num-regime-core-v1') FROM (VALUES (date '2024-01-01', 5), ('2024-01-02', 6)) AS r(d, w)$$);
SELECT pg_temp.fails($$SELECT num_window_agg(d, 1, 1, 5, m) FROM (VALUES (date '2024-01-01', 'numeric-simple-v1'), ('2024-01-02', 'num-stab-core-v1')) AS r(d, m)$$);
SELECT pg_temp.fails($$SELECT num_window_agg(d, 1, 1, 3, 'num-regime-core-v1') FROM unnest(ARRAY['2024-01-03', '2024-01-01', '2024-01-03']::date[]) d$$);

-- Support functions cannot be called: no expression has type internal.
SELECT pg_temp.fails($$SELECT num_window_step(NULL, '2024-01-01', 1, 1, 5, 'num-regime-core-v1')$$);
SELECT pg_temp.fails($$SELECT num_window_final(NULL)$$);
SELECT pg_temp.fails($$SELECT num_window_deserialize('\xdeadbeef', NULL)$$);
SELECT pg_temp.fails($$SELECT embed_price_series_unpack('\xdeadbeef', NULL)$$);
SELECT pg_temp.fails($$SELECT num_window_combine('x', 'y')$$);
SELECT pg_temp.fails($$SELECT * FROM embed_staged_rows() AS r(a int)$$);

-- Backfills: arguments, before any table is looked at.
SELECT pg_temp.fails($$SELECT * FROM backfill_numeric(NULL::date, market_id => 'M')$$);
SELECT pg_temp.fails($$SELECT * FROM backfill_numeric('infinity', market_id => 'M')$$);
SELECT pg_temp.fails($$SELECT * FROM backfill_numeric('2024-01-02', '2024-01-01', market_id => 'M')$$);
SELECT pg_temp.fails($$SELECT * FROM backfill_numeric('2024-01-02', NULL, market_id => 'M')$$);
SELECT pg_temp.fails($$SELECT * FROM backfill_numeric(start_date => '2024-01-02', end_date => 'infinity', market_id => 'M')$$);
SELECT pg_temp.fails($$SELECT * FROM backfill_numeric('2024-01-02', 0, 'M')$$);
SELECT pg_temp.fails($$SELECT * FROM backfill_numeric('2024-01-02', 10000000, 'M')$$);
SELECT pg_temp.fails($$SELECT * FROM backfill_numeric('2024-01-02', NULL::int, 'M')$$);
SELECT pg_temp.fails($$SELECT * FROM backfill_numeric('2024-01-02', market_id => 'M', model_id => 'num-regime-core-v2x')$$);
SELECT pg_temp.fails($$SELECT * FROM backfill_numeric('2024-01-02', market_id => 'M', model_id => NULL)$$);
SELECT pg_temp.fails($$SELECT * FROM backfill_numeric('2024-01-02', market_id => 'M', on_existing => 'overwrite')$$);
SELECT pg_temp.fails($$SELECT * FROM backfill_numeric('2024-01-02', market_id => 'M', on_existing => NULL)$$);
SELECT pg_temp.fails($$SELECT * FROM backfill_numeric('2024-01-02', market_id => 'M')$$);

-- Backfills: tables that are there.
SET client_min_messages = warning;
CREATE SCHEMA errors;
SET search_path = errors, public;
SELECT count(*) > 0 AS migrated FROM embed_migrate();
INSERT INTO markets (market_id, name, region, timezone) VALUES ('US_EQ', 'one', 'X', 'UTC');
INSERT INTO issuers (issuer_id, issuer_type, name) VALUES ('I', 'COMPANY', 'issuer');
INSERT INTO instruments (instrument_id, issuer_id, market_id, asset_class, symbol, currency, status) VALUES ('A', 'I', 'US_EQ', 'EQUITY', 'A', 'USD', 'ACTIVE');
SELECT pg_temp.fails($$SELECT * FROM backfill_numeric('2024-01-02')$$);
SELECT pg_temp.fails($$SELECT * FROM backfill_numeric('2024-01-02', market_id => 'us_eq')$$);
SELECT pg_temp.fails($$SELECT * FROM backfill_numeric('2024-01-02', market_id => '')$$);
SELECT pg_temp.fails($$SELECT * FROM backfill_numeric('2024-01-02', market_id => 'US_EQ', max_entities => -1)$$);
SELECT pg_temp.fails($$SELECT * FROM backfill_numeric('2024-01-02', market_id => 'US_EQ', max_entities => 1, skip_entities => -1)$$);
SELECT pg_temp.fails($$SELECT * FROM backfill_numeric('2024-01-02', instrument_ids => '{A,NULL}')$$);
SELECT pg_temp.fails($$SELECT * FROM backfill_numeric('2024-01-02', instrument_ids => '{{A},{B}}')$$);
SELECT pg_temp.fails($$SELECT * FROM backfill_numeric('2024-01-02', market_id => 'US_EQ', on_existing => 'append')$$);
SELECT pg_temp.fails($$SELECT * FROM backfill_numeric('2024-01-02', instrument_ids => '{A}', prices => 'markets')$$);
SELECT pg_temp.fails($$SELECT * FROM backfill_numeric('2024-01-02', instrument_ids => '{A}', target => 'markets')$$);
SELECT pg_temp.fails($$SELECT * FROM backfill_numeric('2024-01-02', market_id => 'US_EQ', instruments => 'markets')$$);
SELECT pg_temp.fails($$SELECT * FROM backfill_numeric('2024-01-02', instrument_ids => '{A}', target => 'numeric_window_embeddings_embedding_id_seq')$$);
SELECT pg_temp.fails($$SELECT * FROM backfill_numeric('2024-01-02', instrument_ids => '{A}', target => NULL)$$);
-- A bad entity is a row, not an error.
\pset tuples_only off
SET datestyle = 'ISO';
SELECT * FROM backfill_numeric('2024-01-02', instrument_ids => '{A,""}');
SELECT * FROM backfill_numeric('4713-01-01 BC', instrument_ids => '{A}');
SELECT * FROM backfill_numeric('5874897-12-31', instrument_ids => '{A}');
SELECT count(*) FROM numeric_window_embeddings;
DROP SCHEMA errors CASCADE;
RESET search_path;
