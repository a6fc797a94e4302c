"""Who may do what: nothing that registers, deletes or reads files is PUBLIC; the roles of docs/security.md can do what
the page says and no more; rights that are missing give 42501 and leave nothing; row-level security holds for every
function; nobody can put objects of his own among the extension's."""

import contextlib

import psycopg
import pytest
from cluster import ROOT
from fault_calls import CALLS, READS, WRITES, make_free
from fault_data import DAY, KEYED, WORK, first_day
from faults import record, size
from markdown import examples

SPEC = '{"features": ["close"], "price_column": "close", "encoder": "flatten", "window": {"min_fill": 1, "look_back": 3, "short_history": "fail"}}'
BRANCH = '[{"name": "a", "weight": 1, "table": "numeric_window_embeddings", "entity_type": "INSTRUMENT", "model_id": "num-regime-core-v1"}]'
CHANGES = {
    "numeric model": f"SELECT register_numeric_model('mine', '{SPEC}')",
    "space": f"SELECT register_joint_space('MINE', 'joint-mine', 'INSTRUMENT', '{BRANCH}')",
    "fit": f"SELECT * FROM fit_embedding_model('learned', 'num-regime-core-v2', '{DAY}', 252, 5)",
    "fit components": f"SELECT * FROM fit_embedding_model('parts', 'text-profile-v1', '{DAY}', components => 5)",
    "text model": "SELECT register_text_model('mytext', 'all-MiniLM-L6-v2')",
    "check": "SELECT * FROM embed_check_models()",
    "drop": "SELECT drop_embedding_model('joint-mine'), drop_embedding_model('mine')",
}
NOT_PUBLIC = {"drop_embedding_model", "embed_check_models", "embed_enable_pgvector", "fit_embedding_model", "register_joint_space", "register_numeric_model", "register_text_model"}
OWN_TARGETS = {"sink_numeric": "numeric_window_embeddings", "sink_text": "text_embeddings", "sink_joint": "joint_embeddings"}


def fails(session, statement, code="42501"):
    with pytest.raises(psycopg.Error) as error:
        session.execute(statement)
    assert error.value.sqlstate == code, (statement, error.value)
    if error.value.diag.sqlstate and session.info.transaction_status:
        session.rollback()
    return error.value


def in_the_tables(statement):
    """A statement of fault_data that writes into the tables of the migrations instead of sinks."""
    for sink, table in OWN_TARGETS.items():
        statement = statement.replace(sink, table)
    return statement


def test_public_can_change_nothing(fault_cluster, fault_db):
    with fault_cluster.connect(fault_db) as session:
        members = """pg_depend d JOIN pg_extension e ON e.oid = d.refobjid AND d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e' AND e.extname = 'prometheus_embed'"""
        found = {name for (name,) in session.execute(
            f"SELECT p.proname::text FROM {members} JOIN pg_proc p ON p.oid = d.objid AND d.classid = 'pg_proc'::regclass WHERE NOT has_function_privilege('public', p.oid, 'EXECUTE')")}
        assert found == NOT_PUBLIC
        # What registers, drops or reads files by its name is among them.
        named = {name for (name,) in session.execute(
            f"SELECT p.proname::text FROM {members} JOIN pg_proc p ON p.oid = d.objid AND d.classid = 'pg_proc'::regclass WHERE p.proname ~ '^(register|drop|fit|delete|remove|load|import|embed_check_models|embed_enable)'")}
        assert named <= NOT_PUBLIC
        assert session.execute(f"SELECT count(*) FROM {members} JOIN pg_proc p ON p.oid = d.objid AND d.classid = 'pg_proc'::regclass WHERE p.prosecdef").fetchone() == (0,)
        written = {name for (name,) in session.execute(
            f"SELECT c.relname::text FROM {members} JOIN pg_class c ON c.oid = d.objid AND d.classid = 'pg_class'::regclass WHERE c.relkind IN ('r', 'v', 'S') AND has_table_privilege('public', c.oid, 'INSERT, UPDATE, DELETE, TRUNCATE')")}
        # Under row-level security: everybody writes the rows of his own jobs.
        assert written == {"embed_jobs", "embed_job_errors"}
        assert session.execute("SELECT bool_and(relrowsecurity) FROM pg_class WHERE relname IN ('embed_jobs', 'embed_job_errors')").fetchone() == (True,)


