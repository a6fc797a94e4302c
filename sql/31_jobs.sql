-- Long backfills: their state (embed_jobs, embed_job_errors), what everybody may see of it (embed_job_progress),
-- and the bookkeeping that the procedures of 32_procedures.sql call. A procedure makes a job of its arguments
-- (embed_job_claim), says what it is about (embed_job_begin), and works through it (embed_job_step, one batch).
--
-- A job is one call's arguments. Each batch is one transaction that also updates the job's row, so the row says
-- exactly what is in the target table. While it works, a batch holds a transaction-level advisory lock on the
-- digest of the arguments: a crash, a cancellation and a rollback all free it, and a pooled connection leaks none.
--
-- Neither table is dumped: a job's state is about one server's data and processes. After a restore, a backfill with
-- on_existing => 'update' finds what is up to date and continues from there.
-- No name below means anything but what pg_catalog or this extension has; the last line puts the path back.
SET LOCAL search_path = pg_catalog, pg_temp;

CREATE TABLE @extschema@.embed_jobs (
    job_id       bigint      PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
    procedure    text        NOT NULL,
    arguments    jsonb       NOT NULL,
    digest       bigint      NOT NULL,
    owner        regrole     NOT NULL DEFAULT pg_catalog.to_regrole(pg_catalog.quote_ident(CURRENT_USER)),
    run          integer     NOT NULL DEFAULT 1,
    pid          integer     NOT NULL DEFAULT pg_catalog.pg_backend_pid(),
    scope_digest bigint,
    entities     integer,
    dates        integer,
    total        bigint,
    done         bigint      NOT NULL DEFAULT 0,
    done_before  bigint      NOT NULL DEFAULT 0,
    inserted     bigint      NOT NULL DEFAULT 0,
    replaced     bigint      NOT NULL DEFAULT 0,
    skipped      bigint      NOT NULL DEFAULT 0,
    failed       bigint      NOT NULL DEFAULT 0,
    last_entity  text,
    created_at   timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
    started_at   timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
    updated_at   timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
    finished_at  timestamptz
) WITH (fillfactor = 50);
-- Not on a column that batches update, so that their updates stay within the page.
CREATE INDEX embed_jobs_digest_idx ON @extschema@.embed_jobs (digest);

CREATE TABLE @extschema@.embed_job_errors (
    job_id     bigint  NOT NULL REFERENCES @extschema@.embed_jobs ON DELETE CASCADE,
    entity_id  text    NOT NULL,
    first_date date    NOT NULL,
    last_date  date    NOT NULL,
    dates      integer NOT NULL,
    detail     text    NOT NULL,
    PRIMARY KEY (job_id, entity_id, first_date)
);

-- Whose jobs the current user sees: his own, those of roles he belongs to, and all for members of pg_monitor.
CREATE FUNCTION @extschema@.embed_job_is_visible(owner regrole) RETURNS boolean
    LANGUAGE sql STABLE PARALLEL SAFE COST 10
    RETURN pg_catalog.pg_has_role(owner::pg_catalog.oid, 'MEMBER')
           OR pg_catalog.pg_has_role('pg_read_all_stats', 'MEMBER');

ALTER TABLE @extschema@.embed_jobs ENABLE ROW LEVEL SECURITY;
CREATE POLICY embed_jobs_read ON @extschema@.embed_jobs FOR SELECT USING (@extschema@.embed_job_is_visible(owner));
CREATE POLICY embed_jobs_write ON @extschema@.embed_jobs USING (owner OPERATOR(pg_catalog.=) pg_catalog.to_regrole(pg_catalog.quote_ident(CURRENT_USER)));
ALTER TABLE @extschema@.embed_job_errors ENABLE ROW LEVEL SECURITY;
CREATE POLICY embed_job_errors_read ON @extschema@.embed_job_errors FOR SELECT USING (
    EXISTS (SELECT FROM @extschema@.embed_jobs AS j WHERE j.job_id OPERATOR(pg_catalog.=) embed_job_errors.job_id));
CREATE POLICY embed_job_errors_write ON @extschema@.embed_job_errors USING (
    EXISTS (SELECT FROM @extschema@.embed_jobs AS j
             WHERE j.job_id OPERATOR(pg_catalog.=) embed_job_errors.job_id
               AND j.owner OPERATOR(pg_catalog.=) pg_catalog.to_regrole(pg_catalog.quote_ident(CURRENT_USER))));

