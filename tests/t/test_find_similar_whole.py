"""A search that has to read a whole table reads it without the executor: it finds what the statement finds, in every kind of
table and row, and leaves alone what it must not read so."""

import random
import struct
import time

import psycopg
import pytest
from jointdata import fill_dates

READING = "reading all of public.joint_embeddings without the executor"
CALL = "SELECT rank, cosine, issuer_id FROM find_similar_profiles('I7', '2020-01-01', top_k => 40)"
PLAIN = """
    SELECT row_number() OVER (ORDER BY c DESC, d, id COLLATE "C")::int, c, id
      FROM (SELECT cosine_sim(j.vector, t.vector) c, euclidean_dist(j.vector, t.vector) d, j.entity_scope ->> 'issuer_id' id
              FROM joint_embeddings j, joint_embeddings t
             WHERE j.joint_type = 'PROFILE_CORE_V0' AND j.model_id = 'joint-profile-core-v1' AND j.as_of_date = '2020-01-01'
               AND t.joint_type = 'PROFILE_CORE_V0' AND t.model_id = 'joint-profile-core-v1' AND t.as_of_date = '2020-01-01'
               AND t.entity_scope @> '{"issuer_id": "I7"}' AND j.joint_id <> t.joint_id
               AND CASE WHEN octet_length(j.vector) = octet_length(t.vector) THEN l2_norm(j.vector) < 'infinity' END) x
     ORDER BY 1 LIMIT 40
"""
ROWS = 700
# Rows of other tests, dead by now, make an index look cheap; whether there are workers depends on their number alone. That the
# table itself says how many it is to have makes even this small one worth some.
READ_ALL = ("SET LOCAL enable_indexscan = off; SET LOCAL enable_bitmapscan = off; SET LOCAL min_parallel_table_scan_size = 0;"
            "ALTER TABLE joint_embeddings SET (parallel_workers = 2); SET LOCAL parallel_setup_cost = 0; SET LOCAL parallel_tuple_cost = 0; SET LOCAL max_parallel_workers_per_gather = {}")


def fill(session, rows=ROWS, dims=384):
    """One date of as many profiles."""
    draw = random.Random(20200101)
    fill_dates(session, dates=1, issuers=rows, dims=2)
    with session.cursor() as cursor:
        vectors = (struct.pack(f"<{dims}f", *(draw.gauss(0, 1) for _ in range(dims))) for _ in range(rows))
        cursor.executemany("UPDATE joint_embeddings SET vector = %s WHERE entity_scope @> %s", [
            (vector, f'{{"issuer_id": "I{number}"}}') for number, vector in enumerate(vectors, 1)])
    session.execute("VACUUM FULL joint_embeddings")
    session.execute("ANALYZE joint_embeddings")


@pytest.fixture(scope="module")
def filled(module_db):
    fill(module_db)
    return module_db


@pytest.fixture(params=[0, 2], ids=["one process", "workers"])
def table(filled, request):
    """The filled table, as it was when the test is over; the server would read it alone, and with two workers."""
    with filled.transaction(force_rollback=True):
        filled.execute(READ_ALL.format(request.param))
        yield filled


def search(session, call=CALL):
    """What a call returns, and whether the table was read without the executor."""
    said = []
    listen = lambda notice: said.append(notice.message_primary)
    session.execute("SET client_min_messages = debug1")
    session.add_notice_handler(listen)
    try:
        found = session.execute(call).fetchall()
    finally:
        session.remove_notice_handler(listen)
        if session.info.transaction_status != psycopg.pq.TransactionStatus.INERROR:
            session.execute("RESET client_min_messages")
    return found, READING in said


def check(session, alone=True):
    found, read = search(session)
    assert found == session.execute(PLAIN).fetchall()
    assert read is alone
    return found


def test_a_whole_table_is_read_as_the_statement_would(table):
    assert len(check(table)) == 40


@pytest.mark.parametrize("leader", ["on", "off"])
def test_workers_take_part(filled, leader):
    said = []
    filled.add_notice_handler(listen := lambda notice: said.append(notice.message_primary))
    with filled.transaction(force_rollback=True):
        filled.execute(f"{READ_ALL.format(2)}; SET LOCAL parallel_leader_participation = {leader}")
        check(filled)
        # Every answer is longer than what is handed over at a time.
        filled.execute("UPDATE joint_embeddings SET entity_scope = entity_scope || jsonb_build_object('note', repeat('x', 2000)); SET LOCAL client_min_messages = debug1")
        assert len(filled.execute(CALL.replace("40", "1000")).fetchall()) == ROWS - 1
        # As many as there are, down to none.
        filled.execute("SET LOCAL max_parallel_workers = 0")
        check(filled)
    filled.remove_notice_handler(listen)
    assert 2 <= said.count("reading a share of a table without the executor") <= 4


