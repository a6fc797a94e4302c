"""pg_dump and pg_upgrade carry everything: own models, fitted ones with their parts, own spaces, vectors, rights. The
copy answers with the same bytes, and a backfill that was interrupted before the dump is finished after it."""

import contextlib
import shutil

import psycopg
import pytest
from fault_data import DAY, KEYED, WORK, first_day
from faults import Running, record, size, until
from servers import Server

SPEC = '{"features": ["close", "log_return"], "price_column": "close", "encoder": "pad_to_dim", "dim": 48, "window": {"min_fill": 0.5, "look_back": 3, "short_history": "repeat_last"}}'
BRANCHES = '[{"name": "mine", "weight": 0.7, "required": true, "table": "numeric_window_embeddings", "entity_type": "INSTRUMENT", "model_id": "mine", "dims": 48}, ' \
           '{"name": "regime", "weight": 0.3, "table": "numeric_window_embeddings", "entity_type": "INSTRUMENT", "model_id": "num-regime-core-v1", "dims": 336}]'
OWN = f"""
SELECT register_numeric_model('mine', '{SPEC}', 'ours');
SELECT register_text_model('mytext', 'all-MiniLM-L6-v2', max_tokens => 64);
SELECT fit_embedding_model('learned', 'num-regime-core-v2', '{DAY}', 252, 10);
SELECT fit_embedding_model('parts', 'text-profile-v1', '{DAY}', components => 12);
SELECT fit_embedding_model('named', 'num-profile-core-v2', '{DAY}');
SELECT register_joint_space('MINE', 'joint-mine', 'INSTRUMENT', '{BRANCHES}', fusion => 'concat', description => 'ours');
SELECT count(*) FROM backfill_numeric('{DAY}', market_id => 'M', model_id => 'mine');
SELECT count(*) FROM backfill_numeric('{DAY}', 252, market_id => 'M', model_id => 'learned');
SELECT count(*) FROM backfill_numeric_profile('{DAY}', model_id => 'named');
SELECT count(*) FROM backfill_joint('MINE', '{DAY}');
"""
# What is stored, then what is computed from it, then what the catalog says.
ANSWERS = {
    "numeric": "SELECT * FROM numeric_window_embeddings ORDER BY embedding_id",
    "text": "SELECT * FROM text_embeddings ORDER BY embedding_id",
    "joint": "SELECT * FROM joint_embeddings ORDER BY joint_id",
    # Those of the extension are made by CREATE EXTENSION, at its own time.
    "models": "SELECT to_jsonb(m) - CASE WHEN builtin THEN 'created_at' ELSE '' END FROM embed_models m ORDER BY model_id",
    "parts": "SELECT * FROM embed_model_parts ORDER BY 1, 2",
    "spaces": "SELECT to_jsonb(s) - CASE WHEN builtin THEN 'created_at' ELSE '' END FROM embed_spaces s ORDER BY joint_type, model_id, entity_type",
    "look-up": f"SELECT instrument_id, num_window_embed(instrument_id, '{DAY}', 20, 'mine') FROM instruments ORDER BY 1",
    "text model": "SELECT text_embed(ARRAY['makes pumps', 'makes valves'], 'mytext')",
    "search": f"""SELECT i.instrument_id, s.* FROM instruments i, LATERAL find_similar('MINE', jsonb_build_object('entity_id', i.instrument_id), '{DAY}', 20) s ORDER BY 1, 2""",
    "profiles": f"SELECT i.issuer_id, s.* FROM (SELECT * FROM issuers ORDER BY 1 LIMIT 20) i, LATERAL find_similar_profiles(i.issuer_id, '{DAY}') s ORDER BY 1, 2",
    "listing": "SELECT * FROM show_joint('MINE') ORDER BY 1, 2",
    "health": "SELECT * FROM embedding_health ORDER BY 1, 2, 3, 4",
    "rights": "SELECT relname, relacl::text FROM pg_class WHERE relname IN ('embed_models', 'embed_spaces', 'numeric_window_embeddings') ORDER BY 1",
    "routines": "SELECT oid::regprocedure::text, proacl::text FROM pg_proc WHERE proname ~ '^(register_|drop_embed|fit_embed|backfill_)' ORDER BY 1",
}
# A fit reads these again: the same result under another id.
FRESH = f"SELECT count(*) FROM backfill_numeric('{DAY}', 252, market_id => 'M', model_id => 'learned', target => 'sink_numeric'); SELECT md5(string_agg(encode(vector, 'hex'), '|' ORDER BY entity_id)) FROM sink_numeric"
DIGEST = "SELECT count(*), md5(string_agg(({keys})::text || encode(vector, 'hex'), '|' ORDER BY ({keys})::text)) FROM {sink}"


