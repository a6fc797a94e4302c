"""Searching and fusing joint vectors, against what any of it must cost at least.

Search: the 10 nearest of 100,000 vectors of 384 dimensions (one date of joint profiles).
  touch      a scan of the same rows that only touches each vector (its last byte)
  SQL        ORDER BY cosine_sim(...) DESC LIMIT 10
  pgvector   ORDER BY v <=> ... LIMIT 10 over the same rows with a column of its type, where pgvector is installed
Each with parallel workers as the server likes, and without; with the tables in the system's cache only, from which every
page is copied, and, without the rivals, with the vectors in shared_buffers. There a scan that touches vectors reads one
cache line of each, a search all of them.

Backfill: joint profiles of 10,000 issuers at one date, from three branches.
  floor      INSERT ... SELECT of the very same rows from a table that already holds them

Run it with: make bench, or scripts/bench.sh joint
"""

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent / "lib"))

import harness  # noqa: E402
import numpy as np  # noqa: E402

VECTORS = int(os.environ.get("BENCH_VECTORS", "100000"))
ISSUERS = int(os.environ.get("BENCH_ISSUERS", "10000"))
ROUNDS = int(os.environ.get("BENCH_ROUNDS", "9"))
DIM, DAY = 384, "2025-01-31"
TARGET = "ISS0000001"
ROWS = f"joint_type = 'PROFILE_CORE_V0' AND model_id = 'joint-profile-core-v1' AND as_of_date = '{DAY}'"


