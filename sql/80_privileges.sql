-- Everyone may read the catalog; nobody but its owner may change it until he grants the right.
GRANT SELECT ON @extschema@.embed_models TO PUBLIC;
-- Row security leaves everyone his own jobs, and those of others to members of pg_monitor.
GRANT SELECT, INSERT, UPDATE, DELETE ON @extschema@.embed_jobs, @extschema@.embed_job_errors TO PUBLIC;
GRANT SELECT ON @extschema@.embed_job_progress TO PUBLIC;
REVOKE ALL ON FUNCTION register_numeric_model(text, jsonb, text, bytea) FROM PUBLIC;
REVOKE ALL ON FUNCTION drop_embedding_model(text) FROM PUBLIC;
REVOKE ALL ON FUNCTION fit_embedding_model(text, text, date, int, int, text, regclass, regclass, regclass, text, text, text, regclass) FROM PUBLIC;
ALTER FUNCTION fit_embedding_model(text, text, date, int, int, text, regclass, regclass, regclass, text, text, text, regclass) ROWS 1;
ALTER FUNCTION backfill_numeric_profile(date, text[], text, text, text, text, int, int, text, regclass, regclass) ROWS 1000;

-- How many rows to expect, for planners of queries over a backfill's result.
ALTER FUNCTION backfill_numeric(date, int, text, text[], text, int, int, text, regclass, regclass, regclass) ROWS 1000;
ALTER FUNCTION backfill_numeric(date, date, int, text, text[], text, int, int, text, regclass, regclass, regclass)
    ROWS 100000;
