#!/usr/bin/env python3
"""Times a training step on two processes of one thread each, beside PyTorch's and DeepSpeed's, in one run.

    bench/models/compare_parallel.py --python PYTHON-WITH-TORCH-AND-DEEPSPEED [--models mlp_wide:256 mlp_wide:256:8:2 ...] [--rounds 5]

NAME:BATCH is a model on two replicas, each with half of that batch, beside DistributedDataParallel. NAME:BATCH:MICROS:CUT is a model on
two stages, the second of which begins with layer CUT (a repeated layer counts as its copies), with 1F1B on that batch in so many
micro-batches; beside it run DeepSpeed's PipelineModule (train_batch) and torch.distributed.pipelining, cut there, too.

Ours is `train --ranks processes`, theirs are gloo's processes on the same machine. What is the same on all sides is what
compare_with_pytorch.py says: the model, fp32, samples and their order, initial weights, optimizer (theirs fused), no clipping. PyTorch runs
eagerly; "memory kept" is the same program with glibc told to keep freed memory (MALLOC). Sides take turns in every round; a ratio is ours
over theirs within a round. The first losses are compared. Memory is the peak of the largest process, theirs from the second step on.

    python3 -m venv v && v/bin/pip install torch numpy && DS_BUILD_OPS=0 v/bin/pip install setuptools wheel hjson ninja deepspeed
"""
import argparse
import json
import os
import pathlib
import socket
import statistics
import subprocess
import sys
import tempfile
import time

from compare_with_pytorch import COMPARED, ROOT, Case, Steps, Stagewright, alternate, options, print_headline, spread

DEFAULT = ("mlp_wide:256", "fashion_mlp:128", "gpt_mini:8", "mlp_wide:256:8:2", "fashion_mlp:128:8:3", "gpt_mini:16:8:6")
MALLOC = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(2**36), "MALLOC_TOP_PAD_": str(2**28)}


