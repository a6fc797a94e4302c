#!/usr/bin/env bash
# Runs a script of this checkout in another Debian release, with the PostgreSQL of that release:
# debian.sh SUITE PG_MAJOR COMMAND..., for example: debian.sh trixie 17 scripts/test.sh regress sessions
#
# Everything is built and run inside: server, libraries, compiler, clients and Python are those of the release, as for
# somebody who works there. Only the checkout, the Rust toolchain and the registry of crates are those outside. Building
# outside against the release's headers would save the compiler, but its pg_config and server need its own C library
# all the same. The checkout's target/, build/ and .venv are replaced inside by directories of the release's own, so
# that neither side sees what the other built.
. "$(dirname "$0")/lib.sh"
. scripts/chroot.sh

[ $# -ge 3 ] || die "debian.sh SUITE PG_MAJOR COMMAND..."
suite=$1 major=$2
shift 2

# Rust and cargo-pgrx are installed outside.
command -v cargo-pgrx >/dev/null || [ -x build/tools/bin/cargo-pgrx ] || scripts/setup.sh
need_debootstrap

chroot_make "$suite" "$suite" ca-certificates git make \
    "postgresql-$major" "postgresql-server-dev-$major" "postgresql-client-$major" "postgresql-$major-cron" \
    "postgresql-$major-pgvector" build-essential clang libclang-dev pkg-config libssl-dev python3 python3-venv shellcheck strace
dir=$(chroots_dir)/$suite

own=$(chroots_dir)/$suite.work
mkdir -p "$own"/{target,build,venv} target build .venv
# What plain crates were compiled to, and the text model, need not be made twice.
seed() {
    [ -e "$own/$1" ] || [ ! -e "$1" ] || { mkdir -p "$(dirname "$own/$1")"; cp -a --reflink=auto "$1" "$own/$1.new"; mv "$own/$1.new" "$own/$1"; }
}
seed target/release
for part in lib share download tools; do seed "build/$part"; done

cargo_home=${CARGO_HOME:-$HOME/.cargo}
rustup_home=${RUSTUP_HOME:-$HOME/.rustup}
CHROOT_BIND="$ROOT $ROOT
$own/target $ROOT/target
$own/build $ROOT/build
$own/venv $ROOT/.venv
$cargo_home $cargo_home"
[ ! -d "$rustup_home" ] || CHROOT_BIND+="
$rustup_home $rustup_home"
shared=${PE_SHARED:-$ROOT/../shared}
[ ! -d "$shared" ] || CHROOT_BIND+="
$(readlink -f "$shared") /opt/shared ro"
# The machine may reach the network through a proxy with a certificate of its own.
[ ! -d /etc/ssl/certs ] || CHROOT_BIND+="
/etc/ssl/certs /etc/ssl/certs ro"
CHROOT_ENV="CARGO_HOME=$cargo_home RUSTUP_HOME=$rustup_home PG_MAJOR=$major PE_SHARED=/opt/shared"
# The time of the commit, which packages carry: the repository itself may not be in view inside.
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || true)}
for name in CI PE_KEEP DEBEMAIL PKG_REVISION SOURCE_DATE_EPOCH; do [ -z "${!name:-}" ] || CHROOT_ENV+=" $name=${!name}"; done

status=0
# shellcheck disable=SC2016 # for the inner shell.
chroot_run "$dir" bash -c 'cd "$1" && shift && exec "$@"' bash "$ROOT" "$@" || status=$?
# Packages made inside are of use outside.
if compgen -G "$own/build/packages/*.deb" >/dev/null; then
    rm -rf "build/packages-$major"
    cp -r "$own/build/packages" "build/packages-$major"
fi
if [ "$(id -u)" -ne 0 ]; then as_root chown -R "$(id -u):$(id -g)" "$own"; fi
exit "$status"
