"""Joint spaces and their backfills: awkward reports, scenarios, missing branches, bad arguments, own spaces."""

import json

import psycopg
import pytest
from jointdata import explained
from psycopg.types.json import Jsonb

DAY = "2025-01-31"


def vec(connection, *values):
    return connection.execute("SELECT vector_from_array(%s::float8[])", (list(map(float, values)),)).fetchone()[0]


def values(connection, stored):
    return connection.execute("SELECT vector_to_array(%s)", (stored,)).fetchone()[0]


def numeric(connection, kind, entity, model, *numbers, day=DAY, window=63):
    connection.execute(
        "INSERT INTO numeric_window_embeddings (entity_type, entity_id, window_spec, as_of_date, model_id, vector)"
        " VALUES (%s, %s, %s, %s, %s, %s)",
        (kind, entity, Jsonb({"window_days": window, "entity_type": kind}), day, model, vec(connection, *numbers)),
    )


def report(connection, name, risk, sectors="{}", factors="{}", day=DAY, report_id=None):
    connection.execute(
        "INSERT INTO portfolio_risk_reports (report_id, portfolio_id, as_of_date, portfolio_value, cash, net_exposure,"
        " gross_exposure, leverage, risk_metrics, exposures_by_sector, exposures_by_factor)"
        " VALUES (%s, %s, %s, 1, 1, 1, 1, 1, %s, %s, %s)",
        (report_id or name, name, day, risk, sectors, factors),
    )


def portfolios(connection, **arguments):
    arguments = {"as_of": DAY, **arguments}
    call = ", ".join(f"{name} => %({name})s" for name in arguments)
    return {row[0]: row for row in connection.execute(f"SELECT * FROM backfill_numeric_portfolio({call})", arguments)}


def stored_portfolio(connection, name):
    found = connection.execute("SELECT vector FROM numeric_window_embeddings WHERE entity_id = %s", (name,)).fetchone()
    return values(connection, found[0])


def test_features_come_in_code_point_order_from_numbers_and_booleans_only(db):
    report(db, "P", '{"b": 2, "B": 1, "é": 3, "text": "4", "none": null, "list": [5], "nested": {"x": 6}, "𝄞": 9, "～": 8, "yes": true}',
           '{"Z": -1, "a": false}', '{"10d": 10, "2d": 2}')
    assert portfolios(db)["P"][3:7] == ("inserted", 384, 10, None)
    assert stored_portfolio(db, "P")[:11] == [1, 2, 1, 3, 8, 9, -1, 0, 10, 2, 0]


def test_numbers_that_are_hard_to_read(db):
    exact = "123456789012345678901234567890"
    report(db, "ODD", f'{{"a": {exact}, "b": 1e40, "c": 1e-50, "d": 0.1000000014901161193847656250001, "e": -0.0, "f": 1{"0" * 300}.5}}')
    report(db, "HUGE", f'{{"a": 1, "b": 1{"0" * 400}}}')
    report(db, "FINE", '{"a": 1}')
    result = portfolios(db)
    assert result["FINE"][3] == "inserted"
    assert result["HUGE"][3] == "failed" and "number 2 is an integer beyond float64: 10000" in result["HUGE"][6]
    assert result["ODD"][3] == "inserted" and result["ODD"][6] == "2 of 384 values are not finite"
    first = stored_portfolio(db, "ODD")
    assert first[0] == pytest.approx(1.2345679e29, rel=1e-7)
    # Just above the middle between two float32, but not as a float64: rounded twice, as the Python system does.
    assert first[1:6] == [float("inf"), 0.0, pytest.approx(0.1, rel=1e-7), 0.0, float("inf")]


@pytest.mark.parametrize(
    "column, json_text, word",
    [("sectors", '["x"]', "exposures_by_sector is of JSON type array"), ("factors", '"text"', "exposures_by_factor is of JSON type string"),
     ("risk", "7", "risk_metrics is of JSON type number"), ("risk", "true", "risk_metrics is of JSON type boolean")],
)
def test_a_malformed_report_fails_alone(db, column, json_text, word):
    report(db, "BAD", **{"risk": '{"a": 1}', column: json_text})
    report(db, "GOOD", '{"a": 1}')
    result = portfolios(db)
    assert result["BAD"][3] == "failed" and result["BAD"][6] == f"{word}, not an object"
    assert result["GOOD"][3] == "inserted"


