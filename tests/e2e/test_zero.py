"""Replicas that divide optimizer states, gradients and weights between them (ZeRO): the bits of replicas that do not, and the bytes of
the formulae."""
import itertools
import json
import math
import os
import random
import re
import struct
import subprocess
import sys
import unittest

import safetensors_file
from plan_report import inspect
from program import FASHION_DATA, GOLDENS, SOURCE, ProgramTest, configuration, strip_comments, write_idx

sys.path.insert(0, str(SOURCE / "tests" / "tools"))
import json_schema  # noqa: E402

STAGES = (0, 1, 2, 3)
POLICIES = ("step", "visit", "block")


def zero(stage, reduction="step", **changes):
    """Stage 3 as (3, how long gathered weights stay), and perhaps how many replicas divide them."""
    stage, policy, *group = stage if isinstance(stage, tuple) else (stage, "block")
    own = {"gather_weights": policy, "gradient_reduction": reduction}
    divided = {"stage": stage, **({"mics_shard_size": group[0]} if group else {})}
    return {"zero_optimization": divided, "stagewright": own, **changes}


class ReplicaTest(ProgramTest):
    """One set of bits for each number of replicas, whatever they divide and however the pipeline is cut and run."""

    COMPARED = set(STAGES)
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
        sizes = {"train_micro_batch_size_per_gpu": 3, "data_parallel_size": replicas}
        results = {}
        for number, (stage, pipeline) in enumerate(cases or itertools.product(STAGES, range(len(self.PIPELINES)))):
            if self.PIPELINES[pipeline][1] * replicas <= 8:
                config = configuration(**sizes, **{"gradient_accumulation_steps": 2, **zero(stage, **changes)})
                ranks = "processes" if number % 4 == 3 else "threads"
                results[stage, pipeline] = self.bits(model, data, config, self.PIPELINES[pipeline], ranks, 1 + number % 2)
        self.assertEqual({stage if isinstance(stage, int) else 3 for stage, _ in results}, self.COMPARED)
        self.assertEqual(len(set(results.values())), 1, results)
        return next(iter(results.values()))

    def fashion_model(self, layers):
        fashion = json.loads(strip_comments((SOURCE / "models/fashion_mlp/model.json").read_text()))
        return str(self.write("model.json", {**fashion, "layers": layers}))


class OneResult(ReplicaTest):
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

    def test_many_layers(self):
        """One task gathers more weights than a channel has places for when tasks gather few."""
        linear = lambda name, width, out: {"type": "Linear", "name": name, "in_features": width, "out_features": out}  # noqa: E731
        layers = [{"type": "Flatten", "name": "flat"}, linear("first", 784, 16)]
        layers += [*(linear(f"l{i}", 16, 16) for i in range(70)), linear("last", 16, 10)]
        cases = [(0, 0), (1, 0), (2, 0), *(((3, policy), 0) for policy in POLICIES)]
        self.check(self.fashion_model(layers), FASHION_DATA, 2, cases)

    def test_tied_tokens(self):
        """A parameter that another block reads as its first operation, and a layer that is not trained."""
        tokens = {"type": "Embedding", "num_embeddings": 31, "embedding_dim": 24, "tied": "t"}
        linear = {"type": "Linear", "in_features": 24, "out_features": 24}
        layers = [
            {**tokens, "name": "e"},
            {**linear, "name": "m", "trainable": False},
            {"type": "GELU", "name": "g"},
            {**tokens, "name": "e2", "inputs": ["tokens"]},
            {"type": "Add", "name": "sum", "inputs": ["g", "e2"]},
            {**linear, "name": "m2"},
            {"type": "Linear", "name": "head", "in_features": 24, "out_features": 31, "bias": False, "tied": "t"},
        ]
        model = json.loads((SOURCE / "tests/goldens/gpt_tied/model.json").read_text())
        path = str(self.write("model.json", {**model, "layers": layers}))
        cases = [(0, 0), (1, 1), (2, 2), *(((3, policy), pipeline) for policy in POLICIES for pipeline in (0, 2))]
        self.check(path, GOLDENS / "gpt", 2, cases)

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


