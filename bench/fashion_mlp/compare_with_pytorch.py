#!/usr/bin/env python3
"""Times a training step of fashion_mlp (784-256-10) in Stagewright and in PyTorch, side by side.

    bench/fashion_mlp/compare_with_pytorch.py [--python PYTHON-WITH-TORCH] [--batches 16 128] [--threads 2] [--rounds 7]

Both sides train the same model on the same images from the same initial weights in the same order with Adam, batch in
one piece, in one process, with the same number of threads. A round times each side once, the order turning from round
to round; the ratio of a round is ours over theirs, and medians are printed with the smallest and largest. PyTorch runs
eagerly with its defaults, once with the plain and once with the fused Adam, on images that are already normalised
floats in memory; ours gathers and normalises bytes. The script writes nothing but its table.

PyTorch is needed for the other side only (--ours-only leaves it out):
    apt install python3-venv; python3 -m venv v && v/bin/pip install torch numpy
"""
import argparse
import gzip
import json
import os
import pathlib
import random
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
COMPARED = 200  # steps whose losses must agree
PAUSE = 0.3  # between turns: PyTorch's threads spin for up to 0.2 s after their last work


# ---- PyTorch's side: a process of its own that times a turn whenever it is told to ----------------------------------


def serve_pytorch(arguments):
    import numpy
    import torch

    torch.set_num_threads(arguments.threads)
    pixels = numpy.frombuffer(gzip.open(arguments.data / "train-images-idx3-ubyte.gz").read(), numpy.uint8, offset=16)
    labels = numpy.frombuffer(gzip.open(arguments.data / "train-labels-idx1-ubyte.gz").read(), numpy.uint8, offset=8)
    images = ((torch.from_numpy(pixels.astype(numpy.float32)) / 255 - 0.2860) / 0.3530).reshape(-1, 1, 28, 28)
    targets = torch.from_numpy(labels.astype(numpy.int64))
    order = torch.tensor([int(line) for line in open(arguments.order)])
    initial = read_weights(arguments.weights, torch)
    criterion = torch.nn.CrossEntropyLoss()
    print(json.dumps({"torch": torch.__version__, "threads": torch.get_num_threads()}), flush=True)

    def turn(batch, fused, clipping, steps):
        model = torch.nn.Sequential()
        for name, layer in (
            ("flatten", torch.nn.Flatten()),
            ("fc1", torch.nn.Linear(784, 256)),
            ("relu", torch.nn.ReLU()),
            ("fc2", torch.nn.Linear(256, 10)),
        ):
            model.add_module(name, layer)
        model.load_state_dict(initial)
        optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, fused=fused)
        losses, begin = [], time.perf_counter()
        for step in range(steps):
            index = order[step * batch : (step + 1) * batch]
            loss = criterion(model(images[index]), targets[index])
            loss.backward()
            if clipping:
                torch.nn.utils.clip_grad_norm_(model.parameters(), clipping)
            optimizer.step()
            optimizer.zero_grad()
            losses.append(loss.item())
        seconds = time.perf_counter() - begin
        return {"samples_per_second": steps * batch / seconds, "losses": losses}

    for line in sys.stdin:
        print(json.dumps(turn(**json.loads(line))), flush=True)


def read_weights(path, torch):
    data = path.read_bytes()
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + size])
    tensors = {}
    for name, entry in header.items():
        if name != "__metadata__":
            begin, end = entry["data_offsets"]
            values = torch.frombuffer(bytearray(data[8 + size + begin : 8 + size + end]), dtype=torch.float32)
            tensors[name] = values.reshape(entry["shape"])
    return tensors