@pytest.mark.parametrize("empty", ["{}", "[]", "null", "0", "false", '""', None])
def test_what_is_empty_is_an_empty_object(db, empty):
    report(db, "P", '{"a": 1}', empty, empty)
    report(db, "NOTHING", "{}", empty, '{"a": "b"}')
    result = portfolios(db)
    assert result["P"][3:7] == ("inserted", 384, 1, None)
    assert result["NOTHING"][3] == "failed" and result["NOTHING"][6] == "no number in the report"


def test_ten_thousand_keys_in_every_script(db):
    keys = [chr(c) + str(i) for i, c in enumerate(list(range(0x41, 0x5B)) + list(range(0x400, 0x500)) + list(range(0x4E00, 0x4E00 + 9000)) + list(range(0x1F300, 0x1F600)))]
    numbers = {key: float(i % 97) for i, key in enumerate(keys)}
    assert len(numbers) > 10_000
    report(db, "P", json.dumps(numbers, ensure_ascii=False))
    row = portfolios(db)["P"]
    assert row[3:6] == ("inserted", 384, len(numbers)) and row[6] == f"first 384 of {len(numbers)} numbers"
    # Python compares strings by code points, as the published system did.
    assert stored_portfolio(db, "P") == [numbers[key] for key in sorted(numbers)[:384]]


def test_portfolios_named_limited_and_repeated(db):
    for name in ("A", "B", "C"):
        report(db, name, '{"a": 1}')
    report(db, "A", '{"a": 2}', report_id="A2")
    notices = []
    db.add_notice_handler(lambda notice: notices.append(notice.message_primary))
    assert list(portfolios(db, max_entities=2)) == ["A", "B"]
    assert notices == ["stopped at max_entities => 2: there are more portfolios; max_entities => NULL takes all"]
    result = portfolios(db, portfolio_ids=["C", "A", "X", "A"], max_entities=None)
    assert [(name, row[3], row[6]) for name, row in result.items()] == [
        ("A", "replaced", "newest of 2 reports"), ("C", "inserted", None), ("X", "failed", f"no risk report at {DAY}")]
    assert stored_portfolio(db, "A")[0] == 2
    assert {row[3] for row in portfolios(db, on_existing="skip").values()} == {"skipped"}
    with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState):
        portfolios(db, on_existing="append")


def scenario(connection, name, rows, horizon=2, base=DAY):
    connection.execute("INSERT INTO scenario_sets (scenario_set_id, name, category, horizon_days, num_paths, base_date_end)"
                       " VALUES (%s, 'x', 'STRESS', %s, 1, %s)", (name, horizon, base))
    with connection.cursor() as cursor:
        cursor.executemany("INSERT INTO scenario_paths VALUES (%s, %s, %s, %s, '__NONE__', '__NONE__', %s)",
                           [(name, *row) for row in rows])


