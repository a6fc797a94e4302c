-- The model catalog: one row per model id, each with its whole recipe. A recipe never changes.
-- No name below means anything but what pg_catalog or this extension has; the last line puts the path back.
SET LOCAL search_path = pg_catalog, pg_temp;

CREATE TABLE @extschema@.embed_models (
    model_id    text PRIMARY KEY CHECK (model_id ~ '^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$'),
    modality    text NOT NULL CHECK (modality IN ('numeric', 'text', 'joint', 'transform')),
    dim         int CHECK (dim BETWEEN 1 AND 65535),
    spec        jsonb NOT NULL CHECK (jsonb_typeof(spec) = 'object'),
    sha256      text CHECK (sha256 ~ '^[0-9a-f]{64}$'),
    description text,
    builtin     boolean NOT NULL DEFAULT false,
    created_at  timestamptz NOT NULL DEFAULT now()
);

INSERT INTO @extschema@.embed_models (model_id, modality, dim, spec, description, builtin)
SELECT m.model_id, 'numeric', 384, '{
        "features": ["close", "volume", "log_return"], "price_column": "close",
        "window": {"min_fill": 0.87, "look_back": 3, "short_history": "repeat_last"},
        "encoder": "pad_to_dim", "dim": 384}'::jsonb,
       m.description, true
  FROM (VALUES
    ('num-regime-core-v1', 'Published: windows of close, volume and log return, padded or cut to 384.'),
    ('num-stab-core-v1', 'Published: as num-regime-core-v1, for stability states.'),
    ('num-profile-core-v1', 'Published: as num-regime-core-v1, used with windows of 126 days for profiles.'),
    ('num-scenario-core-v1', 'Published: as num-regime-core-v1 over instruments; scenario panels are padded or cut to 384.'),
    ('num-portfolio-core-v1', 'Published: as num-regime-core-v1 over instruments; portfolio features are padded or cut to 384.')
  ) AS m(model_id, description);

INSERT INTO @extschema@.embed_models (model_id, modality, dim, spec, description, builtin)
VALUES ('numeric-simple-v1', 'numeric', NULL, '{
        "features": ["close", "volume", "log_return"], "price_column": "close",
        "window": {"min_fill": 0.87, "look_back": 3, "short_history": "repeat_last"},
        "encoder": "flatten"}',
       'Published: windows of close, volume and log return, flattened: three values per day.', true);

-- The v2 encoders: market-relative or level-preserving, of unit length. docs/encoders.md has the formulas.
INSERT INTO @extschema@.embed_models (model_id, modality, dim, spec, description, builtin)
VALUES ('num-regime-core-v2', 'numeric', 384, '{
        "encoder": "pipeline", "price_column": "adjusted_close",
        "window": {"min_fill": 0.5, "look_back": 2, "short_history": "mask", "max_gap_days": 10, "max_age_days": 10},
        "market": {"universe": {"kind": "prices"}, "shrink": 5},
        "channels": [{"feature": "log_return", "relative": "market_beta", "dispersion": true,
                      "standardise": {"kind": "rms"}, "clip": 2}],
        "layout": "newest_first", "projection": {"kind": "orthogonal", "seed": 1}, "dim": 384, "normalise": "l2"}',
       'How an instrument moves against the market: residual returns by lag, for windows of 63 to 504 days.', true),
       ('num-stab-core-v2', 'numeric', 384, '{
        "encoder": "pipeline", "price_column": "adjusted_close",
        "window": {"min_fill": 0.5, "look_back": 1.5, "short_history": "mask", "max_gap_days": 10, "max_age_days": 10,
                   "every": 3, "rolling": "inside"},
        "channels": [
          {"feature": "realised_volatility", "days": 5,
           "standardise": {"kind": "reference", "center": -1.75, "scale": 0.7}, "clip": 3},
          {"feature": "drawdown", "days": 21,
           "standardise": {"kind": "reference", "center": -0.03, "scale": 0.06}, "clip": 3},
          {"feature": "range", "days": 10,
           "standardise": {"kind": "reference", "center": -3.1, "scale": 0.6}, "clip": 3},
          {"feature": "amihud", "days": 5, "standardise": {"kind": "zscore"}, "clip": 3, "weight": 0.5}],
        "layout": "newest_first", "projection": {"kind": "orthogonal", "seed": 1}, "dim": 384, "normalise": "l2"}',
       'How calm an instrument is: paths of volatility, drawdown, range and liquidity, 63 days by default.', true);

