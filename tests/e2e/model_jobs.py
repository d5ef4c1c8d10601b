"""Jobs in which the models of models/ are compared with PyTorch: sizes, data and recipes, the same on both sides. Standard library
only; tests/goldens/make_model_loss_goldens.py trains them with PyTorch, test_model_losses.py with stagewright."""
import hashlib
import json
import random
import struct
from dataclasses import dataclass

import model_variants
from program import write_idx

SEED, STEPS, SAMPLES, LOSS_SCALE = 20261122, 50, 256, 256.0
PRECISIONS = {"fp32": {}, "fp16": {"fp16": {"enabled": True, "loss_scale": LOSS_SCALE}}, "bf16": {"bf16": {"enabled": True}}}


@dataclass(frozen=True)
class Job:
    """`sgd` and `adam` are the optimizers' parameters; Adam's gradients are clipped to `clip`."""

    spec: dict
    rows: int
    count: int
    sgd: dict
    adam: dict
    plan: tuple = ("--stages", "3", "--partition", "uniform")  # of our side
    clip: float = 1.0
    precisions: tuple = tuple(PRECISIONS)

    def configs(self):
        common = {
            "train_micro_batch_size_per_gpu": self.rows,
            "gradient_accumulation_steps": self.count,
            "steps_per_print": 0,
            "seed": SEED,
        }
        return {
            "sgd": {**common, "optimizer": {"type": "SGD", "params": self.sgd}, "gradient_clipping": 0.0},
            "adam": {**common, "optimizer": {"type": "Adam", "params": self.adam}, "gradient_clipping": self.clip},
        }

    def text(self, config):
        """A short name of everything that a golden depends on."""
        return hashlib.sha256(json.dumps([self.spec, config, STEPS, SAMPLES], sort_keys=True).encode()).hexdigest()[:16]

    def order(self):
        return [index % SAMPLES for index in range(STEPS * self.rows * self.count)]


MOMENTUM = {"lr": 0.000003, "momentum": 0.9, "weight_decay": 0.0005}


def job(name, full=False):
    """At full size, or the one that the tests have: the same model, or one with smaller images, fewer blocks, shorter texts."""
    load, language = model_variants.load, model_variants.language_model
    one = {
        "mlp_small": lambda: Job(load(name), 16, 2, {"lr": 0.02}, {"lr": 0.0001}, ("--stages", "2")),
        # Not clipped: torch's norm of 4096 x 4096 gradients is 1e-3 off in fp32, so that twice its error would allow anything.
        "mlp_wide": lambda: Job(load(name), 16 if full else 4, 2, {"lr": 0.01}, {"lr": 0.00002}, clip=0.0),
        "simple_model": lambda: Job(load(name), 8, 4, {"lr": 0.1}, {"lr": 0.01}, ("--stages", "4")),
        "cifar_cnn": lambda: Job(load(name), 4, 4, {"lr": 0.01}, {"lr": 0.001}),
        # Small rates: with larger ones torch's own fp32 losses are 1e-3 from its fp64 ones behind 50 steps, and measure nothing.
        "resnet18": lambda: Job(load(name) if full else model_variants.image_model(name, 10), 32, 2, MOMENTUM, {"lr": 0.000002},
                                ("--stages", "3", "--schedule", "zb-h1"), precisions=("fp32", "fp16")),
        # 448 small images a step: the mean over 64 has roundings of bf16 of 2e-3 on both sides, more than the bound has in the first steps.
        "resnet18_bf16": lambda: Job(load("resnet18") if full else model_variants.image_model("resnet18", 8), 224, 2, MOMENTUM,
                                     {"lr": 0.000002}, ("--stages", "3", "--schedule", "zb-h1"), precisions=("bf16",)),
        # 16 texts a step: the mean of 8 has roundings of bf16 as large as what its bound allows beside torch's own.
        "bert_classifier": lambda: Job(load(name) if full else model_variants.classifier(name, blocks=2, vocabulary=1024, length=32), 8, 2,
                                       {"lr": 0.05}, {"lr": 0.0001}),
        "gpt_mini": lambda: Job(language(name) if full else language(name, blocks=2, vocabulary=1024, length=32), 2, 2,
                                {"lr": 0.05}, {"lr": 0.0003}),
        "gpt2_124m": lambda: Job(language(name, length=128) if full else language(name, blocks=1, vocabulary=1024, length=32), 1, 2,
                                 {"lr": 0.05}, {"lr": 0.0001}),
    }
    return one[name]()


NAMES = ("mlp_small", "mlp_wide", "simple_model", "cifar_cnn", "resnet18", "resnet18_bf16", "bert_classifier", "gpt_mini", "gpt2_124m")


def random_bytes(count, part):
    return random.Random(SEED + part).randbytes(count)


def size_of(shape):
    total = 1
    for size in shape:
        total *= size
    return total


def padded_tokens(spec):
    """{input: tokens} of BERT: texts of every length in two parts, and their padding."""
    generator, length = random.Random(SEED), spec["inputs"][0]["shape"][0]
    vocabulary = next(layer["num_embeddings"] for layer in model_variants.layers_of(spec) if layer["type"] == "Embedding")
    ids, kinds, mask = [], [], []
    for _ in range(SAMPLES):
        size = generator.randint(5, length)
        cut, padding = generator.randint(1, size), [0] * (length - size)
        ids += [generator.randrange(1, vocabulary) for _ in range(size)] + padding
        kinds += [int(i >= cut) for i in range(size)] + padding
        mask += [1] * size + padding
    return {"input_ids": ids, "token_type_ids": kinds, "attention_mask": mask}


def samples(spec):
    """What write_data writes: the feature's values (bytes, signed sixteenths or tokens; several features: a dictionary) and the labels."""
    feature = spec["inputs"][0]
    if len(spec["inputs"]) > 2:
        return padded_tokens(spec), bytes(byte % spec["layers"][-1]["out_features"] for byte in random_bytes(SAMPLES, 1))
    if feature["dtype"] == "i32":
        vocabulary = spec["layers"][0]["num_embeddings"]
        count = SAMPLES * feature["shape"][0] + 1
        return [value % vocabulary for (value,) in struct.iter_unpack("<I", random_bytes(4 * count, 0))], None
    values = random_bytes(SAMPLES * size_of(feature["shape"]), 0)
    if "scale" not in feature:
        values = [(value - 128) / 64 for value in values]
    return values, bytes(byte % 10 for byte in random_bytes(SAMPLES, 1))


def write_data(spec, folder):
    """Training data in the format that fits the model, and order.txt."""
    values, labels = samples(spec)
    if labels is None:
        (folder / "train.bin").write_bytes(struct.pack(f"<{len(values)}H", *values))
        return
    write_idx(folder / "train-labels-idx1-ubyte", (SAMPLES,), labels)
    if isinstance(values, dict):
        for name, column in values.items():
            shape = SAMPLES, len(column) // SAMPLES
            write_idx(folder / f"train-{name}-idx2-int", shape, struct.pack(f">{len(column)}i", *column), 0x0C)
        return
    is_bytes, shape = isinstance(values, bytes), (SAMPLES, *spec["inputs"][0]["shape"])
    body = values if is_bytes else struct.pack(f">{len(values)}f", *values)
    write_idx(folder / f"train-images-idx{len(shape)}-{'ubyte' if is_bytes else 'float'}", shape, body, 0x08 if is_bytes else 0x0D)
