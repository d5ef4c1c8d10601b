"""fp16 and bf16: losses beside PyTorch's 16-bit training, one set of bits for every plan, and steps that overflow."""
import json
import shutil
import struct
import unittest

from program import FASHION_DATA, GOLDENS, SOURCE, ProgramTest, configuration
from test_graphs import PlanInvariance

BLOCKS = {"fp16": {"fp16": {"enabled": True}}, "bf16": {"bf16": {"enabled": True}}}


class Losses(ProgramTest):
    """Our distance from PyTorch's fp32 losses is at most 1.5 times the largest so far of PyTorch's own 16-bit run, and
    1e-3."""

    def check(self, name, case, *options):
        facts = json.loads((GOLDENS / name / "precision.json").read_text())
        golden = facts["cases"][case]
        model = json.loads((GOLDENS / name / "goldens.json").read_text())["model"]
        data = FASHION_DATA if facts["data"] != "." else GOLDENS / name
        for precision in ("fp16", "bf16"):
            with self.subTest(precision):
                block = json.loads(json.dumps(BLOCKS[precision]))
                if precision == "fp16":
                    block["fp16"]["loss_scale"] = facts["loss_scale_of_fp16"]
                stage = self.compile({**golden["config"], **block, "steps_per_print": 0}, *options, model=SOURCE / model)
                result = self.train(
                    stage,
                    *("--init", GOLDENS / name / "weights.safetensors"),
                    *("--sample-order", GOLDENS / name / "order.txt"),
                    *("--steps", facts["steps"], "--threads", 2),
                    data=data,
                )
                self.assertEqual(result["skipped_steps"], 0)
                fp32, theirs = golden["losses_fp32"], golden[f"losses_{precision}"]
                worst, margin = 0.0, 0.0
                for step, (ours, torch32, torch16) in enumerate(zip(result["losses"], fp32, theirs, strict=True)):
                    worst = max(worst, abs(torch16 - torch32))
                    allowed = 1.5 * worst + 1e-3
                    margin = max(margin, abs(ours - torch32) / allowed)
                    self.assertLessEqual(abs(ours - torch32), allowed, f"step {step + 1}")
                print(f"{name} {case} {precision}: at most {margin:.2f} of what is allowed; PyTorch's own distance {worst:.1e}")
                # It is 16-bit arithmetic indeed.
                self.assertGreater(max(abs(a - b) for a, b in zip(result["losses"], fp32)), 1e-5)

    def test_fashion_mlp(self):
        self.check("fashion_mlp", "sgd", "--stages", 2)
        self.check("fashion_mlp", "adam_clipped", "--stages", 3, "--schedule", "zb-h1")

    def test_regression(self):
        self.check("regression", "sgd", "--stages", 2)
        self.check("regression", "adam_clipped")

    def test_convolution(self):
        self.check("convolution", "sgd", "--stages", 3, "--partition", "uniform")
        self.check("convolution", "adam_clipped")

    def test_transformer(self):
        self.check("transformer", "sgd")
        self.check("transformer", "adam_clipped", "--stages", 4, "--partition", "uniform")

    def test_gpt(self):
        self.check("gpt", "sgd", "--stages", 2)
        self.check("gpt", "adam_clipped", "--stages", 4, "--partition", "uniform")


class OneResult(PlanInvariance):
    PLANS = [
        (["--stages", "1"], "gpipe", 1, "threads", "auto"),
        (["--stages", "3", "--partition", "uniform"], "zb-h1", 2, "processes", "avx2"),
        (["--stages", "4", "--partition", "uniform"], "1f1b", 1, "threads", "auto"),
    ]

    def check_both(self, name, data=FASHION_DATA):
        for block in BLOCKS.values():
            self.check(name, data, **block)

    def test_convolution(self):
        self.check_both("convolution")

    def test_transformer(self):
        self.check_both("transformer")

    def test_gpt(self):
        self.check_both("gpt", GOLDENS / "gpt")

    def test_channel_norm(self):
        self.check_both("channel_norm")

    def test_dropout(self):
        self.check_both("dropout")


