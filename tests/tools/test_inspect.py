"""inspect: the JSON has the documented shape, its figures follow from each other, and text and picture agree with it."""
import copy
import json
import math
import os
import pathlib
import re
import subprocess
import tempfile
import unittest
import xml.etree.ElementTree as xml

import json_schema

PROGRAM = os.environ["STAGEWRIGHT_PROGRAM"]
PLANS = sorted(pathlib.Path(os.environ["STAGEWRIGHT_PLANS"]).glob("*.stage"))
SCHEMA = json.loads((pathlib.Path(os.environ["STAGEWRIGHT_SOURCE"]) / "docs" / "inspect.schema.json").read_text())


def inspect(plan, *options):
    return subprocess.run([PROGRAM, "inspect", plan, *options], capture_output=True, text=True, check=True, timeout=60).stdout


def unrolled(text):
    """The tasks that a list with repeats stands for: inside repeat N { } a number before '+' grows by one per turn."""
    tasks = []
    pattern = re.compile(r" *repeat (\d+) \{([^}]*)\}|[^,]+")
    for match in pattern.finditer(text):
        if match.group(1):
            for turn in range(int(match.group(1))):
                for task in match.group(2).split(", "):
                    grown = re.sub(r"(\d+)\+$", lambda number: str(int(number.group(1)) + turn), task)
                    tasks.append(grown)
        elif match.group(0).strip():
            tasks.append(match.group(0).strip())
    return tasks


def numbers(line):
    return [int(word.replace(",", "")) for word in re.findall(r"\d[\d,]*", line)]


class Json(unittest.TestCase):
    def test_schema(self):
        self.assertEqual(len(PLANS), 9)
        for plan in PLANS:
            with self.subTest(plan=plan.name):
                self.assertEqual(json_schema.errors(json.loads(inspect(plan, "--json")), SCHEMA), [])

    def test_the_checker_refuses_what_does_not_fit(self):
        good = json.loads(inspect(PLANS[0], "--json"))
        for damage in (
            lambda j: j.pop("contract"),
            lambda j: j.update(more=1),
            lambda j: j["ranks"][0].update(rank="0"),
            lambda j: j["blocks"][0].update(stage=-1),
            lambda j: j["parameters"][0].update(dtype="F31"),
        ):
            bad = copy.deepcopy(good)
            damage(bad)
            self.assertEqual(len(json_schema.errors(bad, SCHEMA)), 1)

    def test_planned_bytes_are_the_arenas_in_whole_pages(self):
        page = os.sysconf("SC_PAGESIZE")
        for plan in PLANS:
            with self.subTest(plan=plan.name):
                report = json.loads(inspect(plan, "--json"))
                total, classes = 0, dict.fromkeys(report["bytes_by_class"], 0)
                for rank in report["ranks"]:
                    planned = sum(math.ceil(arena["bytes"] / page) * page for arena in rank["arenas"])
                    self.assertEqual(rank["planned_bytes"], planned)
                    total += planned
                    for arena in rank["arenas"]:
                        classes[arena["class"]] += arena["bytes"]
                self.assertEqual(report["planned_bytes"], total)
                self.assertEqual(report["bytes_by_class"], classes)
                # fp32 parameters of 35 -> 33 -> 10, each alone on 64 bytes.
                sizes = [math.prod(parameter["shape"]) for parameter in report["parameters"]]
                self.assertEqual(sizes, [33 * 35, 33, 10 * 33, 10])
                self.assertEqual(classes["parameters"], sum(math.ceil(4 * size / 64) * 64 for size in sizes))

    def test_tasks_are_complete(self):
        for plan in PLANS:
            with self.subTest(plan=plan.name):
                schedule = json.loads(inspect(plan, "--json"))["schedule"]
                self.assertEqual(f"{schedule['kind']}-{schedule['stages']}", plan.stem)
                stages, kinds = schedule["stages"], "FIW" if schedule["kind"] == "zb-h1" else "FB"
                every = [f"{stage}{kind}{k}" for stage in range(stages) for kind in kinds for k in range(8)]
                sends = [f"{s}SEND_F{k}" for s in range(stages - 1) for k in range(8)]
                sends += [f"{s}SEND_B{k}" for s in range(1, stages) for k in range(8)]
                receives = [f"{s}RECV_F{k}" for s in range(1, stages) for k in range(8)]
                receives += [f"{s}RECV_B{k}" for s in range(stages - 1) for k in range(8)]
                once = [f"{stage}{kind}" for stage in range(stages) for kind in ("PREPARE", "NORM", "UPDATE")]
                tasks = [task for rank in schedule["ranks"] for task in rank["tasks"]]
                self.assertEqual(sorted(tasks), sorted(every + sends + receives + once + ["ALL_GATHER"] * stages))
                evaluation = [task for rank in schedule["ranks"] for task in rank["evaluation_tasks"]]
                for stage in range(stages):
                    self.assertEqual([t for t in evaluation if t.startswith(f"{stage}F")], [f"{stage}F{k}" for k in range(8)])


