"""`hogpen bench`: that it measures, not how fast."""
import csv
import io
import json
import os
import signal
import unittest
import xml.etree.ElementTree

import hogpen

SUITES = ["sync", "queue", "spawn", "pool", "graph", "train", "memory", "gpu", "elementwise"]
NAMES_OF_SYNC = ["mutex lock and unlock", "semaphore round trip", "barrier of 2 processes"]
SVG = "{http://www.w3.org/2000/svg}svg"
IS_SANITIZED = bool(os.environ.get("HOGPEN_TEST_SANITIZER"))  # Then each start of a worker takes a second.


class BenchTest(hogpen.CommandTest):
    def bench(self, *arguments, code=0):
        """The quickest of runs: one suite, and no time."""
        result = self.run_hogpen("bench", "sync", "--seconds", "0", *arguments)
        self.assertEqual(result.returncode, code, result.stderr)
        return result

    def old_report(self, **change):
        """Writes a report in which each number that a figure has was multiplied; returns its path."""
        report = json.loads(self.bench("--json").stdout)
        for figure in report["figures"]:
            for key in ("median", "low", "high"):
                figure[key] *= change.get("times", 1)
        report["context"]["machine"] |= change.get("machine", {})
        path = self.directory / "old.json"
        path.write_text(json.dumps(report))
        return path


