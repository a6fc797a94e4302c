"""What can be wrong with the tables behind a numeric backfill, and that no failure leaves half of anything."""

import threading
import time

import psycopg
import pytest
from numeric_data import BACKFILL, count, digest, fails, fill

DAY = "2024-06-28"


@pytest.fixture
def market(db):
    fill(db)
    yield db
    role = db.info.dbname
    if db.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", (role,)).fetchone():
        db.execute(f"DROP OWNED BY {role}; DROP ROLE {role}")


def statuses(connection, sql=BACKFILL, parameters=(DAY,)):
    return [row[1] for row in connection.execute(sql, parameters)]


def with_role(connection, connect, grants=""):
    """A session of a new role that may read and write everything but what `grants` takes away."""
    role = connection.info.dbname
    connection.execute(
        f"""CREATE ROLE {role} LOGIN; GRANT ALL ON ALL TABLES IN SCHEMA public TO {role};
            GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO {role}; {grants.format(role=role)}"""
    )
    return connect(connection, user=role)


# --- what prices are read from ------------------------------------------------------------------------

SOURCES = {
    "view": "CREATE VIEW p AS SELECT * FROM prices_daily",
    "materialized view": "CREATE MATERIALIZED VIEW p AS SELECT * FROM prices_daily",
    "partitioned table": """
        CREATE TABLE p (LIKE prices_daily) PARTITION BY RANGE (trade_date);
        CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (MINVALUE) TO ('2024-03-01');
        CREATE TABLE p2 PARTITION OF p FOR VALUES FROM ('2024-03-01') TO (MAXVALUE);
        INSERT INTO p SELECT * FROM prices_daily""",
    "inheritance": """
        CREATE TABLE p (LIKE prices_daily); CREATE TABLE child () INHERITS (p);
        INSERT INTO p SELECT * FROM prices_daily WHERE trade_date < '2024-03-01';
        INSERT INTO child SELECT * FROM prices_daily WHERE trade_date >= '2024-03-01'""",
    "temporary table": "CREATE TEMPORARY TABLE p AS SELECT * FROM prices_daily ORDER BY random()",
    "other types": """
        CREATE VIEW p AS SELECT instrument_id::char(50)::name AS instrument_id, trade_date::timestamp, close::numeric, volume::bigint FROM prices_daily""",
    "dates at infinity and nulls": """
        CREATE TABLE p AS SELECT instrument_id::text, trade_date, close, volume FROM prices_daily;
        INSERT INTO p SELECT instrument_id, d, 1, 1 FROM instruments, unnest('{infinity,-infinity}'::date[]) d;
        INSERT INTO p SELECT instrument_id, NULL, 1, 1 FROM instruments;
        INSERT INTO p SELECT instrument_id, '2024-06-22', NULL, 1 FROM instruments;
        INSERT INTO p SELECT instrument_id, '2024-06-22', 1, NULL FROM instruments;
        INSERT INTO p VALUES (NULL, '2024-06-22', 1, 1)""",
    "foreign table": """
        CREATE EXTENSION postgres_fdw;
        CREATE SERVER loopback FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host '{host}', port '{port}', dbname '{dbname}');
        CREATE USER MAPPING FOR CURRENT_USER SERVER loopback OPTIONS (user '{user}');
        CREATE FOREIGN TABLE p (instrument_id text, trade_date date, close float8, volume float8)
            SERVER loopback OPTIONS (schema_name 'public', table_name 'prices_daily')""",
}


@pytest.mark.parametrize("kind", SOURCES)
def test_every_kind_of_source_gives_the_same_vectors(market, cluster, kind):
    if kind == "foreign table" and not market.execute("SELECT 1 FROM pg_available_extensions WHERE name = 'postgres_fdw'").fetchone():
        pytest.skip("no postgres_fdw in this Postgres")
    assert statuses(market) == ["inserted"] * 8
    expected = digest(market)
    market.execute("TRUNCATE numeric_window_embeddings")
    script = SOURCES[kind]
    for name, value in {"host": cluster.socket_dir, "port": cluster.port, "dbname": market.info.dbname, "user": cluster.user}.items():
        script = script.replace("{%s}" % name, str(value))
    market.execute(script)
    assert statuses(market, BACKFILL[:-1] + ", prices => 'p')") == ["inserted"] * 8
    assert digest(market) == expected
    days = market.execute("SELECT backfill_numeric('2024-06-24', '2024-06-28', market_id => 'M', prices => 'p')").fetchall()
    assert len(days) == 40


