"""Replicas of the pipeline (data parallel): PyTorch's losses when the micro-batches of a step are spread over replicas, one set of
bits for each number of replicas under every plan, and what runs is what was planned."""
import copy
import itertools
import statistics
import unittest

import test_graphs
from plan_report import inspect, planned_tasks
from program import FASHION_DATA, GOLDENS, SOURCE, ProgramTest, configuration, run
from test_losses import Goldens
from trace_file import Trace, kind_of


class Spread(Goldens):
    """The micro-batches of the goldens' steps, spread over `replicas`: the same samples with the same random numbers."""

    replicas = 2

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.facts = copy.deepcopy(cls.facts)
        for case in cls.facts["cases"].values():
            count, left = divmod(case["config"]["gradient_accumulation_steps"], cls.replicas)
            assert not left
            case["config"] |= {"gradient_accumulation_steps": count, "data_parallel_size": cls.replicas}


class FashionMlp(Spread):
    name = "fashion_mlp"

    def test_sgd(self):
        self.check_sgd("sgd", "--stages", 2)

    def test_adam_clipped(self):
        self.check_adam("adam_clipped", "--stages", 1)


class FashionMlpOnFour(Spread):
    name, replicas = "fashion_mlp", 4

    def test_sgd_clipped(self):
        self.check_sgd("sgd_nesterov_decay_clipped", "--stages", 2, "--schedule", "zb-h1")


class GptTied(Spread):
    name = "gpt_tied"
    without_gradient = test_graphs.GptTied.without_gradient

    def test_sgd(self):
        self.check_sgd("sgd", "--stages", 3, "--partition", "uniform")

    def test_adam_clipped(self):
        self.check_adam("adam_clipped", "--stages", 2)


class Dropout(Spread):
    """Replica r's micro-batch k draws the numbers of micro-batch r * micro-batches + k of the step."""

    name, replicas = "dropout", 3

    def test_sgd(self):
        self.check_sgd("sgd", "--stages", 2, "--partition", "uniform")


class OneResult(ProgramTest):
    PLANS = [
        (1, "gpipe", 1, "threads"),
        (2, "1f1b", 2, "processes"),
        (3, "zb-h1", 1, "threads"),
        (4, "1f1b", 2, "threads"),
    ]

    def bits(self, model, data, config, plan):
        stages, schedule, threads, ranks = plan
        options = ("--stages", stages, "--partition", "uniform", "--schedule", schedule)
        stage = self.compile(config, *options, model=SOURCE / model, name="-".join(map(str, plan)) + ".stage")
        weights = self.folder / "w.safetensors"
        result = self.train(stage, "--steps", 4, "--threads", threads, "--ranks", ranks, "--save-weights", weights, data=data)
        return result["weights_sha256"], result["state_sha256"], tuple(result["losses"])

    def check(self, name, data, replicas, **changes):
        model = f"tests/goldens/{name}/model.json"
        config = configuration(
            train_micro_batch_size_per_gpu=3, gradient_accumulation_steps=2, data_parallel_size=replicas, **changes
        )
        results = {plan: self.bits(model, data, config, plan) for plan in self.PLANS if plan[0] * replicas <= 8}
        self.assertGreater(len(results), 1)
        self.assertEqual(len(set(results.values())), 1, results)
        return results[self.PLANS[0]]

    def test_gpt_tied(self):
        two, four = (self.check("gpt_tied", GOLDENS / "gpt", replicas)[0] for replicas in (2, 4))
        self.assertNotEqual(two, four)

    def test_fp16(self):
        self.check("transformer", FASHION_DATA, 2, fp16={"enabled": True, "initial_scale_power": 8})

    def test_batch_norm(self):
        """The running statistics that are saved are those of the first replica."""
        self.check("channel_norm", FASHION_DATA, 2)


