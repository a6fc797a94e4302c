"""Byte for byte what the Python system wrote: portfolios, joint profiles, joint portfolios, stability states."""

import json

from jointdata import load_vectors
from realdata import read_csv

DAY = "2018-12-31"


def recorded(shared, table, wanted):
    return [row for row in read_csv(shared / "oracle" / f"{table}.csv.gz") if wanted(row)]


def stored(connection, joint_type):
    rows = connection.execute(
        "SELECT entity_scope, model_id, as_of_date::text, vector FROM joint_embeddings WHERE joint_type = %s", (joint_type,)
    )
    return {json.dumps(scope, sort_keys=True): (model, day, bytes(vector)) for scope, model, day, vector in rows}


def expected(shared, joint_type, **additions):
    rows = recorded(shared, "joint_embeddings", lambda row: row["joint_type"] == joint_type)
    return {
        json.dumps({**json.loads(row["entity_scope"]), **additions}, sort_keys=True): (
            row["model_id"], row["as_of_date"], bytes.fromhex(row["vector_hex"]))
        for row in rows
    }


def test_portfolio_vectors_are_those_of_the_python_system(sp500, shared):
    rows = recorded(shared, "numeric_window_embeddings", lambda row: row["entity_type"] == "PORTFOLIO")
    result = {row[0]: row for row in sp500.execute("SELECT * FROM backfill_numeric_portfolio(%s)", (DAY,))}
    written = dict(sp500.execute("SELECT entity_id, vector FROM numeric_window_embeddings WHERE entity_type = 'PORTFOLIO'"
                                 " AND window_spec = '{\"window_days\": 1, \"entity_type\": \"PORTFOLIO\"}' AND as_of_date = %s", (DAY,)))
    assert written == {row["entity_id"]: bytes.fromhex(row["vector_hex"]) for row in rows}
    assert {row[3] for row in result.values()} <= {"inserted", "failed"}
    assert {name for name, row in result.items() if row[3] == "inserted"} == set(written)
    reports = sp500.execute("SELECT count(DISTINCT portfolio_id) FROM portfolio_risk_reports WHERE as_of_date = %s", (DAY,)).fetchone()
    assert (len(result),) == reports


def test_the_whole_workflow_writes_what_the_python_system_wrote(sp500, shared):
    oracle = shared / "oracle"
    load_vectors(sp500, oracle, "text_embeddings")
    for model, window in (("num-profile-core-v1", 126), ("num-regime-core-v1", 63), ("num-stab-core-v1", 63)):
        sp500.execute("SELECT count(*) FROM backfill_numeric(%s, %s, 'US_EQ', model_id => %s)", (DAY, window, model))
    sp500.execute("SELECT count(*) FROM backfill_numeric_portfolio(%s)", (DAY,))

    profiles = sp500.execute("SELECT * FROM backfill_joint_profiles(%s)", (DAY,)).fetchall()
    assert len(profiles) == sp500.execute("SELECT count(*) FROM profiles").fetchone()[0] == 260
    # The region is an addition of ours; without it the scope is the recorded one.
    assert stored(sp500, "PROFILE_CORE_V0") == expected(shared, "PROFILE_CORE_V0", region="US")
    assert [row[3] for row in profiles].count("inserted") == 257
    for row in profiles:
        if row[3] == "inserted":
            assert row[6] == ["profile", "regime", "text"] and row[7] == [] and row[4] == 384 and row[5]
        else:
            assert row[3] == "failed" and row[4] is None and row[7] and f"at {DAY} for" in row[8]
    assert [row[0] for row in profiles] == sorted(row[0] for row in profiles)

    sp500.execute("SELECT count(*) FROM backfill_joint_portfolios(%s)", (DAY,))
    assert stored(sp500, "PORTFOLIO_CORE_V0") == expected(shared, "PORTFOLIO_CORE_V0")
    states = sp500.execute("SELECT * FROM backfill_joint_stab_fragility(%s, 'US_EQ', region => 'US')", (DAY,)).fetchall()
    assert stored(sp500, "STAB_FRAGILITY_V0") == expected(shared, "STAB_FRAGILITY_V0")
    assert [row[3] for row in states].count("inserted") == 324

    # The second run leaves one row per key, and the same bytes.
    before = {kind: stored(sp500, kind) for kind in ("PROFILE_CORE_V0", "PORTFOLIO_CORE_V0", "STAB_FRAGILITY_V0")}
    again = sp500.execute("SELECT status, count(*) FROM backfill_joint_profiles(%s) GROUP BY 1 ORDER BY 1", (DAY,)).fetchall()
    assert again == [("failed", 3), ("replaced", 257)]
    sp500.execute("SELECT count(*) FROM backfill_joint_portfolios(%s)", (DAY,))
    sp500.execute("SELECT count(*) FROM backfill_joint_stab_fragility(%s, 'US_EQ', region => 'US')", (DAY,))
    assert before == {kind: stored(sp500, kind) for kind in before}
    assert sp500.execute("SELECT count(*) FROM joint_embeddings").fetchone() == (257 + 39 + 324,)

    # The region of the scope is the one that searches filter by.
    found = sp500.execute("SELECT count(*), min(region) FROM find_similar_profiles('ISS_KO', %s, region => 'US', top_k => 500)", (DAY,))
    assert found.fetchone() == (256, "US")
    shown = sp500.execute("SELECT issuer_id, dim, l2_norm FROM show_joint_profiles(%s, issuer_id => 'ISS_KO')", (DAY,)).fetchall()
    norm = sp500.execute("SELECT l2_norm(vector) FROM joint_embeddings WHERE joint_type = 'PROFILE_CORE_V0' AND entity_scope ->> 'issuer_id' = 'ISS_KO'")
    assert shown == [("ISS_KO", 384, norm.fetchone()[0])]
