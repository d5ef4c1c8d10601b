"""Jobs as DeepSpeed's users have them: the classic SimpleModel on four ranks, and configurations as tutorials print them, unchanged."""
import json
import re
import unittest

from plan_report import inspect
from program import SOURCE, ProgramTest


class SimpleModel(ProgramTest):
    """fp16 with a dynamic loss scale, Adam, WarmupLR, clipping."""

    STEPS = 30

    def job(self, pipeline, replicas, **fp16):
        config = json.loads((SOURCE / "models/simple_model/config.json").read_text())
        config["fp16"] |= fp16
        stage = self.compile(config, "--stages", pipeline, "--data-parallel", replicas, model=SOURCE / "models/simple_model")
        options = ("--data", "synthetic", "--steps", self.STEPS, "--ranks", "processes", "--json")
        return self.run_ok("train", stage, *options)

    def test_four_processes(self):
        for pipeline, replicas in ((4, 1), (2, 2), (1, 4)):
            with self.subTest(pipeline=pipeline, replicas=replicas):
                done = self.job(pipeline, replicas)
                lines = [line for line in done.err.splitlines() if line.startswith("steps: ")]
                self.assertEqual(len(lines), self.STEPS // 10, done.err)
                for number, line in enumerate(lines, 1):
                    found = re.fullmatch(r"steps: (\d+) loss: (\d+\.\d{4}) iter time \(s\): (\d+\.\d{3}) samples/sec: (\d+\.\d{3}) lr: (\S+)", line)
                    self.assertTrue(found, line)
                    self.assertEqual(int(found[1]), 10 * number)
                    self.assertAlmostEqual(float(found[2]), done.json["losses"][10 * number - 1], places=4)
                self.assertEqual(done.json["loss_scale"], 2.0**16)

    def test_overflows_are_logged(self):
        done = self.job(2, 2, initial_scale_power=32)
        skipped = [line for line in done.err.splitlines() if re.match(r"step \d+ skipped: gradients are not finite; loss scale ", line)]
        self.assertEqual(len(skipped), done.json["skipped_steps"], done.err)
        self.assertIn("stays", skipped[0])  # its hysteresis is 2
        halved = [re.search(r"loss scale (\S+), from now on (\S+)$", line) for line in skipped[1:]]
        self.assertGreater(len(halved), 5)
        for found in halved:
            self.assertAlmostEqual(float(found[1]) / float(found[2]), 2, places=4)
        self.assertEqual(done.json["loss_scale"], 2.0 ** (32 - len(halved)))


class Tutorials(ProgramTest):
    def test_zero_2_with_cpu_offload(self):
        paths = sorted((SOURCE / "tests/configs").glob("*.json"))
        self.assertEqual(len(paths), 2)
        for path in paths:
            with self.subTest(path.name):
                stage = self.folder / "x.stage"
                self.run_ok("compile", SOURCE / "models/fashion_mlp", "--config", path, "--stages", 2, "--data-parallel", 2, "-o", stage)
                report = inspect(stage)
                self.assertEqual(report["recipe"]["zero"], 2)
                self.assertEqual(set(report["offloaded_bytes"]), {"optimizer state"})
                self.assertEqual(self.train(stage, "--steps", 3)["steps"], 3)


if __name__ == "__main__":
    unittest.main(verbosity=2)
