"""From every released version to this one: tests/upgrade/README.md says how."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from cluster import ROOT

VERSIONS = sorted((ROOT / "tests" / "upgrade" / "versions").glob("prometheus_embed--*.sql"))

# One row per member of the extension and per comment, right and definition that hangs on it.
CATALOG = """
    WITH members AS (
        SELECT d.classid, d.objid FROM pg_depend d JOIN pg_extension e ON e.oid = d.refobjid AND d.refclassid = 'pg_extension'::regclass
         WHERE d.deptype = 'e' AND e.extname = 'prometheus_embed')
    SELECT pg_describe_object(classid, objid, 0) AS object, 'member' AS part, obj_description(objid, classid::regclass::name) AS value FROM members
    UNION ALL
    SELECT objid::regprocedure::text, 'function',
           CASE WHEN prokind = 'a' THEN (SELECT (to_jsonb(a) - 'aggfnoid')::text FROM pg_aggregate a WHERE aggfnoid = objid)
                ELSE pg_get_functiondef(objid) END
           || concat_ws(' ', procost, prorows, proparallel, provolatile, proisstrict, proacl::text, pg_get_function_arguments(objid))
      FROM members JOIN pg_proc ON pg_proc.oid = objid WHERE classid = 'pg_proc'::regclass
    UNION ALL
    SELECT objid::regclass::text, 'relation', concat_ws(' ', relkind, relacl::text, reloptions::text, pg_get_viewdef(objid))
      FROM members JOIN pg_class ON pg_class.oid = objid WHERE classid = 'pg_class'::regclass
    UNION ALL
    SELECT objid::regclass::text, 'column ' || attname,
           concat_ws(' ', attnum, format_type(atttypid, atttypmod), attnotnull, attstorage, pg_get_expr(adbin, adrelid), col_description(objid, attnum))
      FROM members JOIN pg_attribute ON attrelid = objid AND attnum > 0 AND NOT attisdropped
      LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum WHERE classid = 'pg_class'::regclass
    UNION ALL
    SELECT conrelid::regclass::text, 'constraint ' || conname, pg_get_constraintdef(pg_constraint.oid)
      FROM members JOIN pg_constraint ON conrelid = objid WHERE classid = 'pg_class'::regclass
    UNION ALL
    SELECT indrelid::regclass::text, 'index', pg_get_indexdef(indexrelid)
      FROM members JOIN pg_index ON indrelid = objid WHERE classid = 'pg_class'::regclass
    UNION ALL
    SELECT tgrelid::regclass::text, 'trigger ' || tgname, concat_ws(' ', pg_get_triggerdef(pg_trigger.oid), obj_description(pg_trigger.oid))
      FROM members JOIN pg_trigger ON tgrelid = objid AND NOT tgisinternal WHERE classid = 'pg_class'::regclass
    UNION ALL
    SELECT 'extension', 'dumped ' || c::regclass, w
      FROM pg_extension, unnest(extconfig, extcondition) AS dumped(c, w) WHERE extname = 'prometheus_embed'
    UNION ALL
    SELECT 'embed_models', 'row ' || model_id, concat_ws(' ', modality, dim, spec, sha256, description)
      FROM embed_models WHERE builtin
