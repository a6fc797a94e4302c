#!/usr/bin/env bash
# For developing: build, stage, restart the dev cluster, and run SQL in a fresh database `dev` that has the
# extension and the data tables: dev.sh ["SELECT ..." | -f file.sql]
. "$(dirname "$0")/lib.sh"

psql() { scripts/cluster.sh psql -q -v ON_ERROR_STOP=1 "$@"; }

scripts/prefix.sh
scripts/build.sh
scripts/stage.sh --private
scripts/cluster.sh restart
psql -d postgres -c 'DROP DATABASE IF EXISTS dev WITH (FORCE)' -c 'CREATE DATABASE dev' 2>&1 | grep -v 'does not exist, skipping' || true
psql -d dev -c 'CREATE EXTENSION prometheus_embed'
if [ "$(psql -d dev -Atc "SELECT count(*) FROM pg_proc WHERE proname = 'embed_migrate'")" -gt 0 ]; then
    psql -d dev -c 'SET client_min_messages = warning' -c 'SELECT embed_migrate()' >/dev/null
fi
case ${1:-} in
    '') say "connect with: scripts/cluster.sh psql -d dev" ;;
    -*) psql -d dev "$@" ;;
    *) psql -d dev -c "$@" ;;
esac
