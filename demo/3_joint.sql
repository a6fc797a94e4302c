-- Joint spaces: fuse numbers and texts, portfolios and scenarios; inspect; find similar ones.
\pset footer off
\echo
\echo 'Numeric vectors that the joint spaces read: profiles (126 days), regimes and stability (63), portfolios, scenarios'
SELECT model_id, status, count(*)
  FROM (SELECT model_id, status FROM backfill_numeric('2025-01-31', 126, market_id => 'US_EQ', model_id => 'num-profile-core-v1')
        UNION ALL SELECT model_id, status FROM backfill_numeric('2025-01-31', market_id => 'US_EQ')
        UNION ALL SELECT model_id, status FROM backfill_numeric('2025-01-31', market_id => 'US_EQ', model_id => 'num-stab-core-v1')
        UNION ALL SELECT model_id, status FROM backfill_numeric_portfolio('2025-01-31')
        UNION ALL SELECT model_id, status FROM backfill_numeric_scenario('STRESS_2020')
        UNION ALL SELECT model_id, status FROM backfill_numeric_scenario('STRESSX2020')) runs
 GROUP BY 1, 2 ORDER BY 1, 2;

\echo Risk reports that make no vector, or an odd one
SELECT entity_id, status, detail FROM backfill_numeric_portfolio('2025-01-31', on_existing => 'replace')
 WHERE detail IS NOT NULL ORDER BY entity_id;

\echo 'Profile texts; where the text model is missing (make model), joint profiles are, too'
\set ON_ERROR_STOP off
SELECT status, count(*) FROM backfill_profile_text('2025-01-31') GROUP BY 1 ORDER BY 1;
\set ON_ERROR_STOP on

\echo Joint profiles: half numbers, half text. What was used, what was missing
CREATE TEMP TABLE joint_run AS SELECT * FROM backfill_joint_profiles('2025-01-31');
SELECT status, used, count(*) FROM joint_run GROUP BY 1, 2 ORDER BY 1 DESC, 3 DESC;
SELECT entity_id, detail FROM joint_run WHERE status = 'failed' ORDER BY entity_id LIMIT 5;

\echo Joint portfolios, stability states and scenarios
SELECT 'portfolios' AS space, status, count(*) FROM backfill_joint_portfolios('2025-01-31') GROUP BY 2
UNION ALL SELECT 'states', status, count(*) FROM backfill_joint_stab_fragility('2025-01-31', 'US_EQ', region => 'US') GROUP BY 2
UNION ALL SELECT 'scenarios', status, count(*) FROM backfill_joint_stab_scenarios('STRESS_2020') GROUP BY 2
UNION ALL SELECT 'scenarios', status, count(*) FROM backfill_joint_stab_scenarios('STRESSX2020') GROUP BY 2
 ORDER BY 1, 2;

\echo Inspect
SELECT issuer_id, instrument_id, region, model_id, dim, round(l2_norm::numeric, 2) AS l2_norm
  FROM show_joint_profiles('2025-01-31') ORDER BY issuer_id COLLATE "C" LIMIT 5;
SELECT modality, joint_type, entity_type, model_id, as_of_date, expected, present, missing FROM embedding_coverage
 WHERE as_of_date = '2025-01-31' ORDER BY 1, 2, 3, 4;

SELECT count(*) > 0 AS there, min(issuer_id COLLATE "C") AS issuer, count(*) FROM joint_profiles WHERE as_of_date = '2025-01-31' \gset
\if :there
SELECT issuer_id, name, industry AS "Issuers like this one are looked for" FROM issuers WHERE issuer_id = :'issuer';
SELECT s.rank, round(s.cosine::numeric, 6) AS cosine, round(s.euclidean) AS euclidean, s.issuer_id, i.name, i.industry, s.region
  FROM find_similar_profiles(:'issuer', '2025-01-31', top_k => 5, region => 'US') s
  JOIN issuers i ON i.issuer_id = s.issuer_id ORDER BY s.rank;
\endif

\echo Portfolios like the first growth portfolio
SELECT rank, round(cosine::numeric, 6) AS cosine, round(euclidean::numeric, 4) AS euclidean, portfolio_id
  FROM find_similar_portfolios('PF_GROWTH_01', '2025-01-31', top_k => 5);

\echo Scenarios of the crash of 2020 nearest to the state of an instrument
SELECT s.rank, round(s.cosine::numeric, 6) AS cosine, s.scenario_set_id, s.scenario_id, s.as_of_date
  FROM (SELECT min(instrument_id COLLATE "C") AS id FROM show_joint_stab_fragility('2025-01-31', entity_type => 'INSTRUMENT')) first,
       find_similar_stab_scenarios(first.id, '2025-01-31', top_k => 5, scenario_set_id => 'STRESS_2020') s
 ORDER BY s.rank;