def test_a_day_twice_fails_its_instrument_only(market):
    market.execute(
        "CREATE VIEW p AS SELECT * FROM prices_daily UNION ALL SELECT * FROM prices_daily WHERE instrument_id = 'X0003' AND trade_date = '2024-06-05'"
    )
    rows = market.execute(BACKFILL[:-1] + ", prices => 'p')", (DAY,)).fetchall()
    assert [row[1] for row in rows] == ["inserted"] * 2 + ["failed"] + ["inserted"] * 5
    assert rows[2] == ("X0003", "failed", None, 0, "duplicate day 2024-06-05")
    with fails("22000", "duplicate day 2024-06-05"):
        market.execute("SELECT num_window_embed('X0003', %s, prices => 'p')", (DAY,))


def test_an_instrument_without_any_price_fails_alone(market):
    """Regression: its rows had no prices, and the whole backfill ended with XX000."""
    market.execute(
        """CREATE TABLE bare AS SELECT instrument_id, trade_date, CASE WHEN instrument_id <> 'X0002' THEN close END AS close,
                  CASE WHEN instrument_id <> 'X0002' THEN volume END AS volume FROM prices_daily"""
    )
    rows = market.execute("SELECT entity_id, status FROM backfill_numeric('2024-06-28', instrument_ids => '{X0001,X0002,X0003}', prices => 'bare')").fetchall()
    assert rows == [("X0001", "inserted"), ("X0002", "failed"), ("X0003", "inserted")]
    with pytest.raises(psycopg.errors.DataException, match="found 0"):
        market.execute("SELECT num_window_embed('X0002', '2024-06-28'::date, prices => 'bare')")


def test_odd_prices_are_counted_not_refused(market):
    for price, odd in (("0", 2), ("-1", 2), ("'NaN'", 3), ("'Infinity'", 3), ("1e300", 1), ("1e-300", 0), ("1e-310", 1)):
        market.execute(f"UPDATE prices_daily SET close = {price} WHERE instrument_id = 'X0001' AND trade_date = '2024-06-20'")
        status, detail = market.execute(
            "SELECT status, detail FROM backfill_numeric(%s, instrument_ids => '{X0001}', model_id => 'numeric-simple-v1')", (DAY,)
        ).fetchone()
        assert status in ("inserted", "replaced")
        assert detail == (f"{odd} of 189 values are not finite" if odd else None), price


def test_numbers_beyond_float8_are_an_error(market):
    market.execute("CREATE VIEW p AS SELECT instrument_id, trade_date, close::numeric * 1e400 AS close, volume FROM prices_daily")
    with fails("22003"):
        market.execute(BACKFILL[:-1] + ", prices => 'p')", (DAY,))
    assert count(market) == 0


def test_source_without_privileges(market, connect):
    other = with_role(market, connect, "REVOKE ALL ON prices_daily FROM {role}; GRANT SELECT (instrument_id, trade_date) ON prices_daily TO {role}")
    for sql in (BACKFILL, "SELECT num_window_embed('X0001', %s::date)"):
        with fails("42501", "permission denied for table prices_daily"):
            other.execute(sql, (DAY,))
    assert count(market) == 0
    # The columns that are read are all that is needed.
    market.execute(f"GRANT SELECT (close, volume) ON prices_daily TO {other.info.user}")
    assert statuses(other) == ["inserted"] * 8
    market.execute(f"REVOKE ALL ON instruments FROM {other.info.user}")
    with fails("42501", "permission denied for table instruments"):
        other.execute(BACKFILL, (DAY,))


def test_row_security_on_the_source_applies(market, connect):
    other = with_role(
        market, connect,
        "ALTER TABLE prices_daily ENABLE ROW LEVEL SECURITY; CREATE POLICY p ON prices_daily TO {role} USING (instrument_id <= 'X0002')",
    )
    assert statuses(other) == ["inserted"] * 2 + ["failed"] * 6
    other.execute("SET row_security = off")
    with fails("42501", "row-level security"):
        other.execute(BACKFILL, (DAY,))


