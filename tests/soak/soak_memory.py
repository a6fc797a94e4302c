"""A million rows through every function and every backfill in one session: the backend's own memory stays flat.

Sampled while it runs: what the peak of the later three quarters is above that of the first one. PE_ROWS rows, a million by
default; of sentences through the model, which take 10 ms each, PE_TEXTS, 20,000; of words, which take one or two, PE_WORDS,
a million as well, or as many as go through in PE_MINUTES. A million texts and profiles go through a small encoder, too: all
but the network itself is what those of the published model go through.
"""

import json
import os
import shutil
import threading
import time

import pytest
from fault_data import DAY, first_day
from faults import record
from small_encoder import graph, write
from test_model import tokenizer
from test_numeric_memory import anonymous

ROWS, TEXTS, WORDS = (int(os.environ.get(f"PE_{name}", default)) for name, default in (("ROWS", "1000000"), ("TEXTS", "20000"), ("WORDS", "1000000")))
MINUTES = float(os.environ.get("PE_MINUTES", "inf"))
FLAT = 16 << 20
VECTORS = "(SELECT decode(repeat(md5(i::text), 24), 'hex') AS b, l2_normalize(vector_from_array(ARRAY[sin(i), cos(i), i, 1, 2, 3, 4, 5]::float8[])) AS v, ARRAY[i, 1.5, 2]::float8[] AS a, i FROM generate_series(1, {n}) i) v"
# A value of every row, for count().
FUNCTIONS = {
    "vector_from_array": "vector_from_array(v.a)",
    "vector_to_array": "vector_to_array(v.b)",
    "pad_to_dim": "pad_to_dim(v.v, 384), pad_to_dim(v.a, 5)",
    "norms": "l2_norm(v.v), l2_normalize(v.v), vector_dim(v.b)",
    "distances": "cosine_sim(v.v, v.v), dot_product(v.v, v.v), euclidean_dist(v.v, v.v)",
    "joint_average": "joint_average(v.v, v.v), joint_average(ARRAY[v.v, v.v], '{1,2}')",
    "num_window_embed": "num_window_embed(v.a, v.a, 3), num_window_embed(v.a, v.a, 3, 'num-stab-core-v2')",
    "text_profile_document": "text_profile_document(jsonb_build_object('risk_summary', v.i::text, 'business_description', 'makes pumps'))",
    "embed_profile_document": "embed_profile_document('a', v.i::text, 'c')",
    "text_token_count": "text_token_count('makes pumps of kind ' || v.i)",
    "embed_partition": "embed_partition('X' || v.i, 7)",
    "embed_place_back": "embed_place_back(v.v, 3, 1::bigint)",
    "errors": "public.memory_error(v.b)",
}
STATEMENTS = {
    "embed_spread": "SELECT embed_spread('X' || i % 500, NULL, vector_from_array(ARRAY[sin(i), cos(i), i, 1, 2, 3, 4, 5])) FROM generate_series(1, {n}) i GROUP BY i / 5000",
    "num_window_agg": "SELECT count(w) FROM (SELECT num_window_agg(date '2020-01-01' + i % 100, 10 + sin(i), 5, 63, 'num-regime-core-v1') AS w FROM generate_series(1, {n}) i GROUP BY i / 100) x",
    "num_window_agg, moving": "SELECT count(w) FROM (SELECT num_window_agg(date '2000-01-01' + i, 10 + sin(i), 5, 5, 'num-stab-core-v1') OVER (ORDER BY i ROWS 6 PRECEDING) AS w FROM generate_series(1, {n}) i) x",
    "embed_nearest": "SELECT embed_nearest(i, date '2020-01-01', '{{\"entity_id\": \"x\"}}', vector_from_array(ARRAY[sin(i), cos(i)]), vector_from_array('{{1,2}}'::float8[]), 10, '{{}}', 'x') FROM generate_series(1::bigint, {n}) i",
    "embed_price_panel": "SELECT length(embed_price_panel('X' || i / 500, date '2020-01-01' + i % 500, 10 + sin(i), 5)::text) FROM generate_series(1, {n}) i GROUP BY i / 5000",
    "embed_market_sums": "SELECT length(embed_market_sums(s, 10)::text) FROM (SELECT embed_price_series(date '2020-01-01' + i % 500, 10 + sin(i), 5) AS s FROM generate_series(1, {n}) i GROUP BY i / 500) x",
}
_ALL = f"start_date => {first_day(40)}, end_date => '{DAY}'"
# What writes, the rows are counted by what it returns; what reads, by what it returns, too.
BACKFILLS = {
    "backfill_numeric": (f"backfill_numeric({_ALL}, market_id => 'M', target => 'sink_numeric')", "sink_numeric"),
    "backfill_numeric, v2": (f"backfill_numeric({_ALL}, market_id => 'M', model_id => 'num-regime-core-v2', target => 'sink_numeric')", "sink_numeric"),
    "backfill_numeric_portfolio": (f"backfill_numeric_portfolio('{DAY}', max_entities => 100000, target => 'sink_numeric')", "sink_numeric"),
    "backfill_numeric_scenario": ("backfill_numeric_scenario('MANY', max_entities => 100000, target => 'sink_numeric')", "sink_numeric"),
    "backfill_numeric_profile": (f"backfill_numeric_profile('{DAY}', source => 'many_profiles', target => 'sink_numeric')", "sink_numeric"),
    "backfill_joint_profiles": (f"backfill_joint_profiles({_ALL}, max_entities => 100000, target => 'sink_joint')", "sink_joint"),
    "backfill_joint_portfolios": (f"backfill_joint_portfolios('{DAY}', max_entities => 100000, target => 'sink_joint')", "sink_joint"),
    "backfill_joint_stab_fragility": (f"backfill_joint_stab_fragility({_ALL}, market_id => 'M', max_entities => 100000, target => 'sink_joint')", "sink_joint"),
    "backfill_joint_stab_scenarios": ("backfill_joint_stab_scenarios('MANY', max_entities => 100000, target => 'sink_joint')", "sink_joint"),
    # Computed once, by the call that comes before those that are watched, and found unchanged from then on.
    "backfill_profile_text, unchanged": (f"backfill_profile_text('{DAY}', max_entities => 100000, profiles => 'many_profiles', target => 'sink_text')", None),
    "show_joint_profiles": ("show_joint_profiles(start_date => '2000-01-01', max_rows => 100000)", None),
    "find_similar": (f"find_similar('PROFILE_CORE_V0', '{{\"issuer_id\": \"I0001\"}}', '{DAY}', 10000, start_date => '2000-01-01', model_id => 'joint-profile-core-v1')", None),
}
# Entities that are quick to read, so that a million of them are not a matter of hours.
MANY = f"""
INSERT INTO scenario_sets (scenario_set_id, name, category, horizon_days, num_paths, base_date_end) VALUES ('MANY', 'many', 'TEST', 1, 20000, '{DAY}');
INSERT INTO scenario_paths (scenario_set_id, scenario_id, horizon_index, instrument_id, factor_id, macro_id, return_value, price)
SELECT 'MANY', k, 1, x, '__NONE__', '__NONE__', 0.01 * sin(k), 100 FROM generate_series(0, 19999) k, unnest('{{X0001,X0002}}'::text[]) x;
CREATE TABLE many_profiles (LIKE profiles INCLUDING DEFAULTS INCLUDING IDENTITY);
INSERT INTO many_profiles (issuer_id, as_of_date, structured, risk_flags)
SELECT 'M' || n, '{DAY}', jsonb_build_object('risk_summary', 'risk ' || n % 100, 'gross_margin', n % 97 / 100.0, 'net_margin', n % 89 / 100.0), '{{}}' FROM generate_series(1, 10000) n;
ANALYZE scenario_paths, many_profiles;
SELECT count(*) FROM backfill_numeric_scenario('MANY', max_entities => 100000);
"""


