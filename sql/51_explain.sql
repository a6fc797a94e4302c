-- What a cosine is made of: sum over components of a * b / (|a| |b|), grouped by branch, feature and block of days.
-- The groups of a pair add up to its cosine.
CREATE FUNCTION embed_day_block(lag int) RETURNS text
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
AS $block$
    SELECT CASE WHEN lag < 21 THEN 'newest 21 days' WHEN lag < 63 THEN 'days 22-63' WHEN lag < 126 THEN 'days 64-126'
                WHEN lag < 252 THEN 'days 127-252' WHEN lag IS NULL THEN 'all' ELSE 'older' END
$block$;

-- Sessions from one day of a model's windows to the next.
CREATE FUNCTION embed_window_step(spec jsonb) RETURNS int
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
AS $step$
    SELECT greatest(coalesce((spec -> 'window' ->> 'every')::int, 1), 1)
$step$;

-- Whether the vectors of a numeric model mix features and days, but for those of factors: its windows go through a
-- projection.
CREATE FUNCTION embed_is_projected(spec jsonb, window_days int) RETURNS boolean
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
AS $projected$
    SELECT coalesce(spec ->> 'encoder' = 'pipeline'
           AND CASE WHEN spec -> 'projection' ->> 'kind' IN ('pad', 'truncate') THEN false
                    WHEN spec -> 'projection' ->> 'kind' IN ('orthogonal', 'gaussian')
                    THEN (window_days + @extschema@.embed_window_step(spec) - 1) / @extschema@.embed_window_step(spec)
                         * jsonb_array_length(spec -> 'channels') > (spec ->> 'dim')::int
                    ELSE true END, false)
$projected$;

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
    major    boolean;
    numbered boolean;
    step     int;
    days     int;
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
    major := coalesce(spec ->> 'layout' = 'feature_major', false);
    whole := width > 0 AND NOT @extschema@.embed_is_projected(spec, window_days);
    -- The published ids of portfolios and scenarios share the recipe of windows, and are none: a place is all there is.
    numbered := entity_type <> 'INSTRUMENT' AND spec ? 'features';
    whole := whole AND NOT numbered;
    step := @extschema@.embed_window_step(spec);
    days := (window_days + step - 1) / step;
    RETURN QUERY
    SELECT i + 1,
           CASE WHEN numbered THEN 'feature ' || i + 1
                WHEN whole AND major THEN coalesce(names[i / greatest(days, 1) + 1], 'all')
                WHEN whole THEN names[i % width + 1]
                WHEN spec ->> 'encoder' = 'factors' THEN 'factor ' || i + 1
                ELSE 'all' END,
           CASE WHEN NOT coalesce(whole, false) THEN 'all'
                ELSE @extschema@.embed_day_block(step * CASE WHEN major THEN i % greatest(days, 1) WHEN newest THEN i / width
                                                            ELSE greatest(days - 1 - i / width, 0) END) END
      FROM generate_series(0, dims - 1) i;
END
$labels$;

-- The places of a joint space's branches in its vectors; one place over all where branches are averaged. What is projected
-- into its place has the seed of the projection; a place that is mixed says nothing of components, one by one. The leaf is
-- the branch by whose model components are named.
CREATE FUNCTION embed_space_places(joint_type text, model_id text)
RETURNS TABLE (branch text, first_component int, dims int, leaf text, branch_model_id text, branch_entity_type text, mixed boolean,
               seed bigint, branch_window_days int, transform text)
    LANGUAGE sql STABLE ROWS 4
    SET search_path = pg_catalog, pg_temp
AS $places$
    SELECT b ->> 'name', (sum((b ->> 'dims')::int) OVER (ORDER BY n) - (b ->> 'dims')::int)::int, (b ->> 'dims')::int, b ->> 'name',
           b ->> 'model_id', b ->> 'entity_type', b ? 'seed' OR b ? 'transform',
           CASE WHEN NOT b ?| ARRAY['transform', 'center'] THEN (b ->> 'seed')::bigint END, (b ->> 'window_days')::int,
           CASE WHEN NOT b ? 'seed' THEN b ->> 'transform' END
      FROM @extschema@.embed_spaces s, jsonb_array_elements(s.branches) WITH ORDINALITY x(b, n)
     WHERE s.joint_type = $1 AND s.model_id = $2 AND s.fusion = 'concat'
    UNION ALL
    SELECT 'all branches', 0, coalesce(m.dim, 384), f.branch ->> 'name', f.branch ->> 'model_id', f.branch ->> 'entity_type', false,
           NULL, NULL, NULL
      FROM @extschema@.embed_spaces s JOIN @extschema@.embed_models m USING (model_id),
           jsonb_path_query_first(s.branches, '$.** ? (@.table == "numeric_window_embeddings")') f(branch)
     WHERE s.joint_type = $1 AND s.model_id = $2 AND s.fusion <> 'concat'
       AND s.entity_type <> 'SCENARIO'
