#!/usr/bin/env bash
# Type-checks the extension (clippy, no warnings) for the PostgreSQL versions that need not be installed:
# check-majors.sh [MAJOR...], by default every version of Cargo.toml.
#
# pgrx carries bindings of every version, made from that version's headers, for its own documentation. They take
# the place of headers here. Nothing is linked and nothing runs: `make test`, `make test-pg17` and `make test-pg18`
# are for that.
. "$(dirname "$0")/lib.sh"

[ $# -gt 0 ] || mapfile -t majors < <(sed -nE 's/^pg([0-9]+) *=.*/\1/p' Cargo.toml)
[ $# -eq 0 ] || majors=("$@")

# Only the crate of the bindings must believe that this is for documentation: others would ask for an unstable Rust.
wrapper=$ROOT/target/majors/rustc
mkdir -p "${wrapper%/*}"
cat >"$wrapper" <<'END'
#!/bin/sh
rustc=$1
shift
case " $* " in *" --crate-name pgrx_pg_sys "*) set -- "$@" --cfg docsrs ;; esac
exec "$rustc" "$@"
END
chmod +x "$wrapper"

check() {
    DOCS_RS=1 RUSTC_WRAPPER=$wrapper CARGO_TARGET_DIR=$ROOT/target/majors \
        cargo clippy --quiet --locked --lib --no-default-features --features "pg$1 onnx" -- -D warnings
}

STEPS=${#majors[@]}
failed=()
for major in "${majors[@]}"; do
    set +e
    step "PostgreSQL $major" check "$major"
    status=$?
    set -e
    [ "$status" -eq 0 ] || failed+=("$major")
done
[ "${#failed[@]}" -eq 0 ] || die "does not compile for PostgreSQL ${failed[*]}"
say "compiles for PostgreSQL ${majors[*]}"