-- Who holds the lock of which digest in this database. pg_locks shows a bigint key as two halves.
CREATE FUNCTION @extschema@.embed_job_holder(digest bigint) RETURNS integer
    LANGUAGE sql STABLE PARALLEL RESTRICTED COST 1000
BEGIN ATOMIC
    SELECT l.pid
      FROM pg_catalog.pg_locks AS l
      JOIN pg_catalog.pg_database AS d ON d.oid OPERATOR(pg_catalog.=) l.database
     WHERE l.locktype OPERATOR(pg_catalog.=) 'advisory' AND l.objsubid OPERATOR(pg_catalog.=) 1 AND l.granted
       AND d.datname OPERATOR(pg_catalog.=) pg_catalog.current_database()
       AND (l.classid::pg_catalog.int8 OPERATOR(pg_catalog.<<) 32) OPERATOR(pg_catalog.|) l.objid::pg_catalog.int8
           OPERATOR(pg_catalog.=) $1
     LIMIT 1;
END;

CREATE VIEW @extschema@.embed_job_progress WITH (security_barrier) AS
SELECT j.job_id, j.procedure, j.owner,
       CASE WHEN j.finished_at IS NOT NULL THEN 'done'
            -- Between two batches nobody holds the lock, for less than a millisecond.
            WHEN h.pid IS NOT NULL OR j.updated_at > pg_catalog.clock_timestamp() - interval '1 second' THEN 'running'
            -- Locks are not replicated: a standby cannot see whether the primary still works on it.
            WHEN pg_catalog.pg_is_in_recovery() THEN 'unfinished'
            ELSE 'interrupted' END AS state,
       h.pid,
       j.total, j.done, pg_catalog.round(100.0 * j.done / nullif(j.total, 0), 1) AS percent,
       j.inserted, j.replaced, j.skipped, j.failed,
       r.rate::bigint AS rate_per_second,
       CASE WHEN j.finished_at IS NULL
            THEN pg_catalog.date_trunc('second', pg_catalog.make_interval(secs => (j.total - j.done) / nullif(r.rate, 0)))
       END AS time_left,
       j.run AS runs, j.created_at, j.started_at, j.updated_at, j.finished_at, j.last_entity, j.arguments
  FROM @extschema@.embed_jobs AS j
 CROSS JOIN LATERAL (SELECT CASE WHEN j.finished_at IS NULL THEN @extschema@.embed_job_holder(j.digest) END) AS h(pid)
 CROSS JOIN LATERAL (SELECT (j.done - j.done_before)
                            / nullif(extract(epoch FROM j.updated_at - j.started_at)::float8, 0)) AS r(rate)
 WHERE @extschema@.embed_job_is_visible(j.owner);

-- A relation's name, whatever the search_path.
CREATE FUNCTION @extschema@.embed_qualified_name(relation regclass) RETURNS text
    LANGUAGE sql STABLE STRICT PARALLEL SAFE COST 10
BEGIN ATOMIC
    SELECT pg_catalog.format('%I.%I', n.nspname, c.relname)
      FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace
     WHERE c.oid OPERATOR(pg_catalog.=) $1;
END;

-- Makes the lock of a job ours until the transaction ends, or tells who has it.
CREATE FUNCTION @extschema@.embed_job_lock(digest bigint) RETURNS void
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS $body$
DECLARE
    holder integer;
    who    text;
    since  timestamptz;
BEGIN
    IF pg_try_advisory_xact_lock(digest) THEN
        RETURN;
    END IF;
    holder := @extschema@.embed_job_holder(digest);
    SELECT a.usename INTO who FROM pg_stat_activity AS a WHERE a.pid = holder;
    SELECT max(j.started_at) INTO since
      FROM @extschema@.embed_jobs AS j WHERE j.digest = embed_job_lock.digest AND j.pid = holder;
    RAISE EXCEPTION 'this backfill is running already'
        USING ERRCODE = 'lock_not_available',
              DETAIL = format('Process %s of user %s runs it%s.', coalesce(holder::text, '(just ended)'),
                              coalesce(quote_ident(who), '(unknown)'), coalesce(' since ' || date_trunc('second', since)::text, '')),
              HINT = 'See embed_job_progress. To split the work over several connections, give each a partition of its own.';