@pytest.fixture
def documented(fault_cluster, fault_db):
    """Sessions of the three roles of docs/security.md, made by the page's own statements; and of somebody else."""
    page = [example.sql for example in examples((ROOT / "docs" / "security.md").read_text(encoding="utf-8"))]
    create, drop = page[0], page[-1]
    with fault_cluster.connect(fault_db) as owner, contextlib.ExitStack() as stack:
        owner.execute(create)
        stack.callback(owner.execute, drop)
        owner.execute("CREATE ROLE embed_nobody")
        stack.callback(owner.execute, "DROP OWNED BY embed_nobody; DROP ROLE embed_nobody")
        roles = {}
        for role in ("nobody", "reader", "writer", "admin"):
            roles[role] = stack.enter_context(fault_cluster.connect(fault_db))
            roles[role].execute(f"SET SESSION AUTHORIZATION embed_{role}")
        yield owner, roles


def test_the_documented_roles(documented):
    owner, roles = documented
    reads = {name: statement for name, (statement, sink) in WORK.items() if sink is None and not name.startswith("fit") and name not in ("inference", "aggregate")}
    reads["look-up"] = f"SELECT num_window_embed('X0001', '{DAY}')"
    reads["views"] = "SELECT count(*) FROM joint_profiles"
    reads["health"] = "SELECT count(*) FROM embedding_health"
    # Only the first few of each; other tests are about how many.
    writes = {name: in_the_tables(statement) for name, (statement, sink) in WORK.items() if sink and name not in ("profile numbers", "scenario", "joint scenarios", "joint portfolios")}
    tables = ", ".join(OWN_TARGETS.values())
    digest = " UNION ALL ".join(f"SELECT count(*), max(xmin::text::bigint) FROM {table}" for table in OWN_TARGETS.values()) + " ORDER BY 1, 2"
    before = owner.execute(digest).fetchall()
    for name, statement in {**reads, **writes}.items():
        fails(roles["nobody"], statement)
        assert owner.execute(digest).fetchall() == before, name
    for statement in writes.values():
        fails(roles["reader"], statement)
    assert owner.execute(digest).fetchall() == before
    for role in ("reader", "writer", "admin"):
        for statement in reads.values():
            roles[role].execute(statement)
    for role in ("nobody", "reader", "writer"):
        for statement in CHANGES.values():
            fails(roles[role], statement)
    owner.execute(f"TRUNCATE {tables} RESTART IDENTITY" if size(False, False) else "SELECT 1")
    for name, statement in writes.items():
        if name.startswith("joint") or "v2" not in name:
            roles["writer"].execute(statement)
    for name, statement in CHANGES.items():
        assert roles["admin"].execute(statement).fetchall(), name
    # An admin is no superuser: what runs code or reads elsewhere stays closed to him.
    for setting in ("onnxruntime_library = '/tmp/x.so'", "model_directory = '/'", "intra_op_threads = 8", "model_memory_limit = 9"):
        fails(roles["admin"], f"SET prometheus_embed.{setting}")
    fails(roles["admin"], "UPDATE embed_models SET spec = '{}'")
    fails(roles["admin"], "DROP EXTENSION prometheus_embed")
    fails(roles["admin"], "UPDATE embed_model_parts SET content = ''")
    # Parts go with their model only.
    fails(roles["admin"], "DELETE FROM embed_model_parts", "55000")
    record("roles", reads=len(reads), writes=len(writes), changes=len(CHANGES))


SOURCES = ["prices_daily", "instruments", "profiles", "portfolio_risk_reports", "scenario_sets", "scenario_paths", "numeric_window_embeddings", "text_embeddings", "joint_embeddings"]


