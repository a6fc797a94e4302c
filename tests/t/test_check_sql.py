"""The SQL check of `make lint` finds what it should; and the whole install script, which needs a build, is clean."""

import sys

import pytest
from cluster import ROOT

sys.path.insert(0, str(ROOT / "scripts"))
import check_sql  # noqa: E402


def findings(sql, tmp_path, capsys, name="a.sql"):
    """The codes that the check reports for `sql`, as a set."""
    path = tmp_path / name
    path.write_text(sql, encoding="utf-8")
    found = check_sql.check(path)
    printed = capsys.readouterr().out
    codes = {line[:5] for line in printed.splitlines() if line.startswith("PS")}
    assert bool(found) == bool(codes)
    return codes


PINNED = "SET search_path = pg_catalog, pg_temp"


@pytest.mark.parametrize(
    ("sql", "codes"),
    [
        ("CREATE TABLE t (a int);", {"PS017"}),
        ("CREATE TABLE @extschema@.t (a int CHECK (a > 0));", {"PS001"}),
        ("CREATE TABLE @extschema@.t (a int DEFAULT f());", {"PS016"}),
        ("CREATE TABLE IF NOT EXISTS @extschema@.t (a int);", {"PS012"}),
        ("CREATE OR REPLACE VIEW @extschema@.v AS SELECT 1;", {"PS015"}),
        ("CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1';", {"PS005"}),
        ("CREATE FUNCTION f() RETURNS int LANGUAGE sql SECURITY DEFINER AS 'SELECT 1';", {"PS003"}),
        (f"CREATE FUNCTION f() RETURNS int LANGUAGE sql {PINNED} AS 'SELECT count(*) + 1 FROM t';", set()),
        # Standard SQL is bound when the function is made: its names count, a later path does not.
        ("CREATE FUNCTION f() RETURNS int LANGUAGE sql RETURN 1 OPERATOR(pg_catalog.+) 1;", set()),
        ("CREATE FUNCTION f() RETURNS int LANGUAGE sql RETURN 1 + 1;", {"PS001"}),
        ("CREATE FUNCTION f() RETURNS int LANGUAGE sql BEGIN ATOMIC SELECT g() FROM t; END;", {"PS016", "PS017"}),
        ("CREATE OR REPLACE FUNCTION f() RETURNS int LANGUAGE sql RETURN 1;", {"PS002"}),
        # Only a procedure that commits may lack its SET clause, and only its SET clause.
        ("CREATE PROCEDURE p() LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_catalog.now(); END $$;", {"PS005"}),
        ("CREATE PROCEDURE p() LANGUAGE plpgsql AS $$\nBEGIN\n    PERFORM pg_catalog.now();\n    COMMIT;\nEND $$;", set()),
        ("CREATE PROCEDURE p() LANGUAGE plpgsql AS $$\nBEGIN\n    PERFORM now();\n    COMMIT;\nEND $$;", {"PS016"}),
        # Data tables are the caller's in the functions behind views, nowhere else.
        ("CREATE FUNCTION embed_health() RETURNS int LANGUAGE sql AS 'SELECT 1 FROM joint_embeddings';", set()),
        ("CREATE FUNCTION embed_health() RETURNS int LANGUAGE sql AS 'SELECT 1 FROM my_table';", {"PS017"}),
        ("CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1 FROM joint_embeddings';", {"PS005", "PS017"}),
        ("SELECT 1 FROM joint_embeddings;", {"PS017"}),
        # A path of pg_catalog alone makes short names sound, until it is put back.
        ("SET LOCAL search_path = pg_catalog, pg_temp; SELECT 1 + 1;", set()),
        (
            "SET LOCAL search_path = pg_catalog, pg_temp; SET LOCAL search_path = @extschema@, pg_temp; SELECT 1 + 1;",
            {"PS001"},
        ),
        # The row type of a table is no reason to look away from a body that is not pinned.
        (
            f"CREATE FUNCTION f() RETURNS int LANGUAGE plpgsql {PINNED} AS "
            "$$ DECLARE r @extschema@.t; BEGIN r.a := 1; RETURN r.a; END $$;",
            set(),
        ),
    ],
)
def test_findings(sql, codes, tmp_path, capsys):
    assert findings(sql, tmp_path, capsys) == codes


def test_an_unpinned_body_that_cannot_be_read_stops_the_check(tmp_path):
    path = tmp_path / "a.sql"
    path.write_text(
        "CREATE FUNCTION f() RETURNS int LANGUAGE plpgsql AS $$ DECLARE r t; BEGIN r.a := 1; RETURN 1; END $$;"
    )
    with pytest.raises(check_sql.ParseError):
        check_sql.check(path)


def test_the_data_tables_are_known():
    assert {"prices_daily", "profiles", "numeric_window_embeddings", "joint_embeddings"} <= check_sql.DATA_TABLES


def test_installed_scripts_are_clean(cluster, capsys):
    share = cluster.psql("postgres", "SELECT setting FROM pg_config WHERE name = 'SHAREDIR'", "-At").stdout.strip()
    scripts = sorted(check_sql.Path(share, "extension").glob("prometheus_embed--*.sql"))
    assert scripts, f"no script of ours in {share}"
    for script in scripts:
        assert check_sql.check(script) == 0, capsys.readouterr().out
