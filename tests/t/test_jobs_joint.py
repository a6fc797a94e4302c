"""The joint backfill in committed batches: what it writes, leaves, resumes, splits and refuses."""

import psycopg
import pytest
from test_jobs import Running, notices_of, progress, until

DATES = "start_date => '2025-01-01', end_date => '2025-01-31'"
CALL = f"CALL backfill_joint_range('STAB_FRAGILITY_V0', {DATES}, entity_type => 'INSTRUMENT', market_id => 'M', model_id => 'joint-stab-fragility-v1', batch_entities => 2)"
ONE = f"SELECT count(*) FROM backfill_joint('STAB_FRAGILITY_V0', {DATES}, entity_type => 'INSTRUMENT', market_id => 'M', model_id => 'joint-stab-fragility-v1')"
INSTRUMENTS, DAYS = 20, 10
TOTAL = INSTRUMENTS * DAYS

# Instrument 7 has a stability vector on the last day only, number 8 has none in the middle of the month.
FILL = f"""
INSERT INTO markets (market_id, name, region, timezone) VALUES ('M', 'Test', 'US', 'UTC');
INSERT INTO instruments (instrument_id, market_id, asset_class, symbol, currency)
SELECT format('I%s', lpad(i::text, 2, '0')), 'M', 'EQUITY', 'I' || i, 'USD' FROM generate_series(1, {INSTRUMENTS}) i;
INSERT INTO numeric_window_embeddings (entity_type, entity_id, window_spec, as_of_date, model_id, vector)
SELECT 'INSTRUMENT', format('I%s', lpad(i::text, 2, '0')), '{{"window_days": 63, "entity_type": "INSTRUMENT"}}', date '2025-01-01' + d,
       'num-stab-core-v1', pad_to_dim(ARRAY[i, d, i * d]::float8[], 384)
  FROM generate_series(1, {INSTRUMENTS}) i, generate_series(1, {DAYS}) d
 WHERE NOT (i = 7 AND d < {DAYS}) AND NOT (i = 8 AND d BETWEEN 4 AND 6);
"""
FAILED = 9 + 3
SLOW = """
CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(0.05); RETURN NULL; END';
CREATE TRIGGER slow AFTER INSERT ON joint_embeddings FOR EACH STATEMENT EXECUTE FUNCTION slow();
"""
KEY = "as_of_date || (entity_scope ->> 'entity_id')"
DIGEST = f"""SELECT count(*), count(DISTINCT {KEY}), md5(string_agg({KEY} || encode(vector, 'hex') || input_digest || entity_scope, '|' ORDER BY {KEY} COLLATE "C"))
               FROM joint_embeddings"""


@pytest.fixture
def branches(db):
    db.execute(FILL)
    return db


def digest(session):
    return session.execute(DIGEST).fetchone()


def whole(session):
    """What one uninterrupted statement writes; the table is empty afterwards."""
    session.execute(ONE)
    found = digest(session)
    session.execute("TRUNCATE joint_embeddings")
    return found


def test_a_joint_job_writes_what_one_statement_writes(branches):
    expected = whole(branches)
    assert expected[:2] == (TOTAL - FAILED, TOTAL - FAILED)
    branches.execute(CALL)
    assert digest(branches) == expected
    done = progress(branches)
    assert (done["state"], done["total"], done["done"], done["inserted"], done["failed"]) == ("done", TOTAL, TOTAL, TOTAL - FAILED, FAILED)
    errors = branches.execute("SELECT entity_id, first_date::text, last_date::text, dates, detail FROM embed_job_errors ORDER BY 1").fetchall()
    assert [error[:4] for error in errors] == [("I07", "2025-01-02", "2025-01-10", 9), ("I08", "2025-01-05", "2025-01-07", 3)]
    assert errors[1][4].startswith("no numeric embedding at 2025-01-07 for num-stab-core-v1; ")


