"""`hogpen frame`, and training on tables, as their users meet them; what Frame computes is compared in tests/frame."""
import csv
import json
import os
import random
import re
import shutil
import subprocess
import unittest

import hogpen
import pandas


class FrameCommand(hogpen.CommandTest):
    def setUp(self):
        super().setUp()
        if "not in this build" in self.succeed("--help").stdout:
            self.skipTest("built without Apache Arrow")
        rng = random.Random(3)
        self.rows = [[rng.randrange(5), rng.randrange(100) / 4, rng.choice(["x", "y,z"])] for _ in range(1000)]
        self.write("in.csv", ["key", "value", "text"], self.rows)

    def write(self, name, columns, rows):
        with open(self.directory / name, "w", newline="") as out:
            csv.writer(out).writerows([columns, *rows])

    def frame(self, *arguments):
        return json.loads(self.succeed("frame", "in.csv", "--json", *arguments).stdout)

    def test_head_prints_a_table_or_json(self):
        self.assertEqual(self.frame("--head", 3), {"columns": ["key", "value", "text"], "rows": self.rows[:3]})
        self.assertEqual(len(self.frame("--head")["rows"]), 5)
        lines = self.succeed("frame", "in.csv", "--head=2", "--select=text,key").stdout.splitlines()
        self.assertEqual(lines[0].split(), ["text", "key"])
        self.assertEqual([line.split() for line in lines[1:]], [[row[2], str(row[0])] for row in self.rows[:2]])

    def test_groups_and_merges_back(self):
        sums = {key: sum(row[1] for row in self.rows if row[0] == key) for key in range(5)}
        counts = {key: sum(row[0] == key for row in self.rows) for key in range(5)}
        found = self.frame("--groupby=key", "--agg=value:sum,mean", "--agg=text:count")
        self.assertEqual(found["columns"], ["key", "value_sum", "value_mean", "text_count"])
        self.assertEqual(found["rows"], [[k, sums[k], sums[k] / counts[k], counts[k]] for k in range(5)])
        found = self.frame("--groupby=key", "--agg=value:sum", "--merge-back", "--head=7")
        self.assertEqual(found["rows"], [row + [sums[row[0]]] for row in self.rows[:7]])
        found = self.frame("--groupby=key", "--agg=value:max", "--sort=key:desc", "--head=1")
        self.assertEqual(found["rows"][0][0], 4)

    def test_a_written_file_is_read_again(self):
        for name in ("out.parquet", "out.csv"):
            self.assertEqual(self.succeed("frame", "in.csv", "-o", name, "--chunk-rows=7").stdout, "")
            found = json.loads(self.succeed("frame", name, "--json").stdout)
            self.assertEqual(found["rows"], self.rows)

    def test_types_delimiters_and_headers_are_as_said(self):
        found = self.frame("--type=key=string", "--head=1")
        self.assertEqual(found["rows"][0][0], str(self.rows[0][0]))
        found = self.frame("--type=key=int32", "--type=value=float32", "--head=1")
        self.assertEqual(found["rows"][0], self.rows[0])
        result = self.succeed("frame", "--select", "text", "--type", "key=int32", "in.csv", "--head=1", "--json")
        self.assertEqual(json.loads(result.stdout)["rows"], [self.rows[0][2:]])
        (self.directory / "in.txt").write_text("1;2\n3;4\n")
        result = self.succeed("frame", "in.txt", "--delimiter=;", "--no-header", "--json")
        self.assertEqual(json.loads(result.stdout), {"columns": ["f0", "f1"], "rows": [[1, 2], [3, 4]]})

    def initialized(self, command):
        """The libraries that have prepared themselves for it."""
        result = subprocess.run([command, "frame", "in.csv", "--head=1", "--json"], cwd=self.directory,
                                capture_output=True, text=True, env=hogpen.environment(LD_DEBUG="files"), timeout=60)
        self.assertEqual(json.loads(result.stdout)["rows"], self.rows[:1])
        return " ".join(re.findall("calling init: (.*)", result.stderr))

    @unittest.skipIf(os.environ.get("HOGPEN_TEST_SANITIZER"), "then hogpen does it itself")
    def test_no_libtorch_is_waited_for(self):
        libraries = self.initialized(hogpen.COMMAND)
        self.assertIn("libarrow.so", libraries)
        self.assertNotIn("libtorch_cpu.so", libraries)
        shutil.copy(hogpen.COMMAND, self.directory / "alone")  # without its hogpen-frame
        self.assertIn("libtorch_cpu.so", self.initialized(self.directory / "alone"))

    def test_bad_input_is_named(self):
        refuse = lambda *arguments, says: self.refuse("frame", *arguments, says=says)
        refuse("in.csv", "--groupby=kee", "--agg=value:sum", says="there is no column 'kee'")
        refuse("in.csv", "--groupby=key", says="--groupby and --agg need each other")
        refuse("in.csv", "--groupby=key", "--agg=value:median", says="there is no aggregate 'median'")
        refuse("in.csv", "--groupby=key", "--agg=value", says="--agg is COLUMN:AGGREGATE")
        refuse("in.csv", "--merge-back", says="--merge-back needs --groupby")
        refuse("in.csv", "--sort=key:up", says="--sort is COLUMN or COLUMN:desc")
        refuse("in.csv", "-o", "out.xls", says="neither .csv nor .parquet")
        refuse("in.xls", says="in.xls ends in none of")
        self.assertEqual(self.run_hogpen("frame", "no.csv").returncode, 1)
        (self.directory / "late.csv").write_text("a\n" + "100000\n" * 300_000 + "oops\n")
        refuse("late.csv", "--groupby=a", "--agg=a:sum", "--chunk-rows=1000",
               says="late.csv: row 300001, column 'a': 'oops' is no int64")

    def test_progress_is_shown_on_a_terminal_alone(self):
        self.assertEqual(self.succeed("frame", "in.csv", "--head").stderr, "")


