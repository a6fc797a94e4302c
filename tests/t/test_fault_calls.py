"""Random calls of everything the extension has (tests/t/fuzzing.py makes them): no crash, no internal error, no panic
text, no code that docs/troubleshooting.md does not list, no memory kept, nobody else disturbed.

    PE_LONG=1        a million calls instead of 20,000; PE_CALLS=N that many of each test, PE_MINUTES=N no longer than that
    PE_SEED=N        the calls of an earlier run
"""

import collections
import os
import re
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numeric_data
import psycopg
import pytest
from cluster import ROOT
from faults import SEED, Gates, record, rng, size, until
from fuzzing import OBJECTS, Generator, routines

BATCH = 250
# A Rust panic's words, wherever they turn up.
PANIC = re.compile(r"panick|unwrap\(\)|expect\(|index out of bounds|attempt to \w+ with overflow|RefCell|entered unreachable")


def documented_codes():
    """The SQLSTATEs in the first column of the table in docs/troubleshooting.md."""
    page = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
    return set(re.findall(r"^\| `([0-9A-Z]{5})` \|", page, re.MULTILINE))


@pytest.fixture(scope="module")
def prey(cluster, module_db):
    """A database with something of everything, and an ordinary user who may read and write its tables."""
    db = module_db
    numeric_data.fill(db, instruments=4, days=150)
    db.execute("CREATE EXTENSION IF NOT EXISTS postgres_fdw")
    db.execute(OBJECTS)
    db.execute(
        f"""
        CREATE SERVER fuzz_server FOREIGN DATA WRAPPER postgres_fdw
               OPTIONS (host '{cluster.socket_dir}', port '{cluster.port}', dbname '{db.info.dbname}');
        CREATE USER MAPPING FOR PUBLIC SERVER fuzz_server OPTIONS (user '{cluster.user}', password_required 'false');
        CREATE FOREIGN TABLE fuzz_foreign (instrument_id text, trade_date date, close float8, adjusted_close float8,
               volume float8, high float8, low float8) SERVER fuzz_server OPTIONS (schema_name 'public', table_name 'prices_daily');
        DO $$ BEGIN CREATE ROLE fuzz_user; EXCEPTION WHEN duplicate_object THEN NULL; END $$;
        GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO fuzz_user;
        GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO fuzz_user;
        """
    )
    yield db
    # A session that has just been closed still drops its temporary tables, on which the role has rights.
    others = "SELECT FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'"
    until(lambda: not db.execute(others).fetchall(), "other sessions to be gone")
    db.execute("DROP OWNED BY fuzz_user")


def session(cluster, dbname):
    """A session as random calls need it: parallel plans at once, no text model larger than it must be."""
    connection = cluster.connect(dbname)
    connection.execute(
        "SET client_min_messages = error; SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0;"
        "SET min_parallel_table_scan_size = 0; SET statement_timeout = '60s';"
        "CREATE TEMPORARY TABLE fuzz_temp AS SELECT * FROM prices_daily; GRANT SELECT ON fuzz_temp TO fuzz_user"
    )
    return connection


# What takes seconds, or leaves tables which stand in the way of later calls; and what reads a whole model.
RARE = {r".*embed_migrate": 0.003, r".*embed_check_(copies|prices|rows|joint)": 0.03, r".*(register_text_model|embed_check_models)": 0.004}


def weight(routine):
    """How often a routine is called: those that read tables or run models less, since they take longer. Aggregates
    over a model have no cost of their own, and make a projection for every length of window."""
    for pattern, rare in RARE.items():
        if re.match(pattern, routine.name):
            return rare
    if routine.result == "trigger" or routine.name.endswith("embed_staged_rows"):
        # It can only be refused.
        return 0.01
    if routine.kind == "a" and "model_id" in routine.names:
        return 0.1
    return max(0.05, min(1.0, (100 / routine.cost) ** 0.5))


