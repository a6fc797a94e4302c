"""What lies around a call does not change it: settings of the session, collations, kinds of plans. And what goes away
while it runs, leaves nothing half done: the source, a foreign server, the client, the server; values of hundreds of
megabytes are answered or refused, and their memory comes back."""

import hashlib
import os
import re
import socket
import subprocess
import time
import tomllib
from pathlib import Path

import psycopg
import pytest
from cluster import ROOT
from fault_data import DAY, WORK
from faults import Running, Starved, record, rng, size, until
from servers import server
from test_numeric_memory import anonymous

# Statements that read dates, JSON, numbers and texts, and what each wrote.
CALLS = {
    f"SELECT * FROM backfill_numeric('{DAY}', market_id => 'M', target => 'sink_numeric')": "SELECT entity_id, as_of_date, window_spec, vector, input_digest FROM sink_numeric ORDER BY 1",
    f"SELECT * FROM backfill_numeric('{DAY}', market_id => 'M', model_id => 'num-regime-core-v2', target => 'sink_numeric')": "SELECT entity_id, vector, input_digest FROM sink_numeric ORDER BY 1",
    f"SELECT * FROM backfill_numeric_portfolio('{DAY}', target => 'sink_numeric')": "SELECT entity_id, vector FROM sink_numeric ORDER BY 1",
    f"SELECT * FROM backfill_numeric_profile('{DAY}', target => 'sink_numeric')": "SELECT entity_id, vector FROM sink_numeric ORDER BY 1",
    f"SELECT * FROM backfill_joint_profiles('{DAY}', target => 'sink_joint')": "SELECT as_of_date, entity_scope, vector, input_digest FROM sink_joint ORDER BY entity_scope",
    f"SELECT rank, cosine, euclidean, issuer_id FROM find_similar_profiles('I0002', '{DAY}')": None,
    f"SELECT text_profile_document(structured), text_profile_embed(structured) FROM profiles WHERE issuer_id = 'I0007' AND as_of_date = '{DAY}'": None,
    "SELECT vector_to_array(num_window_agg(trade_date, close, volume, 63, 'num-stab-core-v1')) FROM prices_daily WHERE instrument_id < 'X0004' GROUP BY instrument_id ORDER BY instrument_id": None,
}
SETTINGS = {
    "TimeZone": ["UTC", "Asia/Kathmandu", "America/St_Johns"],
    "DateStyle": ["ISO, YMD", "German, DMY", "SQL, DMY", "Postgres, MDY"],
    "IntervalStyle": ["postgres", "iso_8601", "sql_standard"],
    "extra_float_digits": ["-15", "0", "3"],
    "bytea_output": ["hex", "escape"],
    "jit": ["off", "on"],
    "work_mem": ["64kB", "4MB", "256MB"],
    "enable_hashagg": ["on", "off"],
    "enable_nestloop": ["on", "off"],
    "enable_indexscan": ["on", "off"],
    "plan_cache_mode": ["auto", "force_generic_plan", "force_custom_plan"],
    "standard_conforming_strings": ["on", "off"],
    "quote_all_identifiers": ["on", "off"],
    "array_nulls": ["on", "off"],
    "transform_null_equals": ["on", "off"],
    "default_transaction_isolation": ["read committed", "serializable"],
    "max_parallel_workers_per_gather": ["0", "2"],
}


def results(session):
    """A digest of what each call returns and writes; bytes and dates come in binary, as no setting shows them."""
    found = {}
    for call, written in CALLS.items():
        digest = hashlib.sha256()
        with session.transaction(force_rollback=True), session.cursor(binary=True) as cursor:
            for statement in filter(None, (call, written)):
                digest.update(repr(cursor.execute(statement).fetchall()).encode())
        found[call] = digest.hexdigest()
    return found


def test_settings_change_no_byte(fault_cluster, fault_db):
    random, tried = rng("settings"), size(6, 64)
    with fault_cluster.connect(fault_db) as session:
        expected = results(session)
        for _ in range(tried):
            chosen = {name: random.choice(values) for name, values in SETTINGS.items()}
            session.execute("RESET ALL; SET jit_above_cost = 0; " + "; ".join(f"SET {name} = '{value}'" for name, value in chosen.items()))
            found = results(session)
            assert found == expected, (chosen, [call for call in CALLS if found[call] != expected[call]])
        record("settings", tried=tried, calls=len(CALLS))


