"""run-suite.sh with programs that say what a GPU might have made of them: its steps, its limits, its report; and --pack."""
import json
import os
import subprocess
import sys
import tempfile
import textwrap
import unittest
from pathlib import Path

HERE = Path(__file__).resolve().parent
BUILD = Path(os.environ["HOGPEN_GPU_SUITES"]).parent
MIB = 1 << 20
NOT_MET, WRONG_USAGE, NO_GPU = 1, 2, 4

# What `hogpen` would say. A training with one process makes 2 M samples/s, more of them as many, threads 4 M; BY_ROUND is
# by how much more in the first, second, … round.
HOGPEN = """
import json, os, re, sys
command, arguments = sys.argv[1], " ".join(sys.argv)
if command == "info":
    print(json.dumps({"commit": "0123456789ab"}))
elif command == "train":
    rate = 4e6 if "--workers-as threads" in arguments else 2e6
    if round := re.search(r"rate_\d_[a-z]+_(\d)", arguments):
        rate *= json.loads(os.environ.get("BY_ROUND", "[1]"))[int(round[1]) - 1]
    accuracy = CPU_ACCURACY if "--device cpu" in arguments else 0.87
    print(json.dumps({"samples": 1000000, "seconds_after_first_step": 1000000 / rate, "accuracy": accuracy,
                      "epochs": int(re.search(r"--epochs (\d+)", arguments)[1])}))
elif "elementwise" in arguments:
    print(json.dumps({"figures": [{"name": "exp", "series": "CUDA resident", "percent_of_limit": 93.5},
                                  {"name": "exp", "series": "16 threads", "percent_of_limit": 50}]}))
else:
    print(json.dumps({"figures": []}))
"""
GPU_SUITE = """
import json, sys
names = ["T1", "T2", "T3", "T4", "T5", "T6", "T7", "T8", "T9", "T10", "T11", "T12", "T13"]
cases = [{"name": name, "about": "", "outcome": "recorded" if name in ("T2", "T10", "T11") else "passed", "reason": "",
          "numbers": {"attach_ms_most": 1.5} if name == "T11" else {}} for name in names]
json.dump({"gpu": {"name": "a GPU"}, "cases": cases}, open(sys.argv[sys.argv.index("--json") + 1], "w"))
"""
GTEST = """
import json, sys
file = next((argument.split(":", 1)[1] for argument in sys.argv if argument.startswith("--gtest_output=")), "/dev/null")
json.dump({"testsuites": [{"testsuite": [{"result": "COMPLETED"}, {"result": "SKIPPED"}]}]}, open(file, "w"))
"""
TORCH = "import json; print(json.dumps({'samples_per_second': 300000}))"


