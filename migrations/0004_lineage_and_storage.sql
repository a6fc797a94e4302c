-- 0004 What we add to the rows of the embedding tables, and how their vectors are stored.
--
-- Lineage: nullable columns without a default, so adding them rewrites nothing, and old rows and other
-- writers need not know of them.
-- Storage: EXTERNAL, since float32 noise does not compress and trying costs every read (PLAIN would refuse
-- vectors beyond a page); with a toast target of a page, so that a vector of up to 2,000 dimensions stays
-- in its row. Both touch rows written from now on, and a setting of the user's own is kept.
DO $migration$
DECLARE
    home        pg_catalog.name := pg_catalog.current_schema();
    caller_path pg_catalog.text := pg_catalog.current_setting('search_path');
    step        pg_catalog.record;
    left_undone pg_catalog.text[] := '{}';
BEGIN
    IF home IS NULL THEN
        RAISE EXCEPTION 'no schema to find the tables in'
            USING ERRCODE = 'invalid_schema_name',
                  DETAIL = pg_catalog.format('search_path is %s, and none of its schemas exists or may be used', caller_path),
                  HINT = 'Create the schema, or set search_path so that it begins with one that exists.';
    END IF;
    PERFORM pg_catalog.pg_advisory_xact_lock(7308332045321);
    PERFORM pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);

    FOR step IN
        SELECT wanted.ordinal, c.oid AS relation, c.relname, pg_has_role(c.relowner, 'USAGE') AS owned, wanted.change
          FROM (VALUES
                ( 1, 'numeric_window_embeddings'::name, 'rows_used'::name, 'ADD COLUMN rows_used integer'),
                ( 2, 'numeric_window_embeddings', 'rows_padded',     'ADD COLUMN rows_padded integer'),
                ( 3, 'numeric_window_embeddings', 'last_trade_date', 'ADD COLUMN last_trade_date date'),
                ( 4, 'numeric_window_embeddings', 'input_digest',    'ADD COLUMN input_digest uuid'),
                ( 5, 'numeric_window_embeddings', 'computed_at',     'ADD COLUMN computed_at timestamptz'),
                ( 6, 'text_embeddings',           'tokens',          'ADD COLUMN tokens integer'),
                ( 7, 'text_embeddings',           'truncated',       'ADD COLUMN truncated boolean'),
                ( 8, 'text_embeddings',           'input_digest',    'ADD COLUMN input_digest uuid'),
                ( 9, 'text_embeddings',           'computed_at',     'ADD COLUMN computed_at timestamptz'),
                (10, 'joint_embeddings',          'branches',        'ADD COLUMN branches jsonb'),
                (11, 'joint_embeddings',          'input_digest',    'ADD COLUMN input_digest uuid'),
                (12, 'joint_embeddings',          'computed_at',     'ADD COLUMN computed_at timestamptz')
               ) AS wanted (ordinal, relname, attname, change)
          JOIN pg_namespace AS n ON n.nspname = home
          JOIN pg_class AS c ON c.relnamespace = n.oid AND c.relname = wanted.relname AND c.relkind IN ('r', 'p')
         WHERE NOT EXISTS (SELECT FROM pg_attribute AS a
                            WHERE a.attrelid = c.oid AND a.attname = wanted.attname AND NOT a.attisdropped)
        UNION ALL
        SELECT 20, c.oid, c.relname, pg_has_role(c.relowner, 'USAGE'), 'ALTER COLUMN vector SET STORAGE EXTERNAL'
          FROM pg_namespace AS n
          JOIN pg_class AS c ON c.relnamespace = n.oid AND c.relkind IN ('r', 'p')
          JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attname = 'vector' AND a.attstorage = 'x'
         WHERE n.nspname = home
           AND c.relname IN ('numeric_window_embeddings', 'text_embeddings', 'joint_embeddings')
        UNION ALL
        SELECT 30, c.oid, c.relname, pg_has_role(c.relowner, 'USAGE'), 'SET (toast_tuple_target = 8160)'
          FROM pg_namespace AS n
          JOIN pg_class AS c ON c.relnamespace = n.oid AND c.relkind = 'r'
         WHERE n.nspname = home
           AND c.relname IN ('numeric_window_embeddings', 'text_embeddings', 'joint_embeddings')
           AND NOT EXISTS (SELECT FROM unnest(c.reloptions) AS o (setting)
                            WHERE starts_with(o.setting, 'toast_tuple_target='))
         ORDER BY 1, 3
    LOOP
        IF step.owned THEN
            EXECUTE format('ALTER TABLE %I.%I %s', home, step.relname, step.change);
        ELSE
            left_undone := array_append(left_undone, format('%I.%I belongs to another role: not done: %s', home, step.relname, step.change));
            RAISE WARNING '%.% belongs to another role: not done: %', quote_ident(home), step.relname, step.change
                USING HINT = 'Run the migrations as the owner of the table.';
        END IF;
    END LOOP;

    -- For embed_migrate(), which reports it as a row.
    PERFORM pg_catalog.set_config('embed_migrate.left_undone', array_to_string(left_undone, E'\n'), true);
    PERFORM pg_catalog.set_config('search_path', caller_path, true);
END
$migration$;
