"""No search_path changes what a routine of ours calls: hostile operators, functions, types, collations and tables of
the names that we use stand first in the caller's path, in the schema of the extension, and in pg_temp; every routine is
called, nothing hostile runs, and every result is the same to the byte."""

import re

import pytest
from fault_calls import CALLS, INTERNAL, READS, WRITES, make_free
from faults import record, size

MEMBERS = """SELECT p.proname::text FROM pg_depend d JOIN pg_extension e ON e.oid = d.refobjid AND d.refclassid = 'pg_extension'::regclass
              JOIN pg_proc p ON p.oid = d.objid AND d.classid = 'pg_proc'::regclass
             WHERE d.deptype = 'e' AND e.extname = 'prometheus_embed' AND p.prorettype <> 'trigger'::regtype
               AND NOT 'internal'::regtype = ANY (p.proargtypes::oid[]) AND p.prorettype <> 'internal'::regtype"""

PAIRS = """text,text name,name name,text int4,int4 int8,int8 int8,int4 int4,int8 float8,float8 numeric,numeric date,date date,int4 oid,oid
           oid,regclass regclass,regclass regclass,oid bool,bool bytea,bytea jsonb,jsonb jsonb,text jsonb,int4 timestamptz,timestamptz
           timestamptz,interval interval,interval varchar,varchar bpchar,bpchar uuid,uuid "char","char" "char",text text,anynonarray
           int2,int4 int2,int2 text,int4 regtype,regtype regrole,regrole oid,int8""".split()
OPERATORS = "= <> < > <= >= + - * / % || -> ->> #>> @> <@ ? ~ !~ ~~ !~~ | & <<".split()
# Names that bodies and queries of ours call, with any argument.
FUNCTIONS = """count(anyelement) max(anyelement) min(anyelement) sum(anyelement) now() clock_timestamp() format(text) format(text,text)
    cardinality(anyarray) unnest(anyarray) octet_length(bytea) length(text) lower(text) hashtext(text) hashtextextended(text,int8)
    to_regclass(text) quote_ident(text) pg_backend_pid() pg_try_advisory_xact_lock(int8) pg_advisory_xact_lock(int4,int4)
    pg_advisory_xact_lock(int8) jsonb_typeof(jsonb) jsonb_build_object(text,anyelement) jsonb_each(jsonb) jsonb_each_text(jsonb)
    jsonb_array_elements(jsonb) jsonb_array_elements_text(jsonb) jsonb_to_recordset(jsonb) jsonb_strip_nulls(jsonb) starts_with(text,text)
    concat_ws(text,text) array_to_string(anyarray,text) to_char(date,text) to_date(text,text) right(text,int4) substring(text,text)
    regexp_replace(text,text,text) round(numeric,int4) round(float8) abs(float8) coalesce_(text) generate_series(int4,int4)
    generate_series(int8,int8) array_append(anyarray,anyelement) set_config(text,text,bool) current_setting(text) current_setting(text,bool)
    current_schema() current_database() pg_has_role(name,text) pg_has_role(oid,text) pg_get_indexdef(oid,int4,bool) pg_sleep(float8)
    date_trunc(text,timestamptz) make_interval(int4) to_regrole(text) uuid_send(uuid) random() row_number() jsonb_path_query_first(jsonb,jsonpath)
    pg_stat_get_activity(int4) version() left(text,int4) replace(text,text,text) string_to_array(text,text)""".split("\n")
TABLES = """pg_class pg_namespace pg_proc pg_attribute pg_index pg_extension pg_type pg_constraint pg_locks pg_stat_activity pg_database
    pg_roles pg_depend embed_models embed_model_parts embed_spaces embed_jobs embed_job_errors""".split()
