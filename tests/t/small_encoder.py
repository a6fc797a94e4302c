"""A text model that is quick to run: a small encoder over a vocabulary of a dozen words, in a directory with a manifest."""

import json

import numpy as np
from test_model import VOCAB
from test_text import forge

DIM = 8


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


def write(directory, onnx_bytes, tokenizer_bytes):
    """The two files, and a manifest that agrees with them."""
    (directory / "model.onnx").write_bytes(onnx_bytes)
    (directory / "tokenizer.json").write_bytes(tokenizer_bytes)
    files = [{"name": name, "bytes": 0, "sha256": ""} for name in ("model.onnx", "tokenizer.json")]
    manifest = {"format": 1, "name": "small", "dim": DIM, "max_tokens": 32, "pooling": "mean", "normalise": True,
                "graph": "model.onnx", "tokenizer": "tokenizer.json", "files": files}  # fmt: skip
    (directory / "manifest.json").write_text(json.dumps(manifest))
    forge(directory)
