"""Prints the newest record of every test of a records file as a Markdown table: summary.py build/soak/records.jsonl"""

import json
import sys
from pathlib import Path

SHOWN_APART = ("test", "seed", "form", "commit", "at")


def main():
    newest = {}
    for line in Path(sys.argv[1]).read_text(encoding="utf-8").splitlines():
        entry = json.loads(line)
        newest[entry["test"]] = entry
    print("| test | result | seed | commit |\n|---|---|---|---|")
    for name in sorted(newest):
        entry = newest[name]
        figures = ", ".join(f"{key} {value}" for key, value in entry.items() if key not in SHOWN_APART)
        print(f"| {name} ({entry['form']}) | {figures} | {entry['seed']} | {entry['commit']} |")


if __name__ == "__main__":
    main()