class PyTorch:
    def __init__(self, arguments, order, weights):
        command = [arguments.python, __file__, "--serve", "--threads", str(arguments.threads)]
        command += ["--data", str(arguments.data), "--order", str(order), "--weights", str(weights)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        line = self.process.stdout.readline()
        if not line:
            sys.exit(f"compare_with_pytorch.py: {arguments.python} cannot run PyTorch's side; "
                     "python3 -m venv v && v/bin/pip install torch numpy, then --python v/bin/python")
        self.facts = json.loads(line)

    def turn(self, batch, steps, fused, clipping):
        request = {"batch": batch, "steps": steps, "fused": fused, "clipping": clipping}
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def close(self):
        self.process.stdin.close()
        self.process.wait()


# ---- our side -------------------------------------------------------------------------------------------------------


class Stagewright:
    def __init__(self, arguments, folder, order, weights):
        self.arguments, self.folder, self.order, self.weights = arguments, folder, order, weights
        self.program = arguments.build / "bin" / "stagewright"
        if not self.program.exists():
            sys.exit(f"compare_with_pytorch.py: {self.program} is not there; run ./quickstart, or name the build with --build")
        self.stages = {}

    def run(self, *options):
        done = subprocess.run([self.program, *map(str, options)], capture_output=True, text=True)
        if done.returncode:
            sys.exit(f"compare_with_pytorch.py: stagewright {options[0]} failed with exit code {done.returncode}\n{done.stderr}")
        return done.stdout

    def compile(self, batch, clipping):
        config, stage = self.folder / f"{batch}.json", self.folder / f"{batch}.stage"
        config.write_text(json.dumps({
            "train_batch_size": batch,
            "train_micro_batch_size_per_gpu": batch,
            "optimizer": {"type": "Adam", "params": {"lr": 1e-3}},
            "gradient_clipping": clipping,
            "steps_per_print": 0,
        }))
        self.run("compile", ROOT / "models/fashion_mlp/model.json", "-c", config, "-o", stage)
        return stage

    def turn(self, batch, steps, clipping):
        if batch not in self.stages:
            self.stages[batch] = self.compile(batch, clipping)
        out = self.run(
            *("train", self.stages[batch], "--data", self.arguments.data, "--init", self.weights),
            *("--sample-order", self.order, "--steps", steps, "--threads", self.arguments.threads, "--json"),
        )
        return json.loads(out.strip().splitlines()[-1])


# ---- rounds ---------------------------------------------------------------------------------------------------------


def spread(values, form):
    return f"{form.format(statistics.median(values))} ({form.format(min(values))}..{form.format(max(values))})"


def compare(arguments, ours, theirs, batch):
    clipping = arguments.clipping
    sides = {
        "stagewright": lambda steps: ours.turn(batch, steps, clipping),
    }
    if theirs:
        sides["torch eager"] = lambda steps: theirs.turn(batch, steps, False, clipping)
        sides["torch eager, fused Adam"] = lambda steps: theirs.turn(batch, steps, True, clipping)
    steps, losses, most = {}, {}, arguments.samples // batch
    for name, turn in sides.items():  # warm-up, the losses to compare, and how many steps make a turn
        result = turn(min(COMPARED, most))
        losses[name] = result["losses"]
        steps[name] = min(most, int(arguments.seconds * result["samples_per_second"] / batch) + 1)
    speeds = {name: [] for name in sides}
    names = list(sides)
    for round_number in range(arguments.rounds):
        first = round_number % len(names)
        for name in names[first:] + names[:first]:
            time.sleep(PAUSE)
            speeds[name].append(sides[name](steps[name])["samples_per_second"])

    print(f"\nbatch {batch}, {arguments.threads} threads, clipping {clipping or 'off'}, {arguments.rounds} rounds")
    print(f"  {'':26}{'samples/s median (min..max)':36}{'ms/step':10}{'ratio ours / theirs':26}loss of step {len(losses[names[0]])}")
    for name in names:
        ratios = [a / b for a, b in zip(speeds["stagewright"], speeds[name])]
        print(f"  {name:26}{spread(speeds[name], '{:,.0f}'):36}{1e3 * batch / statistics.median(speeds[name]):<10.3f}"
              f"{'' if name == 'stagewright' else spread(ratios, '{:.2f}x'):26}{losses[name][-1]:.6f}")
    if not theirs:
        return
    difference = max(abs(a - b) for a, b in zip(losses["stagewright"], losses["torch eager"], strict=True))
    print(f"  largest difference of a loss in these steps: {difference:.1e}")
    if difference > 1e-3:
        sys.exit("compare_with_pytorch.py: the two sides do not compute the same training")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", default=sys.executable, help="a Python with torch and numpy (default: this one)")
    parser.add_argument("--build", type=pathlib.Path, default=ROOT / "build" / "release", help="our build folder")
    parser.add_argument("--data", type=pathlib.Path, default=pathlib.Path("/usr/share/datasets/fashion-mnist"))
    parser.add_argument("--batches", type=int, nargs="+", default=[16, 128])
    parser.add_argument("--threads", type=int, default=min(2, os.cpu_count()))
    parser.add_argument("--seconds", type=float, default=1.0, help="of one turn of one side")
    parser.add_argument("--ours-only", action="store_true", help="leave PyTorch out")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--clipping", type=float, default=0.0, help="gradient norm to clip to, on both sides (0: off)")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--order", type=pathlib.Path, help=argparse.SUPPRESS)
    parser.add_argument("--weights", type=pathlib.Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        return serve_pytorch(arguments)
    with tempfile.TemporaryDirectory(prefix="stagewright-bench-") as folder:
        folder = pathlib.Path(folder)
        arguments.samples = 600_000  # ten epochs
        order, shuffled = folder / "order.txt", random.Random(1)
        epochs = [shuffled.sample(range(60_000), 60_000) for _ in range(arguments.samples // 60_000)]
        order.write_text("".join(f"{index}\n" for epoch in epochs for index in epoch))
        weights = ROOT / "tests/goldens/fashion_mlp/weights.safetensors"
        ours = Stagewright(arguments, folder, order, weights)
        theirs = None if arguments.ours_only else PyTorch(arguments, order, weights)
        other = f" against PyTorch {theirs.facts['torch']} (eager, defaults)" if theirs else ""
        print(f"{ours.run('--version').strip()}{other}; "
              f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.2f} at the start")
        if os.getloadavg()[0] > 0.5 * os.cpu_count():
            print("warning: other programs are using this machine; the figures below say little", file=sys.stderr)
        for batch in arguments.batches:
            compare(arguments, ours, theirs, batch)
        if theirs:
            theirs.close()


if __name__ == "__main__":
    main()
