-- The aggregate behind the searches. Its support functions are in src/pg/api/nearest.rs.
CREATE AGGREGATE @extschema@.embed_nearest(joint_id bigint, as_of_date date, entity_scope jsonb, vector bytea,
                               query bytea, top_k int, filter jsonb, exclude text) (
    SFUNC = embed_nearest_step,
    STYPE = internal,
    SSPACE = 8192,
    FINALFUNC = embed_nearest_pack,
    COMBINEFUNC = embed_nearest_combine,
    SERIALFUNC = embed_nearest_pack,
    DESERIALFUNC = embed_nearest_unpack,
    PARALLEL = SAFE
);
