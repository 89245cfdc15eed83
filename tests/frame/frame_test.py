"""What Frame makes of files, against pandas and polars: frame_probe does it, and writes Parquet."""
import csv
import gzip
import math
import os
import random
import resource
import subprocess
import tempfile
import unittest
from pathlib import Path

import pandas
import polars
import pyarrow
import pyarrow.feather
import pyarrow.parquet

PROBE = os.environ["HOGPEN_TEST_FRAME_PROBE"]
AGGREGATES = ("sum", "mean", "min", "max", "count", "std")


class FrameTest(unittest.TestCase):
    def setUp(self):
        directory = tempfile.TemporaryDirectory(prefix="hogpen-frame-")
        self.addCleanup(directory.cleanup)
        self.directory = Path(directory.name)
        self.random = random.Random(7)

    def file(self, text, name="in.csv"):
        path = self.directory / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    def table(self, columns, rows, name="in.csv"):
        path = self.directory / name
        with open(path, "w", newline="") as out:
            writer = csv.writer(out)
            writer.writerow(columns)
            writer.writerows(rows)
        return path

    def probe(self, *words, **options):
        return subprocess.run([PROBE, *map(str, words)], capture_output=True, text=True, timeout=120, **options)

    def compute(self, *words):
        """The resulting table."""
        out = self.directory / "out.parquet"
        result = self.probe(*words, "write", out)
        self.assertEqual(result.returncode, 0, result.stderr)
        return pyarrow.parquet.read_table(out)

    def refuse(self, *words, says):
        out = self.directory / "out.parquet"
        out.unlink(missing_ok=True)
        result = self.probe(*words, "write", out)
        self.assertEqual(result.returncode, 2, result.stderr)
        for text in [says] if isinstance(says, str) else says:
            self.assertIn(text, result.stderr)
        self.assertEqual([p for p in self.directory.iterdir() if "out" in p.name], [])

    def assert_same(self, found, expected, digits=None):
        """Two tables, the expected one as lists by column; numbers to so many digits, if not exactly."""
        self.assertEqual(found.column_names, list(expected))
        for name, values in expected.items():
            self.assertEqual(len(found[name]), len(values), name)
            for row, (a, b) in enumerate(zip(found[name].to_pylist(), values)):
                if isinstance(b, float) and digits is not None and a is not None and math.isfinite(b):
                    self.assertAlmostEqual(a, b, delta=10.0 ** -digits * max(1.0, abs(b)), msg=f"{name}, row {row}")
                elif isinstance(b, float) and math.isnan(b):
                    self.assertTrue(a is None or math.isnan(a), f"{name}, row {row}: {a}")
                else:
                    self.assertEqual(a, b, f"{name}, row {row}")


def lists_of(frame):
    """pandas' missing values become None, or NaN where they stand among floats."""
    return {name: [None if value is pandas.NA else value for value in frame[name].tolist()] for name in frame.columns}


