-- 0005 One row per natural key, so that a repeated backfill replaces instead of piling up.
--
--   numeric  model_id, as_of_date, entity_type, entity_id, window_days of window_spec
--   text     source_type, source_id, model_id
--   joint    model_id, joint_type, as_of_date, entity_type of entity_scope, and the entity itself: entity_id,
--            else portfolio_id, else scenario_set_id:scenario_id, else issuer_id
--
-- A row whose key holds a NULL is not constrained: a window_spec without window_days, and the spaces whose
-- scope names no entity_type (regimes, episodes, backtest runs). The columns are ordered so that the same
-- index serves the look-ups by model and date.
--
-- Never forced: where old rows contradict a key, a WARNING says which and what to run, and the rest goes on.
-- An index that already enforces the key is found by its shape, whatever its name and column order; also that of a
-- deferrable constraint, since a second one beside it would not make ON CONFLICT work.
DO $migration$
DECLARE
    home        pg_catalog.name := pg_catalog.current_schema();
    caller_path pg_catalog.text := pg_catalog.current_setting('search_path');
    key         pg_catalog.record;
    columns     pg_catalog.text;
    same_key    pg_catalog.text;
    why         pg_catalog.text;
    remedy      pg_catalog.text;
    clash       pg_catalog.text;
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

    -- Parts are written as the server prints them back; @ stands for the row.
    FOR key IN
        SELECT c.relname, c.relname || '_natural_key' AS index_name, wanted.row_id, wanted.parts,
               pg_has_role(c.relowner, 'USAGE') AS owned,
               (SELECT i.indisvalid FROM pg_index AS i JOIN pg_class AS x ON x.oid = i.indexrelid
                 WHERE i.indrelid = c.oid AND x.relname::text = c.relname || '_natural_key') AS named_is_valid,
               EXISTS (SELECT FROM pg_index AS i
                        WHERE i.indrelid = c.oid AND i.indisunique AND i.indisvalid AND i.indpred IS NULL
                          AND (SELECT array_agg(p.part ORDER BY p.part COLLATE "C")
                                 FROM generate_series(1, i.indnkeyatts) AS k
                                -- The tables of distributed/ have columns where these have expressions.
                                CROSS JOIN LATERAL (SELECT CASE WHEN d.part = 'window_days' THEN '(window_spec ->> ''window_days''::text)'
                                                                WHEN wanted.relname = 'joint_embeddings' AND d.part = 'entity_type'
                                                                THEN replace(wanted.parts[4], '@.', '')
                                                                WHEN wanted.relname = 'joint_embeddings' AND d.part = 'entity_id'
                                                                THEN replace(wanted.parts[5], '@.', '')
                                                                ELSE d.part END
                                                      FROM (SELECT replace(pg_get_indexdef(i.indexrelid, k, true), '"', '')) AS d(part)) AS p(part))
                            = (SELECT array_agg(replace(part, '@.', '') ORDER BY replace(part, '@.', '') COLLATE "C")
                                 FROM unnest(wanted.parts) AS part)) AS enforced
          FROM (VALUES
                ('numeric_window_embeddings'::name, 'embedding_id'::name,
                 ARRAY['@.model_id', '@.as_of_date', '@.entity_type', '@.entity_id',
                       '(@.window_spec ->> ''window_days''::text)']),
                ('text_embeddings', 'embedding_id', ARRAY['@.source_type', '@.source_id', '@.model_id']),
                ('joint_embeddings', 'joint_id',
                 ARRAY['@.model_id', '@.joint_type', '@.as_of_date', '(@.entity_scope ->> ''entity_type''::text)',
                       'COALESCE(@.entity_scope ->> ''entity_id''::text, @.entity_scope ->> ''portfolio_id''::text, '
                       '((@.entity_scope ->> ''scenario_set_id''::text) || '':''::text) || (@.entity_scope ->> ''scenario_id''::text), '
                       '@.entity_scope ->> ''issuer_id''::text)'])
               ) AS wanted (relname, row_id, parts)
          JOIN pg_namespace AS n ON n.nspname = home
          JOIN pg_class AS c ON c.relnamespace = n.oid AND c.relname = wanted.relname AND c.relkind IN ('r', 'p')
         ORDER BY c.relname
    LOOP
        CONTINUE WHEN key.enforced OR key.named_is_valid;
        why := NULL;
        remedy := 'Run the migrations as the owner of the table.';
        SELECT string_agg(replace(part, '@.', ''), ', ' ORDER BY n),
               string_agg(replace(part, '@', 'older') || ' = ' || replace(part, '@', 'newer'), ' AND ' ORDER BY n)
          INTO columns, same_key
          FROM unnest(key.parts) WITH ORDINALITY AS p (part, n);
        clash := format('The key is UNIQUE (%s).', columns);

        IF key.named_is_valid IS FALSE THEN
            why := 'its index is not valid, a concurrent build of it was cut short';
            remedy := format('Run: DROP INDEX %I.%I; then the migrations again.', home, key.index_name);
        ELSIF NOT key.owned THEN
            why := 'it belongs to another role';
        ELSE
            BEGIN
                EXECUTE format('CREATE UNIQUE INDEX %I ON %I.%I (%s)', key.index_name, home, key.relname, columns);
            EXCEPTION
                WHEN unique_violation THEN
                    GET STACKED DIAGNOSTICS clash = PG_EXCEPTION_DETAIL;
                    why := 'it holds several rows of one key';
                    remedy := format('To keep the newest row of each key, run: '
                                     'DELETE FROM %1$I.%2$I AS older USING %1$I.%2$I AS newer '
                                     'WHERE older.%3$I < newer.%3$I AND %4$s; then the migrations again.',
                                     home, key.relname, key.row_id, same_key);
                -- A table of other columns, a partition key outside our key, foreign partitions, ids beyond what
                -- an index entry holds, a name that is taken: the table stays usable as it is.
                WHEN undefined_column OR undefined_function OR feature_not_supported OR wrong_object_type
                     OR invalid_table_definition OR invalid_object_definition OR program_limit_exceeded
                     OR duplicate_table THEN
                    why := SQLERRM;
                    remedy := 'Backfills replace their rows without it too, with more work and under a lock.';
            END;
        END IF;

        IF why IS NOT NULL THEN
            left_undone := array_append(left_undone, format('%I.%I gets no natural key: %s. %s', home, key.relname, why, remedy));
            RAISE WARNING '%.% gets no natural key: %', quote_ident(home), key.relname, why
                USING DETAIL = clash, HINT = remedy;
        END IF;
    END LOOP;

    -- For embed_migrate(), which reports it as a row.
    PERFORM pg_catalog.set_config('embed_migrate.left_undone', array_to_string(left_undone, E'\n'), true);
    PERFORM pg_catalog.set_config('search_path', caller_path, true);
END
$migration$;
