"""What the SQL benchmarks share: databases in the private cluster, alternating rounds, ratios, memory."""

import os
import platform
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "t"))

from cluster import Cluster, install  # noqa: E402  (path set above)


def cluster():
    """The cluster that scripts/bench.sh started."""
    if "PE_SOCKET_DIR" not in os.environ:
        sys.exit("no cluster: run scripts/bench.sh [NAME]")
    return Cluster(os.environ)


def database(server):
    """A fresh database with the extension and the data tables; returns its name."""
    name = server.create_database(prefix="bench")
    with server.connect(name) as connection:
        install(connection)
    return name


def print_machine(connection):
    """Where the figures come from: processor, cores, versions, commit."""
    cpu = next(
        (line.split(":", 1)[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), "?"
    )
    commit = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=ROOT, text=True, capture_output=True, check=False
    ).stdout.strip()
    version, extension = connection.execute("SELECT version(), embed_version()").fetchone()
    print(f"machine: {cpu}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, {platform.release()}")
    print(f"server:  {version.split(' on ')[0]}; prometheus_embed {extension} at {commit}; Python {platform.python_version()}")


def rounds(count, before, **candidates):
    """Times every candidate once a round, in turn, with `before` run ahead of each; returns {name: [seconds]}."""
    times = {name: [] for name in candidates}
    for _ in range(count):
        for name, run in candidates.items():
            before()
            start = time.perf_counter()
            run()
            times[name].append(time.perf_counter() - start)
    return times


def print_ratios(title, times, floor, floor_name, targets):
    """A table of the candidates: minimum and median seconds, and the minimum as a ratio to `floor` seconds.
    `targets`: {name: "at most 1.5"}, printed beside the ratio."""
    print(f"\n{title}")
    print(f"  {'':34} {'min s':>8} {'median s':>9} {'x ' + floor_name:>16}  target")
    for name, seconds in times.items():
        best, middle = min(seconds), statistics.median(seconds)
        label = name.replace("_", " ")
        print(f"  {label:34} {best:8.3f} {middle:9.3f} {best / floor:16.2f}  {targets.get(name, '')}")


def peak_memory(connection, statement, parameters=None):
    """Peak private memory in MiB that `statement` adds to the session's backend (its own high-water mark)."""
    pid = connection.info.backend_pid
    clear = Path(f"/proc/{pid}/clear_refs")
    clear.write_text("5")
    before = _status(pid, "RssAnon")
    connection.execute(statement, parameters).fetchall()
    peak = _status(pid, "VmHWM") - _status(pid, "RssFile") - _status(pid, "RssShmem")
    return max(0, peak - before) / 1024


def _status(pid, key):
    for line in open(f"/proc/{pid}/status"):
        if line.startswith(key + ":"):
            return int(line.split()[1])
    raise KeyError(key)
