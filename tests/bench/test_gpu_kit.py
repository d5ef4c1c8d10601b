"""The measuring kit for GPUs on a machine without one: packed, unpacked elsewhere, every step tried and reported; and what it makes of
programs that fail in the ways of a machine with one."""
import importlib.machinery
import importlib.util
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import unittest

from fake_kit import GPT2, PARITY, FakeKit, kernel, training

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(sys.argv.pop(1))
MEASURED = ["train gpt2_p1", "train gpt2_p2", "train gpt2_p4", "train gpt2_p4_gpipe", "train gpt2_p4_zb_h1", "train gpt2_p4 again"]
LOSSES = [f"losses beside the host: {model}" for model in ("fashion_mlp", "gpt_mini", "resnet18")]
HERE = ["glibc", "the program starts", "libraries"]  # what needs no GPU
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

    def test_the_kit_says_which_glibc_it_needs(self):
        files = [file for part in ("bin", "lib") for file in (self.folder / "gpu_kit" / part).rglob("*") if file.is_file()]
        self.assertIn("libmpi.so.40", {file.name for file in files})
        symbols = "".join(subprocess.run(["nm", "-D", file], capture_output=True, text=True).stdout for file in files)
        needed = {tuple(map(int, version.split("."))) for version in re.findall(r"@GLIBC_([\d.]+)", symbols)}
        self.assertEqual(json.loads((self.folder / "gpu_kit/kit.json").read_text())["glibc"], ".".join(map(str, max(needed))))

    def test_libraries_are_packed_when_they_are_asked_for(self):
        self.assertEqual(list((self.folder / "gpu_kit/lib/cuda").iterdir()), [])
        source, target = self.folder / "toolkit", self.folder / "large_kit"
        source.mkdir()
        names = {"libcublasLt.so.13", "libcudnn.so.9", "libcudnn_graph.so.9", "libnvrtc.so.13", "libnvrtc-builtins.so.13.0"}
        for name in names:
            shutil.copy2(shutil.which("true"), source / f"{name}.88")
            (source / name).symlink_to(f"{name}.88")
        subprocess.run([ROOT / "bench/gpu/pack", target, "--build", BUILD, "--with-libraries"], check=True, stdout=subprocess.DEVNULL,
                       stderr=subprocess.DEVNULL, env={**os.environ, "LD_LIBRARY_PATH": str(source)})
        self.assertEqual({file.name for file in (target / "lib/cuda").iterdir() if not file.is_symlink()}, names)

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
        self.assertIn("4 of 4 kernels are right, on the emulated GPU", text)
        self.assertRegex(text, r"\nSteps: \d passed, 0 failed, \d+ not run\.\n")
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
        self.assertLessEqual({name for name, entry in steps.items() if entry["state"] == "passed"}, set(HERE))
        self.assertRegex(steps["GPU"]["why"], "no NVIDIA|has no CUDA")


def module(name, path):
    loader = importlib.machinery.SourceFileLoader(name, str(path))
    made = importlib.util.module_from_spec(importlib.util.spec_from_loader(name, loader))
    loader.exec_module(made)
    return made


