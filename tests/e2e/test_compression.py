"""Replicas that send each other a part of their gradients, and what is left with those of the next step: one result under every plan,
the algorithm step by step, and the bytes that travel."""
import array
import json
import math
import random
import struct
import unittest

import safetensors_file
import test_zero
from plan_report import inspect
from program import FASHION_DATA, GOLDENS, SOURCE, configuration, write_idx
from test_zero import STAGES, ReplicaTest, zero

TOP_K = {"type": "top_k", "ratio": 0.05}
ONE_BIT = {"type": "one_bit"}
GRANULE = 16384


def compressed(kind, stage=0, **changes):
    changes = zero(stage, **changes)
    changes["stagewright"]["gradient_compression"] = kind
    return changes


class Compressed(ReplicaTest):
    def check_plans(self, kind, name, data, replicas, cases, **changes):
        model = f"tests/goldens/{name}/model.json"
        sizes = {"train_micro_batch_size_per_gpu": 3, "data_parallel_size": replicas, "gradient_accumulation_steps": 2}
        results = {}
        for number, (stage, pipeline, overlap) in enumerate(cases):
            config = configuration(**sizes, **compressed(kind, stage, **changes))
            config["zero_optimization"]["overlap_comm"] = overlap
            ranks = "processes" if number % 3 == 2 else "threads"
            results[stage, pipeline] = self.bits(model, data, config, self.PIPELINES[pipeline], ranks, 1 + number % 2)
        self.assertEqual(len(set(results.values())), 1, results)
        return next(iter(results.values()))


class OneResult(Compressed):
    CASES = [(0, 0, True), (1, 1, True), (2, 2, False), ((3, "visit"), 1, True), ((3, "step"), 0, False), (0, 1, False)]

    def test_top_k_of_a_tied_model(self):
        """Each use of the tied embedding has a residual of its own, on the stage of the use."""
        found = self.check_plans(TOP_K, "gpt_tied", GOLDENS / "gpt", 2, self.CASES)
        exact = self.check("gpt_tied", GOLDENS / "gpt", 2, [(s, 0) for s in STAGES])
        self.assertNotEqual(found[0], exact[0])

    def test_one_bit_on_three(self):
        cases = [(0, 0, True), (1, 0, False), (3, 0, True), (2, 1, True)]
        self.check_plans(ONE_BIT, "gpt_tied", GOLDENS / "gpt", 3, cases)

    def test_16_bits_and_whole_parameters(self):
        """bf16 compute, and Lamb, whose shards are whole parameters."""
        lamb = {"optimizer": {"type": "Lamb", "params": {"lr": 0.001}}, "bf16": {"enabled": True}}
        self.check_plans(TOP_K, "gpt_tied", GOLDENS / "gpt", 2, self.CASES[:4], **lamb)

    def test_offload(self):
        """Shards are cut once more then."""
        config = {"stage": 3, "offload_optimizer": {"device": "cpu", "ratio": 0.4}, "offload_param": {"device": "cpu"}}
        model, sizes = "models/fashion_mlp/model.json", {"data_parallel_size": 2, "gradient_accumulation_steps": 1}
        results = []
        for changes in (zero(0), {**zero(3), "zero_optimization": config}):
            changes["stagewright"]["gradient_compression"] = ONE_BIT
            results.append(self.bits(model, FASHION_DATA, configuration(**sizes, **changes), self.PIPELINES[0]))
        self.assertEqual(results[0], results[1])

    def test_tensor_ranks(self):
        """Residuals of the parts of split parameters, also of tied ones."""
        config = configuration(train_micro_batch_size_per_gpu=4, data_parallel_size=2, **compressed(ONE_BIT, 1))
        model, results = "tests/goldens/gpt_tied/model.json", set()
        for pipeline, ranks in ((0, "threads"), (1, "threads"), (0, "processes")):
            options = (*self.PIPELINES[pipeline], "--tensor-parallel", 2)
            results.add(self.bits(model, GOLDENS / "gpt", config, options, ranks))
        self.assertEqual(len(results), 1, results)

    def test_skipped_steps(self):
        """A loss scale that is far too large: what overflows stays out of the residuals, and training goes on with smaller scales."""
        for kind in (TOP_K, ONE_BIT):
            half = {"fp16": {"enabled": True, "initial_scale_power": 32, "hysteresis": 1}}
            config = configuration(gradient_accumulation_steps=1, data_parallel_size=2, **half, **compressed(kind, 1))
            done = self.train(self.compile(config), "--steps", 60)
            self.assertGreater(done["skipped_steps"], 5)
            self.assertTrue(all(map(math.isfinite, done["losses"])))
            self.assertLess(sum(done["losses"][-5:]), 0.7 * sum(done["losses"][:5]))

    def test_all_of_them(self):
        """top_k with ratio 1 sends all: weights and losses are those without compression, with fp16's skipped steps too."""
        for precision in ({}, {"fp16": {"enabled": True, "initial_scale_power": 32, "loss_scale_window": 3, "hysteresis": 1}}):
            base = {"train_micro_batch_size_per_gpu": 3, "data_parallel_size": 3, "gradient_accumulation_steps": 2, **precision}
            results = []
            for changes in (zero(1), compressed({"type": "top_k", "ratio": 1.0}, 1)):
                stage = self.compile(configuration(**base, **changes), model=SOURCE / "tests/goldens/gpt_tied/model.json")
                done = self.train(stage, "--steps", 30, data=GOLDENS / "gpt")
                results.append((done["weights_sha256"], done["losses"]))
            self.assertEqual(results[0], results[1])
            self.assertTrue(all(map(math.isfinite, results[0][1])))


