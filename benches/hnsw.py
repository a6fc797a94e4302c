"""Searching through an HNSW index of pgvector, beside exact searches: how much is found, how fast, and the disk it takes.

BENCH_HNSW_VECTORS (50,000) vectors of 384 dimensions of one model and date, in groups as those of sectors are, and the
mean of 100 searches each, by one process. Recall: the share of the exact result that a search finds.

Run it with: make bench, or scripts/bench.sh hnsw
"""

import os
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent / "lib"))

import harness  # noqa: E402
import numpy as np  # noqa: E402

VECTORS = int(os.environ.get("BENCH_HNSW_VECTORS", "50000"))
GROUPS, TARGETS, DIM, DAY = 200, 100, 384, "2025-01-31"
INDEX = """CREATE INDEX near ON joint_embeddings USING hnsw ((embed_index_vector(vector, {dim})::{kind}({dim})) {kind}_cosine_ops)
            WHERE joint_type = 'PROFILE_CORE_V0' AND model_id = 'joint-profile-core-v1'"""


def fill(session):
    random = np.random.default_rng(11)
    centres = random.standard_normal((GROUPS, DIM))
    scope = '{{"entity_type": "ISSUER", "issuer_id": "I{:07}"}}'
    columns = "joint_type, as_of_date, entity_scope, model_id, vector"
    with session.cursor().copy(f"COPY joint_embeddings ({columns}) FROM STDIN") as copy:
        for first in range(0, VECTORS, 1000):
            block = centres[random.integers(0, GROUPS, 1000)] + random.standard_normal((1000, DIM))
            for number, row in enumerate(block.astype("<f4"), first):
                copy.write_row(["PROFILE_CORE_V0", DAY, scope.format(number), "joint-profile-core-v1", row.tobytes()])
    session.execute("VACUUM (FREEZE, ANALYZE) joint_embeddings")


def search(session, method, top_k):
    """What each target's search finds, and the milliseconds of one."""
    call = f"SELECT issuer_id FROM find_similar_profiles(%s, '{DAY}', top_k => %s, method => %s)"
    targets = [f"I{VECTORS * n // TARGETS:07}" for n in range(TARGETS)]
    session.execute(call, (targets[0], top_k, method))
    started = time.perf_counter()
    found = [{row[0] for row in session.execute(call, (target, top_k, method)).fetchall()} for target in targets]
    return found, (time.perf_counter() - started) * 1e3 / TARGETS


def uses_index(session):
    """Whether the planner takes the index for such a query."""
    plan = session.execute(
        "EXPLAIN SELECT joint_id FROM joint_embeddings WHERE joint_type = 'PROFILE_CORE_V0' AND model_id = 'joint-profile-core-v1'"
        f" AND as_of_date = '{DAY}' ORDER BY embed_index_vector(vector, {DIM})::{session.kind}({DIM})"
        f" <=> (SELECT embed_index_vector(vector, {DIM})::{session.kind}({DIM}) FROM joint_embeddings LIMIT 1) LIMIT 21").fetchall()
    return "using near" in str(plan)


def index(session, kind, exact, size):
    session.execute("DROP INDEX IF EXISTS near")
    started = time.perf_counter()
    session.execute(INDEX.format(dim=DIM, kind=kind))
    seconds = time.perf_counter() - started
    session.execute("ANALYZE joint_embeddings")
    session.kind = kind
    if not uses_index(session):
        sys.exit("the planner reads the table instead of the index")
    bytes_of_index = session.execute("SELECT pg_relation_size('near')").fetchone()[0]
    print(f"\nHNSW index of {kind}: built in {seconds:.0f} s, {bytes_of_index / 1e6:.0f} MB ({bytes_of_index / size:.2f} x the table)")
    for top_k, (wanted, milliseconds) in exact.items():
        least = max(40, 2 * top_k)
        for breadth in (least, min(5 * least, 1000)):
            session.execute(f"SET hnsw.ef_search = {breadth}")
            found, took = search(session, "hnsw", top_k)
            recall = sum(len(a & b) for a, b in zip(wanted, found)) / sum(map(len, wanted))
            print(f"  top {top_k:3}, ef_search {breadth:4}: recall {recall:.4f}, {took:7.2f} ms, exact {milliseconds:7.2f} ms")


def main():
    server = harness.cluster()
    name = harness.database(server)
    session = server.connect(name)
    try:
        harness.print_machine(session)
        if not session.execute("SELECT FROM pg_available_extensions WHERE name = 'vector'").fetchall():
            print("pgvector is not installed: nothing to measure")
            return
        session.execute("CREATE EXTENSION vector")
        session.execute("SELECT * FROM embed_enable_pgvector()")
        print("pgvector", session.execute("SELECT extversion FROM pg_extension WHERE extname = 'vector'").fetchone()[0])
        fill(session)
        session.execute("SET max_parallel_workers_per_gather = 0; SET maintenance_work_mem = '1GB'; SET max_parallel_maintenance_workers = 1")
        size = session.execute("SELECT pg_table_size('joint_embeddings')").fetchone()[0]
        key = session.execute("SELECT pg_indexes_size('joint_embeddings')").fetchone()[0]
        print(f"{VECTORS:,} vectors of {DIM} dimensions in {GROUPS} groups: table {size / 1e6:.0f} MB, its other indexes {key / 1e6:.0f} MB")
        exact = {top_k: search(session, "exact", top_k) for top_k in (10, 100)}
        for kind in ("vector", "halfvec"):
            index(session, kind, exact, size)
        print("\nThe vectors alone, as a column of")
        direction = f"embed_index_vector(vector, {DIM})"
        for kind, cast in (
            ("bytea", "vector"),
            (f"halfvec({DIM})", f"{direction}::halfvec({DIM})"),
            (f"halfvec({DIM // 2})", f"subvector({direction}, 1, {DIM // 2})::halfvec({DIM // 2})"),
        ):
            session.execute("DROP TABLE IF EXISTS alone")
            session.execute(f"CREATE TABLE alone AS SELECT {cast} AS v FROM joint_embeddings")
            alone = session.execute("SELECT pg_table_size('alone')").fetchone()[0]
            print(f"  {kind:13} {alone / 1e6:6.0f} MB")
    finally:
        session.close()
        server.drop_database(name)


if __name__ == "__main__":
    harness.run("hnsw", main)