END
$body$;

-- The job of these arguments: the one that was interrupted, or a new one.
CREATE FUNCTION @extschema@.embed_job_claim(procedure text, arguments jsonb, resume boolean) RETURNS bigint
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS $body$
DECLARE
    key   CONSTANT bigint := hashtextextended(procedure || arguments::text, 0);
    found @extschema@.embed_jobs;
BEGIN
    SELECT * INTO found FROM @extschema@.embed_jobs AS j
     WHERE j.digest = key AND j.owner = to_regrole(quote_ident(CURRENT_USER)) AND j.finished_at IS NULL
     ORDER BY j.job_id DESC LIMIT 1;
    -- Between two batches its lock is free for a moment: look more than once before calling it interrupted.
    FOR attempt IN 1..5 LOOP
        EXIT WHEN found.job_id IS NULL OR found.pid = pg_backend_pid() OR @extschema@.embed_job_holder(key) IS NOT NULL
               OR NOT EXISTS (SELECT FROM pg_stat_activity AS a WHERE a.pid = found.pid);
        PERFORM pg_sleep(0.02);
    END LOOP;
    PERFORM @extschema@.embed_job_lock(key);
    -- What the lock was waited for may have changed the row.
    UPDATE @extschema@.embed_jobs AS j
       SET run = j.run + 1, pid = pg_backend_pid(), started_at = clock_timestamp(), updated_at = clock_timestamp(),
           scope_digest = CASE WHEN resume THEN j.scope_digest END
     WHERE j.job_id = found.job_id AND j.finished_at IS NULL
     RETURNING j.* INTO found;
    IF found.job_id IS NULL THEN
        INSERT INTO @extschema@.embed_jobs (procedure, arguments, digest)
        VALUES (procedure, arguments, key) RETURNING * INTO found;
    END IF;
    RAISE LOG 'job % begins, run %: % %', found.job_id, found.run, procedure, arguments;
    RETURN found.job_id;
END
$body$;

-- At the start of each transaction of a job: its lock, and whether it is still ours.
CREATE FUNCTION @extschema@.embed_job_hold(job_id bigint) RETURNS void
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS $body$
DECLARE
    found @extschema@.embed_jobs;
BEGIN
    SELECT * INTO found FROM @extschema@.embed_jobs AS j WHERE j.job_id = embed_job_hold.job_id;
    IF found.job_id IS NOT NULL THEN
        PERFORM @extschema@.embed_job_lock(found.digest);
    END IF;
    SELECT * INTO found FROM @extschema@.embed_jobs AS j WHERE j.job_id = embed_job_hold.job_id FOR UPDATE;
    IF found.pid IS DISTINCT FROM pg_backend_pid() OR found.finished_at IS NOT NULL THEN
        RAISE EXCEPTION 'job % was taken over or removed', job_id
            USING ERRCODE = 'lock_not_available',
                  DETAIL = coalesce('Process ' || nullif(found.pid, pg_backend_pid()) || ' runs it.', 'Its row in embed_jobs has changed.'),
                  HINT = 'What was committed is kept. See embed_job_progress.';
    END IF;
END
$body$;

-- Those entities that belong to a part of a split, in byte order.
CREATE FUNCTION @extschema@.embed_partition_of(entities text[], partition integer, partitions integer) RETURNS text[]
    LANGUAGE sql IMMUTABLE PARALLEL SAFE COST 1000
    RETURN ARRAY(SELECT e FROM pg_catalog.unnest(entities) AS e
                  WHERE @extschema@.embed_partition(e, partitions) OPERATOR(pg_catalog.=) partition ORDER BY e COLLATE "C");

-- How many entities make a batch of about so many vectors.
CREATE FUNCTION @extschema@.embed_batch_size(entities text[], total bigint, vectors integer) RETURNS integer
    LANGUAGE sql IMMUTABLE PARALLEL SAFE COST 10
    RETURN greatest(1, least(vectors, vectors::pg_catalog.int8 OPERATOR(pg_catalog.*) pg_catalog.cardinality(entities)
                                      OPERATOR(pg_catalog./) greatest(1, total)))::pg_catalog.int4;