# --- what vectors are written to ----------------------------------------------------------------------

def test_target_without_privileges(market, connect):
    other = with_role(market, connect, "REVOKE ALL ON numeric_window_embeddings FROM {role}; GRANT SELECT, INSERT ON numeric_window_embeddings TO {role}")
    with fails("42501", "permission denied for table numeric_window_embeddings"):
        other.execute(BACKFILL, (DAY,))
    market.execute(f"REVOKE INSERT ON numeric_window_embeddings FROM {other.info.user}")
    with fails("42501", "permission denied for table numeric_window_embeddings"):
        other.execute(BACKFILL, (DAY,))
    assert count(market) == 0
    market.execute(f"GRANT ALL ON numeric_window_embeddings TO {other.info.user}; REVOKE ALL ON SEQUENCE numeric_window_embeddings_embedding_id_seq FROM {other.info.user}")
    with fails("42501", "permission denied for sequence"):
        other.execute(BACKFILL, (DAY,))
    assert count(market) == 0


def test_row_security_on_the_target_applies(market, connect):
    other = with_role(
        market, connect,
        "ALTER TABLE numeric_window_embeddings ENABLE ROW LEVEL SECURITY; CREATE POLICY p ON numeric_window_embeddings TO {role} USING (true) WITH CHECK (entity_id <= 'X0005')",
    )
    with fails("42501", "violates row-level security policy"):
        other.execute(BACKFILL, (DAY,))
    assert count(market) == 0
    assert statuses(other, BACKFILL[:-1] + ", max_entities => 5)") == ["inserted"] * 5


def test_triggers_checks_and_generated_columns_are_honoured(market):
    market.execute(
        """
        CREATE TABLE seen (id text, op text);
        CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO seen VALUES (NEW.entity_id, TG_OP); RETURN NEW; END $$;
        CREATE TRIGGER note AFTER INSERT OR UPDATE ON numeric_window_embeddings FOR EACH ROW EXECUTE FUNCTION note();
        ALTER TABLE numeric_window_embeddings ADD COLUMN bytes int GENERATED ALWAYS AS (octet_length(vector)) STORED;
        """
    )
    assert statuses(market) == ["inserted"] * 8
    assert statuses(market) == ["replaced"] * 8
    assert market.execute("SELECT op, count(*), count(DISTINCT id) FROM seen GROUP BY op ORDER BY op").fetchall() == [("INSERT", 8, 8), ("UPDATE", 8, 8)]
    assert market.execute("SELECT DISTINCT bytes FROM numeric_window_embeddings").fetchall() == [(1536,)]
    before = digest(market)
    market.execute("ALTER TABLE numeric_window_embeddings ADD CONSTRAINT few CHECK (entity_id <> 'X0007' OR as_of_date <> '2024-06-27')")
    with fails("23514", "few"):
        market.execute("SELECT backfill_numeric('2024-06-24', '2024-06-27', market_id => 'M')")
    assert digest(market) == before


def test_a_failing_trigger_leaves_nothing(market):
    market.execute(
        """
        CREATE SEQUENCE tried;
        CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF nextval('tried') = 1500 THEN RAISE EXCEPTION 'no more' USING ERRCODE = 'data_exception'; END IF;
            RETURN NEW;
        END $$;
        CREATE TRIGGER refuse BEFORE INSERT ON numeric_window_embeddings FOR EACH ROW EXECUTE FUNCTION refuse();
        """
    )
    with fails("22000", "no more"):
        market.execute("SELECT backfill_numeric('2023-01-01', '2024-06-28', window_days => 5, market_id => 'M')")
    assert count(market) == 0
    # Half of it inside a savepoint that is kept: what was written before stays, nothing of the failed call does.
    with market.transaction():
        market.execute("SELECT backfill_numeric('2024-06-28', market_id => 'M')")
        with fails("22000"), market.transaction():
            market.execute("ALTER SEQUENCE tried RESTART 1000")
            market.execute("SELECT backfill_numeric('2023-01-01', '2024-06-28', window_days => 5, market_id => 'M')")
    assert count(market) == 8


