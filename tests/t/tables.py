"""What the migrations make, for the tests of them: the columns of every table, how to apply the files, and how to
tell whether anything changed."""

import subprocess

from cluster import ROOT

FILES = sorted((ROOT / "migrations").glob("*.sql"))

_ID, _NAME, _LABEL, _SMALL = "varchar(50)!", "varchar(200)!", "varchar(64)!", "varchar(32)!"
_STAMP, _F8, _JSON = "timestamptz!", "float8!", "jsonb"

# Column types in order; `!` is NOT NULL. The first part is what an old database has, the second what we add.
BASE = {
    "markets": {
        "market_id": _ID, "name": _NAME, "region": _ID, "timezone": _ID, "calendar_spec": _JSON, "metadata": _JSON,
        "created_at": _STAMP, "updated_at": _STAMP,
    },
    "issuers": {
        "issuer_id": _ID, "issuer_type": _ID, "name": _NAME, "country": "varchar(50)", "sector": "varchar(100)",
        "industry": "varchar(100)", "metadata": _JSON, "created_at": _STAMP, "updated_at": _STAMP,
    },
    "instruments": {
        "instrument_id": _ID, "issuer_id": "varchar(50)", "market_id": "varchar(50)", "asset_class": _ID, "symbol": _ID,
        "exchange": "varchar(50)", "currency": "varchar(10)!", "multiplier": "float8", "maturity_date": "date",
        "underlying_instrument_id": "varchar(50)", "status": "varchar(20)!", "metadata": _JSON,
        "created_at": _STAMP, "updated_at": _STAMP,
    },
    "prices_daily": {
        "instrument_id": _ID, "trade_date": "date!", "open": _F8, "high": _F8, "low": _F8, "close": _F8,
        "adjusted_close": _F8, "volume": _F8, "currency": "varchar(10)!", "metadata": _JSON,
    },
    "profiles": {
        "profile_id": "int8!", "issuer_id": _ID, "as_of_date": "date!", "structured": "jsonb!",
        "embedding_vector_ref": "varchar(255)", "risk_flags": "jsonb!", "created_at": _STAMP,
    },
    "portfolio_risk_reports": {
        "report_id": _LABEL, "portfolio_id": _LABEL, "as_of_date": "date!", "portfolio_value": _F8, "cash": _F8,
        "net_exposure": _F8, "gross_exposure": _F8, "leverage": _F8, "risk_metrics": "jsonb!", "scenario_pnl": _JSON,
        "exposures_by_sector": _JSON, "exposures_by_factor": _JSON, "metadata": _JSON, "created_at": _STAMP,
    },
    "scenario_sets": {
        "scenario_set_id": _LABEL, "name": "varchar(255)!", "description": "text", "category": _LABEL,
        "horizon_days": "int4!", "num_paths": "int4!", "base_universe_filter": _JSON, "base_date_start": "date",
        "base_date_end": "date", "regime_filter": "varchar(64)[]", "generator_spec": _JSON, "created_at": _STAMP,
        "created_by": "varchar(64)", "tags": "varchar(64)[]", "metadata": _JSON,
    },
    "scenario_paths": {
        "scenario_set_id": _LABEL, "scenario_id": "int4!", "horizon_index": "int4!", "instrument_id": _LABEL,
        "factor_id": _LABEL, "macro_id": _LABEL, "return_value": _F8, "price": "float8", "shock_metadata": _JSON,
    },
    "numeric_window_embeddings": {
        "embedding_id": "int8!", "entity_type": _SMALL, "entity_id": _LABEL, "window_spec": "jsonb!",
        "as_of_date": "date!", "model_id": _LABEL, "vector": "bytea", "vector_ref": "varchar(255)", "created_at": _STAMP,
    },
    "text_embeddings": {
        "embedding_id": "int8!", "source_type": _SMALL, "source_id": _LABEL, "model_id": _LABEL, "vector": "bytea",
        "vector_ref": "varchar(255)", "created_at": _STAMP,
    },
    "joint_embeddings": {
        "joint_id": "int8!", "joint_type": _SMALL, "as_of_date": "date!", "entity_scope": "jsonb!", "model_id": _LABEL,
        "vector": "bytea", "vector_ref": "varchar(255)", "created_at": _STAMP,
    },
}
LINEAGE = {
    "numeric_window_embeddings": {
        "rows_used": "int4", "rows_padded": "int4", "last_trade_date": "date", "input_digest": "uuid",
        "computed_at": "timestamptz",
    },
    "text_embeddings": {"tokens": "int4", "truncated": "bool", "input_digest": "uuid", "computed_at": "timestamptz"},
    "joint_embeddings": {"branches": _JSON, "input_digest": "uuid", "computed_at": "timestamptz"},
}
EMBEDDINGS = list(LINEAGE)

SHORT = {
    "character varying": "varchar", "double precision": "float8", "timestamp with time zone": "timestamptz",
    "integer": "int4", "bigint": "int8", "boolean": "bool",
}


def columns(connection, schema="public"):
    """{table: {column: type}} of every table of the schema, in the spelling above."""
    rows = connection.execute(
        """SELECT c.relname, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull
             FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
             JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
            WHERE n.nspname = %s AND c.relkind IN ('r', 'p') ORDER BY c.relname, a.attnum""",
        [schema],
    )
    found = {}
    for table, column, kind, required in rows:
        for long, short in SHORT.items():
            kind = kind.replace(long, short)
        found.setdefault(table, {})[column] = kind + ("!" if required else "")
    return found


def indexes(connection, schema="public"):
    """Names of the indexes of the schema."""
    rows = connection.execute("SELECT indexname FROM pg_indexes WHERE schemaname = %s", [schema])
    return {name for (name,) in rows}


def content(connection, tables=BASE):
    """{table: digest of its rows}, of the columns that an old database has."""
    found = {}
    for table in tables:
        names = ", ".join(BASE[table])
        found[table] = connection.execute(
            f"SELECT md5(string_agg(t::text, '|' ORDER BY t::text COLLATE \"C\")) FROM (SELECT {names} FROM {table}) t"
        ).fetchone()[0]
    return found


def dump(cluster, dbname, *options):
    """The database's schema as pg_dump prints it, without what differs from run to run."""
    command = [cluster.bindir / "pg_dump", "-s", "-h", cluster.socket_dir, "-p", str(cluster.port), "-U", cluster.user]
    done = subprocess.run([*command, *options, dbname], text=True, capture_output=True, check=True)
    return "\n".join(line for line in done.stdout.splitlines() if not line.startswith(("\\restrict", "\\unrestrict")))


def apply_files(cluster, dbname, setup=""):
    """Applies the files through psql, each in a transaction of its own; returns what psql said."""
    done = cluster.psql(dbname, setup + "".join(f"\\i {file.relative_to(ROOT)}\n" for file in FILES))
    assert done.returncode == 0, done.stdout
    return done.stdout


def migrate(connection, argument=None):
    """[(migration, status, detail)] of embed_migrate()."""
    return connection.execute("SELECT * FROM public.embed_migrate(%s)", [argument]).fetchall()


def statuses(rows):
    """The distinct statuses of a run."""
    return {status for _, status, _ in rows}
