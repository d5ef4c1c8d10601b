"""Running statistics: PyTorch's training and evaluation, one set of bits under every plan, and what files hold of them."""
import hashlib
import json
import unittest

import safetensors_file
from program import FASHION_DATA, GOLDENS, SOURCE, ProgramTest, configuration, run
from test_graphs import GraphGoldens, PlanInvariance

MODEL = GOLDENS / "channel_norm" / "model.json"
WEIGHTS = GOLDENS / "channel_norm" / "weights.safetensors"
LAYERS = ("block.bn", "bn1", "bn2", "bn3")


class BatchNorm(GraphGoldens):
    """Losses, weights and running statistics of PyTorch's loop over micro-batches, one after the other."""

    name = "channel_norm"

    def test_sgd(self):
        self.check_every_sgd()

    def test_adam(self):
        self.check_every_adam()

    def test_evaluation(self):
        """By the running statistics."""
        self.check_evaluation("sgd", "adamw_decay_clipped")


class OneResult(PlanInvariance):
    def test_channel_norm(self):
        self.check("channel_norm")


class Files(ProgramTest):
    def step(self, *options, stages=2):
        """Two steps of four micro-batches with plain SGD, which has no state of its own; the closing line and the file."""
        config = configuration(optimizer={"type": "SGD", "params": {"lr": 0.01}})
        stage = self.compile(config, "--stages", stages, model=MODEL, name=f"{stages}.stage")
        saved = self.folder / f"{stages}.safetensors"
        result = self.train(stage, "--steps", 2, "--save-weights", saved, *options)
        return result, safetensors_file.read(saved)

    def test_what_is_saved(self):
        _, tensors = self.step()
        for layer in LAYERS:
            batches, variance = tensors[f"{layer}.num_batches_tracked"], tensors[f"{layer}.running_var"]
            self.assertEqual((batches.dtype, batches.shape, list(batches.values())), ("I64", [], [8]))
            self.assertEqual((variance.dtype, tensors[f"{layer}.running_mean"].shape), ("F32", variance.shape))
            self.assertGreater(min(variance.values()), 0)

    def test_a_frozen_layer_still_counts(self):
        """As torch's requires_grad_(False) in train(): weight and bias stay, the statistics move as before in the first step."""
        spec = json.loads(MODEL.read_text())
        frozen = {**spec, "layers": [{**layer, "trainable": layer["name"] != "bn1"} for layer in spec["layers"]]}
        config = configuration(optimizer={"type": "SGD", "params": {"lr": 0.01}})
        saved = []
        for name, model in (("free", spec), ("frozen", frozen)):
            stage = self.compile(config, "--stages", 2, model=self.write(name + ".json", model), name=name + ".stage")
            path = self.folder / (name + ".safetensors")
            self.train(stage, "--steps", 1, "--init", WEIGHTS, "--save-weights", path)
            saved.append(safetensors_file.read(path))
        start = safetensors_file.read(WEIGHTS)
        for part in ("weight", "bias"):
            self.assertEqual(saved[1][f"bn1.{part}"].data, start[f"bn1.{part}"].data)
            self.assertNotEqual(saved[0][f"bn1.{part}"].data, start[f"bn1.{part}"].data)
        for layer in LAYERS:
            for part in ("running_mean", "running_var", "num_batches_tracked"):
                self.assertEqual(saved[0][f"{layer}.{part}"].data, saved[1][f"{layer}.{part}"].data)
        self.assertNotEqual(saved[1]["bn1.running_mean"].data, start["bn1.running_mean"].data)

    def test_hashes(self):
        """weights_sha256 is over parameters, state_sha256 over buffers too: i64 first, then by name."""
        result, tensors = self.step()
        parameters, state = hashlib.sha256(), hashlib.sha256()
        for name in sorted(tensors, key=lambda name: (tensors[name].dtype != "I64", name)):
            state.update(tensors[name].data)
            if not name.endswith(("running_mean", "running_var", "num_batches_tracked")):
                parameters.update(tensors[name].data)
        state.update((2).to_bytes(8, "little"))
        self.assertEqual(result["weights_sha256"], parameters.hexdigest())
        self.assertEqual(result["state_sha256"], state.hexdigest())

    def test_training_goes_on_from_saved_statistics(self):
        """The second half of a run that starts from the first half's file counts its batches on."""
        self.step()
        config = configuration(optimizer={"type": "SGD", "params": {"lr": 0.01}})
        stage = self.compile(config, "--stages", 3, "--partition", "uniform", model=MODEL)
        again = self.folder / "again.safetensors"
        self.train(stage, "--steps", 1, "--init", self.folder / "2.safetensors", "--save-weights", again)
        self.assertEqual(list(safetensors_file.read(again)["bn1.num_batches_tracked"].values()), [12])

    def test_initial_values(self):
        """Without --init the statistics begin as PyTorch's: with momentum 0 nothing else comes in."""
        model = json.loads(MODEL.read_text())
        model["layers"][1]["momentum"] = 0
        stage = self.compile(configuration(), model=self.write("model.json", model))
        saved = self.folder / "w.safetensors"
        self.train(stage, "--steps", 1, "--save-weights", saved)
        tensors = safetensors_file.read(saved)
        self.assertEqual(set(tensors["bn1.running_mean"].values()), {0.0})
        self.assertEqual(set(tensors["bn1.running_var"].values()), {1.0})

    def test_inspect_counts_them(self):
        stage = self.compile(configuration(), "--stages", 2, model=MODEL)
        plan = self.run_ok("inspect", stage, "--json").json
        self.assertEqual(sum(rank["bytes_by_class"]["buffers"] > 0 for rank in plan["ranks"]), 2)
        self.assertIn("bn1.running_var", self.run_ok("inspect", stage, "--parameters").out)

    def test_a_file_without_them_is_of_another_model(self):
        stage = self.compile(configuration(), model=SOURCE / "models" / "fashion_mlp" / "model.json")
        failed = run("train", stage, "--data", FASHION_DATA, "--steps", 1, "--init", WEIGHTS)
        self.assertEqual(failed.code, 2, str(failed))
        self.assertIn("bn1.num_batches_tracked", failed.err)


if __name__ == "__main__":
    unittest.main(verbosity=2)