def test_scenario_panels_are_laid_out_as_published(db):
    rows = [(0, 0, "b", 0.0), (0, 0, "B", 0.0), (0, 1, "b", 0.1), (0, 1, "B", 0.2), (0, 1, "a", 0.3), (0, 2, "B", 0.4), (0, 3, "B", 9.0)]
    rows += [(10, 1, "b", 1.0), (10, 2, "b", 2.0), (2, 1, "b", 5.0)]
    scenario(db, "S_1", rows)
    scenario(db, "SX1", [(0, 1, "b", 7.0), (0, 2, "b", 7.0)])
    result = db.execute("SELECT entity_id, as_of_date::text, status, dim, rows_used, detail FROM backfill_numeric_scenario('S_1')").fetchall()
    assert result == [("S_1:0", DAY, "inserted", 384, 6, None), ("S_1:2", DAY, "failed", None, 0, "paths end at day 1 of 2"),
                      ("S_1:10", DAY, "inserted", 384, 2, None)]
    panel = stored_portfolio(db, "S_1:0")
    assert panel[:7] == pytest.approx([0.2, 0.1, 0.3, 0.4, 0, 0, 0])
    assert stored_portfolio(db, "S_1:10")[:3] == [1, 2, 0]
    assert db.execute("SELECT window_spec FROM numeric_window_embeddings LIMIT 1").fetchone() == ({"window_days": 2, "entity_type": "SCENARIO"},)
    # No leak: "_" is no wildcard here.
    db.execute("SELECT backfill_numeric_scenario('SX1')")
    joint = db.execute("SELECT entity_id, status, used FROM backfill_joint_stab_scenarios('S_1')").fetchall()
    assert joint == [("S_1:0", "inserted", ["scenario"]), ("S_1:10", "inserted", ["scenario"])]
    scope = db.execute("SELECT entity_scope FROM joint_embeddings ORDER BY joint_id DESC LIMIT 1").fetchone()[0]
    assert scope == {"entity_type": "SCENARIO", "scenario_set_id": "S_1", "scenario_id": "10", "source": "scenario", "as_of_date": DAY}
    shown = db.execute("SELECT scenario_id, dim FROM show_joint_stab_fragility(scenario_set_id => 'S_1')").fetchall()
    assert shown == [("0", 384), ("10", 384)]


def test_a_set_without_a_date_is_dated_today_and_one_that_is_missing_named(db):
    scenario(db, "S", [(0, 1, "a", 1.0)], horizon=1, base=None)
    row = db.execute("SELECT as_of_date = CURRENT_DATE, detail FROM backfill_numeric_scenario('S')").fetchone()
    assert row == (True, "the set has no base_date_end: dated today")
    assert db.execute("SELECT as_of_date = CURRENT_DATE FROM backfill_joint_stab_scenarios('S')").fetchone() == (True,)
    for call in ("backfill_numeric_scenario('T')", "backfill_joint_stab_scenarios('T')"):
        with pytest.raises(psycopg.errors.UndefinedObject, match='scenario set "T" does not exist') as error:
            db.execute(f"SELECT {call}")
        assert error.value.diag.message_hint == 'Scenario sets: "S".'
    scenario(db, "Z", [], horizon=0)
    with pytest.raises(psycopg.errors.InvalidParameterValue, match="horizon_days must be between 1"):
        db.execute("SELECT backfill_numeric_scenario('Z')")


@pytest.fixture
def universe(db):
    """Issuers I0 to I7: bit 0 of the number says profile, bit 1 regime, bit 2 text."""
    db.execute("INSERT INTO markets VALUES ('M', 'Market', 'EU', 'UTC')")
    for number in range(8):
        issuer = f"I{number}"
        db.execute("INSERT INTO issuers (issuer_id, issuer_type, name) VALUES (%s, 'COMPANY', 'x')", (issuer,))
        for name in (f"{issuer}.b", f"{issuer}.B"):
            db.execute("INSERT INTO instruments (instrument_id, issuer_id, market_id, asset_class, symbol, currency)"
                       " VALUES (%s, %s, 'M', 'EQUITY', 'x', 'EUR')", (name, issuer))
        db.execute("INSERT INTO profiles (issuer_id, as_of_date, structured, risk_flags) VALUES (%s, %s, '{}', '{}')", (issuer, DAY))
        for bit, model in ((1, "num-profile-core-v1"), (2, "num-regime-core-v1")):
            if number & bit:
                numeric(db, "INSTRUMENT", f"{issuer}.B", model, bit, 0)
        if number & 4:
            db.execute("INSERT INTO text_embeddings (source_type, source_id, model_id, vector) VALUES ('PROFILE', %s, 'text-profile-v1', %s)",
                       (f"{issuer}:{DAY}", vec(db, 0, 1)))
    return db


