"""pgvector, where it is installed: casts, HNSW indexes behind the searches, and how much of the exact result they find."""

import random
import struct
import subprocess

import psycopg
import pytest
from jointdata import explained, plan_of_search
from psycopg.types.json import Jsonb

DAY, DIM = "2024-01-31", 32
INDEX = """CREATE INDEX joint_hnsw ON joint_embeddings USING hnsw ((embed_index_vector(vector, {dim})::{type}({dim})) {type}_cosine_ops)
            WHERE joint_type = 'PROFILE_CORE_V0' AND model_id = 'joint-profile-core-v1'"""
# What makes the planner take the index of a small table.
INDEX_ONLY = "SET enable_seqscan = off; SET enable_bitmapscan = off; SET enable_sort = off; SET jit = off"


def fill(session, issuers=1500):
    """Issuers in 60 groups whose vectors lie together, as those of a sector do."""
    choose = random.Random(3)
    centres = [[choose.gauss(0, 1) for _ in range(DIM)] for _ in range(60)]
    with session.cursor().copy("COPY joint_embeddings (joint_type, as_of_date, entity_scope, model_id, vector) FROM STDIN") as copy:
        for number in range(issuers):
            values = [x + choose.gauss(0, 0.5) for x in centres[number % 60]]
            scope = {"entity_type": "ISSUER", "issuer_id": f"I{number:05}", "region": "EU" if number % 10 == 0 else "US"}
            copy.write_row(["PROFILE_CORE_V0", DAY, Jsonb(scope), "joint-profile-core-v1", struct.pack(f"<{DIM}f", *values)])
    session.execute("ANALYZE joint_embeddings")


def found(session, issuer="I00007", **arguments):
    call = "".join(f", {name} => %({name})s" for name in arguments)
    return session.execute(f"SELECT * FROM find_similar_profiles(%(issuer)s, '{DAY}'{call})", {"issuer": issuer, **arguments}).fetchall()


@pytest.fixture
def session(db):
    if not db.execute("SELECT FROM pg_available_extensions WHERE name = 'vector'").fetchall():
        pytest.skip("pgvector is not installed")
    db.execute("CREATE EXTENSION vector")
    return db


def test_enabling_needs_pgvector(db):
    with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState, match='extension "vector" is not installed') as error:
        db.execute("SELECT * FROM embed_enable_pgvector()")
    assert "available on this server" in error.value.diag.message_detail
    assert "CREATE EXTENSION vector" in error.value.diag.message_hint
    db.execute(
        "INSERT INTO joint_embeddings (joint_type, as_of_date, entity_scope, model_id, vector) VALUES ('PROFILE_CORE_V0', %s,"
        " '{\"entity_type\": \"ISSUER\", \"issuer_id\": \"I00007\"}', 'joint-profile-core-v1', '\\x0000803f')",
        [DAY],
    )
    with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState, match="no HNSW index holds the vectors of model") as error:
        found(db, method="hnsw")
    assert "embed_enable_pgvector()" in error.value.diag.message_hint
    with pytest.raises(psycopg.errors.InvalidParameterValue, match='invalid value for argument "method": "fast"'):
        found(db, method="fast")
    with pytest.raises(psycopg.errors.NullValueNotAllowed):
        found(db, method=None)


def test_enabling_twice_is_enabling_once(session):
    made = session.execute("SELECT object, status FROM embed_enable_pgvector()").fetchall()
    assert len(made) == 5 and {status for _, status in made} == {"created"}
    assert session.execute("SELECT object, 'created' FROM embed_enable_pgvector() WHERE status = 'already there'").fetchall() == made
    casts = session.execute("SELECT (vector_from_array(ARRAY[1, 2])::vector)::text, '[1,-2]'::vector::bytea = vector_from_array(ARRAY[1, -2])")
    assert casts.fetchone() == ("[1,2]", True)
    odd = ["'\\x00'::bytea", "vector_from_array(ARRAY[1])", "vector_from_array(ARRAY['NaN', 1]::float8[])", "vector_from_array(ARRAY[1, '-Infinity']::float8[])", "vector_from_array(ARRAY[0, -0.0])", "NULL"]
    for value in odd:
        assert session.execute(f"SELECT embed_index_vector({value}, 2) IS NULL").fetchone() == (True,), value
    assert session.execute("SELECT embed_index_vector(vector_from_array(ARRAY[3, 4]), 2)::text").fetchone() == ("[0.6,0.8]",)
    # What float32 holds and halfvec does not: volumes of shares, say.
    huge = "embed_index_vector(vector_from_array(ARRAY[3e30, 4e30]), 2)::halfvec(2)::real[]"
    assert session.execute(f"SELECT {huge}").fetchone()[0] == pytest.approx([0.6, 0.8], abs=1e-3)


