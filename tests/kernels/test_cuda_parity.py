"""cuda_parity on the emulated GPU: what it prints and writes; without one its exit code."""
import json
import os
import pathlib
import resource
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
# The address sanitizer would look for leaks in a process of its own, and end what a signal should end.
os.environ["ASAN_OPTIONS"] = ":".join([os.environ.get("ASAN_OPTIONS", ""), "detect_leaks=0", "handle_segv=0"]).lstrip(":")


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

    def test_names_and_options_that_do_not_exist(self):
        self.assertIn("no kernel has the name nothere", self.run_program("--emulated", "--filter", "relu,nothere").stderr)
        for arguments in (("--emulated", "--filter", "relu,nothere"), ("--bogus",)):
            self.assertEqual(self.run_program(*arguments).returncode, 2)
        self.assertEqual(self.run_program("--help").returncode, 0)

    def test_what_is_no_kernel_of_the_catalogue(self):
        fused = cuda_kernel_table.FUSED
        done = self.run_program("--emulated", "--filter", ",".join(["ordered_sum", *fused]))
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        kernels = json.loads(self.out.read_text())["kernels"]
        self.assertEqual(set(kernels), {"ordered_sum", *fused})
        for name in fused:  # the emulated cuBLASLt has epilogues for rows of whole packs
            self.assertTrue(0 < kernels[name]["largest_error"] < 1 and kernels[name]["refused"] > 0, kernels[name])
        self.assertRegex(done.stdout, r"(?m)^linear \+ gelu +passed .*, 24 more without an algorithm$")
        self.assertEqual((kernels["ordered_sum"]["largest_error"], kernels["ordered_sum"]["refused"]), (0, 0))

    def test_in_one_process(self):
        with subprocess.Popen([PROGRAM, "--emulated", "--no-fork", "--out", self.out, "--filter", "attention"], stdout=subprocess.PIPE,
                              text=True) as process:
            children = pathlib.Path(f"/proc/{process.pid}/task/{process.pid}/children")
            while process.poll() is None:
                try:
                    self.assertEqual(children.read_text(), "")
                except (FileNotFoundError, ProcessLookupError):
                    break
                time.sleep(0.01)
            self.assertRegex(process.communicate()[0], "^attention +passed")
            self.assertEqual(process.returncode, 0)

    def test_what_is_known_stays_when_the_program_is_killed_and_its_child_ends_too(self):
        command = [PROGRAM, "--emulated", "--out", self.out, "--filter", "relu,softmax,attention,attention_grad,linear"]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL) as parent:
            child = busy_child(parent.pid)
            while not self.out.exists():
                time.sleep(0.005)
            parent.kill()
        self.assertGreaterEqual(len(json.loads(self.out.read_text())["kernels"]), 1)
        for _ in range(200):
            if not pathlib.Path(f"/proc/{child}/exe").exists():
                return
            time.sleep(0.02)
        self.fail("the child goes on")

    def test_a_kernel_that_does_not_end_is_named_and_the_rest_goes_on(self):
        command = [PROGRAM, "--emulated", "--out", self.out, "--filter", "attention,attention_grad"]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL) as parent:
            os.kill(busy_child(parent.pid), signal.SIGALRM)
            self.assertEqual(parent.wait(100), 1)
        first, second = json.loads(self.out.read_text())["kernels"].values()
        self.assertEqual((first["passed"], first["fault"], first["same_bits"]), (0, "did not end within 120 s", False))
        self.assertEqual((second["passed"], second["fault"]), (second["cases"], ""))

    def test_when_the_device_cannot_be_opened_again_the_rest_has_failed(self):
        command = [PROGRAM, "--emulated", "--out", self.out, "--filter", "attention,attention_grad"]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL) as parent:
            child = busy_child(parent.pid)
            resource.prlimit(parent.pid, resource.RLIMIT_NOFILE, (4, 4))  # room for the report, and none for a pipe
            os.kill(child, signal.SIGSEGV)
            self.assertEqual(parent.wait(100), 1)
        first, second = json.loads(self.out.read_text())["kernels"].values()
        self.assertEqual((first["fault"], first["device"]), ("ended the process by signal 11", "emulated GPU"))
        self.assertEqual((second["passed"], second["same_bits"], second["fault"]),
                         (0, False, "not run: the device cannot be opened again: there is no pipe"))

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
            self.assertTrue(family == "OrderedSum" or f"kernels/cuda/{family}.cpp" in paths, key)
            self.assertTrue(family in ("Linear", "Fusion") or f"kernels/cuda/device/{family}.cu" in paths, key)
            self.assertEqual(family in ("Linear", "Fusion"), "kernels/cuda/plugin/CublasLt.cpp" in paths, key)
            self.assertEqual(family in ("Convolution", "Attention", "AttentionGrad"), "kernels/cuda/plugin/CudnnGraphs.cpp" in paths, key)
        self.assertIn("kernels/random/Philox.h", cuda_kernel_table.sources(ROOT, "Dropout"))


if __name__ == "__main__":
    unittest.main()
