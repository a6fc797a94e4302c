-- Views for reports and dashboards. The tables are found through the search_path of whoever asks, as everywhere
-- in this extension, so each view stands on a function whose body is read when it is called; the planner inlines
-- it, so that conditions on dates and models reach the tables' indexes.
-- Tables in the distributed form have no joint_id: the name then means the one beside them, which is NULL.
-- No name below means anything but what pg_catalog or this extension has; the last line puts the path back.
SET LOCAL search_path = pg_catalog, pg_temp;

CREATE FUNCTION @extschema@.embed_joint_profiles()
    RETURNS TABLE (as_of_date date, issuer_id text, instrument_id text, region text, source text, model_id text,
                   dim int, l2_norm float8, joint_id bigint, created_at timestamptz)
    LANGUAGE sql STABLE PARALLEL SAFE ROWS 100000
AS $view$
    SELECT DISTINCT ON (j.as_of_date, j.entity_scope OPERATOR(pg_catalog.->>) 'issuer_id')
           j.as_of_date, j.entity_scope OPERATOR(pg_catalog.->>) 'issuer_id',
           j.entity_scope OPERATOR(pg_catalog.->>) 'instrument_id', j.entity_scope OPERATOR(pg_catalog.->>) 'region',
           j.entity_scope OPERATOR(pg_catalog.->>) 'source', j.model_id::pg_catalog.text,
           pg_catalog.octet_length(j.vector) OPERATOR(pg_catalog./) 4,
           CASE WHEN pg_catalog.octet_length(j.vector) OPERATOR(pg_catalog.>) 0
                 AND pg_catalog.octet_length(j.vector) OPERATOR(pg_catalog.%) 4 OPERATOR(pg_catalog.=) 0
                THEN @extschema@.l2_norm(j.vector) END,
           j.joint_id, j.created_at
      FROM (SELECT NULL::pg_catalog.int8 AS joint_id) absent
     CROSS JOIN LATERAL (SELECT e.as_of_date, e.entity_scope, e.joint_type, e.model_id, e.vector, e.created_at, joint_id
                           FROM joint_embeddings e) j
     WHERE j.joint_type::pg_catalog.text OPERATOR(pg_catalog.=) 'PROFILE_CORE_V0'
     ORDER BY j.as_of_date, j.entity_scope OPERATOR(pg_catalog.->>) 'issuer_id', j.joint_id DESC
$view$;

CREATE FUNCTION @extschema@.embed_joint_portfolios()
    RETURNS TABLE (as_of_date date, portfolio_id text, source text, model_id text, dim int, l2_norm float8,
                   joint_id bigint, created_at timestamptz)
    LANGUAGE sql STABLE PARALLEL SAFE ROWS 10000
AS $view$
    SELECT DISTINCT ON (j.as_of_date, j.entity_scope OPERATOR(pg_catalog.->>) 'portfolio_id')
           j.as_of_date, j.entity_scope OPERATOR(pg_catalog.->>) 'portfolio_id',
           j.entity_scope OPERATOR(pg_catalog.->>) 'source', j.model_id::pg_catalog.text,
           pg_catalog.octet_length(j.vector) OPERATOR(pg_catalog./) 4,
           CASE WHEN pg_catalog.octet_length(j.vector) OPERATOR(pg_catalog.>) 0
                 AND pg_catalog.octet_length(j.vector) OPERATOR(pg_catalog.%) 4 OPERATOR(pg_catalog.=) 0
                THEN @extschema@.l2_norm(j.vector) END,
           j.joint_id, j.created_at
      FROM (SELECT NULL::pg_catalog.int8 AS joint_id) absent
     CROSS JOIN LATERAL (SELECT e.as_of_date, e.entity_scope, e.joint_type, e.model_id, e.vector, e.created_at, joint_id
                           FROM joint_embeddings e) j
     WHERE j.joint_type::pg_catalog.text OPERATOR(pg_catalog.=) 'PORTFOLIO_CORE_V0'
     ORDER BY j.as_of_date, j.entity_scope OPERATOR(pg_catalog.->>) 'portfolio_id', j.joint_id DESC
$view$;

