"""Lets Spin search all interleavings of the protocol models beside this file: in each, no error may be found. A model
also holds seeded mistakes, `#ifdef MISTAKE_…`: with each of them, an error must be found.

usage: check_models.py [MODEL…]      exit code 77: spin or a C compiler is not installed
"""
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).resolve().parent
SKIPPED = 77


class Variant(NamedTuple):
    mistakes: tuple             # that are to be found in this variant
    flags: tuple = ()           # macros of the model
    liveness: bool = False      # it has an LTL formula, to hold when every process that can go on does so at some time


MODELS = {
    "pool": [
        Variant(("CLAIM_WITHOUT_COMPARING", "RETIRE_UNDER_A_WORKER", "TICKET_BEFORE_PLACE",
                 "TRUST_THE_ENTRY_AT_HEAD")),
        Variant(("LEAVE_BEFORE_COMMIT", "PLACE_AFTER_CLAIM", "REPAIR_WHAT_IS_NOT_RUNNING", "REPAIR_WITHOUT_COUNTING",
                 "REPAIR_WITHOUT_ENTRY"), ("DEATH",)),
        Variant((), ("DEATH", "JOBS=1", "KILLS=2")),
        Variant(("POP_NOTHING",), ("DEATH", "JOBS=1", "ALL_END"), liveness=True),
    ],
    "pool_entries": [
        Variant(("APPEND_EACH_TIME", "CLOSE_WITHOUT_LOCK", "ENTRY_BEFORE_TICKET", "LOOK_BEFORE_CLOSED")),
        Variant(("BELIEVE_THE_EXIT_CODE", "CLEAR_PLACE_FIRST", "COUNT_THE_ENTRY_AT_HEAD", "LOOK_BEFORE_REPAIR",
                 "REPAIR_WITHOUT_ENTRY"), ("SLOTS=1", "CHUNKS=2", "DEATHS=2")),
    ],
    "queue": [
        Variant(("CLOSE_IS_OVERWRITTEN", "COMMIT_BEFORE_PAYLOAD", "COMMIT_BEFORE_READING")),
        Variant(("COMMIT_IN_TWO_STORES", "NO_RECOVERY", "RETAIN_AFTER_COMMIT", "RELEASE_BEFORE_COMMIT"), ("DEATH",)),
    ],
    "robust_mutex": [
        Variant(("FORGET_OTHER_WAITERS", "UNLOCK_WITHOUT_WAKING")),
        Variant(("DEATH_IS_NOT_TOLD", "NOT_ROBUST", "SLEEP_WITHOUT_SLICES"), ("DEATH",), liveness=True),
    ],
    "wait_point": [
        Variant(("ANNOUNCE_AFTER_LOOK", "LOOK_BEFORE_STORE", "SLEEP_WITHOUT_COMPARING", "WAKE_ONE")),
        Variant(("WAKE_WITHOUT_COUNTING",), ("EVENT",)),
        Variant(("SLEEP_WITHOUT_SLICES",), ("DEATH",), liveness=True),
    ],
}


def run(command, directory):
    result = subprocess.run(command, cwd=directory, capture_output=True, text=True)
    if result.returncode != 0:
        sys.exit(f"error: {' '.join(command)} ended with {result.returncode}:\n{result.stdout}{result.stderr}")
    return result.stdout


def errors_found(model, variant, mistake=None):
    """How many errors Spin finds, which stops at the first, and its report."""
    macros = [f"-D{flag}" for flag in variant.flags] + ([f"-DMISTAKE_{mistake}"] if mistake else [])
    # Fairness keeps a counter a process, whose width is NFAIR.
    kind, search = (["-DNFAIR=3"], ["-a", "-f"]) if variant.liveness else (["-DSAFETY"], [])
    with tempfile.TemporaryDirectory() as directory:
        run(["spin", "-a", *macros, str(HERE / f"{model}.pml")], directory)
        run(["cc", "-O2", "-w", *kind, "-o", "pan", "pan.c"], directory)
        report = run(["./pan", "-m1000000", *search], directory)
    found = re.search(r"errors: (\d+)", report)
    if not found or "max search depth too small" in report or "Search not completed" in report and found[1] == "0":
        sys.exit(f"error: Spin did not search all of {model} {' '.join(macros)}:\n{report}")
    return int(found[1]), report


def check(model):
    failures = 0
    seeded = set(re.findall(r"\bMISTAKE_(\w+)", (HERE / f"{model}.pml").read_text()))
    listed = {mistake for variant in MODELS[model] for mistake in variant.mistakes}
    if seeded != listed:
        print(f"FAIL {model}: seeded but not listed here, or the other way: {' '.join(sorted(seeded ^ listed))}")
        failures += 1
    for variant in MODELS[model]:
        name = " ".join([model, *variant.flags])
        errors, report = errors_found(model, variant)
        print(f"{'FAIL' if errors else 'ok  '} {name}", flush=True)
        if errors:
            print(report)
            failures += 1
        for mistake in variant.mistakes:
            errors, _ = errors_found(model, variant, mistake)
            print(f"{'ok  ' if errors else 'FAIL'} {name} with {mistake}: {'found' if errors else 'not found'}", flush=True)
            failures += not errors
    return failures


def main():
    for tool in ("spin", "cc"):
        if not shutil.which(tool):
            print(f"{tool} is not installed")
            return SKIPPED
    return 1 if sum([check(model) for model in sys.argv[1:] or MODELS]) else 0


if __name__ == "__main__":
    sys.exit(main())