class Watch:
    """Samples the memory of a backend until it is told to stop."""

    def __init__(self, session):
        self.pid, self.samples, self.done = session.info.backend_pid, [], threading.Event()
        self.thread = threading.Thread(target=self._run)
        self.thread.start()

    def _run(self):
        while not self.done.wait(0.01):
            self.samples.append((time.monotonic(), anonymous(self.pid)))

    def growth(self):
        """Bytes above the first sample, at the peak; and bytes that the later three quarters are above the first one."""
        self.done.set()
        self.thread.join()
        first = self.samples[0][0] + (self.samples[-1][0] - self.samples[0][0]) / 4
        early = max(size for at, size in self.samples if at <= first)
        peak = max(size for _, size in self.samples)
        return peak - self.samples[0][1], peak - early


def judge(name, rows, seconds, watch):
    peak, later = watch.growth()
    record(f"memory: {name}", rows=rows, seconds=round(seconds, 1), peak_mb=round(peak / 1e6, 1), later_mb=round(later / 1e6, 1))
    assert later < FLAT, f"{name}: {later} bytes more after the first quarter"


@pytest.fixture
def session(fault_cluster, fault_db):
    with fault_cluster.connect(fault_db) as own:
        own.execute("SET client_min_messages = error; SET max_parallel_workers_per_gather = 0; SET enable_hashagg = off")
        own.execute("CREATE FUNCTION memory_error(v bytea) RETURNS text LANGUAGE plpgsql AS $$BEGIN RETURN public.l2_norm(substr(v, 1, 3)); EXCEPTION WHEN OTHERS THEN RETURN SQLSTATE; END$$")
        yield own


@pytest.mark.parametrize("name", [*FUNCTIONS, *STATEMENTS])
def test_a_million_rows_through_a_function(session, name):
    if name in FUNCTIONS:
        statement = f"SELECT count(row({FUNCTIONS[name].replace('{', '{{').replace('}', '}}')})) FROM {VECTORS}"
    else:
        statement = STATEMENTS[name]
    session.execute(statement.format(n=1000).encode())
    watch, began = Watch(session), time.monotonic()
    session.execute(statement.format(n=ROWS).encode())
    judge(name, ROWS, time.monotonic() - began, watch)


