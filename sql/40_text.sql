-- Texts: the published model, the forms of the text functions that take a profile, what a session has loaded.

-- The bytes of the graph differ from machine to machine (it is packed for the CPU), so its recipe names the
-- published weights instead.
INSERT INTO @extschema@.embed_models (model_id, modality, dim, spec, description, builtin)
VALUES ('text-profile-v1', 'text', 384, '{
        "directory": "all-MiniLM-L6-v2", "dim": 384, "max_tokens": 512, "pooling": "mean", "normalise": true,
        "weights_sha256": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
        "files": [{"name": "tokenizer.json", "bytes": 466247,
                   "sha256": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037"}]}',
       'Published: sentence-transformers/all-MiniLM-L6-v2, mean over at most 512 tokens, unit length.', true);

-- Bodies are parsed here, once: no search_path can change what they call.
CREATE FUNCTION text_profile_document(structured jsonb) RETURNS text
    LANGUAGE sql IMMUTABLE PARALLEL SAFE COST 20
    RETURN @extschema@.embed_profile_document(
        CASE WHEN pg_catalog.jsonb_typeof(structured OPERATOR(pg_catalog.->) 'business_description')
                  OPERATOR(pg_catalog.=) 'string'
             THEN structured OPERATOR(pg_catalog.->>) 'business_description' END,
        CASE WHEN pg_catalog.jsonb_typeof(structured OPERATOR(pg_catalog.->) 'risk_summary')
                  OPERATOR(pg_catalog.=) 'string'
             THEN structured OPERATOR(pg_catalog.->>) 'risk_summary' END,
        CASE WHEN pg_catalog.jsonb_typeof(structured OPERATOR(pg_catalog.->) 'recent_events_summary')
                  OPERATOR(pg_catalog.=) 'string'
             THEN structured OPERATOR(pg_catalog.->>) 'recent_events_summary' END);

CREATE FUNCTION text_profile_embed(structured jsonb, model_id text DEFAULT 'text-profile-v1') RETURNS bytea
    LANGUAGE sql STABLE PARALLEL RESTRICTED COST 100000
    RETURN @extschema@.text_profile_embed(@extschema@.text_profile_document(structured), model_id);

CREATE VIEW @extschema@.embed_loaded_models AS
    SELECT m.model_id, m.bytes, m.load_ms, m.texts, m.tokens, m.ms, m.packed, m.files_read
      FROM @extschema@.embed_session_text_models() AS m;

GRANT SELECT ON @extschema@.embed_loaded_models TO PUBLIC;
-- Who may read files of the server may make models of them: the columns that registering writes, no others.
REVOKE ALL ON FUNCTION register_text_model(text, text, text, integer, text, boolean, boolean) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION register_text_model(text, text, text, integer, text, boolean, boolean) TO pg_read_server_files;
GRANT INSERT (model_id, modality, dim, spec, description) ON @extschema@.embed_models TO pg_read_server_files;
REVOKE ALL ON FUNCTION embed_check_models() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION embed_check_models() TO pg_read_server_files;

-- How many rows to expect, for planners of queries over a backfill's result.
ALTER FUNCTION backfill_profile_text(date, text, integer, text, regclass, regclass, integer, integer) ROWS 1000;
ALTER FUNCTION backfill_profile_text(date, date, text, integer, text, regclass, regclass, integer, integer) ROWS 100000;
ALTER FUNCTION embed_session_text_models() ROWS 5;
ALTER FUNCTION embed_check_models() ROWS 5;
