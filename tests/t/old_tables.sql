-- The tables of a database that the Python system made: what migrations have to leave as it is. Only those that
-- the extension uses, with its types, keys and indexes, and a few rows in each, duplicates included.
CREATE TABLE markets (
    market_id character varying(50) NOT NULL, name character varying(200) NOT NULL, region character varying(50) NOT NULL,
    timezone character varying(50) NOT NULL, calendar_spec jsonb, metadata jsonb,
    created_at timestamp with time zone DEFAULT now() NOT NULL, updated_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT pk_markets PRIMARY KEY (market_id));
CREATE TABLE issuers (
    issuer_id character varying(50) NOT NULL, issuer_type character varying(50) NOT NULL, name character varying(200) NOT NULL,
    country character varying(50), sector character varying(100), industry character varying(100), metadata jsonb,
    created_at timestamp with time zone DEFAULT now() NOT NULL, updated_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT pk_issuers PRIMARY KEY (issuer_id));
CREATE TABLE instruments (
    instrument_id character varying(50) NOT NULL, issuer_id character varying(50), market_id character varying(50),
    asset_class character varying(50) NOT NULL, symbol character varying(50) NOT NULL, exchange character varying(50),
    currency character varying(10) NOT NULL, multiplier double precision, maturity_date date,
    underlying_instrument_id character varying(50), status character varying(20) DEFAULT 'ACTIVE' NOT NULL, metadata jsonb,
    created_at timestamp with time zone DEFAULT now() NOT NULL, updated_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT pk_instruments PRIMARY KEY (instrument_id),
    CONSTRAINT fk_issuer FOREIGN KEY (issuer_id) REFERENCES issuers (issuer_id),
    CONSTRAINT fk_market FOREIGN KEY (market_id) REFERENCES markets (market_id));
CREATE INDEX ix_instruments_issuer ON instruments (issuer_id);
CREATE INDEX ix_instruments_market ON instruments (market_id);
CREATE INDEX ix_instruments_status ON instruments (status);
CREATE TABLE prices_daily (
    instrument_id character varying(50) NOT NULL, trade_date date NOT NULL, open double precision NOT NULL,
    high double precision NOT NULL, low double precision NOT NULL, close double precision NOT NULL,
    adjusted_close double precision NOT NULL, volume double precision NOT NULL, currency character varying(10) NOT NULL,
    metadata jsonb, CONSTRAINT pk_prices PRIMARY KEY (instrument_id, trade_date));
CREATE INDEX ix_prices_date ON prices_daily (trade_date);
CREATE TABLE profiles (
    profile_id bigserial NOT NULL, issuer_id character varying(50) NOT NULL, as_of_date date NOT NULL, structured jsonb NOT NULL,
    embedding_vector_ref character varying(255), risk_flags jsonb NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT pk_profiles PRIMARY KEY (profile_id), CONSTRAINT uq_profiles UNIQUE (issuer_id, as_of_date));
CREATE TABLE portfolio_risk_reports (
    report_id character varying(64) NOT NULL, portfolio_id character varying(64) NOT NULL, as_of_date date NOT NULL,
    portfolio_value double precision NOT NULL, cash double precision NOT NULL, net_exposure double precision NOT NULL,
    gross_exposure double precision NOT NULL, leverage double precision NOT NULL, risk_metrics jsonb NOT NULL,
    scenario_pnl jsonb, exposures_by_sector jsonb, exposures_by_factor jsonb, metadata jsonb,
    created_at timestamp with time zone DEFAULT now() NOT NULL, CONSTRAINT pk_reports PRIMARY KEY (report_id));
CREATE INDEX ix_reports ON portfolio_risk_reports (portfolio_id, as_of_date);
CREATE TABLE scenario_sets (
    scenario_set_id character varying(64) NOT NULL, name character varying(255) NOT NULL, description text,
    category character varying(64) NOT NULL, horizon_days integer NOT NULL, num_paths integer NOT NULL,
    base_universe_filter jsonb, base_date_start date, base_date_end date, regime_filter character varying(64)[],
    generator_spec jsonb, created_at timestamp with time zone DEFAULT now() NOT NULL, created_by character varying(64),
    tags character varying(64)[], metadata jsonb, CONSTRAINT pk_sets PRIMARY KEY (scenario_set_id));
