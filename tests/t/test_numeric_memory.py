"""Memory of the backend while it computes: bounded, whatever the number of entities, and flat over a million calls."""

import contextlib
import os
import threading
import time
from pathlib import Path

import pytest
from numeric_data import fill

MB = 1 << 20
# What an instrument's name takes at most: in the query that builds the argument, in it, in our list, and in what is
# asked of the prices. Its prices would take three times as much.
NAME = 500
# PE_LONG=1: the numbers that are promised; else a short form that still shows a leak of some bytes per call.
CALLS = 1_000_000 if os.environ.get("PE_LONG") == "1" else 200_000


def anonymous(pid):
    """Private memory of a process, in bytes."""
    for line in Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024
    return pytest.skip("this kernel does not tell RssAnon")


@contextlib.contextmanager
def peak_growth(connection):
    """Yields a list that holds, after the block, how much the backend grew at its peak in the block."""
    pid, result, done = connection.info.backend_pid, [], threading.Event()
    try:
        base = peak = anonymous(pid)
    except PermissionError:
        pytest.skip("may not read the memory of the server's processes")

    def watch():
        nonlocal peak
        while not done.wait(0.002):
            peak = max(peak, anonymous(pid))

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield result
    finally:
        done.set()
        thread.join()
        result.append(peak - base)


@pytest.fixture(scope="module")
def many(module_db):
    """Prices of 16,000 instruments, 65 days each."""
    module_db.execute(
        """
        CREATE TABLE many AS
        SELECT format('E%s', lpad(i::text, 5, '0')) AS instrument_id, date '2024-06-28' - d AS trade_date,
               50 + i % 97 + sin(d) AS close, 1000.0 + d AS volume
          FROM generate_series(1, 16000) i, generate_series(0, 64) d;
        ANALYZE many;
        """
    )
    return module_db


# What is asked of the instruments, the statuses that it gives, and the entries for each.
RUNS = {
    "one date": ("'2024-06-28'", "inserted", 1),
    "a range": ("start_date => '2024-06-24', end_date => '2024-06-28', window_days => 45", "inserted", 5),
    "a range that fails": ("start_date => '2024-06-24', end_date => '2024-06-28', window_days => 200", "failed", 5),
}


def backfill(session, days, status, entities, target):
    """Seconds and bytes that a backfill of so many instruments takes. A first one, of a few, loads what every session
    loads once."""
    run = f"""SELECT count(*) FROM backfill_numeric({days}, prices => 'many', target => '{target}',
                 instrument_ids => (SELECT array_agg(format('E%%s', lpad(i::text, 5, '0'))) FROM generate_series(1, %s) i))
               WHERE status = '{status}'"""
    session.execute("TRUNCATE " + target)
    session.execute(run, (10,))
    session.execute("TRUNCATE " + target)
    start = time.monotonic()
    with peak_growth(session) as growth:
        done = session.execute(run, (entities,)).fetchone()[0]
    seconds = time.monotonic() - start
    print(f"{days}, {entities} entities: {growth[0] / MB:.1f} MB, {seconds:.2f} s")
    return done, seconds, growth[0]


@pytest.mark.parametrize("run", RUNS)
def test_memory_does_not_grow_with_the_number_of_entities(many, connect, run):
    """Prices are held for some three thousand instruments at a time. From the second whole batch on nothing grows but the
    list of names, which the caller's query builds too, and the result, up to work_mem. Regression: each batch left its
    arguments."""
    days, status, each = RUNS[run]
    growth = {}
    for entities in (8_000, 16_000):
        done, _, growth[entities] = backfill(connect(many), days, status, entities, "numeric_window_embeddings")
        assert done == entities * each
    assert growth[8_000] < 50 * MB
    assert growth[16_000] < growth[8_000] + 5 * MB + 8_000 * NAME


def test_without_a_key_time_grows_with_the_number_of_entities_only(many, connect):
    """Regression: without a unique key, each key was looked up by a scan of its own: 48 s."""
    many.execute("CREATE TABLE IF NOT EXISTS sink AS TABLE numeric_window_embeddings")
    seconds = [backfill(connect(many), *RUNS["one date"][:2], entities, "sink")[1] for entities in (4_000, 16_000)]
    assert seconds[1] < 16 * seconds[0]


SCALARS = [
    "vector_dim(v)", "l2_norm(v)", "l2_normalize(v)", "cosine_sim(v, v)", "euclidean_dist(v, v)", "dot_product(v, v)",
    "vector_to_array(v)", "vector_from_array(r)", "vector_from_array(f)", "pad_to_dim(v, 8)", "pad_to_dim(r, 8)", "pad_to_dim(f, 8)",
    "num_window_embed(f, f, 3, 'numeric-simple-v1')",
]


@pytest.mark.parametrize("call", SCALARS)
def test_many_calls_leave_memory_flat(module_db, connect, call):
    """In one statement, so that nothing is freed in between but what the function's own context holds."""
    session = connect(module_db)
    run = f"""SELECT count({call}) FROM (SELECT vector_from_array(ARRAY[n, 2, 3, 4]::float8[]) AS v, ARRAY[n, 2, 3, 4]::real[] AS r,
                ARRAY[n, 2, 3, 4]::float8[] AS f FROM generate_series(1, %s) n) s"""
    session.execute("SET max_parallel_workers_per_gather = 0; SET work_mem = '1MB'; SET jit = off")
    session.execute(run, (1000,))
    with peak_growth(session) as growth:
        assert session.execute(run, (CALLS,)).fetchone()[0] == CALLS
    assert growth[0] < 4 * MB


def test_a_group_of_a_million_rows_keeps_only_its_window(module_db, connect):
    session = connect(module_db)
    session.execute("SET max_parallel_workers_per_gather = 0; SET work_mem = '1MB'; SET jit = off")
    run = "SELECT octet_length(num_window_agg(date '2000-01-01' + n, 100 + n %% 7, n, 63, 'num-regime-core-v1')) FROM generate_series(1, %s) n"
    session.execute(run, (1000,))
    with peak_growth(session) as growth:
        assert session.execute(run, (1_000_000,)).fetchone()[0] == 1536
    assert growth[0] < 4 * MB


def test_many_failing_calls_in_one_transaction_leave_memory_flat(module_db, connect):
    session = connect(module_db)
    block = """DO $$ BEGIN FOR i IN 1..{} LOOP
                 BEGIN PERFORM l2_norm('\\x00'); EXCEPTION WHEN invalid_binary_representation THEN NULL; END;
                 BEGIN PERFORM num_window_embed('{{1,NULL}}'::float8[], '{{1,2}}'); EXCEPTION WHEN null_value_not_allowed THEN NULL; END;
               END LOOP; END $$"""
    session.execute(block.format(500))
    with peak_growth(session) as growth:
        session.execute(block.format(20_000))
    assert growth[0] < 8 * MB
