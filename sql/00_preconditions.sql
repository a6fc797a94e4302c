-- What must hold before anything is created.
DO $preconditions$
DECLARE
    encoding pg_catalog.text := pg_catalog.current_setting('server_encoding');
    owner pg_catalog.text;
BEGIN
    IF encoding OPERATOR(pg_catalog.<>) 'UTF8' THEN
        RAISE EXCEPTION 'prometheus_embed needs a database with encoding UTF8, not %', encoding
            USING ERRCODE = 'feature_not_supported',
                  HINT = 'Create the database with ENCODING ''UTF8'' TEMPLATE template0.';
    END IF;
    -- Whoever owns the schema could put functions of his own beside ours, to be called in their place.
    SELECT r.rolname INTO owner
      FROM pg_catalog.pg_namespace n
      JOIN pg_catalog.pg_roles r ON r.oid OPERATOR(pg_catalog.=) n.nspowner
     WHERE n.oid OPERATOR(pg_catalog.=) '@extschema@'::pg_catalog.regnamespace
       AND NOT r.rolsuper
       AND r.rolname OPERATOR(pg_catalog.<>) 'pg_database_owner';
    IF owner IS NOT NULL THEN
        RAISE EXCEPTION 'schema "%" is owned by role "%", which is no superuser', '@extschema@', owner
            USING ERRCODE = 'insufficient_privilege',
                  HINT = 'Install into a schema that a superuser or the database owner owns.';
    END IF;
END
$preconditions$;
