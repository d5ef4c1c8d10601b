"""Reads the JSON lines of `train --trace`: tasks of the ranks, exchanges beside them, busy intervals of the pool's workers."""
import collections
import json
import pathlib

Task = collections.namedtuple("Task", "rank step task begin end")
Exchange = collections.namedtuple("Exchange", "rank step exchange stage bytes begin end")
Busy = collections.namedtuple("Busy", "process worker begin end")


class Trace:
    def __init__(self, path):
        self.tasks, self.exchanges, self.busy = [], [], []
        for line in pathlib.Path(path).read_text().splitlines():
            entry = json.loads(line)
            if "task" in entry:
                self.tasks.append(Task(*(entry[field] for field in Task._fields)))
            elif "exchange" in entry:
                self.exchanges.append(Exchange(*(entry[field] for field in Exchange._fields)))
            elif "worker" in entry:
                self.busy.append(Busy(*(entry[field] for field in Busy._fields)))

    def executed(self, step):
        """{rank: task texts of this step in order of execution}."""
        found = collections.defaultdict(list)
        for task in sorted((task for task in self.tasks if task.step == step), key=lambda task: task.begin):
            found[task.rank].append(task.task)
        return dict(found)

    def steps(self):
        return sorted({task.step for task in self.tasks})

    def span(self, step, kinds="FIWB"):
        """(begin, end) of a step over all ranks: first start and last end of its compute tasks."""
        compute = [task for task in self.tasks if task.step == step and kind_of(task.task) in set(kinds)]
        return min(task.begin for task in compute), max(task.end for task in compute)

    def overlap(self, process=0):
        """Nanoseconds in which two or more workers of a process were busy at once."""
        edges = [(busy.begin, 1) for busy in self.busy if busy.process == process]
        edges += [(busy.end, -1) for busy in self.busy if busy.process == process]
        total = count = last = 0
        for time, change in sorted(edges):
            if count >= 2:
                total += time - last
            count, last = count + change, time
        return total


def kind_of(text):
    """"F" of "0F3", "SEND_F" of "0SEND_F3", "UPDATE" of "1UPDATE"."""
    return text.strip("0123456789")
