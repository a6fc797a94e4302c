-- Profile texts: embed the profiles of three dates, see what had no text, run again, find companies that are described alike.
\pset footer off
\echo
\echo The document of a profile, and how many tokens the model reads
SELECT left(replace(text_profile_document(structured), E'\n', ' '), 100) || '...' AS document,
       text_token_count(text_profile_document(structured)) AS tokens
  FROM profiles WHERE issuer_id = 'ISS_ABER' AND as_of_date = '2025-01-31';

\echo Embed the profiles of 2025-01-31
CREATE TEMP TABLE text_run AS
SELECT * FROM backfill_profile_text('2025-01-31');

SELECT status, detail, count(*) AS profiles, min(tokens) AS fewest_tokens, max(tokens) AS most_tokens
  FROM text_run GROUP BY status, detail ORDER BY status, detail;

\echo 'Again: what did not change is not computed again'
SELECT status, count(*) AS profiles FROM backfill_profile_text('2025-01-31') GROUP BY status ORDER BY status;

\echo Companies described most like one of them
WITH one AS (SELECT vector FROM text_embeddings WHERE source_id = 'ISS_ABER:2025-01-31' AND model_id = 'text-profile-v1')
SELECT i.name, i.industry, round(cosine_sim(e.vector, one.vector)::numeric, 4) AS cosine_sim
  FROM one, text_embeddings e JOIN issuers i ON e.source_id = i.issuer_id || ':2025-01-31'
 WHERE e.source_type = 'PROFILE' AND e.model_id = 'text-profile-v1'
 ORDER BY cosine_sim(e.vector, one.vector) DESC, e.source_id LIMIT 5;

\echo The model in this session
SELECT model_id, pg_size_pretty(bytes) AS files, texts, tokens, packed FROM embed_loaded_models;
