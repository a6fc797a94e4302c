#!/usr/bin/env bash
# Runs inside an untouched Debian with PostgreSQL $1 and no network, the packages in /packages: installs them, runs
# the demo from what was installed, removes them. scripts/test-package.sh calls it.
set -euo pipefail

major=$1
extension=postgresql-$major-prometheus-embed
examples=/usr/share/doc/$extension/examples
passed=0
cd /

check() {
    local title=$1
    shift
    if "$@" >/tmp/check.log 2>&1; then
        passed=$((passed + 1))
        printf '  ok      %s\n' "$title"
    else
        printf '  FAILED  %s\n' "$title"
        sed 's/^/          /' /tmp/check.log
        exit 1
    fi
}

psql() { runuser -u postgres -- psql -X -q -v ON_ERROR_STOP=1 "$@"; }
value() { psql -d demo -Atc "$1"; }
is() { [ "$(value "$1")" = "$2" ] || { printf '%s\ngives %s\n' "$1" "$(value "$1")"; return 1; }; }
install_packages() { dpkg -i "$@"; }
only_loopback() { [ "$(echo /sys/class/net/*)" = /sys/class/net/lo ] || ! grep -qv 'lo:\|face\|Inter' /proc/net/dev; }
sealed() { [ "$(psql -d demo -At -c "SELECT sum(octet_length(v)) FROM unnest(text_embed(ARRAY['a text'])) v" -c "SELECT files_read FROM embed_loaded_models")" = $'1536\n0' ]; }
untouched() { [ -z "$(dpkg --verify "$extension" prometheus-embed-model prometheus-embed-runtime)" ]; }
workflow() { psql -d demo -f "$examples/demo/$1"; }
nothing_left() { ! find /usr -path '*prometheus*embed*' -not -path '/usr/share/doc*' | grep .; }
says_what_it_misses() {
    local said
    ! said=$(psql -d demo -v VERBOSITY=verbose -c "SELECT text_embed(ARRAY['a text'])" 2>&1) || return 1
    printf '%s\n' "$said"
    grep -q '^ERROR:  [0-9A-Z]*:' <<<"$said" && ! grep -q XX000 <<<"$said"
}

check "there is no network" only_loopback
check "$extension installs alone" install_packages /packages/"$extension"_*.deb
check "the server starts" pg_ctlcluster "$major" main start
check "a database" psql -d postgres -c "CREATE DATABASE demo"
check "CREATE EXTENSION" psql -d demo -c "CREATE EXTENSION prometheus_embed"
check "library and SQL agree" is "SELECT extversion = embed_version() FROM pg_extension WHERE extname = 'prometheus_embed'" t
check "the data tables" psql -d demo -c "SELECT embed_migrate()"
check "demo data" workflow generate.sql
check "demo/1_numeric.sql" workflow 1_numeric.sql
check "without model and runtime, texts say what they miss" says_what_it_misses
check "model and runtime install" install_packages /packages/prometheus-embed-model_*.deb /packages/prometheus-embed-runtime_*.deb
for file in "$examples"/demo/[2-9]*.sql; do check "demo/${file##*/}" workflow "${file##*/}"; done
check "text vectors were made" is "SELECT count(*) > 0 FROM text_embeddings" t
check "joint vectors were made" is "SELECT count(*) > 0 FROM joint_embeddings" t
check "model files are whole" is "SELECT count(*) > 0 AND bool_and(ok) FROM embed_check_models()" t
check "the installation sealed them" sealed
check "no setting was needed" is "SELECT count(*) FROM pg_settings WHERE name LIKE 'prometheus_embed.%' AND source <> 'default'" 0
check "installed files are as packaged" untouched
check "the server stops" pg_ctlcluster "$major" main stop
check "the packages are removed" dpkg --purge prometheus-embed-model prometheus-embed-runtime "$extension"
check "nothing is left of them" nothing_left
printf 'package: %d passed, 0 failed (%s, PostgreSQL %s)\n' "$passed" "$(. /etc/os-release && echo "$PRETTY_NAME")" "$major"
