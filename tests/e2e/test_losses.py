"""Losses and weights against PyTorch (tests/goldens): the same initial weights, the same order of samples, 100 steps."""
import json
import math
import pathlib
import re
import struct
import unittest

import safetensors_file
from program import FASHION_DATA, GOLDENS, SOURCE, ProgramTest, configuration


def relative_errors(ours, theirs):
    return [abs(a - b) / abs(b) for a, b in zip(ours, theirs, strict=True)]


def root_mean_square(values):
    return math.sqrt(sum(value * value for value in values) / len(values))


class Goldens(ProgramTest):
    """One model's goldens. Subclasses name the folder."""

    name, file = None, "goldens.json"
    # Parameters (or parts of them) whose gradient is zero but for rounding: Adam makes full steps of that noise.
    without_gradient = ()

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.goldens = GOLDENS / cls.name
        cls.order = cls.goldens / "order.txt"
        cls.facts = json.loads((cls.goldens / cls.file).read_text())
        data = pathlib.Path(cls.facts["data"])  # of the set, of another one, or Fashion-MNIST
        cls.data = cls.goldens if data == pathlib.Path(".") else FASHION_DATA if data.is_absolute() else SOURCE / data

    def run_case(self, name, *compile_options):
        """Losses of 100 steps and the final weights."""
        case = self.facts["cases"][name]
        config = {**case["config"], "steps_per_print": 0}
        model = SOURCE / self.facts["model"]
        if "frozen" in case or "loss" in case:
            spec = json.loads(model.read_text())
            layers = [{**layer, "trainable": layer["name"] not in case.get("frozen", ())} for layer in spec["layers"]]
            changes = {"layers": layers, "loss": case.get("loss", spec["loss"]), "metrics": []}
            model = self.write("changed.json", {**spec, **changes})
        stage = self.compile(config, *compile_options, model=model, name=name + ".stage")
        weights = self.folder / f"{name}.safetensors"
        result = self.train(
            stage,
            *("--init", self.goldens / "weights.safetensors"),
            *("--sample-order", self.order),
            *("--steps", self.facts["steps"], "--threads", 2, "--save-weights", weights),
            data=self.data,
        )
        self.assertEqual(result["steps"], self.facts["steps"])
        self.assertEqual(len(result["losses"]), self.facts["steps"])
        self.check_final_weights(case, safetensors_file.read(weights))
        self.check_terms(case, result["loss_terms"])
        return case, result["losses"]

    def check_terms(self, case, terms):
        """Every term of a loss that is a sum of several, in every step."""
        self.assertEqual(sorted(terms), sorted(case.get("terms_fp64", {})))
        for name, values in terms.items():
            self.assertLess(max(relative_errors(values, case["terms_fp64"][name])), 2e-5, name)

    def check_final_weights(self, case, weights):
        """Sum and norm of every parameter after the last update, against the fp64 run."""
        self.assertEqual(sorted(weights), sorted(case["final_fp64"]))
        for name, want in case["final_fp64"].items():
            if name in self.without_gradient:
                continue
            values = weights[name].values()
            norm = math.sqrt(math.fsum(value * value for value in values))
            self.assertLess(abs(norm - want["norm"]), 1e-5 * want["norm"], f"norm of {name}")
            # A sum of n values moves by at most sqrt(n) x the norm of the change.
            slack = 1e-5 * want["norm"] * math.sqrt(len(values))
            self.assertLess(abs(math.fsum(values) - want["sum"]), slack, f"sum of {name}")

    def check_sgd(self, name, *compile_options):
        """Every loss within 1e-5 relative of PyTorch's fp32 run."""
        case, losses = self.run_case(name, *compile_options)
        errors = relative_errors(losses, case["losses_fp32"])
        print(f"{self.name} {name}: largest relative difference {max(errors):.1e} (PyTorch fp32 against fp64: "
              f"{max(relative_errors(case['losses_fp32'], case['losses_fp64'])):.1e})")
        self.assertLess(max(errors), 1e-5, f"at step {errors.index(max(errors))}")

    def check_adam(self, name, *compile_options):
        """Our error against PyTorch's fp64 run is at most twice that of PyTorch in fp32, in two norms over the 100 steps:
        the largest relative error of a loss, and the root mean square of the relative errors."""
        case, losses = self.run_case(name, *compile_options)
        ours, theirs = (relative_errors(run, case["losses_fp64"]) for run in (losses, case["losses_fp32"]))
        for norm, text in ((max, "largest"), (root_mean_square, "RMS")):
            error, bound = norm(ours), norm(theirs)
            print(f"{self.name} {name}: {text} relative error against fp64: ours {error:.1e}, PyTorch's {bound:.1e}, "
                  f"ratio {error / bound:.2f}")
            self.assertLessEqual(error, 2 * bound)


