-- 0002 What issuers, portfolios and scenarios are described by: profiles, portfolio_risk_reports,
-- scenario_sets, scenario_paths.
--
-- Creates each table that the schema first on the search_path lacks, and leaves alone whatever has its
-- name there already. One block, so the file is applied whole or not at all. Rules: README.md.
DO $migration$
DECLARE
    home        pg_catalog.name := pg_catalog.current_schema();
    caller_path pg_catalog.text := pg_catalog.current_setting('search_path');
    made_paths  pg_catalog.bool := false;
    found       pg_catalog.record;
BEGIN
    IF home IS NULL THEN
        RAISE EXCEPTION 'no schema to create the tables in'
            USING ERRCODE = 'invalid_schema_name',
                  DETAIL = pg_catalog.format('search_path is %s, and none of its schemas exists or may be used', caller_path),
                  HINT = 'Create the schema, or set search_path so that it begins with one that exists.';
    END IF;
    PERFORM pg_catalog.pg_advisory_xact_lock(7308332045321);
    PERFORM pg_catalog.set_config('search_path', pg_catalog.format('%I, pg_temp', home), true);

    -- No foreign key to issuers: the describing job may run ahead of the master.
    IF pg_catalog.to_regclass(pg_catalog.format('%I.profiles', home)) IS NULL THEN
        CREATE TABLE profiles (
            profile_id           bigserial    PRIMARY KEY,
            issuer_id            varchar(50)  NOT NULL,
            as_of_date           date         NOT NULL,
            structured           jsonb        NOT NULL,
            embedding_vector_ref varchar(255),
            risk_flags           jsonb        NOT NULL,
            created_at           timestamptz  NOT NULL DEFAULT pg_catalog.now(),
            UNIQUE (issuer_id, as_of_date)
        );
    END IF;

    -- Several reports of one portfolio and date are legal, hence no key over them.
    IF pg_catalog.to_regclass(pg_catalog.format('%I.portfolio_risk_reports', home)) IS NULL THEN
        CREATE TABLE portfolio_risk_reports (
            report_id           varchar(64)      PRIMARY KEY,
            portfolio_id        varchar(64)      NOT NULL,
            as_of_date          date             NOT NULL,
            portfolio_value     double precision NOT NULL,
            cash                double precision NOT NULL,
            net_exposure        double precision NOT NULL,
            gross_exposure      double precision NOT NULL,
            leverage            double precision NOT NULL,
            risk_metrics        jsonb            NOT NULL,
            scenario_pnl        jsonb,
            exposures_by_sector jsonb,
            exposures_by_factor jsonb,
            metadata            jsonb,
            created_at          timestamptz      NOT NULL DEFAULT pg_catalog.now()
        );
    END IF;

    IF pg_catalog.to_regclass(pg_catalog.format('%I.scenario_sets', home)) IS NULL THEN
        CREATE TABLE scenario_sets (
            scenario_set_id      varchar(64)  PRIMARY KEY,
            name                 varchar(255) NOT NULL,
            description          text,
            category             varchar(64)  NOT NULL,
            horizon_days         integer      NOT NULL,
            num_paths            integer      NOT NULL,
            base_universe_filter jsonb,
            base_date_start      date,
            base_date_end        date,
            regime_filter        varchar(64)[],
            generator_spec       jsonb,
            created_at           timestamptz  NOT NULL DEFAULT pg_catalog.now(),
            created_by           varchar(64),
            tags                 varchar(64)[],
            metadata             jsonb
        );
    END IF;

    -- All three subjects are part of the key; a row about an instrument holds '__NONE__' in the others.
    IF pg_catalog.to_regclass(pg_catalog.format('%I.scenario_paths', home)) IS NULL THEN
        CREATE TABLE scenario_paths (
            scenario_set_id varchar(64)      NOT NULL,
            scenario_id     integer          NOT NULL,
            horizon_index   integer          NOT NULL,
            instrument_id   varchar(64)      NOT NULL,
            factor_id       varchar(64)      NOT NULL,
            macro_id        varchar(64)      NOT NULL,
            return_value    double precision NOT NULL,
            price           double precision,
            shock_metadata  jsonb,
            PRIMARY KEY (scenario_set_id, scenario_id, horizon_index, instrument_id, factor_id, macro_id)
        );
        made_paths := true;
    END IF;

    PERFORM pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);

    -- The foreign key of a new scenario_paths, if scenario_sets can carry it (it may be somebody's view).
    IF made_paths THEN
        IF EXISTS (SELECT FROM pg_index AS i
                     JOIN pg_class AS c ON c.oid = i.indrelid AND c.relname = 'scenario_sets'
                     JOIN pg_namespace AS n ON n.oid = c.relnamespace AND n.nspname = home
                     JOIN pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0]
                    WHERE i.indisunique AND i.indisvalid AND i.indimmediate AND i.indnkeyatts = 1
                      AND i.indpred IS NULL AND a.attname = 'scenario_set_id'
                      AND a.atttypid IN ('varchar'::regtype, 'text'::regtype)
                      AND has_table_privilege(c.oid, 'REFERENCES')) THEN
            EXECUTE format('ALTER TABLE %I.scenario_paths ADD FOREIGN KEY (scenario_set_id) '
                           'REFERENCES %I.scenario_sets (scenario_set_id) ON DELETE CASCADE', home, home);
        ELSE
            RAISE NOTICE 'scenario_paths.scenario_set_id gets no foreign key: scenario_sets has no unique key on it that the caller may refer to';
        END IF;
    END IF;

    FOR found IN
        SELECT c.relname, c.relkind
          FROM pg_class AS c
          JOIN pg_namespace AS n ON n.oid = c.relnamespace
         WHERE n.nspname = home AND c.relkind NOT IN ('r', 'p')
           AND c.relname IN ('profiles', 'portfolio_risk_reports', 'scenario_sets', 'scenario_paths')
         ORDER BY c.relname
    LOOP
        RAISE NOTICE '%.% is not a table (relkind %): left as it is', quote_ident(home), found.relname, found.relkind;
    END LOOP;

    PERFORM pg_catalog.set_config('search_path', caller_path, true);
END
$migration$;
