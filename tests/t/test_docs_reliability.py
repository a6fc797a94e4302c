"""docs/reliability.md names tests and files that are there, and leaves no fault out."""

import re

from cluster import ROOT

PAGE = (ROOT / "docs" / "reliability.md").read_text(encoding="utf-8")
NAMES = re.findall(r"`([^`\n]+)`", PAGE)


def sources():
    """The text of all tests, Python and Rust."""
    files = [*ROOT.glob("tests/**/*.py"), *ROOT.glob("tests/*.rs"), *ROOT.glob("src/**/*.rs")]
    return "\n".join(file.read_text(encoding="utf-8") for file in files)


def test_every_test_that_is_named_is_there():
    defined = set(re.findall(r"\b(?:def|fn) (\w+)\(", sources()))
    named = {re.sub(r"\[.*", "", name) for name in NAMES if re.match(r"test_\w+(\[|$)", name)}
    assert len(named) > 60
    assert named - defined == set()


def test_every_file_that_is_named_is_there():
    named = {found for name in NAMES for found in re.findall(r"\b(?:tests|scripts|benches|docs|fuzz)/[\w./]+\.(?:py|sh|rs|sql)", name)}
    assert len(named) > 15
    assert {name for name in named if not (ROOT / name).is_file()} == set()
    of_regress = {name for name in NAMES if re.fullmatch(r"\w+\.sql", name)}
    assert of_regress and {name for name in of_regress if not (ROOT / "tests" / "pg_regress" / "sql" / name).is_file()} == set()


def test_every_fault_has_its_row_and_names_a_test():
    rows = dict(re.findall(r"^\| (\d+) \| (.*) \|$", PAGE, re.MULTILINE))
    assert list(map(int, rows)) == list(range(1, 76))
    # Two faults cannot be provoked in a release, and sanitizers are programs of their own: the page says so.
    silent = [int(number) for number, row in rows.items() if not re.search(r"`\w+\.sql`|test_\w+|tests/|scripts/|the same", row)]
    assert silent == [32, 47] and all("not provoked" in row or "Not run" in row for row in map(rows.get, map(str, silent)))


def test_every_figure_has_a_command():
    table = PAGE[PAGE.index("| what | how much |") : PAGE.index("## Cancelled")]
    rows = [row[1:-1].split("|") for row in table.strip().splitlines()[2:]]
    assert len(rows) > 15 and {len(row) for row in rows} == {5}
    assert all("`" in row[4] or "the same" in row[4] for row in rows)