class MicroBatches(ReplicaTest):
    """Gradients of replicas that are added up after each micro-batch: another sum, but one for all plans."""

    CASES = [(0, 0), (1, 1), (2, 2), (3, 1), (2, 0), ((3, "step"), 2), ((3, "visit"), 0), (1, 2), (0, 2)]

    def check(self, name, data, replicas, cases=None, **changes):
        return super().check(name, data, replicas, cases or self.CASES, reduction="micro_batch", **changes)

    def test_it_is_another_sum(self):
        name, data = "gpt_tied", GOLDENS / "gpt"
        per_step = [ReplicaTest.check(self, name, data, 3, [(s, 0) for s in STAGES], gradient_accumulation_steps=m) for m in (1, 3)]
        per_micro_batch = [self.check(name, data, 3, [(s, 0) for s in STAGES], gradient_accumulation_steps=m) for m in (1, 3)]
        self.assertEqual(per_step[0], per_micro_batch[0])
        self.assertNotEqual(per_step[1], per_micro_batch[1])
        for a, b in zip(per_step[1][2], per_micro_batch[1][2], strict=True):
            self.assertLess(abs(a - b), 1e-5 * a)


class Wire16(ReplicaTest):
    """Gradients that travel in 16 bits (`communication_data_type`)."""

    def test_one_result(self):
        """Whoever adds up, and whenever: each replica's part is rounded once."""
        name, data = "gpt_tied", GOLDENS / "gpt"
        results = {self.check(name, data, 3, [(s, 0) for s in STAGES])}
        for wire, reduction in itertools.product(("bf16", "fp16"), ("step", "micro_batch")):
            cases = [(0, 0), (1, 1), (2, 0), ((3, "visit"), 1), ((3, "step"), 0), (0, 1)]
            changes = {"communication_data_type": wire, "reduction": reduction}
            found = self.check(name, data, 3, cases, **changes)
            if reduction == "step":
                off = {**zero(1), "communication_data_type": wire}
                off["zero_optimization"]["overlap_comm"] = False
                sizes = {"train_micro_batch_size_per_gpu": 3, "data_parallel_size": 3, "gradient_accumulation_steps": 2}
                model = f"tests/goldens/{name}/model.json"
                self.assertEqual(self.bits(model, data, configuration(**sizes, **off), self.PIPELINES[0]), found)
            self.assertNotIn(found, results)
            results.add(found)
            for loss, exact in zip(found[2], next(iter(results))[2], strict=True):
                self.assertLess(abs(loss - exact), 0.02 * exact)

    def rounded(self, value, wire):
        """To nearest, ties to even, by the standard library's fp16 or on the bits of fp32."""
        if wire == "fp16":
            return struct.unpack("<e", struct.pack("<e", value))[0]
        (bits,) = struct.unpack("<I", struct.pack("<f", value))
        bits += 0x7FFF + (bits >> 16 & 1)
        return struct.unpack("<f", struct.pack("<I", bits >> 16 << 16 & 0xFFFFFFFF))[0]

    def test_a_step_is_that_of_rounded_gradients(self):
        """Two replicas with the same samples: g / 2 each, so that weights of zero become -2 round(g / 2) with a rate of 1."""
        images = random.Random(7).randbytes(8 * 784)
        write_idx(self.folder / "train-images-idx3-ubyte", (16, 28, 28), images + images)
        write_idx(self.folder / "train-labels-idx1-ubyte", (16,), bytes(range(8)) * 2)
        model = self.fashion_model([{"type": "Flatten", "name": "flat"}, {"type": "Linear", "name": "fc", "in_features": 784, "out_features": 10}])
        header = {}
        for name, shape, begin in (("fc.bias", [10], 0), ("fc.weight", [10, 784], 40)):
            header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [begin, begin + 4 * math.prod(shape)]}
        text = json.dumps(header).encode()
        zeros = self.write("zeros.safetensors", struct.pack("<Q", len(text)) + text + bytes(4 * 7850))
        steps = {}
        for wire, (stage, reduction) in itertools.product(("fp32", "bf16", "fp16"), ((0, "step"), (1, "micro_batch"), (3, "step"))):
            changes = zero(stage, reduction, communication_data_type=wire, data_parallel_size=2, gradient_accumulation_steps=1)
            changes["stagewright"]["shuffle"] = False
            config = configuration(train_micro_batch_size_per_gpu=8, gradient_clipping=0, **changes)
            config["optimizer"] = {"type": "SGD", "params": {"lr": 1.0}}
            compiled = self.compile(config, model=model)
            made = self.folder / "made.safetensors"
            self.train(compiled, "--steps", 1, "--init", zeros, "--save-weights", made, data=self.folder)
            weights = list(safetensors_file.read(made)["fc.weight"].values())
            self.assertEqual(steps.setdefault(wire, weights), weights)
        self.assertGreater(len(set(steps["fp32"])), 1000)
        for wire in ("bf16", "fp16"):
            self.assertEqual(steps[wire], [2 * self.rounded(value / 2, wire) for value in steps["fp32"]])
            self.assertNotEqual(steps[wire], steps["fp32"])


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


    def test_gradients(self):
        """Of ZeRO 2 and 3 a replica keeps its shard of the sums, when they are those of micro-batches."""
        for stage, replicas in ((0, 1), (1, 1), (2, 4), (3, 4)):
            config = configuration(train_micro_batch_size_per_gpu=1, data_parallel_size=4, **zero(stage, "micro_batch"))
            compiled = self.compile(config, "--stages", 1, model=SOURCE / "models/gpt_mini")
            (rank,) = inspect(compiled)["ranks"]
            self.assertEqual(inspect(compiled)["contract"]["gradient_reduction"], "micro_batch")
            tied = 8192 * 384  # which has two sums
            self.assertLess(abs(rank["bytes_by_class"]["gradients"] / (4 * (13_891_584 + tied) / replicas) - 1), 0.01, stage)

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


    def test_resident_memory(self):
        """The most that four replicas of ZeRO 3 have resident in one process is below what four whole ones are planned to need."""
        plans = {}
        for stage in (0, 3):
            config = configuration(train_micro_batch_size_per_gpu=1, gradient_accumulation_steps=1, data_parallel_size=4, **zero(stage))
            compiled = self.compile(config, "--stages", 1, model=SOURCE / "models/gpt_mini")
            plans[stage] = inspect(compiled)["planned_bytes"]
        done = self.run_ok("train", compiled, "--data", "synthetic", "--steps", 2)
        resident = 1024 * done.usage.ru_maxrss
        self.assertLess(resident, 0.75 * plans[0])
        self.assertGreater(resident, plans[3])  # which is all touched


