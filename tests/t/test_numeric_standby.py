"""On a standby everything that reads works and gives the primary's bytes; what writes is refused with 25006."""

import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

import pytest
from cluster import Cluster
from numeric_data import BACKFILL, fails, fill

READS = [
    "SELECT num_window_embed('X0001', '2024-06-28')",
    "SELECT num_window_embed(array_agg(close ORDER BY trade_date), array_agg(volume ORDER BY trade_date), 20) FROM prices_daily WHERE instrument_id = 'X0002'",
    "SELECT instrument_id, num_window_agg(trade_date, close, volume, 63, 'num-stab-core-v1') FROM prices_daily GROUP BY 1 ORDER BY 1",
    "SELECT a.entity_id, cosine_sim(a.vector, b.vector), l2_norm(a.vector) FROM numeric_window_embeddings a, numeric_window_embeddings b WHERE b.entity_id = 'X0001' ORDER BY 1",
    "SELECT model_id, dim, spec FROM embed_models ORDER BY model_id",
]


def run(cluster, *command):
    as_owner = ["runuser", "-u", cluster.owner, "--"] if os.getuid() == 0 else []
    done = subprocess.run([*as_owner, *map(str, command)], cwd="/", text=True, capture_output=True, check=False)
    assert done.returncode == 0, (command, done.stderr)


@pytest.fixture
def standby(cluster):
    """A hot standby of the cluster, in a directory of its own."""
    home = Path(tempfile.mkdtemp(prefix="pe-standby-", dir=cluster.socket_dir.rsplit("/", 1)[0]))
    data, log = home / "data", home / "log"
    if os.getuid() == 0:
        shutil.chown(home, cluster.owner)
    control = (cluster.bindir / "pg_ctl", "-D", data, "-w", "-l", log)
    run(cluster, cluster.bindir / "pg_basebackup", "-h", cluster.socket_dir, "-p", cluster.port, "-U", cluster.user, "-D", data, "-R", "-X", "stream", "-c", "fast", "--no-sync")
    options = f"-c listen_addresses= -c unix_socket_directories={home} -c port={cluster.port} -c shared_buffers=32MB -c max_connections=100 -c max_prepared_transactions=10"
    run(cluster, *control, "-o", options, "start")
    other = Cluster.__new__(Cluster)
    other.__dict__.update(cluster.__dict__, socket_dir=str(home), data=data, log=log)
    yield other
    run(cluster, *control, "-m", "immediate", "stop")
    shutil.rmtree(home)


def test_a_standby_reads_and_refuses_to_write(db, standby):
    fill(db)
    db.execute(BACKFILL, ("2024-06-28",))
    db.execute("CREATE TABLE plain AS TABLE numeric_window_embeddings")
    target = db.execute("SELECT pg_current_wal_insert_lsn()").fetchone()[0]
    with standby.connect("postgres") as watch:
        until = time.monotonic() + 20
        while not watch.execute("SELECT pg_last_wal_replay_lsn() >= %s", (target,)).fetchone()[0]:
            assert time.monotonic() < until
            time.sleep(0.02)
    with standby.connect(db.info.dbname) as replica:
        for read in READS:
            assert replica.execute(read).fetchall() == db.execute(read).fetchall(), read
        for write in (BACKFILL, BACKFILL[:-1] + ", target => 'plain')"):
            with fails("25006", "cannot execute a statement that writes embeddings or models"):
                replica.execute(write, ("2024-06-28",))
        for write in (
            "SELECT drop_embedding_model('x')",
            """SELECT register_numeric_model('mine', '{"features": ["close"], "price_column": "close", "encoder": "flatten", "window": {"min_fill": 1, "look_back": 3, "short_history": "fail"}}')""",
        ):
            with fails("25006"):
                replica.execute(write)
