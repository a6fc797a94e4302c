-- What is installed, which settings matter, and what a reader should look after.
-- No name below means anything but what pg_catalog or this extension has; the last line puts the path back.
SET LOCAL search_path = pg_catalog, pg_temp;

CREATE FUNCTION @extschema@.embed_status() RETURNS TABLE (item text, value text, warning text)
    LANGUAGE sql VOLATILE PARALLEL RESTRICTED COST 100000 ROWS 20
BEGIN ATOMIC
    SELECT 'extension_version', e.extversion,
           CASE WHEN e.extversion <> @extschema@.embed_version()
                THEN format('the SQL objects are of version %s, the library of version %s: run ALTER EXTENSION prometheus_embed UPDATE, and let sessions from before an upgrade reconnect',
                            e.extversion, @extschema@.embed_version()) END
      FROM pg_extension AS e WHERE e.extname = 'prometheus_embed'
    UNION ALL
    SELECT l.item, l.value, l.warning FROM @extschema@.embed_library_status() AS l
    UNION ALL
    SELECT 'server_version', current_setting('server_version'), NULL
    UNION ALL
    -- Paths are shown to whom Postgres shows them.
    (SELECT 'setting ' || s.name, s.setting || coalesce(' ' || s.unit, ''), NULL
       FROM pg_settings AS s
      WHERE starts_with(s.name, 'prometheus_embed.') OR s.name = 'session_preload_libraries' ORDER BY s.name COLLATE "C")
    UNION ALL
    (SELECT 'jobs ' || j.state, count(*)::text,
            CASE j.state WHEN 'interrupted' THEN 'call them again to resume them, or delete their rows of embed_jobs' END
       FROM @extschema@.embed_job_progress AS j GROUP BY j.state ORDER BY 1);
END;

SET LOCAL search_path = @extschema@, pg_temp;
