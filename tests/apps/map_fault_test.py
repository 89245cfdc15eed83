"""What becomes of files when `hogpen map` replaces them, fails, is stopped or killed."""
import fcntl
import os
import pty
import resource
import shutil
import signal
import struct
import subprocess
import termios
import time
import unittest

import numpy as np

import hogpen
from map_test import NO_ROOT, MapTest

HUGE = 1 << 28  # bytes of a file whose mapping takes long enough to be stopped in its middle


class Replacing(MapTest):
    def setUp(self):
        super().setUp()
        self.save("x.npy", np.arange(4, dtype="f4"))
        self.squares = np.arange(4) ** 2

    def test_in_place(self):
        self.map("square", "x.npy", "--in-place")
        np.testing.assert_array_equal(self.load("x.npy"), self.squares)

    def test_out_may_be_in(self):
        self.map("square", "x.npy", "x.npy")
        np.testing.assert_array_equal(self.load("x.npy"), self.squares)

    def test_modes_are_kept(self):
        os.chmod(self.directory / "x.npy", 0o640)
        self.map("square", "x.npy", "y.npy")
        self.assertEqual((self.directory / "y.npy").stat().st_mode & 0o777, 0o640)
        os.chmod(self.directory / "y.npy", 0o604)
        self.map("square", "x.npy", "y.npy")
        self.assertEqual((self.directory / "y.npy").stat().st_mode & 0o777, 0o604)

    @unittest.skipIf(os.geteuid() != 0, "only root has groups to try")
    def test_the_group_is_kept_or_loses_its_permissions(self):
        os.chmod(self.directory, 0o777)
        os.chmod(self.directory / "x.npy", 0o644)
        for groups, expected in (([4321], (4321, 0o664)), ([], (65534, 0o604))):
            self.write("y.npy", b"old")
            os.chown(self.directory / "y.npy", 65534, 4321)
            os.chmod(self.directory / "y.npy", 0o664)
            self.map("square", "x.npy", "y.npy", **(NO_ROOT | {"extra_groups": groups}))
            status = (self.directory / "y.npy").stat()
            self.assertEqual((status.st_gid, status.st_mode & 0o777), expected)

    def test_a_hard_link_keeps_the_old_content(self):
        os.link(self.directory / "x.npy", self.directory / "link.npy")
        self.map("square", "x.npy", "--in-place")
        np.testing.assert_array_equal(self.load("link.npy"), np.arange(4))
        np.testing.assert_array_equal(self.load("x.npy"), self.squares)

    def test_a_link_stays_one(self):
        os.symlink("x.npy", self.directory / "link.npy")
        self.map("square", "link.npy", "--in-place")
        self.assertTrue((self.directory / "link.npy").is_symlink())
        np.testing.assert_array_equal(self.load("x.npy"), self.squares)

    def test_a_mapping_of_the_old_file_stays_valid(self):
        old = np.load(self.directory / "x.npy", mmap_mode="r")
        self.map("square", "x.npy", "-i")
        np.testing.assert_array_equal(old, np.arange(4))


