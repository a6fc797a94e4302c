"""Python programs that do the work of `backfill_numeric` outside the database: a good one, and the published one."""

import struct

import numpy as np

EPOCH = np.datetime64("2000-01-01")
WINDOW, DIM, MIN_ROWS = 63, 384, 54
MODEL = "num-regime-core-v1"
SPEC = '{"window_days": 63, "entity_type": "INSTRUMENT"}'


def good(session, days):
    """One query (COPY BINARY out), numpy with the features of all days once, COPY BINARY in."""
    first = np.datetime64(days[0]) - 3 * WINDOW
    query = (
        "COPY (SELECT p.instrument_id, p.trade_date, p.close, p.volume FROM prices_daily p"
        " JOIN instruments i USING (instrument_id) WHERE i.market_id = 'US_EQ' AND i.asset_class = 'EQUITY'"
        f" AND i.status = 'ACTIVE' AND p.trade_date BETWEEN '{first}' AND '{days[-1]}'"
        " ORDER BY 1, 2) TO STDOUT (FORMAT binary)"
    )
    with session.cursor().copy(query) as copy:
        ids, dates, close, volume = parse_binary(b"".join(copy))
    as_of = ((np.array(days, dtype="datetime64[D]") - EPOCH).astype(int)).tolist()
    target = "COPY numeric_window_embeddings (entity_type, entity_id, window_spec, as_of_date, model_id, vector) FROM STDIN (FORMAT binary)"
    with session.cursor().copy(target) as copy:
        copy.write(b"PGCOPY\n\xff\r\n\0" + bytes(8))
        for start, end in runs(ids):
            copy.write(b"".join(rows(ids[start], dates[start:end], close[start:end], volume[start:end], as_of)))
        copy.write(b"\xff\xff")


def parse_binary(data):
    """Columns of COPY BINARY output of (text, date, float8, float8); ids have one width."""
    at = 19
    (width,) = struct.unpack_from(">i", data, at + 2)
    row = np.dtype([("n", ">i2"), ("l0", ">i4"), ("id", f"S{width}"), ("l1", ">i4"), ("day", ">i4"), ("l2", ">i4"), ("close", ">f8"), ("l3", ">i4"), ("volume", ">f8")])
    found = np.frombuffer(data, dtype=row, offset=at, count=(len(data) - at - 2) // row.itemsize)
    return found["id"], found["day"].astype(int), found["close"].astype(float), found["volume"].astype(float)


def runs(ids):
    """(start, end) of each run of equal ids."""
    edges = np.flatnonzero(ids[1:] != ids[:-1]) + 1
    return zip([0, *edges], [*edges, len(ids)])


def rows(instrument, dates, close, volume, as_of):
    """COPY BINARY rows of one instrument: features of all days once, each window a slice."""
    returns = np.zeros(len(close))
    returns[1:] = np.log(close[1:] / close[:-1])
    days = np.stack([close, volume, returns], axis=1).astype("<f4")
    spec, model = b"\x01" + SPEC.encode(), MODEL.encode()
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


class Published:
    """The published way: a pool of one to five psycopg2 connections; per instrument one query into a pandas frame, the
    window and its vector in numpy, and one INSERT with a commit, each on a connection taken from the pool and returned
    to it, which rolls the query's transaction back. Nothing is logged per instrument."""

    COLUMNS = ["instrument_id", "trade_date", "open", "high", "low", "close", "adjusted_close", "volume", "currency", "metadata"]

    def __init__(self, server, database):
        from psycopg2.pool import SimpleConnectionPool

        self.pool = SimpleConnectionPool(1, 5, host=server.socket_dir, port=server.port, dbname=database, user=server.user)

    def close(self):
        """Closes the connections, so that the database can be dropped."""
        self.pool.closeall()

    def backfill(self, as_of):
        """All active equities of the market at one date, in order of their ids."""
        for instrument in self.instruments():
            vector = encode(*self.window(instrument, as_of))
            self.save(instrument, as_of, vector)

    def instruments(self):
        """The market's instruments, in one query."""
        query = (
            "SELECT instrument_id FROM instruments WHERE market_id = %s AND asset_class = 'EQUITY' AND status = 'ACTIVE'"
            " ORDER BY instrument_id"
        )
        return [instrument for (instrument,) in self.query(query, ("US_EQ",))]

    def query(self, statement, parameters):
        """Rows of a statement on a connection of the pool; returning it ends the transaction."""
        connection = self.pool.getconn()
        try:
            with connection.cursor() as cursor:
                cursor.execute(statement, parameters)
                return cursor.fetchall()
        finally:
            self.pool.putconn(connection)

    def window(self, instrument, as_of):
        """Closes and volumes of the last 63 rows of 189 calendar days."""
        import pandas as pd

        start = (np.datetime64(as_of) - 3 * WINDOW).astype(object)
        query = (
            f"SELECT {', '.join(self.COLUMNS)} FROM prices_daily"
            " WHERE instrument_id = ANY(%s) AND trade_date BETWEEN %s AND %s ORDER BY instrument_id, trade_date"
        )
        frame = pd.DataFrame(self.query(query, ([instrument], start, as_of)), columns=self.COLUMNS)
        if len(frame) < MIN_ROWS:
            raise ValueError(f"{len(frame)} rows for {instrument} between {start} and {as_of}, need {MIN_ROWS}")
        frame = frame.sort_values("trade_date").tail(WINDOW)
        return frame["close"].to_numpy(dtype=float), frame["volume"].to_numpy(dtype=float)

    def save(self, instrument, as_of, vector):
        """One INSERT and its commit."""
        import psycopg2
        from psycopg2.extras import Json

        statement = (
            "INSERT INTO numeric_window_embeddings (entity_type, entity_id, window_spec, as_of_date, model_id, vector, vector_ref)"
            " VALUES (%s, %s, %s, %s, %s, %s, %s)"
        )
        spec = Json({"window_days": WINDOW, "entity_type": "INSTRUMENT"})
        connection = self.pool.getconn()
        try:
            with connection.cursor() as cursor:
                cursor.execute(statement, ("INSTRUMENT", instrument, spec, as_of, MODEL, psycopg2.Binary(vector.tobytes()), None))
            connection.commit()
        finally:
            self.pool.putconn(connection)


def encode(close, volume):
    """The vector of a full window, as the published encoder makes it."""
    returns = np.zeros(len(close))
    returns[1:] = np.log(close[1:] / close[:-1])
    flat = np.stack([close, volume, returns], axis=1).astype("<f4").ravel()
    vector = np.zeros(DIM, dtype="<f4")
    vector[: len(flat)] = flat[:DIM]
    return vector
