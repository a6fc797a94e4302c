#!/usr/bin/env bash
# Builds the release library and the install scripts of the extension into build/pgNN/, laid out as below
# the root of the machine. Cargo decides what is stale; with nothing to do it takes about a second.
. "$(dirname "$0")/lib.sh"

need_setup
pg_config=$(pg_config_path)
major=$(pg_major "$pg_config")
out=$ROOT/build/pg$major

# What cargo compiles and complains about is of interest; what cargo-pgrx copies where is not.
without_chatter() {
    sed -uE -e 's/\x1b\[[0-9;]*m//g' \
        -e '/^ *(Using|Building|Running|Installing|Copying|Discovered|Writing|Finished installing) /d'
}

# Headers are looked up in cargo-pgrx's own settings, whatever --pg-config says.
pgrx_knows "$major" || cargo_pgrx init "--pg$major" "$pg_config" --no-run

rm -rf "$out"
mkdir -p "$out"
# The same features everywhere, so that nothing is compiled twice.
cargo_pgrx package --pg-config "$pg_config" --out-dir "$out" \
    --no-default-features --features "pg$major onnx" 2>&1 | without_chatter