TYPES = "text int4 int8 float8 date bytea jsonb bool name regclass record timestamptz".split()
SINKS = {
    "sink_numeric": "s.entity_id, s.as_of_date, s.window_spec, s.model_id, s.vector",
    "sink_text": "s.source_id, s.model_id, s.vector",
    "free_joint": "s.joint_type, s.as_of_date, s.entity_scope, s.model_id, s.vector",
    "free_numeric": "s.entity_id, s.as_of_date, s.window_spec, s.model_id, s.vector",
    "free_text": "s.source_id, s.model_id, s.vector",
    "sink_joint": "s.joint_type, s.as_of_date, s.entity_scope, s.model_id, s.vector",
    "embed_models": "s.model_id, s.spec",
}
TRAP = "LANGUAGE plpgsql AS $$BEGIN RAISE EXCEPTION 'trapped' USING ERRCODE = 'ZZ666'; END$$"


def own_overloads(session):
    """Forms of the extension's own routines: the same names with other types, which an imprecise call might prefer."""
    found = session.execute(
        """SELECT p.proname::text, array_to_string(ARRAY(SELECT t::regtype::text FROM unnest(p.proargtypes) WITH ORDINALITY u(t, n) ORDER BY n), ',')
             FROM pg_depend d JOIN pg_extension e ON e.oid = d.refobjid AND d.refclassid = 'pg_extension'::regclass
             JOIN pg_proc p ON p.oid = d.objid AND d.classid = 'pg_proc'::regclass
            WHERE d.deptype = 'e' AND e.extname = 'prometheus_embed' AND p.prokind IN ('f', 'p') AND NOT 'internal'::regtype = ANY (p.proargtypes::oid[])
              AND p.prorettype <> 'trigger'::regtype"""
    ).fetchall()
    return found


# Statements as a list: what each that cannot be executed says.
ATTEMPT = """
CREATE SCHEMA attempts;
CREATE FUNCTION attempts.run(statements pg_catalog.text[]) RETURNS TABLE (number pg_catalog.int4, code pg_catalog.text, message pg_catalog.text) LANGUAGE plpgsql AS $run$
BEGIN
    FOR n IN 1 .. pg_catalog.cardinality(statements) LOOP
        BEGIN
            EXECUTE statements[n];
        EXCEPTION WHEN OTHERS THEN
            RETURN QUERY SELECT n, SQLSTATE::pg_catalog.text, SQLERRM::pg_catalog.text;
        END;
    END LOOP;
END
$run$
"""


def build(session, schema):
    """Fills a schema with hostile objects; returns how many."""
    statements, overloads = [], own_overloads(session)
    attempt = statements.append
    for pair in PAIRS:
        left, right = pair.split(",")
        attempt(f"CREATE FUNCTION {schema}.trap(a {left}, b {right}) RETURNS bool {TRAP}")
        for operator in OPERATORS:
            attempt(f"CREATE OPERATOR {schema}.{operator} (LEFTARG = {left}, RIGHTARG = {right}, FUNCTION = {schema}.trap)")
    for function in " ".join(FUNCTIONS).split():
        attempt(f"CREATE FUNCTION {schema}.{function} RETURNS pg_catalog.int8 {TRAP}")
    for name, arguments in overloads:
        attempt(f"CREATE FUNCTION {schema}.{name}({arguments}) RETURNS pg_catalog.text {TRAP}")
        for one, other in (("text", "character varying"), ("integer", "smallint"), ("text", "name"), ("bigint", "integer")):
            if one in arguments.split(","):
                attempt(f"CREATE FUNCTION {schema}.{name}({re.sub(rf'(?<![a-z]){one}(?![a-z ])', other, arguments)}) RETURNS pg_catalog.text {TRAP}")
    attempt(f'CREATE COLLATION {schema}."C" (provider = icu, locale = \'@colReorder=latn-digit\', deterministic = true)')
    for type_name in TYPES if schema == "evil" else ():
        attempt(f"CREATE DOMAIN {schema}.{type_name} AS pg_catalog.int2 CHECK (VALUE OPERATOR(pg_catalog.>) 32000::pg_catalog.int2)")
    for table in TABLES:
        if schema == "evil":
            attempt(f"CREATE VIEW {schema}.{table} AS SELECT {schema}.trap('a'::pg_catalog.text, 'b'::pg_catalog.text) AS oid")
        elif schema == "pg_temp":
            attempt(f"CREATE TEMPORARY TABLE {table} (oid pg_catalog.int4)")
    failed = session.execute("SELECT number, code, message FROM attempts.run(%s)", [statements]).fetchall()
    for number, code, message in failed:
        # Not every combination exists: a polymorphic result needs a polymorphic argument, and the like.
        assert code in {"42723", "42P13", "42883", "42710", "42601", "42P14", "42704", "42P07", "42809"}, (statements[number - 1], code, message)
    return len(statements) - len(failed)


