-- How far the vectors of a cross-section lie apart. Its support functions are in src/pg/api/spread.rs.
CREATE AGGREGATE @extschema@.embed_spread(id text, tag text, vector bytea) (
    SFUNC = embed_spread_step,
    STYPE = internal,
    SSPACE = 1000000,
    FINALFUNC = embed_spread_final,
    PARALLEL = SAFE
);
