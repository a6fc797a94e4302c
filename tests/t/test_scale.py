"""Beyond one backend and one machine: pure SQL backfills, tables in distributed form, shards over postgres_fdw, and
similarity in parallel plans."""

import psycopg
import pytest
from cluster import ROOT
from numeric_data import count, fill
from psycopg import sql

AS_OF = "2024-06-28"
KEYS = {
    "published": "(entity_type, entity_id, as_of_date, model_id, (window_spec ->> 'window_days'))",
    "distributed": "(entity_type, entity_id, as_of_date, model_id, window_days)",
}
PURE = """
INSERT INTO numeric_window_embeddings (entity_type, entity_id, window_spec, as_of_date, model_id, vector)
SELECT 'INSTRUMENT', p.instrument_id, '{{"window_days": 63, "entity_type": "INSTRUMENT"}}', date '{as_of}', 'num-regime-core-v1',
       num_window_agg(p.trade_date, p.close, p.volume, 63, 'num-regime-core-v1')
  FROM prices_daily AS p
 WHERE p.trade_date BETWEEN date '{as_of}' - 189 AND '{as_of}'
 GROUP BY p.instrument_id
HAVING count(*) >= 54
    ON CONFLICT {key} DO UPDATE SET vector = excluded.vector
"""
ROWS = "SELECT entity_type, entity_id, window_spec::text, as_of_date, model_id, vector FROM {} ORDER BY 1, 2, 3, 4, 5"
NEAREST = """SELECT entity_id FROM {} WHERE model_id = 'num-regime-core-v1' AND as_of_date = '2024-06-28'
              ORDER BY cosine_sim(vector, {}) DESC LIMIT 5"""


def rows(session, table="numeric_window_embeddings"):
    return session.execute(ROWS.format(table)).fetchall()


def make_distributed(session):
    """The tables in the distributed form, with the rest of the migrations."""
    session.execute("DROP TABLE prices_daily, numeric_window_embeddings, text_embeddings, joint_embeddings CASCADE")
    session.execute((ROOT / "migrations" / "distributed" / "0001_tables.sql").read_text(encoding="utf-8"))
    return session.execute("SELECT status, detail FROM embed_migrate()").fetchall()


@pytest.fixture(params=sorted(KEYS))
def form(request, db):
    """The name of the tables' form; the database has the tables in it, and prices."""
    if request.param == "distributed":
        make_distributed(db)
    fill(db)
    return request.param


def test_the_pure_sql_form_writes_what_the_backfill_writes(form, db):
    statement = PURE.format(as_of=AS_OF, key=KEYS[form])
    db.execute(f"SELECT count(*) FROM backfill_numeric('{AS_OF}', market_id => 'M')")
    expected = rows(db)
    assert len(expected) == 8
    db.execute(statement)
    assert rows(db) == expected
    db.execute("TRUNCATE numeric_window_embeddings")
    db.execute(statement)
    assert rows(db) == expected


def test_every_way_of_writing_works_on_either_form(form, db):
    def statuses(on_existing):
        query = f"SELECT DISTINCT status, detail FROM backfill_numeric('{AS_OF}', market_id => 'M', on_existing => %s)"
        return db.execute(query, [on_existing]).fetchall()

    assert statuses("update") == [("inserted", None)]
    written = rows(db)
    assert statuses("replace") == [("replaced", None)]
    assert statuses("skip") == [("skipped", "row exists")]
    assert statuses("update") == [("skipped", "up to date")]
    with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState, match="unique key"):
        statuses("append")
    db.execute("SELECT count(*) FROM backfill_numeric(%s, 21, market_id => 'M')", [AS_OF])
    assert count(db) == 16
    db.execute(f"CALL backfill_numeric_range('2024-06-20', '{AS_OF}', market_id => 'M', batch_entities => 3)")
    assert [row for row in rows(db) if row[3].isoformat() == AS_OF and '"window_days": 63' in row[2]] == written
    assert db.execute("SELECT inserted, skipped, failed FROM embed_job_progress").fetchone() == (6 * 8, 8, 0)


