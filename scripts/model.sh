#!/usr/bin/env bash
# Makes the model directory of the text functions, and fetches the runtime they need:
#   build/share/models/NAME   graph, weights, tokenizer, manifest
#   build/lib                 the ONNX Runtime library
# where scripts/stage.sh picks them up. Does nothing when they are current.
#
# MODEL_SRC=/some/dir   a local directory of a BERT-type sentence encoder (config.json, model.safetensors,
#                       tokenizer.json) instead of all-MiniLM-L6-v2
. "$(dirname "$0")/lib.sh"

"$PE_PYTHON" -c 'import onnx, onnxruntime, safetensors' 2>/dev/null || scripts/setup.sh

arguments=(--models build/share/models --runtime build/lib --download build/download)
[ -z "${MODEL_SRC:-}" ] || arguments+=(--source "$MODEL_SRC")
"$PE_PYTHON" tools/model/build.py "${arguments[@]}"