def answers(session):
    found = {name: session.execute(statement).fetchall() for name, statement in ANSWERS.items()}
    count, md5 = FRESH.split("; ")
    session.execute(f"TRUNCATE sink_numeric; {count}")
    found["fresh"] = session.execute(md5).fetchone()
    session.execute("TRUNCATE sink_numeric")
    return found


@contextlib.contextmanager
def roles(cluster):
    cluster.execute("CREATE ROLE dump_reader; CREATE ROLE dump_admin")
    try:
        yield
    finally:
        # A failure leaves copies that depend on them, and is what should be told.
        with contextlib.suppress(psycopg.errors.DependentObjectsStillExist):
            cluster.execute("DROP ROLE dump_reader; DROP ROLE dump_admin")


def own_things(session):
    session.execute(OWN)
    session.execute("GRANT SELECT ON numeric_window_embeddings TO dump_reader; GRANT EXECUTE ON FUNCTION drop_embedding_model(text) TO dump_admin; GRANT INSERT ON embed_models TO dump_admin")
    session.execute("ANALYZE")


def interrupted_job(cluster, dbname, session):
    """A job that stops half-way."""
    statement, sink = WORK["range"]
    with cluster.connect(dbname) as other:
        run = Running(other, statement.replace("sink_numeric", "job_numeric"))
        until(lambda: session.execute("SELECT count(*) FROM job_numeric").fetchone()[0] > 300 or run.ended, "some batches", pause=0.002)
        other.cancel()
        assert run.end() == "57014"
    return session.execute("SELECT count(*) FROM job_numeric").fetchone()[0]


def finish_job(session, kept):
    """The next call finishes it; returns the digest of all of it."""
    session.execute(WORK["range"][0].replace("sink_numeric", "job_numeric"))
    skipped, inserted = session.execute("SELECT skipped, inserted FROM embed_jobs ORDER BY job_id DESC LIMIT 1").fetchone()
    assert inserted > 0 and (skipped in (0, kept))
    return session.execute(DIGEST.format(keys=KEYED["sink_numeric"], sink="job_numeric")).fetchone()


FORMS = {
    "plain": [["-Fp", "-f", "{out}.sql"]],
    "custom": [["-Fc", "-f", "{out}.dump"]],
    "parallel directory": [["-Fd", "-j", "2", "-f", "{out}.dir"]],
    "schema, then data": [["-Fc", "-s", "-f", "{out}.schema"], ["-Fc", "-a", "-f", "{out}.data"]],
}


def restore(cluster, dbname, arguments):
    file = arguments[arguments.index("-f") + 1]
    options = ["-h", cluster.socket_dir, "-p", cluster.port, "-U", cluster.user, "-d", dbname]
    if "-Fp" in arguments:
        cluster.run("psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", *options, "-f", file)
    else:
        jobs = ["-j", "2"] if "-Fd" in arguments else []
        # Foreign keys of the data: scenarios and instruments.
        data_only = ["--disable-triggers"] if "-a" in arguments else []
        cluster.run("pg_restore", "--exit-on-error", *jobs, *data_only, *options, file)


def test_dump_and_restore_give_the_same_answers(fault_cluster, fault_db):
    out = fault_cluster.home / "dumps"
    out.mkdir()
    shutil.chown(out, fault_cluster.owner)
    with roles(fault_cluster), fault_cluster.connect(fault_db) as session:
        own_things(session)
        session.execute("CREATE TABLE job_numeric (LIKE numeric_window_embeddings INCLUDING ALL)")
        kept = interrupted_job(fault_cluster, fault_db, session)
        expected = answers(session)
        copies = {}
        for form, dumps in FORMS.items():
            name = fault_cluster.create_database("template0")
            for dump in dumps:
                arguments = [part.format(out=out / form.replace(", ", "-").replace(" ", "-")) for part in dump]
                fault_cluster.run("pg_dump", "-h", fault_cluster.socket_dir, "-p", fault_cluster.port, "-U", fault_cluster.user, *arguments, fault_db)
                restore(fault_cluster, name, arguments)
            copies[form] = name
        whole = finish_job(session, kept)
        for form, name in copies.items():
            with fault_cluster.connect(name) as copy:
                found = answers(copy)
                assert {key for key in expected if expected[key] != found[key]} == set(), form
                # Jobs are of one server and are not dumped: what is up to date is found by its digest.
                assert copy.execute("SELECT count(*) FROM embed_jobs").fetchone() == (0,)
                assert finish_job(copy, kept) == whole, form
                # What is registered next does not collide with what was restored.
                copy.execute("SELECT drop_embedding_model('mine')") if form == "plain" else None
            fault_cluster.drop_database(name)
        record("dump and restore", forms=len(FORMS), rows=sum(len(rows) for rows in expected.values()))
    shutil.rmtree(out)