CREATE INDEX ix_sets_category ON scenario_sets (category);
CREATE TABLE scenario_paths (
    scenario_set_id character varying(64) NOT NULL, scenario_id integer NOT NULL, horizon_index integer NOT NULL,
    instrument_id character varying(64) NOT NULL, factor_id character varying(64) NOT NULL, macro_id character varying(64) NOT NULL,
    return_value double precision NOT NULL, price double precision, shock_metadata jsonb,
    CONSTRAINT pk_paths PRIMARY KEY (scenario_set_id, scenario_id, horizon_index, instrument_id, factor_id, macro_id),
    CONSTRAINT fk_set FOREIGN KEY (scenario_set_id) REFERENCES scenario_sets (scenario_set_id) ON DELETE CASCADE);
CREATE INDEX ix_paths ON scenario_paths (scenario_set_id, scenario_id);
CREATE TABLE numeric_window_embeddings (
    embedding_id bigserial NOT NULL, entity_type character varying(32) NOT NULL, entity_id character varying(64) NOT NULL,
    window_spec jsonb NOT NULL, as_of_date date NOT NULL, model_id character varying(64) NOT NULL, vector bytea,
    vector_ref character varying(255), created_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT pk_numeric PRIMARY KEY (embedding_id));
CREATE INDEX ix_numeric ON numeric_window_embeddings (entity_type, entity_id, as_of_date, model_id);
CREATE TABLE text_embeddings (
    embedding_id bigserial NOT NULL, source_type character varying(32) NOT NULL, source_id character varying(64) NOT NULL,
    model_id character varying(64) NOT NULL, vector bytea, vector_ref character varying(255),
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT pk_text PRIMARY KEY (embedding_id), CONSTRAINT uq_text UNIQUE (source_type, source_id, model_id));
CREATE TABLE joint_embeddings (
    joint_id bigserial NOT NULL, joint_type character varying(32) NOT NULL, as_of_date date NOT NULL, entity_scope jsonb NOT NULL,
    model_id character varying(64) NOT NULL, vector bytea, vector_ref character varying(255),
    created_at timestamp with time zone DEFAULT now() NOT NULL, CONSTRAINT pk_joint PRIMARY KEY (joint_id));
CREATE INDEX ix_joint ON joint_embeddings (joint_type, as_of_date, model_id);
-- A table of theirs that is none of ours.
CREATE TABLE regimes (regime_record_id character varying(64) PRIMARY KEY, as_of_date date NOT NULL, region character varying(32) NOT NULL);

COMMENT ON TABLE markets IS 'The venues, in the words of the house.';
COMMENT ON COLUMN numeric_window_embeddings.vector IS 'float32, see the wiki.';

INSERT INTO markets VALUES ('US_EQ', 'US Equities', 'US', 'America/New_York', NULL, NULL, '2024-01-01Z', '2024-01-01Z');
INSERT INTO issuers VALUES ('ISS_A', 'COMPANY', 'A Corp', 'United States', 'Energy', 'Oil', NULL, '2024-01-01Z', '2024-01-01Z');
INSERT INTO instruments (instrument_id, issuer_id, market_id, asset_class, symbol, currency, created_at, updated_at)
VALUES ('A.US', 'ISS_A', 'US_EQ', 'EQUITY', 'A', 'USD', '2024-01-01Z', '2024-01-01Z');
INSERT INTO prices_daily VALUES ('A.US', '2024-01-02', 1, 2, 1, 2, 2, 100, 'USD', NULL), ('A.US', '2024-01-03', 2, 'NaN', 0, -1, 2, 0, 'USD', NULL);
INSERT INTO profiles (issuer_id, as_of_date, structured, risk_flags, created_at) VALUES ('ISS_A', '2024-01-03', '{"risk_summary": "none"}', '{}', '2024-01-01Z');
INSERT INTO portfolio_risk_reports VALUES ('r1', 'P1', '2024-01-03', 1, 1, 1, 1, 1, '{}', NULL, NULL, NULL, NULL, '2024-01-01Z'),
                                          ('r2', 'P1', '2024-01-03', 2, 1, 1, 1, 1, '{}', NULL, NULL, NULL, NULL, '2024-01-01Z');
