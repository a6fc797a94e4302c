-- COMMENT ON for joint spaces and searches.
COMMENT ON FUNCTION joint_average(bytea, bytea, float8, float8) IS
    'Weighted mean of two vectors in float32, as the published joint models compute it.';
COMMENT ON FUNCTION joint_average(bytea[], float8[]) IS
    'Weighted mean of any number of vectors in float32, as the published branch averages compute it; weight 0 leaves a vector out.';

COMMENT ON TABLE embed_spaces IS 'Joint spaces: which vectors are fused into the vectors of a joint model, and how. Rows never change.';
COMMENT ON COLUMN embed_spaces.joint_type IS 'Joint type, as joint_embeddings.joint_type has it.';
COMMENT ON COLUMN embed_spaces.model_id IS 'Joint model of the vectors, as embed_models lists it.';
COMMENT ON COLUMN embed_spaces.entity_type IS 'Kind of entity: ISSUER, INSTRUMENT, PORTFOLIO or SCENARIO.';
COMMENT ON COLUMN embed_spaces.entities IS 'Where the entities of a date come from: profiles (table), instruments (named, or of a market), branch (rows of the first branch).';
COMMENT ON COLUMN embed_spaces.fusion IS 'How branches become one vector: average (weighted mean of those present), blend (weighted mean of exactly two), identity (the only branch).';
COMMENT ON COLUMN embed_spaces.branches IS 'Branches in order: name, weight, required, and either table, model_id and entity_type, or a fusion of branches.';
COMMENT ON COLUMN embed_spaces.scope_keys IS 'Keys of entity_scope beside entity_type, source and as_of_date.';
COMMENT ON COLUMN embed_spaces.source IS 'What entity_scope.source says: branches (names of those used), models (their models), or a fixed text.';
COMMENT ON COLUMN embed_spaces.description IS 'What the space is for.';
COMMENT ON COLUMN embed_spaces.builtin IS 'Whether the space belongs to the extension.';
COMMENT ON COLUMN embed_spaces.created_at IS 'When the space was registered.';
COMMENT ON FUNCTION embed_spaces_guard() IS 'Internal: keeps joint spaces from being changed.';
COMMENT ON TRIGGER embed_spaces_guard ON embed_spaces IS 'Keeps joint spaces from being changed.';

COMMENT ON AGGREGATE embed_nearest(bigint, date, jsonb, bytea, bytea, int, jsonb, text) IS
    'Internal: the rows whose vectors are nearest to a query, packed.';
COMMENT ON FUNCTION embed_nearest_step(internal, bigint, date, jsonb, bytea, bytea, int, jsonb, text) IS
    'Internal: adds a row to embed_nearest.';
COMMENT ON FUNCTION embed_nearest_combine(internal, internal) IS 'Internal: joins partial states of embed_nearest.';
COMMENT ON FUNCTION embed_nearest_pack(internal) IS 'Internal: packs a state of embed_nearest.';
COMMENT ON FUNCTION embed_nearest_unpack(bytea, internal) IS 'Internal: unpacks a state of embed_nearest.';

COMMENT ON FUNCTION find_similar_profiles(text, date, text, int, text, regclass, text) IS
    'The issuers whose joint profile at one date is most like that of an issuer, over every candidate.';
COMMENT ON FUNCTION find_similar_portfolios(text, date, text, int, regclass, text) IS
    'The portfolios whose joint vector at one date is most like that of a portfolio, over every candidate.';
COMMENT ON FUNCTION find_similar_stab_scenarios(text, date, text, int, text, date, date, regclass, text) IS
    'The scenarios, of all dates or a range, that are most like the state of an instrument, over every candidate.';
COMMENT ON FUNCTION find_similar(text, jsonb, date, int, jsonb, text, date, date, regclass, text) IS
    'The entities of a joint space that are most like the one that a scope describes, over every candidate of the date or range; exact, or through an index of pgvector when method says so.';

COMMENT ON FUNCTION backfill_numeric_portfolio(date, text[], int, text, text, regclass, regclass) IS
    'Computes and stores the vectors of portfolios at one date from their risk reports.';