def test_missing_branches_in_every_combination(universe):
    rows = {row[0]: row for row in universe.execute("SELECT * FROM backfill_joint_profiles(%s)", (DAY,))}
    missing = {
        "profile": f"no numeric embedding at {DAY} for num-profile-core-v1",
        "regime": f"no numeric embedding at {DAY} for num-regime-core-v1",
        "text": f"no text embedding at {DAY} for text-profile-v1",
    }
    stored = dict(universe.execute("SELECT entity_scope ->> 'issuer_id', vector FROM joint_embeddings"))
    expected = {"I5": [0.5, 0.5], "I6": [1.0, 0.5], "I7": [0.75, 0.5]}
    assert {name: values(universe, vector) for name, vector in stored.items()} == expected
    for number in range(8):
        _, _, model, status, dim, instrument, used, absent, detail = rows[f"I{number}"]
        names = [name for bit, name in enumerate(missing) if number & (1 << bit)]
        assert (model, instrument) == ("joint-profile-core-v1", f"I{number}.B")
        assert absent == [name for name in missing if name not in names]
        assert detail == ("; ".join(missing[name] for name in absent) or None)
        if f"I{number}" in expected:
            assert (status, dim, used) == ("inserted", 2, names)
        else:
            assert (status, dim, used) == ("failed", None, [])
    scope = universe.execute("SELECT entity_scope, branches FROM joint_embeddings WHERE entity_scope ->> 'issuer_id' = 'I5'").fetchone()
    assert scope[0] == {"entity_type": "ISSUER", "issuer_id": "I5", "instrument_id": "I5.B", "region": "EU",
                        "source": "profile+regime+text", "as_of_date": DAY}
    assert scope[1] == {"profile": "num-profile-core-v1", "text": "text-profile-v1"}


def test_a_branch_can_be_switched_off_or_read_from_another_model(universe):
    rows = universe.execute("SELECT entity_id, used, missing FROM backfill_joint_profiles(%s, behaviour_model_id => '') WHERE status = 'inserted'", (DAY,))
    assert rows.fetchall() == [("I5", ["profile", "text"], []), ("I7", ["profile", "text"], [])]
    cases = [
        ("behaviour_model_id => 'num-regime-cor-v1'", "42704", 'model "num-regime-cor-v1" does not exist'),
        ("behaviour_model_id => 'joint-profile-core-v1'", "42809", "is a joint model, not a numeric model"),
        ("text_model_id => ''", "22023", "text: is a required branch"),
        ("joint_model_id => 'num-regime-core-v1'", "42809", "is a numeric model, not a joint model"),
        ("joint_model_id => 'joint-portfolio-core-v1'", "42704", "has no space of model"),
        ("joint_model_id => 'nothing-like-it'", "42704", "does not exist"),
    ]
    for argument, state, words in cases:
        with pytest.raises(psycopg.Error, match=words) as error:
            universe.execute(f"SELECT backfill_joint_profiles('{DAY}', {argument})")
        assert error.value.sqlstate == state, argument


def test_entities_named_limited_and_without_rows(universe):
    rows = universe.execute("SELECT entity_id, status, detail FROM backfill_joint_profiles(%s, issuer_ids => ARRAY['I7', 'NOBODY', 'I7'])", (DAY,)).fetchall()
    assert rows == [("I7", "inserted", None), ("NOBODY", "failed", f"no profile at {DAY}")]
    universe.execute("DELETE FROM instruments WHERE issuer_id = 'I6'")
    row = universe.execute("SELECT status, instrument_id, detail FROM backfill_joint_profiles(%s, issuer_ids => ARRAY['I6'])", (DAY,)).fetchone()
    assert row == ("failed", None, "; ".join(["no numeric embedding: the issuer has no instrument"] * 2))
    notices = []
    universe.add_notice_handler(lambda notice: notices.append(notice.message_primary))
    rows = universe.execute("SELECT entity_id FROM backfill_joint_profiles(%s, max_entities => 2)", (DAY,)).fetchall()
    assert rows == [("I0",), ("I1",)]
    assert notices == ["stopped at max_entities => 2: there are more entities; max_entities => NULL takes all"]


