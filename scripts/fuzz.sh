#!/usr/bin/env bash
# Coverage-guided fuzzing of the engine's readers with the address sanitizer: fuzz.sh [SECONDS [TARGET...]]
# 60 seconds each of all targets of fuzz/targets.rs by default. Needs cargo-fuzz and a nightly toolchain. What is found
# on the way goes to build/fuzz/TARGET, an input that fails to build/fuzz/TARGET-*: mend it, and keep it in fuzz/corpus.
. "$(dirname "$0")/lib.sh"

seconds=${1:-60}
[ $# -eq 0 ] || shift
targets=("$@")
[ ${#targets[@]} -gt 0 ] || mapfile -t targets < <(cd fuzz/fuzz_targets && printf '%s\n' *.rs | sed 's/\.rs$//')
cargo +nightly fuzz --version >/dev/null 2>&1 ||
    die "cargo-fuzz or a nightly toolchain is missing" "Run: rustup toolchain install nightly && cargo install cargo-fuzz"
export PE_SEED=${PE_SEED:-$((RANDOM * 32768 + RANDOM + 1))}

fuzz() {
    local target=$1
    mkdir -p "build/fuzz/$target"
    cargo +nightly fuzz run --target-dir target/fuzz "$target" "build/fuzz/$target" "fuzz/corpus/$target" -- \
        -seed="$PE_SEED" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 -print_final_stats=1 -verbosity=0 \
        -artifact_prefix="build/fuzz/$target-" >"build/fuzz/$target.log" 2>&1 || { tail -n 40 "build/fuzz/$target.log"; return 1; }
    say "$target: $(sed -nE 's/^stat::number_of_executed_units: *//p' "build/fuzz/$target.log") runs," \
        "$(sed -nE 's/^stat::peak_rss_mb: *//p' "build/fuzz/$target.log") MB"
}

mkdir -p build/fuzz
say "seed $PE_SEED, $seconds s each"
failed=0
for target in "${targets[@]}"; do fuzz "$target" || failed=1; done
[ "$failed" -eq 0 ]