def f32(value):
    return struct.unpack("<f", struct.pack("<f", value))[0]


def top_k(x, ratio):
    order = sorted(range(len(x)), key=lambda i: (-abs(x[i]), i))
    sent = [0.0] * len(x)
    for i in order[: max(1, math.ceil(ratio * len(x)))]:
        sent[i] = x[i]
    return sent


def one_bit(x):
    means = []
    for negative in (False, True):
        lanes, count = [0.0] * 16, 0
        for i, value in enumerate(x):
            if (value < 0) == negative:
                lanes[i % 16] += value
                count += 1
        total = lanes[0]
        for lane in lanes[1:]:
            total += lane
        means.append(f32(total / count) if count else 0.0)
    return [means[value < 0] for value in x]


class StepByStep(ReplicaTest):
    """Weights of runs of 1, 2, ... steps against an algorithm, on gradients that runs of one replica give."""

    SAMPLES, CLASSES, STEPS = 8, 24, 4
    RATE = 2.0**100  # so large that a weight is nothing beside its step, whose bits are then those of the gradient

    def data(self, name, images):
        folder = self.folder / name
        folder.mkdir()
        count = len(images) // 784
        write_idx(folder / "train-images-idx3-ubyte", (count, 28, 28), images)
        write_idx(folder / "train-labels-idx1-ubyte", (count,), bytes(i % 8 for i in range(count)))
        return folder

    def weights_file(self, weights):
        header, body = {}, b""
        for name, shape in (("fc.bias", [self.CLASSES]), ("fc.weight", [self.CLASSES, 784])):
            data = array.array("f", weights[name]).tobytes()
            header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [len(body), len(body) + len(data)]}
            body += data
        text = json.dumps(header).encode()
        return self.write("init.safetensors", struct.pack("<Q", len(text)) + text + body)

    def after(self, stage, data, steps, weights):
        made = self.folder / "made.safetensors"
        self.train(stage, "--steps", steps, "--init", self.weights_file(weights), "--save-weights", made, data=data)
        return {name: list(tensor.values()) for name, tensor in safetensors_file.read(made).items()}

    def config(self, rate, replicas, changes):
        changes["stagewright"]["shuffle"] = False
        optimizer = {"type": "SGD", "params": {"lr": rate}}
        sizes = {"data_parallel_size": replicas, "train_micro_batch_size_per_gpu": self.SAMPLES, "gradient_accumulation_steps": 1}
        return configuration(gradient_clipping=0, **sizes, **{**changes, "optimizer": optimizer})

    def gradients(self, stage, data, weights):
        """Half of those of a replica's samples, as the loss is the mean over two replicas."""
        made = self.after(stage, data, 1, weights)
        return {n: [0.0 if a == b else -a / self.RATE / 2 for a, b in zip(made[n], weights[n], strict=True)] for n in weights}

    def linear_model(self):
        layers = [{"type": "Flatten", "name": "flat"}, {"type": "Linear", "name": "fc", "in_features": 784, "out_features": self.CLASSES}]
        return self.fashion_model(layers)


class Algorithm(StepByStep):
    def check_algorithm(self, kind, compress):
        images = [random.Random(seed).randbytes(self.SAMPLES * 784) for seed in (1, 2)]
        parts = [self.data(f"part{i}", part) for i, part in enumerate(images)]
        whole = self.data("whole", b"".join(images))
        model = self.linear_model()
        alone = self.compile(self.config(self.RATE, 1, zero(0)), model=model, name="alone.stage")
        plans = [self.compile(self.config(0.5, 2, compressed(kind, s)), model=model, name=f"{s}.stage") for s in (0, 1)]
        sizes = {"fc.bias": self.CLASSES, "fc.weight": self.CLASSES * 784}
        self.assertGreater(sizes["fc.weight"], GRANULE)
        zeros = {name: [0.0] * size for name, size in sizes.items()}
        weights, residuals = zeros, [dict(zeros), dict(zeros)]
        for step in range(1, self.STEPS + 1):
            total = dict(zeros)
            for replica, residual in enumerate(residuals):
                gradients = self.gradients(alone, parts[replica], weights)
                for name in sizes:
                    x = [f32(g + r) for g, r in zip(gradients[name], residual[name], strict=True)]
                    sent = sum((compress(x[i : i + GRANULE]) for i in range(0, len(x), GRANULE)), [])
                    residual[name] = [f32(a - b) for a, b in zip(x, sent, strict=True)]
                    total[name] = [f32(a + b) for a, b in zip(total[name], sent, strict=True)]
            weights = {n: [f32(w - 0.5 * t) for w, t in zip(weights[n], total[n], strict=True)] for n in weights}
            for plan in plans if step in (1, self.STEPS) else plans[:1]:
                self.assertEqual(self.after(plan, whole, step, zeros), weights, step)
        self.assertGreater(max(map(abs, residuals[1]["fc.weight"])), 0)

    def test_top_k(self):
        self.check_algorithm({"type": "top_k", "ratio": 0.01}, lambda x: top_k(x, 0.01))

    def test_one_bit(self):
        self.check_algorithm(ONE_BIT, one_bit)


