"""Random queries by sqlsmith (Debian's package) that call no functions but ours: no crash and no XX000.

sqlsmith asks pg_proc what there is to call; it finds a view of that name first, which lists the extension's functions.
PE_QUERIES sets how many queries, 50,000 by default; they run in a database with data, as a role that owns nothing.
"""

import collections
import os
import re
import shutil
import subprocess

import pytest
from faults import SEED, Gates, record

QUERIES = int(os.environ.get("PE_QUERIES", "50000"))
OURS = """
CREATE SCHEMA smith;
CREATE VIEW smith.pg_proc AS
SELECT p.* FROM pg_catalog.pg_proc p
  JOIN pg_catalog.pg_depend d ON d.classid = 'pg_catalog.pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e'
  JOIN pg_catalog.pg_extension e ON d.refclassid = 'pg_catalog.pg_extension'::regclass AND e.oid = d.refobjid AND e.extname = 'prometheus_embed';
CREATE ROLE smith_user LOGIN;
GRANT USAGE ON SCHEMA smith TO smith_user;
GRANT SELECT ON smith.pg_proc TO smith_user;
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO smith_user;
ALTER ROLE smith_user SET search_path = smith, pg_catalog, public;
"""


def test_random_queries_of_our_functions(fault_cluster, fault_db):
    if not shutil.which("sqlsmith"):
        pytest.skip("no sqlsmith here: apt-get install sqlsmith")
    gates = Gates(fault_cluster, fault_db)
    with fault_cluster.connect(fault_db) as session:
        session.execute(OURS)
    offset = fault_cluster.log.stat().st_size
    try:
        done = subprocess.run(
            ["sqlsmith", f"--target=host={fault_cluster.socket_dir} port={fault_cluster.port} dbname={fault_db} user=smith_user",
             "--exclude-catalog", f"--max-queries={QUERIES}", f"--seed={SEED % 2**31}"],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
    finally:
        with fault_cluster.connect(fault_db) as session:
            session.execute("DROP OWNED BY smith_user; DROP ROLE smith_user")
    with open(fault_cluster.log, encoding="utf-8", errors="replace") as log:
        log.seek(offset)
        text = log.read()
    codes = collections.Counter(re.findall(r"ERROR:  ([0-9A-Z]{5}):", text))
    named = collections.Counter(re.findall(r"public\.([a-z_0-9]+)\(", text))
    record("sqlsmith", queries=QUERIES, ended=done.returncode, codes=dict(codes.most_common(12)), functions_in_failed=len(named))
    assert done.returncode == 0, done.stderr[-2000:]
    assert codes["XX000"] == 0
    gates.close()
