"""Seeds one violation of each rule and sees that it is caught, and that the rule lets the innocent pass.

usage: lint_test.py [--bin DIRECTORY]      --bin: where the tools are
"""
import os
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

HERE = Path(__file__).resolve().parent
TOOLS = ""
JUNIT = """<testsuite tests="5" failures="1" disabled="1" skipped="2">
<testcase name="a" status="run"/>
<testcase name="b" status="run"/>
<testcase name="c" status="fail"><failure message="Timeout"/></testcase>
<testcase name="d" status="notrun"><skipped message="SKIP_RETURN_CODE=77"/></testcase>
<testcase name="e" status="notrun"><skipped message="Unable to find executable"/></testcase>
<testcase name="f" status="disabled"/>
</testsuite>"""


class Tree(unittest.TestCase):
    """A tree of its own for each test, and lint.py run on it."""

    def setUp(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.root = Path(directory.name)

    def write(self, path, text):
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        return file

    def lint(self, check, tools=None):
        command = [sys.executable, HERE / "lint.py", check, self.root, "--bin", TOOLS if tools is None else tools]
        result = subprocess.run(command, capture_output=True, text=True)
        if result.returncode == 77 and tools is None:
            self.skipTest(result.stdout.strip())
        return result.returncode, result.stdout + result.stderr

    def assert_clean(self, check):
        self.assertEqual(self.lint(check)[0], 0, self.lint(check)[1])

    def assert_caught(self, check, *words):
        code, output = self.lint(check)
        self.assertEqual(code, 1, output)
        for word in words:
            self.assertIn(word, output)


class Layers(Tree):
    def setUp(self):
        super().setUp()
        for header in ("runtime/core/error.h", "runtime/memory/arena.h", "runtime/frame/frame.h",
                       "runtime/cluster/group.h", "models/model.h"):
            self.write(header, "#pragma once\n")

    def test_a_lower_room_and_the_own_room_may_be_included(self):
        self.write("runtime/memory/arena.cpp",
                   '#include "runtime/memory/arena.h"\n\n#include <vector>\n\n#include "runtime/core/error.h"\n')
        self.write("tests/core/error_test.cpp", '#include "models/model.h"\n')
        self.assert_clean("layers")

    def test_a_higher_room_may_not(self):
        self.write("runtime/memory/arena.cpp", '#include "runtime/memory/arena.h"\n#include "models/model.h"\n')
        self.assert_caught("layers", "runtime/memory/arena.cpp:2", "models/model.h")

    def test_rooms_side_by_side_may_not_include_each_other(self):
        self.write("runtime/frame/frame.cpp", '#  include "runtime/cluster/group.h"\n')
        self.assert_caught("layers", "runtime/frame/frame.cpp:1")

    def test_paths_begin_at_the_root(self):
        self.write("runtime/memory/arena.cpp", '#include "arena.h"\n')
        self.assert_caught("layers", "not a path from the root")

    def test_a_room_without_a_rank_is_noticed(self):
        self.write("runtime/attic/box.h", '#include "runtime/core/error.h"\n')
        self.assert_caught("layers", "runtime/attic/box.h")

    def test_the_tests_may_not_be_included(self):
        self.write("tests/helper.h", "#pragma once\n")
        self.write("models/model.cpp", '#include "tests/helper.h"\n')
        self.assert_caught("layers", "tests/helper.h is in no known room")


class CudaIf(Tree):
    def test_ifs_for_cuda_are_caught_however_they_are_spelled(self):
        for line in ("#ifdef HOGPEN_HAS_CUDA", "#if defined(__CUDACC__)", "#  elif __NVCC__", "#ifndef USE_NCCL"):
            self.write("runtime/memory/a.cpp", f"\n{line}\n#endif\n")
            self.assert_caught("cuda_if", "runtime/memory/a.cpp:2")

    def test_info_the_tests_and_other_ifs_are_free(self):
        self.write("apps/info.cpp", "#ifdef HOGPEN_HAS_CUDA\n#endif\n")
        self.write("tests/a_test.cpp", "#if HOGPEN_HAS_CUDA\n#endif\n")
        self.write("models/a.cpp", "#if defined(__AVX2__)\n#endif\n// #if CUDA\n")
        self.assert_clean("cuda_if")


class FromPython(Tree):
    def setUp(self):
        super().setUp()
        real = HERE.parents[1] / "docs/from-python.md"
        first_cells = [line.split(" | ")[0] for line in real.read_text().splitlines() if line.startswith("| `")]
        self.table = "".join(f"{cell} | none | |\n" for cell in first_cells)
        self.write("runtime/sync/event.h", "class Event {};\n")

    def test_a_page_that_has_all_of_pythons_names_passes(self):
        self.write("docs/from-python.md", self.table)
        self.assert_clean("from_python")

    def test_a_name_of_pythons_that_is_missing_is_caught(self):
        self.write("docs/from-python.md", self.table.replace("`BoundedSemaphore`", ""))
        self.assert_caught("from_python", "Python's BoundedSemaphore is not in it")

    def test_a_name_that_no_header_has_is_caught(self):
        self.write("docs/from-python.md", self.table + "| `Event` | `Event::is_sett` | `prose` is free |\n")
        self.assert_caught("from_python", "no header has is_sett")


class Budgets(Tree):
    def test_a_file_at_its_budget_passes(self):
        self.write("models/a.h", "\n" * 150)
        self.write("models/a.cpp", "\n" * 300)
        self.assert_clean("budgets")

    def test_a_line_more_is_caught(self):
        self.write("models/a.h", "\n" * 151)
        self.write("models/a.cpp", "\n" * 301)
        self.assert_caught("budgets", "models/a.h:151", "models/a.cpp:301")

    def test_a_reason_at_the_top_is_accepted_and_further_down_is_not(self):
        reason = "// Longer than a source should be: the table is one piece.\n"
        self.write("models/a.cpp", reason + "\n" * 400)
        self.assert_clean("budgets")
        self.write("models/a.cpp", "\n" * 400 + reason)
        self.assert_caught("budgets", "models/a.cpp:401")


class Functions(Tree):
    def function(self, count, head="int f(int x) {"):
        return "\n".join([head] + ["  x += 1;"] * (count - 3) + ["  return x;", "}", ""])

    def test_sixty_lines_pass(self):
        self.write("models/a.cpp", self.function(60))
        self.assert_clean("functions")

    def test_sixty_one_are_caught_of_a_function_a_member_and_a_test(self):
        heads = ("int f(int x) {", "int hogpen::A::f(int x) const noexcept {", "TEST(A, AddsUp) {",
                 "template <class T> requires std::integral<T> auto f(T x) -> T {")
        for head in heads:
            self.write("models/a.cpp", "int g() { return 0; }\n" + self.function(61, head))
            self.assert_caught("functions", "models/a.cpp:2", "61 lines")

    def test_a_missing_tool_is_a_skip(self):
        path, os.environ["PATH"] = os.environ["PATH"], "/nonexistent"
        self.addCleanup(os.environ.__setitem__, "PATH", path)
        self.assertEqual(self.lint("functions", tools="/nonexistent")[0], 77)


class Format(Tree):
    def test_a_badly_set_line_is_caught(self):
        self.write(".clang-format", (HERE.parent.parent / ".clang-format").read_text())
        self.write("models/a.cpp", "int f() {\n  return 0;\n}\n")
        self.assert_clean("format")
        self.write("models/a.cpp", "int  f( ) {return 0;}\n")
        self.assert_caught("format", "models/a.cpp:1")


class Shell(Tree):
    def test_an_unquoted_variable_is_caught(self):
        for script in ("quickstart.sh", "cmake/setup.sh", "cmake/training.sh", "tests/gpu/run-suite.sh",
                       "tests/install/own_libtorch.sh", ".ci/run"):
            self.write(script, "#!/bin/bash\ntrue\n")
        self.write("test.sh", '#!/bin/bash\nrm "$1"\n')
        self.assert_clean("shell")
        self.write("test.sh", "#!/bin/bash\nrm $1\n")
        self.assert_caught("shell", "test.sh:2", "SC2086")


class JunitCounts(Tree):
    def count(self, path):
        command = [sys.executable, HERE.parent / "junit_counts.py", path]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()

    def test_an_absent_executable_counts_as_failed(self):
        self.assertEqual(self.count(self.write("junit.xml", JUNIT)), ["2", "2", "2"])

    def test_an_absent_or_damaged_report_counts_as_one_failure(self):
        self.assertEqual(self.count(self.root / "none.xml"), ["0", "1", "0"])
        self.assertEqual(self.count(self.write("half.xml", JUNIT[:99])), ["0", "1", "0"])


if __name__ == "__main__":
    if len(sys.argv) > 2 and sys.argv[1] == "--bin":
        TOOLS = sys.argv[2]
        del sys.argv[1:3]
    unittest.main()
