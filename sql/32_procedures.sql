-- Backfills that commit as they go. A procedure that commits can have no SET clause, so every name and operator in
-- the bodies is qualified. The bookkeeping is in 31_jobs.sql, the work in src/pg/api/backfill_*_job.rs.

-- The batches of a job that is claimed and held: one transaction each, with a look before it at who holds the job.
CREATE PROCEDURE embed_job_run(job bigint, entities text[], dates integer, total bigint, digest bigint,
                               scope bytea, batch_entities integer)
    LANGUAGE plpgsql
AS $procedure$
DECLARE
    rest    pg_catalog.text[];
    batch   pg_catalog.text[];
    covered pg_catalog.int4 := 0;
    pool    pg_catalog.bytea;
    result  pg_catalog.jsonb;
    told    pg_catalog.timestamptz := pg_catalog.clock_timestamp();
BEGIN
    rest := @extschema@.embed_job_begin(job, entities, dates, total, digest);
    COMMIT;

    WHILE pg_catalog.cardinality(rest) OPERATOR(pg_catalog.>) 0 LOOP
        batch := rest[1:batch_entities];
        PERFORM @extschema@.embed_job_hold(job);
        IF covered OPERATOR(pg_catalog.<) pg_catalog.cardinality(batch) THEN
            pool := NULL;
            SELECT r.covered, r.pool INTO covered, pool
              FROM @extschema@.embed_job_read(job, rest, batch_entities, scope) AS r;
            covered := coalesce(covered, pg_catalog.cardinality(rest));
        END IF;
        result := @extschema@.embed_job_step(job, batch, scope, pool);
        covered := greatest(0, covered OPERATOR(pg_catalog.-) pg_catalog.cardinality(batch));
        PERFORM @extschema@.embed_job_advance(job, batch, result);
        COMMIT;
        rest := rest[pg_catalog.cardinality(batch) OPERATOR(pg_catalog.+) 1:];
        IF pg_catalog.clock_timestamp() OPERATOR(pg_catalog.-) told OPERATOR(pg_catalog.>) INTERVAL '10 seconds'
           AND pg_catalog.cardinality(rest) OPERATOR(pg_catalog.>) 0 THEN
            told := pg_catalog.clock_timestamp();
            RAISE NOTICE '%', @extschema@.embed_job_message(job);
        END IF;
    END LOOP;

    PERFORM @extschema@.embed_job_hold(job);
    PERFORM @extschema@.embed_job_finish(job);
    RAISE NOTICE '%', @extschema@.embed_job_message(job);
    COMMIT;
END
$procedure$;

CREATE PROCEDURE backfill_numeric_range(
    start_date date, end_date date, window_days integer DEFAULT 63, market_id text DEFAULT NULL,
    instrument_ids text[] DEFAULT NULL, model_id text DEFAULT 'num-regime-core-v1', max_entities integer DEFAULT NULL,
    skip_entities integer DEFAULT NULL, on_existing text DEFAULT 'update',
    prices regclass DEFAULT pg_catalog.to_regclass('prices_daily'),
    instruments regclass DEFAULT pg_catalog.to_regclass('instruments'),
    target regclass DEFAULT pg_catalog.to_regclass('numeric_window_embeddings'),
    batch_entities integer DEFAULT NULL, partition integer DEFAULT 1, partitions integer DEFAULT 1,
    resume boolean DEFAULT true
)
    LANGUAGE plpgsql
AS $procedure$
DECLARE
    entities pg_catalog.text[];
    job      pg_catalog.int8;
    scope    pg_catalog.record;
BEGIN
    entities := @extschema@.embed_numeric_job_entities(
        start_date, end_date, window_days, market_id, instrument_ids, model_id, max_entities, skip_entities,
        on_existing, prices, instruments, target, partition, partitions, batch_entities);
    job := @extschema@.embed_job_claim('backfill_numeric_range', pg_catalog.jsonb_build_object(
        'start_date', start_date, 'end_date', end_date, 'window_days', window_days, 'market_id', market_id,
        'instrument_ids', instrument_ids, 'model_id', model_id, 'max_entities', max_entities,
        'skip_entities', skip_entities, 'on_existing', on_existing,
        'prices', @extschema@.embed_qualified_name(prices), 'instruments', @extschema@.embed_qualified_name(instruments),
        'target', @extschema@.embed_qualified_name(target), 'partition', partition, 'partitions', partitions), resume);
    COMMIT;

    PERFORM @extschema@.embed_job_hold(job);
    -- Dates and market are those of all partitions.
    SELECT s.dates, s.digest, s.scope INTO scope
      FROM @extschema@.embed_numeric_job_scope(entities, start_date, end_date, window_days, model_id, on_existing,
                                               prices, instruments, target) AS s;
    entities := @extschema@.embed_partition_of(entities, partition, partitions);
    -- About a second's work for a commit, and for a look at whether to stop.
    CALL @extschema@.embed_job_run(
        job, entities, scope.dates,
        pg_catalog.cardinality(entities)::pg_catalog.int8 OPERATOR(pg_catalog.*) scope.dates, scope.digest, scope.scope,
        coalesce(batch_entities, greatest(1, 50000 OPERATOR(pg_catalog./) greatest(1, scope.dates))));
