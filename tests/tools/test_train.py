"""train and eval as commands: what they print and where, and that threads and processes behave alike."""
import json
import os
import pathlib
import pty
import re
import signal
import subprocess
import tempfile
import time
import unittest

PROGRAM = os.environ["STAGEWRIGHT_PROGRAM"]
PLANS = pathlib.Path(os.environ["STAGEWRIGHT_PLANS"])
PLAN = PLANS / "1f1b-2.stage"
MODES = ("threads", "processes")
KEYS = {
    "steps": int,
    "loss": float,
    "losses": list,
    "loss_terms": dict,
    "samples_per_second": float,
    "weights_sha256": str,
    "state_sha256": str,
    "planned_bytes": int,
    "allocated_bytes": int,
    "offloaded_bytes": int,
    "allocations_after_warmup": int,
    "skipped_steps": int,
    "loss_scale": type(None),
    "device_bytes_used": type(None),
    "captured_graphs": type(None),
    "cudnn": type(None),
}


def run(*arguments, **options):
    options = {"capture_output": True, "text": True, "timeout": 60, "stdin": subprocess.DEVNULL, **options}
    return subprocess.run([PROGRAM, *map(str, arguments)], **options)


class Command(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)

    def ok(self, *arguments, **options):
        done = run(*arguments, **options)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done

    def train(self, *options, plan=PLAN):
        done = self.ok("train", plan, "--data", "synthetic", "--steps", 25, *options, "--json")
        return json.loads(done.stdout.splitlines()[-1])


class Results(Command):
    def test_json_has_the_promised_keys(self):
        result = self.train()
        self.assertEqual({key: type(value) for key, value in result.items()}, KEYS)
        self.assertEqual((result["steps"], len(result["losses"]), result["losses"][-1]), (25, 25, result["loss"]))
        for key in ("weights_sha256", "state_sha256"):
            self.assertRegex(result[key], r"^[0-9a-f]{64}$")
        planned = json.loads(self.ok("inspect", PLAN, "--json").stdout)["planned_bytes"]
        self.assertEqual((result["planned_bytes"], result["allocated_bytes"]), (planned, planned))
        self.assertEqual(result["allocations_after_warmup"], 0)

    def test_threads_and_processes_give_one_result(self):
        keys = ("losses", "weights_sha256", "state_sha256", "planned_bytes", "allocated_bytes")
        results = [{key: self.train("--ranks", mode)[key] for key in keys} for mode in MODES]
        self.assertEqual(*results)
        self.assertGreater(results[0]["losses"][0], results[0]["losses"][-1])

    def test_weights_travel(self):
        path = self.folder / "w.safetensors"
        trained = self.train("--save-weights", path)
        evaluated = json.loads(self.ok("eval", PLAN, "--data", "synthetic", "--init", path, "--json").stdout)
        self.assertEqual(evaluated["weights_sha256"], trained["weights_sha256"])
        self.assertEqual(
            set(evaluated),
            {"samples", "loss", "loss_terms", "accuracy", "samples_per_second", "weights_sha256", "planned_bytes", "allocated_bytes"},
        )
        self.assertEqual([file.name for file in self.folder.iterdir()], [path.name])
        done = self.ok("eval", PLAN, "--data", "synthetic", "--init", path)
        self.assertIn(f"loss {evaluated['loss']:.6f}, accuracy {evaluated['accuracy']:.4f}", done.stdout)
        self.assertEqual(done.stderr, "")

    def test_an_evaluation_of_initial_weights_says_so(self):
        for mode in MODES:
            for options in ([], ["--json"]):
                done = self.ok("eval", PLAN, "--data", "synthetic", "--ranks", mode, *options)
                self.assertEqual(done.stderr, "evaluating initial weights; use --init F.safetensors for trained ones\n")
                self.assertNotIn("initial", done.stdout)

    def test_sleeping_tasks_are_announced_and_save_nothing(self):
        environment = {**os.environ, "STAGEWRIGHT_TEST_TASK_SLEEP_MS": "1"}
        path = self.folder / "w"
        for mode in MODES:
            done = self.ok("train", PLAN, "--data", "synthetic", "--steps", 2, "--ranks", mode, env=environment)
            self.assertRegex(done.stderr, r"\Astagewright: STAGEWRIGHT_TEST_TASK_SLEEP_MS is set: [^\n]*\n\Z")
            done = run("train", PLAN, "--data", "synthetic", "--steps", 2, "--ranks", mode, "--save-weights", path, env=environment)
            self.assertEqual((done.returncode, done.stdout), (2, ""))
            self.assertRegex(done.stderr, r"\Astagewright: error: STAGEWRIGHT_TEST_TASK_SLEEP_MS: [^\n]+; [^\n]+\n\Z")
            self.assertFalse(path.exists())


