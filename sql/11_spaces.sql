-- Joint spaces: which vectors are fused into the vectors of a joint model, and how. One row per joint type,
-- model and kind of entity; a row never changes. src/engine/joint/space.rs reads and validates branches.
-- No name below means anything but what pg_catalog or this extension has; the last line puts the path back.
SET LOCAL search_path = pg_catalog, pg_temp;

INSERT INTO @extschema@.embed_models (model_id, modality, dim, spec, description, builtin)
VALUES ('joint-profile-core-v1', 'joint', 384, '{"joint_type": "PROFILE_CORE_V0"}',
        'Published: half numeric (mean of profile and regime windows), half profile text.', true),
       ('joint-portfolio-core-v1', 'joint', 384, '{"joint_type": "PORTFOLIO_CORE_V0"}',
        'Published: the numeric portfolio vector.', true),
       ('joint-stab-fragility-v1', 'joint', 384, '{"joint_type": "STAB_FRAGILITY_V0"}',
        'Published: states are the mean of stability window and joint profile, scenarios the numeric scenario vector.', true),
       ('joint-profile-core-v2', 'joint', 384, '{"joint_type": "PROFILE_CORE_V0"}',
        'How an issuer moves against the market and what it says it does, half each, side by side.', true),
       ('joint-portfolio-core-v2', 'joint', 384, '{"joint_type": "PORTFOLIO_CORE_V0"}',
        'The vector of named portfolio features, of unit length.', true),
       ('joint-stab-fragility-v2', 'joint', 384, '{"joint_type": "STAB_FRAGILITY_V0"}',
        'How calm an instrument is, and beside it how its price moves against the market.', true);

CREATE TABLE @extschema@.embed_spaces (
    joint_type  text NOT NULL CHECK (joint_type ~ '^[A-Z][A-Z0-9_]{0,31}$'),
    -- No foreign key: see the end of 12_model_parts.sql.
    model_id    text NOT NULL,
    entity_type text NOT NULL CHECK (entity_type IN ('ISSUER', 'INSTRUMENT', 'PORTFOLIO', 'SCENARIO')),
    entities    text NOT NULL CHECK (entities IN ('profiles', 'instruments', 'branch')),
    fusion      text NOT NULL CHECK (fusion IN ('average', 'blend', 'identity', 'concat')),
    branches    jsonb NOT NULL CHECK (jsonb_typeof(branches) = 'array'),
    scope_keys  text[] NOT NULL,
    source      jsonb NOT NULL,
    description text,
    builtin     boolean NOT NULL DEFAULT false,
    created_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (joint_type, model_id, entity_type)
);

