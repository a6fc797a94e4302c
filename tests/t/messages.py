"""Every error message that the sources can raise, with `…` where a value stands."""

import re

from cluster import ROOT

RUST = ["src/engine/**/error.rs", "src/engine/error.rs", "src/pg/report.rs", "src/pg/report/*.rs"]
IN_RUST = re.compile(r'#\[error\(\s*"((?:[^"\\]|\\.)*)"', re.DOTALL)
IN_SQL = re.compile(r"RAISE EXCEPTION '((?:[^']|'')*)'")


def in_rust(text):
    """Messages of `thiserror` enums; a backslash at the end of a line joins it with the next."""
    for message in IN_RUST.findall(text):
        message = re.sub(r"\\\n\s*", "", message).replace('\\"', '"')
        yield re.sub(r"\{[^}]*\}", "…", message)


def in_sql(text):
    """Messages of PL/pgSQL."""
    for message in IN_SQL.findall(text):
        yield message.replace("''", "'").replace("%", "…")


def messages():
    """All of them, with the file each is in."""
    found = {}
    for pattern in RUST:
        for path in ROOT.glob(pattern):
            found |= {message: path.relative_to(ROOT) for message in in_rust(path.read_text(encoding="utf-8"))}
    for path in [*ROOT.glob("sql/*.sql"), *ROOT.glob("migrations/*.sql")]:
        found |= {message: path.relative_to(ROOT) for message in in_sql(path.read_text(encoding="utf-8"))}
    return found