class Bench(BenchTest):
    def test_json_has_each_figure_with_its_unit_and_spread(self):
        result = self.bench("--json")
        figures = json.loads(result.stdout)["figures"]
        self.assertEqual([figure["name"] for figure in figures], NAMES_OF_SYNC)
        for figure in figures:
            self.assertEqual(figure["suite"], "sync")
            self.assertEqual(figure["samples"], 5)
            self.assertGreater(figure["least"], 0)
            for lower, upper in (("least", "lower_quartile"), ("lower_quartile", "median"), ("median", "upper_quartile"),
                                 ("upper_quartile", "most"), ("low", "median"), ("median", "high")):
                self.assertLessEqual(figure[lower], figure[upper], (lower, upper))
            self.assertGreaterEqual(figure["noise_percent"], 0)
        for name in NAMES_OF_SYNC:
            self.assertIn(name, result.stderr)

    def test_json_says_where_it_was_measured(self):
        report = json.loads(self.bench("--json").stdout)
        self.assertEqual(report["hogpen_bench"], 1)
        context = report["context"]
        info = json.loads(self.succeed("info", "--json").stdout)
        for key in ("hogpen", "commit", "build_type", "compiler", "libtorch"):
            self.assertEqual(context[key], info[key])
        self.assertEqual(context["machine"]["cpu"], info["machine"]["cpu"])
        self.assertEqual(context["cuda"]["gpus"], info["cuda"]["gpus"])
        self.assertRegex(context["date"], r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$")
        self.assertRegex(context["commit"], r"^([0-9a-f]{12}(-dirty)?|unknown)$")
        for key in ("load_average_at_begin", "load_average_at_end"):
            self.assertRegex(context[key], r"^[\d.]+ [\d.]+ [\d.]+$")

    def test_warnings_are_on_stderr_and_in_the_json(self):
        result = self.bench("--noise", "0", "--json")
        warnings = json.loads(result.stdout)["warnings"]
        self.assertIn("stayed above 0 %", warnings[-1])
        for warning in warnings:
            self.assertIn(f"warning: {warning}\n", result.stderr)

    def test_csv_has_a_line_for_each_figure(self):
        rows = list(csv.DictReader(io.StringIO(self.bench("--csv").stdout)))
        self.assertEqual([row["name"] for row in rows], NAMES_OF_SYNC)
        for row in rows:
            self.assertGreater(float(row["median"]), 0)
            self.assertNotIn(None, row)

    def test_html_is_one_well_formed_page(self):
        self.bench("--html", "figures.html")
        text = (self.directory / "figures.html").read_text()
        page = xml.etree.ElementTree.fromstring(text)
        self.assertEqual(len(list(page.iter(SVG))), len(NAMES_OF_SYNC))
        words = " ".join(page.itertext())
        for name in NAMES_OF_SYNC:
            self.assertIn(name, words)
        self.assertNotIn("<script", text)
        self.assertEqual([path.name for path in self.directory.iterdir()], ["figures.html"])

    def test_a_page_that_cannot_be_written_is_refused_before_anything_is_measured(self):
        for path in ("missing/figures.html", ".", "/dev/null"):
            result = self.refuse("bench", "sync", "--html", path, says="--html: ")
            self.assertNotIn("mutex", result.stderr)

    def test_all_suites_run(self):
        trainings = "(?!start to first step, 1 )" if IS_SANITIZED else "(fused|autograd|time)"  # They have tests of their own.
        few = f"^(?!train/{trainings}|gpu/train)"
        lines = self.succeed("bench", "--seconds", "0", "--max-elements", 1 << 14, "--filter", few).stdout.splitlines()
        self.assertEqual({line.split()[0] for line in lines}, set(SUITES))

    def test_elementwise_has_a_curve_for_each_place_and_op(self):
        result = self.succeed("bench", "elementwise", "memory", "--seconds", "0", "--max-elements", 5000, "--json")
        report = json.loads(result.stdout)
        curves = {}
        for figure in report["figures"]:
            if "group" in figure:
                curves.setdefault((figure["group"], figure["series"]), []).append(figure["size"])
        self.assertEqual({group for group, _ in curves}, {"exp", "square"})
        for series in ("calling thread", "automatic"):
            self.assertEqual(curves["exp", series], [1024, 2048, 4096])
        self.assertTrue(any("processes" in series for _, series in curves))
        self.assertTrue(any("LibTorch" in series for _, series in curves))
        self.assertTrue(any("calling thread from" in note["text"] or "nowhere faster" in note["text"]
                            for note in report["notes"]))

    def test_a_mistyped_suite_is_refused_with_a_hint(self):
        self.refuse("bench", "quue", says="did you mean 'queue'?")

    def test_list_names_the_suites_and_measures_nothing(self):
        lines = self.succeed("bench", "--list").stdout.splitlines()
        self.assertEqual([line.split()[0] for line in lines], SUITES)

    def test_one_figure_can_be_run_alone(self):
        lines = self.succeed("bench", "--seconds", "0", "--filter", "^sync/MUTEX").stdout.splitlines()
        self.assertEqual(len(lines), 1)
        self.assertIn("mutex lock and unlock", lines[0])

    def test_a_filter_that_is_wrong_or_fits_nothing_is_refused(self):
        self.refuse("bench", "--filter", "(", says="'(' is no regular expression")
        self.refuse("bench", "sync", "--filter", "queue/", says="no figure has 'queue/'")

    def test_json_and_csv_are_not_asked_for_at_once(self):
        self.refuse("bench", "--json", "--csv", says="excludes")


class Train(BenchTest):
    def measure(self, pattern):
        """The report of the figures that fit, on few synthetic samples, with temporary files in a place of our own."""
        scratch = self.directory / "scratch"
        scratch.mkdir()
        result = self.succeed("bench", "train", "--seconds", 0, "--max-elements", 1 << 14, "--filter", pattern, "--json",
                              env={"TMPDIR": scratch})
        self.assertEqual(list(scratch.iterdir()), [], "the runs are left behind")
        return json.loads(result.stdout)

    def test_throughput_has_a_curve_for_each_kind_and_number_of_workers(self):
        kinds = ("1 process", "2 threads") if IS_SANITIZED else (
            "1 process", "2 processes", "4 processes", "1 thread", "2 threads", "4 threads")
        report = self.measure(f"fused, ({'|'.join(kinds)}), batch (64|256)$")
        curves = {}
        for figure in report["figures"]:
            self.assertEqual((figure["group"], figure["unit"]), ("fused engine", "samples/s"))
            self.assertIn(f"{figure['series']}, batch {figure['size']}", figure["name"])
            self.assertGreater(figure["least"], 100)
            self.assertLess(figure["most"], 1e9)
            curves.setdefault(figure["series"], []).append(figure["size"])
        self.assertEqual(curves, {workers: [64, 256] for workers in kinds})

    def test_one_worker_is_compared_with_its_matrix_products_alone(self):
        figure, = self.measure("fused, 1 process, batch 64$")["figures"]
        self.assertGreater(figure["limit"], 100)
        self.assertAlmostEqual(figure["percent_of_limit"], 100 * figure["median"] / figure["limit"])

    def test_autograd_can_be_measured(self):
        figure, = self.measure("autograd, 2 threads, batch 1024$")["figures"]
        self.assertGreater(figure["median"], 100)

    def test_the_start_is_measured_in_milliseconds(self):
        figures = self.measure("start to first step")["figures"]
        self.assertEqual([figure["name"] for figure in figures],
                         ["start to first step, 1 process", "start to first step, 4 processes"])
        for figure in figures:
            self.assertEqual(figure["unit"], "ms")
            self.assertGreater(figure["least"], 0.1)
            self.assertLess(figure["most"], 1e5)

    @unittest.skipIf(IS_SANITIZED, "a sanitizer's shadow memory is not shared")
    def test_a_further_worker_takes_less_than_a_process_that_shares_nothing(self):
        report = self.measure("memory of a further worker")
        figure, = report["figures"]
        self.assertEqual(figure["unit"], "MB")
        self.assertLess(figure["median"], 100)  # LibTorch alone
        self.assertIn("synthetic samples", report["notes"][0]["text"])

    @unittest.skipIf(IS_SANITIZED, "it takes minutes")
    def test_the_time_to_an_accuracy_says_how_many_epochs_it_took(self):
        report = self.measure("time to 88 %")
        figure, = report["figures"]
        self.assertEqual((figure["name"], figure["unit"]), ("time to 88 %, 4 processes", "s"))
        self.assertGreater(figure["least"], 0)
        self.assertRegex(report["notes"][-1]["text"], r"after \d+ to \d+ epochs in \d+ searches")

    def test_an_interrupt_leaves_nothing_behind(self):
        scratch = self.directory / "scratch"
        scratch.mkdir()
        process = self.start_hogpen("bench", "train", "--seconds", 60, "--max-elements", 1 << 14, "--filter",
                                    "autograd, 2 threads, batch 1$", env={"TMPDIR": scratch})
        self.wait_until(lambda: list(scratch.glob("*/run")), "a training")
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=hogpen.TIMEOUT)
        self.assertEqual(process.returncode, -signal.SIGINT)
        self.assertEqual(list(scratch.iterdir()), [])


