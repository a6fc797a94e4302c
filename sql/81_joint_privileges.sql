-- Everyone may read the spaces; nobody but their owner may change them until he grants the right.
GRANT SELECT ON @extschema@.embed_spaces TO PUBLIC;
REVOKE ALL ON FUNCTION register_joint_space(text, text, text, jsonb, text, text, text[], jsonb, text) FROM PUBLIC;

-- How many rows to expect, for planners of queries over a search.
ALTER FUNCTION find_similar_profiles(text, date, text, int, text, regclass, text) ROWS 10;
ALTER FUNCTION find_similar_portfolios(text, date, text, int, regclass, text) ROWS 10;
ALTER FUNCTION find_similar_stab_scenarios(text, date, text, int, text, date, date, regclass, text) ROWS 10;
ALTER FUNCTION find_similar(text, jsonb, date, int, jsonb, text, date, date, regclass, text) ROWS 10;
ALTER FUNCTION show_joint(text, date, date, date, jsonb, text, int, regclass) ROWS 1000;
ALTER FUNCTION backfill_numeric_portfolio(date, text[], int, text, text, regclass, regclass) ROWS 100;
ALTER FUNCTION backfill_numeric_scenario(text, int, text, text, regclass, regclass, regclass) ROWS 100;

GRANT SELECT ON @extschema@.joint_profiles, @extschema@.joint_portfolios, @extschema@.embedding_coverage, @extschema@.embedding_health TO PUBLIC;

ALTER FUNCTION embed_text_job_entities(date, date, text, int, text, regclass, regclass, int, int, int) ROWS 1;
ALTER FUNCTION embed_joint_job_entities(text, date, date, text[], text, text, text, text, jsonb, int, int, text, regclass, regclass, regclass, regclass, regclass, regclass, int, int, int) ROWS 1;
