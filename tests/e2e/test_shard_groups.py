"""ZeRO 3 in groups: so many neighbouring replicas have all weights between them. The bits of replicas that divide nothing, and the bytes of
the closed forms."""
import itertools
import unittest

from plan_report import inspect
from program import FASHION_DATA, GOLDENS, SOURCE, ProgramTest, configuration
from test_zero import POLICIES, ReplicaTest, zero

FASHION, GPT_TIED, TOKENS = "models/fashion_mlp/model.json", "tests/goldens/gpt_tied/model.json", GOLDENS / "gpt"


class OneResult(ReplicaTest):
    """Beside ZeRO 0 on one stage. Every fourth run is one of processes."""

    COMPARED = {0, 3}

    def test_fashion_mlp(self):
        cases = [((3, policy, size), p) for p, policy, size in itertools.product((0, 1), POLICIES, (1, 2))]
        self.check(FASHION, FASHION_DATA, 4, [(0, 0), ((3, "block", 4), 1), *cases])

    def test_micro_batches(self):
        """Whose sums are divided over all replicas, not over those of a group."""
        cases = [(0, 0), ((3, "block", 2), 1), ((3, "step", 1), 0), ((3, "visit", 2), 0), ((3, "block", 1), 1), ((3, "step", 2), 1)]
        self.check(FASHION, FASHION_DATA, 4, cases, reduction="micro_batch")

    def test_gpt_tied(self):
        """On two stages each replica sends its partner all that it has of the tied table."""
        cases = [(0, 0), ((3, "block", 2), 1), ((3, "visit", 2), 0), ((3, "step", 2), 1), ((3, "visit", 1), 1)]
        self.check("gpt_tied", TOKENS, 4, cases)
        self.check("gpt_tied", TOKENS, 2, [(0, 0), ((3, "block", 1), 2)])

    def test_three_groups(self):
        cases = [(0, 0), ((3, "block", 2), 0), ((3, "visit", 3), 0), ((3, "step", 2), 0)]
        self.check(FASHION, FASHION_DATA, 6, cases)

    def test_precisions(self):
        for precision in ({"bf16": {"enabled": True}}, {"fp16": {"enabled": True, "initial_scale_power": 30}}):  # which overflows
            self.check("gpt_tied", TOKENS, 4, [(0, 0), ((3, "block", 2), 1), ((3, "step", 1), 0)], **precision)

    def test_whole_parameters(self):
        """Of Lamb: shards of very different sizes."""
        lamb = {"optimizer": {"type": "Lamb", "params": {"lr": 1e-3}}}
        self.check("gpt_tied", TOKENS, 4, [(0, 0), ((3, "block", 2), 1), ((3, "visit", 1), 0)], **lamb)

    def one_result(self, settings, options=(), **changes):
        """Of gpt_tied on four replicas: of ZeRO 0 on one stage, and of settings on two."""
        results = []
        for pipeline, (zero_settings, ranks) in enumerate([(zero(0), "threads"), *((each, "threads") for each in settings), (settings[0], "processes")]):
            config = configuration(train_micro_batch_size_per_gpu=3, data_parallel_size=4, gradient_accumulation_steps=2)
            config |= {**zero_settings, **changes}
            results.append(self.bits(GPT_TIED, TOKENS, config, (*self.PIPELINES[min(pipeline, 1)], *options), ranks))
        self.assertEqual(len(set(results)), 1, results)

    def test_offloaded_states(self):
        """All of them, and half of each replica's."""
        settings = []
        for policy, size, ratio in (("block", 2, 1.0), ("step", 1, 0.5)):
            settings.append(zero((3, policy, size)))
            settings[-1]["zero_optimization"]["offload_optimizer"] = {"device": "cpu", "ratio": ratio}
        self.one_result(settings)

    def test_tensor_ranks(self):
        self.one_result([zero((3, "block", 2))], ("--tensor-parallel", 2))

    def test_wire(self):
        self.one_result([zero((3, "visit", 2))], communication_data_type="bf16")

    def test_evaluation(self):
        """One replica has the weights of a group then; and all of them begin with those of a file."""
        weights, evaluated, trained = self.folder / "w.safetensors", set(), set()
        for setting in (0, (3, "block", 2), (3, "step", 1), (3, "visit", 2)):
            config = configuration(data_parallel_size=4, **zero(setting))
            compiled = self.compile(config, "--stages", 2)
            if setting == 0:
                self.train(compiled, "--steps", 3, "--save-weights", weights)
            for ranks in ("threads", "processes"):
                report = self.run_ok("eval", compiled, "--data", FASHION_DATA, "--init", weights, "--ranks", ranks, "--json").json
                self.assertEqual(report["allocated_bytes"], report["planned_bytes"])
                evaluated.add((report["loss"], report["weights_sha256"]))
            again = self.train(compiled, "--steps", 2, "--init", weights)
            trained.add((again["weights_sha256"], again["state_sha256"], tuple(again["losses"])))
        self.assertEqual([len(evaluated), len(trained)], [1, 1])


