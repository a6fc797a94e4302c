"""The engine's benchmarks (benches/*.rs) as one table, read from what criterion wrote. scripts/bench.sh runs it."""

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

import harness  # noqa: E402


def main():
    harness.print_host()
    print(f"\n  {'':44} {'mean':>10}   95 % confidence")
    for file in sorted((harness.ROOT / "target" / "criterion").glob("**/new/estimates.json")):
        if file.parents[1].name == "report":
            continue
        mean = json.loads(file.read_text(encoding="utf-8"))["mean"]
        interval = mean["confidence_interval"]
        name = json.loads((file.parent / "benchmark.json").read_text(encoding="utf-8"))["title"]
        low, high = interval["lower_bound"], interval["upper_bound"]
        print(f"  {name:44} {mean['point_estimate']:7.1f} ns   {low:.1f} to {high:.1f}")


if __name__ == "__main__":
    harness.run("engine", main)
