"""The numeric backfill against its floor, a good client, and the published way.

2,000 instruments x 1,500 days of generated prices, windows of 63 days, one date and 250 days.

  scan       one scan of the prices
  floor      INSERT ... SELECT of the very same rows from a table that already holds them, into a table with
             the same indexes, plus one scan of the prices
  client     Python: one query (COPY BINARY out), numpy, COPY BINARY in
  published  Python: one query and one commit per instrument (one date only)

Run it with: make bench, or scripts/bench.sh numeric
"""

import os
import struct
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent / "lib"))

import harness  # noqa: E402
import numpy as np  # noqa: E402

INSTRUMENTS = int(os.environ.get("BENCH_INSTRUMENTS", "2000"))
DAYS = int(os.environ.get("BENCH_DAYS", "1500"))
RANGE = 250
ROUNDS = int(os.environ.get("BENCH_ROUNDS", "5"))
WINDOW, DIM, MIN_ROWS = 63, 384, 54
EPOCH = np.datetime64("2000-01-01")

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

    def reset(self):
        """An empty target and a quiet server, before each run."""
        self.session.execute("TRUNCATE numeric_window_embeddings")
        self.session.execute("CHECKPOINT")

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

    def keep(self, table):
        """Keeps the rows that were just written, for the floor."""
        self.session.execute(f"CREATE TABLE {table} AS SELECT * FROM numeric_window_embeddings ORDER BY embedding_id")
        self.session.execute(f"VACUUM (FREEZE, ANALYZE) {table}")

    def floor(self, table):
        columns = "entity_type, entity_id, window_spec, as_of_date, model_id, vector, rows_used, rows_padded, last_trade_date, input_digest, computed_at"
        self.session.execute(f"INSERT INTO numeric_window_embeddings ({columns}) SELECT {columns} FROM {table}")
        self.scan()

    def digest(self):
        """The written vectors as one figure, to see that every way writes the same."""
        query = "SELECT md5(string_agg(md5(entity_id || as_of_date || md5(vector)), '' ORDER BY entity_id, as_of_date)) FROM numeric_window_embeddings"
        return self.session.execute(query).fetchone()[0]

    def client(self, days):
        """One query, numpy, COPY BINARY back."""
        first = np.datetime64(days[0]) - 3 * WINDOW
        query = (
            "COPY (SELECT p.instrument_id, p.trade_date, p.close, p.volume FROM prices_daily p"
            " JOIN instruments i USING (instrument_id) WHERE i.market_id = 'US_EQ' AND i.asset_class = 'EQUITY'"
            f" AND i.status = 'ACTIVE' AND p.trade_date BETWEEN '{first}' AND '{days[-1]}'"
            " ORDER BY 1, 2) TO STDOUT (FORMAT binary)"
        )
        with self.session.cursor().copy(query) as copy:
            ids, dates, close, volume = parse_binary(b"".join(copy))
        as_of = ((np.array(days, dtype="datetime64[D]") - EPOCH).astype(int)).tolist()
        target = "COPY numeric_window_embeddings (entity_type, entity_id, window_spec, as_of_date, model_id, vector) FROM STDIN (FORMAT binary)"
        with self.session.cursor().copy(target) as copy:
            copy.write(b"PGCOPY\n\xff\r\n\0" + bytes(8))
            for start, end in runs(ids):
                copy.write(b"".join(client_rows(ids[start], dates[start:end], close[start:end], volume[start:end], as_of)))
            copy.write(b"\xff\xff")

    def published(self):
        """One query and one commit per instrument, as the Python system works."""
        ids = [row[0] for row in self.session.execute("SELECT instrument_id FROM instruments WHERE market_id = 'US_EQ' AND asset_class = 'EQUITY' AND status = 'ACTIVE' ORDER BY 1")]
        for instrument in ids:
            rows = self.session.execute(
                "SELECT trade_date, close, volume FROM prices_daily WHERE instrument_id = %s"
                " AND trade_date BETWEEN %s::date - 189 AND %s ORDER BY trade_date",
                (instrument, self.last, self.last),
            ).fetchall()
            close = np.array([row[1] for row in rows[-WINDOW:]])
            volume = np.array([row[2] for row in rows[-WINDOW:]])
            self.session.execute(
                "INSERT INTO numeric_window_embeddings (entity_type, entity_id, window_spec, as_of_date, model_id, vector)"
                " VALUES ('INSTRUMENT', %s, '{\"window_days\": 63, \"entity_type\": \"INSTRUMENT\"}', %s, 'num-regime-core-v1', %s)",
                (instrument, self.last, window_vector(close, volume).tobytes()),
            )