@pytest.mark.parametrize("name", BACKFILLS)
def test_a_million_rows_through_a_backfill(session, name):
    call, sink = BACKFILLS[name]
    if "many" in call.lower():
        session.execute(MANY)
    session.execute(f"SELECT count(*) FROM {call}")
    watch, began, rows = Watch(session), time.monotonic(), 0
    while rows < ROWS:
        if sink:
            session.execute(f"TRUNCATE {sink}")
        # Several in one transaction, as far as the disk is not filled by them.
        (done,) = session.execute(f"SELECT count(*) FROM generate_series(1, 4), LATERAL {call}").fetchone()
        assert done > 0
        rows += done
    judge(name, rows, time.monotonic() - began, watch)


@pytest.fixture
def small(session, fault_cluster):
    """A registered model that is quick to run."""
    onnx = pytest.importorskip("onnx")
    root = fault_cluster.home / "soak-models"
    shutil.rmtree(root, ignore_errors=True)
    (root / "small").mkdir(parents=True)
    os.chmod(root, 0o755)
    write(root / "small", graph(onnx).SerializeToString(), json.dumps(tokenizer()).encode())
    session.execute(f"SET prometheus_embed.model_directory = '{root}'; SELECT register_text_model('small', 'small')")
    yield "small"
    shutil.rmtree(root)


@pytest.fixture(params=["published", "small"])
def model(request):
    """A model, and whether it is the published one."""
    published = request.param == "published"
    return "text-profile-v1" if published else request.getfixturevalue("small"), published


SENTENCES = "repeat('credit risk is rising ', 1 + (i + %s) %% 9) || i"


def through_the_model(session, name, text, model_id, texts, at_once):
    """That many texts, as far as PE_MINUTES allow."""
    statement = f"SELECT cardinality(text_embed(ARRAY(SELECT {text} FROM generate_series(1, {at_once}) i), %s))"
    session.execute(statement, [0, model_id])
    watch, began, rows = Watch(session), time.monotonic(), 0
    while rows < texts and time.monotonic() < began + 60 * MINUTES:
        session.execute(statement, [rows // at_once, model_id])
        rows += at_once
    judge(name, rows, time.monotonic() - began, watch)


def test_sentences_through_the_model(session):
    through_the_model(session, "text_embed", SENTENCES, "text-profile-v1", TEXTS, 500)


def test_words_through_the_model(session):
    words = "chr(97 + (i + %s) %% 26) || chr(97 + i %% 25)"
    through_the_model(session, "text_embed, words", words, "text-profile-v1", WORDS, 500)


def test_sentences_through_a_small_model(session, small):
    through_the_model(session, "text_embed, small model", SENTENCES, small, ROWS, 5_000)


def test_documents_through_a_small_model(session, small):
    """One by one, as a query over a table asks for them."""
    document = f"count(text_profile_embed('risk of the pump ' || i, '{small}')) + count(text_profile_embed(jsonb_build_object('risk_summary', 'pump ' || i), '{small}'))"
    statement = f"SELECT {document} FROM generate_series(1, %s) i"
    session.execute(statement, [1000])
    watch, began = Watch(session), time.monotonic()
    assert session.execute(statement, [ROWS // 2]).fetchone() == (ROWS // 2 * 2,)
    judge("text_profile_embed, small model", ROWS, time.monotonic() - began, watch)


def test_texts_through_the_backfill(session, model):
    """Each computed and written anew in each call: of a word each through the published model."""
    model_id, published = model
    profiles, total = (5_000, WORDS) if published else (20_000, ROWS)
    text = "chr(97 + n % 26) || chr(97 + n % 25)" if published else "repeat('risk of the pump ', 1 + n % 9) || n"
    session.execute(
        "CREATE TABLE words (LIKE profiles INCLUDING DEFAULTS INCLUDING IDENTITY);"
        f"INSERT INTO words (issuer_id, as_of_date, structured, risk_flags) SELECT 'W' || n, '{DAY}',"
        f"  jsonb_build_object('risk_summary', {text}), '{{}}' FROM generate_series(1, {profiles}) n"
    )
    call = f"SELECT count(*) FILTER (WHERE b.status = ANY (%s)) FROM backfill_profile_text('{DAY}', %s, on_existing => 'replace', profiles => 'words', target => 'sink_text') b"
    assert session.execute(call, [["inserted"], model_id]).fetchone() == (profiles,)
    watch, began, rows = Watch(session), time.monotonic(), 0
    while rows < total and time.monotonic() < began + 60 * MINUTES:
        (done,) = session.execute(call, [["replaced"], model_id]).fetchone()
        assert done == profiles
        rows += done
        # Replaced rows stay until they are cleared away, and the disk has an end.
        session.execute("VACUUM sink_text")
    judge("backfill_profile_text, " + ("words" if published else "small model"), rows, time.monotonic() - began, watch)
