"""Searching: what the Python system found, every bad target, ties, odd vectors, and what a search reads."""

import collections

import psycopg
import pytest
from jointdata import fill_dates, load_vectors, scan_of_search
from psycopg.types.json import Jsonb
from realdata import read_csv

PROFILE = "INSERT INTO joint_embeddings (joint_type, as_of_date, entity_scope, model_id, vector) VALUES ('PROFILE_CORE_V0', %s, %s, 'joint-profile-core-v1', %s)"


def vector(connection, *values):
    return connection.execute("SELECT vector_from_array(%s::float8[])", (list(map(float, values)),)).fetchone()[0]


def add_profile(connection, issuer, values, day="2024-01-31", **scope):
    scope = {"entity_type": "ISSUER", "issuer_id": issuer, "instrument_id": f"{issuer}.US", "as_of_date": day, **scope}
    stored = values if values is None or isinstance(values, bytes) else vector(connection, *values)
    connection.execute(PROFILE, (day, Jsonb(scope), stored))


def similar(connection, issuer, **arguments):
    arguments = {"issuer_id": issuer, "as_of": "2024-01-31", **arguments}
    call = ", ".join(f"{name} => %({name})s" for name in arguments)
    return connection.execute(f"SELECT * FROM find_similar_profiles({call})", arguments).fetchall()


def test_profiles_are_found_as_by_the_python_system(sp500, shared):
    assert load_vectors(sp500, shared / "oracle", "joint_embeddings") == 257 + 39 + 324
    expected = collections.defaultdict(list)
    for row in read_csv(shared / "oracle" / "find_similar_profiles.csv.gz"):
        expected[row["query_issuer_id"]].append(row)
    assert len(expected) == 10
    for issuer, rows in expected.items():
        found = similar(sp500, issuer, as_of="2018-12-31", top_k=len(rows))
        by_issuer = {row["issuer_id"]: row for row in rows}
        assert [row[0] for row in found] == list(range(1, len(rows) + 1))
        for position, (_, cosine, distance, name, instrument, region, source) in enumerate(found):
            # The same order, but for ties within the tolerance.
            assert cosine == pytest.approx(float(rows[position]["cosine"]), abs=2e-6)
            row = by_issuer[name]
            assert cosine == pytest.approx(float(row["cosine"]), abs=2e-6)
            assert distance == pytest.approx(float(row["euclidean"]), rel=1e-6)
            assert (instrument, source, region) == (row["instrument_id"], row["source"], None)


def test_every_face_and_the_general_form_agree(sp500, shared):
    load_vectors(sp500, shared / "oracle", "joint_embeddings")
    faces = {
        "find_similar_profiles('ISS_KO', '2018-12-31', top_k => 300)": ("PROFILE_CORE_V0", {"issuer_id": "ISS_KO"}, "issuer_id"),
        "find_similar_portfolios('PORT_005', '2018-12-31', top_k => 300)": ("PORTFOLIO_CORE_V0", {"portfolio_id": "PORT_005"}, "portfolio_id"),
    }
    for face, (joint_type, scope, column) in faces.items():
        special = sp500.execute(f"SELECT rank, cosine, euclidean, {column} FROM {face}").fetchall()
        general = sp500.execute(
            "SELECT rank, cosine, euclidean, entity_id FROM find_similar(%s, %s, '2018-12-31', 300)", (joint_type, Jsonb(scope))
        ).fetchall()
        assert special == general
        plain = sp500.execute(
            """
            SELECT row_number() OVER (ORDER BY c DESC, d, id COLLATE "C")::int, c, d, id
              FROM (SELECT cosine_sim(j.vector, t.vector) c, euclidean_dist(j.vector, t.vector) d, j.entity_scope ->> %(column)s id
                      FROM joint_embeddings j, joint_embeddings t
                     WHERE j.joint_type = %(type)s AND t.joint_type = %(type)s AND t.entity_scope @> %(scope)s
                       AND j.joint_id <> t.joint_id AND l2_norm(j.vector) < 'infinity') x ORDER BY 1
            """,
            {"column": column, "type": joint_type, "scope": Jsonb(scope)},
        ).fetchall()
        assert special == plain
        assert len(special) == {"PROFILE_CORE_V0": 256, "PORTFOLIO_CORE_V0": 37}[joint_type]


