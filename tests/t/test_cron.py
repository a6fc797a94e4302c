"""The schedules of docs/operations.md, run by the real pg_cron in a cluster of its own."""

import time

import pytest
from cluster import ROOT, Cluster, install
from markdown import fenced_blocks
from test_jobs import FILL

MARK = "tests/t/test_cron.py runs it"


@pytest.fixture
def scheduler(cluster, monkeypatch):
    """A cluster that preloads pg_cron."""
    own = Cluster.named("cron")
    if not (own.bindir.parent / "lib" / "pg_cron.so").is_file():
        pytest.skip("pg_cron is not installed")
    options = ["shared_preload_libraries=pg_cron", f"cron.host={own.socket_dir}", "cron.database_name=postgres"]
    monkeypatch.setenv("PE_OPTIONS", " ".join(f"-c {option}" for option in options))
    own.control("drop")
    own.control("start")
    try:
        yield own
    finally:
        own.control("drop")


def schedules():
    """The page's examples that only this test can run."""
    blocks = fenced_blocks((ROOT / "docs" / "operations.md").read_text(encoding="utf-8"))
    return [body for _, info, body, _ in blocks if MARK in info]


def test_pg_cron_runs_the_documented_schedules(scheduler):
    name = scheduler.create_database(prefix="quant")
    with scheduler.connect(name) as session, scheduler.connect("postgres") as cron:
        install(session)
        session.execute(FILL)
        cron.execute("CREATE EXTENSION pg_cron")
        found = schedules()
        assert len(found) >= 3
        for text in found:
            cron.execute(text.replace("'quant'", f"'{name}'"))
        jobs = dict(cron.execute("SELECT jobname, command FROM cron.job").fetchall())
        known = ("backfill_numeric_range", "backfill_profile_text_range", "backfill_joint_range", "embed_jobs")
        assert all(any(name in command for name in known) for command in jobs.values())
        # Each of them runs as it stands, whatever the day.
        for command in jobs.values():
            session.execute(command)
        session.execute("DELETE FROM embed_jobs; TRUNCATE numeric_window_embeddings")
        # The nightly one, at once: at the next full minute.
        cron.execute("UPDATE cron.job SET schedule = '* * * * *' WHERE jobname = 'embed-prices'")
        # The generated prices are of another year than the schedule's "last five days".
        cron.execute("UPDATE cron.job SET command = replace(command, 'current_date - 5, current_date', %s)", ["'2015-11-01', '2015-11-05'"])
        deadline = time.monotonic() + 130
        details = []
        while time.monotonic() < deadline and not any(status in ("succeeded", "failed") for status, _ in details):
            time.sleep(0.5)
            details = cron.execute("SELECT status, return_message FROM cron.job_run_details").fetchall()
        assert ("succeeded", "CALL") in details, details
        state, owner, done, inserted, failed = session.execute(
            "SELECT state, owner::text, done, inserted, failed FROM embed_job_progress"
        ).fetchone()
        assert (state, owner, done) == ("done", "postgres", inserted + failed)
        assert session.execute("SELECT count(*) FROM numeric_window_embeddings").fetchone() == (inserted,)
        assert inserted > 0
