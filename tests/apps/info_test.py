"""`hogpen info`, on this machine and with a driver that is a fake."""
import json
import os
import subprocess
from pathlib import Path

import hogpen


class Info(hogpen.CommandTest):
    def cuda(self, **env):
        return json.loads(self.succeed("info", "--json", env=env).stdout)["cuda"]

    def test_json_is_one_object_with_what_is_true_of_this_machine(self):
        result = self.succeed("info", "--json")
        info = json.loads(result.stdout)
        self.assertEqual(result.stderr, "")
        self.assertRegex(info["libtorch"], r"^2\.\d+")
        self.assertEqual(info["machine"]["cpus_in_affinity_mask"], len(os.sched_getaffinity(0)))
        self.assertLessEqual(info["machine"]["usable_cpus"], len(os.sched_getaffinity(0)))
        self.assertGreater(info["machine"]["memory_available_bytes"], 0)
        self.assertIs(type(info["machine"]["huge_pages"]), bool)
        nodes = len(list(Path("/sys/devices/system/node").glob("node[0-9]*")))
        self.assertIn(info["machine"]["numa_nodes"], range(1, max(nodes, 1) + 1))  # those with CPUs for this process

    def test_usable_cpus_follow_the_affinity_mask(self):
        one = {min(os.sched_getaffinity(0))}
        result = self.succeed("info", "--json", preexec_fn=lambda: os.sched_setaffinity(0, one))
        self.assertEqual(json.loads(result.stdout)["machine"]["usable_cpus"], 1)

    def test_limits_are_those_of_the_shell(self):
        text = subprocess.run(["bash", "-c", 'ulimit -n 500; ulimit -f 2000000; exec "$0" info --json', hogpen.COMMAND],
                              env=hogpen.environment(), capture_output=True, text=True, check=True).stdout
        machine = json.loads(text)["machine"]
        self.assertEqual(machine["max_open_files"], 500)
        self.assertEqual(machine["max_file_bytes"], 2_000_000 * 1024)

    def test_people_get_lines(self):
        text = self.succeed("info").stdout
        for name in ("hogpen", "libtorch", "cpu", "caches", "memory", "limits", "cuda", "fashion-mnist"):
            self.assertRegex(text, rf"(?m)^{name}\b")

    def test_json_and_text_agree_on_the_data_set(self):
        found = json.loads(self.succeed("info", "--json").stdout)["fashion_mnist"]["found"]
        self.assertIn("found: 60000" if found else "not found", self.succeed("info").stdout)

    def test_gpus_are_listed_with_name_and_memory(self):
        cuda = self.cuda(LD_LIBRARY_PATH=hogpen.DRIVERS, FAKE_GPUS=2)
        self.assertEqual(cuda["gpus"], [{"name": "Fake 70", "memory_bytes": 70 << 30},
                                        {"name": "Fake 71", "memory_bytes": 71 << 30}])
        self.assertEqual(cuda["driver_cuda_version"], "13.2")
        self.assertEqual(cuda["trouble"], "")
        self.assertEqual(cuda["usable"], cuda["built"])

    def test_a_driver_without_gpus_is_told_from_no_driver(self):
        cuda = self.cuda(LD_LIBRARY_PATH=hogpen.DRIVERS, FAKE_GPUS=0)
        self.assertEqual(cuda["trouble"], "the NVIDIA driver has no GPU to offer")
        self.assertFalse(cuda["usable"])

    def test_the_drivers_own_error_is_passed_on(self):
        cuda = self.cuda(LD_LIBRARY_PATH=hogpen.DRIVERS, FAKE_GPUS=-100)
        self.assertIn("cuInit says: no CUDA-capable device is detected (error 100)", cuda["trouble"])
        self.assertIn("cuInit says: error 999", self.cuda(LD_LIBRARY_PATH=hogpen.DRIVERS, FAKE_GPUS=-999)["trouble"])

    def test_a_library_that_is_no_driver_is_no_crash(self):
        (self.directory / "libcuda.so.1").symlink_to("/lib/x86_64-linux-gnu/libz.so.1")
        self.assertIn("has no cuDriverGetVersion", self.cuda(LD_LIBRARY_PATH=self.directory)["trouble"])


if __name__ == "__main__":
    hogpen.main()