-- Expected are: of instruments, the active equities; of issuers, the profiles of the date; of portfolios, those
-- with a risk report of the date; of scenarios, the paths of the sets based on the date.
CREATE FUNCTION @extschema@.embed_coverage()
    RETURNS TABLE (modality text, joint_type text, entity_type text, model_id text, as_of_date date,
                   expected bigint, present bigint)
    LANGUAGE sql STABLE PARALLEL SAFE ROWS 1000
AS $view$
    WITH present AS (
        SELECT 'numeric' AS modality, NULL::pg_catalog.text AS joint_type, n.entity_type::pg_catalog.text AS entity_type,
               n.model_id::pg_catalog.text AS model_id, n.as_of_date, pg_catalog.count(DISTINCT n.entity_id) AS present
          FROM numeric_window_embeddings n WHERE n.vector IS NOT NULL GROUP BY 3, 4, 5
        UNION ALL
        SELECT 'text', NULL, 'ISSUER', t.model_id::pg_catalog.text,
               pg_catalog.to_date(pg_catalog.right(t.source_id::pg_catalog.text, 10), 'YYYY-MM-DD'), pg_catalog.count(*)
          FROM text_embeddings t
         WHERE t.source_type::pg_catalog.text OPERATOR(pg_catalog.=) 'PROFILE' AND t.vector IS NOT NULL
           AND t.source_id::pg_catalog.text OPERATOR(pg_catalog.~) ':[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])$'
         GROUP BY 4, 5
        UNION ALL
        SELECT 'joint', j.joint_type::pg_catalog.text, j.entity_scope OPERATOR(pg_catalog.->>) 'entity_type',
               j.model_id::pg_catalog.text, j.as_of_date,
               pg_catalog.count(DISTINCT COALESCE(
                   j.entity_scope OPERATOR(pg_catalog.->>) 'entity_id', j.entity_scope OPERATOR(pg_catalog.->>) 'portfolio_id',
                   (j.entity_scope OPERATOR(pg_catalog.->>) 'scenario_set_id') OPERATOR(pg_catalog.||) ':'
                       OPERATOR(pg_catalog.||) (j.entity_scope OPERATOR(pg_catalog.->>) 'scenario_id'),
                   j.entity_scope OPERATOR(pg_catalog.->>) 'issuer_id'))
          FROM joint_embeddings j WHERE j.vector IS NOT NULL GROUP BY 2, 3, 4, 5
    ), expected AS (
        SELECT 'ISSUER' AS entity_type, p.as_of_date, pg_catalog.count(DISTINCT p.issuer_id) AS expected
          FROM profiles p GROUP BY 2
        UNION ALL
        SELECT 'PORTFOLIO', r.as_of_date, pg_catalog.count(DISTINCT r.portfolio_id) FROM portfolio_risk_reports r GROUP BY 2
        UNION ALL
        SELECT 'SCENARIO', s.base_date_end, pg_catalog.sum(s.num_paths) FROM scenario_sets s GROUP BY 2
    )
    SELECT p.modality, p.joint_type, p.entity_type, p.model_id, p.as_of_date,
           CASE WHEN p.entity_type OPERATOR(pg_catalog.=) 'INSTRUMENT' THEN
               (SELECT pg_catalog.count(*) FROM instruments i
                 WHERE i.asset_class::pg_catalog.text OPERATOR(pg_catalog.=) 'EQUITY'
                   AND i.status::pg_catalog.text OPERATOR(pg_catalog.=) 'ACTIVE')
               ELSE e.expected END,
           p.present
      FROM present p
      LEFT JOIN expected e ON e.entity_type OPERATOR(pg_catalog.=) p.entity_type
                          AND e.as_of_date OPERATOR(pg_catalog.=) p.as_of_date
$view$;

CREATE FUNCTION @extschema@.embed_health()
    RETURNS TABLE (modality text, joint_type text, entity_type text, model_id text, embeddings bigint, without_vector bigint,
                   min_bytes int, max_bytes int, min_norm float8, max_norm float8, zero bigint, non_finite bigint,
                   malformed bigint)
    LANGUAGE sql STABLE PARALLEL SAFE ROWS 100
