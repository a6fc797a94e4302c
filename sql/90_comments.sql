-- COMMENT ON for every object.

COMMENT ON FUNCTION embed_migrate(text) IS
    'Makes what is missing of the data tables in a schema (default: the first on the search_path), with the caller''s rights. '
    'One row per migration: applied, already there, or incomplete with the reason and the remedy.';
