"""`hogpen map` on NPY and safetensors files, and what becomes of files when it fails, is stopped or killed."""
import fcntl
import os
import pty
import re
import resource
import shutil
import signal
import struct
import subprocess
import termios
import time
import unittest

import numpy as np
from safetensors.numpy import load_file, save_file

import hogpen

OPS = {
    "exp": np.exp,
    "log": np.log,
    "sigmoid": lambda x: 1.0 / (1.0 + np.exp(-x)),
    "tanh": np.tanh,
    "relu": lambda x: np.maximum(x, 0.0),
    "sqrt": np.sqrt,
    "abs": np.abs,
    "negate": np.negative,
    "square": np.square,
    "scale-shift": lambda x: -2.0 * x + 0.5,
}
TOLERANCES = {"f2": 1.1e-3, "f4": 4e-7, "f8": 1e-15}
# Permissions are not for root.
NO_ROOT = {"user": 65534, "group": 65534, "extra_groups": []} if os.geteuid() == 0 else {}
HUGE = 1 << 28  # bytes of a file whose mapping takes long enough to be stopped in its middle


def arguments_of(op):
    return ("--scale", "-2", "--shift=0.5") if op == "scale-shift" else ()


class MapTest(hogpen.CommandTest):
    def run_hogpen(self, *arguments, env=None, **options):
        """With a calibration of the test's own, which is the default one."""
        return super().run_hogpen(*arguments, env={"XDG_CACHE_HOME": self.directory / "cache"} | (env or {}), **options)

    def save(self, name, array):
        np.save(self.directory / name, array)

    def load(self, name):
        return np.load(self.directory / name)

    def write(self, name, content):
        (self.directory / name).write_bytes(content if isinstance(content, bytes) else content.encode())

    def read(self, name):
        return (self.directory / name).read_bytes()

    def contents(self):
        return {path.name: path.read_bytes() for path in self.directory.iterdir() if path.is_file()}

    def map(self, *arguments, **options):
        result = self.succeed("map", *arguments, **options)
        self.assertEqual(result.stdout, "")
        self.assertEqual([name for name in self.contents() if name.endswith(".tmp")], [])
        return result.stderr

    def fail_with(self, code, *arguments, says, hint=None, **options):
        """It fails with that exit code and message, and every file in the directory is as it was."""
        before = self.contents()
        result = self.run_hogpen("map", *arguments, **options)
        self.assertEqual(result.returncode, code, result.stderr)
        self.assertEqual(result.stdout, "")
        self.assertIn(says, result.stderr)
        self.assertRegex(result.stderr, "(?m)^hogpen: error: ")
        if hint is not None:
            self.assertIn(f"hint: {hint}\n", result.stderr)
        self.assertEqual(self.contents(), before)
        return result