$places$;

-- The newest row of named features of an entity that vectors of a date are made from, the same of several as in backfills;
-- NULL where it cannot be read.
CREATE FUNCTION embed_named_row(source regclass, entity_type text, entity text, as_of date, columns text[]) RETURNS jsonb
    LANGUAGE plpgsql STABLE
    SET search_path = pg_catalog, pg_temp
AS $named$
DECLARE
    id    name := CASE entity_type WHEN 'PORTFOLIO' THEN 'portfolio_id' WHEN 'INSTRUMENT' THEN 'instrument_id' ELSE 'issuer_id' END;
    found jsonb;
BEGIN
    IF source IS NULL OR NOT has_table_privilege(source, 'SELECT')
       OR 2 > (SELECT count(*) FROM pg_attribute t WHERE t.attrelid = source AND t.attname IN (id, 'as_of_date') AND NOT t.attisdropped) THEN
        RETURN NULL;
    END IF;
    EXECUTE format('SELECT o.o FROM %s s, LATERAL (SELECT coalesce(jsonb_object_agg(key, value), ''{}'') FROM jsonb_each(to_jsonb(s))
                                                     WHERE key = ANY ($3)) o(o)
                     WHERE s.%I::text = $1 AND s.as_of_date::date <= $2 ORDER BY s.as_of_date::date DESC, o.o::text LIMIT 1', source, id)
       INTO found USING entity, as_of, columns;
    RETURN found;
END
$named$;

-- The dot product of two places that one branch fills, split into features and blocks of days. Components of a place are
-- those of the branch, but for named features (read again, by name) and for projected branches (the branches' own vectors,
-- along what comes back out of the place). Windows that a projection has mixed, and those of factors, are made again from
-- prices. What no longer gives the place, because it has changed or is gone, is not split.
CREATE FUNCTION embed_branch_parts(
    model_id text, entity_type text, ids text[], as_of date, window_days int, places bytea[], mixed boolean, seed bigint,
    branch_window_days int, transform text, numeric_embeddings regclass, source regclass, prices regclass, instruments regclass)
RETURNS TABLE (feature text, block text, part float8)
    LANGUAGE plpgsql STABLE ROWS 20
    SET search_path = pg_catalog, pg_temp
AS $parts$
DECLARE
    spec   jsonb;
    columns text[];
    named  jsonb[];
    inputs bytea[];
    vec    bytea;
    days   int := window_days;
    spans  int[] := ARRAY[window_days, window_days];
    again  boolean := false;
    back_a float8[];
    back_b float8[];
    dims   int;
