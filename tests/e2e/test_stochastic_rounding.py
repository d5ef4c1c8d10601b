"""Weights that are rounded by chance: one set of bits for every plan, other ones than without, and what cannot be."""
import unittest

from program import FASHION_DATA, GOLDENS, SOURCE, ProgramTest, configuration, run

ROUNDED = {"stochastic_rounding": True}
BLOCKS = {"fp16": {"fp16": {"enabled": True, "loss_scale": 64}}, "bf16": {"bf16": {"enabled": True}}}
TOKENS = GOLDENS / "gpt"


class StochasticRounding(ProgramTest):
    def bits(self, block, own, *options, name="gpt_tied", ranks="threads", steps=4, replicas=1, more={}):
        config = configuration(
            **{"train_micro_batch_size_per_gpu": 4, "gradient_accumulation_steps": 2, "data_parallel_size": replicas},
            **{**block, **more, "stagewright": own},
        )
        data = TOKENS if name.startswith("gpt") else FASHION_DATA
        stage = self.compile(config, *options, model=GOLDENS / name / "model.json")
        result = self.train(stage, "--steps", steps, "--threads", 2, "--ranks", ranks, data=data)
        self.assertEqual(result["planned_bytes"], result["allocated_bytes"])
        return result["weights_sha256"], result["state_sha256"], tuple(result["losses"])

    def test_no_plan_changes_a_bit(self):
        """A tied table, stages, schedules, recompute; a convolution."""
        for precision, block in BLOCKS.items():
            for name in ("gpt_tied", "convolution"):
                with self.subTest(precision, name=name):
                    found = {
                        self.bits(block, ROUNDED, "--stages", 1, name=name),
                        self.bits(block, ROUNDED, "--stages", 2, "--schedule", "zb-h1", name=name, ranks="processes"),
                        self.bits(block, {**ROUNDED, "recompute": "interval:1"}, "--stages", 4, "--partition", "uniform", name=name),
                    }
                    self.assertEqual(len(found), 1, found)
                    self.assertNotIn(self.bits(block, {}, "--stages", 1, name=name), found)

    def test_replicas_have_the_same_weights(self):
        """However they divide and gather them."""
        plans = [(0, "block", 1), (1, "block", 2), (3, "block", 1), (3, "visit", 2), (3, "step", 4)]
        found = set()
        for zero, gather, stages in plans:
            own = {**ROUNDED, "gather_weights": gather}
            options = ("--stages", stages, "--partition", "uniform")
            found.add(self.bits(BLOCKS["bf16"], own, *options, replicas=2, more={"zero_optimization": {"stage": zero}}))
        self.assertEqual(len(found), 1, found)

    def test_offload_and_parameter_servers(self):
        expected = self.bits(BLOCKS["bf16"], ROUNDED, "--stages", 2, replicas=2)
        offload = {"stage": 3, "offload_optimizer": {"device": "cpu"}, "offload_param": {"device": "cpu"}}
        self.assertEqual(self.bits(BLOCKS["bf16"], ROUNDED, replicas=2, more={"zero_optimization": offload}), expected)
        served = {**ROUNDED, "parameter_server": {"servers": 1}}
        self.assertEqual(self.bits(BLOCKS["bf16"], served, replicas=2), expected)

    def test_tensor_ranks(self):
        """Parts of split weights draw apart, those that all ranks have do not: else their losses would part."""
        one, two = (self.bits(BLOCKS["bf16"], ROUNDED, "--tensor-parallel", 2, "--stages", stages) for stages in (1, 2))
        self.assertEqual(one, two)
        alone = self.bits(BLOCKS["bf16"], ROUNDED)
        for ours, theirs in zip(one[2], alone[2], strict=True):
            self.assertAlmostEqual(ours, theirs, delta=0.05)

    def test_evaluation_rounds_to_the_nearest(self):
        """With the weights that a run has left: as a file that never rounds by chance evaluates them."""
        kept = self.folder / "w.safetensors"
        by_chance = self.compile(configuration(**BLOCKS["bf16"], stagewright=ROUNDED), "--stages", 2)
        trained = self.train(by_chance, "--steps", 3, "--save-weights", kept)
        plain = self.compile(configuration(**BLOCKS["bf16"]), name="plain.stage")
        losses = [self.run_ok("eval", stage, "--init", kept, "--data", FASHION_DATA, "--json").json["loss"] for stage in (by_chance, plain)]
        self.assertEqual(losses[0], losses[1])
        self.assertEqual(trained["steps"], 3)

    def test_fp32_is_refused(self):
        path = self.write("c.json", configuration(stagewright=ROUNDED))
        done = run("compile", SOURCE / "models" / "fashion_mlp", "-c", path, "-o", self.folder / "x.stage")
        self.assertEqual(done.code, 2, done)
        self.assertIn("nothing to round by chance", done.err)
        self.assertIn("set /bf16/enabled or /fp16/enabled to true, or remove it", done.err)


if __name__ == "__main__":
    unittest.main()