def test_a_changed_branch_is_found_and_nothing_else_is_written(branches):
    branches.execute(CALL)
    branches.execute("UPDATE numeric_window_embeddings SET vector = pad_to_dim(ARRAY[9.0], 384) WHERE entity_id = 'I11' AND as_of_date = '2025-01-05'")
    # A branch that was missing when the vector was made.
    branches.execute("INSERT INTO issuers (issuer_id, issuer_type, name) VALUES ('ISS', 'COMPANY', 'x'); UPDATE instruments SET issuer_id = 'ISS' WHERE instrument_id = 'I12'")
    branches.execute("""INSERT INTO joint_embeddings (joint_type, as_of_date, entity_scope, model_id, vector)
        VALUES ('PROFILE_CORE_V0', '2025-01-06', '{"entity_type": "ISSUER", "issuer_id": "ISS"}', 'joint-profile-core-v1', pad_to_dim(ARRAY[5.0], 384))""")
    # A vector that was damaged.
    branches.execute(f"UPDATE joint_embeddings SET vector = '\\x00000000' WHERE {KEY} = '2025-01-08I13'")
    branches.execute(f"DELETE FROM joint_embeddings WHERE {KEY} = '2025-01-09I14'")
    rows = set(branches.execute(f"SELECT ctid, {KEY} FROM joint_embeddings WHERE joint_type = 'STAB_FRAGILITY_V0'").fetchall())
    branches.execute(CALL)
    done = progress(branches)
    assert (done["inserted"], done["replaced"], done["skipped"]) == (1, 3, TOTAL - FAILED - 4)
    moved = rows ^ set(branches.execute(f"SELECT ctid, {KEY} FROM joint_embeddings WHERE joint_type = 'STAB_FRAGILITY_V0'").fetchall())
    assert {key for _, key in moved} == {"2025-01-05I11", "2025-01-06I12", "2025-01-08I13", "2025-01-09I14"}
    # And the function knows it, too.
    update = ONE.replace("count(*)", "status, split_part(detail, ';', 1), count(*)").replace("-v1')", "-v1', on_existing => 'update')")
    assert branches.execute(f"{update} GROUP BY 1, 2 ORDER BY 3 DESC LIMIT 1").fetchone() == ("skipped", "up to date", TOTAL - FAILED)


def test_cancel_keeps_what_is_committed_and_the_next_call_resumes(branches, connect):
    expected = whole(branches)
    branches.execute(SLOW)
    session = connect()
    run = Running(session, CALL)
    until(lambda: digest(branches)[0] > 0, "a first batch")
    session.cancel()
    assert run.end().sqlstate == "57014"
    stopped = progress(branches)
    assert 0 < stopped["done"] < stopped["total"]
    assert digest(branches)[0] == stopped["inserted"]
    branches.execute("DROP TRIGGER slow ON joint_embeddings")
    assert notices_of(connect(), CALL)[0].startswith("job 1 resumes after I")
    assert digest(branches) == expected
    done = progress(branches)
    assert (done["state"], done["runs"], done["done"], done["replaced"], done["skipped"], done["failed"]) == ("done", 2, TOTAL, 0, 0, FAILED)


def test_a_split_over_two_connections_writes_the_same_without_duplicates(branches, connect):
    expected = whole(branches)
    branches.execute("DROP INDEX joint_embeddings_natural_key")
    calls = [CALL.replace("batch_entities", f"partition => {n}, partitions => 2, batch_entities") for n in (1, 2)]
    runs = [Running(connect(), call) for call in calls]
    assert [run.end() for run in runs] == [None, None]
    assert digest(branches) == expected
    assert branches.execute("SELECT sum(total), sum(inserted), sum(replaced) FROM embed_job_progress").fetchone() == (TOTAL, TOTAL - FAILED, 0)
    parts = branches.execute("SELECT embed_partition(instrument_id, 2), count(*) FROM instruments GROUP BY 1 ORDER BY 1").fetchall()
    assert branches.execute("SELECT entities FROM embed_jobs ORDER BY (arguments->>'partition')::int").fetchall() == [(n,) for _, n in parts]


def test_stale_rows_without_a_unique_key_or_a_digest(branches):
    branches.execute("DROP INDEX joint_embeddings_natural_key")
    branches.execute(CALL)
    expected = digest(branches)
    branches.execute("""INSERT INTO joint_embeddings (joint_type, as_of_date, entity_scope, model_id, vector, input_digest)
        SELECT joint_type, as_of_date, entity_scope, model_id, vector, input_digest FROM joint_embeddings WHERE entity_scope ->> 'entity_id' = 'I03'""")
    branches.execute("UPDATE joint_embeddings SET input_digest = NULL WHERE entity_scope ->> 'entity_id' = 'I05' AND as_of_date = '2025-01-03'")
    branches.execute(CALL)
    assert digest(branches) == expected
    assert (progress(branches)["replaced"], progress(branches)["inserted"]) == (DAYS + 1, 0)
    branches.execute("ALTER TABLE joint_embeddings DROP COLUMN input_digest")
    with pytest.raises(psycopg.errors.UndefinedColumn, match="cannot tell stale rows"):
        branches.execute(CALL)
    branches.execute(CALL.replace("batch_entities", "on_existing => 'skip', batch_entities"))
    assert progress(branches)["skipped"] == expected[0]