def test_a_small_table_is_worth_no_worker(filled):
    said = []
    filled.add_notice_handler(listen := lambda notice: said.append(notice.message_primary))
    with filled.transaction(force_rollback=True):
        filled.execute(f"{READ_ALL.format(2)}; ALTER TABLE joint_embeddings RESET (parallel_workers)")
        planned = filled.execute("EXPLAIN (COSTS OFF) SELECT count(*) FROM joint_embeddings").fetchall()
        assert any("Workers Planned" in line for (line,) in planned)
        check(filled)
    filled.remove_notice_handler(listen)
    assert "reading a share of a table without the executor" not in said


def test_what_a_worker_raises_arrives(filled):
    with filled.transaction(force_rollback=True):
        # The leader only waits: what is raised is raised in a worker.
        filled.execute(f"{READ_ALL.format(2)}; SET LOCAL parallel_leader_participation = off")
        # A scope that is longer than any that is read.
        filled.execute("UPDATE joint_embeddings SET vector = (SELECT vector FROM joint_embeddings WHERE entity_scope ->> 'issuer_id' = 'I7'),"
                       " entity_scope = entity_scope || jsonb_build_object('note', repeat('x', 3000000)) WHERE entity_scope ->> 'issuer_id' = 'I9'")
        with pytest.raises(psycopg.errors.ProgramLimitExceeded), filled.transaction():
            search(filled)
        # Writing is possible again, and so is a search.
        filled.execute("DELETE FROM joint_embeddings WHERE entity_scope ->> 'issuer_id' = 'I9'")
        check(filled)


def test_a_search_inside_of_writing_statements(table):
    expected = [row[2] for row in check(table)]
    table.execute("CREATE TEMP TABLE kept AS SELECT rank, issuer_id FROM find_similar_profiles('I7', '2020-01-01', top_k => 40)")
    table.execute("INSERT INTO kept SELECT rank + 40, issuer_id FROM find_similar_profiles('I7', '2020-01-01', top_k => 40)")
    table.execute("""
        DO $$
        DECLARE found record;
        BEGIN
            FOR found IN SELECT * FROM find_similar_profiles('I7', '2020-01-01', top_k => 40) LOOP
                BEGIN
                    INSERT INTO kept VALUES (80 + found.rank, found.issuer_id);
                    PERFORM 1 / (found.rank - 1);
                EXCEPTION WHEN division_by_zero THEN
                    INSERT INTO kept SELECT 81, issuer_id FROM find_similar_profiles('I7', '2020-01-01', top_k => 1);
                END;
            END LOOP;
        END $$
    """)
    assert [row[0] for row in table.execute("SELECT issuer_id FROM kept ORDER BY rank")] == 3 * expected


def test_an_index_is_used_where_the_server_would(table):
    table.execute("SET LOCAL enable_indexscan = on; SET LOCAL enable_seqscan = off")
    check(table, alone=False)


def test_a_small_table_is_left_to_the_statement(table):
    table.execute("TRUNCATE joint_embeddings")
    fill_dates(table, dates=1, issuers=30)
    found, read = search(table)
    assert (len(found), read) == (29, False)


def test_rows_of_every_state_count_as_for_a_query(table, connect):
    first = check(table)[0][2]
    table.execute("DELETE FROM joint_embeddings WHERE entity_scope ->> 'issuer_id' = %s", (first,))
    assert first not in [row[2] for row in check(table)]
    # Of this transaction: in a subtransaction that is undone, too.
    table.execute("SAVEPOINT s")
    table.execute("UPDATE joint_embeddings SET vector = (SELECT vector FROM joint_embeddings WHERE entity_scope ->> 'issuer_id' = 'I7')"
                  " WHERE entity_scope ->> 'issuer_id' = 'I9'")
    assert check(table)[0][2] == "I9"
    table.execute("ROLLBACK TO s")
    check(table)
    # Of another transaction that is still open: this one sees what was before.
    with connect(table) as other:
        assert [row[2] for row in check(other)][0] == first


def test_other_dates_types_and_models_are_no_candidates(table):
    columns = "joint_type, as_of_date, entity_scope, model_id, vector"
    for change in ("'OTHER', as_of_date, entity_scope, model_id", "joint_type, as_of_date + 1, entity_scope, model_id",
                   "joint_type, as_of_date, entity_scope, 'joint-profile-core-v2'", "joint_type, NULL, entity_scope, model_id"):
        table.execute("ALTER TABLE joint_embeddings ALTER as_of_date DROP NOT NULL")
        table.execute(f"INSERT INTO joint_embeddings ({columns}) SELECT {change}, vector FROM joint_embeddings"
                      " WHERE joint_type = 'PROFILE_CORE_V0' AND as_of_date = '2020-01-01' AND model_id = 'joint-profile-core-v1' ORDER BY joint_id LIMIT 50")
    check(table)


