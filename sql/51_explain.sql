-- What a cosine is made of: sum over components of a * b / (|a| |b|), grouped by branch, feature and block of days.
-- The groups of a pair add up to its cosine.
CREATE FUNCTION embed_component_labels(model_id text, dims int, window_days int, entity_type text DEFAULT 'INSTRUMENT')
RETURNS TABLE (component int, feature text, block text)
    LANGUAGE plpgsql STABLE ROWS 384
    SET search_path = pg_catalog, pg_temp
AS $labels$
DECLARE
    spec     jsonb;
    names    text[];
    width    int;
    newest   boolean;
    whole    boolean;
    numbered boolean;
BEGIN
    IF dims NOT BETWEEN 0 AND 65535 OR window_days NOT BETWEEN 0 AND 65535 THEN
        RAISE EXCEPTION '"dims" and "window_days" must be between 0 and 65535' USING ERRCODE = 'invalid_parameter_value';
    END IF;
    SELECT m.spec INTO spec FROM @extschema@.embed_models m WHERE m.model_id = embed_component_labels.model_id;
    names := CASE WHEN spec ->> 'encoder' = 'pipeline'
                  THEN ARRAY(SELECT c ->> 'feature' || coalesce(' ' || (c ->> 'days'), '')
                               FROM jsonb_array_elements(spec -> 'channels') WITH ORDINALITY x(c, n) ORDER BY n)
                  WHEN spec ? 'features' THEN ARRAY(SELECT jsonb_array_elements_text(spec -> 'features')) END;
    width := cardinality(names);
    newest := spec ->> 'layout' = 'newest_first';
    -- A projection mixes features and days; so does a layout that is not day by day.
    whole := width > 0 AND NOT (coalesce(spec ->> 'layout', 'day_major') = 'feature_major')
         AND NOT (spec ->> 'encoder' = 'pipeline' AND window_days * width > (spec ->> 'dim')::int);
    -- The published ids of portfolios and scenarios share the recipe of windows, and are none: a place is all there is.
    numbered := entity_type <> 'INSTRUMENT' AND spec ? 'features';
    whole := whole AND NOT numbered;
    RETURN QUERY
    SELECT i + 1,
           CASE WHEN numbered THEN 'feature ' || i + 1
                WHEN whole THEN names[i % width + 1]
                WHEN spec ->> 'encoder' = 'factors' THEN 'factor ' || i + 1
                ELSE 'all' END,
           CASE WHEN NOT coalesce(whole, false) THEN 'all'
                ELSE (SELECT b.label FROM (VALUES (21, 'newest 21 days'), (63, 'days 22-63'), (126, 'days 64-126'),
                                                  (252, 'days 127-252'), (2147483647, 'older')) b(upto, label)
                       WHERE b.upto > CASE WHEN newest THEN i / width ELSE greatest(window_days - 1 - i / width, 0) END
                       ORDER BY b.upto LIMIT 1) END
      FROM generate_series(0, dims - 1) i;
END
$labels$;

-- The places of a joint space's branches in its vectors; one place over all where branches are averaged.
CREATE FUNCTION embed_space_places(joint_type text, model_id text)
RETURNS TABLE (branch text, first_component int, dims int, branch_model_id text, branch_entity_type text, mixed boolean)
    LANGUAGE sql STABLE ROWS 4
    SET search_path = pg_catalog, pg_temp
AS $places$
    SELECT b ->> 'name', (sum((b ->> 'dims')::int) OVER (ORDER BY n) - (b ->> 'dims')::int)::int, (b ->> 'dims')::int,
           b ->> 'model_id', b ->> 'entity_type', b ? 'seed' OR b ? 'transform'
      FROM @extschema@.embed_spaces s, jsonb_array_elements(s.branches) WITH ORDINALITY x(b, n)
     WHERE s.joint_type = $1 AND s.model_id = $2 AND s.fusion = 'concat'
    UNION ALL
    SELECT 'all branches', 0, coalesce(m.dim, 384), f.branch ->> 'model_id', f.branch ->> 'entity_type', false
      FROM @extschema@.embed_spaces s JOIN @extschema@.embed_models m USING (model_id),
           jsonb_path_query_first(s.branches, '$.** ? (@.table == "numeric_window_embeddings")') f(branch)
     WHERE s.joint_type = $1 AND s.model_id = $2 AND s.fusion <> 'concat'
       AND s.entity_type <> 'SCENARIO'
