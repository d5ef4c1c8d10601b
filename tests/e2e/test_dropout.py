"""Dropout: PyTorch's losses with the masks that Random.h states, one set of bits under every plan, identity in evaluation."""
import json
import math
import unittest

from program import FASHION_DATA, GOLDENS, ProgramTest, configuration
from test_graphs import GraphGoldens, PlanInvariance

MODEL = GOLDENS / "dropout" / "model.json"
WEIGHTS = GOLDENS / "dropout" / "weights.safetensors"


class Dropout(GraphGoldens):
    """Masks of PyTorch's run are made by Philox in Python: forward and gradient draw exactly those, per seed, step,
    micro-batch, block and op."""

    name = "dropout"

    def test_sgd(self):
        self.check_every_sgd()

    def test_adam(self):
        self.check_every_adam()

    def test_evaluation(self):
        self.check_evaluation("adam_clipped")


class OneResult(PlanInvariance):
    def test_dropout(self):
        self.check("dropout")


class Numbers(ProgramTest):
    def losses(self, config, model=MODEL, *options):
        stage = self.compile(config, "--stages", 2, model=model)
        return self.train(stage, "--steps", 3, *options)["losses"]

    def changed(self, name, p):
        """A classifier with one Dropout, or with none."""
        layers = [
            {"type": "Flatten", "name": "flatten"},
            {"type": "Linear", "name": "fc1", "in_features": 784, "out_features": 20},
            {"type": "Dropout", "name": "dropout", "p": p},
            {"type": "Linear", "name": "fc2", "in_features": 20, "out_features": 10, "bias": False},
        ]
        inputs = json.loads(MODEL.read_text())["inputs"]
        model = {"name": "m", "inputs": inputs, "layers": layers, "loss": {"type": "CrossEntropyLoss"}}
        if p is None:
            del layers[2]
        return self.write(name, model)

    def test_the_seed_chooses_them(self):
        first, again, other = (
            self.losses(configuration(seed=seed), MODEL, "--init", WEIGHTS, "--sample-order", GOLDENS / "dropout" / "order.txt")
            for seed in (1, 1, 2**40 + 1)
        )
        self.assertEqual(first, again)
        self.assertNotEqual(first, other)

    def test_all_is_kept_and_nothing(self):
        without, kept, nothing = (self.losses(configuration(), self.changed(f"{p}.json", p)) for p in (None, 0, 1))
        self.assertEqual(kept, without)
        for loss in nothing:  # logits of zeros
            self.assertAlmostEqual(loss, math.log(10), places=6)

    def test_no_mask_is_kept(self):
        """The gradient draws the numbers again: F saves no more for it than without dropout."""
        pools = {}
        for p in (0, 0.5):
            stage = self.compile(configuration(), model=self.changed("m.json", p))
            plan = self.run_ok("inspect", stage, "--json").json
            pools[p] = sum(
                pool["slot_bytes"] for pool in plan["ranks"][0]["slot_pools"] if pool["last"] != "Forward" and "saved" in pool["name"]
            )
        self.assertLessEqual(pools[0.5], pools[0])


if __name__ == "__main__":
    unittest.main(verbosity=2)