@pytest.mark.parametrize(("first", "last"), [("2020-01-02", "2020-01-03"), ("2020-01-02", None), (None, "2020-01-02"), ("2020-01-09", None)])
@pytest.mark.parametrize("kind", ["ISSUER", "FUND"])
def test_ranges_of_dates_and_kinds_of_entity(table, first, last, kind):
    table.execute("INSERT INTO joint_embeddings (joint_type, as_of_date, entity_scope, model_id, vector)"
                  " SELECT joint_type, as_of_date + 1 + joint_id::int % 3, jsonb_set(entity_scope, '{entity_type}', to_jsonb(CASE WHEN joint_id % 5 = 0 THEN 'FUND' ELSE 'ISSUER' END)),"
                  " model_id, vector FROM joint_embeddings")
    bounds = f"{repr(first) if first else 'NULL'}, {repr(last) if last else 'NULL'}"
    found, read = search(table, "SELECT entity_id, as_of_date::text FROM find_similar('PROFILE_CORE_V0', '{\"issuer_id\": \"I7\"}', '2020-01-01', 10000,"
                         f" '{{\"entity_type\": \"{kind}\"}}', 'joint-profile-core-v1', {bounds})")
    expected = table.execute("SELECT entity_scope ->> 'issuer_id', as_of_date::text FROM joint_embeddings WHERE entity_scope ->> 'issuer_id' <> 'I7' AND entity_scope ->> 'entity_type' = %s"
                             " AND as_of_date BETWEEN COALESCE(%s::date, '-infinity') AND COALESCE(%s::date, 'infinity')", (kind, first, last)).fetchall()
    assert sorted(found) == sorted(expected)
    assert read
    assert bool(found) is (first != "2020-01-09")


def test_values_that_are_packed_or_stored_elsewhere_are_unpacked(table):
    table.execute("ALTER TABLE joint_embeddings ALTER vector SET STORAGE EXTENDED, ALTER model_id TYPE varchar(80), ALTER joint_type SET STORAGE EXTENDED")
    # Long ones that compress well, and longer ones that do not and leave the row.
    table.execute("UPDATE joint_embeddings SET vector = pad_to_dim(vector, 3000)")
    check(table)
    table.execute("ALTER TABLE joint_embeddings ALTER vector SET STORAGE EXTERNAL; UPDATE joint_embeddings SET vector = pad_to_dim(vector, 3001)")
    sizes = table.execute("SELECT pg_relation_size(reltoastrelid) FROM pg_class WHERE oid = 'joint_embeddings'::regclass").fetchone()[0]
    assert sizes > ROWS * 12_000
    table.execute("ALTER TABLE joint_embeddings ADD filler text; UPDATE joint_embeddings SET filler = repeat('x', 1900)")
    check(table)


def test_odd_vectors_are_left_out_and_counted(table):
    said = []
    table.execute("UPDATE joint_embeddings SET vector = NULL WHERE entity_scope ->> 'issuer_id' IN ('I1', 'I2')")
    table.execute("UPDATE joint_embeddings SET vector = '\\x00' WHERE entity_scope ->> 'issuer_id' = 'I3'")
    table.execute("UPDATE joint_embeddings SET vector = pad_to_dim(vector, 385) WHERE entity_scope ->> 'issuer_id' = 'I4'")
    table.execute("UPDATE joint_embeddings SET vector = vector_from_array(array_fill('nan'::float8, ARRAY[384])) WHERE entity_scope ->> 'issuer_id' = 'I5'")
    listen = lambda notice: said.append(notice.message_primary)
    table.add_notice_handler(listen)
    check(table)
    table.remove_notice_handler(listen)
    assert "left out of the search: 3 without a vector, 1 of another dimension than 384, 1 with values that are not finite" in said


def test_columns_come_and_go(table):
    table.execute("ALTER TABLE joint_embeddings ADD region text, ADD late int NOT NULL DEFAULT 5")
    check(table)
    table.execute("ALTER TABLE joint_embeddings DROP region")
    check(table)
    # The vector as a column that older rows do not have at all.
    table.execute("ALTER TABLE joint_embeddings DROP vector, ADD vector bytea DEFAULT decode(repeat('0000803f', 384), 'hex')")
    found, read = search(table)
    assert read
    assert [row[1] for row in found] == [1.0] * 40


def test_tables_that_the_server_reads_in_another_way_are_left_to_it(table):
    table.execute("CREATE TABLE child () INHERITS (joint_embeddings)")
    table.execute("INSERT INTO child SELECT 9000000 + joint_id, joint_type, as_of_date, entity_scope || '{\"issuer_id\": \"CHILD\"}', model_id, vector FROM joint_embeddings"
                  " WHERE entity_scope ->> 'issuer_id' = 'I7'")
    assert check(table, alone=False)[0][2] == "CHILD"


