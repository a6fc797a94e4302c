"""The data tables: what the migrations make in a fresh database, and what they leave as it is in one that has some.

Every rule of migrations/README.md has a test, here or in test_migrations_odd.py."""

import re
import threading

import psycopg
import pytest
from cluster import ROOT, install
from tables import BASE, EMBEDDINGS, FILES, LINEAGE, apply_files, columns, content, dump, indexes, migrate, statuses

OLD_TABLES = (ROOT / "tests" / "t" / "old_tables.sql").read_text(encoding="utf-8")


@pytest.fixture
def bare(cluster):
    """A database with nothing in it."""
    name = cluster.create_database(prefix="bare")
    yield name
    cluster.drop_database(name)


@pytest.fixture
def session(cluster, bare):
    """A session in a database with the extension and no tables."""
    with cluster.connect(bare) as connection:
        connection.execute("CREATE EXTENSION prometheus_embed")
        yield connection


@pytest.fixture
def old(session):
    """A session in a database that the Python system made, with the extension installed."""
    session.execute(OLD_TABLES)
    return session


def expected_columns():
    return {table: base | LINEAGE.get(table, {}) for table, base in BASE.items()}


def test_files_are_numbered_and_fit_for_spi():
    assert [int(file.name[:4]) for file in FILES] == list(range(1, len(FILES) + 1))
    for file in FILES:
        text = file.read_text(encoding="utf-8")
        assert not re.search(r"^\s*\\", text, re.M), f"{file.name}: psql command"
        assert not re.search(r"^\s*(BEGIN|COMMIT|ROLLBACK|START TRANSACTION)\s*;", text, re.M | re.I), file.name
        assert text.count("DO $migration$") == 1 and text.rstrip().endswith("$migration$;"), file.name
        assert "pg_advisory_xact_lock(7308332045321)" in text, file.name


def test_fresh_database_gets_every_column(session):
    rows = migrate(session)
    assert [name for name, _, _ in rows] == [file.stem for file in FILES]
    assert statuses(rows) == {"applied"}
    assert {table: kinds for table, kinds in columns(session).items() if table in BASE} == expected_columns()


def test_second_run_changes_nothing(cluster, session):
    migrate(session)
    before = dump(cluster, session.info.dbname)
    rows = migrate(session)
    assert statuses(rows) == {"already there"}
    assert {detail for _, _, detail in rows} == {None}
    assert dump(cluster, session.info.dbname) == before


def test_psql_and_sql_make_the_same(cluster, bare):
    apply_files(cluster, bare)
    once = dump(cluster, bare)
    assert apply_files(cluster, bare) == "", "a second run has nothing to say"
    assert dump(cluster, bare) == once
    other = cluster.create_database(prefix="other")
    try:
        with cluster.connect(other) as connection:
            install(connection)
        mine = "\n".join(line for line in once.splitlines() if not line.startswith("-- Dump"))
        theirs = dump(cluster, other, *[f"--table={table}" for table in BASE])
        tables_only = dump(cluster, bare, *[f"--table={table}" for table in BASE])
        assert "CREATE TABLE public.markets" in mine
        assert theirs == tables_only
    finally:
        cluster.drop_database(other)


def test_every_table_and_column_has_a_comment(db):
    missing = db.execute(
        """SELECT c.relname, a.attname
             FROM pg_class c
             LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0
            WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'r' AND c.relname = ANY (%s)
              AND (obj_description(c.oid, 'pg_class') IS NULL OR col_description(c.oid, a.attnum) IS NULL)""",
        [list(BASE)],
    ).fetchall()
    assert missing == []


def test_dropping_the_extension_keeps_the_tables(session):
    migrate(session)
    session.execute("INSERT INTO markets (market_id, name, region, timezone) VALUES ('M', 'M', 'R', 'UTC')")
    session.execute("DROP EXTENSION prometheus_embed")
    assert session.execute("SELECT count(*) FROM markets").fetchone() == (1,)


def test_vectors_are_neither_compressed_nor_moved_out(db):
    insert = """INSERT INTO joint_embeddings (joint_type, as_of_date, entity_scope, model_id, vector, branches)
                VALUES ('J', '2024-01-01', jsonb_build_object('entity_type', 'X', 'entity_id', %(id)s::text,
                        'note', repeat(md5(%(id)s), 20)), 'm', decode(repeat('00', %(bytes)s), 'hex'), '["a"]')
                RETURNING pg_column_size(vector), octet_length(vector)"""
    for dim in (384, 768, 1024):
        size, length = db.execute(insert, {"id": str(dim), "bytes": 4 * dim}).fetchone()
        assert length == 4 * dim and length <= size <= length + 4, "zeros compress well: this one was left alone"
    toast = "SELECT pg_relation_size(reltoastrelid) FROM pg_class WHERE oid = 'joint_embeddings'::regclass"
    assert db.execute(toast).fetchone() == (0,)
    # Beyond a page it goes out of line, and still whole.
    assert db.execute(insert, {"id": "large", "bytes": 65536}).fetchone()[1] == 65536
    assert db.execute(toast).fetchone()[0] >= 65536


