"""A call of every routine of the extension that SQL can call, on the data of tests/t/fault_data.py. Texts name nothing
without its schema and use no operator, so that a session's search_path changes nothing but what the routines do."""

import re

from fault_data import DAY, first_day
from faults import size

_D = f"'{DAY}'::pg_catalog.date"
_FROM = f"{first_day(3)}::pg_catalog.date"
_V = "'\\x0000803f00000040'::pg_catalog.bytea"
_F8 = "'{1,2,3,4}'::pg_catalog.float8[]"
_SPEC = '{"features": ["close"], "price_column": "close", "encoder": "flatten", "window": {"min_fill": 1, "look_back": 3, "short_history": "fail"}}'
_BRANCH = '[{"name": "a", "weight": 1, "table": "numeric_window_embeddings", "entity_type": "INSTRUMENT", "model_id": "num-regime-core-v1"}]'
_FEW = "'{X0001,X0002,X0030}'"

READS = [
    f"SELECT public.cosine_sim({_V}, {_V}), public.dot_product({_V}, {_V}), public.euclidean_dist({_V}, {_V}), public.l2_norm({_V}), public.l2_normalize({_V})",
    f"SELECT public.vector_dim({_V}), public.vector_to_array({_V}), public.pad_to_dim({_V}, 3), public.joint_average({_V}, {_V}), public.joint_average(ARRAY[{_V}], '{{1}}')",
    f"SELECT public.vector_from_array({_F8}), public.vector_from_array('{{1,2}}'::pg_catalog.float4[]), public.vector_from_array('{{1,2}}'::pg_catalog.int4[]), public.vector_from_array('{{1,2}}'::pg_catalog.numeric[])",
    f"SELECT public.pad_to_dim({_F8}, 5), public.pad_to_dim('{{1,2}}'::pg_catalog.float4[], 5), public.pad_to_dim('{{1,2}}'::pg_catalog.int4[], 5), public.pad_to_dim('{{1,2}}'::pg_catalog.numeric[], 5)",
    f"SELECT public.num_window_embed({_F8}, {_F8}, 4), public.num_window_embed('X0001', {_D}), public.num_window_embed('X0001', '{DAY}'::pg_catalog.text), public.num_window_embed('X0002', {_D}, 63, 'num-regime-core-v2')",
    "SELECT public.num_window_agg(p.trade_date, p.close, p.volume, 63, 'num-stab-core-v1') FROM public.prices_daily p GROUP BY p.instrument_id ORDER BY p.instrument_id",
    "SELECT public.num_window_agg(p.trade_date, p.close, p.volume, 5, 'num-stab-core-v1') OVER (PARTITION BY p.instrument_id ORDER BY p.trade_date ROWS 6 PRECEDING) FROM (SELECT * FROM public.prices_daily ORDER BY instrument_id, trade_date LIMIT 500) p",
    "SELECT public.embed_market_sums(s.series, 10) FROM (SELECT public.embed_price_series(p.trade_date, p.close, p.volume) AS series FROM public.prices_daily p GROUP BY p.instrument_id ORDER BY p.instrument_id) s",
    "SELECT md5(public.embed_price_panel(p.instrument_id, p.trade_date, p.close, p.volume)), md5(public.embed_price_panel(p.instrument_id, p.trade_date, p.adjusted_close, p.volume, p.close)) FROM (SELECT * FROM public.prices_daily ORDER BY instrument_id, trade_date LIMIT 5000) p",
    f"SELECT public.embed_nearest(j.joint_id, j.as_of_date, j.entity_scope, j.vector, j.vector, 3, '{{}}', 'x') FROM (SELECT * FROM public.joint_embeddings ORDER BY joint_id LIMIT 50) j GROUP BY j.joint_id ORDER BY j.joint_id",
    "SELECT public.embed_partition('X', 7), public.embed_version(), public.embed_qualified_name('public.prices_daily'), public.embed_job_is_visible('postgres'), public.embed_job_holder('1'::pg_catalog.int8)",
    "SELECT public.text_profile_document('{\"risk_summary\": \"a b\"}'), public.embed_profile_document('a', 'b', 'c'), public.text_token_count('a b'), public.text_embed('{a,b}'), public.text_profile_embed('{\"risk_summary\": \"a b\"}'::pg_catalog.jsonb), public.text_profile_embed('a'::pg_catalog.text)",
    "SELECT m.model_id, m.bytes FROM public.embed_session_text_models() m",
    "SELECT m.model_id, m.ok FROM public.embed_check_models() m",
    f"SELECT s.* FROM public.find_similar('PROFILE_CORE_V0', '{{\"issuer_id\": \"I0001\"}}', {_D}) s",
    f"SELECT s.* FROM public.find_similar('PROFILE_CORE_V0', '{{\"issuer_id\": \"I0001\"}}', {_D}, 30, '{{\"region\": \"EU\"}}', start_date => {_FROM}) s",
    f"SELECT s.* FROM public.find_similar_profiles('I0002', {_D}, region => 'EU') s",
    f"SELECT s.* FROM public.find_similar_portfolios('P00002', {_D}) s",
    f"SELECT s.* FROM public.find_similar_stab_scenarios('X0002', {_D}, scenario_set_id => 'S') s",
    f"SELECT s.* FROM public.show_joint('PROFILE_CORE_V0', {_D}, scope => '{{\"region\": \"EU\"}}') s",
    f"SELECT s.* FROM public.show_joint_profiles(start_date => {_FROM}, end_date => {_D}) s",
    f"SELECT s.* FROM public.show_joint_portfolios({_D}, portfolio_id => 'P00003') s",
    f"SELECT s.* FROM public.show_joint_stab_fragility({_D}, region => 'EU') s",
    f"SELECT s.* FROM public.explain_similarity('PROFILE_CORE_V0', 'I0001', 'I0002', {_D}) s",
    f"SELECT s.* FROM public.explain_numeric_similarity('num-regime-core-v1', 'X0001', 'X0002', {_D}) s",
    "SELECT s.* FROM public.embed_component_labels('num-regime-core-v2', 20, 63) s",
    f"SELECT s.* FROM public.embed_branch_parts('num-portfolio-core-v2'::pg_catalog.text, 'PORTFOLIO'::pg_catalog.text, '{{P00001,P00002}}'::pg_catalog.text[], {_D}, 1, ARRAY[{_V}, {_V}], false, NULL::pg_catalog.int8, NULL::pg_catalog.int4, NULL::pg_catalog.text, NULL::pg_catalog.regclass, 'public.portfolio_risk_reports'::pg_catalog.regclass, NULL::pg_catalog.regclass, NULL::pg_catalog.regclass) s",
    f"SELECT s.* FROM public.embed_branch_parts('num-stab-core-v2'::pg_catalog.text, 'INSTRUMENT'::pg_catalog.text, '{{X0001,X0002}}'::pg_catalog.text[], {_D}, 63, ARRAY[{_V}, {_V}], true, 1::pg_catalog.int8, NULL::pg_catalog.int4, NULL::pg_catalog.text, 'public.numeric_window_embeddings'::pg_catalog.regclass, NULL::pg_catalog.regclass, 'public.prices_daily'::pg_catalog.regclass, 'public.instruments'::pg_catalog.regclass) s",
    f"SELECT public.embed_named_row('public.portfolio_risk_reports'::pg_catalog.regclass, 'PORTFOLIO'::pg_catalog.text, 'P00001'::pg_catalog.text, {_D}, '{{leverage}}'::pg_catalog.text[]), public.embed_place_back({_V}, 3, 1::pg_catalog.int8)",
    f"SELECT s.* FROM public.embed_named_parts('num-portfolio-core-v2'::pg_catalog.text, '{{\"leverage\": 2}}'::pg_catalog.jsonb, {_F8}) s",
    f"SELECT s.* FROM public.embed_window_parts('num-stab-core-v2'::pg_catalog.text, 'X0001'::pg_catalog.text, {_D}, 63, {_F8}, {_F8}, 'public.prices_daily'::pg_catalog.regclass, 'public.instruments'::pg_catalog.regclass) s",
    f"SELECT s.* FROM public.embed_shared_parts('num-stab-core-v2'::pg_catalog.text, 'X0001'::pg_catalog.text, 'X0002'::pg_catalog.text, {_D}, 63, 384, NULL::pg_catalog.int8, 'public.prices_daily'::pg_catalog.regclass, 'public.instruments'::pg_catalog.regclass) s",
    "SELECT public.embed_day_block(70), public.embed_is_projected(m.spec, 504), public.embed_window_step(m.spec) FROM public.embed_models m WHERE m.model_id OPERATOR(pg_catalog.=) 'num-regime-core-v2'",
    "SELECT s.* FROM public.embed_space_places('PROFILE_CORE_V0', 'joint-profile-core-v2') s",
    "SELECT s.* FROM public.embed_space_places('PROFILE_CORE_V0', 'joint-profile-core-v1') s",
    "SELECT s.* FROM public.embed_coverage() s ORDER BY s.modality, s.joint_type, s.entity_type, s.model_id, s.as_of_date",
    "SELECT s.* FROM public.embed_health() s ORDER BY s.modality, s.joint_type, s.entity_type, s.model_id",
    "SELECT s.* FROM public.embed_joint_profiles() s ORDER BY s.joint_id",
    "SELECT s.* FROM public.embed_joint_portfolios() s ORDER BY s.joint_id",
    "SELECT s.* FROM public.embedding_coverage s ORDER BY s.modality, s.joint_type, s.entity_type, s.model_id, s.as_of_date",
    "SELECT s.* FROM public.embedding_health s ORDER BY s.modality, s.joint_type, s.entity_type, s.model_id",
    "SELECT s.* FROM public.joint_profiles s ORDER BY s.joint_id",
    "SELECT s.* FROM public.joint_portfolios s ORDER BY s.joint_id",
    "SELECT s.job_id, s.state FROM public.embed_job_progress s",
    "SELECT s.model_id FROM public.embed_loaded_models s ORDER BY s.model_id",
    "SELECT c.* FROM public.embed_cross_sections() c ORDER BY c.modality, c.joint_type, c.entity_type, c.model_id",
    "SELECT public.embed_spread(n.entity_id::pg_catalog.text, NULL, n.vector) FROM public.numeric_window_embeddings n GROUP BY n.model_id, n.as_of_date ORDER BY n.model_id, n.as_of_date",
    "SELECT s.item, s.warning FROM public.embed_status() s WHERE s.item OPERATOR(pg_catalog.!~~) 'jobs%' ORDER BY s.item",
    "SELECT s.item, s.warning FROM public.embed_library_status() s ORDER BY s.item",
    "SELECT public.unload_text_models()",
]
# Each in a transaction that is rolled back; what it wrote is compared too.
WRITES = [
    f"SELECT s.* FROM public.backfill_numeric({_D}, market_id => 'M', target => 'public.sink_numeric') s",
    f"SELECT s.* FROM public.backfill_numeric({_D}, market_id => 'M', on_existing => 'replace') s",
    f"SELECT s.* FROM public.backfill_numeric({_D}, market_id => 'M', model_id => 'num-regime-core-v2', target => 'public.sink_numeric') s",
    f"SELECT s.* FROM public.backfill_numeric(start_date => {_FROM}, end_date => {_D}, instrument_ids => {_FEW}, on_existing => 'skip', target => 'public.sink_numeric') s",
    f"SELECT s.* FROM public.backfill_numeric(start_date => {first_day(3)}::pg_catalog.text, end_date => '{DAY}'::pg_catalog.text, market_id => 'M', target => 'public.sink_numeric') s",
    f"SELECT s.* FROM public.backfill_numeric_portfolio({_D}, target => 'public.sink_numeric') s",
    "SELECT s.* FROM public.backfill_numeric_scenario('S', target => 'public.sink_numeric') s",
    f"SELECT s.* FROM public.backfill_numeric_profile({_D}, target => 'public.sink_numeric') s",
    f"SELECT s.* FROM public.backfill_numeric_profile({_D}, model_id => 'num-portfolio-core-v2', entity_type => 'PORTFOLIO', entity_column => 'portfolio_id', source => 'public.portfolio_risk_reports', target => 'public.sink_numeric') s",
    f"SELECT s.* FROM public.backfill_profile_text({_D}, max_entities => 2, target => 'public.sink_text') s",
    f"SELECT s.* FROM public.backfill_profile_text(start_date => {_FROM}, end_date => {_D}, max_entities => 2, target => 'public.sink_text') s",
    f"SELECT s.* FROM public.backfill_joint('PROFILE_CORE_V0', {_D}, target => 'public.sink_joint') s",
    f"SELECT s.* FROM public.backfill_joint_profiles({_D}) s",
    f"SELECT s.* FROM public.backfill_joint_profiles({_D}, target => 'public.sink_joint') s",
    f"SELECT s.* FROM public.backfill_joint_portfolios({_D}, target => 'public.sink_joint') s",
    f"SELECT s.* FROM public.backfill_joint_stab_fragility({_D}, market_id => 'M', target => 'public.sink_joint') s",
    "SELECT s.* FROM public.backfill_joint_stab_scenarios('S', target => 'public.sink_joint') s",
    # Tables without a key are read and written in other words.
    f"SELECT s.* FROM public.backfill_numeric({_D}, instrument_ids => {_FEW}, on_existing => 'replace', target => 'public.free_numeric') s",
    f"SELECT s.* FROM public.backfill_numeric({_D}, instrument_ids => {_FEW}, on_existing => 'update', target => 'public.free_numeric') s",
    f"SELECT s.* FROM public.backfill_numeric({_D}, instrument_ids => {_FEW}, on_existing => 'append', target => 'public.free_numeric') s",
    f"SELECT s.* FROM public.backfill_profile_text({_D}, max_entities => 2, on_existing => 'replace', target => 'public.free_text') s",
    f"SELECT s.* FROM public.backfill_profile_text({_D}, max_entities => 2, target => 'public.free_text') s",
    f"SELECT s.* FROM public.backfill_joint('PROFILE_CORE_V0', {_D}, on_existing => 'update', target => 'public.free_joint') s",
    f"SELECT s.* FROM public.backfill_joint('PROFILE_CORE_V0', {_D}, on_existing => 'replace', target => 'public.free_joint') s",
    f"SELECT s.* FROM public.backfill_joint('PROFILE_CORE_V0', {_D}, on_existing => 'skip', target => 'public.free_joint') s",
    f"SELECT s.* FROM public.backfill_joint_profiles({_D}, numeric_embeddings => 'public.free_numeric', text_embeddings => 'public.free_text', target => 'public.free_joint') s",
    f"SELECT s.* FROM public.find_similar_profiles('I0002', {_D}, embeddings => 'public.free_joint') s",
    f"SELECT public.register_numeric_model('mine', '{_SPEC}')",
    "SELECT public.register_text_model('mytext', 'all-MiniLM-L6-v2')",
    f"SELECT public.register_joint_space('MINE', 'joint-mine', 'INSTRUMENT', '{_BRANCH}')",
    "SELECT public.drop_embedding_model('mine0')",
    f"SELECT s.* FROM public.fit_embedding_model('fitted', 'num-regime-core-v2', {_D}, 252, 5) s",
    f"SELECT s.* FROM public.fit_embedding_model('fitted', 'text-profile-v1', {_D}, components => 5) s",
    f"SELECT s.* FROM public.fit_embedding_model('fitted', 'num-profile-core-v2', {_D}) s",
    f"SELECT s.* FROM public.check_no_lookahead('num-regime-core-v1', 'X0001', {_D}) s",
    "SELECT s.* FROM public.embed_migrate('public') s",
]
# They commit, and leave their rows to be removed.
CALLS = [
    f"CALL public.backfill_numeric_range({_FROM}, {_D}, market_id => 'M', target => 'public.sink_numeric', batch_entities => {size(20, 2)})",
    f"CALL public.backfill_profile_text_range({_FROM}, {_D}, max_entities => 2, target => 'public.sink_text')",
    f"CALL public.backfill_joint_range('PROFILE_CORE_V0', {_FROM}, {_D}, target => 'public.sink_joint', batch_entities => {size(50, 2)})",
]

# Called by running backfills, jobs and checks only: the calls above reach them. pgvector has tests of its own.
INTERNAL = re.compile(r"embed_enable_pgvector|embed_check_(copies|prices|rows|joint)|embed_(staged_rows|job_|(numeric|text|joint)_job_|partition_of|batch_size)")


def make_free(session):
    """The tables free_*: without a key, some rows twice."""
    for kind, key in (("numeric_window", "entity_id"), ("text", "source_id"), ("joint", "joint_id")):
        free = "free_" + kind.split("_")[0]
        session.execute(f"CREATE TABLE {free} AS SELECT * FROM {kind}_embeddings; INSERT INTO {free} SELECT * FROM {free} WHERE hashtext({key}::text) % 7 = 0")