def test_one_missing_right_is_enough(fault_cluster, fault_db):
    """Every statement that needs a table fails without SELECT on it; every backfill without a right on its target."""
    refused = 0
    with fault_cluster.connect(fault_db) as owner, fault_cluster.connect(fault_db) as low:
        owner.execute("CREATE ROLE embed_low; GRANT ALL ON ALL TABLES IN SCHEMA public TO embed_low; GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO embed_low")
        try:
            low.execute("SET SESSION AUTHORIZATION embed_low")
            statements = {name: (statement, sink) for name, (statement, sink) in WORK.items() if name not in ("inference", "fit", "fit components", "profile numbers", "text range")}
            for table in SOURCES:
                owner.execute(f"REVOKE SELECT ON {table} FROM embed_low")
                for name, (statement, sink) in statements.items():
                    try:
                        with low.transaction():
                            low.execute("SET LOCAL statement_timeout = '150ms'")
                            low.execute(statement)
                    except psycopg.errors.InsufficientPrivilege as error:
                        assert table in str(error), (name, error)
                        refused += 1
                    except (psycopg.errors.QueryCanceled, psycopg.errors.InvalidTransactionTermination):
                        # It needs no right on this table: it got to work. A COMMIT that came too late has left it open.
                        low.rollback()
                owner.execute(f"GRANT SELECT ON {table} TO embed_low")
            owner.execute("TRUNCATE sink_numeric, sink_text, sink_joint; DELETE FROM embed_jobs")
            for name, (statement, sink) in statements.items():
                for right in ("INSERT", "UPDATE") if sink else ():
                    owner.execute(f"REVOKE {right} ON {sink} FROM embed_low")
                    fails(low, statement)
                    refused += 1
                    owner.execute(f"GRANT {right} ON {sink} TO embed_low")
                    # Nothing, but what a job had committed: a first batch may need no UPDATE.
                    rows = owner.execute(f"SELECT count(*) FROM {sink}").fetchone()
                    assert rows == owner.execute("SELECT coalesce(sum(inserted), 0) FROM embed_jobs").fetchone(), name
                    owner.execute(f"TRUNCATE {sink}; DELETE FROM embed_jobs")
        finally:
            low.close()
            owner.execute("DROP OWNED BY embed_low; DROP ROLE embed_low")
    record("missing rights", refused=refused)
    assert refused >= 40


POLICIES = {
    "prices_daily": "instrument_id <= 'X0040'", "instruments": "instrument_id <= 'X0040'", "issuers": "issuer_id <= 'I0040'",
    "profiles": "issuer_id <= 'I0040'", "portfolio_risk_reports": "portfolio_id <= 'P00300'", "scenario_paths": "scenario_id < 20",
    "numeric_window_embeddings": "entity_id <= 'X0040' AND (entity_type <> 'PORTFOLIO' OR entity_id <= 'P00300') AND (entity_type <> 'SCENARIO' OR split_part(entity_id, ':', 2)::int < 20)",
    "text_embeddings": "source_id < 'I0040:9'",
    "joint_embeddings": "coalesce(entity_scope ->> 'issuer_id', 'I') <= 'I0040' AND coalesce(entity_scope ->> 'portfolio_id', 'P') <= 'P00300' AND coalesce((entity_scope ->> 'scenario_id')::int, 0) < 20",
}
# What the caller's rights are not about.
APART = ("embed_check_models", "embed_status", "embed_library_status", "register_", "drop_embedding_model", "embed_migrate", "fit_embedding_model('fitted', 'text", "embed_loaded_models", "embed_session", "unload", "embed_job")


def outcome(session, statement, sinks):
    """What a statement returns and what it wrote."""
    session.execute("BEGIN")
    rows = session.execute(statement).fetchall()
    for sink, keys in sinks.items():
        rows += session.execute(f"SELECT {keys}, vector FROM {sink} ORDER BY {keys}").fetchall()
    session.execute("ROLLBACK")
    return rows


