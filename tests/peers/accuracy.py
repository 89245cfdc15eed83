"""Trains with several numbers of workers, modes and seeds, and prints a Markdown table of the test accuracies.

    .venv/bin/python tests/peers/accuracy.py [--workers 1 2 4 8] [--modes hogwild atomic locked sync] [--seeds 5]
    .venv/bin/python tests/peers/accuracy.py -- --lr-schedule cosine        what follows -- is for `hogpen train`
"""

import argparse
import pathlib
import statistics

from compare import run

MODES = ("hogwild", "atomic", "locked", "sync")


def row(mode, workers, values):
    deviation = statistics.stdev(values) if len(values) > 1 else 0
    return (f"| {mode} | {workers} | {statistics.mean(values):.2f} | {deviation:.2f} | {min(values):.2f} | "
            f"{max(values):.2f} |")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=pathlib.Path, default=pathlib.Path("build/cpu"))
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2, 4, 8])
    parser.add_argument("--modes", nargs="+", choices=MODES, default=MODES)
    parser.add_argument("--seeds", type=int, default=5, metavar="N", help="1 to N")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("more", nargs="*", metavar="OPTION", help="of `hogpen train`, after --")
    args = parser.parse_args()

    print(f"Test accuracy in percent after {args.epochs} epochs, {args.seeds} seeds\n")
    print("| mode | workers | mean | standard deviation | min | max |\n| --- | --- | --- | --- | --- | --- |")
    for mode in args.modes:
        for workers in args.workers:
            values = [
                100 * run([args.build.resolve() / "apps/hogpen", "train", "--workers", workers, "--mode", mode,
                          "--epochs", args.epochs, "--seed", seed, "--eval-every", 0, "--checkpoint-every", 0,
                          "--json", "--quiet", *args.more])["accuracy"]
                for seed in range(1, args.seeds + 1)
            ]
            print(row(mode, workers, values), flush=True)


if __name__ == "__main__":
    main()