class Fakes(unittest.TestCase):
    def setUp(self):
        self.kit = FakeKit(self)

    def expect(self, steps, name, state, why="^"):
        self.assertEqual(steps[name]["state"], state, steps[name])
        self.assertRegex(steps[name].get("why", ""), why)

    def test_a_machine_where_all_is_right(self):
        code, steps, text = self.kit.run()
        self.assertEqual({name for name, entry in steps.items() if entry["state"] != "passed"}, {"PyTorch with torch.compile"}, steps)
        self.assertEqual(code, 0)
        self.assertTrue(text.startswith("# Fake GPU, driver 580.1, 2026-11-22\n"))
        self.assertIn(f"\nSteps: {len(steps) - 1} passed, 0 failed, 1 not run.\n", text)
        self.assertIn("| gpt2_p1 | 10,752 | 1,024 | 2,048 |", text)
        self.assertIn("| 10.9500, 10.8400 | attention 24 of 26 |", text)
        self.assertIn("cuDNN's first refusal, resnet18: no plan / for that", text)
        self.assertIn("3 of 3 kernels are right", text)
        self.assertIn("| linear + gelu | 3 of 3 | 2 | 0.25 |  |", text)
        self.assertIn("| ordered_sum | 3 of 3 | 0 | 0 |  |", text)
        self.assertEqual(steps["the program starts"]["result"]["with"], "the system's libraries")
        self.assertEqual(steps["libraries"]["result"]["libcudnn.so.9"], str(self.kit.folder / "lib/cuda/libcudnn.so.9"))
        calls = self.kit.calls()
        self.assertTrue(any(re.search(r"^cuda_parity .*--seconds 30", call) for call in calls))
        self.assertTrue(any(re.search(r"^compute-sanitizer --tool racecheck .*cuda_parity --no-fork", call) for call in calls))

    def test_an_error_of_cuda_is_a_failure_where_there_is_a_gpu(self):
        error = {"code": 3, "err": "stagewright: error: cudaLaunchKernelExC: an illegal memory access was encountered\n"}
        plans = ("gpt2_p1", "gpt2_p2", "gpt2_p4", "gpt2_p4_gpipe", "gpt2_p4_zb_h1", "fashion_mlp")
        code, steps, _ = self.kit.run({f"train {plan} cuda": error for plan in plans} | {"memcheck": error})
        self.assertEqual(code, 1)
        for name in ["train gpt2_p1", "train gpt2_p4 again", "losses beside the host: fashion_mlp", "compute-sanitizer memcheck"]:
            self.expect(steps, name, "failed", "illegal memory access")
        self.expect(steps, "losses: 1, 2 and 4 stages", "not run", "did not train: gpt2_p1")
        self.expect(steps, "losses beside the host: gpt_mini", "passed")

    def test_a_driver_that_is_too_old_is_a_failure(self):
        old = {"code": 3, "err": "cuda_parity: error: CUDA: there is no NVIDIA driver on this machine, or one that is too old\n"}
        code, steps, _ = self.kit.run({"cuda_parity": old, "train gpt2_p1 cuda": old})
        self.assertEqual(code, 1)
        for name in ("GPU", "every kernel beside its reference", "train gpt2_p1"):
            self.expect(steps, name, "failed", "too old")

    @unittest.skipIf(os.path.exists("/dev/nvidiactl"), "this machine has a GPU")
    def test_no_gpu(self):
        for text, code in (("there is no NVIDIA GPU on this machine", 3), ("cudaGetDeviceCount: initialization error", 1)):
            none = {"code": 3, "err": f"error: CUDA: {text}; do this\n"}
            trainings = {key: none for key in ("train cuda", *(f"train {plan} cuda" for plan in ("gpt2_p1", "gpt2_p2", "gpt2_p4")))}
            found, steps, _ = self.kit.run({"name": {"code": 9}, "cuda_parity": none, "memcheck": none, "racecheck": none, **trainings})
            self.assertEqual(found, code)
            for name in ("GPU", "every kernel beside its reference", "train gpt2_p1", "compute-sanitizer racecheck"):
                self.expect(steps, name, "not run" if code == 3 else "failed", text)

    def test_what_was_not_run_as_the_time_was_over_is_no_success(self):
        slow = {key: {**training(GPT2), "seconds": 0.7} for key in (f"train {plan} cuda" for plan in ("gpt2_p1", "gpt2_p2", "gpt2_p4"))}
        code, steps, text = self.kit.run(slow, "--seconds", "6")
        self.expect(steps, "compute-sanitizer racecheck", "not run", "the 6 s are over")
        self.assertNotIn("failed", {entry["state"] for entry in steps.values()})
        self.assertEqual(code, 1)
        late = sum(entry.get("time_over", False) for entry in steps.values())
        self.assertIn(f" not run ({late} as the time was over).", text)

    def test_a_step_that_does_not_end_is_stopped_with_its_children_and_what_it_said_stays(self):
        stuck = {"out": "relu passed\nlinear hangs\n", "file": {**PARITY, "kernels": {"relu": kernel(), "linear 2": kernel(passed=1, fault="far off")}},
                 "seconds": 100, "child": True}
        code, steps, text = self.kit.run({"cuda_parity": stuck}, "--seconds", "6")
        self.assertEqual(code, 1)
        self.expect(steps, "GPU", "failed", "did not end within .* linear hangs")
        self.assertIn("linear hangs\n[stopped]", (self.kit.out / "log.txt").read_text())
        left = [path for path in pathlib.Path("/proc").glob("[0-9]*/cmdline") if str(self.kit.folder).encode() in self.read(path)]
        self.assertEqual(left, [])

    @staticmethod
    def read(path):
        try:
            return path.read_bytes()
        except OSError:
            return b""

    def test_what_the_kernels_have_shown_stays_when_they_fail(self):
        kernels = {"relu": kernel(), "linear 2": kernel(passed=1, largest_error=None, fault="y[0] is nan | not 1")}
        answer = {"code": 1, "out": "linear 2  FAILED 1 of 3\n", "file": {**PARITY, "kernels": kernels}}
        code, steps, text = self.kit.run({"cuda_parity": answer})
        self.assertEqual(code, 1)
        self.expect(steps, "every kernel beside its reference", "failed", "^linear 2  FAILED")
        self.assertIn("1 of 2 kernels are right", text)
        self.assertIn("| linear 2 | 1 of 3 | 0 | infinite | y[0] is nan / not 1 |", text)

    def test_losses_are_looked_at(self):
        code, steps, _ = self.kit.run({
            "train gpt2_p1 cuda": training([12.0] + GPT2[1:]), "train gpt2_p2 cuda": training(GPT2[:5] + [None] * 7),
            "train gpt2_p4 cuda": training(GPT2[:11] + [11.2]), "train gpt2_p4_gpipe cuda": training([0.0] * 12),
            "train resnet18 cuda": training([2.3, 2.3, 2.3]), "train gpt_mini cuda": training([2.3] * 5 + [2.31]),
            "train replicas cuda": training([None] * 6)})
        self.assertEqual(code, 1)
        for name, why in (("train gpt2_p1", "first loss is 12.0000: more than 0.3 from .* 10.8249"), ("train gpt2_p2", "not finite"),
                          ("train gpt2_p4", "has risen from 10.9500 to 11.2000"), ("train gpt2_p4_gpipe", "first loss is 0.0000"),
                          ("losses beside the host: resnet18", "3 losses, and 4 of the host, for 4 steps"),
                          ("losses beside the host: gpt_mini", "more than 1e-04"), ("losses beside the host: replicas", "not finite")):
            self.expect(steps, name, "failed", why)

    def test_stages_apart(self):
        code, steps, _ = self.kit.run({"train gpt2_p2 cuda": training([loss * 1.015 for loss in GPT2], state_sha256="0" * 64)})
        self.assertEqual(code, 1)
        self.expect(steps, "train gpt2_p2", "passed")
        self.expect(steps, "losses: 1, 2 and 4 stages", "failed", "1.5e-02 apart, more than 1e-02")
        self.expect(steps, "bits: 1, 2 and 4 stages", "failed", "gpt2_p2 0000")

    def test_a_c_library_that_is_too_old(self):
        code, steps, _ = self.kit.run(kit={"glibc": "99.1"})
        self.assertEqual(code, 1)
        self.expect(steps, "glibc", "failed", r"needs glibc 99\.1 or newer, and this machine has glibc \d.*: build and pack")
        self.expect(self.kit.run(kit={"glibc": "2.4"})[1], "glibc", "passed")  # as a number 2.4 is more than 2.36

    def test_packed_libraries_are_for_machines_that_lack_them(self):
        self.assertEqual(self.kit.run({"start cuda_parity": {"needs": "lib/linked"}})[1]["the program starts"]["result"]["with"],
                         "packed libraries")
        code, steps, _ = self.kit.run({"start stagewright": {"needs": "nowhere"}})
        self.assertEqual(code, 1)
        self.expect(steps, "the program starts", "failed", "neither .* error while loading shared libraries")

    def test_what_the_sanitizer_says(self):
        for tool, text, state in (("memcheck", "========= Error: Device not supported. Please refer to", "not run"), ("racecheck", "hello", "failed"),
                                  ("memcheck", "Target application terminated before first instrumented API call\nERROR SUMMARY: 0 errors", "failed")):
            code, steps, _ = self.kit.run({tool: {"out": text + "\n", "code": int(state == "not run")}})
            self.expect(steps, f"compute-sanitizer {tool}", state)
            self.assertEqual(code, int(state == "failed"))

    def test_an_answer_that_is_no_number(self):
        code, steps, text = self.kit.run({"memory.used": {"out": "[N/A]\n"}})
        self.assertEqual((code, steps["train gpt2_p1"]["result"]["nvidia_smi_bytes"]), (0, None))


