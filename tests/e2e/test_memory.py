"""Memory is real: what `inspect` prints is what is mapped, and a steady step allocates nothing."""
import collections
import json
import resource
import unittest

import memory_record
from memory_record import MAP_ANONYMOUS, MAP_FIXED, PROT_WRITE
from plan_report import inspect, planned_bytes
from program import FASHION_DATA, ProgramTest, Running, configuration, write_idx
from trace_file import Trace

PAGE = resource.getpagesize()
STEPS = 100
ONE_BUFFER = 64 << 10  # of Open MPI


def of_open_mpi(name):
    """Whether an object is one of Open MPI's libraries or plug-ins."""
    return name.startswith(("mca_", "libmpi", "libopen-"))


class Recorded(ProgramTest):
    """Runs under the recorder of memory calls."""

    def record(self, stage, *options, data=FASHION_DATA):
        """Trains STEPS steps; returns the closing JSON line, the records of the ranks' processes, and the trace."""
        prefix, trace = self.folder / "record", self.folder / "trace.jsonl"
        running = Running(
            ["train", stage, "--data", data, "--steps", STEPS, "--trace", trace, *options, "--json"],
            environment=memory_record.environment(prefix),
        )
        self.addCleanup(running.end)
        done = running.wait(120)
        self.assertEqual(done.code, 0, str(done))
        records = memory_record.read_all(prefix)
        if "processes" in options:
            records = [record for record in records if record.rank >= 0]
        else:
            records = [record for record in records if record.process == running.process.pid]
        for record in records:
            self.assertEqual(record.dropped, 0)
        return done.json, sorted(records, key=lambda record: record.rank), Trace(trace)

    def check_arenas(self, stage, result, records):
        """Read-write anonymous mappings that the program itself made, on all ranks, are the planned bytes."""
        arenas = collections.Counter()
        elsewhere = collections.Counter()
        for record in records:
            for event in record.events:
                writable = event.protection & PROT_WRITE
                if event.kind not in ("mmap", "mprotect") or not writable or record.object_name(event) != "stagewright":
                    continue
                functions = record.functions(event)
                if event.kind == "mmap" and event.flags & MAP_ANONYMOUS and any("HostDevice::allocate" in f for f in functions):
                    self.assertTrue(event.flags & MAP_FIXED)
                    self.assertEqual(event.bytes % PAGE, 0)
                    arenas[record.rank] += event.bytes
                else:
                    elsewhere[functions[0] if functions else "?"] += event.bytes
        total = sum(arenas.values())
        print(f"arenas {total} bytes in {dict(arenas)}, planned {result['planned_bytes']}, "
              f"other writable mappings of the program {dict(elsewhere)}")
        self.assertEqual(total, result["planned_bytes"])
        self.assertEqual(total, result["allocated_bytes"])
        self.assertEqual(total, planned_bytes(stage))
        return arenas

    def check_steady(self, result, records, trace):
        """From the start of step 3 to the end of step 100 the program allocates nothing, and from the end of step 2 on the
        live bytes of the heap are flat. What Open MPI asks for is reported apart: it settles by step 20, but for a buffer for
        messages that arrive before their receive, which is taken once, whenever that first happens."""
        self.assertEqual(result["allocations_after_warmup"], 0)
        # Rank 0 begins a step first or waits for those who do; every rank's window is that of its own tasks.
        for record in records:
            rank_tasks = [task for task in trace.tasks if record.rank < 0 or task.rank == record.rank]
            begin = {step: min(task.begin for task in rank_tasks if task.step == step) for step in (3, 20)}
            end = {step: max(task.end for task in rank_tasks if task.step == step) for step in (2, 20, STEPS)}
            calls, growth, live = collections.Counter(), collections.Counter(), collections.Counter()
            others = []  # bytes of objects that are not Open MPI's: at the end of step 2, and after each later call
            for event in record.events:
                if event.kind not in ("malloc", "free"):
                    continue
                name = record.object_name(event)
                if event.nanoseconds <= end[2]:
                    live[name] += event.bytes
                elif event.nanoseconds <= end[STEPS] and not of_open_mpi(name):
                    others.append(event.bytes + (others[-1] if others else 0))
                if begin[3] <= event.nanoseconds <= end[STEPS] and event.kind == "malloc":
                    calls[name] += 1
                if end[20] <= event.nanoseconds <= end[STEPS]:
                    growth[name] += event.bytes
            growth = collections.Counter({name: bytes for name, bytes in growth.items() if bytes})
            print(f"rank {record.rank}: heap after step 2 {sum(live.values())} bytes; allocations in steps 3..{STEPS} by object "
                  f"{dict(calls)}; growth from step 20 to {STEPS} {dict(growth)}")
            self.assertEqual(calls["stagewright"], 0)
            self.assertEqual(calls["?"], 0)
            self.assertLessEqual(max(others, default=0), 0, "bytes above those at the end of step 2")
            self.assertLessEqual(sum(growth[name] for name in growth if of_open_mpi(name)), ONE_BUFFER)
            maps = [
                (event.kind, record.object_name(event), record.functions(event)[:1])
                for event in record.events
                if event.kind in ("mmap", "munmap", "mprotect") and begin[3] <= event.nanoseconds <= end[STEPS]
            ]
            self.assertEqual(maps, [])


