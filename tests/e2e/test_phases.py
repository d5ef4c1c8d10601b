"""The IR is real: stopping after any phase, printing, parsing and going on gives the same bytes; and `compile` is a
function of its inputs alone."""
import os
import shutil
import unittest

from program import FASHION_MODEL, GOLDENS, ProgramTest, configuration

PHASES = ("import", "precision", "search", "partition", "differentiate", "parallel", "schedule", "memory", "lower")

CASES = {
    "fashion_mlp": (FASHION_MODEL, configuration(), ["--stages", "2", "--schedule", "1f1b"]),
    "activations": (
        GOLDENS / "activations" / "model.json",
        configuration(
            train_micro_batch_size_per_gpu=7,
            gradient_accumulation_steps=3,
            optimizer={"type": "SGD", "params": {"lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 0.01}},
        ),
        ["--stages", "3", "--schedule", "zb-h1", "--partition", "uniform"],
    ),
    "names": (
        {  # names with what separates words elsewhere, and the compiler's own words
            "name": "losses",
            "inputs": [
                {"name": "losses", "role": "feature", "dtype": "f32", "shape": [4]},
                {"name": "a:b.weight", "role": "label", "dtype": "i32", "shape": []},
            ],
            "layers": [
                {"type": "Linear", "name": "a:b", "in_features": 4, "out_features": 5},
                {"type": "Tanh", "name": "loss"},
                {"type": "Linear", "name": "valid_rows", "in_features": 5, "out_features": 5},
                {"type": "Linear", "name": 'a:b:c@d"e', "in_features": 5, "out_features": 3},
            ],
            "loss": {"type": "CrossEntropyLoss"},
            "metrics": ["accuracy"],
        },
        configuration(),
        ["--stages", "3"],
    ),
    "convolution": (GOLDENS / "convolution" / "model.json", configuration(), ["--stages", "3", "--partition", "uniform"]),
    "transformer": (GOLDENS / "transformer" / "model.json", configuration(), ["--stages", "4", "--partition", "uniform"]),
    "transformer_bf16": (
        GOLDENS / "transformer" / "model.json",
        configuration(bf16={"enabled": True}),
        ["--stages", "3", "--partition", "uniform", "--schedule", "zb-h1"],
    ),
    "gpt_recompute": (
        GOLDENS / "gpt" / "model.json",
        configuration(stagewright={"recompute": "interval:2;selective"}),
        ["--stages", "2", "--schedule", "zb-h1"],
    ),
    "convolution_fp16": (GOLDENS / "convolution" / "model.json", configuration(fp16={"enabled": True}), ["--stages", "2"]),
    "channel_norm": (GOLDENS / "channel_norm" / "model.json", configuration(), ["--stages", "3", "--partition", "uniform"]),
    "dropout": (GOLDENS / "dropout" / "model.json", configuration(), ["--stages", "4", "--partition", "uniform"]),
    "gpt_tied_cuda": (
        GOLDENS / "gpt_tied" / "model.json",
        configuration(bf16={"enabled": True}, zero_optimization={"stage": 3}),
        ["--stages", "2", "--data-parallel", "2", "--target", "cuda:sm_90"],
    ),
    "regression": (GOLDENS / "regression" / "model.json", configuration(gradient_clipping=0.0), ["--schedule", "gpipe"]),
}


FAST = ("fashion_mlp", "names", "gpt_recompute", "convolution_fp16", "gpt_tied_cuda")


class Phases(ProgramTest):
    fast = True

    def test_stop_and_resume_after_each_phase(self):
        for name, (model, config, options) in CASES.items():
            if (name in FAST) != self.fast:
                continue
            model = self.write(f"{name}.json", model) if isinstance(model, dict) else model
            want = self.compile(config, *options, model=model, name=name + ".stage").read_bytes()
            texts = set()
            for phase in PHASES:
                with self.subTest(model=name, phase=phase):
                    text, out = self.folder / f"{name}.{phase}.mlir", self.folder / f"{name}.{phase}.stage"
                    config_path = self.folder / f"{name}.stage.config.json"
                    self.run_ok("compile", model, "-c", config_path, *options, "--compile-to", phase, "-o", text)
                    self.run_ok("compile", "--resume-from", text, "-o", out)
                    self.assertEqual(out.read_bytes(), want)
                    texts.add(text.read_text())
            # precision, search and parallel may have nothing to change here; the others transform the module.
            self.assertGreaterEqual(len(texts), 6, f"{name}: too many phases print the same text")

    def test_several_targets(self):
        """Up to the search, and from the end of lower on, one text is of all targets."""
        model, config, options = CASES["convolution_fp16"]
        options = [*options, "--target", "host,cuda:sm_90"]
        want = self.compile(config, *options, model=model).read_bytes()
        for phase in ("import", "precision", "search", "lower"):
            text, out = self.folder / f"{phase}.mlir", self.folder / f"{phase}.stage"
            self.run_ok("compile", model, "-c", self.folder / "x.stage.config.json", *options, "--compile-to", phase, "-o", text)
            self.run_ok("compile", "--resume-from", text, "-o", out)
            self.assertEqual(out.read_bytes(), want, phase)

    def test_resume_twice(self):
        """Text of a later phase printed from a resumed earlier one is the text printed at once."""
        model, config, options = CASES["fashion_mlp"]
        path = self.write("config.json", config)
        early, at_once, resumed = (self.folder / name for name in ("early.mlir", "at_once.mlir", "resumed.mlir"))
        self.run_ok("compile", model, "-c", path, *options, "--compile-to", "partition", "-o", early)
        self.run_ok("compile", model, "-c", path, *options, "--compile-to", "memory", "-o", at_once)
        self.run_ok("compile", "--resume-from", early, "--compile-to", "memory", "-o", resumed)
        self.assertEqual(resumed.read_text(), at_once.read_text())


class PhasesMore(Phases):
    fast = False


class Reproducible(ProgramTest):
    def test_same_bytes_again_and_from_another_folder(self):
        model, config, options = CASES["fashion_mlp"]
        first = self.compile(config, *options, name="first.stage").read_bytes()
        second = self.compile(config, *options, name="second.stage").read_bytes()
        self.assertEqual(first, second)

        # Copies elsewhere, named relative to another current folder, at another time and in another locale.
        elsewhere = self.folder / "else where"
        elsewhere.mkdir()
        shutil.copy(model, elsewhere / "model.json")
        self.write("else where/config.json", config)
        os.utime(elsewhere / "model.json", (0, 0))
        self.run_ok(
            *("compile", "model.json", "-c", "config.json", *options, "-o", "x.stage"),
            folder=elsewhere,
            environment={"LC_ALL": "C", "TZ": "Pacific/Auckland", "USER": "somebody", "HOME": str(elsewhere)},
        )
        self.assertEqual((elsewhere / "x.stage").read_bytes(), first)

    def test_the_config_matters(self):
        """Guards the comparisons above: a different recipe gives different bytes."""
        first = self.compile(configuration(), name="first.stage").read_bytes()
        other = self.compile(configuration(seed=1235), name="other.stage").read_bytes()
        self.assertNotEqual(first, other)


if __name__ == "__main__":
    unittest.main(verbosity=2)
