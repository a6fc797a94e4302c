-- COMMENT ON for every object, in the order of docs/reference.md. tests/pg_regress/sql/api_surface.sql fails
-- when an object has none.

-- Vectors
COMMENT ON FUNCTION vector_dim(bytea) IS
    'Number of dimensions of a vector: octet_length / 4.';
COMMENT ON FUNCTION l2_norm(bytea) IS
    'Euclidean norm of a vector, summed in float64; the same on every CPU.';
COMMENT ON FUNCTION l2_normalize(bytea) IS
    'The vector scaled to Euclidean norm 1; a zero vector stays zero, a vector with NaN or infinity is refused.';
COMMENT ON FUNCTION cosine_sim(bytea, bytea) IS
    'Cosine similarity of two vectors of one dimension, from -1 to 1; 0 when either is all zeros.';
COMMENT ON FUNCTION euclidean_dist(bytea, bytea) IS
    'Euclidean distance of two vectors of one dimension.';
COMMENT ON FUNCTION dot_product(bytea, bytea) IS
    'Dot product of two vectors of one dimension.';
COMMENT ON FUNCTION vector_to_array(bytea) IS
    'Components of a vector, in order.';
COMMENT ON FUNCTION vector_from_array(float8[]) IS
    'A vector from its components, each rounded to float32.';
COMMENT ON FUNCTION vector_from_array(real[]) IS
    'A vector from its components.';
COMMENT ON FUNCTION vector_from_array(numeric[]) IS
    'A vector from its components, each rounded to float32.';
COMMENT ON FUNCTION vector_from_array(int[]) IS
    'A vector from its components, each rounded to float32.';
COMMENT ON FUNCTION pad_to_dim(bytea, int) IS
    'The first dim components of a vector, or the whole vector followed by zeros up to dim.';
COMMENT ON FUNCTION pad_to_dim(float8[], int) IS
    'A vector of the first dim values, rounded to float32, or of all of them followed by zeros up to dim.';
COMMENT ON FUNCTION pad_to_dim(real[], int) IS
    'A vector of the first dim values, or of all of them followed by zeros up to dim.';
COMMENT ON FUNCTION pad_to_dim(numeric[], int) IS
    'A vector of the first dim values, rounded to float32, or of all of them followed by zeros up to dim.';
COMMENT ON FUNCTION pad_to_dim(int[], int) IS
    'A vector of the first dim values, rounded to float32, or of all of them followed by zeros up to dim.';

-- Numeric
COMMENT ON FUNCTION num_window_embed(float8[], float8[], int, text) IS
    'The vector of the latest window_days prices and volumes, given oldest first.';
COMMENT ON FUNCTION num_window_embed(text, date, int, text, regclass) IS
    'The vector of an instrument''s window that ends on a date, looked up in a price table.';
COMMENT ON FUNCTION num_window_embed(text, text, int, text, regclass) IS
    'The same for a date given as text, so that a plain literal can be passed.';
COMMENT ON AGGREGATE num_window_agg(date, float8, float8, int, text) IS
    'The vector of the latest window_days rows, whatever their order; NULL when there are fewer rows than the model allows.';
COMMENT ON FUNCTION backfill_numeric(date, int, text, text[], text, int, int, text, regclass, regclass, regclass) IS
    'Computes and stores the window vectors of a market''s or named instruments at one date; tells what became of each.';
COMMENT ON FUNCTION backfill_numeric(date, date, int, text, text[], text, int, int, text, regclass, regclass, regclass) IS
    'Computes and stores the window vectors of a market''s or named instruments at every trading day of a range; tells what became of each.';
COMMENT ON FUNCTION backfill_numeric(text, text, int, text, text[], text, int, int, text, regclass, regclass, regclass) IS
    'The same for dates given as text, so that plain literals can be passed.';

COMMENT ON FUNCTION backfill_numeric_profile(date, text[], text, text, text, text, int, int, text, regclass, regclass) IS
    'Computes and stores the vector of each entity''s newest row of named features up to a date; tells what became of each.';

-- Model catalog
COMMENT ON FUNCTION fit_embedding_model(text, text, date, int, int, text, regclass, regclass, regclass, text, text, text) IS
    'Learns factors of returns (base of prices), centres and scales (base of named features) or principal components (text base) from what is known at a date, and registers them under a new id.';
