"""Replicas that divide optimizer states, gradients and weights between them (ZeRO): the bits of replicas that do not, and the bytes of
the formulae."""
import itertools
import json
import sys
import unittest

from plan_report import inspect
from program import FASHION_DATA, GOLDENS, SOURCE, ProgramTest, configuration

sys.path.insert(0, str(SOURCE / "tests" / "tools"))
import json_schema  # noqa: E402

STAGES = (0, 1, 2)


def zero(stage, **changes):
    return {"zero_optimization": {"stage": stage}, **changes}


class OneResult(ProgramTest):
    """One set of bits for each number of replicas, whatever they divide and however the pipeline is cut and run."""

    PIPELINES = [
        ("--stages", 1, "--schedule", "gpipe"),
        ("--stages", 2, "--schedule", "1f1b", "--partition", "uniform"),
        ("--stages", 3, "--schedule", "zb-h1", "--partition", "uniform"),
    ]

    def bits(self, model, data, config, options, ranks="threads", threads=2):
        stage = self.compile(config, *options, model=SOURCE / model, name="x.stage")
        weights = self.folder / "w.safetensors"
        result = self.train(stage, "--steps", 4, "--threads", threads, "--ranks", ranks, "--save-weights", weights, data=data)
        self.assertEqual(result["allocated_bytes"], inspect(stage)["planned_bytes"])
        return result["weights_sha256"], result["state_sha256"], tuple(result["losses"])

    def check(self, name, data, replicas, cases=None, **changes):
        model = name if "/" in name else f"tests/goldens/{name}/model.json"
        sizes = {"train_micro_batch_size_per_gpu": 3, "gradient_accumulation_steps": 2, "data_parallel_size": replicas}
        results = {}
        for number, (stage, pipeline) in enumerate(cases or itertools.product(STAGES, range(len(self.PIPELINES)))):
            if self.PIPELINES[pipeline][1] * replicas <= 8:
                config = configuration(**sizes, **zero(stage, **changes))
                ranks = "processes" if number % 4 == 3 else "threads"
                results[stage, pipeline] = self.bits(model, data, config, self.PIPELINES[pipeline], ranks, 1 + number % 2)
        self.assertEqual({stage for stage, _ in results}, set(STAGES))
        self.assertEqual(len(set(results.values())), 1, results)

    def test_gpt_tied(self):
        self.check("gpt_tied", GOLDENS / "gpt", 2)

    def test_gpt_tied_on_three(self):
        self.check("gpt_tied", GOLDENS / "gpt", 3, [(0, 0), (1, 1), (2, 0)])

    def test_fashion_mlp_on_four(self):
        self.check("models/fashion_mlp/model.json", FASHION_DATA, 4, [(0, 0), (1, 1), (2, 0)])

    def test_fp16(self):
        self.check("transformer", FASHION_DATA, 2, [(0, 0), (1, 2), (2, 1)], fp16={"enabled": True, "initial_scale_power": 8})

    def test_fp16_with_overflows(self):
        """Steps that all replicas skip, as one of them has seen an overflow."""
        self.check("transformer", FASHION_DATA, 2, [(0, 0), (1, 2), (2, 1)], fp16={"enabled": True, "initial_scale_power": 30})

    def test_optimizers(self):
        for optimizer in (
            {"type": "SGD", "params": {"lr": 0.05, "momentum": 0.9}},
            {"type": "Adagrad", "params": {"lr": 0.01}},
            {"type": "Lion", "params": {"lr": 1e-3}},
            {"type": "Lamb", "params": {"lr": 1e-3}},
        ):
            for clipping in (0, 1.0):
                with self.subTest(optimizer["type"], clipping=clipping):
                    cases = [(0, 0), (1, 1), (2, 2)]
                    self.check("gpt_tied", GOLDENS / "gpt", 2, cases, optimizer=optimizer, gradient_clipping=clipping)


class Bytes(ProgramTest):
    """Of each rank and class, against the formulae of ZeRO (Rajbhandari et al. 2020, section 5): fp32 Adam holds 4 bytes of weights, 4
    of gradients and 8 of states per parameter."""

    GRANULE = 16384  # elements, at whose multiples a parameter may be cut

    def classes(self, replicas, stage, optimizer):
        config = configuration(data_parallel_size=replicas, **zero(stage, optimizer={"type": optimizer, "params": {}}))
        plan = inspect(self.compile(config, "--stages", 2, "--partition", "uniform"))
        return [rank["bytes_by_class"] for rank in plan["ranks"]]

    def test_states(self):
        for replicas, (optimizer, states) in itertools.product((2, 4, 7), (("Adam", 2), ("Lion", 1))):
            whole = self.classes(replicas, 0, optimizer)
            for stage in (1, 2):
                for rank, before in zip(self.classes(replicas, stage, optimizer), whole, strict=True):
                    for name in ("parameters", "gradients", "derived", "activations"):
                        self.assertEqual(rank[name], before[name], name)
                    ideal, cut = before["optimizer state"] / replicas, 4 * states * self.GRANULE
                    self.assertLessEqual(ideal - 64 * states, rank["optimizer state"])
                    self.assertLessEqual(rank["optimizer state"], ideal + cut)


class Report(ProgramTest):
    def test_schema(self):
        schema = json.loads((SOURCE / "docs" / "inspect.schema.json").read_text())
        config = configuration(data_parallel_size=2, **zero(1))
        stage = self.compile(config, "--stages", 3, "--partition", "uniform", model=SOURCE / "tests/goldens/gpt_tied/model.json")
        report = inspect(stage)
        self.assertEqual(json_schema.errors(report, schema), [])
        self.assertEqual(report["recipe"]["zero"], 1)
        self.assertIn("0GATHER", str(report["schedule"]))
        self.assertIn("ZeRO stage 1", self.run_ok("inspect", stage).out)


if __name__ == "__main__":
    unittest.main(verbosity=2)
