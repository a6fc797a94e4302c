"""What the fault tests share: sizes of the short and the long form, seeds, records of what ran, and the gates that
every fault must pass.

    PE_LONG=1    the long form (`make soak`), else the short one of `make test`
    PE_SEED      where the random choices start; a fresh one when it is not set, printed with every result
    PE_RECORDS   file that each result is appended to, one JSON object a line
"""

import json
import os
import random
import re
import shutil
import subprocess
import threading
import time
from pathlib import Path

import psycopg
import pytest
from cluster import ROOT

LONG = os.environ.get("PE_LONG") == "1"
SEED = int(os.environ.get("PE_SEED") or random.SystemRandom().randrange(1, 10**9))

# What a server's log says only when a process died or was about to.
BROKEN = re.compile(r"terminated by signal|PANIC|TRAP:|memory allocation of|non-unwinding|XX000|stack overflow")


def size(short, long):
    """How much of something this run does."""
    return long if LONG else short


def rng(name):
    """Random choices of one test: the same for the same seed."""
    return random.Random(f"{SEED}:{name}")


def commit():
    """The commit that is tested."""
    done = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"


def record(name, **figures):
    """Prints a result, and appends it to the file of records where there is one."""
    line = {"test": name, "seed": SEED, "form": "long" if LONG else "short", **figures}
    print(json.dumps(line))
    if path := os.environ.get("PE_RECORDS"):
        line |= {"commit": commit(), "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())}
        with open(path, "a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")


class Gates:
    """No process died, the server was not restarted, an idle session survived, and nobody saw XX000."""

    def __init__(self, cluster, dbname):
        self.cluster = cluster
        self.witness = cluster.connect(dbname)
        self.start = self._start()
        self.read = cluster.log.stat().st_size

    def _start(self):
        return self.witness.execute("SELECT pg_postmaster_start_time()").fetchone()

    def check(self):
        """Asserts that all of it holds since the last check."""
        assert self._start() == self.start, "the server was restarted"
        with open(self.cluster.log, encoding="utf-8", errors="replace") as log:
            log.seek(self.read)
            bad = [line.strip() for line in log if BROKEN.search(line)]
        self.read = self.cluster.log.stat().st_size
        assert not bad, bad[:5]

    def close(self):
        self.check()
        self.witness.close()


class Running:
    """A statement that runs in a session and a thread of its own; knows when it ended and how."""

    def __init__(self, session, statement, arguments=None):
        self.session, self.statement, self.arguments = session, statement, arguments
        self.error = self.rows = self.ended = None
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.began = time.monotonic()
        self.thread.start()

    def _run(self):
        try:
            cursor = self.session.execute(self.statement, self.arguments)
            self.rows = cursor.fetchall() if cursor.description else []
        except psycopg.Error as error:
            self.error = error
        self.ended = time.monotonic()

    def end(self, seconds=120):
        """Waits until it has ended; the error's SQLSTATE, "lost" for a broken connection, or None."""
        self.thread.join(seconds)
        assert not self.thread.is_alive(), f"still running after {seconds} s: {self.statement}"
        if self.error is None:
            return None
        return self.error.sqlstate or "lost"


def until(condition, what, seconds=20.0, pause=0.01):
    """Waits for a condition; fails when it does not come true in time."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(pause)
    return found


class Starved:
    """How long a process was ready to run and had no CPU: what a busy machine adds to every answer. Sampled, since a
    process that has ended does not tell any more."""

    def __init__(self, pid):
        self.path, self.samples, self.done = Path(f"/proc/{pid}/schedstat"), [], threading.Event()
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self):
        while not self.done.wait(0.005):
            try:
                waited = int(self.path.read_text(encoding="ascii").split()[1]) / 1e9
            except (OSError, IndexError):
                return
            self.samples.append((time.monotonic(), waited))

    def since(self, moment):
        """Seconds without a CPU since a moment, as far as it is known."""
        self.done.set()
        self.thread.join()
        later = [waited for at, waited in self.samples if at >= moment]
        return later[-1] - later[0] if later else 0.0


class Pulse:
    """When this process itself did not run, stopped from outside or without a processor: what a client measures
    meanwhile is nobody's answer."""

    BEAT, LATE = 0.02, 0.05

    def __init__(self):
        self.gaps, self.last, self.done = [], time.monotonic(), threading.Event()
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self):
        while not self.done.wait(self.BEAT):
            now = time.monotonic()
            if now - self.last > self.BEAT + self.LATE:
                self.gaps.append((self.last + self.BEAT, now))
            self.last = now

    def lost(self, began, ended):
        """Seconds between two moments in which it did not run."""
        # The last gap may not have been noted yet.
        gaps = [*self.gaps, (self.last + self.BEAT + self.LATE, time.monotonic())]
        return sum(max(0.0, min(ended, end) - max(began, start)) for start, end in gaps)

    def close(self):
        self.done.set()
        self.thread.join()


class Effort:
    """What a statement took of its own: all that its backend computed, and all that it slept. Waiting for a processor is
    not its doing, nor are the moments in which nobody was there to take the answer."""

    def __init__(self, session, pulse):
        self.session, self.pulse, self.path = session, pulse, Path(f"/proc/{session.info.backend_pid}/schedstat")

    def _spent(self):
        ran, waited, _ = self.path.read_text(encoding="ascii").split()
        return int(ran) / 1e9, int(waited) / 1e9

    def of(self, statement):
        """Runs the statement: the error, or None, and its own seconds."""
        (ran, waited), began, error = self._spent(), time.monotonic(), None
        try:
            self.session.execute(statement)
        except psycopg.Error as raised:
            error = raised
        ended, (ran_then, waited_then) = time.monotonic(), self._spent()
        slept = ended - began - (waited_then - waited) - self.pulse.lost(began, ended)
        # Both may have waited at once, which is taken off twice above.
        return error, max(slept, ran_then - ran)


def strace(pid, *arguments):
    """strace of a backend, at work when this returns; a skip where processes cannot be traced. Whoever calls ends it."""
    if not shutil.which("strace"):
        pytest.skip("no strace here")
    process = subprocess.Popen(["strace", "-qq", *map(str, arguments), "-p", str(pid)], stderr=subprocess.PIPE)
    deadline = time.monotonic() + 10
    while "TracerPid:\t0" in Path(f"/proc/{pid}/status").read_text(encoding="ascii"):
        if process.poll() is not None or time.monotonic() > deadline:
            process.kill()
            pytest.skip(f"cannot trace: {process.stderr.read().decode()}")
        time.sleep(0.01)
    return process


def percentile(values, share):
    """The value that `share` of the values do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]
