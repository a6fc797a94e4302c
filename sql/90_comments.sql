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
COMMENT ON FUNCTION num_window_embed(text, date, int, text, regclass, regclass) IS
    'The vector of an instrument''s window that ends on a date, looked up in a price table.';
COMMENT ON FUNCTION num_window_embed(text, text, int, text, regclass, regclass) IS
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

-- Jobs: backfills that commit as they go
COMMENT ON PROCEDURE backfill_numeric_range(date, date, int, text, text[], text, int, int, text, regclass, regclass, regclass, int, int, int, boolean) IS
    'Computes and stores window vectors over a range of dates in committed batches: can be cancelled, resumes where it stopped, leaves what is up to date.';
COMMENT ON PROCEDURE backfill_profile_text_range(date, date, text, int, text, regclass, regclass, int, int, int, boolean) IS
    'Computes and stores the vectors of profile texts over a range of dates in committed batches: can be cancelled, resumes where it stopped, leaves what is up to date.';
COMMENT ON PROCEDURE backfill_joint_range(text, date, date, text[], text, text, text, text, jsonb, int, int, text, regclass, regclass, regclass, regclass, regclass, regclass, int, int, int, boolean) IS
    'Computes and stores joint vectors over a range of dates in committed batches: can be cancelled, resumes where it stopped, leaves what is up to date.';
COMMENT ON FUNCTION embed_status() IS
    'Versions of library, SQL objects and ONNX Runtime, digests of text models, settings, jobs; with a warning where something does not fit.';
COMMENT ON FUNCTION embed_library_status() IS 'Internal: what the library knows for embed_status().';
COMMENT ON FUNCTION embed_partition(text, int) IS
    'Which part of a split into so many an entity belongs to, from 1; the same on every machine.';
COMMENT ON TABLE embed_jobs IS
    'Runs of the procedures that commit as they go; updated with each batch. Everyone sees his own, members of pg_monitor all. Delete rows of jobs that are over as you like.';
COMMENT ON COLUMN embed_jobs.job_id IS 'Number of the job.';
COMMENT ON COLUMN embed_jobs.procedure IS 'Which procedure.';
COMMENT ON COLUMN embed_jobs.arguments IS 'What it was called with, but for those that only say how: batch_entities and resume.';
COMMENT ON COLUMN embed_jobs.digest IS 'Fingerprint of procedure and arguments, and key of the advisory lock that a running job holds.';
COMMENT ON COLUMN embed_jobs.owner IS 'Who called it.';
COMMENT ON COLUMN embed_jobs.run IS 'How often it was called: 1, and one more for each time that it was resumed.';
COMMENT ON COLUMN embed_jobs.pid IS 'Backend of the latest run.';
COMMENT ON COLUMN embed_jobs.scope_digest IS 'Fingerprint of its entities and dates; when they change, an interrupted job starts over.';
COMMENT ON COLUMN embed_jobs.entities IS 'Entities of this job (of its partition); NULL until they are known.';
COMMENT ON COLUMN embed_jobs.dates IS 'As-of dates, where all entities share them; else NULL.';
COMMENT ON COLUMN embed_jobs.total IS 'Vectors to look after.';
COMMENT ON COLUMN embed_jobs.done IS 'How many of them are dealt with.';
COMMENT ON COLUMN embed_jobs.done_before IS 'How many of them the runs before the latest dealt with.';
COMMENT ON COLUMN embed_jobs.inserted IS 'Vectors that were not there.';
COMMENT ON COLUMN embed_jobs.replaced IS 'Vectors that were overwritten.';
COMMENT ON COLUMN embed_jobs.skipped IS 'Vectors that were left: up to date, or on_existing => ''skip''.';
COMMENT ON COLUMN embed_jobs.failed IS 'Vectors that could not be made; embed_job_errors has the reasons.';
COMMENT ON COLUMN embed_jobs.last_entity IS 'Last entity, in byte order, that is done; a resumed job goes on after it.';
COMMENT ON COLUMN embed_jobs.created_at IS 'First call.';
COMMENT ON COLUMN embed_jobs.started_at IS 'Latest call.';
COMMENT ON COLUMN embed_jobs.updated_at IS 'Latest batch.';
COMMENT ON COLUMN embed_jobs.finished_at IS 'When everything was done; NULL while it runs and when it was interrupted.';
COMMENT ON TABLE embed_job_errors IS
    'What failed in a job, and why: one row per entity and unbroken run of dates.';
