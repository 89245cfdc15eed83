"""`hogpen train` and `hogpen eval` from start to end: results, signals, dead workers, and what people see."""
import fcntl
import json
import os
import pty
import re
import signal
import struct
import subprocess
import termios
from pathlib import Path

import hogpen

# Goes on until it is stopped; saves early and often.
LONG = ("--data=synthetic:2000", "--epochs=100000", "--eval-every=20", "--checkpoint-every=20", "--workers=2")


def children(pid):
    """Names and process ids of the workers and the keeper."""
    found = {}
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        found[Path(f"/proc/{child}/comm").read_text().strip()] = int(child)
    return found


class LongRun(hogpen.CommandTest):
    def start(self, *arguments, run="run", **options):
        process = self.start_hogpen("train", *LONG, "--run-dir", run, "--json", *arguments, **options)
        saved = self.directory / run / "checkpoints"
        self.wait_until(lambda: process.poll() is not None or (saved.exists() and list(saved.glob("step-*[0-9]"))),
                        "the first checkpoint")
        self.assertIsNone(process.poll(), "it ended by itself")
        return process

    def finish(self, process):
        stdout, stderr = process.communicate(timeout=hogpen.TIMEOUT)
        self.assertEqual(self.left_behind(), [], stderr)
        return process.returncode, stdout, stderr

    def left_behind(self):
        """Processes that still work in the test's directory."""
        found = []
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                if os.readlink(entry / "cwd") == str(self.directory) and "Z" not in (entry / "stat").read_text().split():
                    found.append((entry / "comm").read_text().strip())
            except OSError:
                pass  # It has ended meanwhile, or is somebody else's.
        return found


class Results(hogpen.CommandTest):
    def test_two_lines_on_stdout_and_the_talk_on_stderr(self):
        result = self.succeed("train", *hogpen.SMALL, "--run-dir=run")
        self.assertRegex(result.stdout, r"\Aaccuracy \d+\.\d\d %\ncheckpoint run/checkpoints/step-20\n\Z")
        self.assertIn("workers  2 processes, hogwild\n", result.stderr)
        self.assertIn("101,770 parameters", result.stderr)
        self.assertRegex(result.stderr, r"(?m)^epoch 2/2  loss \d\.\d{4}  accuracy \d+\.\d\d %")
        self.assertRegex(result.stderr, r"(?m)^1,280 samples in \d+\.\d s: [\d.]+( k)? samples/s$")

    def test_plain_lines_where_there_is_no_terminal(self):
        result = self.succeed("train", *hogpen.SMALL, "--run-dir=run", env={"TERM": "xterm"})
        self.assertNotIn("\x1b", result.stderr)
        self.assertNotIn("\r", result.stderr)

    def test_json_is_the_whole_of_stdout_and_agrees_with_eval(self):
        result = json.loads(self.succeed("train", *hogpen.SMALL, "--run-dir=run", "--json").stdout)
        self.assertEqual((result["step"], result["samples"], result["epoch"]), (20, 1280, 2.0))
        self.assertEqual((result["restarts"], result["stopped_by"]), ([], None))
        again = json.loads(self.succeed("eval", result["checkpoint"], "--json").stdout)
        self.assertEqual(again["accuracy"], result["accuracy"])
        self.assertAlmostEqual(again["loss"], result["loss"], places=6)

    def test_it_learns(self):
        result = self.succeed("train", "--data=synthetic:2000", "--epochs=5", "--workers=2", "--json")
        self.assertGreater(json.loads(result.stdout)["accuracy"], 0.9)

    def test_threads_and_every_mode_do_the_same_work(self):
        for arguments in (("--workers-as=threads",), ("--mode=atomic",), ("--mode=locked",), ("--mode=sync",)):
            result = json.loads(self.succeed("train", *hogpen.SMALL, "--json", *arguments).stdout)
            self.assertEqual(result["samples"], 1280, arguments)

    def test_quiet_leaves_stderr_empty(self):
        result = self.succeed("train", *hogpen.SMALL, "-q")
        self.assertEqual(result.stderr, "")
        self.assertIn("accuracy", result.stdout)

    def test_eval_prints_accuracy_and_loss(self):
        self.succeed("train", *hogpen.SMALL, "--run-dir=run")
        self.assertRegex(self.succeed("eval", "run/checkpoints/step-20").stdout,
                         r"\Aaccuracy \d+\.\d\d %\nloss \d+\.\d{4}\n\Z")

    def test_eval_needs_a_model_for_weights_alone(self):
        self.succeed("train", *hogpen.SMALL, "--run-dir=run")
        weights = "run/checkpoints/step-20/model.safetensors"
        self.refuse("eval", weights, says="model")
        self.succeed("eval", weights, "--model=Linear(784,128) ReLU Linear(128,10)", "--data=synthetic:640")

    def test_a_closed_stdout_and_stderr_do_not_end_a_training(self):
        read_end, write_end = os.pipe()
        os.close(read_end)
        result = self.run_hogpen("train", *hogpen.SMALL, "--run-dir=run", capture_output=False, stdout=write_end,
                                 stderr=write_end)
        os.close(write_end)
        self.assertEqual(result.returncode, 0)
        self.assertEqual(self.state_of("run")["step"], 20)


