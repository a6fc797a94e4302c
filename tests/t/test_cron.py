"""The schedules of docs/operations.md, run by the real pg_cron in a cluster of its own. It starts jobs at full minutes, so
what came of one is looked at when everything else has run."""

import datetime

import pytest
from cluster import ROOT, Cluster, install
from faults import until
from markdown import fenced_blocks
from test_jobs import FILL

MARK = "tests/t/test_cron.py runs it"


@pytest.fixture(scope="session")
def scheduler(cluster):
    """A cluster that preloads pg_cron, and a database of it for the jobs."""
    own = Cluster.named("cron")
    if not (own.bindir.parent / "lib" / "pg_cron.so").is_file():
        pytest.skip("pg_cron is not installed")
    options = ["shared_preload_libraries=pg_cron", f"cron.host={own.socket_dir}", "cron.database_name=postgres"]
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("PE_OPTIONS", " ".join(f"-c {option}" for option in options))
        own.control("drop")
        own.control("start")
    try:
        name = own.create_database(prefix="quant")
        with own.connect(name) as session:
            install(session)
            session.execute(FILL)
        own.execute("CREATE EXTENSION pg_cron")
        yield own, name
    finally:
        own.control("drop")


@pytest.fixture(scope="session")
def nightly(scheduler):
    """The documented schedules, the nightly one of them at the next full minute."""
    own, name = scheduler
    found = schedules()
    assert len(found) >= 3
    with own.connect(name) as session, own.connect("postgres") as cron:
        for text in found:
            cron.execute(text.replace("'quant'", f"'{name}'"))
        jobs = dict(cron.execute("SELECT jobname, command FROM cron.job").fetchall())
        # Each of them runs as it stands, whatever the day.
        for command in jobs.values():
            session.execute(command)
        session.execute("DELETE FROM embed_jobs; TRUNCATE numeric_window_embeddings")
        # The generated prices are of another year than the schedule's "last five days".
        cron.execute("UPDATE cron.job SET command = replace(command, 'current_date - 5, current_date', %s)", ["'2015-11-01', '2015-11-05'"])
        # With some seconds in which pg_cron notices; once, as it counts in GMT.
        at = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=65)
        cron.execute("UPDATE cron.job SET schedule = %s WHERE jobname = 'embed-prices'", [f"{at.minute} {at.hour} * * *"])
    return jobs


def schedules():
    """The page's examples that only this test can run."""
    blocks = fenced_blocks((ROOT / "docs" / "operations.md").read_text(encoding="utf-8"))
    return [body for _, info, body, _ in blocks if MARK in info]


def test_pg_cron_takes_the_documented_schedules(nightly):
    known = ("backfill_numeric_range", "backfill_profile_text_range", "backfill_joint_range", "embed_jobs")
    assert len(nightly) >= 3
    assert all(any(name in command for name in known) for command in nightly.values())


@pytest.mark.last
def test_pg_cron_runs_the_documented_schedules(scheduler, nightly):
    own, name = scheduler
    with own.connect(name) as session, own.connect("postgres") as cron:

        def finished():
            details = cron.execute("SELECT status, return_message FROM cron.job_run_details").fetchall()
            return [detail for detail in details if detail[0] in ("succeeded", "failed")]

        details = until(finished, "the nightly job to end", seconds=130, pause=0.2)
        assert ("succeeded", "CALL") in details, details
        state, owner, done, inserted, failed = session.execute(
            "SELECT state, owner::text, done, inserted, failed FROM embed_job_progress"
        ).fetchone()
        assert (state, owner, done) == ("done", "postgres", inserted + failed)
        assert session.execute("SELECT count(*) FROM numeric_window_embeddings").fetchone() == (inserted,)
        assert inserted > 0