def test_a_range_does_every_date(universe):
    later = "2025-02-28"
    universe.execute("INSERT INTO profiles (issuer_id, as_of_date, structured, risk_flags) VALUES ('I7', %s, '{}', '{}')", (later,))
    numeric(universe, "INSTRUMENT", "I7.B", "num-regime-core-v1", 5, 5, day=later)
    universe.execute("INSERT INTO text_embeddings (source_type, source_id, model_id, vector) VALUES ('PROFILE', %s, 'text-profile-v1', %s)",
                     (f"I7:{later}", vec(universe, 1, 1)))
    rows = universe.execute("SELECT entity_id, as_of_date::text, status FROM backfill_joint_profiles(start_date => '2025-01-01', end_date => '2025-12-31')"
                            " WHERE status <> 'failed'").fetchall()
    assert rows == [("I5", DAY, "inserted"), ("I6", DAY, "inserted"), ("I7", DAY, "inserted"), ("I7", later, "inserted")]


def test_vectors_of_different_dimension_fail_alone(universe):
    universe.execute("UPDATE text_embeddings SET vector = vector_from_array(ARRAY[1.0, 2.0, 3.0]) WHERE source_id LIKE 'I6:%'")
    universe.execute("UPDATE text_embeddings SET vector = '\\x0102' WHERE source_id LIKE 'I5:%'")
    rows = {row[0]: row[1:] for row in universe.execute("SELECT entity_id, status, detail FROM backfill_joint_profiles(%s)", (DAY,))}
    assert rows["I6"][0] == "failed" and rows["I6"][1].startswith("vectors have different dimensions: 2 and 3 (regime has 8 bytes, text has 12 bytes)")
    assert rows["I5"][0] == "failed" and "vector of 2 bytes" in rows["I5"][1]
    assert rows["I7"] == ("inserted", None)


def test_states_have_no_issuer_called_none(universe):
    universe.execute("INSERT INTO instruments (instrument_id, issuer_id, market_id, asset_class, symbol, currency) VALUES ('LONE', NULL, 'M', 'EQUITY', 'x', 'EUR')")
    for name in ("LONE", "I7.B", "UNKNOWN"):
        numeric(universe, "INSTRUMENT", name, "num-stab-core-v1", 4, 4)
    universe.execute("SELECT backfill_joint_profiles(%s)", (DAY,))
    rows = universe.execute("SELECT entity_id, status, used, detail FROM backfill_joint_stab_fragility(%s, instrument_ids => ARRAY['LONE', 'I7.B', 'UNKNOWN', 'I7.b'])", (DAY,)).fetchall()
    nothing = "no joint embedding: the instrument has no issuer"
    assert rows == [
        ("I7.B", "inserted", ["stab", "profile"], None),
        ("I7.b", "failed", [], f"no numeric embedding at {DAY} for num-stab-core-v1"),
        ("LONE", "inserted", ["stab"], nothing),
        ("UNKNOWN", "inserted", ["stab"], nothing),
    ]
    scopes = {row[0]["entity_id"]: row[0] for row in universe.execute("SELECT entity_scope FROM joint_embeddings WHERE joint_type = 'STAB_FRAGILITY_V0'")}
    assert scopes["LONE"] == {"entity_type": "INSTRUMENT", "entity_id": "LONE", "source": "stab", "as_of_date": DAY}
    assert scopes["I7.B"] == {"entity_type": "INSTRUMENT", "entity_id": "I7.B", "issuer_id": "I7", "source": "stab+profile", "as_of_date": DAY}
    stored = universe.execute("SELECT vector FROM joint_embeddings WHERE entity_scope ->> 'entity_id' = 'I7.B'").fetchone()[0]
    assert values(universe, stored) == [(4 + 0.75) / 2, (4 + 0.5) / 2]


def test_a_table_without_a_key_gets_no_duplicates_either(universe):
    universe.execute("DROP INDEX joint_embeddings_natural_key")
    for status in ("inserted", "replaced", "replaced"):
        rows = universe.execute("SELECT DISTINCT status FROM backfill_joint_profiles(%s) WHERE status <> 'failed'", (DAY,)).fetchall()
        assert rows == [(status,)]
        assert universe.execute("SELECT count(*) FROM joint_embeddings").fetchone() == (3,)
    universe.execute("SELECT backfill_joint_profiles(%s, on_existing => 'append')", (DAY,))
    assert universe.execute("SELECT count(*) FROM joint_embeddings").fetchone() == (6,)
    skipped = universe.execute("SELECT status, detail FROM backfill_joint_profiles(%s, on_existing => 'skip', issuer_ids => ARRAY['I7'])", (DAY,)).fetchall()
    assert skipped == [("skipped", "row exists")]


