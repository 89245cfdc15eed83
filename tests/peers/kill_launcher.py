"""How long workers outlive their launcher: kills it with SIGKILL, again and again, and prints the milliseconds until the
last of its children is gone.

usage: kill_launcher.py [--hogpen build/cpu/apps/hogpen] [--rounds 20] [--workers 4]
"""
import argparse
import os
import select
import statistics
import subprocess
import tempfile
import time
from pathlib import Path


def children(pid):
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def one_round(hogpen, workers):
    with tempfile.TemporaryDirectory() as directory:
        launcher = subprocess.Popen([hogpen, "train", "--data=synthetic:2000", "--epochs=1000000", "--quiet",
                                     f"--workers={workers}", f"--run-dir={directory}/run"], stdout=subprocess.DEVNULL)
        while not list(Path(directory).glob("run/checkpoints/step-*[0-9]")):
            time.sleep(0.01)
        # A pidfd becomes readable when its process ends, whoever reaps it.
        ends = [os.pidfd_open(pid) for pid in children(launcher.pid)]
        assert len(ends) == workers + 1, "all workers and the keeper"
        began = time.monotonic()
        launcher.kill()
        for end in ends:
            assert select.select([end], [], [], 60)[0], "a worker outlived its launcher by a minute"
            os.close(end)
        seconds = time.monotonic() - began
        launcher.wait()
        return 1000 * seconds


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hogpen", type=os.path.abspath, default="build/cpu/apps/hogpen")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--workers", type=int, default=4)
    arguments = parser.parse_args()
    times = [one_round(arguments.hogpen, arguments.workers) for _ in range(arguments.rounds)]
    print(f"{arguments.workers} workers and the keeper gone after {min(times):.0f} to {max(times):.0f} ms, "
          f"median {statistics.median(times):.0f} ms, in {len(times)} rounds")


if __name__ == "__main__":
    main()