-- What a job has to do: its entities (of its partition, in byte order) without those that an interrupted run
-- finished over the same entities and dates. `total` counts vectors, `dates` the dates where all entities share them.
CREATE FUNCTION @extschema@.embed_job_begin(job_id bigint, entities text[], dates integer, total bigint, scope_digest bigint) RETURNS text[]
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS $body$
DECLARE
    found @extschema@.embed_jobs;
    anew  boolean;
    rest  text[];
BEGIN
    SELECT * INTO found FROM @extschema@.embed_jobs AS j WHERE j.job_id = embed_job_begin.job_id;
    anew := found.last_entity IS NULL OR found.scope_digest IS DISTINCT FROM embed_job_begin.scope_digest;
    IF anew THEN
        -- A run that was stopped before its first batch has left nothing to start over from.
        IF found.run > 1 AND found.last_entity IS NOT NULL THEN
            RAISE NOTICE 'job % starts over%', job_id,
                CASE WHEN found.scope_digest IS NULL THEN '' ELSE ': its entities or dates have changed' END;
        END IF;
        DELETE FROM @extschema@.embed_job_errors AS x WHERE x.job_id = embed_job_begin.job_id;
    END IF;
    rest := CASE WHEN anew THEN entities
                 ELSE ARRAY(SELECT e FROM unnest(entities) AS e WHERE e COLLATE "C" > found.last_entity ORDER BY e COLLATE "C") END;
    UPDATE @extschema@.embed_jobs AS j
       SET scope_digest = embed_job_begin.scope_digest, dates = embed_job_begin.dates,
           entities = cardinality(embed_job_begin.entities), total = embed_job_begin.total,
           last_entity = CASE WHEN NOT anew THEN j.last_entity END,
           done = CASE WHEN anew THEN 0 ELSE j.done END, done_before = CASE WHEN anew THEN 0 ELSE j.done END,
           inserted = CASE WHEN anew THEN 0 ELSE j.inserted END, replaced = CASE WHEN anew THEN 0 ELSE j.replaced END,
           skipped = CASE WHEN anew THEN 0 ELSE j.skipped END, failed = CASE WHEN anew THEN 0 ELSE j.failed END,
           updated_at = clock_timestamp()
     WHERE j.job_id = embed_job_begin.job_id;
    IF NOT anew THEN
        RAISE NOTICE 'job % resumes after %: % of % entities are done', job_id, found.last_entity,
            cardinality(entities) - cardinality(rest), cardinality(entities);
    END IF;
    RETURN rest;
END
$body$;

-- What a job reads at once for several of its next batches: for how many entities, and what; nothing for jobs that
-- have no use for it.
CREATE FUNCTION @extschema@.embed_job_read(job_id bigint, rest text[], batch_entities integer, scope bytea)
    RETURNS TABLE (covered integer, pool bytea)
    LANGUAGE sql VOLATILE PARALLEL UNSAFE COST 1000000 ROWS 1
BEGIN ATOMIC
    SELECT r.covered, r.pool
      FROM @extschema@.embed_jobs AS j,
           pg_catalog.jsonb_to_record(j.arguments)
               AS a(window_days integer, model_id text, on_existing text, prices regclass, instruments regclass,
                    target regclass),
           @extschema@.embed_numeric_job_read($2, $3, $4, a.window_days, a.model_id, a.on_existing, a.prices,
                                              a.instruments, a.target) AS r
     WHERE j.job_id OPERATOR(pg_catalog.=) $1 AND j.procedure OPERATOR(pg_catalog.=) 'backfill_numeric_range';
END;

-- One batch of a job: figures and failures as JSON. No SET clause: triggers and views of the caller's run in here. The
-- body is parsed here, once: no search_path can change what it calls.
CREATE FUNCTION @extschema@.embed_job_step(job_id bigint, batch text[], scope bytea, pool bytea) RETURNS jsonb
    LANGUAGE sql VOLATILE PARALLEL UNSAFE COST 1000000
