"""Many sessions at once: the same keys from sixteen, models of one name, a second runner, DROP EXTENSION in the
middle, transactions that are prepared."""

import threading

import psycopg
import pytest
from fault_data import DAY, WORK, first_day
from faults import Running, record, rng, size, until

SESSIONS = 16
ROUNDS = size(1, 20)
LEVELS = ["READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"]
# The statement, with the order of entities that each session chooses for itself.
BACKFILLS = {
    "numeric": (f"SELECT count(*) FROM backfill_numeric({{}}, '{DAY}', instrument_ids => %s, on_existing => 'replace', target => 'sink_numeric')",
                "SELECT array_agg(instrument_id::text) FROM instruments", "sink_numeric", "entity_id, as_of_date, window_spec"),
    "joint": (f"SELECT count(*) FROM backfill_joint_profiles(issuer_ids => %s, start_date => {{}}, end_date => '{DAY}', target => 'sink_joint')",
              "SELECT array_agg(issuer_id::text) FROM issuers", "sink_joint", "entity_scope, as_of_date"),
    "portfolio": (f"SELECT count(*) FROM backfill_numeric_portfolio('{DAY}', %s, max_entities => 100000, target => 'sink_numeric')",
                  f"SELECT array_agg(portfolio_id::text) FROM portfolio_risk_reports WHERE report_id <= 'R3'", "sink_numeric", "entity_id"),
}


def together(cluster, dbname, work, sessions=SESSIONS):
    """Runs work(number, session) in so many sessions that start at one moment; what each returned or raised."""
    barrier, results = threading.Barrier(sessions), [None] * sessions

    def run(number):
        with cluster.connect(dbname) as session:
            session.execute("SELECT embed_version()")
            barrier.wait()
            try:
                results[number] = work(number, session)
            except psycopg.Error as error:
                results[number] = error

    threads = [threading.Thread(target=run, args=[number]) for number in range(sessions)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(300)
    return results


@pytest.mark.parametrize("keyed", [True, False], ids=["key", "no key"])
@pytest.mark.parametrize("what", BACKFILLS)
def test_sixteen_backfills_of_the_same_keys(fault_cluster, fault_db, what, keyed):
    statement, entities, sink, key = BACKFILLS[what]
    statement = statement.replace("{}", first_day(size(2, 10)) if what == "joint" else f"start_date => {first_day(size(2, 20))}").replace(f", '{DAY}', i", f", end_date => '{DAY}', i")
    random = rng(f"together {what}")
    with fault_cluster.connect(fault_db) as session:
        (ids,) = session.execute(entities).fetchone()
        session.execute(statement, [ids])
        # Of a day or a name several rows could have; its bytes are those of a run alone.
        digest = f"SELECT count(*), count(DISTINCT ({key})), md5(string_agg(({key})::text || encode(vector, 'hex'), '|' ORDER BY ({key})::text)) FROM {sink}"
        expected = session.execute(digest).fetchone()
        assert expected[0] == expected[1] > 0
        if not keyed:
            (index,) = session.execute("SELECT indexrelid::regclass::text FROM pg_index WHERE indrelid = %s::regclass AND indisunique AND NOT indisprimary", [sink]).fetchone()
            session.execute(f"DROP INDEX {index}")
        retries = {}
        for level in LEVELS * ROUNDS:
            session.execute(f"TRUNCATE {sink}")
            if not keyed and level != "READ COMMITTED":
                # Regression: at REPEATABLE READ each of them wrote all rows, as it could not see those of the others.
                with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState) as refused, session.transaction():
                    session.execute(f"SET TRANSACTION ISOLATION LEVEL {level}")
                    session.execute(statement, [ids])
                assert refused.value.diag.message_primary == f'cannot write to "public.{sink}" at this isolation level: it has no unique key'
                continue
            orders = [random.sample(ids, len(ids)) for _ in range(SESSIONS)]

            def backfill(number, own, level=level, orders=orders):
                own.execute(f"SET default_transaction_isolation = '{level}'")
                tries = 1
                while True:
                    try:
                        own.execute(statement, [orders[number]])
                        return tries
                    except psycopg.errors.SerializationFailure:
                        tries += 1
                        assert tries < 200

            results = together(fault_cluster, fault_db, backfill)
            assert all(isinstance(result, int) for result in results), [r for r in results if not isinstance(r, int)]
            assert level != "READ COMMITTED" or set(results) == {1}
            assert session.execute(digest).fetchone() == expected, level
            retries[level] = retries.get(level, 0) + sum(results) - SESSIONS
        record(f"together: {what}, {'unique key' if keyed else 'no key'}", sessions=SESSIONS, rounds=ROUNDS, rows=expected[0], **{f"retries {k.lower()}": v for k, v in retries.items()})


def test_sixteen_calls_of_one_job(fault_cluster, fault_db):
    statement, sink = WORK["range"]

    def call(number, own):
        own.execute(statement)
        return "done"

    with fault_cluster.connect(fault_db) as session:
        for _ in range(ROUNDS):
            session.execute(f"TRUNCATE {sink}; DELETE FROM embed_jobs")
            results = together(fault_cluster, fault_db, call)
            refused = [r for r in results if r != "done"]
            assert all(isinstance(r, psycopg.errors.LockNotAvailable) for r in refused), refused
            assert len(refused) < SESSIONS
            rows, keys = session.execute(f"SELECT count(*), count(DISTINCT (entity_id, as_of_date)) FROM {sink}").fetchone()
            assert rows == keys == session.execute("SELECT max(inserted) FROM embed_jobs").fetchone()[0]


