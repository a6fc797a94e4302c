#!/usr/bin/env bash
# Benchmarks: criterion over the engine (benches/*.rs), then the SQL ones (benches/*.py) in a private cluster.
# bench.sh [--keep] [NAME...]: only those of these names and their groups ("engine" is criterion's, "text" also runs
# text_sessions).
# --keep, or BENCH_KEEP=1: each writes what it printed to benches/results/NAME.txt.
. "$(dirname "$0")/lib.sh"

export PE_CLUSTER=bench PE_DURABLE=1
trap 'scripts/cluster.sh drop || true' EXIT
trap 'exit 130' INT TERM

keep=() names=()
[ "${BENCH_KEEP:-0}" != 1 ] || keep=(--keep)
for argument in "$@"; do
    case $argument in
        --keep) keep=(--keep) ;;
        *) names+=("$argument") ;;
    esac
done

# wanted NAME: it was named, or its group was ("text" is text and text_sessions), or none was.
wanted() {
    local name
    [ "${#names[@]}" -gt 0 ] || return 0
    for name in "${names[@]}"; do case $1 in "$name" | "$name"_*) return 0 ;; esac; done
    return 1
}

engine() {
    cargo bench --locked --no-default-features --features onnx
    "$PE_PYTHON" benches/lib/criterion.py "${keep[@]}"
}

# The published Python system's own packages, for the comparison with it.
packages() { "$PE_PYTHON" -m pip install --quiet --disable-pip-version-check -r benches/requirements.txt; }

prepare() {
    packages
    scripts/prefix.sh
    scripts/build.sh
    scripts/stage.sh --private
    scripts/cluster.sh drop
    scripts/cluster.sh start
}

programs=()
for file in benches/*.py; do
    if [ -f "$file" ] && wanted "$(basename "$file" .py)"; then programs+=("$file"); fi
done
for name in "${names[@]}"; do
    [ "$name" = engine ] || [ -f "benches/$name.py" ] || die "there is no benchmark $name"
done

STEPS=1
if wanted engine; then STEPS=$((STEPS + 1)); fi
if [ "${#programs[@]}" -gt 0 ]; then STEPS=$((STEPS + 1 + ${#programs[@]})); fi
step "set-up" scripts/setup.sh
if wanted engine; then step "engine benchmarks" engine; fi
if [ "${#programs[@]}" -gt 0 ]; then
    step "private cluster, with fsync" prepare
    eval "$(scripts/cluster.sh env | sed 's/^/export /')"
    for file in "${programs[@]}"; do step "$file" "$PE_PYTHON" "$file" "${keep[@]}"; done
fi
