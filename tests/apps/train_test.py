"""`hogpen train` and `hogpen eval` from start to end: results, signals, dead workers, and what people see."""
import contextlib
import fcntl
import json
import os
import pty
import re
import resource
import signal
import struct
import subprocess
import termios
import time
import unittest
from pathlib import Path

import hogpen

# Goes on until it is stopped; saves early and often.
LONG = ("--data=synthetic:2000", "--epochs=100000", "--eval-every=20", "--checkpoint-every=20", "--workers=2")


def children(pid):
    """Names and process ids of the workers and the keeper."""
    found = {}
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # It has ended since.
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

    def stop_a_worker(self, process):
        """Freezes it in the middle of a step."""
        victim = children(process.pid)["hogpen-1"]
        os.kill(victim, signal.SIGSTOP)
        return victim

    def steps(self, run="run"):
        return {int(path.name.removeprefix("step-")) for path in (self.directory / run).glob("checkpoints/step-*[0-9]")}

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

    def test_the_engine_is_named_before_the_first_step_and_in_the_result(self):
        for asked, taken in ("auto", "fused"), ("autograd", "autograd"):
            result = self.succeed("train", *hogpen.SMALL, "--run-dir", asked, "--json", "--engine", asked)
            self.assertEqual(json.loads(result.stdout)["engine"], taken)
            self.assertRegex(result.stderr, rf"(?m)^engine   {taken}$")

    def test_without_a_gpu_it_falls_back_or_has_its_own_exit_code(self):
        no_gpu = {"LD_LIBRARY_PATH": hogpen.DRIVERS, "FAKE_GPUS": "0"}
        result = self.succeed("train", *hogpen.SMALL, "--run-dir=auto", "--device=auto", "--json", env=no_gpu)
        reason = "(the NVIDIA driver has no GPU to offer|this hogpen was built without CUDA kernels)$"
        self.assertRegex(result.stderr, f"(?m)^device   CPUs: {reason}")
        said = json.loads(result.stdout)
        self.assertEqual(said["device"], "cpu")
        self.assertRegex(said["why_no_gpu"], f"^{reason}")
        self.assertEqual(self.run_hogpen("train", "--device=gpu").returncode, 2)

    def test_why_a_gpu_cannot_be_used_is_said_with_exit_code_4(self):
        built = json.loads(self.succeed("info", "--json").stdout)["cuda"]["built"]
        for device, fake, reason in (
                ("cuda", {"FAKE_GPUS": 0}, "the NVIDIA driver has no GPU to offer"),
                ("cuda", {"FAKE_GPUS": -999}, "the NVIDIA driver is there, but cuInit says: error 999"),
                ("cuda:7", {"FAKE_GPUS": 2}, "there is no GPU 7: this machine has 2, numbered from 0"),
                ("cuda", {"FAKE_GPUS": 1, "FAKE_BYTES": 1 << 20}, "GPU 0 has 1 MiB free, and this training needs"),
                ("cuda", {"LD_LIBRARY_PATH": ""}, "no NVIDIA driver")):
            with self.subTest(fake):
                result = self.run_hogpen("train", *hogpen.SMALL, "--run-dir=cuda", "--device", device, "--engine=fused",
                                         env={"LD_LIBRARY_PATH": hogpen.DRIVERS} | fake)
                self.assertEqual(result.returncode, 4, result.stderr)
                self.assertIn("hogpen: error: " + (reason if built else "this hogpen was built without CUDA kernels"),
                              result.stderr)
                self.assertIn("\nhint: ", result.stderr)
                if not built:
                    self.assertIn("\nhint: with nvcc 13: cmake --preset cuda\n", result.stderr)
                self.assertFalse((self.directory / "cuda").exists())

    def test_what_gpus_do_not_take_is_refused(self):
        for options, says in (("--device=cuda:0,0",), "the device cuda:0,0 has GPU 0 twice"), \
                             (("--device=cuda:0,1", "--workers=1"), "each GPU needs a worker, but there are 2 GPUs and 1 w"), \
                             (("--device=cuda", "--mode=sync"), "in mode sync each GPU has one worker, but there are 2 work"), \
                             (("--device=cuda:0,1", "--mode=locked"), "modes are hogwild, atomic and sync, not locked"), \
                             (("--average-every=9",), "--average-every has no effect with --device cpu"), \
                             (("--average-every=9", "--device=cuda:0,1", "--mode=sync"), "no effect with --mode sync"):
            self.refuse("train", *hogpen.SMALL, *options, says=says)

    def test_verbose_says_where_workers_and_parameters_are(self):
        cpus = sorted(os.sched_getaffinity(0))
        result = self.succeed("train", *hogpen.SMALL, "--run-dir=pinned", "-v", "--pin-workers", "--threads-per-worker=1")
        self.assertIn(f"placement 1 thread a worker, worker 0 on CPU {cpus[0]}, worker 1 on CPU {cpus[1 % len(cpus)]}; "
                      "0 KiB in huge pages", result.stderr)
        result = self.succeed("train", *hogpen.SMALL, "--run-dir=free", "-v", "--threads-per-worker=2")
        self.assertIn("placement 2 threads a worker, on any CPU; ", result.stderr)

    def test_it_learns(self):
        result = self.succeed("train", "--data=synthetic:2000", "--epochs=5", "--workers=2", "--json")
        self.assertGreater(json.loads(result.stdout)["accuracy"], 0.9)

    def test_threads_and_every_mode_do_the_same_work(self):
        for arguments in (("--workers-as=threads",), ("--mode=atomic",), ("--mode=locked",), ("--mode=sync",)):
            result = json.loads(self.succeed("train", *hogpen.SMALL, "--json", *arguments).stdout)
            self.assertEqual(result["samples"], 1280, arguments)

    def test_replicas_do_the_same_work_and_the_plan_says_so(self):
        for workers_as in ("processes", "threads"):
            result = self.succeed("train", *hogpen.SMALL, "--json", f"--workers-as={workers_as}", "--mode=atomic",
                                  "--replicas=per-worker", "--merge-every=3", f"--run-dir={workers_as}")
            self.assertEqual(json.loads(result.stdout)["samples"], 1280)
            self.assertIn(f"workers  2 {workers_as}, atomic, replicas per-worker, merged every 3 steps\n", result.stderr)
            state = self.state_of(workers_as)
            self.assertEqual((state["replicas"], state["merge_every"]), ("per-worker", 3))

    def test_staleness_is_in_the_result_and_is_said_when_asked(self):
        result = self.succeed("train", *hogpen.SMALL, "--json", "--workers=1", "-v")
        self.assertEqual(json.loads(result.stdout)["staleness"], {"mean": 0, "max": 0})
        self.assertIn("staleness 0.00 steps of other workers on average, 0 at most\n", result.stderr)
        result = self.succeed("train", "--data=synthetic:6400", "--epochs=20", "--workers=2", "--json")
        staleness = json.loads(result.stdout)["staleness"]
        self.assertGreater(staleness["mean"], 0)
        self.assertGreaterEqual(staleness["max"], staleness["mean"])
        self.assertNotIn("staleness", result.stderr)

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

    def test_replicas_in_a_mode_that_has_none_are_wrong_usage(self):
        for mode in ("locked", "sync"):
            self.refuse("train", *hogpen.SMALL, f"--mode={mode}", "--replicas=per-worker",
                        says=f"replicas per-worker do not go with mode {mode}: its ")
        self.refuse("train", *hogpen.SMALL, "--merge-every=3", says="--merge-every has no effect with --replicas one")

    def test_a_loss_that_became_nan_is_a_failure_with_advice(self):
        result = self.run_hogpen("train", *hogpen.SMALL, "--lr=1e30")
        self.assertEqual(result.returncode, 1, result.stderr)
        self.assertIn("NaN", result.stderr)
        self.assertIn("hint: lower --lr, or skip bad batches with --on-nan skip", result.stderr)

    def test_too_many_skipped_batches_are_a_failure_that_does_not_advise_to_skip(self):
        result = self.run_hogpen("train", *hogpen.SMALL, "--epochs=100", "--lr=1e30", "--on-nan=skip")
        self.assertEqual(result.returncode, 1, result.stderr)
        self.assertIn("hint: lower --lr: there were too many bad batches to skip\n", result.stderr)

    def test_parameters_lost_in_the_last_step_are_a_failure_too(self):
        result = self.run_hogpen("train", "--data=synthetic:64", "--epochs=1", "--workers=1", "--lr=1e39")
        self.assertEqual(result.returncode, 1, result.stderr)
        self.assertIn("NaN or infinite", result.stderr)
        self.assertIn("loss nan  accuracy", result.stderr)
        self.assertIn("hint: lower --lr", result.stderr)

    @unittest.skipIf(os.environ.get("HOGPEN_TEST_SANITIZER"), "UBSan looks at memory through a pipe of its own")
    def test_too_few_open_files_are_named_with_a_remedy(self):
        result = self.run_hogpen("train", *hogpen.SMALL,
                                 preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (12, 12)))
        self.assertEqual(result.returncode, 1, result.stderr)
        self.assertIn("Too many open files", result.stderr)
        self.assertIn("hint: raise the limit on open files: ulimit -n", result.stderr)

    def test_the_keepers_failure_is_no_workers_death(self):
        (self.directory / "run/metrics.jsonl").mkdir(parents=True)
        result = self.run_hogpen("train", *hogpen.SMALL, "--run-dir=run")
        self.assertEqual(result.returncode, 1, result.stderr)
        self.assertIn("the keeper, which evaluates and saves, failed: ", result.stderr)


