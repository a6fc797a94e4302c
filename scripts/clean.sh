#!/usr/bin/env bash
# Stops every private cluster of this checkout and removes all of its state: data, sockets, copied Postgres, and the
# Debian systems of `make test-pg17` and its like.
. "$(dirname "$0")/lib.sh"

dir=$(state_dir)
[ -d "$dir" ] || { say "nothing to remove"; exit 0; }
for pidfile in "$dir"/clusters/*/data/postmaster.pid; do
    [ -e "$pidfile" ] || continue
    cluster=${pidfile%/data/postmaster.pid}
    PE_CLUSTER=${cluster##*/} scripts/cluster.sh stop
done
# Only what the scripts made: PE_STATE may name a directory that holds other things.
if [ -d "$dir/chroots" ]; then
    . scripts/chroot.sh
    # Never through a mount: those of a run that is under way are not seen here, any other would be a mistake.
    as_root rm -rf --one-file-system "$dir/chroots"
fi
rm -rf "$dir/clusters" "$dir"/prefix-[0-9]* "$dir"/*.lock
rmdir "$dir" 2>/dev/null || true
say "removed the private clusters in $dir"