JOINT_WORK = [
    f"SELECT entity_id, status, dim, used, missing FROM backfill_joint_stab_fragility('{AS_OF}', market_id => 'M', region => 'X')",
    f"SELECT entity_id, status, detail FROM backfill_joint_stab_fragility('{AS_OF}', market_id => 'M', region => 'X')",
    f"SELECT entity_id, status, detail FROM backfill_joint_stab_fragility('{AS_OF}', market_id => 'M', on_existing => 'skip')",
    f"SELECT entity_id, status, used FROM backfill_joint_portfolios('{AS_OF}')",
    f"SELECT entity_id, status, used FROM backfill_joint('OVER_V1', '{AS_OF}')",
    f"SELECT rank, cosine, euclidean, entity_id, entity_scope::text FROM find_similar('STAB_FRAGILITY_V0', '{{\"entity_id\": \"X0003\"}}', '{AS_OF}')",
    f"SELECT * FROM find_similar_portfolios('P2', '{AS_OF}')",
    f"SELECT entity_id, cosine FROM find_similar('OVER_V1', '{{\"entity_id\": \"X0001\"}}', '{AS_OF}', start_date => '2024-01-01')",
    "SELECT * FROM show_joint_stab_fragility()",
    f"SELECT * FROM show_joint_portfolios('{AS_OF}')",
    "SELECT as_of_date, portfolio_id, source, dim, l2_norm FROM joint_portfolios ORDER BY 1, 2",
    "SELECT * FROM embedding_coverage ORDER BY 1, 2, 3, 4, 5",
    "SELECT * FROM embedding_health ORDER BY 1, 2, 3, 4",
    f"SELECT * FROM explain_similarity('STAB_FRAGILITY_V0', 'X0001', 'X0002', '{AS_OF}')",
    f"SELECT * FROM explain_numeric_similarity('num-stab-core-v1', 'X0001', 'X0002', '{AS_OF}')",
    "SELECT joint_type, as_of_date, entity_scope::text, model_id, vector, branches::text FROM joint_embeddings ORDER BY 1, 2, 3",
]


def test_joint_vectors_are_the_same_in_either_form(db):
    def work():
        db.execute(f"SELECT count(*) FROM backfill_numeric('{AS_OF}', market_id => 'M', model_id => 'num-stab-core-v1')")
        db.execute(f"SELECT count(*) FROM backfill_numeric_portfolio('{AS_OF}')")
        done = [db.execute(statement).fetchall() for statement in JOINT_WORK]
        with pytest.raises(psycopg.errors.NoDataFound) as missing:
            db.execute("SELECT * FROM find_similar_portfolios('P2', '2024-05-31')")
        return [*done, str(missing.value)]

    fill(db)
    db.execute(
        f"""INSERT INTO portfolio_risk_reports (report_id, portfolio_id, as_of_date, portfolio_value, cash, net_exposure, gross_exposure,
                                               leverage, risk_metrics)
            SELECT 'P' || i, 'P' || i, '{AS_OF}', 1, 1, 1, 1, 1, jsonb_build_object('a', i, 'b', 1) FROM generate_series(1, 4) i"""
    )
    db.execute(
        """SELECT register_joint_space('OVER_V1', 'over-v1', 'INSTRUMENT', '[
               {"name": "state", "table": "joint_embeddings", "joint_type": "STAB_FRAGILITY_V0", "entity_type": "INSTRUMENT",
                "model_id": "joint-stab-fragility-v1", "required": true}]', fusion => 'identity')"""
    )
    expected = work()
    assert [len(rows) for rows in expected[:8]] == [8, 8, 8, 4, 8, 7, 3, 7]
    assert {row[1] for row in expected[1]} == {"replaced"} and {row[1] for row in expected[2]} == {"skipped"}
    make_distributed(db)
    # The prices went with their table.
    db.execute("DELETE FROM instruments; DELETE FROM issuers; DELETE FROM markets")
    fill(db)
    for statement, got, wanted in zip([*JOINT_WORK, "missing"], work(), expected, strict=True):
        assert got == wanted, statement
    assert db.execute("SELECT joint_id FROM joint_portfolios").fetchall() == [(None,)] * 4
    kept = db.execute("SELECT DISTINCT entity_type, entity_id = entity_scope ->> 'entity_id' FROM joint_embeddings WHERE joint_type = 'OVER_V1'")
    assert kept.fetchall() == [("INSTRUMENT", True)]


