"""Vectors that the Python system wrote, put where its backfills put them."""

import json
import re

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


def fill_dates(connection, dates, issuers, dims=2):
    """Joint profiles of `issuers` issuers, I1 and on, at each of `dates` days from 2020-01-01."""
    connection.execute(
        """
        INSERT INTO joint_embeddings (joint_type, as_of_date, entity_scope, model_id, vector)
        SELECT 'PROFILE_CORE_V0', date '2020-01-01' + day,
               jsonb_build_object('entity_type', 'ISSUER', 'issuer_id', 'I' || issuer, 'as_of_date', date '2020-01-01' + day),
               'joint-profile-core-v1', pad_to_dim(vector_from_array(ARRAY[issuer, day]::float8[]), %(dims)s)
          FROM generate_series(0, %(dates)s - 1) day, generate_series(1, %(issuers)s) issuer
        """,
        {"dates": dates, "issuers": issuers, "dims": dims},
    )


def plan_of_search(connection, call):
    """The plan, with what it read, of the statement that a search function runs."""
    return explained(connection, call, "embed_nearest(")["Plan"]


def explained(connection, call, words):
    """What EXPLAIN says of the statement with these `words` that a call runs."""
    logged = []
    watch = lambda notice: logged.append(notice.message_primary)
    connection.execute("LOAD 'auto_explain'")
    connection.execute(
        "SET auto_explain.log_min_duration = 0; SET auto_explain.log_nested_statements = on; SET auto_explain.log_format = json;"
        "SET auto_explain.log_analyze = on; SET auto_explain.log_buffers = on; SET client_min_messages = log"
    )
    connection.add_notice_handler(watch)
    try:
        assert connection.execute(call).fetchall()
    finally:
        connection.remove_notice_handler(watch)
        connection.execute("SET auto_explain.log_min_duration = -1; RESET client_min_messages")
    plans = [json.loads(re.sub(r"^duration: \S+ ms  plan:\n", "", text)) for text in logged if words in text]
    assert len(plans) == 1, logged
    return plans[0]


def scan_of_search(connection, call, table="joint_embeddings"):
    """The only scan of `table` in it."""
    nodes, scans = [plan_of_search(connection, call)], []
    while nodes:
        node = nodes.pop()
        nodes += node.get("Plans", [])
        if node.get("Relation Name") == table:
            scans.append(node)
    assert len(scans) == 1, scans
    return scans[0]
