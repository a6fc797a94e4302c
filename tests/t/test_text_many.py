"""Text models in many sessions: what each one holds, warming up, files that are replaced or packed for another CPU."""

import hashlib
import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import psycopg
import pytest
from servers import server
from test_jobs import until
from test_text_process import embed, pid_of, private_kb

NAME = "all-MiniLM-L6-v2"
TEXTS = "ARRAY['Makes pumps.', 'A retail bank.', repeat('credit risk rises ', 60), '']"
WARM = "-c session_preload_libraries=prometheus_embed -c prometheus_embed.preload_models={}"


def vectors(session):
    return session.execute(f"SELECT text_embed({TEXTS})").fetchone()[0]


def loaded(session, columns="model_id, texts, packed"):
    return session.execute(f"SELECT {columns} FROM embed_loaded_models").fetchall()


def test_what_text_adds_to_a_session(db, connect):
    """benches/text_sessions.py does it with a hundred sessions. The runtime's own tables stay when a model goes: what
    loading the model again adds is the model's part."""
    sessions = [connect() for _ in range(4)]
    embed(sessions[0])
    kinds = ("Private_Clean:", "Private_Dirty:")
    for session in sessions[1:]:
        # The library itself, without a model.
        session.execute("SELECT embed_version()")
        before = private_kb(pid_of(session), *kinds)
        embed(session)
        after = private_kb(pid_of(session), *kinds)
        session.execute("SELECT unload_text_models()")
        unloaded = private_kb(pid_of(session), *kinds)
        embed(session)
        model = private_kb(pid_of(session), *kinds) - unloaded
        assert model <= 8 * 1024, f"the model takes {model} kB"
        assert after - before <= 14 * 1024, f"text takes {after - before} kB"
        assert after <= 40 * 1024


def test_a_session_that_preloads_a_model_has_it_before_its_first_text(db, connect):
    session = connect(options=WARM.format("text-profile-v1"))
    assert loaded(session) == [("text-profile-v1", 0, True)]
    assert embed(session) == embed(db)
    # As it is set for everybody who works in a database.
    name = db.info.dbname
    db.execute(f"ALTER DATABASE {name} SET session_preload_libraries = 'prometheus_embed'")
    db.execute(f"ALTER DATABASE {name} SET prometheus_embed.preload_models = 'text-profile-v1'")
    assert loaded(connect()) == [("text-profile-v1", 0, True)]
    # Also for what a parallel worker and another role make of it.
    db.execute("DROP ROLE IF EXISTS text_warm; CREATE ROLE text_warm LOGIN")
    try:
        assert loaded(connect(user="text_warm")) == [("text-profile-v1", 0, True)]
        session = connect()
        session.execute("SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0; SET min_parallel_table_scan_size = 0")
        session.execute("CREATE TABLE many AS SELECT generate_series(1, 20000) AS n; ANALYZE many")
        assert session.execute("SELECT count(*) FROM many WHERE n % 7 = 3").fetchone() == (2857,)
    finally:
        db.execute("DROP ROLE text_warm")


@pytest.mark.parametrize("models", ["no-such-model", "num-regime-core-v1", "no-such-model,text-profile-v1"])
def test_a_model_that_cannot_be_preloaded_keeps_nobody_out(db, connect, cluster, models):
    size = cluster.log.stat().st_size
    session = connect(options=WARM.format(models))
    expected = [("text-profile-v1", 0, True)] if "," in models else []
    assert loaded(session) == expected
    assert len(embed(session)) == 1536
    with cluster.log.open() as log:
        log.seek(size)
        assert f'could not preload text model "{models.split(",")[0]}"' in log.read()


def test_a_database_without_the_extension_warms_nothing_up(cluster):
    name = cluster.create_database()
    try:
        with cluster.connect(name, options=WARM.format("text-profile-v1")) as session:
            assert session.execute("SHOW prometheus_embed.preload_models").fetchone() == ("text-profile-v1",)
            with session.transaction():
                session.execute("CREATE EXTENSION prometheus_embed")
            assert len(embed(session)) == 1536
    finally:
        cluster.drop_database(name)


class Artefact:
    """A copy of the model's directory that a test may change."""

    def __init__(self, root, installed):
        self.root, self.directory = root, root / NAME
        shutil.copytree(installed, self.directory, ignore=shutil.ignore_patterns("manifest.seal"))

    def use(self, session):
        session.execute(f"SET prometheus_embed.model_directory = '{self.root}'")
        return session

    def replace(self, name, content):
        """As an installer does it: under another name first, then in the place of the old file."""
        new = self.directory / f"{name}.new"
        new.write_bytes(content)
        os.replace(new, self.directory / name)

    def manifest(self, change):
        manifest = json.loads((self.directory / "manifest.json").read_text())
        change(manifest)
        for file in manifest["files"]:
            path = self.directory / file["name"]
            file["bytes"], file["sha256"] = path.stat().st_size, hashlib.file_digest(path.open("rb"), "sha256").hexdigest()
        self.replace("manifest.json", json.dumps(manifest).encode())


@pytest.fixture
def artefact(cluster):
    share = subprocess.run([cluster.bindir / "pg_config", "--sharedir"], capture_output=True, text=True, check=True).stdout.strip()
    root = cluster.data.parent / "artefact-of-test"
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir()
    os.chmod(root, 0o755)
    yield Artefact(root, Path(share) / "prometheus_embed" / "models" / NAME)
    shutil.rmtree(root)