COMMENT ON FUNCTION backfill_numeric_scenario(text, int, text, text, regclass, regclass, regclass) IS
    'Computes and stores the vectors of the scenarios of a set from their paths.';
COMMENT ON FUNCTION register_joint_space(text, text, text, jsonb, text, text, text[], jsonb, text) IS
    'Adds a joint space, and its model if that is new.';
COMMENT ON FUNCTION backfill_joint(text, date, date, date, text[], text, text, text, text, text, jsonb, int, int, text,
                                   regclass, regclass, regclass, regclass, regclass, regclass, regclass) IS
    'Computes and stores the joint vectors of a space at one date or over a range; tells of each entity what was used and what was missing.';
COMMENT ON FUNCTION backfill_joint_profiles(date, text, text, text, text, text[], int, date, date, text,
                                            regclass, regclass, regclass, regclass, regclass, regclass) IS
    'Computes and stores joint profiles of issuers: half numeric vectors, half profile text.';
COMMENT ON FUNCTION backfill_joint_portfolios(date, text[], text, text, int, date, date, text, regclass, regclass) IS
    'Computes and stores joint portfolio vectors.';
COMMENT ON FUNCTION backfill_joint_stab_fragility(date, text, text[], int, int, text, text, text, text, date, date, text,
                                                  regclass, regclass, regclass) IS
    'Computes and stores stability states of instruments: stability window and joint profile of the issuer.';
COMMENT ON FUNCTION backfill_joint_stab_scenarios(text, text, text, int, text, regclass, regclass, regclass) IS
    'Computes and stores the scenarios of a set in the space of stability states.';
COMMENT ON FUNCTION show_joint(text, date, date, date, jsonb, text, int, regclass) IS
    'Lists the joint vectors of a type and model, by date.';
COMMENT ON FUNCTION show_joint_profiles(date, date, date, text, text, int, regclass) IS 'Lists joint profiles, by date.';
COMMENT ON FUNCTION show_joint_portfolios(date, date, date, text, text, int, regclass) IS
    'Lists joint portfolio vectors, by date.';
COMMENT ON FUNCTION show_joint_stab_fragility(date, date, date, text, text, text, text, text, text, int, regclass) IS
    'Lists stability states and scenarios, by date.';

COMMENT ON FUNCTION embed_joint_profiles() IS 'Internal: the rows of view joint_profiles.';
COMMENT ON FUNCTION embed_joint_portfolios() IS 'Internal: the rows of view joint_portfolios.';
COMMENT ON FUNCTION embed_coverage() IS 'Internal: the rows of view embedding_coverage.';
COMMENT ON FUNCTION embed_cross_sections() IS 'Internal: how far the vectors of each model''s newest date lie apart.';
COMMENT ON AGGREGATE embed_spread(text, text, bytea) IS
    'Internal: of at most 256 vectors of a cross-section, how many were compared, the median cosine to the nearest, and of all pairs.';
COMMENT ON FUNCTION embed_spread_step(internal, text, text, bytea) IS 'Internal: adds a vector to embed_spread.';
COMMENT ON FUNCTION embed_spread_final(internal) IS 'Internal: final function of embed_spread.';
COMMENT ON FUNCTION embed_health() IS 'Internal: the rows of view embedding_health.';

COMMENT ON VIEW joint_profiles IS 'Joint profiles, one row per issuer and date: the newest, of whatever model.';
COMMENT ON COLUMN joint_profiles.as_of_date IS 'Date that the profile describes.';
COMMENT ON COLUMN joint_profiles.issuer_id IS 'The issuer.';
COMMENT ON COLUMN joint_profiles.instrument_id IS 'The instrument that stands for the issuer.';
COMMENT ON COLUMN joint_profiles.region IS 'Region of the instrument''s market; null in rows of other writers.';
COMMENT ON COLUMN joint_profiles.source IS 'Branches that the vector is made of.';
COMMENT ON COLUMN joint_profiles.model_id IS 'Joint model.';
COMMENT ON COLUMN joint_profiles.dim IS 'Components of the vector; null without one.';
COMMENT ON COLUMN joint_profiles.l2_norm IS 'Euclidean norm; null without a vector.';
COMMENT ON COLUMN joint_profiles.joint_id IS 'Row in joint_embeddings, where the vector is.';
COMMENT ON COLUMN joint_profiles.created_at IS 'When the row was written first.';