class Tally:
    """What came of the calls."""

    def __init__(self):
        self.calls = self.endless = 0
        self.codes = collections.Counter()
        self.by_routine = collections.Counter()
        self.succeeded = collections.Counter()
        self.slowest = []
        self.time = collections.Counter()
        self.faults = {}
        self.refusals = collections.Counter()

    def add(self, routine, statement, code, message, milliseconds):
        self.calls += 1
        self.codes[code] += 1
        self.by_routine[routine] += 1
        self.refusals[(routine, code, re.sub(r'".*"|[0-9]+', "…", message or "", flags=re.DOTALL)[:80])] += code != "00000"
        self.succeeded[routine] += code == "00000"
        self.time[routine.split("(")[0]] += milliseconds
        self.slowest = sorted([*self.slowest, (milliseconds, statement[:200])], reverse=True)[:5]
        if code == "XX000" or code not in DOCUMENTED and code != "00000" or PANIC.search(message or ""):
            self.faults.setdefault((code, routine), f"{code} {message}\n    {statement[:3000]}")

    def told(self):
        """How often each routine was refused, and why: what to look at when one never succeeds."""
        lines = [f"{n:6} {routine} {code} {message}" for (routine, code, message), n in self.refusals.items() if n]
        return "\n".join(sorted(lines, key=lambda line: line[7:]))


def made(generator, listed, user):
    """The next batch: what is called, as which role, and which results are kept."""
    role = "fuzz_user" if generator.chance(0.25) else user
    chosen = generator.random.choices(listed, [weight(routine) for routine in listed], k=BATCH)
    statements, kept = zip(*map(generator.statement, chosen))
    return chosen, list(statements), [may and generator.chance(0.2) for may in kept], role


def run(connection, statements, keep, role):
    """One transaction of random calls, rolled back; None when it did not end in time."""
    with connection.transaction(force_rollback=True):
        connection.execute(f"SET LOCAL ROLE {role}")
        try:
            return connection.execute("SELECT * FROM fuzz_run(%s, %s)", [statements, keep]).fetchall()
        except psycopg.errors.QueryCanceled:
            return None


def count(connection, generator, tally, batch, rows):
    """What came of a batch."""
    chosen, statements, _, role = batch
    if rows is None:
        tally.calls += BATCH
        # A machine that stood still for a minute is no fault; one that often does, may be one.
        endless = one_by_one(connection, statements, role)
        tally.endless += 1
        if endless or tally.endless > 1 + tally.calls // 100_000:
            tally.faults[tally.calls] = f"57014 without end: {endless or 'none of them alone'}"
        return
    for number, code, message, milliseconds, kept in rows:
        generator.learn(chosen[number - 1], kept)
        tally.add(chosen[number - 1].signature, statements[number - 1], code, message, milliseconds)


def one_by_one(connection, statements, role):
    """Which statement of a batch that did not end is the one, if any is."""
    for statement in statements:
        with connection.transaction(force_rollback=True):
            connection.execute(f"SET LOCAL ROLE {role}; SET LOCAL statement_timeout = '5s'")
            try:
                connection.execute(statement.encode())
            except psycopg.errors.QueryCanceled:
                return statement
            except psycopg.Error:
                pass
    return None


def specs(connection):
    """Documents that registering functions accept."""
    read = "SELECT spec FROM embed_models UNION ALL SELECT branches FROM embed_spaces"
    return [row[0] for row in connection.execute(read).fetchall()]


def memory(connection):
    """Resident bytes of the backend that are its own, and bytes of its memory contexts."""
    pid = connection.info.backend_pid
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    contexts = connection.execute("SELECT sum(total_bytes) FROM pg_backend_memory_contexts").fetchone()[0]
    return int(re.search(r"RssAnon:\s+(\d+)", status)[1]) * 1024, int(contexts)


def contexts(connection):
    """The memory contexts that have most, by name, in MB."""
    read = "SELECT name, sum(total_bytes) FROM pg_backend_memory_contexts GROUP BY name ORDER BY 2 DESC LIMIT 6"
    return {name: round(int(size) / 1e6, 1) for name, size in connection.execute(read).fetchall()}


DOCUMENTED = documented_codes()


def callable_routines(connection):
    """Functions and aggregates. Those that take `internal` cannot be called: they are reached through aggregates."""
    return [routine for routine in routines(connection) if routine.kind != "p" and "internal" not in routine.types]