class Machine(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        self.machine = module("machine", ROOT / "bench/gpu/machine.py")

    def test_where_libraries_are_looked_for(self):
        python, conda = self.folder / "python", self.folder / "conda/lib"
        for folder in (python / "cu13/lib", python / "cudnn/lib", conda):
            folder.mkdir(parents=True)
        (self.folder / "python3").write_text(f"#!/bin/sh\necho {python}\n")
        (self.folder / "python3").chmod(0o755)
        kept = dict(os.environ)
        self.addCleanup(lambda: (os.environ.clear(), os.environ.update(kept)))
        os.environ.update(PATH=f"{self.folder}:{kept['PATH']}", CONDA_PREFIX=str(self.folder / "conda"), LD_LIBRARY_PATH="/first:/second")
        folders = self.machine.library_folders("/kit/lib/cuda")
        self.assertEqual(folders[:4], ["/first", "/second", "/kit/lib/cuda", "/usr/local/cuda/lib64"])
        self.assertEqual(folders[-3:], [str(python / "cu13/lib"), str(python / "cudnn/lib"), str(conda)])

    def test_what_belongs_together_comes_from_one_folder(self):
        one, other, links = (self.folder / name for name in ("one", "other", "links"))
        for folder, names in ((one, ["libcublasLt.so.13", "libcudnn_ops.so.9", "libz.so.1"]),
                              (other, ["libcublasLt.so.13", "libcudnn.so.9", "libcudnn_ops.so.9"]), (links, [])):
            folder.mkdir()
            for name in names:
                (folder / name).touch()
        found = self.machine.find_libraries([str(one), str(other)])
        self.assertEqual(found, {"libcublasLt.so.13": f"{one}/libcublasLt.so.13", "libcudnn.so.9": f"{other}/libcudnn.so.9", "libnvrtc.so.13": None})
        self.machine.link_libraries(found, links)
        self.assertEqual({link.name: link.resolve().parent.name for link in links.iterdir()},
                         {"libcublasLt.so.13": "one", "libcudnn.so.9": "other", "libcudnn_ops.so.9": "other"})

    def test_cublaslt_is_needed_where_there_is_a_gpu(self):
        sys.path.insert(0, str(ROOT / "bench/gpu"))
        self.addCleanup(sys.path.remove, str(ROOT / "bench/gpu"))
        run = module("run", ROOT / "bench/gpu/run")
        kit = object.__new__(run.Kit)
        kit.found = {"libcublasLt.so.13": None, "libcudnn.so.9": "/there"}
        for kit.has_gpu, error in ((True, run.Failed), (False, run.NotRun)):
            with self.assertRaisesRegex(error, "libcublasLt.so.13 is nowhere: install .* --with-libraries"):
                kit.libraries()
        kit.found = {"libcublasLt.so.13": "/there", "libcudnn.so.9": None}
        self.assertEqual(kit.libraries()["note"], "/there, no libcudnn.so.9")


if __name__ == "__main__":
    unittest.main()
