"""Recipes beyond Adam with a constant rate: one set of bits for every plan, and no step that does nothing unnoticed."""
import json
import unittest

import safetensors_file
from program import FASHION_MODEL, ProgramTest, configuration, run, strip_comments

# stages, schedule, threads, ranks, instruction set
PLANS = [
    (1, "gpipe", 1, "threads", "auto"),
    (2, "1f1b", 2, "processes", "avx2"),
    (3, "zb-h1", 2, "threads", "auto"),
]


class Recipe(ProgramTest):
    def bits(self, config, stages=1, schedule="gpipe", threads=1, ranks="threads", isa="auto", steps=12):
        stage = self.compile(configuration(**config), "--stages", stages, "--schedule", schedule)
        options = ("--steps", steps, "--threads", threads, "--ranks", ranks, "--isa", isa)
        result = self.train(stage, *options)
        return result["weights_sha256"], result["state_sha256"], tuple(result["losses"])

    def check_plans(self, config):
        """The same bits under every plan; returns them."""
        results = {self.bits(config, *plan) for plan in PLANS}
        self.assertEqual(len(results), 1)
        return results.pop()


class Optimizers(Recipe):
    """fc1.weight has 13 granules: the norms of Lamb are sums over all of them."""

    def test_one_result(self):
        schedule = {"type": "WarmupLR", "params": {"warmup_num_steps": 6, "warmup_max_lr": 0.002, "warmup_min_lr": 0.0005}}
        results = set()
        for kind, params in (
            ("SGD", {"lr": 0.05, "momentum": 0.9, "nesterov": True}),
            ("Adagrad", {"lr": 0.01}),
            ("Lion", {"lr": 0.0003, "weight_decay": 0.1}),
            ("Lamb", {"lr": 0.002, "weight_decay": 0.01}),
        ):
            for more in ({}, {"scheduler": schedule}):
                with self.subTest(kind, **more):
                    bits = self.check_plans({"optimizer": {"type": kind, "params": params}, **more})
                    self.assertLess(bits[2][-1], bits[2][0], "the loss does not fall")
                    results.add(bits)
        self.assertEqual(len(results), 8)


class Groups(Recipe):
    def test_one_result(self):
        """A group's rate and decay are the parameter's, whatever the plan."""
        adam = {"optimizer": {"type": "Adam", "params": {"lr": 0.001}}}

        def grouped(*groups):
            return {**adam, "stagewright": {"parameter_groups": list(groups)}}

        plain = self.bits(adam)
        same = grouped({"match": "weight", "lr": 0.001, "weight_decay": 0})
        self.assertEqual(self.bits(same), plain)
        bits = self.check_plans(grouped({"match": "^fc2", "lr": 0.01}, {"match": "weight$", "weight_decay": 0.1}))
        self.assertNotEqual(bits, plain)
        swapped = self.bits(grouped({"match": "weight$", "weight_decay": 0.1}, {"match": "^fc2", "lr": 0.01}))
        self.assertNotEqual(swapped, bits, "the first match wins")

    def test_a_group_without_parameters(self):
        config = configuration(stagewright={"parameter_groups": [{"match": "fc1.wieght", "lr": 1}]})
        path = self.write("c.json", config)
        done = run("compile", FASHION_MODEL, "-c", path, "-o", self.folder / "x.stage")
        self.assertEqual(done.code, 2, str(done))
        self.assertRegex(done.err, r"c\.json:\d+:\d+: .*matches no parameter.*did you mean \"fc1\.weight\"")


class Frozen(Recipe):
    def freeze(self, *names):
        model = json.loads(strip_comments(FASHION_MODEL.read_text()))
        for layer in model["layers"]:
            if layer.get("name") in names:
                layer["trainable"] = False
        return self.write("model.json", model)

    def test_memory_and_weights(self):
        """A frozen parameter keeps its values, and only trainable ones have gradients and states."""
        config, bits = configuration(), set()
        for plan in PLANS:
            stages, schedule, threads, ranks, isa = plan
            stage = self.compile(config, "--stages", stages, "--schedule", schedule, model=self.freeze("fc1"))
            report = self.run_ok("inspect", stage, "--json").json
            trained = {p["name"]: p["trainable"] for p in report["parameters"]}
            self.assertEqual({name for name, isTrained in trained.items() if not isTrained}, {"fc1.weight", "fc1.bias"})
            classes = report["bytes_by_class"]
            state = 4 * (10 * 256 + 10)
            self.assertLess(classes["gradients"], state + 256)
            self.assertLess(classes["optimizer state"], 2 * state + 512)
            result = {}
            for steps in (1, 10):
                weights = self.folder / f"w{steps}.safetensors"
                options = ("--steps", steps, "--threads", threads, "--ranks", ranks, "--isa", isa)
                result[steps] = self.train(stage, *options, "--save-weights", weights)
                result[steps]["weights"] = safetensors_file.read(weights)
            for name in trained:
                same = result[1]["weights"][name].data == result[10]["weights"][name].data
                self.assertEqual(same, not trained[name], name)
            bits.add((result[10]["weights_sha256"], result[10]["state_sha256"], tuple(result[10]["losses"])))
        self.assertEqual(len(bits), 1)

    def test_the_partition_counts_what_is_trained(self):
        """Of 784-64-64-10 nearly all parameters lie in the first layer: frozen, it weighs nothing."""

        def boundaries(trainable):
            model = json.loads(strip_comments(FASHION_MODEL.read_text()))
            sizes = [784, 64, 64, 10]
            model["layers"] = [{"type": "Flatten"}] + [
                {"type": "Linear", "in_features": before, "out_features": after, "trainable": trainable or before != 784}
                for before, after in zip(sizes, sizes[1:])
            ]
            stage = self.compile(configuration(), "--stages", 2, model=self.write("model.json", model))
            return self.run_ok("inspect", stage, "--json").json["partition"]["boundaries"]

        self.assertEqual(boundaries(True), [0, 2, 4])
        self.assertEqual(boundaries(False), [0, 3, 4])

    def test_nothing_to_train(self):
        path = self.write("c.json", configuration())
        done = run("compile", self.freeze("fc1", "fc2"), "-c", path, "-o", self.folder / "x.stage")
        self.assertEqual(done.code, 2, str(done))
        self.assertIn("no trainable parameters", done.err)


if __name__ == "__main__":
    unittest.main(verbosity=2)
