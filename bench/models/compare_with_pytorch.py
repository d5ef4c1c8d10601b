#!/usr/bin/env python3
"""Times a training step of the models of models/ in Stagewright and in PyTorch, side by side.

    bench/models/compare_with_pytorch.py [--python PYTHON-WITH-TORCH] [--models mlp_small:16 gpt_mini:8 ...] [--threads 2] [--rounds 5]

NAME:BATCH is a model and its global batch, NAME:BATCH:MICRO:STAGES that batch in MICRO micro-batches, on our side in so many
stages. Both sides train the same model.json in fp32 on the same samples in the same order from the same initial weights (those
that Stagewright draws), with the optimizer of the model's config.json at a tiny learning rate and without clipping, in one process
with the same number of threads. PyTorch runs eagerly and compiled (torch.compile of model and loss), both with fused optimizers. A
round times each variant once, the order turning; a ratio is ours over theirs within a round, and medians are printed with the
smallest and largest. The largest difference of a loss in the first steps is printed; the script fails when it is no rounding. A model
with dropout is timed with dropout, each side drawing its own numbers, and its losses are compared without.

FLOPs are those of Linear, Conv2d (forward, and both gradients but for layers that read the data) and attention (half of it where it
is causal). The peak is torch.mm of 2048 x 2048 fp32 matrices, measured in every round.

PyTorch is needed for the other side only (--ours-only leaves it out):
    apt install python3-venv; python3 -m venv v && v/bin/pip install torch numpy safetensors
"""
import argparse
import collections
import copy
import datetime
import functools
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests/e2e"), str(ROOT / "tests/goldens")]
import model_jobs  # noqa: E402
import model_variants  # noqa: E402

DEFAULT = ("mlp_small:16", "mlp_small:128:8:2", "fashion_mlp:128", "simple_model:32", "mlp_wide:256", "mlp_wide:256:8:2",
           "cifar_cnn:16", "cifar_cnn:128", "resnet18:32", "gpt_mini:8", "gpt_mini:16:8:1", "gpt2_124m:2", "bert_classifier:16")
COMPARED = 5  # steps whose losses must agree
PAUSE = 0.3  # between turns: PyTorch's threads spin for up to 0.2 s after their last work
VARIANTS = {"torch eager": False, "torch.compile": True}


class Case:
    def __init__(self, text):
        parts = text.split(":")
        self.name, self.batch = parts[0], int(parts[1])
        self.micros, self.stages = (int(part) for part in (parts[2:] or (1, 1)))
        self.text = f"{self.name}, batch {self.batch}" + (f" in {self.micros} micro-batches, {self.stages} stages" if parts[2:] else "")
        self.spec = model_variants.load(self.name)
        self.compared = without_dropout(self.spec)
        kind = json.loads((ROOT / "models" / self.name / "config.json").read_text())["optimizer"]["type"]
        self.optimizer = {"type": kind, "params": {"lr": 1e-4, "momentum": 0.9} if kind == "SGD" else {"lr": 1e-6}}
        tokens = self.spec["inputs"][0]["dtype"] == "i32"
        self.unit, self.per_sample = ("tokens", self.spec["inputs"][0]["shape"][0]) if tokens else ("samples", 1)

    def config(self):
        return {
            "train_micro_batch_size_per_gpu": self.batch // self.micros,
            "gradient_accumulation_steps": self.micros,
            "optimizer": self.optimizer,
            "gradient_clipping": 0.0,
            "steps_per_print": 0,
            "seed": model_jobs.SEED,
        }


def without_dropout(spec):
    """A copy; the spec itself if it has none."""
    copied = copy.deepcopy(spec)
    for layer in model_variants.layers_of(copied):
        layer.update({key: 0.0 for key in ("p", "dropout_p") if key in layer})
    return spec if copied == spec else copied


# ---- PyTorch's side: a process of its own that times a turn whenever it is told to ----------------------------------


