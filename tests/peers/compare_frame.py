"""The flow of a data frame against its peers: reads a CSV file, groups, renames, merges back, computes, takes the head.

Each run is a process of its own; the peers take turns. Figures are medians: seconds of the flow, without the start of
the process, and the peak of its memory (ru_maxrss). A peer that is not installed is left out.

usage: compare_frame.py FRAME_FLOW [--rows N] [--keys N] [--rounds N] [--file FILE]
FRAME_FLOW is build/cpu/tests/frame_flow.
"""
import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

BEGIN = "import resource, time, sys, json; path = sys.argv[1]\n"
END = """
seconds = time.perf_counter() - began
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
print(json.dumps({"seconds": seconds, "peak_mib": peak, "rows": rows}))
"""
PEERS = {
    "dask": """
import dask.dataframe as dd
began = time.perf_counter()
frame = dd.read_csv(path)
groups = frame.groupby("key").agg({"value": ["sum", "mean"]})
groups.columns = ["total", "average"]
merged = frame.merge(groups.reset_index(), on="key", how="left").compute()
merged.head()
rows = len(merged)
""",
    "pandas": """
import pandas
began = time.perf_counter()
frame = pandas.read_csv(path)
groups = frame.groupby("key").agg({"value": ["sum", "mean"]})
groups.columns = ["total", "average"]
merged = frame.merge(groups.reset_index(), on="key", how="left")
merged.head()
rows = len(merged)
""",
    "polars": """
import polars
began = time.perf_counter()
frame = polars.scan_csv(path)
value = polars.col("value")
groups = frame.group_by("key").agg(value.sum().alias("total"), value.mean().alias("average"))
merged = frame.join(groups, on="key", how="left").collect()
merged.head()
rows = len(merged)
""",
    "duckdb": """
import duckdb
began = time.perf_counter()
merged = duckdb.sql(f\"\"\"
    with t as (select * from read_csv('{path}')),
         g as (select key, sum(value) as total, avg(value) as average from t group by key)
    select t.*, g.total, g.average from t left join g using (key)\"\"\").fetch_arrow_table()
rows = merged.num_rows
""",
}


def write_rows(path, rows, keys):
    rng = random.Random(1)
    with open(path, "w") as out:
        out.write("key,value\n")
        for _ in range(rows):
            out.write(f"{rng.randrange(keys)},{rng.random() * 100:.6f}\n")


def run(command):
    result = subprocess.run(command, capture_output=True, text=True)
    return json.loads(result.stdout.splitlines()[-1]) if result.returncode == 0 else None


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("frame_flow")
    parser.add_argument("--rows", type=int, default=5_000_000)
    parser.add_argument("--keys", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--file", help="made anew unless it is there")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(arguments.file or os.path.join(scratch, "rows.csv"))
        if not path.exists():
            write_rows(path, arguments.rows, arguments.keys)
        commands = {"hogpen": [arguments.frame_flow, path]}
        commands |= {name: [sys.executable, "-c", BEGIN + code + END, path] for name, code in PEERS.items()}
        runs = {name: [] for name in commands}
        for _ in range(arguments.rounds):
            for name, command in commands.items():
                if (result := run(command)) is not None:
                    runs[name].append(result)
    median = lambda name, key: statistics.median(result[key] for result in runs[name])
    for name in runs:
        if not runs[name]:
            print(f"{name:8} is not installed")
            continue
        seconds, peak = median(name, "seconds"), median(name, "peak_mib")
        print(f"{name:8} {seconds:6.2f} s ({seconds / median('hogpen', 'seconds'):4.1f} x)  {peak:6.0f} MiB "
              f"({peak / median('hogpen', 'peak_mib'):4.1f} x)  {runs[name][0]['rows']} rows")


if __name__ == "__main__":
    main()
