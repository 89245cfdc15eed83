"""Prints "PASSED FAILED SKIPPED" of a JUnit report that ctest wrote; a report that is not there counts as one failure.

The report's own totals will not do: ctest counts a test whose executable is absent among the skipped.

usage: junit_counts.py REPORT
"""
import sys
from xml.etree import ElementTree


def outcome(case):
    if case.get("status") == "run":
        return "passed"
    skipped = case.find("skipped")
    if case.get("status") == "disabled" or skipped is not None and skipped.get("message", "").startswith("SKIP_"):
        return "skipped"
    return "failed"


def counts(report):
    try:
        outcomes = [outcome(case) for case in ElementTree.parse(report).iter("testcase")]
    except (OSError, ElementTree.ParseError):
        outcomes = ["failed"]
    return [outcomes.count(kind) for kind in ("passed", "failed", "skipped")]


if __name__ == "__main__":
    print(*counts(sys.argv[1]))