@pytest.mark.parametrize("forced", [False, True], ids=["another role", "the owner, forced"])
def test_row_level_security_holds_for_every_function(fault_cluster, fault_db, fault_template, forced):
    """A role that sees some rows gets what a superuser gets where the others are not there."""
    apart = fault_cluster.create_database(fault_template)
    statements = [s for s in [*READS, *WRITES] if not any(word in s for word in APART)]
    # The owner is one more role; whether policies count for him does not depend on the statement.
    statements = statements[:: size(3, 1)] if forced else statements
    try:
        with fault_cluster.connect(fault_db) as owner, fault_cluster.connect(fault_db) as tenant, fault_cluster.connect(apart) as other:
            make_free(owner)
            make_free(other)
            owner.execute("CREATE ROLE embed_tenant; GRANT ALL ON ALL TABLES IN SCHEMA public TO embed_tenant; GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO embed_tenant; GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA public TO embed_tenant")
            try:
                for table, seen in POLICIES.items():
                    owner.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY; CREATE POLICY visible ON {table} USING ({seen})")
                    if forced:
                        owner.execute(f"ALTER TABLE {table} OWNER TO embed_tenant; ALTER TABLE {table} FORCE ROW LEVEL SECURITY")
                    other.execute(f"DELETE FROM {table} WHERE NOT ({seen})" if table not in ("instruments", "issuers") else "SELECT 1")
                for table in ("instruments", "issuers"):
                    other.execute(f"DELETE FROM {table} WHERE NOT ({POLICIES[table]})")
                tenant.execute("SET SESSION AUTHORIZATION embed_tenant")
                differing = [s for s in statements if outcome(tenant, s, KEYED) != outcome(other, s, KEYED)]
                assert differing == []
                tenant.execute("SET row_security = off")
                met = 0
                for statement in statements:
                    try:
                        with tenant.transaction():
                            tenant.execute(statement)
                    except psycopg.errors.InsufficientPrivilege as error:
                        assert "row-level security" in str(error), error
                        met += 1
                assert met >= len(statements) // 3, met
                tenant.execute("RESET row_security")
                # Writing a row that the policy forbids: all or nothing.
                owner.execute("ALTER TABLE sink_numeric ENABLE ROW LEVEL SECURITY; CREATE POLICY visible ON sink_numeric USING (true) WITH CHECK (entity_id <> 'X0033'); GRANT ALL ON sink_numeric TO embed_tenant")
                assert "row-level security" in str(fails(tenant, WORK["numeric"][0]))
                assert owner.execute("SELECT count(*) FROM sink_numeric").fetchone() == (0,)
                for call in CALLS[:1]:
                    tenant.execute(call.replace("sink_numeric", "sink_free")) if owner.execute("CREATE TABLE sink_free (LIKE numeric_window_embeddings INCLUDING ALL); GRANT ALL ON sink_free TO embed_tenant") else None
                    assert owner.execute("SELECT max(entity_id) FROM sink_free").fetchone() == ("X0040",)
                record(f"row-level security, {'forced' if forced else 'plain'}", statements=len(statements), refused_with_row_security_off=met)
            finally:
                tenant.close()
                owner.execute("REASSIGN OWNED BY embed_tenant TO postgres; DROP OWNED BY embed_tenant; DROP ROLE embed_tenant")
    finally:
        fault_cluster.drop_database(apart)


def test_objects_that_are_there_before_are_not_taken_over(fault_cluster):
    """A low role makes the schema, or objects of our names, before the extension is created (CVE-2022-2625 and kin)."""
    name = fault_cluster.create_database("template0")
    with fault_cluster.connect(name) as owner, fault_cluster.connect(name) as low:
        owner.execute("CREATE ROLE embed_early")
        try:
            owner.execute(f"GRANT CREATE ON DATABASE {name} TO embed_early; GRANT CREATE ON SCHEMA public TO embed_early")
            owner.execute("CREATE EXTENSION prometheus_embed")
            members = owner.execute("""
                SELECT d.classid::regclass::text, p.proname::text, pg_get_function_identity_arguments(p.oid), c.relname::text, p.prokind::text
                  FROM pg_depend d JOIN pg_extension e ON e.oid = d.refobjid AND d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e' AND e.extname = 'prometheus_embed'
                  LEFT JOIN pg_proc p ON p.oid = d.objid AND d.classid = 'pg_proc'::regclass
                  LEFT JOIN pg_class c ON c.oid = d.objid AND d.classid = 'pg_class'::regclass AND c.relkind IN ('r', 'v')
                 WHERE p.oid IS NOT NULL AND NOT 'internal'::regtype = ANY (p.proargtypes::oid[]) AND p.prokind <> 'a' OR c.oid IS NOT NULL
                 ORDER BY md5(coalesce(p.oid::regprocedure::text, c.relname))""").fetchall()
            owner.execute("DROP EXTENSION prometheus_embed")
            low.execute("SET SESSION AUTHORIZATION embed_early")
            low.execute("CREATE SCHEMA pe")
            error = fails(owner, "CREATE EXTENSION prometheus_embed SCHEMA pe")
            assert error.diag.message_primary == 'schema "pe" is owned by role "embed_early", which is no superuser'
            tried = members[: size(12, len(members))]
            for kind, function, arguments, relation, prokind in tried:
                if kind == "pg_proc":
                    what = "PROCEDURE" if prokind == "p" else "FUNCTION"
                    returns = "" if prokind == "p" else "RETURNS int"
                    low.execute(f"CREATE {what} public.{function}({arguments}) {returns} LANGUAGE plpgsql AS 'BEGIN RAISE ''mine''; END'")
                    drop = f"DROP {what} public.{function}({arguments})"
                else:
                    low.execute(f"CREATE TABLE public.{relation} (mine int)")
                    drop = f"DROP TABLE public.{relation}"
                with pytest.raises(psycopg.Error) as refused:
                    owner.execute("CREATE EXTENSION prometheus_embed")
                assert refused.value.sqlstate in {"42723", "42P07", "42710"}, (function or relation, refused.value)
                assert owner.execute("SELECT count(*) FROM pg_extension WHERE extname = 'prometheus_embed'").fetchone() == (0,)
                low.execute(drop)
            owner.execute("CREATE EXTENSION prometheus_embed")
            assert owner.execute("SELECT count(*) FROM pg_proc p JOIN pg_depend d ON d.objid = p.oid AND d.deptype = 'e' WHERE p.proowner = 'embed_early'::regrole").fetchone() == (0,)
            record("objects that were there", tried=len(tried), of=len(members))
        finally:
            low.close()
            owner.execute("DROP EXTENSION IF EXISTS prometheus_embed; DROP OWNED BY embed_early; DROP ROLE embed_early")
    fault_cluster.drop_database(name)


