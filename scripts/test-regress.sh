#!/usr/bin/env bash
# pg_regress: what a user types and sees, compared line by line. Needs the cluster named by PE_CLUSTER.
# tests/pg_regress/sql/setup.sql runs first, the others in sorted order, all in one database.
. "$(dirname "$0")/lib.sh"
. scripts/report.sh

tests=()
for file in tests/pg_regress/sql/setup.sql tests/pg_regress/sql/*.sql; do
    name=$(basename "$file" .sql)
    [ -f "$file" ] || continue
    [ "$name" = setup ] && [ "${#tests[@]}" -gt 0 ] || tests+=("$name")
done
[ "${#tests[@]}" -gt 0 ] || { report regress 0 1; die "no files in tests/pg_regress/sql"; }

# Sets PE_SOCKET_DIR, PE_PORT, PE_BINDIR and the rest.
eval "$(scripts/cluster.sh env | sed 's/^/export /')"
out=$ROOT/build/regress
rm -rf "$out"
mkdir -p "$out"
pgxs=$("$(pg_config_path)" --pgxs)
# Its own words only: results and differences are in $out.
PGOPTIONS='' "${pgxs%/makefiles/pgxs.mk}/test/regress/pg_regress" --bindir="$PE_BINDIR" \
    --inputdir=tests/pg_regress --outputdir="$out" --host="$PE_SOCKET_DIR" --port="$PE_PORT" --user="$PE_USER" \
    --dbname=prometheus_embed_regress --encoding=UTF8 "${tests[@]}" >"$out/log" 2>&1 || true

# Postgres 15: "test name ... ok 12 ms"; from 16 on: "ok 1 - name 12 ms".
ok='^(test .*\.\.\. ok|ok +[0-9]+)'
bad='^(test .*\.\.\. (FAILED|failed)|not ok +[0-9]+)'
grep -E "$ok|$bad" "$out/log" || true
passed=$(grep -cE "$ok" "$out/log" || true)
failed=$(grep -cE "$bad" "$out/log" || true)
if [ "$((passed + failed))" -ne "${#tests[@]}" ]; then
    cat "$out/log"
    failed=$((${#tests[@]} - passed))
fi
[ ! -s "$out/regression.diffs" ] || cat "$out/regression.diffs"
report regress "$passed" "$failed"