def test_quoted_identifiers_hide_no_key(fault_cluster, fault_db):
    """Regression: with quote_all_identifiers, a unique key of ours was not known as one: a second run was refused at
    SERIALIZABLE, and the migrations built the key once more."""
    with fault_cluster.connect(fault_db) as session:
        indexes = "SELECT count(*) FROM pg_index"
        expected = session.execute(indexes).fetchone()
        session.execute("SET quote_all_identifiers = on; SET default_transaction_isolation = serializable; SELECT count(*) FROM embed_migrate()")
        assert session.execute(indexes).fetchone() == expected
        for call in (f"backfill_numeric('{DAY}', market_id => 'M')", f"backfill_joint_profiles('{DAY}')"):
            assert session.execute(f"SELECT count(*) FROM {call}").fetchone()[0] > 0


@pytest.mark.parametrize("collation", ["C", "und-x-icu", "de-x-icu", "POSIX"])
def test_collations_of_keys_change_no_byte(fault_cluster, fault_db, collation):
    """Ids that collations order, and some do not tell apart by their first differences: the order is that of bytes."""
    names = ["a", "B", "ä", "Z", "aa", "a-", "A", "Ä", "a b", "ab", "_a", "é", "e\u0301", "z"]
    with fault_cluster.connect(fault_db) as session:
        session.execute("SELECT set_config('fault.names', %s, false)", ["|".join(names)])
        session.execute(
            f"""CREATE TABLE odd_prices AS SELECT (string_to_array(current_setting('fault.names'), '|'))[right(instrument_id, 2)::int] COLLATE "{collation}" AS instrument_id,
                       trade_date, close, volume FROM prices_daily WHERE instrument_id <= 'X0014';
                CREATE INDEX ON odd_prices (instrument_id, trade_date)"""
        )
        call = "SELECT entity_id, status FROM backfill_numeric(%s, instrument_ids => %s, prices => 'odd_prices', target => 'sink_numeric')"
        rows = session.execute(call, [DAY, names]).fetchall()
        assert [status for _, status in rows] == ["inserted"] * len(names)
        assert [name for name, _ in rows] == sorted(names, key=str.encode)
        expected = dict(session.execute(f"SELECT instrument_id::text, num_window_embed(instrument_id::text, '{DAY}'::date) FROM instruments WHERE instrument_id <= 'X0014'").fetchall())
        stored = dict(session.execute("SELECT entity_id::text, vector FROM sink_numeric").fetchall())
        assert stored == {name: expected[f"X{number:04}"] for number, name in enumerate(names, 1)}


@pytest.mark.parametrize("mode", ["force_generic_plan", "force_custom_plan"])
def test_plans_outlive_changes_of_their_tables(fault_cluster, fault_db, mode):
    with fault_cluster.connect(fault_db) as session:
        session.execute(f"SET plan_cache_mode = {mode}")
        session.execute("PREPARE fill AS SELECT count(*) FILTER (WHERE status = 'inserted') FROM backfill_numeric($1::date, market_id => 'M', target => 'sink_numeric')")
        session.execute("PREPARE find AS SELECT issuer_id FROM find_similar_profiles($1, $2::date)")
        fill, find = f"EXECUTE fill('{DAY}')", f"EXECUTE find('I0002', '{DAY}')"
        written, found = session.execute(fill).fetchone(), session.execute(find).fetchall()
        assert written[0] > 0 and len(found) == 10
        for change in (
            "ALTER TABLE sink_numeric ADD COLUMN more text", "ALTER TABLE sink_numeric DROP COLUMN more", "ALTER TABLE prices_daily ADD COLUMN more int",
            "CREATE INDEX ON prices_daily (trade_date)", "ALTER TABLE joint_embeddings ADD COLUMN more int",
        ):  # fmt: skip
            session.execute(f"TRUNCATE sink_numeric; {change}")
            assert (session.execute(fill).fetchone(), session.execute(find).fetchall()) == (written, found), change


def test_the_extension_stays_in_its_schema(fault_cluster, fault_db):
    with fault_cluster.connect(fault_db) as session:
        session.execute("CREATE SCHEMA elsewhere")
        with pytest.raises(psycopg.errors.FeatureNotSupported):
            session.execute("ALTER EXTENSION prometheus_embed SET SCHEMA elsewhere")


