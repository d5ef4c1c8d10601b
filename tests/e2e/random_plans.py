#!/usr/bin/env python3
"""Trains a model under random plans and compares the bits: weights and state must be the same under all of them.

    STAGEWRIGHT_BIN=build/release/bin python3 -B tests/e2e/random_plans.py gpt_mini [--plans 40] [--seed 1] [--steps 3] [--out FILE.md]

A plan is where the model is cut (1 to 4 stages), the schedule, what is computed again, threads or processes, and the number of
threads; it is drawn from the seed alone. The recipe stays: global batch, micro-batches, optimizer, precision. Each plan runs in
fp32, bf16 and fp16. The table goes to stdout or FILE; the exit code is 1 when two plans differ.
"""
import argparse
import datetime
import itertools
import json
import os
import pathlib
import platform
import random
import sys
import tempfile
from dataclasses import dataclass

import model_variants
from program import run

SCHEDULES = ("gpipe", "1f1b", "zb-h1")
PRECISIONS = {"fp32": {}, "bf16": {"bf16": {"enabled": True}}, "fp16": {"fp16": {"enabled": True, "initial_scale_power": 8}}}
MICRO_BATCHES = 4


@dataclass(frozen=True)
class Plan:
    cuts: tuple
    schedule: str
    recompute: str
    ranks: str
    threads: int


@dataclass(frozen=True)
class Job:
    """What the plans have in common."""

    spec: dict
    optimizer: dict
    micro_batch: int
    clipping: float
    types: tuple  # layer types that a random plan may compute again

    def config(self, precision, recompute):
        return {
            "train_micro_batch_size_per_gpu": self.micro_batch,
            "gradient_accumulation_steps": MICRO_BATCHES,
            "optimizer": self.optimizer,
            "gradient_clipping": self.clipping,
            "steps_per_print": 0,
            "seed": 1234,
            "stagewright": {"recompute": recompute},
            **PRECISIONS[precision],
        }


ADAMW = {"type": "AdamW", "params": {"lr": 0.0003, "weight_decay": 0.1}}
SGD = {"type": "SGD", "params": {"lr": 0.05, "momentum": 0.9, "weight_decay": 0.0005}}


def gpt_mini(**sizes):
    spec = model_variants.language_model("gpt_mini", dropout=0.1, **sizes)
    return Job(spec, ADAMW, 1, 1.0, ("Embedding", "LearnedPositions", "Dropout", "Sequential", "LayerNorm"))


def resnet18(**sizes):
    return Job(model_variants.image_model("resnet18", **sizes), SGD, 2, 0.0, ("Conv2d", "BatchNorm2d", "ReLU", "Sequential"))


JOBS = {
    "gpt_mini": ("length 64 instead of 256, micro-batches of 1; Dropout and attention's dropout of 0.1; the head is the embedding", lambda: gpt_mini(length=64)),
    "resnet18": ("images of 32 x 32, micro-batches of 2", resnet18),
}


def blocks_of(spec):
    return sum(layer.get("repeat", 1) for layer in spec["layers"])


def draw(rng, job):
    stages = rng.randint(1, 4)
    cuts = tuple(sorted(rng.sample(range(1, blocks_of(job.spec)), stages - 1)))

    def policy():
        kind = rng.choice(("none", "selective", "interval", "types"))
        if kind == "interval":
            return f"interval:{rng.randint(1, 4)}"
        if kind == "types":
            return "types:" + ",".join(rng.sample(job.types, rng.randint(1, 2)))
        return kind

    recompute = ";".join(policy() for _ in range(stages)) if stages > 1 and rng.random() < 0.4 else policy()
    return Plan(cuts, rng.choice(SCHEDULES), recompute, rng.choice(("threads", "processes")), rng.randint(1, 2))


def run_plan(job, plan, precision, steps, folder):
    """(weights_sha256, state_sha256), losses and planned bytes."""
    model, config, stage = (folder / name for name in ("model.json", "config.json", "x.stage"))
    model.write_text(json.dumps(job.spec))
    config.write_text(json.dumps(job.config(precision, plan.recompute)))
    partition = ["--partition", "explicit:" + ",".join(map(str, plan.cuts))] if plan.cuts else ["--stages", 1]
    compiled = run("compile", model, "-c", config, *partition, "--schedule", plan.schedule, "-o", stage)
    assert compiled.code == 0, f"{plan}\n{compiled}"
    options = ["--data", "synthetic", "--steps", steps, "--ranks", plan.ranks, "--threads", plan.threads, "--json"]
    trained = run("train", stage, *options, timeout=600)
    assert trained.code == 0, f"{plan}\n{trained}"
    result = trained.json
    assert result["planned_bytes"] == result["allocated_bytes"] and result["skipped_steps"] == 0, f"{plan}\n{result}"
    return (result["weights_sha256"], result["state_sha256"]), result["losses"], result["planned_bytes"]


