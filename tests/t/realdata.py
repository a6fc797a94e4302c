"""Loads the real prices, profiles and reports that may lie next to the checkout, in ../shared (or PE_SHARED)."""

import csv
import gzip
import io
import os
from pathlib import Path

from psycopg import sql

SHARED = Path(os.environ.get("PE_SHARED") or Path(__file__).resolve().parents[3] / "shared")
# In this order: instruments refer to issuers and markets.
TABLES = ("markets", "issuers", "instruments", "prices_daily", "profiles", "portfolio_risk_reports")


def csv_header(path):
    """Column names of a gzipped CSV file."""
    with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
        return next(csv.reader(file))


def copy_csv(connection, path, table):
    """COPYs a gzipped CSV file with a header into `table`; returns the number of rows."""
    columns = sql.SQL(", ").join(map(sql.Identifier, csv_header(path)))
    statement = sql.SQL("COPY {} ({}) FROM STDIN (FORMAT csv, HEADER)").format(sql.Identifier(table), columns)
    with gzip.open(path, "rb") as file, connection.cursor() as cursor:
        with cursor.copy(statement) as copy:
            while block := file.read(1 << 20):
                copy.write(block)
        return cursor.rowcount


def load_sp500(connection, directory):
    """Fills the migrated tables; returns the number of rows per table."""
    rows = {table: copy_csv(connection, directory / f"{table}.csv.gz", table) for table in TABLES}
    connection.execute("ANALYZE")
    return rows


def read_csv(path):
    """Rows of a gzipped CSV file as dictionaries."""
    with gzip.open(path, "rb") as file:
        yield from csv.DictReader(io.TextIOWrapper(file, encoding="utf-8", newline=""))
