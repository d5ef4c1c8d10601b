"""Recompute: the same bits with less memory, and what is computed again is computed exactly once more."""
import json
import re
import unittest

from program import FASHION_DATA, GOLDENS, ProgramTest

FUNCTION = re.compile(r"plan\.function (\w+)\(")
OP = re.compile(r"= layer\.(\w+)")


class Recompute(ProgramTest):
    def config(self, name, policy, **more):
        config = json.loads((GOLDENS / name / "goldens.json").read_text())["cases"]["adam_clipped"]["config"]
        return {**config, "gradient_accumulation_steps": 4, "steps_per_print": 0, "stagewright": {"recompute": policy}, **more}

    def run_plan(self, name, policy, *options, data=FASHION_DATA, ranks="threads", **more):
        stage = self.compile(self.config(name, policy, **more), *options, model=GOLDENS / name / "model.json")
        result = self.train(
            stage,
            *("--init", GOLDENS / name / "weights.safetensors", "--steps", 12, "--threads", 2, "--ranks", ranks),
            data=data,
        )
        self.assertEqual(result["planned_bytes"], result["allocated_bytes"])
        self.assertEqual(result["allocations_after_warmup"], 0)
        return (result["weights_sha256"], result["state_sha256"], tuple(result["losses"])), result["planned_bytes"]

    def check(self, name, data=FASHION_DATA, **more):
        """Any policy, uniform or stage by stage, in any plan."""
        want, _ = self.run_plan(name, "none", data=data, **more)
        for policy, options, ranks in (
            ("selective", ["--stages", "1"], "threads"),
            ("interval:1", ["--stages", "2", "--schedule", "1f1b"], "processes"),
            ("interval:100", ["--stages", "1", "--schedule", "gpipe"], "threads"),
            ("none;interval:2;selective", ["--stages", "3", "--schedule", "zb-h1", "--partition", "uniform"], "threads"),
        ):
            with self.subTest(policy):
                got, _ = self.run_plan(name, policy, *options, data=data, ranks=ranks, **more)
                self.assertEqual(got, want)

    def test_convolution(self):
        self.check("convolution")

    def test_transformer(self):
        self.check("transformer")
        self.check("transformer", bf16={"enabled": True})

    def test_gpt(self):
        self.check("gpt", data=GOLDENS / "gpt")

    def test_channel_norm(self):
        """Statistics are computed again, but no micro-batch comes into the running ones twice."""
        self.check("channel_norm")

    def test_dropout(self):
        self.check("dropout")

    def test_less_memory(self):
        for schedule in ("gpipe", "1f1b"):
            with self.subTest(schedule):
                bytes_of = {
                    policy: self.run_plan("gpt", policy, "--schedule", schedule, "--stages", 2, data=GOLDENS / "gpt")[1]
                    for policy in ("none", "selective", "interval:1")
                }
                print(f"gpt, {schedule}: {bytes_of}")
                self.assertLess(bytes_of["interval:1"], bytes_of["selective"])
                self.assertLess(bytes_of["selective"], bytes_of["none"])

    def ops(self, policy):
        """{function: {op: count}} of the whole model in one stage."""
        text, config = self.folder / "gpt.mlir", self.write("gpt.json", self.config("gpt", policy))
        self.run_ok("compile", GOLDENS / "gpt" / "model.json", "-c", config, "--compile-to", "differentiate", "-o", text)
        counts, function = {}, None
        for line in text.read_text().splitlines():
            if found := FUNCTION.search(line):
                function = counts.setdefault(found[1], {})
            elif (found := OP.search(line)) and function is not None:
                function[found[1]] = function.get(found[1], 0) + 1
        return counts

    def test_what_is_computed_again_is_computed_once_more(self):
        plain, selective, every = self.ops("none"), self.ops("selective"), self.ops("interval:1")
        forward = ("linear", "layer_norm", "gelu", "attention", "embedding")
        for counts in (plain, selective, every):
            self.assertEqual(counts["forward"], plain["forward"])
            self.assertEqual(counts["evaluate"], plain["evaluate"])
            self.assertEqual(counts["backward_weight"], plain["backward_weight"])
            for op, count in counts["backward_input"].items():
                if op in forward:
                    self.assertLessEqual(count, counts["forward"][op], op)
        again = {op: selective["backward_input"].get(op, 0) for op in forward}
        norms = plain["forward"]["layer_norm"]
        self.assertEqual(again["linear"] + again["embedding"], 0)
        self.assertEqual(selective["backward_input"]["add"], plain["backward_input"]["add"])
        self.assertEqual(again["layer_norm"], norms)
        self.assertEqual(again["attention"], plain["forward"]["attention"])
        self.assertEqual(again["gelu"], plain["forward"]["gelu"])
        self.assertGreater(every["backward_input"].get("linear", 0), 0)
        self.assertFalse(any(op in plain["backward_input"] for op in forward))


if __name__ == "__main__":
    unittest.main(verbosity=2)
