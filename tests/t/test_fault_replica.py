"""Standbys read what the primary reads, to the byte, and refuse to write with 25006, as read-only transactions do;
logical replication carries vectors to a database without the extension, to the byte."""

import psycopg
import pytest
from cluster import ROOT
from fault_data import DAY, WORK, first_day
from faults import record, size, until
from servers import Server

# Each returns rows that depend on all bytes of what it reads.
READS = {
    "search": f"SELECT i.issuer_id, s.* FROM (SELECT issuer_id FROM issuers ORDER BY 1 LIMIT {size(40, 160)}) i, LATERAL find_similar_profiles(i.issuer_id, '{DAY}', top_k => 25) s ORDER BY 1, 2",
    "search over dates": f"""SELECT * FROM find_similar('PROFILE_CORE_V0', '{{"issuer_id": "I0003"}}', '{DAY}', 200, start_date => '2000-01-01', model_id => 'joint-profile-core-v1') ORDER BY 1""",
    "portfolios": f"SELECT p, s.* FROM generate_series(1, {size(30, 800)}) p, LATERAL find_similar_portfolios('P' || lpad(p::text, 5, '0'), '{DAY}') s ORDER BY 1, 2",
    "scenarios": f"SELECT i.instrument_id, s.* FROM (SELECT instrument_id FROM instruments ORDER BY 1 LIMIT {size(20, 160)}) i, LATERAL find_similar_stab_scenarios(i.instrument_id, '{DAY}') s ORDER BY 1, 2",
    "texts": "SELECT i, text_profile_embed('Company ' || i || ' makes pumps') FROM generate_series(1, 5) i",
    "documents": "SELECT issuer_id, text_profile_document(structured), text_token_count(text_profile_document(structured)) FROM profiles ORDER BY 1, as_of_date LIMIT 50",
    "listing": "SELECT * FROM show_joint_profiles(start_date => '2000-01-01', max_rows => 100000) ORDER BY 1, 2",
    "states": "SELECT * FROM show_joint_stab_fragility(start_date => '2000-01-01', max_rows => 100000) ORDER BY 1, 2, 3, 6, 7",
    "look-up": f"SELECT instrument_id, num_window_embed(instrument_id, '{DAY}'), num_window_embed(instrument_id, '{DAY}', 63, 'num-regime-core-v2') FROM instruments ORDER BY 1",
    "aggregate": "SELECT instrument_id, num_window_agg(trade_date, close, volume, 63, 'num-stab-core-v1') FROM prices_daily GROUP BY 1 ORDER BY 1",
    "explained": f"SELECT * FROM explain_similarity('PROFILE_CORE_V0', 'I0001', 'I0002', '{DAY}') ORDER BY 1, 2, 3",
    "health": "SELECT * FROM embedding_health ORDER BY 1, 2, 3, 4",
    "coverage": "SELECT * FROM embedding_coverage ORDER BY 1, 2, 3, 4, 5",
    "views": "SELECT * FROM joint_profiles ORDER BY 1, 2",
    "jobs": "SELECT job_id, total, done, percent, updated_at, arguments FROM embed_job_progress",
    "catalog": "SELECT model_id, modality, dim, spec, sha256 FROM embed_models ORDER BY 1",
}
SPEC = '{"features": ["close"], "price_column": "close", "encoder": "flatten", "window": {"min_fill": 1, "look_back": 3, "short_history": "fail"}}'
BRANCH = '[{"name": "a", "weight": 1, "table": "numeric_window_embeddings", "entity_type": "INSTRUMENT", "model_id": "num-regime-core-v1"}]'
WRITES = {name: statement for name, (statement, sink) in WORK.items() if sink or name.startswith("fit")} | {
    "joint v2": f"SELECT * FROM backfill_joint('PROFILE_CORE_V0', '{DAY}', model_id => 'joint-profile-core-v2')",
    "register": f"SELECT register_numeric_model('mine', '{SPEC}')",
    "register text": "SELECT register_text_model('mytext', 'all-MiniLM-L6-v2')",
    "register space": f"SELECT register_joint_space('MINE', 'joint-mine', 'INSTRUMENT', '{BRANCH}')",
    "drop": "SELECT drop_embedding_model('x')",
    "migrate": "SELECT * FROM embed_migrate()",
}


def read_all(session):
    return {name: session.execute(statement).fetchall() for name, statement in READS.items()}


def refuse_all(session):
    for name, statement in WRITES.items():
        with pytest.raises(psycopg.Error) as error:
            session.execute(statement)
        assert error.value.sqlstate == "25006", (name, error.value)


def test_a_read_only_transaction_reads_and_refuses_to_write(fault_cluster, fault_db):
    with fault_cluster.connect(fault_db) as session:
        expected = read_all(session)
        session.execute("SET default_transaction_read_only = on")
        assert read_all(session) == expected
        refuse_all(session)


