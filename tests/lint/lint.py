"""Checks of the source tree. Exit code 1 and a line a violation, "FILE:LINE: what is wrong"; 77 without the tool.

usage: lint.py layers|budgets|functions|cuda_if|from_python|format|shell ROOT [--bin DIRECTORY]    --bin: look for tools there first
"""
import argparse
import multiprocessing
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

SKIPPED = 77
ROOMS = ("kernels", "runtime", "models", "apps", "tests")
HEADERS = (".h",)
SOURCES = (".cpp", ".cu")
# From the lowest layer up: a file includes its own room and those of lower rank.
RANKS = {
    "kernels": 0,
    "runtime/core": 1,
    "runtime/memory": 2,
    "runtime/sync": 3,
    "runtime/channel": 4,
    "runtime/process": 5,
    "runtime/work": 6,
    "runtime/frame": 7,
    "runtime/cluster": 7,
    "models": 8,
    "apps": 9,
}
MOST_LINES = {".h": 150, ".cpp": 300, ".cu": 300}
MOST_LINES_OF_A_FUNCTION = 60
EXCUSE = re.compile(r"^//.*\bLonger than\b", re.MULTILINE)
EXCUSE_STANDS_IN_LINES = 5
INCLUDE = re.compile(r'^\s*#\s*include\s*"([^"]+)"')
CUDA_IF = re.compile(r"^\s*#\s*(?:if|ifdef|ifndef|elif)\b.*(?:CUDA|NVCC|NCCL)")
CLANG_FORMAT_VERSION = "20.1.8"


def files(root, suffixes, rooms=ROOMS):
    for room in rooms:
        yield from sorted(path for path in (root / room).rglob("*") if path.suffix in suffixes)


def lines(path):
    return enumerate(path.read_text().splitlines(), start=1)


def room_of(path):
    """The room of a path relative to the root: the longest known directory, or None."""
    return max((room for room in RANKS if path.startswith(room + "/")), key=len, default=None)


def check_include(root, path, included):
    if not (root / included).is_file():
        return f'"{included}" is not a path from the root of the tree'
    if path.startswith("tests/"):
        return None
    own, other = room_of(path), room_of(included)
    if own is None or other is None:
        return f"{included if own else path} is in no known room: add the room to RANKS in tests/lint/lint.py"
    if own != other and RANKS[own] <= RANKS[other]:
        return f"{own} may not include {included}: {other} does not lie below it"
    return None


def layers(root, _):
    for file in files(root, HEADERS + SOURCES):
        path = file.relative_to(root).as_posix()
        for number, line in lines(file):
            if match := INCLUDE.match(line):
                if trouble := check_include(root, path, match[1]):
                    yield f"{path}:{number}: {trouble}"


def cuda_if(root, _):
    for file in files(root, HEADERS + SOURCES):
        path = file.relative_to(root).as_posix()
        if path == "apps/info.cpp" or path.startswith("tests/"):
            continue
        for number, line in lines(file):
            if CUDA_IF.match(line):
                yield f"{path}:{number}: #if for CUDA: what differs by device is a pair of files, one real, one stub"


def budgets(root, _):
    for file in files(root, HEADERS + SOURCES):
        text = file.read_text()
        path, most = file.relative_to(root).as_posix(), MOST_LINES[file.suffix]
        if path.startswith("tests/"):  # One file a source file: as long as the list of its cases.
            continue
        count = text.count("\n")
        excuse = EXCUSE.search("\n".join(text.splitlines()[:EXCUSE_STANDS_IN_LINES]))
        if count > most and not excuse:
            yield f'{path}:{count}: {count} lines, at most {most}: split it, or say above why it is "Longer than" that'


def functions(root, tools):
    lizard = tool(tools, "lizard")
    command = [lizard, "--languages", "cpp", "--length", str(MOST_LINES_OF_A_FUNCTION), "--CCN", "9999",
               "--arguments", "99", "--warnings_only"]
    result = subprocess.run(command + [str(file) for file in files(root, HEADERS + SOURCES)], capture_output=True,
                            text=True)
    # "/root/runtime/a.cpp:12: warning: f has 70 NLOC, 3 CCN, 500 token, 0 PARAM, 75 length, 0 ND"
    warning = re.compile(r"^(.+?):(\d+): warning: (.+) has \d+ NLOC.* (\d+) length")
    for line in result.stdout.splitlines():
        if match := warning.match(line):
            path = Path(match[1]).relative_to(root).as_posix()
            yield f"{path}:{match[2]}: {match[3]} has {match[4]} lines, at most {MOST_LINES_OF_A_FUNCTION}: split it"
    if result.returncode not in (0, 1):
        yield f"lizard failed: {result.stderr.strip()}"


