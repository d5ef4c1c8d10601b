"""Losses of the models of models/ against PyTorch, from the weights that Stagewright draws; steps, sizes and precisions: model_jobs.py.

Run by hand it compares the models at their full size with what make_model_loss_goldens.py --full --out FOLDER has made of them:

    test_model_losses.py --full FOLDER [MODEL ...]
"""
import json
import math
import os
import pathlib
import sys
import tempfile
import time
import unittest

import model_jobs
import safetensors_file
from program import GOLDENS, SOURCE, ProgramTest, run
from test_losses import relative_errors, root_mean_square

OWN_DISTANCE = 2e-5  # of PyTorch's fp32 SGD from its fp64: far below the 1e-4 that we are allowed, so that this is a measure


def train(job, config, folder, *options):
    """Closing JSON line and seconds of our side's run in `folder`."""
    data = folder / "data"
    if not data.exists():
        data.mkdir()
        model_jobs.write_data(job.spec, data)
        (data / "order.txt").write_text("".join(f"{index}\n" for index in job.order()))
    model, settings, stage = folder / "model.json", folder / "config.json", folder / "x.stage"
    model.write_text(json.dumps(job.spec))
    settings.write_text(json.dumps(config))
    compiled = run("compile", model, "-c", settings, *job.plan, "-o", stage)
    assert compiled.code == 0, str(compiled)
    begin = time.monotonic()
    steps = ("--steps", model_jobs.STEPS, "--sample-order", data / "order.txt")
    done = run("train", stage, "--data", data, *steps, *options, "--json", timeout=1800)
    assert done.code == 0, str(done)
    return done.json, time.monotonic() - begin


def compare(job, golden, folder, report=print):
    """Trains every case; yields what is beyond its bound."""
    for case, config in job.configs().items():
        known = golden["cases"][case]
        assert known["job"] == job.text(config), "the golden is that of another job: make_model_loss_goldens.py"
        fp32 = known["losses_fp32"]
        for precision in job.precisions:
            block = model_jobs.PRECISIONS[precision]
            saved = folder / "w.safetensors"
            result, seconds = train(job, {**config, **block}, folder, "--save-weights", saved)
            ours, text = result["losses"], f"{case} {precision}"
            assert result["skipped_steps"] == 0
            if precision != "fp32":
                # As close to PyTorch's fp32 as 1.5 times the largest distance so far of its own 16-bit run, and 1e-3.
                worst = share = 0.0
                for mine, single, half in zip(ours, fp32, known[f"losses_{precision}"], strict=True):
                    worst = max(worst, abs(half - single))
                    share = max(share, abs(mine - single) / (1.5 * worst + 1e-3))
                report(f"{text}: {share:.2f} of the allowed distance from fp32; PyTorch's own distance {worst:.1e}; {seconds:.0f} s")
                if share > 1:
                    yield f"{text}: {share:.2f} of the allowed distance"
            elif case == "sgd":
                error = max(relative_errors(ours, fp32))
                own = max(relative_errors(fp32, known["losses_fp64"]))
                report(f"{text}: largest relative difference from PyTorch's fp32 {error:.1e} (allowed 1e-4), PyTorch's own from its fp64 "
                       f"{own:.1e}; {seconds:.0f} s")
                if error > 1e-4:
                    yield f"{text}: relative difference {error:.1e}"
                if own > OWN_DISTANCE:
                    yield f"{text}: a job in which PyTorch itself is {own:.1e} from its fp64 measures nothing"
                yield from compare_weights(known["final_fp32"], safetensors_file.read(saved))
            else:
                for norm, what in ((max, "largest"), (root_mean_square, "RMS")):
                    mine, theirs = (norm(relative_errors(losses, known["losses_fp64"])) for losses in (ours, fp32))
                    report(f"{text}: {what} relative error against fp64 {mine:.1e}, PyTorch's {theirs:.1e} (ratio {mine / theirs:.2f}, "
                           f"allowed 2); {seconds:.0f} s")
                    if mine > 2 * theirs:
                        yield f"{text}: {what} error {mine / theirs:.2f} times PyTorch's"


def compare_weights(want, got):
    assert sorted(got) == sorted(want), "names of weights differ"
    for key, known in want.items():
        norm = math.sqrt(math.fsum(value * value for value in got[key].values()))
        if abs(norm - known["norm"]) > 1e-4 * known["norm"] + 1e-6:
            yield f"norm of {key} {norm}, not {known['norm']}"


class Models(ProgramTest):
    def check(self, name):
        golden = json.loads((GOLDENS / "model_losses" / f"{name}.json").read_text())
        wrong = list(compare(model_jobs.job(name), golden, self.folder, lambda text: print(f"{name} {text}")))
        self.assertEqual(wrong, [])

    def test_configurations(self):
        """As they stand in the tree they compile, and the plan is printed."""
        for folder in sorted((SOURCE / "models").iterdir()):
            with self.subTest(folder.name):
                stage = self.folder / f"{folder.name}.stage"
                self.run_ok("compile", folder, "-o", stage)
                self.assertIn("1f1b", self.run_ok("inspect", stage).out)


for model in model_jobs.NAMES:
    setattr(Models, f"test_{model}", lambda self, name=model: self.check(name))


if __name__ == "__main__":
    if "--full" not in sys.argv:
        unittest.main(verbosity=2)
    goldens, *names = sys.argv[sys.argv.index("--full") + 1 :]
    failed = []
    for model in names or model_jobs.NAMES:
        known = json.loads((pathlib.Path(goldens) / f"{model}.json").read_text())
        with tempfile.TemporaryDirectory(prefix="stagewright-models-") as place:
            wrong = compare(model_jobs.job(model, True), known, pathlib.Path(place), lambda text: print(f"{model} {text}", flush=True))
            failed += [f"{model} {text}" for text in wrong]
    print("\n".join(failed) or f"all within their bounds; {os.cpu_count()} cores")
    sys.exit(bool(failed))
