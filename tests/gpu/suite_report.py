"""Merges what run-suite.sh has left in a directory into its results.json, and says which goals are met.

usage: suite_report.py DIRECTORY

Exit codes: 0 all goals that were measured are met, 1 one is not, a step failed or timed out, or nothing was measured, 4 there is no
GPU.
"""
import datetime
import json
import re
import statistics
import sys
from pathlib import Path

NO_GPU = 4
TIMED_OUT = (124, 137)
CASES = ("T1", "T2", "T3", "T4", "T5", "T6", "T7", "T8", "T12", "T13")
LEAST_RATE = 3e6  # samples/s of the default model at batch 64
LEAST_RATIO_TO_TORCH = 10
LEAST_RATIO_OF_PROCESSES = 0.9
MOST_ATTACH_MS = 5
LEAST_PERCENT_OF_COPY = 90
MOST_ACCURACY_LOST = 0.01
NVIDIA_SMI = ("Product Name", "Driver Version", "CUDA Version", "GPU UUID", "VBIOS Version", "Persistence Mode", "MIG Mode",
              "ECC Mode", "Compute Mode", "Performance State", "SM", "Memory", "Current Power Limit", "GPU Current Temp")


def read_json(path):
    """None where nothing, or nothing whole, was written."""
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError):
        return None


def read_steps(directory):
    steps = []
    file = directory / "steps.tsv"
    for line in file.read_text().splitlines() if file.exists() else ():
        name, code, seconds, limit = line.split("\t")
        step = {"name": name, "outcome": code, "seconds": int(seconds), "limit": int(limit)}
        if code.isdigit():
            step |= {"exit_code": int(code), "outcome": outcome_of(int(code), step)}
        steps.append(step)
    return steps


def outcome_of(code, step):
    if code in TIMED_OUT:
        return f"timed out after {step['seconds']} s"
    return "done" if code == 0 else f"failed with exit code {code}"


def has_timed_out(step):
    return step.get("exit_code") in TIMED_OUT


def read_nvidia_smi(directory):
    """The first value of each field that tells something about the figures."""
    file = directory / "nvidia-smi.txt"
    found = {}
    for line in file.read_text(errors="replace").splitlines() if file.exists() else ():
        name, _, value = (part.strip() for part in line.partition(" : "))
        if name in NVIDIA_SMI and value:
            found.setdefault(name, value)
    return found


def count_gtest(results):
    """{passed, failed, skipped} of what gtest has written."""
    counts = {"passed": 0, "failed": 0, "skipped": 0}
    for suite in results["testsuites"]:
        for test in suite["testsuite"]:
            counts["failed" if "failures" in test else "skipped" if test["result"] == "SKIPPED" else "passed"] += 1
    return counts


def rate_of(training):
    """Samples a second from the first step on."""
    return training["samples"] / training["seconds_after_first_step"] if training["seconds_after_first_step"] else 0


class Results:
    """What was measured. Whatever is absent makes a goal "not measured", and not an error."""

    def __init__(self, directory):
        self.steps = read_steps(directory)
        self.outputs = {step["name"]: read_json(directory / f"{step['name']}.json")
                        for step in self.steps if step["outcome"] == "done"}
        self.suite = read_json(directory / "gpu_suite.results.json") or {"cases": []}
        self.cases = {case["name"]: case for case in self.suite["cases"]}
        self.gtests = {file.name.removesuffix(".gtest.json"): count_gtest(read_json(file))
                       for file in sorted(directory.glob("*.gtest.json")) if read_json(file)}

    def step(self, name):
        return next((step for step in self.steps if step["name"] == name), None)

    def rates(self):
        """By workers and kind, the medians of their runs: {(4, "processes"): samples per second}."""
        found = {}
        for name, output in self.outputs.items():
            if output and (match := re.fullmatch(r"rate_(\d+)_(processes|threads)_\d+", name)):
                found.setdefault((int(match[1]), match[2]), []).append(rate_of(output))
        return {key: statistics.median(runs) for key, runs in found.items()}

    def accuracy(self, model, device):
        output = self.outputs.get(f"accuracy_{model}_{device}")
        return output["accuracy"] if output else None

    def percents_of_copy(self):
        report = self.outputs.get("bench_elementwise") or {"figures": []}
        return {figure["name"]: figure["percent_of_limit"] for figure in report["figures"]
                if figure.get("series") == "CUDA resident" and "percent_of_limit" in figure}


def goal(text, is_met, found):
    """A goal; `is_met` is None where it was not measured."""
    return {"goal": text, "met": is_met, "found": found}


def at_least(least, value):
    return None if value is None else value >= least


def goals_of_cases(results):
    for name in CASES:
        case = results.cases.get(name, {"about": "", "outcome": "not run", "reason": ""})
        is_met = {"passed": True, "recorded": True, "failed": False}.get(case["outcome"])
        yield goal(f"{name} {case['about']}", is_met, " ".join(filter(None, (case["outcome"], case["reason"]))))


