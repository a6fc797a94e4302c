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

COMMENT ON FUNCTION find_similar_profiles(text, date, text, int, text, regclass) IS
    'The issuers whose joint profile at one date is most like that of an issuer: exact, over every candidate.';
COMMENT ON FUNCTION find_similar_portfolios(text, date, text, int, regclass) IS
    'The portfolios whose joint vector at one date is most like that of a portfolio: exact, over every candidate.';
COMMENT ON FUNCTION find_similar_stab_scenarios(text, date, text, int, text, date, date, regclass) IS
    'The scenarios, of all dates or a range, that are most like the state of an instrument: exact, over every candidate.';
COMMENT ON FUNCTION find_similar(text, jsonb, date, int, jsonb, text, date, date, regclass) IS
    'The entities of a joint space that are most like the one that a scope describes: exact, over every candidate of the date or range.';

COMMENT ON FUNCTION backfill_numeric_portfolio(date, text[], int, text, text, regclass, regclass) IS
    'Computes and stores the vectors of portfolios at one date from their risk reports.';
COMMENT ON FUNCTION backfill_numeric_scenario(text, int, text, text, regclass, regclass, regclass) IS
    'Computes and stores the vectors of the scenarios of a set from their paths.';
COMMENT ON FUNCTION register_joint_space(text, text, text, jsonb, text, text, text[], jsonb, text) IS
    'Adds a joint space, and its model if that is new.';
COMMENT ON FUNCTION embed_fuse_branches(bigint, boolean, bytea[]) IS
    'Internal: fuses the branches of one key of the running backfill.';
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
