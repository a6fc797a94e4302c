-- 0006 Indexes for the look-ups that backfills and readers do.
--
-- An index is missing only if no valid one begins with the same columns, so nothing of the user's is doubled.
-- The embedding tables read by model and date through their natural key (0005); while old duplicates keep
-- them from having it, they get a plain index instead.
DO $migration$
DECLARE
    home        pg_catalog.name := pg_catalog.current_schema();
    caller_path pg_catalog.text := pg_catalog.current_setting('search_path');
    lookup      pg_catalog.record;
    trouble     pg_catalog.text;
BEGIN
    IF home IS NULL THEN
        RAISE EXCEPTION 'no schema to find the tables in'
            USING ERRCODE = 'invalid_schema_name',
                  DETAIL = pg_catalog.format('search_path is %s, and none of its schemas exists or may be used', caller_path),
                  HINT = 'Create the schema, or set search_path so that it begins with one that exists.';
    END IF;
    PERFORM pg_catalog.pg_advisory_xact_lock(7308332045321);
    PERFORM pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);

    FOR lookup IN
        SELECT c.relname, wanted.index_name, wanted.parts, pg_has_role(c.relowner, 'USAGE') AS owned
          FROM (VALUES
                ('instruments'::name, 'instruments_issuer_id_idx'::name, ARRAY['issuer_id']),
                ('instruments', 'instruments_market_id_idx', ARRAY['market_id']),
                ('instruments', 'instruments_status_idx', ARRAY['status']),
                ('prices_daily', 'prices_daily_trade_date_idx', ARRAY['trade_date']),
                ('profiles', 'profiles_as_of_date_idx', ARRAY['as_of_date']),
                ('portfolio_risk_reports', 'portfolio_risk_reports_as_of_date_idx', ARRAY['as_of_date']),
                ('portfolio_risk_reports', 'portfolio_risk_reports_portfolio_id_idx', ARRAY['portfolio_id', 'as_of_date']),
                ('scenario_sets', 'scenario_sets_category_idx', ARRAY['category']),
                ('scenario_paths', 'scenario_paths_scenario_id_idx', ARRAY['scenario_set_id', 'scenario_id']),
                ('numeric_window_embeddings', 'numeric_window_embeddings_model_id_idx',
                 ARRAY['model_id', 'as_of_date', 'entity_type']),
                ('joint_embeddings', 'joint_embeddings_model_id_idx', ARRAY['model_id', 'joint_type', 'as_of_date'])
               ) AS wanted (relname, index_name, parts)
          JOIN pg_namespace AS n ON n.nspname = home
          JOIN pg_class AS c ON c.relnamespace = n.oid AND c.relname = wanted.relname AND c.relkind IN ('r', 'p')
         WHERE NOT EXISTS (SELECT FROM pg_index AS i
                            WHERE i.indrelid = c.oid AND i.indisvalid AND i.indpred IS NULL
                              AND (SELECT array_agg(replace(pg_get_indexdef(i.indexrelid, k, true), '"', '') ORDER BY k)
                                     FROM generate_series(1, cardinality(wanted.parts)) AS k) = wanted.parts)
         ORDER BY c.relname, wanted.index_name
    LOOP
        IF NOT lookup.owned THEN
            RAISE NOTICE '%.% belongs to another role: no index on (%)',
                quote_ident(home), lookup.relname, array_to_string(lookup.parts, ', ');
            CONTINUE;
        END IF;
        BEGIN
            EXECUTE format('CREATE INDEX IF NOT EXISTS %I ON %I.%I (%s)',
                           lookup.index_name, home, lookup.relname, array_to_string(lookup.parts, ', '));
        EXCEPTION
            -- A table of other columns, or with foreign partitions: it stays as it is.
            WHEN undefined_column OR undefined_object OR feature_not_supported OR wrong_object_type THEN
                GET STACKED DIAGNOSTICS trouble = MESSAGE_TEXT;
                RAISE NOTICE '%.% gets no index on (%): %',
                    quote_ident(home), lookup.relname, array_to_string(lookup.parts, ', '), trouble;
        END;
    END LOOP;

    PERFORM pg_catalog.set_config('search_path', caller_path, true);
END
$migration$;
