"""Every SQL example of README.md and docs/ runs, and prints what the page says.

The examples of a page run in order, in one psql session in a database of the page's own that holds the demo
data. A page that creates the extension itself starts in an empty database and loads what it needs, for example
with `\\i demo/generate.sql`. An error is a failure, unless the page shows it (an output block with ERROR:).

With PE_ACCEPT=1 the output blocks that differ are rewritten with what psql printed, and an empty ```text block after
an example is filled; read `git diff` before you keep it. Blocks with a line `...` are left to their author.
"""

import os
import re
import warnings
from dataclasses import replace

import pytest
from cluster import ROOT
from markdown import examples, indented_sql, same_output, with_outputs

PAGES = sorted(path.relative_to(ROOT) for path in [*ROOT.glob("README.md"), *ROOT.glob("docs/**/*.md")])
MARK = "@@example"
ACCEPT = os.environ.get("PE_ACCEPT") == "1"


def psql_script(page, accept=False):
    """One script for the page: a marker line before each example, errors allowed only where they are shown, or
    where an empty output block waits to be filled."""
    parts = []
    for number, example in enumerate(page):
        shown = "ERROR:" in (example.expected or "") or (accept and example.expected == "")
        stop = "off" if shown else "on"
        parts.append(f"\\echo {MARK} {number}\n\\set ON_ERROR_STOP {stop}\n{example.sql}\n")
    return "".join(parts)


def outputs(printed):
    """The output of each example that was reached, by its number."""
    found = {}
    for part in printed.split(MARK + " ")[1:]:
        number, _, output = part.partition("\n")
        found[int(number)] = output
    return found


def differences(page, printed, returncode):
    """What did not go as the page says, as text; empty when all is well."""
    reached, wrong = outputs(printed), []
    for number, example in enumerate(page):
        output = reached.get(number)
        if output is None:
            wrong.append(f"line {example.line}: not reached")
        elif example.expected is not None and not same_output(example.expected, output):
            wrong.append(f"line {example.line}: expected\n{example.expected}\n--- but got\n{output}")
        elif returncode != 0 and number == max(reached):
            wrong.append(f"line {example.line}: failed\n{example.sql}\n--- with\n{output}")
    if returncode != 0 and not wrong:
        wrong.append(f"psql ended with {returncode}:\n{printed}")
    return "\n\n".join(wrong)


def has_extension(cluster, name):
    """Whether a block that needs the extension can run; None needs none."""
    if name is None:
        return True
    with cluster.connect("postgres") as connection:
        available = connection.execute("SELECT FROM pg_available_extensions WHERE name = %s", [name]).fetchall()
    if not available:
        warnings.warn(f"examples that need {name} were not run: it is not installed", stacklevel=2)
    return bool(available)


def without(page, idle):
    """The page with nothing to run in the examples of these numbers."""
    return [replace(example, sql="", expected=None) if number in idle else example for number, example in enumerate(page)]


@pytest.mark.parametrize("path", PAGES, ids=str)
def test_examples_of(path, cluster, request):
    text = (ROOT / path).read_text(encoding="utf-8")
    page = examples(text)
    if not page:
        return
    idle = {number for number, example in enumerate(page) if not has_extension(cluster, example.needs)}
    page = without(page, idle)
    installs = any("CREATE EXTENSION prometheus_embed" in example.sql for example in page)
    template = "template1" if installs else request.getfixturevalue("demo_template")
    database = cluster.create_database(template, prefix="docs")
    try:
        done = cluster.psql(database, psql_script(page, ACCEPT))
    finally:
        cluster.drop_database(database)
    if ACCEPT:
        printed = {number: output for number, output in outputs(done.stdout).items() if number not in idle}
        accepted = with_outputs(text, printed)
        page = without(examples(accepted), idle)
        if accepted != text:
            (ROOT / path).write_text(accepted, encoding="utf-8")
    wrong = differences(page, done.stdout, done.returncode)
    assert not wrong, f"{path}\n{wrong}"


@pytest.mark.parametrize("path", PAGES, ids=str)
def test_no_sql_escapes_in(path):
    assert indented_sql((ROOT / path).read_text(encoding="utf-8")) == [], f"{path}: use ```sql blocks, which are run"


LINK = re.compile(r"\]\(([^)#:]+)(?:#[^)]*)?\)")


@pytest.mark.parametrize("path", PAGES, ids=str)
def test_links_of(path):
    here = (ROOT / path).parent
    broken = [link for link in LINK.findall((ROOT / path).read_text(encoding="utf-8")) if not (here / link).exists()]
    assert broken == []


