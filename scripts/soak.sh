#!/usr/bin/env bash
# The long forms of the fault tests, in a private cluster: soak.sh [NAME...]
# NAME is that of tests/t/test_fault_NAME.py or tests/soak/soak_NAME.py; without one, all of them run.
# PE_SEED=N repeats the random choices of an earlier run, PE_LONG=0 takes the small data of `make test`. Results: build/soak, see tests/soak/README.md.
. "$(dirname "$0")/lib.sh"

export PE_CLUSTER=${PE_CLUSTER:-soak} PE_LONG=${PE_LONG:-1}
export PE_SEED=${PE_SEED:-$((RANDOM * 32768 + RANDOM + 1))}
out=$ROOT/build/soak
mkdir -p "$out"
export PE_RECORDS=$out/records.jsonl
trap 'scripts/cluster.sh drop || true' EXIT
trap 'exit 130' INT TERM

prepare() {
    [ "${PE_STAGED:-0}" = 1 ] || { scripts/prefix.sh; scripts/build.sh; scripts/stage.sh --private; }
    scripts/cluster.sh drop
    scripts/cluster.sh start
}

files=()
for file in tests/t/test_fault_*.py tests/soak/soak_*.py; do
    name=$(basename "$file" .py)
    name=${name#test_fault_} name=${name#soak_}
    [ -f "$file" ] || continue
    case " $* " in "  " | *" $name "*) files+=("$file") ;; esac
done
[ ${#files[@]} -gt 0 ] || die "no long test is called $*" "See tests/soak/README.md."

STEPS=3
step "set-up" need_setup
step "build, stage, start a cluster" prepare
say "seed $PE_SEED, records in ${PE_RECORDS#"$ROOT"/}"
eval "$(scripts/cluster.sh env | sed 's/^/export /')"
status=0
step "long tests" "$PE_PYTHON" -m pytest -q -ra --tb=short --durations=10 -o cache_dir="$ROOT/build/pytest" \
    -o python_files='test_fault_*.py soak_*.py' "${files[@]}" || status=$?
[ ! -f "$PE_RECORDS" ] || "$PE_PYTHON" tests/soak/summary.py "$PE_RECORDS" >"$out/summary.md"
say "seed $PE_SEED; results: ${out#"$ROOT"/}/summary.md"
[ "$status" -eq 0 ]
