#!/usr/bin/env bash
# Builds the extension for the Postgres of PG_CONFIG and copies it there. Only the copying is done as root.
. "$(dirname "$0")/lib.sh"

pg_config=$(pg_config_path)
lib=$("$pg_config" --pkglibdir)
share=$("$pg_config" --sharedir)
major=$(pg_major "$pg_config")

grep -q "^pg$major *=" Cargo.toml || die "PostgreSQL $major is not supported" "Cargo.toml lists the versions that are."
scripts/build.sh
scripts/model.sh ||
    say "the text model could not be made: everything else is installed, the text functions will say what they miss"

copy=(env "PG_CONFIG=$pg_config" "$ROOT/scripts/stage.sh" "$lib" "$share")
if [ -w "$lib" ] && [ -w "$share/extension" ]; then
    "${copy[@]}"
elif command -v sudo >/dev/null; then
    say "copying into $lib and $share/extension with sudo"
    sudo "${copy[@]}"
else
    die "$lib or $share/extension is not writable, and there is no sudo" "Run as root: ${copy[*]}"
fi
say "installed into PostgreSQL $major. In a database: CREATE EXTENSION prometheus_embed;"
