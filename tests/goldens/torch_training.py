"""Trains a model.json with PyTorch: data, layers, optimizers and steps from the same files that Stagewright reads."""
import gzip
import json
import math
import re
import struct

import torch
from stagewright_random import Dropout, RandomNumbers
from torch import nn

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


def features_of(sources, spec):
    """The model's features; several of one shape as [samples, feature, ...]."""
    specs = [entry for entry in spec["inputs"] if entry["role"] == "feature"]
    features = [as_feature(source, entry) for source, entry in zip(sources, specs, strict=True)]
    return features[0] if len(features) == 1 else torch.stack(features, 1)


class Labels(dict):
    """Several labels by name, taken apart like one tensor."""

    def __getitem__(self, key):
        return super().__getitem__(key) if isinstance(key, str) else Labels({name: value[key] for name, value in self.items()})

    def split(self, rows):
        parts = {name: value.split(rows) for name, value in self.items()}
        return [Labels(zip(parts, values)) for values in zip(*parts.values())]


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


class Inputs:
    """The model's inputs by name, while it runs: masks are read from here."""

    named = {}


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


def attention(*inputs, num_heads, num_key_value_heads=0, is_causal=False, scale=0, rotary_base=0, key_mask=None, drop=None, dropout_p=0.0):
    groups = num_key_value_heads or num_heads
    seen = Inputs.named[key_mask][:, None, None] != 0 if key_mask else None
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
        if key_mask:
            scores = scores.masked_fill(~seen, -math.inf)
        y = drop(scores.softmax(-1)) @ v
    else:
        if key_mask and is_causal:  # torch takes one of the two
            seen, is_causal = seen & (torch.ones(q.shape[2], k.shape[2]).tril() == 1), False
        y = nn.functional.scaled_dot_product_attention(q, k, v, seen, dropout_p, is_causal, scale=scale or None)
    return y.transpose(1, 2).flatten(2)


def masked_mean(x, mask):
    """sentence_transformers.models.Pooling, pooling_mode mean."""
    weights = Inputs.named[mask].unsqueeze(-1).expand(x.size()).to(x.dtype)
    return (x * weights).sum(1) / torch.clamp(weights.sum(1), min=1e-9)


FUNCTIONS = {
    "MaskedMean": masked_mean,
    "Narrow": torch.narrow,
    "Normalize": nn.functional.normalize,
    "Select": torch.select,
    "Add": torch.add,
    "Subtract": torch.sub,
    "Multiply": torch.mul,
    "Divide": torch.div,
    "SwiGLU": lambda gate, up: nn.functional.silu(gate) * up,
    "Concat": lambda *inputs, dim=1: torch.cat(inputs, dim),
    "Mean": lambda x, dim, keepdim=False: x.mean(dim, keepdim),
    "Sum": lambda x, dim, keepdim=False: x.sum(dim, keepdim),
    "MatMul": torch.matmul,
    "Reshape": lambda x, shape: x.reshape(len(x), *shape),
    "Permute": lambda x, dims: x.permute(dims),
    "ScaledDotProductAttention": attention,
}


def build_layer(layer):
    ours = ("type", "name", "inputs", "repeat", "tied", "trainable", "init_std", "loss_weight")
    arguments = {key: value for key, value in layer.items() if key not in ours}
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
        self.features = ()  # names, where there are several
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
        if self.features:  # stacked by features_of()
            inputs = inputs[0].unbind(1)
            Inputs.named = dict(zip(self.features, inputs))
        values = Inputs.named.copy() if self.features else {self.first if i == 0 else f"{self.first}:{i}": x for i, x in enumerate(inputs)}
        for name, module, reads in self.entries:
            values[name] = module(*(values[read] for read in reads))
        self.values = values
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
    names = [entry["name"] for entry in spec["inputs"] if entry["role"] == "feature"]
    model = Graph(spec["layers"], names[0])
    model.features = names if len(names) > 1 else ()
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


