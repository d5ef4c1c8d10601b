#!/usr/bin/env python3
"""Makes the golden losses of models/ in the folder models/ beside this file, with PyTorch.

    /path/to/python-with-torch make_model_goldens.py [MODEL ...]

Their weights are too large to be stored: they are those that Stagewright draws (runtime/train/Random.h), drawn here a
second time. The images are random bytes (image_bytes), so that the test makes the same ones.
"""
import json
import pathlib
import platform
import random
import sys

import torch

from make_goldens import FOLDER, configuration, dump
from make_model_loss_goldens import initial_weights
from torch_training import as_feature, features_of, strip_comments, train

SEED = 20261122  # as model_jobs.SEED, with which initial_weights draws
SAMPLES = 48
CONFIGS = {
    "cifar_cnn": configuration(4, 4, "Adam", 1.0, lr=0.001),
    "resnet18": configuration(8, 2, "SGD", 0.0, lr=0.001, momentum=0.9, weight_decay=0.0005),
    "bert_classifier": configuration(4, 2, "SGD", 1.0, lr=0.05, momentum=0.9, weight_decay=0.01),
}


def image_bytes():
    """What tests/e2e/test_models.py writes: bytes of [SAMPLES, 3, 32, 32] images, and labels."""
    return random.Random(SEED).randbytes(SAMPLES * 3072), bytes(byte % 10 for byte in random.Random(SEED + 1).randbytes(SAMPLES))


def padded_tokens(length=128, vocabulary=8192):
    """What tests/e2e/test_models.py writes: the three inputs of BERT as rows of numbers, and labels."""
    generator, columns, labels = random.Random(SEED), ([], [], []), []
    for _ in range(SAMPLES):
        size = generator.randint(5, length)
        cut, padding = generator.randint(1, size), [0] * (length - size)
        columns[0].append([generator.randrange(1, vocabulary) for _ in range(size)] + padding)
        columns[1].append([int(i >= cut) for i in range(size)] + padding)
        columns[2].append([1] * size + padding)
        labels.append(generator.randrange(4))
    return columns, labels


def samples_of(spec):
    """Features and labels."""
    if spec["name"] == "bert_classifier":
        columns, labels = padded_tokens()
        return features_of([torch.tensor(column) for column in columns], spec), torch.tensor(labels)
    pixels, answers = (torch.frombuffer(bytearray(part), dtype=torch.uint8) for part in image_bytes())
    return as_feature(pixels.reshape(SAMPLES, -1), spec["inputs"][0]), answers.long()


def make(name):
    spec = json.loads(strip_comments((FOLDER.parents[1] / "models" / name / "model.json").read_text()))
    features, labels = samples_of(spec)
    config = {**CONFIGS[name], "seed": SEED}
    weights, order = initial_weights(spec), torch.arange(SAMPLES)
    runs = {
        text: train(spec, config, weights, features, labels, order, dtype)
        for text, dtype in (("fp32", torch.float32), ("fp64", torch.float64))
    }
    final = {key: value.double() for key, value in runs["fp64"].model.state().items()}
    error = [abs(a - b) / abs(b) for a, b in zip(runs["fp32"].losses, runs["fp64"].losses)]
    print(f"{name:12} losses {runs['fp64'].losses}, fp32 against fp64: {max(error):.1e}")
    text = {
        "made_by": f"python {pathlib.Path(__file__).name} {name}",
        "python": platform.python_version(),
        "torch": torch.__version__,
        "config": config,
        "steps": SAMPLES // (runs["fp64"].rows * runs["fp64"].count),
        "losses_fp32": runs["fp32"].losses,
        "losses_fp64": runs["fp64"].losses,
        "final_fp64": {key: {"sum": value.sum().item(), "norm": value.norm().item()} for key, value in final.items()},
    }
    (FOLDER / "models").mkdir(exist_ok=True)
    (FOLDER / "models" / f"{name}.json").write_text(dump(text) + "\n")


if __name__ == "__main__":
    torch.set_num_threads(1)
    for model in sys.argv[1:] or CONFIGS:
        make(model)