def flops(torch, case, model, x):
    """Of a step on the samples x."""
    total, first = 0, case.unit == "samples"

    def count(module, inputs, output):
        nonlocal total, first
        if isinstance(module, torch.nn.Linear):
            macs = output.numel() * module.in_features
        else:
            macs = output.numel() * module.weight[0].numel()
        total += 2 * macs * (2 if first else 3)
        first = False

    hooks = [m.register_forward_hook(count) for m in model.modules() if isinstance(m, (torch.nn.Linear, torch.nn.Conv2d))]
    with torch.no_grad():
        model(x)
    for hook in hooks:
        hook.remove()
    width = next((layer["embedding_dim"] for layer in model_variants.layers_of(case.spec) if "embedding_dim" in layer), 0)
    for block in case.spec["layers"]:
        for inner in block.get("layers", ()):
            if inner["type"] == "ScaledDotProductAttention":
                products = 6 if inner.get("is_causal") else 12
                total += block.get("repeat", 1) * len(x) * products * case.per_sample**2 * width
    return total


def draw_torch_dropout(torch, model):
    """PyTorch's own random numbers instead of ours, which take it long."""
    from stagewright_random import Dropout
    from torch_training import AttentionDropout, attention

    for module in model.modules():
        if isinstance(module, Dropout):
            module.forward = torch.nn.Dropout(module.p).forward
        if isinstance(module, AttentionDropout):
            module.forward = functools.partial(attention, dropout_p=module.p, **module.arguments)


