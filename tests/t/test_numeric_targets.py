"""Targets of the numeric backfill: rows are added to a plain table by the page; what needs more than that gets an INSERT.
Either way the table ends up as an INSERT leaves it."""

import pytest
from numeric_data import count, digest, fails, fill

RUN = "SELECT count(*) FROM backfill_numeric('2024-06-24', '2024-06-28', market_id => 'M') WHERE status = 'inserted'"
TABLE = "numeric_window_embeddings"
NOTE = "CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END $$; CREATE TRIGGER note"

# What is done to the table before, and whether rows can be added by the page then.
TABLES = {
    "as it is": ("SELECT 1", True),
    "dropped and added columns": (
        f"ALTER TABLE {TABLE} DROP COLUMN vector_ref, ADD COLUMN note text DEFAULT 'none', ADD COLUMN free int",
        True,
    ),
    "a volatile default": (f"ALTER TABLE {TABLE} ADD COLUMN tag uuid DEFAULT gen_random_uuid() UNIQUE", True),
    "an identity": (
        f"ALTER TABLE {TABLE} ALTER COLUMN embedding_id DROP DEFAULT;"
        f" ALTER TABLE {TABLE} ALTER COLUMN embedding_id ADD GENERATED ALWAYS AS IDENTITY (START 5 INCREMENT 3)",
        True,
    ),
    "text instead of varchar": (f"ALTER TABLE {TABLE} ALTER COLUMN entity_id TYPE text, ALTER COLUMN model_id TYPE text", True),
    "constraints": (
        f"ALTER TABLE {TABLE} ADD CHECK (octet_length(vector) = 1536), ADD EXCLUDE USING btree (input_digest WITH =)",
        True,
    ),
    "no indexes but the key": (f"ALTER TABLE {TABLE} DROP CONSTRAINT {TABLE}_pkey", True),
    "expression, partial, BRIN and hash indexes": (
        f"CREATE INDEX ON {TABLE} (lower(entity_id)); CREATE INDEX ON {TABLE} (entity_id) WHERE as_of_date > '2024-06-25';"
        f" CREATE INDEX ON {TABLE} USING brin (as_of_date); CREATE INDEX ON {TABLE} USING hash (entity_id)",
        True,
    ),
    "a trigger that an update fires": (f"{NOTE} BEFORE UPDATE ON {TABLE} FOR EACH ROW EXECUTE FUNCTION note()", True),
    "a domain": (f"CREATE DOMAIN id AS varchar(64) CHECK (value <> ''); ALTER TABLE {TABLE} ALTER COLUMN entity_id TYPE id", False),
    "a domain that is left NULL": (f"CREATE DOMAIN free AS text; ALTER TABLE {TABLE} ADD COLUMN note free", False),
    "a generated column": (f"ALTER TABLE {TABLE} ADD COLUMN bytes int GENERATED ALWAYS AS (octet_length(vector)) STORED", False),
    "a trigger before each row": (f"{NOTE} BEFORE INSERT ON {TABLE} FOR EACH ROW EXECUTE FUNCTION note()", False),
    "a trigger after the statement": (f"{NOTE} AFTER INSERT ON {TABLE} FOR EACH STATEMENT EXECUTE FUNCTION note()", False),
    "a foreign key": (f"ALTER TABLE {TABLE} ADD FOREIGN KEY (entity_id) REFERENCES instruments (instrument_id)", False),
    "a key that is checked later": (f"ALTER TABLE {TABLE} ADD UNIQUE (entity_id, as_of_date) DEFERRABLE", False),
    "a rule": (
        f"CREATE TABLE seen (id text); CREATE RULE note AS ON DELETE TO {TABLE} DO ALSO INSERT INTO seen VALUES (OLD.entity_id)",
        False,
    ),
    "a partition": (
        f"ALTER TABLE {TABLE} RENAME TO part; CREATE TABLE {TABLE} (LIKE part INCLUDING DEFAULTS) PARTITION BY RANGE (as_of_date);"
        f" CREATE UNIQUE INDEX ON {TABLE} (model_id, as_of_date, entity_type, entity_id, (window_spec ->> 'window_days'));"
        f" ALTER TABLE {TABLE} ATTACH PARTITION part DEFAULT",
        False,
    ),
}


