"""Texts and profiles against vectors that the Python system itself computed, through SQL."""

import gzip
import json
import math
import struct

import psycopg
import pytest
from realdata import read_csv


def floats(vector):
    return struct.unpack(f"<{len(vector) // 4}f", vector)


def largest_difference(a, b):
    assert len(a) == len(b)
    return max(abs(x - y) for x, y in zip(a, b, strict=True))


def dot(a, b):
    return sum(x * y for x, y in zip(a, b, strict=True))


def cosine(a, b):
    return dot(a, b) / math.sqrt(dot(a, a) * dot(b, b))


@pytest.fixture(scope="module")
def awkward(shared):
    with gzip.open(shared / "oracle" / "text.jsonl.gz", "rt", encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    assert len(rows) == 115
    return rows


def test_awkward_texts_get_the_vectors_of_the_python_system(module_db, awkward):
    storable = [row for row in awkward if "\0" not in row["text"]]
    texts = [row["text"] for row in storable]
    vectors = module_db.execute("SELECT text_embed(%s)", [texts]).fetchone()[0]
    for row, vector in zip(storable, vectors, strict=True):
        got = floats(vector)
        assert largest_difference(got, row["embedding"]) <= 1e-5, row["text"][:80]
        assert cosine(got, row["embedding"]) >= 0.999999, row["text"][:80]


def test_a_text_that_postgres_cannot_store_is_refused(module_db, awkward):
    (row,) = [row for row in awkward if "\0" in row["text"]]
    with pytest.raises((psycopg.DataError, ValueError)):
        module_db.execute("SELECT text_embed(%s)", [[row["text"]]])
    with pytest.raises(psycopg.errors.UntranslatableCharacter):
        module_db.execute("SELECT text_profile_document(%s::jsonb)", [json.dumps({"risk_summary": row["text"]})])


def test_a_vector_does_not_depend_on_its_batch(module_db, awkward):
    texts = [row["text"] for row in awkward if "\0" not in row["text"]][::8]
    alone = [module_db.execute("SELECT text_embed(ARRAY[%s])", [text]).fetchone()[0][0] for text in texts]
    for tokens in (16, 4096):
        module_db.execute(f"SET prometheus_embed.batch_tokens = {tokens}")
        together = module_db.execute("SELECT text_embed(%s)", [texts]).fetchone()[0]
        for one, other in zip(alone, together, strict=True):
            assert largest_difference(floats(one), floats(other)) < 1e-6
    module_db.execute("RESET prometheus_embed.batch_tokens")


def test_profiles_get_the_vectors_of_the_python_system(sp500, shared):
    expected = {row["source_id"]: row for row in read_csv(shared / "oracle" / "text_embeddings.csv.gz")}
    rows = sp500.execute("SELECT entity_id, status, tokens, truncated, dim FROM backfill_profile_text('2018-12-31')").fetchall()
    written = [row for row in rows if row[1] == "inserted"]
    assert len(written) == len(expected) == 260
    assert all(row[2] > 2 and row[3] is (row[2] == 512) and row[4] == 384 for row in written)
    assert {row[1] for row in rows} <= {"inserted", "skipped"}
    stored = sp500.execute(
        "SELECT source_id, vector, tokens, model_id FROM text_embeddings WHERE source_type = 'PROFILE'"
    ).fetchall()
    assert {row[0] for row in stored} == set(expected)
    for source_id, vector, tokens, model_id in stored:
        wanted = floats(bytes.fromhex(expected[source_id]["vector_hex"]))
        assert model_id == expected[source_id]["model_id"] == "text-profile-v1"
        assert largest_difference(floats(vector), wanted) <= 1e-5, source_id
        assert cosine(floats(vector), wanted) >= 0.999999, source_id
        assert tokens > 2

    # Nothing is computed twice; what changed is.
    sp500.execute("SELECT unload_text_models()")
    again = sp500.execute("SELECT status, tokens FROM backfill_profile_text('2018-12-31') WHERE status <> 'skipped'").fetchall()
    assert [row[0] for row in again] == ["unchanged"] * 260 and all(row[1] > 2 for row in again)
    assert sp500.execute("SELECT count(*) FROM embed_loaded_models").fetchone() == (0,), "not even the model was loaded"
    issuer = written[7][0]
    sp500.execute(
        "UPDATE profiles SET structured = structured || '{\"risk_summary\": \"A new risk.\"}' WHERE issuer_id = %s", [issuer]
    )
    changed = sp500.execute("SELECT entity_id, status FROM backfill_profile_text('2018-12-31') WHERE status = 'replaced'")
    assert changed.fetchall() == [(issuer, "replaced")]
    both = sp500.execute(
        "SELECT t.vector, text_profile_embed(p.structured) FROM profiles p JOIN text_embeddings t "
        "ON t.source_id = p.issuer_id || ':' || p.as_of_date WHERE p.issuer_id = %s",
        [issuer],
    ).fetchone()
    assert largest_difference(floats(both[0]), floats(both[1])) < 1e-6