def goals_of_tests(results):
    for step in results.steps:
        name = step["name"]
        if not name.endswith("_gpu_test"):
            continue
        counts = results.gtests.get(name)
        found = step["outcome"] if counts is None else ", ".join(f"{n} {what}" for what, n in counts.items() if n)
        has_run = name.startswith("sanitized_") or bool(counts and counts["passed"] + counts["failed"])
        is_known = has_run and "exit_code" in step or has_timed_out(step)
        yield goal(name, step["exit_code"] == 0 if is_known else None, step["outcome"] if has_timed_out(step) else found)


def goals_of_rates(results):
    rates = results.rates()
    best = max(rates.values(), default=None)
    text = f"the default model at batch 64: {LEAST_RATE / 1e6:g} M samples/s"
    yield goal(text, at_least(LEAST_RATE, best), best)
    torch = results.outputs.get("torch_eager")
    ratio = best / torch["samples_per_second"] if best and torch else None
    yield goal(f"{LEAST_RATIO_TO_TORCH} times PyTorch eager", at_least(LEAST_RATIO_TO_TORCH, ratio), ratio)
    one = rates.get((1, "processes"))
    several = [rate / one for (workers, kind), rate in rates.items() if one and kind == "processes" and workers > 1]
    least = min(several, default=None)
    yield goal(f"several processes train at {LEAST_RATIO_OF_PROCESSES} of one's rate or more",
               at_least(LEAST_RATIO_OF_PROCESSES, least), least)


def goals_of_numbers(results):
    attach = results.cases.get("T11", {}).get("numbers", {}).get("attach_ms_most")
    yield goal(f"attaching takes {MOST_ATTACH_MS} ms or less beyond the context",
               None if attach is None else attach <= MOST_ATTACH_MS, attach)
    percents = results.percents_of_copy()
    least = min(percents.values(), default=None)
    yield goal(f"exp and square in GPU memory: {LEAST_PERCENT_OF_COPY} % of a copy's rate",
               at_least(LEAST_PERCENT_OF_COPY, least), least)
    for model in ("mlp", "convnet"):
        on_gpu, on_cpu = results.accuracy(model, "cuda"), results.accuracy(model, "cpu")
        is_known = on_gpu is not None and on_cpu is not None
        yield goal(f"the {model} is as accurate as on CPUs, give or take {100 * MOST_ACCURACY_LOST:g} %",
                   on_gpu >= on_cpu - MOST_ACCURACY_LOST if is_known else None,
                   {"gpu": on_gpu, "cpu": on_cpu} if is_known else None)


def merge(directory):
    results = Results(directory)
    info = results.outputs.get("info") or {}
    goals = [*goals_of_cases(results), *goals_of_tests(results), *goals_of_rates(results), *goals_of_numbers(results)]
    return {
        "hogpen_gpu_results": 1,
        "date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "commit": info.get("commit", "unknown"),
        "seconds": sum(step["seconds"] for step in results.steps),
        "machine": {"nvidia_smi": read_nvidia_smi(directory), "info": info},
        "goals": goals,
        "rates": {f"{workers} {kind}": rate for (workers, kind), rate in sorted(results.rates().items())},
        "gpu_suite": results.suite,
        "tests": results.gtests,
        "steps": results.steps,
        "outputs": {name: output for name, output in results.outputs.items() if name != "info" and output is not None},
    }


def shown(value):
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, dict):
        return ", ".join(f"{name} {shown(part)}" for name, part in value.items())
    return "" if value is None else str(value)


def summary(report):
    lines = [f"commit {report['commit']}, {report['machine']['nvidia_smi'].get('Product Name', 'no GPU')}, "
             f"{report['seconds']} s"]
    for a_goal in report["goals"]:
        verdict = {True: "met", False: "NOT MET", None: "not measured"}[a_goal["met"]]
        lines.append(f"{verdict:<12} {a_goal['goal']}" + (f": {shown(a_goal['found'])}" if a_goal["found"] else ""))
    lines += [f"{'FAILED' if has_failed(step) else 'left out':<12} {step['name']}: {step['outcome']}"
              for step in report["steps"] if step["outcome"] != "done"]
    lines += [f"{shown(rate):>12} samples/s by {workers}" for workers, rate in report["rates"].items()]
    return "\n".join(lines)


def has_failed(step):
    return step.get("exit_code", 0) != 0


def exit_code_of(report):
    if "trouble" in report["gpu_suite"].get("gpu", {}):
        return NO_GPU
    goals = [a_goal["met"] for a_goal in report["goals"]]
    return 1 if any(map(has_failed, report["steps"])) or False in goals or True not in goals else 0


def main():
    directory = Path(sys.argv[1])
    report = merge(directory)
    whole = directory / "results.json.tmp"
    whole.write_text(json.dumps(report, indent=1) + "\n")
    whole.rename(directory / "results.json")
    print(summary(report))
    print(f"all of it: {directory / 'results.json'}")
    return exit_code_of(report)


if __name__ == "__main__":
    sys.exit(main())