@pytest.fixture(scope="module")
def database(module_db):
    """A market, and what a table holds in the end."""
    fill(module_db)
    module_db.execute("CREATE EXTENSION pg_walinspect SCHEMA pg_catalog")
    module_db.execute("SET synchronous_commit = on")
    module_db.execute(RUN)
    found = digest(module_db)
    module_db.execute(f"TRUNCATE {TABLE}")
    return module_db, found


@pytest.fixture
def market(database):
    """A session that finds an empty table of its own in front of the others."""
    session, _ = database
    session.execute(f"CREATE SCHEMA own; CREATE TABLE own.{TABLE} (LIKE public.{TABLE} INCLUDING ALL); SET search_path = own, public")
    yield session
    session.execute("SET search_path = public; DROP SCHEMA own CASCADE")


@pytest.fixture
def expected(database):
    return database[1]


def by_the_page(session, table, work):
    """Runs `work`; whether it left records of many rows at once in the log."""
    (start,) = session.execute("SELECT pg_current_wal_insert_lsn()").fetchone()
    work()
    (path,) = session.execute("SELECT split_part(pg_relation_filepath(%s), '/', 3)", (table,)).fetchone()
    (records,) = session.execute(
        "SELECT count(*) FROM pg_get_wal_records_info(%s, pg_current_wal_flush_lsn())"
        " WHERE record_type LIKE 'MULTI_INSERT%%' AND block_ref ~ %s",
        (start, rf"/{path} "),
    ).fetchone()
    return records > 0


@pytest.mark.parametrize("kind", TABLES)
def test_rows_are_added_by_the_page_where_an_insert_does_no_more(market, expected, kind):
    prepare, pages = TABLES[kind]
    market.execute(prepare)
    table = "part" if kind == "a partition" else TABLE
    written = []
    assert by_the_page(market, table, lambda: written.append(market.execute(RUN).fetchone()[0])) == pages
    assert written == [40]
    assert digest(market) == expected
    ids = "SELECT count(DISTINCT embedding_id), min(created_at) = max(created_at), max(computed_at) <= now() FROM " + TABLE
    assert market.execute(ids).fetchone() == (40, True, True)


@pytest.mark.parametrize("persistence", ["TEMP", "UNLOGGED"])
def test_tables_without_a_log_are_written_the_same(market, expected, persistence):
    market.execute(f"CREATE {persistence} TABLE kept (LIKE {TABLE} INCLUDING ALL)")
    market.execute(RUN.replace("'M')", "'M', target => 'kept')"))
    assert digest(market, "kept") == expected


def test_defaults_are_evaluated_row_by_row(market):
    market.execute(f"ALTER TABLE {TABLE} DROP COLUMN vector_ref, ADD COLUMN n int DEFAULT 7, ADD COLUMN tag uuid DEFAULT gen_random_uuid()")
    market.execute(RUN)
    found = f"SELECT count(DISTINCT embedding_id), count(DISTINCT tag), min(n), max(n), count(*) FROM {TABLE}"
    assert market.execute(found).fetchone() == (40, 40, 7, 7, 40)


