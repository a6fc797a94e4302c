#!/usr/bin/env bash
# pytest against real servers: more than one session, crashes, real data, the documentation's examples.
# Needs the cluster named by PE_CLUSTER. test-sessions.sh [PYTEST ARGUMENTS]
#
# Without arguments the fault tests, which have servers of their own, run beside the others: a test mostly waits for one
# backend. PE_JOBS=1: one after the other.
. "$(dirname "$0")/lib.sh"
. scripts/report.sh

need_setup
eval "$(scripts/cluster.sh env | sed 's/^/export /')"
logs=$ROOT/build/test-sessions
mkdir -p build
rm -f "$logs".*log*
passed=0 failed=0 skipped=0

# run NAME PYTEST ARGUMENTS...: into a log of that name.
run() {
    local name=$1
    shift
    "$PE_PYTHON" -m pytest -q -ra --tb=short --durations=5 -o cache_dir="$ROOT/build/pytest/$name" "$@" 2>&1 | tee "$logs.$name.log"
    return "${PIPESTATUS[0]}"
}

# add NAME STATUS: the counts of a run.
add() {
    local last=$logs.$1.log.last bad
    tail -n 1 "$logs.$1.log" >"$last"
    bad=$(($(count '\b([0-9]+) failed' "$last") + $(count '\b([0-9]+) errors?' "$last")))
    if [ "$2" -ne 0 ] && [ "$bad" -eq 0 ]; then bad=1; fi
    passed=$((passed + $(count '\b([0-9]+) passed' "$last")))
    skipped=$((skipped + $(count '\b([0-9]+) skipped' "$last")))
    failed=$((failed + bad))
}

status=0
if [ $# -gt 0 ] || [ "${PE_JOBS:-$(nproc)}" -lt 2 ]; then
    [ $# -gt 0 ] || set -- tests
    run all "$@" || status=$?
    add all "$status"
else
    # In a process group of its own, so that all of it can be stopped; a job in the background would not hear Ctrl-C.
    set -m
    run faults tests/t/test_fault_*.py >/dev/null &
    faults=$!
    set +m
    trap 'kill -TERM -- "-$faults" 2>/dev/null || true' EXIT
    trap 'exit 130' INT TERM
    run others tests --ignore-glob='*/test_fault_*.py' || status=$?
    add others "$status"
    status=0
    wait "$faults" || status=$?
    cat "$logs.faults.log"
    add faults "$status"
fi
report sessions "$passed" "$failed" "$skipped"
