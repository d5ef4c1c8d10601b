"""SyncBatchNorm: PyTorch's BatchNorm over the micro-batches of all replicas as one, one set of bits under every plan, and the same
running statistics on every replica."""
import copy
import json
import os
import re
import subprocess
import unittest

from program import FASHION_DATA, GOLDENS, ProgramTest, configuration
from test_graphs import GraphGoldens

MODEL = GOLDENS / "channel_norm" / "model.json"
SYNC = {"sync_batch_norm": True}


class Concatenated(GraphGoldens):
    """The goldens' micro-batches, of which each replica has a part: PyTorch normalises them as a whole."""

    name, replicas = "channel_norm", None

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.facts = copy.deepcopy(cls.facts)
        for case in cls.facts["cases"].values():
            rows, count = (case["config"][key] for key in ("train_micro_batch_size_per_gpu", "gradient_accumulation_steps"))
            part, left = divmod(rows, cls.replicas)
            assert not left
            own = {"train_micro_batch_size_per_gpu": part, "data_parallel_size": cls.replicas, "stagewright": SYNC}
            case["config"] |= own
        # Of a step's samples a replica takes a part, of which the micro-batches are parts: the goldens' have it the other way round.
        samples, order = cls.order.read_text().split(), []
        for step in range(0, len(samples), rows * count):
            for replica in range(cls.replicas):
                for begin in range(step + replica * part, step + rows * count, rows):
                    order += samples[begin : begin + part]
        assert sorted(order) == sorted(samples) and order != samples
        cls.order = cls.shared / "order.txt"
        cls.order.write_text("\n".join(order) + "\n")


class OnTwo(Concatenated):
    replicas = 2

    def test_sgd(self):
        self.check_sgd("sgd", "--stages", 2)

    def test_adam(self):
        self.check_adam("adam_clipped", "--stages", 3, "--partition", "uniform", "--schedule", "zb-h1")

    def test_evaluation(self):
        self.check_evaluation("sgd")


class OnFour(Concatenated):
    replicas = 4

    def test_sgd(self):
        self.check_sgd("sgd_nesterov_decay_clipped", "--stages", 2, "--schedule", "zb-h1")

    def test_adam(self):
        self.check_adam("adamw_decay_clipped", "--stages", 1)


class OnTwelve(Concatenated):
    """One sample each, of which the BatchNorm behind fc1 has one value per channel."""

    replicas = 12

    def test_sgd(self):
        self.check_sgd("sgd", "--stages", 1)