"""


@pytest.fixture
def database(cluster):
    """Makes empty databases."""
    names, sessions = [], []

    def make():
        names.append(cluster.create_database())
        sessions.append(cluster.connect(names[-1]))
        return sessions[-1]

    yield make
    for session in sessions:
        session.close()
    for name in names:
        cluster.drop_database(name)


@pytest.fixture
def extension_dir(cluster):
    """Where the private Postgres keeps install scripts; what a test adds there is removed again."""
    share = subprocess.run([cluster.bindir / "pg_config", "--sharedir"], capture_output=True, text=True, check=True).stdout
    directory = Path(share.strip()) / "extension"
    before = set(directory.iterdir())
    yield directory
    for added in set(directory.iterdir()) - before:
        added.unlink()


def catalog(connection):
    return set(connection.execute(CATALOG).fetchall())


def current():
    return re.search(r'^version = "(.+)"', (ROOT / "Cargo.toml").read_text(encoding="utf-8"), re.M).group(1)


def test_the_default_version_is_cargos(database):
    connection = database()
    default, library = current(), None
    connection.execute("CREATE EXTENSION prometheus_embed")
    assert connection.execute("SELECT default_version FROM pg_available_extensions WHERE name = 'prometheus_embed'").fetchone() == (default,)
    assert connection.execute("SELECT extversion FROM pg_extension WHERE extname = 'prometheus_embed'").fetchone() == (default,)
    library = connection.execute("SELECT embed_version()").fetchone()[0]
    assert library == default


def test_there_is_a_path_from_every_released_version(database):
    connection, scripts = database(), sorted(path.name for path in (ROOT / "sql").glob("prometheus_embed--*--*.sql"))
    paths = dict(connection.execute("SELECT source, path FROM pg_extension_update_paths('prometheus_embed') WHERE target = %s", (current(),)).fetchall())
    for frozen in VERSIONS:
        version = frozen.stem.split("--")[1]
        assert version == current() or paths.get(version), f"no path from {version} to {current()}; scripts: {scripts}"
    # No script leads from or to a version that was never released.
    known = {frozen.stem.split("--")[1] for frozen in VERSIONS} | {current()}
    assert {part for name in scripts for part in name[:-4].split("--")[1:]} <= known


@pytest.mark.parametrize("frozen", VERSIONS, ids=lambda path: path.stem.split("--")[1])
def test_an_upgraded_catalog_equals_a_fresh_one(database, extension_dir, frozen):
    version = frozen.stem.split("--")[1]
    if version != current():
        shutil.copy(frozen, extension_dir)
    old, fresh = database(), database()
    old.execute(f"CREATE EXTENSION prometheus_embed VERSION '{version}'")
    register = "SELECT register_numeric_model('mine', %s)"
    old.execute(register, ('{"features": ["close"], "price_column": "close", "encoder": "flatten", "window": {"min_fill": 1, "look_back": 3, "short_history": "fail"}}',))
    old.execute("ALTER EXTENSION prometheus_embed UPDATE")
    fresh.execute("CREATE EXTENSION prometheus_embed")
    assert catalog(old) ^ catalog(fresh) == set()
    assert old.execute("SELECT vector_to_array(num_window_embed(ARRAY[1, 2], ARRAY[0, 0], 2, 'mine'))").fetchone() == ([1.0, 2.0],)


def test_the_comparison_finds_differences(database, extension_dir):
    """The way from a version to the next, walked with today's script under another name, and with a flaw in it."""
    name, version = "prometheus_embed--{}.sql", current()
    installed = (extension_dir / name.format(version)).read_text(encoding="utf-8")
    (extension_dir / name.format("0.0.1")).write_text(installed, encoding="utf-8")
    (extension_dir / name.format(f"0.0.1--{version}")).write_text("-- Nothing to do.\n", encoding="utf-8")
    flawed = "ALTER FUNCTION vector_dim(bytea) COST 7; COMMENT ON FUNCTION l2_norm(bytea) IS 'other'; GRANT INSERT ON embed_models TO PUBLIC;\n"
    (extension_dir / name.format(f"0.0.2--{version}")).write_text(flawed, encoding="utf-8")
    (extension_dir / name.format("0.0.2")).write_text(installed, encoding="utf-8")
    fresh = database()
    fresh.execute("CREATE EXTENSION prometheus_embed")
    for start, differing in (("0.0.1", set()), ("0.0.2", {"vector_dim(bytea)", "function l2_norm(bytea)", "embed_models"})):
        old = database()
        old.execute(f"CREATE EXTENSION prometheus_embed VERSION '{start}'")
        old.execute("ALTER EXTENSION prometheus_embed UPDATE")
        assert old.execute("SELECT extversion FROM pg_extension WHERE extname = 'prometheus_embed'").fetchone() == (version,)
        assert {row[0] for row in catalog(old) ^ catalog(fresh)} == differing
