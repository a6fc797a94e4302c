-- 0003 Where vectors are kept: numeric_window_embeddings, text_embeddings, joint_embeddings.
--
-- A vector is little-endian float32 without header: octet_length(vector) = 4 * dim.
-- Creates each table that the schema first on the search_path lacks, and leaves alone whatever has its
-- name there already. One block, so the file is applied whole or not at all. Rules: README.md.
DO $migration$
DECLARE
    home        pg_catalog.name := pg_catalog.current_schema();
    caller_path pg_catalog.text := pg_catalog.current_setting('search_path');
    found       pg_catalog.record;
BEGIN
    IF home IS NULL THEN
        RAISE EXCEPTION 'no schema to create the tables in'
            USING ERRCODE = 'invalid_schema_name',
                  DETAIL = pg_catalog.format('search_path is %s, and none of its schemas exists or may be used', caller_path),
                  HINT = 'Create the schema, or set search_path so that it begins with one that exists.';
    END IF;
    PERFORM pg_catalog.pg_advisory_xact_lock(7308332045321);
    PERFORM pg_catalog.set_config('search_path', pg_catalog.format('%I, pg_temp', home), true);

    IF pg_catalog.to_regclass(pg_catalog.format('%I.numeric_window_embeddings', home)) IS NULL THEN
        CREATE TABLE numeric_window_embeddings (
            embedding_id bigserial    PRIMARY KEY,
            entity_type  varchar(32)  NOT NULL,
            entity_id    varchar(64)  NOT NULL,
            window_spec  jsonb        NOT NULL,
            as_of_date   date         NOT NULL,
            model_id     varchar(64)  NOT NULL,
            vector       bytea,
            vector_ref   varchar(255),
            created_at   timestamptz  NOT NULL DEFAULT pg_catalog.now()
        );
    END IF;

    IF pg_catalog.to_regclass(pg_catalog.format('%I.text_embeddings', home)) IS NULL THEN
        CREATE TABLE text_embeddings (
            embedding_id bigserial    PRIMARY KEY,
            source_type  varchar(32)  NOT NULL,
            source_id    varchar(64)  NOT NULL,
            model_id     varchar(64)  NOT NULL,
            vector       bytea,
            vector_ref   varchar(255),
            created_at   timestamptz  NOT NULL DEFAULT pg_catalog.now(),
            CONSTRAINT text_embeddings_natural_key UNIQUE (source_type, source_id, model_id)
        );
    END IF;

    IF pg_catalog.to_regclass(pg_catalog.format('%I.joint_embeddings', home)) IS NULL THEN
        CREATE TABLE joint_embeddings (
            joint_id     bigserial    PRIMARY KEY,
            joint_type   varchar(32)  NOT NULL,
            as_of_date   date         NOT NULL,
            entity_scope jsonb        NOT NULL,
            model_id     varchar(64)  NOT NULL,
            vector       bytea,
            vector_ref   varchar(255),
            created_at   timestamptz  NOT NULL DEFAULT pg_catalog.now()
        );
    END IF;

    PERFORM pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);

    FOR found IN
        SELECT c.relname, c.relkind
          FROM pg_class AS c
          JOIN pg_namespace AS n ON n.oid = c.relnamespace
         WHERE n.nspname = home AND c.relkind NOT IN ('r', 'p')
           AND c.relname IN ('numeric_window_embeddings', 'text_embeddings', 'joint_embeddings')
         ORDER BY c.relname
    LOOP
        RAISE NOTICE '%.% is not a table (relkind %): left as it is', quote_ident(home), found.relname, found.relkind;
    END LOOP;

    PERFORM pg_catalog.set_config('search_path', caller_path, true);
END
$migration$;
