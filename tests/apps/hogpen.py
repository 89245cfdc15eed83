"""Runs the command under test, in a directory and an environment of the test's own."""
import json
import os
import subprocess
import sys
import tempfile
import time
import unittest
from pathlib import Path

COMMAND = os.environ["HOGPEN_TEST_COMMAND"]
# Where the libcuda.so.1 of the tests lies.
DRIVERS = Path(os.environ["HOGPEN_TEST_DRIVER"]).parent
TIMEOUT = 120
# Enough to go through all of a training in a fraction of a second.
SMALL = ("--data", "synthetic:640", "--epochs", "2", "--workers", "2")
STEPS_OF_SMALL = 20


def environment(**variables):
    """What a test starts from: nothing that a developer has set for hogpen or for colours."""
    kept = {name: value for name, value in os.environ.items()
            if not name.startswith("HOGPEN_") and name not in ("NO_COLOR", "TERM", "FAKE_GPUS")}
    return kept | {name: str(value) for name, value in variables.items()}


class CommandTest(unittest.TestCase):
    def setUp(self):
        directory = tempfile.TemporaryDirectory(prefix="hogpen-apps-")
        self.addCleanup(directory.cleanup)
        self.directory = Path(directory.name)

    def run_hogpen(self, *arguments, env=None, **options):
        """Runs to the end; the result has returncode, stdout and stderr."""
        options = {"capture_output": True, "cwd": self.directory, "text": True, "timeout": TIMEOUT} | options
        return subprocess.run([COMMAND, *map(str, arguments)], env=environment(**(env or {})), **options)

    def start_hogpen(self, *arguments, env=None, **options):
        """Starts it; it is killed at the end of the test if it still runs."""
        options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True} | options
        process = subprocess.Popen([COMMAND, *map(str, arguments)], cwd=self.directory,
                                   env=environment(**(env or {})), **options)
        self.addCleanup(self.end, process)
        return process

    @staticmethod
    def end(process):
        if process.poll() is None:
            process.kill()
        process.wait()
        for stream in (process.stdout, process.stderr):
            if stream:
                stream.close()

    def succeed(self, *arguments, **options):
        result = self.run_hogpen(*arguments, **options)
        self.assertEqual(result.returncode, 0, result.stderr)
        return result

    def refuse(self, *arguments, says, hint=None, **options):
        """Expects wrong usage: exit code 2, nothing on stdout, and a message without a word of CLI11's internals."""
        result = self.run_hogpen(*arguments, **options)
        self.assertEqual(result.returncode, 2, result.stderr)
        self.assertEqual(result.stdout, "")
        self.assertIn("hogpen: error: ", result.stderr)
        self.assertIn(says, result.stderr)
        if hint is not None:
            self.assertIn(f"hint: {hint}\n", result.stderr)
        return result

    def state_of(self, run):
        """state.json of the newest checkpoint of a run directory."""
        checkpoints = self.directory / run / "checkpoints"
        newest = max(checkpoints.glob("step-*"), key=lambda path: int(path.name.removeprefix("step-")))
        return json.loads((newest / "state.json").read_text())

    def wait_until(self, condition, what):
        end = time.monotonic() + TIMEOUT / 2
        while not condition():
            self.assertLess(time.monotonic(), end, f"waited in vain: {what}")
            time.sleep(0.02)


def main():
    unittest.main(module=sys.modules["__main__"])