def test_sessions_keep_the_artefact_that_they_loaded(db, connect, artefact):
    old = artefact.use(connect())
    expected = vectors(old)
    weights = (artefact.directory / "model.onnx.data").read_bytes()
    # The same model once more: other files of the same content.
    artefact.replace("model.onnx.data", weights)
    maps = Path(f"/proc/{pid_of(old)}/maps").read_text()
    assert re.search(r"model\.onnx\.data \(deleted\)", maps), "the old session has the old file"
    assert vectors(old) == expected
    assert vectors(artefact.use(connect())) == expected
    # Other weights under the old manifest: not what was registered.
    damaged = bytearray(weights)
    damaged[4_000_000:4_004_096] = bytes(4096)
    artefact.replace("model.onnx.data", bytes(damaged))
    assert vectors(old) == expected
    new = artefact.use(connect())
    with pytest.raises(psycopg.errors.DataCorrupted, match="model.onnx.data"):
        vectors(new)
    # Another model in its place, manifest and all.
    artefact.manifest(lambda manifest: manifest["built"].update(weights_sha256="0" * 64))
    assert vectors(old) == expected
    with pytest.raises(psycopg.errors.DataCorrupted) as refused:
        vectors(artefact.use(connect()))
    assert "text-profile-v1" in refused.value.diag.message_primary
    warnings = artefact.use(connect()).execute("SELECT warning FROM embed_status() WHERE item = 'text_model text-profile-v1'").fetchall()
    assert warnings == [(refused.value.diag.message_primary,)]
    # The right one again: what failed is tried again when the session says so.
    artefact.replace("model.onnx.data", weights)
    artefact.manifest(lambda manifest: manifest["built"].update(weights_sha256="53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"))
    new.execute("SELECT unload_text_models()")
    assert vectors(new) == expected


def test_a_host_whose_cpu_is_another_computes_the_same_from_the_plain_graph(db, connect, artefact, cluster):
    expected = vectors(db)
    artefact.manifest(lambda manifest: manifest["built"].update(cpu="x86_64 of another kind"))
    size = cluster.log.stat().st_size
    session = artefact.use(connect())
    assert vectors(session) == expected
    assert loaded(session) == [("text-profile-v1", 4, False)]
    with cluster.log.open() as log:
        log.seek(size)
        assert "its graph is packed for another CPU or runtime" in log.read()
    warning = session.execute("SELECT warning FROM embed_status() WHERE item = 'text_model text-profile-v1'").fetchone()[0]
    assert warning.startswith("packed for another CPU (x86_64 of another kind)")


def test_packed_matrices_that_the_runtime_does_not_recognise_are_packed_anew(db, connect, artefact):
    """The runtime packs by itself, hashes, and takes the packed form of the file only where the hash is the same: as
    on a CPU for which it packs otherwise."""
    expected = vectors(db)
    graph = (artefact.directory / "model.onnx").read_bytes()
    altered, count = re.subn(rb"((?:Attention|MatMul)\+)(\d)(?=\d+\|)", lambda m: m[1] + (b"8" if m[2] == b"7" else b"7"), graph)
    assert count >= 24
    artefact.replace("model.onnx", altered)
    artefact.manifest(lambda manifest: None)
    session = artefact.use(connect())
    before = private_kb(pid_of(session))
    assert vectors(session) == expected
    assert private_kb(pid_of(session)) - before > 30 * 1024, "it holds a packed copy of its own"


def test_a_load_shows_as_a_wait_and_in_the_log(db, connect, cluster, artefact):
    """Without a seal the files are read in full, which takes long enough to be seen."""
    session, size = artefact.use(connect()), cluster.log.stat().st_size
    seen = set()
    import threading

    thread = threading.Thread(target=lambda: embed(session))
    thread.start()
    query = "SELECT wait_event_type, wait_event FROM pg_stat_activity WHERE pid = %s AND state = 'active'"
    while thread.is_alive():
        seen |= set(db.execute(query, [pid_of(session)]).fetchall())
    version = db.info.server_version
    assert ("Extension", "PrometheusEmbedModelLoad" if version >= 170000 else "Extension") in seen
    # It is over when the model is loaded.
    until(lambda: db.execute(query.replace("AND state = 'active'", ""), [pid_of(session)]).fetchone() == ("Client", "ClientRead"), "to wait for the client")
    with cluster.log.open() as log:
        log.seek(size)
        assert re.search(r'loaded text model "text-profile-v1" in \d+ ms, 127 MB of files; 4 files were read in full', log.read())


def test_a_hundred_connections_share_one_model(cluster):
    """Proportional memory of all of them together: one copy of runtime and weights, and what each has of its own."""
    with server(cluster, "crowd", settings="fsync = off\nmax_connections = 120\n") as crowd:
        name = crowd.create_database()
        with crowd.connect(name) as first:
            first.execute("CREATE EXTENSION prometheus_embed")
            expected = embed(first)
        sessions = [crowd.connect(name) for _ in range(100)]
        try:
            assert {embed(session) for session in sessions} == {expected}
            pids = [pid_of(session) for session in sessions]
            assert max(private_kb(pid, "Private_Clean:", "Private_Dirty:") for pid in pids) <= 40 * 1024
            together = sum(private_kb(pid, "Pss:") for pid in pids)
            # A model of its own in each would be 9 GB.
            assert together <= (200 + 100 * 20) * 1024, f"{together} kB"
        finally:
            for session in sessions:
                session.close()