class Npy(MapTest):
    def test_every_op_in_every_dtype(self):
        values = np.random.default_rng(1).uniform(0.01, 4.0, 10_007)
        for dtype, tolerance in TOLERANCES.items():
            x = values.astype(dtype)
            self.save("x.npy", x)
            for op, reference in OPS.items():
                with self.subTest(dtype=dtype, op=op):
                    self.map(op, "x.npy", "y.npy", *arguments_of(op))
                    y = self.load("y.npy")
                    self.assertEqual((y.dtype, y.shape), (x.dtype, x.shape))
                    # The least difference is for scale-shift, whose result may lie near 0.
                    np.testing.assert_allclose(y.astype("f8"), reference(x.astype("f8")), tolerance, tolerance)

    def test_special_values(self):
        self.save("x.npy", np.array([np.nan, np.inf, -np.inf, 0.0, -1.0], "f4"))
        self.map("log", "x.npy", "y.npy")
        np.testing.assert_array_equal(self.load("y.npy"), np.array([np.nan, np.inf, np.nan, -np.inf, np.nan], "f4"))

    def test_shapes_and_orders(self):
        for shape in ((), (1,), (0,), (5, 0), (7, 11), (2, 3, 5)):
            for order in "CF":
                with self.subTest(shape=shape, order=order):
                    x = np.asarray(np.arange(np.prod(shape, dtype=int)).reshape(shape), "f4", order)
                    self.save("x.npy", x)
                    self.map("square", "x.npy", "y.npy")
                    y = self.load("y.npy")
                    np.testing.assert_array_equal(y, x * x)
                    self.assertEqual(y.shape, shape)
                    self.assertEqual(y.flags.f_contiguous, x.flags.f_contiguous)

    def test_every_version_and_data_at_any_byte(self):
        x = np.arange(100, dtype="f8")
        for version in ((1, 0), (2, 0), (3, 0)):
            for padding in range(8):
                text = f"{{'descr': '<f8', 'fortran_order': False, 'shape': (100,)}}{' ' * padding}\n".encode()
                length = struct.pack("<H" if version == (1, 0) else "<I", len(text))
                self.write("x.npy", b"\x93NUMPY" + bytes(version) + length + text + x.tobytes())
                self.map("square", "x.npy", "y.npy")
                np.testing.assert_array_equal(self.load("y.npy"), x * x)
                self.assertEqual(self.read("y.npy")[:-800], self.read("x.npy")[:-800])

    def test_one_column(self):
        x = np.random.default_rng(2).normal(size=(1001, 4)).astype("f4")
        for order in "CF":
            self.save("x.npy", np.asarray(x, order=order))
            for column in (0, 2, 3, -1, -4):
                with self.subTest(order=order, column=column):
                    self.map("negate", "x.npy", "y.npy", "--column", column)
                    expected = x.copy()
                    expected[:, column] *= -1
                    np.testing.assert_array_equal(self.load("y.npy"), expected)

    def test_columns_that_are_not_there(self):
        self.save("x.npy", np.zeros((3, 4), "f4"))
        for column in (4, -5):
            self.fail_with(2, "exp", "x.npy", "y.npy", f"--column={column}",
                           says=f"x.npy has no column {column}: it has 4 columns")
        self.fail_with(2, "exp", "x.npy", "y.npy", "--column=price", says="x.npy has no column 'price'")
        self.save("x.npy", np.zeros(3, "f4"))
        self.fail_with(2, "exp", "x.npy", "y.npy", "--column=0",
                       says="--column needs an array of 2 dimensions, but x.npy has 1")

    def test_arrays_larger_than_a_piece(self):
        for shape in ((9_000_001,), (3_000_001, 3)):
            x = np.arange(np.prod(shape), dtype="f4").reshape(shape)
            self.save("x.npy", x)
            self.map("negate", "x.npy", "y.npy", *(("--column=1",) if len(shape) == 2 else ()))
            if len(shape) == 2:
                x[:, 1] *= -1
                np.testing.assert_array_equal(self.load("y.npy"), x)
            else:
                np.testing.assert_array_equal(self.load("y.npy"), -x)

    def test_dtypes_that_are_refused_by_name_with_a_remedy(self):
        arrays = {"<i8": np.zeros(3, "i8"), "|b1": np.zeros(3, bool), "|u1": np.zeros(3, "u1")}
        for descr, array in arrays.items():
            self.save("x.npy", array)
            self.fail_with(2, "exp", "x.npy", "y.npy", hint='convert it with NumPy: x.astype("float32")',
                           says=f"x.npy has dtype '{descr}', and map is for float16, float32 and float64")
        for descr in (">f4", "<c8", "<U3", "<f16", "<M8[s]"):
            self.save("x.npy", np.zeros(3, descr))
            self.fail_with(2, "exp", "x.npy", "y.npy", says=f"'{descr}' cannot be read",
                           hint='convert it with NumPy: x.astype("float32")')
        np.save(self.directory / "x.npy", np.array([{}], object), allow_pickle=True)
        self.fail_with(2, "exp", "x.npy", "y.npy", says="'|O' cannot be read")
        self.save("x.npy", np.zeros(3, [("a", "f4")]))
        self.fail_with(2, "exp", "x.npy", "y.npy", says="a structured dtype cannot be read",
                       hint='store one field: x["NAME"]')

    def test_a_file_that_is_cut_off(self):
        self.save("y.npy", np.ones(1))
        self.save("x.npy", np.zeros((3, 4), "f4"))
        whole = self.read("x.npy")
        for size in (0, 3, 9, 50, 127, len(whole) - 1):
            self.write("x.npy", whole[:size])
            self.fail_with(2, "exp", "x.npy", "y.npy", says="x.npy: byte ")
        self.write("x.npy", whole + b"more")
        self.fail_with(2, "exp", "x.npy", "y.npy", hint="more was written behind the array: store one array a file",
                       says="must have 48 bytes of data, but the file has 52")
        self.write("x.npy", whole[:-1])
        self.fail_with(2, "exp", "x.npy", "y.npy", hint="the file is cut off, or was not written as a whole",
                       says="x.npy: byte 128: '<f4' of shape (3, 4) must have 48 bytes of data, but the file has 47")

    def test_a_shape_that_lies_costs_no_memory(self):
        text = b"{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000000000,)}"
        self.write("x.npy", b"\x93NUMPY\1\0" + struct.pack("<H", len(text)) + text + bytes(16))
        self.fail_with(2, "exp", "x.npy", "y.npy", says="must have 4000000000000000 bytes of data, but the file has 16")


