"""The ONNX graph of a BERT-type encoder, from its weights.

Inputs `input_ids` and `attention_mask` (int64, [batch, tokens]), output `last_hidden_state`
(float32, [batch, tokens, hidden]). Pooling and normalisation are left to the caller, which reads them from the
manifest. ONNX Runtime's fused operators are written directly: embeddings with layer norm, attention, bias with
GELU. Residual sums stay apart from their layer norms, because the fused form of those is slower on a CPU.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

MICROSOFT = "com.microsoft"
# Versions that ONNX Runtime 1.21 and later read; the onnx package would write newer ones by default.
OPSETS = [helper.make_opsetid("", 17), helper.make_opsetid(MICROSOFT, 1)]
IR_VERSION = 8


class UnsupportedModel(Exception):
    """The source is no BERT-type encoder this builder can express."""


def check_config(config: dict) -> None:
    """Refuses what the graph below would silently get wrong."""
    expected = {"model_type": "bert", "hidden_act": "gelu", "position_embedding_type": "absolute"}
    for key, value in expected.items():
        found = config.get(key, value)
        if found != value:
            raise UnsupportedModel(f"config.json: {key} is {found!r}, only {value!r} is supported")
    for key in ("hidden_size", "num_hidden_layers", "num_attention_heads", "max_position_embeddings", "vocab_size"):
        if not isinstance(config.get(key), int):
            raise UnsupportedModel(f"config.json: {key} is missing")
    if config["hidden_size"] % config["num_attention_heads"]:
        raise UnsupportedModel("config.json: hidden_size is no multiple of num_attention_heads")


class _Graph:
    """Collects nodes and float32 initialisers."""

    def __init__(self, weights: dict[str, np.ndarray], eps: float):
        self.weights, self.eps, self.last = weights, eps, -1
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []

    def weight(self, name: str) -> np.ndarray:
        """A tensor of the checkpoint, float32; some checkpoints prefix every name with `bert.`."""
        for candidate in (name, f"bert.{name}"):
            if candidate in self.weights:
                return np.asarray(self.weights[candidate], dtype=np.float32, order="C")
        raise UnsupportedModel(f"the weights hold no tensor {name!r}")

    def constant(self, name: str, value: np.ndarray) -> str:
        self.initializers.append(numpy_helper.from_array(np.asarray(value, np.float32, order="C"), name))
        return name

    def add(self, op: str, inputs: list[str], output: str, domain: str = "", **attributes) -> str:
        self.nodes.append(helper.make_node(op, inputs, [output], output, domain=domain, **attributes))
        return output

    def linear(self, x: str, name: str, output: str, bias: bool = True) -> str:
        """x W^T + b; torch keeps W as [out, in]."""
        product = self.add("MatMul", [x, self.constant(f"{name}.weight", self.weight(f"{name}.weight").T)], f"{output}.mm")
        if not bias:
            return product
        return self.add("Add", [product, self.constant(f"{name}.bias", self.weight(f"{name}.bias"))], output)

    def residual_norm(self, x: str, residual: str, name: str, output: str) -> str:
        total = self.add("Add", [x, residual], f"{output}.sum")
        gamma = self.constant(f"{name}.weight", self.weight(f"{name}.weight"))
        beta = self.constant(f"{name}.bias", self.weight(f"{name}.bias"))
        return self.add("LayerNormalization", [total, gamma, beta], output, axis=-1, epsilon=self.eps)

    def embeddings(self) -> str:
        """Word, position and (always zero) type embeddings with their layer norm."""
        self.add("Cast", ["input_ids"], "ids32", to=TensorProto.INT32)
        self.add("Cast", ["attention_mask"], "mask32", to=TensorProto.INT32)
        position = self.weight("embeddings.position_embeddings.weight")
        position = position + self.weight("embeddings.token_type_embeddings.weight")[0]
        inputs = [
            "ids32",
            "",
            self.constant("embeddings.word", self.weight("embeddings.word_embeddings.weight")),
            self.constant("embeddings.position", position),
            "",
            self.constant("embeddings.norm.gamma", self.weight("embeddings.LayerNorm.weight")),
            self.constant("embeddings.norm.beta", self.weight("embeddings.LayerNorm.bias")),
        ]
        self.nodes.append(
            helper.make_node("EmbedLayerNormalization", inputs, ["embedded", "mask_index"], "embedded",
                             domain=MICROSOFT, epsilon=self.eps)
        )
        return "embedded"

    def layer(self, x: str, index: int, heads: int) -> str:
        """One transformer block."""
        name, out = f"encoder.layer.{index}", f"layer.{index}"
        parts = [f"{name}.attention.self.{part}" for part in ("query", "key", "value")]
        qkv = np.concatenate([self.weight(f"{part}.weight").T for part in parts], axis=1)
        bias = np.concatenate([self.weight(f"{part}.bias") for part in parts])
        inputs = [x, self.constant(f"{out}.qkv.weight", qkv), self.constant(f"{out}.qkv.bias", bias), "mask32"]
        attended = self.add("Attention", inputs, f"{out}.attention", domain=MICROSOFT, num_heads=heads)
        attended = self.linear(attended, f"{name}.attention.output.dense", f"{out}.attention.out")
        x = self.residual_norm(attended, x, f"{name}.attention.output.LayerNorm", f"{out}.attention.norm")
        wide = self.linear(x, f"{name}.intermediate.dense", f"{out}.wide", bias=False)
        wide_bias = self.constant(f"{name}.intermediate.dense.bias", self.weight(f"{name}.intermediate.dense.bias"))
        wide = self.add("BiasGelu", [wide, wide_bias], f"{out}.gelu", domain=MICROSOFT)
        narrow = self.linear(wide, f"{name}.output.dense", f"{out}.narrow")
        last = "last_hidden_state" if index == self.last else f"{out}.output"
        return self.residual_norm(narrow, x, f"{name}.output.LayerNorm", last)


def build(config: dict, weights: dict[str, np.ndarray]) -> onnx.ModelProto:
    """The whole encoder as one ONNX model with its weights inline."""
    check_config(config)
    graph = _Graph(weights, float(config.get("layer_norm_eps", 1e-12)))
    layers = config["num_hidden_layers"]
    graph.last = layers - 1
    x = graph.embeddings()
    for index in range(layers):
        x = graph.layer(x, index, config["num_attention_heads"])
    tokens = ["batch", "tokens"]
    proto = helper.make_graph(
        graph.nodes,
        "sentence_encoder",
        [helper.make_tensor_value_info(name, TensorProto.INT64, tokens) for name in ("input_ids", "attention_mask")],
        [helper.make_tensor_value_info("last_hidden_state", TensorProto.FLOAT, tokens + [config["hidden_size"]])],
        graph.initializers,
    )
    return helper.make_model(proto, opset_imports=OPSETS, ir_version=IR_VERSION, producer_name="prometheus_embed")