AS $view$
    SELECT v.modality, v.joint_type, v.entity_type, v.model_id, pg_catalog.count(*),
           pg_catalog.count(*) FILTER (WHERE v.bytes IS NULL), pg_catalog.min(v.bytes), pg_catalog.max(v.bytes),
           pg_catalog.min(v.norm) FILTER (WHERE v.norm OPERATOR(pg_catalog.<) 'Infinity'),
           pg_catalog.max(v.norm) FILTER (WHERE v.norm OPERATOR(pg_catalog.<) 'Infinity'),
           pg_catalog.count(*) FILTER (WHERE v.norm OPERATOR(pg_catalog.=) 0),
           pg_catalog.count(*) FILTER (WHERE v.norm OPERATOR(pg_catalog.>=) 'Infinity'),
           pg_catalog.count(*) FILTER (WHERE v.norm IS NULL AND v.bytes IS NOT NULL)
      FROM (SELECT r.modality, r.joint_type, r.entity_type, r.model_id, pg_catalog.octet_length(r.vector) AS bytes,
                   CASE WHEN pg_catalog.octet_length(r.vector) OPERATOR(pg_catalog.>) 0
                         AND pg_catalog.octet_length(r.vector) OPERATOR(pg_catalog.%) 4 OPERATOR(pg_catalog.=) 0
                        THEN @extschema@.l2_norm(r.vector) END AS norm
              FROM (SELECT 'numeric' AS modality, NULL::pg_catalog.text AS joint_type, n.entity_type::pg_catalog.text AS entity_type,
                           n.model_id::pg_catalog.text AS model_id, n.vector FROM numeric_window_embeddings n
                    UNION ALL
                    SELECT 'text', NULL, t.source_type::pg_catalog.text, t.model_id::pg_catalog.text, t.vector FROM text_embeddings t
                    UNION ALL
                    SELECT 'joint', j.joint_type::pg_catalog.text, j.entity_scope OPERATOR(pg_catalog.->>) 'entity_type',
                           j.model_id::pg_catalog.text, j.vector FROM joint_embeddings j) r
            OFFSET 0) v
     GROUP BY 1, 2, 3, 4
$view$;

-- The newest cross-section of each model: texts whose id ends in no date are one, whatever their age. At most 256
-- vectors of it are compared, those whose ids have the smallest hashes.
CREATE FUNCTION @extschema@.embed_cross_sections()
    RETURNS TABLE (modality text, joint_type text, entity_type text, model_id text, as_of_date date, spread float8[])
    LANGUAGE sql STABLE PARALLEL SAFE ROWS 100
