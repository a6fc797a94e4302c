#!/usr/bin/env bash
# Every test layer in order, and one closing line. test.sh [LAYER...]: lint engine build regress sessions
. "$(dirname "$0")/lib.sh"

[ $# -gt 0 ] || set -- lint engine build regress sessions
layers=" $* "
wants() { [ "${layers#* "$1" }" != "$layers" ]; }

make_state_dir
exec 9>"$(state_dir)/test.lock"
flock -n 9 || die "another test run is under way in this checkout"

export PE_CLUSTER=test
PE_RESULTS=$(mktemp)
export PE_RESULTS
finish() {
    [ "${PE_KEEP:-0}" = 1 ] || scripts/cluster.sh drop || true
    rm -f "$PE_RESULTS"
}
trap finish EXIT
trap 'exit 130' INT TERM

# layer NAME TITLE COMMAND...: never fails itself; LAYER_STATUS says how it went. What ends badly without a
# count of its own counts as one failure. Call it plainly, see step.
LAYER_STATUS=0
layer() {
    local name=$1 title=$2 before
    shift 2
    before=$(wc -l <"$PE_RESULTS")
    set +e
    step "$title" "$@" 9>&-
    LAYER_STATUS=$?
    set -e
    if [ "$LAYER_STATUS" -ne 0 ] && [ "$(wc -l <"$PE_RESULTS")" -eq "$before" ]; then
        say "$name: 0 passed, 1 failed"
        say "$name 0 1 0" >>"$PE_RESULTS"
    fi
}

build() {
    scripts/prefix.sh
    scripts/build.sh
    scripts/stage.sh --private
}

fresh_cluster() {
    scripts/cluster.sh drop
    scripts/cluster.sh start
}

STEPS=$(($# + 2))
if wants regress || wants sessions; then STEPS=$((STEPS + 1)); fi

step "set-up" scripts/setup.sh
layer model "text model" scripts/model.sh
if wants lint; then layer lint "lint" scripts/lint.sh; fi
if wants engine; then layer engine "engine and house rules" scripts/test-engine.sh; fi
LAYER_STATUS=0
if wants build; then layer build "build and stage the extension" build; fi
if wants regress || wants sessions; then
    # On a server with yesterday's library the results would mean nothing.
    if [ "$LAYER_STATUS" -eq 0 ]; then layer cluster "private cluster" fresh_cluster; fi
    ready=$LAYER_STATUS
    for name in regress sessions; do
        wants "$name" || continue
        if [ "$ready" -eq 0 ]; then
            layer "$name" "$name" "scripts/test-$name.sh"
        else
            say "$name: not run, there is no server with this build"
        fi
    done
fi

say
say "took $SECONDS s"
awk '{ p += $2; f += $3; s += $4 }
     END { printf "%d passed, %d failed%s\n", p, f, s ? ", " s " skipped" : ""; exit f > 0 || p == 0 }' "$PE_RESULTS"