class RunSuite(unittest.TestCase):
    def setUp(self):
        directory = tempfile.TemporaryDirectory(prefix="hogpen-run-suite-")
        self.addCleanup(directory.cleanup)
        self.directory = Path(directory.name)
        self.suite = self.directory / "packed"
        for name in ("run-suite.sh", "suite_report.py"):
            self.write(name, (HERE / name).read_text())
        self.program("apps/hogpen", HOGPEN.replace("CPU_ACCURACY", "0.875"))
        self.program("tests/gpu_suite", GPU_SUITE)
        self.program("tests/some_gpu_test", GTEST)
        self.program("torch_eager.py", TORCH)
        self.program("bin/compute-sanitizer", "import os, sys; os.execv(sys.argv[3], sys.argv[3:])")  # behind --error-exitcode 9
        (self.suite / "fashion-mnist").mkdir()
        (self.directory / "torch").mkdir()

    def write(self, name, text):
        file = self.suite / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        file.chmod(0o755)

    def program(self, name, text):
        self.write(name, f"#!{sys.executable}\n{textwrap.dedent(text)}")

    def run_suite(self, *arguments, code=0, quick=True, **environment):
        """Its report; what it said is in self.said."""
        variables = os.environ | {"HOGPEN_PYTHON": sys.executable, "HOGPEN_TORCH_ROOT": str(self.directory / "torch")}
        variables |= {"PATH": f"{self.suite / 'bin'}:{os.environ['PATH']}"} | environment
        command = [self.suite / "run-suite.sh", "--out", "out", *(["--quick"] if quick else []), *arguments]
        result = subprocess.run(command, cwd=self.directory, env=variables, capture_output=True, text=True, timeout=100,
                                check=False)
        self.said = result.stdout + result.stderr
        self.assertEqual(result.returncode, code, self.said)
        file = self.directory / "out" / "results.json"
        return json.loads(file.read_text()) if file.exists() else None

    def goals(self, report):
        return {goal["goal"]: goal for goal in report["goals"]}

    def test_all_goals_met(self):
        report = self.run_suite()
        self.assertEqual({goal["met"] for goal in report["goals"]}, {True}, self.said)
        self.assertEqual(report["commit"], "0123456789ab")
        self.assertEqual(report["rates"]["1 processes"], 2e6)
        goals = self.goals(report)
        self.assertEqual(goals["the default model at batch 64: 3 M samples/s"]["found"], 4e6)
        self.assertEqual(goals["exp and square in GPU memory: 90 % of a copy's rate"]["found"], 93.5)
        self.assertAlmostEqual(goals["10 times PyTorch eager"]["found"], 13.33, 2)
        self.assertEqual(goals["some_gpu_test"]["found"], "1 passed, 1 skipped")
        self.assertEqual({step["outcome"] for step in report["steps"]}, {"done"})
        self.assertIn("met          T1", self.said)

    def test_a_goal_that_is_not_met(self):
        self.program("torch_eager.py", TORCH.replace("300000", "500000"))
        self.program("apps/hogpen", HOGPEN.replace("CPU_ACCURACY", "0.9"))
        goals = self.goals(self.run_suite(code=NOT_MET))
        missed = [name for name, goal in goals.items() if goal["met"] is False]
        self.assertEqual(missed, ["10 times PyTorch eager", "the mlp is as accurate as on CPUs, give or take 1 %",
                                  "the convnet is as accurate as on CPUs, give or take 1 %"])
        self.assertIn("NOT MET      10 times PyTorch eager: 8", self.said)

    def test_a_case_that_failed(self):
        self.program("tests/gpu_suite", GPU_SUITE.replace('"passed"', '"failed" if name == "T4" else "passed"')
                     + "sys.exit(1)\n")
        report = self.run_suite(code=NOT_MET)
        self.assertEqual([goal["goal"] for goal in report["goals"] if goal["met"] is False], ["T4 "])

    def test_what_fails_does_not_stop_the_rest(self):
        self.program("tests/gpu_suite", "raise SystemExit(3)")
        self.program("tests/some_gpu_test", "import os; os.abort()")
        report = self.run_suite(code=NOT_MET)
        outcomes = {step["name"]: step["outcome"] for step in report["steps"]}
        self.assertEqual(outcomes["gpu_suite"], "failed with exit code 3")
        self.assertEqual(outcomes["bench_elementwise"], "done")
        goals = self.goals(report)
        self.assertIsNone(goals["some_gpu_test"]["met"])
        self.assertTrue(goals["10 times PyTorch eager"]["met"])

    def test_what_hangs_is_ended_and_what_has_no_time_left_is_named(self):
        self.program("tests/some_gpu_test", "import time; time.sleep(600)")
        report = self.run_suite("--seconds", "5", code=NOT_MET)
        outcomes = [step["outcome"] for step in report["steps"]]
        self.assertTrue(any(outcome.startswith("timed out after") for outcome in outcomes), outcomes)
        self.assertEqual(outcomes[-1], "no time left")
        self.assertLess(report["seconds"], 30)
        self.assertIs(self.goals(report)["some_gpu_test"]["met"], False)
        self.assertRegex(self.said, r"NOT MET +some_gpu_test: timed out after \d s")
        self.assertRegex(self.said, r"FAILED +some_gpu_test: timed out after \d s")
        self.assertRegex(self.said, r"left out +bench_gpu: no time left")

    def test_a_step_that_timed_out_is_a_failure_though_all_goals_are_met(self):
        self.run_suite()
        steps = self.directory / "out" / "steps.tsv"
        steps.write_text(steps.read_text().replace("bench_gpu\t0\t0\t", "bench_gpu\t124\t40\t"))
        report = self.run_suite("--report-only", code=NOT_MET)
        self.assertEqual({goal["met"] for goal in report["goals"]}, {True})
        self.assertRegex(self.said, r"FAILED +bench_gpu: timed out after 40 s")

    def test_a_rate_is_the_median_of_runs_of_some_seconds(self):
        report = self.run_suite(quick=False, BY_ROUND="[0.5, 1, 3]")
        self.assertEqual({rate.split("_")[-1] for rate in report["outputs"] if rate.startswith("rate_1_processes")},
                         {"1", "2", "3"})
        self.assertEqual(report["rates"]["1 processes"], 2e6)  # the median of 1, 2 and 6 M
        self.assertEqual(report["outputs"]["rate_1_processes_1"]["epochs"], 120)  # 3 s, when 20 epochs take half a second
        self.assertEqual(self.goals(report)["the default model at batch 64: 3 M samples/s"]["found"], 4e6)
        names = [step["name"] for step in report["steps"]]
        self.assertEqual(names[-2:], ["sanitized_some_gpu_test", "bench_gpu"])

    def test_without_a_gpu(self):
        self.program("tests/gpu_suite", "import json, sys\njson.dump({'gpu': {'trouble': 'none'}, 'cases': []}, "
                                        "open(sys.argv[sys.argv.index('--json') + 1], 'w'))\nsys.exit(4)")
        self.run_suite(code=NO_GPU)

    def test_without_data_trainings_are_skipped_with_the_reason(self):
        (self.suite / "fashion-mnist").rmdir()
        if Path("/usr/share/datasets/fashion-mnist").exists():
            self.skipTest("Fashion-MNIST is installed")
        report = self.run_suite(code=NOT_MET)
        self.assertTrue(any("apt-get install dataset-fashion-mnist" in step["outcome"] for step in report["steps"]))

    def test_the_report_can_be_made_again(self):
        before = self.run_suite()
        (self.directory / "out" / "results.json").unlink()
        self.assertEqual(self.run_suite("--report-only")["goals"], before["goals"])

    def test_wrong_options_are_refused(self):
        for arguments in (["--nonsense"], ["--seconds", "0"], ["--seconds"]):
            self.assertIsNone(self.run_suite(*arguments, code=WRONG_USAGE))
        self.assertIn("HOGPEN_TORCH_ROOT", subprocess.run([HERE / "run-suite.sh", "--help"], capture_output=True, text=True,
                                                           check=True).stdout)


@unittest.skipIf(os.environ.get("HOGPEN_TEST_SANITIZER"), "a sanitizer makes programs large")
class Pack(unittest.TestCase):
    def test_a_packed_folder_is_small_and_its_programs_start(self):
        with tempfile.TemporaryDirectory(prefix="hogpen-pack-") as name:
            packed = Path(name) / "packed"
            subprocess.run([HERE / "run-suite.sh", "--build", BUILD, "--pack", packed], check=True, capture_output=True)
            self.assertLess(sum(file.stat().st_size for file in packed.rglob("*")), 60 * MIB)
            for command in (["tests/gpu_suite", "--help"], ["apps/hogpen", "--version"], ["run-suite.sh", "--help"]):
                subprocess.run([packed / command[0], command[1]], check=True, capture_output=True)
            for part in ("suite_report.py", "torch_eager.py", "tests/fake_cuda/libcuda.so.1", "tests/update_gpu_test"):
                self.assertTrue((packed / part).is_file(), part)


if __name__ == "__main__":
    unittest.main()