class Memory(Recorded):
    def test_threads(self):
        stage = self.compile(configuration(), "--stages", 2)
        result, records, trace = self.record(stage, "--threads", 2)
        self.assertEqual(len(records), 1)
        self.check_arenas(stage, result, records)
        self.check_steady(result, records, trace)

    def test_processes(self):
        stage = self.compile(configuration(), "--stages", 2, "--schedule", "zb-h1")
        result, records, trace = self.record(stage, "--ranks", "processes", "--threads", 1)
        self.assertEqual([record.rank for record in records], [0, 1])
        arenas = self.check_arenas(stage, result, records)
        # Each process has its own stage's bytes only.
        self.assertGreater(min(arenas.values()), 0)
        self.assertLess(max(arenas.values()), result["planned_bytes"])
        self.check_steady(result, records, trace)


class LongAttention(ProgramTest):
    """One attention block on sequences of 1024, 2048 and 4096: what a plan holds grows with the length, not with its square."""

    HEADS, WIDTH = 2, 64

    def plan(self, length, **arguments):
        wide = {"in_features": self.WIDTH, "out_features": self.WIDTH}
        attention = {"num_heads": self.HEADS, **arguments}
        layers = [
            {"type": "Linear", "name": "qkv", "in_features": self.WIDTH, "out_features": 3 * self.WIDTH},
            {"type": "ScaledDotProductAttention", "name": "attention", **attention},
            {"type": "Linear", "name": "out", **wide},
            {"type": "Mean", "name": "mean", "dim": 1},
            {"type": "Linear", "name": "head", "in_features": self.WIDTH, "out_features": 10},
        ]
        inputs = [
            {"name": "x", "role": "feature", "dtype": "f32", "shape": [length, self.WIDTH]},
            {"name": "y", "role": "label", "dtype": "i32", "shape": []},
        ]
        model = {"name": "attention", "inputs": inputs, "layers": layers, "loss": {"type": "CrossEntropyLoss"}}
        config = configuration(train_micro_batch_size_per_gpu=1)
        path = self.compile(config, model=self.write("model.json", model), name=f"{length}.stage")
        return path, inspect(path)

    def test_no_buffer_is_as_large_as_the_scores(self):
        for arguments in ({}, {"is_causal": True}, {"is_causal": True, "dropout_p": 0.1}):
            with self.subTest(**arguments):
                lengths = (1024, 2048, 4096)
                stages, plans = zip(*(self.plan(length, **arguments) for length in lengths))
                largest = [max(arena["bytes"] for rank in plan["ranks"] for arena in rank["arenas"]) for plan in plans]
                totals = [plan["planned_bytes"] for plan in plans]
                print(f"attention {arguments}: planned bytes at {lengths} {totals}, largest arena {largest}")
                self.assertLess(largest[-1], 4 * lengths[-1] ** 2)
                # Twice the length, twice the growth (a square would make it four times); in whole pages and lines.
                for what in (totals, largest):
                    growth = [b - a for a, b in zip(what, what[1:])]
                    self.assertLess(abs(growth[1] - 2 * growth[0]), 0.01 * growth[1] + 4 * PAGE)
                result = self.train(stages[-1], "--steps", 1, data="synthetic")
                self.assertEqual(result["allocated_bytes"], totals[-1])


