-- Averages, joint spaces and searches as a user types them, with every error's code, detail and hint.
\set SHOW_CONTEXT never
SET client_min_messages = notice;
CREATE SCHEMA joint_data;
SET search_path = joint_data, public;
SELECT bool_and(status = 'applied') AS migrated FROM embed_migrate();

CREATE FUNCTION v(VARIADIC float8[]) RETURNS bytea LANGUAGE sql IMMUTABLE RETURN vector_from_array($1);
CREATE FUNCTION fails(statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE detail text; hint text;
BEGIN
    EXECUTE statement;
    RETURN 'no error';
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
    RETURN concat_ws(' | ', SQLSTATE, SQLERRM, nullif(detail, ''), nullif(hint, ''));
END $$;

SELECT vector_to_array(joint_average(v(1, 2), v(3, -2))) AS halves,
       vector_to_array(joint_average(v(1, 2), v(3, -2), 3, 1)) AS pair,
       vector_to_array(joint_average(ARRAY[v(1, 2), v(3, -2), v('NaN', 0)], ARRAY[3, 1, 0])) AS many,
       joint_average(v(1), NULL) IS NULL AS strict;

SELECT fails(format('SELECT joint_average(%s)', arguments)) AS averages
  FROM unnest(ARRAY['v(1), v(1, 2)', 'v(1), v(1), -1, 2', 'v(1), v(1), 0, 0', $$v(1), v(1), 'NaN', 1$$, 'v(1), v(1), 1e39, 1',
                    $$'\x01', v(1)$$, 'ARRAY[v(1)], ARRAY[1, 2]', 'ARRAY[v(1), NULL], ARRAY[1, 2]', 'ARRAY[]::bytea[], ARRAY[]::float8[]',
                    'ARRAY[v(1), v(1, 2)], ARRAY[1, 2]', 'ARRAY[v(1), v(2)], ARRAY[1, -2]', 'ARRAY[v(1), v(2)], ARRAY[0, 0]',
                    'ARRAY[[v(1)], [v(2)]], ARRAY[1, 2]']) AS arguments;

INSERT INTO portfolio_risk_reports (report_id, portfolio_id, as_of_date, portfolio_value, cash, net_exposure, gross_exposure, leverage,
                                    risk_metrics, exposures_by_sector, exposures_by_factor)
SELECT name, name, '2025-01-31', 1, 1, 1, 1, 1, risk::jsonb, sectors::jsonb, factors::jsonb
  FROM (VALUES ('A', '{"vol": 1, "beta": 2, "ok": true}', '{"Énergie": 3, "energy": 4}', '{}'),
               ('B', '{"vol": 1, "beta": 3, "ok": false}', '{"Énergie": 1, "energy": 4}', NULL),
               ('C', '{"vol": 1e40}', NULL, NULL), ('D', '{"vol": "1"}', '[1]', NULL), ('E', '{}', '{}', '{}')) r(name, risk, sectors, factors);
SELECT entity_id, status, dim, rows_used, detail FROM backfill_numeric_portfolio('2025-01-31');
SELECT entity_id, status, dim, used, missing, detail FROM backfill_joint_portfolios('2025-01-31', ARRAY['A', 'B', 'C', 'E']);
SELECT entity_id, status FROM backfill_joint_portfolios('2025-01-31', on_existing => 'skip');
SELECT as_of_date, portfolio_id, source, model_id, dim, round(l2_norm::numeric, 4) AS l2_norm FROM show_joint_portfolios('2025-01-31', portfolio_id => 'A');
SELECT portfolio_id, model_id, dim FROM joint_portfolios WHERE as_of_date = '2025-01-31' ORDER BY portfolio_id;
SELECT modality, entity_type, model_id, expected, present, missing FROM embedding_coverage ORDER BY 1, 2, 3;
SELECT modality, entity_type, model_id, embeddings, min_bytes, max_bytes, zero, non_finite, malformed FROM embedding_health ORDER BY 1, 2, 3;
SELECT rank, round(cosine::numeric, 6) AS cosine, portfolio_id, source FROM find_similar_portfolios('A', '2025-01-31');

SELECT fails('SELECT * FROM ' || call) AS calls
  FROM unnest(ARRAY[
    $$find_similar_portfolios('Z', '2025-01-31')$$, $$find_similar_portfolios('A', '2025-02-28')$$, $$find_similar_portfolios('C', '2025-01-31')$$,
    $$find_similar_portfolios('A', '2025-01-31', top_k => 0)$$, $$find_similar_portfolios('A', '2025-01-31', 'joint-portfolio-core-v9')$$,
    $$find_similar('NONE', '{}', '2025-01-31')$$, $$find_similar('PORTFOLIO_CORE_V0', '{}', '2025-01-31')$$,
    $$backfill_joint('PORTFOLIO_CORE_V0')$$, $$backfill_joint('PORTFOLIO_CORE_V0', '2025-01-31', region => 'US')$$,
    $$backfill_joint('STAB_FRAGILITY_V0', '2025-01-31')$$, $$backfill_joint('PORTFOLIO_CORE_V0', '2025-01-31', branch_models => '{"x": "y"}')$$,
    $$backfill_joint_portfolios('2025-01-31', numeric_model_id => '')$$, $$backfill_joint_portfolios('2025-01-31', on_existing => 'never')$$,
    $$backfill_joint_portfolios('2025-01-31', on_existing => 'append')$$, $$backfill_numeric_scenario('NONE')$$]) AS call;

SELECT register_joint_space('TWICE_V1', 'twice-v1', 'PORTFOLIO', '[
    {"name": "one", "table": "numeric_window_embeddings", "entity_type": "PORTFOLIO", "model_id": "num-portfolio-core-v1"},
    {"name": "two", "table": "joint_embeddings", "joint_type": "PORTFOLIO_CORE_V0", "entity_type": "PORTFOLIO",
     "model_id": "joint-portfolio-core-v1", "weight": 3}]');
SELECT entity_id, status, used FROM backfill_joint('TWICE_V1', '2025-01-31');
SELECT fails(format('SELECT register_joint_space(%s)', arguments)) AS spaces
  FROM unnest(ARRAY[
    $$'TWICE_V1', 'twice-v1', 'PORTFOLIO', (SELECT branches FROM embed_spaces WHERE joint_type = 'TWICE_V1')$$,
    $$'T', 't', 'PORTFOLIO', '[]'$$, $$'T', 't', 'PORTFOLIO', '{}'$$, $$'T', 't', 'BOND', '[]'$$, $$'t', 't', 'PORTFOLIO', '[]'$$,
    $$'T', 't', 'PORTFOLIO', '[{"name": "a", "table": "numeric_window_embeddings", "entity_type": "PORTFOLIO", "model_id": "num-portfolio-core-v0"}]'$$,
    $$'T', 't', 'PORTFOLIO', '[{"name": "a", "table": "joint_embeddings", "joint_type": "T", "entity_type": "PORTFOLIO", "model_id": "t"}]'$$]) AS arguments;
SELECT fails('UPDATE embed_spaces SET description = NULL') AS change;
SELECT drop_embedding_model('twice-v1');
SET search_path = public;
SET client_min_messages = warning;
DROP SCHEMA joint_data CASCADE;