def test_a_table_without_ids_and_key_is_read_but_not_written(db):
    make_distributed(db)
    db.execute("ALTER TABLE joint_embeddings DROP CONSTRAINT joint_embeddings_pkey")
    assert db.execute("SELECT * FROM show_joint_portfolios()").fetchall() == []
    with pytest.raises(psycopg.errors.UndefinedColumn, match='column "joint_id"'):
        db.execute(f"SELECT * FROM backfill_joint_portfolios('{AS_OF}')")


def test_a_plain_window_column_is_filled(db):
    fill(db)
    db.execute("ALTER TABLE numeric_window_embeddings ADD COLUMN window_days int NOT NULL")
    db.execute("DROP INDEX numeric_window_embeddings_natural_key")
    db.execute("CREATE UNIQUE INDEX ON numeric_window_embeddings (entity_id, as_of_date, window_days, model_id, entity_type)")
    for expected in ("inserted", "replaced"):
        found = db.execute("SELECT DISTINCT status FROM backfill_numeric(%s, 21, market_id => 'M')", [AS_OF]).fetchall()
        assert found == [(expected,)]
    assert db.execute("SELECT DISTINCT window_days FROM numeric_window_embeddings").fetchall() == [(21,)]


def test_the_distributed_tables_get_no_sequence_and_no_second_key(db):
    outcomes = make_distributed(db)
    assert {status for status, _ in outcomes} <= {"applied", "already there"}, outcomes
    assert {status for status, _ in db.execute("SELECT status, detail FROM embed_migrate()").fetchall()} == {"already there"}
    keys = db.execute(
        """SELECT indrelid::regclass::text, count(*) FROM pg_index WHERE indisunique
              AND indrelid = ANY (ARRAY['joint_embeddings', 'numeric_window_embeddings', 'text_embeddings', 'prices_daily']::regclass[]) GROUP BY 1 ORDER BY 1"""
    ).fetchall()
    assert keys == [("joint_embeddings", 1), ("numeric_window_embeddings", 1), ("prices_daily", 1), ("text_embeddings", 1)]
    types = db.execute(
        """SELECT DISTINCT a.atttypid::regtype::text FROM pg_attribute a
            WHERE (a.attrelid, a.attname) IN (('prices_daily'::regclass, 'instrument_id'), ('numeric_window_embeddings'::regclass, 'entity_id'))"""
    ).fetchall()
    assert types == [("text",)]
    defaults = "SELECT count(*) FROM pg_attrdef WHERE adrelid = ANY (%s::regclass[]) AND pg_get_expr(adbin, adrelid) ~ 'nextval|uuid'"
    assert db.execute(defaults, [["numeric_window_embeddings", "text_embeddings", "joint_embeddings", "prices_daily"]]).fetchone() == (0,)


def literal(session):
    """The vector of one instrument as a literal."""
    query = "SELECT vector FROM numeric_window_embeddings WHERE entity_id = 'X0003'"
    return f"'\\x{session.execute(query).fetchone()[0].hex()}'::bytea"


def test_similarity_is_ranked_in_parallel(db):
    fill(db, instruments=300, days=70)
    db.execute(f"SELECT count(*) FROM backfill_numeric('{AS_OF}', market_id => 'M')")
    db.execute("ANALYZE numeric_window_embeddings")
    query = NEAREST.format("numeric_window_embeddings", literal(db))
    serial = db.execute(query).fetchall()
    db.execute("ALTER TABLE numeric_window_embeddings SET (parallel_workers = 2)")
    db.execute("SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0; SET min_parallel_table_scan_size = 0; SET enable_indexscan = off; SET enable_bitmapscan = off")
    plan = "\n".join(line for (line,) in db.execute("EXPLAIN (VERBOSE, COSTS off) " + query))
    assert "Gather Merge" in plan and "Workers Planned: 2" in plan
    gathered = plan[plan.index("Gather Merge") :]
    assert "Sort Key: (cosine_sim(" in gathered and "Parallel Seq Scan" in gathered
    assert db.execute(query).fetchall() == serial
    assert serial[0] == ("X0003",)


