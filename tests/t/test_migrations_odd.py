"""Migrations where things are not as usual: schemas, roles, hostile search paths, views and partitioned tables."""

import psycopg
import pytest
from psycopg import sql
from tables import BASE, apply_files, columns, indexes, migrate, statuses


@pytest.fixture
def session(cluster):
    """A session in a database with the extension and no tables."""
    name = cluster.create_database(prefix="odd")
    try:
        with cluster.connect(name) as connection:
            connection.execute("CREATE EXTENSION prometheus_embed")
            yield connection
    finally:
        cluster.drop_database(name)


@pytest.fixture
def role(cluster, session):
    """An ordinary role, gone after the test."""
    name = f"role_{session.info.dbname}"
    session.execute(sql.SQL("CREATE ROLE {} LOGIN").format(sql.Identifier(name)))
    yield name
    session.execute("RESET ROLE")
    session.execute(sql.SQL("DROP OWNED BY {} CASCADE").format(sql.Identifier(name)))
    session.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(name)))


def foreign_keys(session):
    """(from, to) of every foreign key but the extension's own."""
    return session.execute(
        "SELECT conrelid::regclass::text, confrelid::regclass::text FROM pg_constraint c WHERE contype = 'f'"
        " AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.conrelid"
        " AND d.deptype = 'e') ORDER BY 1, 2"
    ).fetchall()


@pytest.mark.parametrize("name", ["Prices & Co", 'a"b', "x; DROP TABLE y; --", "ünï", "select", "a.b", "new\nline", "p" * 63])
def test_schema_names(session, name):
    session.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(name)))
    assert statuses(migrate(session, name)) == {"applied"}
    assert set(columns(session, name)) == set(BASE)
    assert not set(columns(session)) & set(BASE)
    session.execute(sql.SQL("SET search_path = {}, public").format(sql.Identifier(name)))
    assert statuses(migrate(session)) == {"already there"}
    assert foreign_keys(session) == [
        ("instruments", "issuers"), ("instruments", "markets"), ("scenario_paths", "scenario_sets"),
    ]


def test_tables_elsewhere_on_the_path_do_not_count(session):
    migrate(session)
    session.execute("CREATE SCHEMA second")
    session.execute("SET search_path = second, public")
    assert statuses(migrate(session)) == {"applied"}
    assert set(columns(session, "second")) == set(BASE)


def test_psql_in_another_schema(cluster, session):
    session.execute('CREATE SCHEMA "Other One"')
    apply_files(cluster, session.info.dbname, 'SET search_path = "Other One", public;\n')
    assert set(columns(session, "Other One")) == set(BASE)


@pytest.mark.parametrize("argument", [None, "nowhere", '"public"', "PUBLIC", ""])
def test_no_schema(session, argument):
    if argument is None:
        session.execute("SET search_path = nowhere")
    with pytest.raises(psycopg.errors.InvalidSchemaName) as error:
        migrate(session, argument)
    message = "no schema to create the tables in" if argument is None else f'schema "{argument}" does not exist'
    assert error.value.diag.message_primary == message
    assert error.value.diag.message_hint


def test_psql_without_schema(cluster, session):
    with pytest.raises(AssertionError, match="no schema to create the tables in"):
        apply_files(cluster, session.info.dbname, "SET search_path = nowhere;\n")


def test_role_without_the_right_to_create(session, role):
    session.execute("REVOKE CREATE ON SCHEMA public FROM PUBLIC")
    session.execute(sql.SQL("SET ROLE {}").format(sql.Identifier(role)))
    with pytest.raises(psycopg.errors.InsufficientPrivilege, match="permission denied for schema public"):
        migrate(session)
    session.execute("RESET ROLE")
    assert not set(columns(session)) & set(BASE)


def test_ordinary_role_owns_what_it_makes(session, role):
    session.execute(sql.SQL("GRANT CREATE ON SCHEMA public TO {}").format(sql.Identifier(role)))
    session.execute(sql.SQL("SET ROLE {}").format(sql.Identifier(role)))
    assert statuses(migrate(session)) == {"applied"}
    owners = "SELECT DISTINCT tableowner FROM pg_tables WHERE schemaname = 'public' AND tablename = ANY (%s)"
    assert session.execute(owners, [list(BASE)]).fetchall() == [(role,)]


