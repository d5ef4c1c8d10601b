"""Replicas that divide optimizer states, gradients and weights between them (ZeRO): the bits of replicas that do not, and the bytes of
the formulae."""
import itertools
import json
import os
import pathlib
import subprocess
import sys
import unittest

from plan_report import inspect
from program import FASHION_DATA, GOLDENS, SOURCE, ProgramTest, configuration

sys.path.insert(0, str(SOURCE / "tests" / "tools"))
import json_schema  # noqa: E402

STAGES = (0, 1, 2, 3)
POLICIES = ("step", "visit", "block")


def zero(stage, **changes):
    """Stage 3 as (3, how long gathered weights stay)."""
    stage, policy = stage if isinstance(stage, tuple) else (stage, "block")
    return {"zero_optimization": {"stage": stage}, "stagewright": {"gather_weights": policy}, **changes}


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
        self.assertEqual({stage if isinstance(stage, int) else 3 for stage, _ in results}, set(STAGES))
        self.assertEqual(len(set(results.values())), 1, results)

    def test_gpt_tied(self):
        self.check("gpt_tied", GOLDENS / "gpt", 2)

    def test_gpt_tied_on_three(self):
        self.check("gpt_tied", GOLDENS / "gpt", 3, [(0, 0), (1, 1), (2, 0), (3, 1)])

    def test_fashion_mlp_on_four(self):
        self.check("models/fashion_mlp/model.json", FASHION_DATA, 4, [(0, 0), (1, 1), (2, 0), *(((3, p), 1) for p in POLICIES)])

    def test_policies(self):
        """However long gathered weights stay, also of tied parameters on several stages, and with blocks computed again."""
        cases = [(0, 0), (1, 0), (2, 0), *(((3, policy), pipeline) for policy in POLICIES for pipeline in (0, 2))]
        self.check("gpt_tied", GOLDENS / "gpt", 2, cases)
        config = {"bf16": {"enabled": True}, "pipeline": {"activation_checkpoint_interval": 2}}
        self.check("gpt_tied", GOLDENS / "gpt", 2, cases, **config)

    def test_batch_norm(self):
        self.check("channel_norm", FASHION_DATA, 2, [(0, 0), (1, 1), (2, 2), (3, 1), ((3, "step"), 2)])

    def test_evaluation(self):
        """One rank per stage has the weights of all replicas then."""
        results = []
        for stage in (0, *((3, policy) for policy in POLICIES)):
            config = configuration(data_parallel_size=3, **zero(stage))
            compiled = self.compile(config, "--stages", 2)
            weights = self.folder / f"{stage}.safetensors"
            self.train(compiled, "--steps", 3, "--save-weights", weights)
            for ranks in ("threads", "processes"):
                report = self.run_ok("eval", compiled, "--data", FASHION_DATA, "--init", weights, "--ranks", ranks, "--json").json
                self.assertEqual(report["allocated_bytes"], report["planned_bytes"])
                results.append((report["loss"], report["weights_sha256"]))
        self.assertEqual(len(set(results)), 1, results)

    def test_initial_values_from_a_file(self):
        model = SOURCE / "tests/goldens/gpt_tied/model.json"
        results = []
        for stage in (0, 3):
            config = configuration(train_micro_batch_size_per_gpu=3, data_parallel_size=2, **zero(stage))
            compiled = self.compile(config, "--stages", 2, "--partition", "uniform", model=model)
            if not results:
                self.train(compiled, "--steps", 2, "--save-weights", self.folder / "w.safetensors", data=GOLDENS / "gpt")
            again = self.train(compiled, "--steps", 2, "--init", self.folder / "w.safetensors", data=GOLDENS / "gpt")
            results.append((again["weights_sha256"], tuple(again["losses"])))
        self.assertEqual(results[0], results[1])

    def test_fp16(self):
        self.check("transformer", FASHION_DATA, 2, [(0, 0), (1, 2), (2, 1), (3, 2)], fp16={"enabled": True, "initial_scale_power": 8})

    def test_fp16_with_overflows(self):
        """Steps that all replicas skip, as one of them has seen an overflow."""
        self.check("transformer", FASHION_DATA, 2, [(0, 0), (1, 2), (2, 1), (3, 0)], fp16={"enabled": True, "initial_scale_power": 30})

    def test_optimizers(self):
        for optimizer in (
            {"type": "SGD", "params": {"lr": 0.05, "momentum": 0.9}},
            {"type": "Adagrad", "params": {"lr": 0.01}},
            {"type": "Lion", "params": {"lr": 1e-3}},
            {"type": "Lamb", "params": {"lr": 1e-3}},
        ):
            for clipping in (0, 1.0):
                with self.subTest(optimizer["type"], clipping=clipping):
                    cases = [(0, 0), (1, 1), (2, 2), (3, 1)]
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


    def test_weights(self):
        """gpt_mini over four replicas: the longer gathered weights stay, the more memory; its granules allow an even division."""
        planned = []
        for stage in ((3, "block"), (3, "visit"), (3, "step"), 1, 0):
            config = configuration(train_micro_batch_size_per_gpu=1, data_parallel_size=4, **zero(stage))
            (rank,) = inspect(self.compile(config, "--stages", 1, model=SOURCE / "models/gpt_mini"))["ranks"]
            planned.append(rank["planned_bytes"])
            trained = 13_891_584
            for name, size in (("parameters", 4), ("optimizer state", 8)):
                divided = stage != 0 if name == "optimizer state" else isinstance(stage, tuple)
                ideal = size * trained / (4 if divided else 1)
                self.assertLess(abs(rank["bytes_by_class"][name] / ideal - 1), 0.005, (stage, name))
        self.assertEqual(planned, sorted(planned))


