"""Prints what the running Python lacks of some requirements, a line each: "missing numpy" or "broken torch==2.11.0".

A package is broken when a file that its RECORD lists is absent or cut short, or RECORD itself is absent: an interrupted
pip leaves it so, and then takes it for installed.

usage: python_packages.py [--deps] REQUIREMENT...      --deps: also what the requirements themselves require
"""
import csv
import os
import sys
from importlib import metadata

from pip._vendor.packaging.requirements import Requirement


def is_whole(distribution):
    record = distribution.read_text("RECORD")
    if not record:
        return False
    for path, _, size in csv.reader(record.splitlines()):
        if not size:  # RECORD itself, and byte code, which anybody may delete
            continue
        try:
            if os.stat(distribution.locate_file(path)).st_size != int(size):
                return False
        except OSError:
            return False
    return True


def applies(requirement, extras):
    marker = requirement.marker
    return marker is None or any(marker.evaluate({"extra": extra}) for extra in extras or {""})


def lacks(requirements, with_deps):
    found, seen = {}, set()
    queue = [Requirement(text) for text in requirements]
    while queue:
        requirement = queue.pop()
        key = (requirement.name, frozenset(requirement.extras))
        if key in seen:
            continue
        seen.add(key)
        try:
            distribution = metadata.distribution(requirement.name)
            version = distribution.version
        except metadata.PackageNotFoundError:
            distribution, version = None, None
        if not version or not requirement.specifier.contains(version, prereleases=True):
            found[requirement.name] = f"missing {requirement}"
            continue
        if not is_whole(distribution):
            found[requirement.name] = f"broken {requirement.name}=={version}"
        if with_deps:
            own = (Requirement(text) for text in distribution.requires or [])
            queue += [other for other in own if applies(other, requirement.extras)]
    return found.values()


if __name__ == "__main__":
    arguments = sys.argv[1:]
    deps = "--deps" in arguments
    for line in lacks([text for text in arguments if text != "--deps"], deps):
        print(line)