def test_old_database_loses_nothing(cluster, old):
    before, kept, files = content(old), columns(old), relation_files(old)
    described = old.execute("SELECT obj_description('markets'::regclass)").fetchone()
    rows = migrate(old)
    assert content(old) == before
    after = columns(old)
    assert {table: after[table] for table in BASE} == {table: kept[table] | LINEAGE.get(table, {}) for table in BASE}
    assert after["regimes"] == kept["regimes"]
    assert relation_files(old) == files, "nothing was rewritten"
    assert old.execute("SELECT obj_description('markets'::regclass)").fetchone() == described
    note = "SELECT col_description('numeric_window_embeddings'::regclass, 7)"
    assert old.execute(note).fetchone() == ("float32, see the wiki.",)
    assert {name: status for name, status, _ in rows}["0005_natural_keys"] == "incomplete"
    once = dump(cluster, old.info.dbname)
    again = {name: status for name, status, _ in migrate(old)}
    assert again.pop("0005_natural_keys") == "incomplete"
    assert set(again.values()) == {"already there"}
    assert dump(cluster, old.info.dbname) == once


def relation_files(connection):
    """{table: file}: an ALTER TABLE that rewrites gives a table another file."""
    rows = connection.execute("SELECT relname, relfilenode FROM pg_class WHERE relname = ANY (%s)", [list(BASE)])
    return dict(rows.fetchall())


def test_old_database_gets_only_missing_indexes(old):
    before = indexes(old)
    migrate(old)
    assert indexes(old) - before == {
        "profiles_as_of_date_idx",
        "portfolio_risk_reports_as_of_date_idx",
        # Until the duplicates are gone, a plain index stands in for the natural key.
        "numeric_window_embeddings_model_id_idx",
        "joint_embeddings_model_id_idx",
    }
    assert before <= indexes(old)


def test_duplicates_are_told_with_a_remedy_that_works(old):
    notices = []
    old.add_notice_handler(lambda said: notices.append((said.severity, said.message_primary, said.message_detail)))
    detail = {name: text for name, _, text in migrate(old)}["0005_natural_keys"]
    warnings = [notice for notice in notices if notice[0] == "WARNING"]
    assert sorted(message for _, message, _ in warnings) == [
        "public.joint_embeddings gets no natural key: it holds several rows of one key",
        "public.numeric_window_embeddings gets no natural key: it holds several rows of one key",
    ]
    assert all("is duplicated" in key for _, _, key in warnings)
    remedies = re.findall(r"DELETE FROM .*?(?=; then the migrations again\.)", detail)
    assert len(remedies) == 2
    for remedy in remedies:
        old.execute(remedy)
    kept = old.execute("SELECT embedding_id FROM numeric_window_embeddings ORDER BY 1").fetchall()
    assert kept == [(3,), (4,), (5,), (6,), (7,)], "the newest of the three, and all that say no window"
    scopes = "SELECT joint_type, count(*) FROM joint_embeddings GROUP BY 1 ORDER BY 1"
    assert dict(old.execute(scopes).fetchall()) == {
        "EPISODE_V0": 2, "META_CONFIG_ENV_V0": 2, "PORTFOLIO_CORE_V0": 1, "PROFILE_CORE_V0": 1,
        "REGIME_CONTEXT_V0": 2, "STAB_FRAGILITY_V0": 4,
    }
    assert {name: status for name, status, _ in migrate(old)}["0005_natural_keys"] == "applied"
    assert statuses(migrate(old)) == {"already there"}


NUMERIC = """INSERT INTO numeric_window_embeddings (entity_type, entity_id, window_spec, as_of_date, model_id, vector)
    VALUES ('INSTRUMENT', 'A', %s, '2024-01-02', 'm', %s)
    ON CONFLICT (entity_type, entity_id, as_of_date, model_id, (window_spec OPERATOR(pg_catalog.->>) 'window_days'))
    DO UPDATE SET vector = excluded.vector"""
