#!/usr/bin/env bash
# pytest against real servers: more than one session, crashes, real data, the documentation's examples.
# Needs the cluster named by PE_CLUSTER. test-sessions.sh [PYTEST ARGUMENTS]
. "$(dirname "$0")/lib.sh"
. scripts/report.sh

need_setup
eval "$(scripts/cluster.sh env | sed 's/^/export /')"
log=$ROOT/build/test-sessions.log
mkdir -p build
[ $# -gt 0 ] || set -- tests
status=0
"$PE_PYTHON" -m pytest -q -ra --tb=short --durations=5 -o cache_dir="$ROOT/build/pytest" "$@" 2>&1 | tee "$log" || status=${PIPESTATUS[0]}
tail -n 1 "$log" >"$log.last"
failed=$(($(count '\b([0-9]+) failed' "$log.last") + $(count '\b([0-9]+) errors?' "$log.last")))
if [ "$status" -ne 0 ] && [ "$failed" -eq 0 ]; then failed=1; fi
report sessions "$(count '\b([0-9]+) passed' "$log.last")" "$failed" "$(count '\b([0-9]+) skipped' "$log.last")"