class Wire(ProgramTest):
    def counted(self, stage, data, steps, ranks):
        """Bytes that each rank has given MPI to send in a run."""
        return [sum(sent) for sent in self.count_messages(stage, ranks, "--steps", steps, data=data)]

    def test_bytes_sent_are_those_planned(self):
        model = SOURCE / "tests/goldens/gpt_tied/model.json"
        plans = [(0, 2, {}), (1, 2, {}), (2, 2, {"overlap_comm": False}), ((3, "block"), 2, {}), ((3, "step"), 3, {}), (0, 3, {"overlap_comm": False})]
        cases = [(*plan, "step", "fp32") for plan in plans] + [(stage, 2, {}, "micro_batch", "fp32") for stage in STAGES]
        cases += [((3, "block", 2), 4, {}, "step", "fp32"), ((3, "visit", 1), 2, {}, "micro_batch", "bf16")]
        cases += [(0, 2, {}, "step", "bf16"), (1, 3, {"overlap_comm": False}, "step", "fp16"), (2, 2, {}, "micro_batch", "bf16")]
        for stage, replicas, changes, reduction, wire in cases:
            with self.subTest(stage=stage, replicas=replicas, reduction=reduction, wire=wire, **changes):
                config = configuration(train_micro_batch_size_per_gpu=3, data_parallel_size=replicas, **zero(stage, reduction))
                config["communication_data_type"] = wire
                config["zero_optimization"] |= changes
                compiled = self.compile(config, "--stages", 2, "--partition", "uniform", model=model)
                few, many = (self.counted(compiled, GOLDENS / "gpt", steps, 2 * replicas) for steps in (2, 5))
                self.check_sent(compiled, replicas, few, many)

    def check_sent(self, compiled, replicas, few, many):
        """In 3 steps, what the plan says of each pipeline rank."""
        per_rank = [(b - a) / 3 for a, b in zip(few, many, strict=True)]
        for rank in inspect(compiled)["ranks"]:
            sent = sum(per_rank[rank["rank"] * replicas : (rank["rank"] + 1) * replicas])
            self.assertEqual(sent, sum(rank["sent_bytes"].values()), rank["sent_bytes"])

    def test_bytes_of_statistics(self):
        """SyncBatchNorm: two floats for each channel from each replica to each other, in F and in I, of every micro-batch."""
        config = configuration(train_micro_batch_size_per_gpu=3, data_parallel_size=3, stagewright={"sync_batch_norm": True})
        compiled = self.compile(config, "--stages", 2, "--partition", "uniform", model=SOURCE / "tests/goldens/channel_norm/model.json")
        self.check_sent(compiled, 3, *(self.counted(compiled, FASHION_DATA, steps, 6) for steps in (2, 5)))
        sent = sum(rank["sent_bytes"]["inside of layers"] for rank in inspect(compiled)["ranks"])
        self.assertEqual(sent, 8 * (6 + 6 + 6 + 24) * 3 * 2 * 2 * config["gradient_accumulation_steps"])


