-- The joint backfills and listings with their published arguments: thin faces of backfill_joint and show_joint.
CREATE FUNCTION backfill_joint_profiles(
    as_of date DEFAULT NULL,
    numeric_profile_model_id text DEFAULT 'num-profile-core-v1',
    behaviour_model_id text DEFAULT 'num-regime-core-v1',
    text_model_id text DEFAULT 'text-profile-v1',
    joint_model_id text DEFAULT 'joint-profile-core-v1',
    issuer_ids text[] DEFAULT NULL,
    max_entities int DEFAULT 10000,
    start_date date DEFAULT NULL,
    end_date date DEFAULT NULL,
    on_existing text DEFAULT 'replace',
    numeric_embeddings regclass DEFAULT pg_catalog.to_regclass('numeric_window_embeddings'),
    text_embeddings regclass DEFAULT pg_catalog.to_regclass('text_embeddings'),
    target regclass DEFAULT pg_catalog.to_regclass('joint_embeddings'),
    profiles regclass DEFAULT pg_catalog.to_regclass('profiles'),
    instruments regclass DEFAULT pg_catalog.to_regclass('instruments'),
    markets regclass DEFAULT pg_catalog.to_regclass('markets')
)
    RETURNS TABLE (entity_id text, as_of_date date, model_id text, status text, dim int, instrument_id text,
                   used text[], missing text[], detail text)
    LANGUAGE sql VOLATILE PARALLEL UNSAFE COST 1000000 ROWS 1000
BEGIN ATOMIC
    SELECT b.entity_id, b.as_of_date, b.model_id, b.status, b.dim, b.instrument_id, b.used, b.missing, b.detail
      FROM @extschema@.backfill_joint(
           'PROFILE_CORE_V0', $1, $8, $9, entity_ids => $6, model_id => $5,
           branch_models => pg_catalog.jsonb_build_object('?profile', $2, '?regime', $3, '?text', $4),
           max_entities => $7, on_existing => $10, numeric_embeddings => $11, text_embeddings => $12, target => $13,
           profiles => $14, instruments => $15, markets => $16) b;
END;

CREATE FUNCTION backfill_joint_portfolios(
    as_of date DEFAULT NULL,
    portfolio_ids text[] DEFAULT NULL,
    numeric_model_id text DEFAULT 'num-portfolio-core-v1',
    joint_model_id text DEFAULT 'joint-portfolio-core-v1',
    max_entities int DEFAULT 100,
    start_date date DEFAULT NULL,
    end_date date DEFAULT NULL,
    on_existing text DEFAULT 'replace',
    numeric_embeddings regclass DEFAULT pg_catalog.to_regclass('numeric_window_embeddings'),
    target regclass DEFAULT pg_catalog.to_regclass('joint_embeddings')
)
    RETURNS TABLE (entity_id text, as_of_date date, model_id text, status text, dim int,
                   used text[], missing text[], detail text)
    LANGUAGE sql VOLATILE PARALLEL UNSAFE COST 1000000 ROWS 100
BEGIN ATOMIC
    SELECT b.entity_id, b.as_of_date, b.model_id, b.status, b.dim, b.used, b.missing, b.detail
      FROM @extschema@.backfill_joint(
           'PORTFOLIO_CORE_V0', $1, $6, $7, entity_ids => $2, model_id => $4,
           branch_models => pg_catalog.jsonb_build_object('?portfolio', $3),
           max_entities => $5, on_existing => $8, numeric_embeddings => $9, target => $10) b;
END;

CREATE FUNCTION backfill_joint_stab_fragility(
    as_of date DEFAULT NULL,
    market_id text DEFAULT NULL,
    instrument_ids text[] DEFAULT NULL,
    max_entities int DEFAULT 1000,
    skip_entities int DEFAULT NULL,
    stab_model_id text DEFAULT 'num-stab-core-v1',
    profile_joint_model_id text DEFAULT 'joint-profile-core-v1',
    joint_model_id text DEFAULT 'joint-stab-fragility-v1',
    region text DEFAULT NULL,
    start_date date DEFAULT NULL,
    end_date date DEFAULT NULL,
    on_existing text DEFAULT 'replace',
    numeric_embeddings regclass DEFAULT pg_catalog.to_regclass('numeric_window_embeddings'),
    target regclass DEFAULT pg_catalog.to_regclass('joint_embeddings'),
    instruments regclass DEFAULT pg_catalog.to_regclass('instruments')
)
    RETURNS TABLE (entity_id text, as_of_date date, model_id text, status text, dim int,
                   used text[], missing text[], detail text)
    LANGUAGE sql VOLATILE PARALLEL UNSAFE COST 1000000 ROWS 1000
BEGIN ATOMIC
    SELECT b.entity_id, b.as_of_date, b.model_id, b.status, b.dim, b.used, b.missing, b.detail
      FROM @extschema@.backfill_joint(
           'STAB_FRAGILITY_V0', $1, $10, $11, entity_ids => $3, model_id => $8, entity_type => 'INSTRUMENT',
           market_id => $2, region => $9,
           branch_models => pg_catalog.jsonb_build_object('?stab', $6, '?profile', $7),
           max_entities => $4, skip_entities => $5, on_existing => $12, numeric_embeddings => $13, target => $14,
           instruments => $15) b;
END;