INSERT INTO scenario_sets (scenario_set_id, name, category, horizon_days, num_paths, created_at) VALUES ('SET_1', 'One', 'STRESS', 1, 1, '2024-01-01Z');
INSERT INTO scenario_paths VALUES ('SET_1', 0, 0, '__INSTRUMENT__', '__NONE__', '__NONE__', 0, NULL, NULL);
INSERT INTO numeric_window_embeddings (entity_type, entity_id, window_spec, as_of_date, model_id, vector, created_at)
SELECT 'INSTRUMENT', 'A.US', '{"window_days": 63, "entity_type": "INSTRUMENT"}'::jsonb, date '2024-01-03', 'num-regime-core-v1',
       decode(repeat('0000803f', 384), 'hex'), timestamptz '2024-01-01Z' FROM generate_series(1, 3)
UNION ALL
-- Another window, and rows that say none: they are not in each other's way.
SELECT 'INSTRUMENT', 'A.US', spec::jsonb, '2024-01-03', 'num-regime-core-v1', decode(repeat('00000040', 384), 'hex'), '2024-01-01Z'
  FROM unnest(ARRAY['{"window_days": 21}', '{}', '{}', '[]']) AS spec;
INSERT INTO text_embeddings (source_type, source_id, model_id, vector, created_at)
VALUES ('PROFILE', 'ISS_A:2024-01-03', 'text-profile-v1', '\x0000803f', '2024-01-01Z');
INSERT INTO joint_embeddings (joint_type, as_of_date, entity_scope, model_id, vector, created_at)
SELECT v.joint_type, date '2024-01-03', v.scope::jsonb, v.model, '\x0000803f', timestamptz '2024-01-01Z'
  FROM (VALUES
    ('PROFILE_CORE_V0', '{"entity_type": "ISSUER", "issuer_id": "ISS_A", "instrument_id": "A.US", "source": "profile+regime+text"}', 'joint-profile-core-v1'),
    ('PORTFOLIO_CORE_V0', '{"entity_type": "PORTFOLIO", "portfolio_id": "P1"}', 'joint-portfolio-core-v1'),
    ('PORTFOLIO_CORE_V0', '{"entity_type": "PORTFOLIO", "portfolio_id": "P1"}', 'joint-portfolio-core-v1'),
    ('STAB_FRAGILITY_V0', '{"entity_type": "INSTRUMENT", "entity_id": "A.US", "issuer_id": "ISS_A"}', 'joint-stab-fragility-v1'),
    ('STAB_FRAGILITY_V0', '{"entity_type": "INSTRUMENT", "entity_id": "B.US", "issuer_id": "ISS_A"}', 'joint-stab-fragility-v1'),
    ('STAB_FRAGILITY_V0', '{"entity_type": "SCENARIO", "scenario_set_id": "SET_1", "scenario_id": "0"}', 'joint-stab-fragility-v1'),
    ('STAB_FRAGILITY_V0', '{"entity_type": "SCENARIO", "scenario_set_id": "SET_1", "scenario_id": "1"}', 'joint-stab-fragility-v1'),
    -- Spaces whose scope names no entity type: any number of rows alike.
    ('REGIME_CONTEXT_V0', '{"region": "US", "source": "regime+news"}', 'joint-regime-core-v1'),
    ('REGIME_CONTEXT_V0', '{"region": "US", "source": "regime+news"}', 'joint-regime-core-v1'),
    ('EPISODE_V0', '{"episode_id": "E1", "label": "E1", "region": "US"}', 'joint-episode-core-v1'),
    ('EPISODE_V0', '{"episode_id": "E1", "label": "E1", "region": "US"}', 'joint-episode-core-v1'),
    ('META_CONFIG_ENV_V0', '{"run_id": "R1", "strategy_id": "S1", "universe_id": null}', 'joint-meta-config-env-v1'),
    ('META_CONFIG_ENV_V0', '{"run_id": "R1", "strategy_id": "S1", "universe_id": null}', 'joint-meta-config-env-v1')
  ) AS v (joint_type, scope, model);