def test_parts_and_spaces_are_restored_before_their_models(fault_cluster, fault_db):
    """Regression: foreign keys between the catalog tables made pg_restore --jobs fail, which fills them in any order."""
    dump, order = fault_cluster.home / "catalog.dump", fault_cluster.home / "catalog.order"
    target = ["-h", fault_cluster.socket_dir, "-p", fault_cluster.port, "-U", fault_cluster.user]
    catalog = {name: ANSWERS[name] for name in ("models", "parts", "spaces")}
    copy = fault_cluster.create_database("template0")
    with fault_cluster.connect(fault_db) as session:
        session.execute(OWN.split("SELECT count(*)")[0])
        expected = {name: session.execute(statement).fetchall() for name, statement in catalog.items()}
        assert all(len(rows) > 1 for rows in expected.values())
        fault_cluster.run("pg_dump", *target, "-Fc", "-e", "prometheus_embed", "-f", dump, fault_db)
    listed = fault_cluster.run("pg_restore", "-l", dump).stdout.splitlines()
    filled = [line for line in listed if " TABLE DATA public embed_" in line]
    others = [line for line in listed if " TABLE DATA " not in line and not line.startswith(";")]
    assert len(filled) == 3
    order.write_text("\n".join([*others, *sorted(filled, key=lambda line: "embed_models " in line)]) + "\n", encoding="utf-8")
    fault_cluster.run("pg_restore", "--exit-on-error", *target, "-d", copy, "-L", order, dump)
    with fault_cluster.connect(copy) as restored:
        assert {name: restored.execute(statement).fetchall() for name, statement in catalog.items()} == expected
        restored.execute("SELECT drop_embedding_model('joint-mine'), drop_embedding_model('learned')")
        assert restored.execute("SELECT count(*) FROM embed_spaces WHERE model_id = 'joint-mine'").fetchone() == (0,)
        assert restored.execute("SELECT count(*) FROM embed_model_parts WHERE model_id = 'learned'").fetchone() == (0,)
    fault_cluster.drop_database(copy)
    dump.unlink()


@pytest.mark.parametrize("mode", size(["link"], ["copy", "link"]))
def test_pg_upgrade_carries_everything(cluster, fault_cluster, fault_db, mode):
    """To a new cluster of the same version: what counts is that the catalog and all tables arrive."""
    old, new = Server(cluster, f"upgrade-old-{mode}"), Server(cluster, f"upgrade-new-{mode}")
    try:
        old.create().start()
        old.execute("CREATE ROLE dump_reader; CREATE ROLE dump_admin")
        name = old.create_database("template0")
        dump = old.home / "data.dump"
        fault_cluster.run("pg_dump", "-h", fault_cluster.socket_dir, "-p", fault_cluster.port, "-U", fault_cluster.user, "-Fc", "-f", dump, fault_db)
        restore(old, name, ["-Fc", "-f", dump])
        with old.connect(name) as session:
            own_things(session)
            session.execute("CREATE TABLE job_numeric (LIKE numeric_window_embeddings INCLUDING ALL)")
            kept = interrupted_job(old, name, session)
            expected = answers(session)
        new.create()
        old.stop()
        # In a directory of its own: it writes logs there.
        done = old.run("pg_upgrade", "-d", old.data, "-D", new.data, "-b", old.bindir, "-B", old.bindir, "-U", old.user,
                       "-s", old.socket_dir, *(["--link"] if mode == "link" else []), check=False, cwd=old.socket_dir)
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr
        shutil.rmtree(old.data / "base")
        new.start()
        with new.connect(name) as session:
            found = answers(session)
            assert {key for key in expected if expected[key] != found[key]} == set()
            assert session.execute("SELECT state FROM embed_job_progress").fetchall() in ([("interrupted",)], [])
            finish_job(session, kept)
            assert session.execute("SELECT embed_version()").fetchone()
        new.run("pg_amcheck", "-h", new.socket_dir, "-p", new.port, "-U", new.user, "--heapallindexed", "--install-missing", name)
        record(f"pg_upgrade --{mode}", rows=sum(len(rows) for rows in expected.values()))
    finally:
        old.drop()
        new.drop()