class Bench:
    """One database with vectors to search, and one set of branches to fuse."""

    def __init__(self):
        self.server = harness.cluster()
        self.name = harness.database(self.server)
        self.session = None
        self.connect()
        self.random = np.random.default_rng(7)

    def connect(self):
        if self.session:
            self.session.close()
        # A prepared statement would keep its plan, with workers or without, whatever is set later.
        self.session = self.server.connect(self.name, prepare_threshold=None)

    def only_in_system_cache(self):
        """Nothing in shared_buffers; a table of more than a quarter of it stays out when it is scanned."""
        self.server.control("restart")
        self.connect()

    def in_shared_buffers(self):
        self.session.execute("CREATE EXTENSION IF NOT EXISTS pg_prewarm")
        self.session.execute("SELECT pg_prewarm('joint_embeddings')")

    def copy(self, statement, rows):
        with self.session.cursor() as cursor, cursor.copy(statement) as copy:
            for row in rows:
                copy.write_row(row)

    def vectors(self, count):
        """`count` stored vectors, drawn in blocks."""
        for _ in range(0, count, 1000):
            block = self.random.standard_normal((1000, DIM)).astype("<f4")
            yield from (row.tobytes() for row in block)

    def fill_search(self):
        scope = '{{"entity_type": "ISSUER", "issuer_id": "ISS{0:07}", "instrument_id": "I{0:07}.US", "source": "profile+regime+text", "as_of_date": "%s", "region": "US"}}' % DAY
        self.copy(
            "COPY joint_embeddings (joint_type, as_of_date, entity_scope, model_id, vector) FROM STDIN",
            (("PROFILE_CORE_V0", DAY, scope.format(i), "joint-profile-core-v1", v) for i, v in enumerate(self.vectors(VECTORS), 1)),
        )
        self.session.execute("VACUUM (FREEZE, ANALYZE) joint_embeddings")

    def touch(self):
        self.session.execute(f"SELECT sum(get_byte(vector, {DIM * 4 - 1})) FROM joint_embeddings WHERE {ROWS}").fetchone()

    def find(self):
        found = self.session.execute(f"SELECT issuer_id FROM find_similar_profiles('{TARGET}', '{DAY}')").fetchall()
        self.found = [row[0] for row in found]

    def plain(self):
        query = (
            f"SELECT entity_scope ->> 'issuer_id' FROM joint_embeddings, (SELECT vector AS target FROM joint_embeddings"
            f" WHERE {ROWS} AND entity_scope ->> 'issuer_id' = '{TARGET}' OFFSET 0) t WHERE {ROWS}"
            f" AND entity_scope ->> 'issuer_id' <> '{TARGET}' ORDER BY cosine_sim(vector, target) DESC LIMIT 10"
        )
        self.sorted = [row[0] for row in self.session.execute(query).fetchall()]

    def fill_pgvector(self):
        """The same rows with their vectors in pgvector's type; without pgvector, none."""
        available = "SELECT count(*) FROM pg_available_extensions WHERE name = 'vector'"
        self.has_pgvector = self.session.execute(available).fetchone() == (1,)
        if not self.has_pgvector:
            print("pgvector is not installed: no comparison with it")
            return
        self.session.execute("CREATE EXTENSION vector")
        print("pgvector", self.session.execute("SELECT extversion FROM pg_extension WHERE extname = 'vector'").fetchone()[0])
        columns = "joint_id, joint_type, as_of_date, entity_scope, model_id"
        self.session.execute(f"CREATE TABLE theirs AS SELECT {columns}, vector_to_array(vector)::vector({DIM}) AS v FROM joint_embeddings ORDER BY joint_id")
        self.session.execute("VACUUM (FREEZE, ANALYZE) theirs")

        self.literal = self.session.execute(
            f"SELECT v::text FROM theirs WHERE entity_scope ->> 'issuer_id' = '{TARGET}'").fetchone()[0]

    def pgvector(self):
        # One more than wanted: the target itself is the nearest.
        query = f"SELECT entity_scope ->> 'issuer_id' FROM theirs WHERE {ROWS} ORDER BY v <=> '{self.literal}' LIMIT 11"
        self.theirs = [row[0] for row in self.session.execute(query).fetchall()[1:]]

    def search(self, title, workers, with_rivals):
        rivals = {"SQL": self.plain} | ({"pgvector": self.pgvector} if self.has_pgvector else {}) if with_rivals else {}
        self.session.execute("RESET max_parallel_workers_per_gather" if workers else "SET max_parallel_workers_per_gather = 0")
        times = harness.rounds(
            ROUNDS, lambda: None, self.server, touch=self.touch, find_similar_profiles=self.find, **rivals
        )
        if "pgvector" in rivals and self.theirs != self.found:
            sys.exit(f"the search found {self.found}, pgvector {self.theirs}")
        if "SQL" in rivals and self.found != self.sorted or len(self.found) != 10:
            sys.exit(f"the search found {self.found}, the sort {self.sorted}")
        floor = min(times["touch"])
        harness.print_ratios(title, times, floor, "touching scan", {"find_similar_profiles": 1.05})
        for rival, limit in (("SQL", 1.0), ("pgvector", 0.95)):
            if rival in times:
                ratio = min(times["find_similar_profiles"]) / min(times[rival])
                harness.print_figure(f"find_similar_profiles / {rival}", ratio, harness.at_most(ratio, limit))

    def fill_branches(self):
        self.session.execute("TRUNCATE joint_embeddings")
        ids = range(1, ISSUERS + 1)
        self.session.execute("INSERT INTO markets (market_id, name, region, timezone) VALUES ('US_EQ', 'Bench', 'US', 'UTC')")
        self.copy("COPY issuers (issuer_id, issuer_type, name) FROM STDIN", ((f"ISS{i:07}", "COMPANY", "x") for i in ids))
        self.copy("COPY instruments (instrument_id, issuer_id, market_id, asset_class, symbol, currency) FROM STDIN",
                  ((f"I{i:07}.US", f"ISS{i:07}", "US_EQ", "EQUITY", "x", "USD") for i in ids))
        self.copy("COPY profiles (issuer_id, as_of_date, structured, risk_flags) FROM STDIN", ((f"ISS{i:07}", DAY, "{}", "{}") for i in ids))
        for model, window in (("num-profile-core-v1", 126), ("num-regime-core-v1", 63)):
            spec = f'{{"window_days": {window}, "entity_type": "INSTRUMENT"}}'
            self.copy("COPY numeric_window_embeddings (entity_type, entity_id, window_spec, as_of_date, model_id, vector) FROM STDIN",
                      (("INSTRUMENT", f"I{i:07}.US", spec, DAY, model, v) for i, v in zip(ids, self.vectors(ISSUERS))))
        self.copy("COPY text_embeddings (source_type, source_id, model_id, vector) FROM STDIN",
                  (("PROFILE", f"ISS{i:07}:{DAY}", "text-profile-v1", v) for i, v in zip(ids, self.vectors(ISSUERS))))
        self.session.execute("VACUUM (FREEZE, ANALYZE)")

    def reset(self):
        self.session.execute("TRUNCATE joint_embeddings")
        self.session.execute("CHECKPOINT")

    def backfill(self):
        query = "SELECT count(*) FROM backfill_joint_profiles(%s, max_entities => NULL) WHERE status = 'inserted'"
        (written,) = self.session.execute(query, (DAY,)).fetchone()
        if written != ISSUERS:
            sys.exit(f"wrote {written} rows, not {ISSUERS}")

    def floor(self):
        columns = "joint_type, as_of_date, entity_scope, model_id, vector, branches, input_digest, computed_at"
        self.session.execute(f"INSERT INTO joint_embeddings ({columns}) SELECT {columns} FROM kept ORDER BY joint_id")

    def joint(self):
        self.reset()
        self.backfill()
        self.session.execute("CREATE TABLE kept AS SELECT * FROM joint_embeddings")
        self.session.execute("VACUUM (FREEZE, ANALYZE) kept")
        times = harness.rounds(ROUNDS, self.reset, floor=self.floor, backfill_joint_profiles=self.backfill)
        title = f"Joint profiles of {ISSUERS:,} issuers, three branches"
        harness.print_ratios(title, times, min(times["floor"]), "same rows", {"backfill_joint_profiles": 4})


def main():
    bench = Bench()
    try:
        harness.print_machine(bench.session)
        bench.fill_search()
        bench.fill_pgvector()
        what = f"10 nearest of {VECTORS:,} vectors of {DIM} dimensions"
        for place, go, with_rivals in (
            ("only in the system's cache", bench.only_in_system_cache, True),
            ("in shared_buffers", bench.in_shared_buffers, False),
        ):
            go()
            bench.search(f"{what}, {place}, parallel workers allowed", True, with_rivals)
            bench.search(f"{what}, {place}, one process", False, with_rivals)
        bench.session.execute("RESET max_parallel_workers_per_gather")
        bench.fill_branches()
        bench.joint()
    finally:
        bench.session.close()
        bench.server.drop_database(bench.name)


if __name__ == "__main__":
    harness.run("joint", main)
