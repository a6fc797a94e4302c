"""The text backfill in committed batches: what it writes, leaves, resumes, splits and refuses."""

import psycopg
import pytest
from test_jobs import Running, notices_of, progress, until

DATES = "start_date => '2024-01-01', end_date => '2024-12-31'"
CALL = f"CALL backfill_profile_text_range({DATES}, batch_entities => 2)"
ISSUERS, PROFILES = 20, 60

FILL = f"""
INSERT INTO profiles (issuer_id, as_of_date, structured, risk_flags)
SELECT format('ISS_%s', lpad(i::text, 2, '0')), date '2023-12-31' + q * 91,
       jsonb_build_object('business_description', 'Company ' || i || ' makes pumps.', 'risk_summary', 'Quarter ' || q), '{{}}'
  FROM generate_series(1, {ISSUERS}) i, generate_series(0, 3) q WHERE q > 0;
INSERT INTO profiles (issuer_id, as_of_date, structured, risk_flags) VALUES ('ISS_05', '2024-11-30', '{{}}', '{{}}');
"""
SLOW = """
CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(0.05); RETURN NULL; END';
CREATE TRIGGER slow AFTER INSERT ON text_embeddings FOR EACH STATEMENT EXECUTE FUNCTION slow();
"""
DIGEST = """SELECT count(*), count(DISTINCT source_id), md5(string_agg(source_id || encode(vector, 'hex') || input_digest, '|' ORDER BY source_id))
              FROM text_embeddings"""


@pytest.fixture
def profiles(db):
    db.execute(FILL)
    return db


def digest(session):
    return session.execute(DIGEST).fetchone()


def whole(session):
    """What one uninterrupted statement writes; the table is empty afterwards."""
    session.execute(f"SELECT count(*) FROM backfill_profile_text({DATES})")
    found = digest(session)
    session.execute("TRUNCATE text_embeddings")
    return found


def test_a_text_job_writes_what_one_statement_writes(profiles):
    expected = whole(profiles)
    assert expected[:2] == (PROFILES, PROFILES)
    profiles.execute(CALL)
    assert digest(profiles) == expected
    done = progress(profiles)
    # The profile without text is looked after, too, and nothing can be made of it.
    assert (done["state"], done["total"], done["done"], done["inserted"], done["skipped"], done["failed"]) == (
        "done", PROFILES + 1, PROFILES + 1, PROFILES, 1, 0)


def test_a_changed_text_is_found_and_nothing_else_is_written(profiles):
    profiles.execute(CALL)
    expected = digest(profiles)
    rows = set(profiles.execute("SELECT ctid, source_id FROM text_embeddings").fetchall())
    profiles.execute("""UPDATE profiles SET structured = structured || '{"risk_summary": "Sued."}' WHERE issuer_id = 'ISS_07' AND as_of_date = '2024-03-31'""")
    # A key that no text is made of changes nothing.
    profiles.execute("""UPDATE profiles SET structured = structured || '{"notes": "unread"}' WHERE issuer_id = 'ISS_08'""")
    # The default size of a batch is larger.
    profiles.execute(f"CALL backfill_profile_text_range({DATES})")
    done = progress(profiles)
    assert (done["inserted"], done["replaced"], done["skipped"]) == (0, 1, PROFILES)
    moved = rows ^ set(profiles.execute("SELECT ctid, source_id FROM text_embeddings").fetchall())
    assert {source for _, source in moved} == {"ISS_07:2024-03-31"}
    assert digest(profiles)[2] != expected[2]


def test_cancel_keeps_what_is_committed_and_the_next_call_resumes(profiles, connect):
    expected = whole(profiles)
    profiles.execute(SLOW)
    session = connect()
    run = Running(session, CALL)
    until(lambda: digest(profiles)[0] > 0, "a first batch")
    session.cancel()
    assert run.end().sqlstate == "57014"
    stopped = progress(profiles)
    assert 0 < stopped["done"] < stopped["total"]
    assert digest(profiles)[0] == stopped["inserted"]
    profiles.execute("DROP TRIGGER slow ON text_embeddings")
    assert notices_of(connect(), CALL)[0].startswith("job 1 resumes after ISS_")
    assert digest(profiles) == expected
    done = progress(profiles)
    assert (done["state"], done["runs"], done["done"], done["inserted"], done["replaced"], done["skipped"]) == (
        "done", 2, PROFILES + 1, PROFILES, 0, 1)


def test_a_new_profile_makes_an_interrupted_job_start_over(profiles, connect):
    profiles.execute(SLOW)
    session = connect()
    run = Running(session, CALL)
    until(lambda: digest(profiles)[0] > 0, "a first batch")
    session.cancel()
    assert run.end().sqlstate == "57014"
    profiles.execute("INSERT INTO profiles (issuer_id, as_of_date, structured, risk_flags) SELECT 'ISS_01', '2024-12-01', structured, '{}' FROM profiles WHERE issuer_id = 'ISS_02' LIMIT 1")
    notices = notices_of(connect(), CALL)
    assert notices[0] == "job 1 starts over: its entities or dates have changed"
    assert digest(profiles)[:2] == (PROFILES + 1, PROFILES + 1)
    assert progress(profiles)["skipped"] > 1, "what was done is found up to date"