class Overflow(ProgramTest):
    """A sample whose values are beyond fp16, in the second of three steps. Rows of the regression set: 11 floats."""

    ROWS, COUNT = 5, 2
    model = GOLDENS / "regression" / "model.json"
    init = ["--init", GOLDENS / "regression" / "weights.safetensors"]

    def setUp(self):
        super().setUp()
        self.data = self.folder / "data"
        shutil.copytree(GOLDENS / "regression", self.data)
        path = self.data / "train-images-idx2-float"
        values = bytearray(path.read_bytes())
        struct.pack_into(">f", values, 12 + 4 * (11 * 13 + 3), 1e30)  # value 3 of sample 13
        path.write_bytes(values)

    def order(self, *steps):
        """Samples 0 to 9, 10 to 19 and 20 to 29 are the steps 1, 2 and 3."""
        text = "".join(f"{10 * (step - 1) + i}\n" for step in steps for i in range(self.ROWS * self.COUNT))
        return self.write(f"order{''.join(map(str, steps))}.txt", text)

    def run_steps(self, steps, block, *options, stages=2, optimizer="Adam", clipping=1.0):
        config = configuration(
            train_micro_batch_size_per_gpu=self.ROWS,
            gradient_accumulation_steps=self.COUNT,
            gradient_clipping=clipping,
            optimizer={"type": optimizer, "params": {"lr": 0.01}},
            **block,
        )
        stage = self.compile(config, "--stages", stages, model=self.model)
        weights = self.folder / "w.safetensors"
        done = self.run_ok(
            *("train", stage, "--data", self.data, "--steps", len(steps), "--sample-order", self.order(*steps)),
            *(self.init + ["--save-weights", weights, "--json", *options]),
        )
        return done.json, done.err

    def test_a_static_scale_leaves_every_optimizer_its_gradients(self):
        """Powers of two go in and out of numbers without rounding: no other bits, unless a gradient is too small for fp16."""
        for optimizer in ("SGD", "Adam", "Lamb", "Lion", "Adagrad"):
            with self.subTest(optimizer):
                found = [self.run_steps([1, 3], {"fp16": {"enabled": True, "loss_scale": scale}}, optimizer=optimizer)[0]
                         for scale in (4096, 8192)]
                self.assertEqual(found[0]["weights_sha256"], found[1]["weights_sha256"])
                self.assertEqual(found[0]["skipped_steps"], 0)

    def test_a_step_that_overflows_is_skipped_by_all_stages(self):
        for optimizer, clipping in (("Adam", 1.0), ("SGD", 0.0)):
            for options in (["--ranks", "threads"], ["--ranks", "processes"]):
                with self.subTest(optimizer=optimizer, options=options):
                    fixed = {"fp16": {"enabled": True, "loss_scale": 64}}
                    more = {"optimizer": optimizer, "clipping": clipping, "stages": 3}
                    result, text = self.run_steps((1, 2, 3), fixed, *options, **more)
                    # As if the step had never been: Adam's count of steps included.
                    want, _ = self.run_steps((1, 3), fixed, *options, **more)
                    self.assertEqual(result["weights_sha256"], want["weights_sha256"])
                    self.assertEqual((result["steps"], result["skipped_steps"], want["skipped_steps"]), (3, 1, 0))
                    self.assertEqual(result["loss_scale"], 64)
                    self.assertIn("step 2 skipped: gradients are not finite", text)
                    self.assertNotEqual(result["state_sha256"], want["state_sha256"])

    def test_a_dynamic_scale_is_halved(self):
        block = {"fp16": {"enabled": True, "initial_scale_power": 6, "loss_scale_window": 1}}
        result, text = self.run_steps((1, 2, 3), block)
        # 64 for two steps (the first does not count), 32, and no growth behind one step without overflow.
        self.assertEqual((result["skipped_steps"], result["loss_scale"]), (1, 32))
        self.assertIn("step 2 skipped: gradients are not finite; loss scale 64, from now on 32", text)
        result, _ = self.run_steps((1, 3, 1, 3), block)
        self.assertEqual((result["skipped_steps"], result["loss_scale"]), (0, 64 * 2**3))

    def test_a_scale_too_large_for_the_model_comes_down(self):
        block = {"fp16": {"enabled": True, "initial_scale_power": 40}}
        result, _ = self.run_steps((1, 3) * 25, block)
        self.assertGreater(result["skipped_steps"], 10)
        self.assertEqual(result["loss_scale"], 2.0 ** (40 - result["skipped_steps"]))
        self.assertIsNotNone(result["losses"][-1])
        self.assertLess(result["losses"][-1], result["losses"][0])

    def test_a_scale_that_fits_changes_nothing_but_rounding(self):
        """Powers of two: the same weights unless something is too small or too large for fp16."""
        results = {
            self.run_steps((1, 3), {"fp16": {"enabled": True, "loss_scale": scale}})[0]["weights_sha256"]
            for scale in (16, 64, 256)
        }
        self.assertEqual(len(results), 1)

    def test_bf16_holds_the_value_and_its_square_skips(self):
        """The value times the gradient that it makes is beyond fp32."""
        path = self.data / "train-images-idx2-float"
        values = bytearray(path.read_bytes())
        struct.pack_into(">f", values, 12 + 4 * (11 * 13 + 3), 3e38)
        path.write_bytes(values)
        block = {"bf16": {"enabled": True}}
        model = json.loads(self.model.read_text())
        outputs = model["inputs"][1]["shape"][-1]
        model["layers"] = [
            {"type": "Linear", "name": "a", "in_features": 11, "out_features": 11},
            {"type": "Linear", "name": "b", "in_features": 11, "out_features": outputs},
        ]
        self.model, self.init = self.write("linear.json", model), []
        initial = self.run_steps((2,), block, clipping=0.0)[0]["weights_sha256"]
        result, text = self.run_steps((1, 2, 3), block, clipping=0.0)
        want, _ = self.run_steps((1, 3), block, clipping=0.0)
        self.assertEqual(result["weights_sha256"], want["weights_sha256"])
        self.assertEqual((result["skipped_steps"], result["loss_scale"]), (1, None))
        self.assertIn("step 2 skipped: gradients are not finite\n", text)
        self.assertNotEqual(result["weights_sha256"], initial)


if __name__ == "__main__":
    unittest.main(verbosity=2)
