"""Runs `hogpen bench` and the same measurements in Python, suite by suite and interleaved, and prints the ratios.

    .venv/bin/python tests/peers/compare_runtime.py [--build build/cpu] [--rounds 3] [--seconds 1] [SUITE…]
"""

import argparse
import json
import pathlib
import statistics
import subprocess
import sys

PEER = pathlib.Path(__file__).resolve().parent / "python_runtime.py"
SUITES = ["sync", "queue", "spawn", "pool"]


def figures(command):
    run = subprocess.run([str(part) for part in command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                         check=False)
    if run.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))} failed:\n{run.stderr}")
    return {(figure["suite"], figure["name"], figure["unit"]): figure["median"]
            for figure in json.loads(run.stdout)["figures"]}


def times_better(unit, ours, theirs):
    return ours / theirs if unit.endswith("/s") else theirs / ours


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("suites", nargs="*", metavar="SUITE", default=SUITES)
    parser.add_argument("--build", type=pathlib.Path, default=pathlib.Path("build/cpu"))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=1, help="for each figure in each round")
    args = parser.parse_args()

    ours, theirs = {}, {}
    for round_number in range(args.rounds):
        for suite in args.suites:
            bench = [args.build / "apps/hogpen", "bench", suite, "--json", "--seconds", args.seconds]
            peer = [sys.executable, PEER, suite, "--seconds", args.seconds]
            for results, command in ((ours, bench), (theirs, peer)):
                for key, value in figures(command).items():
                    results.setdefault(key, []).append(value)
        print(f"round {round_number + 1} of {args.rounds} done", file=sys.stderr)
    print(f"{'suite':<6} {'':<44} {'hogpen':>12} {'Python':>12} {'':<4} {'hogpen is':>10}")
    for (suite, name, unit), values in ours.items():
        mine = statistics.median(values)
        line = f"{suite:<6} {name:<44} {mine:>12,.4g}"
        if peers := theirs.get((suite, name, unit)):
            peer = statistics.median(peers)
            print(f"{line} {peer:>12,.4g} {unit:<4} {times_better(unit, mine, peer):>9.1f}x")
        else:
            print(f"{line} {'':>12} {unit:<4}")


if __name__ == "__main__":
    main()
