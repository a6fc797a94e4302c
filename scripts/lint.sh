#!/usr/bin/env bash
# Style and supply chain: formatting, clippy on both floors, dependencies, shell scripts, Python files.
. "$(dirname "$0")/lib.sh"
. scripts/report.sh

need_setup
pg=pg$(pg_major "$(pg_config_path)")
passed=0 failed=0

check() {
    local title=$1 started=$SECONDS
    shift
    if "$@"; then
        passed=$((passed + 1))
        printf '  ok      %s (%d s)\n' "$title" "$((SECONDS - started))"
    else
        failed=$((failed + 1))
        printf '  FAILED  %s\n' "$title"
    fi
}

clippy() { cargo clippy --quiet --locked --all-targets --no-default-features --features "$1" -- -D warnings; }

# Compiles every Python file without leaving compiled files behind.
python_syntax() {
    git ls-files -co --exclude-standard -- '*.py' | "$PE_PYTHON" -c '
import sys
for name in sys.stdin.read().split():
    compile(open(name, encoding="utf-8").read(), name, "exec")'
}

check_sql() { git ls-files -co --exclude-standard -- 'sql/*.sql' 'migrations/*.sql' | xargs "$PE_PYTHON" scripts/check_sql.py; }

check "cargo fmt" cargo fmt --check
check "clippy, engine floor" clippy onnx
# What fuzz/ builds.
check "engine without a runtime" cargo check --quiet --locked --lib --no-default-features
check "clippy, Postgres floor" clippy "$pg onnx"
check "licences, sources, pins" "$PE_PYTHON" scripts/check_deps.py
check "shellcheck" shellcheck -x -P scripts scripts/*.sh .ci/run
check "Python syntax" python_syntax
check "SQL that no search_path changes" check_sql
report lint "$passed" "$failed"