COMMENT ON COLUMN embed_job_errors.job_id IS 'The job.';
COMMENT ON COLUMN embed_job_errors.entity_id IS 'The entity.';
COMMENT ON COLUMN embed_job_errors.first_date IS 'First date of the run.';
COMMENT ON COLUMN embed_job_errors.last_date IS 'Last date of the run.';
COMMENT ON COLUMN embed_job_errors.dates IS 'Number of dates in the run.';
COMMENT ON COLUMN embed_job_errors.detail IS 'Why there is no vector on the last of them.';
COMMENT ON VIEW embed_job_progress IS
    'Jobs as they go: state, figures, rate and time left; current to the last batch.';
COMMENT ON COLUMN embed_job_progress.job_id IS 'Number of the job.';
COMMENT ON COLUMN embed_job_progress.procedure IS 'Which procedure.';
COMMENT ON COLUMN embed_job_progress.owner IS 'Who called it.';
COMMENT ON COLUMN embed_job_progress.state IS 'running, done, interrupted (cancelled, failed or crashed: call it again to resume), or on a standby unfinished (running or interrupted: only the primary knows).';
COMMENT ON COLUMN embed_job_progress.pid IS 'Backend that runs it now; NULL on a standby.';
COMMENT ON COLUMN embed_job_progress.total IS 'Vectors to look after.';
COMMENT ON COLUMN embed_job_progress.done IS 'How many of them are dealt with.';
COMMENT ON COLUMN embed_job_progress.percent IS 'The same in percent.';
COMMENT ON COLUMN embed_job_progress.inserted IS 'Vectors that were not there.';
COMMENT ON COLUMN embed_job_progress.replaced IS 'Vectors that were overwritten.';
COMMENT ON COLUMN embed_job_progress.skipped IS 'Vectors that were left.';
COMMENT ON COLUMN embed_job_progress.failed IS 'Vectors that could not be made.';
COMMENT ON COLUMN embed_job_progress.rate_per_second IS 'Vectors per second of the latest run.';
COMMENT ON COLUMN embed_job_progress.time_left IS 'Time left at that rate.';
COMMENT ON COLUMN embed_job_progress.runs IS 'How often it was called.';
COMMENT ON COLUMN embed_job_progress.created_at IS 'First call.';
COMMENT ON COLUMN embed_job_progress.started_at IS 'Latest call.';
COMMENT ON COLUMN embed_job_progress.updated_at IS 'Latest batch.';
COMMENT ON COLUMN embed_job_progress.finished_at IS 'When everything was done.';
COMMENT ON COLUMN embed_job_progress.last_entity IS 'Last entity, in byte order, that is done.';
COMMENT ON COLUMN embed_job_progress.arguments IS 'What it was called with.';
COMMENT ON FUNCTION embed_numeric_job_entities(date, date, int, text, text[], text, int, int, text, regclass, regclass, regclass, int, int, int) IS
    'Internal: checks the arguments of backfill_numeric_range and lists its instruments.';
COMMENT ON FUNCTION embed_numeric_job_scope(text[], date, date, int, text, text, regclass, regclass, regclass) IS
    'Internal: what all batches of backfill_numeric_range share.';
COMMENT ON FUNCTION embed_numeric_job_read(text[], int, bytea, int, text, text, regclass, regclass, regclass) IS
    'Internal: the prices of several batches of a numeric backfill in committed batches, packed.';
COMMENT ON FUNCTION embed_numeric_job_step(text[], bytea, bytea, int, text, text, regclass, regclass, regclass) IS
    'Internal: one batch of backfill_numeric_range.';
COMMENT ON FUNCTION embed_job_is_visible(regrole) IS 'Internal: whether the caller may see the jobs of a role.';
COMMENT ON FUNCTION embed_job_holder(bigint) IS 'Internal: which backend runs the job of a digest.';
COMMENT ON FUNCTION embed_qualified_name(regclass) IS 'Internal: a relation''s name with its schema.';
COMMENT ON FUNCTION embed_job_lock(bigint) IS 'Internal: takes a job''s lock until the transaction ends.';
COMMENT ON FUNCTION embed_job_claim(text, jsonb, boolean) IS 'Internal: finds or makes the job of some arguments.';
COMMENT ON FUNCTION embed_job_hold(bigint) IS 'Internal: a job''s lock, at the start of each of its transactions.';
COMMENT ON FUNCTION embed_job_begin(bigint, text[], int, bigint, bigint) IS 'Internal: what a job has to do.';
COMMENT ON FUNCTION embed_job_read(bigint, text[], int, bytea) IS 'Internal: what a job reads at once for several of its next batches.';
COMMENT ON FUNCTION embed_job_step(bigint, text[], bytea, bytea) IS 'Internal: one batch of a job, whatever its procedure.';
COMMENT ON PROCEDURE embed_job_run(bigint, text[], int, bigint, bigint, bytea, int) IS 'Internal: the batches of a job, each a transaction.';
COMMENT ON FUNCTION embed_partition_of(text[], int, int) IS 'Internal: those entities that belong to a part of a split.';
COMMENT ON FUNCTION embed_batch_size(text[], bigint, int) IS 'Internal: how many entities make a batch of about so many vectors.';
COMMENT ON FUNCTION embed_text_job_entities(date, date, text, int, text, regclass, regclass, int, int, int) IS
    'Internal: checks the arguments of backfill_profile_text_range and lists its issuers.';
