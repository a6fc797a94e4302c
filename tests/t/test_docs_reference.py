"""docs/reference/ describes every function as the catalogs have it: signature, comment, marks, privileges; with errors
whose codes docs/troubleshooting.md explains, and an example (which test_docs.py runs).

With PE_ACCEPT=1 the blocks that the catalogs say are rewritten; what only a person can write is still missed.
"""

import os
import re
import textwrap

import pytest
from cluster import ROOT
from markdown import fenced_blocks

FOLDER = ROOT / "docs" / "reference"
ACCEPT = os.environ.get("PE_ACCEPT") == "1"

FUNCTIONS = """
SELECT p.proname, pg_get_function_arguments(p.oid) AS arguments, pg_get_function_result(p.oid) AS result,
       obj_description(p.oid, 'pg_proc') AS comment,
       concat_ws(', ', CASE p.prokind WHEN 'a' THEN 'aggregate' WHEN 'p' THEN 'procedure'
                            ELSE CASE p.provolatile WHEN 'i' THEN 'immutable' WHEN 's' THEN 'stable' ELSE 'volatile' END END,
                 CASE WHEN p.proisstrict THEN 'strict' END,
                 CASE WHEN p.prokind <> 'p' THEN 'parallel ' || CASE p.proparallel WHEN 's' THEN 'safe' WHEN 'r' THEN 'restricted'
                           ELSE 'unsafe' END END,
                 CASE WHEN p.prokind = 'f' THEN 'cost ' || p.procost::bigint END,
                 CASE WHEN p.proretset THEN 'rows ' || p.prorows::bigint END)
       || '; callable by ' || coalesce((SELECT string_agg(DISTINCT CASE a.grantee WHEN 0 THEN 'everybody' ELSE a.grantee::regrole::text END, ', ')
                               FROM aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a
                              WHERE a.grantee = 0 OR a.grantee <> p.proowner AND NOT EXISTS (
                                    SELECT FROM aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) b WHERE b.grantee = 0)),
                             'its owner') AS marks,
       obj_description(p.oid, 'pg_proc') LIKE 'Internal%' OR p.prorettype = 'trigger'::regtype AS internal
  FROM pg_proc p
  JOIN pg_depend d ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e'
  JOIN pg_extension e ON d.refclassid = 'pg_extension'::regclass AND e.oid = d.refobjid AND e.extname = 'prometheus_embed'
 ORDER BY p.proname COLLATE "C", pg_get_function_identity_arguments(p.oid) COLLATE "C"
"""


def wrapped(text, indent):
    """The text in lines of at most 118 characters."""
    return textwrap.wrap(text, 118, initial_indent=indent, subsequent_indent="    ", break_long_words=False, break_on_hyphens=False)


def described(function):
    """The lines of one function in a signature block."""
    result = f" → {function.result}" if function.result else ""
    arguments = re.sub(r"\bIN ", "", function.arguments)
    arguments = re.sub(r"::(text\[\]|text|integer|date|jsonb|boolean)\b(\[\])?", "", arguments)
    return [
        *wrapped(f"{function.proname}({arguments}){result}", ""),
        *wrapped(function.comment, "    "),
        *wrapped(function.marks, "    "),
    ]


@pytest.fixture(scope="module")
def functions(module_db):
    cursor = module_db.execute(FUNCTIONS)
    names = [column.name for column in cursor.description]
    return [type("Function", (), dict(zip(names, row, strict=True))) for row in cursor.fetchall()]


@pytest.fixture(scope="module")
def wanted(functions):
    """The body of the signature block of each heading."""
    blocks = {}
    for function in functions:
        if function.internal:
            arguments = re.sub(r" DEFAULT [^,]+", "", re.sub(r"\bIN ", "", function.arguments))
            blocks.setdefault("Internal functions", []).extend(
                [*wrapped(f"{function.proname}({arguments})", ""), *wrapped(function.comment.removeprefix("Internal: "), "    ")]
            )
        else:
            blocks.setdefault(function.proname, []).extend(described(function))
    return {heading: "\n".join(lines) for heading, lines in blocks.items()}


def sections(text):
    """Heading and body of every section of the second level."""
    parts = re.split(r"^## (.+)$", text, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def pages():
    return {path: path.read_text(encoding="utf-8") for path in sorted(FOLDER.glob("*.md"))}


def with_signatures(text, wanted):
    """The page with its signature blocks as the catalogs have them."""

    def renewed(match):
        body = wanted.get(match["heading"])
        return match[0] if body is None else f"## {match['heading']}\n\n```signature\n{body}\n```"

    return re.sub(r"^## (?P<heading>.+)\n\n```signature\n(?:.*\n)*?```$", renewed, text, flags=re.MULTILINE)


def codes_of_troubleshooting():
    page = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
    return set(re.findall(r"^\| `([0-9A-Z]{5})` \|", page, re.MULTILINE))


def test_every_function_is_described_as_it_is(wanted):
    if ACCEPT:
        for path, text in pages().items():
            path.write_text(with_signatures(text, wanted), encoding="utf-8")
    found = {}
    for text in pages().values():
        for heading, body in sections(text).items():
            blocks = [content for _, info, content, _ in fenced_blocks(body) if info == "signature"]
            if blocks:
                assert heading not in found, f"{heading} is described twice"
                found[heading] = blocks[0]
    assert sorted(found) == sorted(wanted), "give every function a section in docs/reference, and no other"
    stale = [heading for heading, body in wanted.items() if found[heading] != body]
    assert stale == [], "PE_ACCEPT=1 renews these signatures in docs/reference"


def test_every_function_has_an_example(wanted):
    everything = {heading: body for text in pages().values() for heading, body in sections(text).items()}
    without = []
    for heading in wanted:
        blocks = [content for _, info, content, _ in fenced_blocks(everything.get(heading, "")) if info == "sql" or info.startswith("sql needs ")]
        if heading != "Internal functions" and not any(heading in block for block in blocks):
            without.append(heading)
    assert without == []


def test_every_code_is_explained():
    named = {code for text in pages().values() for code in re.findall(r"`([0-9A-Z]{5})`", text)}
    assert named <= codes_of_troubleshooting()


def test_signatures_are_renewed_in_place():
    text = "## f\n\n```signature\nold\n```\n\nProse.\n\n## g\n\n```signature\n```\n"
    expected = "## f\n\n```signature\nnew\n```\n\nProse.\n\n## g\n\n```signature\n```\n"
    assert with_signatures(text, {"f": "new"}) == expected
    assert with_signatures(expected, {"f": "new"}) == expected