def test_statements_do_not_grow_with_the_entities(universe):
    logged = []
    universe.add_notice_handler(lambda notice: logged.append(notice.message_primary))
    universe.execute("LOAD 'auto_explain'; SET auto_explain.log_min_duration = 0; SET auto_explain.log_nested_statements = on; SET client_min_messages = log")
    counts = []
    for issuers in (["I7"], [f"I{number}" for number in range(8)]):
        logged.clear()
        universe.execute("SELECT * FROM backfill_joint_profiles(%s, issuer_ids => %s)", (DAY, issuers)).fetchall()
        counts.append(len(logged))
    assert counts[0] == counts[1] < 30


def test_the_statements_are_not_compiled_just_in_time(universe):
    """That took longer than the statement itself, for a few thousand keys."""
    universe.execute("SET jit = on; SET jit_above_cost = 0")
    for words, node in ("Tuples Inserted", "ModifyTable"), ("k(entity, day, read_day", "Nested Loop"):
        told = explained(universe, f"SELECT * FROM backfill_joint_profiles('{DAY}')", words)
        assert told["Plan"]["Node Type"] == node and "JIT" not in told
    assert universe.execute("SHOW jit").fetchone() == ("on",)


def test_arguments_that_make_no_sense_are_refused(db):
    cases = [
        ("backfill_joint('NO_SUCH', '2025-01-31')", "42704"),
        ("backfill_joint(NULL, '2025-01-31')", "22004"),
        ("backfill_joint('PROFILE_CORE_V0')", "22023"),
        ("backfill_joint('PROFILE_CORE_V0', '2025-01-31', '2025-01-01', '2025-01-31')", "22023"),
        ("backfill_joint('PROFILE_CORE_V0', start_date => '2025-01-31')", "22023"),
        ("backfill_joint('PROFILE_CORE_V0', start_date => '2025-01-31', end_date => '2025-01-01')", "22023"),
        ("backfill_joint('PROFILE_CORE_V0', '-infinity')", "22008"),
        ("backfill_joint('PROFILE_CORE_V0', '2025-01-31', market_id => 'M')", "22023"),
        ("backfill_joint('PROFILE_CORE_V0', '2025-01-31', scenario_set_id => 'S')", "22023"),
        ("backfill_joint('PROFILE_CORE_V0', '2025-01-31', entity_type => 'BOND')", "22023"),
        ("backfill_joint('PROFILE_CORE_V0', '2025-01-31', branch_models => '[]')", "22023"),
        ("backfill_joint('PROFILE_CORE_V0', '2025-01-31', branch_models => '{\"txt\": \"x\"}')", "22023"),
        ("backfill_joint('STAB_FRAGILITY_V0', '2025-01-31')", "22023"),
        ("backfill_joint('STAB_FRAGILITY_V0', '2025-01-31', entity_type => 'INSTRUMENT')", "22023"),
        ("backfill_joint_profiles('2025-01-31', max_entities => 0)", "22023"),
        ("backfill_joint_profiles('2025-01-31', max_entities => -5)", "22023"),
        ("backfill_joint_profiles('2025-01-31', on_existing => 'merge')", "22023"),
        ("backfill_joint_profiles('2025-01-31', issuer_ids => ARRAY['a', NULL])", "22004"),
        ("backfill_joint_profiles('2025-01-31', issuer_ids => ARRAY[['a']])", "2202E"),
        ("backfill_joint_profiles('2025-01-31', target => 'profiles')", "42703"),
        ("backfill_joint_profiles('2025-01-31', text_embeddings => NULL)", "42P01"),
        ("backfill_joint_stab_fragility('2025-01-31')", "22023"),
        ("backfill_joint_stab_fragility('2025-01-31', 'NO_MARKET')", "22023"),
        ("backfill_numeric_portfolio(NULL)", "22004"),
        ("backfill_numeric_portfolio('2025-01-31', max_entities => 0)", "22023"),
        ("backfill_numeric_portfolio('2025-01-31', model_id => 'none')", "42704"),
        ("backfill_numeric_portfolio('2025-01-31', reports => 'profiles')", "42703"),
        ("backfill_numeric_scenario(NULL)", "22004"),
        ("show_joint('NO_SUCH')", "42704"),
        ("show_joint_profiles('2025-01-31', start_date => '2025-01-31')", "22023"),
    ]
    for call, state in cases:
        with pytest.raises(psycopg.Error) as error:
            db.execute(f"SELECT * FROM {call}")
        assert error.value.sqlstate == state, (call, error.value)


