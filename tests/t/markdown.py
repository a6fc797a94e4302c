"""Finds the SQL examples in a Markdown page and what the page says they print.

    ```sql                 is run
    ```sql skip: REASON    is not; without a reason it is an error
    ```sql needs NAME      is run where the server has the extension NAME
    ```text (or output)    right after a run block: what psql prints for it; a line `...` stands for any lines
"""

import re
from dataclasses import dataclass

FENCE = re.compile(r"^(?P<indent> *)(?P<ticks>`{3,})(?P<info>.*)$")


@dataclass
class Example:
    """One SQL block: where it starts, its text, and what it should print (None: the page does not say).
    `output_line` is the line of the fence that opens the output block."""

    line: int
    sql: str
    expected: str | None = None
    output_line: int | None = None
    needs: str | None = None


def fenced_blocks(text):
    """Yields (line number, info string, body, prose between the block before and this one)."""
    lines, number, prose = text.splitlines(), 0, ""
    while number < len(lines):
        fence = FENCE.match(lines[number])
        if not fence:
            prose += lines[number].strip()
            number += 1
            continue
        start, indent = number + 1, len(fence["indent"])
        number += 1
        body = []
        while number < len(lines) and lines[number].strip() != fence["ticks"]:
            body.append(lines[number][indent:] if not lines[number][:indent].strip() else lines[number])
            number += 1
        yield start, fence["info"].strip(), "\n".join(body), prose
        number, prose = number + 1, ""


def examples(text):
    """The page's examples in order. Raises ValueError for a block that is skipped without a reason."""
    found, previous = [], None
    for line, info, body, prose in fenced_blocks(text):
        language, _, rest = info.partition(" ")
        if language == "sql" and (needs := re.fullmatch(r"needs (\w+)", rest)):
            previous = Example(line, body, needs=needs[1])
            found.append(previous)
        elif language == "sql" and rest:
            if not re.fullmatch(r"skip: \S.{5,}", rest):
                raise ValueError(f"line {line}: ```{info}: say `sql skip: ` and the reason")
            previous = None
        elif language == "sql":
            previous = Example(line, body)
            found.append(previous)
        else:
            if language in ("text", "output") and previous is not None and not prose:
                previous.expected, previous.output_line = body, line
            previous = None
    return found


def indented_sql(text):
    """Lines of SQL in indented blocks, which are not run: (line number, line)."""
    statement = re.compile(r"^(?: {4,}|\t)(SELECT|INSERT|UPDATE|DELETE|CREATE|ALTER|DROP|CALL|SET|WITH|GRANT) ")
    fenced = set()
    for start, _, body, _ in fenced_blocks(text):
        fenced.update(range(start, start + body.count("\n") + 2))
    lines = enumerate(text.splitlines(), start=1)
    return [(number, line.strip()) for number, line in lines if number not in fenced and statement.match(line)]


def same_output(expected, actual):
    """Line by line, blanks at the end of lines and empty lines at the ends apart."""
    wanted = "".join(
        r"(?:.*\n)*?" if line.strip() == "..." else re.escape(line.rstrip()) + r"\n"
        for line in expected.strip("\n").splitlines()
    )
    got = "".join(line.rstrip() + "\n" for line in actual.strip("\n").splitlines())
    return re.fullmatch(wanted, got) is not None


def has_dots(expected):
    """Whether an output block leaves lines out: only its author knows which."""
    return any(line.strip() == "..." for line in expected.splitlines())


def with_outputs(text, outputs):
    """The page with its output blocks rewritten: `outputs` gives what was printed, by the number of the example.
    A block that already agrees stays as it is, and so does one with `...` in it."""
    lines, page = text.splitlines(), examples(text)
    # From the end, so that the line numbers before stay right.
    for number, example in reversed(list(enumerate(page))):
        if number not in outputs or example.expected is None:
            continue
        if has_dots(example.expected) or same_output(example.expected, outputs[number]):
            continue
        indent = FENCE.match(lines[example.output_line - 1])["indent"]
        printed = [(indent + line).rstrip() for line in outputs[number].strip("\n").splitlines()]
        end = example.output_line + len(example.expected.splitlines())
        # An empty line is a body too, which splitlines() does not count.
        while not FENCE.match(lines[end]):
            end += 1
        lines[example.output_line : end] = printed
    return "\n".join(lines) + "\n"
