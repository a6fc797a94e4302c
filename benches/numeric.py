"""The numeric backfill against its floor, a good client, COPY from a file, and the published way.

2,000 instruments x 1,500 days of generated prices, windows of 63 days, one date and 250 days.

  scan        one scan of the prices
  floor       INSERT ... SELECT of the very same rows, in the same order, from a table that already holds them, into a
              table with the same indexes, plus one scan of the prices
  copy        COPY ... FROM a binary file with the same rows, which the server reads itself
  client      Python: one query (COPY BINARY out), numpy, COPY BINARY in
  floor two   the floor over two connections, each with half of the rows: what a second connection can gain here
  published   Python: a query and a commit per instrument (one date only); benches/lib/clients.py has both
  range       CALL backfill_numeric_range in committed batches, over one connection and over two (partitions => 2)

Run it with: make bench, or scripts/bench.sh numeric. BENCH_PARTS="date range memory" names the parts to run, and
BENCH_INSTRUMENTS, BENCH_DAYS, BENCH_RANGE and BENCH_ROUNDS their size.
"""

import os
import sys
import threading
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent / "lib"))

import clients  # noqa: E402
import harness  # noqa: E402

INSTRUMENTS = int(os.environ.get("BENCH_INSTRUMENTS", "2000"))
DAYS = int(os.environ.get("BENCH_DAYS", "1500"))
RANGE = int(os.environ.get("BENCH_RANGE", "250"))
ROUNDS = int(os.environ.get("BENCH_ROUNDS", "5"))
PARTS = os.environ.get("BENCH_PARTS", "date range memory").split()
COLUMNS = (
    "entity_type, entity_id, window_spec, as_of_date, model_id, vector, rows_used, rows_padded, last_trade_date,"
    " input_digest, computed_at"
)

FILL = """
INSERT INTO markets (market_id, name, region, timezone) VALUES ('US_EQ', 'Bench', 'US', 'UTC');
INSERT INTO instruments (instrument_id, market_id, asset_class, symbol, currency)
SELECT format('I%s.US', lpad(i::text, 5, '0')), 'US_EQ', 'EQUITY', 'I' || i, 'USD'
  FROM generate_series(1, {instruments}) AS i;
-- Business days, instrument after instrument; a hash makes prices that differ and repeat on every run.
INSERT INTO prices_daily (instrument_id, trade_date, open, high, low, close, adjusted_close, volume, currency)
SELECT format('I%s.US', lpad(i::text, 5, '0')), date '2015-01-01' + (d / 5) * 7 + d % 5, p, p * 1.01, p * 0.99, p, p,
       1e6 + (hashint4(i * 7919 + d) & 1048575), 'USD'
  FROM generate_series(1, {instruments}) AS i, generate_series(1, {days}) AS d,
       LATERAL (SELECT 50 + i % 200 + (hashint4(i * 104729 + d) & 65535) / 6553.6) AS price(p);
VACUUM (FREEZE, ANALYZE) prices_daily;
ANALYZE instruments;
"""