class ReadCsv(FrameTest):
    def assert_read(self, text, expected, *words):
        for chunk_rows in (1, 1000):
            found = self.compute("chunk-rows", chunk_rows, *words, "read", self.file(text))
            self.assertEqual(found.to_pydict(), expected, f"chunks of {chunk_rows} rows")

    def test_quotes_newlines_and_ends_of_lines(self):
        expected = {"a": ["x,y", 'say "hi"', "two\nlines", "ü"], "b": [1, 2, 3, 4]}
        text = 'a,b\n"x,y",1\n"say ""hi""",2\n"two\nlines",3\nü,4\n'
        self.assert_read(text, expected)
        self.assert_read(text.rstrip("\n"), expected)
        self.assert_read("\ufeff" + text, expected)
        self.assert_read(text + "\n\n", expected)
        crlf = {"a": ["x,y", 'say "hi"', "two\r\nlines", "ü"], "b": [1, 2, 3, 4]}
        self.assert_read(text.replace("\n", "\r\n"), crlf)

    def test_an_empty_field_is_missing_and_a_quoted_one_is_text(self):
        self.assert_read('a,b,c\n1,,x\n,2.5,""\n', {"a": [1, None], "b": [None, 2.5], "c": ["x", ""]})
        self.assert_read("a,b\n,1\n,2\n", {"a": [None, None], "b": [1, 2]})

    def test_large_integers_keep_each_digit(self):
        numbers = [2**53 + 1, -(2**63), 2**63 - 1]
        self.assert_read("a\n" + "".join(f"{n}\n" for n in numbers), {"a": numbers})
        numbers = [0, 2**63, 2**63 + 1, 2**64 - 1]
        path = self.file("a\n" + "".join(f"{n}\n" for n in numbers))
        self.assert_same(self.compute("read", path, "groupby", "a", "a:count"), {"a": numbers, "a_count": [1] * 4})

    def test_nan_and_infinity_are_numbers(self):
        found = self.compute("read", self.file("a\n1.5\nnan\ninf\n-inf\n"))["a"].to_pylist()
        self.assertEqual([found[0], found[2], found[3]], [1.5, math.inf, -math.inf])
        self.assertTrue(math.isnan(found[1]))

    def test_types_are_inferred_as_by_polars(self):
        text = "i,f,s,b,d,t\n1,1.5,x,true,2024-02-29,2024-02-29 12:00:00\n-2,1e3,y,false,1969-12-31,1970-01-01 00:00:01\n"
        found = self.compute("read", self.file(text))
        self.assertEqual([str(t) for t in found.schema.types[:5]], ["int64", "double", "string", "bool", "date32[day]"])
        expected = polars.read_csv(text.encode(), try_parse_dates=True).to_dict(as_series=False)
        self.assertEqual(found.to_pydict(), expected)

    def test_random_tables_are_those_of_pandas(self):
        for seed in range(5):
            rng = random.Random(seed)
            texts = ["", "plain", "a,b", 'q"q', "line\nbreak", " space ", "日本"]
            rows = [[rng.choice(["", rng.randrange(-10**15, 10**15)]), rng.choice(["", rng.random() * 10**rng.randrange(9)]),
                     rng.choice(texts)] for _ in range(500)]
            path = self.table(["i", "f", "s"], rows)
            expected = pandas.read_csv(path, keep_default_na=False, na_values=[""], dtype={"i": "Int64"})
            found = self.compute("chunk-rows", 37, "read", path)
            self.assertEqual(found["i"].to_pylist(), lists_of(expected)["i"])
            self.assertEqual(found["f"].to_pylist(), [None if math.isnan(v) else v for v in expected["f"]])
            self.assertEqual(found["s"].to_pylist(), [None if pandas.isna(v) else v for v in expected["s"]])

    def test_several_files_are_one_table_in_the_order_of_their_names(self):
        for day in (2, 1, 10):
            self.file(f"a\n{day}\n", f"day-{day:02}.csv")
        self.assertEqual(self.compute("read", self.directory / "day-*.csv").to_pydict(), {"a": [1, 2, 10]})
        self.file("b\n1\n", "day-03.csv")
        self.refuse("read", self.directory / "day-*.csv", says="day-03.csv")

    def test_compressed(self):
        text = "a,b\n" + "".join(f"{i},{'x' * (i % 7)}\n" for i in range(20_000))
        whole = gzip.compress(text.encode())
        expected = self.compute("chunk-rows", 999, "read", self.file(text))
        self.assertEqual(self.compute("chunk-rows", 999, "read", self.file(whole, "in.csv.gz")), expected)
        parts = gzip.compress(text[:1000].encode()) + gzip.compress(text[1000:].encode())
        self.assertEqual(self.compute("read", self.file(parts, "in.csv.gz")), expected)
        broken = bytearray(whole)
        broken[len(broken) // 2] ^= 0xFF
        self.refuse("chunk-rows", 999, "read", self.file(bytes(broken), "in.csv.gz"), says=["in.csv.gz", "damaged"])
        self.refuse("chunk-rows", 999, "read", self.file(whole[:-2000], "in.csv.gz"), says=["in.csv.gz", "cut short"])
        self.refuse("read", self.file(b"a\n1\n", "in.csv.gz"), says="in.csv.gz")

    def test_columns_without_a_name_of_their_own(self):
        self.assertEqual(self.compute("read", self.file("a,a,b,a\n1,2,3,4\n")).column_names, ["a", "a.1", "b", "a.2"])
        self.assertEqual(self.compute("read", self.file("a,b\n")).num_rows, 0)

    def test_a_later_value_that_does_not_fit_is_named(self):
        rows = "".join(f"{i},{i}\n" for i in range(1000))
        early = self.compute("read", self.file("a,b\n" + rows + "1000,oops\n"))  # among those that types are inferred from
        self.assertEqual(str(early.schema.field("b").type), "string")
        text = "a,b\n" + rows * 200 + "1000,oops\n" + rows
        self.refuse("chunk-rows", 100, "read", self.file(text),
                    says=["in.csv", "row 200001, column 'b'", "'oops' is no int64", "b=string"])
        found = self.compute("chunk-rows", 100, "type", "b=string", "read", self.file(text))
        self.assertEqual(found["b"][200_000].as_py(), "oops")

    def test_a_row_of_too_many_or_too_few_fields_is_named(self):
        good = 'x,"a\nb"\n' * 100
        for bad in ("1\n", "1,2,3\n"):
            for chunk_rows in (7, 10_000):
                self.refuse("chunk-rows", chunk_rows, "read", self.file("a,b\n" + good + bad + good),
                            says=["in.csv", "row 101", "2 columns"])

    def test_a_quote_that_is_not_closed_is_named(self):
        rows = [f"{i},t{i}" for i in range(2000)]
        rows[100] = '100,"open'
        says = ["in.csv: row 101", "a quote is opened and never closed: 100,\"open"]
        for end in ("", "\n"):
            path = self.file("\n".join(["a,b", *rows]) + end)
            self.refuse("chunk-rows", 50, "read", path, says=says)
            self.refuse("read", path, says=says)
        self.refuse("read", self.file('a,"b\n1,2\n'), says=["in.csv: row 0", 'never closed: a,"b'])
        for last in ('1,"x"', '1,"x""y"', '1,"x\ny"', '1,""'):
            self.assertEqual(self.compute("read", self.file("a,b\n" + last)), self.compute("read", self.file("a,b\n" + last + "\n")))

    def test_the_first_rows_may_be_in_a_later_file_or_long(self):
        self.file("a,s\n", "day-0.csv")
        self.file("a,s\n1,x\n", "day-1.csv")
        self.assert_same(self.compute("read", self.directory / "day-*.csv"), {"a": [1], "s": ["x"]})
        text = "x" * 1_500_000
        self.assert_same(self.compute("read", self.file(f"a,s\n1,{text}\n2,y\n")), {"a": [1, 2], "s": [text, "y"]})

    def test_what_cannot_be_read(self):
        self.refuse("read", self.directory / "no.csv", says=["no.csv", "No such file"])
        (self.directory / "dir.csv").mkdir()
        self.refuse("read", self.directory / "dir.csv", says=["dir.csv", "Is a directory"])
        self.refuse("read", self.file("") / "in.csv", says="Not a directory")
        self.refuse("type", "a=int64", "read", self.file("a\n1\n2.5\n"), says="a=float64")
        self.refuse("read", self.file(""), says="it is empty")
        self.refuse("type", "c=int64", "read", self.file("a,b\n1,2\n"), says=["no column 'c'", "a, b"])
        self.refuse("type", "a=int65", "read", self.file("a,b\n1,2\n"), says=["no type 'int65'", "int64"])


class OtherFiles(FrameTest):
    def setUp(self):
        super().setUp()
        self.rows = pyarrow.table({"a": list(range(1000)), "s": [str(i % 3) for i in range(1000)]})

    def test_parquet_and_ipc(self):
        parquet, feather = self.directory / "in.parquet", self.directory / "in.feather"
        pyarrow.parquet.write_table(self.rows, parquet, row_group_size=90)
        pyarrow.feather.write_feather(self.rows, feather, chunksize=90, compression="uncompressed")
        for path in (parquet, feather):
            self.assertEqual(self.compute("read", path), self.rows)
            self.assertEqual(self.compute("read", path, "select", "s", "head", 95), self.rows.select(["s"]).slice(0, 95))

    def test_damaged(self):
        path = self.directory / "in.parquet"
        pyarrow.parquet.write_table(self.rows, path, row_group_size=90)
        whole = path.read_bytes()
        for bad in (whole[:-10], whole[: len(whole) // 2], b"", b"PAR1" + bytes(100) + b"PAR1"):
            self.refuse("read", self.file(bad, "in.parquet"), says="in.parquet")
        for bad in (b"", b"ARROW1", bytes(1000)):
            self.refuse("read", self.file(bad, "in.arrow"), says="in.arrow")

    def test_columns_of_structs_do_not_shift_the_others(self):
        rows = pyarrow.table({"s": [{"x": i, "y": 10 * i} for i in range(5)], "a": list(range(5)), "b": [i / 2 for i in range(5)]})
        path = self.directory / "in.parquet"
        pyarrow.parquet.write_table(rows, path)
        for columns in (["a"], ["s"], ["b", "s"], ["s", "a", "b"]):
            self.assertEqual(self.compute("read", path, "select", ",".join(columns)), rows.select(columns))

    def test_texts_are_texts_however_they_are_stored(self):
        rows = pandas.DataFrame({"k": pandas.Categorical(list("xyxzx")), "t": list("edcba"), "v": range(5)})
        rows.to_parquet(self.directory / "in.parquet")
        polars.from_pandas(rows).write_ipc(self.directory / "in.arrow")
        different = pyarrow.schema([("k", pyarrow.dictionary(pyarrow.int8(), pyarrow.string())), ("v", pyarrow.int64())])
        with pyarrow.parquet.ParquetWriter(self.directory / "parts.parquet", different) as out:
            for names in (["x", "y"], ["z", "x"]):
                out.write_table(pyarrow.table([pyarrow.array(names).dictionary_encode().cast(different.field("k").type), [1, 2]], schema=different))
        expected = {"k": ["x", "y", "z"], "v_sum": [6, 1, 3]}
        for name in ("in.parquet", "in.arrow"):
            self.assert_same(self.compute("read", self.directory / name, "groupby", "k", "v:sum"), expected)
            found = self.compute("read", self.directory / name, "sort", "t")
            self.assertEqual(found["t"].to_pylist(), list("abcde"))
        found = self.compute("read", self.directory / "parts.parquet", "groupby", "k", "v:sum")
        self.assert_same(found, {"k": ["x", "y", "z"], "v_sum": [3, 2, 1]})

    def test_a_csv_file_comes_back_as_it_was_written(self):
        path = self.table(["i", "f", "s"], [[1, 0.1, 'a"b'], ["", 1e300, "x\ny"], [-3, "", ""]])
        out = self.directory / "out.csv"
        self.assertEqual(self.probe("chunk-rows", 1, "read", path, "write", out).returncode, 0)
        self.assertEqual(self.compute("read", out), self.compute("read", path))


class Rows(FrameTest):
    def setUp(self):
        super().setUp()
        rows = [[self.random.choice(["", i % 50]), self.random.random(), f"s{i % 7}"] for i in range(2000)]
        self.path = self.table(["i", "f", "s"], rows)
        self.expected = pandas.read_csv(self.path, dtype={"i": "Int64"})

    def same(self, words, expected, digits=None):
        self.assert_same(self.compute("chunk-rows", 111, "read", self.path, *words), lists_of(expected), digits)

    def test_filter_select_rename_head(self):
        frame = self.expected
        self.same(["filter", "i", ">", 20], frame[frame["i"].fillna(0) > 20])
        self.same(["filter", "f", "<", 0.25, "select", "s,f"], frame[frame["f"] < 0.25][["s", "f"]])
        self.same(["rename", "f=g", "head", 300], frame.rename(columns={"f": "g"}).head(300))
        self.same(["head", 0], frame.head(0))
        self.same(["filter", "f", ">", 2.0], frame.head(0))

    def test_columns_are_computed(self):
        frame = self.expected
        self.same(["column", "g", "f", "*", 3.5], frame.assign(g=frame["f"] * 3.5))
        self.same(["column", "i", "i", "+", 1], frame.assign(i=frame["i"] + 1))
        self.same(["map", "f", "square"], frame.assign(f=frame["f"] ** 2), 15)
        found = self.compute("chunk-rows", 111, "read", self.path, "map", "i", "exp")["i"].to_pylist()
        for value, i in zip(found, lists_of(frame)["i"]):
            self.assertEqual(value is None, i is None)
            if i is not None:
                self.assertAlmostEqual(value, math.exp(i), delta=1e-13 * math.exp(i))

    def test_sort_is_stable_and_has_nulls_last(self):
        self.same(["sort", "i,s"], self.expected.sort_values(["i", "s"], kind="stable"))

    def test_columns_that_are_not_there(self):
        for words in (["select", "i,x"], ["filter", "x", ">", 1], ["sort", "x"], ["rename", "x=y"],
                      ["groupby", "x", "f:sum"], ["groupby", "i", "x:sum"], ["map", "x", "exp"]):
            self.refuse("read", self.path, *words, says=["there is no column 'x'", "hint: the columns are i, f, s"])
        self.refuse("read", self.path, "groupby", "i", "s:sum", says="the column 's' has no sum: it is string")
        self.refuse("read", self.path, "map", "s", "exp", says="no numbers to map")
        self.refuse("read", self.path, "rename", "f=i", says="2 columns named 'i'")


class Groups(FrameTest):
    def compare(self, path, keys, columns, **dtypes):
        wanted = ",".join(f"{column}:{name}" for column in columns for name in AGGREGATES)
        frame = pandas.read_csv(path, keep_default_na=False, na_values=[""], dtype=dtypes)
        expected = frame.groupby(keys).agg(**{f"{c}_{a}": (c, a) for c in columns for a in AGGREGATES}).reset_index()
        tables = [self.compute("threads", threads, "chunk-rows", 97, "read", path, "groupby", ",".join(keys), wanted)
                  for threads in (1, 3)]
        self.assertTrue(all(table.equals(tables[0]) for table in tables), "sums depend on the number of threads")
        self.assert_same(tables[0], lists_of(expected), 12)

    def test_are_those_of_pandas(self):
        rows = [[self.random.choice(["", "a", "b", "ü"]), self.random.randrange(9), self.random.choice(["", i - 500]),
                 self.random.choice(["", self.random.random() * 1e6])] for i in range(3000)]
        path = self.table(["s", "k", "i", "f"], rows)
        self.compare(path, ["k"], ["i", "f"], i="Int64", f="Float64")
        self.compare(path, ["s", "k"], ["i", "f"], i="Int64", f="Float64")

    def test_many_groups_and_few_rows(self):
        path = self.table(["k", "f"], [[i * 7 % 5003, self.random.random()] for i in range(8000)])
        self.compare(path, ["k"], ["f"])
        self.compare(self.table(["k", "f"], [[1, 0.5]]), ["k"], ["f"])

    def test_a_spread_that_is_small_beside_the_mean(self):
        path = self.table(["k", "f"], [[i % 2, 1e9 + self.random.random()] for i in range(4000)])
        frame = pandas.read_csv(path)
        found = self.compute("chunk-rows", 50, "read", path, "groupby", "k", "f:std")["f_std"].to_pylist()
        for k in (0, 1):
            self.assertAlmostEqual(found[k], frame[frame["k"] == k]["f"].std(), delta=1e-7)

    def test_both_zeros_are_one_key(self):
        path = self.table(["k", "v"], [[0.0, 1], [-0.0, 2], [1.5, 3]])
        self.compare(path, ["k"], ["v"])
        found = self.compute("read", path, "merge", path, "k", "left")
        self.assertEqual(found.num_rows, len(pandas.read_csv(path).merge(pandas.read_csv(path), on="k", how="left")))

    def test_nan_is_what_polars_makes_of_it(self):
        path = self.file("k,f\n1,nan\n1,2.5\n2,nan\n3,1.0\n")
        found = self.compute("read", path, "groupby", "k", "f:sum,f:mean,f:min,f:max,f:count")
        f = polars.col("f")
        rows = polars.DataFrame({"k": [1, 1, 2, 3], "f": [math.nan, 2.5, math.nan, 1.0]})
        expected = rows.group_by("k").agg(f.sum().alias("f_sum"), f.mean().alias("f_mean"),
                                                           f.min().alias("f_min"), f.max().alias("f_max"),
                                                           f.count().alias("f_count")).sort("k")
        self.assert_same(found, expected.to_dict(as_series=False))

    def test_a_sum_of_integers_that_is_too_large_is_an_error(self):
        path = self.file(f"k,i\n1,{2**62}\n1,{2**62}\n")
        self.refuse("read", path, "groupby", "k", "i:sum", says=["the sum of column 'i' is larger than 64 bits", "float64"])
        self.assertEqual(self.compute("read", path, "groupby", "k", "i:mean")["i_mean"].to_pylist(), [2.0**62])

    def test_times_have_a_first_and_a_last(self):
        path = self.file("k,d\n1,2024-02-29\n1,1969-01-01\n2,2000-01-01\n")
        found = self.compute("read", path, "groupby", "k", "d:min,d:max,d:count")
        self.assertEqual([str(day) for day in found["d_min"].to_pylist()], ["1969-01-01", "2000-01-01"])
        self.assertEqual([str(day) for day in found["d_max"].to_pylist()], ["2024-02-29", "2000-01-01"])
        self.refuse("read", path, "groupby", "k", "d:sum", says="has no sum")

    def test_merged_back_as_pandas_transforms(self):
        path = self.table(["k", "f"], [[self.random.choice(["", i % 11]), self.random.random()] for i in range(2000)])
        frame = pandas.read_csv(path, dtype={"k": "Int64"})
        frame["f_sum"] = frame.groupby("k")["f"].transform("sum")
        found = self.compute("chunk-rows", 83, "read", path, "merge-back", "k", "f:sum")
        self.assert_same(found, lists_of(frame), 12)


class Merge(FrameTest):
    def compare(self, left, right, on):
        for how in ("inner", "left", "right", "outer"):
            expected = lists_of(left[1].merge(right[1], on=on, how=how))
            for threads in (1, 3):
                found = self.compute("threads", threads, "chunk-rows", 31, "read", left[0], "merge", right[0],
                                     ",".join(on), how)
                with self.subTest(how=how, threads=threads):
                    if how == "outer":  # pandas sorts it by the keys
                        rows = sorted(zip(*found.to_pydict().values()), key=str)
                        self.assertEqual(rows, sorted(zip(*expected.values()), key=str))
                    else:
                        self.assert_same(found, expected)

    def frame(self, name, columns, rows):
        path = self.table(columns, rows, name)
        return path, pandas.read_csv(path, dtype={c: "Int64" for c in columns if c != "s"}, keep_default_na=False,
                                     na_values=[""])

    def test_is_that_of_pandas(self):
        choice = self.random.choice
        left = self.frame("left.csv", ["k", "v", "w"], [[choice(["", *range(40)]), i, i % 5] for i in range(300)])
        twice = self.frame("twice.csv", ["k", "w", "x"], [[choice(["", *range(20, 60)]), i % 3, i] for i in range(100)])
        once = self.frame("once.csv", ["k", "x"], [[k, k * k] for k in range(10, 50)])
        self.compare(left, twice, ["k"])
        self.compare(left, once, ["k"])
        self.compare(left, twice, ["k", "w"])

    def test_with_nothing_on_one_side(self):
        left = self.frame("left.csv", ["k", "v"], [[1, 2], [3, 4]])
        none = self.table(["k", "x"], [], "none.csv")
        for how, rows in (("inner", 0), ("left", 2), ("outer", 2), ("right", 0)):
            found = self.compute("type", "k=int64", "read", left[0], "merge", none, "k", how)
            self.assertEqual(found.num_rows, rows, how)

    def test_keys_of_two_types_are_refused(self):
        left, right = self.file("k\n1\n"), self.file("k\nx\n", "right.csv")
        self.refuse("read", left, "merge", right, "k", "inner", says="'k' is int64 on the left, but string on the right")


class Output(FrameTest):
    def test_a_full_disk_leaves_nothing_and_an_old_file_as_it_was(self):
        path = self.table(["i"], [[i] for i in range(200_000)])
        for name in ("out.csv", "out.parquet"):
            old = self.file("old", name)
            limit = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
            result = self.probe("read", path, "write", old, preexec_fn=limit)
            self.assertNotEqual(result.returncode, 0)
            self.assertEqual(old.read_text(), "old")
            self.assertEqual([p.name for p in self.directory.iterdir() if "tmp" in p.name], [], result.stderr)


if __name__ == "__main__":
    unittest.main()