class Signals(LongRun):
    def test_sigint_and_sigterm_save_and_say_so_by_the_exit_code(self):
        for workers_as in ("processes", "threads"):
            for number, code in ((signal.SIGINT, 130), (signal.SIGTERM, 143)):
                with self.subTest(workers_as=workers_as, number=number):
                    run = f"{workers_as}-{number.name}"
                    process = self.start(f"--workers-as={workers_as}", run=run)
                    process.send_signal(number)
                    returncode, stdout, stderr = self.finish(process)
                    self.assertEqual(returncode, code, stderr)
                    result = json.loads(stdout)
                    self.assertEqual(result["stopped_by"], number.name)
                    self.assertEqual(self.state_of(run)["step"], result["step"])
                    self.assertIn(f"to go on: hogpen train --run-dir {run} --resume auto", stderr)
                    self.assertFalse((self.directory / run / "live.safetensors").is_symlink())

    def test_a_second_signal_kills_and_names_the_checkpoint_that_there_is(self):
        process = self.start()
        self.stop_a_worker(process)
        process.send_signal(signal.SIGINT)
        self.wait_until(lambda: "once more to kill" in process.stderr.readline(), "the answer to the first")
        process.send_signal(signal.SIGINT)
        returncode, stdout, stderr = self.finish(process)
        self.assertEqual(returncode, 130, stderr)
        result = json.loads(stdout)
        self.assertIsNone(result["accuracy"])
        self.assertEqual(result["checkpoint"], f"{self.directory}/run/checkpoints/step-{max(self.steps())}")
        self.assertIn("stopped by SIGINT and killed before saving; to go on: hogpen train --run-dir run --resume auto", stderr)

    def test_a_second_signal_before_the_first_checkpoint_says_that_nothing_was_saved(self):
        process = self.start_hogpen("train", *LONG, "--checkpoint-every=0", "--run-dir=run")
        self.wait_until(lambda: "hogpen-1" in children(process.pid), "the workers")
        self.stop_a_worker(process)
        process.send_signal(signal.SIGINT)
        self.wait_until(lambda: "once more to kill" in process.stderr.readline(), "the answer to the first")
        process.send_signal(signal.SIGINT)
        returncode, stdout, stderr = self.finish(process)
        self.assertEqual((returncode, stdout), (130, ""), stderr)
        self.assertIn("stopped by SIGINT and killed before saving; nothing was saved\n", stderr)

    def test_the_grace_is_how_long_a_worker_may_take_to_stop(self):
        process = self.start("--grace=0.1")
        self.stop_a_worker(process)
        process.send_signal(signal.SIGINT)
        began = time.monotonic()
        returncode, stdout, stderr = self.finish(process)
        self.assertLess(time.monotonic() - began, 4, "the default is 5 s")
        self.assertEqual(returncode, 130, stderr)
        self.assertIn("worker 1 did not end in time: killed", stderr)
        self.assertEqual(self.state_of("run")["step"], json.loads(stdout)["step"])