def content(session, sink, statement=None):
    """How many rows a table has, and a digest of them, where the statement may have written to it."""
    if statement and sink.startswith(("sink", "free")) and sink not in statement:
        return session.execute(f"SELECT pg_catalog.count(*) FROM public.{sink} s").fetchall()
    row = f"ROW({SINKS[sink]})::pg_catalog.text"
    digest = f"pg_catalog.md5(pg_catalog.string_agg(pg_catalog.md5({row}), '' ORDER BY {SINKS[sink]}))"
    return session.execute(f"SELECT pg_catalog.count(*), {digest} FROM public.{sink} s").fetchall()


def run_all(session, expected=None):
    """The results of all calls; compared one by one with `expected`, so that the first difference is named."""
    found = []

    def note(statement, rows):
        if expected is not None:
            assert repr(rows) == expected[len(found)], statement
        found.append(repr(rows))

    for statement in READS:
        note(statement, session.execute(statement).fetchall())
    for statement in WRITES:
        session.execute("BEGIN")
        note(statement, session.execute(statement).fetchall())
        for sink in SINKS:
            note(f"{sink} after {statement}", content(session, sink, statement))
        session.execute("ROLLBACK")
    for statement in CALLS:
        session.execute(statement)
    for sink in SINKS:
        note(f"{sink} after jobs", content(session, sink))
    note("jobs", session.execute("SELECT s.procedure, s.state, s.done, s.total, s.inserted, s.failed FROM public.embed_job_progress s ORDER BY s.procedure").fetchall())
    session.execute("TRUNCATE public.sink_numeric, public.sink_text, public.sink_joint; DELETE FROM public.embed_jobs")
    return found


def test_every_routine_is_called(fault_cluster, fault_db):
    with fault_cluster.connect(fault_db) as session:
        members = {name for (name,) in session.execute(MEMBERS)}
    called = set(re.findall(r"public\.([a-z0-9_]+)", " ".join([*READS, *WRITES, *CALLS])))
    assert [name for name in members - called if not INTERNAL.match(name)] == []


# Where the hostile objects lie, and the caller's path.
APART = {
    "hostile schema first": (["evil"], "evil, public, pg_catalog"),
    "hostile schema before pg_catalog": (["evil"], "evil, pg_catalog, public"),
    "hostile objects beside ours": (["public"], "public, pg_catalog"),
    "hostile temporary objects": (["pg_temp"], "pg_temp, public, pg_catalog"),
}
PATHS = size({"all at once": (["evil", "public", "pg_temp"], "evil, pg_temp, public, pg_catalog")}, APART)


@pytest.mark.parametrize("attack", PATHS)
def test_nothing_hostile_runs(fault_cluster, fault_db, attack):
    schemas, path = PATHS[attack]
    with fault_cluster.connect(fault_db) as session:
        # A model for drop_embedding_model to drop.
        session.execute("""SELECT register_numeric_model('mine0', '{"features": ["close"], "price_column": "close", "encoder": "flatten", "window": {"min_fill": 1, "look_back": 3, "short_history": "fail"}}')""")
        make_free(session)
        expected = run_all(session)
        # What is hostile must not run for whoever makes the next.
        session.execute(ATTEMPT)
        session.execute("CREATE SCHEMA evil; SET search_path = pg_catalog")
        made = sum(build(session, schema) for schema in schemas)
        assert made >= 30 * len(schemas), made
        session.execute(f"SET search_path = {path}")
        assert run_all(session, expected) == expected
        record(f"search_path: {attack}", hostile_objects=made, calls=len(READS) + len(WRITES) + len(CALLS))