BEGIN ATOMIC
    SELECT CASE j.procedure
           WHEN 'backfill_numeric_range' THEN (
               SELECT @extschema@.embed_numeric_job_step($2, $3, $4, a.window_days, a.model_id, a.on_existing, a.prices,
                                                         a.instruments, a.target)
                 FROM pg_catalog.jsonb_to_record(j.arguments)
                   AS a(window_days integer, model_id text, on_existing text, prices regclass, instruments regclass,
                        target regclass))
           WHEN 'backfill_profile_text_range' THEN (
               SELECT @extschema@.embed_text_job_step($2, a.start_date, a.end_date, a.model_id, a.on_existing, a.profiles,
                                                      a.target, a.partition, a.partitions)
                 FROM pg_catalog.jsonb_to_record(j.arguments)
                   AS a(start_date date, end_date date, model_id text, on_existing text, profiles regclass, target regclass,
                        partition integer, partitions integer))
           WHEN 'backfill_joint_range' THEN (
               SELECT @extschema@.embed_joint_job_step($2, a.joint_type, a.start_date, a.end_date, a.model_id, a.entity_type,
                                                       a.region, a.branch_models, a.on_existing, a.numeric_embeddings,
                                                       a.text_embeddings, a.target, a.profiles, a.instruments, a.markets)
                 FROM pg_catalog.jsonb_to_record(j.arguments)
                   AS a(joint_type text, start_date date, end_date date, model_id text, entity_type text, region text,
                        branch_models jsonb, on_existing text, numeric_embeddings regclass, text_embeddings regclass,
                        target regclass, profiles regclass, instruments regclass, markets regclass))
           END
      FROM @extschema@.embed_jobs AS j
     WHERE j.job_id OPERATOR(pg_catalog.=) $1;
END;

-- A batch is done: its figures and failures, in the batch's own transaction.
CREATE FUNCTION @extschema@.embed_job_advance(job_id bigint, batch text[], result jsonb) RETURNS void
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS $body$
BEGIN
    UPDATE @extschema@.embed_jobs AS j
       SET last_entity = batch[cardinality(batch)], done = j.done + r.inserted + r.replaced + r.skipped + r.failed,
           inserted = j.inserted + r.inserted, replaced = j.replaced + r.replaced,
           skipped = j.skipped + r.skipped, failed = j.failed + r.failed, updated_at = clock_timestamp()
      FROM jsonb_to_record(result) AS r(inserted bigint, replaced bigint, skipped bigint, failed bigint)
     WHERE j.job_id = embed_job_advance.job_id;
    INSERT INTO @extschema@.embed_job_errors (job_id, entity_id, first_date, last_date, dates, detail)
    SELECT embed_job_advance.job_id, f.entity_id, f.first_date, f.last_date, f.dates, f.detail
      FROM jsonb_to_recordset(result->'failures')
        AS f(entity_id text, first_date date, last_date date, dates integer, detail text);
END
$body$;

-- The job is done.
CREATE FUNCTION @extschema@.embed_job_finish(job_id bigint) RETURNS void
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS $body$
BEGIN
    UPDATE @extschema@.embed_jobs AS j SET finished_at = clock_timestamp(), updated_at = clock_timestamp()
     WHERE j.job_id = embed_job_finish.job_id;
    RAISE LOG '%', @extschema@.embed_job_message(job_id);
END
$body$;

-- A line about a job, for notices.
CREATE FUNCTION @extschema@.embed_job_message(job_id bigint) RETURNS text
    LANGUAGE plpgsql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $body$
DECLARE
    p @extschema@.embed_job_progress;
BEGIN
    SELECT * INTO p FROM @extschema@.embed_job_progress AS x WHERE x.job_id = embed_job_message.job_id;
    RETURN format('job %s: %s of %s vectors%s; %s inserted, %s replaced, %s up to date or left, %s failed%s', job_id,
                  p.done, p.total, coalesce(' (' || p.percent || ' %)', ''),
                  p.inserted, p.replaced, p.skipped, p.failed,
                  CASE WHEN p.finished_at IS NULL THEN coalesce('; ' || p.rate_per_second || '/s, ' || p.time_left || ' left', '')
                       ELSE '; ' || date_trunc('milliseconds', p.finished_at - p.started_at) END);
END
$body$;

SET LOCAL search_path = @extschema@, pg_temp;