class Checkpoints(LongRun):
    def test_a_fuzzy_one_does_not_wait_for_a_worker_that_hangs(self):
        process = self.start("--checkpoint=fuzzy")
        victim = self.stop_a_worker(process)
        before = max(self.steps())
        self.wait_until(lambda: max(self.steps()) > before, "a checkpoint while the worker hangs")
        os.kill(victim, signal.SIGCONT)
        process.send_signal(signal.SIGINT)
        returncode, _, stderr = self.finish(process)
        self.assertEqual(returncode, 130, stderr)
        self.assertNotIn("did not come to a step boundary", stderr)


class Threads(LongRun):
    def test_a_worker_has_as_many_as_it_is_given(self):
        for threads in (1, 2):
            # A batch so large that LibTorch divides its work.
            process = self.start(f"--threads-per-worker={threads}", "--batch-size=2000", "--engine=autograd",
                                 run=f"run-{threads}")
            worker = children(process.pid)["hogpen-0"]
            self.assertEqual(len(list(Path(f"/proc/{worker}/task").iterdir())), threads)
            process.send_signal(signal.SIGINT)
            self.assertEqual(self.finish(process)[0], 130)


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

    def test_deaths_leave_no_descriptor_in_the_launcher(self):
        process = self.start()
        descriptors = lambda: len(os.listdir(f"/proc/{process.pid}/fd"))
        before = descriptors()
        for _ in range(15):  # more than --max-restarts allows of deaths without a step between
            victim = children(process.pid)["hogpen-0"]
            os.kill(victim, signal.SIGKILL)
            self.wait_until(lambda: children(process.pid).get("hogpen-0", victim) != victim, "a new worker")
            saved = max(self.steps())
            self.wait_until(lambda: max(self.steps()) > saved, "progress")
        self.assertEqual(descriptors(), before)
        process.send_signal(signal.SIGINT)
        returncode, stdout, stderr = self.finish(process)
        self.assertEqual(returncode, 130, stderr)
        self.assertEqual(len(json.loads(stdout)["restarts"]), 15)

    def test_the_keeper_is_replaced_too_and_called_by_its_name(self):
        process = self.start()
        victim = children(process.pid)["hogpen-keeper"]
        os.kill(victim, signal.SIGKILL)
        self.wait_until(lambda: children(process.pid).get("hogpen-keeper", victim) != victim, "a new keeper")
        process.send_signal(signal.SIGINT)
        returncode, stdout, stderr = self.finish(process)
        self.assertEqual(returncode, 130, stderr)
        self.assertEqual([death["name"] for death in json.loads(stdout)["restarts"]], ["keeper"])
        self.assertIn(f"keeper (pid {victim}) was killed by SIGKILL; replaced", stderr)

    def test_a_death_beyond_the_allowed_restarts_has_its_own_exit_code(self):
        process = self.start("--max-restarts=0")
        os.kill(children(process.pid)["hogpen-1"], signal.SIGKILL)
        returncode, stdout, stderr = self.finish(process)
        self.assertEqual((returncode, stdout), (3, ""), stderr)
        self.assertIn("worker 1", stderr)
        self.assertIn("SIGKILL", stderr)
        hint = stderr.rpartition("hint: ")[2]
        for advice in ("see hogpen info", "hogpen train --run-dir run --resume auto", "--max-restarts"):
            self.assertIn(advice, hint)

    def test_a_death_in_mode_sync_ends_the_run_and_the_hint_says_how_to_go_on(self):
        process = self.start("--mode=sync")
        os.kill(children(process.pid)["hogpen-1"], signal.SIGKILL)
        returncode, stdout, stderr = self.finish(process)
        self.assertEqual((returncode, stdout), (3, ""), stderr)
        self.assertRegex(stderr, r"worker 1 .*SIGKILL")
        hint = stderr.rpartition("hint: ")[2]
        for advice in ("hogpen train --run-dir run --resume auto", "in the other modes a dead worker is replaced"):
            self.assertIn(advice, hint)

    def test_a_worker_that_stands_still_has_its_own_exit_code(self):
        process = self.start("--max-restarts=0", "--stall-timeout=2")
        os.kill(children(process.pid)["hogpen-1"], signal.SIGSTOP)
        returncode, _, stderr = self.finish(process)
        self.assertEqual(returncode, 5, stderr)


class OnATerminal(hogpen.CommandTest):
    COLUMNS = 60
    # A run of a second or more.
    DATA = "synthetic:600" if os.environ.get("HOGPEN_TEST_SANITIZER") else "synthetic:6000"
    COLOURS = re.compile(r"\x1b\[[0-9;]*m")

    def train(self, **env):
        """What a terminal on stderr gets."""
        ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, self.COLUMNS, 0, 0))
        process = self.start_hogpen("train", f"--data={self.DATA}", "--epochs=20", "--workers=2", env=env,
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