class Poison(ProgramTest):
    def test_weights_are_released(self):
        """What a task has gathered becomes NaN at its end, as does every other value: one that is read too late changes the result."""
        model = SOURCE / "tests/goldens/gpt_tied/model.json"
        program = os.environ["STAGEWRIGHT_RANK_PROGRAM"]
        for replicas, stage in (*((2, (3, policy)) for policy in POLICIES), (4, (3, "visit", 2)), (2, (3, "block", 1))):
            config = configuration(train_micro_batch_size_per_gpu=3, data_parallel_size=replicas, **zero(stage))
            stage = self.compile(config, "--stages", 2, "--partition", "uniform", model=model)
            expected = self.train(stage, "--steps", 3, data=GOLDENS / "gpt")
            command = ["mpirun", "--allow-run-as-root", "--oversubscribe", "-n", 2 * replicas, program, stage, "3", GOLDENS / "gpt", "-", "-", "-"]
            done = subprocess.run([*map(str, command), "best", "poison:0"], capture_output=True, text=True, timeout=120)
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertEqual(done.stdout.split()[:2], [expected["weights_sha256"], expected["state_sha256"]])


class Report(ProgramTest):
    def stages(self, stage):
        """What `inspect --memory` says of each ZeRO stage, groups of shards and pipeline rank: {(stage, groups, ranks): (whether it is this
        plan, figures)}."""
        text = self.run_ok("inspect", "--memory", stage).out
        rows = {}
        for line in text[text.index("  ZeRO ") :].splitlines()[1:]:
            found = re.match(r" +(\d)(?:, groups of (\d+))?( \(this plan\))? +(\d[-\d]*) +([\d,]+) +([\d,]+) +([\d,]+) +([\d,]+)$", line)
            if not found:
                break
            figures = [int(number.replace(",", "")) for number in found.groups()[4:]]
            rows[int(found[1]), int(found[2] or 0), found[4]] = bool(found[3]), figures
        return rows

    def test_what_other_stages_cost(self):
        """A file says of the others what theirs say: of weights and states exactly, and what is planned."""
        settings = (0, 1, 2, (3, "visit"), (3, "visit", 2), (3, "visit", 1))
        for reduction, (optimizer, pipeline) in itertools.product(("step", "micro_batch"), (("Adam", 2), ("Lamb", 1), ("Lion", 3))):
            reports = []
            for setting in settings:
                config = configuration(train_micro_batch_size_per_gpu=3, data_parallel_size=4, **zero(setting, reduction))
                config |= {"optimizer": {"type": optimizer, "params": {}}, "pipeline": {"stages": pipeline, "partition": "uniform"}}
                stage = self.compile(config, model=SOURCE / "tests/goldens/gpt_tied/model.json")
                reports.append(self.stages(stage))
                own = [figures for is_this, figures in reports[-1].values() if is_this]
                self.assertEqual(len(own), pipeline)
                for rank, (weights, gradients, states, sent) in zip(inspect(stage)["ranks"], own, strict=True):
                    planned = [rank["bytes_by_class"][name] for name in ("parameters", "gradients", "optimizer state")]
                    self.assertEqual([weights, gradients, states], planned, (reduction, optimizer, setting))
                    self.assertEqual(sent, sum(rank["sent_bytes"][f"{name} of replicas"] for name in ("gradients", "weights")))
            for setting, own in zip(settings, reports, strict=True):
                stage, group = (setting[0], (*setting, 0)[2]) if isinstance(setting, tuple) else (setting, 0)
                for key in [key for key in own if key[:2] == (stage, group)]:
                    is_this, expected = own[key]
                    self.assertTrue(is_this)
                    for other in reports:
                        if group == 1 and other is not own:  # weights that nobody divides, which only their own file names
                            self.assertNotIn(key, other)
                            continue
                        weights, gradients, states, sent = other[key][1]
                        self.assertEqual([weights, states], [expected[0], expected[2]], (reduction, optimizer, key))
                        most = 1.1 if stage < 3 else 2  # that a backward pass gathers what it does not read
                        self.assertTrue(0.9 < sent / expected[3] < most, (reduction, optimizer, key, sent, expected[3]))

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