class Wire(ProgramTest):
    def counted(self, stage, data, steps, ranks):
        """Bytes that each rank has given MPI to send in a run."""
        prefix = self.folder / "count"
        environment = {"LD_PRELOAD": os.environ["STAGEWRIGHT_MESSAGE_COUNTER"], "STAGEWRIGHT_MESSAGE_COUNT": prefix}
        self.train(stage, "--steps", steps, "--ranks", "processes", data=data, environment=environment)
        return [int(pathlib.Path(f"{prefix}.{rank}").read_text()) for rank in range(ranks)]

    def test_bytes_sent_are_those_planned(self):
        model = SOURCE / "tests/goldens/gpt_tied/model.json"
        plans = [(0, 2, {}), (1, 2, {}), (2, 2, {"overlap_comm": False}), ((3, "block"), 2, {}), ((3, "step"), 3, {}), (0, 3, {"overlap_comm": False})]
        for stage, replicas, changes in plans:
            with self.subTest(stage=stage, replicas=replicas, **changes):
                config = configuration(train_micro_batch_size_per_gpu=3, data_parallel_size=replicas, **zero(stage))
                config["zero_optimization"] |= changes
                compiled = self.compile(config, "--stages", 2, "--partition", "uniform", model=model)
                few, many = (self.counted(compiled, GOLDENS / "gpt", steps, 2 * replicas) for steps in (2, 5))
                per_rank = [(b - a) / 3 for a, b in zip(few, many, strict=True)]
                for rank in inspect(compiled)["ranks"]:
                    sent = sum(per_rank[rank["rank"] * replicas : (rank["rank"] + 1) * replicas])
                    self.assertEqual(sent, sum(rank["sent_bytes"].values()), rank["sent_bytes"])


class Poison(ProgramTest):
    def test_weights_are_released(self):
        """What a task has gathered becomes NaN at its end, as does every other value: one that is read too late changes the result."""
        model = SOURCE / "tests/goldens/gpt_tied/model.json"
        program = os.environ["STAGEWRIGHT_RANK_PROGRAM"]
        for policy in POLICIES:
            config = configuration(train_micro_batch_size_per_gpu=3, data_parallel_size=2, **zero((3, policy)))
            stage = self.compile(config, "--stages", 2, "--partition", "uniform", model=model)
            expected = self.train(stage, "--steps", 3, data=GOLDENS / "gpt")
            command = ["mpirun", "--allow-run-as-root", "--oversubscribe", "-n", "4", program, stage, "3", GOLDENS / "gpt", "-", "-", "-"]
            done = subprocess.run([*map(str, command), "best", "poison:0"], capture_output=True, text=True, timeout=120)
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertEqual(done.stdout.split()[:2], [expected["weights_sha256"], expected["state_sha256"]])


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
