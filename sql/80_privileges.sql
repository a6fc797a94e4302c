-- Everyone may read the catalog; nobody but its owner may change it until he grants the right.
GRANT SELECT ON embed_models TO PUBLIC;
REVOKE ALL ON FUNCTION register_numeric_model(text, jsonb, text) FROM PUBLIC;
REVOKE ALL ON FUNCTION drop_embedding_model(text) FROM PUBLIC;