def test_a_job_is_its_owners(fault_cluster, fault_db):
    with fault_cluster.connect(fault_db) as owner, fault_cluster.connect(fault_db) as low:
        owner.execute("CREATE ROLE embed_other")
        try:
            owner.execute(f"CALL backfill_numeric_range({first_day(2)}, '{DAY}', market_id => 'M', target => 'sink_numeric')")
            low.execute("SET SESSION AUTHORIZATION embed_other")
            assert low.execute("SELECT count(*) FROM embed_jobs").fetchone() == (0,)
            assert low.execute("SELECT count(*) FROM embed_job_progress").fetchone() == (0,)
            assert low.execute("UPDATE embed_jobs SET done = 0").rowcount == 0
            assert low.execute("DELETE FROM embed_jobs").rowcount == 0
            fails(low, "INSERT INTO embed_jobs (procedure, arguments, digest, owner) VALUES ('p', '{}', 1, 'postgres')")
            fails(low, "TRUNCATE embed_jobs")
            fails(low, "SELECT nextval('embed_jobs_job_id_seq')") if not owner.execute("SELECT has_sequence_privilege('embed_other', 'embed_jobs_job_id_seq', 'USAGE')").fetchone()[0] else None
            fails(low, "SELECT setval('embed_jobs_job_id_seq', 1)")
        finally:
            low.close()
            owner.execute("DROP OWNED BY embed_other; DROP ROLE embed_other")


def test_marks_promise_no_more_than_is_kept(fault_cluster, fault_db):
    """Nothing runs with its owner's rights; what asks a model or a table may be kept in no index; what writes is computed
    each time, and in no parallel worker."""
    ours = "SELECT {} FROM pg_proc p JOIN pg_depend d ON d.objid = p.oid AND d.classid = 'pg_proc'::regclass AND d.deptype = 'e' JOIN pg_extension e ON e.oid = d.refobjid AND e.extname = 'prometheus_embed' WHERE {} ORDER BY 1"
    asks = "(proargnames && ARRAY['model_id', 'prices', 'target', 'profiles', 'embeddings'] OR 'regclass'::regtype = ANY (proargtypes))"
    with fault_cluster.connect(fault_db) as session:

        def found(condition):
            return [name for (name,) in session.execute(ours.format("p.oid::regprocedure::text", condition)).fetchall()]

        assert len(found("true")) > 100 and len(found(asks)) > 40
        assert found("prosecdef") == []
        assert found(f"provolatile = 'i' AND prokind = 'f' AND {asks}") == []
        assert found("proparallel <> 'u' AND proname ~ '^(backfill|register|drop_embedding|fit_embedding|embed_migrate)'") == []
        assert found("provolatile <> 'v' AND proname ~ '^(backfill|register|drop_embedding|fit_embedding|embed_migrate)'") == []