class Safetensors(MapTest):
    def tensors(self):
        numbers = np.random.default_rng(3).uniform(0.5, 2.0, (7, 3))
        return {"half": numbers.astype("f2"), "single": numbers.astype("f4"), "double": numbers.astype("f8"),
                "u2": np.arange(5, dtype="u2"), "u4": np.arange(5, dtype="u4"), "u8": np.arange(5, dtype="u8"),
                "count": np.arange(5), "empty": np.zeros((0, 3), "f4"), "one": np.array(2.0, "f4")}

    def setUp(self):
        super().setUp()
        save_file(self.tensors(), self.directory / "x.safetensors", {"made": "here"})

    def check(self, changed):
        result = load_file(self.directory / "y.safetensors")
        self.assertEqual(result.keys(), self.tensors().keys())
        for name, x in self.tensors().items():
            expected = np.square(x) if name in changed else x
            self.assertEqual((result[name].dtype, result[name].shape), (x.dtype, x.shape))
            np.testing.assert_array_equal(result[name], expected)

    def test_all_floating_tensors(self):
        stderr = self.map("square", "x.safetensors", "y.safetensors")
        self.assertIn("4 tensors of other dtypes stay as they are\n", stderr)
        self.check({"half", "single", "double", "one"})
        size = struct.unpack("<Q", self.read("x.safetensors")[:8])[0] + 8
        self.assertEqual(self.read("y.safetensors")[:size], self.read("x.safetensors")[:size])

    def test_chosen_tensors(self):
        self.map("square", "x.safetensors", "y.safetensors", "--tensor", "single", "--tensor=double")
        self.check({"single", "double"})

    def test_bfloat16(self):
        header = b'{"a":{"dtype":"BF16","shape":[3],"data_offsets":[0,6]}}'
        begin = struct.pack("<Q", len(header)) + header
        bfloat16 = lambda *values: b"".join(struct.pack("<f", value)[2:] for value in values)
        self.write("x.safetensors", begin + bfloat16(1.5, -2.0, 3.0))
        self.map("square", "x.safetensors", "y.safetensors")
        self.assertEqual(self.read("y.safetensors"), begin + bfloat16(2.25, 4.0, 9.0))

    def test_one_column_of_a_tensor(self):
        self.map("negate", "x.safetensors", "y.safetensors", "--tensor=single", "--column=-1")
        expected = self.tensors()["single"]
        expected[:, 2] *= -1
        np.testing.assert_array_equal(load_file(self.directory / "y.safetensors")["single"], expected)
        self.fail_with(2, "exp", "x.safetensors", "y.safetensors", "--tensor=one", "--column=0",
                       hint="choose tensors that have 2: --tensor",
                       says="--column needs an array of 2 dimensions, but tensor 'one' has 0")

    def test_tensors_that_are_not_there_or_no_floats(self):
        self.fail_with(2, "exp", "x.safetensors", "y.safetensors", "--tensor=singel",
                       says="x.safetensors has no tensor 'singel'", hint="did you mean 'single'?")
        self.fail_with(2, "exp", "x.safetensors", "y.safetensors", "--tensor=weights", says="has no tensor 'weights'")
        self.fail_with(2, "exp", "x.safetensors", "y.safetensors", "--tensor=count",
                       says="tensor 'count' of x.safetensors has dtype Long", hint="convert it with PyTorch: x.float()")
        save_file({"count": np.arange(5)}, self.directory / "x.safetensors")
        self.fail_with(2, "exp", "x.safetensors", "y.safetensors", says="x.safetensors has no tensor of dtype float16")

    def test_a_file_that_is_cut_off(self):
        self.write("x.safetensors", self.read("x.safetensors")[:-1])
        self.fail_with(2, "exp", "x.safetensors", "y.safetensors", says="x.safetensors: byte ")


