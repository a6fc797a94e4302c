#!/usr/bin/env bash
# Copies what build.sh made, and what lies ready in build/, into a Postgres:
# stage.sh --private, or stage.sh PKGLIBDIR SHAREDIR.
#
# build/pgNN/      library, control file, install and upgrade scripts        (scripts/build.sh)
# build/lib/*   -> PKGLIBDIR/prometheus_embed/    e.g. the ONNX Runtime library   (scripts/model.sh)
# build/share/* -> SHAREDIR/prometheus_embed/     e.g. model directories          (scripts/model.sh)
. "$(dirname "$0")/lib.sh"

if [ "${1:-}" = --private ]; then
    to_lib=$(private_dir --pkglibdir) to_share=$(private_dir --sharedir)
else
    to_lib=${1:?PKGLIBDIR or --private} to_share=${2:?SHAREDIR}
fi
pg_config=$(pg_config_path)
out=$ROOT/build/pg$(pg_major "$pg_config")
from_lib=$out$("$pg_config" --pkglibdir)
from_ext=$out$("$pg_config" --sharedir)/extension
[ -f "$from_ext/prometheus_embed.control" ] || die "nothing is built yet" "Run: make build"

umask 022

# A running backend keeps the old file: the new one takes its name, its bytes are not overwritten.
put() {
    local from=$1 to=$2
    cmp -s "$from" "$to" && return
    mkdir -p "$(dirname "$to")"
    install -m "$3" "$from" "$to.new"
    mv -f "$to.new" "$to"
}

# put_tree FROM TO: every file below FROM.
put_tree() {
    local from=$1 to=$2 file
    [ -d "$from" ] || return 0
    while IFS= read -r -d '' file; do
        put "$from/$file" "$to/$file" "$(if [ -x "$from/$file" ]; then echo 755; else echo 644; fi)"
    done < <(cd "$from" && find . -type f,l -printf '%P\0')
}

put "$from_lib/prometheus_embed.so" "$to_lib/prometheus_embed.so" 755
# Scripts of another version that is no longer built would still be offered by CREATE EXTENSION.
for old in "$to_share"/extension/prometheus_embed--*.sql; do
    [ -e "$old" ] && [ ! -e "$from_ext/${old##*/}" ] && rm -f "$old"
done
put_tree "$from_ext" "$to_share/extension"
put_tree "$ROOT/build/lib" "$to_lib/prometheus_embed"
put_tree "$ROOT/build/share" "$to_share/prometheus_embed"
scripts/seal.sh "$to_share"/prometheus_embed/models/*/