SPEC = '{"features": ["close"], "price_column": "close", "encoder": "flatten", "window": {"min_fill": 1, "look_back": 3, "short_history": "fail"}}'
BRANCH = '[{"name": "a", "weight": 1, "table": "numeric_window_embeddings", "entity_type": "INSTRUMENT", "model_id": "num-regime-core-v1"}]'
REGISTER = {
    "numeric model": f"SELECT register_numeric_model('mine', '{SPEC}')",
    "joint space": f"SELECT register_joint_space('MINE', 'joint-mine', 'INSTRUMENT', '{BRANCH}')",
    "fitted model": f"SELECT * FROM fit_embedding_model('learned', 'num-regime-core-v2', '{DAY}', 252, 10)",
    "text model": "SELECT register_text_model('mytext', 'all-MiniLM-L6-v2')",
}


@pytest.mark.parametrize("what", REGISTER)
def test_one_of_sixteen_registers_a_name(fault_cluster, fault_db, what):
    for level in LEVELS:
        def register(number, own, level=level):
            own.execute(f"SET default_transaction_isolation = '{level}'")
            own.execute(REGISTER[what])
            return "done"

        results = together(fault_cluster, fault_db, register, 16 if what != "text model" else 6)
        refused = [r for r in results if r != "done"]
        allowed = {"42710"} if level == "READ COMMITTED" else {"42710", "40001"}
        assert len(refused) == len(results) - 1 and {r.sqlstate for r in refused} <= allowed, (level, refused)
        with fault_cluster.connect(fault_db) as session:
            session.execute("SELECT drop_embedding_model(model_id) FROM embed_models WHERE NOT builtin")
            assert session.execute("SELECT count(*) FROM embed_model_parts").fetchone() == (0,)


def test_a_model_is_used_while_it_is_dropped(fault_cluster, fault_db):
    use = f"SELECT count(*) FROM backfill_numeric(start_date => {first_day(3)}, end_date => '{DAY}', market_id => 'M', model_id => 'mine', target => 'sink_numeric')"

    def work(number, own):
        codes = set()
        for _ in range(size(15, 200)):
            try:
                own.execute(use if number else f"SELECT register_numeric_model('mine', '{SPEC}'), pg_sleep(0.01)")
                if not number:
                    own.execute("SELECT drop_embedding_model('mine')")
            except psycopg.Error as error:
                codes.add(error.sqlstate)
        return codes

    results = together(fault_cluster, fault_db, work, 4)
    assert results[0] == set(), results[0]
    assert all(codes <= {"42704"} for codes in results[1:]), results


@pytest.mark.parametrize("work", ["numeric", "range", "joint", "search"])
def test_drop_extension_in_the_middle(fault_cluster, fault_db, work):
    statement, sink = WORK[work]
    with fault_cluster.connect(fault_db) as session, fault_cluster.connect(fault_db) as other:
        run = Running(other, statement)
        if work == "range":
            until(lambda: session.execute(f"SELECT count(*) FROM {sink}").fetchone()[0], "a first batch")
        else:
            tables = "'{embed_models,embed_spaces,joint_embeddings,sink_joint}'::regclass[]"
            until(lambda: session.execute(f"SELECT count(*) FROM pg_locks WHERE pid = %s AND relation = ANY ({tables})", [other.info.backend_pid]).fetchone()[0] or run.ended, "a lock", pause=0.001)
        session.execute("DROP EXTENSION prometheus_embed")
        code = run.end()
        assert code in {None, "42883", "42P01", "55000"}, run.error
        if sink:
            rows, keys = session.execute(f"SELECT count(*), count(DISTINCT (as_of_date, to_jsonb(s) ->> 'entity_id', to_jsonb(s) ->> 'entity_scope')) FROM {sink} s").fetchone()
            assert rows == keys
        before = session.execute("SELECT count(*) FROM joint_embeddings").fetchone()
        assert before[0] > 0, "vectors are the user's"
        # The session that it was taken away from goes on, and finds it again.
        session.execute("CREATE EXTENSION prometheus_embed")
        assert other.execute("SELECT count(*) FROM find_similar_portfolios('P00001', %s, top_k => 3)", [DAY]).fetchone() == (3,)


@pytest.mark.parametrize("work", [name for name, (_, sink) in WORK.items() if sink and not name.endswith("range")])
def test_prepared_transactions(fault_cluster, fault_db, work):
    statement, sink = WORK[work]
    with fault_cluster.connect(fault_db) as session:
        for end, there in (("ROLLBACK", False), ("COMMIT", True)):
            session.execute(f"BEGIN; {statement}; PREPARE TRANSACTION 'mine'")
            with fault_cluster.connect(fault_db) as other:
                assert other.execute(f"SELECT count(*) FROM {sink}").fetchone() == (0,)
                other.execute(f"{end} PREPARED 'mine'")
                assert (other.execute(f"SELECT count(*) FROM {sink}").fetchone()[0] > 0) is there


def test_a_job_cannot_be_part_of_a_transaction(fault_cluster, fault_db):
    with fault_cluster.connect(fault_db) as session:
        with pytest.raises(psycopg.errors.InvalidTransactionTermination), session.transaction():
            session.execute(WORK["range"][0])
        assert session.execute("SELECT count(*) FROM embed_jobs").fetchone() == (0,)