JOINT = """INSERT INTO joint_embeddings (joint_type, as_of_date, entity_scope, model_id, vector)
    VALUES ('J', '2024-01-02', %s, 'm', %s)
    ON CONFLICT (model_id, joint_type, as_of_date, (entity_scope OPERATOR(pg_catalog.->>) 'entity_type'),
        (COALESCE(entity_scope OPERATOR(pg_catalog.->>) 'entity_id', entity_scope OPERATOR(pg_catalog.->>) 'portfolio_id',
          (entity_scope OPERATOR(pg_catalog.->>) 'scenario_set_id') OPERATOR(pg_catalog.||) ':' OPERATOR(pg_catalog.||)
          (entity_scope OPERATOR(pg_catalog.->>) 'scenario_id'), entity_scope OPERATOR(pg_catalog.->>) 'issuer_id')))
    DO UPDATE SET vector = excluded.vector"""


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [
        ('{"window_days": 63, "entity_type": "INSTRUMENT"}', '{"window_days": 63}', True),
        ('{"window_days": 63}', '{"window_days": 126}', False),
        ("{}", "{}", False),
        ("[]", "[]", False),
    ],
)
def test_numeric_key(db, first, second, same):
    for spec, vector in ((first, b"\1\0\0\0"), (second, b"\2\0\0\0")):
        db.execute(NUMERIC, [spec, vector])
    assert db.execute("SELECT count(*) FROM numeric_window_embeddings").fetchone() == (1 if same else 2,)


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [
        # Issuers, whatever else the scope says.
        ('{"entity_type": "ISSUER", "issuer_id": "A", "source": "a"}', '{"entity_type": "ISSUER", "issuer_id": "A", "region": "US"}', True),
        ('{"entity_type": "ISSUER", "issuer_id": "A", "instrument_id": "X"}', '{"entity_type": "ISSUER", "issuer_id": "A", "instrument_id": "Y"}', True),
        ('{"entity_type": "ISSUER", "issuer_id": "A"}', '{"entity_type": "ISSUER", "issuer_id": "B"}', False),
        # Instruments of one issuer are different entities; an instrument is no issuer.
        ('{"entity_type": "INSTRUMENT", "entity_id": "X", "issuer_id": "A"}', '{"entity_type": "INSTRUMENT", "entity_id": "Y", "issuer_id": "A"}', False),
        ('{"entity_type": "INSTRUMENT", "entity_id": "X", "issuer_id": "A"}', '{"entity_type": "INSTRUMENT", "entity_id": "X", "issuer_id": "B"}', True),
        ('{"entity_type": "INSTRUMENT", "entity_id": "A"}', '{"entity_type": "ISSUER", "issuer_id": "A"}', False),
        ('{"entity_type": "PORTFOLIO", "portfolio_id": "P"}', '{"entity_type": "PORTFOLIO", "portfolio_id": "P", "source": "m"}', True),
        # Scenarios: set and number, the number as text or not.
        ('{"entity_type": "SCENARIO", "scenario_set_id": "S", "scenario_id": "1"}', '{"entity_type": "SCENARIO", "scenario_set_id": "S", "scenario_id": 1}', True),
        ('{"entity_type": "SCENARIO", "scenario_set_id": "S", "scenario_id": "1"}', '{"entity_type": "SCENARIO", "scenario_set_id": "S", "scenario_id": "2"}', False),
        ('{"entity_type": "SCENARIO", "scenario_set_id": "S_1", "scenario_id": "1"}', '{"entity_type": "SCENARIO", "scenario_set_id": "SX1", "scenario_id": "1"}', False),
        # A kind of ours to come.
        ('{"entity_type": "COUNTRY", "entity_id": "US"}', '{"entity_type": "COUNTRY", "entity_id": "US"}', True),
        # Unknown entities are not constrained.
        ('{"region": "US"}', '{"region": "US"}', False),
        ('{"issuer_id": "A"}', '{"issuer_id": "A"}', False),
        ('{"entity_type": "ISSUER"}', '{"entity_type": "ISSUER"}', False),
        ('{"entity_type": "SCENARIO", "scenario_set_id": "S"}', '{"entity_type": "SCENARIO", "scenario_set_id": "S"}', False),
        ("[]", "[]", False),
        ('"text"', '"text"', False),
    ],
)  # fmt: skip
def test_joint_key(db, first, second, same):
    for scope, vector in ((first, b"\1\0\0\0"), (second, b"\2\0\0\0")):
        db.execute(JOINT, [scope, vector])
    assert db.execute("SELECT count(*) FROM joint_embeddings").fetchone() == (1 if same else 2,)