def test_partitioned_target(market):
    market.execute(
        """
        CREATE TABLE parted (LIKE numeric_window_embeddings INCLUDING DEFAULTS) PARTITION BY RANGE (as_of_date);
        CREATE TABLE parted_1 PARTITION OF parted FOR VALUES FROM (MINVALUE) TO ('2024-06-26');
        CREATE TABLE parted_2 PARTITION OF parted FOR VALUES FROM ('2024-06-26') TO ('2024-06-28');
        CREATE UNIQUE INDEX ON parted (model_id, as_of_date, entity_type, entity_id, (window_spec ->> 'window_days'));
        """
    )
    run = "SELECT status FROM backfill_numeric('2024-06-24', '2024-06-27', market_id => 'M', target => '{}')"
    for wanted in ("inserted", "replaced"):
        assert {row[0] for row in market.execute(run.format("parted"))} == {wanted}
    market.execute(run.format("numeric_window_embeddings"))
    assert digest(market, "parted") == digest(market)
    assert (count(market, "parted_1"), count(market, "parted_2")) == (16, 16)
    with fails("23514", "no partition of relation"):
        market.execute("SELECT backfill_numeric('2024-06-24', '2024-06-28', market_id => 'M', target => 'parted')")
    assert count(market, "parted") == 32


def test_target_without_a_key_replaces_by_deleting(market):
    market.execute("CREATE TABLE plain AS TABLE numeric_window_embeddings")
    run = "SELECT entity_id, status FROM backfill_numeric('2024-06-27', '2024-06-28', market_id => 'M', target => 'plain', on_existing => '{}')"
    outcome = lambda choice: {row[1] for row in market.execute(run.format(choice))}
    assert outcome("replace") == {"inserted"}
    first = digest(market, "plain")
    assert (outcome("replace"), digest(market, "plain")) == ({"replaced"}, first)
    assert (outcome("skip"), digest(market, "plain")) == ({"skipped"}, first)
    assert (outcome("append"), count(market, "plain")) == ({"inserted"}, 32)
    # All old rows of a key go, and rows of other windows, models and kinds of entity stay.
    market.execute("UPDATE plain SET window_spec = '{\"window_days\": 64}' WHERE ctid = (SELECT ctid FROM plain WHERE entity_id = 'X0001' LIMIT 1)")
    market.execute("UPDATE plain SET entity_type = 'MARKET' WHERE ctid = (SELECT ctid FROM plain WHERE entity_id = 'X0002' LIMIT 1)")
    assert (outcome("replace"), count(market, "plain")) == ({"replaced"}, 18)


def test_without_a_key_two_runs_at_once_leave_one_row_per_key(market, connect):
    """Regression: the second run looked for rows to replace in the snapshot of its call, before the first committed."""
    market.execute("CREATE TABLE plain AS TABLE numeric_window_embeddings")
    run = BACKFILL[:-1] + ", target => 'plain')"
    first, second = connect(market, autocommit=False), connect(market)
    first.execute(run, (DAY,))
    found = []
    thread = threading.Thread(target=lambda: found.extend(statuses(second, run)))
    thread.start()
    wait_for(market, "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted", 1)
    first.commit()
    thread.join(20)
    assert found == ["replaced"] * 8
    assert count(market, "plain") == 8


def test_vectors_wider_than_a_page(market):
    market.execute(
        "CREATE VIEW p AS SELECT instrument_id, date '2024-06-28' - n AS trade_date, 100 + n AS close, n AS volume FROM instruments, generate_series(0, 1200) n"
    )
    run = "SELECT entity_id, status, dim FROM backfill_numeric(%s, 1000, 'M', model_id => 'numeric-simple-v1', prices => 'p')"
    rows = market.execute(run, (DAY,)).fetchall()
    assert rows == [(f"X000{i}", "inserted", 3000) for i in range(1, 9)]
    assert market.execute(
        "SELECT bool_and(octet_length(vector) = 12000 AND vector = num_window_embed(entity_id, as_of_date, 1000, model_id, 'p')) FROM numeric_window_embeddings"
    ).fetchone()[0]