CHANGES = {
    "renamed column": ("ALTER TABLE prices_daily RENAME COLUMN close TO was_close", "ALTER TABLE prices_daily RENAME COLUMN was_close TO close", {"42703"}),
    "dropped table": ("ALTER TABLE prices_daily RENAME TO was_prices_daily", "ALTER TABLE was_prices_daily RENAME TO prices_daily", {"42P01", "55000"}),
    "type": ("ALTER TABLE prices_daily ALTER close TYPE text", "ALTER TABLE prices_daily ALTER close TYPE float8 USING close::float8", {"42804", None}),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_source_that_changes_between_batches_stops_the_job_or_does_not_matter(fault_cluster, fault_db, change):
    there, back, codes = CHANGES[change]
    statement, _ = WORK["range"]
    digest = "SELECT count(*), md5(string_agg(entity_id || as_of_date || encode(vector, 'hex'), '|' ORDER BY entity_id, as_of_date)) FROM sink_numeric"
    with fault_cluster.connect(fault_db) as session, fault_cluster.connect(fault_db) as other:
        other.execute(statement)
        expected = other.execute(digest).fetchone()
        other.execute("TRUNCATE sink_numeric; DELETE FROM embed_jobs")
        # Each batch takes a while, so that the change comes in between.
        other.execute("CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(0.1); RETURN NULL; END'")
        other.execute("CREATE TRIGGER slow AFTER INSERT ON sink_numeric FOR EACH STATEMENT EXECUTE FUNCTION slow()")
        run = Running(session, statement)
        until(lambda: other.execute("SELECT sum(inserted) > 0 FROM embed_jobs").fetchone()[0], "the first batch")
        other.execute(there)
        code = run.end()
        assert code in codes, run.error
        rows, inserted = other.execute("SELECT (SELECT count(*) FROM sink_numeric), (SELECT sum(inserted) FROM embed_jobs)").fetchone()
        assert 0 < rows == inserted and (rows < expected[0] or code is None)
        other.execute(f"{back}; DROP TRIGGER slow ON sink_numeric")
        other.execute(statement)
        assert other.execute(digest).fetchone() == expected


def test_a_foreign_server_that_goes_away_fails_the_statement_only(fault_cluster, fault_db):
    with fault_cluster.connect(fault_db) as session, fault_cluster.connect(fault_db) as other:
        if not session.execute("SELECT 1 FROM pg_available_extensions WHERE name = 'postgres_fdw'").fetchone():
            pytest.skip("no postgres_fdw in this Postgres")
        session.execute(
            f"""CREATE EXTENSION postgres_fdw;
                CREATE SERVER far FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host '{fault_cluster.socket_dir}', port '{fault_cluster.port}', dbname '{fault_db}');
                CREATE USER MAPPING FOR CURRENT_USER SERVER far OPTIONS (user '{fault_cluster.user}');
                CREATE VIEW slow_prices AS SELECT p.* FROM prices_daily p, LATERAL (SELECT pg_sleep(0.001) WHERE p.instrument_id <> '') s;
                CREATE FOREIGN TABLE far_prices (instrument_id text, trade_date date, close float8, volume float8) SERVER far OPTIONS (table_name 'slow_prices')"""
        )
        run = Running(session, f"SELECT count(*) FROM backfill_numeric('{DAY}', market_id => 'M', prices => 'far_prices', target => 'sink_numeric')")
        killed = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'postgres_fdw' AND datname = current_database() AND state = 'active'"
        until(lambda: other.execute(killed).fetchall(), "the foreign server at work")
        assert run.end() in {"08006", "57P01"}, run.error
        assert session.execute("SELECT count(*) FROM sink_numeric").fetchone() == (0,)
        assert session.execute(f"SELECT count(*) > 0 FROM backfill_numeric('{DAY}', market_id => 'M', target => 'sink_numeric')").fetchone() == (True,)


# Each round is another statement's work, so that none is saved.
ENDLESS = {
    "numeric": f"SELECT count(b.status) FROM generate_series(1, 1000) g, LATERAL backfill_numeric('{DAY}', market_id => 'M', max_entities => 1000 + g, target => 'sink_numeric') b",
    "joint": f"SELECT count(b.status) FROM generate_series(1, 1000) g, LATERAL backfill_joint_profiles('{DAY}', max_entities => 1000 + g, target => 'sink_joint') b",
    "inference": "SELECT count(t.v) FROM generate_series(1, 100000) g, LATERAL (SELECT text_embed(ARRAY[repeat('credit risk is rising ', 9) || g]) AS v OFFSET 0) t",
}


@pytest.mark.parametrize("work", ENDLESS)
def test_a_client_that_vanishes_takes_its_statement_with_it(fault_cluster, fault_db, work):
    statement = ENDLESS[work]
    session = fault_cluster.connect(fault_db, options="-c client_connection_check_interval=100ms")
    session.execute("SELECT text_profile_embed('a'::text)")
    pid = session.info.backend_pid
    run = Running(session, statement)
    time.sleep(0.3)
    assert run.ended is None
    with socket.socket(fileno=os.dup(session.fileno())) as line:
        line.shutdown(socket.SHUT_RDWR)
    starved, began = Starved(pid), time.monotonic()
    until(lambda: not os.path.exists(f"/proc/{pid}"), "the backend to be gone", seconds=5)
    took = time.monotonic() - began
    own = took - starved.since(began)
    record(f"client vanished: {work}", ms=round(1000 * took), own_ms=round(1000 * own))
    # It looks ten times a second.
    assert own < 1.1
    run.end()
    with fault_cluster.connect(fault_db) as other:
        assert other.execute("SELECT (SELECT count(*) FROM sink_numeric) + (SELECT count(*) FROM sink_joint)").fetchone() == (0,)


def test_a_fast_shutdown_does_not_wait_for_what_runs(cluster, fault_db):
    with server(cluster, "shutdown") as own:
        own.execute("CREATE EXTENSION prometheus_embed")
        window = "SELECT count(t.v) FROM generate_series(1, 10000000) g, LATERAL (SELECT num_window_embed(array_fill(1.0::float8 + g, ARRAY[63]), array_fill(1::float8, ARRAY[63]), 63) AS v OFFSET 0) t"
        runs = [Running(own.connect("postgres"), statement) for statement in (ENDLESS["inference"], window)]
        until(lambda: own.connect("postgres").execute("SELECT count(*) FROM pg_stat_activity WHERE state = 'active'").fetchone()[0] >= 3, "both to run")
        time.sleep(0.5)
        starved = [Starved(run.session.info.backend_pid) for run in runs]
        began = time.monotonic()
        own.stop("fast")
        seconds = time.monotonic() - began
        assert [run.end() for run in runs] in (["57P01", "57P01"], ["lost", "lost"], ["57P01", "lost"], ["lost", "57P01"])
        # What runs is gone within a second of its own; the server then writes its checkpoint.
        ended = [run.ended - began - waited.since(began) for run, waited in zip(runs, starved, strict=True)]
        record("fast shutdown", seconds=round(seconds, 2), ended=[round(took, 2) for took in ended])
        assert max(ended) < 1 and seconds < 5


BYTES = size(20_000_000, 500_000_000)
HUGE = [
    "l2_norm(convert_to(repeat('x', {n}), 'SQL_ASCII'))", "vector_to_array(convert_to(repeat('x', {n}), 'SQL_ASCII'))", "vector_dim(convert_to(repeat('x', {n}), 'SQL_ASCII'))",
    "pad_to_dim(convert_to(repeat('x', {n}), 'SQL_ASCII'), 384)", "cosine_sim(convert_to(repeat('x', {n}), 'SQL_ASCII'), '\\x00000000')",
    "vector_from_array(array_fill(1::float8, ARRAY[{n} / 16]))", "pad_to_dim(array_fill(1::float8, ARRAY[{n} / 16]), 5)",
    "num_window_embed(array_fill(1::float8, ARRAY[{n} / 16]), array_fill(1::float8, ARRAY[{n} / 16]))",
    "text_token_count(repeat('word ', {n} / 40))", "text_profile_embed(repeat('x', {n}))", "text_profile_document(to_jsonb(repeat('x', {n})))",
    "register_numeric_model(repeat('x', {n}), '{{}}')", "register_numeric_model('x', to_jsonb(repeat('x', {n})))", "embed_partition(repeat('x', {n}), 7)",
    "(SELECT count(*) FROM find_similar(repeat('x', {n}), '{{}}', current_date))", "(SELECT count(*) FROM find_similar_profiles(repeat('x', {n}), current_date))",
    "text_profile_document((repeat('[', 100000) || repeat(']', 100000))::jsonb)",
]  # fmt: skip


def test_huge_values_are_answered_or_refused(fault_cluster, fault_db):
    codes, seconds = {}, {}
    with fault_cluster.connect(fault_db) as session:
        session.execute("SET statement_timeout = '30s'; SELECT text_profile_embed('a'::text)")
        base = anonymous(session.info.backend_pid)
        for expression in HUGE:
            call, began = expression.format(n=BYTES), time.monotonic()
            try:
                session.execute(f"SELECT ({call}) IS NULL".encode())
                codes[call] = "00000"
            except psycopg.Error as error:
                codes[call] = error.sqlstate
                assert len(str(error)) < 5000, "the value is told in full"
            seconds[call] = round(time.monotonic() - began, 2)
            assert anonymous(session.info.backend_pid) - base < 48 << 20, call
    assert set(codes.values()) <= {"00000", "22000", "22003", "22023", "42602", "42704", "22P03", "54000", "54001", "P0002"}, codes
    assert codes[HUGE[-1]] == "54001"
    record("huge values", bytes=BYTES, codes=sorted(codes.values()), slowest=sorted(seconds.items(), key=lambda item: -item[1])[:4])


def test_the_library_is_hardened(cluster):
    """Nothing writable is executable, and what is resolved is resolved when it is loaded and read-only from then on."""
    directory = subprocess.run([cluster.bindir / "pg_config", "--pkglibdir"], capture_output=True, text=True, check=True).stdout.strip()
    library = Path(directory) / "prometheus_embed.so"
    read = subprocess.run(["readelf", "-lWd", library], capture_output=True, text=True, check=True).stdout
    assert "GNU_RELRO" in read and re.search(r"FLAGS_1\).*NOW", read)
    segments = re.findall(r"^ +(LOAD|GNU_STACK) .* ([R ][W ][E ]) +0x", read, re.MULTILINE)
    assert len(segments) >= 3 and not any("W" in flags and "E" in flags for _, flags in segments), segments
    needed = set(re.findall(r"NEEDED\).*\[(.+?)\]", read))
    assert all(re.match(r"(libgcc_s|libm|libc|ld-linux|libstdc\+\+|libpthread|libdl)[.-]", name) for name in needed), needed
    # A panic must unwind to where it becomes an error; an abort would end every session. src/lib.rs refuses another build.
    profiles = tomllib.loads((ROOT / "Cargo.toml").read_text(encoding="utf-8"))["profile"]
    assert {name: profiles[name]["panic"] for name in ("dev", "release")} == {"dev": "unwind", "release": "unwind"}
    assert re.search(r'not\(panic = "unwind"\)\)\)\]\s*compile_error!', (ROOT / "src" / "lib.rs").read_text(encoding="utf-8"))


def goes(session, how, other):
    """Ends a session that has just used a model."""
    if how == "error":
        with pytest.raises(psycopg.errors.InvalidParameterValue):
            session.execute("BEGIN; SELECT text_embed(ARRAY['a', NULL], 'text-profile-v1'), num_window_embed('{1}'::float8[], '{1}'::float8[], -1)")
    elif how == "terminated":
        other.execute("SELECT pg_terminate_backend(%s)", [session.info.backend_pid])
    elif how == "fatal":
        session.execute("SET idle_session_timeout = '1ms'")
    elif how == "cut off":
        with socket.socket(fileno=os.dup(session.fileno())) as line:
            line.shutdown(socket.SHUT_RDWR)
    session.close()


@pytest.mark.parametrize("how", ["closed", "error", "terminated", "fatal", "cut off"])
def test_backends_that_have_used_a_model_end_without_a_signal(fault_cluster, fault_db, how):
    """Each in turn; the gates look for what the server says of a process that a signal has ended."""
    ends = size(4, 1000)
    with fault_cluster.connect(fault_db) as other:
        for _ in range(ends):
            session = fault_cluster.connect(fault_db)
            pid = session.info.backend_pid
            assert session.execute("SELECT length(text_profile_embed('pumps'::text))").fetchone() == (1536,)
            goes(session, how, other)
            until(lambda: not os.path.exists(f"/proc/{pid}"), "the backend to be gone", 5, 0.002)
    record(f"backends end: {how}", ends=ends)