BEGIN
    SELECT m.spec INTO spec FROM @extschema@.embed_models m WHERE m.model_id = embed_branch_parts.model_id AND m.modality = 'numeric';
    IF spec ->> 'encoder' = 'named' AND (seed IS NOT NULL OR NOT mixed) THEN
        columns := ARRAY(SELECT DISTINCT c FROM jsonb_array_elements(spec -> 'blocks') b, jsonb_array_elements_text(b -> 'columns') c);
        named := ARRAY[@extschema@.embed_named_row(source, entity_type, ids[1], as_of, columns),
                       @extschema@.embed_named_row(source, entity_type, ids[2], as_of, columns)];
        dims := CASE WHEN array_position(named, NULL) IS NULL THEN (spec ->> 'dim')::int END;
    ELSIF spec IS NOT NULL AND (seed IS NOT NULL OR NOT mixed) THEN
        IF numeric_embeddings IS NOT NULL AND has_table_privilege(numeric_embeddings, 'SELECT') THEN
            FOR i IN 1..2 LOOP
                EXECUTE format('SELECT e.vector, (e.window_spec ->> ''window_days'')::int FROM %s e WHERE e.model_id = $1 AND e.entity_type = $2
                                   AND e.entity_id = $3 AND e.as_of_date = $4 AND ($5 IS NULL OR e.window_spec ->> ''window_days'' = $5::text) %s LIMIT 1',
                               numeric_embeddings,
                               CASE WHEN EXISTS (SELECT FROM pg_attribute t WHERE t.attrelid = numeric_embeddings AND t.attname = 'embedding_id')
                                    THEN 'ORDER BY e.embedding_id DESC' ELSE '' END)
                   INTO vec, days USING model_id, entity_type, ids[i], as_of, branch_window_days;
                inputs[i] := vec;
                spans[i] := days;
            END LOOP;
            days := coalesce(spans[1], window_days);
        END IF;
        dims := CASE WHEN seed IS NULL THEN coalesce((spec ->> 'dim')::int, (spec -> 'base' ->> 'dim')::int)
                     WHEN length(inputs[1]) = length(inputs[2]) THEN length(inputs[1]) / 4 END;
        again := entity_type = 'INSTRUMENT' AND (spec ->> 'encoder' = 'factors' OR @extschema@.embed_is_projected(spec, days))
             AND prices IS NOT NULL AND has_table_privilege(prices, 'SELECT');
    END IF;
    back_a := @extschema@.embed_place_back(places[1], dims, seed);
    back_b := @extschema@.embed_place_back(places[2], dims, seed);
    RETURN QUERY
    WITH raw AS (
        SELECT p.feature, p.block, p.part AS ab, 0::float8 AS ba, 0::float8 AS aa, 0::float8 AS bb
          FROM @extschema@.embed_named_parts(model_id, named[1], back_b) p
        UNION ALL SELECT p.feature, p.block, 0, p.part, 0, 0 FROM @extschema@.embed_named_parts(model_id, named[2], back_a) p
        UNION ALL SELECT p.feature, p.block, 0, 0, p.part, 0 FROM @extschema@.embed_named_parts(model_id, named[1], back_a) p
        UNION ALL SELECT p.feature, p.block, 0, 0, 0, p.part FROM @extschema@.embed_named_parts(model_id, named[2], back_b) p
        UNION ALL
        SELECT w.feature, @extschema@.embed_day_block(w.lag), CASE e WHEN 1 THEN w.part_b ELSE 0 END, CASE e WHEN 2 THEN w.part_a ELSE 0 END,
               CASE e WHEN 1 THEN w.part_a ELSE 0 END, CASE e WHEN 2 THEN w.part_b ELSE 0 END
          FROM generate_series(1, 2) e
         CROSS JOIN LATERAL @extschema@.embed_window_parts(model_id, CASE WHEN again THEN ids[e] END, as_of, spans[e], back_a, back_b, prices, instruments) w
        UNION ALL
        SELECT l.feature, l.block, x.a * x.back_b, x.b * x.back_a, x.a * x.back_a, x.b * x.back_b
          FROM ROWS FROM (unnest(@extschema@.vector_to_array(inputs[1])), unnest(@extschema@.vector_to_array(inputs[2])),
                          unnest(back_a), unnest(back_b)) WITH ORDINALITY x(a, b, back_a, back_b, i)
          JOIN @extschema@.embed_component_labels(model_id, coalesce(dims, 0), days, entity_type) l ON l.component = x.i
         WHERE inputs IS NOT NULL AND dims IS NOT NULL AND seed IS NOT NULL AND NOT again),
    parts AS (
        SELECT r.feature, r.block, sum(r.ab) AS ab, sum(r.ba) AS ba, sum(r.aa) AS aa, sum(r.bb) AS bb FROM raw r GROUP BY 1, 2),
    -- How much longer a place is than what was brought into it.
    scales AS (
        SELECT @extschema@.l2_norm(places[1]) ^ 2 / sum(s.aa) AS a, @extschema@.l2_norm(places[2]) ^ 2 / sum(s.bb) AS b
          FROM parts s HAVING sum(s.aa) > 0 AND sum(s.bb) > 0),
    halves AS (SELECT p.feature, p.block, (p.ab * s.a + p.ba * s.b) / 2 AS part FROM parts p, scales s),
    total AS (SELECT sum(h.part) AS found, sum(abs(h.part)) AS size, @extschema@.dot_product(places[1], places[2]) AS wanted FROM halves h)
    -- Vectors are rounded to float32; what that leaves is shared out.
    SELECT h.feature, h.block, h.part + (t.wanted - t.found) * abs(h.part) / nullif(t.size, 0)
      FROM halves h, total t
     WHERE abs(t.wanted - t.found) <= 1e-6 * @extschema@.l2_norm(places[1]) * @extschema@.l2_norm(places[2]);
    IF FOUND THEN
        RETURN;
    END IF;
    -- What a network has mixed is shared out by trying it with some of the features and days.
    IF again AND spans[1] = spans[2] AND (spec -> 'projection' ->> 'kind' = 'onnx' OR jsonb_array_length(spec -> 'projection' -> 'layers') > 1) THEN
        RETURN QUERY
        WITH shared AS (
            SELECT s.feature, @extschema@.embed_day_block(s.lag) AS block, sum(s.part) AS part
              FROM @extschema@.embed_shared_parts(model_id, ids[1], ids[2], as_of, spans[1], length(places[1]) / 4, seed, prices, instruments) s
             GROUP BY 1, 2),
        total AS (SELECT sum(s.part) AS found, sum(abs(s.part)) AS size, @extschema@.cosine_sim(places[1], places[2]) AS wanted FROM shared s)
        SELECT s.feature, s.block,
               (s.part + (t.wanted - t.found) * abs(s.part) / nullif(t.size, 0)) * @extschema@.l2_norm(places[1]) * @extschema@.l2_norm(places[2])
          FROM shared s, total t WHERE abs(t.wanted - t.found) <= 1e-6;
        IF FOUND THEN
            RETURN;
        END IF;
    END IF;
    RETURN QUERY
    SELECT coalesce(l.feature, CASE WHEN transform IS NOT NULL THEN 'component ' || i END, 'all'), coalesce(l.block, 'all'),
           sum(x.x::float8 * y.y::float8 ORDER BY x.i)
      FROM unnest(@extschema@.vector_to_array(places[1])) WITH ORDINALITY x(x, i)
      JOIN unnest(@extschema@.vector_to_array(places[2])) WITH ORDINALITY y(y, i) USING (i)
      LEFT JOIN LATERAL @extschema@.embed_component_labels(
                model_id, @extschema@.vector_dim(places[1]), days, entity_type) l
             ON NOT mixed AND l.component = i
     GROUP BY 1, 2;
