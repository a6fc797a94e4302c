"""Memory of the backend while it computes: bounded, whatever the number of entities, and flat over a million calls."""

import contextlib
import os
import threading
import time
from pathlib import Path

import pytest
from numeric_data import fill

MB = 1 << 20
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


def backfill(connection, entities):
    start = time.monotonic()
    with peak_growth(connection) as growth:
        done = connection.execute(
            """SELECT count(*) FROM backfill_numeric('2024-06-28', prices => 'many', target => 'sink',
                 instrument_ids => (SELECT array_agg(format('E%%s', lpad(i::text, 5, '0'))) FROM generate_series(1, %s) i))
                WHERE status IN ('inserted', 'replaced')""",
            (entities,),
        ).fetchone()[0]
    assert done == entities
    print(f"{entities} entities: {growth[0] / MB:.1f} MB, {time.monotonic() - start:.2f} s")
    return growth[0]


def test_memory_does_not_grow_with_the_number_of_entities(many, connect):
    growth, seconds = {}, {}
    for entities in (500, 4000, 16000):
        many.execute("DROP TABLE IF EXISTS sink; CREATE TABLE sink AS TABLE numeric_window_embeddings")
        session = connect(many)
        session.execute("SELECT backfill_numeric('2024-06-28', instrument_ids => '{E16000}', prices => 'many', target => 'sink')")
        start = time.monotonic()
        growth[entities] = backfill(session, entities)
        seconds[entities] = time.monotonic() - start
    # Prices are held for some thousand entities at a time; beyond that it is the list of outcomes that grows.
    assert growth[4000] < 32 * MB
    assert growth[16000] < growth[4000] + 16 * MB
    # Regression: without a unique key, each key was looked up by a scan of its own: 48 s.
    assert seconds[16000] < 16 * seconds[4000]


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
