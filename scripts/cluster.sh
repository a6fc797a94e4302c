#!/usr/bin/env bash
# A private Postgres cluster with the staged extension: cluster.sh start|stop|restart|drop|env|psql [ARGS]
# "drop" stops it and removes its data; "env" prints the PE_* variables that the tests read.
#
# PE_CLUSTER  its name, "dev" by default: several can run side by side
# PE_OPTIONS  further options of the server, as in "-c shared_preload_libraries=pg_cron"
# PE_DURABLE  1: with fsync, for benchmarks of commits
# It listens on a Unix socket in its own directory, nowhere else.
. "$(dirname "$0")/lib.sh"

name=${PE_CLUSTER:-dev}
home=$(state_dir)/clusters/$name
data=$home/data
sock=$home/sock
log=$home/log
bin=$(private_dir --bindir)
port=5432

# Postgres refuses to run as root: root's clusters belong to user postgres.
if [ "$(id -u)" -eq 0 ]; then
    owner=postgres
    id "$owner" >/dev/null 2>&1 || die "there is no user $owner to run the server as" "Run: make setup"
    as_owner() { (cd / && exec runuser -u "$owner" -- "$@"); }
else
    owner=$(id -un)
    as_owner() { (cd / && exec "$@"); }
fi

running() { [ -f "$data/postmaster.pid" ] && as_owner "$bin/pg_ctl" -D "$data" status >/dev/null 2>&1; }

create() {
    make_state_dir
    rm -rf "$home"
    mkdir -p "$home"
    install -d -m 700 "$data" "$sock"
    : >"$log"
    if [ "$(id -u)" -eq 0 ]; then chown "$owner:" "$data" "$sock" "$log"; fi
    as_owner "$bin/initdb" -D "$data" -U postgres -A trust --no-sync -E UTF8 --locale=C.UTF-8 >"$home/initdb.log" 2>&1 ||
        { cat "$home/initdb.log" >&2; die "initdb failed"; }
}

options() {
    printf '%s ' "-c listen_addresses= -c unix_socket_directories=$sock -c port=$port"
    printf '%s ' "-c max_connections=50 -c shared_buffers=256MB -c max_wal_size=2GB -c max_prepared_transactions=10"
    printf '%s ' "${PE_OPTIONS:-}"
    [ "${PE_DURABLE:-0}" = 1 ] || printf '%s ' "-c fsync=off -c synchronous_commit=off -c full_page_writes=off"
}

start() {
    running && return
    [ -x "$bin/postgres" ] || die "no private Postgres yet" "Run: make build"
    [ -f "$data/PG_VERSION" ] || create
    # RUST_BACKTRACE would put Rust frames into error details; lib.sh has unset it.
    # The server must not hold on to a lock or pipe of the caller (descriptors above 2).
    as_owner "$bin/pg_ctl" -D "$data" -w -t 60 -l "$log" -o "$(options)" start >/dev/null </dev/null 2>&1 9>&- ||
        { tail -n 30 "$log" >&2; die "the private cluster did not start (log: $log)"; }
}

stop() { ! running || as_owner "$bin/pg_ctl" -D "$data" -w -m fast stop >/dev/null; }

print_env() {
    printf 'PE_CLUSTER=%s\nPE_STATE=%s\nPE_PREFIX=%s\nPE_BINDIR=%s\n' "$name" "$(state_dir)" "$(private_prefix)" "$bin"
    printf 'PE_DATA=%s\nPE_SOCKET_DIR=%s\nPE_PORT=%s\nPE_LOG=%s\n' "$data" "$sock" "$port" "$log"
    printf 'PE_USER=postgres\nPE_OWNER=%s\n' "$owner"
}

command=${1:-start}
shift || true
case $command in
    start) start ;;
    stop) stop ;;
    restart) stop; start ;;
    drop) stop; rm -rf "$home" ;;
    env) print_env ;;
    psql) exec "$bin/psql" -X -h "$sock" -p "$port" -U postgres "$@" ;;
    *) die "unknown command: $command" "Use start, stop, restart, drop, env or psql." ;;
esac
