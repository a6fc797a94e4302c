"""What text models do to the backend they run in: threads, signals, files, memory, and how soon they stop."""

import os
import pwd
import threading
import time
from pathlib import Path

import psycopg
import pytest

# About 500 tokens: as much as the model reads.
LONG = "repeat('credit risk of the issuer is rising ', 80)"


def pid_of(session):
    return session.info.backend_pid


def status(pid, task=None):
    path = f"/proc/{pid}/task/{task}/status" if task else f"/proc/{pid}/status"
    return dict(line.split(":", 1) for line in Path(path).read_text().splitlines() if ":" in line)


def tasks(pid):
    return sorted(int(task) for task in os.listdir(f"/proc/{pid}/task"))


def sockets(pid):
    links = [os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")]
    return sorted(link for link in links if link.startswith("socket:"))


def private_kb(pid, *kinds):
    """Memory of a process's own, in kB: by default what is anonymous. Pages of a file or of the shared buffers
    count as private, too, while nobody else has touched them."""
    kinds = kinds or ("Anonymous:",)
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith(kinds))


def cpu_seconds(pid):
    """Processor time of a backend: how much it still did, however busy the machine is."""
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e9


def files_below(directory):
    return {str(path) for path in Path(directory).rglob("*")} if os.path.isdir(directory) else set()


def embed(session, text="'a'::text"):
    return session.execute(f"SELECT text_profile_embed({text})").fetchone()[0]


def test_no_thread_no_socket_no_file(db, cluster):
    home = pwd.getpwnam(cluster.owner).pw_dir if cluster.owner == "postgres" else os.path.expanduser("~")
    pid = pid_of(db)
    before = tasks(pid), sockets(pid)
    # Of a home directory in use only the places that a library would write to are of interest.
    watched = [home] if cluster.owner == "postgres" else [os.path.join(home, ".cache", "Microsoft")]
    files = [files_below(directory) for directory in watched]
    embed(db)
    db.execute(f"SELECT text_embed(array_agg({LONG} || i)) FROM generate_series(1, 4) i")
    assert (tasks(pid), sockets(pid)) == before
    data = str(cluster.data.parent)
    assert [{f for f in files_below(d) if not f.startswith(data)} - known for d, known in zip(watched, files, strict=True)] == [
        set() for _ in watched
    ]
    library = [line for line in Path(f"/proc/{pid}/maps").read_text().splitlines() if "libonnxruntime" in line]
    assert library, "it was loaded all the same"


def test_the_postmaster_never_loads_it(db, cluster):
    embed(db)
    postmaster = int((cluster.data / "postmaster.pid").read_text().split()[0])
    assert len(tasks(postmaster)) == 1
    assert "libonnxruntime" not in Path(f"/proc/{postmaster}/maps").read_text()


def test_signals_reach_only_the_backends_own_thread(db, connect):
    db.execute("SET prometheus_embed.intra_op_threads = 3")
    expected = embed(db)
    pid = pid_of(db)
    others = [task for task in tasks(pid) if task != pid]
    assert len(others) == 2
    for task in others:
        blocked = int(status(pid, task)["SigBlk"], 16)
        for signal in (2, 10, 14, 15, 23):  # INT, USR1, ALRM, TERM, URG
            assert blocked >> (signal - 1) & 1, f"signal {signal} is not blocked in thread {task}"
    assert int(status(pid)["SigBlk"], 16) >> 1 & 1 == 0, "and the backend's own mask is what it was"

    stop = threading.Event()

    def disturb():
        while not stop.wait(0.002):
            os.kill(pid, 14)

    if os.geteuid() == 0 or status(pid)["Uid"].split()[0] == str(os.geteuid()):
        thread = threading.Thread(target=disturb)
        thread.start()
        try:
            for _ in range(30):
                assert embed(db) == expected
        finally:
            stop.set()
            thread.join()
    db.execute("SET prometheus_embed.intra_op_threads = 1")
    embed(db)
    assert tasks(pid) == [pid], "the threads go with the model"


def many_texts(batch_tokens=512):
    return f"SELECT set_config('prometheus_embed.batch_tokens', '{batch_tokens}', false); " \
           f"SELECT cardinality(text_embed(array_agg({LONG} || i))) FROM generate_series(1, 2000) i"


