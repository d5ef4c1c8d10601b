#!/usr/bin/env python3
"""Makes the golden losses in this folder with PyTorch.

    /path/to/python-with-torch make_goldens.py [SET ...]
    /path/to/python-with-torch make_goldens.py recipes

Each set is a folder: model.json, weights.safetensors (initial values), order.txt (one sample index per line), the data
where it is not Fashion-MNIST, and goldens.json: for each case the configuration and the losses of 100 steps, once in
fp32 and once in fp64. All runs start from the same fp32 weights and read the same fp32 inputs, so their differences are
the rounding error of training in fp32. The loss of a step is the mean over its micro-batches of the micro-batch means.

`recipes` writes activations/recipes.json and regression/recipes.json: more cases from the weights and the order that are
there, with schedules of the learning rate by DeepSpeed's formulas, more optimizers, groups, frozen layers and losses.
"""
import argparse
import gzip
import json
import math
import pathlib
import platform
import re
import struct
import sys

import safetensors
import safetensors.torch
import torch
from stagewright_random import Dropout, RandomNumbers
from torch import nn

FOLDER = pathlib.Path(__file__).resolve().parent
FASHION = pathlib.Path("/usr/share/datasets/fashion-mnist")
STEPS = 100
SEED = 20261121
KINK = 1e-4


# ---- data ----------------------------------------------------------------------------------------------------------

IDX_CODE = {torch.uint8: 0x08, torch.float32: 0x0D}


def write_idx(path, tensor):
    """IDX: two zero bytes, element type, rank, big-endian sizes, big-endian elements."""
    head = struct.pack(">BBBB", 0, 0, IDX_CODE[tensor.dtype], tensor.dim())
    head += struct.pack(f">{tensor.dim()}I", *tensor.shape)
    flat = tensor.flatten().tolist()
    body = bytes(flat) if tensor.dtype == torch.uint8 else struct.pack(f">{len(flat)}f", *flat)
    data = head + body
    path.write_bytes(gzip.compress(data, mtime=0) if path.suffix == ".gz" else data)


def read_idx(path):
    data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    code, rank = data[2], data[3]
    sizes = struct.unpack(f">{rank}I", data[4 : 4 + 4 * rank])
    body = bytearray(data[4 + 4 * rank :])
    if code == 0x08:
        return torch.frombuffer(body, dtype=torch.uint8).reshape(sizes)
    values = struct.unpack(f">{math.prod(sizes)}f", bytes(body))
    return torch.tensor(values, dtype=torch.float32).reshape(sizes)


def as_feature(source, spec):
    """What the model sees: tokens, or u8 values normalised in fp64 and rounded once to fp32."""
    if spec["dtype"] == "i32":
        return source.long()
    if source.dtype == torch.uint8:
        wide = source.to(torch.float64)
        source = ((wide * spec.get("scale", 1.0) - spec.get("mean", 0.0)) / spec.get("deviation", 1.0)).to(torch.float32)
    return source.reshape(source.shape[0], *spec["shape"])


# ---- model and optimizer from the same files that Stagewright reads ------------------------------------------------


def strip_comments(text):
    return "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("//"))


class Function(nn.Module):
    """A layer without parameters that torch.nn has no class for."""

    def __init__(self, function):
        super().__init__()
        self.forward = function


class LearnedPositions(nn.Module):
    def __init__(self, num_positions, embedding_dim):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(num_positions, embedding_dim))

    def forward(self, x):
        return x + self.weight[: x.shape[1]]


