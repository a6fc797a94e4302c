-- Every member of the extension: what it is called with, what planners may assume of it, who may use it, and
-- whether it is described. A change of this file's output is a change of the public surface:
-- judge it, then copy build/regress/results/api_surface.out to tests/pg_regress/expected.
-- Unaligned, so that a new member changes its own lines only.
\pset format unaligned
\pset footer off

CREATE TEMPORARY VIEW members AS
SELECT d.classid, d.objid
  FROM pg_depend d
  JOIN pg_extension e ON e.oid = d.refobjid AND d.refclassid = 'pg_extension'::regclass
 WHERE d.deptype = 'e' AND e.extname = 'prometheus_embed'
   -- From 17 on, the row types of our tables and views, and the arrays of these, are members of their own.
   AND NOT EXISTS (SELECT FROM pg_type t LEFT JOIN pg_type of ON of.oid = t.typelem
                    WHERE d.classid = 'pg_type'::regclass AND t.oid = d.objid
                      AND coalesce(nullif(t.typrelid, 0), of.typrelid, 0) <> 0);

-- Anything of an unexpected kind would not be listed below.
SELECT classid::regclass AS kind, count(*) > 0 AS present FROM members GROUP BY classid ORDER BY classid::regclass::text;

-- Functions, aggregates and procedures. volatility i(mmutable) s(table) v(olatile); parallel s(afe) r(estricted)
-- u(nsafe); rows only for sets.
SELECT p.oid::regprocedure AS routine,
       p.prokind AS kind, p.provolatile AS volatility, p.proisstrict AS strict, p.proparallel AS parallel,
       p.procost AS cost, nullif(p.prorows, 0) AS rows,
       has_function_privilege('public', p.oid, 'EXECUTE') AS public,
       obj_description(p.oid, 'pg_proc') IS NOT NULL AS described
  FROM members m
  JOIN pg_proc p ON m.classid = 'pg_proc'::regclass AND p.oid = m.objid
 ORDER BY p.oid::regprocedure::text COLLATE "C";

-- Names and defaults of the arguments, and the results.
SELECT format('%s(%s)', p.proname, pg_get_function_arguments(p.oid)) AS call, pg_get_function_result(p.oid) AS result
  FROM members m
  JOIN pg_proc p ON m.classid = 'pg_proc'::regclass AND p.oid = m.objid
 ORDER BY p.oid::regprocedure::text COLLATE "C";

-- Nothing runs with the rights of somebody else.
SELECT p.oid::regprocedure
  FROM members m
  JOIN pg_proc p ON m.classid = 'pg_proc'::regclass AND p.oid = m.objid
 WHERE p.prosecdef;

-- A function in an interpreted language must not look its names up in the caller's search_path.
SELECT p.oid::regprocedure, p.proconfig
  FROM members m
  JOIN pg_proc p ON m.classid = 'pg_proc'::regclass AND p.oid = m.objid
  JOIN pg_language l ON l.oid = p.prolang
 WHERE l.lanname NOT IN ('c', 'internal') AND p.prokind <> 'a'
   AND NOT coalesce(p.proconfig @> ARRAY['search_path=pg_catalog, pg_temp'], false)
   -- A body parsed at creation holds no names, and a procedure that commits cannot have settings.
   AND p.prosqlbody IS NULL AND p.prokind <> 'p'
 ORDER BY 1;

-- Relations, their columns, and who may read and write them.
SELECT c.oid::regclass AS relation, c.relkind AS kind,
       has_table_privilege('public', c.oid, 'SELECT') AS public_reads,
       has_table_privilege('public', c.oid, 'INSERT, UPDATE, DELETE, TRUNCATE') AS public_writes,
       c.oid = ANY (SELECT unnest(extconfig) FROM pg_extension WHERE extname = 'prometheus_embed') AS dumped,
       obj_description(c.oid, 'pg_class') IS NOT NULL AS described
  FROM members m
  JOIN pg_class c ON m.classid = 'pg_class'::regclass AND c.oid = m.objid
 ORDER BY c.oid::regclass::text COLLATE "C";

SELECT c.oid::regclass AS relation, a.attname AS column, format_type(a.atttypid, a.atttypmod) AS type,
       a.attnotnull AS not_null, pg_get_expr(d.adbin, d.adrelid) AS "default",
       col_description(c.oid, a.attnum) IS NOT NULL AS described
  FROM members m
  JOIN pg_class c ON m.classid = 'pg_class'::regclass AND c.oid = m.objid
  JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
  LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
 WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f')
 ORDER BY c.oid::regclass::text COLLATE "C", a.attnum;

SELECT c.oid::regclass AS relation, k.conname, pg_get_constraintdef(k.oid) AS definition
  FROM members m
  JOIN pg_constraint k ON m.classid = 'pg_class'::regclass AND k.conrelid = m.objid
  JOIN pg_class c ON c.oid = k.conrelid
 ORDER BY c.oid::regclass::text COLLATE "C", k.conname COLLATE "C";

SELECT c.oid::regclass AS relation, t.tgname, pg_get_triggerdef(t.oid) AS definition
  FROM members m
  JOIN pg_trigger t ON m.classid = 'pg_class'::regclass AND t.tgrelid = m.objid AND NOT t.tgisinternal
  JOIN pg_class c ON c.oid = t.tgrelid
 ORDER BY c.oid::regclass::text COLLATE "C", t.tgname COLLATE "C";

-- What has no COMMENT: must be nothing. COMMENT ON lines are in sql/90_comments.sql.
SELECT pg_describe_object(m.classid, m.objid, 0) AS undescribed
  FROM members m
 WHERE obj_description(m.objid, m.classid::regclass::name) IS NULL
   -- Row types and array types come with their table, sequences with their column.
   AND NOT EXISTS (SELECT FROM pg_type t WHERE m.classid = 'pg_type'::regclass AND t.oid = m.objid
                    AND (t.typrelid <> 0 OR t.typelem <> 0))
   AND NOT EXISTS (SELECT FROM pg_class c WHERE m.classid = 'pg_class'::regclass AND c.oid = m.objid AND c.relkind IN ('S', 'i'))
   -- Internal support for views.
   AND m.classid <> 'pg_rewrite'::regclass
UNION ALL
SELECT pg_describe_object(m.classid, m.objid, a.attnum)
  FROM members m
  JOIN pg_class c ON m.classid = 'pg_class'::regclass AND c.oid = m.objid AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
  JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
 WHERE col_description(c.oid, a.attnum) IS NULL
UNION ALL
SELECT pg_describe_object('pg_trigger'::regclass, t.oid, 0)
  FROM members m
  JOIN pg_trigger t ON m.classid = 'pg_class'::regclass AND t.tgrelid = m.objid AND NOT t.tgisinternal
 WHERE obj_description(t.oid, 'pg_trigger') IS NULL
 ORDER BY 1;

DROP VIEW members;
