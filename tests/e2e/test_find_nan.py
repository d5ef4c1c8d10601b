"""train --find-nan names the kernel where the first value that is not finite came up."""
import shutil
import struct
import unittest

from program import FASHION_DATA, GOLDENS, ProgramTest, configuration, run


class FindNan(ProgramTest):
    ROWS, COUNT = 5, 2
    init = GOLDENS / "regression" / "weights.safetensors"

    def setUp(self):
        super().setUp()
        self.data = self.folder / "data"
        shutil.copytree(GOLDENS / "regression", self.data)
        self.order = self.write("order.txt", "".join(f"{i}\n" for i in range(30)))

    def poison(self, sample, value):
        path = self.data / "train-images-idx2-float"
        values = bytearray(path.read_bytes())
        struct.pack_into(">f", values, 12 + 4 * (11 * sample + 3), value)
        path.write_bytes(values)

    def run_steps(self, *options, optimizer=None, **more):
        config = configuration(
            train_micro_batch_size_per_gpu=self.ROWS,
            gradient_accumulation_steps=self.COUNT,
            optimizer=optimizer or {"type": "SGD", "params": {"lr": 0.01}},
            **more,
        )
        stage = self.compile(config, "--stages", 2, model=GOLDENS / "regression" / "model.json")
        return run(
            *("train", stage, "--data", self.data, "--steps", 3, "--sample-order", self.order, *options),
            *("--init", self.init),
        )

    def found(self, done):
        return [line for line in done.err.splitlines() if "made " in line]

    def test_a_nan_of_the_data(self):
        self.poison(18, float("nan"))
        done = self.run_steps("--find-nan")
        self.assertEqual((done.code, self.found(done)), (2, []), str(done))
        self.assertIn("train-images-idx2-float at sample 18, position 3: the value is not a number", done.err)

    def test_a_nan_of_the_weights(self):
        path = self.folder / "weights.safetensors"
        values = (GOLDENS / "regression" / "weights.safetensors").read_bytes()
        path.write_bytes(values[:-4] + struct.pack("<f", float("nan")))
        self.init = path
        for ranks in ("threads", "processes"):
            with self.subTest(ranks):
                done = self.run_steps("--find-nan", "--ranks", ranks)
                self.assertEqual(done.code, 2, str(done))
                self.assertRegex(self.found(done)[0], r"^stagewright: rank \d, step 1, \w+: kernel \w+ .*it read .* = nan")
        self.assertEqual(self.found(self.run_steps()), [])

    def test_a_nan_on_replicas(self):
        """The rank that is named holds the layer, and it was at that task: fc2 is on ranks 2 and 3."""
        config = {**configuration(data_parallel_size=2), "optimizer": {"type": "SGD", "params": {"lr": 1e30}}, "gradient_clipping": 0}
        stage = self.compile(config, "--stages", 2)
        for ranks in ("threads", "processes"):
            with self.subTest(ranks):
                done = run("train", stage, "--data", FASHION_DATA, "--steps", 9, "--find-nan", "--ranks", ranks)
                self.assertEqual(done.code, 2, str(done))
                self.assertIn("(computed on rank 2-3)", done.err)
                for line in self.found(done):
                    self.assertRegex(line, r"^stagewright: rank \d, step [2-9], \d\w+: kernel ")
                    layer = line.split('layer "')[1].split('"')[0] if 'layer "' in line else None
                    rank = int(line.split("rank ")[1][0])
                    self.assertIn(rank // 2, {"fc1": [0], "fc2": [1]}.get(layer, [0, 1]), line)
                self.assertTrue(self.found(done))

    def test_an_overflow_of_the_weights(self):
        done = self.run_steps(
            "--find-nan", optimizer={"type": "SGD", "params": {"lr": 1e38}}, gradient_clipping=0.0
        )
        self.assertEqual(done.code, 2, str(done))
        lines = self.found(done)
        self.assertEqual(len(lines), 1, str(done))
        self.assertIn("all that it read was finite", lines[0])

    def test_an_overflow_of_fp16(self):
        self.poison(18, 1e30)
        done = self.run_steps("--find-nan", fp16={"enabled": True, "loss_scale": 64})
        self.assertEqual(done.code, 0, str(done))
        self.assertRegex(self.found(done)[0], r"rank 0, step 2, 0F1: kernel cast_to of layer \"\w+\" made y\[36\] = inf")
        self.assertIn("all that it read was finite", self.found(done)[0])

    def test_nothing_is_said_of_a_good_run(self):
        done = self.run_steps("--find-nan")
        self.assertEqual((done.code, self.found(done)), (0, []), str(done))


if __name__ == "__main__":
    unittest.main(verbosity=2)
