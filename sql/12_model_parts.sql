-- What fit_embedding_model() learned, beside the spec of its model: matrices too large to read in a row.
-- No name below means anything but what pg_catalog or this extension has; the last line puts the path back.
SET LOCAL search_path = pg_catalog, pg_temp;

CREATE TABLE @extschema@.embed_model_parts (
    model_id text NOT NULL REFERENCES @extschema@.embed_models ON DELETE CASCADE,
    part     text NOT NULL CHECK (part ~ '^[a-z_]{1,63}$'),
    content  bytea NOT NULL,
    PRIMARY KEY (model_id, part)
);
ALTER TABLE @extschema@.embed_model_parts ALTER COLUMN content SET STORAGE EXTERNAL;

SELECT pg_catalog.pg_extension_config_dump('@extschema@.embed_model_parts', '');

CREATE FUNCTION @extschema@.embed_model_parts_guard() RETURNS trigger
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $guard$
BEGIN
    RAISE EXCEPTION 'model "%" cannot be changed', OLD.model_id
        USING ERRCODE = 'object_not_in_prerequisite_state',
              DETAIL = 'A model id never changes its meaning.',
              HINT = 'Fit again under a new id.';
END
$guard$;

CREATE TRIGGER embed_model_parts_guard BEFORE UPDATE ON @extschema@.embed_model_parts
    FOR EACH ROW EXECUTE FUNCTION @extschema@.embed_model_parts_guard();

GRANT SELECT ON @extschema@.embed_model_parts TO PUBLIC;

SET LOCAL search_path = @extschema@, pg_temp;
