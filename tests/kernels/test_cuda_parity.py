"""cuda_parity on the emulated GPU: what it prints and writes; without one its exit code."""
import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import time
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests/tools"))
import cuda_kernel_table  # noqa: E402

PROGRAM = sys.argv.pop(1)


def busy_child(parent):
    """The child of the process, once it has computed for some time: it is at its first kernel."""
    while True:
        for child in pathlib.Path(f"/proc/{parent}/task/{parent}/children").read_text().split():
            if int(pathlib.Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()[11]) >= 5:
                return int(child)
        time.sleep(0.005)


class Parity(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.out = pathlib.Path(folder.name) / "out.json"

    def run_program(self, *arguments):
        return subprocess.run([PROGRAM, "--out", self.out, *arguments], capture_output=True, text=True, timeout=100)

    def test_a_record_for_each_kernel(self):
        done = self.run_program("--emulated", "--filter", "relu,linear,sgd", "--date", "2026-11-22")
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertRegex(done.stdout, r"(?m)^relu +passed +(\d+) of +\1 cases")
        report = json.loads(self.out.read_text())
        self.assertTrue(report["emulated"])
        self.assertEqual(set(report["kernels"]), {"relu", "linear 2", "sgd"})
        for key, (_, digest) in cuda_kernel_table.kernels(ROOT).items():
            one = report["kernels"].get(cuda_kernel_table.label(*key))
            if one:
                self.assertEqual((one["sources_sha256"], one["date"], one["device"], one["same_bits"], one["fault"]),
                                 (digest, "2026-11-22", "emulated GPU", True, ""))
                self.assertEqual(one["cases"], one["passed"])
        self.assertEqual(report["kernels"]["relu"]["largest_error"], 0)
        self.assertTrue(0 < report["kernels"]["linear 2"]["largest_error"] < 1)

    def test_a_kernel_that_does_not_end_is_named_and_the_rest_goes_on(self):
        command = [PROGRAM, "--emulated", "--out", self.out, "--filter", "attention,attention_grad"]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL) as parent:
            os.kill(busy_child(parent.pid), signal.SIGALRM)
            self.assertEqual(parent.wait(100), 1)
        first, second = json.loads(self.out.read_text())["kernels"].values()
        self.assertEqual((first["passed"], first["fault"], first["same_bits"]), (0, "did not end within 120 s", False))
        self.assertEqual((second["passed"], second["fault"]), (second["cases"], ""))

    def test_without_a_gpu(self):
        if pathlib.Path("/dev/nvidiactl").exists():
            self.skipTest("this machine has one")
        done = self.run_program()
        self.assertEqual(done.returncode, 3, done.stdout)
        self.assertRegex(done.stderr, "^cuda_parity: error: .*(no NVIDIA|this build has no CUDA)")
        self.assertFalse(self.out.exists())


class Sources(unittest.TestCase):
    def test_every_kernel_has_its_code(self):
        for key, (family, _) in cuda_kernel_table.kernels(ROOT).items():
            paths = cuda_kernel_table.sources(ROOT, family)
            self.assertIn(f"kernels/cuda/{family}.cpp", paths)
            self.assertTrue(family == "Linear" or f"kernels/cuda/device/{family}.cu" in paths, key)


if __name__ == "__main__":
    unittest.main()
