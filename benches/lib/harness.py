"""What the SQL benchmarks share: databases in the private cluster, alternating rounds, ratios, memory, kept results."""

import contextlib
import datetime
import io
import os
import platform
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "benches" / "results"
sys.path.insert(0, str(ROOT / "tests" / "t"))

from cluster import Cluster, install  # noqa: E402  (path set above)


def run(name, main):
    """Runs a benchmark. With --keep, what it prints becomes benches/results/NAME.txt once it has ended well."""
    if "--keep" not in sys.argv[1:]:
        return main()
    printed = io.StringIO()
    with contextlib.redirect_stdout(_Both(sys.stdout, printed)):
        print(f"# scripts/bench.sh --keep {name}, {datetime.date.today()}")
        main()
    RESULTS.mkdir(exist_ok=True)
    lines = [line.rstrip() for line in printed.getvalue().splitlines()]
    (RESULTS / f"{name}.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    print(f"kept in benches/results/{name}.txt")


class _Both(io.TextIOBase):
    """Writes to two streams."""

    def __init__(self, *streams):
        self.streams = streams

    def write(self, text):
        for stream in self.streams:
            stream.write(text)
        return len(text)

    def flush(self):
        for stream in self.streams:
            stream.flush()


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
    """Where the figures come from: processor, cores, memory, what a commit costs, versions, commit."""
    print_host()
    version, extension, fsync, buffers = connection.execute(
        "SELECT version(), embed_version(), current_setting('fsync'), current_setting('shared_buffers')"
    ).fetchone()
    print(
        f"server:  {version.split(' on ')[0]}, fsync {fsync}, shared_buffers {buffers}, a commit {1e3 * _commit(connection):.2f} ms;"
        f" prometheus_embed {extension}"
    )


def print_host():
    """The part of it that needs no server."""
    cpu = next(
        (line.split(":", 1)[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), "?"
    )
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / (1 << 30)
    described = _git("describe", "--always")
    # Results that are being kept do not make the sources others than the commit's.
    dirty = "-dirty" if _git("status", "--porcelain", "--", ".", ":!benches/results") else ""
    print(
        f"machine: {cpu}, {os.cpu_count()} cores, {memory:.0f} GiB, load {os.getloadavg()[0]:.1f},"
        f" {platform.system()} {platform.release()}"
    )
    print(f"source:  {described}{dirty}; Python {platform.python_version()}")


def _git(*arguments):
    return subprocess.run(["git", *arguments], cwd=ROOT, text=True, capture_output=True, check=False).stdout.strip()


def _commit(connection):
    """Median seconds of a one-row insert that commits: what the disk makes of it."""
    connection.execute("CREATE TABLE IF NOT EXISTS commit_probe (n int)")
    seconds = []
    for n in range(50):
        start = time.perf_counter()
        connection.execute("INSERT INTO commit_probe VALUES (%s)", (n,))
        seconds.append(time.perf_counter() - start)
    connection.execute("DROP TABLE commit_probe")
    return statistics.median(seconds)


class Times(list):
    """Seconds of each round; `cpu`: processor seconds of the server in the same rounds, where they were watched."""

    def __init__(self):
        super().__init__()
        self.cpu = []


def rounds(count, before, server=None, **candidates):
    """Times every candidate once a round, in turn, with `before` run ahead of each; returns {name: Times}.
    With `server`, the processor time of all its processes is taken too."""
    times = {name: Times() for name in candidates}
    for _ in range(count):
        for name, candidate in candidates.items():
            before()
            cpu = server_cpu(server) if server else 0
            start = time.perf_counter()
            candidate()
            times[name].append(time.perf_counter() - start)
            if server:
                times[name].cpu.append(server_cpu(server) - cpu)
    return times


def server_cpu(server):
    """Processor seconds of the server's processes so far, those that have ended included."""
    postmaster = int((server.data / "postmaster.pid").read_text().split()[0])
    ticks = Path(f"/proc/{postmaster}/stat").read_text().rsplit(")", 1)[1].split()
    total = (int(ticks[13]) + int(ticks[14])) / os.sysconf("SC_CLK_TCK")
    for child in Path(f"/proc/{postmaster}/task/{postmaster}/children").read_text().split():
        with contextlib.suppress(OSError):
            total += int(Path(f"/proc/{child}/schedstat").read_text().split()[0]) / 1e9
    return total


def print_ratios(title, times, floor, floor_name, targets):
    """A table of the candidates: minimum and median seconds, and the minimum as a ratio to `floor` seconds; with the
    server's processor time, if it was watched, as a ratio to that of the candidate that took `floor`.
    `targets`: {name: at_most} or {name: "a text"}, printed beside the ratio, a number with whether it was met."""
    watched = all(getattr(seconds, "cpu", None) for seconds in times.values())
    base = next((seconds for seconds in times.values() if min(seconds) == floor), None)
    watched = watched and base is not None
    cpu_head = f" {'CPU s':>8} {'x ' + floor_name:>16}" if watched else ""
    print(f"\n{title}")
    print(f"  {'':34} {'min s':>8} {'median s':>9} {'x ' + floor_name:>16}{cpu_head}  target")
    for name, seconds in times.items():
        best, middle = min(seconds), statistics.median(seconds)
        label = name.replace("_", " ")
        cpu = f" {min(seconds.cpu):8.3f} {min(seconds.cpu) / max(min(base.cpu), 1e-9):16.2f}" if watched else ""
        target = targets.get(name, "")
        if not isinstance(target, str):
            target = at_most(best / floor, target)
        print(f"  {label:34} {best:8.3f} {middle:9.3f} {best / floor:16.2f}{cpu}  {target}".rstrip())


def print_figure(label, value, target="", unit=""):
    """One figure, with a target as text or as the verdict of `at_most` or `at_least`."""
    print(f"  {label:60} {value:10.2f}{unit:4} {target}".rstrip())


def at_most(value, limit):
    """The target `at most limit` and whether `value` meets it."""
    return f"at most {limit:g}: {'met' if value <= limit else 'MISSED'}"


def at_least(value, limit):
    """The target `at least limit` and whether `value` meets it."""
    return f"at least {limit:g}: {'met' if value >= limit else 'MISSED'}"


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