$places$;

CREATE FUNCTION explain_similarity(
    joint_type text, a text, b text, as_of date, model_id text DEFAULT NULL, window_days int DEFAULT 63,
    embeddings regclass DEFAULT pg_catalog.to_regclass('joint_embeddings'))
RETURNS TABLE (branch text, feature text, block text, contribution float8)
    LANGUAGE plpgsql STABLE COST 10000 ROWS 20
    SET search_path = pg_catalog, pg_temp
AS $explain$
DECLARE
    vec    bytea;
    pair   bytea[] := '{}';
    entity text;
    scale  float8;
    -- Tables in the distributed form have no ids, and one row of a key.
    newest text := CASE WHEN EXISTS (SELECT FROM pg_attribute t WHERE t.attrelid = embeddings AND t.attname = 'joint_id')
                        THEN 'ORDER BY e.joint_id DESC' ELSE '' END;
BEGIN
    IF joint_type IS NULL OR a IS NULL OR b IS NULL OR as_of IS NULL THEN
        RAISE EXCEPTION 'arguments "joint_type", "a", "b" and "as_of" must not be null' USING ERRCODE = 'null_value_not_allowed';
    ELSIF embeddings IS NULL THEN
        RAISE EXCEPTION 'relation "joint_embeddings" does not exist' USING ERRCODE = 'undefined_table',
            HINT = 'Put its schema on the search_path, or pass embeddings => ''schema.table''.';
    END IF;
    model_id := coalesce(model_id, (SELECT s.model_id FROM @extschema@.embed_spaces s WHERE s.joint_type = explain_similarity.joint_type
                                     ORDER BY s.builtin DESC, s.model_id COLLATE "C" LIMIT 1));
    IF NOT EXISTS (SELECT FROM @extschema@.embed_space_places(joint_type, model_id)) THEN
        RAISE EXCEPTION 'joint space "%" of model "%" does not exist', joint_type, model_id USING ERRCODE = 'undefined_object',
            HINT = 'SELECT joint_type, model_id FROM embed_spaces lists the registered spaces.';
    END IF;
    FOREACH entity IN ARRAY ARRAY[a, b] LOOP
        EXECUTE format('SELECT e.vector FROM %s e WHERE e.joint_type = $1 AND e.model_id = $2 AND e.as_of_date = $3
                           AND $4 IN (e.entity_scope ->> ''entity_id'', e.entity_scope ->> ''issuer_id'', e.entity_scope ->> ''portfolio_id'')
                         %s LIMIT 1', embeddings, newest)
           INTO vec USING joint_type, model_id, as_of, entity;
        IF vec IS NULL THEN
            RAISE EXCEPTION 'no joint embedding of "%" at % for model "%"', entity, as_of, model_id USING ERRCODE = 'no_data_found',
                HINT = 'backfill_joint() makes it.';
        END IF;
        pair := pair || vec;
    END LOOP;
    scale := @extschema@.l2_norm(pair[1]) * @extschema@.l2_norm(pair[2]);
    RETURN QUERY
    SELECT p.branch, coalesce(l.feature, 'all'), coalesce(l.block, 'all'),
           sum(x.x::float8 * y.y::float8 ORDER BY x.i) / nullif(scale, 0)
      FROM unnest(@extschema@.vector_to_array(pair[1])) WITH ORDINALITY x(x, i)
      JOIN unnest(@extschema@.vector_to_array(pair[2])) WITH ORDINALITY y(y, i) USING (i)
      JOIN @extschema@.embed_space_places(joint_type, explain_similarity.model_id) p ON i > p.first_component AND i <= p.first_component + p.dims
      LEFT JOIN LATERAL @extschema@.embed_component_labels(
                p.branch_model_id, p.dims, window_days, p.branch_entity_type) l
             ON NOT p.mixed AND l.component = i - p.first_component
     -- Padding says nothing.
     GROUP BY 1, 2, 3 HAVING sum(x.x::float8 * y.y::float8) IS DISTINCT FROM 0 ORDER BY 4 DESC, 1, 2, 3;
END
$explain$;

CREATE FUNCTION explain_numeric_similarity(
    model_id text, a text, b text, as_of date, window_days int DEFAULT 63, entity_type text DEFAULT 'INSTRUMENT',
    embeddings regclass DEFAULT pg_catalog.to_regclass('numeric_window_embeddings'))
RETURNS TABLE (feature text, block text, contribution float8)
    LANGUAGE plpgsql STABLE COST 10000 ROWS 20
    SET search_path = pg_catalog, pg_temp
AS $explain$
DECLARE
    vec    bytea;
    pair   bytea[] := '{}';
    entity text;
    scale  float8;
    newest text := CASE WHEN EXISTS (SELECT FROM pg_attribute t WHERE t.attrelid = embeddings AND t.attname = 'embedding_id')
                        THEN 'ORDER BY e.embedding_id DESC' ELSE '' END;
BEGIN
    IF embeddings IS NULL THEN
        RAISE EXCEPTION 'relation "numeric_window_embeddings" does not exist' USING ERRCODE = 'undefined_table',
            HINT = 'Put its schema on the search_path, or pass embeddings => ''schema.table''.';
    END IF;
    FOREACH entity IN ARRAY ARRAY[a, b] LOOP
        EXECUTE format('SELECT e.vector FROM %s e WHERE e.entity_type = $1 AND e.entity_id = $2 AND e.as_of_date = $3 AND e.model_id = $4
                           AND e.window_spec ->> ''window_days'' = $5::text %s LIMIT 1', embeddings, newest)
           INTO vec USING entity_type, entity, as_of, model_id, window_days;
        IF vec IS NULL THEN
            RAISE EXCEPTION 'no numeric embedding of "%" at % for model "%" and % days', entity, as_of, model_id, window_days
                USING ERRCODE = 'no_data_found', HINT = 'backfill_numeric() makes it.';
        END IF;
        pair := pair || vec;
    END LOOP;
    scale := @extschema@.l2_norm(pair[1]) * @extschema@.l2_norm(pair[2]);
    RETURN QUERY
    SELECT l.feature, l.block, sum(x.x::float8 * y.y::float8 ORDER BY x.i) / nullif(scale, 0)
      FROM unnest(@extschema@.vector_to_array(pair[1])) WITH ORDINALITY x(x, i)
      JOIN unnest(@extschema@.vector_to_array(pair[2])) WITH ORDINALITY y(y, i) USING (i)
      JOIN @extschema@.embed_component_labels(model_id, @extschema@.vector_dim(pair[1]), window_days, entity_type) l
             ON l.component = i
     GROUP BY 1, 2 HAVING sum(x.x::float8 * y.y::float8) IS DISTINCT FROM 0 ORDER BY 3 DESC, 1, 2;
END
$explain$;

COMMENT ON FUNCTION embed_component_labels(text, int, int, text) IS
    'Internal: feature and block of days of every component of a numeric model''s vectors.';
COMMENT ON FUNCTION embed_space_places(text, text) IS
    'Internal: where the branches of a joint space lie in its vectors.';
COMMENT ON FUNCTION explain_similarity(text, text, text, date, text, int, regclass) IS
    'Splits the cosine of two joint vectors into branches, features and blocks of days, which add up to it.';
COMMENT ON FUNCTION explain_numeric_similarity(text, text, text, date, int, text, regclass) IS
    'Splits the cosine of two numeric vectors into features and blocks of days, which add up to it.';
