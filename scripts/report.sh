# shellcheck shell=bash
# How a test layer closes: one line with its counts, also kept for the sum that `make test` prints.

# report LAYER PASSED FAILED [SKIPPED]; returns 1 when something failed.
report() {
    local skipped=${4:-0} line
    line="$2 passed, $3 failed"
    [ "$skipped" -eq 0 ] || line="$line, $skipped skipped"
    printf '%s: %s\n' "$1" "$line"
    [ -z "${PE_RESULTS:-}" ] || printf '%s %d %d %d\n' "$1" "$2" "$3" "$skipped" >>"$PE_RESULTS"
    [ "$3" -eq 0 ]
}

# count REGEX FILE: the sum of the numbers that the first group of REGEX (sed -E) matches.
count() { sed -nE "s/.*$1.*/\\1/p" "$2" | awk '{ n += $1 } END { print n + 0 }'; }
