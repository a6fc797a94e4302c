"""Hostile model directories inside a backend: graphs and tokenizers with bytes turned, parts cut off, shapes blown up,
types swapped, operators exchanged, other files named, in directories whose manifest has been forged to agree. Each is
registered and asked for a vector. No crash, no XX000, nothing that does not stop, and the published model answers as
before."""

import copy
import json
import os
import shutil
import time

import numpy as np
import psycopg
import pytest
from cluster import install
from faults import SEED, Gates, Starved, record, rng, size
from fuzzing import Generator
from servers import server
from test_fault_calls import DOCUMENTED, PANIC
from test_model import VOCAB, tokenizer
from test_text import forge

DIM = 8
MODELS = size(150, 5_000)
SECONDS = 2.0


def graph(onnx):
    """A small encoder: embeddings, one layer, a norm, in plain operators."""
    helper, numbers = onnx.helper, np.random.default_rng(3)

    def constant(name, *shape):
        values = numbers.normal(0, 1, shape).astype(np.float32)
        return helper.make_tensor(name, 1, shape, values.tobytes(), raw=True)

    node = helper.make_node
    nodes = [
        node("Gather", ["words", "input_ids"], ["x"]),
        node("MatMul", ["x", "weight"], ["y"]),
        node("Add", ["y", "bias"], ["z"]),
        node("Tanh", ["z"], ["r"]),
        node("Shape", ["input_ids"], ["s"]),
        node("Concat", ["s", "last"], ["shape"], axis=0),
        node("Reshape", ["r", "shape"], ["h"]),
        node("Cast", ["attention_mask"], ["m"], to=1),
        node("Unsqueeze", ["m", "axis"], ["u"]),
        node("Mul", ["h", "u"], ["last_hidden_state"]),
    ]
    fixed = [
        constant("words", VOCAB, DIM), constant("weight", DIM, DIM), constant("bias", DIM),
        helper.make_tensor("last", 7, [1], [DIM]), helper.make_tensor("axis", 7, [1], [2]),
    ]  # fmt: skip
    inputs = [helper.make_tensor_value_info(name, 7, ["b", "t"]) for name in ("input_ids", "attention_mask")]
    outputs = [helper.make_tensor_value_info("last_hidden_state", 1, ["b", "t", DIM])]
    made = helper.make_model(helper.make_graph(nodes, "g", inputs, outputs, fixed), ir_version=8)
    made.opset_import[0].version = 17
    return made


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


def write(directory, onnx_bytes, tokenizer_bytes):
    """The two files, and a manifest that agrees with them."""
    (directory / "model.onnx").write_bytes(onnx_bytes)
    (directory / "tokenizer.json").write_bytes(tokenizer_bytes)
    files = [{"name": name, "bytes": 0, "sha256": ""} for name in ("model.onnx", "tokenizer.json")]
    manifest = {"format": 1, "name": "small", "dim": DIM, "max_tokens": 32, "pooling": "mean", "normalise": True,
                "graph": "model.onnx", "tokenizer": "tokenizer.json", "files": files}  # fmt: skip
    (directory / "manifest.json").write_text(json.dumps(manifest))
    forge(directory)


TRY = "SELECT octet_length(v) FROM unnest(text_embed(ARRAY['firm makes pumps', repeat('a', 5000), ''], 'small')) v"


def attempt(session):
    """Registers the directory's model and runs it, in a transaction that is rolled back: SQLSTATE, message, seconds
    without those in which the backend had no processor."""
    starved, began = Starved(session.info.backend_pid), time.monotonic()
    code = message = "00000"
    with session.transaction(force_rollback=True):
        session.execute(f"SET LOCAL statement_timeout = '{int(SECONDS * 1000)}'")
        try:
            with session.transaction():
                session.execute("SELECT register_text_model('small', 'small')")
                session.execute(TRY)
        except psycopg.Error as error:
            code, message = error.sqlstate, str(error)
    session.execute("SELECT unload_text_models()")
    return code, message, time.monotonic() - began - starved.since(began)


def test_hostile_models(limited, directory, capsys):
    onnx = pytest.importorskip("onnx")
    name = limited.create_database()
    gates, choose = Gates(limited, name), rng("models")
    mutated = Generator(choose.randrange(1 << 30), [], []).mutated
    session = limited.connect(name)
    install(session)
    session.execute(f"SET prometheus_embed.model_directory = '{directory.parent}'")
    good = graph(onnx)
    write(directory, good.SerializeToString(), json.dumps(tokenizer()).encode())
    assert attempt(session)[0] == "00000", "the model that all others are made from"
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
        code, message, seconds = attempt(session)
        codes[code] = codes.get(code, 0) + 1
        slowest, ran = max(slowest, seconds), ran + (code == "00000")
        if code not in DOCUMENTED | {"00000"} or PANIC.search(message):
            faults.append(f"{number}: {code} {message}")
        # The timeout counts for each of two statements; the rest is what a busy machine adds.
        if seconds > 2 * SECONDS + 3:
            faults.append(f"{number}: {seconds:.1f} s {code} {message}")
    with capsys.disabled():
        print()
        record("hostile_models", models=MODELS, ran=ran, codes=dict(sorted(codes.items())), slowest_s=round(slowest, 2), faults=len(faults))
    assert not faults, f"seed {SEED}:\n" + "\n".join(faults[:10])
    gates.close()
