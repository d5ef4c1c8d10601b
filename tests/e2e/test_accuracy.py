"""The example learns: fashion_mlp as shipped reaches a test accuracy of 0.87 in at most five epochs."""
import unittest

import safetensors_file
from program import FASHION_DATA, FASHION_MODEL, ProgramTest


class Accuracy(ProgramTest):
    def test_five_epochs(self):
        stage, weights = self.folder / "fashion_mlp.stage", self.folder / "weights.safetensors"
        self.run_ok("compile", FASHION_MODEL, "-c", FASHION_MODEL.with_name("config.json"), "-o", stage)
        trained = self.train(stage, "--epochs", 5, "--save-weights", weights, timeout=300)
        self.assertEqual(trained["steps"], 5 * (60000 // 64))
        evaluated = self.run_ok("eval", stage, "--data", FASHION_DATA, "--init", weights, "--json").json
        print(f"test accuracy {evaluated['accuracy']:.4f}, loss {evaluated['loss']:.4f}, "
              f"{trained['samples_per_second']:.0f} samples/s")
        self.assertGreaterEqual(evaluated["accuracy"], 0.87)
        self.assertLess(evaluated["loss"], 0.40)
        self.check_against_own_evaluation(weights, evaluated)

    def check_against_own_evaluation(self, weights, evaluated):
        """Accuracy over 200 of the test images, computed here from the saved weights, within the sampling error of the
        program's figure: the reported number is about these weights and these images."""
        accuracy = plain_accuracy(safetensors_file.read(weights), 200)
        self.assertLess(abs(accuracy - evaluated["accuracy"]), 0.08)


def plain_accuracy(weights, count):
    import gzip

    images = gzip.decompress((FASHION_DATA / "t10k-images-idx3-ubyte.gz").read_bytes())[16:]
    labels = gzip.decompress((FASHION_DATA / "t10k-labels-idx1-ubyte.gz").read_bytes())[8:]
    values = {name: tensor.values() for name, tensor in weights.items()}
    correct = 0
    for sample in range(count):
        pixels = [(byte / 255 - 0.2860) / 0.3530 for byte in images[784 * sample : 784 * (sample + 1)]]
        hidden = [max(0.0, value) for value in affine(values["fc1.weight"], values["fc1.bias"], pixels)]
        logits = affine(values["fc2.weight"], values["fc2.bias"], hidden)
        correct += logits.index(max(logits)) == labels[sample]
    return correct / count


def affine(weight, bias, x):
    return [
        bias[row] + sum(a * b for a, b in zip(weight[row * len(x) : (row + 1) * len(x)], x)) for row in range(len(bias))
    ]


if __name__ == "__main__":
    unittest.main(verbosity=2)
