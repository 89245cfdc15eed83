"""The peer of `hogpen bench graph`: dask.delayed with the same tasks, by threads, by the calling thread and by processes.

    pip install dask && python tests/peers/dask_delayed.py [--layers 10] [--rounds 3]

Prints the medians, in microseconds a task. Fewer tasks than hogpen's 10^5, so that it ends soon: what one takes hardly
depends on how many there are.
"""
import argparse
import statistics
import time

import dask

WIDTH = 1000


def one():
    return 1


def add(a, b):
    return (a + b) & 0xFF


def build(layers):
    layer = [dask.delayed(one)() for _ in range(WIDTH)]
    for _ in range(1, layers):
        layer = [dask.delayed(add)(layer[i], layer[(i + 1) % WIDTH]) for i in range(WIDTH)]
    return layer


def timed(body):
    begin = time.perf_counter()
    result = body()
    return result, time.perf_counter() - begin


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--layers", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    samples = {}
    for _ in range(arguments.rounds):
        layer, building = timed(lambda: build(arguments.layers))
        samples.setdefault("build", []).append(building)
        for scheduler in ("threads", "synchronous", "processes"):
            _, computing = timed(lambda: dask.compute(*layer, scheduler=scheduler, num_workers=2))
            samples.setdefault(f"compute, {scheduler}", []).append(computing)
    for name, values in samples.items():
        print(f"{name:<24}{1e6 * statistics.median(values) / (WIDTH * arguments.layers):8.1f} us a task")


if __name__ == "__main__":
    main()