def test_read_only_transactions_are_refused_up_front(market):
    market.execute("CREATE TABLE plain AS TABLE numeric_window_embeddings")
    for target in ("numeric_window_embeddings", "plain"):
        with fails("25006", "in a read-only transaction"), market.transaction():
            market.execute("SET TRANSACTION READ ONLY")
            market.execute(BACKFILL[:-1] + f", target => '{target}')", (DAY,))
    with fails("25006"), market.transaction():
        market.execute("SET TRANSACTION READ ONLY")
        market.execute("SELECT drop_embedding_model('x')")
    with market.transaction():
        market.execute("SET TRANSACTION READ ONLY")
        assert len(market.execute("SELECT num_window_embed('X0001', %s::date)", (DAY,)).fetchone()[0]) == 1536


def test_a_trigger_cannot_misread_the_staged_rows(market):
    """Regression: embed_staged_rows believed the column list that it was called with, so that a trigger could have
    numbers followed as pointers."""
    market.execute(
        """
        CREATE FUNCTION peek() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            PERFORM * FROM embed_staged_rows() AS r(a int8, b int8, c int8, d text, e text, f text, g text);
            RETURN NULL;
        END $$;
        CREATE TRIGGER peek BEFORE INSERT ON numeric_window_embeddings FOR EACH STATEMENT EXECUTE FUNCTION peek();
        """
    )
    with fails("55000", "embed_staged_rows can only be called by a running backfill"):
        market.execute(BACKFILL, (DAY,))
    assert count(market) == 0


def test_a_trigger_may_run_a_backfill_of_its_own(market):
    market.execute(
        """
        CREATE TABLE inner_rows (LIKE numeric_window_embeddings INCLUDING ALL);
        CREATE FUNCTION nest() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            PERFORM backfill_numeric(NEW.as_of_date, 5, instrument_ids => ARRAY[NEW.entity_id], target => 'inner_rows');
            RETURN NEW;
        END $$;
        CREATE TRIGGER nest BEFORE INSERT ON numeric_window_embeddings FOR EACH ROW EXECUTE FUNCTION nest();
        """
    )
    assert statuses(market) == ["inserted"] * 8
    assert (count(market), count(market, "inner_rows")) == (8, 8)


# --- cancelled in the middle --------------------------------------------------------------------------

def wait_for(connection, query, least, seconds=20):
    until = time.monotonic() + seconds
    while connection.execute(query).fetchone()[0] < least:
        assert time.monotonic() < until, query
        time.sleep(0.005)


@pytest.fixture
def long_run(db):
    """A range backfill of some seconds whose rows are counted, written or not."""
    fill(db, instruments=60, days=700)
    db.execute(
        """
        CREATE SEQUENCE tried;
        CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM nextval('tried'); RETURN NEW; END $$;
        CREATE TRIGGER note BEFORE INSERT ON numeric_window_embeddings FOR EACH ROW EXECUTE FUNCTION note();
        """
    )
    return "SELECT count(*) FROM backfill_numeric('2020-01-01', '2024-06-28', window_days => 5, market_id => 'M')"


def test_a_cancelled_range_leaves_no_row(db, connect, long_run):
    worker, errors = connect(db), []

    def run():
        try:
            worker.execute(long_run)
        except psycopg.Error as error:
            errors.append(error.diag.sqlstate)

    thread = threading.Thread(target=run)
    thread.start()
    wait_for(db, "SELECT last_value FROM tried", 2000)
    cancelled = time.monotonic()
    db.execute("SELECT pg_cancel_backend(%s)", (worker.info.backend_pid,))
    thread.join(20)
    assert time.monotonic() - cancelled < 2
    assert errors == ["57014"]
    assert count(db) == 0
    assert db.execute("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'").fetchone()[0] == 0
    # The session goes on, and the same call then does all of it.
    assert worker.execute("SELECT count(*) FROM backfill_numeric('2024-06-27', '2024-06-28', market_id => 'M')").fetchone()[0] == 120
    assert count(db) == 120


def test_a_range_that_times_out_leaves_no_row(db, connect, long_run):
    worker = connect(db)
    worker.execute("SET statement_timeout = '400ms'")
    with fails("57014", "statement timeout"):
        worker.execute(long_run)
    assert db.execute("SELECT last_value FROM tried").fetchone()[0] > 100
    assert count(db) == 0


# --- hostile names ------------------------------------------------------------------------------------

