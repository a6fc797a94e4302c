#!/usr/bin/env bash
# The engine's tests and the house rules (tests/*.rs): no Postgres needed.
. "$(dirname "$0")/lib.sh"
. scripts/report.sh

log=$ROOT/build/test-engine.log
mkdir -p build
status=0
cargo test --locked --no-default-features --features onnx --no-fail-fast 2>&1 | tee "$log" |
    grep -vE '^(test .* \.\.\. ok|running [0-9]+ tests?|)$' || status=${PIPESTATUS[0]}
passed=$(count '^test result: .* ([0-9]+) passed;' "$log")
failed=$(count '^test result: .* ([0-9]+) failed;' "$log")
# A test that does not compile, or a test program that crashed, leaves no result of its own.
if [ "$status" -ne 0 ] && [ "$failed" -eq 0 ]; then failed=1; fi
report engine "$passed" "$failed" "$(count '^test result: .* ([0-9]+) ignored;' "$log")"
