#!/usr/bin/env python3
"""Makes the golden losses of 16-bit training with PyTorch: precision.json in the folders of this one.

    /path/to/python-with-torch make_precision_goldens.py [SET ...]

From the weights and the order of samples that make_goldens.py has written: the losses of 50 steps in fp32, and of the same
steps as DeepSpeed trains in fp16 and bf16 (a 16-bit copy of fp32 master weights, gradients of micro-batches added in fp32,
in fp16 with a static loss scale). Losses are computed in fp32 from 16-bit outputs.
"""
import copy
import json
import platform
import sys

import torch

from make_goldens import FASHION, FOLDER, SETS, dump, sgd_and_adam
from safetensors.torch import load_file
from torch_training import Training, as_feature, read_idx, strip_comments

STEPS = 50
LOSS_SCALE = 256.0
CASES = ("sgd", "adam_clipped")
TYPES = {"fp16": torch.float16, "bf16": torch.bfloat16}


class MixedTraining(Training):
    """fp32 masters and a 16-bit copy that computes."""

    def __init__(self, spec, config, weights, element):
        super().__init__(spec, config, weights, torch.float32)
        self.masters, self.model = self.model, copy.deepcopy(self.model).to(element)  # `model` computes
        self.dtype = element
        self.scale = LOSS_SCALE if element == torch.float16 else 1.0

    def step(self, features, labels):
        masters, halves = list(self.masters.parameters()), list(self.model.parameters())
        with torch.no_grad():
            for master, half in zip(masters, halves):
                half.copy_(master)
                master.grad = torch.zeros_like(master)
        total = 0.0
        for x, target in zip(features.split(self.rows), labels.split(self.rows), strict=True):
            y = self.model(self.cast(x)).float()
            loss = self.loss_of(y, target)
            (loss * (self.scale / self.count)).backward()
            total += loss.item()
            for master, half in zip(masters, halves):
                master.grad += half.grad.float() / self.scale
                half.grad = None
        self.losses.append(total / self.count)
        norm = torch.nn.utils.clip_grad_norm_(masters, self.clip)
        assert torch.isfinite(norm), "a step would be skipped"
        self.optimizer.step()


def losses(run, features, labels, order):
    for index in order.split(run.rows * run.count)[:STEPS]:
        run.step(features[index], labels[index])
    return run.losses


def make(name):
    entry, folder = SETS[name], FOLDER / name
    facts = json.loads((folder / "goldens.json").read_text())
    spec = json.loads(strip_comments((FOLDER.parents[1] / facts["model"]).read_text()))
    features, labels = (read_idx((entry["data"] or folder) / file) for file in entry["files"])
    features = as_feature(features, spec["inputs"][0])
    labels = labels.long() if spec["inputs"][1]["dtype"] == "i32" else labels
    weights = load_file(folder / "weights.safetensors")
    order = torch.tensor([int(line) for line in (folder / "order.txt").read_text().split()])
    configs, cases = sgd_and_adam(entry["rows"], entry["count"], entry["clip"]), {}
    for case in CASES:
        config = configs[case]
        fp32 = losses(Training(spec, config, weights, torch.float32), features, labels, order)
        cases[case] = {"config": config, "losses_fp32": fp32}
        for precision, element in TYPES.items():
            mixed = losses(MixedTraining(spec, config, weights, element), features, labels, order)
            cases[case][f"losses_{precision}"] = mixed
            distance = max(abs(a - b) for a, b in zip(mixed, fp32))
            print(f"{name:12} {case:14} {precision} loss {mixed[0]:.4f} -> {mixed[-1]:.4f}, from fp32 at most {distance:.1e}")
    text = {
        "made_by": "python make_precision_goldens.py",
        "python": platform.python_version(),
        "torch": torch.__version__,
        "steps": STEPS,
        "loss_scale_of_fp16": LOSS_SCALE,
        "data": str(FASHION) if entry["data"] else ".",
        "cases": cases,
    }
    (folder / "precision.json").write_text(dump(text) + "\n")


if __name__ == "__main__":
    torch.set_num_threads(1)
    for each in sys.argv[1:] or ("fashion_mlp", "regression", "convolution", "transformer", "gpt"):
        make(each)
