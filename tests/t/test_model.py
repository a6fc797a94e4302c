"""make model with a model of one's own: a tiny BERT, built, registered, and compared with its definition."""

import json
import math
import os
import shutil
import struct
import subprocess
import sys

import numpy as np
import pytest
from cluster import ROOT

DIM, HEADS, LAYERS, VOCAB, POSITIONS, WIDE = 8, 2, 2, 12, 16, 16
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
WORDS = ["pump", "valve", "bank", "##s", "risk", "oil", "gas", "x"]


def weights():
    rng = np.random.default_rng(7)
    shapes = {
        "embeddings.word_embeddings.weight": (VOCAB, DIM),
        "embeddings.position_embeddings.weight": (POSITIONS, DIM),
        "embeddings.token_type_embeddings.weight": (2, DIM),
    }
    norms = ["embeddings.LayerNorm"]
    for layer in range(LAYERS):
        name = f"encoder.layer.{layer}"
        linear = {f"attention.self.{part}": (DIM, DIM) for part in ("query", "key", "value")}
        linear |= {"attention.output.dense": (DIM, DIM), "intermediate.dense": (WIDE, DIM), "output.dense": (DIM, WIDE)}
        for part, shape in linear.items():
            shapes[f"{name}.{part}.weight"], shapes[f"{name}.{part}.bias"] = shape, shape[:1]
        norms += [f"{name}.attention.output.LayerNorm", f"{name}.output.LayerNorm"]
    for norm in norms:
        shapes[f"{norm}.weight"] = shapes[f"{norm}.bias"] = (DIM,)
    return {name: rng.normal(0, 0.5, shape).astype(np.float32) for name, shape in shapes.items()}


def vector(w, ids):
    """The definition of BERT, first token, in float64."""

    def linear(x, name):
        return x @ w[f"{name}.weight"].T.astype(float) + w[f"{name}.bias"]

    def norm(x, name):
        centred = x - x.mean(-1, keepdims=True)
        return centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-12) * w[f"{name}.weight"] + w[f"{name}.bias"]

    x = w["embeddings.word_embeddings.weight"][ids].astype(float) + w["embeddings.position_embeddings.weight"][: len(ids)]
    x = norm(x + w["embeddings.token_type_embeddings.weight"][0], "embeddings.LayerNorm")
    for layer in range(LAYERS):
        name = f"encoder.layer.{layer}"
        q, k, v = (linear(x, f"{name}.attention.self.{p}").reshape(len(ids), HEADS, -1).swapaxes(0, 1) for p in ("query", "key", "value"))
        scores = np.exp(q @ k.swapaxes(1, 2) / math.sqrt(DIM // HEADS))
        mixed = (scores / scores.sum(-1, keepdims=True) @ v).swapaxes(0, 1).reshape(len(ids), DIM)
        x = norm(linear(mixed, f"{name}.attention.output.dense") + x, f"{name}.attention.output.LayerNorm")
        wide = linear(x, f"{name}.intermediate.dense")
        wide = wide * 0.5 * (1 + np.vectorize(math.erf)(wide / math.sqrt(2)))
        x = norm(linear(wide, f"{name}.output.dense") + x, f"{name}.output.LayerNorm")
    return x[0]


def tokenizer():
    vocabulary = {word: number for number, word in enumerate(SPECIAL + WORDS)}
    special = {name: {"id": name, "ids": [vocabulary[name]], "tokens": [name]} for name in ("[CLS]", "[SEP]")}
    around = [{"SpecialToken": {"id": "[CLS]", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}},
              {"SpecialToken": {"id": "[SEP]", "type_id": 0}}]
    return {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": [], "decoder": None,
        "normalizer": {"type": "BertNormalizer", "clean_text": True, "handle_chinese_chars": True, "strip_accents": None, "lowercase": True},
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": {"type": "TemplateProcessing", "single": around, "pair": around, "special_tokens": special},
        "model": {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##", "max_input_chars_per_word": 100, "vocab": vocabulary},
    }


def write_source(directory, **config):
    safetensors = pytest.importorskip("safetensors.numpy")
    directory.mkdir()
    tensors = {f"bert.{name}": value for name, value in weights().items()}
    safetensors.save_file(tensors, directory / "model.safetensors")
    defaults = {
        "model_type": "bert", "hidden_act": "gelu", "hidden_size": DIM, "num_hidden_layers": LAYERS, "vocab_size": VOCAB,
        "num_attention_heads": HEADS, "max_position_embeddings": POSITIONS, "intermediate_size": WIDE, "layer_norm_eps": 1e-12,
    }
    (directory / "config.json").write_text(json.dumps(defaults | config))
    (directory / "tokenizer.json").write_text(json.dumps(tokenizer()))
    (directory / "modules.json").write_text(json.dumps([{"type": "sentence_transformers.models.Pooling"}]))
    (directory / "1_Pooling").mkdir()
    (directory / "1_Pooling" / "config.json").write_text(json.dumps({"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}))
    return directory


def build(source, models, work):
    pytest.importorskip("onnxruntime")
    command = [sys.executable, ROOT / "tools" / "model" / "build.py", "--models", models, "--runtime", work / "lib",
               "--download", work / "download", "--source", source]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture
def models(cluster):
    root = cluster.data.parent / "models-of-test"
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir()
    os.chmod(root, 0o755)
    yield root
    shutil.rmtree(root)


def test_a_model_of_ones_own(db, models, tmp_path):
    source = write_source(tmp_path / "tiny")
    done = build(source, models, tmp_path)
    assert done.returncode == 0, done.stderr
    assert "up to date" in build(source, models, tmp_path).stdout
    manifest = json.loads((models / "tiny" / "manifest.json").read_text())
    assert [manifest[key] for key in ("dim", "max_tokens", "pooling", "normalise")] == [DIM, POSITIONS, "cls", False]

    db.execute(f"SET prometheus_embed.model_directory = '{models}'")
    assert db.execute("SELECT register_text_model('tiny', 'tiny')").fetchone() == ("tiny",)
    texts = ["pumps", "oil risk", "a bank valve gas", ""]
    ids = [[2, 4, 7, 3], [2, 9, 8, 3], [2, 1, 6, 5, 10, 3], [2, 3]]
    got = db.execute("SELECT text_embed(%s, 'tiny')", [texts]).fetchone()[0]
    for stored, tokens in zip(got, ids, strict=True):
        assert np.abs(np.array(struct.unpack(f"<{DIM}f", stored)) - vector(weights(), tokens)).max() < 1e-5
    assert db.execute("SELECT text_token_count(repeat('pump ', 20), 'tiny')").fetchone() == (22,)
    assert len(db.execute("SELECT text_profile_embed(repeat('pump ', 20), 'tiny')").fetchone()[0]) == 4 * DIM


@pytest.mark.parametrize(
    ("config", "words"),
    [({"model_type": "roberta"}, "model_type is 'roberta'"), ({"hidden_act": "relu"}, "hidden_act"),
     ({"num_attention_heads": 3}, "no multiple"), ({"num_hidden_layers": 3}, "encoder.layer.2")],
)
def test_what_is_no_such_model_is_refused(models, tmp_path, config, words):
    done = build(write_source(tmp_path / "odd", **config), models, tmp_path)
    assert (done.returncode, words in done.stderr) == (1, True), done.stderr
    assert not (models / "odd").exists()
