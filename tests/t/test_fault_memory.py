"""Memory that runs out: on a server whose processes may take little, whatever asks for more gets 53200, or does with less;
no process dies of it, and the session goes on."""

import psycopg
import pytest
from faults import Gates, record, size
from servers import server

# Expressions that ask for more than there is, each in a way of its own; {n} million bytes.
GREEDY = {
    "few long texts": "cardinality(text_embed(ARRAY(SELECT repeat('x', 1000000) FROM generate_series(1, {n}))))",
    "a long text": "length(text_profile_embed(repeat('x', {n} * 1000000)))",
    "a long document": "length(text_profile_document(jsonb_build_object('risk_summary', repeat('x', {n} * 900000))))",
    "many numbers": "length(vector_from_array(array_fill(1::float8, ARRAY[{n} * 125000])))",
    "a wide window": "length(num_window_embed(array_fill(1::float8, ARRAY[{n} * 60000]), array_fill(1::float8, ARRAY[{n} * 60000]), {n} * 60000))",
    "a long vector": "cardinality(vector_to_array(decode(repeat('00', {n} * 400000), 'hex')))",
    "many vectors": "length(joint_average(ARRAY(SELECT decode(repeat('00', 60000), 'hex') FROM generate_series(1, {n} * 10)), array_fill(1::float8, ARRAY[{n} * 10])))",
    "a group of many rows": "(SELECT length(num_window_agg(date '0001-01-01' + i, 1, 1, 63, 'num-regime-core-v1')) FROM generate_series(1, {n} * 8000) i)",
    "a panel": "(SELECT length(embed_price_panel('X' || i / 1000, date '2000-01-01' + i % 1000, 1, 1)) FROM generate_series(1, {n} * 20000) i)",
    "many series": "(SELECT length(embed_market_sums(s, 10)) FROM (SELECT embed_price_series(date '2000-01-01' + i % 20000, 1, 1) AS s FROM generate_series(1, {n} * 20000) i GROUP BY i / 20000) x)",
    # Regression: memory that ran out to the last page while a document was printed stopped the server with a PANIC, since
    # there was none to copy the error.
    "a spec of many features": "register_numeric_model('greedy', jsonb_build_object('features', (SELECT jsonb_agg('close'::text) FROM generate_series(1, {n} * 10000))))",
    "a space of many branches": "register_joint_space('GREEDY', 'greedy', 'ISSUER', (SELECT jsonb_agg('{{\"name\": \"a\"}}'::jsonb) FROM generate_series(1, {n} * 5000)))",
    "a wide look-back": "(SELECT count(*) FROM fit_embedding_model('greedy', 'num-regime-core-v2', '2024-06-28', 2147483647, 20))",
    "many entities": "(SELECT count(*) FROM backfill_numeric('2024-06-28'::date, instrument_ids => ARRAY(SELECT repeat('x', 1000) || i FROM generate_series(1, {n} * 1000) i)))",
    "many portfolios": "(SELECT count(*) FROM backfill_numeric_portfolio('2024-06-28', ARRAY(SELECT repeat('x', 1000) || i FROM generate_series(1, {n} * 1000) i)))",
    "long profiles": "(SELECT count(*) FROM backfill_profile_text('2024-06-28'::date, profiles => 'long_profiles'))",
    "profiles of many numbers": "(SELECT count(*) FROM backfill_numeric_profile('2024-06-28', source => 'long_profiles'))",
    "the nearest of all": "(SELECT embed_nearest(i, date '2020-01-01', '{{}}', vector_from_array(ARRAY[sin(i), cos(i)]), vector_from_array('{{1,2}}'::float8[]), 2147483647, '{{}}', 'x') FROM generate_series(1::bigint, {n} * 4000) i)",
}
LONG = """
CREATE TABLE long_profiles (LIKE profiles INCLUDING DEFAULTS INCLUDING IDENTITY);
INSERT INTO long_profiles (issuer_id, as_of_date, structured, risk_flags)
SELECT 'L' || n, '2024-06-28', jsonb_build_object('risk_summary', repeat('x', 1000000),
       'fundamentals', (SELECT jsonb_object_agg('number ' || i, i) FROM generate_series(1, 20000) i)), '{}' FROM generate_series(1, 30) n;
"""
# Regression: later servers print a document in less memory, so that it ran out in our copy, which ended the process.
REFUSED = {"a spec of many features", "a space of many branches"}
MEGABYTES = 700
# Those that are quick, for `make test`.
QUICK = ["a long document", "many numbers", "a spec of many features", "a space of many branches", "many entities", "many portfolios"]


@pytest.fixture(scope="module")
def small(cluster):
    """A session of a server whose processes may take MEGABYTES of address space, model and shared buffers included."""
    with server(cluster, "memory", settings="fsync = off\nwork_mem = 4MB\nmax_parallel_workers_per_gather = 0\n") as own:
        own.execute("CREATE EXTENSION prometheus_embed; SELECT embed_migrate()")
        own.execute(LONG)
        own.stop()
        own.memory = MEGABYTES << 20
        own.start()
        yield own


@pytest.mark.parametrize("greed", size(QUICK, GREEDY))
def test_memory_that_runs_out_is_an_error(small, greed):
    gates = Gates(small, "postgres")
    with small.connect("postgres") as session:
        answer = "SELECT num_window_embed('{1,2,3}'::float8[], '{1,2,3}'::float8[], 3), text_profile_embed('pumps'::text)"
        expected = session.execute(answer).fetchone()
        codes = []
        for n in size([MEGABYTES // 10, MEGABYTES // 3], [MEGABYTES // 10, MEGABYTES // 3, MEGABYTES // 2, MEGABYTES]):
            session.execute("SET statement_timeout = '20s'")
            try:
                session.execute(f"SELECT {GREEDY[greed].format(n=n)}".encode())
                codes.append("00000")
            except psycopg.Error as error:
                codes.append(error.sqlstate)
            gates.check()
            assert session.execute(answer).fetchone() == expected
    if greed in REFUSED:
        assert "54000" in codes
    record(f"memory runs out: {greed}", codes=codes)
    gates.close()