class OneResult(ProgramTest):
    # options, ranks, threads, ZeRO, recompute
    PLANS = [
        (["--stages", 1, "--schedule", "gpipe"], "threads", 1, {"stage": 0}, "none"),
        (["--stages", 2, "--schedule", "1f1b"], "processes", 2, {"stage": 1}, "selective"),
        (["--stages", 3, "--schedule", "zb-h1", "--partition", "uniform"], "threads", 2, {"stage": 3}, "interval:1"),
        (["--stages", 1, "--schedule", "zb-h1"], "processes", 1, {"stage": 3, "offload_optimizer": {"device": "cpu"}}, "interval:100"),
        (["--stages", 4, "--schedule", "1f1b", "--partition", "uniform"], "threads", 1, {"stage": 2, "overlap_comm": False},
         "types:BatchNorm2d,BatchNorm1d"),
    ]

    def bits(self, plan=PLANS[0], model=MODEL, own=SYNC, **changes):
        options, ranks, threads, zero, recompute = plan
        own = {**own, "recompute": recompute}
        sizes = {"train_micro_batch_size_per_gpu": 3, "gradient_accumulation_steps": 2}
        config = configuration(**{**sizes, **changes}, zero_optimization=zero, stagewright=own)
        result = self.train(self.compile(config, *options, model=model), "--steps", 5, "--threads", threads, "--ranks", ranks)
        self.assertEqual(result["planned_bytes"], result["allocated_bytes"])
        self.assertEqual(result["allocations_after_warmup"], 0)
        return result["weights_sha256"], result["state_sha256"], tuple(result["losses"])

    def check(self, replicas, plans=PLANS, **changes):
        results = [self.bits(plan, data_parallel_size=replicas, **changes) for plan in plans]
        self.assertEqual(results, [results[0]] * len(plans))
        return results[0]

    def layers(self, change):
        """The model with each BatchNorm changed."""
        text = re.sub(r'"type": "BatchNorm[12]d"', change, MODEL.read_text())
        self.assertNotEqual(text, MODEL.read_text())
        return self.write("changed.json", text)

    def test_two(self):
        """The flag does what the layers do, and more than nothing."""
        flag = self.check(2)
        self.assertEqual(flag, self.bits(model=self.layers('"type": "SyncBatchNorm"'), own={}, data_parallel_size=2))
        self.assertNotEqual(flag, self.bits(own={}, data_parallel_size=2))

    def test_four(self):
        self.assertNotEqual(self.check(4, self.PLANS[:3]), self.check(4, self.PLANS[2:3], seed=7))

    def test_micro_batch(self):
        """Gradients travel behind every micro-batch, between those that statistics need."""
        own = {**SYNC, "gradient_reduction": "micro_batch"}
        self.check(2, self.PLANS[:4], own=own)

    def test_precisions(self):
        for precision in ({"fp16": {"enabled": True, "initial_scale_power": 8}}, {"bf16": {"enabled": True}}):
            with self.subTest(precision):
                self.check(2, self.PLANS[:3], **precision)

    def test_tensor_ranks(self):
        """Each of them gathers with its own replicas; what they compute is what one computes, but for roundings."""
        tensor = {"tensor_parallel": {"autotp_size": 2}}
        split, whole = self.check(2, self.PLANS[:3], **tensor), self.bits(data_parallel_size=2)
        for one, other in zip(split[2], whole[2], strict=True):
            self.assertLess(abs(one - other), 1e-4 * other)

    def test_one_replica(self):
        """Has the bits of BatchNorm."""
        plain = self.bits(own={})
        self.assertEqual(plain, self.bits())
        self.assertEqual(plain, self.bits(model=self.layers('"type": "SyncBatchNorm"'), own={}))

    def test_layers_without_weights(self):
        """Frozen, and behind nothing that is trained: no gradient is gathered for what needs none."""
        spec = json.loads(MODEL.read_text())
        first = {"type": "SyncBatchNorm", "name": "first", "num_features": 1, "affine": False}
        spec["layers"] = [first] + [{**layer, "trainable": layer["name"] not in ("bn1", "block")} for layer in spec["layers"]]
        model = self.write("frozen.json", spec)
        results = [self.bits(plan, model=model, data_parallel_size=2) for plan in self.PLANS[:3]]
        self.assertEqual(results, [results[0]] * 3)


class Statistics(ProgramTest):
    def digests(self, own, fault):
        """What exec_rank_program prints of a job of two stages and two replicas."""
        config = configuration(train_micro_batch_size_per_gpu=3, gradient_accumulation_steps=2, data_parallel_size=2, stagewright=own)
        stage = self.compile(config, "--stages", 2, "--partition", "uniform", model=MODEL)
        program = os.environ["STAGEWRIGHT_RANK_PROGRAM"]
        command = ["mpirun", "--allow-run-as-root", "--oversubscribe", "-n", "4", program, stage, "4", FASHION_DATA, "-", "-", "-"]
        done = subprocess.run([*map(str, command), "best", fault], capture_output=True, text=True, timeout=120)
        self.assertEqual(done.returncode, 0, done.stderr)
        return stage, done.stdout

    def test_replicas_have_the_same(self):
        """After every micro-batch; without sync_batch_norm they have not."""
        for own, same in ((SYNC, True), ({}, False)):
            found = dict(re.findall(r"^statistics (\d) (\w+)$", self.digests(own, "digest:0")[1], re.M))
            self.assertEqual(sorted(found), ["0", "1", "2", "3"])
            self.assertNotEqual(found["0"], found["2"])
            for first, second in (("0", "1"), ("2", "3")):
                self.assertEqual(found[first] == found[second], same, found)

    def test_poisoned_values(self):
        """What a task has left in memory is nothing that the next one reads."""
        stage, printed = self.digests(SYNC, "poison:0")
        expected = self.train(stage, "--steps", 4)
        self.assertEqual(printed.split()[:2], [expected["weights_sha256"], expected["state_sha256"]])


if __name__ == "__main__":
    unittest.main(verbosity=2)
