-- Proof by trial that a numeric model reads nothing later than its as-of date: the vector is computed from a
-- copy of the prices that ends there, and from one that goes on with other numbers. The copies live in a
-- subtransaction that is always rolled back; nothing of the caller's is written.
CREATE FUNCTION check_no_lookahead(
    model_id text, entity text, as_of date, window_days int DEFAULT 63,
    prices regclass DEFAULT pg_catalog.to_regclass('prices_daily'))
RETURNS TABLE (ok boolean, rows_up_to_as_of bigint, rows_changed bigint, detail text)
    LANGUAGE plpgsql VOLATILE COST 100000 ROWS 1
    SET search_path = pg_catalog, pg_temp
AS $check$
DECLARE
    known  bytea;
    later  bytea;
    undone CONSTANT text := 'PE999';
BEGIN
    IF model_id IS NULL OR entity IS NULL OR as_of IS NULL OR window_days IS NULL THEN
        RAISE EXCEPTION 'arguments "model_id", "entity", "as_of" and "window_days" must not be null'
            USING ERRCODE = 'null_value_not_allowed';
    ELSIF prices IS NULL THEN
        RAISE EXCEPTION 'relation "prices_daily" does not exist'
            USING ERRCODE = 'undefined_table',
                  HINT = 'Put its schema on the search_path, or pass prices => ''schema.table''.';
    END IF;
    BEGIN
        CREATE TEMPORARY TABLE embed_check_known (
            instrument_id text, trade_date date, close float8, adjusted_close float8, volume float8) ON COMMIT DROP;
        CREATE TEMPORARY TABLE embed_check_later (LIKE embed_check_known) ON COMMIT DROP;
        -- No window reads further back than 30 calendar days a row.
        EXECUTE format(
            'INSERT INTO pg_temp.embed_check_known SELECT p.instrument_id::text, p.trade_date::date, p.close::float8, '
            'p.adjusted_close::float8, p.volume::float8 FROM %s p WHERE p.trade_date <= $1 AND p.trade_date >= $1 - 30 * ($2 + 1000)',
            prices) USING as_of, window_days;
        GET DIAGNOSTICS rows_up_to_as_of = ROW_COUNT;
        INSERT INTO pg_temp.embed_check_later SELECT * FROM pg_temp.embed_check_known;
        -- What really came later, upside down; where nothing did, ten days of nonsense.
        EXECUTE format(
            'INSERT INTO pg_temp.embed_check_later SELECT p.instrument_id::text, p.trade_date::date, 1000 / (1 + abs(p.close::float8)), '
            '1000 / (1 + abs(p.adjusted_close::float8)), 7 + 3 * abs(p.volume::float8) FROM %s p '
            'WHERE p.trade_date > $1 AND p.trade_date <= $1 + 366', prices) USING as_of;
        GET DIAGNOSTICS rows_changed = ROW_COUNT;
        IF rows_changed = 0 THEN
            INSERT INTO pg_temp.embed_check_later
            SELECT i.instrument_id, as_of + d, 10 + d + length(i.instrument_id), 20 - d, 1000 * d
              FROM (SELECT DISTINCT instrument_id FROM pg_temp.embed_check_known) i, generate_series(1, 10) d;
            GET DIAGNOSTICS rows_changed = ROW_COUNT;
        END IF;
        ANALYZE pg_temp.embed_check_known, pg_temp.embed_check_later;
        known := @extschema@.num_window_embed(entity, as_of, window_days, model_id, 'pg_temp.embed_check_known'::regclass);
        later := @extschema@.num_window_embed(entity, as_of, window_days, model_id, 'pg_temp.embed_check_later'::regclass);
        RAISE EXCEPTION USING ERRCODE = undone;
    EXCEPTION WHEN SQLSTATE 'PE999' THEN
        -- Both tables are gone; the two vectors are not.
        NULL;
    END;
    ok := known = later;
    detail := CASE WHEN ok THEN format('same %s bytes with and without later rows', octet_length(known))
                   ELSE format('later rows move the vector by %s', @extschema@.euclidean_dist(known, later)) END;
    RETURN NEXT;
END
$check$;

COMMENT ON FUNCTION check_no_lookahead(text, text, date, int, regclass) IS
    'Whether a numeric model''s vector of a date is the same with and without later rows: computed both ways on copies that are rolled back.';
