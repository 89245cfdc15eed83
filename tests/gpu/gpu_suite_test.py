"""gpu_suite on the fake driver: what needs no kernel runs, what is broken fails, and nothing hangs."""
import json
import os
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

PROGRAMS = Path(os.environ["HOGPEN_GPU_SUITES"])
FAKES = Path(os.environ["HOGPEN_TEST_DRIVER"]).parent
PASSED = {"T1", "T7", "T9", "T12", "T13"}
RECORDED = {"T2", "T11"}
NEED_KERNELS = {"T3", "T4", "T5", "T6", "T8", "T10"}
FAILED, WRONG_USAGE, NO_GPU = 1, 2, 4


class GpuSuite(unittest.TestCase):
    def setUp(self):
        directory = tempfile.TemporaryDirectory(prefix="hogpen-gpu-suite-test-")
        self.addCleanup(directory.cleanup)
        self.directory = Path(directory.name)

    def run_suite(self, *arguments, program="gpu_suite", code=0, **environment):
        """The results by case, of a small run."""
        file = self.directory / "results.json"
        variables = os.environ | {"LD_LIBRARY_PATH": str(FAKES), "FAKE_GPUS": "2"} | environment
        variables["TMPDIR"] = str(self.directory)  # What is killed leaves its temporary files there.
        command = [PROGRAMS / program, "--scale", "0.01", "--json", file, *arguments]
        result = subprocess.run(command, env=variables, capture_output=True, text=True, timeout=120, check=False)
        self.assertEqual(result.returncode, code, result.stdout + result.stderr)
        self.report = json.loads(file.read_text()) if file.exists() else None
        self.said = result.stdout + result.stderr
        return {case["name"]: case for case in self.report["cases"]} if self.report else {}

    def names(self, cases, outcome):
        return {name for name, case in cases.items() if case["outcome"] == outcome}

    def contract(self, text):
        """A program in the place of device_memory_test."""
        file = self.directory / "contract"
        file.write_text(f"#!{sys.executable}\nimport json, sys, time\nfile = sys.argv[1].split(':', 1)[1]\n{text}\n")
        file.chmod(0o755)
        return file

    def test_all_that_needs_no_kernel_runs(self):
        cases = self.run_suite()
        self.assertEqual(self.names(cases, "passed"), PASSED, self.said)
        self.assertEqual(self.names(cases, "recorded"), RECORDED)
        self.assertEqual(self.names(cases, "skipped"), NEED_KERNELS)
        self.assertEqual(cases["T1"]["numbers"]["kills"], 10)
        self.assertGreater(cases["T1"]["numbers"]["attach_ms_most"], 0)
        self.assertEqual(cases["T2"]["numbers"]["late_attach_refused"], 10)
        self.assertEqual(cases["T7"]["numbers"]["small_pieces"], 100)
        self.assertGreater(cases["T9"]["numbers"]["page_locked_both_gb_per_s"], 0)
        self.assertGreater(cases["T11"]["numbers"]["context_ms_median"], 0)
        self.assertTrue(cases["T12"]["numbers"]["by_copy_refused"])
        self.assertGreater(cases["T13"]["numbers"]["passed"], 60)

    def test_the_report_is_whole(self):
        self.run_suite()
        self.assertEqual(self.report["gpu_suite"], 1)
        self.assertEqual(self.report["gpu"]["name"], "Fake 70")
        self.assertTrue(self.report["gpu"]["is_fake"])
        self.assertFalse(self.report["kernels"])
        self.assertEqual([case["name"] for case in self.report["cases"]], [f"T{i}" for i in range(1, 14)])
        for case in self.report["cases"]:
            self.assertEqual(set(case), {"name", "about", "outcome", "reason", "seconds", "numbers"})
            self.assertEqual(bool(case["reason"]), case["outcome"] == "skipped")
            self.assertIn(case["about"], self.said)

    def test_kernels_on_the_host_show_that_the_other_cases_run(self):
        cases = self.run_suite("T3", "T4", "T5", "T6", "T8", "T10", "T12", program="gpu_suite_on_host")
        self.assertEqual(self.names(cases, "passed"), {"T3", "T4", "T5", "T6", "T8", "T12"}, self.said)
        self.assertEqual(cases["T3"]["numbers"]["kills"], 8)
        self.assertEqual(cases["T4"]["numbers"]["sum"], 8 * 100 * 1000)
        self.assertEqual(cases["T5"]["numbers"]["lost_percent_1000_cells_1_processes"], 0)
        self.assertTrue(cases["T12"]["numbers"]["by_kernel_refused"])
        self.assertGreater(cases["T10"]["numbers"]["launches_per_s_8_streams"], 0)

    def test_a_driver_without_descriptors_fails_what_is_shared_by_them(self):
        cases = self.run_suite("T1", "T2", "T9", code=FAILED, FAKE_NO_DESCRIPTORS="1")
        self.assertEqual(self.names(cases, "failed"), {"T1"})
        self.assertRegex(cases["T1"]["reason"], r"^(im|ex)porter \(pid \d+\) .*cuMemCreate says")
        self.assertEqual(self.names(cases, "recorded"), {"T2"})
        self.assertEqual(self.names(cases, "passed"), {"T9"})

    def test_a_process_that_is_killed_by_another_hand_is_named(self):
        kill = f"importer:20:{self.directory / 'killed'}"
        case, = self.run_suite("T1", code=FAILED, FAKE_KILL=kill).values()
        self.assertRegex(case["reason"], r"^importer \(pid \d+\) was killed by SIGKILL")
        case, = self.run_suite("T2", FAKE_KILL=kill.replace("killed", "killed_too")).values()
        self.assertEqual((case["outcome"], case["numbers"]["rounds_that_failed"]), ("recorded", 1))

    def test_a_contract_that_is_broken_fails(self):
        results = {"testsuites": [{"name": "A", "testsuite": [{"name": "Good", "result": "COMPLETED"},
                                                              {"name": "Bad", "result": "COMPLETED", "failures": [1]}]}]}
        program = self.contract(f"json.dump({results}, open(file, 'w'))\nsys.exit(1)")
        case, = self.run_suite("T13", "--contract", program, code=FAILED).values()
        self.assertEqual(case["reason"], "1 of 2 cases failed, the first is A.Bad")
        case, = self.run_suite("T13", "--contract", self.contract("sys.exit(3)"), code=FAILED).values()
        self.assertIn("contract has left no results", case["reason"])
        case, = self.run_suite("T13", "--contract", self.directory / "missing").values()
        self.assertEqual(case["outcome"], "skipped")

    def test_what_hangs_is_killed(self):
        program = self.contract("time.sleep(600)")
        case, = self.run_suite("T13", "--contract", program, "--limit", "1", code=FAILED).values()
        self.assertEqual(case["reason"], "it hung, and was killed after 2 s")
        self.assertLess(case["seconds"], 30)

    def test_without_a_gpu_all_is_skipped_with_the_drivers_reason(self):
        cases = self.run_suite(code=NO_GPU, FAKE_GPUS="0")
        self.assertEqual(len(self.names(cases, "skipped")), 13)
        self.assertEqual({case["reason"] for case in cases.values()}, {"the NVIDIA driver has no GPU to offer"})

    def test_a_case_that_is_not_there_is_refused(self):
        self.assertEqual(self.run_suite("T99", code=WRONG_USAGE), {})


if __name__ == "__main__":
    unittest.main()