NAMES = ['a"b', "it's", "x; DROP TABLE sentinel; --", "a\nb", "SELECT", "ünïcode 表", "%s %I $1", "\\", "x" * 63, '")--']


@pytest.mark.parametrize("name", NAMES)
def test_hostile_names_are_only_names(market, name):
    from psycopg import sql

    schema, table = sql.Identifier(name), sql.Identifier(name, name)
    market.execute("CREATE TABLE sentinel ()")
    market.execute(sql.SQL("CREATE SCHEMA {}").format(schema))
    run = sql.SQL("SELECT entity_id, status FROM backfill_numeric(%s, market_id => 'M', prices => %s, instruments => %s, target => %s)")
    for source in ("prices_daily", "instruments", "numeric_window_embeddings"):
        market.execute(sql.SQL("ALTER TABLE {} SET SCHEMA {}").format(sql.Identifier(source), schema))
        market.execute(sql.SQL("ALTER TABLE {} RENAME TO {}").format(sql.Identifier(name, source), sql.Identifier(name)))
        given = {key: "public." + key if key != source else None for key in ("prices_daily", "instruments", "numeric_window_embeddings")}
        given[source] = table.as_string(market)
        rows = market.execute(run, (DAY, *given.values())).fetchall()
        assert rows == [(f"X000{i}", "inserted" if source == "prices_daily" else "replaced") for i in range(1, 9)]
        if source == "prices_daily":
            market.execute("SELECT num_window_embed('X0001', %s::date, prices => %s)", (DAY, given[source]))
        market.execute(sql.SQL("ALTER TABLE {} SET SCHEMA public").format(table))
        market.execute(sql.SQL("ALTER TABLE public.{} RENAME TO {}").format(sql.Identifier(name), sql.Identifier(source)))
    rows = market.execute("SELECT entity_id, status FROM backfill_numeric(%s, instrument_ids => ARRAY[%s])", (DAY, name)).fetchall()
    assert rows == [(name, "failed")]
    with fails("22023", "has no instruments"):
        market.execute("SELECT backfill_numeric(%s, market_id => %s)", (DAY, name))
    with fails("42704", "does not exist"):
        market.execute("SELECT backfill_numeric(%s, market_id => 'M', model_id => %s)", (DAY, name))
    assert market.execute("SELECT to_regclass('sentinel')").fetchone()[0] == "sentinel"


