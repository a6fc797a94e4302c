"""Checks the dependencies against deny.toml, without network: licences, sources, versions that must be single,
exact pins and checksums. It reads `cargo metadata` and Cargo.lock, and stands in for cargo-deny, which takes
longer to compile than this whole project."""

import json
import re
import subprocess
import sys
import tomllib

# The C interfaces of these change between patch versions; cargo must not move them by itself.
EXACT_PINS = ("ort", "pgrx")


def licence_allowed(expression, allowed):
    """Evaluates an SPDX expression: `OR` needs one allowed side, `AND` both. The old `/` means `OR`."""
    tokens = re.findall(r"\(|\)|[^\s()]+", expression.replace("/", " OR "))
    position = 0

    def take():
        nonlocal position
        if position == len(tokens):
            raise ValueError(f"cannot read licence expression: {expression}")
        position += 1
        return tokens[position - 1]

    def peek():
        return tokens[position] if position < len(tokens) else None

    def term():
        if peek() == "(":
            take()
            result = either()
            if take() != ")":
                raise ValueError(f"cannot read licence expression: {expression}")
            return result
        name = take()
        if peek() == "WITH":
            take()
            name = f"{name} WITH {take()}"
        return name in allowed

    def both():
        result = term()
        while peek() == "AND":
            take()
            result = term() and result
        return result

    def either():
        result = both()
        while peek() == "OR":
            take()
            result = both() or result
        return result

    result = either()
    if peek() is not None:
        raise ValueError(f"cannot read licence expression: {expression}")
    return result


def check_licences(packages, allowed):
    for package in packages:
        name = f"{package['name']} {package['version']}"
        if not package.get("license"):
            yield f"{name} names no licence"
        elif not licence_allowed(package["license"], allowed):
            yield f"{name} is under {package['license']}, which deny.toml does not allow"


def check_sources(packages):
    """Everything comes from one registry or lies in this checkout."""
    registries = set()
    for package in packages:
        source = package["source"]
        if source is not None and not source.startswith(("registry+", "sparse+")):
            yield f"{package['name']} {package['version']} comes from {source.split('+')[0]}, not from the registry"
        elif source is not None:
            registries.add(source)
    if len(registries) > 1:
        yield f"packages come from {len(registries)} different registries"


def check_single(packages, names):
    for name in names:
        versions = sorted({p["version"] for p in packages if p["name"] == name})
        if len(versions) > 1:
            yield f"{name} is there more than once: {', '.join(versions)}"


def check_pins(dependencies):
    for name in EXACT_PINS:
        for dependency in dependencies:
            if dependency["name"] == name and not dependency["req"].startswith("="):
                yield f"Cargo.toml must pin {name} exactly, it says {dependency['req']}"


def check_lock(lock):
    for package in lock["package"]:
        if "source" in package and "checksum" not in package:
            yield f"Cargo.lock has no checksum for {package['name']} {package['version']}"


def main():
    with open("deny.toml", "rb") as file:
        rules = tomllib.load(file)
    with open("Cargo.lock", "rb") as file:
        lock = tomllib.load(file)
    command = ["cargo", "metadata", "--locked", "--format-version", "1", "--filter-platform", host()]
    metadata = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    used = {node["id"] for node in metadata["resolve"]["nodes"]}
    packages = [package for package in metadata["packages"] if package["id"] in used]
    root = next(p for p in packages if p["id"] == metadata["resolve"]["root"])
    single = [ban["crate"] for ban in rules["bans"]["deny"] if ban.get("deny-multiple-versions")]
    problems = [
        *check_licences(packages, set(rules["licenses"]["allow"])),
        *check_sources(packages),
        *check_single(packages, single),
        *check_pins(root["dependencies"]),
        *check_lock(lock),
    ]
    for problem in problems:
        print(f"    {problem}")
    sys.exit(1 if problems else 0)


def host():
    """The target triple of this machine: what is only for others need not be looked at."""
    version = subprocess.run(["rustc", "-vV"], check=True, capture_output=True, text=True).stdout
    return next(line.split(": ")[1] for line in version.splitlines() if line.startswith("host: "))


if __name__ == "__main__":
    main()