COMMENT ON TABLE embed_model_parts IS
    'What fits learned: matrices of fitted models.';
COMMENT ON COLUMN embed_model_parts.model_id IS
    'The fitted model.';
COMMENT ON COLUMN embed_model_parts.part IS
    'Which part: instruments and weights of factors, mean and directions of components.';
COMMENT ON COLUMN embed_model_parts.content IS
    'Names, one a line; or a matrix: rows and columns as uint32, then float64, little endian.';
COMMENT ON TRIGGER embed_model_parts_guard ON embed_model_parts IS
    'Keeps fitted models as they are.';
COMMENT ON FUNCTION embed_model_parts_guard() IS
    'Internal: trigger that keeps fitted models as they are.';
COMMENT ON TABLE embed_models IS
    'Embedding models: one row per id with its whole recipe, which never changes.';
COMMENT ON COLUMN embed_models.model_id IS
    'Name of the model, as stored beside each vector.';
COMMENT ON COLUMN embed_models.modality IS
    'What the model embeds: numeric, text or joint.';
COMMENT ON COLUMN embed_models.dim IS
    'Dimensions of its vectors; NULL where they follow from the window.';
COMMENT ON COLUMN embed_models.spec IS
    'The recipe; docs/encoders.md lists every key.';
COMMENT ON COLUMN embed_models.sha256 IS
    'Checksum of the files that the model consists of, in hexadecimal; NULL when there are none.';
COMMENT ON COLUMN embed_models.description IS
    'What the model is good for.';
COMMENT ON COLUMN embed_models.builtin IS
    'Whether the model came with the extension; such rows are not dumped and cannot be dropped.';
COMMENT ON COLUMN embed_models.created_at IS
    'When the model was registered.';
COMMENT ON FUNCTION embed_models_guard() IS
    'Trigger function: refuses to change a model, and to drop a built-in one.';
COMMENT ON TRIGGER embed_models_guard ON embed_models IS
    'A model id never changes its meaning.';
COMMENT ON FUNCTION register_numeric_model(text, jsonb, text) IS
    'Adds a numeric model under a new id, after validating its spec to the last key; returns the id.';
COMMENT ON FUNCTION drop_embedding_model(text) IS
    'Removes a model that was registered by a user; embeddings made with it stay.';

-- About
COMMENT ON FUNCTION embed_version() IS
    'Version of the loaded library; differs from the extension''s version until ALTER EXTENSION UPDATE has run.';

-- Data tables
COMMENT ON FUNCTION embed_migrate(text) IS
    'Makes what is missing of the data tables in a schema (default: the first on the search_path), with the caller''s rights. '
    'One row per migration: applied, already there, or incomplete with the reason and the remedy.';

-- Internal: support of the aggregates and of the bulk writer
COMMENT ON AGGREGATE embed_market_sums(bytea, int) IS
    'The market of each day, packed, from packed series: how many instruments moved, the sum of their returns, and of their squares.';
COMMENT ON FUNCTION embed_market_sums_step(internal, bytea, int) IS
    'Internal: support function of embed_market_sums.';
COMMENT ON FUNCTION embed_market_sums_combine(internal, internal) IS
    'Internal: support function of embed_market_sums.';
COMMENT ON FUNCTION embed_market_sums_pack(internal) IS
    'Internal: support function of embed_market_sums.';
COMMENT ON FUNCTION embed_market_sums_unpack(bytea, internal) IS
    'Internal: support function of embed_market_sums.';
COMMENT ON AGGREGATE embed_price_series(date, float8, float8) IS
    'Internal: daily rows of one instrument in packed form, read by backfills.';
COMMENT ON FUNCTION embed_price_series_step(internal, date, float8, float8) IS
    'Internal: transition function of embed_price_series.';
COMMENT ON FUNCTION embed_price_series_combine(internal, internal) IS
    'Internal: joins partial states of embed_price_series.';
COMMENT ON FUNCTION embed_price_series_pack(internal) IS
    'Internal: result and serialised partial state of embed_price_series.';
COMMENT ON FUNCTION embed_price_series_unpack(bytea, internal) IS
    'Internal: reads a serialised partial state of embed_price_series.';
