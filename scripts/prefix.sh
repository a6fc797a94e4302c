#!/usr/bin/env bash
# Copies the system's Postgres into a private prefix, where the extension can be installed without
# touching the system. Copies again when the system's Postgres changed.
. "$(dirname "$0")/lib.sh"

need_setup
pg_config=$(pg_config_path)
prefix=$(private_prefix)
bin=$("$pg_config" --bindir)
lib=$("$pg_config" --pkglibdir)
share=$("$pg_config" --sharedir)

# What makes a copy stale: another server, another set of installed extensions.
fingerprint() {
    "$pg_config" --version
    find -L "$bin" "$lib" "$share" -maxdepth 2 -type f ! -name 'prometheus_embed*' -printf '%p %s %t\n' | sort
}
stamp=$(fingerprint | sha256sum)

if [ "$(cat "$prefix/.stamp" 2>/dev/null)" = "$stamp" ]; then exit 0; fi

make_state_dir
say "    copying $("$pg_config" --version) to $prefix"
rm -rf "$prefix"
# The copy must be readable by user postgres, whatever the umask here.
umask 022
for kind in --bindir --pkglibdir --sharedir; do
    to=$prefix$(pg_config_tail "$pg_config" "$kind")
    mkdir -p "$to"
    # -L: some of the files are links that lead out of the tree. Headers and manuals are not needed.
    tar -C "$("$pg_config" "$kind")" -chf - --exclude=./pgxs --exclude=./bitcode --exclude=./man \
        --exclude='prometheus_embed*' . | tar -C "$to" -xf - --no-same-owner
done

copied=$("$prefix$(pg_config_tail "$pg_config" --bindir)/pg_config" --sharedir)
[ "$copied" = "$(private_dir --sharedir)" ] ||
    die "the copied Postgres looks for its files in $copied" "Postgres must be installed with bin, lib and share below one directory."
echo "$stamp" >"$prefix/.stamp"