@pytest.mark.parametrize(
    ("which", "calls"), [("pure", size(18_000, 1_000_000)), ("all", size(2_000, 1_000_000))], ids=["pure", "all"]
)
def test_random_calls(which, calls, cluster, prey, capsys):
    calls = int(os.environ.get("PE_CALLS", calls))
    gates = Gates(cluster, prey.info.dbname)
    connection = session(cluster, prey.info.dbname)
    listed = callable_routines(connection)
    if which == "pure":
        listed = [routine for routine in listed if routine.pure]
    generator, tally, began, sizes = Generator(SEED, listed, specs(connection)), Tally(), time.monotonic(), []
    deadline = began + 60 * float(os.environ.get("PE_MINUTES", "inf"))
    with ThreadPoolExecutor(1) as server:
        ready = made(generator, listed, cluster.user)
        while tally.calls < calls and time.monotonic() < deadline:
            # The next batch is made while the server runs this one.
            running, batch = server.submit(run, connection, *ready[1:]), ready
            ready = made(generator, listed, cluster.user)
            count(connection, generator, tally, batch, running.result())
            sizes.append(memory(connection))
    largest = contexts(connection)
    connection.close()
    # By then every model and every matrix that is kept has been made.
    before, after = sizes[len(sizes) // 2], sizes[-1]
    with capsys.disabled():
        print()
        record(
            f"random_calls_{which}", calls=tally.calls, routines=len(listed), seconds=round(time.monotonic() - began),
            codes=dict(sorted(tally.codes.items())), faults=len(tally.faults),
            never_called=sorted({r.signature for r in listed} - set(tally.by_routine)),
            never_succeeded=sorted({r.signature.split("(")[0] for r in listed} - {s.split("(")[0] for s, n in tally.succeeded.items() if n}),
            slowest_ms=[(round(milliseconds), text[:90]) for milliseconds, text in tally.slowest],
            longest_in_all_ms=[(name, round(milliseconds)) for name, milliseconds in tally.time.most_common(6)],
            anonymous_mb=[round(size[0] / 1e6, 1) for size in (before, after)],
            contexts_mb=[round(size[1] / 1e6, 1) for size in (before, after)], largest_contexts_mb=largest,
        )  # fmt: skip
    (ROOT / "build").mkdir(exist_ok=True)
    (ROOT / "build" / f"calls_{which}.log").write_text(tally.told(), encoding="utf-8")
    assert not tally.faults, f"seed {SEED}, {len(tally.faults)} faults:\n" + "\n".join(list(tally.faults.values())[:60])
    # Caches of plans and relations fill up to a bound; a leak of a kilobyte a call would be far beyond it.
    assert after[0] - before[0] < 64e6, f"the backend's own memory grew from {before[0]} to {after[0]} bytes"
    gates.close()


def test_every_argument_may_be_null(cluster, prey):
    """One NULL at a time, the others as they should be, then all: what pgrx itself says to a NULL is XX000."""
    connection = session(cluster, prey.info.dbname)
    listed = callable_routines(connection)
    generator, tally = Generator(1, listed, specs(connection)), Tally()
    for routine in listed:
        statements = []
        for null in range(len(routine.types) + 1):
            generator.odd = 0.0
            arguments = generator.arguments(routine)
            for place, kind in enumerate(routine.types):
                if null in (place, len(routine.types)):
                    arguments[place] = f"NULL::{kind}"
            statements.append(f"SELECT {routine.name}({', '.join(arguments)})")
        with connection.transaction(force_rollback=True):
            rows = connection.execute("SELECT * FROM fuzz_run(%s, %s)", [statements, [False] * len(statements)]).fetchall()
        for number, code, message, milliseconds, _ in rows:
            tally.add(routine.signature, statements[number - 1], code, message, milliseconds)
    connection.close()
    record("null_arguments", calls=tally.calls, codes=dict(sorted(tally.codes.items())), slowest_ms=[(round(milliseconds), text[:90]) for milliseconds, text in tally.slowest])
    assert not tally.faults, "\n".join(tally.faults.values())


# The ends of what a type can hold, and shapes that an array can have: what the others are when one is such.
WIDE = "array_fill({0}::{1}, ARRAY[{2}])"
ENDS = {
    "integer": ["0", "(-1)", "2147483647", "(-2147483648)"],
    "bigint": ["0::bigint", "(-1)::bigint", "9223372036854775807", "(-9223372036854775808)"],
    "date": [f"'{date}'::date" for date in ("infinity", "-infinity", "4713-01-01 BC", "5874897-12-31", "2024-02-29")],
    "double precision": [f"'{number}'::float8" for number in ("NaN", "Infinity", "-Infinity", "1.7976931348623157e308", "-1e308", "5e-324", "-0", "0")],
    "text": ["''", "' '", "repeat('x', 1000000)", "repeat(U&'\\0301', 100000)", "E'\\x01\\x7f'", "'a\"b''c'"],
    "bytea": [f"decode(repeat('ff', {n}), 'hex')" for n in (0, 1, 2, 3, 5, 4095, 4097, 64004)],
    "jsonb": ["'null'::jsonb", "'[]'::jsonb", "'{}'::jsonb", "'\"x\"'::jsonb", "'{\"a\": 1e400}'::jsonb", "(repeat('[', 5000) || repeat(']', 5000))::jsonb"],
    "regclass": ["0::regclass", "4294967295::regclass", "'pg_catalog.pg_class'::regclass", "'fuzz_sequence'::regclass"],
}
SHAPES = ["'{{}}'::{1}[]", "ARRAY[[{0}, {0}], [{0}, {0}]]::{1}[]", "array_fill({0}::{1}, ARRAY[3], ARRAY[-5])", "array_fill({0}::{1}, ARRAY[2], ARRAY[2147483640])",
          "ARRAY[NULL, {0}, NULL]::{1}[]", WIDE.replace("{2}", "16001"), WIDE.replace("{2}", "300000"), "array_fill({0}::{1}, ARRAY[2, 2, 2, 2, 2, 2])"]  # fmt: skip
ELEMENTS = {"text": "'X0001'", "bytea": "'\\x0000803f'", "date": "'2024-06-28'"}


def ends(kind):
    """Expressions of the type."""
    if kind.endswith("[]"):
        return [shape.format(ELEMENTS.get(kind[:-2], "1"), kind[:-2]) for shape in SHAPES]
    return ENDS.get(kind, [])


def test_every_argument_may_be_at_an_end_of_its_range(cluster, prey):
    """One at a time, the others as they should be: an answer or a documented refusal, soon, and no memory for what is only
    asked for."""
    connection = session(cluster, prey.info.dbname)
    connection.execute("SET statement_timeout = '20s'")
    listed = callable_routines(connection)
    generator, tally = Generator(2, listed, specs(connection)), Tally()
    grown, chosen = {}, rng("ends")
    for routine in listed:
        statements = []
        for place, kind in enumerate(routine.types):
            for end in ends(kind):
                generator.odd = 0.0
                arguments = generator.arguments(routine)
                arguments[place] = end
                statements.append(f"SELECT {routine.name}({', '.join(arguments)})")
        statements = chosen.sample(statements, min(len(statements), size(4, 10**6)))
        before = memory(connection)[0]
        with connection.transaction(force_rollback=True):
            rows = connection.execute("SELECT * FROM fuzz_run(%s, %s)", [statements, [False] * len(statements)]).fetchall()
        grown[routine.signature] = memory(connection)[0] - before
        for number, code, message, milliseconds, _ in rows:
            tally.add(routine.signature, statements[number - 1], code, message, milliseconds)
    connection.close()
    assert tally.calls > 2 * len(listed)
    assert {kind for routine in listed for kind in routine.types if ends(kind)} >= {"integer", "bigint", "date", "text", "bytea", "jsonb", "text[]"}
    record(
        "ends_of_ranges", calls=tally.calls, codes=dict(sorted(tally.codes.items())), most_mb=round(max(grown.values()) / 1e6, 1),
        slowest_ms=[(round(milliseconds), text[:90]) for milliseconds, text in tally.slowest],
    )
    assert not tally.faults, "\n".join(tally.faults.values())
    assert {name: size for name, size in grown.items() if size > 64e6} == {}


def test_random_calls_of_procedures(cluster, prey):
    """Procedures commit, so they are called by themselves."""
    gates = Gates(cluster, prey.info.dbname)
    connection = session(cluster, prey.info.dbname)
    listed = [routine for routine in routines(connection) if routine.kind == "p"]
    generator, tally = Generator(SEED, listed, specs(connection)), Tally()
    assert listed
    for number in range(int(os.environ.get("PE_CALLS", size(60, 3_000)))):
        routine = listed[number % len(listed)]
        statement, _ = generator.statement(routine)
        try:
            connection.execute(statement.encode())
            code = message = "00000"
        except psycopg.Error as error:
            code, message = error.sqlstate, str(error)
        tally.add(routine.signature, statement, code, message, 0)
    record("random_calls_procedures", calls=tally.calls, codes=dict(sorted(tally.codes.items())), faults=len(tally.faults))
    connection.close()
    assert not tally.faults, f"seed {SEED}:\n" + "\n".join(tally.faults.values())
    gates.close()