def test_a_view_and_a_partitioned_table_are_left_to_the_statement(table):
    table.execute("ALTER TABLE joint_embeddings RENAME TO kept; CREATE VIEW joint_embeddings AS SELECT * FROM kept WHERE entity_scope ->> 'issuer_id' <> 'I9'")
    check(table, alone=False)
    table.execute("DROP VIEW joint_embeddings; CREATE TABLE joint_embeddings (LIKE kept INCLUDING DEFAULTS) PARTITION BY LIST (model_id)")
    table.execute("ALTER TABLE joint_embeddings ATTACH PARTITION kept DEFAULT")
    check(table, alone=False)


def test_a_materialized_view_is_read(table):
    table.execute("ALTER TABLE joint_embeddings RENAME TO kept; CREATE MATERIALIZED VIEW joint_embeddings WITH (parallel_workers = 2) AS SELECT * FROM kept; ANALYZE joint_embeddings")
    # Without its key every row counts only once it is sorted out which is newest.
    check(table, alone=False)
    table.execute("CREATE UNIQUE INDEX ON joint_embeddings (model_id, joint_type, as_of_date, (entity_scope ->> 'entity_type'), (COALESCE(entity_scope ->> 'entity_id',"
                  " entity_scope ->> 'portfolio_id', ((entity_scope ->> 'scenario_set_id') || ':') || (entity_scope ->> 'scenario_id'), entity_scope ->> 'issuer_id')))")
    check(table)


def test_equality_that_is_not_bytewise_is_left_to_the_statement(table):
    table.execute("CREATE COLLATION loose (provider = icu, locale = 'und-u-ks-level2', deterministic = false)")
    table.execute("ALTER TABLE joint_embeddings ALTER joint_type TYPE text COLLATE loose")
    table.execute("UPDATE joint_embeddings SET joint_type = 'profile_core_v0' WHERE entity_scope ->> 'issuer_id' = 'I9'")
    check(table, alone=False)
    assert "I9" in [row[2] for row in search(table, CALL.replace("40", "1000"))[0]]


def test_policies_and_privileges_hold(table):
    table.execute("CREATE ROLE whole_reader; GRANT SELECT ON ALL TABLES IN SCHEMA public TO whole_reader; GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA public TO whole_reader")
    table.execute("SET LOCAL ROLE whole_reader")
    check(table)
    table.execute("RESET ROLE; ALTER TABLE joint_embeddings ENABLE ROW LEVEL SECURITY; CREATE POLICY few ON joint_embeddings USING (entity_scope ->> 'issuer_id' IN ('I7', 'I8'))")
    table.execute("SET LOCAL ROLE whole_reader")
    assert [row[2] for row in check(table, alone=False)] == ["I8"]
    table.execute("RESET ROLE; ALTER TABLE joint_embeddings DISABLE ROW LEVEL SECURITY; REVOKE SELECT ON joint_embeddings FROM whole_reader")
    table.execute("GRANT SELECT (joint_id, joint_type, as_of_date, entity_scope, model_id, vector) ON joint_embeddings TO whole_reader; SET LOCAL ROLE whole_reader")
    check(table, alone=False)
    table.execute("RESET ROLE; REVOKE SELECT (vector) ON joint_embeddings FROM whole_reader; SET LOCAL ROLE whole_reader")
    with pytest.raises(psycopg.errors.InsufficientPrivilege, match="permission denied for table joint_embeddings"):
        search(table)


def test_a_search_is_cancelled_at_once(table):
    # Every row is looked at closely: none has a vector.
    table.execute("INSERT INTO joint_embeddings (joint_type, as_of_date, entity_scope, model_id, vector)"
                  " SELECT joint_type, as_of_date, jsonb_build_object('entity_type', 'ISSUER', 'issuer_id', i || 'x' || joint_id), model_id, NULL FROM joint_embeddings, generate_series(1, 200) i")
    table.execute("ANALYZE joint_embeddings; SET LOCAL enable_indexscan = on")
    began = time.monotonic()
    found, read = search(table)
    assert read
    whole = time.monotonic() - began
    said = []
    table.add_notice_handler(listen := lambda notice: said.append(notice.message_primary))
    table.execute(f"SET LOCAL client_min_messages = debug1; SET LOCAL statement_timeout = {int(whole * 500)}")
    took = []
    for _ in range(3):
        began = time.monotonic()
        with pytest.raises(psycopg.errors.QueryCanceled), table.transaction():
            table.execute(CALL)
        took.append(time.monotonic() - began)
    # Not only once it was done; the quickest of three, for the machine may be busy.
    assert min(took) < whole * 0.9
    table.remove_notice_handler(listen)
    assert READING in said
    table.execute("SET LOCAL statement_timeout = 0")
    assert search(table) == (found, True)