INSERT INTO @extschema@.embed_spaces (joint_type, model_id, entity_type, entities, fusion, branches, scope_keys, source, description, builtin)
VALUES ('PROFILE_CORE_V0', 'joint-profile-core-v1', 'ISSUER', 'profiles', 'blend', '[
            {"name": "numeric", "weight": 0.5, "required": true, "fusion": "average", "branches": [
                {"name": "profile", "weight": 1, "table": "numeric_window_embeddings", "entity_type": "INSTRUMENT",
                 "model_id": "num-profile-core-v1"},
                {"name": "regime", "weight": 1, "table": "numeric_window_embeddings", "entity_type": "INSTRUMENT",
                 "model_id": "num-regime-core-v1"}]},
            {"name": "text", "weight": 0.5, "required": true, "table": "text_embeddings", "entity_type": "ISSUER",
             "model_id": "text-profile-v1", "source_type": "PROFILE"}]',
        ARRAY['issuer_id', 'instrument_id', 'region'], '{"text": "profile+regime+text"}',
        'Published: issuers by their prices, behaviour and profile text.', true),
       ('PORTFOLIO_CORE_V0', 'joint-portfolio-core-v1', 'PORTFOLIO', 'branch', 'identity', '[
            {"name": "portfolio", "weight": 1, "required": true, "table": "numeric_window_embeddings",
             "entity_type": "PORTFOLIO", "model_id": "num-portfolio-core-v1"}]',
        ARRAY['portfolio_id'], '"models"', 'Published: portfolios by their risk reports.', true),
       ('STAB_FRAGILITY_V0', 'joint-stab-fragility-v1', 'INSTRUMENT', 'instruments', 'average', '[
            {"name": "stab", "weight": 1, "required": true, "table": "numeric_window_embeddings",
             "entity_type": "INSTRUMENT", "model_id": "num-stab-core-v1"},
            {"name": "profile", "weight": 1, "table": "joint_embeddings", "joint_type": "PROFILE_CORE_V0",
             "entity_type": "ISSUER", "model_id": "joint-profile-core-v1"}]',
        ARRAY['entity_id', 'issuer_id', 'region'], '"branches"',
        'Published: states of instruments, by their prices and their issuer''s joint profile.', true),
       ('STAB_FRAGILITY_V0', 'joint-stab-fragility-v1', 'SCENARIO', 'branch', 'identity', '[
            {"name": "scenario", "weight": 1, "required": true, "table": "numeric_window_embeddings",
             "entity_type": "SCENARIO", "model_id": "num-scenario-core-v1"}]',
        ARRAY['scenario_set_id', 'scenario_id'], '"branches"', 'Published: scenarios of a set.', true),
       ('PROFILE_CORE_V0', 'joint-profile-core-v2', 'ISSUER', 'profiles', 'concat', '[
            {"name": "behaviour", "weight": 0.5, "required": true, "dims": 160, "table": "numeric_window_embeddings",
             "entity_type": "INSTRUMENT", "model_id": "num-regime-core-v2"},
            {"name": "description", "weight": 0.5, "required": true, "dims": 224, "seed": 1, "table": "text_embeddings",
             "entity_type": "ISSUER", "model_id": "text-profile-v1", "source_type": "PROFILE"}]',
        ARRAY['issuer_id', 'instrument_id', 'region'], '"branches"',
        'Issuers by how they move against the market (newest 160 days) and by their profile text.', true),
       ('PORTFOLIO_CORE_V0', 'joint-portfolio-core-v2', 'PORTFOLIO', 'branch', 'concat', '[
            {"name": "features", "required": true, "dims": 384, "table": "numeric_window_embeddings",
             "entity_type": "PORTFOLIO", "model_id": "num-portfolio-core-v2"}]',
        ARRAY['portfolio_id'], '"branches"', 'Portfolios by the names of their exposures and risks.', true),
       ('STAB_FRAGILITY_V0', 'joint-stab-fragility-v2', 'INSTRUMENT', 'instruments', 'concat', '[
            {"name": "stability", "weight": 0.7, "required": true, "dims": 224, "table": "numeric_window_embeddings",
             "entity_type": "INSTRUMENT", "model_id": "num-stab-core-v2"},
            {"name": "behaviour", "weight": 0.3, "required": true, "dims": 160, "table": "numeric_window_embeddings",
             "entity_type": "INSTRUMENT", "model_id": "num-regime-core-v2"}]',
        ARRAY['entity_id', 'issuer_id', 'region'], '"branches"',
        'Instruments by how calm they are, and by how they move against the market.', true);

SELECT pg_catalog.pg_extension_config_dump('@extschema@.embed_spaces', 'WHERE NOT builtin');

CREATE FUNCTION @extschema@.embed_spaces_guard() RETURNS trigger
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $guard$
BEGIN
    IF TG_OP = 'UPDATE' THEN
        RAISE EXCEPTION 'joint space "%" of model "%" cannot be changed', OLD.joint_type, OLD.model_id
            USING ERRCODE = 'object_not_in_prerequisite_state',
                  DETAIL = 'A model id never changes its meaning.',
                  HINT = 'Register the changed space under a new model id.';
    ELSIF OLD.builtin THEN
        RAISE EXCEPTION 'joint space "%" of model "%" belongs to the extension and cannot be dropped', OLD.joint_type, OLD.model_id
            USING ERRCODE = 'dependent_objects_still_exist';
    END IF;
    RETURN OLD;
END
$guard$;

CREATE TRIGGER embed_spaces_guard BEFORE UPDATE OR DELETE ON @extschema@.embed_spaces
    FOR EACH ROW EXECUTE FUNCTION @extschema@.embed_spaces_guard();

SET LOCAL search_path = @extschema@, pg_temp;
