"""Memory of the backend while it computes: bounded, whatever the number of entities, and flat over a million calls."""

import contextlib
import threading
import time
from pathlib import Path

import pytest
from numeric_data import fill

MB = 1 << 20


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
    connection.execute("load 'auto_explain'; set auto_explain.log_min_duration=1000; set auto_explain.log_nested_statements=on; set auto_explain.log_analyze=on")
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
    growth = {}
    for entities in (500, 4000, 16000):
        many.execute("DROP TABLE IF EXISTS sink; CREATE TABLE sink AS TABLE numeric_window_embeddings")
        session = connect(many)
        session.execute("SELECT backfill_numeric('2024-06-28', instrument_ids => '{E16000}', prices => 'many', target => 'sink')")
        growth[entities] = backfill(session, entities)
    assert growth[4000] < growth[500] + 4 * MB
    assert growth[16000] < growth[500] + 16 * MB