class Output(Command):
    def test_results_on_stdout_and_log_lines_on_stderr(self):
        for mode in MODES:
            with self.subTest(mode=mode):
                done = self.ok("train", PLAN, "--data", "synthetic", "--steps", 25, "--ranks", mode)
                self.assertRegex(done.stdout, r"\Asteps 25, loss [\d.]+, \d+ samples/s\n")
                # The line of DeepSpeed's pipeline engine, every steps_per_print = 10 steps.
                lines = re.findall(
                    r"^steps: (\d+) loss: (\d+\.\d+) iter time \(s\): \d+\.\d+ samples/sec: \d+\.\d+ lr: 0\.01$", done.stderr, re.M
                )
                self.assertEqual([int(step) for step, _ in lines], [10, 20])
                self.assertEqual(len(done.stderr.splitlines()), 2, done.stderr)
                losses = json.loads(
                    self.ok("train", PLAN, "--data", "synthetic", "--steps", 25, "--json").stdout
                )["losses"]
                for step, loss in lines:
                    self.assertAlmostEqual(float(loss), losses[int(step) - 1], delta=1e-3)

    def test_a_progress_bar_is_for_terminals(self):
        for mode in MODES:
            with self.subTest(mode=mode):
                terminal, end = pty.openpty()
                process = subprocess.Popen(
                    [PROGRAM, "train", PLAN, "--data", "synthetic", "--steps", "10000000", "--ranks", mode],
                    stdout=subprocess.DEVNULL, stderr=end, stdin=subprocess.DEVNULL, start_new_session=True,
                )
                os.close(end)
                seen, limit = b"", time.monotonic() + 20
                while b"/10000000" not in seen and time.monotonic() < limit:
                    seen += os.read(terminal, 4096)
                process.send_signal(signal.SIGINT)
                try:
                    while os.read(terminal, 4096):
                        pass
                except OSError:  # the other end is closed
                    pass
                os.close(terminal)
                self.assertEqual(process.wait(20), 130)
                self.assertRegex(seen, rb"\r\x1b\[K\[[#.]{20}\] \d+/10000000  loss \d+\.\d+  lr 0\.01  \d+ samples/s")


class Endings(Command):
    def test_one_message_whatever_the_ranks(self):
        pipe = self.folder / "pipe"
        os.mkfifo(pipe)
        for mode in MODES:
            for options, code, words in (
                (["--data", "/nowhere"], 2, ["/nowhere"]),
                (["--data", "synthetic", "--init", "/nowhere.safetensors"], 2, ["/nowhere.safetensors"]),
                (["--data", "synthetic", "--save-weights", "/nowhere/w"], 2, ["/nowhere/w"]),
                (["--data", "synthetic", "--save-weights", pipe], 2, [f"{pipe}: this is not a regular file"]),
            ):
                with self.subTest(mode=mode, options=options):
                    done = run("train", PLAN, "--steps", 3, "--ranks", mode, *options)
                    self.assertEqual((done.returncode, done.stdout), (code, ""), done.stderr)
                    self.assertRegex(done.stderr, r"\Astagewright: error: [^\n]+; [^\n]+\n\Z")
                    for word in words:
                        self.assertIn(word, done.stderr)
                    self.assertTrue(pipe.is_fifo())

    def test_interrupt(self):
        for mode in MODES:
            with self.subTest(mode=mode):
                process = subprocess.Popen(
                    [PROGRAM, "train", PLAN, "--data", "synthetic", "--steps", "10000000", "--ranks", mode,
                     "--save-weights", self.folder / "w", "--trace", self.folder / "t"],
                    stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
                )
                process.stderr.readline()  # it trains
                process.send_signal(signal.SIGINT)
                out, err = process.communicate(timeout=20)
                self.assertEqual((process.returncode, out), (130, ""), err)
                self.assertIn("interrupted", err.splitlines()[-1])
                self.assertFalse((self.folder / "w").exists())
                self.assertLessEqual(set(os.listdir(self.folder)), {"t"})

    def test_a_killed_rank_is_named(self):
        process = subprocess.Popen(
            [PROGRAM, "train", PLAN, "--data", "synthetic", "--steps", "10000000", "--ranks", "processes"],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        )
        process.stderr.readline()
        # Rank 1 is the grandchild with that number in its environment.
        victims = []
        for folder in pathlib.Path("/proc").iterdir():
            if folder.name.isdigit():
                try:
                    environment = (folder / "environ").read_bytes().split(b"\0")
                    parent = int((folder / "stat").read_text().rsplit(")", 1)[1].split()[1])
                    grandparent = int(pathlib.Path(f"/proc/{parent}/stat").read_text().rsplit(")", 1)[1].split()[1])
                except (OSError, IndexError):
                    continue
                if b"OMPI_COMM_WORLD_RANK=1" in environment and grandparent == process.pid:
                    victims.append(int(folder.name))
        self.assertEqual(len(victims), 1)
        os.kill(victims[0], signal.SIGKILL)
        out, err = process.communicate(timeout=20)
        self.assertEqual((process.returncode, out), (4, ""), err)
        messages = [line for line in err.splitlines() if not line.startswith("steps: ")]
        self.assertEqual(len(messages), 1, err)
        self.assertRegex(messages[0], r"^stagewright: error: rank 1: killed by signal 9 \(Killed\); ")


if __name__ == "__main__":
    unittest.main(verbosity=2)