class FashionMlp(Goldens):
    name = "fashion_mlp"

    def test_sgd(self):
        self.check_sgd("sgd", "--stages", 2)

    def test_sgd_with_momentum(self):
        self.check_sgd("sgd_momentum", "--stages", 2, "--schedule", "zb-h1")

    def test_adam_clipped(self):
        self.check_adam("adam_clipped", "--stages", 2, "--schedule", "1f1b")

    def test_adamw_with_decay(self):
        self.check_adam("adamw_decay_clipped", "--stages", 3, "--schedule", "gpipe")


class FashionMlpMore(Goldens):
    name = "fashion_mlp"

    def test_sgd_with_dampening_clipped(self):
        self.check_sgd("sgd_dampening_clipped")

    def test_sgd_nesterov_with_decay_clipped(self):
        self.check_sgd("sgd_nesterov_decay_clipped", "--stages", 3)

    def test_adam(self):
        self.check_adam("adam")

    def test_adam_with_l2(self):
        self.check_adam("adam_l2_clipped", "--stages", 2)


class Activations(Goldens):
    """Tanh, both forms of GELU, odd sizes, three micro-batches of seven."""

    name = "activations"

    def test_sgd(self):
        for name in ("sgd", "sgd_momentum", "sgd_dampening_clipped", "sgd_nesterov_decay_clipped"):
            with self.subTest(name):
                self.check_sgd(name, "--stages", 3)

    def test_adam(self):
        for name in ("adam", "adam_clipped", "adam_l2_clipped", "adamw_decay_clipped"):
            with self.subTest(name):
                self.check_adam(name, "--stages", 4, "--schedule", "zb-h1")


class Regression(Goldens):
    """MSELoss on float inputs and targets, a Linear without bias, two micro-batches of five."""

    name = "regression"

    def test_sgd(self):
        for name in ("sgd", "sgd_momentum", "sgd_dampening_clipped", "sgd_nesterov_decay_clipped"):
            with self.subTest(name):
                self.check_sgd(name, "--stages", 2)

    def test_adam(self):
        for name in ("adam", "adam_clipped", "adam_l2_clipped", "adamw_decay_clipped"):
            with self.subTest(name):
                self.check_adam(name, "--stages", 3, "--schedule", "gpipe")


class Recipes(Goldens):
    """Schedules of the learning rate, more optimizers, groups of parameters and frozen layers, on the model of Activations."""

    name, file = "activations", "recipes.json"

    def test_sgd(self):
        # Lion too: where the sign hangs on rounding it makes a whole step, so that two fp32 programs differ by more.
        names = ("sgd_warmup_decay", "sgd_one_cycle", "adagrad", "lion", "lion_one_cycle", "sgd_groups", "sgd_frozen", "sgd_smoothed")
        for name in names:
            with self.subTest(name):
                self.check_sgd(name, "--stages", 3)

    def test_what_inspect_and_train_print(self):
        config = self.facts["cases"]["sgd_warmup_decay"]["config"]
        stage = self.compile({**config, "steps_per_print": 1}, model=SOURCE / self.facts["model"])
        text = self.run_ok("inspect", stage).out
        self.assertIn("WarmupDecayLR, total_num_steps 80, warmup_max_lr 0.1, warmup_min_lr 0.001, warmup_num_steps 10", text)
        self.assertIn("1: 0.001, 2: 0.001, 10: 0.0802, 100: 0.001", text)  # step 10 has t = 8
        report = json.loads(self.run_ok("inspect", stage, "--json").out)["recipe"]["scheduler"]
        self.assertEqual(report, config["scheduler"])
        done = self.run_ok("train", stage, "--data", self.data, "--steps", 4)
        self.assertEqual(re.findall(r"lr: (\S+)$", done.err, re.M), ["0.001", "0.001", "0.0109", "0.0208"])

    def test_adam(self):
        for name in (
            *("adam_warmup_cosine", "adam_one_cycle", "lamb", "lamb_limits", "lamb_one_cycle"),
            *("adam_groups_cosine", "adam_frozen_groups", "adam_ignored"),
        ):
            with self.subTest(name):
                self.check_adam(name, "--stages", 2, "--schedule", "gpipe")


class BinaryRecipes(Goldens):
    """BCEWithLogitsLoss, on the data of Regression with targets above 0 as 1 and the others as 0."""

    name, file = "regression", "recipes.json"

    def setUp(self):
        super().setUp()
        images, labels = "train-images-idx2-float", "train-labels-idx2-float"
        (self.folder / images).write_bytes((self.goldens / images).read_bytes())
        source = (self.goldens / labels).read_bytes()  # magic, two sizes, big-endian floats
        values = struct.unpack(f">{(len(source) - 12) // 4}f", source[12:])
        (self.folder / labels).write_bytes(source[:12] + struct.pack(f">{len(values)}f", *(float(v > 0) for v in values)))
        self.data = self.folder

    def test_sgd(self):
        self.check_sgd("sgd_binary", "--stages", 2)

    def test_adam(self):
        self.check_adam("adam_binary", "--stages", 3, "--schedule", "zb-h1")