@pytest.fixture
def shards(cluster, db, empty_template):
    """`sharded`: embeddings partitioned by the hash of their entity over two further databases."""
    names = [cluster.create_database(empty_template, prefix="shard") for _ in range(2)]
    try:
        for name in names:
            with cluster.connect(name) as shard:
                make_distributed(shard)
        db.execute("CREATE EXTENSION postgres_fdw")
        columns = "entity_type text, entity_id text, window_spec jsonb, as_of_date date, model_id text, vector bytea, input_digest uuid"
        db.execute(f"CREATE TABLE sharded ({columns}) PARTITION BY HASH (entity_id)")
        for number, name in enumerate(names):
            options = sql.SQL("OPTIONS (host {}, port {}, dbname {}, extensions 'prometheus_embed', use_remote_estimate 'true', fdw_tuple_cost '1')").format(cluster.socket_dir, str(cluster.port), name)
            db.execute(sql.SQL("CREATE SERVER {} FOREIGN DATA WRAPPER postgres_fdw {}").format(sql.Identifier(f"shard{number}"), options))
            db.execute(f"CREATE USER MAPPING FOR CURRENT_USER SERVER shard{number}")
            db.execute(
                f"CREATE FOREIGN TABLE sharded_{number} PARTITION OF sharded FOR VALUES WITH (MODULUS 2, REMAINDER {number})"
                f" SERVER shard{number} OPTIONS (table_name 'numeric_window_embeddings')"
            )
        yield names
        db.execute("DROP SERVER shard0 CASCADE; DROP SERVER shard1 CASCADE")
    finally:
        for name in names:
            cluster.drop_database(name)


def test_shards_are_written_and_ranked_where_they_are(shards, cluster, db):
    fill(db, instruments=300, days=70)
    db.execute(f"SELECT count(*) FROM backfill_numeric('{AS_OF}', market_id => 'M')")
    for expected in ("inserted", "skipped"):
        found = db.execute(f"SELECT status, count(*) FROM backfill_numeric('{AS_OF}', market_id => 'M', target => 'sharded', on_existing => 'update') GROUP BY 1").fetchall()
        assert found == [(expected, 300)]
    assert db.execute(f"SELECT DISTINCT status FROM backfill_numeric('{AS_OF}', market_id => 'M', target => 'sharded')").fetchall() == [("replaced",)]
    assert rows(db, "sharded") == rows(db)
    held = []
    for name in shards:
        with cluster.connect(name) as shard:
            held.append(count(shard))
            shard.execute("ANALYZE numeric_window_embeddings")
    assert sum(held) == 300 and min(held) > 100
    query = NEAREST.format("sharded", literal(db))
    remote = [line for (line,) in db.execute("EXPLAIN (VERBOSE, COSTS off) " + query) if "Remote SQL" in line]
    assert len(remote) == 2
    for line in remote:
        assert "ORDER BY public.cosine_sim(vector, " in line and "model_id = " in line, line
    assert db.execute(query).fetchall() == db.execute(NEAREST.format("numeric_window_embeddings", literal(db))).fetchall()


def test_prices_in_another_database(shards, cluster, db):
    with cluster.connect(shards[0]) as history:
        fill(history)
        history.execute(f"SELECT count(*) FROM backfill_numeric('{AS_OF}', market_id => 'M')")
        expected = rows(history)
    db.execute("CREATE SCHEMA hist")
    db.execute("IMPORT FOREIGN SCHEMA public LIMIT TO (prices_daily, instruments) FROM SERVER shard0 INTO hist")
    db.execute(
        f"CALL backfill_numeric_range('{AS_OF}', '{AS_OF}', market_id => 'M', prices => 'hist.prices_daily', instruments => 'hist.instruments')"
    )
    assert rows(db) == expected
    assert len(expected) == 8
