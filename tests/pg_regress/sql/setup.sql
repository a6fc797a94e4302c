-- Runs first, in the database that the other files share.
CREATE EXTENSION prometheus_embed;
SELECT extname, extversion = embed_version() AS versions_agree FROM pg_extension WHERE extname = 'prometheus_embed';
