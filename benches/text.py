"""Text vectors against Python's onnxruntime with the same graph and batches, and against sentence-transformers.

Texts of about 30, 100 and 250 tokens, one backend with one thread; then the time from connecting to the first
vector, and memory: of a session before and after, of twenty sessions together, after 1,000 and 10,000 texts.

Run it with: make bench, or scripts/bench.sh text
"""

import os
import random
import statistics
import struct
import subprocess
import sys
import time
from pathlib import Path

# Every contender gets one thread; set before the libraries are loaded.
os.environ.update(OMP_NUM_THREADS="1", TOKENIZERS_PARALLELISM="false", HF_HUB_OFFLINE="1")
sys.path.insert(0, str(Path(__file__).resolve().parent / "lib"))

import harness  # noqa: E402
import numpy as np  # noqa: E402

ROUNDS = int(os.environ.get("BENCH_ROUNDS", "5"))
SCALE = float(os.environ.get("BENCH_SCALE", "1"))
SESSIONS = 20
BATCH_TOKENS, MAX_TOKENS, DIM = 512, 512, 384
WORDS = (
    "the company designs makes and sells industrial pumps valves seals and flow control systems for oil gas water power "
    "and chemical customers worldwide its credit risk rose after quarterly revenue fell short of guidance while margins "
    "improved management expects stable demand litigation over a legacy plant continues and the board approved a dividend"
).split()
SIZES = {"short": (28, 256), "medium": (98, 96), "long": (248, 48)}


def texts(words, count):
    rng = random.Random(words)
    return [" ".join(rng.choices(WORDS, k=int(words * rng.uniform(0.8, 1.2)))) for _ in range(max(4, int(count * SCALE)))]


def share_directory(server):
    done = subprocess.run([server.bindir / "pg_config", "--sharedir"], capture_output=True, text=True, check=True)
    return Path(done.stdout.strip()) / "prometheus_embed" / "models" / "all-MiniLM-L6-v2"


class PythonRuntime:
    """onnxruntime and tokenizers in this process: the same graph, the same batches, one thread."""

    def __init__(self, directory):
        import onnxruntime
        from tokenizers import Tokenizer

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        self.session = onnxruntime.InferenceSession(directory / "model.onnx", options, providers=["CPUExecutionProvider"])
        self.tokenizer = Tokenizer.from_file(str(directory / "tokenizer.json"))
        self.tokenizer.no_padding()
        self.tokenizer.enable_truncation(MAX_TOKENS)

    def embed(self, documents):
        ids = [encoding.ids for encoding in self.tokenizer.encode_batch_fast(documents)]
        vectors = np.empty((len(ids), DIM), np.float32)
        order = sorted(range(len(ids)), key=lambda i: len(ids[i]))
        while order:
            size = 1
            while size < len(order) and (size + 1) * len(ids[order[size]]) <= BATCH_TOKENS:
                size += 1
            group, order = order[:size], order[size:]
            vectors[group] = self.run([ids[i] for i in group])
        return vectors

    def run(self, rows):
        columns = max(map(len, rows))
        ids, mask = np.zeros((len(rows), columns), np.int64), np.zeros((len(rows), columns), np.int64)
        for i, row in enumerate(rows):
            ids[i, : len(row)], mask[i, : len(row)] = row, 1
        states = self.session.run(None, {"input_ids": ids, "attention_mask": mask})[0]
        pooled = (states * mask[:, :, None]).sum(1, dtype=np.float32) / mask.sum(1, keepdims=True)
        return pooled / np.linalg.norm(pooled, axis=1, keepdims=True)


def sentence_transformers(directory):
    """encode() of sentence-transformers with one thread, or None where it or its weights are not installed."""
    try:
        import torch
        from sentence_transformers import SentenceTransformer
    except ImportError:
        return None
    torch.set_num_threads(1)
    name = os.environ.get("BENCH_TORCH_MODEL", "sentence-transformers/all-MiniLM-L6-v2")
    model = SentenceTransformer(name, device="cpu")
    model.max_seq_length = MAX_TOKENS
    return lambda documents: model.encode(documents, batch_size=32, convert_to_numpy=True)


def connect(server, name):
    session = server.connect(name)
    session.prepare_threshold = None
    return session


def embed(session, documents):
    vectors = session.execute("SELECT text_embed(%s)", [documents], binary=True).fetchone()[0]
    return np.array([struct.unpack(f"<{DIM}f", vector) for vector in vectors], np.float32)


def kilobytes(pid, *kinds):
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.split(":")[0] in kinds)


def memory(session):
    """Private and proportional memory of a session's backend, in MB."""
    pid = session.info.backend_pid
    return kilobytes(pid, "Private_Clean", "Private_Dirty") / 1024, kilobytes(pid, "Pss") / 1024


def throughput(session, directory):
    contenders = {"prometheus_embed": lambda documents: embed(session, documents)}
    python = PythonRuntime(directory)
    contenders["python_onnxruntime"] = python.embed
    torch = sentence_transformers(directory)
    if torch is None:
        print("\nsentence-transformers is not installed: not compared")
    else:
        contenders["sentence_transformers"] = torch
    for size, (words, count) in SIZES.items():
        documents = texts(words, count)
        tokens = session.execute("SELECT avg(text_token_count(t)) FROM unnest(%s::text[]) t", [documents]).fetchone()[0]
        results = {name: run(documents) for name, run in contenders.items()}
        worst = max(np.abs(results["prometheus_embed"] - other).max() for other in results.values())
        runs = {name: lambda run=run, documents=documents: run(documents) for name, run in contenders.items()}
        report(size, documents, tokens, worst, measure(session, runs))