BRANCHES = [
    {"name": "stab", "table": "numeric_window_embeddings", "entity_type": "INSTRUMENT", "model_id": "num-stab-core-v1", "weight": 3, "required": True},
    {"name": "profile", "table": "joint_embeddings", "joint_type": "PROFILE_CORE_V0", "entity_type": "ISSUER", "model_id": "joint-profile-core-v1"},
]
REGISTER = "SELECT register_joint_space(%s, %s, %s, %s)"


def test_a_space_of_ones_own_is_a_row(universe):
    universe.execute(REGISTER, ("MINE_V1", "mine-v1", "INSTRUMENT", Jsonb(BRANCHES)))
    numeric(universe, "INSTRUMENT", "I7.B", "num-stab-core-v1", 4, 4)
    universe.execute("SELECT backfill_joint_profiles(%s)", (DAY,))
    rows = universe.execute("SELECT entity_id, status, used FROM backfill_joint('MINE_V1', %s)", (DAY,)).fetchall()
    assert rows == [("I7.B", "inserted", ["stab", "profile"])]
    stored, scope = universe.execute("SELECT vector, entity_scope FROM joint_embeddings WHERE joint_type = 'MINE_V1'").fetchone()
    assert values(universe, stored) == [(3 * 4 + 0.75) / 4, (3 * 4 + 0.5) / 4]
    assert scope == {"entity_type": "INSTRUMENT", "entity_id": "I7.B", "issuer_id": "I7", "source": "stab+profile", "as_of_date": DAY}
    assert universe.execute("SELECT modality FROM embed_models WHERE model_id = 'mine-v1'").fetchone() == ("joint",)
    with pytest.raises(psycopg.errors.DuplicateObject):
        universe.execute(REGISTER, ("MINE_V1", "mine-v1", "INSTRUMENT", Jsonb(BRANCHES)))
    with pytest.raises(psycopg.errors.DuplicateObject):
        universe.execute(REGISTER, ("OTHER_V1", "mine-v1", "INSTRUMENT", Jsonb(BRANCHES)))
    universe.execute("SELECT drop_embedding_model('mine-v1')")
    assert universe.execute("SELECT count(*) FROM embed_spaces WHERE model_id = 'mine-v1'").fetchone() == (0,)


