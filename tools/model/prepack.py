"""Writes the model so that many processes share its weights.

ONNX Runtime rearranges matrices for the CPU when it loads a model: 43 MB of private memory in every process and
most of the loading time. It can save the rearranged form beside the weights and map it instead. That form holds
for one kind of CPU and one runtime version, so a second graph, over the same data file but without the rearranged
parts, is kept for all others.
"""

from __future__ import annotations

import platform
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort

GRAPH, PLAIN, DATA = "model.onnx", "model.plain.onnx", "model.onnx.data"
# The CPU features by which the runtime picks its kernels, and so the form of its rearranged matrices. The names
# are those of /proc/cpuinfo; engine/onnx/cpu.rs asks the CPU for the same ones.
CPU_FEATURES = ("avx", "avx2", "avx512bw", "avx512dq", "avx512f", "avx512vl", "avx512_vnni", "fma")


def cpu() -> str:
    """Name of the kind of CPU, e.g. `x86_64 avx avx2 fma`."""
    machine = platform.machine()
    if machine != "x86_64":
        return machine
    flags: set[str] = set()
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("flags"):
            flags = set(line.split(":", 1)[1].split())
            break
    return " ".join([machine, *(name for name in CPU_FEATURES if name in flags)])


def _options() -> ort.SessionOptions:
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    return options


def write(model: onnx.ModelProto, directory: Path) -> None:
    """Writes GRAPH, PLAIN and DATA into `directory`."""
    inline = directory / "inline.onnx"
    inline_data = directory / "inline.onnx.data"
    onnx.save_model(model, inline, save_as_external_data=True, all_tensors_to_one_file=True,
                    location=inline_data.name, size_threshold=1024)
    options = _options()
    options.optimized_model_filepath = str(directory / GRAPH)
    options.add_session_config_entry("session.optimized_model_external_initializers_file_name", DATA)
    options.add_session_config_entry("session.optimized_model_external_initializers_min_size_in_bytes", "1024")
    options.add_session_config_entry("session.save_external_prepacked_constant_initializers", "1")
    ort.InferenceSession(inline, options, providers=["CPUExecutionProvider"])
    inline.unlink()
    # A model of small tensors has none.
    inline_data.unlink(missing_ok=True)
    plain = onnx.load(directory / GRAPH, load_external_data=False)
    for tensor in plain.graph.initializer:
        kept = [entry for entry in tensor.external_data if not entry.key.startswith("prepacked")]
        del tensor.external_data[:]
        tensor.external_data.extend(kept)
    (directory / PLAIN).write_bytes(plain.SerializeToString())
    for file in directory.iterdir():
        file.chmod(0o644)


def check(directory: Path, hidden: int) -> None:
    """Runs both forms: finite, equal, a text's values untouched by its neighbour's padding."""
    ids = np.array([[1, 2, 3, 1], [1, 3, 2, 0]], np.int64)
    mask = np.array([[1, 1, 1, 1], [1, 1, 1, 0]], np.int64)
    results = []
    for name in (GRAPH, PLAIN):
        session = ort.InferenceSession(directory / name, _options(), providers=["CPUExecutionProvider"])
        both = session.run(None, {"input_ids": ids, "attention_mask": mask})[0]
        alone = session.run(None, {"input_ids": ids[1:, :3], "attention_mask": mask[1:, :3]})[0]
        if both.shape != (2, 4, hidden) or not np.isfinite(both).all() or np.abs(both[1:, :3] - alone).max() > 1e-6:
            raise RuntimeError(f"{name} does not compute what it should")
        results.append(both)
    if np.abs(results[0] - results[1]).max() > 1e-6:
        raise RuntimeError("the two forms of the model differ")
