"""Order is real: with every task replaced by a sleep, each schedule takes its closed form over four processes."""
import pathlib
import threading
import time
import unittest

from program import GOLDENS, ProgramTest, Running, configuration
from trace_file import Trace, kind_of

STAGES, MICRO_BATCHES, SLEEP = 4, 16, 0.040  # long beside what a busy machine adds to each sleep

# From the first task's start to the last one's end, in units of one sleep; F, I and W take one, B two.
CLOSED_FORMS = {
    "gpipe": (MICRO_BATCHES + STAGES - 1) * 3,
    "1f1b": (MICRO_BATCHES + STAGES - 1) * 3,
    "zb-h1": MICRO_BATCHES * 3 + STAGES - 1,
}
STEPS = 2


def processor_seconds(pid):
    """CPU time of all threads of a process so far, from the scheduler's nanosecond counters."""
    total = 0
    for thread in pathlib.Path(f"/proc/{pid}/task").iterdir():
        total += int((thread / "schedstat").read_text().split()[0])
    return total / 1e9


class Sampler(threading.Thread):
    """Notes the CPU time of every rank of a run, 50 times a second."""

    def __init__(self, running):
        super().__init__(daemon=True)
        self.running, self.samples, self.stopped = running, {}, threading.Event()

    def run(self):
        ranks = {}
        while not self.stopped.wait(0.02):
            if len(ranks) < STAGES:
                ranks = self.running.ranks()
            for rank, pid in ranks.items():
                try:
                    self.samples.setdefault(rank, []).append((time.monotonic(), processor_seconds(pid)))
                except OSError:
                    pass

    def share(self, rank, begin, end):
        """CPU seconds per second of a rank between two times."""
        inside = [sample for sample in self.samples[rank] if begin <= sample[0] <= end]
        return (inside[-1][1] - inside[0][1]) / (inside[-1][0] - inside[0][0])


class Order(ProgramTest):
    def check(self, schedule):
        stage = self.compile(
            configuration(train_micro_batch_size_per_gpu=7, gradient_accumulation_steps=MICRO_BATCHES),
            *("--stages", STAGES, "--schedule", schedule, "--partition", "uniform"),
            model=GOLDENS / "activations" / "model.json",
        )
        trace_path = self.folder / "trace.jsonl"
        running = Running(
            [
                *("train", stage, "--data", GOLDENS / "activations", "--steps", STEPS, "--ranks", "processes"),
                *("--threads", 1, "--trace", trace_path, "--json"),
            ],
            environment={"STAGEWRIGHT_TEST_TASK_SLEEP_MS": str(round(1000 * SLEEP))},
        )
        self.addCleanup(running.end)
        sampler = Sampler(running)
        sampler.start()
        done = running.wait(60)
        sampler.stopped.set()
        self.assertEqual(done.code, 0, str(done))

        trace = Trace(trace_path)
        self.assertEqual(trace.steps(), list(range(1, STEPS + 1)))
        self.check_sleeps(trace)
        want = CLOSED_FORMS[schedule] * SLEEP
        spans = [(end - begin) / 1e9 for begin, end in map(trace.span, trace.steps())]
        first, last = trace.span(1)[0] / 1e9, trace.span(STEPS)[1] / 1e9
        shares = [sampler.share(rank, first, last) for rank in range(STAGES)]
        print(f"{schedule}: closed form {want:.3f} s, measured {', '.join(f'{span:.3f}' for span in spans)} s "
              f"(best {100 * (min(spans) / want - 1):+.2f} %); CPU of the ranks "
              f"{', '.join(f'{100 * share:.1f} %' for share in shares)}")
        self.assertGreater(min(spans), want * 0.999, "faster than the schedule allows: tasks do not wait for each other")
        self.assertLess(min(spans), want * 1.03)
        for rank, share in enumerate(shares):
            self.assertLess(share, 0.10, f"rank {rank} burns CPU while it waits")

    def check_sleeps(self, trace):
        """Every compute task slept, none overlaps another of its rank, and each stage has all micro-batches."""
        for rank in range(STAGES):
            tasks = sorted(
                (task for task in trace.tasks if task.rank == rank and kind_of(task.task) in set("FIWB")),
                key=lambda task: task.begin,
            )
            sleeps = sum(2 if kind_of(task.task) == "B" else 1 for task in tasks)
            self.assertEqual(sleeps, STEPS * MICRO_BATCHES * 3)
            for task in tasks:
                self.assertGreaterEqual(task.end - task.begin, (2 if kind_of(task.task) == "B" else 1) * SLEEP * 1e9)
            for before, after in zip(tasks, tasks[1:]):
                self.assertGreaterEqual(after.begin, before.end)

    def test_zb_h1(self):
        self.check("zb-h1")


class OrderMore(Order):
    def test_gpipe(self):
        self.check("gpipe")

    def test_1f1b(self):
        self.check("1f1b")


if __name__ == "__main__":
    unittest.main(verbosity=2)