@pytest.mark.parametrize("batch_tokens", [512, 8192])
def test_cancel_stops_within_a_batch(db, connect, batch_tokens):
    embed(db)
    canceller = connect(db)
    said = []

    def cancel():
        time.sleep(1.0)
        said.append((time.monotonic(), cpu_seconds(pid_of(db))))
        canceller.execute("SELECT pg_cancel_backend(%s)", [pid_of(db)])

    thread = threading.Thread(target=cancel)
    thread.start()
    with pytest.raises(psycopg.errors.QueryCanceled):
        db.execute(many_texts(batch_tokens))
    clock, cpu = said[0]
    assert cpu_seconds(pid_of(db)) - cpu < 1.0
    assert time.monotonic() - clock < 20
    thread.join()
    assert len(embed(db)) == 1536, "the session and its model go on"


def test_statement_timeout(db):
    embed(db)
    db.execute("SET statement_timeout = '700ms'")
    for query in (many_texts(), "SELECT text_token_count(repeat('a b c ', 15000000))"):
        clock, cpu = time.monotonic(), cpu_seconds(pid_of(db))
        with pytest.raises(psycopg.errors.QueryCanceled):
            db.execute(query)
        # Of both, at most a second beyond the limit.
        assert cpu_seconds(pid_of(db)) - cpu < 1.7
        assert time.monotonic() - clock < 20
    db.execute("SET statement_timeout = 0")
    assert len(embed(db)) == 1536


def test_termination(db, connect):
    victim = connect(db)
    embed(victim)
    pid = pid_of(victim)
    thread = threading.Timer(1.0, lambda: db.execute("SELECT pg_terminate_backend(%s)", [pid]))
    thread.start()
    with pytest.raises(psycopg.OperationalError):
        victim.execute(many_texts(8192))
    ended = time.monotonic()
    thread.join()
    while os.path.exists(f"/proc/{pid}") and time.monotonic() < ended + 2:
        time.sleep(0.02)
    assert not os.path.exists(f"/proc/{pid}")
    assert len(embed(db)) == 1536, "nobody else was hurt"


def test_sessions_come_and_go(db, connect):
    started = db.execute("SELECT pg_postmaster_start_time()").fetchone()
    for _ in range(15):
        session = connect(db)
        embed(session)
        session.close()
    with connect(db) as session:
        embed(session)
        session.execute("SELECT unload_text_models()")
    assert db.execute("SELECT pg_postmaster_start_time()").fetchone() == started


def test_memory_of_a_session(db, connect):
    """At most 40 MB of its own after the first vector, no arena after a large batch."""
    other = connect(db)
    embed(other)
    kinds = ("Private_Clean:", "Private_Dirty:")
    before = private_kb(pid_of(db), *kinds)
    embed(db)
    first = private_kb(pid_of(db), *kinds)
    assert first - before <= 40 * 1024, f"{first - before} kB more"
    dirty = private_kb(pid_of(db))
    db.execute("SET prometheus_embed.batch_tokens = 8192")
    db.execute(f"SELECT text_embed(array_agg({LONG} || i)) FROM generate_series(1, 16) i")
    assert private_kb(pid_of(db)) - dirty <= 4 * 1024


def test_twenty_sessions_share_the_weights(db, connect):
    sessions = [connect(db) for _ in range(20)]
    for session in sessions:
        embed(session)
    for session in sessions:
        weights = False
        private = 0
        for line in Path(f"/proc/{pid_of(session)}/smaps").read_text().splitlines():
            fields = line.split()
            if "-" in fields[0] and not fields[0].endswith(":"):
                weights = fields[-1].endswith("/model.onnx.data")
            elif weights and fields[0] in ("Private_Dirty:", "Private_Clean:"):
                private += int(fields[1])
        assert private <= 8 * 1024, f"{private} kB of the weights are private"


def test_memory_stays_flat_over_a_backfill(db):
    """A short form of 10,000 against 1,000 texts: benches/text.py does the long one."""
    db.execute(
        "INSERT INTO profiles (issuer_id, as_of_date, structured, risk_flags) "
        "SELECT 'i' || i, '2024-01-02', jsonb_build_object('risk_summary', 'Short text ' || i), '{}' FROM generate_series(1, 1500) i"
    )
    run = "SELECT count(*) FROM backfill_profile_text('2024-01-02', on_existing => 'replace', max_entities => %s)"
    db.execute(run, [150])
    few = private_kb(pid_of(db))
    assert db.execute(run, [1500]).fetchone() == (1500,)
    assert private_kb(pid_of(db)) <= few * 1.1 + 512
