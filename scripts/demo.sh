#!/usr/bin/env bash
# The whole thing once, on generated data, in a private cluster that is gone afterwards.
# demo/generate.sql makes the data; the other files of demo/ are the workflows, run in sorted order.
# PE_KEEP=1 leaves the cluster running and says how to connect.
. "$(dirname "$0")/lib.sh"

make_state_dir
exec 9>"$(state_dir)/demo.lock"
flock -n 9 || die "another demo is under way in this checkout"

export PE_CLUSTER=demo
finish() {
    if [ "${PE_KEEP:-0}" = 1 ]; then
        say "The cluster is still running: PE_CLUSTER=demo scripts/cluster.sh psql -d demo"
    else
        scripts/cluster.sh drop || true
    fi
}
trap finish EXIT
trap 'exit 130' INT TERM

sql() { scripts/cluster.sh psql -q -v ON_ERROR_STOP=1 "$@"; }

build() {
    scripts/prefix.sh
    scripts/build.sh
    scripts/stage.sh --private
}

database() {
    scripts/cluster.sh drop
    scripts/cluster.sh start
    sql -d postgres -c 'CREATE DATABASE demo'
    sql -d demo -c 'CREATE EXTENSION prometheus_embed' -c 'SELECT embed_migrate()' -o /dev/null
}

workflows=()
for file in demo/*.sql; do
    if [ "$file" != demo/generate.sql ]; then workflows+=("$file"); fi
done

STEPS=$((5 + ${#workflows[@]}))
step "set-up" scripts/setup.sh
step "text model" scripts/model.sh
step "build and stage the extension" build 9>&-
step "private cluster, extension and tables" database 9>&-
step "generate the demo data" sql -d demo -f demo/generate.sql
for file in "${workflows[@]}"; do step "$file" sql -d demo -f "$file"; done
say
say "took $SECONDS s"
