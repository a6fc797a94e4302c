-- Forms of functions for what people type first: ARRAY[1.5, 2] is numeric[], ARRAY[1, 2] is integer[], and
-- '2024-12-31' has no type yet. Without these forms such calls are ambiguous. Bodies are parsed here, once.
CREATE FUNCTION vector_from_array(elements numeric[]) RETURNS bytea
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE COST 20
    RETURN @extschema@.vector_from_array(elements::pg_catalog.float8[]);

CREATE FUNCTION vector_from_array(elements integer[]) RETURNS bytea
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE COST 20
    RETURN @extschema@.vector_from_array(elements::pg_catalog.float8[]);

CREATE FUNCTION pad_to_dim(elements numeric[], dim integer DEFAULT 384) RETURNS bytea
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE COST 20
    RETURN @extschema@.pad_to_dim(elements::pg_catalog.float8[], dim);

CREATE FUNCTION pad_to_dim(elements integer[], dim integer DEFAULT 384) RETURNS bytea
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE COST 20
    RETURN @extschema@.pad_to_dim(elements::pg_catalog.float8[], dim);

CREATE FUNCTION num_window_embed(instrument_id text, as_of text, window_days integer DEFAULT 63,
                                 model_id text DEFAULT 'num-regime-core-v1',
                                 prices regclass DEFAULT pg_catalog.to_regclass('prices_daily'),
                                 instruments regclass DEFAULT pg_catalog.to_regclass('instruments')) RETURNS bytea
    LANGUAGE sql STABLE PARALLEL SAFE COST 5000
    RETURN @extschema@.num_window_embed(instrument_id, as_of::pg_catalog.date, window_days, model_id, prices, instruments);

CREATE FUNCTION backfill_numeric(
    start_date text, end_date text, window_days integer DEFAULT 63, market_id text DEFAULT NULL,
    instrument_ids text[] DEFAULT NULL, model_id text DEFAULT 'num-regime-core-v1', max_entities integer DEFAULT NULL,
    skip_entities integer DEFAULT NULL, on_existing text DEFAULT 'replace',
    prices regclass DEFAULT pg_catalog.to_regclass('prices_daily'),
    instruments regclass DEFAULT pg_catalog.to_regclass('instruments'),
    target regclass DEFAULT pg_catalog.to_regclass('numeric_window_embeddings')
)
    RETURNS TABLE (entity_id text, as_of_date date, model_id text, status text, dim integer, rows_used integer, detail text)
    LANGUAGE sql VOLATILE PARALLEL UNSAFE COST 1000000 ROWS 100000
BEGIN ATOMIC
    SELECT b.entity_id, b.as_of_date, b.model_id, b.status, b.dim, b.rows_used, b.detail
      FROM @extschema@.backfill_numeric($1::pg_catalog.date, $2::pg_catalog.date, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12) b;
END;