COMMENT ON VIEW joint_portfolios IS 'Joint portfolio vectors, one row per portfolio and date: the newest, of whatever model.';
COMMENT ON COLUMN joint_portfolios.as_of_date IS 'Date that the portfolio is described at.';
COMMENT ON COLUMN joint_portfolios.portfolio_id IS 'The portfolio.';
COMMENT ON COLUMN joint_portfolios.source IS 'Model of the numeric vector.';
COMMENT ON COLUMN joint_portfolios.model_id IS 'Joint model.';
COMMENT ON COLUMN joint_portfolios.dim IS 'Components of the vector; null without one.';
COMMENT ON COLUMN joint_portfolios.l2_norm IS 'Euclidean norm; null without a vector.';
COMMENT ON COLUMN joint_portfolios.joint_id IS 'Row in joint_embeddings, where the vector is.';
COMMENT ON COLUMN joint_portfolios.created_at IS 'When the row was written first.';

COMMENT ON VIEW embedding_coverage IS 'How many entities have an embedding, and how many should, per model and date.';
COMMENT ON COLUMN embedding_coverage.modality IS 'numeric, text or joint: the table.';
COMMENT ON COLUMN embedding_coverage.joint_type IS 'Joint type; null for other tables.';
COMMENT ON COLUMN embedding_coverage.entity_type IS 'Kind of entity.';
COMMENT ON COLUMN embedding_coverage.model_id IS 'Model.';
COMMENT ON COLUMN embedding_coverage.as_of_date IS 'Date.';
COMMENT ON COLUMN embedding_coverage.expected IS 'Active equities, issuers with a profile, portfolios with a report, or paths of the date''s scenario sets; null where unknown.';
COMMENT ON COLUMN embedding_coverage.present IS 'Entities that have a vector.';
COMMENT ON COLUMN embedding_coverage.missing IS 'Expected less present, at least 0.';

COMMENT ON VIEW embedding_health IS 'Counts, sizes and norms of the embeddings of each model, and how far those of its newest date lie apart; reads every vector.';
COMMENT ON COLUMN embedding_health.cross_section_date IS 'Newest date of the model; null for texts without one.';
COMMENT ON COLUMN embedding_health.compared IS 'Vectors of that date that were compared, at most 256: those whose ids have the smallest hashes.';
COMMENT ON COLUMN embedding_health.nearest_cosine IS 'Median over them of the cosine to the nearest other.';
COMMENT ON COLUMN embedding_health.median_cosine IS 'Median cosine of any two.';
COMMENT ON COLUMN embedding_health.warning IS 'What is wrong; collapsed: the median cosine of at least 10 vectors is above 0.8.';
COMMENT ON COLUMN embedding_health.modality IS 'numeric, text or joint: the table.';
COMMENT ON COLUMN embedding_health.joint_type IS 'Joint type; null for other tables.';
COMMENT ON COLUMN embedding_health.entity_type IS 'Kind of entity; for texts, the source type.';
COMMENT ON COLUMN embedding_health.model_id IS 'Model.';
COMMENT ON COLUMN embedding_health.embeddings IS 'Rows.';
COMMENT ON COLUMN embedding_health.without_vector IS 'Rows whose vector is null.';
COMMENT ON COLUMN embedding_health.min_bytes IS 'Shortest vector, in bytes.';
COMMENT ON COLUMN embedding_health.max_bytes IS 'Longest vector, in bytes.';
COMMENT ON COLUMN embedding_health.min_norm IS 'Smallest norm of the finite vectors.';
COMMENT ON COLUMN embedding_health.max_norm IS 'Largest norm of the finite vectors.';
COMMENT ON COLUMN embedding_health.zero IS 'Vectors of norm 0.';
COMMENT ON COLUMN embedding_health.non_finite IS 'Vectors with NaN or infinite components.';
COMMENT ON COLUMN embedding_health.malformed IS 'Vectors whose length is no whole number of float32 values.';
