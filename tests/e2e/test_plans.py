"""The plan does not change the result: one set of bits for every number of stages, schedule, thread count, kind of rank
and instruction set; and what ran is what was planned."""
import hashlib
import itertools
import os
import unittest

import random_plans
import safetensors_file
from plan_report import planned_tasks, stage_of
from program import ProgramTest, configuration
from trace_file import Trace, kind_of

STEPS = 100
MICRO_BATCHES = 4

# Every pair of values of two different columns occurs in some row.
COVERING = [
    (1, "gpipe", 1, "threads", "auto"),
    (1, "1f1b", 2, "processes", "avx2"),
    (1, "zb-h1", 1, "processes", "auto"),
    (2, "gpipe", 2, "processes", "auto"),
    (2, "1f1b", 1, "threads", "auto"),
    (2, "zb-h1", 2, "threads", "avx2"),
    (3, "gpipe", 1, "threads", "avx2"),
    (3, "1f1b", 2, "threads", "auto"),
    (3, "zb-h1", 1, "processes", "avx2"),
]
FULL = list(itertools.product((1, 2, 3), ("gpipe", "1f1b", "zb-h1"), (1, 2), ("threads", "processes"), ("auto", "avx2")))
FULL += [(stages, schedule, 2, "threads", "portable") for stages in (1, 3) for schedule in ("gpipe", "zb-h1")]


class Plans(ProgramTest):
    rows = COVERING

    def test_one_result(self):
        self.stages_files, results = {}, {}
        for row in self.rows:
            with self.subTest(row=row):
                results[row] = self.run_row(*row)
        self.assertEqual(len(results), len(self.rows), "some plans failed")
        first = results[self.rows[0]]
        for row, result in results.items():
            with self.subTest(row=row):
                self.assertEqual(result, first)

    def run_row(self, stages, schedule, threads, ranks, isa):
        """Trains 100 steps, checks the run against its plan, and returns the bits that every plan must share."""
        name = f"{schedule}-{stages}"
        if name not in self.stages_files:
            self.stages_files[name] = self.compile(
                configuration(), "--stages", stages, "--schedule", schedule, name=name + ".stage"
            )
        stage, trace, weights = self.stages_files[name], self.folder / "trace.jsonl", self.folder / "w.safetensors"
        result = self.train(
            stage,
            *("--steps", STEPS, "--threads", threads, "--ranks", ranks, "--isa", isa),
            *("--trace", trace, "--save-weights", weights),
        )
        self.assertEqual(result["steps"], STEPS)
        self.check_hash(weights, result["weights_sha256"])
        self.check_tasks(stage, Trace(trace), stages, threads, ranks)
        return result["weights_sha256"], result["state_sha256"], tuple(result["losses"]), result["loss"]

    def check_hash(self, weights, reported):
        """The reported hash is that of the saved weights: fp32, little-endian, in order of the names."""
        tensors = safetensors_file.read(weights)
        digest = hashlib.sha256()
        for name in sorted(tensors):
            self.assertEqual(tensors[name].dtype, "F32")
            digest.update(tensors[name].data)
        self.assertEqual(digest.hexdigest(), reported)

    def check_tasks(self, stage, trace, stages, threads, ranks):
        planned = planned_tasks(stage)
        self.assertEqual(len(planned), stages)
        forwards = sum(kind_of(task) == "F" for tasks in planned.values() for task in tasks)
        self.assertEqual(forwards, stages * MICRO_BATCHES)
        self.assertEqual(trace.steps(), list(range(1, STEPS + 1)))
        for step in trace.steps():
            self.assertEqual(trace.executed(step), planned, f"step {step}")
        if threads == 2 and os.cpu_count() >= 2:
            processes = range(1 if ranks == "threads" else stages)
            self.assertEqual({busy.process for busy in trace.busy}, set(processes))
            # A stage without the large layer has no work for two.
            process = 0 if ranks == "threads" else stage_of(stage, "fc1")
            self.assertEqual({busy.worker for busy in trace.busy if busy.process == process}, {0, 1}, f"process {process}")
            self.assertGreater(trace.overlap(process), 0, f"process {process}")
        if threads == 1 and ranks == "threads":
            self.assertEqual(trace.overlap(), 0, "two workers were busy at once with --threads 1")


class EveryPlan(Plans):
    rows = FULL


class Models(ProgramTest):
    """Plans of gpt_mini (with dropout) and resnet18 in which every two values of stages, schedule, recompute, kind of rank, threads
    and precision meet: one result per precision. docs/measured has the tables of random_plans.py."""

    def check(self, job):
        results = {}
        for plan, precision in random_plans.covering_plans(job):
            with self.subTest(plan=plan, precision=precision):
                hashes, losses, _ = random_plans.run_plan(job, plan, precision, 3, self.folder)
                results.setdefault(precision, set()).add((hashes, tuple(losses)))
        self.assertEqual({precision: len(found) for precision, found in results.items()}, dict.fromkeys(random_plans.PRECISIONS, 1))
        self.assertEqual(len(set().union(*results.values())), len(results), "precisions that differ in nothing")

    def test_gpt_mini(self):
        self.check(random_plans.gpt_mini(blocks=2, width=64, heads=2, vocabulary=512, length=32))

    def test_resnet18(self):
        self.check(random_plans.resnet18(size=8))


class Differences(ProgramTest):
    """What must change the bits does: otherwise the comparison above would compare constants."""

    def test_seed_and_recipe(self):
        def bits(**changes):
            result = self.train(self.compile(configuration(**changes)), "--steps", 20)
            return result["weights_sha256"], result["state_sha256"]

        adam = {"lr": 0.001}
        variants = [
            bits(),
            bits(seed=1235),
            bits(gradient_clipping=0.0),
            bits(optimizer={"type": "Adam", "params": {**adam, "betas": [0.9, 0.998]}}),
            bits(optimizer={"type": "Adam", "params": {**adam, "weight_decay": 0.01}}),
            bits(stagewright={"shuffle": False}),
        ]
        self.assertEqual(len({weights for weights, _ in variants}), len(variants))
        self.assertEqual(len({state for _, state in variants}), len(variants))
        self.assertEqual(bits(), variants[0])


if __name__ == "__main__":
    unittest.main(verbosity=2)
