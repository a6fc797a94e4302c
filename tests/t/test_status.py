"""embed_status(): what it says, to whom, and what it warns of."""

import re

from test_jobs import CALL, FILL

STATUS = "SELECT item, value, warning FROM embed_status()"


def status(session):
    return {item: (value, warning) for item, value, warning in session.execute(STATUS)}


def test_everything_fits_together_where_it_does(db):
    found = status(db)
    version = db.execute("SELECT embed_version()").fetchone()[0]
    assert found["library_version"] == found["extension_version"] == (version, None)
    assert found["server_version"][0] == db.execute("SHOW server_version").fetchone()[0]
    assert found["onnxruntime"] == ("libonnxruntime.so.1.28.0", None)
    assert re.fullmatch(r"weights sha256 [0-9a-f]{64}", found["text_model text-profile-v1"][0])
    assert found["setting prometheus_embed.model_memory_limit"] == ("1024 MB", None)
    assert found["setting prometheus_embed.batch_tokens"] == ("512", None)
    assert [item for item, (_, warning) in found.items() if warning] == []
    # Looking loads nothing.
    assert db.execute("SELECT count(*) FROM embed_loaded_models").fetchone() == (0,)
    db.execute("SELECT text_profile_embed('a'::text)")
    assert status(db)["onnxruntime"][0].startswith("ORT Build Info")


def test_it_warns_where_library_and_sql_differ(db):
    with db.transaction(force_rollback=True):
        db.execute("UPDATE pg_extension SET extversion = '0.0.9' WHERE extname = 'prometheus_embed'")
        value, warning = status(db)["extension_version"]
        assert value == "0.0.9"
        assert warning.startswith("the SQL objects are of version 0.0.9, the library of version 0.1.0: run ALTER EXTENSION")


def test_it_warns_of_what_is_missing_and_tells_paths_to_no_one_else(db, connect):
    db.execute("SET prometheus_embed.onnxruntime_library = '/nowhere/libonnxruntime.so'; SET prometheus_embed.model_directory = '/nowhere'")
    found = status(db)
    assert "libonnxruntime.so" in found["onnxruntime"][1] and "/nowhere" not in found["onnxruntime"][1]
    assert found["text_model text-profile-v1"][0] is None and "/nowhere" not in found["text_model text-profile-v1"][1]
    assert found["setting prometheus_embed.model_directory"] == ("/nowhere", None)
    db.execute("DROP ROLE IF EXISTS status_reader; CREATE ROLE status_reader LOGIN")
    try:
        found = status(connect(user="status_reader"))
        assert "text_model text-profile-v1" in found
        assert "setting prometheus_embed.model_directory" not in found
        assert not any("/" in value for item, (value, _) in found.items() if value and item != "server_version")
    finally:
        db.execute("DROP ROLE status_reader")


def test_it_counts_jobs_and_points_at_those_that_were_interrupted(db):
    db.execute(FILL)
    db.execute(CALL)
    db.execute("UPDATE embed_jobs SET finished_at = NULL, updated_at = now() - interval '1 hour'")
    assert status(db)["jobs interrupted"] == ("1", "call them again to resume them, or delete their rows of embed_jobs")
    db.execute(CALL)
    assert status(db)["jobs done"] == ("1", None)


def test_jobs_are_in_the_log(db, cluster):
    db.execute(FILL)
    size = cluster.log.stat().st_size
    db.execute(CALL)
    with cluster.log.open() as log:
        log.seek(size)
        text = log.read()
    assert re.search(r'LOG:  job 1 begins, run 1: backfill_numeric_range \{"', text)
    assert re.search(r"LOG:  job 1: 5680 of 5680 vectors \(100.0 %\); ", text)
