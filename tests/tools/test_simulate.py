"""simulate: makespan, idle time and bubble against the closed forms of the schedules."""
import json
import os
import subprocess
import unittest

import json_schema
from test_inspect import SCHEMA

PROGRAM = os.environ["STAGEWRIGHT_PROGRAM"]
PLANS = os.environ["STAGEWRIGHT_PLANS"]
MICRO_BATCHES = 8


def run(kind, stages, *options):
    return subprocess.run([PROGRAM, "simulate", f"{PLANS}/{kind}-{stages}.stage", *options], capture_output=True, text=True, timeout=60)


def simulate(kind, stages, *options):
    done = run(kind, stages, *options, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


class ClosedForms(unittest.TestCase):
    def check(self, report, makespan, busy):
        self.assertAlmostEqual(report["makespan"], makespan)
        self.assertAlmostEqual(report["bubble"], 1 - sum(busy) / len(busy) / makespan)
        self.assertEqual(len(report["ranks"]), len(busy))
        for rank, expected in zip(report["ranks"], busy):
            self.assertAlmostEqual(rank["busy"], expected)
            self.assertAlmostEqual(rank["idle"], makespan - expected)

    def test_equal_stages(self):
        m = MICRO_BATCHES
        for stages in (1, 2, 3):
            for forward, backward in ((1, 1), (0.02, 0.02), (3, 0.5)):
                options = [f"--forward={forward}", f"--backward-input={backward}", f"--backward-weight={backward}"]
                step = forward + 2 * backward
                for kind in ("gpipe", "1f1b"):
                    with self.subTest(kind=kind, stages=stages, forward=forward):
                        self.check(simulate(kind, stages, *options), (m + stages - 1) * step, [m * step] * stages)
                if forward == backward:
                    with self.subTest(kind="zb-h1", stages=stages, forward=forward):
                        # W fills what 1F1B leaves idle, up to one F per stage boundary (Qi 2023, H1).
                        self.check(simulate("zb-h1", stages, *options), (3 * m + stages - 1) * forward, [3 * m * forward] * stages)

    def test_unit_costs_are_the_default(self):
        self.assertEqual(simulate("1f1b", 3), simulate("1f1b", 3, "--forward", "1", "--backward-input=1", "--backward-weight=1,1,1"))

    def test_latency_is_paid_on_the_way_there_and_back(self):
        for stages in (1, 2, 3):
            report = simulate("gpipe", stages, "--latency", "0.25")
            self.assertAlmostEqual(report["makespan"], (MICRO_BATCHES + stages - 1) * 3 + 2 * (stages - 1) * 0.25)

    def test_a_slow_stage_sets_the_pace(self):
        # gpipe, two stages, the second's F takes 5: F0 of stage 0, then 8 slow ones, then all B (2 each) and the last hop.
        report = simulate("gpipe", 2, "--forward", "1,5")
        self.check(report, 1 + 8 * 5 + 8 * 2 + 2, [8 * 3, 8 * 7])

    def test_micro_batches_in_flight(self):
        self.assertEqual([rank["peak_in_flight"] for rank in simulate("gpipe", 3)["ranks"]], [8, 8, 8])
        self.assertEqual([rank["peak_in_flight"] for rank in simulate("1f1b", 3)["ranks"]], [3, 2, 1])

    def test_json_has_the_documented_shape(self):
        schema = {"$ref": "#/$defs/simulation"}
        self.assertEqual(json_schema.errors(simulate("zb-h1", 3), schema, SCHEMA), [])

    def test_text(self):
        text = run("1f1b", 2).stdout
        self.assertIn(f"makespan {3 * 9}, bubble {100 / 9:.2f}%", text)

    def test_picture(self):
        picture = run("gpipe", 2, "--forward", "1,2").stdout.split("\n\n")[1]
        self.assertRegex(picture, r"^rank 0  F0 F1 F2 F3 F4 F5 F6 F7 .*\nrank 1     F0--- F1--- .* B7--- *\n$")


class Refusals(unittest.TestCase):
    def test_costs_that_make_no_sense(self):
        for option, word in (
            ("--forward=1,2,3", "3 costs for 2 stages"),
            ("--backward-weight=-1", "--backward-weight"),
            ("--backward-input=nan", "--backward-input"),
            ("--latency=-0.5", "--latency"),
            ("--latency=inf", "--latency"),
            ("--forward=fast", "fast"),
        ):
            with self.subTest(option=option):
                done = run("1f1b", 2, option)
                self.assertEqual((done.returncode, done.stdout), (2, ""), done.stderr)
                self.assertRegex(done.stderr, r"\Astagewright: error: [^\n]+; [^\n]+\n\Z")
                self.assertIn(word, done.stderr)


if __name__ == "__main__":
    unittest.main(verbosity=2)