def parse_binary(data):
    """Columns of COPY BINARY output of (text, date, float8, float8); ids have one width."""
    at = 19
    (width,) = struct.unpack_from(">i", data, at + 2)
    row = np.dtype([("n", ">i2"), ("l0", ">i4"), ("id", f"S{width}"), ("l1", ">i4"), ("day", ">i4"), ("l2", ">i4"), ("close", ">f8"), ("l3", ">i4"), ("volume", ">f8")])
    rows = np.frombuffer(data, dtype=row, offset=at, count=(len(data) - at - 2) // row.itemsize)
    return rows["id"], rows["day"].astype(int), rows["close"].astype(float), rows["volume"].astype(float)


def runs(ids):
    """(start, end) of each run of equal ids."""
    edges = np.flatnonzero(ids[1:] != ids[:-1]) + 1
    return zip([0, *edges], [*edges, len(ids)])


def client_rows(instrument, dates, close, volume, as_of):
    """COPY BINARY rows of one instrument: features of all days once, each window a slice."""
    returns = np.zeros(len(close))
    returns[1:] = np.log(close[1:] / close[:-1])
    days = np.stack([close, volume, returns], axis=1).astype("<f4")
    spec = b'\x01{"window_days": 63, "entity_type": "INSTRUMENT"}'
    model = b"num-regime-core-v1"
    head = struct.pack(">hi10si", 6, 10, b"INSTRUMENT", len(instrument)) + instrument
    head += struct.pack(">i", len(spec)) + spec
    tail = struct.pack(">i", len(model)) + model + struct.pack(">i", DIM * 4)
    for day in as_of:
        end = np.searchsorted(dates, day, side="right")
        if end >= WINDOW:
            window = days[end - WINDOW : end].ravel()
            window[2] = 0
            yield head + struct.pack(">ii", 4, day) + tail + window.tobytes() + bytes((DIM - 3 * WINDOW) * 4)
            window[2] = returns[end - WINDOW]


def window_vector(close, volume):
    """The vector of a full window, as the published encoder makes it."""
    returns = np.zeros(len(close))
    returns[1:] = np.log(close[1:] / close[:-1])
    vector = np.zeros(DIM, dtype="<f4")
    flat = np.stack([close, volume, returns], axis=1).astype("<f4").ravel()
    vector[: len(flat)] = flat[:DIM]
    return vector


def main():
    bench = Bench()
    harness.print_machine(bench.session)
    print(f"{INSTRUMENTS} instruments x {DAYS} days, windows of {WINDOW}; {ROUNDS} rounds, ratios of minima")

    digests = {}
    for name, run, table in (
        ("one date", bench.one_date, "kept_date"),
        ("range", bench.range_of_days, "kept_range"),
    ):
        bench.reset()
        run()
        digests[name] = bench.digest()
        bench.keep(table)
    for name, run in (
        ("one date", lambda: bench.client([bench.last])),
        ("range", lambda: bench.client(bench.range)),
        ("one date", bench.published),
    ):
        bench.reset()
        run()
        if bench.digest() != digests[name]:
            sys.exit(f"{name}: a client writes other vectors than the extension")

    times = harness.rounds(
        ROUNDS,
        bench.reset,
        scan=bench.scan,
        floor=lambda: bench.floor("kept_date"),
        backfill_numeric=bench.one_date,
        client=lambda: bench.client([bench.last]),
    )
    times["published"] = harness.rounds(2, bench.reset, published=bench.published)["published"]
    scan = min(times["scan"])
    harness.print_ratios(
        "one date", times, scan, "scan", {"backfill_numeric": "at most 2.5, ahead of client, 50 x ahead of published"}
    )
    ours = min(times["backfill_numeric"])
    print(f"  client / backfill_numeric {min(times['client']) / ours:.1f}, published / backfill_numeric {min(times['published']) / ours:.1f}")

    times = harness.rounds(
        ROUNDS,
        bench.reset,
        floor=lambda: bench.floor("kept_range"),
        backfill_numeric=bench.range_of_days,
        client=lambda: bench.client(bench.range),
    )
    floor = min(times["floor"])
    harness.print_ratios(f"{RANGE} days", times, floor, "floor", {"backfill_numeric": "at most 1.5, ahead of client"})

    print("\npeak private memory of the backend, one date (MiB above idle)")
    for instruments in (INSTRUMENTS // 4, INSTRUMENTS // 2, INSTRUMENTS):
        with bench.server.connect(bench.name) as session:
            bench.reset()
            used = harness.peak_memory(
                session, "SELECT count(*) FROM backfill_numeric(%s, market_id => 'US_EQ', max_entities => %s)", (bench.last, instruments)
            )
            print(f"  {instruments:6} instruments {used:8.1f}")
    bench.session.close()
    bench.server.drop_database(bench.name)


if __name__ == "__main__":
    main()
