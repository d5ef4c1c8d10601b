"""Ctrl-C, killed ranks and stopped ranks: the job ends quickly, says why, and leaves no process and no half file."""
import json
import os
import random
import signal
import time
import unittest

import safetensors_file
from program import FASHION_DATA, FASHION_MODEL, ProgramTest, Running, configuration

ENDLESS = 10_000_000


class Interruption(ProgramTest):
    def setUp(self):
        super().setUp()
        self.stage = self.compile(configuration(steps_per_print=50), "--stages", 3)
        self.weights, self.trace = self.folder / "w.safetensors", self.folder / "trace.jsonl"
        self.known = set(self.listing())

    def start(self, ranks, *options, steps=ENDLESS, **run_options):
        running = Running(
            [
                *("train", self.stage, "--data", FASHION_DATA, "--steps", steps, "--ranks", ranks),
                *("--save-weights", self.weights, *options),
            ],
            folder=self.folder,
            **run_options,
        )
        self.addCleanup(running.end)
        return running

    def wait_until_training(self, running, count):
        """All ranks are there, and the line of a step has been printed."""
        deadline = time.monotonic() + 30
        while "steps: 50 " not in running.errors_so_far():
            self.assertLess(time.monotonic(), deadline, "training did not begin")
            self.assertIsNone(running.process.poll())
            time.sleep(0.01)
        self.assertEqual(len(running.ranks()), count)
        # This job's files lie in folders of its own.
        self.assertEqual(len(running.job_folders()), 2)
        self.assertTrue(any(path.name.startswith("vader_segment") for path in running.job_folders()[0].iterdir()))
        return running.ranks()

    def check_nothing_left(self, running, text):
        deadline = time.monotonic() + 1
        while running.members() and time.monotonic() < deadline:
            time.sleep(0.01)
        self.assertEqual(running.members(), [], f"processes left\n{text}")
        self.assertEqual(running.job_folders(), [], f"Open MPI's files left\n{text}")
        extra = set(self.listing()) - self.known
        self.assertLessEqual(extra, {self.weights.name, self.trace.name}, f"files left\n{text}")
        if self.weights.name in extra:
            safetensors_file.read(self.weights)
        if self.trace.name in extra:
            for line in self.trace.read_text().splitlines():
                json.loads(line)


class ControlC(Interruption):
    """A terminal's Ctrl-C: SIGINT to the whole process group, at random moments."""

    def interrupt(self, ranks, delay, *options, number=signal.SIGINT, steps=ENDLESS):
        running = self.start(ranks, *options, steps=steps)
        time.sleep(delay)
        os.killpg(running.process.pid, number)
        begin = time.monotonic()
        done = running.wait(10)
        taken = time.monotonic() - begin
        text = f"{ranks}, signal {number} after {delay:.3f} s, ended {taken:.2f} s later\n{done}"
        # Before main() has run, the signal itself ends the program: a shell shows that as 130 as well.
        self.assertIn(done.code, (130, -number) if delay < 0.1 else (130,), text)
        self.assertLess(taken, 3, text)
        self.check_nothing_left(running, text)
        self.weights.unlink(missing_ok=True)
        self.trace.unlink(missing_ok=True)

    def check(self, ranks, seed, count, latest, *options, **more):
        moments = random.Random(seed)
        for _ in range(count):
            delay = moments.uniform(0, latest)
            with self.subTest(ranks=ranks, delay=round(delay, 3)):
                self.interrupt(ranks, delay, *options, **more)

    def test_threads(self):
        self.check("threads", 3, 4, 1.0, "--trace", self.trace)

    def test_processes(self):
        self.check("processes", 4, 2, 2.5)

    def test_terminate(self):
        self.check("threads", 5, 1, 1.0, number=signal.SIGTERM)