END
$procedure$;

CREATE PROCEDURE backfill_profile_text_range(
    start_date date, end_date date, model_id text DEFAULT 'text-profile-v1', max_entities integer DEFAULT NULL,
    on_existing text DEFAULT 'update',
    profiles regclass DEFAULT pg_catalog.to_regclass('profiles'),
    target regclass DEFAULT pg_catalog.to_regclass('text_embeddings'),
    batch_entities integer DEFAULT NULL, partition integer DEFAULT 1, partitions integer DEFAULT 1,
    resume boolean DEFAULT true
)
    LANGUAGE plpgsql
AS $procedure$
DECLARE
    job   pg_catalog.int8;
    found pg_catalog.record;
BEGIN
    SELECT s.entities, s.total, s.digest INTO found
      FROM @extschema@.embed_text_job_entities(start_date, end_date, model_id, max_entities, on_existing, profiles, target,
                                               partition, partitions, batch_entities) AS s;
    job := @extschema@.embed_job_claim('backfill_profile_text_range', pg_catalog.jsonb_build_object(
        'start_date', start_date, 'end_date', end_date, 'model_id', model_id, 'max_entities', max_entities,
        'on_existing', on_existing, 'profiles', @extschema@.embed_qualified_name(profiles),
        'target', @extschema@.embed_qualified_name(target), 'partition', partition, 'partitions', partitions), resume);
    COMMIT;

    PERFORM @extschema@.embed_job_hold(job);
    -- About two hundred texts for a commit: some seconds.
    CALL @extschema@.embed_job_run(
        job, found.entities, NULL, found.total, found.digest, NULL,
        coalesce(batch_entities, @extschema@.embed_batch_size(found.entities, found.total, 200)));
END
$procedure$;

CREATE PROCEDURE backfill_joint_range(
    joint_type text, start_date date, end_date date, entity_ids text[] DEFAULT NULL, model_id text DEFAULT NULL,
    entity_type text DEFAULT NULL, market_id text DEFAULT NULL, region text DEFAULT NULL, branch_models jsonb DEFAULT NULL,
    max_entities integer DEFAULT NULL, skip_entities integer DEFAULT NULL, on_existing text DEFAULT 'update',
    numeric_embeddings regclass DEFAULT pg_catalog.to_regclass('numeric_window_embeddings'),
    text_embeddings regclass DEFAULT pg_catalog.to_regclass('text_embeddings'),
    target regclass DEFAULT pg_catalog.to_regclass('joint_embeddings'),
    profiles regclass DEFAULT pg_catalog.to_regclass('profiles'),
    instruments regclass DEFAULT pg_catalog.to_regclass('instruments'),
    markets regclass DEFAULT pg_catalog.to_regclass('markets'),
    batch_entities integer DEFAULT NULL, partition integer DEFAULT 1, partitions integer DEFAULT 1,
    resume boolean DEFAULT true
)
    LANGUAGE plpgsql
AS $procedure$
DECLARE
    job   pg_catalog.int8;
    found pg_catalog.record;
BEGIN
    SELECT s.entities, s.total, s.digest INTO found
      FROM @extschema@.embed_joint_job_entities(
               joint_type, start_date, end_date, entity_ids, model_id, entity_type, market_id, region, branch_models,
               max_entities, skip_entities, on_existing, numeric_embeddings, text_embeddings, target, profiles,
               instruments, markets, partition, partitions, batch_entities) AS s;
    job := @extschema@.embed_job_claim('backfill_joint_range', pg_catalog.jsonb_build_object(
        'joint_type', joint_type, 'start_date', start_date, 'end_date', end_date, 'entity_ids', entity_ids,
        'model_id', model_id, 'entity_type', entity_type, 'market_id', market_id, 'region', region,
        'branch_models', branch_models, 'max_entities', max_entities, 'skip_entities', skip_entities,
        'on_existing', on_existing, 'numeric_embeddings', @extschema@.embed_qualified_name(numeric_embeddings),
        'text_embeddings', @extschema@.embed_qualified_name(text_embeddings),
        'target', @extschema@.embed_qualified_name(target), 'profiles', @extschema@.embed_qualified_name(profiles),
        'instruments', @extschema@.embed_qualified_name(instruments),
        'markets', @extschema@.embed_qualified_name(markets), 'partition', partition, 'partitions', partitions), resume);
    COMMIT;

    PERFORM @extschema@.embed_job_hold(job);
    CALL @extschema@.embed_job_run(
        job, found.entities, NULL, found.total, found.digest, NULL,
        coalesce(batch_entities, @extschema@.embed_batch_size(found.entities, found.total, 20000)));
END
$procedure$;
