#!/usr/bin/env bash
# Installs what is missing to build and test: Debian packages, the Rust toolchain, cargo-pgrx, Python packages.
# Each part looks first and does nothing when there is nothing to do: the second run takes about a second.
. "$(dirname "$0")/lib.sh"

# --- Debian packages ---------------------------------------------------------------------------------

missing=() optional=()
# need PACKAGE COMMAND...: the package is missing when COMMAND fails. Asking for what is needed, not for the
# package, leaves other ways of providing it alone.
need() {
    local package=$1
    shift
    "$@" >/dev/null 2>&1 || missing+=("$package")
}

has_libclang() { [ -n "${LIBCLANG_PATH:-}" ] || compgen -G '/usr/lib/llvm-*/lib/libclang*.so*'; }
has_server() { [ -x "$(bindir)/initdb" ] && [ -x "$(bindir)/psql" ]; }
has_headers() { [ -f "$("$(bindir)/pg_config" --includedir-server)/postgres.h" ]; }
has_pg_cron() { [ -f "$("$(bindir)/pg_config" --pkglibdir)/pg_cron.so" ]; }
has_pgvector() { [ -f "$("$(bindir)/pg_config" --pkglibdir)/vector.so" ]; }
has_pg_regress() { [ -x "$(dirname "$("$(bindir)/pg_config" --pgxs)")/../test/regress/pg_regress" ]; }
bindir() { "${PG_CONFIG:-/usr/lib/postgresql/$PG_MAJOR/bin/pg_config}" --bindir; }

list_missing() {
    missing=()
    need "postgresql-$PG_MAJOR" has_server
    need "postgresql-server-dev-$PG_MAJOR" has_headers
    need "postgresql-client-$PG_MAJOR" has_pg_regress
    # One test schedules a backfill with it.
    need "postgresql-$PG_MAJOR-cron" has_pg_cron
    need build-essential command -v cc
    need clang command -v clang
    need libclang-dev has_libclang
    # cargo-pgrx links with OpenSSL.
    need pkg-config command -v pkg-config
    need libssl-dev pkg-config --exists openssl
    need python3 command -v python3
    need python3-venv python3 -c 'import venv, ensurepip'
    need shellcheck command -v shellcheck
    # Tests look with it at what a backend opens, and slow it down.
    need strace command -v strace
}

# pgvector, where Debian has a package of it (13 and later): without it, what needs it in tests and examples is skipped.
# Only along with other packages: a machine that has those is left as it is, and asking apt each time takes time.
list_optional() {
    optional=()
    if ! has_pgvector 2>/dev/null && apt-cache show "postgresql-$PG_MAJOR-pgvector" >/dev/null 2>&1; then
        optional=("postgresql-$PG_MAJOR-pgvector")
    fi
}

debian_packages() {
    list_missing
    [ "${#missing[@]}" -gt 0 ] || return 0
    command -v apt-get >/dev/null || die "these Debian packages, or what they stand for here, are missing: ${missing[*]}"
    local as_root=()
    if [ "$(id -u)" -ne 0 ]; then
        command -v sudo >/dev/null || die "Debian packages are missing" "Run as root: apt-get install ${missing[*]}"
        as_root=(sudo)
    fi
    say "    installing ${missing[*]}"
    case " ${missing[*]} " in *" postgresql-$PG_MAJOR "*)
        say "    (Debian makes a cluster \"main\" of its own along with it; this project never uses that one)" ;;
    esac
    "${as_root[@]}" apt-get update -qq
    apt-cache show "postgresql-$PG_MAJOR" >/dev/null 2>&1 ||
        die "this Debian has no postgresql-$PG_MAJOR" "Choose the version it has (14 to 18), for example: make setup PG_MAJOR=17"
    list_optional
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends \
        "${missing[@]}" "${optional[@]}" |
        grep -E '^(Setting up|E:)' || [ "${PIPESTATUS[0]}" -eq 0 ]
    list_missing
    [ "${#missing[@]}" -eq 0 ] || die "still missing after the installation: ${missing[*]}"
}

# --- Rust --------------------------------------------------------------------------------------------

rust_toolchain() {
    local channel
    channel=$(sed -nE 's/^channel *= *"(.*)"/\1/p' rust-toolchain.toml)
    command -v cargo >/dev/null || die "Rust is missing" \
        "Install rustup, with any toolchain: on Debian 13 and later  apt-get install rustup," \
        "elsewhere the one line that is shown on the page  rustup.rs" \
        "Then open a new shell and run this again; Rust $channel is fetched by itself."
    if command -v rustup >/dev/null; then
        if ! { rustup run "$channel" cargo clippy --version && rustup run "$channel" cargo fmt --version; } >/dev/null 2>&1; then
            say "    installing Rust $channel"
            rustup toolchain install "$channel" --profile minimal --component rustfmt --component clippy
        fi
    fi
    cargo --version >/dev/null || die "cargo does not work for the toolchain of rust-toolchain.toml ($channel)"
}

cargo_pgrx_tool() {
    local want have
    want=$(pgrx_version)
    [ -n "$want" ] || die "Cargo.toml does not pin pgrx with an exact version"
    have=$(cargo_pgrx --version 2>/dev/null | sed -nE 's/^cargo-pgrx ([0-9.]+).*/\1/p' || true)
    if [ -z "$have" ]; then
        say "    compiling cargo-pgrx $want (some minutes, once per machine)"
        cargo install cargo-pgrx --version "=$want" --locked
    elif [ "$have" != "$want" ]; then
        say "    compiling cargo-pgrx $want into build/tools: yours is $have and stays (some minutes, once)"
        cargo install cargo-pgrx --version "=$want" --locked --root build/tools
    fi
    pgrx_knows "$PG_MAJOR" || cargo_pgrx init "--pg$PG_MAJOR" "$(pg_config_path)" --no-run
}

# --- Python ------------------------------------------------------------------------------------------

python_packages() {
    local files=() stamp file
    for file in tests/requirements.txt tools/*/requirements.txt; do [ -f "$file" ] && files+=(-r "$file"); done
    stamp=$(python3 --version; cat tests/requirements.txt tools/*/requirements.txt 2>/dev/null || true)
    stamp=$(printf '%s' "$stamp" | sha256sum)
    [ "$(cat .venv/.stamp 2>/dev/null)" = "$stamp" ] && [ -x "$PE_PYTHON" ] && return 0
    say "    installing the packages of ${files[*]/#-r/} into .venv"
    python3 -m venv --clear .venv
    "$PE_PYTHON" -m pip install --quiet --disable-pip-version-check "${files[@]}"
    printf '%s\n' "$stamp" >.venv/.stamp
}

# Called plainly, not in a condition: bash would ignore -e inside.
part() {
    local title=$1 started=$SECONDS
    shift
    "$@"
    printf '    %-18s ok (%d s)\n' "$title" "$((SECONDS - started))"
}

part "Debian packages" debian_packages
part "Rust toolchain" rust_toolchain
part "cargo-pgrx $(pgrx_version)" cargo_pgrx_tool
part "Python packages" python_packages