CREATE FUNCTION backfill_joint_stab_scenarios(
    scenario_set_id text,
    scenario_model_id text DEFAULT 'num-scenario-core-v1',
    joint_model_id text DEFAULT 'joint-stab-fragility-v1',
    max_entities int DEFAULT 100,
    on_existing text DEFAULT 'replace',
    numeric_embeddings regclass DEFAULT pg_catalog.to_regclass('numeric_window_embeddings'),
    target regclass DEFAULT pg_catalog.to_regclass('joint_embeddings'),
    scenario_sets regclass DEFAULT pg_catalog.to_regclass('scenario_sets')
)
    RETURNS TABLE (entity_id text, as_of_date date, model_id text, status text, dim int,
                   used text[], missing text[], detail text)
    LANGUAGE sql VOLATILE PARALLEL UNSAFE COST 1000000 ROWS 100
BEGIN ATOMIC
    SELECT b.entity_id, b.as_of_date, b.model_id, b.status, b.dim, b.used, b.missing, b.detail
      FROM @extschema@.backfill_joint(
           'STAB_FRAGILITY_V0', model_id => $3, entity_type => 'SCENARIO', scenario_set_id => $1,
           branch_models => pg_catalog.jsonb_build_object('?scenario', $2),
           max_entities => $4, on_existing => $5, numeric_embeddings => $6, target => $7, scenario_sets => $8) b;
END;

CREATE FUNCTION show_joint_profiles(
    as_of date DEFAULT NULL,
    start_date date DEFAULT NULL,
    end_date date DEFAULT NULL,
    issuer_id text DEFAULT NULL,
    model_id text DEFAULT 'joint-profile-core-v1',
    max_rows int DEFAULT 1000,
    embeddings regclass DEFAULT pg_catalog.to_regclass('joint_embeddings')
)
    RETURNS TABLE (as_of_date date, issuer_id text, instrument_id text, region text, source text, model_id text,
                   dim int, l2_norm float8)
    LANGUAGE sql STABLE PARALLEL SAFE COST 10000 ROWS 1000
BEGIN ATOMIC
    SELECT j.as_of_date, coalesce(j.entity_scope OPERATOR(pg_catalog.->>) 'issuer_id', j.entity_id),
           j.entity_scope OPERATOR(pg_catalog.->>) 'instrument_id', j.entity_scope OPERATOR(pg_catalog.->>) 'region',
           j.entity_scope OPERATOR(pg_catalog.->>) 'source', j.model_id, j.dim, j.l2_norm
      FROM @extschema@.show_joint('PROFILE_CORE_V0', $1, $2, $3,
           pg_catalog.jsonb_strip_nulls(pg_catalog.jsonb_build_object('issuer_id', $4)), $5, $6, $7) j;
END;

CREATE FUNCTION show_joint_portfolios(
    as_of date DEFAULT NULL,
    start_date date DEFAULT NULL,
    end_date date DEFAULT NULL,
    portfolio_id text DEFAULT NULL,
    model_id text DEFAULT 'joint-portfolio-core-v1',
    max_rows int DEFAULT 1000,
    embeddings regclass DEFAULT pg_catalog.to_regclass('joint_embeddings')
)
    RETURNS TABLE (as_of_date date, portfolio_id text, source text, model_id text, dim int, l2_norm float8)
    LANGUAGE sql STABLE PARALLEL SAFE COST 10000 ROWS 1000
BEGIN ATOMIC
    SELECT j.as_of_date, j.entity_scope OPERATOR(pg_catalog.->>) 'portfolio_id',
           j.entity_scope OPERATOR(pg_catalog.->>) 'source', j.model_id, j.dim, j.l2_norm
      FROM @extschema@.show_joint('PORTFOLIO_CORE_V0', $1, $2, $3,
           pg_catalog.jsonb_strip_nulls(pg_catalog.jsonb_build_object('portfolio_id', $4)), $5, $6, $7) j;
END;

-- States and scenarios: the columns of the other kind are null.
CREATE FUNCTION show_joint_stab_fragility(
    as_of date DEFAULT NULL,
    start_date date DEFAULT NULL,
    end_date date DEFAULT NULL,
    instrument_id text DEFAULT NULL,
    region text DEFAULT NULL,
    scenario_set_id text DEFAULT NULL,
    scenario_id text DEFAULT NULL,
    entity_type text DEFAULT NULL,
    model_id text DEFAULT 'joint-stab-fragility-v1',
    max_rows int DEFAULT 1000,
    embeddings regclass DEFAULT pg_catalog.to_regclass('joint_embeddings')
)
    RETURNS TABLE (as_of_date date, entity_type text, instrument_id text, issuer_id text, region text,
                   scenario_set_id text, scenario_id text, source text, model_id text, dim int, l2_norm float8)
    LANGUAGE sql STABLE PARALLEL SAFE COST 10000 ROWS 1000
BEGIN ATOMIC
    SELECT j.as_of_date, j.entity_scope OPERATOR(pg_catalog.->>) 'entity_type',
           j.entity_scope OPERATOR(pg_catalog.->>) 'entity_id', j.entity_scope OPERATOR(pg_catalog.->>) 'issuer_id',
           j.entity_scope OPERATOR(pg_catalog.->>) 'region', j.entity_scope OPERATOR(pg_catalog.->>) 'scenario_set_id',
           j.entity_scope OPERATOR(pg_catalog.->>) 'scenario_id', j.entity_scope OPERATOR(pg_catalog.->>) 'source',
           j.model_id, j.dim, j.l2_norm
      FROM @extschema@.show_joint('STAB_FRAGILITY_V0', $1, $2, $3,
           pg_catalog.jsonb_strip_nulls(pg_catalog.jsonb_build_object(
               'entity_id', $4, 'region', $5, 'scenario_set_id', $6, 'scenario_id', $7, 'entity_type', $8)),
           $9, $10, $11) j;
END;