class Usage(MapTest):
    def setUp(self):
        super().setUp()
        self.save("x.npy", np.arange(4, dtype="f4"))

    def test_the_help_teaches(self):
        text = self.succeed("map", "--help").stdout
        for piece in ("hogpen map exp x.npy y.npy", "--column", "--in-place", "Exit codes:", "4 no such device"):
            self.assertIn(piece, text)

    def test_every_example_of_the_help_works(self):
        self.write("prices.csv", "name,price\na,1\n")
        save_file({name: np.ones(3, "f4") for name in ("0.weight", "2.weight")}, self.directory / "weights.safetensors")
        text = self.succeed("map", "--help").stdout
        examples = re.findall(r"(?m)^  hogpen (map .*?)(?:   .*)?$", text)
        self.assertGreater(len(examples), 6)
        for example in examples:
            with self.subTest(example):
                self.succeed(*example.split())

    def test_behind_two_dashes_nothing_is_an_option(self):
        for name in ("-x.npy", "--x_y.npy"):
            self.save(name, np.arange(4, dtype="f4"))
            self.map("square", "--", name, "y.npy")
            np.testing.assert_array_equal(self.load("y.npy"), np.arange(4) ** 2)

    def test_an_option_is_no_value(self):
        self.fail_with(2, "exp", "x.npy", "y.npy", "--column", "--quiet", says="needs a value, but '--quiet' follows")
        self.fail_with(2, "exp", "x.npy", "y.npy", "--tensor", "--quiet", says="needs a value, but '--quiet' follows")

    def test_numbers_of_scale_shift(self):
        self.map("scale-shift", "x.npy", "y.npy", "--scale", "+2")
        np.testing.assert_array_equal(self.load("y.npy"), np.arange(4) * 2)
        for text in ("inf", "-inf", "nan"):
            self.fail_with(2, "scale-shift", "x.npy", "y.npy", f"--scale={text}", says=f"must be finite, but is {text}")

    def test_a_mistyped_op(self):
        self.fail_with(2, "sigmoidd", "x.npy", "y.npy", says="did you mean 'sigmoid'?")

    def test_scale_and_shift_are_for_scale_shift(self):
        self.fail_with(2, "exp", "x.npy", "y.npy", "--scale=2", says="--scale and --shift are for scale-shift, not for exp")
        self.fail_with(2, "scale-shift", "x.npy", "y.npy", says="scale-shift needs --scale, --shift, or both")
        self.map("scale-shift", "x.npy", "y.npy", "--shift", "-1")
        np.testing.assert_array_equal(self.load("y.npy"), np.arange(4) - 1)

    def test_out_or_in_place(self):
        self.fail_with(2, "exp", "x.npy", says="OUT is missing")
        self.fail_with(2, "exp", says="IN is missing")
        self.fail_with(2, says="OP is missing")
        self.fail_with(2, "exp", "x.npy", "", says="OUT must not be empty")
        self.fail_with(2, "exp", "x.npy", "y.npy", "--in-place", says="OUT and --in-place exclude each other")

    def test_options_of_other_formats(self):
        self.fail_with(2, "exp", "x.npy", "y.npy", "--no-header", says="--no-header is for csv files, but x.npy is npy")
        self.fail_with(2, "exp", "x.npy", "y.npy", "--tensor=a", says="--tensor is for safetensors files")

    def test_formats_by_name_and_by_option(self):
        self.fail_with(2, "exp", "x.npy", "y.csv", says="x.npy is npy, but y.csv ends in .csv: map does not convert")
        shutil.copy(self.directory / "x.npy", self.directory / "x.data")
        self.fail_with(2, "exp", "x.data", "y.data", says="x.data ends in none of .npy, .csv, .safetensors",
                       hint="say --format")
        self.map("square", "x.data", "y.data", "--format=npy")
        np.testing.assert_array_equal(self.load("y.data"), np.arange(4) ** 2)
        self.write("x.csv", "a\n")
        self.fail_with(2, "exp", "x.csv", "--in-place", "--format=npy", says="x.csv: byte 0: an NPY file begins")
        self.fail_with(2, "exp", "x.data", "y.data", "--format=csv", says="x.data: byte 0: this is no CSV, which is text",
                       hint="it is an NPY file: --format npy")

    def test_inputs_that_cannot_be_mapped(self):
        self.fail_with(2, "exp", "missing.npy", "y.npy", says="there is no file missing.npy")
        (self.directory / "directory.npy").mkdir()
        self.fail_with(2, "exp", "directory.npy", "y.npy", says="IN must be a regular file, which can be mapped into memory, but directory.npy is a directory")
        self.fail_with(2, "exp", "-", "y.npy", says="there is no file -",
                       hint="standard input cannot be mapped: store it in a file first")
        self.directory.chmod(0o777)
        (self.directory / "x.npy").chmod(0o200)
        result = self.run_hogpen("map", "exp", "x.npy", "y.npy", **NO_ROOT)
        self.assertEqual(result.returncode, 1, result.stderr)
        self.assertIn("read x.npy: Permission denied\nhint: choose a file that this user may read\n", result.stderr)
        os.mkfifo(self.directory / "fifo.npy")
        self.fail_with(2, "exp", "fifo.npy", "y.npy", says="but fifo.npy is a pipe or a device")

    def test_outputs_that_are_no_regular_files(self):
        (self.directory / "directory.npy").mkdir()
        self.fail_with(2, "exp", "x.npy", "directory.npy", says="directory.npy is a directory")
        os.mkfifo(self.directory / "fifo.npy")
        self.fail_with(2, "exp", "x.npy", "fifo.npy", says="fifo.npy is no regular file")
        self.fail_with(2, "exp", "x.npy", "/dev/stdout", says="/dev/stdout is no regular file")
        self.fail_with(1, "exp", "x.npy", "missing/y.npy", says="No such file or directory", hint="make the directory first")

    def test_a_standard_stream_is_not_replaced(self):
        for stream in ("stdout", "stderr"):
            with self.subTest(stream), open(self.directory / "log", "a+") as log:
                log.write("earlier\n")
                log.flush()
                options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "capture_output": False} | {stream: log}
                for out in (f"/dev/{stream}", "log"):
                    result = self.run_hogpen("map", "exp", "x.npy", out, **options)
                    self.assertEqual(result.returncode, 2)
                log.seek(0)
                text = log.read() + (result.stderr or "")
                self.assertTrue(text.startswith("earlier\n"))
                self.assertIn("log is where a standard stream of this command leads", text)

    def test_places_give_the_same_numbers(self):
        x = np.random.default_rng(4).normal(size=1_000_003).astype("f4")
        self.save("x.npy", x)
        self.map("exp", "x.npy", "y.npy")
        for arguments in (("--place=caller",), ("--place=threads", "--threads=3"), ("--threads=1",)):
            self.map("exp", "x.npy", "z.npy", *arguments)
            self.assertEqual(self.read("z.npy"), self.read("y.npy"), arguments)

    def test_verbose_says_who_does_it_and_why(self):
        self.save("x.npy", np.zeros(1_000_000, "f4"))
        self.assertRegex(self.map("exp", "x.npy", "y.npy", "-v", "--threads=2"), r"(?m)^exp in pieces of 1,000,000 float32: 2 threads: 1000000 elements.+$")

    def test_the_last_line_tells_and_quiet_does_not(self):
        self.assertRegex(self.map("exp", "x.npy", "y.npy"),
                         r"\Aexp of 4 elements in \d+\.\d\d s(: [\d.]+ [kMG]?B/s)?, written to y.npy\n\Z")
        self.assertEqual(self.map("exp", "x.npy", "y.npy", "--quiet"), "")

    def test_without_a_gpu_a_gpu_has_its_own_exit_code(self):
        self.fail_with(4, "exp", "x.npy", "y.npy", "--place=gpu", says="GPU", env={"CUDA_VISIBLE_DEVICES": ""})

    def test_a_calibration_is_measured_once_and_used(self):
        stderr = self.map("exp", "x.npy", "y.npy", "--calibrate")
        path = self.directory / "cache/hogpen/calibration.json"
        self.assertIn(f"wrote {path}\n", stderr)
        measured = path.read_bytes()
        self.assertNotIn("measured", self.map("exp", "x.npy", "y.npy"))
        self.assertEqual(path.read_bytes(), measured)
        path.unlink()
        self.map("--calibrate")
        self.assertTrue(path.exists())

    def test_a_broken_calibration_is_an_error_with_a_hint(self):
        path = self.directory / "cache/hogpen/calibration.json"
        path.parent.mkdir(parents=True)
        path.write_text("{")
        result = self.fail_with(2, "exp", "x.npy", "y.npy", says="calibration.json")
        self.assertIn("--calibrate", result.stderr)

    def test_a_calibration_that_this_user_may_not_read_is_as_none(self):
        path = self.directory / "cache/hogpen/calibration.json"
        path.parent.mkdir(parents=True)
        path.write_text("{")
        self.directory.chmod(0o777)
        for hidden in (path, path.parent):
            hidden.chmod(0)
            self.map("exp", "x.npy", "y.npy", **NO_ROOT)
            hidden.chmod(0o700)

    def test_without_a_home_there_are_the_defaults(self):
        environment = {name: value for name, value in hogpen.environment().items()
                       if name not in ("HOME", "XDG_CACHE_HOME")}
        subprocess.run([hogpen.COMMAND, "map", "exp", "x.npy", "y.npy"], cwd=self.directory, env=environment, check=True,
                       capture_output=True)


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
