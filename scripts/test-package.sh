#!/usr/bin/env bash
# Installs the packages of build/packages into an untouched Debian, without network, and runs the demo from there:
# test-package.sh [SUITE PG_MAJOR], by default bookworm 15. The release must be the one that they were made in.
. "$(dirname "$0")/lib.sh"
. scripts/chroot.sh

suite=${1:-bookworm} major=${2:-15}
packages=${PE_PACKAGES:-build/packages}
ls "$packages"/postgresql-"$major"-prometheus-embed_*.deb >/dev/null 2>&1 ||
    die "there is no package for PostgreSQL $major in $packages" "Run: make package"

# The untouched system is kept; the packages go into a copy of it.
chroot_make "clean-$suite" "$suite" "postgresql-$major"
dir=$(chroots_dir)/test-package-$suite
finish() { as_root rm -rf "$dir"; }
trap finish EXIT
trap 'exit 130' INT TERM
finish
as_root cp -a --reflink=auto "$(chroots_dir)/clean-$suite" "$dir"
as_root mkdir "$dir/packages"
as_root cp "$packages"/*.deb packaging/test-installed.sh "$dir/packages/"
CHROOT_OFFLINE=1 chroot_run "$dir" /packages/test-installed.sh "$major"
