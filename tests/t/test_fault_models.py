"""Hostile model directories inside a backend: graphs and tokenizers with bytes turned, parts cut off, shapes blown up,
types swapped, operators exchanged, other files named, in directories whose manifest has been forged to agree. Each is
registered and asked for a vector. No crash, no XX000, nothing that does not stop, and a sound model answers as before."""

import copy
import json
import os
import shutil
import time

import pytest
from cluster import install
from faults import SEED, Effort, Gates, Pulse, record, rng, size
from fuzzing import Generator
from servers import server
from small_encoder import graph, write
from test_fault_calls import DOCUMENTED, PANIC
from test_model import tokenizer
from test_numeric_memory import anonymous

MODELS = size(150, 5_000)
# statement_timeout, and within what it is answered.
SECONDS, SOON = 2.0, 1.0

HUGE = [0, -1, 1 << 20, 1 << 31, 1 << 40, (1 << 63) - 1]
OPERATORS = ["Relu", "Sigmoid", "Expand", "Tile", "Reshape", "NonZero", "ConstantOfShape", "Range", "Pad", "Slice", "Conv", "Softmax"]
OPERATORS += ["TopK", "Gather", "GatherND", "Resize", "Einsum", "CumSum", "LSTM", "Loop", "Scan", "If", "Evil", "QuantizeLinear"]


def mutate(made, choose):
    """Changes one thing of the graph."""
    graph, form = made.graph, choose.randrange(9)
    node, tensor = choose.choice(graph.node), choose.choice(graph.initializer)
    if form == 0:
        node.op_type = choose.choice(OPERATORS)
    elif form == 1 and node.input:
        node.input[choose.randrange(len(node.input))] = choose.choice(["", "x", "h", "input_ids", "weight", "nowhere", node.output[0]])
    elif form == 2 and tensor.dims:
        tensor.dims[choose.randrange(len(tensor.dims))] = choose.choice(HUGE)
    elif form == 3:
        tensor.data_type = choose.choice([0, 1, 2, 7, 8, 9, 10, 11, 16, 99])
    elif form == 4:
        tensor.ClearField("raw_data")
        tensor.data_location = 1
        for key, value in (("location", choose.choice(["/etc/passwd", "../../../etc/passwd", "tokenizer.json", "model.onnx", "x"])),
                           ("offset", str(choose.choice(HUGE))), ("length", str(choose.choice(HUGE)))):  # fmt: skip
            entry = tensor.external_data.add()
            entry.key, entry.value = key, value
    elif form == 5:
        graph.initializer[3].int64_data[0] = choose.choice(HUGE)
    elif form == 6:
        choose.choice([*graph.input, *graph.output]).type.tensor_type.elem_type = choose.choice([1, 6, 7, 8, 10, 11])
    elif form == 7:
        del graph.node[choose.randrange(len(graph.node))]
    else:
        made.opset_import[0].version = choose.choice([0, 1, 6, 13, 21, 99, (1 << 31) - 1])


def damage(content, choose):
    """The bytes with some turned, or cut off, or doubled."""
    content, form = bytearray(content), choose.randrange(4)
    if form == 0:
        return bytes(content[: choose.randrange(len(content))])
    if form == 1:
        place = choose.randrange(len(content))
        return bytes(content[:place] + content[max(0, place - 50) :])
    for _ in range(choose.choice([1, 2, 8, 40])):
        content[choose.randrange(len(content))] = choose.randrange(256)
    return bytes(content)


