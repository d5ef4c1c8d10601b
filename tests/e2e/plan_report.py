"""What `inspect --json` says about a plan."""
import re

from program import run


def inspect(stage):
    done = run("inspect", stage, "--json")
    assert done.code == 0, str(done)
    return done.json


def planned_tasks(stage):
    """{rank: task texts of a training step}."""
    return {rank: expand(text) for rank, text in enumerate(inspect(stage)["schedule"]["train"])}


def planned_bytes(stage):
    return inspect(stage)["planned_bytes"]


def expand(text):
    """Tasks of a printed list. In turn t of `repeat N { ... }` a task written with a trailing '+' has its micro-batch
    raised by t."""
    tasks, rest = [], text.strip()
    while rest:
        block = re.match(r"repeat (\d+) \{([^{}]*)\}", rest)
        if block:
            for turn in range(int(block[1])):
                tasks += [advanced(task.strip(), turn) for task in block[2].split(",")]
            rest = rest[block.end() :]
        else:
            task = re.match(r"[^,{}]+", rest)
            tasks.append(task[0].strip())
            rest = rest[task.end() :]
        rest = rest.lstrip().removeprefix(",").lstrip()
    return tasks


def advanced(task, turn):
    if not task.endswith("+"):
        return task
    head, micro_batch = re.fullmatch(r"(\d+[A-Z_]+)(\d+)\+", task).groups()
    return f"{head}{int(micro_batch) + turn}"