def test_spaces_that_cannot_be_are_refused(db):
    def branch(**changes):
        return Jsonb([{**BRANCHES[0], **changes}, BRANCHES[1]])

    joint = {"table": "joint_embeddings", "model_id": "a-v1", "joint_type": "A", "entity_type": "INSTRUMENT"}
    cases = [
        ("A", "a-v1", "INSTRUMENT", branch(model_id="no-model"), "42704", "does not exist"),
        ("A", "a-v1", "INSTRUMENT", branch(model_id="joint-profile-core-v1"), "42809", "not a numeric model"),
        ("A", "a-v1", "INSTRUMENT", branch(table="no_table"), "22023", "unknown variant `no_table`"),
        ("A", "a-v1", "INSTRUMENT", branch(weight=-1), "22023", "weight"),
        ("A", "a-v1", "INSTRUMENT", branch(weight="NaN"), "22023", r"branches\[0\]: invalid type: string \"NaN\", expected a number"),
        ("A", "a-v1", "INSTRUMENT", branch(wieght=1), "22023", r"branches\[0\]: unknown field `wieght`, expected one of `name`, `weight`"),
        ("A", "a-v1", "INSTRUMENT", Jsonb({}), "22023", "branches: must be a JSON array"),
        ("A", "a-v1", "INSTRUMENT", Jsonb([7]), "22023", r"branches\[0\]: must be a JSON object"),
        ("A", "a-v1", "INSTRUMENT", Jsonb([]), "22023", "at least one branch"),
        ("a", "a-v1", "INSTRUMENT", branch(), "22023", "joint_type"),
        ("A", "a v1", "INSTRUMENT", branch(), "42602", "invalid model id"),
        ("A", "a-v1", "BOND", branch(), "22023", "entity_type"),
        ("A", "a-v1", "PORTFOLIO", branch(), "22023", "cannot look up"),
        ("A", "a-v1", "INSTRUMENT", branch(**joint), "22023", "circular"),
        ("A", "num-stab-core-v1", "INSTRUMENT", branch(), "42809", "not a joint model"),
        ("A", "a-v1", "INSTRUMENT", branch(**{**joint, "model_id": "joint-profile-core-v1"}), "42704", "has no space of model"),
    ]
    for joint_type, model, kind, branches, state, words in cases:
        with pytest.raises(psycopg.Error, match=words) as error:
            db.execute(REGISTER, (joint_type, model, kind, branches))
        assert error.value.sqlstate == state, (words, error.value)
        assert error.value.diag.message_hint or error.value.diag.message_detail, words
    for arguments, words in [("fusion => 'sum'", "fusion"), ("fusion => 'identity'", "identity"), ("fusion => 'blend'", "blend"), ("entities => 'profiles'", "entities"),
                             ("scope_keys => ARRAY['issuer_id']", "must have"), ("scope_keys => ARRAY['entity_id', 'colour']", "colour"),
                             ("source => '\"other\"'", "source"), ("source => '7'", "source")]:
        with pytest.raises(psycopg.errors.InvalidParameterValue, match=words):
            db.execute(f"SELECT register_joint_space('A', 'a-v1', 'INSTRUMENT', %s, {arguments})", (Jsonb(BRANCHES),))


def test_longer_circles_are_refused(db):
    joint = {"name": "x", "table": "joint_embeddings", "entity_type": "INSTRUMENT", "required": True}
    db.execute(REGISTER, ("A", "a-v1", "INSTRUMENT", Jsonb(BRANCHES)))
    db.execute(REGISTER, ("B", "b-v1", "INSTRUMENT", Jsonb([{**joint, "joint_type": "A", "model_id": "a-v1"}])))
    # A space of another kind of entity under the first model may not lean on the second's chain to itself.
    with pytest.raises(psycopg.errors.InvalidParameterValue, match=r"circular: A \(a-v1, ISSUER\) -> A \(a-v1, ISSUER\)"):
        db.execute(REGISTER, ("A", "a-v1", "ISSUER", Jsonb([{**joint, "joint_type": "A", "model_id": "a-v1", "entity_type": "ISSUER"}])))
    db.execute("SELECT drop_embedding_model('a-v1')")
    with pytest.raises(psycopg.errors.InvalidParameterValue, match="circular: A .* -> B .* -> A"):
        db.execute(REGISTER, ("A", "a-v1", "INSTRUMENT", Jsonb([{**joint, "joint_type": "B", "model_id": "b-v1"}])))


def test_spaces_never_change_and_published_ones_stay(db):
    with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState):
        db.execute("UPDATE embed_spaces SET fusion = 'average'")
    with pytest.raises(psycopg.errors.DependentObjectsStillExist):
        db.execute("DELETE FROM embed_spaces")
    with pytest.raises(psycopg.errors.DependentObjectsStillExist):
        db.execute("SELECT drop_embedding_model('joint-profile-core-v1')")
    db.execute("CREATE ROLE joint_reader")
    try:
        db.execute("SET ROLE joint_reader")
        assert db.execute("SELECT count(*) FROM embed_spaces").fetchone() == (7,)
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            db.execute(REGISTER, ("A", "a-v1", "INSTRUMENT", Jsonb(BRANCHES)))
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            db.execute("SELECT backfill_joint_portfolios(%s)", (DAY,))
    finally:
        db.execute("RESET ROLE")
        db.execute("DROP ROLE joint_reader")