@pytest.mark.parametrize(
    ("sqlstate", "text", "prepare"),
    [
        ("23514", "few", "ADD CONSTRAINT few CHECK (entity_id <> 'X0007' OR as_of_date <> '2024-06-27')"),
        ("23502", "null value in column", "ADD COLUMN must int NOT NULL"),
        ("23P01", "conflicting key value", "ADD EXCLUDE USING btree ((octet_length(vector)) WITH =)"),
        ("22012", "division by zero", "ADD COLUMN bad int DEFAULT 1 / (random() * 0)::int"),
        ("22001", "value too long for type character varying(4)", "ALTER COLUMN entity_id TYPE varchar(4)"),
        ("22001", "value too long for type character varying(8)", "ALTER COLUMN model_id TYPE varchar(8)"),
    ],
)
def test_a_row_that_the_table_refuses_leaves_nothing(market, sqlstate, text, prepare):
    """The same errors as an INSERT's, and the session goes on."""
    before = market.execute("SELECT count(*) FROM pg_locks WHERE relation = %s::regclass", (TABLE,)).fetchone()
    market.execute(f"ALTER TABLE {TABLE} {prepare}")
    with fails(sqlstate, text):
        market.execute(RUN)
    assert count(market) == 0
    assert market.execute("SELECT count(*) FROM pg_locks WHERE relation = %s::regclass", (TABLE,)).fetchone() == before
    market.execute("SET search_path = public")
    with market.transaction(force_rollback=True):
        assert market.execute(RUN).fetchone() == (40,)


def test_rows_are_seen_by_what_follows_in_the_transaction(market):
    with market.transaction():
        market.execute(RUN)
        assert count(market) == 40
        again = "SELECT DISTINCT status FROM backfill_numeric('2024-06-24', '2024-06-28', market_id => 'M', on_existing => 'update')"
        assert market.execute(again).fetchall() == [("skipped",)]


def test_vectors_beyond_a_page_are_written_by_the_page_too(market):
    """A vector of 3,000 dimensions goes to the table's TOAST relation."""
    market.execute(
        """SELECT register_numeric_model('wide', '{"features": ["close", "volume", "log_return"], "price_column": "close",
             "encoder": "pad_to_dim", "dim": 3000, "window": {"min_fill": 0.5, "look_back": 3, "short_history": "repeat_last"}}')"""
    )
    run = RUN.replace("'M')", "'M', model_id => 'wide')")
    assert by_the_page(market, TABLE, lambda: market.execute(run))
    differing = f"SELECT count(*) FROM {TABLE} WHERE vector IS DISTINCT FROM num_window_embed(entity_id, as_of_date, model_id => 'wide')"
    assert (count(market), market.execute(differing).fetchone()) == (40, (0,))


def pages(session, table=TABLE):
    return session.execute("SELECT pg_relation_size(%s) / 8192", (table,)).fetchone()[0]


@pytest.mark.parametrize("fillfactor", [100, 40])
def test_a_table_has_the_pages_that_an_insert_makes(market, fillfactor):
    """Pages are added many at a time, no more of them than the rows fill, and filled as the table's options ask. From 16 on
    the server adds them itself, at last up to 64 more than that, as for COPY."""
    market.execute(f"ALTER TABLE {TABLE} SET (fillfactor = {fillfactor})")
    rows = market.execute("SELECT count(*) FROM backfill_numeric('2023-12-01', '2024-06-28', market_id => 'M') WHERE status = 'inserted'").fetchone()[0]
    assert rows == count(market) > 600
    market.execute(f"CREATE TABLE own.same (LIKE {TABLE} INCLUDING DEFAULTS) WITH (fillfactor = {fillfactor})")
    market.execute(f"INSERT INTO own.same SELECT * FROM {TABLE} ORDER BY embedding_id")
    assert pages(market, "own.same") >= rows // (4 if fillfactor == 100 else 2)
    ahead = 64 if market.info.server_version >= 160000 else 1
    assert -1 <= pages(market) - pages(market, "own.same") <= ahead
    assert digest(market) == digest(market, "own.same")


def test_room_that_vacuum_has_found_is_used_again(market):
    run = "SELECT count(*) FROM backfill_numeric('2023-12-01', '2024-06-28', market_id => 'M', on_existing => 'skip')"
    market.execute(run)
    before, expected = pages(market), digest(market)
    market.execute(f"DELETE FROM {TABLE} WHERE as_of_date < '2024-05-01'")
    market.execute(f"VACUUM {TABLE}")
    assert by_the_page(market, TABLE, lambda: market.execute(run))
    assert digest(market) == expected
    assert pages(market) <= before + 1