class Faults(MapTest):
    """The input and an old output are untouched, whatever happens."""
    COLUMN = {"npy": (), "csv": ("--column=a",)}

    def setUp(self):
        super().setUp()
        self.save("x.npy", np.ones(1 << 18, "f4"))
        self.write("y.npy", b"old")

    def test_a_limit_on_file_size(self):
        limit = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
        self.fail_with(1, "exp", "x.npy", "y.npy", says="RLIMIT_FSIZE", hint="raise it with `ulimit -f`", preexec_fn=limit)

    def in_mount_namespace(self, mounts, *arguments):
        """Runs hogpen where `mounts`, a shell script, was run first, and lists the directory `disk`; only root can."""
        if os.geteuid() != 0 or not shutil.which("unshare"):
            self.skipTest("mounting needs root and unshare")
        (self.directory / "disk").mkdir()
        probe = subprocess.run(["unshare", "-m", "mount", "-t", "tmpfs", "tmpfs", "disk"], cwd=self.directory,
                               capture_output=True)
        if probe.returncode != 0:
            self.skipTest("this system allows no mount namespace")
        script = f'{mounts} || exit 99; "$@"; code=$?; ls disk; cat disk/y.*; exit $code'
        return subprocess.run(["unshare", "-m", "sh", "-c", script, "sh", hogpen.COMMAND, "map", *arguments], text=True,
                              cwd=self.directory, capture_output=True, timeout=hogpen.TIMEOUT,
                              env=hogpen.environment(XDG_CACHE_HOME=self.directory / "cache"))

    def test_a_full_disk(self):
        self.write("x.csv", "a\n" + "1.25\n" * 200_000)
        for name in ("y.npy", "y.csv"):
            with self.subTest(name):
                shutil.rmtree(self.directory / "disk", ignore_errors=True)
                result = self.in_mount_namespace(
                    f"mount -t tmpfs -o size=500k tmpfs disk && printf old > disk/{name}", "exp",
                    f"x{name[1:]}", f"disk/{name}")
                self.assertEqual((result.returncode, result.stdout), (1, f"{name}\nold"), result.stderr)
                self.assertIn("No space left on device", result.stderr)
                self.assertIn("hint: free space", result.stderr)

    def test_a_read_only_disk(self):
        mounts = "mount -t tmpfs tmpfs disk && printf old > disk/y.npy && mount -o remount,ro disk"
        result = self.in_mount_namespace(mounts, "exp", "x.npy", "disk/y.npy")
        self.assertEqual((result.returncode, result.stdout), (1, "y.npy\nold"), result.stderr)
        self.assertIn("Read-only file system", result.stderr)
        self.assertIn("hint: choose a place where this user may write", result.stderr)

    def test_a_directory_and_a_file_that_this_user_may_not_write(self):
        os.chmod(self.directory, 0o755)
        self.fail_with(1, "exp", "x.npy", "z.npy", says="Permission denied",
                       hint="choose a place where this user may write", **NO_ROOT)
        os.chmod(self.directory, 0o777)
        os.chmod(self.directory / "y.npy", 0o444)
        self.fail_with(1, "exp", "x.npy", "y.npy", says="write y.npy: Permission denied", **NO_ROOT)

    def test_a_directory_that_cannot_be_synced_is_told_before_anything_is_replaced(self):
        (self.directory / "drop").mkdir()
        self.write("drop/y.npy", b"old")
        os.chmod(self.directory / "drop/y.npy", 0o666)
        os.chmod(self.directory / "drop", 0o333)
        os.chmod(self.directory, 0o755)
        self.fail_with(1, "exp", "x.npy", "drop/y.npy", says="drop: Permission denied", **NO_ROOT)
        os.chmod(self.directory / "drop", 0o777)
        self.assertEqual(os.listdir(self.directory / "drop"), ["y.npy"])
        self.assertEqual(self.read("drop/y.npy"), b"old")

    @unittest.skipIf(os.environ.get("HOGPEN_TEST_SANITIZER"), "a sanitizer wants to be loaded first")
    def test_a_signal_during_the_sync_counts(self):
        library = os.environ.get("HOGPEN_TEST_INTERRUPTED_SYNC")
        if not library:
            self.skipTest("HOGPEN_TEST_INTERRUPTED_SYNC is not set")
        before = self.contents()
        result = self.run_hogpen("map", "exp", "x.npy", "y.npy", env={"LD_PRELOAD": library})
        self.assertEqual(result.returncode, 143, result.stderr)
        self.assertEqual(self.contents(), before)

    def start_in_its_middle(self, *arguments):
        """Starts it on a huge file and freezes it while the temporary file is there."""
        process = self.start_hogpen("map", *arguments, env={"XDG_CACHE_HOME": self.directory / "cache"})
        end = time.monotonic() + hogpen.TIMEOUT / 2
        while not [name for name in os.listdir(self.directory) if name.endswith(".tmp")]:
            self.assertIsNone(process.poll(), "it ended before it was seen")
            self.assertLess(time.monotonic(), end)
        process.send_signal(signal.SIGSTOP)
        return process

    def make_huge(self, name):
        if name.endswith(".csv"):
            with open(self.directory / name, "wb") as file:
                file.write(b"a,b\n")
                for _ in range(100):
                    file.write(b"0.1234567890123,some text\n" * 40_000)
        else:
            np.lib.format.open_memmap(self.directory / name, "w+", "f8", (HUGE // 8,))

    def test_signals_leave_nothing_behind(self):
        for name in ("npy", "csv"):
            self.make_huge(f"huge.{name}")
            self.write(f"old.{name}", b"old")
            files = set(os.listdir(self.directory))
            for number, code in ((signal.SIGINT, 130), (signal.SIGTERM, 143)):
                with self.subTest(name=name, number=number):
                    process = self.start_in_its_middle("tanh", f"huge.{name}", f"old.{name}", *self.COLUMN[name])
                    process.send_signal(number)
                    process.send_signal(signal.SIGCONT)
                    _, stderr = process.communicate(timeout=hogpen.TIMEOUT)
                    self.assertEqual(process.returncode, code, stderr)
                    self.assertIn(f"stopped by {number.name}: old.{name} is as it was\n", stderr)
                    self.assertEqual(self.read(f"old.{name}"), b"old")
                    self.assertEqual(set(os.listdir(self.directory)), files)

    def end_in_its_middle(self, act, *arguments):
        """What becomes of it when `act(process)` comes while it stands still; it leaves all as it was."""
        self.make_huge("huge.npy")
        files = set(os.listdir(self.directory))
        process = self.start_in_its_middle("tanh", "huge.npy", *(arguments or ("y.npy",)))
        act(process)
        process.send_signal(signal.SIGCONT)
        _, stderr = process.communicate(timeout=hogpen.TIMEOUT)
        self.assertEqual(self.read("y.npy"), b"old")
        self.assertEqual(set(os.listdir(self.directory)), files)
        return process.returncode, stderr

    def test_a_terminal_that_closes_leaves_nothing_behind(self):
        for number in (signal.SIGHUP, signal.SIGQUIT):
            with self.subTest(number):
                self.addCleanup(signal.signal, number, signal.signal(number, signal.SIG_DFL))  # A shell may ignore it.
                code, _ = self.end_in_its_middle(lambda process: process.send_signal(number))
                self.assertEqual(code, -number)

    def test_a_file_that_was_not_there_is_not_as_it_was(self):
        _, stderr = self.end_in_its_middle(lambda process: process.send_signal(signal.SIGTERM), "new.npy")
        self.assertIn("stopped by SIGTERM: new.npy was not written\n", stderr)

    def test_nohup_is_heeded(self):
        self.make_huge("huge.npy")
        before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
        self.addCleanup(signal.signal, signal.SIGHUP, before)
        process = self.start_in_its_middle("tanh", "huge.npy", "y.npy")
        process.send_signal(signal.SIGHUP)
        process.send_signal(signal.SIGCONT)
        self.assertEqual(process.wait(hogpen.TIMEOUT), 0)

    def test_an_input_that_is_shortened_meanwhile(self):
        code, stderr = self.end_in_its_middle(lambda process: os.truncate(self.directory / "huge.npy", 4096),
                                              "y.npy", "--place=threads", "--threads=4")
        self.assertEqual(code, 1, stderr)
        self.assertIn("hogpen: error: huge.npy was shortened, or its disk failed, while it was read\nhint: ", stderr)

    def test_an_input_that_is_changed_meanwhile(self):
        def write(process):
            with open(self.directory / "huge.npy", "r+b") as file:
                file.seek(HUGE)
                file.write(bytes(8))

        def replace(process):
            self.save("other.npy", np.ones(3))
            os.replace(self.directory / "other.npy", self.directory / "huge.npy")

        for change in (write, replace):
            with self.subTest(change.__name__):
                code, stderr = self.end_in_its_middle(change)
                self.assertEqual(code, 1, stderr)
                self.assertIn("hogpen: error: huge.npy was changed meanwhile\n", stderr)

    def test_two_maps_to_one_file(self):
        self.make_huge("huge.npy")
        first = self.start_in_its_middle("square", "huge.npy", "y.npy")
        self.succeed("map", "square", "x.npy", "y.npy")
        self.assertEqual(self.read("y.npy"), self.read("x.npy"))
        first.send_signal(signal.SIGCONT)
        self.assertEqual(first.wait(hogpen.TIMEOUT), 0)
        self.assertTrue(self.read("y.npy") == self.read("huge.npy"), "it is not the last one's")

    def test_a_kill_leaves_a_temporary_and_the_next_run_works(self):
        for name in ("npy", "csv"):
            with self.subTest(name):
                self.make_huge(f"huge.{name}")
                size = (self.directory / f"huge.{name}").stat().st_size
                process = self.start_in_its_middle("tanh", f"huge.{name}", "--in-place", *self.COLUMN[name])
                process.kill()
                process.wait()
                self.assertEqual((self.directory / f"huge.{name}").stat().st_size, size)
                (left,) = self.directory.glob(f"huge.{name}.*.tmp")
                left.unlink()
                self.map("relu", f"huge.{name}", f"after.{name}", *self.COLUMN[name])
                self.assertTrue(self.read(f"after.{name}") == self.read(f"huge.{name}"), "relu has changed it")

    def test_a_terminal_sees_how_it_goes(self):
        self.make_huge("huge.csv")
        ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
        process = self.start_hogpen("map", "exp", "huge.csv", "y.csv", "--column=a", stderr=theirs,
                                    env={"TERM": "xterm", "XDG_CACHE_HOME": self.directory / "cache"})
        os.close(theirs)
        while not list(self.directory.glob("y.csv.*.tmp")):
            self.assertIsNone(process.poll(), "it ended before it was seen")
        process.send_signal(signal.SIGSTOP)
        time.sleep(1.1)  # Work shorter than a second shows nothing.
        process.send_signal(signal.SIGCONT)
        text = b""
        try:
            while part := os.read(ours, 65536):
                text += part
        except OSError:  # How a terminal tells that its other end is closed.
            pass
        os.close(ours)
        self.assertEqual(process.wait(), 0, text)
        self.assertRegex(text.decode(), r"\r\x1b\[K\x1b\[1mexp\x1b\[0m  +\d+ %  [\d.]+ [kMG]B/s  ETA \d+:\d\d\r")
        self.assertRegex(text.decode(), r"exp of 4,000,000 elements in [\d.]+ s: .*B/s, written to y.csv\r\n\Z")


if __name__ == "__main__":
    hogpen.main()