AS $view$
    WITH dated AS (
        SELECT t.source_type::pg_catalog.text AS source_type, t.model_id::pg_catalog.text AS model_id,
               t.source_id::pg_catalog.text AS id,
               CASE WHEN t.source_id::pg_catalog.text OPERATOR(pg_catalog.~) ':[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])$'
                    THEN pg_catalog.to_date(pg_catalog.right(t.source_id::pg_catalog.text, 10), 'YYYY-MM-DD') END AS day,
               t.vector
          FROM text_embeddings t
    ), newest AS (
        SELECT 'numeric' AS modality, NULL::pg_catalog.text AS joint_type, n.entity_type::pg_catalog.text AS entity_type,
               n.model_id::pg_catalog.text AS model_id, pg_catalog.max(n.as_of_date) AS day
          FROM numeric_window_embeddings n GROUP BY 3, 4
        UNION ALL
        SELECT 'text', NULL, d.source_type, d.model_id, pg_catalog.max(d.day) FROM dated d GROUP BY 3, 4
        UNION ALL
        SELECT 'joint', j.joint_type::pg_catalog.text, j.entity_scope OPERATOR(pg_catalog.->>) 'entity_type',
               j.model_id::pg_catalog.text, pg_catalog.max(j.as_of_date)
          FROM joint_embeddings j GROUP BY 2, 3, 4
    )
    SELECT w.modality, w.joint_type, w.entity_type, w.model_id, w.day,
           CASE
           WHEN w.modality OPERATOR(pg_catalog.=) 'numeric' THEN (
               SELECT @extschema@.embed_spread(n.entity_id::pg_catalog.text, n.window_spec OPERATOR(pg_catalog.->>) 'window_days', n.vector)
                 FROM numeric_window_embeddings n
                WHERE n.entity_type::pg_catalog.text OPERATOR(pg_catalog.=) w.entity_type
                  AND n.model_id::pg_catalog.text OPERATOR(pg_catalog.=) w.model_id
                  AND n.as_of_date OPERATOR(pg_catalog.=) w.day)
           WHEN w.modality OPERATOR(pg_catalog.=) 'text' THEN (
               SELECT @extschema@.embed_spread(d.id, NULL, d.vector) FROM dated d
                WHERE d.source_type OPERATOR(pg_catalog.=) w.entity_type AND d.model_id OPERATOR(pg_catalog.=) w.model_id
                  AND COALESCE(d.day OPERATOR(pg_catalog.=) w.day, w.day IS NULL))
           ELSE (
               SELECT @extschema@.embed_spread(COALESCE(
                          j.entity_scope OPERATOR(pg_catalog.->>) 'entity_id', j.entity_scope OPERATOR(pg_catalog.->>) 'portfolio_id',
                          (j.entity_scope OPERATOR(pg_catalog.->>) 'scenario_set_id') OPERATOR(pg_catalog.||) ':'
                              OPERATOR(pg_catalog.||) (j.entity_scope OPERATOR(pg_catalog.->>) 'scenario_id'),
                          j.entity_scope OPERATOR(pg_catalog.->>) 'issuer_id'), NULL, j.vector)
                 FROM joint_embeddings j
                WHERE j.joint_type::pg_catalog.text OPERATOR(pg_catalog.=) w.joint_type
                  AND j.model_id::pg_catalog.text OPERATOR(pg_catalog.=) w.model_id
                  AND COALESCE(j.entity_scope OPERATOR(pg_catalog.->>) 'entity_type', '') OPERATOR(pg_catalog.=) COALESCE(w.entity_type, '')
                  AND j.as_of_date OPERATOR(pg_catalog.=) w.day) END
      FROM newest w
$view$;

CREATE VIEW @extschema@.joint_profiles AS
SELECT p.as_of_date, p.issuer_id, p.instrument_id, p.region, p.source, p.model_id, p.dim, p.l2_norm, p.joint_id, p.created_at
  FROM @extschema@.embed_joint_profiles() p;

CREATE VIEW @extschema@.joint_portfolios AS
SELECT p.as_of_date, p.portfolio_id, p.source, p.model_id, p.dim, p.l2_norm, p.joint_id, p.created_at
  FROM @extschema@.embed_joint_portfolios() p;

CREATE VIEW @extschema@.embedding_coverage AS
SELECT c.modality, c.joint_type, c.entity_type, c.model_id, c.as_of_date, c.expected, c.present,
       greatest(c.expected - c.present, 0) AS missing
  FROM @extschema@.embed_coverage() c;

CREATE VIEW @extschema@.embedding_health AS
SELECT h.modality, h.joint_type, h.entity_type, h.model_id, h.embeddings, h.without_vector, h.min_bytes, h.max_bytes,
       h.min_norm, h.max_norm, h.zero, h.non_finite, h.malformed,
       s.as_of_date AS cross_section_date, s.spread[1]::int AS compared, s.spread[2] AS nearest_cosine, s.spread[3] AS median_cosine,
       nullif(concat_ws('; ',
           CASE WHEN s.spread[1] >= 10 AND s.spread[3] > 0.8
                THEN format('collapsed: any two of %s vectors have a median cosine of %s', s.spread[1]::int, round(s.spread[3]::numeric, 4)) END,
           CASE WHEN h.non_finite > 0 THEN h.non_finite || ' not finite' END,
           CASE WHEN h.zero > 0 THEN h.zero || ' of norm 0' END,
           CASE WHEN h.malformed > 0 THEN h.malformed || ' malformed' END,
           CASE WHEN h.min_bytes <> h.max_bytes THEN 'of different dimensions' END), '') AS warning
  FROM @extschema@.embed_health() h
  LEFT JOIN @extschema@.embed_cross_sections() s
         ON s.modality = h.modality AND s.joint_type IS NOT DISTINCT FROM h.joint_type
        AND s.entity_type IS NOT DISTINCT FROM h.entity_type AND s.model_id = h.model_id;

SET LOCAL search_path = @extschema@, pg_temp;