def names_of_multiprocessing():
    """What Python's documentation of multiprocessing describes: the module's names, and those of its classes."""
    from multiprocessing import connection, managers, pool, process, queues, shared_memory, synchronize
    modules = (multiprocessing, connection, managers, shared_memory)
    classes = (process.BaseProcess, pool.Pool, pool.AsyncResult, pool.IMapIterator, queues.JoinableQueue,
               queues.SimpleQueue, connection.Connection, synchronize.Semaphore, synchronize.Condition,
               synchronize.Event, synchronize.Barrier, shared_memory.SharedMemory, shared_memory.ShareableList)
    return {name for module in modules for name in module.__all__} | {
        name for a_class in classes for name in dir(a_class) if not name.startswith("_")}


def from_python(root, _):
    """docs/from-python.md has all of Python's names in its first column, and only names of headers in its second."""
    page = root / "docs/from-python.md"
    headers = "\n".join(file.read_text() for file in files(root, HEADERS, ("runtime", "models")))
    known, theirs = set(re.findall(r"\w+", headers)), set()
    for number, line in lines(page):
        cells = line.split(" | ")
        if not line.startswith("| ") or len(cells) < 3:
            continue
        first, second = (re.findall(r"\w+", " ".join(re.findall(r"`([^`]*)`", cell))) for cell in cells[:2])
        theirs.update(first)
        yield from (f"docs/from-python.md:{number}: no header has {name}" for name in second if name not in known)
    yield from (f"docs/from-python.md:1: Python's {name} is not in it"
                for name in sorted(names_of_multiprocessing() - theirs))


def formatting(root, tools):
    clang_format = tool(tools, "clang-format")
    version = subprocess.run([clang_format, "--version"], capture_output=True, text=True, check=True).stdout
    if CLANG_FORMAT_VERSION not in version:
        raise ToolAbsent(f"clang-format {CLANG_FORMAT_VERSION}; this one says: {version.strip()}")
    command = [clang_format, "--dry-run", "--Werror"] + [str(file) for file in files(root, HEADERS + SOURCES)]
    result = subprocess.run(command, capture_output=True, text=True)
    yield from (line for line in result.stderr.splitlines() if "error:" in line)


def shell(root, tools):
    command = [tool(tools, "shellcheck"), "--external-sources", "--format=gcc"]
    scripts = ["quickstart.sh", "test.sh", "cmake/setup.sh", "cmake/training.sh", "tests/gpu/run-suite.sh",
               "tests/install/own_libtorch.sh", ".ci/run"]
    result = subprocess.run(command + scripts, cwd=root, capture_output=True, text=True)
    yield from (result.stdout + result.stderr).splitlines()


class ToolAbsent(Exception):
    pass


def tool(directory, name):
    path = shutil.which(name, path=f"{directory}{os.pathsep}{os.environ['PATH']}" if directory else None)
    if path is None:
        raise ToolAbsent(name)
    return path


CHECKS = {
    "layers": layers,
    "budgets": budgets,
    "functions": functions,
    "cuda_if": cuda_if,
    "from_python": from_python,
    "format": formatting,
    "shell": shell,
}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("check", choices=CHECKS)
    parser.add_argument("root", type=Path)
    parser.add_argument("--bin", dest="tools", default="")
    arguments = parser.parse_args()
    try:
        violations = list(CHECKS[arguments.check](arguments.root.resolve(), arguments.tools))
    except ToolAbsent as absent:
        print(f"skipped: there is no {absent}")
        return SKIPPED
    print("\n".join(violations) if violations else f"{arguments.check}: nothing to find fault with")
    return 1 if violations else 0


if __name__ == "__main__":
    sys.exit(main())
