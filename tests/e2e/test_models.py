"""The models of models/ against PyTorch: a few steps on small batches, from the weights that Stagewright draws."""
import json
import math
import random
import unittest

import safetensors_file
from program import GOLDENS, SOURCE, ProgramTest, write_idx
from test_losses import relative_errors

SEED, SAMPLES = 20261122, 48  # as in tests/goldens/make_model_goldens.py


class Models(ProgramTest):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.data = cls.shared / "data"
        cls.data.mkdir()
        write_idx(cls.data / "train-images-idx4-ubyte", (SAMPLES, 3, 32, 32), random.Random(SEED).randbytes(SAMPLES * 3072))
        labels = bytes(byte % 10 for byte in random.Random(SEED + 1).randbytes(SAMPLES))
        write_idx(cls.data / "train-labels-idx1-ubyte", (SAMPLES,), labels)
        (cls.data / "order.txt").write_text("".join(f"{index}\n" for index in range(SAMPLES)))

    def check(self, name, *options):
        golden = json.loads((GOLDENS / "models" / f"{name}.json").read_text())
        config = {**golden["config"], "steps_per_print": 0}
        stage = self.compile(config, *options, model=SOURCE / "models" / name / "model.json", name=f"{name}.stage")
        saved = self.folder / "w.safetensors"
        result = self.train(
            stage,
            *("--steps", golden["steps"], "--sample-order", self.data / "order.txt", "--save-weights", saved),
            data=self.data,
            timeout=300,
        )
        ours, theirs = (relative_errors(run, golden["losses_fp64"]) for run in (result["losses"], golden["losses_fp32"]))
        print(f"{name}: largest relative error of a loss against fp64: ours {max(ours):.1e}, PyTorch's {max(theirs):.1e}")
        self.assertLess(max(ours), 1e-5)
        tensors = safetensors_file.read(saved)
        self.assertEqual(sorted(tensors), sorted(golden["final_fp64"]))
        for key, want in golden["final_fp64"].items():
            norm = math.sqrt(math.fsum(value * value for value in tensors[key].values()))
            self.assertLess(abs(norm - want["norm"]), 1e-4 * want["norm"] + 1e-6, key)

    def test_cifar_cnn(self):
        self.check("cifar_cnn", "--stages", 3, "--partition", "uniform")

    def test_resnet18(self):
        self.check("resnet18", "--stages", 3, "--partition", "uniform", "--schedule", "zb-h1")

    def test_configurations(self):
        """As they stand in the tree they compile, and the plan is printed."""
        for name in ("cifar_cnn", "resnet18"):
            stage = self.folder / f"{name}.stage"
            self.run_ok("compile", SOURCE / "models" / name, "-o", stage)
            self.assertIn("1f1b", self.run_ok("inspect", stage).out)


if __name__ == "__main__":
    unittest.main(verbosity=2)
