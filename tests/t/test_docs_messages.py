"""docs/troubleshooting.md has every error message that the sources can raise, and no other; every code in
src/pg/report* is in its table."""

import re

import messages
import psycopg.errors
from cluster import ROOT

PAGE = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")


def documented():
    """The messages in the first columns."""
    return set(re.findall(r"^\| `(.*?)` \| [^|]+ \| [^|]+ \|$", PAGE.split("## Codes")[0], re.MULTILINE))


def test_every_message_is_explained():
    known = messages.messages()
    missing = {message: str(path) for message, path in known.items() if message not in documented()}
    assert missing == {}, "add a row to docs/troubleshooting.md: message, why, what to do"
    assert documented() - set(known) == set(), "no source raises these any more"


def test_messages_are_found_in_rust():
    text = '#[error("a {b} of \\"{c:?}\\"")] A,\n#[error(\n    "two \\\n    lines"\n)] B, #[error(transparent)] C'
    assert list(messages.in_rust(text)) == ['a … of "…"', "two lines"]


def test_messages_are_found_in_sql():
    assert list(messages.in_sql("RAISE EXCEPTION 'it''s %' , x; RAISE NOTICE 'n'")) == ["it's …"]


def test_codes_of_the_report_are_in_the_table():
    names = set()
    for path in [ROOT / "src/pg/report.rs", *ROOT.glob("src/pg/report/*.rs")]:
        names |= set(re.findall(r"ERRCODE_(\w+)", path.read_text(encoding="utf-8")))
    by_name = {name.upper(): error.sqlstate for name, error in vars(psycopg.errors).items() if hasattr(error, "sqlstate")}
    flat = {name.replace("_", ""): code for name, code in by_name.items() if code}
    table = set(re.findall(r"^\| `([0-9A-Z]{5})` \|", PAGE, re.MULTILINE))
    codes = {flat[name.replace("_", "")] for name in names if name.replace("_", "") in flat}
    assert len(codes) > 20
    assert codes - {"XX000"} <= table