def covering_plans(job, seed=1):
    """(plan, precision) such that every two values of two different columns meet in some row; greedy, from random rows."""
    policies = ("none", "selective", "interval:2", "types:" + job.types[-1], "per stage")
    columns = (range(1, 5), SCHEDULES, policies, ("threads", "processes"), (1, 2), tuple(PRECISIONS))
    missing = {
        (i, a, j, b) for i, j in itertools.combinations(range(len(columns)), 2) for a in columns[i] for b in columns[j]
    }
    rng, rows = random.Random(seed), []

    def pairs(row):
        return {(i, row[i], j, row[j]) for i, j in itertools.combinations(range(len(row)), 2)}

    while missing:
        candidates = [tuple(rng.choice(column) for column in columns) for _ in range(200)]
        best = max(candidates, key=lambda row: len(pairs(row) & missing))
        missing -= pairs(best)
        rows.append(best)
    for stages, schedule, policy, ranks, threads, precision in rows:
        cuts = tuple(sorted(rng.sample(range(1, blocks_of(job.spec)), stages - 1)))
        each = [policies[(number + 1) % 4] for number in range(stages)]
        yield Plan(cuts, schedule, ";".join(each) if policy == "per stage" else policy, ranks, threads), precision


def table(name, about, rows, arguments, seconds):
    cpu = next(line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name"))
    lines = [
        f"# {name} under {arguments.plans} random plans",
        "",
        f"`tests/e2e/random_plans.py {name} --plans {arguments.plans} --seed {arguments.seed} --steps {arguments.steps}`, "
        f"{datetime.date.today()}, {cpu}, {os.cpu_count()} cores (shared with other work), {platform.system()} {platform.release()}; "
        f"{seconds:.0f} s. The model at its full width and depth; {about}. {MICRO_BATCHES} micro-batches, {arguments.steps} steps, "
        "synthetic data.",
        "",
        "Hashes are the first 16 digits of `weights_sha256` and `state_sha256`; `cuts` are the first blocks of stages 1, 2, ...",
        "",
    ]
    for precision in PRECISIONS:
        found = {row[1][precision][0] for row in rows}
        lines.append(f"- {precision}: {len(found)} result{'s' if len(found) > 1 else ''} of {len(rows)} plans"
                     + "".join(f"; weights {weights}, state {state}" for weights, state in sorted(found)))
    lines += ["", "| plan | cuts | schedule | recompute | ranks | threads | " + " | ".join(
        f"{precision} weights, state | MiB" for precision in PRECISIONS) + " |"]
    lines.append("|" + "---|" * (6 + 2 * len(PRECISIONS)))
    for number, (plan, results) in enumerate(rows):
        cells = [number, " ".join(map(str, plan.cuts)) or "-", plan.schedule, plan.recompute, plan.ranks, plan.threads]
        for precision in PRECISIONS:
            (weights, state), _, planned = results[precision]
            cells += [f"{weights[:16]} {state[:16]}", f"{planned / 2**20:.1f}"]
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join(lines) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", choices=JOBS)
    parser.add_argument("--plans", type=int, default=40)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--out", type=pathlib.Path)
    arguments = parser.parse_args()
    about, make = JOBS[arguments.model]
    job, rng, rows = make(), random.Random(arguments.seed), []
    begin = datetime.datetime.now()
    with tempfile.TemporaryDirectory(prefix="stagewright-plans-") as folder:
        for number in range(arguments.plans):
            plan = draw(rng, job)
            rows.append((plan, {p: run_plan(job, plan, p, arguments.steps, pathlib.Path(folder)) for p in PRECISIONS}))
            print(f"{number + 1}/{arguments.plans} {plan}", file=sys.stderr)
    text = table(arguments.model, about, rows, arguments, (datetime.datetime.now() - begin).total_seconds())
    if arguments.out:
        arguments.out.write_text(text)
    else:
        print(text, end="")
    results = {(p, row[1][p][0], tuple(row[1][p][1])) for row in rows for p in PRECISIONS}
    sys.exit(len(results) != len(PRECISIONS))


if __name__ == "__main__":
    main()