class Bytes(ProgramTest):
    GRANULE = 16384  # elements

    def table_and_head(self, granules):
        """Two parameters of so many granules each."""
        width = 64
        tokens = granules * self.GRANULE // width
        layers = [
            {"type": "Embedding", "name": "table", "num_embeddings": tokens, "embedding_dim": width},
            {"type": "Linear", "name": "head", "in_features": width, "out_features": tokens, "bias": False},
        ]
        inputs = [{"name": name, "role": role, "dtype": "i32", "shape": [12]} for name, role in (("tokens", "feature"), ("next", "label"))]
        return self.write("model.json", {"name": "table", "inputs": inputs, "layers": layers, "loss": {"type": "CrossEntropyLoss"}})

    def plan(self, setting, replicas, model, stages=1, **changes):
        sizes = {"train_micro_batch_size_per_gpu": 1, "gradient_accumulation_steps": 2, "data_parallel_size": replicas}
        return self.compile(configuration(**sizes, **zero(setting, **changes)), "--stages", stages, "--partition", "uniform", model=model)

    def test_memory(self):
        """4 N / S bytes of weights and 8 N / D of states, also of gpt_mini within a granule of each group."""
        model, replicas, parameters = self.table_and_head(8), 8, 2 * 8 * self.GRANULE
        for size in (1, 2, 4, 8):
            (rank,) = inspect(self.plan((3, "block", size), replicas, model))["ranks"]
            self.assertEqual(rank["bytes_by_class"]["parameters"], 4 * parameters // size)
            self.assertEqual(rank["bytes_by_class"]["optimizer state"], 8 * parameters // replicas)
        for size in (1, 2):
            (rank,) = inspect(self.plan((3, "block", size), 4, SOURCE / "models/gpt_mini"))["ranks"]
            beyond = rank["bytes_by_class"]["parameters"] - 4 * 13_891_584 / size
            self.assertTrue(0 <= beyond <= 4 * self.GRANULE * 4 / size, beyond)

    def test_groups_of_one(self):
        """All weights on every replica, and no byte more than without ZeRO, however uneven the shards."""
        for model, stages in ((FASHION, 2), (GPT_TIED, 1), (GPT_TIED, 3)):
            plans = [inspect(self.plan(setting, 4, SOURCE / model, stages))["ranks"] for setting in (0, (3, "step", 1))]
            for whole, rank in zip(*plans, strict=True):
                self.assertEqual(rank["bytes_by_class"]["parameters"], whole["bytes_by_class"]["parameters"])

    def test_sent_weights(self):
        """Gathered once in a step from the other S - 1 of a group, and shared with the other D / S - 1 groups; N elements in all."""
        model, replicas, parameters = self.table_and_head(8), 8, 2 * 8 * self.GRANULE
        for size in (1, 2, 4, 8):
            plan = inspect(self.plan((3, "step", size), replicas, model))
            self.assertEqual(plan["recipe"]["shard_group"], size if size < replicas else 0)
            gathered = (replicas - replicas // size) * 4 * parameters
            self.assertEqual(plan["ranks"][0]["sent_bytes"]["weights of replicas"], gathered + (replicas // size - 1) * 4 * parameters)

    def test_what_leaves_a_group(self):
        """MPI counts between each two replicas: what tasks gather stays inside of a group."""
        stage = self.plan((3, "block", 2), 4, self.table_and_head(4))
        few, many = (self.count_messages(stage, 4, "--steps", steps, data=TOKENS) for steps in (2, 5))
        shard = 4 * 2 * self.GRANULE  # of a replica's gradients
        for a, b in itertools.permutations(range(4), 2):
            sent = (many[a][b] - few[a][b]) / 3
            if a // 2 == b // 2:
                self.assertGreater(sent, shard + 2 * 2 * shard)  # all that it has, in F of two micro-batches
            else:
                updated = shard if a % 2 == b % 2 else 0
                self.assertTrue(0 <= sent - shard - updated <= 1000, (a, b, sent))  # sums of the norm and the loss


class Names(ProgramTest):
    def test_another_name(self):
        """DeepSpeed has two for one thing."""
        stages = []
        for key in ("mics_shard_size", "zero_hpz_partition_size"):
            config = configuration(data_parallel_size=4, **zero((3, "block")))
            config["zero_optimization"][key] = 2
            stages.append(self.compile(config, name=f"{key}.stage"))
            self.assertIn("ZeRO stage 3 in groups of 2 replicas", self.run_ok("inspect", stages[-1]).out)
        (a, b) = (inspect(stage) for stage in stages)
        self.assertEqual(a["recipe"]["shard_group"], 2)
        for key in ("recipe", "ranks", "schedule"):
            self.assertEqual(a[key], b[key], key)

    def test_no_groups(self):
        """One group of all replicas is a plan without groups."""
        stages = [self.compile(configuration(data_parallel_size=2, **zero(setting)), name=f"{i}.stage") for i, setting in enumerate(((3, "block"), (3, "block", 2)))]
        a, b = (inspect(stage) for stage in stages)
        for key in ("recipe", "ranks", "schedule"):
            self.assertEqual(a[key], b[key], key)


if __name__ == "__main__":
    unittest.main(verbosity=2)
