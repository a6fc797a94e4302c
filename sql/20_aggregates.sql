-- Aggregates over daily price rows. Their support functions are in src/pg/api/aggregate.rs.
-- Backfills bound how many rows they read at a time, so a small state is declared: hashing groups is then
-- preferred to sorting all rows by a text key.
CREATE AGGREGATE @extschema@.embed_price_series(trade_date date, price float8, volume float8) (
    SFUNC = embed_price_series_step,
    STYPE = internal,
    SSPACE = 256,
    FINALFUNC = embed_price_series_pack,
    COMBINEFUNC = embed_price_series_combine,
    SERIALFUNC = embed_price_series_pack,
    DESERIALFUNC = embed_price_series_unpack,
    PARALLEL = SAFE
);

CREATE AGGREGATE @extschema@.embed_price_series(trade_date date, price float8, volume float8, close float8) (
    SFUNC = embed_price_series_adjusted_step,
    STYPE = internal,
    SSPACE = 256,
    FINALFUNC = embed_price_series_pack,
    COMBINEFUNC = embed_price_series_combine,
    SERIALFUNC = embed_price_series_pack,
    DESERIALFUNC = embed_price_series_unpack,
    PARALLEL = SAFE
);

-- All instruments in one state: no grouping in SQL.
CREATE AGGREGATE @extschema@.embed_price_panel(instrument_id text, trade_date date, price float8, volume float8) (
    SFUNC = embed_price_panel_step,
    STYPE = internal,
    SSPACE = 1048576,
    FINALFUNC = embed_price_panel_pack,
    COMBINEFUNC = embed_price_panel_combine,
    SERIALFUNC = embed_price_panel_pack,
    DESERIALFUNC = embed_price_panel_unpack,
    PARALLEL = SAFE
);

CREATE AGGREGATE @extschema@.embed_price_panel(instrument_id text, trade_date date, price float8, volume float8, close float8) (
    SFUNC = embed_price_panel_adjusted_step,
    STYPE = internal,
    SSPACE = 1048576,
    FINALFUNC = embed_price_panel_pack,
    COMBINEFUNC = embed_price_panel_combine,
    SERIALFUNC = embed_price_panel_pack,
    DESERIALFUNC = embed_price_panel_unpack,
    PARALLEL = SAFE
);

CREATE AGGREGATE @extschema@.embed_market_sums(series bytea, max_gap_days int) (
    SFUNC = embed_market_sums_step,
    STYPE = internal,
    SSPACE = 65536,
    FINALFUNC = embed_market_sums_pack,
    COMBINEFUNC = embed_market_sums_combine,
    SERIALFUNC = embed_market_sums_pack,
    DESERIALFUNC = embed_market_sums_unpack,
    PARALLEL = SAFE
);

CREATE AGGREGATE @extschema@.num_window_agg(trade_date date, close float8, volume float8, window_days int, model_id text) (
    SFUNC = num_window_step,
    STYPE = internal,
    SSPACE = 4096,
    FINALFUNC = num_window_final,
    COMBINEFUNC = num_window_combine,
    SERIALFUNC = num_window_serialize,
    DESERIALFUNC = num_window_deserialize,
    -- For frames whose beginning moves.
    MSFUNC = num_window_join,
    MINVFUNC = num_window_leave,
    MSTYPE = internal,
    MSSPACE = 4096,
    MFINALFUNC = num_window_moved,
    PARALLEL = SAFE
);
