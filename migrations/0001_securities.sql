-- 0001 The securities master and its prices: markets, issuers, instruments, prices_daily.
--
-- Creates each table that the schema first on the search_path lacks, and leaves alone whatever has its
-- name there already. One block, so the file is applied whole or not at all. Rules: README.md.
DO $migration$
DECLARE
    home             pg_catalog.name := pg_catalog.current_schema();
    caller_path      pg_catalog.text := pg_catalog.current_setting('search_path');
    made_instruments pg_catalog.bool := false;
    found            pg_catalog.record;
BEGIN
    IF home IS NULL THEN
        RAISE EXCEPTION 'no schema to create the tables in'
            USING ERRCODE = 'invalid_schema_name',
                  DETAIL = pg_catalog.format('search_path is %s, and none of its schemas exists or may be used', caller_path),
                  HINT = 'Create the schema, or set search_path so that it begins with one that exists.';
    END IF;
    PERFORM pg_catalog.pg_advisory_xact_lock(7308332045321);
    PERFORM pg_catalog.set_config('search_path', pg_catalog.format('%I, pg_temp', home), true);

    IF pg_catalog.to_regclass(pg_catalog.format('%I.markets', home)) IS NULL THEN
        CREATE TABLE markets (
            market_id     varchar(50)  PRIMARY KEY,
            name          varchar(200) NOT NULL,
            region        varchar(50)  NOT NULL,
            timezone      varchar(50)  NOT NULL,
            calendar_spec jsonb,
            metadata      jsonb,
            created_at    timestamptz  NOT NULL DEFAULT pg_catalog.now(),
            updated_at    timestamptz  NOT NULL DEFAULT pg_catalog.now()
        );
    END IF;

    IF pg_catalog.to_regclass(pg_catalog.format('%I.issuers', home)) IS NULL THEN
        CREATE TABLE issuers (
            issuer_id   varchar(50)  PRIMARY KEY,
            issuer_type varchar(50)  NOT NULL,
            name        varchar(200) NOT NULL,
            country     varchar(50),
            sector      varchar(100),
            industry    varchar(100),
            metadata    jsonb,
            created_at  timestamptz  NOT NULL DEFAULT pg_catalog.now(),
            updated_at  timestamptz  NOT NULL DEFAULT pg_catalog.now()
        );
    END IF;

    IF pg_catalog.to_regclass(pg_catalog.format('%I.instruments', home)) IS NULL THEN
        CREATE TABLE instruments (
            instrument_id            varchar(50) PRIMARY KEY,
            issuer_id                varchar(50),
            market_id                varchar(50),
            asset_class              varchar(50) NOT NULL,
            symbol                   varchar(50) NOT NULL,
            exchange                 varchar(50),
            currency                 varchar(10) NOT NULL,
            multiplier               double precision,
            maturity_date            date,
            underlying_instrument_id varchar(50),
            status                   varchar(20) NOT NULL DEFAULT 'ACTIVE',
            metadata                 jsonb,
            created_at               timestamptz NOT NULL DEFAULT pg_catalog.now(),
            updated_at               timestamptz NOT NULL DEFAULT pg_catalog.now()
        );
        made_instruments := true;
    END IF;

    -- No foreign key to instruments: prices may be loaded first, or for names the master does not know.
    IF pg_catalog.to_regclass(pg_catalog.format('%I.prices_daily', home)) IS NULL THEN
        CREATE TABLE prices_daily (
            instrument_id  varchar(50)      NOT NULL,
            trade_date     date             NOT NULL,
            open           double precision NOT NULL,
            high           double precision NOT NULL,
            low            double precision NOT NULL,
            close          double precision NOT NULL,
            adjusted_close double precision NOT NULL,
            volume         double precision NOT NULL,
            currency       varchar(10)      NOT NULL,
            metadata       jsonb,
            PRIMARY KEY (instrument_id, trade_date)
        );
    END IF;

    PERFORM pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);

    -- The foreign keys of a new instruments table, as far as what they refer to can carry them: issuers
    -- or markets may be somebody's view, or a table without that key.
    IF made_instruments THEN
        FOR found IN
            SELECT wanted.target, wanted.col,
                   EXISTS (SELECT FROM pg_index AS i
                             JOIN pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0]
                            WHERE i.indrelid = c.oid AND i.indisunique AND i.indisvalid AND i.indimmediate
                              AND i.indnkeyatts = 1 AND i.indpred IS NULL AND a.attname = wanted.col
                              AND a.atttypid IN ('varchar'::regtype, 'text'::regtype))
                   AND has_table_privilege(c.oid, 'REFERENCES') AS possible
              FROM (VALUES ('issuers'::name, 'issuer_id'::name), ('markets', 'market_id')) AS wanted (target, col)
              JOIN pg_class AS c ON c.relname = wanted.target
              JOIN pg_namespace AS n ON n.oid = c.relnamespace AND n.nspname = home
        LOOP
            IF found.possible THEN
                EXECUTE format('ALTER TABLE %I.instruments ADD FOREIGN KEY (%I) REFERENCES %I.%I (%I)',
                               home, found.col, home, found.target, found.col);
            ELSE
                RAISE NOTICE 'instruments.% gets no foreign key: % has no unique key on it that the caller may refer to',
                    found.col, found.target;
            END IF;
        END LOOP;
    END IF;

    FOR found IN
        SELECT c.relname, c.relkind
          FROM pg_class AS c
          JOIN pg_namespace AS n ON n.oid = c.relnamespace
         WHERE n.nspname = home AND c.relkind NOT IN ('r', 'p')
           AND c.relname IN ('markets', 'issuers', 'instruments', 'prices_daily')
         ORDER BY c.relname
    LOOP
        RAISE NOTICE '%.% is not a table (relkind %): left as it is', quote_ident(home), found.relname, found.relkind;
    END LOOP;

    PERFORM pg_catalog.set_config('search_path', caller_path, true);
END
$migration$;
