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
import json
import pathlib
import platform
import sys

import safetensors
import safetensors.torch
import torch
from torch_training import Labels, Training, as_feature, build_model, features_of, read_idx, strip_comments, train, write_idx

FOLDER = pathlib.Path(__file__).resolve().parent
FASHION = pathlib.Path("/usr/share/datasets/fashion-mnist")
STEPS = 100
SEED = 20261121
KINK = 1e-4


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
        "adam_one_cycle": case("Adam", clip, lr=0.004, weight_decay=0.1, scheduler=("OneCycle", {
            **cycle, "cycle_min_mom": 0.7, "cycle_max_mom": 0.95, "decay_mom_rate": -0.05, "decay_lr_rate": 0.2, "decay_step_size": 4})),
        "lion_one_cycle": case("Lion", clip, lr=0.0005, betas=[0.5, 0.6], scheduler=("OneCycle", {
            **cycle, "cycle_min_lr": 0.0001, "cycle_max_lr": 0.002, "decay_step_size": 0})),
        "lamb_one_cycle": case("Lamb", clip, lr=0.01, betas=[0.9, 0.999], weight_decay=0.01, scheduler=("OneCycle", {
            **cycle, "cycle_max_lr": 0.02, "decay_mom_rate": -0.1, "decay_step_size": 10})),
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


def make_losses_data(folder, spec, generator):
    """The images and classes of make_activations_data, and a place of three floats for each."""
    images = torch.randint(0, 256, (2100, 3, 5), generator=generator, dtype=torch.uint8)
    feature = as_feature(images, spec["inputs"][1])
    write_idx(folder / "train-images-idx3-ubyte.gz", images)
    write_idx(folder / "train-kind-idx1-ubyte.gz", teacher_labels(feature, 5, generator).argmax(1).to(torch.uint8))
    write_idx(folder / "train-place-idx2-float.gz", teacher_labels(feature, 3, generator).to(torch.float32))


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


def make_bert_data(folder, spec, generator):
    """700 samples of 3 to 12 tokens in two segments, padded with zeros; the class is the commonest remainder by 3."""
    (length,), vocabulary = spec["inputs"][0]["shape"], spec["layers"][0]["layers"][0]["num_embeddings"]
    lengths = torch.randint(3, length + 1, (700, 1), generator=generator)
    cuts = torch.randint(1, length, (700, 1), generator=generator)
    places = torch.arange(length).expand(700, -1)
    mask = places < lengths
    tokens = torch.randint(1, vocabulary, (700, length), generator=generator) * mask
    counts = torch.stack([((tokens % 3 == rest) & mask).sum(1) for rest in range(3)], 1)
    columns = {"input_ids": tokens, "token_type_ids": (places >= cuts) & mask, "attention_mask": mask}
    for name, values in columns.items():
        write_idx(folder / f"train-{name}-idx2-ubyte.gz", values.to(torch.uint8))
    write_idx(folder / "train-labels-idx1-ubyte.gz", counts.argmax(1).to(torch.uint8))


SETS = {
    # BERT's form: two embeddings, a mask of padding, dropout, the first token's pooler; besides, the mean of the
    # tokens that are no padding, normalised.
    "bert": dict(
        data=None,
        files=(
            "train-input_ids-idx2-ubyte.gz", "train-token_type_ids-idx2-ubyte.gz", "train-attention_mask-idx2-ubyte.gz",
            "train-labels-idx1-ubyte.gz",
        ),
        make=make_bert_data,
        rows=3,
        count=2,
        clip=0.5,
        seed=0x23456789A,
    ),
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
    # Two labels and a feature that three losses read from three layers; products of matrices, sums and softmax over odd dimensions.
    "losses": dict(
        data=None,
        files=("train-place-idx2-float.gz", "train-images-idx3-ubyte.gz", "train-kind-idx1-ubyte.gz"),
        make=make_losses_data,
        rows=7,
        count=3,
        clip=0.5,
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
    roles = [input["role"] for input in spec["inputs"]]
    features = features_of([source for source, role in zip(sources, roles, strict=True) if role == "feature"], spec)
    named = Labels({input["name"]: source.long() if input["dtype"] == "i32" else source
                    for source, input in zip(sources, spec["inputs"]) if input["role"] == "label"})
    labels = named if len(named) > 1 else next(iter(named.values()))

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
        run32 = train(changed, config, *inputs, torch.float32)
        fp32 = run32.losses
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
            **({"terms_fp32": run32.terms, "terms_fp64": run.terms} if run.terms else {}),
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