class Training(ReplicaTest):
    def test_it_learns(self):
        """fashion_mlp with a hundredth of its gradients, or a bit of each, learns what it learns with all of them, fp16 included."""
        losses = {}
        for name, kind in (("all", {"type": "none"}), ("top_k", {"type": "top_k", "ratio": 0.01}), ("one_bit", ONE_BIT)):
            sizes = {"train_micro_batch_size_per_gpu": 32, "gradient_accumulation_steps": 1, "data_parallel_size": 2}
            half = {"fp16": {"enabled": True}} if name == "top_k" else {}
            stage = self.compile(configuration(**sizes, **half, **compressed(kind, 1)))
            losses[name] = self.train(stage, "--steps", 400)["losses"]
        means = {name: sum(values[-50:]) / 50 for name, values in losses.items()}
        self.assertLess(means["all"], 0.5)
        for name in ("top_k", "one_bit"):
            self.assertLess(means[name], 1.4 * means["all"], means)


class Residuals(ReplicaTest):
    def test_memory(self):
        """4 bytes of each replica for each gradient that it contributes."""
        sizes = {"train_micro_batch_size_per_gpu": 1, "data_parallel_size": 4}
        for stage in (0, 3):
            compiled = self.compile(configuration(**sizes, **compressed(TOP_K, stage)), model=SOURCE / "models/gpt_mini")
            (rank,) = inspect(compiled)["ranks"]
            tied = 8192 * 384  # which has two sums
            self.assertLess(abs(rank["bytes_by_class"]["residuals"] / (4 * (13_891_584 + tied)) - 1), 0.001)

    def test_they_are_state(self):
        """Weights of zero and data of zeros: nothing changes but the biases; their residuals are in the state's hash, of both replicas."""
        stage = self.compile(configuration(data_parallel_size=2, **compressed(TOP_K)))
        plain = self.compile(configuration(data_parallel_size=2, **zero(0)), name="plain.stage")
        first, again = (self.train(stage, "--steps", 2) for _ in range(2))
        self.assertEqual(first["state_sha256"], again["state_sha256"])
        self.assertNotEqual(first["state_sha256"], self.train(plain, "--steps", 2)["state_sha256"])
        contract = inspect(stage)["contract"]
        self.assertEqual((contract["gradient_compression"], contract["compression_ratio"]), ("top_k", 0.05))
        self.assertIn("top_k, ratio 0.05", self.run_ok("inspect", stage).out)


class CompressedWire(test_zero.Wire):
    def test_bytes_sent_are_those_planned(self):
        """And for one exchange: granules of a parameter, each with its part of values and places of two bytes."""
        model = SOURCE / "tests/goldens/gpt_tied/model.json"
        for kind, stage, replicas in ((TOP_K, 0, 2), (ONE_BIT, 1, 3), (TOP_K, 3, 2), ({"type": "top_k", "ratio": 1}, 2, 3)):
            with self.subTest(kind=kind, stage=stage):
                config = configuration(train_micro_batch_size_per_gpu=3, data_parallel_size=replicas, **compressed(kind, stage))
                compiled = self.compile(config, "--stages", 2, "--partition", "uniform", model=model)
                few, many = (self.counted(compiled, GOLDENS / "gpt", steps, 2 * replicas) for steps in (2, 5))
                per_rank = [(b - a) / 3 for a, b in zip(few, many, strict=True)]
                for rank in inspect(compiled)["ranks"]:
                    sent = sum(per_rank[rank["rank"] * replicas : (rank["rank"] + 1) * replicas])
                    self.assertEqual(sent, sum(rank["sent_bytes"].values()), rank["sent_bytes"])

    def test_bytes_of_a_model(self):
        """fashion_mlp, whose parameters are spread over two replicas: each sends the other what that one adds up."""
        parameters = [784 * 256, 256, 256 * 10, 10]
        granules = [min(GRANULE, n - i) for n in parameters for i in range(0, n, GRANULE)]
        expected = {
            "top_k": sum((6 * math.ceil(0.05 * n) + 3) // 4 * 4 for n in granules),
            "one_bit": sum((n + 31) // 32 * 4 + 8 for n in granules),
        }
        for kind in (TOP_K, ONE_BIT):
            (rank,) = inspect(self.compile(configuration(data_parallel_size=2, **compressed(kind, 1))))["ranks"]
            self.assertEqual(rank["sent_bytes"]["gradients of replicas"], expected[kind["type"]])


if __name__ == "__main__":
    unittest.main()