class Steps:
    """Trains `spec` step by step in PyTorch."""

    def __init__(self, torch, case, spec, compiled):
        from make_model_loss_goldens import initial_weights, tensors
        from torch_training import build_layer, build_model

        self.torch, self.case, self.done = torch, case, 0
        self.features, self.labels = tensors(spec)
        self.model, self.criterion = build_model(spec), build_layer(spec["loss"])
        self.model.load(initial_weights(spec))
        draw_torch_dropout(torch, self.model)
        kind = getattr(torch.optim, case.optimizer["type"])
        decay = {"weight_decay": 0.0} if kind is torch.optim.AdamW else {}
        self.optimizer = kind(self.model.parameters(), fused=True, **case.optimizer["params"], **decay)
        self.loss_of = torch.compile(self.loss) if compiled else self.loss

    def loss(self, x, y):
        return self.loss_of_output(self.model(x), y)

    def loss_of_output(self, out, y):
        return self.criterion(out.reshape(-1, out.shape[-1]), y.reshape(-1))

    def next_samples(self):
        begin, self.done = self.done * self.case.batch, self.done + 1
        return self.torch.arange(begin, begin + self.case.batch) % model_jobs.SAMPLES

    def step(self):
        case, total = self.case, 0.0
        for part in self.next_samples().split(case.batch // case.micros):
            loss = self.loss_of(self.features[part], self.labels[part]) / case.micros
            loss.backward()
            total += loss.item()
        self.optimizer.step()
        self.optimizer.zero_grad()
        return total


def serve_pytorch(case, threads, compiled):
    import torch

    torch.set_num_threads(threads)
    steps = compared = Steps(torch, case, case.compared, compiled)

    def peak():
        a, b = torch.randn(2048, 2048), torch.randn(2048, 2048)
        torch.mm(a, b)
        begin = time.perf_counter()
        for _ in range(6):
            torch.mm(a, b)
        return 6 * 2 * 2048**3 / (time.perf_counter() - begin) / 1e9

    losses = [compared.step() for _ in range(COMPARED)]
    if case.spec is not case.compared:
        steps = Steps(torch, case, case.spec, compiled)
    work = flops(torch, case, steps.model.eval(), steps.features[:1]) * case.batch
    steps.model.train()
    print(json.dumps({"torch": torch.__version__, "flops": work, "losses": losses}), flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        if "peak" in request:
            print(json.dumps({"peak": peak()}), flush=True)
            continue
        begin = time.perf_counter()
        for _ in range(request["steps"]):
            steps.step()
        seconds = time.perf_counter() - begin
        status = open("/proc/self/status").read()
        memory = int(status.split("VmHWM:")[1].split()[0]) / 1024
        print(json.dumps({"rate": request["steps"] * case.batch / seconds, "memory": memory}), flush=True)


class PyTorch:
    def __init__(self, arguments, text, compiled):
        command = [arguments.python, __file__, "--serve", text, "--threads", str(arguments.threads)]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
        self.process = subprocess.Popen(command + ["--compile"] * compiled, text=True, **pipes)
        line = self.process.stdout.readline()
        self.facts = json.loads(line) if line else None

    def ask(self, **request):
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def turn(self, steps):
        return self.ask(steps=steps)

    def close(self):
        self.process.stdin.close()
        self.process.wait()


# ---- our side -------------------------------------------------------------------------------------------------------


class Stagewright:
    def __init__(self, arguments, case, folder):
        self.program, self.threads, self.data = arguments.build / "bin/stagewright", arguments.threads, folder / "data"
        self.stage = folder / "x.stage"
        self.data.mkdir()
        model_jobs.write_data(case.spec, self.data)
        with open(self.data / "order.txt", "w") as order:  # line by line: this process's peak memory counts as that of its children
            order.writelines(f"{i % model_jobs.SAMPLES}\n" for i in range(case.batch * 20000))
        self.case, self.config = case, folder / "config.json"
        self.config.write_text(json.dumps(case.config()))
        self.compile(case.compared)
        self.losses = self.turn(COMPARED)["losses"]
        self.compile(case.spec)

    def compile(self, spec):
        model = self.stage.with_name("model.json")
        model.write_text(json.dumps(spec))
        self.run("compile", model, "-c", self.config, "--stages", self.case.stages, "-o", self.stage)

    def run(self, *options):
        """stdout and peak memory in MiB."""
        with tempfile.TemporaryFile("w+") as output, tempfile.TemporaryFile("w+") as errors:
            process = subprocess.Popen([self.program, *map(str, options)], stdout=output, stderr=errors)
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
            output.seek(0)
            errors.seek(0)
            if process.returncode:
                sys.exit(f"compare_with_pytorch.py: stagewright {options[0]} failed: exit code {process.returncode}\n{errors.read()}")
            return output.read(), usage.ru_maxrss / 1024

    def turn(self, steps, *options):
        given = ("--data", self.data, "--sample-order", self.data / "order.txt", "--threads", self.threads, "--steps", steps + 1)
        out, memory = self.run("train", self.stage, *given, *options, "--json")
        result = json.loads(out.strip().splitlines()[-1])
        return {"rate": result["samples_per_second"], "memory": memory, "losses": result["losses"]}

    def profile(self, steps):
        """Shares of the ranks' busy time by kind of task, from --trace."""
        trace, kinds = self.data / "trace.jsonl", collections.Counter()
        self.turn(steps, "--trace", trace)
        for line in trace.read_text().splitlines():
            entry = json.loads(line)
            if "task" in entry and entry["step"] > 1:
                kinds[entry["task"].lstrip("0123456789").rstrip("0123456789")] += entry["end"] - entry["begin"]
        total = sum(kinds.values())
        return ", ".join(f"{kind} {100 * value / total:.0f} % ({value / steps / 1e6:.2f} ms)" for kind, value in kinds.most_common(8))


# ---- rounds ---------------------------------------------------------------------------------------------------------


def spread(values, form):
    return f"{form.format(statistics.median(values))} ({form.format(min(values))}..{form.format(max(values))})"


def alternate(arguments, case, sides, between=lambda: None):
    """{side: results of its turns}, and {side: steps of a turn}."""
    warm = {name: side.turn(COMPARED if name == "stagewright" else 2) for name, side in sides.items()}
    steps = {name: max(2, min(15000, int(arguments.seconds * result["rate"] / case.batch))) for name, result in warm.items()}
    results, names = collections.defaultdict(list), list(sides)
    for number in range(arguments.rounds):
        for name in names[number % len(names):] + names[: number % len(names)]:
            time.sleep(PAUSE)
            results[name].append(sides[name].turn(steps[name]))
        between()
    return results, steps


def compare(arguments, text, report):
    case = Case(text)
    with tempfile.TemporaryDirectory(prefix="stagewright-bench-") as folder:
        ours = Stagewright(arguments, case, pathlib.Path(folder))
        sides = {"stagewright": ours}
        if not arguments.ours_only:
            for name, compiled in VARIANTS.items():
                side = PyTorch(arguments, text, compiled)
                if side.facts is None and not compiled:
                    sys.exit(f"compare_with_pytorch.py: {arguments.python} cannot run PyTorch's side; --python names one with torch")
                if side.facts:
                    sides[name] = side
        torch, peaks, names = sides.get("torch eager"), [], list(sides)
        results, steps = alternate(arguments, case, sides, lambda: peaks.extend([torch.ask(peak=True)["peak"]] if torch else []))
        rates = {name: [turn["rate"] * case.per_sample for turn in turns] for name, turns in results.items()}
        report(f"\n## {case.text}\n")
        columns = f"| | {case.unit}/s, median (min..max) | ms/step | ours / theirs | of peak | peak RSS, MiB |"
        report(columns + "\n" + "|---" * 6 + "|")
        for name in names:
            ratios = [a / b for a, b in zip(rates["stagewright"], rates[name])]
            step = case.batch * case.per_sample / statistics.median(rates[name])
            share = f"{100 * torch.facts['flops'] / step / 1e9 / statistics.median(peaks):.0f} %" if torch else ""
            ratio, memory = "" if name == "stagewright" else spread(ratios, "{:.2f}"), max(turn["memory"] for turn in results[name])
            report(f"| {name} | {spread(rates[name], '{:,.0f}')} | {1e3 * step:.3f} | {ratio} | {share} | {memory:,.0f} |")
        if torch:
            difference = max(abs(a - b) for a, b in zip(ours.losses, torch.facts["losses"]))
            report(f"\n{torch.facts['flops'] / 1e9:,.2f} GFLOP a step, peak {spread(peaks, '{:,.0f}')} GFLOP/s; losses of {COMPARED} "
                   f"steps differ by at most {difference:.1e}")
            slower = [name for name in names if statistics.median(rates[name]) > statistics.median(rates["stagewright"])]
            if slower:
                report(f"\nSlower than {' and '.join(slower)}. Our tasks by kind: {ours.profile(min(20, steps['stagewright']))}")
            if difference > 1e-3:
                sys.exit("compare_with_pytorch.py: the two sides do not compute the same training")
        for side in list(sides.values())[1:]:
            side.close()


def options(description, others, packages, models):
    """What both comparisons take; `others`: whom they compare us with."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", default=sys.executable, help=f"a Python with {packages} (default: this one)")
    parser.add_argument("--build", type=pathlib.Path, default=ROOT / "build" / "release", help="our build folder")
    parser.add_argument("--models", nargs="+", default=models)
    parser.add_argument("--seconds", type=float, default=2.0, help="of one turn of one side")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--ours-only", action="store_true", help=f"leave {others} out")
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    return parser


def print_headline(arguments, workers):
    cpu = next((line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), "?")
    print(f"{datetime.date.today()}, {cpu}, {os.cpu_count()} cores, {workers}, {arguments.rounds} rounds of "
          f"{arguments.seconds:g} s; load at the start {os.getloadavg()[0]:.1f}", flush=True)


def main():
    parser = options(__doc__, "PyTorch", "torch and numpy", DEFAULT)
    parser.add_argument("--threads", type=int, default=min(2, os.cpu_count()))
    parser.add_argument("--compile", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        return serve_pytorch(Case(arguments.serve), arguments.threads, arguments.compile)
    print_headline(arguments, f"{arguments.threads} threads")
    for text in arguments.models:
        compare(arguments, text, lambda line: print(line, flush=True))


if __name__ == "__main__":
    main()
