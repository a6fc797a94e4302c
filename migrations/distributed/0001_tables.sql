-- The sharded tables in the form that a distributed engine pushes whole statements down to: keys of one type, natural
-- primary keys, no sequence. Apply it to a schema that has none of these tables, then the other migrations, which
-- leave these as they are: psql -f migrations/distributed/0001_tables.sql, then SELECT embed_migrate().
--
-- Entity and instrument ids are text in every table, since INSERT ... SELECT stays on the shards only where the
-- distribution columns have one type. window_days is computed from window_spec, so every writer of the published
-- form works unchanged; joint_embeddings has entity_type and entity_id beside entity_scope, which our backfills fill.
-- docs/scale.md has the statements that distribute them.
DO $migration$
DECLARE
    home        pg_catalog.name := pg_catalog.current_schema();
    caller_path pg_catalog.text := pg_catalog.current_setting('search_path');
BEGIN
    IF home IS NULL THEN
        RAISE EXCEPTION 'no schema to create the tables in'
            USING ERRCODE = 'invalid_schema_name',
                  DETAIL = pg_catalog.format('search_path is %s, and none of its schemas exists or may be used', caller_path),
                  HINT = 'Create the schema, or set search_path so that it begins with one that exists.';
    END IF;
    PERFORM pg_catalog.pg_advisory_xact_lock(7308332045321);
    PERFORM pg_catalog.set_config('search_path', pg_catalog.format('%I, pg_temp', home), true);

    IF pg_catalog.to_regclass(pg_catalog.format('%I.prices_daily', home)) IS NULL THEN
        CREATE TABLE prices_daily (
            instrument_id  text             NOT NULL,
            trade_date     date             NOT NULL,
            open           double precision NOT NULL,
            high           double precision NOT NULL,
            low            double precision NOT NULL,
            close          double precision NOT NULL,
            adjusted_close double precision NOT NULL,
            volume         double precision NOT NULL,
            currency       text             NOT NULL,
            metadata       jsonb,
            PRIMARY KEY (instrument_id, trade_date)
        );
    END IF;

    IF pg_catalog.to_regclass(pg_catalog.format('%I.numeric_window_embeddings', home)) IS NULL THEN
        CREATE TABLE numeric_window_embeddings (
            entity_type     text        NOT NULL,
            entity_id       text        NOT NULL,
            window_spec     jsonb       NOT NULL,
            as_of_date      date        NOT NULL,
            model_id        text        NOT NULL,
            vector          bytea,
            vector_ref      text,
            created_at      timestamptz NOT NULL DEFAULT pg_catalog.now(),
            rows_used       integer,
            rows_padded     integer,
            last_trade_date date,
            input_digest    uuid,
            computed_at     timestamptz,
            window_days     integer     GENERATED ALWAYS AS (COALESCE((window_spec OPERATOR(pg_catalog.->>) 'window_days')::integer, 0)) STORED,
            PRIMARY KEY (model_id, as_of_date, entity_type, entity_id, window_days)
        );
    END IF;

    IF pg_catalog.to_regclass(pg_catalog.format('%I.text_embeddings', home)) IS NULL THEN
        CREATE TABLE text_embeddings (
            source_type  text        NOT NULL,
            source_id    text        NOT NULL,
            model_id     text        NOT NULL,
            vector       bytea,
            vector_ref   text,
            created_at   timestamptz NOT NULL DEFAULT pg_catalog.now(),
            tokens       integer,
            truncated    boolean,
            input_digest uuid,
            computed_at  timestamptz,
            PRIMARY KEY (source_type, source_id, model_id)
        );
    END IF;

    IF pg_catalog.to_regclass(pg_catalog.format('%I.joint_embeddings', home)) IS NULL THEN
        CREATE TABLE joint_embeddings (
            joint_type   text        NOT NULL,
            as_of_date   date        NOT NULL,
            -- What entity_scope says, for the key: a distributed engine takes no computed column.
            entity_type  text        NOT NULL,
            entity_id    text        NOT NULL,
            entity_scope jsonb       NOT NULL,
            model_id     text        NOT NULL,
            vector       bytea,
            vector_ref   text,
            created_at   timestamptz NOT NULL DEFAULT pg_catalog.now(),
            branches     jsonb,
            input_digest uuid,
            computed_at  timestamptz,
            PRIMARY KEY (model_id, joint_type, as_of_date, entity_type, entity_id)
        );
    END IF;

    PERFORM pg_catalog.set_config('search_path', caller_path, true);
END
$migration$;
