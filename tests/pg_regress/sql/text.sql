-- Text: documents of profiles, what a vector is, and the backfill. Values are compared in tests/t/test_text_oracle.py.
SET search_path = public;

-- The three fields, in this order, trimmed; whatever is no string or blank is left out.
SELECT text_profile_document('{"risk_summary": " b ", "business_description": "a\n", "recent_events_summary": "c"}');
SELECT text_profile_document('{"risk_summary": "b", "business_description": 5, "recent_events_summary": "  "}');
SELECT text_profile_document(s) IS NULL AS no_document
  FROM (VALUES ('{}'::jsonb), ('[]'), ('"a"'), ('1'), ('null'), (NULL), ('{"risk_summary": {}}')) AS v(s);

-- A vector is 384 float32 values of unit length, the same each time; blank documents have none.
SELECT octet_length(v) AS bytes, vector_dim(v), round(l2_norm(v)::numeric, 6) AS norm,
       v = text_profile_embed(E'\n Pumps and valves.') AS trimmed,
       v = (text_embed(ARRAY['Pumps and valves.']))[1] AS same,
       v = text_profile_embed('{"business_description": "Pumps and valves."}'::jsonb) AS of_profile
  FROM text_profile_embed('Pumps and valves.') AS v;
SELECT text_profile_embed(' '::text) IS NULL AS blank, text_profile_embed(NULL::text) IS NULL AS null_text,
       text_profile_embed('{"risk_summary": " "}'::jsonb) IS NULL AS blank_profile;
SELECT pg_catalog.array_agg(v IS NULL) AS nulls FROM unnest(text_embed(ARRAY['a', NULL, ''])) AS v;
SELECT text_token_count(''), text_token_count('pumps'), text_token_count(repeat('pumps ', 600));

-- Alike is near.
SELECT cosine_sim(pumps, valves) > cosine_sim(pumps, bank) AS makes_sense
  FROM (SELECT text_profile_embed('Makes industrial pumps.') AS pumps,
               text_profile_embed('Produces valves for industry.') AS valves,
               text_profile_embed('A retail bank with branches.') AS bank) AS v;

-- One row per profile, one vector per profile with text; a second run finds nothing to do.
CREATE TEMPORARY TABLE profiles (issuer_id varchar(50), as_of_date date, structured jsonb);
CREATE TEMPORARY TABLE text_embeddings (
    source_type varchar(32), source_id varchar(64), model_id varchar(64), vector bytea,
    tokens int, truncated boolean, input_digest uuid, UNIQUE (source_type, source_id, model_id));
INSERT INTO profiles VALUES
    ('B', '2024-01-02', '{"business_description": "Banking."}'),
    ('A', '2024-01-02', '{"business_description": "Pumps.", "risk_summary": "Few."}'),
    ('C', '2024-01-02', '{"name": "no text"}'),
    ('D', '2024-01-02', '[1, 2]'),
    ('A', '2024-01-03', jsonb_build_object('risk_summary', repeat('long ', 600)));
SELECT * FROM backfill_profile_text('2024-01-02');
SELECT * FROM backfill_profile_text(start_date => '2024-01-01', end_date => '2024-01-31');
SELECT source_type, source_id, model_id, octet_length(vector) AS bytes, tokens, truncated FROM text_embeddings ORDER BY source_id;
UPDATE profiles SET structured = '{"business_description": "Banks."}' WHERE issuer_id = 'B';
SELECT entity_id, status FROM backfill_profile_text('2024-01-02', max_entities => 2);
SELECT entity_id, status, detail FROM backfill_profile_text('2024-01-02', on_existing => 'skip');
SELECT entity_id, status FROM backfill_profile_text('2024-01-03', on_existing => 'replace');
DROP TABLE profiles, text_embeddings;

-- What this session has loaded, and that it can be dropped.
SELECT model_id, texts > 5 AS texts, tokens > 500 AS tokens, packed, files_read FROM embed_loaded_models;
SELECT unload_text_models();
SELECT count(*) FROM embed_loaded_models;
