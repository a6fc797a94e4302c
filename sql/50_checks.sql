-- Proof by trial that a model reads nothing later than its as-of date: the vector is computed from copies of the
-- tables that end there, and from copies that go on with other rows. The copies live in a subtransaction that is
-- always rolled back; nothing of the caller's is written.

-- Copies `source` twice: the caller's condition picks the rows up to a date; the second copy goes on with what came
-- later and, on ten days more, with the known rows again; whatever is a number or JSON in those rows is another one.
CREATE FUNCTION embed_check_copies(source regclass, date_column name, as_of date, condition text,
                                   OUT rows_known bigint, OUT rows_later bigint)
    LANGUAGE plpgsql VOLATILE
    SET search_path = pg_catalog, pg_temp
AS $copies$
DECLARE
    other text;
BEGIN
    SELECT string_agg(CASE WHEN a.attname = date_column THEN format('(%I::date + d.n)::date', a.attname)
                           WHEN t.typcategory = 'N' THEN format('(7 + 3 * abs(coalesce(%I, 1)::float8))::%s', a.attname, t.typname)
                           WHEN t.typname IN ('jsonb', 'json') THEN
                               format('''{"business_description": "later", "vol_21d": 9, "beta": 9, "gross_margin": 9, "later": 9}''::%s', t.typname)
                           ELSE format('%I', a.attname) END, ', ' ORDER BY a.attnum)
      INTO other
      FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
     WHERE a.attrelid = source AND a.attnum > 0 AND NOT a.attisdropped;
    EXECUTE format('CREATE TEMPORARY TABLE embed_check_known ON COMMIT DROP AS SELECT * FROM %s t WHERE t.%I::date <= $1 AND %s',
                   source, date_column, condition) USING as_of;
    GET DIAGNOSTICS rows_known = ROW_COUNT;
    CREATE TEMPORARY TABLE embed_check_later ON COMMIT DROP AS SELECT * FROM pg_temp.embed_check_known;
    EXECUTE format('INSERT INTO pg_temp.embed_check_later SELECT %s FROM %s t, (VALUES (0)) d(n) WHERE t.%I::date > $1 AND %s',
                   other, source, date_column, condition) USING as_of;
    GET DIAGNOSTICS rows_later = ROW_COUNT;
    IF rows_later = 0 THEN
        EXECUTE format('INSERT INTO pg_temp.embed_check_later SELECT %s FROM pg_temp.embed_check_known t, '
                       'LATERAL (SELECT $1 - t.%I::date + s FROM generate_series(1, 10) s) d(n) WHERE t.%I::date > $1 - 100',
                       other, date_column, date_column) USING as_of;
        GET DIAGNOSTICS rows_later = ROW_COUNT;
    END IF;
END
$copies$;

-- The vector of a window of prices, with and without later ones.
CREATE FUNCTION embed_check_prices(model_id text, entity text, as_of date, window_days int, prices regclass, instruments regclass,
                                   OUT known bytea, OUT later bytea, OUT rows_known bigint, OUT rows_later bigint)
    LANGUAGE plpgsql VOLATILE
    SET search_path = pg_catalog, pg_temp
AS $prices$
BEGIN
    CREATE TEMPORARY TABLE embed_check_known (
        instrument_id text, trade_date date, close float8, adjusted_close float8, volume float8) ON COMMIT DROP;
    CREATE TEMPORARY TABLE embed_check_later (LIKE embed_check_known) ON COMMIT DROP;
    -- No window reads further back than 30 calendar days a row.
    EXECUTE format(
        'INSERT INTO pg_temp.embed_check_known SELECT p.instrument_id::text, p.trade_date::date, p.close::float8, '
        'p.adjusted_close::float8, p.volume::float8 FROM %s p WHERE p.trade_date <= $1 AND p.trade_date >= $1 - 30 * ($2 + 1000)',
        prices) USING as_of, window_days;
    GET DIAGNOSTICS rows_known = ROW_COUNT;
    INSERT INTO pg_temp.embed_check_later SELECT * FROM pg_temp.embed_check_known;
    -- What really came later, upside down; where nothing did, ten days of nonsense.
    EXECUTE format(
        'INSERT INTO pg_temp.embed_check_later SELECT p.instrument_id::text, p.trade_date::date, 1000 / (1 + abs(p.close::float8)), '
        '1000 / (1 + abs(p.adjusted_close::float8)), 7 + 3 * abs(p.volume::float8) FROM %s p '
        'WHERE p.trade_date > $1 AND p.trade_date <= $1 + 366', prices) USING as_of;
    GET DIAGNOSTICS rows_later = ROW_COUNT;
    IF rows_later = 0 THEN
        INSERT INTO pg_temp.embed_check_later
        SELECT i.instrument_id, as_of + d, 10 + d + length(i.instrument_id), 20 - d, 1000 * d
          FROM (SELECT DISTINCT instrument_id FROM pg_temp.embed_check_known) i, generate_series(1, 10) d;
        GET DIAGNOSTICS rows_later = ROW_COUNT;
    END IF;
    ANALYZE pg_temp.embed_check_known, pg_temp.embed_check_later;
    known := @extschema@.num_window_embed(entity, as_of, window_days, model_id, 'pg_temp.embed_check_known'::regclass, instruments);
    later := @extschema@.num_window_embed(entity, as_of, window_days, model_id, 'pg_temp.embed_check_later'::regclass, instruments);
END
$prices$;

-- The vector of a row of named features, of a portfolio's report or of a profile's text, with and without later rows.
CREATE FUNCTION embed_check_rows(model_id text, entity text, entity_type text, as_of date, encoder text, source regclass,
                                 OUT known bytea, OUT later bytea, OUT rows_known bigint, OUT rows_later bigint, OUT problem text)
    LANGUAGE plpgsql VOLATILE
    SET search_path = pg_catalog, pg_temp
AS $rows$
DECLARE
    id   CONSTANT name := CASE entity_type WHEN 'PORTFOLIO' THEN 'portfolio_id' ELSE 'issuer_id' END;
    copy regclass;
    told record;
    vec  bytea;
BEGIN
    SELECT c.rows_known, c.rows_later INTO rows_known, rows_later
      FROM @extschema@.embed_check_copies(source, 'as_of_date', as_of, format('t.%I = %L', id, entity)) c;
    CREATE TEMPORARY TABLE embed_check_numeric (
        embedding_id bigserial, entity_type text, entity_id text, window_spec jsonb, as_of_date date, model_id text, vector bytea) ON COMMIT DROP;
    CREATE TEMPORARY TABLE embed_check_text (
        embedding_id bigserial, source_type text, source_id text, model_id text, vector bytea,
        UNIQUE (source_type, source_id, model_id)) ON COMMIT DROP;
    FOREACH copy IN ARRAY ARRAY['pg_temp.embed_check_known', 'pg_temp.embed_check_later']::regclass[] LOOP
        DELETE FROM pg_temp.embed_check_numeric;
        DELETE FROM pg_temp.embed_check_text;
        IF encoder = 'text' THEN
            SELECT b.status, b.detail INTO told FROM @extschema@.backfill_profile_text(
                as_of, model_id, NULL::int, 'replace', copy, 'pg_temp.embed_check_text'::regclass) b;
        ELSIF encoder = 'named' THEN
            SELECT b.status, b.detail INTO told FROM @extschema@.backfill_numeric_profile(
                as_of, ARRAY[entity], model_id, entity_type, id, source => copy, target => 'pg_temp.embed_check_numeric'::regclass) b;
        ELSE
            SELECT b.status, b.detail INTO told FROM @extschema@.backfill_numeric_portfolio(
                as_of, ARRAY[entity], NULL::int, model_id, reports => copy, target => 'pg_temp.embed_check_numeric'::regclass) b;
        END IF;
        SELECT v.vector INTO vec FROM (SELECT n.vector FROM pg_temp.embed_check_numeric n
                                       UNION ALL SELECT t.vector FROM pg_temp.embed_check_text t) v;
        IF vec IS NULL THEN
            problem := coalesce(told.detail, format('no row at %s', as_of));
        END IF;
        IF copy = 'pg_temp.embed_check_known'::regclass THEN known := vec; ELSE later := vec; END IF;
    END LOOP;
END
$rows$;

-- The joint vector of an entity, with and without later vectors of its branches.
CREATE FUNCTION embed_check_joint(joint_type text, model_id text, entity text, entity_type text, as_of date,
                                  numeric_embeddings regclass, text_embeddings regclass, joint_embeddings regclass,
                                  profiles regclass, instruments regclass, markets regclass, scenario_sets regclass,
                                  OUT known bytea, OUT later bytea, OUT rows_known bigint, OUT rows_later bigint, OUT problem text)
    LANGUAGE plpgsql VOLATILE
    SET search_path = pg_catalog, pg_temp
AS $joint$
DECLARE
    branch_models CONSTANT text[] := ARRAY(
        SELECT jsonb_path_query(s.branches, '$.**.model_id') #>> '{}' FROM @extschema@.embed_spaces s
         WHERE s.joint_type = embed_check_joint.joint_type AND s.model_id = embed_check_joint.model_id);
    about   text[] := ARRAY[entity];
    related text[];
    more    boolean;
    told    record;
    vec     bytea;
    added   bigint;
BEGIN
    IF instruments IS NOT NULL AND entity_type IN ('ISSUER', 'INSTRUMENT') THEN
        EXECUTE format('SELECT array_agg(i.instrument_id::text) || array_agg(DISTINCT i.issuer_id::text) FROM %s i '
                       'WHERE $1 IN (i.issuer_id, i.instrument_id)', instruments) INTO related USING entity;
        about := about || coalesce(related, '{}');
    END IF;
    CREATE TEMPORARY TABLE embed_check_numeric (
        embedding_id bigserial, entity_type text, entity_id text, window_spec jsonb, as_of_date date, model_id text, vector bytea) ON COMMIT DROP;
    CREATE TEMPORARY TABLE embed_check_text (
        embedding_id bigserial, source_type text, source_id text, model_id text, vector bytea) ON COMMIT DROP;
    CREATE TEMPORARY TABLE embed_check_target (
        joint_id bigserial, joint_type text, as_of_date date, entity_scope jsonb, model_id text, vector bytea) ON COMMIT DROP;
    EXECUTE format('INSERT INTO pg_temp.embed_check_numeric (entity_type, entity_id, window_spec, as_of_date, model_id, vector) '
                   'SELECT n.entity_type, n.entity_id, n.window_spec, n.as_of_date, n.model_id, n.vector FROM %s n '
                   'WHERE n.entity_id = ANY ($1) AND n.model_id = ANY ($2) AND n.as_of_date BETWEEN $3 - 400 AND $3 '
                   'ORDER BY n.embedding_id', numeric_embeddings) USING about, branch_models, as_of;
    GET DIAGNOSTICS rows_known = ROW_COUNT;
    EXECUTE format('INSERT INTO pg_temp.embed_check_text (source_type, source_id, model_id, vector) '
                   'SELECT t.source_type, t.source_id, t.model_id, t.vector FROM %s t '
                   'WHERE split_part(t.source_id, '':'', 1) = ANY ($1) AND t.model_id = ANY ($2) '
                   'AND right(t.source_id, 10) <= $3 ORDER BY t.embedding_id', text_embeddings)
      USING about, branch_models, as_of::text;
    GET DIAGNOSTICS added = ROW_COUNT;
    rows_known := rows_known + added;
    EXECUTE format('INSERT INTO pg_temp.embed_check_target (joint_type, as_of_date, entity_scope, model_id, vector) '
                   'SELECT j.joint_type, j.as_of_date, j.entity_scope, j.model_id, j.vector FROM %s j '
                   'WHERE j.model_id = ANY ($2) AND j.as_of_date BETWEEN $3 - 400 AND $3 AND j.entity_scope ->> ''issuer_id'' = ANY ($1) '
                   'ORDER BY j.joint_id', joint_embeddings) USING about, branch_models, as_of;
    GET DIAGNOSTICS added = ROW_COUNT;
    rows_known := rows_known + added;
    rows_later := 0;
    FOREACH more IN ARRAY ARRAY[false, true] LOOP
        IF more THEN
            -- The same branches on later days, every component 1.
            INSERT INTO pg_temp.embed_check_numeric (entity_type, entity_id, window_spec, as_of_date, model_id, vector)
            SELECT n.entity_type, n.entity_id, n.window_spec, as_of + d, n.model_id, @extschema@.vector_from_array(
                     array_fill(1::float8, ARRAY[octet_length(n.vector) / 4]))
              FROM pg_temp.embed_check_numeric n, generate_series(1, 10) d WHERE n.as_of_date = as_of;
            GET DIAGNOSTICS added = ROW_COUNT;
            rows_later := added;
            INSERT INTO pg_temp.embed_check_text (source_type, source_id, model_id, vector)
            SELECT t.source_type, split_part(t.source_id, ':', 1) || ':' || (as_of + d)::text, t.model_id,
                   @extschema@.vector_from_array(array_fill(1::float8, ARRAY[octet_length(t.vector) / 4]))
              FROM pg_temp.embed_check_text t, generate_series(1, 10) d WHERE right(t.source_id, 10) = as_of::text;
            GET DIAGNOSTICS added = ROW_COUNT;
            rows_later := rows_later + added;
            INSERT INTO pg_temp.embed_check_target (joint_type, as_of_date, entity_scope, model_id, vector)
            SELECT j.joint_type, as_of + d, j.entity_scope || jsonb_build_object('as_of_date', as_of + d), j.model_id,
                   @extschema@.vector_from_array(array_fill(1::float8, ARRAY[octet_length(j.vector) / 4]))
              FROM pg_temp.embed_check_target j, generate_series(1, 10) d
             WHERE j.as_of_date = as_of AND j.model_id <> embed_check_joint.model_id;
            GET DIAGNOSTICS added = ROW_COUNT;
            rows_later := rows_later + added;
        END IF;
        SELECT b.status, b.detail INTO told FROM @extschema@.backfill_joint(
            joint_type, as_of, model_id => embed_check_joint.model_id, entity_type => embed_check_joint.entity_type,
            entity_ids => ARRAY[entity], numeric_embeddings => 'pg_temp.embed_check_numeric'::regclass,
            text_embeddings => 'pg_temp.embed_check_text'::regclass, target => 'pg_temp.embed_check_target'::regclass,
            profiles => embed_check_joint.profiles, instruments => embed_check_joint.instruments,
            markets => embed_check_joint.markets, scenario_sets => embed_check_joint.scenario_sets) b;
        SELECT t.vector INTO vec FROM pg_temp.embed_check_target t
         WHERE t.model_id = embed_check_joint.model_id AND t.as_of_date = as_of ORDER BY t.joint_id DESC LIMIT 1;
        IF vec IS NULL THEN
            problem := coalesce(told.detail, format('no vector at %s', as_of));
        END IF;
        IF more THEN later := vec; ELSE known := vec; END IF;
    END LOOP;
END
$joint$;

CREATE FUNCTION check_no_lookahead(
    model_id text, entity text, as_of date, window_days int DEFAULT 63,
    prices regclass DEFAULT pg_catalog.to_regclass('prices_daily'),
    entity_type text DEFAULT NULL,
    profiles regclass DEFAULT pg_catalog.to_regclass('profiles'),
    reports regclass DEFAULT pg_catalog.to_regclass('portfolio_risk_reports'),
    instruments regclass DEFAULT pg_catalog.to_regclass('instruments'),
    markets regclass DEFAULT pg_catalog.to_regclass('markets'),
    scenario_sets regclass DEFAULT pg_catalog.to_regclass('scenario_sets'),
    numeric_embeddings regclass DEFAULT pg_catalog.to_regclass('numeric_window_embeddings'),
    text_embeddings regclass DEFAULT pg_catalog.to_regclass('text_embeddings'),
    joint_embeddings regclass DEFAULT pg_catalog.to_regclass('joint_embeddings'))
RETURNS TABLE (ok boolean, rows_up_to_as_of bigint, rows_changed bigint, detail text)
    LANGUAGE plpgsql VOLATILE COST 100000 ROWS 1
    SET search_path = pg_catalog, pg_temp
AS $check$
DECLARE
    model   record;
    encoder text;
    kind    text := entity_type;
    found   record;
    fitted  date;
    missing text;
BEGIN
    IF model_id IS NULL OR entity IS NULL OR as_of IS NULL OR window_days IS NULL THEN
        RAISE EXCEPTION 'arguments "model_id", "entity", "as_of" and "window_days" must not be null'
            USING ERRCODE = 'null_value_not_allowed';
    ELSIF kind = 'SCENARIO' THEN
        RAISE EXCEPTION 'scenarios cannot be checked: the paths of a scenario have no dates, and none is later'
            USING ERRCODE = 'feature_not_supported', HINT = 'Leave "entity_type" out: the model is then tried on windows of prices.';
    ELSIF kind NOT IN ('INSTRUMENT', 'ISSUER', 'COUNTRY', 'PORTFOLIO') THEN
        RAISE EXCEPTION 'invalid value for argument "entity_type": "%"', kind
            USING ERRCODE = 'invalid_parameter_value',
                  HINT = 'Allowed values are "INSTRUMENT", "ISSUER", "COUNTRY" and "PORTFOLIO".';
    END IF;
    SELECT m.modality, m.spec INTO model FROM @extschema@.embed_models m WHERE m.model_id = check_no_lookahead.model_id;
    IF model.modality = 'transform' THEN
        -- A transform reads one vector, that of its base model.
        model_id := model.spec ->> 'base_model_id';
        fitted := (model.spec ->> 'fitted_as_of')::date;
        SELECT m.modality, m.spec INTO model FROM @extschema@.embed_models m WHERE m.model_id = check_no_lookahead.model_id;
    END IF;
    -- A model that is not there is refused in the words of whoever needs it.
    encoder := CASE model.modality WHEN 'text' THEN 'text' WHEN 'joint' THEN 'joint' ELSE coalesce(model.spec ->> 'encoder', 'pipeline') END;
    fitted := coalesce(fitted, (model.spec ->> 'fitted_as_of')::date, (model.spec #>> '{fitted,as_of}')::date);
    IF encoder = 'joint' THEN
        kind := coalesce(kind, (SELECT min(s.entity_type) FROM @extschema@.embed_spaces s
                                 WHERE s.model_id = check_no_lookahead.model_id AND s.entity_type <> 'SCENARIO'));
        missing := CASE WHEN numeric_embeddings IS NULL THEN 'numeric_window_embeddings' WHEN text_embeddings IS NULL THEN 'text_embeddings'
                        WHEN joint_embeddings IS NULL THEN 'joint_embeddings' END;
    ELSIF encoder = 'text' OR (encoder = 'named' AND kind IS DISTINCT FROM 'PORTFOLIO'
                               AND NOT coalesce(model.spec @? '$.blocks[*].columns[*] ? (@ == "risk_metrics")', false)) THEN
        kind := coalesce(kind, 'ISSUER');
        missing := CASE WHEN profiles IS NULL THEN 'profiles' END;
    ELSIF encoder = 'named' OR kind = 'PORTFOLIO' THEN
        kind := 'PORTFOLIO';
        missing := CASE WHEN reports IS NULL THEN 'portfolio_risk_reports' END;
    ELSE
        kind := 'INSTRUMENT';
        missing := CASE WHEN prices IS NULL THEN 'prices_daily' END;
    END IF;
    IF missing IS NOT NULL THEN
        RAISE EXCEPTION 'relation "%" does not exist', missing
            USING ERRCODE = 'undefined_table', HINT = 'Put its schema on the search_path, or pass it as an argument.';
    END IF;
    BEGIN
        IF encoder = 'joint' THEN
            SELECT c.*  INTO found FROM @extschema@.embed_check_joint(
                model.spec ->> 'joint_type', model_id, entity, kind, as_of, numeric_embeddings, text_embeddings, joint_embeddings,
                profiles, instruments, markets, scenario_sets) c;
        ELSIF kind = 'INSTRUMENT' THEN
            SELECT c.*, NULL::text AS problem INTO found
              FROM @extschema@.embed_check_prices(model_id, entity, as_of, window_days, prices, instruments) c;
        ELSE
            SELECT c.* INTO found FROM @extschema@.embed_check_rows(
                model_id, entity, kind, as_of, encoder, CASE kind WHEN 'PORTFOLIO' THEN reports ELSE profiles END) c;
        END IF;
        RAISE EXCEPTION USING ERRCODE = 'PE999';
    EXCEPTION WHEN SQLSTATE 'PE999' THEN
        -- The copies are gone; the two vectors are not.
        NULL;
    END;
    IF found.known IS NULL THEN
        RAISE EXCEPTION 'model "%" has no vector of "%" at %', model_id, entity, as_of
            USING ERRCODE = 'no_data_found', DETAIL = coalesce(found.problem, 'There is none to compare.');
    END IF;
    ok := found.known IS NOT DISTINCT FROM found.later;
    rows_up_to_as_of := found.rows_known;
    rows_changed := found.rows_later;
    detail := CASE WHEN ok THEN format('same %s bytes with and without later rows', octet_length(found.known))
                   WHEN found.later IS NULL THEN 'later rows take the vector away: ' || found.problem
                   WHEN octet_length(found.known) <> octet_length(found.later) THEN 'later rows change the length of the vector'
                   ELSE format('later rows move the vector by %s', @extschema@.euclidean_dist(found.known, found.later)) END;
    IF fitted > as_of THEN
        ok := false;
        detail := format('%s, but the model was fitted at %s, to rows after %s', detail, fitted, as_of);
    END IF;
    RETURN NEXT;
END
$check$;

COMMENT ON FUNCTION embed_check_copies(regclass, name, date, text) IS
    'Internal: two temporary copies of a table, one that ends at a date and one that goes on with other rows.';
COMMENT ON FUNCTION embed_check_prices(text, text, date, int, regclass, regclass) IS
    'Internal: an instrument''s vector with and without later prices.';
COMMENT ON FUNCTION embed_check_rows(text, text, text, date, text, regclass) IS
    'Internal: the vector of named features, of a report or of a text with and without later rows.';
COMMENT ON FUNCTION embed_check_joint(text, text, text, text, date, regclass, regclass, regclass, regclass, regclass, regclass, regclass) IS
    'Internal: a joint vector with and without later vectors of its branches.';
COMMENT ON FUNCTION check_no_lookahead(text, text, date, int, regclass, text, regclass, regclass, regclass, regclass, regclass,
                                       regclass, regclass, regclass) IS
    'Whether a model''s vector of a date is the same with and without later rows: computed both ways on copies that are rolled back.';