def test_tables_of_another_role(session, role):
    """Embedding tables of another role: what is missing is told, the rest is made."""
    session.execute("CREATE TABLE numeric_window_embeddings (embedding_id bigserial PRIMARY KEY, entity_type text, entity_id text,"
                    " window_spec jsonb, as_of_date date, model_id text, vector bytea)")  # fmt: skip
    session.execute("CREATE TABLE issuers (issuer_id text PRIMARY KEY)")
    session.execute(sql.SQL("GRANT CREATE ON SCHEMA public TO {}").format(sql.Identifier(role)))
    session.execute(sql.SQL("SET ROLE {}").format(sql.Identifier(role)))
    rows = {name: (status, detail) for name, status, detail in migrate(session)}
    assert rows["0001_securities"][0] == "applied"
    assert rows["0004_lineage_and_storage"][0] == rows["0005_natural_keys"][0] == "incomplete"
    assert "numeric_window_embeddings belongs to another role" in rows["0004_lineage_and_storage"][1]
    assert "gets no natural key: it belongs to another role" in rows["0005_natural_keys"][1]
    keys = "SELECT confrelid::regclass::text FROM pg_constraint WHERE conrelid = 'instruments'::regclass AND contype = 'f'"
    assert session.execute(keys).fetchall() == [("markets",)], "no right to refer to issuers"
    session.execute("RESET ROLE")
    assert statuses(migrate(session)) == {"applied", "already there"}
    assert statuses(migrate(session)) == {"already there"}


def test_hostile_search_path(session):
    """Functions and operators that an attacker put first on the path are never called."""
    session.execute("CREATE SCHEMA evil")
    session.execute("""CREATE FUNCTION evil.trap(anyelement, anyelement) RETURNS boolean LANGUAGE plpgsql
                       AS $$ BEGIN RAISE EXCEPTION 'trapped'; END $$""")
    session.execute("""CREATE FUNCTION evil.join_trap(text, text) RETURNS text LANGUAGE plpgsql
                       AS $$ BEGIN RAISE EXCEPTION 'trapped'; END $$""")
    for kind in ("text", "name", "oid", '"char"', "int4", "int2", "bool", "text[]", "varchar"):
        for operator in ("=", "<>"):
            session.execute(f"CREATE FUNCTION evil.trap_{abs(hash(kind + operator))}({kind}, {kind}) RETURNS boolean"
                            " LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'trapped'; END $$")  # fmt: skip
            session.execute(f"CREATE OPERATOR evil.{operator} (FUNCTION = evil.trap_{abs(hash(kind + operator))},"
                            f" LEFTARG = {kind}, RIGHTARG = {kind})")  # fmt: skip
    session.execute("CREATE OPERATOR evil.|| (FUNCTION = evil.join_trap, LEFTARG = text, RIGHTARG = text)")
    for signature in ("now()", "current_schema()", "to_regclass(text)", "quote_ident(text)", "set_config(text, text, boolean)",
                      "current_setting(text)", "has_table_privilege(oid, text)", "pg_has_role(oid, text)"):  # fmt: skip
        session.execute(f"CREATE FUNCTION evil.{signature} RETURNS text LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'trapped'; END $$")
    session.execute("CREATE DOMAIN evil.date AS text")
    session.execute("CREATE DOMAIN evil.text AS int4")
    session.execute("CREATE TEMPORARY TABLE issuers (issuer_id int)")
    session.execute("CREATE TEMPORARY TABLE pg_class (oid int)")
    session.execute("SET search_path = evil, pg_catalog")
    assert statuses(migrate(session)) == {"applied"}
    assert statuses(migrate(session)) == {"already there"}
    session.execute("SET search_path = pg_catalog, public")
    types = """SELECT DISTINCT n.nspname FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid JOIN pg_namespace n ON n.oid = t.typnamespace
               WHERE a.attrelid = ANY (%s::regclass[]::oid[]) AND a.attnum > 0"""
    assert session.execute(types, [[f"evil.{table}" for table in BASE]]).fetchall() == [("pg_catalog",)]