EVIL = """
    CREATE SCHEMA evil;
    CREATE FUNCTION evil.hurt(a anyelement, b anyelement) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'evil was called'; END $$;
    CREATE FUNCTION evil.hurt_text(a text, b text) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'evil was called'; END $$;
    CREATE FUNCTION evil.hurt_date(a date, b date) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'evil was called'; END $$;
    CREATE FUNCTION evil.hurt_oid(a oid, b oid) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'evil was called'; END $$;
    CREATE FUNCTION evil.hurt_json(a jsonb, b text) RETURNS text LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'evil was called'; END $$;
    CREATE OPERATOR evil.= (LEFTARG = text, RIGHTARG = text, FUNCTION = evil.hurt_text);
    CREATE OPERATOR evil.= (LEFTARG = date, RIGHTARG = date, FUNCTION = evil.hurt_date);
    CREATE OPERATOR evil.>= (LEFTARG = date, RIGHTARG = date, FUNCTION = evil.hurt_date);
    CREATE OPERATOR evil.<= (LEFTARG = date, RIGHTARG = date, FUNCTION = evil.hurt_date);
    CREATE OPERATOR evil.= (LEFTARG = oid, RIGHTARG = oid, FUNCTION = evil.hurt_oid);
    CREATE OPERATOR evil.->> (LEFTARG = jsonb, RIGHTARG = text, FUNCTION = evil.hurt_json);
    CREATE OPERATOR evil.= (LEFTARG = anyelement, RIGHTARG = anyelement, FUNCTION = evil.hurt);
    CREATE FUNCTION evil.embed_staged_rows() RETURNS SETOF record LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'evil was called'; END $$;
    CREATE FUNCTION evil.now() RETURNS timestamptz LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'evil was called'; END $$;
    CREATE FUNCTION evil.format(text, VARIADIC "any") RETURNS text LANGUAGE internal AS 'text_format';
    CREATE FUNCTION evil.to_regclass(text) RETURNS regclass LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'evil was called'; END $$;
    CREATE FUNCTION evil.hashtext(text) RETURNS int LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'evil was called'; END $$;
    CREATE FUNCTION evil.pg_advisory_xact_lock(int, int) RETURNS void LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'evil was called'; END $$;
    CREATE FUNCTION evil.unnest(text[], date[]) RETURNS SETOF record LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'evil was called'; END $$;
    CREATE FUNCTION evil.step(bytea, date, float8, float8) RETURNS bytea LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'evil was called'; END $$;
    CREATE AGGREGATE evil.embed_price_series(date, float8, float8) (SFUNC = evil.step, STYPE = bytea);
    CREATE FUNCTION evil.step(bytea, text, date, float8, float8) RETURNS bytea LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'evil was called'; END $$;
    CREATE AGGREGATE evil.embed_price_panel(text, date, float8, float8) (SFUNC = evil.step, STYPE = bytea);
    CREATE FUNCTION evil.num_window_embed(text, date, int, text, regclass) RETURNS bytea LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'evil was called'; END $$;
    CREATE DOMAIN evil.text AS pg_catalog.text CHECK (false);
    CREATE DOMAIN evil.date AS pg_catalog.date CHECK (false);
    CREATE DOMAIN evil.jsonb AS pg_catalog.jsonb CHECK (false);
    CREATE DOMAIN evil.float8 AS pg_catalog.float8 CHECK (false);
    CREATE DOMAIN evil.int4 AS pg_catalog.int4 CHECK (false);
    CREATE DOMAIN evil.uuid AS pg_catalog.uuid CHECK (false);
    CREATE DOMAIN evil.bytea AS pg_catalog.bytea CHECK (false);
    CREATE DOMAIN evil.regclass AS pg_catalog.regclass CHECK (false);
    CREATE TABLE evil.embed_models (model_id pg_catalog.text, modality pg_catalog.text, spec pg_catalog.jsonb);
    CREATE TABLE evil.pg_class (oid oid); CREATE TABLE evil.pg_namespace (oid oid); CREATE TABLE evil.pg_extension (oid oid);
    CREATE TABLE evil.pg_attribute (oid oid); CREATE TABLE evil.pg_index (oid oid);
"""


def test_a_hostile_search_path_changes_nothing(market):
    market.execute("CREATE TABLE plain AS TABLE numeric_window_embeddings")
    runs = [
        f"SELECT entity_id, status, dim, rows_used, detail FROM public.backfill_numeric('2024-06-27', '2024-06-28', 20, 'M', target => '{target}', on_existing => '{choice}')"
        for target in ("numeric_window_embeddings", "plain") for choice in ("replace", "replace", "skip")
    ]
    runs += [
        "SELECT public.num_window_embed('X0001', '2024-06-28'::pg_catalog.date)",
        "SELECT public.num_window_embed('X0001', '2024-06-28', 20)",
        "SELECT public.num_window_agg(trade_date, close, volume, 20, 'num-regime-core-v1') FROM prices_daily WHERE instrument_id::pg_catalog.text OPERATOR(pg_catalog.=) 'X0001'",
        "SELECT public.vector_from_array('{1,2}'::pg_catalog.int4[])",
        "SELECT public.pad_to_dim('{1,2}'::pg_catalog.numeric[], 3)",
        "SELECT public.register_numeric_model('mine', '{\"features\": [\"close\"], \"price_column\": \"close\", \"encoder\": \"flatten\", \"window\": {\"min_fill\": 1, \"look_back\": 3, \"short_history\": \"fail\"}}')",
        "SELECT public.drop_embedding_model('mine')",
    ]
    expected = [market.execute(run).fetchall() for run in runs]
    state = digest(market), digest(market, "plain")
    market.execute("TRUNCATE numeric_window_embeddings, plain")
    market.execute(EVIL)
    market.execute("CREATE TEMPORARY TABLE pg_class (oid oid); CREATE TEMPORARY TABLE embed_models (model_id text, spec jsonb)")
    market.execute("SET search_path = evil, pg_catalog, public")
    for run, rows in zip(runs, expected):
        assert market.execute(run).fetchall() == rows, run
    market.execute("RESET search_path")
    assert (digest(market), digest(market, "plain")) == state
