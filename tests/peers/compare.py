"""Runs hogpen beside its peers, interleaved, and prints the median samples per second of each and the ratios.

    .venv/bin/python tests/peers/compare.py [--build build/cpu] [--rounds 5] [--epochs 2] [--workers 1 2 4]
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent


def samples_per_second(command, key="samples_per_second"):
    run = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, check=False)
    if run.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))} failed:\n{run.stderr}")
    return json.loads(run.stdout)[key]


def contenders(args, workers):
    """Name and command of each; the peers do `epochs` epochs a process, hogpen as many samples in all."""
    python, script, peer = sys.executable, HERE / "torch_hogwild.py", args.build / "tests/libtorch_hogwild"
    peers = ["--workers", str(workers), "--epochs", str(args.epochs)]
    hogpen = [args.build / "apps/hogpen", "train", "--workers", str(workers), "--epochs", str(workers * args.epochs),
              "--lr", "0.1", "--batch-size", "64", "--eval-every", "0", "--checkpoint-every", "0", "--json", "--quiet"]
    yield "hogpen train", hogpen
    yield "LibTorch eager loop (C++)", [peer, str(workers), str(args.epochs)]
    yield "torch.multiprocessing, sliced", [python, script, *peers]
    if args.loader:
        yield "torch.multiprocessing, DataLoader", [python, script, *peers, "--loader"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=pathlib.Path, default=pathlib.Path("build/cpu"))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--loader", action="store_true", help="the DataLoader peer too")
    args = parser.parse_args()
    args.build = args.build.resolve()

    results = {}
    for round_number in range(args.rounds):
        for workers in args.workers:
            for name, command in contenders(args, workers):
                with tempfile.TemporaryDirectory() as directory:
                    os.chdir(directory)
                    rate = samples_per_second(command)
                results.setdefault((workers, name), []).append(rate)
        print(f"round {round_number + 1} of {args.rounds} done", file=sys.stderr)
    print(f"{'workers':>7}  {'':<34} {'median samples/s':>16} {'min':>9} {'max':>9}  {'hogpen is':>9}")
    for (workers, name), rates in sorted(results.items()):
        ours = statistics.median(results[workers, "hogpen train"])
        median = statistics.median(rates)
        print(f"{workers:>7}  {name:<34} {median:>16,.0f} {min(rates):>9,.0f} {max(rates):>9,.0f}  {ours / median:>8.2f}x")


if __name__ == "__main__":
    main()
