-- Backfills that commit as they go. A procedure that commits can have no SET clause, so every name and operator in
-- the bodies is qualified. The bookkeeping is in 31_jobs.sql, the work in src/pg/api/backfill_numeric_job.rs.
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
<<own>>
DECLARE
    entities pg_catalog.text[];
    batch    pg_catalog.text[];
    job      pg_catalog.int8;
    size     pg_catalog.int4 := batch_entities;
    scope    pg_catalog.record;
    result   pg_catalog.jsonb;
    told     pg_catalog.timestamptz := pg_catalog.clock_timestamp();
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
    SELECT s.dates, s.digest, s.scope INTO scope
      FROM @extschema@.embed_numeric_job_scope(entities, start_date, end_date, window_days, model_id, on_existing,
                                               prices, target) AS s;
    entities := @extschema@.embed_job_begin(job, entities, partition, partitions, scope.dates, scope.digest);
    -- About a second's work for a commit, and for a look at whether to stop.
    size := coalesce(size, greatest(1, 50000 OPERATOR(pg_catalog./) greatest(1, scope.dates)));
    COMMIT;

    WHILE pg_catalog.cardinality(entities) OPERATOR(pg_catalog.>) 0 LOOP
        batch := entities[1:size];
        PERFORM @extschema@.embed_job_hold(job);
        result := @extschema@.embed_numeric_job_step(batch, scope.scope, window_days, model_id, on_existing, prices, target);
        PERFORM @extschema@.embed_job_advance(job, batch, result);
        COMMIT;
        entities := entities[pg_catalog.cardinality(batch) OPERATOR(pg_catalog.+) 1:];
        IF pg_catalog.clock_timestamp() OPERATOR(pg_catalog.-) told OPERATOR(pg_catalog.>) INTERVAL '10 seconds' THEN
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