COMMENT ON FUNCTION embed_text_job_step(text[], date, date, text, text, regclass, regclass, int, int) IS
    'Internal: one batch of backfill_profile_text_range.';
COMMENT ON FUNCTION embed_joint_job_entities(text, date, date, text[], text, text, text, text, jsonb, int, int, text, regclass, regclass, regclass, regclass, regclass, regclass, int, int, int) IS
    'Internal: checks the arguments of backfill_joint_range and lists its entities.';
COMMENT ON FUNCTION embed_joint_job_step(text[], text, date, date, text, text, text, jsonb, text, regclass, regclass, regclass, regclass, regclass, regclass) IS
    'Internal: one batch of backfill_joint_range.';
COMMENT ON FUNCTION embed_job_advance(bigint, text[], jsonb) IS 'Internal: notes a batch.';
COMMENT ON FUNCTION embed_job_finish(bigint) IS 'Internal: notes the end of a job.';
COMMENT ON FUNCTION embed_job_message(bigint) IS 'Internal: a line about a job.';

-- Model catalog
COMMENT ON FUNCTION fit_embedding_model(text, text, date, int, int, text, regclass, regclass, regclass, text, text, text, regclass) IS
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
COMMENT ON FUNCTION embed_models_gone() IS
    'Internal: deletes the joint spaces and parts of a model that was deleted.';
COMMENT ON TRIGGER embed_models_gone ON embed_models IS
    'Deletes the joint spaces and parts of a model with it.';
COMMENT ON FUNCTION embed_models_guard() IS
    'Trigger function: refuses to change a model, and to drop a built-in one.';
COMMENT ON TRIGGER embed_models_guard ON embed_models IS
    'A model id never changes its meaning.';
COMMENT ON FUNCTION register_numeric_model(text, jsonb, text, bytea) IS
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
COMMENT ON AGGREGATE embed_price_panel(text, date, float8, float8) IS
    'Internal: daily rows of many instruments in packed form, read by backfills; empty where there are more than 16,777,216.';
COMMENT ON AGGREGATE embed_price_panel(text, date, float8, float8, float8) IS
    'Internal: the same for adjusted prices; volumes are multiplied by close / price.';
COMMENT ON FUNCTION embed_price_panel_adjusted_step(internal, text, date, float8, float8, float8) IS
    'Internal: transition function of embed_price_panel for adjusted prices.';
COMMENT ON FUNCTION embed_price_panel_step(internal, text, date, float8, float8) IS
    'Internal: transition function of embed_price_panel.';
COMMENT ON FUNCTION embed_price_panel_combine(internal, internal) IS
    'Internal: joins partial states of embed_price_panel.';
COMMENT ON FUNCTION embed_price_panel_pack(internal) IS
    'Internal: result and serialised partial state of embed_price_panel.';
COMMENT ON FUNCTION embed_price_panel_unpack(bytea, internal) IS
    'Internal: reads a serialised partial state of embed_price_panel.';
COMMENT ON AGGREGATE embed_price_series(date, float8, float8) IS
    'Internal: daily rows of one instrument in packed form, read by backfills.';
COMMENT ON AGGREGATE embed_price_series(date, float8, float8, float8) IS
    'Internal: the same for adjusted prices; volumes are multiplied by close / price.';
COMMENT ON FUNCTION embed_price_series_adjusted_step(internal, date, float8, float8, float8) IS
    'Internal: transition function of embed_price_series for adjusted prices.';
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
COMMENT ON FUNCTION backfill_profile_text(date, text, integer, text, regclass, regclass, integer, integer) IS
    'Computes and stores the vectors of the profiles of one date; one result row per profile.';
COMMENT ON FUNCTION backfill_profile_text(date, date, text, integer, text, regclass, regclass, integer, integer) IS
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