class ControlCMore(ControlC):
    """The same at more moments, and around the end of a short run, when files are written."""

    def test_threads(self):
        self.check("threads", 13, 25, 1.5, "--trace", self.trace)

    def test_processes(self):
        self.check("processes", 14, 20, 4.0, "--trace", self.trace)

    def test_terminate(self):
        self.check("threads", 15, 5, 1.5, number=signal.SIGTERM)
        self.check("processes", 16, 5, 3.0, number=signal.SIGTERM)

    def test_while_compiling(self):
        moments, out = random.Random(17), self.folder / "y.stage"
        for _ in range(20):
            delay = moments.uniform(0, 0.6)
            with self.subTest(delay=round(delay, 3)):
                config = self.folder / "x.stage.config.json"
                running = Running(["compile", FASHION_MODEL, "-c", config, "--stages", 3, "-o", out])
                time.sleep(delay)
                os.killpg(running.process.pid, signal.SIGINT)
                done = running.wait(10)
                self.assertIn(done.code, (0, 130, -signal.SIGINT), str(done))
                if out.exists():
                    self.assertEqual(out.read_bytes(), self.stage.read_bytes(), str(done))
                    out.unlink()
                self.assertEqual(set(self.listing()), self.known, str(done))

    def test_around_the_end(self):
        """Either the run was complete, then so are the files; or it was interrupted."""
        moments = random.Random(18)
        whole = self.start("threads", steps=50).wait(60).seconds
        self.weights.unlink()
        for _ in range(25):
            delay = moments.uniform(0.7 * whole, 1.1 * whole)
            with self.subTest(delay=round(delay, 3)):
                running = self.start("threads", steps=50)
                time.sleep(delay)
                os.killpg(running.process.pid, signal.SIGINT)
                done = running.wait(10)
                self.assertIn(done.code, (0, 130), str(done))
                if done.code == 0:
                    self.assertTrue(self.weights.exists(), str(done))
                self.check_nothing_left(running, str(done))
                self.weights.unlink(missing_ok=True)


class Ranks(Interruption):
    """One rank of an MPI job dies or stops."""

    def check_killed(self, victim):
        running = self.start("processes")
        ranks = self.wait_until_training(running, 3)
        os.kill(ranks[victim], signal.SIGKILL)
        begin = time.monotonic()
        done = running.wait(20)
        taken = time.monotonic() - begin
        text = f"ended {taken:.2f} s after rank {victim} was killed\n{done}"
        print(text.splitlines()[0])
        self.assertEqual(done.code, 4, text)
        self.assertLess(taken, 5, text)
        self.assertIn(f"rank {victim}", done.err, text)
        self.check_nothing_left(running, text)
        self.assertFalse(self.weights.exists(), text)

    def check_stopped(self, victim):
        running = self.start("processes", "--watchdog", 1)
        ranks = self.wait_until_training(running, 3)
        os.kill(ranks[victim], signal.SIGSTOP)
        begin = time.monotonic()
        done = running.wait(30)
        taken = time.monotonic() - begin
        text = f"ended {taken:.2f} s after rank {victim} was stopped\n{done}"
        print(text.splitlines()[0])
        self.assertEqual(done.code, 4, text)
        self.assertLess(taken, 7, text)  # twice the watchdog's patience, and the end of the job
        self.assertIn(f"rank {victim}", done.err, text)
        self.check_nothing_left(running, text)
        self.assertFalse(self.weights.exists(), text)

    def test_stopped(self):
        self.check_stopped(1)


class RanksMore(Ranks):
    def test_killed(self):
        for victim in (0, 1, 2):
            with self.subTest(rank=victim):
                self.check_killed(victim)

    def test_stopped(self):
        for victim in (0, 2):
            with self.subTest(rank=victim):
                self.check_stopped(victim)

    def test_killed_launcher(self):
        """The ranks do not outlive the program that started them."""
        running = self.start("processes")
        self.wait_until_training(running, 3)
        os.kill(running.process.pid, signal.SIGKILL)
        done = running.wait(5)
        deadline = time.monotonic() + 5
        while running.members() and time.monotonic() < deadline:
            time.sleep(0.05)
        self.check_nothing_left(running, str(done))


if __name__ == "__main__":
    unittest.main(verbosity=2)