@pytest.mark.parametrize("kind", ["vector", "halfvec"])
def test_an_index_finds_what_a_scan_finds(session, kind):
    session.execute("SELECT * FROM embed_enable_pgvector()")
    fill(session)
    session.execute(INDEX.format(dim=DIM, type=kind))
    session.execute(INDEX_ONLY)
    plan = str(plan_of_search(session, f"SELECT * FROM find_similar_profiles('I00007', '{DAY}', method => 'hnsw')"))
    assert "'Index Name': 'joint_hnsw'" in plan, plan
    hits = total = 0
    for number in range(0, 1500, 50):
        exact = found(session, f"I{number:05}")
        close = found(session, f"I{number:05}", method="hnsw")
        scores = {row[3]: row[1:3] for row in found(session, f"I{number:05}", top_k=1500)}
        # Scores are exact, whatever the index rounds.
        assert all(scores[row[3]] == row[1:3] for row in close)
        assert [row[0] for row in close] == list(range(1, 11))
        hits += len({row[3] for row in exact} & {row[3] for row in close})
        total += len(exact)
    assert hits / total >= 0.98, hits / total
    assert session.execute("SHOW hnsw.ef_search").fetchone() == ("40",)
    # A filter that one row in ten passes: the index is read on until there are enough.
    region = found(session, region="EU", method="hnsw")
    assert len(region) == 10 and {row[5] for row in region} == {"EU"}
    assert len({row[3] for row in region} & {row[3] for row in found(session, region="EU")}) >= 9


def test_a_look_up_through_an_index_is_not_compiled_just_in_time(session):
    """That took a hundred times as long as the look-up itself."""
    session.execute("SELECT * FROM embed_enable_pgvector()")
    fill(session, issuers=200)
    session.execute(INDEX.format(dim=DIM, type="vector"))
    session.execute(f"{INDEX_ONLY}; SET jit = on; SET jit_above_cost = 0")
    call = f"SELECT * FROM find_similar_profiles('I00007', '{DAY}', method => '{{}}')"
    (available,) = session.execute("SELECT pg_jit_available()").fetchone()
    assert ("JIT" in explained(session, call.format("exact"), "embed_nearest(")) == available
    assert "JIT" not in explained(session, call.format("hnsw"), "embed_nearest(")
    assert session.execute("SHOW jit").fetchone() == ("on",)


def test_rows_that_no_index_holds_are_not_in_the_way(session):
    session.execute("SELECT * FROM embed_enable_pgvector()")
    fill(session, issuers=200)
    odd = "UPDATE joint_embeddings SET vector = {} WHERE entity_scope ->> 'issuer_id' = '{}'"
    session.execute(odd.format("vector_from_array(ARRAY['NaN', 1]::float8[])", "I00067"))
    session.execute(odd.format("NULL", "I00127"))
    session.execute(INDEX.format(dim=DIM, type="vector"))
    session.execute(INDEX_ONLY)
    assert len(found(session, method="hnsw")) == 10
    session.execute(odd.format("vector_from_array(ARRAY[1, 2])", "I00007"))
    with pytest.raises(psycopg.errors.DataException, match='index "joint_hnsw" cannot hold the target\'s vector of 2 dimensions'):
        found(session, method="hnsw")
    session.execute("CREATE TABLE bare AS SELECT * FROM joint_embeddings")
    with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState, match="has no unique key"):
        found(session, "I00008", method="hnsw", embeddings="bare")


def test_what_enabling_made_is_dumped_and_restored(session, cluster):
    session.execute("SELECT * FROM embed_enable_pgvector()")
    fill(session, issuers=100)
    session.execute(INDEX.format(dim=DIM, type="halfvec"))
    session.execute(INDEX_ONLY)
    expected = found(session, method="hnsw")
    connect = ["-h", cluster.socket_dir, "-p", str(cluster.port), "-U", cluster.user]
    dump = subprocess.run([cluster.bindir / "pg_dump", *connect, session.info.dbname], capture_output=True, text=True, check=True).stdout
    name = cluster.create_database(prefix="restored")
    try:
        assert cluster.psql(name, dump).returncode == 0
        with cluster.connect(name) as restored:
            restored.execute(INDEX_ONLY)
            assert found(restored, method="hnsw") == expected
            assert restored.execute("SELECT DISTINCT status FROM embed_enable_pgvector()").fetchall() == [("already there",)]
    finally:
        cluster.drop_database(name)
