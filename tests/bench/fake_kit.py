"""A measuring kit whose programs are a script that says what a test wants, and a fake GPU beside it."""
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
KIT = {"commit": "fake", "batch": 32, "micro_batch": 4, "sequence": 1024, "vocabulary": 50257, "glibc": "2.17"}

# Answers by program and, for trainings, plan and target; the first of these that the test gives.
PROGRAM = f"#!{sys.executable} -IS\n" + """import json, os, pathlib, subprocess, sys, time
folder = pathlib.Path(os.environ["FAKE_KIT"])
name, arguments = pathlib.Path(__file__).name, sys.argv[1:]
with open(folder / "calls.txt", "a") as calls:
    print(name, *arguments, file=calls)
keys = [name]
if "train" in arguments and name == "stagewright":
    target = arguments[arguments.index("--target") + 1]
    keys = [f"train {pathlib.Path(arguments[1]).stem} {target}", f"train {target}"]
if name == "nvidia-smi":
    keys = [arguments[0].partition("=")[2].partition(",")[0]]
if name == "compute-sanitizer":
    keys = [arguments[arguments.index("--tool") + 1]]
if arguments[:1] in (["--version"], ["--help"]):
    keys = [f"start {name}"]
answers = json.loads((folder / "answers.json").read_text())
answer = next(answers[key] for key in keys if key in answers)
if answer.get("needs") and answer["needs"] not in os.environ.get("LD_LIBRARY_PATH", ""):
    sys.exit("error while loading shared libraries")
if answer.get("file") and "--out" in arguments:
    pathlib.Path(arguments[arguments.index("--out") + 1]).write_text(json.dumps(answer["file"]))
if answer.get("child"):
    subprocess.Popen([sys.executable, "-c", "import time; time.sleep(100)  # " + str(folder)])
sys.stdout.write(answer.get("out", ""))
sys.stderr.write(answer.get("err", ""))
sys.stdout.flush()
sys.stderr.flush()
time.sleep(answer.get("seconds", 0))
sys.exit(answer.get("code", 0))
"""


def training(losses, **more):
    result = {"losses": losses, "loss": losses[-1], "samples_per_second": 10.5, "planned_bytes": 2**30, "device_bytes_used": 2**31,
              "captured_graphs": 7, "allocations_after_warmup": 0, "state_sha256": "f" * 64,
              "cudnn": {"calls": {"attention": {"cudnn": 24, "own": 2}}, "refusal": "no plan | for that"}, **more}
    return {"out": "a line of progress\n" + json.dumps(result) + "\n"}


def kernel(**more):
    return {"cases": 3, "passed": 3, "largest_error": 0.25, "same_bits": True, "by_cudnn": 0, "refused": 0, "fault": "", **more}


GPT2 = [10.95 - 0.01 * step for step in range(12)]
PARITY = {"emulated": False, "kernels": {"relu": kernel(), "linear + gelu": kernel(refused=2), "ordered_sum": kernel(largest_error=0)}}
# A machine with a GPU on which all is right.
GOOD = {
    "name": {"out": "Fake GPU, 580.1, 81559, 9.0\n"}, "memory.used": {"out": "100\n"},
    "start stagewright": {}, "start cuda_parity": {}, "python3": {"code": 1, "err": "No module named 'torch'\n"},
    "cuda_parity": {"out": "relu passed\nlinear + gelu passed\nordered_sum passed\n", "file": PARITY},
    "memcheck": {"out": "========= ERROR SUMMARY: 0 errors\n"}, "racecheck": {"out": "========= RACECHECK SUMMARY: 0 hazards\n"},
    **{f"train {plan} cuda": training(GPT2) for plan in ("gpt2_p1", "gpt2_p2", "gpt2_p4", "gpt2_p4_gpipe", "gpt2_p4_zb_h1")},
    **{f"train {plan} {target}": training([2.3] * steps) for target in ("cuda", "host")
       for plan, steps in (("fashion_mlp", 20), ("gpt_mini", 6), ("resnet18", 4), ("replicas", 6), ("tensor_ranks", 6), ("fp16", 6),
                           ("rounding", 6))},
    "train cuda": training([2.3] * 4),
}


class FakeKit:
    def __init__(self, test):
        made = tempfile.TemporaryDirectory()
        test.addCleanup(made.cleanup)
        self.folder = pathlib.Path(made.name)
        for part in ("bin", "stages", "lib/cuda", "lib/linked", "path"):
            (self.folder / part).mkdir(parents=True)
        for script in ("run", "machine.py", "report.py", "torch_gpt2.py"):
            shutil.copy2(ROOT / "bench/gpu" / script, self.folder)
        for name in ("libcublasLt.so.13", "libcudnn.so.9"):
            (self.folder / "lib/cuda" / name).touch()
        for program in ("bin/stagewright", "bin/cuda_parity", "path/nvidia-smi", "path/compute-sanitizer", "path/python3"):
            (self.folder / program).write_text(PROGRAM)
            (self.folder / program).chmod(0o755)
        self.out = self.folder / "report"

    def run(self, answers={}, *options, kit={}):
        """(exit code, steps by name, report.md)"""
        (self.folder / "answers.json").write_text(json.dumps({**GOOD, **answers}))
        (self.folder / "kit.json").write_text(json.dumps({**KIT, **kit}))
        environment = {**os.environ, "FAKE_KIT": str(self.folder), "PATH": f"{self.folder}/path:{os.environ['PATH']}"}
        done = subprocess.run([sys.executable, self.folder / "run", self.out, "--date", "2026-11-22", *options], capture_output=True,
                              text=True, env=environment, timeout=120)
        self.report = json.loads((self.out / "report.json").read_text())
        return done.returncode, {entry["name"]: entry for entry in self.report["steps"]}, (self.out / "report.md").read_text()

    def calls(self):
        return (self.folder / "calls.txt").read_text().splitlines()