def hostile_tokenizer(choose, mutated):
    """A tokenizer with a changed place, or one of the known traps."""
    document = tokenizer()
    form = choose.randrange(8)
    if form == 0:
        document["pre_tokenizer"] = {"type": "Split", "pattern": {"Regex": choose.choice(["(a+)+$", "(?:(?:x?)*)*y", "(", "a{1,100000}"])},
                                     "behavior": "Isolated", "invert": False}  # fmt: skip
    elif form == 1:
        document["model"]["vocab"] = {word: choose.choice([0, 10**6, 2**32 - 1]) + number for number, word in enumerate(document["model"]["vocab"])}
    elif form == 2:
        document["normalizer"] = {"type": "Replace", "pattern": {"String": choose.choice(["a", ""])}, "content": "a" * 1000}
    elif form == 3:
        document["normalizer"] = {"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "aaaaaaaaaa"}] * 500}
    else:
        document = mutated(document)
    return json.dumps(document).encode()


@pytest.fixture
def limited(cluster):
    """A server whose processes cannot take all memory of the machine: a graph may ask for any amount, and what it gets
    is an error of the runtime."""
    with server(cluster, "models", memory=6 << 30) as own:
        yield own


@pytest.fixture
def directory(limited):
    """A directory for models, and in it one that may be changed."""
    root = limited.home / "models"
    shutil.rmtree(root, ignore_errors=True)
    (root / "small").mkdir(parents=True)
    os.chmod(root, 0o755)
    yield root / "small"
    shutil.rmtree(root)


REGISTER = "SELECT register_text_model('small', 'small')"
TRY = "SELECT text_embed(ARRAY['firm makes pumps', repeat('a', 5000), ''], 'small')"


def attempt(session, effort):
    """Registers the directory's model and runs it, in a transaction that is rolled back: SQLSTATE, message, own seconds
    of the longer statement."""
    code, message, longest = "00000", "", 0.0
    with session.transaction(force_rollback=True):
        session.execute(f"SET LOCAL statement_timeout = '{int(SECONDS * 1000)}'")
        for statement in (REGISTER, TRY):
            error, seconds = effort.of(statement)
            longest = max(longest, seconds)
            if error:
                code, message = error.sqlstate, str(error)
                break
    session.execute("SELECT unload_text_models()")
    return code, message, longest


def sound(session, directory, good):
    """The vectors of the model that all others are made from."""
    write(directory, good, json.dumps(tokenizer()).encode())
    with session.transaction(force_rollback=True):
        session.execute(REGISTER)
        (vectors,) = session.execute(TRY).fetchone()
    session.execute("SELECT unload_text_models()")
    return vectors


def test_twenty_models_in_one_session_stay_below_the_limit(limited, directory):
    """Each is used, in turn and then at random: those that were used last are held, all others are loaded again, with the
    same vectors."""
    onnx = pytest.importorskip("onnx")
    with limited.connect(limited.create_database()) as session:
        install(session)
        session.execute(f"SET prometheus_embed.model_directory = '{directory.parent}'; SET prometheus_embed.model_memory_limit = '20MB'")
        made = graph(onnx)
        # Of 3 MB each.
        made.doc_string = "x" * 3_000_000
        write(directory, made.SerializeToString(), json.dumps(tokenizer()).encode())
        names = [f"small-{number}" for number in range(20)]
        for name in names:
            session.execute("SELECT register_text_model(%s, 'small')", [name])
        expected, used, base = set(), [], None
        for name in [*names, *(rng("loaded").choice(names) for _ in range(60))]:
            expected.add(session.execute("SELECT text_embed(ARRAY['firm makes pumps'], %s)", [name]).fetchone()[0][0])
            used = [name, *(other for other in used if other != name)]
            held = session.execute("SELECT model_id, bytes FROM embed_loaded_models").fetchall()
            assert sum(size for _, size in held) <= 20 << 20
            assert {model for model, _ in held} == set(used[: len(held)])
            base = base or (anonymous(session.info.backend_pid) if len(used) == 20 else None)
        assert len(expected) == 1 and 4 <= len(held) <= 7
        assert anonymous(session.info.backend_pid) - base < 16 << 20


def test_the_time_of_a_statement_is_what_it_sleeps_and_computes(db):
    """What the next test judges by."""
    pulse = Pulse()
    effort = Effort(db, pulse)
    (error, slept), (_, computed) = effort.of("SELECT pg_sleep(0.3)"), effort.of("SELECT count(*) FROM generate_series(1, 2000000)")
    assert error is None and 0.2 < slept and 0.05 < computed
    assert effort.of("SELECT 1 / 0")[0].sqlstate == "22012"
    # Nobody was there to take an answer: none is late.
    began = time.monotonic()
    pulse.close()
    time.sleep(0.3)
    assert 0.2 < pulse.lost(began, time.monotonic()) <= 0.3
    assert effort.of("SELECT pg_sleep(0.3)")[1] < 0.1


def test_hostile_models(limited, directory, capsys):
    onnx = pytest.importorskip("onnx")
    name = limited.create_database()
    gates, choose = Gates(limited, name), rng("models")
    mutated = Generator(choose.randrange(1 << 30), [], []).mutated
    session = limited.connect(name)
    install(session)
    session.execute(f"SET prometheus_embed.model_directory = '{directory.parent}'")
    good = graph(onnx)
    before = sound(session, directory, good.SerializeToString())
    pulse = Pulse()
    effort = Effort(session, pulse)
    codes, slowest, faults, ran = {}, 0.0, [], 0
    for number in range(MODELS):
        form = choose.randrange(3)
        made = copy.deepcopy(good)
        if form == 0:
            for _ in range(choose.choice([1, 1, 2, 3])):
                mutate(made, choose)
        content = made.SerializeToString()
        if form == 1:
            content = damage(content, choose)
        text = hostile_tokenizer(choose, mutated) if form == 2 else json.dumps(tokenizer()).encode()
        write(directory, content, text)
        code, message, seconds = attempt(session, effort)
        codes[code] = codes.get(code, 0) + 1
        slowest, ran = max(slowest, seconds), ran + (code == "00000")
        if code not in DOCUMENTED | {"00000"} or PANIC.search(message):
            faults.append(f"{number}: {code} {message}")
        if seconds > SECONDS + SOON:
            faults.append(f"{number}: {seconds:.1f} s {code} {message}")
    pulse.close()
    with capsys.disabled():
        print()
        record("hostile_models", models=MODELS, ran=ran, codes=dict(sorted(codes.items())), slowest_s=round(slowest, 2), faults=len(faults))
    assert not faults, f"seed {SEED}:\n" + "\n".join(faults[:10])
    assert sound(session, directory, good.SerializeToString()) == before
    gates.close()