class Limit(ProgramTest):
    """A plan of more than 1 GiB under a limit on the address space, in one process."""

    FEATURES, ROWS = 64 * 128, 64
    # The heap's top moves in steps of 128 KiB, and thread stacks and the search below are rounded.
    SLACK = 1 << 20

    def setUp(self):
        super().setUp()
        self.data = self.folder / "data"
        self.data.mkdir()
        pixels = bytes((7 * index + index // 251) % 256 for index in range(self.FEATURES * self.ROWS))
        write_idx(self.data / "train-images-idx3-ubyte", (self.ROWS, 64, 128), pixels)
        write_idx(self.data / "train-labels-idx1-ubyte", (self.ROWS,), bytes(index % 10 for index in range(self.ROWS)))
        self.weights = self.folder / "weights.safetensors"

    def model(self, *widths):
        """Linear layers of these widths on images of 64 x 128 bytes."""
        sizes = [self.FEATURES, *widths, 10]
        layers = [{"type": "Flatten", "name": "flatten"}]
        for index, (before, after) in enumerate(zip(sizes, sizes[1:])):
            layers.append({"type": "Linear", "name": f"fc{index}", "in_features": before, "out_features": after})
        return self.write(f"model{'-'.join(map(str, widths))}.json", {
            "name": "wide",
            "inputs": [
                {"name": "image", "role": "feature", "dtype": "f32", "shape": [64, 128], "scale": 0.004},
                {"name": "label", "role": "label", "dtype": "i32", "shape": []},
            ],
            "layers": layers,
            "loss": {"type": "CrossEntropyLoss"},
        })

    def wide_stage(self, name, *widths):
        config = configuration(
            train_micro_batch_size_per_gpu=4,
            gradient_accumulation_steps=2,
            optimizer={"type": "SGD", "params": {"lr": 0.001}},
        )
        return self.compile(config, "--stages", 2, "--partition", "uniform", model=self.model(*widths), name=name + ".stage")

    def train_within(self, stage, limit):
        running = Running(
            ["train", stage, "--data", self.data, "--steps", 2, "--threads", 2, "--save-weights", self.weights, "--json"],
            environment={"MALLOC_ARENA_MAX": "1"},
            preexec=lambda: resource.setrlimit(resource.RLIMIT_AS, (limit, limit)),
        )
        self.addCleanup(running.end)
        return running.wait(120)

    def overhead(self):
        """The smallest limit under which an engine with next to no plan runs, less that plan; to 64 KiB."""
        stage = self.wide_stage("empty", 4, 4, 4)
        low, high = 0, 1 << 30
        self.assertEqual(self.train_within(stage, high).code, 0)
        while high - low > 1 << 16:
            middle = (low + high) // 2
            if self.train_within(stage, middle).code == 0:
                high = middle
            else:
                low = middle
            self.weights.unlink(missing_ok=True)
        return high - planned_bytes(stage)

    def test_plan_and_overhead_pass_and_five_percent_less_fails(self):
        overhead = self.overhead()
        stage = self.wide_stage("wide", 8192, 4096, 512)
        plan = planned_bytes(stage)
        self.assertGreaterEqual(plan, 1 << 30)
        print(f"plan {plan} bytes, overhead of an empty engine {overhead}")
        self.weights.unlink(missing_ok=True)

        done = self.train_within(stage, int(0.95 * plan) + overhead)
        self.assertEqual(done.code, 3, str(done))
        self.assertEqual(done.out, "", str(done))
        lines = [line for line in done.err.splitlines() if line.strip()]
        self.assertEqual(len(lines), 1, str(done))
        self.assertRegex(lines[0], "^stagewright: error: .*; ", str(done))
        self.assertFalse(self.weights.exists(), str(done))

        done = self.train_within(stage, plan + overhead + self.SLACK)
        self.assertEqual(done.code, 0, str(done))
        self.assertEqual(done.json["allocated_bytes"], plan)


if __name__ == "__main__":
    unittest.main(verbosity=2)
