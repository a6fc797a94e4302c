"""Prints the names, versions and licences of the Rust crates that are linked into the library, and the texts of their
licences, each text once: package_licences.py FEATURES. Needs no network."""

import json
import re
import subprocess
import sys
from pathlib import Path

LICENCE_FILE = re.compile(r"(?i)^(licen[cs]e|copying|notice|unlicense|copyright)")


def cargo(*arguments):
    return subprocess.run(["cargo", *arguments], check=True, capture_output=True, text=True).stdout


def linked(features):
    """(name, version) of every crate that ends in the library: no build scripts, no macros, not ourselves."""
    chosen = ["--locked", "--no-default-features", "--features", features]
    tree = cargo("tree", *chosen, "-e", "normal,no-proc-macro", "--prefix", "none", "--format", "{p}")
    found = {tuple(line.split()[:2]) for line in tree.splitlines() if line}
    return sorted((name, version.removeprefix("v")) for name, version in found if name != "prometheus_embed")


def texts(package):
    """The licence files that the crate ships."""
    folder = Path(package["manifest_path"]).parent
    files = [file for file in sorted(folder.iterdir()) if file.is_file() and LICENCE_FILE.match(file.name)]
    return [file.read_text(encoding="utf-8", errors="replace").strip() for file in files]


def main():
    features = sys.argv[1]
    metadata = json.loads(cargo("metadata", "--locked", "--format-version", "1"))
    packages = {(p["name"], p["version"]): p for p in metadata["packages"]}
    crates, users = [], {}
    for key in linked(features):
        package = packages[key]
        crates.append(f"{key[0]} {key[1]}: {package['license']}; {', '.join(package['authors']) or 'its authors'}")
        for text in texts(package):
            users.setdefault(text, []).append(key[0])
    if not crates or not users:
        sys.exit("error: found no crates, or no licences of theirs")
    print("The library contains code of these Rust crates. Where several licences are offered, each of them will do.\n")
    print("\n".join(crates))
    for text, names in users.items():
        print(f"\n{'=' * 100}\n{', '.join(names)}\n{'=' * 100}\n\n{text}")


if __name__ == "__main__":
    main()
