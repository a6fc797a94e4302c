-- The model catalog.
SELECT model_id, modality, dim, builtin, spec FROM embed_models WHERE modality = 'numeric' AND model_id LIKE '%-v1' ORDER BY model_id COLLATE "C";

-- A model of one's own.
SELECT register_numeric_model('my-returns-v1', '{
    "features": ["log_return"], "price_column": "adjusted_close",
    "window": {"min_fill": 1, "look_back": 2, "short_history": "fail"}, "encoder": "pad_to_dim", "dim": 8}', 'Returns only.');
SELECT model_id, modality, dim, description, builtin FROM embed_models WHERE NOT builtin;
SELECT vector_to_array(num_window_embed(ARRAY[1, 2, 4], ARRAY[0, 0, 0], 3, 'my-returns-v1'));
SELECT num_window_embed(ARRAY[1, 2], ARRAY[0, 0], 3, 'my-returns-v1');
SELECT register_numeric_model('my-flat-v1', '{
    "features": ["volume", "close"], "price_column": "close",
    "window": {"min_fill": 0.5, "look_back": 30, "short_history": "repeat_last"}, "encoder": "flatten"}');
SELECT vector_to_array(num_window_embed(ARRAY[1, 2], ARRAY[10, 20], 3, 'my-flat-v1'));

-- An id never changes its meaning.
SELECT register_numeric_model('my-flat-v1', '{
    "features": ["close"], "price_column": "close",
    "window": {"min_fill": 0.5, "look_back": 30, "short_history": "repeat_last"}, "encoder": "flatten"}');
UPDATE embed_models SET dim = 7 WHERE model_id = 'my-returns-v1';
UPDATE embed_models SET description = 'x' WHERE model_id = 'numeric-simple-v1';
DELETE FROM embed_models WHERE model_id = 'numeric-simple-v1';
SELECT drop_embedding_model('num-regime-core-v1');
-- What a savepoint undid is gone, also for the rest of the statement.
DO $$
BEGIN
    BEGIN
        PERFORM register_numeric_model('passing', '{"features": ["close"], "price_column": "close", "encoder": "flatten",
            "window": {"min_fill": 1, "look_back": 3, "short_history": "fail"}}');
        PERFORM num_window_embed(ARRAY[1.0], ARRAY[1.0], 1, 'passing');
        RAISE EXCEPTION 'undo';
    EXCEPTION WHEN raise_exception THEN NULL;
    END;
    PERFORM num_window_embed(ARRAY[1.0], ARRAY[1.0], 1, 'passing');
END
$$;
SELECT drop_embedding_model('my-returns-v1'), drop_embedding_model('my-flat-v1');
SELECT drop_embedding_model('my-flat-v1');
SELECT count(*) FROM embed_models WHERE NOT builtin;

-- Ids.
SELECT id, valid FROM unnest(ARRAY['a', 'A.b-c_1', repeat('x', 63), repeat('x', 64), '', '-a', 'a b', 'a''b', 'ä', E'a\nb', 'a;b']) id
 CROSS JOIN LATERAL (SELECT id ~ '^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$' AS valid) v ORDER BY valid, id COLLATE "C";
DO $$
DECLARE
    id text;
    code text;
    spec CONSTANT jsonb = '{"features": ["close"], "price_column": "close", "encoder": "flatten",
                            "window": {"min_fill": 1, "look_back": 3, "short_history": "fail"}}';
BEGIN
    FOREACH id IN ARRAY ARRAY['a', 'A.b-c_1', repeat('x', 63), repeat('x', 64), '', '-a', 'a b', 'a''b', 'ä', E'a\nb', 'a;b'] LOOP
        code := 'registered';
        BEGIN
            PERFORM register_numeric_model(id, spec);
            PERFORM drop_embedding_model(id);
        EXCEPTION WHEN OTHERS THEN code := SQLSTATE || ' ' || SQLERRM;
        END;
        RAISE NOTICE '%: %', id, code;
    END LOOP;
END
$$;

-- Specs are validated to the last key.
DO $$
DECLARE
    good CONSTANT jsonb = '{"features": ["close", "volume"], "price_column": "close", "encoder": "pad_to_dim", "dim": 4,
                            "window": {"min_fill": 0.5, "look_back": 3, "short_history": "fail"}}';
    change text;
    spec jsonb;
BEGIN
    FOREACH change IN ARRAY ARRAY[
        'null', '1', '[]', '{}',
        '{"extra": 1}', '{"features": []}', '{"features": ["close", "close"]}', '{"features": ["Close"]}', '{"features": "close"}', '{"features": null}',
        '{"price_column": "open"}', '{"price_column": 1}', '{"encoder": "zip"}', '{"encoder": "flatten"}',
        '{"dim": 0}', '{"dim": -1}', '{"dim": 65536}', '{"dim": 4.5}', '{"dim": "4"}', '{"dim": 1e400}', '{"dim": null}',
        '{"window": {"min_fill": 0, "look_back": 3, "short_history": "fail"}}', '{"window": {"min_fill": 1.5, "look_back": 3, "short_history": "fail"}}',
        '{"window": {"min_fill": 1, "look_back": 0, "short_history": "fail"}}', '{"window": {"min_fill": 1, "look_back": 31, "short_history": "fail"}}',
        '{"window": {"min_fill": 1, "look_back": 3, "short_history": "wait"}}', '{"window": {"min_fill": 1, "look_back": 3}}',
        '{"window": {"min_fill": 1, "look_back": 3, "short_history": "fail", "more": true}}', '{"window": 63}', '{"window": [1, 3, "fail"]}'
    ] LOOP
        spec := CASE WHEN jsonb_typeof(change::jsonb) = 'object' AND change <> '{}' THEN good || change::jsonb ELSE change::jsonb END;
        BEGIN
            PERFORM register_numeric_model('bad', spec);
            RAISE WARNING 'accepted: %', change;
        EXCEPTION WHEN OTHERS THEN
            RAISE NOTICE E'%\n    % %', change, SQLSTATE, regexp_replace(SQLERRM, ' at line.*', '');
        END;
    END LOOP;
END
$$;
SELECT register_numeric_model('bad', '[["close"], "close", {"min_fill": 1, "look_back": 3, "short_history": "fail"}, "flatten"]');
-- Nested deeper than any parser goes, and NULLs.
SELECT register_numeric_model('bad', (repeat('{"features":', 1000) || '1' || repeat('}', 1000))::jsonb);
SELECT register_numeric_model('bad', ('{"features": ' || repeat('[', 1000) || repeat(']', 1000) || '}')::jsonb);
SELECT register_numeric_model(NULL, '{}');
SELECT register_numeric_model('bad', NULL);
SELECT drop_embedding_model(NULL);

-- Who may: everyone reads, nobody else writes until granted.
CREATE ROLE regress_pe_reader;
SET ROLE regress_pe_reader;
SELECT count(*) > 5 AS reads FROM embed_models;
SELECT register_numeric_model('mine', '{}');
SELECT drop_embedding_model('mine');
INSERT INTO embed_models (model_id, modality, spec) VALUES ('mine', 'numeric', '{}');
RESET ROLE;
GRANT EXECUTE ON FUNCTION drop_embedding_model(text) TO regress_pe_reader;
SET ROLE regress_pe_reader;
SELECT drop_embedding_model('mine');
RESET ROLE;
REVOKE EXECUTE ON FUNCTION drop_embedding_model(text) FROM regress_pe_reader;
DROP ROLE regress_pe_reader;