class Text(unittest.TestCase):
    def test_memory_table_adds_up(self):
        for plan in PLANS:
            with self.subTest(plan=plan.name):
                report = json.loads(inspect(plan, "--json"))
                lines = inspect(plan, "--memory").splitlines()
                self.assertIn(report["planned_bytes"], numbers(lines[0]))
                rows = {re.match(r"  ([a-z ]+?)  ", line).group(1): numbers(line) for line in lines[2 : lines.index("")]}
                planned = rows.pop("planned")
                self.assertEqual(planned, [rank["planned_bytes"] for rank in report["ranks"]] + [report["planned_bytes"]])
                self.assertEqual(planned, [sum(column) for column in zip(*rows.values())])

    def test_summary(self):
        text = inspect([plan for plan in PLANS if plan.stem == "1f1b-2"][0])
        for part in ("1,528 parameters", "4 blocks", "adam", "result contract", "flatten (Flatten), fc1 (Linear)"):
            self.assertIn(part, text)
        # p = 2, m = 8: a rank idles (p - 1) / (m + p - 1) of the step.
        self.assertIn(f"bubble {100 / 9:.1f}%", text)
        self.assertRegex(text, r"(?m)^rank 0 +F0 F1 +B0---")
        self.assertNotIn("\x1b", text, "colours are for terminals")

    def test_schedule_lists_every_ranks_tasks(self):
        for plan in PLANS:
            report, text = json.loads(inspect(plan, "--json")), inspect(plan, "--schedule")
            for rank in report["schedule"]["ranks"]:
                listed = re.search(rf"(?m)^  rank {rank['rank']}: (.*)$", text).group(1)
                self.assertEqual(unrolled(listed), rank["tasks"])

    def test_parameters(self):
        text = inspect(PLANS[0], "--parameters")
        for parameter in json.loads(inspect(PLANS[0], "--json"))["parameters"]:
            self.assertRegex(text, rf"(?m)^  {re.escape(parameter['name'])} +F32 +{re.escape(str(parameter['shape']))} ")


class Picture(unittest.TestCase):
    def test_every_task_once_and_none_over_another(self):
        for plan in PLANS:
            with self.subTest(plan=plan.name), tempfile.TemporaryDirectory() as folder:
                path = pathlib.Path(folder) / "plan.svg"
                self.assertEqual(inspect(plan, "--svg", path), "")
                self.assertEqual([file.name for file in pathlib.Path(folder).iterdir()], ["plan.svg"])
                space = "{http://www.w3.org/2000/svg}"
                rows = {}
                for group in xml.parse(path).getroot().iter(f"{space}g"):
                    box = group.find(f"{space}rect")
                    x, y, width = (float(box.get(name)) for name in ("x", "y", "width"))
                    rows.setdefault(y, []).append((x, width, group.find(f"{space}title").text.split(":")[0]))
                schedule = json.loads(inspect(plan, "--json"))["schedule"]
                self.assertEqual(len(rows), schedule["stages"])
                kinds = "FIW" if schedule["kind"] == "zb-h1" else "FB"
                for stage, (_, row) in enumerate(sorted(rows.items())):
                    names = sorted(name for _, _, name in row)
                    self.assertEqual(names, sorted(f"{stage}{kind}{k}" for kind in kinds for k in range(8)))
                    row.sort()
                    for (x, width, _), (later, _, _) in zip(row, row[1:]):
                        self.assertLessEqual(x + width, later + 0.11)

    def test_a_folder_that_is_not_there(self):
        done = subprocess.run([PROGRAM, "inspect", PLANS[0], "--svg", "/nowhere/x.svg"], capture_output=True, text=True)
        self.assertEqual((done.returncode, done.stdout), (2, ""))
        self.assertIn("/nowhere/x.svg", done.stderr)


if __name__ == "__main__":
    unittest.main(verbosity=2)