class TrainingOnTables(hogpen.CommandTest):
    MODEL = ("--model=Linear(2,16) ReLU Linear(16,3)", "--epochs=8", "--workers=2", "--lr=0.1")

    def setUp(self):
        super().setUp()
        if "not in this build" in self.succeed("--help").stdout:
            self.skipTest("built without Apache Arrow")
        rng = random.Random(3)
        self.kinds = ["ant", "bee", "cat"]
        rows = []
        for _ in range(3000):
            kind = rng.randrange(3)
            rows.append([f"{1e6 + kind * 400 + rng.gauss(0, 50):.2f}", f"{rng.gauss(0, 1e-4):.8f}", self.kinds[kind], kind])
        self.header = ["size", "noise", "kind", "number"]
        self.rows = rows
        self.write("in.csv", self.header, rows)

    def write(self, name, columns, rows):
        with open(self.directory / name, "w", newline="") as out:
            csv.writer(out).writerows([columns, *rows])

    def train(self, *arguments):
        return json.loads(self.succeed("train", *self.MODEL, "--json", *arguments).stdout)

    def test_classes_are_learned_from_texts_and_from_numbers(self):
        for label in ("kind", "number"):
            result = self.train("--data=in.csv", "--features=size,noise", f"--label={label}", f"--run-dir={label}")
            self.assertGreater(result["accuracy"], 0.99, label)
            again = json.loads(self.succeed("eval", result["checkpoint"], "--json").stdout)
            self.assertEqual(again["accuracy"], result["accuracy"])

    def test_parquet_is_the_same_data(self):
        self.succeed("frame", "in.csv", "-o", "in.parquet")
        runs = [self.train(f"--data=in.{end}", "--features=size,noise", "--label=kind", "--workers=1", f"--run-dir={end}")
                for end in ("csv", "parquet")]
        self.assertEqual(runs[0]["loss"], runs[1]["loss"])

    def test_texts_of_pandas_and_large_numbers_are_learned_from(self):
        rows = pandas.DataFrame({"time": [1_700_000_000 + 10 * row[3] + row[3] / 8 for row in self.rows],
                                 "is_ant": [row[3] == 0 for row in self.rows], "kind": [row[2] for row in self.rows]})
        for name, table in (("in", rows), ("categories", rows.astype({"kind": "category"}))):
            table.to_parquet(self.directory / f"{name}.parquet")
            result = self.train(f"--data={name}.parquet", "--label=kind", f"--run-dir={name}")
            self.assertGreater(result["accuracy"], 0.99)

    def test_other_rows_are_scaled_as_those_that_were_trained_on(self):
        result = self.train("--data=in.csv", "--features=size,noise", "--label=kind", "--run-dir=run")
        of_one_kind = [row for row in self.rows if row[2] == "cat"][:50]
        self.write("cats.csv", self.header, of_one_kind)  # By their own mean they would be no cats.
        score = json.loads(self.succeed("eval", result["checkpoint"], "--data=cats.csv", "--json").stdout)
        self.assertGreater(score["accuracy"], 0.9)

    def test_a_label_that_was_not_trained_on_is_named(self):
        for label, other in (("kind", "dog"), ("number", "300"), ("number", "-1")):
            result = self.train("--data=in.csv", "--features=size,noise", f"--label={label}", f"--run-dir={label}{other}")
            rows = [row[:] for row in self.rows[:10]]
            rows[6][self.header.index(label)] = other
            self.write("other.csv", self.header, rows)
            self.refuse("eval", result["checkpoint"], "--data=other.csv",
                        says=f"other.csv: row 7: the label '{other}' is none of those that were trained on")

    def test_a_run_goes_on(self):
        first = self.train("--data=in.csv", "--features=size,noise", "--label=kind", "--run-dir=run")
        more = self.succeed("train", "--resume=run", "--epochs=9", "--json")
        self.assertGreater(json.loads(more.stdout)["step"], first["step"])

    def test_bad_input_is_named(self):
        refuse = lambda *arguments, says: self.refuse("train", *self.MODEL, *arguments, says=says)
        refuse("--data=in.csv", says="a table needs the column to learn: --label")
        refuse("--data=in.csv", "--label=kinds", says="there is no column 'kinds'")
        refuse("--data=in.csv", "--label=number", "--features=size,kind", says="'kind' cannot be a tensor: it is string")
        refuse("--data=in.csv", "--label=size", "--features=noise", says="names no classes")
        refuse("--data=synthetic", "--label=a", says="--label and --features are for tables, but synthetic is none")
        self.write("gaps.csv", ["a", "b", "y"], [[1, 2, 0], ["", 3, 1]] * 5)
        refuse("--data=gaps.csv", "--label=y", says="the column 'a' has no value in row 2")
        self.write("many.csv", ["a", "y"], [[1, f"c{i}"] for i in range(257)])
        refuse("--data=many.csv", "--label=y", says="the label 'y' has more than 256 values")
        self.write("nan.csv", ["a", "y"], [[1, 0], [2, 1], [3, 0], [4, 1], ["nan", 0]])  # a row to test on
        refuse("--data=nan.csv", "--label=y", says="the feature 'a' is NaN, infinite or too large for float32 in row 5")
        self.write("unlabelled.csv", ["a", "y"], [[1, 0], [2, ""]] * 5)
        refuse("--data=unlabelled.csv", "--label=y", says="the column 'y' has no value in row 2")
        self.write("few.csv", ["a", "b", "y"], [[1, 2, 0]] * 4)
        refuse("--data=few.csv", "--label=y", says="few.csv has 4 rows")


if __name__ == "__main__":
    unittest.main()
