# shellcheck shell=bash
# What the other scripts share: where things are, and how to say what is being done.
# Source it; it changes to the checkout's root.

set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1
ROOT=$PWD
export ROOT

# Without this, cargo-pgrx passes a linker flag that plain cargo does not, and everything compiles twice.
export CARGO_PGRX_DISABLE_GC_SECTIONS_WORKAROUND=1
# Inherited by a server, it would put Rust frames into the DETAIL of errors.
unset RUST_BACKTRACE

export PG_MAJOR=${PG_MAJOR:-15}
export PE_PYTHON=$ROOT/.venv/bin/python
# Compiled Python files and caches do not belong between the sources.
export PYTHONDONTWRITEBYTECODE=1
# A shell that has not been opened again since rustup was installed does not find cargo.
command -v cargo >/dev/null || PATH=$PATH:${CARGO_HOME:-$HOME/.cargo}/bin

die() {
    printf 'error: %s\n' "$1" >&2
    shift
    for line in "$@"; do printf '       %s\n' "$line" >&2; done
    exit 1
}

say() { printf '%s\n' "$*"; }

# For scripts that can be called before anything else: .venv is the last thing that the set-up makes.
need_setup() { [ -x "$PE_PYTHON" ] || scripts/setup.sh; }

# step TITLE COMMAND...: runs COMMAND and says which step of STEPS it is and how long it took.
# Call it plainly, not in a condition: bash ignores -e in whatever runs below `if`, `||` and `&&`.
STEPS=${STEPS:-0}
STEP=0
step() {
    local title=$1 started=$SECONDS status errexit=0
    shift
    STEP=$((STEP + 1))
    printf '==> [%d/%d] %s\n' "$STEP" "$STEPS" "$title"
    case $- in *e*) errexit=1 ;; esac
    set +e
    (set -e; "$@")
    status=$?
    [ "$errexit" -eq 0 ] || set -e
    if [ "$status" -eq 0 ]; then
        printf '    [%d/%d] %s: done in %d s\n' "$STEP" "$STEPS" "$title" "$((SECONDS - started))"
    else
        printf '    [%d/%d] %s: FAILED after %d s\n' "$STEP" "$STEPS" "$title" "$((SECONDS - started))"
    fi
    return "$status"
}

# The pg_config to build against: PG_CONFIG when given, else Debian's, else the one on PATH.
pg_config_path() {
    if [ -n "${PG_CONFIG:-}" ]; then
        command -v "$PG_CONFIG" || die "PG_CONFIG=$PG_CONFIG is not an executable"
    elif [ -x "/usr/lib/postgresql/$PG_MAJOR/bin/pg_config" ]; then
        echo "/usr/lib/postgresql/$PG_MAJOR/bin/pg_config"
    else
        command -v pg_config || die "no pg_config found" "Run: make setup    (or name one: PG_CONFIG=/path/to/pg_config)"
    fi
}

# pg_major PG_CONFIG: 15, 16, ...
pg_major() { "$1" --version | sed -E 's/^PostgreSQL ([0-9]+).*/\1/'; }

# The version of cargo-pgrx that Cargo.toml pins.
pgrx_version() { sed -nE 's/^pgrx *=.*version *= *"=([0-9.]+)".*/\1/p' Cargo.toml; }

# cargo-pgrx of the pinned version: the project's own copy if there is one (scripts/setup.sh says when).
cargo_pgrx() {
    local own=$ROOT/build/tools/bin/cargo-pgrx
    if [ -x "$own" ]; then "$own" pgrx "$@"; else cargo pgrx "$@"; fi
}

# pgrx_knows MAJOR: cargo-pgrx has been told where a Postgres of that version is.
pgrx_knows() {
    local known
    known=$(sed -nE "s/^pg$1 *= *\"(.*)\"/\1/p" "${PGRX_HOME:-$HOME/.pgrx}/config.toml" 2>/dev/null)
    [ -n "$known" ] && [ -x "$known" ]
}

# The directory for private clusters: readable by user postgres, one per user and checkout.
state_dir() {
    local hash
    hash=$(printf '%s' "$ROOT" | sha256sum | cut -c1-8)
    echo "${PE_STATE:-/var/tmp/prometheus_embed.$(id -u).$hash}"
}

# The predictable name in a directory that everybody may write to must really be ours.
make_state_dir() {
    local dir
    dir=$(state_dir)
    mkdir -p "$dir"
    if [ ! -O "$dir" ] || [ -L "$dir" ]; then
        die "$dir belongs to somebody else" "Set PE_STATE to a directory of your own."
    fi
    # A strict umask must not hide the copied server from user postgres.
    chmod 755 "$dir"
}

# Where in a prefix a directory of the system's Postgres lands: the part after the common prefix of its
# bin, lib and share directories. Postgres finds lib and share from its own path when that layout is kept.
pg_common_prefix() {
    local pg_config=$1 prefix dir
    prefix=$("$pg_config" --bindir)
    for dir in "$("$pg_config" --pkglibdir)" "$("$pg_config" --sharedir)"; do
        while [ "${dir#"$prefix"/}" = "$dir" ]; do prefix=${prefix%/*}; done
    done
    echo "$prefix"
}

private_prefix() { echo "$(state_dir)/prefix-$(pg_major "$(pg_config_path)")"; }

# private_dir --bindir|--pkglibdir|--sharedir: that directory inside the private prefix.
private_dir() {
    local pg_config
    pg_config=$(pg_config_path)
    echo "$(private_prefix)$(pg_config_tail "$pg_config" "$1")"
}

pg_config_tail() {
    local dir
    dir=$("$1" "$2")
    echo "${dir#"$(pg_common_prefix "$1")"}"
}
