#!/usr/bin/env python3
"""Trains random models in Stagewright and in PyTorch, and compares losses and weights: a search for what no test has thought of.

    STAGEWRIGHT_BIN=build/release/bin PYTHON-WITH-TORCH -B tests/e2e/random_models.py [--models 200] [--seed 1] [--keep DIR]

Each model is a random graph of layers with odd sizes and random arguments, images, rows of numbers or tokens, with one to three
losses; each is compiled for random stages, replicas (which share the statistics of BatchNorm), ZeRO stages, groups of shards, tensor
ranks, schedule and recompute, and trained for a few steps from the same weights. The reference
is PyTorch in fp64; we may be as far from it as fp32 is: 1e-4 of the largest change of a parameter, or 30 times PyTorch's own fp32.
(Where attention looks at one token alone, the gradients of queries and keys are zero but for rounding, which Adam enlarges.) The exit
code is 1 when a model is not trained so; --keep leaves its files. Needs PyTorch, numpy and safetensors; not part of CI.
"""
import argparse
import json
import math
import pathlib
import random
import shutil
import sys
import tempfile
import traceback

import numpy
import safetensors.torch
import torch

from program import run

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "goldens"))
from torch_training import Labels, Training, build_model  # noqa: E402

STEPS, SCHEDULES = 3, ("gpipe", "1f1b", "zb-h1")


