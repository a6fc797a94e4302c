"""backfill_profile_text: which profiles, which statuses, which tables."""

import json
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest

TEXT = json.dumps({"business_description": "Makes pumps."})


def add(session, issuer, day, structured):
    session.execute(
        "INSERT INTO profiles (issuer_id, as_of_date, structured, risk_flags) VALUES (%s, %s, %s, '{}')",
        [issuer, day, structured],
    )


def statuses(session, arguments, columns="entity_id, status, detail"):
    return session.execute(f"SELECT {columns} FROM backfill_profile_text({arguments})").fetchall()


def test_profiles_without_text_are_skipped_with_the_reason(db):
    add(db, "ok", "2024-01-02", TEXT)
    add(db, "empty", "2024-01-02", "{}")
    add(db, "blank", "2024-01-02", json.dumps({"risk_summary": " \u3000\n"}))
    add(db, "wrong", "2024-01-02", json.dumps({"risk_summary": 5, "business_description": ["x"]}))
    for name, value in (("array", "[1]"), ("string", '"x"'), ("number", "1"), ("null", "null")):
        add(db, name, "2024-01-02", value)
    found = {row[0]: row[1:] for row in statuses(db, "'2024-01-02'")}
    assert found.pop("ok") == ("inserted", None)
    no_text, no_object = ("skipped", "no text in the profile"), ("skipped", "structured is not a JSON object")
    assert found == {
        "empty": no_text, "blank": no_text, "wrong": no_text,
        "array": no_object, "string": no_object, "number": no_object, "null": no_object,
    }
    assert db.execute("SELECT source_type, source_id, octet_length(vector), truncated FROM text_embeddings").fetchall() == [
        ("PROFILE", "ok:2024-01-02", 1536, False)
    ]


def test_ranges_limits_and_order(db):
    for day in ("2024-01-02", "2024-01-03", "2024-01-04"):
        for issuer in ("b", "A", "a"):
            add(db, issuer, day, TEXT)
    rows = statuses(db, "start_date => '2024-01-02', end_date => '2024-01-03'", "entity_id, as_of_date::text, status")
    expected = [(issuer, day, "inserted") for day in ("2024-01-02", "2024-01-03") for issuer in ("A", "a", "b")]
    assert rows == expected
    assert len(statuses(db, "start_date => '2024-01-01', end_date => '2024-12-31', max_entities => 7")) == 7
    assert statuses(db, "'2030-01-01'") == []


def test_existing_rows(db):
    add(db, "a", "2024-01-02", TEXT)
    assert statuses(db, "'2024-01-02'")[0][1] == "inserted"
    before = db.execute("SELECT vector, input_digest FROM text_embeddings").fetchone()
    assert statuses(db, "'2024-01-02'")[0][1] == "unchanged"
    assert statuses(db, "'2024-01-02', on_existing => 'skip'") == [("a", "skipped", "row exists")]
    db.execute("UPDATE text_embeddings SET vector = '\\x00'")
    assert statuses(db, "'2024-01-02'")[0][1] == "replaced", "a vector that is not whole is made anew"
    assert statuses(db, "'2024-01-02', on_existing => 'replace'")[0][1] == "replaced"
    assert db.execute("SELECT vector, input_digest FROM text_embeddings").fetchall() == [before]