COMMENT ON FUNCTION num_window_step(internal, date, float8, float8, int, text) IS
    'Internal: transition function of num_window_agg.';
COMMENT ON FUNCTION num_window_combine(internal, internal) IS
    'Internal: joins partial states of num_window_agg.';
COMMENT ON FUNCTION num_window_serialize(internal) IS
    'Internal: serialises a partial state of num_window_agg.';
COMMENT ON FUNCTION num_window_deserialize(bytea, internal) IS
    'Internal: reads a serialised partial state of num_window_agg.';
COMMENT ON FUNCTION num_window_final(internal) IS
    'Internal: final function of num_window_agg.';
COMMENT ON FUNCTION num_window_join(internal, date, float8, float8, int, text) IS
    'Internal: forward transition of num_window_agg over a moving frame.';
COMMENT ON FUNCTION num_window_leave(internal, date, float8, float8, int, text) IS
    'Internal: inverse transition of num_window_agg over a moving frame.';
COMMENT ON FUNCTION num_window_moved(internal) IS
    'Internal: final function of num_window_agg over a moving frame.';
COMMENT ON FUNCTION embed_staged_rows() IS
    'Internal: rows of the batch that a running backfill writes.';

-- Text
COMMENT ON FUNCTION text_profile_document(jsonb) IS
    'The text of an issuer profile: business_description, risk_summary and recent_events_summary, trimmed, joined by a blank line; NULL without any.';
COMMENT ON FUNCTION embed_profile_document(text, text, text) IS
    'Puts the texts of a profile together: trimmed, empty ones left out, joined by a blank line.';
COMMENT ON FUNCTION text_profile_embed(jsonb, text) IS
    'Vector of the text of an issuer profile; NULL for a profile without text.';
COMMENT ON FUNCTION text_profile_embed(text, text) IS
    'Vector of a document, trimmed; NULL for one without text.';
COMMENT ON FUNCTION text_embed(text[], text) IS
    'Vectors of texts, in order, each as it is; NULL for NULL.';
COMMENT ON FUNCTION text_token_count(text, text) IS
    'Tokens of a text as the model counts them, special ones included, before it is cut.';
COMMENT ON FUNCTION backfill_profile_text(date, text, integer, text, regclass, regclass) IS
    'Computes and stores the vectors of the profiles of one date; one result row per profile.';
COMMENT ON FUNCTION backfill_profile_text(date, date, text, integer, text, regclass, regclass) IS
    'Computes and stores the vectors of the profiles of a range of dates; one result row per profile.';
COMMENT ON FUNCTION register_text_model(text, text, text, integer, text, boolean, boolean) IS
    'Adds a text model from a directory below prometheus_embed.model_directory, after comparing every byte with its manifest and trying it out.';
COMMENT ON FUNCTION unload_text_models() IS
    'Drops the text models that this session has loaded and forgets why others failed to load; returns how many were dropped.';
COMMENT ON FUNCTION embed_session_text_models() IS
    'Text models that this session has loaded; read it through the view embed_loaded_models.';
COMMENT ON FUNCTION embed_check_models() IS
    'Compares the files of every registered text model with their digests and tries each model out.';
COMMENT ON VIEW embed_loaded_models IS 'Text models that this session has loaded, and what they did.';
COMMENT ON COLUMN embed_loaded_models.model_id IS 'Id of the model.';
COMMENT ON COLUMN embed_loaded_models.bytes IS 'Size of its files; most of it is mapped and shared by all sessions.';
COMMENT ON COLUMN embed_loaded_models.load_ms IS 'Time it took to load, in milliseconds.';
COMMENT ON COLUMN embed_loaded_models.texts IS 'Texts embedded since.';
COMMENT ON COLUMN embed_loaded_models.tokens IS 'Tokens read since, special ones included.';
COMMENT ON COLUMN embed_loaded_models.ms IS 'Time spent on them, in milliseconds.';
COMMENT ON COLUMN embed_loaded_models.packed IS 'Whether the form packed for this CPU and runtime is in use.';
COMMENT ON COLUMN embed_loaded_models.files_read IS 'Files that were read in full while loading because no seal of the installation vouched for them.';
