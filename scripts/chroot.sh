# shellcheck shell=bash
# Other Debian releases, and untouched ones, in directories of their own: made by debootstrap, entered by chroot.
# Source it after lib.sh.

chroots_dir() { echo "$(state_dir)/chroots"; }

# as_root COMMAND...: both making and entering a chroot are root's.
as_root() {
    if [ "$(id -u)" -eq 0 ]; then
        "$@"
    elif command -v sudo >/dev/null; then
        sudo "$@"
    else
        die "this needs root: it makes and enters a Debian system of its own" "Run it as root, or install sudo."
    fi
}

need_debootstrap() {
    as_root true
    # Of an ordinary user's PATH, sbin is often no part.
    PATH=$PATH:/usr/sbin:/sbin
    command -v debootstrap >/dev/null && return
    command -v apt-get >/dev/null || die "debootstrap is missing" "Install it, by the name of your distribution."
    say "    installing debootstrap"
    as_root apt-get update -qq
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends debootstrap >/dev/null
}

# chroot_make NAME SUITE PACKAGE...: a Debian system with these packages in the directory NAME of chroots_dir; does
# nothing when it is there. The packages come by apt in a second step: debootstrap's own resolver is too simple
# for development packages.
chroot_make() {
    local name=$1 suite=$2 dir stamp
    shift 2
    dir=$(chroots_dir)/$name
    stamp="$suite $*"
    [ "$(cat "$dir.stamp" 2>/dev/null)" = "$stamp" ] && return
    need_debootstrap
    make_state_dir
    mkdir -p "$(chroots_dir)"
    rm -f "$dir.stamp"
    if [ ! -d "$dir" ]; then
        say "    making Debian $suite in $dir"
        as_root rm -rf "$dir.new"
        as_root debootstrap --variant=minbase "$suite" "$dir.new" >"$dir.log" 2>&1 ||
            { tail -n 20 "$dir.log" >&2; die "debootstrap failed (log: $dir.log)"; }
        as_root mv "$dir.new" "$dir"
    fi
    say "    installing $* into it"
    # A restart must not be tried for what runs outside.
    printf '#!/bin/sh\nexit 101\n' | as_root tee "$dir/usr/sbin/policy-rc.d" >/dev/null
    as_root chmod 755 "$dir/usr/sbin/policy-rc.d"
    # shellcheck disable=SC2016 # $@ is for the inner shell.
    chroot_run "$dir" sh -c 'apt-get update -qq && apt-get install -y -q --no-install-recommends "$@" && apt-get clean' \
        sh "$@" >>"$dir.log" 2>&1 ||
        { tail -n 20 "$dir.log" >&2; die "apt-get failed in $dir (log: $dir.log)"; }
    as_root rm -f "$dir/usr/sbin/policy-rc.d"
    printf '%s\n' "$stamp" >"$dir.stamp"
}

# chroot_run DIR COMMAND...: runs it as root inside, in namespaces of its own for mounts and processes: whatever way
# it ends, nothing stays mounted and no server stays running.
#   CHROOT_BIND     lines "OUTSIDE INSIDE [ro]": directories to show inside
#   CHROOT_OFFLINE  1: no network, not even the machine's own addresses
#   CHROOT_ENV      words NAME=VALUE for the environment, which is otherwise clean but for what reaching the
#                   network needs here: proxies, certificates, package indexes
chroot_run() {
    local dir=$1 options=(--mount --pid --fork --kill-child)
    shift
    [ "${CHROOT_OFFLINE:-0}" != 1 ] || options+=(--net)
    [ -d "$dir/proc" ] || die "there is no Debian system in $dir"
    local name words=()
    for name in $(compgen -e); do
        case $name in
            PIP_INDEX_URL | PIP_EXTRA_INDEX_URL | PIP_TRUSTED_HOST | PIP_CERT | *_proxy | *_PROXY | SSL_CERT_FILE | REQUESTS_CA_BUNDLE | CARGO_HTTP_CAINFO) words+=("$name=${!name}") ;;
        esac
    done
    read -r -a extra <<<"${CHROOT_ENV:-}"
    # unshare itself outlives a TERM of the script, so it is told to go with it.
    # shellcheck disable=SC2016 # everything in it is for the inner shell.
    as_root setpriv --pdeathsig KILL unshare "${options[@]}" bash -euc '
        dir=$1 binds=$2; shift 2
        mount -t proc proc "$dir/proc"
        mkdir -p "$dir/dev/shm"
        mount -t tmpfs -o mode=1777 tmpfs "$dir/dev/shm"
        mount --bind /sys "$dir/sys"
        [ ! -e /etc/resolv.conf ] || cp -L --remove-destination /etc/resolv.conf "$dir/etc/resolv.conf"
        while read -r from to options; do
            [ -n "$from" ] || continue
            mkdir -p "$dir$to"
            mount --rbind "$from" "$dir$to"
            [ -z "$options" ] || mount -o "remount,bind,$options" "$dir$to"
        done <<<"$binds"
        exec chroot "$dir" env -i HOME=/root LANG=C.UTF-8 DEBIAN_FRONTEND=noninteractive \
            PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin "$@"
    ' bash "$dir" "${CHROOT_BIND:-}" "${words[@]}" "${extra[@]}" "$@"
}