def test_look_ups_by_model_and_date_use_the_keys(db):
    db.execute(
        """INSERT INTO numeric_window_embeddings (entity_type, entity_id, window_spec, as_of_date, model_id)
           SELECT 'INSTRUMENT', 'I' || i, '{"window_days": 63}', date '2024-01-01' + d, 'm' || m
             FROM generate_series(1, 100) i, generate_series(1, 50) d, generate_series(1, 3) m"""
    )
    db.execute("ANALYZE numeric_window_embeddings")
    plan = db.execute(
        "EXPLAIN SELECT * FROM numeric_window_embeddings WHERE model_id = 'm1' AND as_of_date = '2024-01-09'"
    ).fetchall()
    assert any("numeric_window_embeddings_natural_key" in line for (line,) in plan)


def test_a_key_under_another_name_is_recognised(old):
    empty_the_embeddings(old)
    old.execute(
        """CREATE UNIQUE INDEX mine ON numeric_window_embeddings
           (entity_type, entity_id, (window_spec ->> 'window_days'), model_id, as_of_date)"""
    )
    old.execute(
        """CREATE UNIQUE INDEX mine_too ON joint_embeddings (as_of_date, model_id, joint_type, (entity_scope ->> 'entity_type'),
           COALESCE(entity_scope ->> 'entity_id', entity_scope ->> 'portfolio_id',
                    (entity_scope ->> 'scenario_set_id') || ':' || (entity_scope ->> 'scenario_id'), entity_scope ->> 'issuer_id'))"""
    )
    migrate(old)
    assert not {name for name in indexes(old) if name.endswith("natural_key")}


def test_a_deferrable_key_gets_no_double(old):
    """PostgreSQL refuses ON CONFLICT while there is a deferrable one, whatever else there is."""
    old.execute("ALTER TABLE text_embeddings DROP CONSTRAINT uq_text")
    old.execute("ALTER TABLE text_embeddings ADD CONSTRAINT late UNIQUE (source_type, source_id, model_id) DEFERRABLE")
    migrate(old)
    assert {name for name in indexes(old) if "text" in name or name == "late"} == {"pk_text", "late"}


def empty_the_embeddings(old):
    for table, row_id in (("numeric_window_embeddings", "embedding_id"), ("joint_embeddings", "joint_id")):
        old.execute(f"DELETE FROM {table}")
        assert old.execute(f"SELECT max({row_id}) FROM {table}").fetchone() == (None,)


def test_a_broken_concurrent_build_is_told(old):
    with pytest.raises(psycopg.errors.UniqueViolation):
        old.execute(
            """CREATE UNIQUE INDEX CONCURRENTLY numeric_window_embeddings_natural_key ON numeric_window_embeddings
               (model_id, as_of_date, entity_type, entity_id, (window_spec ->> 'window_days'))"""
        )
    detail = {name: text for name, _, text in migrate(old)}["0005_natural_keys"]
    assert "its index is not valid" in detail
    old.execute(re.search(r"DROP INDEX public\.numeric\w+", detail).group())
    assert "it holds several rows of one key" in {name: text for name, _, text in migrate(old)}["0005_natural_keys"]


def test_two_sessions_at_once(cluster, session):
    failures = []

    def run():
        try:
            with cluster.connect(session.info.dbname) as connection:
                migrate(connection)
        except psycopg.Error as error:
            failures.append(error)

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert {table for table in columns(session) if table in BASE} == set(BASE)


def test_rolled_back_with_its_transaction(session):
    with session.transaction(force_rollback=True):
        session.execute("SET LOCAL search_path = public, pg_catalog")
        migrate(session)
        assert session.execute("SHOW search_path").fetchone() == ("public, pg_catalog",)
    assert not set(columns(session)) & set(BASE)
    assert session.execute("SHOW search_path").fetchone() == ('"$user", public',)


def test_read_only_transaction(session):
    session.execute("SET default_transaction_read_only = on")
    with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
        migrate(session)
    assert not set(columns(session)) & set(BASE)


def test_storage_of_the_users_own_stays(old):
    old.execute("ALTER TABLE text_embeddings ALTER COLUMN vector SET STORAGE MAIN")
    old.execute("ALTER TABLE text_embeddings SET (toast_tuple_target = 512)")
    migrate(old)
    storage = "SELECT attstorage FROM pg_attribute WHERE attrelid = %s::regclass AND attname = 'vector'"
    assert {table: old.execute(storage, [table]).fetchone()[0] for table in EMBEDDINGS} == {
        "numeric_window_embeddings": "e", "text_embeddings": "m", "joint_embeddings": "e",
    }
    options = "SELECT reloptions FROM pg_class WHERE oid = 'text_embeddings'::regclass"
    assert old.execute(options).fetchone() == (["toast_tuple_target=512"],)