class Gpu(BenchTest):
    FIGURES = ["attach to memory, once there is a context", "context of a process", "memory of a context",
               "copy to the GPU, pageable", "copy to the GPU, page-locked", "copy within the GPU, read and written"]

    def measure(self, *arguments):
        fake = {"LD_LIBRARY_PATH": hogpen.DRIVERS, "FAKE_GPUS": 1}
        result = self.succeed("bench", "gpu", "--seconds", 0, "--max-elements", 1 << 20, "--json", *arguments, env=fake)
        return json.loads(result.stdout)

    def test_a_driver_is_enough_for_all_but_training(self):
        report = self.measure("--filter", "gpu/(?!train)")
        self.assertEqual([figure["name"] for figure in report["figures"]], self.FIGURES)
        for figure in report["figures"]:
            if figure["name"] != "memory of a context":  # The fake driver counts each process's own.
                self.assertGreater(figure["least"], 0, figure["name"])

    def test_a_note_says_why_there_is_no_training(self):
        if json.loads(self.succeed("info", "--json").stdout)["cuda"]["built"]:
            self.skipTest("built with CUDA kernels")
        note = self.measure()["notes"][-1]["text"]
        self.assertTrue(note.startswith("train is not measured: this hogpen was built without CUDA"), note)

    def test_without_a_gpu_it_says_why_and_the_rest_is_measured(self):
        none = {"LD_LIBRARY_PATH": hogpen.DRIVERS, "FAKE_GPUS": 0}
        result = self.succeed("bench", "--filter", "^(gpu|sync/mutex)", "--seconds", 0, "--json", env=none)
        report = json.loads(result.stdout)
        self.assertEqual([figure["suite"] for figure in report["figures"]], ["sync"])
        self.assertEqual(report["notes"],
                         [{"suite": "gpu", "text": "not measured: the NVIDIA driver has no GPU to offer"}])

    def test_asked_for_by_name_a_missing_gpu_is_an_error_before_anything_is_measured(self):
        result = self.run_hogpen("bench", "sync", "gpu", env={"LD_LIBRARY_PATH": hogpen.DRIVERS, "FAKE_GPUS": 0})
        self.assertEqual(result.returncode, 4)
        self.assertEqual(result.stdout, "")
        self.assertIn("the NVIDIA driver has no GPU to offer", result.stderr)