@pytest.fixture
def standby(fault_cluster):
    """A hot standby of the fault cluster."""
    other = Server(fault_cluster, "standby")
    other.drop()
    other.own_directory()
    other.run("pg_basebackup", "-h", fault_cluster.socket_dir, "-p", fault_cluster.port, "-U", fault_cluster.user, "-D", other.data, "-R", "-X", "stream", "-c", "fast", "--no-sync")
    other.configure(f"unix_socket_directories = '{other.socket_dir}'\nshared_buffers = 64MB\n")
    other.start()
    yield other
    other.drop()


def test_a_standby_reads_the_primarys_bytes_and_refuses_to_write(fault_cluster, fault_db, standby):
    with fault_cluster.connect(fault_db) as session:
        session.execute("INSERT INTO embed_jobs (procedure, arguments, digest, total, updated_at) VALUES ('backfill_numeric_range', '{}', 1, 10, now() - interval '1 hour')")
        target = session.execute("SELECT pg_current_wal_insert_lsn()").fetchone()
        expected = read_all(session)
        with standby.connect("postgres") as watch:
            until(lambda: watch.execute("SELECT pg_last_wal_replay_lsn() >= %s", target).fetchone()[0], "the standby to catch up")
        with standby.connect(fault_db) as replica:
            assert replica.execute("SELECT pg_is_in_recovery()").fetchone() == (True,)
            for name, rows in read_all(replica).items():
                assert rows == expected[name], name
            refuse_all(replica)
            # Nothing of a refused write stands in the way of the next read.
            assert read_all(replica) == expected
            # The standby does not see the primary's locks, so it must not say that nobody works on a job.
            state = "SELECT state, pid FROM embed_job_progress"
            assert session.execute(state).fetchone() == ("interrupted", None)
            assert replica.execute(state).fetchone() == ("unfinished", None)
            assert replica.execute("SELECT value, warning FROM embed_status() WHERE item = 'jobs unfinished'").fetchone() == ("1", None)
        record("standby", reads=len(READS), rows=sum(map(len, expected.values())), writes_refused=len(WRITES))


TABLES = {"numeric_window_embeddings": "embedding_id", "text_embeddings": "embedding_id", "joint_embeddings": "joint_id"}
DIGEST = "SELECT count(*), md5(string_agg(t::text, '|' ORDER BY {key})) FROM {table} t"


def test_logical_replication_carries_every_byte(fault_cluster, fault_db):
    """The subscriber has the tables, from migrations/, and no extension."""
    other = fault_cluster.create_database()
    script = "".join(f"\\i {file.relative_to(ROOT)}\n" for file in sorted((ROOT / "migrations").glob("*.sql")))
    assert fault_cluster.psql(other, script).returncode == 0
    try:
        with fault_cluster.connect(fault_db) as session, fault_cluster.connect(other) as subscriber:
            session.execute(f"CREATE PUBLICATION vectors FOR TABLE {', '.join(TABLES)}")
            session.execute("SELECT pg_create_logical_replication_slot('vectors', 'pgoutput')")
            subscriber.execute(f"CREATE SUBSCRIPTION vectors CONNECTION 'host={fault_cluster.socket_dir} port={fault_cluster.port} user={fault_cluster.user} dbname={fault_db}' PUBLICATION vectors WITH (create_slot = false, slot_name = 'vectors')")
            try:
                # Inserted, replaced, deleted and updated after the first copy.
                session.execute(f"SELECT count(*) FROM backfill_numeric(start_date => {first_day(3)}, end_date => '{DAY}', window_days => 20, market_id => 'M')")
                session.execute(f"SELECT count(*) FROM backfill_joint_portfolios('{DAY}', max_entities => 100000)")
                session.execute(f"SELECT count(*) FROM backfill_profile_text('{DAY}', max_entities => 2)")
                session.execute("DELETE FROM numeric_window_embeddings WHERE entity_id = 'X0007'; UPDATE text_embeddings SET vector = l2_normalize(vector) WHERE embedding_id % 7 = 0")
                digests = {table: DIGEST.format(table=table, key=key) for table, key in TABLES.items()}
                expected = {table: session.execute(digest).fetchone() for table, digest in digests.items()}
                assert all(rows > 0 for rows, _ in expected.values())

                def equal():
                    return all(subscriber.execute(digest).fetchone() == expected[table] for table, digest in digests.items())

                until(equal, "the subscriber to have every byte", 60, 0.1)
                record("logical replication", rows=sum(rows for rows, _ in expected.values()))
            finally:
                subscriber.execute("ALTER SUBSCRIPTION vectors DISABLE; ALTER SUBSCRIPTION vectors SET (slot_name = NONE); DROP SUBSCRIPTION vectors")
                until(lambda: not session.execute("SELECT active FROM pg_replication_slots WHERE slot_name = 'vectors'").fetchone()[0], "the slot to be free")
                session.execute("SELECT pg_drop_replication_slot('vectors')")
    finally:
        fault_cluster.drop_database(other)
