"""The measuring kit for GPUs on a machine without one: packed, unpacked elsewhere, every step tried and reported."""
import json
import os
import pathlib
import subprocess
import sys
import tarfile
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(sys.argv.pop(1))
MEASURED = ["train gpt2_p1", "train gpt2_p2", "train gpt2_p4", "train gpt2_p4_gpipe", "train gpt2_p4_zb_h1", "train gpt2_p4 again"]
LOSSES = [f"losses beside the host: {model}" for model in ("fashion_mlp", "gpt_mini", "resnet18")]
BITS = ["bits: two runs", "bits: schedules of 4 stages", "bits: 1, 2 and 4 stages"]


@unittest.skipIf(os.path.exists("/dev/nvidiactl"), "this machine has a GPU")
class Kit(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.made = tempfile.TemporaryDirectory()
        cls.addClassCleanup(cls.made.cleanup)
        cls.folder = pathlib.Path(cls.made.name)
        archive = cls.folder / "kit.tar.gz"
        subprocess.run([ROOT / "bench/gpu/pack", archive, "--build", BUILD], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        with tarfile.open(archive) as packed:
            packed.extractall(cls.folder, filter="data") if hasattr(tarfile, "data_filter") else packed.extractall(cls.folder)

    def run_kit(self, *options):
        out = self.folder / "report"
        done = subprocess.run([self.folder / "gpu_kit/run", out, "--date", "2026-11-22", *options], capture_output=True, text=True)
        report = json.loads((out / "report.json").read_text())
        return done, {entry["name"]: entry for entry in report["steps"]}, out

    def expect_no_gpu(self, steps):
        for name in MEASURED + LOSSES:
            self.assertEqual(steps[name]["state"], "not run", steps[name])
            self.assertRegex(steps[name]["why"], "no NVIDIA|has no CUDA")
        for name in BITS:
            self.assertRegex(steps[name]["why"], "did not train: gpt2_p")

    def test_what_needs_no_gpu_runs_and_the_rest_says_why_not(self):
        done, steps, out = self.run_kit("--emulated")
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertEqual(steps["every kernel beside its reference"]["result"], {"kernels": 4})
        self.assertEqual(steps["training on the host"]["state"], "passed")
        self.expect_no_gpu(steps)
        kernels = json.loads((out / "cuda_parity.json").read_text())
        self.assertTrue(kernels["emulated"])
        self.assertEqual(set(kernels["kernels"]), {"relu", "linear 2", "adam", "softmax"})
        text = (out / "report.md").read_text()
        self.assertIn("# No GPU, 2026-11-22", text)
        self.assertIn("| train gpt2_p1 | not run |", text)
        self.assertNotIn("tokens/s", text)

    def test_a_step_that_fails_is_reported_and_the_rest_goes_on(self):
        plan = self.folder / "gpu_kit/stages/gpt2_p1.stage"
        kept = plan.read_bytes()
        self.addCleanup(plan.write_bytes, kept)
        plan.write_bytes(kept[:1000])
        done, steps, _ = self.run_kit()
        self.assertEqual(done.returncode, 1, done.stdout + done.stderr)
        self.assertEqual(steps["train gpt2_p1"]["state"], "failed")
        self.assertIn("gpt2_p1.stage", steps["train gpt2_p1"]["why"])
        self.assertEqual(steps["train gpt2_p2"]["state"], "not run")
        self.assertEqual(steps["every kernel beside its reference"]["state"], "not run")

    def test_without_a_gpu_nothing_is_measured(self):
        done, steps, out = self.run_kit()
        self.assertEqual(done.returncode, 3, done.stdout + done.stderr)
        self.expect_no_gpu(steps)
        self.assertNotIn("passed", {entry["state"] for entry in steps.values()})


if __name__ == "__main__":
    unittest.main()