def test_tables_of_other_shapes(db):
    db.execute(
        "CREATE TABLE old (source_type varchar(32), source_id varchar(64), model_id varchar(64), vector bytea);"
        "CREATE VIEW source AS SELECT issuer_id || '-x' AS issuer_id, as_of_date, structured FROM profiles"
    )
    add(db, "a", "2024-01-02", TEXT)
    add(db, "b" * 50, "2024-01-02", TEXT)
    call = "'2024-01-02', profiles => 'source', target => 'old'"
    assert [row[1] for row in statuses(db, call)] == ["inserted", "inserted"]
    # Without a digest nobody can tell that nothing changed; without a key rows are deleted first.
    assert [row[1] for row in statuses(db, call)] == ["replaced", "replaced"]
    assert db.execute("SELECT count(*), count(DISTINCT source_id) FROM old").fetchone() == (2, 2)
    db.execute("CREATE VIEW twice AS SELECT * FROM source UNION ALL SELECT * FROM source WHERE issuer_id = 'a-x'")
    db.execute("CREATE VIEW long AS SELECT repeat('l', 60) AS issuer_id, as_of_date, structured FROM profiles LIMIT 1")
    twice = dict(row[:2] for row in statuses(db, "'2024-01-02', profiles => 'twice', target => 'old'"))
    assert twice == {"a-x": "failed", "b" * 50 + "-x": "replaced"}
    assert statuses(db, "'2024-01-02', profiles => 'long'") == [
        ("l" * 60, "failed", "source_id would be longer than 64 characters")
    ]


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ("NULL::date", "22004"),
        ("'infinity'", "22008"),
        ("'2024-01-02', NULL", "22004"),
        ("'2024-01-02', 'text-profile-v9'", "42704"),
        ("'2024-01-02', 'num-regime-core-v1'", "42809"),
        ("'2024-01-02', on_existing => 'append'", "22023"),
        ("'2024-01-02', on_existing => NULL", "22004"),
        ("'2024-01-02', max_entities => -1", "22023"),
        ("start_date => '2024-01-02', end_date => '2024-01-01'", "22023"),
        ("'2024-01-02', profiles => 'text_embeddings'", "42703"),
        ("'2024-01-02', target => 'profiles'", "42703"),
        ("'2024-01-02', profiles => NULL", "42P01"),
        ("'2024-01-02', target => 'profiles_pkey'", "42809"),
    ],
)
def test_bad_arguments_are_refused(module_db, arguments, code):
    with pytest.raises(psycopg.Error) as error:
        statuses(module_db, arguments)
    assert error.value.sqlstate == code, error.value


def test_rights_are_the_callers(db, connect):
    add(db, "a", "2024-01-02", TEXT)
    db.execute("DROP ROLE IF EXISTS text_reader; CREATE ROLE text_reader LOGIN")
    try:
        low = connect(db, user="text_reader")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            statuses(low, "'2024-01-02'")
        db.execute("GRANT SELECT ON profiles TO text_reader")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            statuses(low, "'2024-01-02'")
        db.execute(
            "GRANT SELECT, INSERT, UPDATE ON text_embeddings TO text_reader;"
            "GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO text_reader;"
            "ALTER TABLE profiles ENABLE ROW LEVEL SECURITY;"
            "CREATE POLICY own ON profiles TO text_reader USING (issuer_id = 'a')"
        )
        add(db, "hidden", "2024-01-02", TEXT)
        assert [row[0] for row in statuses(low, "'2024-01-02'")] == ["a"]
        low.close()
    finally:
        db.execute("DROP OWNED BY text_reader; DROP ROLE text_reader")


def test_a_read_only_transaction_is_refused_before_any_work(db):
    add(db, "a", "2024-01-02", TEXT)
    with db.transaction():
        db.execute("SET TRANSACTION READ ONLY")
        with pytest.raises(psycopg.errors.ReadOnlySqlTransaction), db.transaction():
            statuses(db, "'2024-01-02'")
        assert len(db.execute("SELECT text_profile_embed('a'::text)").fetchone()[0]) == 1536


def test_two_backfills_at_once_leave_one_row_each(db, connect):
    for number in range(40):
        add(db, f"i{number:02}", "2024-01-02", TEXT)
    sessions = [connect(db) for _ in range(3)]
    with ThreadPoolExecutor(3) as pool:
        done = list(pool.map(lambda session: statuses(session, "'2024-01-02', on_existing => 'replace'"), sessions))
    assert all(len(rows) == 40 for rows in done)
    assert db.execute("SELECT count(*), count(DISTINCT source_id) FROM text_embeddings").fetchone() == (40, 40)
