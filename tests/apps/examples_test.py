"""Runs one example and looks at what it prints: examples_test.py PROGRAM. Processes print in no particular order."""
import re
import subprocess
import sys
import unittest
from pathlib import Path

PROGRAM = Path(sys.argv.pop(1))


def run():
    result = subprocess.run([PROGRAM], capture_output=True, text=True, timeout=100)
    if result.returncode != 0:
        raise AssertionError(f"exit code {result.returncode}: {result.stdout}{result.stderr}")
    return result.stdout.splitlines()


class Examples(unittest.TestCase):
    def expect_lines(self, *expected):
        """Each is there, in any order, and nothing else; a pattern stands for what differs from run to run."""
        left = run()
        for pattern in expected:
            found = next((line for line in left if re.fullmatch(pattern, line)), None)
            self.assertIsNotNone(found, f"no line is {pattern!r}; left over are {left}")
            left.remove(found)
        self.assertEqual(left, [])

    def processes(self):
        self.expect_lines(*(f"process {rank} squares: {rank * rank}" for rank in range(4)),
                          "four processes were joined", "nobody joins me", "none is left behind", "I was let go",
                          r"worker 7 \(pid \d+\) ended with exit code 1: the trough is empty")

    def shared_array(self):
        self.expect_lines("counts 10000 10000 10000 10000, together 40000", "total 3")

    def thread_queue(self):
        self.expect_lines("as they come: 9 4 1 0", "in order of their ids: 0 1 4 9")

    def tensor_queue(self):
        self.expect_lines("the matrix sums up to 123", "the squares sum up to 5000")

    def squares(self):
        self.expect_lines("apply: 1 4 9 16 25 36 49 64", "map:   1 4 9 16 25 36 49 64")

    def delayed(self):
        self.expect_lines(r"\(1 \+ 2\)\^2 = 9", "sum 3, square 9")

    def exp_chunks(self):
        self.expect_lines("4 chunks of 25 rows, 100 values", "as in one piece")

    def hogwild(self):
        (line,) = run()
        match = re.fullmatch(r"4 processes, 2000 steps: (\d+) % right", line)
        self.assertIsNotNone(match, line)
        self.assertGreater(int(match[1]), 90)


if __name__ == "__main__":
    suite = unittest.TestSuite([Examples(PROGRAM.name)])
    sys.exit(not unittest.TextTestRunner().run(suite).wasSuccessful())