class Builder:
    """A graph that grows by layers which fit. Shapes are those of one sample."""

    def __init__(self, seed):
        self.random = random.Random(seed)
        self.layers, self.shapes, self.unread, self.features = [], {}, [], []

    def one(self, *choices):
        return self.random.choice(choices)

    def size(self, low=1, high=9):
        return self.random.randint(low, high)

    def flag(self):
        return self.random.random() < 0.5

    def feature(self, name, shape, vocabulary=None):
        self.features.append({"name": name, "role": "feature", "dtype": "i32" if vocabulary else "f32", "shape": shape})

    def add(self, kind, shape, inputs, /, **arguments):
        name = f"{kind.lower()}{len(self.layers)}"
        self.layers.append({"type": kind, "name": name, "inputs": inputs, **arguments})
        for read in inputs:
            if read in self.unread:
                self.unread.remove(read)
        self.shapes[name] = shape
        self.unread.append(name)
        return name

    # ---- layers that fit a value of a shape ---------------------------------------------------------------------

    def of_any(self, x):
        shape = self.shapes[x]
        kind = self.one("Tanh", "GELU", "SiLU", "Sigmoid", "Linear", "LayerNorm", "RMSNorm", "Softmax", "Mean", "Sum", "Narrow",
                        "Permute", "Reshape", "Flatten", "Linear", "Linear", "Select", "Normalize")
        rank, axis = len(shape), self.size(1, len(shape))  # of the batch's tensor
        signed = axis - rank - 1 if self.flag() else axis
        if kind == "GELU":
            return self.add(kind, shape, [x], approximate=self.one("none", "tanh"))
        if kind in ("Tanh", "SiLU", "Sigmoid"):
            return self.add(kind, shape, [x])
        if kind == "Linear":
            width = self.size(1, 17)
            return self.add(kind, [*shape[:-1], width], [x], in_features=shape[-1], out_features=width, bias=self.flag())
        if kind == "LayerNorm":
            if self.flag():
                return self.add(kind, shape, [x], normalized_shape=shape[-1], bias=self.flag(), eps=self.one(1e-5, 1e-2))
            return self.add(kind, shape, [x], normalized_shape=shape[-self.size(1, rank):], elementwise_affine=False)
        if kind == "RMSNorm":
            return self.add(kind, shape, [x], normalized_shape=[shape[-1]], eps=self.one(1e-5, 1e-2), elementwise_affine=self.flag())
        if kind == "Softmax":
            return self.add(kind, shape, [x], dim=signed)
        if kind == "Normalize":
            return self.add(kind, shape, [x], dim=signed)
        if kind in ("Mean", "Sum") and rank > 1:
            keep = self.flag()
            left = [size for i, size in enumerate(shape) if i != axis - 1]
            kept = [1 if i == axis - 1 else size for i, size in enumerate(shape)]
            return self.add(kind, kept if keep else left, [x], dim=[signed], keepdim=keep)
        if kind == "Narrow":
            length = self.size(1, shape[axis - 1])
            start = self.size(0, shape[axis - 1] - length)
            return self.add(kind, [length if i == axis - 1 else size for i, size in enumerate(shape)], [x],
                            dim=signed, start=start - (shape[axis - 1] if self.flag() and start > 0 else 0), length=length)
        if kind == "Select" and rank > 1:
            return self.add(kind, [size for i, size in enumerate(shape) if i != axis - 1], [x], dim=signed,
                            index=self.size(-shape[axis - 1], shape[axis - 1] - 1))
        if kind == "Permute" and rank > 1:
            order = self.random.sample(range(1, rank + 1), rank)
            return self.add(kind, [shape[i - 1] for i in order], [x], dims=[0, *order])
        if kind == "Reshape":
            total = math.prod(shape)
            divisor = self.one(*[i for i in range(1, total + 1) if total % i == 0])
            return self.add(kind, [divisor, total // divisor], [x], shape=[divisor, -1])
        if kind == "Flatten" and rank > 1:
            first = self.size(1, rank - 1)
            last = self.size(first + 1, rank)
            return self.add(kind, [*shape[: first - 1], math.prod(shape[first - 1 : last]), *shape[last:]], [x],
                            start_dim=first, end_dim=last if self.flag() else last - rank - 1)
        return self.add("Tanh", shape, [x])

    def window(self, sizes, dilated):
        """Kernel, stride, padding and dilation for an image of these sizes, and the sizes behind."""
        kernel = [self.size(1, min(4, size)) for size in sizes]
        stride = [self.size(1, 3) for _ in sizes]
        padding = [self.size(0, k // 2) for k in kernel]
        dilation = [self.size(1, 2) if dilated and 2 * (k - 1) + 1 <= size + 2 * p else 1 for k, size, p in zip(kernel, sizes, padding)]
        out = [(size + 2 * p - d * (k - 1) - 1) // s + 1 for size, k, s, p, d in zip(sizes, kernel, stride, padding, dilation)]
        return kernel, stride, padding, dilation, out

    def of_image(self, x):
        channels, *sizes = self.shapes[x]
        kind = self.one("Conv2d", "Conv2d", "Conv2d", "MaxPool2d", "AvgPool2d", "AdaptiveAvgPool2d", "BatchNorm2d", "GroupNorm")
        kernel, stride, padding, dilation, out = self.window(sizes, kind != "AvgPool2d")
        if kind == "Conv2d":
            groups = self.one(*[i for i in range(1, channels + 1) if channels % i == 0])
            width = groups * self.size(1, 5)
            return self.add(kind, [width, *out], [x], in_channels=channels, out_channels=width, kernel_size=kernel, stride=stride,
                            padding=padding, dilation=dilation, groups=groups, bias=self.flag())
        if kind == "MaxPool2d":
            return self.add(kind, [channels, *out], [x], kernel_size=kernel, stride=stride, padding=padding, dilation=dilation)
        if kind == "AvgPool2d":
            more = {"divisor_override": self.size(1, 9)} if self.flag() else {"count_include_pad": self.flag()}
            return self.add(kind, [channels, *out], [x], kernel_size=kernel, stride=stride, padding=padding, **more)
        if kind == "BatchNorm2d" and self.batch * math.prod(sizes) > 1:
            return self.add(kind, [channels, *sizes], [x], num_features=channels, affine=self.flag(), eps=self.one(1e-5, 1e-2))
        if kind == "AdaptiveAvgPool2d":
            wanted = [self.size(1, 4) for _ in sizes]
            return self.add(kind, [channels, *wanted], [x], output_size=wanted)
        groups = self.one(*[i for i in range(1, channels + 1) if channels % i == 0])  # also where a batch has no variance
        return self.add("GroupNorm", [channels, *sizes], [x], num_groups=groups, num_channels=channels, affine=self.flag(), eps=1e-3)

    def of_sequence(self, x, mask):
        length, width = self.shapes[x]
        options = {"is_causal": self.flag(), "scale": self.one(0, 0.3)} | ({"key_mask": mask} if mask and self.flag() else {})
        heads, size = self.size(1, 4), 2 * self.size(1, 4)
        groups = self.one(*[i for i in range(1, heads + 1) if heads % i == 0])
        options |= {"num_heads": heads, "num_key_value_heads": groups, "rotary_base": self.one(0, 100.0)}
        parts = (heads * size, groups * size, groups * size)
        if self.flag():
            read = [self.add("Linear", [length, part], [x], in_features=width, out_features=part) for part in parts]
        else:
            read = [self.add("Linear", [length, sum(parts)], [x], in_features=width, out_features=sum(parts), bias=self.flag())]
        return self.add("ScaledDotProductAttention", [length, heads * size], read, **options)

    def of_two(self, x):
        """x with another value: arithmetic that broadcasts, or a product of matrices."""
        shape = self.shapes[x]
        kind = self.one("Add", "Subtract", "Multiply", "Divide", "SwiGLU", "Concat", "MatMul")
        if kind == "Divide":
            below = self.add("Sigmoid", shape, [self.add("Linear", shape, [x], in_features=shape[-1], out_features=shape[-1])])
            return self.add(kind, shape, [x, below])
        if kind == "MatMul" and len(shape) > 1:
            width = self.size(1, 7)
            turned = self.add("Permute", [*shape[:-2], shape[-1], shape[-2]], [x],
                              dims=[*range(len(shape) - 1), len(shape), len(shape) - 1])
            other = self.add("Linear", [*shape[:-2], shape[-1], width], [turned], in_features=shape[-2], out_features=width)
            return self.add(kind, [*shape[:-1], width], [x, other])
        if kind == "MatMul":
            kind = "Add"
        if kind == "Concat":
            width = self.size(1, 5)
            other = self.add("Linear", [*shape[:-1], width], [x], in_features=shape[-1], out_features=width)
            return self.add(kind, [*shape[:-1], shape[-1] + width], [x, other], dim=len(shape) if self.flag() else -1)
        width = 1 if self.flag() and kind != "SwiGLU" else shape[-1]
        other = self.add("Linear", [*shape[:-1], width], [x], in_features=shape[-1], out_features=width)
        return self.add(kind, shape, [x, other] if self.flag() or kind == "Subtract" else [other, x])

    def grow(self, count, mask=None):
        for _ in range(count):
            x = self.unread[-1] if self.random.random() < 0.8 else self.one(*self.shapes)
            shape = self.shapes[x]
            makers = [self.of_any, self.of_two]
            makers += [self.of_image] * 3 if len(shape) == 3 else []
            makers += [lambda x: self.of_sequence(x, mask)] * 2 if len(shape) == 2 and (not mask or shape[0] == self.length) else []
            if math.prod(shape) <= 600:
                self.one(*makers)(x)

    def rows(self, x, width):
        """x as `width` numbers."""
        total = math.prod(self.shapes[x])
        if len(self.shapes[x]) > 1:
            x = self.add("Flatten", [total], [x])
        return self.add("Linear", [width], [x], in_features=total, out_features=width)


def random_mesh(seed):
    """Replicas and how they divide what a model needs, and tensor ranks: settings to add. A seed's model does not depend on them."""
    draw = random.Random(f"mesh {seed}")
    replicas = draw.choice((1, 1, 2, 3, 4))
    divided = {"stage": draw.choice((0, 1, 2, 3, 3, 3))}
    if replicas > 1 and draw.random() < 0.5:
        divided["mics_shard_size"] = draw.choice([size for size in range(1, replicas + 1) if replicas % size == 0])
    own = {"gather_weights": draw.choice(("block", "visit", "step")), "gradient_reduction": draw.choice(("step", "micro_batch"))}
    own |= {"sync_batch_norm": True} if replicas > 1 else {}
    return replicas, draw.choice((1, 1, 1, 2)), {"data_parallel_size": replicas, "zero_optimization": divided}, own


def random_job(seed):
    """The model file, the configuration, tensors by input, options of the compiler, tensor ranks, and options of the program."""
    b = Builder(seed)
    rows, count = b.size(1, 5), b.size(1, 3)
    b.batch = rows
    replicas, tensor_ranks, settings, own = random_mesh(seed)
    samples = rows * count * replicas * STEPS
    generator = torch.Generator().manual_seed(seed)
    data = {}
    kind = b.one("image", "image", "rows", "tokens", "tokens")
    if kind == "image":
        shape = [b.size(1, 4), b.size(3, 10), b.size(3, 10)]
    elif kind == "rows":
        shape = [b.size(1, 6) for _ in range(b.size(1, 3))]
    if kind == "tokens":
        b.length, vocabulary, width = b.size(2, 9), b.size(3, 12), 2 * b.size(1, 6)
        b.feature("tokens", [b.length], vocabulary)
        data["tokens"] = torch.randint(0, vocabulary, (samples, b.length), generator=generator)
        table = {"num_embeddings": vocabulary, "embedding_dim": width} | ({"padding_idx": b.size(-vocabulary, vocabulary - 1)} if b.flag() else {})
        b.add("Embedding", [b.length, width], ["tokens"], **table)
        mask = None
        if b.flag():
            mask = "mask"
            b.feature(mask, [b.length], 2)
            ends = torch.randint(1, b.length + 1, (samples, 1), generator=generator)
            data[mask] = (torch.arange(b.length) < ends).long()
        if b.flag():
            b.add("LearnedPositions", [b.length, width], [b.unread[-1]], num_positions=b.length + b.size(0, 2), embedding_dim=width)
        b.grow(b.size(1, 8), mask)
        if mask and not any("mask" in (layer.get("key_mask"), layer.get("mask")) for layer in b.layers):
            b.add("MaskedMean", [width], [b.layers[0]["name"]], mask=mask)
    else:
        b.feature("x", shape)
        data["x"] = torch.randn(samples, *shape, generator=generator)
        b.length = None
        width = b.size(1, 9)
        b.add("Linear", [*shape[:-1], width], ["x"], in_features=shape[-1], out_features=width)
        b.grow(b.size(1, 9))
    classes = b.size(2, 6)
    parts = [b.rows(x, classes) for x in list(b.unread)]
    for part in parts[1:]:
        parts[0] = b.add("Add", [classes], [parts[0], part])
    inputs, losses = list(b.features), []
    for index in range(b.one(1, 1, 2, 3)):
        loss, label = b.one("CrossEntropyLoss", "MSELoss", "BCEWithLogitsLoss"), f"label{index}"
        entry = {"type": loss, "name": f"loss{index}", "inputs": [parts[0], label]}
        if loss == "CrossEntropyLoss":
            data[label] = torch.randint(0, classes, (samples,), generator=generator)
            entry |= {"label_smoothing": b.one(0.0, 0.1)}
        else:
            data[label] = torch.rand(samples, classes, generator=generator)
        inputs.append({"name": label, "role": "label", "dtype": "i32" if loss == "CrossEntropyLoss" else "f32",
                       "shape": [] if loss == "CrossEntropyLoss" else [classes]})
        losses.append(entry | ({"loss_weight": b.one(0.25, 1.5)} if b.flag() else {}))
    spec = {"name": f"random{seed}", "inputs": inputs, "layers": b.layers, "loss": losses}
    optimizer = b.one({"type": "SGD", "params": {"lr": 0.05, "momentum": 0.9}}, {"type": "Adam", "params": {"lr": 0.01, "eps": 1e-3}},
                      {"type": "Adagrad", "params": {"lr": 0.02, "eps": 1e-2}})
    stages = b.size(1, min(5, len(b.layers)))
    config = {"train_micro_batch_size_per_gpu": rows, "gradient_accumulation_steps": count, "optimizer": optimizer,
              "gradient_clipping": b.one(0.0, 0.5), "steps_per_print": 0,
              "stagewright": {"recompute": ";".join(b.one("none", "selective", "interval:1", "interval:2") for _ in range(stages)), **own},
              **settings}
    compile_options = ["--stages", stages, "--partition", "uniform", "--schedule", b.one(*SCHEDULES)]
    options = ["--threads", b.size(1, 2), "--isa", b.one("auto", "auto", "avx2", "portable")]
    return spec, config, data, compile_options, tensor_ranks, options + (["--ranks", "processes"] if b.random.random() < 0.1 else [])


def train_torch(spec, config, data, weights, dtype):
    features = [data[entry["name"]] for entry in spec["inputs"] if entry["role"] == "feature"]
    features = features[0] if len(features) == 1 else torch.stack(features, 1)
    labels = Labels({entry["name"]: data[entry["name"]] for entry in spec["inputs"] if entry["role"] == "label"})
    replicas = config["data_parallel_size"]
    rows, count = config["train_micro_batch_size_per_gpu"], config["gradient_accumulation_steps"]
    training = Training(spec, {**config, "train_micro_batch_size_per_gpu": rows * replicas}, weights, dtype)
    for step in range(STEPS):
        # One micro-batch of all replicas, each of which has `count` of them one behind the other.
        index = step * replicas * count * rows + torch.arange(replicas * count * rows).reshape(replicas, count, rows).transpose(0, 1).flatten()
        training.step(features[index], labels[index])
    return training


def compare(seed, folder):
    """Nothing, or what is wrong."""
    spec, config, data, compile_options, tensor_ranks, options = random_job(seed)
    torch.manual_seed(seed)
    weights = {name: value.detach().clone() for name, value in build_model(spec).state().items()}
    (folder / "model.json").write_text(json.dumps(spec, indent=1))
    (folder / "config.json").write_text(json.dumps(config, indent=1))
    safetensors.torch.save_file(weights, folder / "weights.safetensors")
    numpy.savez(folder / "train.npz", **{name: value.numpy().astype("int32" if not value.is_floating_point() else "float32")
                                         for name, value in data.items()})
    (folder / "order.txt").write_text("".join(f"{i}\n" for i in range(len(next(iter(data.values()))))))
    stage, saved = folder / "x.stage", folder / "saved.safetensors"
    def compiled(*options):
        return run("compile", folder / "model.json", "-c", folder / "config.json", *compile_options, *options, "-o", stage)

    done = compiled("--tensor-parallel", tensor_ranks)
    if "no parameter of the model can be split" in done.err:
        done = compiled()
    if done.code != 0:
        return f"compile ends with {done.code}: {done.err}"
    try:
        exact, single = (train_torch(spec, config, data, weights, dtype) for dtype in (torch.float64, torch.float32))
    except ValueError:
        return None  # which torch refuses, such as a GroupNorm of one value
    if not all(math.isfinite(loss) for loss in single.losses):
        return None  # it diverges
    done = run("train", stage, "--data", folder, "--init", folder / "weights.safetensors", "--sample-order", folder / "order.txt",
               "--steps", STEPS, "--save-weights", saved, "--json", *options)
    if done.code != 0:
        return f"train ends with {done.code}: {done.err}"
    for step, (ours, want, theirs) in enumerate(zip(done.json["losses"], exact.losses, single.losses, strict=True)):
        if not abs(ours - want) <= max(2e-5 * abs(want) + 1e-6, 30 * abs(theirs - want)):
            return f"loss {step}: {ours}, PyTorch {want} (fp32 {theirs})"
    found, wanted, first = safetensors.torch.load_file(saved), exact.model.state(), single.model.state()
    if sorted(found) != sorted(wanted):
        return f"names differ: {sorted(set(found) ^ set(wanted))}"
    moves = {name: (want.detach().double() - weights[name].double()).norm() for name, want in wanted.items()}
    for name, want in wanted.items():
        want = want.detach().double()
        distance, allowed = (found[name].double() - want).norm(), 1e-4 * max(moves.values()) + 1e-6 * (1 + want.norm())
        theirs = (first[name].detach().double() - want).norm()
        if not distance <= max(allowed, 30 * theirs):
            return f"{name}: {distance:.2e} from PyTorch, whose fp32 is {theirs:.2e} and which has moved it by {moves[name]:.2e}"
    return None


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep", type=pathlib.Path, help="folder for the files of models that differ")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    wrong = 0
    for seed in range(arguments.seed, arguments.seed + arguments.models):
        folder = pathlib.Path(tempfile.mkdtemp(prefix="stagewright-random-"))
        try:
            problem = compare(seed, folder)
        except Exception:
            problem = traceback.format_exc()
        if problem:
            wrong += 1
            print(f"model {seed}: {problem}", flush=True)
            if arguments.keep:
                shutil.copytree(folder, arguments.keep / str(seed), dirs_exist_ok=True)
        shutil.rmtree(folder)
    print(f"{arguments.models} models, {wrong} differ")
    sys.exit(wrong > 0)


if __name__ == "__main__":
    main()