def measure(session, runs):
    """Seconds of processor time and by the clock of every run, in turn, so that a busy machine slows all alike."""
    backend = Path(f"/proc/{session.info.backend_pid}/schedstat")
    clocks = {name: [] for name in runs}
    for _ in range(ROUNDS):
        for name, run in runs.items():
            ours = name == "prometheus_embed"
            cpu = (lambda: int(backend.read_text().split()[0]) / 1e9) if ours else time.process_time
            before = cpu(), time.perf_counter()
            run()
            clocks[name].append((cpu() - before[0], time.perf_counter() - before[1]))
    return clocks


def report(size, documents, tokens, worst, clocks):
    print(f"\n{size}: {len(documents)} texts of {tokens:.0f} tokens on average (largest difference {worst:.1e})")
    print(f"  {'':22} {'texts/s':>8} {'per CPU s':>10}   prometheus_embed is x as fast: CPU (median), CPU (best), clock (median)")
    ours = clocks["prometheus_embed"]
    for name, times in clocks.items():
        cpu = [other[0] / own[0] for own, other in zip(ours, times, strict=True)]
        clock = [other[1] / own[1] for own, other in zip(ours, times, strict=True)]
        best = min(time[0] for time in times) / min(own[0] for own in ours)
        rate = [len(documents) / min(time[i] for time in times) for i in (1, 0)]
        ratios = f"{statistics.median(cpu):.2f}, {best:.2f}, {statistics.median(clock):.2f}"
        print(f"  {name.replace('_', ' '):22} {rate[0]:8.1f} {rate[1]:10.1f}   {ratios}")


def first_vector(server, name):
    times = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        with connect(server, name) as session:
            connected = time.perf_counter()
            session.execute("SELECT text_profile_embed('first'::text)").fetchone()
            done = time.perf_counter()
            load = session.execute("SELECT load_ms FROM embed_loaded_models").fetchone()[0]
        times.append((done - start, done - connected, load / 1e3))
    best = [min(column) * 1e3 for column in zip(*times, strict=True)]
    print(f"\nfirst vector: {best[0]:.0f} ms after beginning to connect, {best[1]:.0f} ms after being connected; loading {best[2]:.0f} ms")


def memory_of_sessions(server, name):
    sessions = [connect(server, name) for _ in range(SESSIONS)]
    sessions[0].execute("SELECT text_profile_embed('first'::text)")
    before = memory(sessions[1])
    sessions[1].execute("SELECT text_profile_embed('first'::text)")
    after = memory(sessions[1])
    print(f"\nmemory of a session, private / proportional: {before[0]:.1f} / {before[1]:.1f} MB connected, "
          f"{after[0]:.1f} / {after[1]:.1f} MB after its first vector: {after[0] - before[0]:.1f} MB private more (target: at most 40)")
    for session in sessions:
        session.execute("SELECT text_profile_embed('first'::text)")
    both = [memory(session) for session in sessions]
    print(f"{SESSIONS} sessions with the model: {statistics.mean(p for p, _ in both):.1f} MB private and "
          f"{statistics.mean(s for _, s in both):.1f} MB proportional each")
    large = texts(600, 16)
    dirty = kilobytes(sessions[1].info.backend_pid, "Anonymous")
    embed(sessions[1], large)
    left = kilobytes(sessions[1].info.backend_pid, "Anonymous") - dirty
    print(f"after {len(large)} texts of 512 tokens: {left / 1024:.1f} MB private more")
    for session in sessions:
        session.close()


def memory_of_backfills(session):
    session.execute(
        "INSERT INTO profiles (issuer_id, as_of_date, structured, risk_flags) SELECT 'i' || i, '2024-01-02', "
        "jsonb_build_object('risk_summary', 'Risk of issuer ' || i), '{}' FROM generate_series(1, %s) i",
        [int(10_000 * SCALE)],
    )
    marks = []
    for count in (1_000, 10_000):
        session.execute(
            "SELECT count(*) FROM backfill_profile_text('2024-01-02', max_entities => %s, on_existing => 'replace')",
            [int(count * SCALE)],
        )
        # Anonymous memory: touched pages of the shared buffers would count as private.
        marks.append(kilobytes(session.info.backend_pid, "Anonymous") / 1024)
    print(f"\nprivate memory after a backfill of 1,000 texts {marks[0]:.1f} MB, of 10,000 {marks[1]:.1f} MB: "
          f"{marks[1] / marks[0]:.2f} x (target: at most 1.10)")


def main():
    server = harness.cluster()
    name = harness.database(server)
    session = connect(server, name)
    harness.print_machine(session)
    throughput(session, share_directory(server))
    first_vector(server, name)
    memory_of_sessions(server, name)
    with connect(server, name) as fresh:
        memory_of_backfills(fresh)


if __name__ == "__main__":
    harness.run("text", main)
