"""Small generated markets for the tests of the numeric backfill, and what those tests look at."""

import contextlib
import hashlib

import psycopg
import pytest

BACKFILL = "SELECT entity_id, status, dim, rows_used, detail FROM backfill_numeric(%s, market_id => 'M')"


def fill(connection, instruments=8, days=200, until="2024-06-28"):
    """`instruments` active equities X0001... of market M with a price on each of the `days` business days up to
    `until`, in the tables that the search_path finds."""
    connection.execute(
        f"""
        INSERT INTO markets (market_id, name, region, timezone) VALUES ('M', 'market', 'X', 'UTC');
        INSERT INTO issuers (issuer_id, issuer_type, name) VALUES ('I', 'COMPANY', 'issuer');
        INSERT INTO instruments (instrument_id, issuer_id, market_id, asset_class, symbol, currency, status)
        SELECT format('X%s', lpad(i::text, 4, '0')), 'I', 'M', 'EQUITY', 'X' || i, 'USD', 'ACTIVE' FROM generate_series(1, {instruments}) i;
        INSERT INTO prices_daily (instrument_id, trade_date, open, high, low, close, adjusted_close, volume, currency)
        SELECT instrument_id, day, 1, 1, 1, close, close, 1000 + n * 7 %% 311, 'USD'
          FROM instruments
          CROSS JOIN LATERAL (
            SELECT day::date, row_number() OVER (ORDER BY day) AS n
              FROM generate_series(date '{until}' - ({days} * 7 / 5 + 4), date '{until}', interval '1 day') day
             WHERE extract(isodow FROM day) < 6 ORDER BY day DESC LIMIT {days}) d
          CROSS JOIN LATERAL (SELECT 50 + ascii(right(instrument_id, 1)) + 10 * sin(n / 9.0 + length(symbol)) AS close) c;
        """.replace("%%", "%")
    )
    connection.execute("ANALYZE")


def digest(connection, target="numeric_window_embeddings"):
    """A digest of every stored key and vector, and how many there are."""
    rows = connection.execute(
        f"SELECT entity_id, as_of_date::text, model_id, window_spec::text, vector FROM {target} ORDER BY 1, 2, 3, 4, 5"
    ).fetchall()
    return hashlib.sha256(repr(rows).encode()).hexdigest(), len(rows)


def count(connection, target="numeric_window_embeddings"):
    return connection.execute(f"SELECT count(*) FROM {target}").fetchone()[0]


@contextlib.contextmanager
def fails(sqlstate, text=""):
    """The block must raise an error of this SQLSTATE whose message has `text` in it; yields a list with its diagnostics."""
    found = []
    with pytest.raises(psycopg.Error) as caught:
        yield found
    found.append(caught.value.diag)
    assert caught.value.diag.sqlstate == sqlstate, caught.value
    assert text in caught.value.diag.message_primary, caught.value