class Failures(hogpen.CommandTest):
    def test_a_model_that_cannot_be_read_is_wrong_usage(self):
        result = self.refuse("train", *hogpen.SMALL, "--model=Linear(784,10) Relu6", says="'Relu6'",
                             hint="did you mean ReLU?")
        self.assertNotIn("worker", result.stderr.rpartition("hogpen: error:")[2])

    def test_a_model_that_does_not_fit_the_data_is_wrong_usage(self):
        self.refuse("train", *hogpen.SMALL, "--model=Linear(100,10)", says="100")

    def test_a_loss_that_became_nan_is_a_failure_with_advice(self):
        result = self.run_hogpen("train", *hogpen.SMALL, "--lr=1e30")
        self.assertEqual(result.returncode, 1, result.stderr)
        self.assertIn("NaN", result.stderr)
        self.assertIn("hint: lower --lr", result.stderr)

    def test_the_keepers_failure_is_no_workers_death(self):
        (self.directory / "run/metrics.jsonl").mkdir(parents=True)
        result = self.run_hogpen("train", *hogpen.SMALL, "--run-dir=run")
        self.assertEqual(result.returncode, 1, result.stderr)
        self.assertIn("the keeper, which evaluates and saves, failed: ", result.stderr)


class Signals(LongRun):
    def test_sigint_and_sigterm_save_and_say_so_by_the_exit_code(self):
        for number, code in ((signal.SIGINT, 130), (signal.SIGTERM, 143)):
            with self.subTest(number=number):
                process = self.start(run=number.name)
                process.send_signal(number)
                returncode, stdout, stderr = self.finish(process)
                result = json.loads(stdout)
                self.assertEqual(returncode, code, stderr)
                self.assertEqual(result["stopped_by"], number.name)
                self.assertEqual(self.state_of(number.name)["step"], result["step"])
                self.assertIn(f"to go on: hogpen train --run-dir {number.name} --resume auto", stderr)


class Deaths(LongRun):
    def test_a_killed_worker_is_replaced_and_reported(self):
        process = self.start()
        victim = children(process.pid)["hogpen-0"]
        os.kill(victim, signal.SIGKILL)
        self.wait_until(lambda: children(process.pid).get("hogpen-0", victim) != victim, "a new worker")
        process.send_signal(signal.SIGINT)
        returncode, stdout, stderr = self.finish(process)
        self.assertEqual(returncode, 130, stderr)
        restarts = json.loads(stdout)["restarts"]
        self.assertEqual([(death["rank"], death["pid"], death["signal"]) for death in restarts],
                         [(0, victim, "SIGKILL")])
        self.assertIn("1 restart:", stderr)

    def test_a_death_beyond_the_allowed_restarts_has_its_own_exit_code(self):
        process = self.start("--max-restarts=0")
        os.kill(children(process.pid)["hogpen-1"], signal.SIGKILL)
        returncode, stdout, stderr = self.finish(process)
        self.assertEqual((returncode, stdout), (3, ""), stderr)
        self.assertIn("worker 1", stderr)
        self.assertIn("SIGKILL", stderr)

    def test_a_worker_that_stands_still_has_its_own_exit_code(self):
        process = self.start("--max-restarts=0", "--stall-timeout=2")
        os.kill(children(process.pid)["hogpen-1"], signal.SIGSTOP)
        returncode, _, stderr = self.finish(process)
        self.assertEqual(returncode, 5, stderr)


class OnATerminal(hogpen.CommandTest):
    COLUMNS = 60
    COLOURS = re.compile(r"\x1b\[[0-9;]*m")

    def train(self, **env):
        """What a terminal on stderr gets."""
        ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, self.COLUMNS, 0, 0))
        process = self.start_hogpen("train", "--data=synthetic:6000", "--epochs=20", "--workers=2", env=env,
                                    stdout=subprocess.DEVNULL, stderr=theirs)
        os.close(theirs)
        text = b""
        while True:
            try:
                part = os.read(ours, 65536)
            except OSError:  # How a terminal tells that its other end is closed.
                break
            if not part:
                break
            text += part
        os.close(ours)
        self.assertEqual(process.wait(), 0, text)
        return text.decode()

    def live_lines(self, text):
        return [self.COLOURS.sub("", line) for line in re.findall(r"\r\x1b\[K([^\r\n]+)\r(?!\n)", text)]

    def test_one_line_is_rewritten_and_fits_the_width(self):
        text = self.train(TERM="xterm")
        lines = self.live_lines(text)
        self.assertRegex(lines[0], r"^epoch \d+/20  +\d+ %  ")
        self.assertEqual({len(line) < self.COLUMNS for line in lines}, {True})
        self.assertRegex(text, self.COLOURS)

    def test_evaluations_stay(self):
        text = self.COLOURS.sub("", self.train(TERM="xterm"))
        self.assertRegex(text, r"\nepoch 20/20  loss [\d.]+  accuracy [\d.]+ %|"
                               r"\x1b\[Kepoch 20/20  loss [\d.]+  accuracy [\d.]+ %")

    def test_no_color_keeps_the_line_and_drops_the_colours(self):
        text = self.train(TERM="xterm", NO_COLOR=1)
        self.assertNotRegex(text, self.COLOURS)
        self.assertTrue(self.live_lines(text))

    def test_a_dumb_terminal_gets_plain_lines(self):
        self.assertNotIn("\x1b", self.train(TERM="dumb"))


if __name__ == "__main__":
    hogpen.main()
