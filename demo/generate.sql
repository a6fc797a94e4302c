-- Demo universe: two markets of invented companies, five years of their daily prices, profiles, portfolios, scenarios.
--
--   psql -v ON_ERROR_STOP=1 -f demo/generate.sql      (after the migrations, in the schema first on the search_path)
--
-- Run it from its file (\i demo/generate.sql from a session): the parts in universe/ are found beside it.
-- Deterministic: every number comes from md5 of a name and a date, so each run on each server makes the same rows; a
-- second run replaces the rows of the first. It refuses to mix with instruments that are not its own.
--
-- What it makes:
--   markets                2: US_EQ, EU_EQ
--   issuers               256: companies in 11 sectors and 30 industries, a fund house, a sovereign, an unlisted one
--   instruments           272: shares (also second classes and receipts), funds, futures, a bond, gold
--   prices_daily      336,059: January 2020 to January 2025, with splits, dividends, missing days, young, dead,
--                              suspended and hardly traded instruments
--   profiles              739: three dates; descriptions in words of the industry, of various length, some with gaps
--   portfolio_risk_reports 79: portfolios of six styles at three dates, some malformed
--   scenario_sets           2: STRESS_2020 and STRESSX2020, whose names a careless wildcard confuses
--   scenario_paths     15,732
--
-- Planted structure: companies of one sector move together, of one industry more so; profiles of one industry share
-- words; portfolios of one style share exposures. The size of trading tells nothing about sectors.
\set ON_ERROR_STOP on
BEGIN;
SET LOCAL client_min_messages = warning;
SET LOCAL client_encoding = 'UTF8';
-- Paths must not depend on how a float is summed or a date is printed.
SET LOCAL max_parallel_workers_per_gather = 0;
SET LOCAL DateStyle = 'ISO, YMD';
SET LOCAL TimeZone = 'UTC';
SET LOCAL jit = off;
SET LOCAL work_mem = '256MB';

DO $guard$
BEGIN
    IF EXISTS (SELECT FROM instruments WHERE metadata ->> 'source' IS DISTINCT FROM 'demo')
       OR EXISTS (SELECT FROM profiles AS p WHERE NOT EXISTS (
            SELECT FROM issuers AS i WHERE i.issuer_id = p.issuer_id AND i.metadata ->> 'source' = 'demo')) THEN
        RAISE EXCEPTION 'instruments or profiles holds rows that the demo did not make'
            USING ERRCODE = 'object_not_in_prerequisite_state',
                  HINT = 'Load the demo into a database or schema of its own.';
    END IF;
END
$guard$;

-- Rows of an earlier run.
DELETE FROM scenario_sets WHERE metadata ->> 'source' = 'demo';
DELETE FROM portfolio_risk_reports WHERE metadata ->> 'source' = 'demo';
DELETE FROM profiles AS p USING issuers AS i WHERE i.issuer_id = p.issuer_id AND i.metadata ->> 'source' = 'demo';
DELETE FROM prices_daily AS p USING instruments AS i WHERE i.instrument_id = p.instrument_id;
DELETE FROM instruments;
DELETE FROM issuers WHERE metadata ->> 'source' = 'demo';
DELETE FROM markets WHERE metadata ->> 'source' = 'demo';

-- Chance, from a digest of 32 hex digits: number k (0 to 3) of it, uniform between 0 and 1.
CREATE FUNCTION pg_temp.demo_u(digest text, k int) RETURNS float8 LANGUAGE sql IMMUTABLE
    RETURN (('x' || substr(digest, 1 + 8 * k, 8))::bit(32)::bigint::float8 + 0.5::float8) / 4294967296::float8;
-- A standard normal number from numbers k and k + 1 (mod 4) of a digest.
CREATE FUNCTION pg_temp.demo_z(digest text, k int) RETURNS float8 LANGUAGE sql IMMUTABLE
    RETURN sqrt(-2 * ln(pg_temp.demo_u(digest, k))) * cos(2 * pi() * pg_temp.demo_u(digest, (k + 1) % 4));
-- One of the words.
CREATE FUNCTION pg_temp.demo_pick(words text[], digest text) RETURNS text LANGUAGE sql IMMUTABLE
    RETURN words[1 + floor(pg_temp.demo_u(digest, 0) * cardinality(words))::int];

\ir universe/vocabulary.sql
\ir universe/companies.sql
\ir universe/prices.sql
\ir universe/profiles.sql
\ir universe/portfolios.sql
\ir universe/scenarios.sql

COMMIT;
ANALYZE markets, issuers, instruments, prices_daily, profiles, portfolio_risk_reports, scenario_sets, scenario_paths;