def test_every_page_is_in_the_list():
    listed = set(LINK.findall((ROOT / "docs/README.md").read_text(encoding="utf-8")))
    pages = {path.relative_to("docs").as_posix() for path in PAGES if path.parts[0] == "docs"} - {"README.md"}
    assert pages - listed == set(), "docs/README.md lists every page"


def test_indented_sql_is_found():
    assert indented_sql("Text\n\n    SELECT 1;\n\n```sql\n    SELECT 2;\n```\n") == [(3, "SELECT 1;")]


def run(cluster, database, text):
    page = examples(text)
    done = cluster.psql(database, psql_script(page))
    return differences(page, done.stdout, done.returncode)


def test_runner_accepts_what_is_right(cluster, db):
    text = "```sql\nSELECT 1 AS a, 'x' AS b;\n```\n\n```text\n a | b \n---+---\n 1 | x\n(1 row)\n```\n"
    assert run(cluster, db.info.dbname, text) == ""


def test_runner_reports_another_output(cluster, db):
    text = "```sql\nSELECT 1 AS a;\n```\n```text\n a \n---\n 2\n(1 row)\n```\n"
    assert "line 1: expected" in run(cluster, db.info.dbname, text)


def test_runner_reports_an_error_and_what_comes_after(cluster, db):
    text = "```sql\nSELECT 1;\n```\n```sql\nSELECT nothing;\n```\n```sql\nSELECT 3;\n```\n"
    wrong = run(cluster, db.info.dbname, text)
    assert 'column "nothing" does not exist' in wrong
    assert "line 7: not reached" in wrong
    assert "line 1:" not in wrong


def test_runner_accepts_an_error_that_is_shown(cluster, db):
    text = "```sql\nSELECT 1/0;\n```\n```text\nERROR:  division by zero\n```\n```sql\nSELECT 1;\n```\n"
    assert run(cluster, db.info.dbname, text) == ""


def test_runner_keeps_the_session_between_blocks(cluster, db):
    text = "```sql\nSET search_path = pg_catalog;\n```\n```sql\nSHOW search_path;\n```\n```text\n...\n pg_catalog\n...\n```\n"
    assert run(cluster, db.info.dbname, text) == ""


def test_output_belongs_to_the_block_right_before_it():
    page = examples("```sql\nSELECT 1;\n```\nSome prose.\n```text\nnot the output\n```\n")
    assert [example.expected for example in page] == [None]


def test_skipping_needs_a_reason():
    assert examples("```sql skip: needs a second server\nSELECT 1;\n```\n") == []
    with pytest.raises(ValueError, match="reason"):
        examples("```sql skip\nSELECT 1;\n```\n")


def test_dots_stand_for_any_lines():
    assert same_output("a\n...\nd", "a\nb\nc\nd\n")
    assert same_output("a\n...", "a\n")
    assert not same_output("a\n...\nd", "a\nb\n")


PAGE = """1. In a list:

   ```sql
   SELECT 1;
   ```

   ```text
   old
   ```

```sql
SELECT 2;
```
```text
```
```sql
SELECT 3;
```
Prose.
```text
prose's own
```
```sql
SELECT 4;
```
```text
first

last
```
```sql
SELECT 5;
```
```text
a
...
```
"""


def test_accepting_rewrites_what_differs_and_nothing_else():
    printed = {0: "new  \n\nline\n", 1: "filled\n\n", 2: "not shown\n", 3: "first\n\nlast\n", 4: "b\n"}
    accepted = with_outputs(PAGE, printed)
    expected = PAGE.replace("   old\n", "   new\n\n   line\n").replace("```text\n```\n", "```text\nfilled\n```\n")
    assert accepted == expected
    assert with_outputs(accepted, printed) == accepted


def test_accepting_leaves_what_was_not_reached():
    assert with_outputs(PAGE, {}) == PAGE


def test_accepting_shortens_a_block():
    accepted = with_outputs(PAGE, {3: "one\n"})
    assert accepted == PAGE.replace("first\n\nlast\n", "one\n")


def test_accepting_runs_on_past_an_error_only_where_one_may_be_shown():
    page = examples("```sql\nSELECT 1/0;\n```\n```text\n```\n```sql\nSELECT 1;\n```\n")
    assert [line for line in psql_script(page, accept=True).splitlines() if "STOP" in line] == [
        "\\set ON_ERROR_STOP off",
        "\\set ON_ERROR_STOP on",
    ]
    assert "STOP off" not in psql_script(page)
