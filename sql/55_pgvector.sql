-- pgvector, where it is installed: casts, and what HNSW indexes are built on. What this makes is no member of the
-- extension, since pgvector may come and go; it is dumped and restored like anything else of the user's.
CREATE FUNCTION embed_enable_pgvector()
    RETURNS TABLE (object text, status text)
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE COST 10000 ROWS 5
    SET search_path = pg_catalog, pg_temp
AS $enable$
DECLARE
    home text := (SELECT quote_ident(n.nspname) FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace
                   WHERE e.extname = 'vector');
    made record;
BEGIN
    IF home IS NULL THEN
        RAISE EXCEPTION 'extension "vector" is not installed'
            USING ERRCODE = 'object_not_in_prerequisite_state',
                  DETAIL = CASE WHEN EXISTS (SELECT FROM pg_available_extensions WHERE name = 'vector')
                                THEN 'It is available on this server.' ELSE 'It is not available on this server.' END,
                  HINT = 'Install pgvector and run CREATE EXTENSION vector. Exact searches do not need it.';
    END IF;
    FOR made IN
        SELECT f.signature, f.body, f.comment, to_regprocedure(f.signature) IS NOT NULL AS there
          FROM (VALUES
               ('@extschema@.embed_to_pgvector(bytea)',
                format('embed_to_pgvector(embedding bytea) RETURNS %1$s.vector LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE COST 10 '
                       'RETURN @extschema@.vector_to_array(embedding)::%1$s.vector', home),
                'The vector of an embedding as pgvector''s type.'),
               (format('@extschema@.embed_from_pgvector(%s.vector)', home),
                format('embed_from_pgvector(embedding %1$s.vector) RETURNS bytea LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE COST 10 '
                       'RETURN @extschema@.vector_from_array(embedding::real[])', home),
                'A pgvector value as an embedding: little-endian float32.'),
               ('@extschema@.embed_index_vector(bytea,integer)',
                format('embed_index_vector(embedding bytea, dim integer) RETURNS %1$s.vector LANGUAGE sql IMMUTABLE STRICT '
                       'PARALLEL SAFE COST 10 RETURN CASE WHEN pg_catalog.octet_length(embedding) OPERATOR(pg_catalog.=) (4 '
                       'OPERATOR(pg_catalog.*) dim) AND @extschema@.l2_norm(embedding) OPERATOR(pg_catalog.>) 0 AND '
                       '@extschema@.l2_norm(embedding) OPERATOR(pg_catalog.<) CAST(''Infinity'' AS pg_catalog.float8) '
                       'THEN @extschema@.vector_to_array(@extschema@.l2_normalize(embedding))::%1$s.vector END', home),
                'For cosine indexes: the direction of an embedding of that dimension, of length 1 so that halfvec holds it too; NULL for any other dimension, zero vectors and values that are not finite.')
               ) AS f (signature, body, comment)
    LOOP
        EXECUTE 'CREATE OR REPLACE FUNCTION @extschema@.' || made.body;
        EXECUTE format('COMMENT ON FUNCTION %s IS %L', made.signature, made.comment);
        object := 'function ' || made.signature;
        status := CASE WHEN made.there THEN 'already there' ELSE 'created' END;
        RETURN NEXT;
    END LOOP;
    FOR made IN
        SELECT c.source, c.target, c.function,
               EXISTS (SELECT FROM pg_cast k WHERE k.castsource = c.source::regtype AND k.casttarget = c.target::regtype) AS there
          FROM (VALUES ('pg_catalog.bytea', format('%s.vector', home), '@extschema@.embed_to_pgvector(bytea)'),
                       (format('%s.vector', home), 'pg_catalog.bytea', format('@extschema@.embed_from_pgvector(%s.vector)', home))
               ) AS c (source, target, function)
    LOOP
        IF NOT made.there THEN
            EXECUTE format('CREATE CAST (%s AS %s) WITH FUNCTION %s', made.source, made.target, made.function);
        END IF;
        object := format('cast %s to %s', made.source, made.target);
        status := CASE WHEN made.there THEN 'already there' ELSE 'created' END;
        RETURN NEXT;
    END LOOP;
END
$enable$;

REVOKE ALL ON FUNCTION embed_enable_pgvector() FROM PUBLIC;
COMMENT ON FUNCTION embed_enable_pgvector() IS
    'Adds casts between embeddings and pgvector''s type, and the function that HNSW indexes are built on; needs pgvector and the rights of its owner.';