class WhatRuns(ProgramTest):
    def compiled(self, *options, **changes):
        return self.compile(configuration(**changes), *options)

    def test_tasks(self):
        """Every replica runs its pipeline rank's list, and no step ends before all have met in REDUCE."""
        stage = self.compiled("--stages", 2, "--data-parallel", 2)
        planned, trace = planned_tasks(stage), self.folder / "trace.jsonl"
        self.train(stage, "--steps", 3, "--trace", trace)
        trace = Trace(trace)
        for step in trace.steps():
            self.assertEqual(trace.executed(step), {rank: planned[rank // 2] for rank in range(4)})
            for pair in ({0, 1}, {2, 3}):
                reduces = [task for task in trace.tasks if task.step == step and task.rank in pair and kind_of(task.task) == "REDUCE"]
                self.assertEqual(len(reduces), 2)
                self.assertLess(max(task.begin for task in reduces), min(task.end for task in reduces))

    def test_gradients_travel_during_the_backward_pass(self):
        """The exchange of every block but the first begins while the last W still computes; without overlap_comm none does."""
        config = configuration(data_parallel_size=2)
        for schedule, ranks in (("1f1b", "threads"), ("zb-h1", "processes")):
            results = []
            for overlap in (True, False):
                stage = self.compile({**config, "zero_optimization": {"overlap_comm": overlap}}, "--schedule", schedule)
                trace = self.folder / "trace.jsonl"
                results.append(self.train(stage, "--steps", 9, "--ranks", ranks, "--trace", trace)["weights_sha256"])
                trace = Trace(trace)
                before, between = [], []
                for step, rank in itertools.product(trace.steps(), range(2)):
                    found = sorted((e for e in trace.exchanges if (e.step, e.rank) == (step, rank)), key=lambda e: e.begin)
                    last = max((t for t in trace.tasks if (t.step, t.rank) == (step, rank) and kind_of(t.task) in "WB"), key=lambda t: t.end)
                    self.assertEqual(len(found), 2 if overlap else 0)  # fc2, fc1
                    for exchange in found:
                        self.assertLess(last.begin, exchange.begin)
                        self.assertLess(exchange.begin, last.end)
                    if overlap:
                        before.append(found[0].begin - last.begin)
                        between.append(found[1].begin - found[0].begin)
                if overlap:  # the weight gradient of fc1, which takes longest, runs between the two
                    self.assertLess(statistics.median(before), statistics.median(between))
            self.assertEqual(len(set(results)), 1)

    def test_plan(self):
        one = self.compile(configuration(), "--stages", 2, name="one.stage")
        two = self.compiled("--stages", 2, "--data-parallel", 2)
        of_two, of_one = (inspect(stage)["bytes_by_class"] for stage in (two, one))
        self.assertGreater(of_two.pop("communication"), 0)
        self.assertEqual(of_one.pop("communication"), 0)
        self.assertEqual(of_two, {name: 2 * size for name, size in of_one.items()})
        self.assertEqual(inspect(two)["contract"]["data_parallel"], 2)
        self.assertEqual(inspect(two)["contract"]["global_batch"], 128)
        self.assertIn("stages: 2 on 4 ranks", self.run_ok("inspect", two).out)
        self.assertIn("each of 2-3", self.run_ok("inspect", two, "--memory").out)
        self.assertNotIn("REDUCE", str(inspect(one)["schedule"]))
        self.assertIn("1REDUCE", str(inspect(two)["schedule"]))

    def test_memory_and_ranks_are_those_planned(self):
        stage = self.compiled("--stages", 1, "--data-parallel", 3)
        for ranks in ("threads", "processes"):
            result = self.train(stage, "--steps", 2, "--ranks", ranks)
            self.assertEqual(result["allocated_bytes"], inspect(stage)["planned_bytes"])

    def test_evaluation(self):
        """It runs on the first replica, with the result of a file of one replica."""
        weights = self.folder / "w.safetensors"
        two = self.compiled("--stages", 2, "--data-parallel", 2)
        self.train(two, "--steps", 5, "--save-weights", weights)
        one = self.compile(configuration(), "--stages", 1, name="one.stage")
        results = [
            self.run_ok("eval", stage, "--data", FASHION_DATA, "--init", weights, "--ranks", ranks, "--json").json
            for stage, ranks in itertools.product((one, two), ("threads", "processes"))
        ]
        for key in ("loss", "accuracy", "samples", "weights_sha256"):
            self.assertEqual(len({result[key] for result in results}), 1, key)
        self.assertEqual(results[0]["samples"], 10000)

    def test_a_loss_that_is_not_finite_ends_all_ranks(self):
        config = {"optimizer": {"type": "SGD", "params": {"lr": 1e30}}, "gradient_clipping": 0}
        stage = self.compiled("--stages", 2, "--data-parallel", 2, **config)
        for ranks in ("threads", "processes"):
            done = run("train", stage, "--data", FASHION_DATA, "--steps", 9, "--ranks", ranks)
            self.assertEqual(done.code, 2, str(done))
            self.assertIn("the loss is", done.err)

    def test_weights_are_the_same_on_all_replicas(self):
        """Each replica's next loss is made with its own weights: had they parted, the mean would not be that of one replica
        which sees all micro-batches, to a rounding, after many steps."""
        losses = []
        for replicas, count in ((1, 4), (4, 1)):
            config = configuration(gradient_accumulation_steps=count, data_parallel_size=replicas)
            losses.append(self.train(self.compile(config, name=f"{replicas}.stage"), "--steps", 60)["losses"])
        for one, four in zip(*losses, strict=True):
            self.assertLess(abs(one - four), 1e-4 * one)

    def test_refused(self):
        config = self.write("c.json", configuration())
        model = SOURCE / "models" / "fashion_mlp"
        for options, text in ((("--data-parallel", 0), "--data-parallel"), (("--data-parallel", 5000), "between 1 and 256")):
            done = run("compile", model, "-c", config, *options, "-o", self.folder / "no.stage")
            self.assertEqual(done.code, 2, str(done))
            self.assertIn(text, done.err)
        uneven = {**configuration(), "train_batch_size": 130}
        uneven.pop("gradient_accumulation_steps")
        done = run("compile", model, "-c", self.write("u.json", uneven), "--data-parallel", 4, "-o", self.folder / "no.stage")
        self.assertEqual(done.code, 2, str(done))
        self.assertIn("data-parallel", done.err)
        self.assertFalse((self.folder / "no.stage").exists())


if __name__ == "__main__":
    unittest.main(verbosity=2)