class SeveralLosses(Goldens):
    """Three losses of three layers; what they read is two labels and the image itself."""

    name = "losses"

    def test_sgd(self):
        for name, stages in (("sgd", 1), ("sgd_momentum", 2), ("sgd_dampening_clipped", 4), ("sgd_nesterov_decay_clipped", 16)):
            with self.subTest(name):
                self.check_sgd(name, "--stages", stages, "--partition", "uniform")

    def test_adam(self):
        for name in ("adam", "adam_clipped", "adam_l2_clipped", "adamw_decay_clipped"):
            with self.subTest(name):
                self.check_adam(name, "--stages", 3, "--schedule", "zb-h1")

    def test_one_result_under_every_plan(self):
        case = self.facts["cases"]["adam_clipped"]
        for precision in ({}, {"fp16": {"enabled": True, "initial_scale_power": 8}}, {"bf16": {"enabled": True}}):
            results = []
            for number, (options, ranks) in enumerate(
                ((["--stages", 1], "threads"), (["--stages", 3, "--schedule", "zb-h1"], "processes"),
                 (["--stages", 16, "--partition", "uniform", "--schedule", "1f1b"], "threads"),
                 (["--stages", 2, "--schedule", "gpipe"], "processes"))
            ):
                config = {**case["config"], **precision, "steps_per_print": 0}
                stage = self.compile(config, *options, model=self.goldens / "model.json", name=f"{number}.stage")
                result = self.train(stage, "--steps", 8, "--ranks", ranks, data=self.data)
                results.append([result[key] for key in ("weights_sha256", "state_sha256", "losses", "loss_terms")])
            self.assertEqual(results, [results[0]] * 4)

    def test_what_is_printed(self):
        case = self.facts["cases"]["sgd"]
        stage = self.compile({**case["config"], "steps_per_print": 1}, model=self.goldens / "model.json")
        start = ("--init", self.goldens / "weights.safetensors")
        order = ("--sample-order", self.goldens / "order.txt")
        printed = self.run_ok("inspect", stage).out
        self.assertIn("loss 0.3 MSELoss + CrossEntropyLoss + 0.25 MSELoss (place, kind, picture)", printed)
        self.assertRegex(printed, r"precision +fp32\n")
        done = self.run_ok("train", stage, "--data", self.data, *start, *order, "--steps", 1)
        place, kind, picture = (case["terms_fp64"][name][0] for name in ("place", "kind", "picture"))
        total = 0.3 * place + kind + 0.25 * picture
        self.assertIn(f"loss: {total:.4f} place: {place:.4f} kind: {kind:.4f} picture: {picture:.4f} iter", done.err)
        printed = re.findall(r"(loss|place|kind|picture) ([0-9.]+)", done.out)
        self.assertEqual([name for name, _ in printed], ["loss", "place", "kind", "picture"])
        for (_, value), want in zip(printed, (total, place, kind, picture)):
            self.assertAlmostEqual(float(value), want, delta=1e-6 * want)
        for name in self.data.glob("train-*"):  # the same samples as test data, of which the last batch is short
            (self.folder / name.name.replace("train-", "t10k-")).symlink_to(name)
        all_of_them = self.run_ok("eval", stage, "--data", self.folder, *start, "--json").json
        terms = all_of_them["loss_terms"]
        self.assertEqual(list(terms), ["place", "kind", "picture"])
        self.assertAlmostEqual(all_of_them["loss"], 0.3 * terms["place"] + terms["kind"] + 0.25 * terms["picture"], places=6)
        self.assertIn("accuracy", all_of_them)
        self.assertTrue(0.05 < all_of_them["accuracy"] < 0.5, all_of_them)  # untrained, five classes

    def test_a_single_loss_with_a_weight(self):
        spec = json.loads((GOLDENS / "regression" / "model.json").read_text())
        results = []
        for factor, rate in ((1, 0.02), (0.5, 0.04)):
            model = self.write("model.json", {**spec, "loss": {"type": "MSELoss", "loss_weight": factor}})
            config = configuration(optimizer={"type": "SGD", "params": {"lr": rate}}, gradient_clipping=0.0)
            stage = self.compile(config, model=model)
            result = self.train(stage, "--steps", 5, data=GOLDENS / "regression")
            self.assertEqual(list(result["loss_terms"]), [] if factor == 1 else ["MSELoss"])
            results.append((result["weights_sha256"], [loss / factor for loss in result["losses"]]))
        self.assertEqual(*results)  # powers of two


if __name__ == "__main__":
    unittest.main(verbosity=2)
