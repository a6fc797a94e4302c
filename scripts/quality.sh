#!/usr/bin/env bash
# How good the embeddings are: same-sector precision of every model and joint space, on ../shared/sp500 when it
# is there and on the generated demo universe otherwise, in a private cluster that is gone afterwards.
. "$(dirname "$0")/lib.sh"

make_state_dir
export PE_CLUSTER=quality
finish() { [ "${PE_KEEP:-0}" = 1 ] || scripts/cluster.sh drop || true; }
trap finish EXIT
trap 'exit 130' INT TERM

build() {
    if [ -x scripts/model.sh ]; then scripts/model.sh; fi
    scripts/prefix.sh
    scripts/build.sh
    scripts/stage.sh --private
}

cluster() {
    scripts/cluster.sh drop
    scripts/cluster.sh start
}

STEPS=4
step "set-up" scripts/setup.sh
step "build and stage the extension" build
step "private cluster" cluster
eval "$(scripts/cluster.sh env | sed 's/^/export /')"
step "measure" "$PE_PYTHON" scripts/quality.py "$@"