END
$parts$;

CREATE FUNCTION explain_similarity(
    joint_type text, a text, b text, as_of date, model_id text DEFAULT NULL, window_days int DEFAULT 63,
    embeddings regclass DEFAULT pg_catalog.to_regclass('joint_embeddings'),
    numeric_embeddings regclass DEFAULT pg_catalog.to_regclass('numeric_window_embeddings'),
    profiles regclass DEFAULT pg_catalog.to_regclass('profiles'),
    reports regclass DEFAULT pg_catalog.to_regclass('portfolio_risk_reports'),
    prices regclass DEFAULT pg_catalog.to_regclass('prices_daily'),
    instruments regclass DEFAULT pg_catalog.to_regclass('instruments'))
RETURNS TABLE (branch text, feature text, block text, contribution float8)
    LANGUAGE plpgsql STABLE COST 10000 ROWS 20
    SET search_path = pg_catalog, pg_temp
AS $explain$
DECLARE
    vec    bytea;
    pair   bytea[] := '{}';
    scope  jsonb;
    scopes jsonb[] := '{}';
    entity text;
    scale  float8;
    made   jsonb;
    models jsonb[] := '{}';
    -- Which models the branches of a row are of, where the table keeps that: those of its space, or others.
    branch_models text := CASE WHEN EXISTS (SELECT FROM pg_attribute t WHERE t.attrelid = embeddings AND t.attname = 'branches'
                                                AND t.atttypid = 'jsonb'::regtype) THEN 'e.branches' ELSE 'NULL::jsonb' END;
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
        EXECUTE format('SELECT e.vector, e.entity_scope, %s FROM %s e WHERE e.joint_type = $1 AND e.model_id = $2 AND e.as_of_date = $3
                           AND $4 IN (e.entity_scope ->> ''entity_id'', e.entity_scope ->> ''issuer_id'', e.entity_scope ->> ''portfolio_id'')
                         %s LIMIT 1', branch_models, embeddings, newest)
           INTO vec, scope, made USING joint_type, model_id, as_of, entity;
        IF vec IS NULL THEN
            RAISE EXCEPTION 'no joint embedding of "%" at % for model "%"', entity, as_of, model_id USING ERRCODE = 'no_data_found',
                HINT = 'backfill_joint() makes it.';
        END IF;
        pair := pair || vec;
        scopes := scopes || scope;
        models := models || coalesce(made, '{}');
    END LOOP;
    scale := @extschema@.l2_norm(pair[1]) * @extschema@.l2_norm(pair[2]);
    RETURN QUERY
    SELECT p.branch, q.feature, q.block, q.part / nullif(scale, 0)
      FROM @extschema@.embed_space_places(joint_type, explain_similarity.model_id) p
     -- Two branches of different models have no feature in common.
     CROSS JOIN LATERAL (SELECT coalesce(models[1] ->> p.leaf, p.branch_model_id), coalesce(models[2] ->> p.leaf, p.branch_model_id)) m(a, b)
     CROSS JOIN LATERAL @extschema@.embed_branch_parts(
           CASE WHEN m.a = m.b THEN m.a END, p.branch_entity_type,
           (SELECT array_agg(CASE p.branch_entity_type WHEN 'INSTRUMENT' THEN coalesce(s.s ->> 'instrument_id', s.s ->> 'entity_id')
                                                       WHEN 'PORTFOLIO' THEN s.s ->> 'portfolio_id' ELSE s.s ->> 'issuer_id' END ORDER BY s.n)
              FROM unnest(scopes) WITH ORDINALITY s(s, n)),
           as_of, window_days,
           ARRAY[substring(pair[1] FROM p.first_component * 4 + 1 FOR p.dims * 4), substring(pair[2] FROM p.first_component * 4 + 1 FOR p.dims * 4)],
           p.mixed, p.seed, p.branch_window_days, p.transform, numeric_embeddings,
           CASE p.branch_entity_type WHEN 'PORTFOLIO' THEN reports ELSE profiles END, prices, instruments) q
     -- Padding says nothing.
     WHERE q.part <> 0 ORDER BY 4 DESC, 1, 2, 3;
END
$explain$;

CREATE FUNCTION explain_numeric_similarity(
    model_id text, a text, b text, as_of date, window_days int DEFAULT 63, entity_type text DEFAULT 'INSTRUMENT',
    embeddings regclass DEFAULT pg_catalog.to_regclass('numeric_window_embeddings'),
    profiles regclass DEFAULT pg_catalog.to_regclass('profiles'),
    reports regclass DEFAULT pg_catalog.to_regclass('portfolio_risk_reports'),
    prices regclass DEFAULT pg_catalog.to_regclass('prices_daily'),
    instruments regclass DEFAULT pg_catalog.to_regclass('instruments'))
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
    SELECT q.feature, q.block, q.part / nullif(scale, 0)
      FROM @extschema@.embed_branch_parts(model_id, entity_type, ARRAY[a, b], as_of, window_days, pair, false, NULL::bigint, NULL::int, NULL::text, NULL::regclass,
                                          CASE entity_type WHEN 'PORTFOLIO' THEN reports ELSE profiles END, prices, instruments) q
     WHERE q.part <> 0 ORDER BY 3 DESC, 1, 2;
END
$explain$;

COMMENT ON FUNCTION embed_component_labels(text, int, int, text) IS
    'Internal: feature and block of days of every component of a numeric model''s vectors.';
COMMENT ON FUNCTION embed_space_places(text, text) IS
    'Internal: where the branches of a joint space lie in its vectors.';
COMMENT ON FUNCTION embed_named_row(regclass, text, text, date, text[]) IS
    'Internal: the newest row of named features of an entity up to a date.';
COMMENT ON FUNCTION embed_day_block(int) IS
    'Internal: the block of days that a session belongs to, by its distance from the newest.';
COMMENT ON FUNCTION embed_window_step(jsonb) IS
    'Internal: the sessions from one day of a numeric model''s windows to the next.';
COMMENT ON FUNCTION embed_is_projected(jsonb, int) IS
    'Internal: whether the windows of a numeric model go through a projection.';
COMMENT ON FUNCTION embed_window_parts(text, text, date, int, float8[], float8[], regclass, regclass) IS
    'Internal: what each feature of each session of a window contributes to the dot products of its vector with two others.';
COMMENT ON FUNCTION embed_shared_parts(text, text, text, date, int, int, bigint, regclass, regclass) IS
    'Internal: what the features of each block of days add to the cosine of two windows'' vectors, on average over the orders of adding them.';
COMMENT ON FUNCTION embed_branch_parts(text, text, text[], date, int, bytea[], boolean, bigint, int, text, regclass, regclass, regclass, regclass) IS
    'Internal: the dot product of two places of a branch, split into features and blocks of days.';
COMMENT ON FUNCTION embed_place_back(bytea, int, bigint) IS
    'Internal: the vector whose dot product with a branch is that of a place with the branch projected into it.';
COMMENT ON FUNCTION embed_named_parts(text, jsonb, float8[]) IS
    'Internal: what each named feature of a row contributes to the dot product of its vector with another.';
COMMENT ON FUNCTION explain_similarity(text, text, text, date, text, int, regclass, regclass, regclass, regclass, regclass, regclass) IS
    'Splits the cosine of two joint vectors into branches, features and blocks of days, which add up to it.';
COMMENT ON FUNCTION explain_numeric_similarity(text, text, text, date, int, text, regclass, regclass, regclass, regclass, regclass) IS
    'Splits the cosine of two numeric vectors into features and blocks of days, which add up to it.';
