#!/usr/bin/env python3
"""Makes the golden losses of models/ in the folder model_losses/ beside this file, with PyTorch.

    /path/to/python-with-torch make_model_loss_goldens.py [--full] [--out FOLDER] [MODEL ...]

Sizes, data and recipes are those of tests/e2e/model_jobs.py; --full takes the models at their full size. Weights are too large to be
stored: they are those that Stagewright draws (runtime/train/Random.h), drawn here a second time. 16-bit runs have fp32 masters
(make_precision_goldens.py); products of fp16 matrices are HalfProducts'.
"""
import argparse
import contextlib
import json
import math
import pathlib
import platform
import sys
import time

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only

from make_goldens import FOLDER, dump
from make_precision_goldens import TYPES, MixedTraining
from stagewright_random import RandomNumbers, drawn, drawn_normal
from torch_training import Training, as_feature, build_model, features_of

sys.path.insert(0, str(FOLDER.parent / "e2e"))
import model_jobs  # noqa: E402


def normal_parameters(layers, prefix=""):
    """{name: deviation} of the tables that begin with normal numbers."""
    found = {}
    for layer in layers:
        for copy in range(layer["repeat"]) if "repeat" in layer else [None]:
            name = prefix + layer["name"] + ("" if copy is None else f".{copy}")
            if layer["type"] == "Sequential":
                found |= normal_parameters(layer["layers"], name + ".")
            elif layer["type"] in ("Embedding", "LearnedPositions"):
                found[name + ".weight"] = layer.get("init_std", 1.0)
    return found


def initial_weights(spec):
    """Weights and biases of Linear and Conv2d are uniform, tables normal; all else begins as torch has it."""
    weights = {name: value.detach().clone() for name, value in build_model(spec).state().items()}
    normal = normal_parameters(spec["layers"])
    for name, value in weights.items():
        weight = weights.get(name.rsplit(".", 1)[0] + ".weight")
        if name in normal:
            weights[name] = drawn_normal(model_jobs.SEED, name, tuple(value.shape), normal[name])
            weights[name][value.abs().sum(1) == 0] = 0  # padding_idx
        elif weight is not None and weight.dim() > 1:
            weights[name] = drawn(model_jobs.SEED, name, tuple(value.shape), 1 / math.sqrt(weight[0].numel()))
    return weights


def tensors(spec):
    values, labels = model_jobs.samples(spec)
    if isinstance(values, dict):
        columns = [torch.tensor(values[entry["name"]]).reshape(model_jobs.SAMPLES, -1) for entry in spec["inputs"][:-1]]
        return features_of(columns, spec), torch.tensor(list(labels))
    if labels is None:
        text, length = torch.tensor(values), spec["inputs"][0]["shape"][0]
        return text[:-1].reshape(-1, length), text[1:].reshape(-1, length)
    source = torch.frombuffer(bytearray(values), dtype=torch.uint8) if isinstance(values, bytes) else torch.tensor(values)
    return as_feature(source.reshape(model_jobs.SAMPLES, -1), spec["inputs"][0]), torch.tensor(list(labels))


class HalfProducts(TorchDispatchMode):
    """Products of fp16 matrices and convolutions by torch's fp32 kernels, rounded once, as kernels do that sum in fp32. On a CPU without
    fp16 instructions torch's own take many times as long (check_half_products: and differ by roundings only)."""

    aten = torch.ops.aten
    products = {aten.mm.default, aten.addmm.default, aten.bmm.default, aten.convolution.default, aten.convolution_backward.default}

    def __torch_dispatch__(self, function, types, inputs=(), options=None):
        if function not in self.products or inputs[0].dtype != torch.float16:
            return function(*inputs, **(options or {}))
        return tree_map_only(torch.Tensor, torch.Tensor.half, function(*tree_map_only(torch.Tensor, torch.Tensor.float, inputs)))


def check_half_products():
    """Outputs and gradients of a convolution and a Linear layer with and without HalfProducts, to a rounding of their largest."""
    layers = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.Flatten(), torch.nn.Linear(8 * 36, 10)).half()
    x, results = torch.randn(4, 3, 8, 8).half(), []
    for mode in (contextlib.nullcontext(), HalfProducts()):
        with mode:
            y = layers(x)
            gradients = torch.autograd.grad(y.float().square().mean(), layers.parameters())
        results.append((y, *gradients))
    for one, other in zip(*results):
        assert (one - other).abs().max() <= 2**-9 * one.abs().max(), "torch's fp16 is another"


class DroppingTraining(MixedTraining):
    """MixedTraining of models with dropout."""

    def cast(self, values):  # of the features, once in every micro-batch
        RandomNumbers.micro_batch += 1
        return super().cast(values)

    def step(self, features, labels):
        RandomNumbers.seed, RandomNumbers.step, RandomNumbers.micro_batch = self.seed, len(self.losses), -1
        super().step(features, labels)


def make(name, full, path):
    """Writes `path` after every run; runs of the same job that it has are kept."""
    job = model_jobs.job(name, full)
    features, labels = tensors(job.spec)
    weights, order = initial_weights(job.spec), torch.tensor(job.order())
    known = json.loads(path.read_text()).get("cases", {}) if path.exists() else {}
    text = {
        "made_by": f"python {pathlib.Path(__file__).name}{' --full' if full else ''} {name}",
        "python": platform.python_version(),
        "torch": torch.__version__,
        "steps": model_jobs.STEPS,
        "cases": {case: known[case] if known.get(case, {}).get("job") == job.text(config) else {"job": job.text(config)}
                  for case, config in job.configs().items()},
    }
    wanted = {"fp32", *job.precisions, *(["fp64"] if "fp32" in job.precisions else [])}
    for precision in ("fp32", "fp64", *TYPES):
        for case, config in job.configs().items():
            golden = text["cases"][case]
            if f"losses_{precision}" in golden or precision not in wanted:
                continue
            begin = time.perf_counter()
            if precision in TYPES:
                run = DroppingTraining(job.spec, config, weights, TYPES[precision])
            else:
                run = Training(job.spec, config, weights, getattr(torch, {"fp32": "float32", "fp64": "float64"}[precision]))
            with HalfProducts() if precision == "fp16" else contextlib.nullcontext():
                for index in order.split(run.rows * run.count):
                    run.step(features[index], labels[index])
            golden[f"losses_{precision}"] = run.losses
            if precision == "fp32" and case == "sgd" and "fp64" in wanted:
                golden["final_fp32"] = {key: {"norm": value.double().norm().item()} for key, value in run.model.state().items()}
            path.write_text(dump(text) + "\n")
            seconds = time.perf_counter() - begin
            print(f"{name:12} {case:5} {precision} loss {run.losses[0]:.4f} -> {run.losses[-1]:.4f}, {seconds:.0f} s", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--full", action="store_true")
    parser.add_argument("--out", type=pathlib.Path, default=FOLDER / "model_losses")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("models", nargs="*", default=model_jobs.NAMES)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    arguments.out.mkdir(exist_ok=True)
    check_half_products()
    for model in arguments.models:
        make(model, arguments.full, arguments.out / f"{model}.json")