def test_a_missing_target_is_told_with_what_exists(db):
    for day in ("2023-11-30", "2023-12-29"):
        add_profile(db, "A", [1, 0], day)
    add_profile(db, "B", [1, 0])
    with pytest.raises(psycopg.errors.NoDataFound) as error:
        similar(db, "A")
    assert 'no PROFILE_CORE_V0 embedding of {"entity_type":"ISSUER","issuer_id":"A"} at 2024-01-31' in str(error.value)
    assert error.value.diag.message_detail == "This model has the entity at 2023-12-29, 2023-11-30."
    with pytest.raises(psycopg.errors.NoDataFound) as error:
        similar(db, "C")
    assert error.value.diag.message_detail.endswith("its newest dates are 2024-01-31, 2023-12-29, 2023-11-30.")
    db.execute(
        "INSERT INTO joint_embeddings (joint_type, as_of_date, entity_scope, model_id, vector)"
        " SELECT joint_type, '2024-01-31', entity_scope, 'other-model', vector FROM joint_embeddings WHERE as_of_date = '2023-12-29'"
    )
    with pytest.raises(psycopg.errors.NoDataFound) as error:
        similar(db, "A")
    assert error.value.diag.message_detail.endswith('Models that have the entity at this date: "other-model".')
    with pytest.raises(psycopg.errors.UndefinedObject, match='model "joint-profile-cor-v1" does not exist') as error:
        similar(db, "A", model_id="joint-profile-cor-v1")
    assert '"joint-profile-core-v1"' in error.value.diag.message_hint


def test_odd_vectors_are_left_out_and_counted(db):
    add_profile(db, "A", [1, 0])
    add_profile(db, "NAN", [float("nan"), 0])
    add_profile(db, "INF", [1, float("inf")])
    add_profile(db, "WIDE", [1, 0, 0])
    add_profile(db, "NONE", None)
    add_profile(db, "TORN", b"\x00\x01\x02")
    add_profile(db, "ZERO", [0, 0])
    add_profile(db, "B", [1, 1])
    add_profile(db, "ODD_EU", [1], region="EU")
    notices = []
    db.add_notice_handler(lambda notice: notices.append(notice.message_primary))
    assert [row[3] for row in similar(db, "A")] == ["B", "ZERO"]
    assert notices == ["left out of the search: 2 without a vector, 2 of another dimension than 2, 2 with values that are not finite"]
    notices.clear()
    # The filter applies to what is counted, too.
    assert similar(db, "A", region="EU") == []
    assert notices == ["left out of the search: 1 of another dimension than 2"]
    with pytest.raises(psycopg.errors.DataException, match="1 of 2 vector components are not finite"):
        similar(db, "NAN")
    with pytest.raises(psycopg.errors.NoDataFound):
        similar(db, "NONE")


def test_filters_apply_before_ranking(db):
    add_profile(db, "A", [1, 0], region="US")
    for number in range(50):
        add_profile(db, f"US{number:02}", [1, number / 1000], region="US")
    for number in range(3):
        add_profile(db, f"EU{number}", [-1, number], region="EU")
    assert [row[3] for row in similar(db, "A", region="EU", top_k=2)] == ["EU2", "EU1"]
    assert similar(db, "A", region="XX") == []
    found = db.execute(
        "SELECT entity_id FROM find_similar('PROFILE_CORE_V0', '{\"issuer_id\": \"A\"}', '2024-01-31', filter => '{\"region\": \"EU\"}')"
    ).fetchall()
    assert [row[0] for row in found] == ["EU2", "EU1", "EU0"]


def test_ties_are_broken_by_id_in_byte_order(db):
    add_profile(db, "Q", [1, 2])
    for name in ("b", "B", "a", "ä", "Z", "_"):
        add_profile(db, name, [2, 1])
    add_profile(db, "near", [1, 2])
    add_profile(db, "far", [2, 4])
    expected = ["near", "far", "B", "Z", "_", "a", "b", "ä"]
    assert [row[3] for row in similar(db, "Q")] == expected
    assert [row[3] for row in similar(db, "Q", top_k=4)] == expected[:4]
    assert similar(db, "Q")[0][1:3] == (1.0, 0.0)
    assert len(similar(db, "Q", top_k=1_000_000)) == 8


def test_the_newest_row_counts_where_a_table_has_several(db):
    db.execute("CREATE TABLE old (LIKE joint_embeddings INCLUDING DEFAULTS)")
    for values in ([1, 0], [0, 1]):
        for name in ("A", "B"):
            add_profile(db, name, values if name == "B" else [1, 0])
            db.execute("INSERT INTO old SELECT * FROM joint_embeddings")
            db.execute("DELETE FROM joint_embeddings")
    found = similar(db, "A", embeddings="old")
    assert [(row[3], row[1]) for row in found] == [("B", 0.0)]


