"""`hogpen map` on NPY and safetensors files."""
import os
import re
import shutil
import struct
import subprocess

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


if __name__ == "__main__":
    hogpen.main()
