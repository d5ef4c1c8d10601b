"""The models of models/ against PyTorch: a few steps on small batches, from the weights that Stagewright draws."""
import json
import math
import random
import struct
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
        (cls.shared / "order.txt").write_text("".join(f"{index}\n" for index in range(SAMPLES)))

    @classmethod
    def padded_tokens(cls):
        """The folder of BERT's inputs; as padded_tokens() of make_model_goldens.py."""
        generator, columns, labels = random.Random(SEED), {"input_ids": [], "token_type_ids": [], "attention_mask": []}, []
        for _ in range(SAMPLES):
            size = generator.randint(5, 128)
            cut, padding = generator.randint(1, size), [0] * (128 - size)
            columns["input_ids"] += [generator.randrange(1, 8192) for _ in range(size)] + padding
            columns["token_type_ids"] += [int(i >= cut) for i in range(size)] + padding
            columns["attention_mask"] += [1] * size + padding
            labels.append(generator.randrange(4))
        folder = cls.shared / "tokens"
        folder.mkdir(exist_ok=True)
        for name, values in columns.items():
            write_idx(folder / f"train-{name}-idx2-int", (SAMPLES, 128), struct.pack(f">{len(values)}i", *values), 0x0C)
        write_idx(folder / "train-labels-idx1-ubyte", (SAMPLES,), bytes(labels))
        return folder

    def check(self, name, *options, data=None):
        """Trains as the golden, and returns the summary."""
        golden = json.loads((GOLDENS / "models" / f"{name}.json").read_text())
        config = {**golden["config"], "steps_per_print": 0}
        stage = self.compile(config, *options, model=SOURCE / "models" / name / "model.json", name=f"{name}.stage")
        saved = self.folder / "w.safetensors"
        result = self.train(
            stage,
            *("--steps", golden["steps"], "--sample-order", self.shared / "order.txt", "--save-weights", saved),
            data=data or self.data,
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
        return result

    def test_cifar_cnn(self):
        self.check("cifar_cnn", "--stages", 3, "--partition", "uniform")

    def test_resnet18(self):
        self.check("resnet18", "--stages", 3, "--partition", "uniform", "--schedule", "zb-h1")

    def test_bert_classifier(self):
        """Also: one result for several plans."""
        data = self.padded_tokens()
        plans = (1, "gpipe"), (2, "1f1b"), (4, "zb-h1")
        results = [self.check("bert_classifier", "--stages", stages, "--schedule", schedule, data=data) for stages, schedule in plans]
        self.assertEqual(len({(one["weights_sha256"], one["state_sha256"], tuple(one["losses"])) for one in results}), 1)

    def test_configurations(self):
        """As they stand in the tree they compile, and the plan is printed."""
        for name in ("cifar_cnn", "resnet18", "bert_classifier"):
            stage = self.folder / f"{name}.stage"
            self.run_ok("compile", SOURCE / "models" / name, "-o", stage)
            self.assertIn("1f1b", self.run_ok("inspect", stage).out)


if __name__ == "__main__":
    unittest.main(verbosity=2)