@pytest.mark.parametrize("top_k", [0, -1, -(2**31), 1_000_001])
def test_a_top_k_out_of_range_is_refused(db, top_k):
    with pytest.raises(psycopg.errors.InvalidParameterValue, match="top_k must be between 1 and 1000000"):
        similar(db, "A", top_k=top_k)


def test_arguments_that_make_no_sense_are_refused(db):
    add_profile(db, "A", [1, 0])
    add_profile(db, "B", [1, 0])
    cases = [
        ("find_similar_profiles(NULL, '2024-01-31')", "22004"),
        ("find_similar_profiles('A', NULL)", "22004"),
        ("find_similar_profiles('A', 'infinity')", "22008"),
        ("find_similar_profiles('A', '2024-01-31', NULL)", "22004"),
        ("find_similar_profiles('A', '2024-01-31', top_k => NULL)", "22004"),
        ("find_similar_profiles('A', '2024-01-31', embeddings => NULL)", "42P01"),
        ("find_similar_profiles('A', '2024-01-31', embeddings => 'profiles')", "42703"),
        ("find_similar_portfolios(NULL, '2024-01-31')", "22004"),
        ("find_similar_stab_scenarios(NULL, '2024-01-31')", "22004"),
        ("find_similar_stab_scenarios('A', '2024-01-31', start_date => '2024-02-01', end_date => '2024-01-01')", "22023"),
        ("find_similar('NO_SUCH', '{}', '2024-01-31')", "42704"),
        ("find_similar('PROFILE_CORE_V0', '[]', '2024-01-31')", "22023"),
        ("find_similar('PROFILE_CORE_V0', '\"A\"', '2024-01-31')", "22023"),
        ("find_similar('PROFILE_CORE_V0', '{}', '2024-01-31')", "21000"),
        ("find_similar('PROFILE_CORE_V0', '{\"issuer_id\": \"A\"}', '2024-01-31', filter => '1')", "22023"),
        ("find_similar('PROFILE_CORE_V0', NULL, '2024-01-31')", "22004"),
    ]
    for call, state in cases:
        with pytest.raises(psycopg.Error) as error:
            db.execute(f"SELECT * FROM {call}")
        assert error.value.sqlstate == state, (call, error.value)


def test_scenarios_of_a_set_and_a_range(db):
    state = {"entity_type": "INSTRUMENT", "entity_id": "X.US"}
    rows = [("2024-01-31", state, [1, 0])]
    for number, (name, day) in enumerate([("S_1", "2023-12-29"), ("SX1", "2024-03-28"), ("S_1", "2024-03-28")]):
        scope = {"entity_type": "SCENARIO", "scenario_set_id": name, "scenario_id": str(number), "source": "scenario"}
        rows.append((day, scope, [1, number]))
    for day, scope, values in rows:
        db.execute(PROFILE.replace("PROFILE_CORE_V0", "STAB_FRAGILITY_V0").replace("joint-profile-core", "joint-stab-fragility"), (day, Jsonb(scope), vector(db, *values)))
    call = "SELECT scenario_set_id, scenario_id, as_of_date::text FROM find_similar_stab_scenarios('X.US', '2024-01-31'{})"
    everything = [("S_1", "0", "2023-12-29"), ("SX1", "1", "2024-03-28"), ("S_1", "2", "2024-03-28")]
    assert db.execute(call.format("")).fetchall() == everything
    assert db.execute(call.format(", scenario_set_id => 'S_1'")).fetchall() == [everything[0], everything[2]]
    assert db.execute(call.format(", start_date => '2024-01-01'")).fetchall() == everything[1:]
    assert db.execute(call.format(", end_date => '2024-01-01'")).fetchall() == everything[:1]
    assert db.execute(call.format(", start_date => '2024-01-01', end_date => '2024-03-01'")).fetchall() == []


def test_a_search_of_one_date_reads_that_date_only(db):
    fill_dates(db, dates=400, issuers=100)
    db.execute("ANALYZE joint_embeddings")
    scan = scan_of_search(db, "SELECT * FROM find_similar_profiles('I7', '2020-06-01')")
    assert scan["Node Type"] in ("Index Scan", "Bitmap Heap Scan")
    assert scan["Actual Rows"] == 100
    assert scan.get("Rows Removed by Filter", 0) == 0
    pages = db.execute("SELECT relpages FROM pg_class WHERE relname = 'joint_embeddings'").fetchone()[0]
    assert scan["Shared Hit Blocks"] + scan["Shared Read Blocks"] <= 110 < pages / 5