class Compare(BenchTest):
    def test_nothing_is_worse_than_what_was_slower(self):
        result = self.bench("--compare", self.old_report(times=1e6))
        self.assertIn("0 of 3 figures are worse", result.stdout)
        self.assertEqual(result.stdout.count(" better\n"), 3)

    def test_what_was_faster_makes_the_exit_code_1(self):
        result = self.bench("--compare", self.old_report(times=1e-6), code=1)
        self.assertIn("3 of 3 figures are worse", result.stdout)

    def test_a_change_up_to_the_threshold_is_none(self):
        self.bench("--compare", self.old_report(times=1e-6), "--threshold", "1e12")

    def test_stdout_is_left_to_the_program_that_asked_for_json(self):
        result = self.bench("--compare", self.old_report(times=1e-6), "--json", code=1)
        self.assertEqual(len(json.loads(result.stdout)["figures"]), 3)
        self.assertIn("3 of 3 figures are worse", result.stderr)

    def test_figures_that_nobody_asked_for_are_not_missed(self):
        result = self.bench("--compare", self.old_report(), "--filter", "mutex", "--threshold", "1e12")
        self.assertIn("0 of 1 figures", result.stdout)
        self.assertNotIn("only then", result.stdout)

    def test_a_report_of_other_figures_is_no_success(self):
        old = self.old_report()
        result = self.run_hogpen("bench", "memory", "--seconds", "0", "--max-elements", 1024, "--compare", old)
        self.assertEqual(result.returncode, 2)
        self.assertIn("none of the figures", result.stderr)

    def test_another_machine_is_warned_of(self):
        result = self.bench("--compare", self.old_report(machine={"cpu": "Z80"}), "--threshold", "1e12")
        self.assertIn("warning: machine/cpu was 'Z80'", result.stdout)

    def test_a_file_that_is_no_report_is_refused_before_anything_is_measured(self):
        good = self.old_report().read_text()
        bad = self.directory / "bad.json"
        for text, says in (("", "byte 1: this is no JSON"), (good[:-10], "this is no JSON"), ("[]", "hogpen_bench: "),
                           ("{}", "hogpen_bench: "), (good.replace('"hogpen_bench": 1', '"hogpen_bench": 2'), "is 2, "),
                           (good.replace('"median"', '"mean"'), "figure 1: ")):
            bad.write_text(text)
            result = self.refuse("bench", "--compare", bad, says=says)
            self.assertNotIn("mutex", result.stderr)
        self.refuse("bench", "--compare", "missing.json", says="missing.json")
        self.refuse("bench", "--compare", ".", says="directory")


if __name__ == "__main__":
    hogpen.main()