def test_views_and_foreign_tables_are_left_alone(session):
    session.execute("CREATE VIEW markets AS SELECT 'M'::text AS market_id")
    session.execute("CREATE TABLE raw_issuers (id int)")
    session.execute("CREATE VIEW issuers AS SELECT id AS issuer_id FROM raw_issuers")
    session.execute("CREATE EXTENSION IF NOT EXISTS postgres_fdw")
    session.execute("CREATE SERVER elsewhere FOREIGN DATA WRAPPER postgres_fdw")
    session.execute("CREATE FOREIGN TABLE prices_daily (instrument_id text, trade_date date) SERVER elsewhere")
    session.execute("CREATE MATERIALIZED VIEW profiles AS SELECT 1 AS profile_id")
    session.execute("CREATE VIEW joint_embeddings AS SELECT 1 AS joint_id")
    session.execute("CREATE SEQUENCE scenario_sets")
    notices = []
    session.add_notice_handler(lambda notice: notices.append(notice.message_primary))
    assert "incomplete" not in statuses(migrate(session))
    assert [text for text in notices if "is not a table" in text] == [
        "public.issuers is not a table (relkind v): left as it is",
        "public.markets is not a table (relkind v): left as it is",
        "public.prices_daily is not a table (relkind f): left as it is",
        "public.profiles is not a table (relkind m): left as it is",
        "public.scenario_sets is not a table (relkind S): left as it is",
        "public.joint_embeddings is not a table (relkind v): left as it is",
    ]
    # What could be made was made, without foreign keys to what cannot carry them.
    assert {"instruments", "scenario_paths", "numeric_window_embeddings"} <= set(columns(session))
    assert foreign_keys(session) == []
    assert statuses(migrate(session)) == {"already there"}


PARTITIONED = """CREATE TABLE numeric_window_embeddings (embedding_id bigint GENERATED BY DEFAULT AS IDENTITY,
    entity_type varchar(32) NOT NULL, entity_id varchar(64) NOT NULL, window_spec jsonb NOT NULL, as_of_date date NOT NULL,
    model_id varchar(64) NOT NULL, vector bytea, vector_ref varchar(255), created_at timestamptz NOT NULL DEFAULT now())
    PARTITION BY {}"""


def test_partitioned_by_a_column_of_the_key(session):
    session.execute(PARTITIONED.format("RANGE (as_of_date)"))
    session.execute("CREATE TABLE n2024 PARTITION OF numeric_window_embeddings FOR VALUES FROM ('2024-01-01') TO ('2025-01-01')")
    assert "incomplete" not in statuses(migrate(session))
    assert "numeric_window_embeddings_natural_key" in indexes(session)
    assert columns(session)["n2024"]["rows_used"] == "int4"
    storage = "SELECT attstorage FROM pg_attribute WHERE attrelid = 'n2024'::regclass AND attname = 'vector'"
    assert session.execute(storage).fetchone() == ("e",)
    assert statuses(migrate(session)) == {"already there"}


def test_partitioned_by_another_column(session):
    session.execute(PARTITIONED.format("RANGE (created_at)"))
    session.execute("CREATE TABLE n_all PARTITION OF numeric_window_embeddings DEFAULT")
    rows = {name: (status, detail) for name, status, detail in migrate(session)}
    status, detail = rows["0005_natural_keys"]
    assert status == "incomplete"
    assert "gets no natural key: unique constraint on partitioned table must include all partitioning columns" in detail
    assert "numeric_window_embeddings_model_id_idx" in indexes(session)
    session.execute("INSERT INTO numeric_window_embeddings (entity_type, entity_id, window_spec, as_of_date, model_id)"
                    " VALUES ('X', 'x', '{}', '2024-01-01', 'm')")  # fmt: skip


def test_tables_of_another_shape(session):
    session.execute("CREATE TABLE numeric_window_embeddings (id int)")
    session.execute("CREATE TABLE joint_embeddings (joint_id int, model_id text, joint_type text, as_of_date date, entity_scope text)")
    session.execute("CREATE TABLE profiles (issuer uuid)")
    rows = {name: (status, detail) for name, status, detail in migrate(session)}
    assert rows["0005_natural_keys"][0] == "incomplete"
    assert 'column "window_spec" does not exist' in rows["0005_natural_keys"][1]
    assert columns(session)["profiles"] == {"issuer": "uuid"}


def test_ids_too_long_for_an_index(session):
    migrate(session)
    session.execute("DROP INDEX joint_embeddings_natural_key")
    session.execute("""INSERT INTO joint_embeddings (joint_type, as_of_date, entity_scope, model_id)
                       SELECT 'J', '2024-01-01', jsonb_build_object('entity_type', 'X', 'entity_id', string_agg(md5(i::text), '')), 'm'
                         FROM generate_series(1, 500) i""")
    rows = {name: (status, detail) for name, status, detail in migrate(session)}
    assert rows["0005_natural_keys"][0] == "incomplete"
    assert "gets no natural key: index row" in rows["0005_natural_keys"][1]
