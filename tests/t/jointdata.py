"""Vectors that the Python system wrote, put where its backfills put them."""

from psycopg import sql
from realdata import read_csv

COLUMNS = {
    "numeric_window_embeddings": ("entity_type", "entity_id", "window_spec", "as_of_date", "model_id"),
    "text_embeddings": ("source_type", "source_id", "model_id"),
    "joint_embeddings": ("joint_type", "as_of_date", "entity_scope", "model_id"),
}


def load_vectors(connection, directory, table, wanted=lambda row: True):
    """COPYs recorded rows of `table` that are wanted; returns their number."""
    columns = COLUMNS[table]
    names = sql.SQL(", ").join(map(sql.Identifier, (*columns, "vector")))
    rows = 0
    with connection.cursor() as cursor:
        with cursor.copy(sql.SQL("COPY {} ({}) FROM STDIN").format(sql.Identifier(table), names)) as copy:
            for row in filter(wanted, read_csv(directory / f"{table}.csv.gz")):
                copy.write_row([*(row[column] for column in columns), bytes.fromhex(row["vector_hex"])])
                rows += 1
    return rows