def test_the_second_runner_is_told_who_runs(branches, connect):
    branches.execute(SLOW)
    session = connect()
    run = Running(session, CALL)
    until(lambda: digest(branches)[0] > 0, "a first batch")
    with pytest.raises(psycopg.errors.LockNotAvailable) as refused:
        branches.execute(CALL)
    assert refused.value.diag.message_detail.startswith(f"Process {session.info.backend_pid} of user postgres runs it since 20")
    assert run.end() is None


def test_spaces_of_issuers_and_of_portfolios(branches):
    """Entities that come from profiles or from a branch's own table; those named that are not there."""
    branches.execute("""INSERT INTO numeric_window_embeddings (entity_type, entity_id, window_spec, as_of_date, model_id, vector)
        SELECT 'PORTFOLIO', 'PF_' || p, '{"window_days": 1}', date '2025-01-01' + d, 'num-portfolio-core-v1', pad_to_dim(ARRAY[p, d]::float8[], 384)
          FROM generate_series(1, 3) p, generate_series(1, 2 + p) d""")
    portfolios = f"CALL backfill_joint_range('PORTFOLIO_CORE_V0', {DATES}, model_id => 'joint-portfolio-core-v1'%s)"
    branches.execute(portfolios % ", entity_ids => ARRAY['PF_2', 'PF_NONE', 'PF_1']")
    done = progress(branches)
    assert (done["total"], done["done"], done["inserted"], done["failed"]) == (3 + 4 + 1, 8, 7, 1)
    assert branches.execute("SELECT entity_id, detail FROM embed_job_errors").fetchall() == [("PF_NONE", "no embedding in 2025-01-01..2025-01-31")]
    branches.execute(portfolios % ", max_entities => 2")
    assert (progress(branches)["total"], progress(branches)["skipped"]) == (7, 7)
    branches.execute(portfolios % "")
    assert (progress(branches)["total"], progress(branches)["inserted"]) == (12, 5)
    branches.execute("""INSERT INTO profiles (issuer_id, as_of_date, structured, risk_flags)
        SELECT 'ISS_' || i, date '2025-01-01' + d, '{}', '{}' FROM generate_series(1, 4) i, generate_series(1, i) d""")
    branches.execute(f"CALL backfill_joint_range('PROFILE_CORE_V0', {DATES}, model_id => 'joint-profile-core-v1')")
    done = progress(branches)
    assert (done["state"], done["total"], done["failed"]) == ("done", 10, 10)
    errors = branches.execute("SELECT entity_id, dates FROM embed_job_errors WHERE job_id = (SELECT max(job_id) FROM embed_jobs) ORDER BY 1").fetchall()
    assert errors == [("ISS_1", 1), ("ISS_2", 2), ("ISS_3", 3), ("ISS_4", 4)]


@pytest.mark.parametrize(
    ("arguments", "sqlstate"),
    [
        ("'NOWHERE_V0', '2025-01-01', '2025-01-31'", "42704"),
        ("'PORTFOLIO_CORE_V0', '2025-01-31', '2025-01-01', model_id => 'joint-portfolio-core-v1'", "22023"),
        ("'PORTFOLIO_CORE_V0', NULL, '2025-01-01', model_id => 'joint-portfolio-core-v1'", "22004"),
        ("'PORTFOLIO_CORE_V0', '2025-01-01', '2025-01-31', model_id => 'joint-portfolio-core-v1', region => 'US'", "22023"),
        ("'PORTFOLIO_CORE_V0', '2025-01-01', '2025-01-31', model_id => 'joint-portfolio-core-v1', partition => 2", "22023"),
        ("'PORTFOLIO_CORE_V0', '2025-01-01', '2025-01-31', model_id => 'joint-portfolio-core-v1', branch_models => '[]'", "22023"),
        ("'PORTFOLIO_CORE_V0', '2025-01-01', '2025-01-31', model_id => 'joint-portfolio-core-v1', on_existing => 'append'", "55000"),
        ("'STAB_FRAGILITY_V0', '2025-01-01', '2025-01-31', model_id => 'joint-stab-fragility-v1', entity_type => 'INSTRUMENT'", "22023"),
    ],
)
def test_bad_arguments_leave_no_job(module_db, arguments, sqlstate):
    with pytest.raises(psycopg.Error) as refused:
        module_db.execute(f"CALL backfill_joint_range({arguments})")
    assert refused.value.sqlstate == sqlstate, refused.value
    assert module_db.execute("SELECT count(*) FROM embed_jobs").fetchone() == (0,)
