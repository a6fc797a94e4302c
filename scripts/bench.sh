#!/usr/bin/env bash
# Benchmarks: criterion over the engine (benches/*.rs), then the SQL ones (benches/*.py) in a private cluster.
# bench.sh [NAME...]: only the SQL benchmarks of these names.
. "$(dirname "$0")/lib.sh"

export PE_CLUSTER=bench PE_DURABLE=1
trap 'scripts/cluster.sh drop || true' EXIT
trap 'exit 130' INT TERM

engine() {
    if compgen -G 'benches/*.rs' >/dev/null; then
        cargo bench --locked --no-default-features --features onnx
    else
        say "    there are none"
    fi
}

prepare() {
    scripts/prefix.sh
    scripts/build.sh
    scripts/stage.sh --private
    scripts/cluster.sh drop
    scripts/cluster.sh start
}

programs=()
for file in benches/*.py; do
    name=$(basename "$file" .py)
    [ -f "$file" ] || continue
    case " $* " in "  " | *" $name "*) programs+=("$file") ;; esac
done

STEPS=$((3 + ${#programs[@]}))
step "set-up" scripts/setup.sh
step "engine benchmarks" engine
step "private cluster, with fsync" prepare
eval "$(scripts/cluster.sh env | sed 's/^/export /')"
for file in "${programs[@]}"; do step "$file" "$PE_PYTHON" "$file"; done
