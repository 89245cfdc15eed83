"""The main job on the real data: it learns what it should, Python agrees, and neither kills nor small machines spoil it."""
import json
import os
import random
import re
import resource
import select
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import hogpen

DATA = Path("/usr/share/datasets/fashion-mnist")
INTEROP = Path(__file__).parent.parent / "python" / "checkpoint_interop.py"
TRAIN = ("train", "--data=fashion-mnist", "--workers=4", "--lr=0.1", "--lr-schedule=cosine", "--batch-size=64", "--json")
if os.environ.get("HOGPEN_TEST_SANITIZER"):  # It slows the fused engine down, but not LibTorch.
    TRAIN += ("--engine=autograd",)


def python(*arguments):
    """What checkpoint_interop.py prints, which has no code of hogpen."""
    return json.loads(subprocess.run([sys.executable, INTEROP, *map(str, arguments)], check=True, capture_output=True,
                                     text=True, timeout=hogpen.TIMEOUT).stdout)


def children(pid):
    try:
        pids = [int(pid) for pid in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
        return {pid: Path(f"/proc/{pid}/comm").read_text().strip() for pid in pids}
    except OSError:  # One has ended between two looks.
        return {}


def is_alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def kill_a_worker(launcher):
    """Kills one that has not ended, and waits until it has: its (rank, pid), or None where there is none.

    A process that is killed may take long to end, and is a child of its launcher until that collects it: killed once
    more, it would be counted twice and replaced once.
    """
    workers = list(children(launcher))
    random.shuffle(workers)
    for pid in workers:
        try:
            descriptor = os.pidfd_open(pid)
        except ProcessLookupError:
            continue
        try:
            worker = re.fullmatch(r"hogpen-(\d+)", children(launcher).get(pid, ""))  # From now on, it is no other's pid.
            has_ended = select.select([descriptor], [], [], 0)[0]
            if worker and not has_ended:
                signal.pidfd_send_signal(descriptor, signal.SIGKILL)
                select.select([descriptor], [], [])
                return int(worker[1]), pid
        except ProcessLookupError:
            continue
        finally:
            os.close(descriptor)
    return None


class MainJob(hogpen.CommandTest):
    def check_accuracy(self, result):
        """The band of ten epochs of plain SGD, whatever was killed meanwhile."""
        self.assertGreaterEqual(result["accuracy"], 0.87)
        self.assertLessEqual(result["accuracy"], 0.90)

    def test_ten_epochs_with_four_workers_and_python_agrees(self):
        result = json.loads(self.succeed(*TRAIN, "--epochs=10", "--run-dir=run").stdout)
        self.check_accuracy(result)
        self.assertEqual(result["samples"], 600_000)
        there = python("accuracy", self.directory / "run" / "checkpoints" / "step-9380", DATA)["accuracy"]
        # A logit may round to the other side of another for a few of the 10,000.
        self.assertAlmostEqual(there, result["accuracy"], delta=0.0005)

    def test_a_model_saved_by_python_goes_on_here(self):
        python("write", self.directory / "python.safetensors")
        before = json.loads(self.succeed("eval", "python.safetensors", "--data=fashion-mnist", "--json",
                                         "--model=Linear(784,128) ReLU Linear(128,10)").stdout)
        result = json.loads(self.succeed(*TRAIN, "--epochs=1", "--run-dir=run", "--resume=python.safetensors").stdout)
        self.assertLess(before["accuracy"], 0.3)
        self.assertGreater(result["accuracy"], 0.8)

    def test_random_kills_of_workers_do_not_change_the_outcome(self):
        process = self.start_hogpen(*TRAIN, "--epochs=10", "--run-dir=run", "--quiet")
        killed = Counter()

        def kill_every_200_ms():
            while process.poll() is None:
                if worker := kill_a_worker(process.pid):
                    killed[worker] += 1
                time.sleep(0.2)

        killer = threading.Thread(target=kill_every_200_ms)
        killer.start()
        stdout, stderr = process.communicate(timeout=hogpen.TIMEOUT)
        killer.join()
        self.assertEqual(process.returncode, 0, stderr)
        result = json.loads(stdout)
        self.check_accuracy(result)
        self.assertGreater(killed.total(), 3)
        replaced = Counter((death.get("rank"), death["pid"]) for death in result["restarts"])
        self.assertEqual(replaced - killed, Counter(), "nobody died but by this test")
        # What was ending already, after its last batch, did not die of the kill. A rank ends once.
        ended = Counter(rank for rank, pid in (killed - replaced).elements())
        self.assertLessEqual(max(ended.values(), default=0), 1, "a worker that is killed has a successor")
        self.assertGreaterEqual(result["samples"], 600_000 - 64 * killed.total(), "a death costs one batch")
        left = {re.sub(r"tfevents.*", "tfevents", path.name) for path in (self.directory / "run").iterdir()}
        self.assertEqual(left, {"checkpoints", "metrics.jsonl", "events.out.tfevents"})
        self.assertFalse(list(self.directory.rglob("*.tmp")))

    def test_killing_the_launcher_takes_all_along_and_the_next_run_goes_on(self):
        before = set(os.listdir("/dev/shm"))
        process = self.start_hogpen(*TRAIN, "--epochs=1000", "--run-dir=run", "--quiet")
        self.wait_until(lambda: len(list((self.directory / "run").glob("checkpoints/step-*[0-9]"))) > 0, "a checkpoint")
        family = list(children(process.pid))
        self.assertEqual(len(family), 5)
        process.kill()
        process.wait()
        self.wait_until(lambda: not any(map(is_alive, family)), "the end of the workers")
        self.assertEqual(set(os.listdir("/dev/shm")), before)
        saved = max(int(path.name.removeprefix("step-")) for path in self.directory.glob("run/checkpoints/step-*[0-9]"))
        epochs = saved // 938 + 1
        again = self.succeed(*TRAIN, f"--epochs={epochs}", "--run-dir=run", "--resume=auto")
        self.assertIn(f"resumes  run/checkpoints/step-{saved}\n", again.stderr)
        result = json.loads(again.stdout)
        self.assertEqual(result["step"], epochs * 938)
        self.assertLessEqual(result["samples"], (epochs * 938 - saved) * 64)
        self.assertFalse(list(self.directory.rglob("*.tmp")))
        self.assertFalse((self.directory / "run" / "live.safetensors").is_symlink())

    def test_the_live_model_is_read_by_pythons_safetensors(self):
        from safetensors import safe_open
        process = self.start_hogpen(*TRAIN, "--epochs=1000", "--run-dir=run", "--quiet")
        live = self.directory / "run" / "live.safetensors"
        self.wait_until(live.exists, "the live model")

        def weight():
            with safe_open(live, "pt") as model:
                self.assertEqual(set(model.keys()), {"0.weight", "0.bias", "2.weight", "2.bias"})
                return model.get_tensor("0.weight").clone()

        first = weight()
        self.wait_until(lambda: not weight().equal(first), "a change of the parameters")
        process.send_signal(signal.SIGINT)
        self.assertEqual(process.wait(hogpen.TIMEOUT), 130)


class SmallMachines(hogpen.CommandTest):
    ONE_EPOCH = ("train", *hogpen.SMALL, "--run-dir=run", "--json")
    # LibTorch's speed is about the same with and without sanitizers: time for many checkpoints, but not for too many.
    SLOWLY = ("--engine=autograd",)

    def in_mount_namespace(self, mounts, *arguments):
        """Runs hogpen where `mounts`, a shell script, was run first; only root can."""
        if os.geteuid() != 0 or not shutil.which("unshare"):
            self.skipTest("mounting needs root and unshare")
        probe = subprocess.run(["unshare", "-m", "mount", "-t", "tmpfs", "tmpfs", self.directory], capture_output=True)
        if probe.returncode != 0:
            self.skipTest("this system allows no mount namespace")
        script = f'{mounts} && exec "$@"'
        return subprocess.run(["unshare", "-m", "sh", "-c", script, "sh", hogpen.COMMAND, *arguments], text=True,
                              cwd=self.directory, capture_output=True, env=hogpen.environment(), timeout=hogpen.TIMEOUT)

    def test_a_tiny_dev_shm_does_not_matter(self):
        result = self.in_mount_namespace("mount -t tmpfs -o size=64k tmpfs /dev/shm", *TRAIN, "--epochs=1", "--run-dir=run")
        self.assertEqual(result.returncode, 0, result.stderr)

    def test_a_full_disk_keeps_the_earlier_checkpoints_and_says_what_to_do(self):
        # The listing is the last of stderr: the file system goes with the namespace.
        script = 'mkdir small && mount -t tmpfs -o size=1200k tmpfs small; "$@"; code=$?; ls small/run/checkpoints >&2; exit $code'
        result = self.in_mount_namespace(f"{script}; true", *TRAIN, *self.SLOWLY, "--epochs=4", "--run-dir=small/run")
        self.assertEqual(result.returncode, 1, result.stderr)
        self.assertRegex(result.stderr, "no checkpoint was written: .*No space left on device; training goes on")
        self.assertIn("hint: free space", result.stderr)
        listing = result.stderr.splitlines()[-2:]
        self.assertTrue(all(re.fullmatch(r"step-\d+", name) for name in listing), listing)

    def test_a_disk_that_is_full_from_the_start_costs_the_metrics_once_and_ends_with_advice(self):
        # Two pages: one for metrics.jsonl, one for TensorBoard's events.
        result = self.in_mount_namespace("mkdir small && mount -t tmpfs -o size=8k tmpfs small", "train",
                                         "--data=synthetic:640", "--workers=2", "--epochs=500", *self.SLOWLY, "--run-dir=small/run")
        self.assertEqual(result.returncode, 1, result.stderr)
        self.assertEqual(result.stderr.count("metrics are being lost: write to "), 1, result.stderr)
        self.assertRegex(result.stderr, r"no checkpoint was written: .*training goes on \(hint: free space")
        self.assertRegex(result.stderr, r"(?m)^hogpen: error: the keeper, which evaluates and saves, failed: .*No space left")
        self.assertIn("hint: free space", result.stderr.splitlines()[-1])

    def test_a_read_only_directory_is_refused_before_training(self):
        result = self.in_mount_namespace("mkdir fixed && mount -t tmpfs -o ro tmpfs fixed", *TRAIN, "--run-dir=fixed/run")
        self.assertEqual(result.returncode, 1, result.stderr)
        self.assertIn("cannot make the run directory fixed/run: Read-only file system", result.stderr)
        self.assertIn("hint: choose another with --run-dir", result.stderr)

    def test_a_limit_on_file_size_is_named(self):
        limit = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))
        result = self.run_hogpen(*self.ONE_EPOCH, preexec_fn=limit)
        self.assertEqual(result.returncode, 1, result.stderr)
        self.assertIn("RLIMIT_FSIZE", result.stderr)
        self.assertIn("ulimit -f", result.stderr)


class DamagedData(hogpen.CommandTest):
    def damage(self, change):
        for file in DATA.iterdir():
            shutil.copy(file, self.directory)
        images = self.directory / "train-images-idx3-ubyte.gz"
        images.write_bytes(change(bytearray(images.read_bytes())))
        return self.refuse("train", f"--data={self.directory}", says="train-images-idx3-ubyte.gz: byte ").stderr

    def test_a_truncated_file_is_named_with_its_byte(self):
        self.damage(lambda content: content[: len(content) // 2])

    def test_a_flipped_bit_is_noticed(self):
        def flip(content):
            content[len(content) // 2] ^= 1
            return content
        self.damage(flip)

    def test_a_file_of_another_kind_is_refused(self):
        self.damage(lambda content: bytearray(b"no gzip at all"))


if __name__ == "__main__":
    hogpen.main()
