"""Runs hogpen beside its peers, interleaved, and prints median, least and most of each, and the ratios.

    .venv/bin/python tests/peers/compare.py                         samples/s of the default model
    .venv/bin/python tests/peers/compare.py --batch-size 256 --only hogpen torch-manual
    .venv/bin/python tests/peers/compare.py --convnet               of the network of PyTorch's mnist_hogwild example
    .venv/bin/python tests/peers/compare.py --accuracy              seconds to 88 % test accuracy, with 4 workers

Contenders: hogpen (`hogpen train`), libtorch (an eager loop in C++: build the target libtorch_hogwild first), and
torch-sgd, torch-inplace, torch-manual, torch-loader: the variants of torch_hogwild.py. hogpen always shuffles and gathers;
the peers take slices in the order of the file, but for torch-loader, and with --accuracy.

--accuracy trains each from the start for 1, 2, 3, … passes over the data, by all workers together, with the learning rate's
cosine over the run, until one ends with 88 %. It is evaluated after the clock has stopped; that run's seconds count. All clocks
start when the workers are ready.
"""

import argparse
import json
import pathlib
import statistics
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
CONVNET = ("Conv2d(1,10,5) MaxPool2d(2) ReLU Conv2d(10,20,5) Dropout2d MaxPool2d(2) ReLU Flatten "
           "Linear(320,50) ReLU Dropout Linear(50,10) LogSoftmax")
TORCH = ("sgd", "inplace", "manual", "loader")
NAMES = ("hogpen", "libtorch", *(f"torch-{variant}" for variant in TORCH))
GOAL = 0.88
MOST_PASSES = 20


def run(command):
    """What it prints, run where its files are thrown away."""
    with tempfile.TemporaryDirectory() as directory:
        result = subprocess.run([str(part) for part in command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                                cwd=directory, check=False)
    if result.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))} failed:\n{result.stderr}")
    return json.loads(result.stdout)


def seconds_of(result):
    """From where all workers are ready: the peers meet at a barrier, hogpen tells when its first step was made."""
    return result.get("seconds_after_first_step", result["seconds"])


def command_of(name, args, workers, epochs, extra=()):
    """Trains for `epochs` passes over the data by each worker."""
    if name == "libtorch":
        return [args.build / "tests/libtorch_hogwild", workers, epochs, args.batch_size]
    if name.startswith("torch-"):
        return [sys.executable, HERE / "torch_hogwild.py", "--variant", name.removeprefix("torch-"),
                "--model", "convnet" if args.convnet else "mlp", "--workers", workers, "--epochs", epochs,
                "--batch-size", args.batch_size, *extra]
    model = ["--model", args.convnet_text, "--momentum", 0.5, "--lr", 0.01] if args.convnet else ["--lr", 0.1]
    return [args.build / "apps/hogpen", "train", "--workers", workers, "--epochs", round(workers * epochs), *model,
            "--batch-size", args.batch_size, "--eval-every", 0, "--checkpoint-every", 0, "--json", "--quiet", *extra]


def contenders(args):
    without = {"libtorch", "torch-manual"} if args.convnet else set()
    without |= {"libtorch"} if args.accuracy else set()
    return [name for name in args.only or NAMES if name not in without]


def measure_rates(args):
    results = {}
    for round_number in range(args.rounds):
        for workers in args.workers:
            for name in contenders(args):
                result = run(command_of(name, args, workers, args.epochs))
                results.setdefault((workers, name), []).append(result["samples"] / seconds_of(result))
        print(f"round {round_number + 1} of {args.rounds} done", file=sys.stderr)
    model = "convnet" if args.convnet else "mlp"
    print(f"samples/s, {model}, batch {args.batch_size}, medians of {args.rounds}")
    print(f"{'workers':>7}  {'':<14} {'median':>11} {'min':>11} {'max':>11}  {'hogpen is':>9}")
    for (workers, name), rates in sorted(results.items()):
        median = statistics.median(rates)
        ours = results.get((workers, "hogpen"))
        ratio = f"{statistics.median(ours) / median:>8.2f}x" if ours else ""
        print(f"{workers:>7}  {name:<14} {median:>11,.0f} {min(rates):>11,.0f} {max(rates):>11,.0f}  {ratio}")


def time_to_goal(name, args, workers, seed):
    """Seconds and passes of the shortest run that ends with the goal reached."""
    extra = ["--lr-schedule", "cosine", "--seed", seed]
    if name.startswith("torch-"):
        extra.append("--shuffle")
    for passes in range(1, MOST_PASSES + 1):
        result = run(command_of(name, args, workers, passes / workers, extra))
        if result["accuracy"] >= GOAL:
            return seconds_of(result), passes
    return float("inf"), MOST_PASSES


def measure_accuracy(args):
    results = {}
    workers = args.workers[-1]
    for round_number in range(args.rounds):
        for name in contenders(args):
            results.setdefault(name, []).append(time_to_goal(name, args, workers, round_number + 1))
        print(f"round {round_number + 1} of {args.rounds} done", file=sys.stderr)
    print(f"seconds to {GOAL:.0%} test accuracy, {workers} workers, batch {args.batch_size}, medians of {args.rounds}")
    print(f"{'':<14} {'median':>8} {'min':>8} {'max':>8} {'passes':>8}  {'hogpen is':>9}")
    for name, found in results.items():
        seconds, passes = zip(*found)
        median = statistics.median(seconds)
        ours = results.get("hogpen")
        ratio = f"{median / statistics.median(s for s, _ in ours):>8.2f}x" if ours else ""
        print(f"{name:<14} {median:>8.3f} {min(seconds):>8.3f} {max(seconds):>8.3f} {statistics.median(passes):>8g}  {ratio}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=pathlib.Path, default=pathlib.Path("build/cpu"))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=2, help="of each worker, over all data")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2, 4], help="with --accuracy the last counts")
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--convnet", action="store_true", help="SGD with momentum 0.5, learning rate 0.01")
    parser.add_argument("--convnet-text", default=CONVNET, metavar="TEXT", help="hogpen's --model for it")
    parser.add_argument("--accuracy", action="store_true", help="seconds to 88 %% instead of samples/s")
    parser.add_argument("--only", nargs="+", choices=NAMES, metavar="NAME", help=", ".join(NAMES))
    args = parser.parse_args()
    args.build = args.build.resolve()
    measure_accuracy(args) if args.accuracy else measure_rates(args)


if __name__ == "__main__":
    main()