class ParallelCase(Case):
    def __init__(self, text):
        name, batch, *pipeline = text.split(":")
        self.cut = int(pipeline[1]) if pipeline else None
        super().__init__(f"{name}:{batch}" + (f":{pipeline[0]}:2" if pipeline else ""))
        self.text += f", cut before layer {self.cut}" if pipeline else ", 2 replicas"

    def config(self):
        if self.cut:
            return super().config() | {"pipeline": {"partition": f"explicit:{self.cut}"}}
        return super().config() | {"train_micro_batch_size_per_gpu": self.batch // 2, "data_parallel_size": 2}

    def peers(self):
        """{name: class}."""
        return {"DeepSpeed pipeline": "DeepSpeedStage", "torch pipelining": "TorchStage"} if self.cut else {"torch DDP": "Replica"}


# ---- their side: one of two processes; losses are its share of the step's -------------------------------------------


class Replica(Steps):
    def __init__(self, torch, case, rank):
        torch.distributed.init_process_group("gloo")
        super().__init__(torch, case, case.spec, False)
        self.rank, self.model = rank, torch.nn.parallel.DistributedDataParallel(self.model)

    def next_samples(self):
        return super().next_samples().chunk(2)[self.rank]

    def step(self):
        return super().step() / 2


class Stage(Steps):
    """One of two stages; of the other's weights nothing is left."""

    def __init__(self, torch, case, rank):
        super().__init__(torch, case, case.spec, False)
        self.rank, self.layers = rank, [layer for _, layer, _ in self.model.entries]
        parts = [torch.nn.Sequential(*self.layers[: case.cut]), torch.nn.Sequential(*self.layers[case.cut :])]
        mine, others = ({id(value): value for value in part.parameters()} for part in (parts[rank], parts[1 - rank]))
        self.part, self.tied = parts[rank], [value for key, value in mine.items() if key in others]
        for key in others.keys() - mine.keys():
            others[key].data = torch.empty(0)
        self.optimizer.param_groups[0]["params"] = list(mine.values())
        self.start()


class TorchStage(Stage):
    def start(self):
        from torch.distributed import pipelining

        self.torch.distributed.init_process_group("gloo")
        stage = pipelining.PipelineStage(self.part, self.rank, 2, self.torch.device("cpu"))
        self.schedule = pipelining.Schedule1F1B(stage, self.case.micros, loss_fn=self.loss_of_output)

    def step(self):
        samples, losses = self.next_samples(), []
        if self.rank == 0:
            self.schedule.step(self.features[samples])
        else:
            self.schedule.step(target=self.labels[samples], losses=losses)
        for value in self.tied:
            self.torch.distributed.all_reduce(value.grad)
        self.optimizer.step()
        self.optimizer.zero_grad()
        return sum(loss.item() for loss in losses) / self.case.micros


class DeepSpeedStage(Stage):
    def start(self):
        import deepspeed
        from deepspeed.pipe import PipelineModule, TiedLayerSpec

        class Border(self.torch.nn.Sequential):
            """On either side of the cut: DeepSpeed spreads layers of a type evenly, and has no other way to name a cut."""

        def layer_of(at, layer):
            if any(value is tied for value in layer.parameters() for tied in self.tied):
                return TiedLayerSpec("tied", self.torch.nn.Sequential, layer, tied_weight_attr=["0.weight"])
            return Border(layer) if at in (self.case.cut - 1, self.case.cut) else layer

        deepspeed.init_distributed(dist_backend="gloo")
        layers = [layer_of(at, layer) for at, layer in enumerate(self.layers)]
        model = PipelineModule(layers, num_stages=2, loss_fn=self.loss_of_output, partition_method="type:Border")
        assert model.parts[1] == self.case.cut, model.parts
        sizes = {key: self.case.config()[key] for key in ("train_micro_batch_size_per_gpu", "gradient_accumulation_steps")}
        config = {**sizes, "gradient_clipping": 0.0, "steps_per_print": 10**9}
        self.engine = deepspeed.initialize(model=model, optimizer=self.optimizer, config=config)[0]

    def step(self):
        parts = self.next_samples().chunk(self.case.micros)
        return self.engine.train_batch((self.features[part], self.labels[part]) for part in parts).item() / 2


def serve(case, kind):
    """Answers like compare_with_pytorch.py's, on a stdout that libraries do not print to."""
    import torch

    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    torch.set_num_threads(1)
    side = globals()[kind](torch, case, int(os.environ["RANK"]))
    losses = [side.step()]
    pathlib.Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew: drawing the weights is no training
    losses += [side.step() for _ in range(COMPARED - 1)]
    print(json.dumps({"losses": losses}), file=answers, flush=True)
    for line in sys.stdin:
        begin = time.perf_counter()
        for _ in range(int(line)):
            side.step()
        rate = int(line) * case.batch / (time.perf_counter() - begin)
        memory = int(pathlib.Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) / 1024
        print(json.dumps({"rate": rate, "memory": memory}), file=answers, flush=True)
    os._exit(0)  # without gloo's tear-down, which waits for the other process


class Peers:
    """Two processes of the other side. `losses` is None if they could not begin; `errors` has what they said."""

    def __init__(self, arguments, text, kind, environment):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        path = f"{pathlib.Path(arguments.python).absolute().parent}:{os.environ['PATH']}"  # DeepSpeed looks for ninja
        given = {"WORLD_SIZE": "2", "LOCAL_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "GLOO_SOCKET_IFNAME": "lo",
                 "OMP_NUM_THREADS": "1", "DS_ACCELERATOR": "cpu", "PATH": path, **environment}
        self.errors = tempfile.TemporaryFile("w+")
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": self.errors, "text": True}
        command = [arguments.python, __file__, "--serve", text, "--kind", kind]
        self.ranks = [subprocess.Popen(command, **pipes, env={**os.environ, **given, "RANK": rank, "LOCAL_RANK": rank}) for rank in "01"]
        facts = self.answers()
        self.losses = [sum(shares) for shares in zip(*(fact["losses"] for fact in facts))] if all(facts) else None

    def answers(self):
        return [json.loads(rank.stdout.readline() or "null") for rank in self.ranks]

    def turn(self, steps):
        for rank in self.ranks:
            rank.stdin.write(f"{steps}\n")
            rank.stdin.flush()
        answers = self.answers()
        return {"rate": min(answer["rate"] for answer in answers), "memory": max(answer["memory"] for answer in answers)}

    def close(self):
        for rank in self.ranks:
            rank.stdin.close()
        for rank in self.ranks:
            rank.wait()


# ---- rounds ---------------------------------------------------------------------------------------------------------


class Ours(Stagewright):
    def turn(self, steps):
        return super().turn(steps, "--ranks", "processes")


def compare(arguments, text, report):
    case = ParallelCase(text)
    report(f"\n## {case.text}\n")
    with tempfile.TemporaryDirectory(prefix="stagewright-bench-") as folder:
        sides = {"stagewright": Ours(arguments, case, pathlib.Path(folder))}
        for name, kind in ({} if arguments.ours_only else case.peers()).items():
            for suffix, environment in {"": {}, ", memory kept": MALLOC}.items():
                side = Peers(arguments, text, kind, environment)
                if side.losses:
                    sides[name + suffix] = side
                else:
                    side.errors.seek(0)
                    report(f"{name} does not run: {side.errors.read().strip().splitlines()[-1]}\n")
        results, _ = alternate(arguments, case, sides)
        for side in list(sides.values())[1:]:
            side.close()
    report("| | ms/step, median (min..max) | ours / theirs | peak RSS, MiB | losses differ by |\n" + "|---" * 5 + "|")
    for name, turns in results.items():
        milliseconds = [1e3 * case.batch / turn["rate"] for turn in turns]
        memory, ratio, difference = max(turn["memory"] for turn in turns), "", 0.0
        if name != "stagewright":
            ratio = spread([ours["rate"] / turn["rate"] for ours, turn in zip(results["stagewright"], turns)], "{:.2f}")
            difference = max(abs(a - b) for a, b in zip(sides["stagewright"].losses, sides[name].losses))
        cells = (name, spread(milliseconds, "{:,.2f}"), ratio, f"{memory:,.0f}", f"{difference:.1e}" if ratio else "")
        report(f"| {' | '.join(cells)} |")
        if difference > 1e-3:
            sys.exit("compare_parallel.py: the two sides do not compute the same training")


def main():
    parser = options(__doc__, "the others", "torch, numpy and deepspeed", DEFAULT)
    parser.add_argument("--kind", help=argparse.SUPPRESS)
    parser.set_defaults(threads=1)
    arguments = parser.parse_args()
    if arguments.serve:
        return serve(ParallelCase(arguments.serve), arguments.kind)
    print_headline(arguments, "2 processes of 1 thread")
    for text in arguments.models:
        compare(arguments, text, lambda line: print(line, flush=True))


if __name__ == "__main__":
    main()
