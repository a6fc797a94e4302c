-- 0007 What every table and column means, as COMMENT ON.
--
-- Only where there is no comment yet: the user's own words stay. Tables of other roles are passed over.
DO $migration$
DECLARE
    home        pg_catalog.name := pg_catalog.current_schema();
    caller_path pg_catalog.text := pg_catalog.current_setting('search_path');
    note        pg_catalog.record;
BEGIN
    IF home IS NULL THEN
        RAISE EXCEPTION 'no schema to find the tables in'
            USING ERRCODE = 'invalid_schema_name',
                  DETAIL = pg_catalog.format('search_path is %s, and none of its schemas exists or may be used', caller_path),
                  HINT = 'Create the schema, or set search_path so that it begins with one that exists.';
    END IF;
    PERFORM pg_catalog.pg_advisory_xact_lock(7308332045321);
    PERFORM pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);

    -- A NULL column means the table itself.
    FOR note IN
        SELECT c.relname, wanted.attname, wanted.words
          FROM (VALUES
                ('markets'::name, NULL::name, 'Trading venues or groups of them, each with its region and calendar.'),
                ('markets', 'market_id', 'Market, as instruments name it (US_EQ).'),
                ('markets', 'name', 'Name for people.'),
                ('markets', 'region', 'Region that the market belongs to; searches can be limited to one.'),
                ('markets', 'timezone', 'IANA time zone of the market''s trading days (America/New_York).'),
                ('markets', 'calendar_spec', 'How trading days are found: weekdays, holidays, sessions.'),
                ('markets', 'metadata', 'Anything else about the market.'),
                ('markets', 'created_at', 'When the row was written first.'),
                ('markets', 'updated_at', 'When the row was changed last.'),
                ('issuers', NULL, 'Who issues instruments: companies, sovereigns, funds.'),
                ('issuers', 'issuer_id', 'Issuer, as instruments and profiles name it.'),
                ('issuers', 'issuer_type', 'What it is: COMPANY, SOVEREIGN, FUND, INDEX.'),
                ('issuers', 'name', 'Name for people.'),
                ('issuers', 'country', 'Country of domicile, ISO 3166 alpha-2 or alpha-3.'),
                ('issuers', 'sector', 'Sector; NULL for what has none.'),
                ('issuers', 'industry', 'Industry within the sector.'),
                ('issuers', 'metadata', 'Anything else about the issuer.'),
                ('issuers', 'created_at', 'When the row was written first.'),
                ('issuers', 'updated_at', 'When the row was changed last.'),
                ('instruments', NULL, 'What is traded. Backfills by market take those of asset_class EQUITY and status ACTIVE.'),
                ('instruments', 'instrument_id', 'Instrument, as prices and numeric embeddings name it.'),
                ('instruments', 'issuer_id', 'Who issued it; NULL if unknown. An issuer''s representative instrument is its smallest by byte order.'),
                ('instruments', 'market_id', 'Where it is traded; NULL if unknown.'),
                ('instruments', 'asset_class', 'EQUITY, ETF, FUTURE, BOND, ...'),
                ('instruments', 'symbol', 'Ticker.'),
                ('instruments', 'exchange', 'Exchange within the market.'),
                ('instruments', 'currency', 'Currency of its prices, ISO 4217.'),
                ('instruments', 'multiplier', 'Units of the underlying per contract; NULL where there are no contracts.'),
                ('instruments', 'maturity_date', 'Last day of an instrument that ends.'),
                ('instruments', 'underlying_instrument_id', 'Instrument that it derives from.'),
                ('instruments', 'status', 'ACTIVE while it trades, INACTIVE afterwards.'),
                ('instruments', 'metadata', 'Anything else about the instrument.'),
                ('instruments', 'created_at', 'When the row was written first.'),
                ('instruments', 'updated_at', 'When the row was changed last.'),
                ('prices_daily', NULL, 'Daily bars, the input of numeric window embeddings. A trading day is a day that has a row.'),
                ('prices_daily', 'instrument_id', 'Instrument. No foreign key: prices may be loaded before the master.'),
                ('prices_daily', 'trade_date', 'Trading day in the market''s own time zone.'),
                ('prices_daily', 'open', 'First price of the day.'),
                ('prices_daily', 'high', 'Highest price of the day.'),
                ('prices_daily', 'low', 'Lowest price of the day.'),
                ('prices_daily', 'close', 'Last price of the day as traded, not adjusted.'),
                ('prices_daily', 'adjusted_close', 'Close adjusted for splits and dividends, comparable over time.'),
                ('prices_daily', 'volume', 'Shares or contracts traded.'),
                ('prices_daily', 'currency', 'Currency of the prices, ISO 4217.'),
                ('prices_daily', 'metadata', 'Anything else about the bar.'),
                ('profiles', NULL, 'What is known of an issuer on a date, the input of profile text embeddings.'),
                ('profiles', 'profile_id', 'Surrogate key.'),
                ('profiles', 'issuer_id', 'Issuer described.'),
                ('profiles', 'as_of_date', 'Date that the description holds for.'),
                ('profiles', 'structured', 'The description, a JSON object. Text is read from business_description, risk_summary and recent_events_summary.'),
                ('profiles', 'embedding_vector_ref', 'Reference to a vector kept elsewhere; not used by prometheus_embed.'),
                ('profiles', 'risk_flags', 'Named flags between 0 and 1, a JSON object.'),
                ('profiles', 'created_at', 'When the row was written first.'),
                ('portfolio_risk_reports', NULL, 'Risk reports of portfolios, the input of portfolio embeddings. Several for one portfolio and date are legal.'),
                ('portfolio_risk_reports', 'report_id', 'Report.'),
                ('portfolio_risk_reports', 'portfolio_id', 'Portfolio reported on.'),
                ('portfolio_risk_reports', 'as_of_date', 'Date of the report.'),
                ('portfolio_risk_reports', 'portfolio_value', 'Value of the portfolio, in its base currency.'),
                ('portfolio_risk_reports', 'cash', 'Cash, in the base currency.'),
                ('portfolio_risk_reports', 'net_exposure', 'Long less short exposure.'),
                ('portfolio_risk_reports', 'gross_exposure', 'Long plus short exposure.'),
                ('portfolio_risk_reports', 'leverage', 'Gross exposure over portfolio value.'),
                ('portfolio_risk_reports', 'risk_metrics', 'Named risk numbers, a JSON object.'),
                ('portfolio_risk_reports', 'scenario_pnl', 'Profit and loss by scenario, a JSON object.'),
                ('portfolio_risk_reports', 'exposures_by_sector', 'Weight by sector, a JSON object.'),
                ('portfolio_risk_reports', 'exposures_by_factor', 'Exposure by factor, a JSON object.'),
                ('portfolio_risk_reports', 'metadata', 'Anything else about the report.'),
                ('portfolio_risk_reports', 'created_at', 'When the row was written first.'),
                ('scenario_sets', NULL, 'Families of simulated or replayed paths.'),
                ('scenario_sets', 'scenario_set_id', 'Scenario set.'),
                ('scenario_sets', 'name', 'Name for people.'),
                ('scenario_sets', 'description', 'What the set is about.'),
                ('scenario_sets', 'category', 'How it was made: HISTORICAL, BOOTSTRAP, STRESS, ...'),
                ('scenario_sets', 'horizon_days', 'Days that each path covers.'),
                ('scenario_sets', 'num_paths', 'Number of paths in the set.'),
                ('scenario_sets', 'base_universe_filter', 'Which instruments were simulated, a JSON object.'),
                ('scenario_sets', 'base_date_start', 'First day of the history that the set was drawn from.'),
                ('scenario_sets', 'base_date_end', 'Last day of that history; scenario embeddings are dated by it.'),
                ('scenario_sets', 'regime_filter', 'Regimes that the history was limited to.'),
                ('scenario_sets', 'generator_spec', 'Settings of the generator, a JSON object.'),
                ('scenario_sets', 'created_at', 'When the row was written first.'),
                ('scenario_sets', 'created_by', 'Who or what made the set.'),
                ('scenario_sets', 'tags', 'Free labels.'),
                ('scenario_sets', 'metadata', 'Anything else about the set.'),
                ('scenario_paths', NULL, 'The paths of scenario sets, one row per path, day and subject; the input of scenario embeddings.'),
                ('scenario_paths', 'scenario_set_id', 'Set that the path belongs to.'),
                ('scenario_paths', 'scenario_id', 'Number of the path within its set, from 0.'),
                ('scenario_paths', 'horizon_index', 'Day of the path; 0 is the baseline before the first day.'),
                ('scenario_paths', 'instrument_id', 'Instrument that moves, or a placeholder in a row about a factor or macro variable.'),
                ('scenario_paths', 'factor_id', 'Factor that moves, or __NONE__.'),
                ('scenario_paths', 'macro_id', 'Macro variable that moves, or __NONE__.'),
                ('scenario_paths', 'return_value', 'Simple return of that day.'),
                ('scenario_paths', 'price', 'Price at the end of that day, if simulated.'),
                ('scenario_paths', 'shock_metadata', 'Anything else about the move.'),
                ('numeric_window_embeddings', NULL, 'Vectors of numeric windows and features. One row per model, date, entity and window (natural key).'),
                ('numeric_window_embeddings', 'embedding_id', 'Surrogate key; among rows of one key the largest is the newest.'),
                ('numeric_window_embeddings', 'entity_type', 'Kind of entity: INSTRUMENT, PORTFOLIO, SCENARIO, ISSUER, ...'),
                ('numeric_window_embeddings', 'entity_id', 'Entity; a scenario is scenario_set_id:scenario_id.'),
                ('numeric_window_embeddings', 'window_spec', 'Window as a JSON object: window_days (part of the natural key) and entity_type.'),
                ('numeric_window_embeddings', 'as_of_date', 'Date that the vector holds for; nothing later than it was read.'),
                ('numeric_window_embeddings', 'model_id', 'Model that made the vector, as embed_models lists it.'),
                ('numeric_window_embeddings', 'vector', 'The vector: little-endian float32 without header, octet_length = 4 * dim.'),
                ('numeric_window_embeddings', 'vector_ref', 'Reference to a vector kept elsewhere; always NULL here.'),
                ('numeric_window_embeddings', 'created_at', 'When the row was written first.'),
                ('numeric_window_embeddings', 'rows_used', 'Input rows in the window, without padding. Lineage of prometheus_embed; NULL in rows of other writers.'),
                ('numeric_window_embeddings', 'rows_padded', 'Rows that were made up because the history is short. Lineage.'),
                ('numeric_window_embeddings', 'last_trade_date', 'Date of the newest input row. Lineage.'),
                ('numeric_window_embeddings', 'input_digest', 'Digest of the inputs and the model. Lineage.'),
                ('numeric_window_embeddings', 'computed_at', 'When the vector was computed last. Lineage.'),
                ('text_embeddings', NULL, 'Vectors of texts. One row per source and model (natural key).'),
                ('text_embeddings', 'embedding_id', 'Surrogate key; among rows of one key the largest is the newest.'),
                ('text_embeddings', 'source_type', 'Kind of text: PROFILE, NEWS, MACRO, ...'),
                ('text_embeddings', 'source_id', 'Text within its kind; a profile is issuer_id:as_of_date.'),
                ('text_embeddings', 'model_id', 'Model that made the vector, as embed_models lists it.'),
                ('text_embeddings', 'vector', 'The vector: little-endian float32 without header, octet_length = 4 * dim.'),
                ('text_embeddings', 'vector_ref', 'Reference to a vector kept elsewhere; always NULL here.'),
                ('text_embeddings', 'created_at', 'When the row was written first.'),
                ('text_embeddings', 'tokens', 'Tokens that the model read. Lineage of prometheus_embed; NULL in rows of other writers.'),
                ('text_embeddings', 'truncated', 'Whether the text was longer than the model reads. Lineage.'),
                ('text_embeddings', 'input_digest', 'Digest of the text and the model: unchanged means nothing to compute. Lineage.'),
                ('text_embeddings', 'computed_at', 'When the vector was computed last. Lineage.'),
                ('joint_embeddings', NULL, 'Vectors that fuse several branches in one space. One row per model, space, date and entity of the scope (natural key).'),
                ('joint_embeddings', 'joint_id', 'Surrogate key; among rows of one key the largest is the newest.'),
                ('joint_embeddings', 'joint_type', 'Space: PROFILE_CORE_V0, PORTFOLIO_CORE_V0, STAB_FRAGILITY_V0, ...'),
                ('joint_embeddings', 'as_of_date', 'Date that the vector holds for.'),
                ('joint_embeddings', 'entity_scope', 'What the vector is of, a JSON object: entity_type and the ids of the entity.'),
                ('joint_embeddings', 'model_id', 'Model that made the vector, as embed_models lists it.'),
                ('joint_embeddings', 'vector', 'The vector: little-endian float32 without header, octet_length = 4 * dim.'),
                ('joint_embeddings', 'vector_ref', 'Reference to a vector kept elsewhere; always NULL here.'),
                ('joint_embeddings', 'created_at', 'When the row was written first.'),
                ('joint_embeddings', 'branches', 'Branches that were present, with their weights. Lineage of prometheus_embed; NULL in rows of other writers.'),
                ('joint_embeddings', 'input_digest', 'Digest of the branch vectors and the space. Lineage.'),
                ('joint_embeddings', 'computed_at', 'When the vector was computed last. Lineage.')
               ) AS wanted (relname, attname, words)
          JOIN pg_namespace AS n ON n.nspname = home
          JOIN pg_class AS c ON c.relnamespace = n.oid AND c.relname = wanted.relname AND c.relkind IN ('r', 'p')
          LEFT JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attname = wanted.attname AND NOT a.attisdropped
         WHERE pg_has_role(c.relowner, 'USAGE')
           AND (wanted.attname IS NULL OR a.attnum IS NOT NULL)
           AND NOT EXISTS (SELECT FROM pg_description AS d
                            WHERE d.classoid = 'pg_class'::regclass AND d.objoid = c.oid
                              AND d.objsubid = coalesce(a.attnum, 0))
         ORDER BY c.relname, a.attnum NULLS FIRST
    LOOP
        IF note.attname IS NULL THEN
            EXECUTE format('COMMENT ON TABLE %I.%I IS %L', home, note.relname, note.words);
        ELSE
            EXECUTE format('COMMENT ON COLUMN %I.%I.%I IS %L', home, note.relname, note.attname, note.words);
        END IF;
    END LOOP;

    PERFORM pg_catalog.set_config('search_path', caller_path, true);
END
$migration$;
