-- What fit_embedding_model() learned, beside the spec of its model: matrices too large to read in a row.
-- No name below means anything but what pg_catalog or this extension has; the last line puts the path back.
SET LOCAL search_path = pg_catalog, pg_temp;

CREATE TABLE @extschema@.embed_model_parts (
    model_id text NOT NULL,
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
    -- Parts go after their model has gone, and not before.
    IF TG_OP = 'DELETE' AND NOT EXISTS (SELECT FROM @extschema@.embed_models m WHERE m.model_id = OLD.model_id) THEN
        RETURN OLD;
    END IF;
    RAISE EXCEPTION 'model "%" cannot be changed', OLD.model_id
        USING ERRCODE = 'object_not_in_prerequisite_state',
              DETAIL = 'A model id never changes its meaning.',
              HINT = 'Fit again under a new id.';
END
$guard$;

CREATE TRIGGER embed_model_parts_guard BEFORE UPDATE OR DELETE ON @extschema@.embed_model_parts
    FOR EACH ROW EXECUTE FUNCTION @extschema@.embed_model_parts_guard();

-- What a foreign key with ON DELETE CASCADE would do, but for its check of new rows: pg_restore --jobs fills the tables
-- of an extension in any order, and would fail where parts or spaces come before their models.
CREATE FUNCTION @extschema@.embed_models_gone() RETURNS trigger
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $gone$
BEGIN
    DELETE FROM @extschema@.embed_spaces s WHERE s.model_id = OLD.model_id;
    DELETE FROM @extschema@.embed_model_parts p WHERE p.model_id = OLD.model_id;
    RETURN NULL;
END
$gone$;

CREATE TRIGGER embed_models_gone AFTER DELETE ON @extschema@.embed_models
    FOR EACH ROW EXECUTE FUNCTION @extschema@.embed_models_gone();

GRANT SELECT ON @extschema@.embed_model_parts TO PUBLIC;

SET LOCAL search_path = @extschema@, pg_temp;