def cycle_share(first, cycle, t):
    """Of OneCycle's way up (`first` of `cycle` steps) and down again: 0 to 1."""
    x, r = (t + 1) / cycle % 1, first / cycle
    return x / r if x <= r else (x - 1) / (r - 1)


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
            return low / (1 + p.get("decay_lr_rate", 0.0) * (t - cycle + 1) / (p["decay_step_size"] or math.inf))
        return low + (high - low) * cycle_share(first, cycle, t)
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


def cycled_betas(config, t):
    """The betas of DeepSpeed's OneCycle at last_batch_iteration t; None where nothing cycles them."""
    scheduler = config.get("scheduler")
    if scheduler is None or scheduler["type"] != "OneCycle" or not scheduler["params"].get("cycle_momentum", True):
        return None
    p = scheduler["params"]
    low, high, first = p.get("cycle_min_mom", 0.8), p.get("cycle_max_mom", 0.9), p["cycle_first_step_size"]
    cycle = first + p["cycle_second_step_size"]
    if t < 0:
        return low, 0.99
    if t >= cycle:
        return high * (1 + p.get("decay_mom_rate", 0.0) * (t - cycle + 1) / (p["decay_step_size"] or math.inf)), 0.99
    return high - (high - low) * cycle_share(first, cycle, t), 0.99


class WeightedLosses:
    """A list of losses: each by its name, and their weighted sum."""

    def __init__(self, spec):
        last, label = spec["layers"][-1]["name"], next(entry["name"] for entry in spec["inputs"] if entry["role"] == "label")
        self.terms = [(loss.get("name", loss["type"]), loss.get("inputs", [last, label]), loss.get("loss_weight", 1.0), build_layer(loss))
                      for loss in spec["loss"]]

    def __call__(self, values, labels):
        """`values`: of the model's inputs and layers."""
        each = {name: one_loss(layer, values[x], labels[y] if y in labels else values[y]) for name, (x, y), _, layer in self.terms}
        return sum(weight * each[name] for name, _, weight, _ in self.terms), each


def one_loss(layer, y, target):
    """torch wants classes in dimension 1, the files have them last."""
    return layer(y.movedim(-1, 1) if isinstance(layer, nn.CrossEntropyLoss) else y, target)


class Training:
    """A model and its optimizer, moved on step by step."""

    def __init__(self, spec, config, weights, dtype):
        self.model = build_model(spec)
        self.model.load(weights)
        self.model.to(dtype)
        self.loss_layer = WeightedLosses(spec) if isinstance(spec["loss"], list) else build_layer(spec["loss"])
        self.terms = {}  # of several losses: each in every step
        for layer in spec["layers"]:
            if not layer.get("trainable", True):
                dict(self.model.entries_by_name())[layer["name"]].requires_grad_(False)
        self.optimizer, self.config = build_optimizer(config, parameter_groups(config, self.model.state())), config
        self.rows, self.count = config["train_micro_batch_size_per_gpu"], config["gradient_accumulation_steps"]
        self.clip, self.dtype = config["gradient_clipping"] or math.inf, dtype
        self.seed, self.losses, self.norms = config.get("seed", 0), [], []

    def cast(self, values):
        if isinstance(values, Labels):
            return Labels({name: self.cast(value) for name, value in values.items()})
        return values.to(self.dtype) if values.is_floating_point() else values

    def loss_of(self, y, target):
        """Of the model that has just made y."""
        if not isinstance(target, Labels):
            return one_loss(self.loss_layer, y, target)
        loss, each = self.loss_layer(self.model.values, target)
        for name, value in each.items():
            steps = self.terms.setdefault(name, [])
            steps += [0.0] * (len(self.losses) + 1 - len(steps))
            steps[-1] += value.item() / self.count
        return loss

    def step(self, features, labels):
        """One step on rows x count samples, in micro-batches."""
        for group in self.optimizer.param_groups:
            # As LambdaLR: every group's own rate times the schedule's rate / the optimizer's.
            factor = scheduled_rate(self.config, len(self.losses) - 1) / self.config["optimizer"]["params"]["lr"]
            group["lr"] = group.setdefault("initial_lr", group["lr"]) * factor
            if "betas" in group:
                group["betas"] = cycled_betas(self.config, len(self.losses) - 1) or group["betas"]
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
