"""Looks for SQL whose meaning a hostile search_path or a hostile object could change: pgspot, with every warning an
error. `make lint` runs it over sql/ and migrations/; a test, over the install script that was built.

    check_sql.py FILE.sql...    prints what it finds; exit code 1 if there is anything

No code of pgspot is switched off. What is added to it is narrower than its own switches:

* Bodies of standard SQL (RETURN, BEGIN ATOMIC) are unknown to pgspot. They are parsed once, when the function is
  made, so no later search_path changes them; they are checked like any other statement of the script.
* Postgres refuses a SET clause on a procedure that commits. Its body must therefore qualify every name; only the
  missing SET clause is accepted.
* Data tables are the caller's own and found through his search_path: that is the interface. Migrations and the
  functions behind the views may name them without a schema, and nothing else.
"""

import argparse
import re
import sys
from argparse import Namespace
from pathlib import Path

from pglast.parser import ParseError
from pgspot import state as pgspot_state
from pgspot import visitors

ROOT = Path(__file__).resolve().parents[1]

# They stand behind views: with a SET clause the planner could not look into them, and they would find no table of
# the caller's. Their bodies qualify everything but the data tables.
BEHIND_VIEWS = {"embed_joint_profiles", "embed_joint_portfolios", "embed_coverage", "embed_health", "embed_cross_sections"}

CREATED = re.compile(r"^\s*CREATE TABLE (?:IF NOT EXISTS )?([a-z_]+) \(", re.MULTILINE)
COMMITS = re.compile(r"^\s*COMMIT;", re.MULTILINE)


def data_tables():
    """The tables that migrations make."""
    return {name for path in ROOT.glob("migrations/*.sql") for name in CREATED.findall(path.read_text("utf-8"))}


class State(pgspot_state.State):
    """pgspot's state of one script or body, and whose data tables it may name."""

    data_tables = frozenset()


class Visitor(visitors.SQLVisitor):
    """pgspot's visitor, with the three rules of this file's head."""

    def visit_CreateFunctionStmt(self, ancestors, node):  # noqa: N802 (the name that pglast calls)
        options = {option.defname: option.arg for option in node.options}
        name = node.funcname[-1].sval
        if "as" not in options:
            # Its statements are children of this node, which the visitor goes on to.
            if node.replace:
                self.state.warn("PS002", name)
            return
        body = options["as"][0].sval
        free = name in BEHIND_VIEWS or (node.is_procedure and COMMITS.search(body))
        allowed = self.state.args.proc_without_search_path
        self.state.args.proc_without_search_path = [visitors.format_function(node)] if free else []
        visitors.State = state_with(DATA_TABLES if name in BEHIND_VIEWS else frozenset())
        try:
            super().visit_CreateFunctionStmt(ancestors, node)
        except ParseError:
            # The parser outside a server knows no row types of tables. With a secure path the body is sound anyway.
            if not pinned(node, self.state):
                raise
        finally:
            visitors.State = State
            self.state.args.proc_without_search_path = allowed

    def visit_RangeVar(self, ancestors, node):  # noqa: N802
        if node.schemaname or node.relname not in self.state.data_tables:
            super().visit_RangeVar(ancestors, node)


def pinned(node, state):
    """Whether the function has a SET clause that leaves only pg_catalog and pg_temp."""
    setters = [option.arg for option in node.options if option.defname == "set" and option.arg.name == "search_path"]
    return bool(setters) and state.is_secure_searchpath(setters[0])


def state_with(tables):
    """A class of states that may name `tables`."""
    return type("State", (State,), {"data_tables": tables})


def check(path):
    """Prints what there is to say about the file; returns how much."""
    arguments = Namespace(
        ignore=[], ignore_lang=[], proc_without_search_path=[], sql_fn=[], plpgsql=True, summary_only=False
    )
    counter = pgspot_state.Counter(arguments)
    of_data = "migrations" in path.resolve().parts
    state = state_with(DATA_TABLES if of_data else frozenset())(counter)
    visitors.visit_sql(state, path.read_text("utf-8"), toplevel=True)
    found = counter.errors + counter.warnings + counter.unknowns
    if found:
        print(f"{path}: {counter}\n")
    return found


def main():
    """Checks the files of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+", type=Path)
    found = sum(check(path) for path in parser.parse_args().files)
    return 1 if found else 0


DATA_TABLES = frozenset(data_tables())
visitors.SQLVisitor, visitors.State = Visitor, State

if __name__ == "__main__":
    sys.exit(main())