def test_a_split_over_two_connections_writes_the_same_without_duplicates(profiles, connect):
    expected = whole(profiles)
    # Nothing but the split keeps rows from being doubled.
    profiles.execute("ALTER TABLE text_embeddings DROP CONSTRAINT text_embeddings_natural_key; CREATE TABLE seen (source_id text, pid int)")
    profiles.execute("""CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS
        'BEGIN INSERT INTO seen VALUES (NEW.source_id, pg_backend_pid()); RETURN NULL; END';
        CREATE TRIGGER note AFTER INSERT ON text_embeddings FOR EACH ROW EXECUTE FUNCTION note()""")
    calls = [CALL.replace("batch_entities", f"partition => {n}, partitions => 2, batch_entities") for n in (1, 2)]
    runs = [Running(connect(), call) for call in calls]
    assert [run.end() for run in runs] == [None, None]
    assert digest(profiles) == expected
    parts = profiles.execute("SELECT embed_partition(source_id, 2), count(*), count(DISTINCT pid) FROM seen GROUP BY 1 ORDER BY 1").fetchall()
    assert [(number, pids) for number, _, pids in parts] == [(1, 1), (2, 1)]
    assert all(rows > PROFILES / 4 for _, rows, _ in parts)
    assert profiles.execute("SELECT sum(total), sum(inserted), sum(replaced) FROM embed_job_progress").fetchone() == (PROFILES + 1, PROFILES, 0)


def test_the_function_takes_a_part_too(profiles):
    expected = whole(profiles)
    split = f"SELECT count(*) FROM backfill_profile_text({DATES}, partition => %s, partitions => 3)"
    assert sum(profiles.execute(split, [number]).fetchone()[0] for number in (1, 2, 3)) == PROFILES + 1
    assert digest(profiles) == expected
    with pytest.raises(psycopg.errors.InvalidParameterValue, match="partition must be between 1 and 3, not 4"):
        profiles.execute(split, [4])


def test_the_second_runner_is_told_who_runs(profiles, connect):
    profiles.execute(SLOW)
    session = connect()
    run = Running(session, CALL)
    until(lambda: digest(profiles)[0] > 0, "a first batch")
    with pytest.raises(psycopg.errors.LockNotAvailable) as refused:
        profiles.execute(CALL)
    assert refused.value.diag.message_detail.startswith(f"Process {session.info.backend_pid} of user postgres runs it since 20")
    assert run.end() is None


def test_failures_are_kept_with_their_reason(profiles):
    profiles.execute("INSERT INTO profiles (issuer_id, as_of_date, structured, risk_flags) SELECT repeat('x', 50), as_of_date, structured, '{}' FROM profiles WHERE issuer_id = 'ISS_01'")
    profiles.execute("CREATE TABLE short (LIKE text_embeddings INCLUDING ALL); ALTER TABLE short ALTER source_id TYPE varchar(40)")
    profiles.execute(CALL.replace("batch_entities", "target => 'short', batch_entities"))
    errors = profiles.execute("SELECT entity_id, first_date::text, last_date::text, dates, detail FROM embed_job_errors").fetchall()
    assert errors == [("x" * 50, "2024-03-31", "2024-09-29", 3, "source_id would be longer than 40 characters")]
    assert (progress(profiles)["failed"], progress(profiles)["inserted"]) == (3, PROFILES)


def test_only_so_many_issuers(profiles):
    for part in (1, 2):
        profiles.execute(f"CALL backfill_profile_text_range({DATES}, max_entities => 5, partition => {part}, partitions => 2)")
    assert profiles.execute("SELECT DISTINCT split_part(source_id, ':', 1) FROM text_embeddings ORDER BY 1").fetchall() == [
        (f"ISS_{number:02}",) for number in range(1, 6)]


@pytest.mark.parametrize(
    ("arguments", "sqlstate", "message"),
    [
        ("partition => 3, partitions => 2", "22023", "partition must be between 1 and 2, not 3"),
        ("batch_entities => 0", "22023", "batch_entities must be between 1 and 2147483647, not 0"),
        ("on_existing => 'append'", "22023", 'invalid value for argument "on_existing": "append"'),
        ("model_id => 'num-regime-core-v1'", "42809", 'model "num-regime-core-v1" is a numeric model, not a text model'),
        ("max_entities => -1", "22023", "max_entities must be between 0 and 2147483647, not -1"),
        ("profiles => NULL", "42P01", 'relation "profiles" does not exist'),
        ("target => 'profiles'", "42703", 'column "source_type" of relation "public.profiles" does not exist'),
    ],
)
def test_bad_arguments_leave_no_job(module_db, arguments, sqlstate, message):
    with pytest.raises(psycopg.Error) as refused:
        module_db.execute(f"CALL backfill_profile_text_range({DATES}, {arguments})")
    assert (refused.value.sqlstate, refused.value.diag.message_primary) == (sqlstate, message)
    assert module_db.execute("SELECT count(*) FROM embed_jobs").fetchone() == (0,)


def test_no_profile_is_no_trouble(db):
    db.execute(CALL)
    assert (progress(db)["state"], progress(db)["total"]) == ("done", 0)