class AttentionDropout(nn.Module):
    """attention() with dropout of the probabilities, whose rows count with a length rounded up to 64."""

    def __init__(self, dropout_p, **arguments):
        super().__init__()
        self.p, self.arguments = dropout_p, arguments

    def drop(self, scores):
        rows, padded = scores.shape[:-1], -(-scores.shape[-1] // 64) * 64
        factors = RandomNumbers.factors(math.prod(rows) * padded, self.block, self.ordinal, self.p)
        return scores * factors.reshape(*rows, padded)[..., : scores.shape[-1]].to(scores.dtype)

    def forward(self, *inputs):
        return attention(*inputs, drop=self.drop if self.training else None, **self.arguments)


def rotate(x, base):
    """Llama's rotary positions of x [batch, heads, length, size]."""
    size = x.shape[-1]
    frequency = base ** (-torch.arange(0, size, 2, dtype=torch.float64) / size)
    angle = torch.arange(x.shape[2], dtype=torch.float64)[:, None] * frequency
    cos, sin = (torch.cat([f(angle)] * 2, -1).to(x.dtype) for f in (torch.cos, torch.sin))
    return x * cos + torch.cat([-x[..., size // 2 :], x[..., : size // 2]], -1) * sin


def attention(*inputs, num_heads, num_key_value_heads=0, is_causal=False, scale=0, rotary_base=0, drop=None):
    groups = num_key_value_heads or num_heads
    if len(inputs) == 1:
        size = inputs[0].shape[-1] // (num_heads + 2 * groups)
        inputs = inputs[0].split([num_heads * size, groups * size, groups * size], -1)
    q, k, v = (x.unflatten(-1, (heads, -1)).transpose(1, 2) for x, heads in zip(inputs, (num_heads, groups, groups)))
    if rotary_base:
        q, k = rotate(q, rotary_base), rotate(k, rotary_base)
    k, v = (x.repeat_interleave(num_heads // groups, 1) for x in (k, v))
    if drop:
        scores = q @ k.transpose(2, 3) * (scale or q.shape[-1] ** -0.5)
        if is_causal:
            scores = scores.masked_fill(torch.ones(scores.shape[-2:]).triu(1) == 1, -math.inf)
        y = drop(scores.softmax(-1)) @ v
    else:
        y = nn.functional.scaled_dot_product_attention(q, k, v, is_causal=is_causal, scale=scale or None)
    return y.transpose(1, 2).flatten(2)


FUNCTIONS = {
    "Add": torch.add,
    "Subtract": torch.sub,
    "Multiply": torch.mul,
    "Divide": torch.div,
    "SwiGLU": lambda gate, up: nn.functional.silu(gate) * up,
    "Concat": lambda *inputs, dim=1: torch.cat(inputs, dim),
    "Mean": lambda x, dim, keepdim=False: x.mean(dim, keepdim),
    "Reshape": lambda x, shape: x.reshape(len(x), *shape),
    "Permute": lambda x, dims: x.permute(dims),
    "ScaledDotProductAttention": attention,
}


def build_layer(layer):
    arguments = {key: value for key, value in layer.items() if key not in ("type", "name", "inputs", "repeat", "tied", "trainable")}
    kind = layer["type"]
    if kind == "Sequential":
        return Graph(arguments["layers"], "input")
    if kind == "Dropout":
        return Dropout(**arguments)
    if arguments.get("dropout_p"):
        return AttentionDropout(**arguments)
    if kind in FUNCTIONS:
        return Function(lambda *inputs: FUNCTIONS[kind](*inputs, **arguments))
    if kind == "LearnedPositions":
        return LearnedPositions(**arguments)
    return getattr(nn, kind)(**arguments)


class Graph(nn.Module):
    """A list of layers that read each other by name."""

    def __init__(self, layers, first):
        super().__init__()
        self.first, self.entries, previous, tied = first, [], first, {}
        for layer in layers:
            copies = range(layer["repeat"]) if "repeat" in layer else [None]
            for copy in copies:
                name = layer["name"] if copy is None else f"{layer['name']}.{copy}"
                reads = layer.get("inputs", [previous]) if not copy else [previous]
                module = build_layer(layer)
                if "tied" in layer:
                    module.weight = tied.setdefault(layer["tied"], module.weight)
                self.entries.append((name, module, reads))
                previous = name
        self.held = nn.ModuleList(module for _, module, _ in self.entries)

    def forward(self, *inputs):
        values = {self.first if i == 0 else f"{self.first}:{i}": x for i, x in enumerate(inputs)}
        for name, module, reads in self.entries:
            values[name] = module(*(values[read] for read in reads))
        return values[self.entries[-1][0]]

    def entries_by_name(self):
        return [(name, module) for name, module, _ in self.entries]

    def state(self):
        """Parameters and buffers by the names that Stagewright gives them: a tied one by its first layer's."""
        named = {}
        for name, module, _ in self.entries:
            inner = module.state() if isinstance(module, Graph) else {**dict(module.named_parameters()), **dict(module.named_buffers())}
            known = {id(value) for value in named.values()}
            named.update((f"{name}.{key}", value) for key, value in inner.items() if id(value) not in known)
        return named

    def load(self, weights):
        with torch.no_grad():
            for name, value in self.state().items():
                value.copy_(weights[name])


def build_model(spec):
    model = Graph(spec["layers"], spec["inputs"][0]["name"])
    for block, (_, module, _) in enumerate(model.entries):
        random = [inner for inner in module.modules() if isinstance(inner, (Dropout, AttentionDropout))]
        for ordinal, inner in enumerate(random):
            inner.block, inner.ordinal = block, ordinal
    return model


class Formula(torch.optim.Optimizer):
    """An optimizer of two averages from plain formulas."""

    def __init__(self, parameters, **params):
        super().__init__(parameters, dict(weight_decay=0.0, max_coeff=10.0, min_coeff=0.01, eps=1e-8, bias_correction=True) | params)

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            for p in group["params"]:
                state = self.state[p]
                if not state:
                    state.update(step=0, m=torch.zeros_like(p), v=torch.zeros_like(p))
                state["step"] += 1
                self.update(p, p.grad, state["m"], state["v"], state["step"], group)


class Lion(Formula):
    """Chen et al., "Symbolic discovery of optimization algorithms" (2023), algorithm 2."""

    def update(self, p, g, m, v, step, group):
        beta1, beta2 = group["betas"]
        direction = torch.sign(beta1 * m + (1 - beta1) * g) + group["weight_decay"] * p
        p -= group["lr"] * direction
        m.mul_(beta2).add_((1 - beta2) * g)


class Lamb(Formula):
    """You et al., "Large batch optimization for deep learning" (2020), as DeepSpeed's FusedLamb: the bias corrections are
    in the step's size, and the trust ratio has limits."""

    def update(self, p, g, m, v, step, group):
        beta1, beta2 = group["betas"]
        m.mul_(beta1).add_((1 - beta1) * g)
        v.mul_(beta2).add_((1 - beta2) * g * g)
        direction = m / (v.sqrt() + group["eps"]) + group["weight_decay"] * p
        sizes = p.norm(), direction.norm()
        ratio = min(max(sizes[0] / sizes[1], group["min_coeff"]), group["max_coeff"]) if all(sizes) else 1
        correction = math.sqrt(1 - beta2**step) / (1 - beta1**step) if group["bias_correction"] else 1
        p -= group["lr"] * correction * ratio * direction


def parameter_groups(config, named):
    """torch's groups of the trainable parameters, by the names that Stagewright gives them."""
    entries = config.get("stagewright", {}).get("parameter_groups", [])
    groups = [{"params": [], **{key: value for key, value in entry.items() if key != "match"}} for entry in entries]
    groups.append({"params": []})
    for name, value in named.items():
        index = next((i for i, entry in enumerate(entries) if re.search(entry["match"], name)), len(entries))
        if value.requires_grad:
            groups[index]["params"].append(value)
    return groups


def build_optimizer(config, parameters):
    kind, params = config["optimizer"]["type"], dict(config["optimizer"]["params"])
    if kind in ("Lion", "Lamb"):
        return {"Lion": Lion, "Lamb": Lamb}[kind](parameters, **params)
    if kind == "Adagrad":
        return torch.optim.Adagrad(parameters, **params)
    if kind == "SGD":
        return torch.optim.SGD(parameters, **params)
    decoupled = params.pop("adam_w_mode", True)  # DeepSpeed's default: "Adam" decays as AdamW
    if "betas" in params:
        params["betas"] = tuple(params["betas"])
    return (torch.optim.AdamW if kind == "AdamW" or decoupled else torch.optim.Adam)(
        parameters, **{"weight_decay": 0.0, **params}
    )


def scheduled_rate(config, t):
    """The learning rate of DeepSpeed's schedules at last_batch_iteration t, which is -1 in the first step."""
    base, scheduler = config["optimizer"]["params"]["lr"], config.get("scheduler")
    if scheduler is None:
        return base
    kind, p = scheduler["type"], scheduler["params"]
    if kind == "OneCycle":
        low, high, first = p["cycle_min_lr"], p["cycle_max_lr"], p["cycle_first_step_size"]
        cycle = first + p["cycle_second_step_size"]
        if t >= cycle:
            return low / (1 + p["decay_lr_rate"] * (t - cycle + 1) / p["decay_step_size"])
        x, r = (t + 1) / cycle % 1, first / cycle
        return low + (high - low) * (x / r if x <= r else (x - 1) / (r - 1))
    steps, total = p["warmup_num_steps"], p["total_num_steps"]
    rise = 0 if t < 0 else math.log(t + 1) / math.log(steps) if p["warmup_type"] == "log" else t / steps
    if kind == "WarmupDecayLR":
        low, high = p["warmup_min_lr"], p["warmup_max_lr"]
        return low + (high - low) * (rise if t < steps else max(0, (total - t) / (total - steps)))
    assert kind == "WarmupCosineLR", kind
    if t < steps:
        return 0 if t < 0 else base * (p["warmup_min_ratio"] + (1 - p["warmup_min_ratio"]) * rise)
    cosine = math.cos(math.pi * min(1, (t - steps + 1) / (total - steps)))
    return base * (p["cos_min_ratio"] + (1 - p["cos_min_ratio"]) * (1 + cosine) / 2)


class Training:
    """A model and its optimizer, moved on step by step."""

    def __init__(self, spec, config, weights, dtype):
        self.model = build_model(spec)
        self.model.load(weights)
        self.model.to(dtype)
        self.loss_layer = build_layer(spec["loss"])
        for layer in spec["layers"]:
            if not layer.get("trainable", True):
                dict(self.model.entries_by_name())[layer["name"]].requires_grad_(False)
        self.optimizer, self.config = build_optimizer(config, parameter_groups(config, self.model.state())), config
        self.rows, self.count = config["train_micro_batch_size_per_gpu"], config["gradient_accumulation_steps"]
        self.clip, self.dtype = config["gradient_clipping"] or math.inf, dtype
        self.seed, self.losses, self.norms = config.get("seed", 0), [], []

    def cast(self, values):
        return values.to(self.dtype) if values.is_floating_point() else values

    def loss_of(self, y, target):
        """torch wants classes in dimension 1, the files have them last."""
        return self.loss_layer(y.movedim(-1, 1) if isinstance(self.loss_layer, nn.CrossEntropyLoss) else y, target)

    def step(self, features, labels):
        """One step on rows x count samples, in micro-batches."""
        for group in self.optimizer.param_groups:
            # As LambdaLR: every group's own rate times the schedule's rate / the optimizer's.
            factor = scheduled_rate(self.config, len(self.losses) - 1) / self.config["optimizer"]["params"]["lr"]
            group["lr"] = group.setdefault("initial_lr", group["lr"]) * factor
        self.optimizer.zero_grad()
        total = 0.0
        batches = zip(features.split(self.rows), labels.split(self.rows), strict=True)
        for micro_batch, (x, target) in enumerate(batches):
            RandomNumbers.seed, RandomNumbers.step, RandomNumbers.micro_batch = self.seed, len(self.losses), micro_batch
            loss = self.loss_of(self.model(self.cast(x)), self.cast(target))
            (loss / self.count).backward()
            total += loss.item()
        self.losses.append(total / self.count)
        self.norms.append(torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.clip).item())
        self.optimizer.step()

    def distance_from_kinks(self, features):
        """Per sample, the smallest absolute value that enters a ReLU."""
        distance = torch.full((len(features),), math.inf, dtype=self.dtype)

        def look(_, inputs):
            torch.minimum(distance, inputs[0].abs().flatten(1).min(1).values, out=distance)

        hooks = [m.register_forward_pre_hook(look) for m in self.model.modules() if isinstance(m, nn.ReLU)]
        if not hooks:  # nor may the look update running statistics
            return distance
        with torch.no_grad():
            self.model(self.cast(features))
        for hook in hooks:
            hook.remove()
        return distance


    def evaluate(self, features, labels):
        """Mean loss and share of right answers in evaluation mode, over all samples."""
        self.model.eval()
        with torch.no_grad():
            outputs = torch.cat([self.model(x) for x in self.cast(features).split(500)])
        return {"loss": self.loss_layer(outputs, labels).item(), "accuracy": (outputs.argmax(1) == labels).double().mean().item()}


def train(spec, config, weights, features, labels, order, dtype):
    run = Training(spec, config, weights, dtype)
    for index in order.split(run.rows * run.count):
        run.step(features[index], labels[index])
    return run


def choose_order(spec, cases, weights, features, labels, generator):
    """A random order without repetition. Samples are left out that would bring the input of some ReLU within KINK of
    zero in the fp64 run of some case: there rounding alone decides which branch is taken, so that two correct fp32
    programs differ by far more than rounding. (Models without ReLU take every sample.)"""
    runs = [Training(spec, config, weights, torch.float64) for config in cases.values()]
    rows = runs[0].rows * runs[0].count
    waiting, order = torch.randperm(len(features), generator=generator), []
    for _ in range(STEPS):
        candidates, waiting = waiting[: 2 * rows], waiting[2 * rows :]
        clear = torch.stack([run.distance_from_kinks(features[candidates]) > KINK for run in runs]).all(0)
        chosen = candidates[clear][:rows]
        waiting = torch.cat([candidates[clear][rows:], waiting])
        order.append(chosen)
        for run in runs:
            run.step(features[chosen], labels[chosen])
    return torch.cat(order)


# ---- sets ----------------------------------------------------------------------------------------------------------


def configuration(rows, count, optimizer, clipping, **params):
    return {
        "train_micro_batch_size_per_gpu": rows,
        "gradient_accumulation_steps": count,
        "optimizer": {"type": optimizer, "params": params},
        "gradient_clipping": clipping,
    }


def sgd_and_adam(rows, count, clip):
    def case(*arguments, **params):
        return configuration(rows, count, *arguments, **params)

    return {
        "sgd": case("SGD", 0.0, lr=0.05),
        "sgd_momentum": case("SGD", 0.0, lr=0.02, momentum=0.9),
        "sgd_dampening_clipped": case("SGD", 0.5 * clip, lr=0.05, momentum=0.8, dampening=0.3),
        "sgd_nesterov_decay_clipped": case("SGD", clip, lr=0.02, momentum=0.9, nesterov=True, weight_decay=0.01),
        "adam": case("Adam", 0.0, lr=0.001),
        "adam_clipped": case("Adam", clip, lr=0.001),
        "adam_l2_clipped": case("Adam", clip, lr=0.001, weight_decay=0.05, adam_w_mode=False),
        "adamw_decay_clipped": case("AdamW", clip, lr=0.002, betas=[0.8, 0.95], eps=1e-7, weight_decay=0.1),
    }


# Layers that a case of `recipes` does not train: in the middle; at the beginning and the end.
FROZEN = {"sgd_frozen": ["second"], "adam_frozen_groups": ["first", "third"]}

# Losses of cases of `recipes` that have another one than the model. In every micro-batch some label counts.
LOSSES = {
    "sgd_smoothed": {"type": "CrossEntropyLoss", "label_smoothing": 0.2},
    "adam_ignored": {"type": "CrossEntropyLoss", "label_smoothing": 0.1, "ignore_index": 3},
    "sgd_binary": {"type": "BCEWithLogitsLoss"},
    "adam_binary": {"type": "BCEWithLogitsLoss"},
}


def binary_recipes(rows, count, clip):
    """On the data of `regression`, whose targets become 1 above 0 and else 0."""
    return {
        "sgd_binary": configuration(rows, count, "SGD", clip, lr=0.2, momentum=0.9),
        "adam_binary": configuration(rows, count, "Adam", 0.0, lr=0.01),
    }


def recipes(rows, count, clip):
    def case(*arguments, scheduler=None, groups=None, **params):
        config = configuration(rows, count, *arguments, **params)
        config |= {} if groups is None else {"stagewright": {"parameter_groups": groups}}
        return config if scheduler is None else {**config, "scheduler": dict(type=scheduler[0], params=scheduler[1])}

    linear = dict(warmup_min_lr=0.001, warmup_max_lr=0.1, warmup_num_steps=10, warmup_type="linear", total_num_steps=80)
    cosine = dict(total_num_steps=90, warmup_min_ratio=0.1, warmup_num_steps=20, cos_min_ratio=0.05, warmup_type="log")
    cycle = dict(cycle_min_lr=0.002, cycle_max_lr=0.08, cycle_first_step_size=20, cycle_second_step_size=30)
    by_name = [{"match": "bias$", "weight_decay": 0.0}, {"match": "^(second|third)", "lr": 0.002, "weight_decay": 0.5},
               {"match": "h", "lr": 0.02}]
    return {
        "sgd_warmup_decay": case("SGD", clip, lr=0.05, momentum=0.5, scheduler=("WarmupDecayLR", linear)),
        "sgd_one_cycle": case("SGD", 0.0, lr=0.05, scheduler=("OneCycle", {**cycle, "decay_lr_rate": 0.5, "decay_step_size": 5})),
        "adagrad": case("Adagrad", clip, lr=0.02, lr_decay=0.03, weight_decay=0.01),
        "lion": case("Lion", clip, lr=0.0005, betas=[0.9, 0.99], weight_decay=0.1),
        "lamb": case("Lamb", clip, lr=0.01, betas=[0.9, 0.99], weight_decay=0.01),
        "lamb_limits": case("Lamb", 0.0, lr=0.02, betas=[0.8, 0.9], eps=1e-6, max_coeff=0.6, min_coeff=0.2, bias_correction=False),
        "sgd_smoothed": case("SGD", 0.0, lr=0.05, momentum=0.9),
        "adam_ignored": case("Adam", clip, lr=0.002),
        "sgd_groups": case("SGD", clip, lr=0.05, momentum=0.9, weight_decay=0.1, groups=by_name),
        "adam_groups_cosine": case("AdamW", clip, lr=0.004, weight_decay=0.2, groups=by_name, scheduler=("WarmupCosineLR", cosine)),
        "sgd_frozen": case("SGD", clip, lr=0.05, momentum=0.9),
        "adam_frozen_groups": case("Adam", clip, lr=0.004, groups=[{"match": "^(first|fourth)", "lr": 0.001}]),
        "adam_warmup_cosine": case("Adam", clip, lr=0.004, weight_decay=0.1, scheduler=("WarmupCosineLR", cosine)),
    }


def teacher_labels(features, classes, generator):
    hidden = torch.tanh(features.flatten(1).double() @ torch.randn(features[0].numel(), 24, generator=generator).double() * 0.4)
    logits = hidden @ torch.randn(24, classes, generator=generator).double()
    return logits + 0.3 * torch.randn(logits.shape, generator=generator).double()


def make_activations_data(folder, spec, generator):
    """Synthetic classification: 2100 images of 3 x 5 bytes, 5 classes."""
    images = torch.randint(0, 256, (2100, 3, 5), generator=generator, dtype=torch.uint8)
    labels = teacher_labels(as_feature(images, spec["inputs"][0]), 5, generator).argmax(1).to(torch.uint8)
    write_idx(folder / "train-images-idx3-ubyte.gz", images)
    write_idx(folder / "train-labels-idx1-ubyte.gz", labels)


def make_regression_data(folder, spec, generator):
    """Synthetic regression: 1000 rows of 11 floats, targets of 3 floats."""
    rows = torch.randn(1000, 11, generator=generator)
    write_idx(folder / "train-images-idx2-float", rows)
    write_idx(folder / "train-labels-idx2-float", teacher_labels(rows, 3, generator).to(torch.float32))


def make_gpt_data(folder, spec, generator):
    """Synthetic text: 700 windows of 12 tokens, each the successor of the one before but for every fourth."""
    (length,), vocabulary = spec["inputs"][0]["shape"], spec["layers"][0]["num_embeddings"]
    text = [0]
    successor = torch.randperm(vocabulary, generator=generator)
    while len(text) <= 700 * length:
        noise = torch.randint(0, vocabulary, (2,), generator=generator)
        text.append(noise[0].item() if noise[1] % 4 == 0 else successor[text[-1]].item())
    text = torch.tensor(text, dtype=torch.uint8)
    write_idx(folder / "train-tokens-idx2-ubyte.gz", text[:-1].reshape(-1, length))
    write_idx(folder / "train-next-idx2-ubyte.gz", text[1:].reshape(-1, length))


SETS = {
    # 784-256-10 on Fashion-MNIST; model.json is that of models/fashion_mlp.
    "fashion_mlp": dict(
        data=FASHION, files=("train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"), make=None, rows=16, count=4, clip=1.0
    ),
    # Odd sizes, Tanh, both forms of GELU, three micro-batches of seven.
    "activations": dict(
        data=None,
        files=("train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"),
        make=make_activations_data,
        rows=7,
        count=3,
        clip=0.125,
    ),
    # Float inputs and targets, MSELoss, a Linear without bias.
    "regression": dict(
        data=None,
        files=("train-images-idx2-float", "train-labels-idx2-float"),
        make=make_regression_data,
        rows=5,
        count=2,
        clip=1.0,
    ),
    # Convolutions (groups, stride, dilation, padding), three kinds of pooling and a connection past two layers.
    "convolution": dict(
        data=FASHION, files=("train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"), make=None, rows=3, count=2, clip=1.0
    ),
    # BatchNorm of images and of rows, inside a block with a skip connection; GroupNorm; both also without weights.
    "channel_norm": dict(
        data=FASHION,
        files=("train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"),
        test_files=("t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz"),
        make=None,
        rows=12,
        count=2,
        clip=1.0,
    ),
    # Dropout of images, of features, in a block with attention whose probabilities are dropped too.
    "dropout": dict(
        data=FASHION,
        files=("train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"),
        test_files=("t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz"),
        make=None,
        rows=3,
        count=3,
        clip=1.0,
        seed=0x123456789,
    ),
    # An image as 28 rows: blocks of GPT-2's form, then grouped heads with rotary positions and SwiGLU, as Llama's.
    "transformer": dict(
        data=FASHION, files=("train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"), make=None, rows=3, count=2, clip=1.0
    ),
    # Tokens, a class per token, positions, blocks of GPT-2's form, a head of its own.
    "gpt": dict(
        data=None,
        files=("train-tokens-idx2-ubyte.gz", "train-next-idx2-ubyte.gz"),
        make=make_gpt_data,
        rows=3,
        count=2,
        clip=0.25,
    ),
    # The same, with the table of tokens for a head.
    "gpt_tied": dict(
        data=FOLDER / "gpt",
        files=("train-tokens-idx2-ubyte.gz", "train-next-idx2-ubyte.gz"),
        make=None,
        rows=3,
        count=2,
        clip=0.25,
    ),
}


def make_set(name):
    entry, folder = SETS[name], FOLDER / name
    generator = torch.Generator().manual_seed(SEED)
    torch.manual_seed(SEED)
    model_path = folder / "model.json" if (folder / "model.json").exists() else FOLDER.parents[1] / "models" / name / "model.json"
    spec = json.loads(strip_comments(model_path.read_text()))
    if entry["make"]:
        entry["make"](folder, spec, generator)
    data = entry["data"] or folder
    sources = [read_idx(data / file) for file in entry["files"]]
    features = as_feature(sources[0], spec["inputs"][0])
    labels = sources[1].long() if spec["inputs"][1]["dtype"] == "i32" else sources[1]

    weights = {key: value.detach().clone() for key, value in build_model(spec).state().items()}
    safetensors.torch.save_file(weights, folder / "weights.safetensors")
    configs = sgd_and_adam(entry["rows"], entry["count"], entry["clip"])
    if "seed" in entry:
        configs = {case: {**config, "seed": entry["seed"]} for case, config in configs.items()}
    order = choose_order(spec, configs, weights, features, labels, generator)
    (folder / "order.txt").write_text("".join(f"{index}\n" for index in order.tolist()))
    left_out = f"samples that bring the input of a ReLU within {KINK} of zero in a case's fp64 run"
    test = None
    if "test_files" in entry:
        images, answers = (read_idx(data / file) for file in entry["test_files"])
        test = as_feature(images, spec["inputs"][0]), answers.long()
    write_goldens(folder / "goldens.json", name, spec, model_path, data if entry["data"] else None, configs,
                  (weights, features, labels, order), test, left_out_of_the_order=left_out)


def make_recipes(name):
    """Cases of the sets `activations` and `regression`, whose layers are smooth, so that their order suits every case."""
    entry, folder = SETS[name], FOLDER / name
    spec = json.loads(strip_comments((folder / "model.json").read_text()))
    sources = [read_idx(folder / file) for file in entry["files"]]
    weights = safetensors.torch.load_file(folder / "weights.safetensors")
    order = torch.tensor([int(line) for line in (folder / "order.txt").read_text().split()])
    labels = sources[1].long() if name == "activations" else (sources[1] > 0).float()
    configs = (recipes if name == "activations" else binary_recipes)(entry["rows"], entry["count"], entry["clip"])
    inputs = (weights, as_feature(sources[0], spec["inputs"][0]), labels, order)
    write_goldens(folder / "recipes.json", "recipes", spec, folder / "model.json", None, configs, inputs)


def write_goldens(path, name, spec, model_path, data, configs, inputs, test=None, **facts):
    """Trains every case in both precisions, and evaluates on `test`, features and labels, if there are any."""
    cases = {}
    for case, config in configs.items():
        frozen = FROZEN.get(case, []) if name == "recipes" else []
        layers = [{**layer, "trainable": layer.get("name") not in frozen} for layer in spec["layers"]]
        loss = LOSSES.get(case, spec["loss"]) if name == "recipes" else spec["loss"]
        changed = {**spec, "layers": layers, "loss": loss}
        fp32 = train(changed, config, *inputs, torch.float32).losses
        run = train(changed, config, *inputs, torch.float64)
        fp64, norms64, final = run.losses, run.norms, run.model.state()
        clip = config["gradient_clipping"]
        cases[case] = {
            "config": config,
            **({"frozen": frozen} if frozen else {}),
            **({"loss": loss} if loss != spec["loss"] else {}),
            "clipped_steps": sum(norm > clip for norm in norms64) if clip else 0,
            "losses_fp32": fp32,
            "losses_fp64": fp64,
            "final_fp64": {key: {"sum": value.sum().item(), "norm": value.double().norm().item()} for key, value in final.items()},
        }
        if test:
            cases[case]["evaluation_fp64"] = run.evaluate(*test)
        error = [abs(a - b) / abs(b) for a, b in zip(fp32, fp64)]
        print(f"{name:12} {case:28} loss {fp64[0]:.4f} -> {fp64[-1]:.4f}, clipped {cases[case]['clipped_steps']:3}, "
              f"fp32 against fp64: max relative {max(error):.1e}")
    text = {
        "made_by": f"python {pathlib.Path(__file__).name} {name}",
        "python": platform.python_version(),
        "torch": torch.__version__,
        "safetensors": safetensors.__version__,
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "seed": SEED,
        "steps": STEPS,
        **facts,
        "model": str(model_path.relative_to(FOLDER.parents[1])),
        "data": str(data.relative_to(FOLDER.parents[1]) if data.is_relative_to(FOLDER) else data) if data else ".",
        "loss_of_a_step": "mean over micro-batches of the micro-batch means, before the update",
        "cases": cases,
    }
    path.write_text(dump(text) + "\n")


def dump(value, indent=""):
    """JSON with one key per line and lists on one line."""
    if isinstance(value, dict) and any(isinstance(item, (dict, list)) for item in value.values()):
        inner = indent + "  "
        body = ",\n".join(f"{inner}{json.dumps(key)}: {dump(item, inner)}" for key, item in value.items())
        return "{\n" + body + "\n" + indent + "}"
    return json.dumps(value)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sets", nargs="*", metavar="SET", help=f"one of {', '.join(SETS)}, recipes (default: all)")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    for name in arguments.sets or [*SETS, "recipes"]:
        if name not in SETS and name != "recipes":
            sys.exit(f"make_goldens.py: no set named {name!r}; the sets are {', '.join(SETS)} and recipes")
        if name == "recipes":
            make_recipes("activations")
            make_recipes("regression")
        else:
            make_set(name)


if __name__ == "__main__":
    main()