class Bench:
    """One database and the ways to fill its embedding table."""

    def __init__(self):
        self.server = harness.cluster()
        self.name = harness.database(self.server)
        self.session = self.server.connect(self.name)
        for statement in FILL.format(instruments=INSTRUMENTS, days=DAYS).split(";\n"):
            if statement.strip():
                self.session.execute(statement)
        days = self.session.execute("SELECT DISTINCT trade_date FROM prices_daily ORDER BY 1").fetchall()
        self.range = [day for (day,) in days[-RANGE:]]
        self.last = self.range[-1]
        self.file = self.server.data / "bench_rows.copy"
        self.published = clients.Published(self.server, self.name)

    def reset(self):
        """An empty target and a quiet server, before each run."""
        self.session.execute("TRUNCATE numeric_window_embeddings")
        self.session.execute("CHECKPOINT")

    def close(self):
        self.published.close()
        self.session.close()
        self.server.drop_database(self.name)

    def scan(self):
        self.session.execute("SELECT count(*), sum(close), sum(volume) FROM prices_daily").fetchone()

    def one_date(self):
        self.count("SELECT count(*) FROM backfill_numeric(%s, market_id => 'US_EQ') WHERE status = 'inserted'", self.last)

    def range_of_days(self):
        self.count(
            "SELECT count(*) FROM backfill_numeric(%s, %s, market_id => 'US_EQ') WHERE status = 'inserted'",
            self.range[0],
            self.last,
        )

    def count(self, statement, *parameters):
        """Runs a backfill; a run that does not write every row is no measurement."""
        (written,) = self.session.execute(statement, parameters).fetchone()
        expected = INSTRUMENTS * (len(parameters) == 1 or RANGE)
        if written != expected:
            sys.exit(f"{statement} wrote {written} rows, not {expected}")

    def committed(self, partitions):
        """The procedure, each partition on a connection of its own."""
        call = "CALL backfill_numeric_range(%s, %s, market_id => 'US_EQ', partition => %s, partitions => %s)"
        self.side_by_side(
            partitions, lambda session, number: session.execute(call, (self.range[0], self.last, number, partitions))
        )

    def floor_side_by_side(self, table):
        """The floor over two connections, each with a half of the rows as they follow each other, and of the scan."""
        (middle,) = self.session.execute(
            f"SELECT percentile_disc(0.5) WITHIN GROUP (ORDER BY embedding_id) FROM {table}"
        ).fetchone()
        (between,) = self.session.execute(
            "SELECT percentile_disc(0.5) WITHIN GROUP (ORDER BY instrument_id) FROM instruments"
        ).fetchone()

        def half(session, number):
            sign = "<=" if number == 1 else ">"
            session.execute(
                f"INSERT INTO numeric_window_embeddings ({COLUMNS}) SELECT {COLUMNS} FROM {table} WHERE embedding_id {sign} {middle}"
            )
            session.execute(
                f"SELECT count(*), sum(close), sum(volume) FROM prices_daily WHERE instrument_id {sign} '{between}'"
            ).fetchone()

        self.side_by_side(2, half)

    def side_by_side(self, connections, work):
        """Runs `work(session, number)` over several connections at once; all rows of the range have to be there then."""
        failures = []

        def part(number):
            try:
                with self.server.connect(self.name) as session:
                    work(session, number)
            except Exception as error:  # told below, on the main thread
                failures.append(error)

        threads = [threading.Thread(target=part, args=(number,)) for number in range(1, connections + 1)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        (written,) = self.session.execute("SELECT count(*) FROM numeric_window_embeddings").fetchone()
        if failures or written != INSTRUMENTS * RANGE:
            sys.exit(f"{connections} connections wrote {written} rows: {failures}")

    def keep(self, table):
        """Keeps the rows that were just written, for the floor, and the larger set as a file."""
        self.session.execute(f"CREATE TABLE {table} AS SELECT * FROM numeric_window_embeddings ORDER BY embedding_id")
        self.session.execute(f"VACUUM (FREEZE, ANALYZE) {table}")
        if table == "kept_range":
            self.session.execute(f"COPY (SELECT {COLUMNS} FROM {table} ORDER BY embedding_id) TO '{self.file}' (FORMAT binary)")

    def floor(self, table):
        self.session.execute(f"INSERT INTO numeric_window_embeddings ({COLUMNS}) SELECT {COLUMNS} FROM {table}")
        self.scan()

    def copy(self):
        self.session.execute(f"COPY numeric_window_embeddings ({COLUMNS}) FROM '{self.file}' (FORMAT binary)")

    def digest(self):
        """The written vectors as one figure, to see that every way writes the same."""
        query = "SELECT md5(string_agg(md5(entity_id || as_of_date || md5(vector)), '' ORDER BY entity_id, as_of_date)) FROM numeric_window_embeddings"
        return self.session.execute(query).fetchone()[0]


def check(bench, table, ours, *others):
    """Keeps what our way writes for the floor, and sees that every other way writes the same vectors."""
    bench.reset()
    ours()
    expected = bench.digest()
    bench.keep(table)
    for other in others:
        bench.reset()
        other()
        if bench.digest() != expected:
            sys.exit(f"{table}: the ways write different vectors")


def one_date(bench):
    check(
        bench,
        "kept_date",
        bench.one_date,
        lambda: clients.good(bench.session, [bench.last]),
        lambda: bench.published.backfill(bench.last),
    )
    times = harness.rounds(
        ROUNDS,
        bench.reset,
        server=bench.server,
        scan=bench.scan,
        floor=lambda: bench.floor("kept_date"),
        backfill_numeric=bench.one_date,
        client=lambda: clients.good(bench.session, [bench.last]),
        published=lambda: bench.published.backfill(bench.last),
    )
    scan, ours = min(times["scan"]), min(times["backfill_numeric"])
    harness.print_ratios("one date", times, scan, "scan", {"backfill_numeric": 2.0})
    client, published = min(times["client"]), min(times["published"])
    harness.print_figure("client / backfill_numeric", client / ours, harness.at_least(client / ours, 1))
    harness.print_figure("published / backfill_numeric", published / ours, harness.at_least(published / ours, 50))
    harness.print_figure("published, per instrument", 1e3 * published / INSTRUMENTS, unit=" ms")


def range_of_days(bench):
    check(
        bench,
        "kept_range",
        bench.range_of_days,
        lambda: clients.good(bench.session, bench.range),
        lambda: bench.committed(2),
        lambda: bench.floor_side_by_side("kept_range"),
        bench.copy,
    )
    times = harness.rounds(
        ROUNDS,
        bench.reset,
        server=bench.server,
        floor=lambda: bench.floor("kept_range"),
        floor_two_connections=lambda: bench.floor_side_by_side("kept_range"),
        backfill_numeric=bench.range_of_days,
        range_one_connection=lambda: bench.committed(1),
        range_two_connections=lambda: bench.committed(2),
        copy=bench.copy,
        client=lambda: clients.good(bench.session, bench.range),
    )
    targets = {"backfill_numeric": 1.25, "range_two_connections": 0.8}
    harness.print_ratios(f"{RANGE} days", times, min(times["floor"]), "floor", targets)
    ours = min(times["backfill_numeric"])
    two = min(times["range_two_connections"]) / min(times["floor_two_connections"])
    harness.print_figure("range, two connections / floor, two connections", two)
    for name in ("copy", "client"):
        ratio = min(times[name]) / ours
        harness.print_figure(f"{name} / backfill_numeric", ratio, harness.at_least(ratio, 1))


def memory(bench):
    """Of the backend, at two sizes an order apart, for one date and for a range."""
    print("\npeak private memory of the backend (MiB above idle)")
    print(f"  {'':20} {INSTRUMENTS // 10:>8} {INSTRUMENTS:>8} instruments")
    calls = {
        "one date": ("SELECT count(*) FROM backfill_numeric(%s, market_id => 'US_EQ', max_entities => %s)", [bench.last]),
        f"{RANGE} days": (
            "SELECT count(*) FROM backfill_numeric(%s, %s, market_id => 'US_EQ', max_entities => %s)",
            [bench.range[0], bench.last],
        ),
    }
    for what, (statement, days) in calls.items():
        used = []
        for instruments in (INSTRUMENTS // 10, INSTRUMENTS):
            bench.reset()
            with bench.server.connect(bench.name) as session:
                used.append(harness.peak_memory(session, statement, [*days, instruments]))
        print(f"  {what:20} {used[0]:8.1f} {used[1]:8.1f}")


def main():
    bench = Bench()
    try:
        harness.print_machine(bench.session)
        print(f"{INSTRUMENTS} instruments x {DAYS} days, windows of {clients.WINDOW}; {ROUNDS} rounds, ratios of minima")
        for part, measure in {"date": one_date, "range": range_of_days, "memory": memory}.items():
            if part in PARTS:
                measure(bench)
    finally:
        bench.close()


if __name__ == "__main__":
    harness.run("numeric", main)