INSERT INTO @extschema@.embed_models (model_id, modality, dim, spec, description, builtin)
VALUES ('num-portfolio-core-v2', 'numeric', 384, '{
        "encoder": "named", "slots": 8, "seed": 1, "dim": 384, "normalise": "l2",
        "blocks": [
          {"name": "exposure", "columns": ["exposures_by_sector", "exposures_by_factor", "holdings"], "weight": 1,
           "normalise": "l2", "others": {"transform": "identity", "center": 0, "scale": 1}},
          {"name": "risk", "columns": ["risk_metrics"], "weight": 1, "normalise": "l2", "clip": 3,
           "features": {
             "vol_21d": {"transform": "log", "center": -1.9, "scale": 0.5},
             "vol_63d": {"transform": "log", "center": -1.9, "scale": 0.5},
             "var_95": {"transform": "identity", "center": -0.02, "scale": 0.015},
             "expected_shortfall": {"transform": "identity", "center": -0.03, "scale": 0.02},
             "max_drawdown": {"transform": "identity", "center": -0.15, "scale": 0.1},
             "beta": {"transform": "identity", "center": 1, "scale": 0.4},
             "n_positions": {"transform": "log", "center": 4.5, "scale": 1}},
           "others": {"transform": "asinh", "center": 0, "scale": 1}},
          {"name": "book", "columns": ["net_exposure", "gross_exposure", "leverage"], "weight": 0.5, "clip": 3,
           "features": {
             "net_exposure": {"transform": "identity", "center": 0.8, "scale": 0.4},
             "gross_exposure": {"transform": "identity", "center": 1.2, "scale": 0.5},
             "leverage": {"transform": "identity", "center": 1.2, "scale": 0.5}}},
          {"name": "shape", "columns": ["exposures_by_sector", "exposures_by_factor"], "weight": 0.5, "clip": 3,
           "concentration": true, "features": {"concentration": {"transform": "log", "center": -1.6, "scale": 0.7}}}]}',
       'Portfolios by the names of their exposures and risks; a missing key moves nothing else.', true),
       ('num-profile-core-v2', 'numeric', 384, '{
        "encoder": "named", "slots": 8, "seed": 1, "dim": 384, "normalise": "l2",
        "blocks": [
          {"name": "profile", "columns": ["structured", "features", "fundamentals", "numeric_features"], "weight": 1, "clip": 3,
           "features": {
             "price_vol_63d": {"transform": "log", "center": -4, "scale": 0.5},
             "price_dd_63d": {"transform": "log", "center": -2.2, "scale": 0.7},
             "price_trend_63d": {"transform": "identity", "center": 0.02, "scale": 0.15},
             "gross_margin": {"transform": "identity", "center": 0.4, "scale": 0.25},
             "op_margin": {"transform": "identity", "center": 0.15, "scale": 0.15},
             "net_margin": {"transform": "identity", "center": 0.1, "scale": 0.12},
             "leverage": {"transform": "log", "center": 0.7, "scale": 0.8},
             "PERatio": {"transform": "log", "center": 3, "scale": 0.5},
             "TrailingPE": {"transform": "log", "center": 3, "scale": 0.5},
             "PEGRatio": {"transform": "log", "center": 0.5, "scale": 0.6},
             "PriceBookMRQ": {"transform": "log", "center": 1.1, "scale": 0.8},
             "PriceSalesTTM": {"transform": "log", "center": 0.8, "scale": 0.9},
             "DividendYield": {"transform": "identity", "center": 0.02, "scale": 0.02},
             "totalRevenue": {"transform": "log", "center": 22.5, "scale": 1.5},
             "totalAssets": {"transform": "log", "center": 23.5, "scale": 1.5}},
           "others": {"transform": "signed_log", "center": 0, "scale": 10}}]}',
       'Issuers and countries by named fundamentals and behaviour, scaled by reference values; fit_embedding_model() learns them.', true);

SELECT pg_catalog.pg_extension_config_dump('@extschema@.embed_models', 'WHERE NOT builtin');

CREATE FUNCTION @extschema@.embed_models_guard() RETURNS trigger
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $guard$
BEGIN
    IF TG_OP = 'UPDATE' THEN
        RAISE EXCEPTION 'model "%" cannot be changed', OLD.model_id
            USING ERRCODE = 'object_not_in_prerequisite_state',
                  DETAIL = 'A model id never changes its meaning.',
                  HINT = 'Register the changed recipe under a new id.';
    ELSIF OLD.builtin THEN
        RAISE EXCEPTION 'model "%" belongs to the extension and cannot be dropped', OLD.model_id
            USING ERRCODE = 'dependent_objects_still_exist';
    END IF;
    RETURN OLD;
END
$guard$;

CREATE TRIGGER embed_models_guard BEFORE UPDATE OR DELETE ON @extschema@.embed_models
    FOR EACH ROW EXECUTE FUNCTION @extschema@.embed_models_guard();

SET LOCAL search_path = @extschema@, pg_temp;
