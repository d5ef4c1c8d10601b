"""What `inspect --json` says about a plan."""
from program import run


def inspect(stage):
    done = run("inspect", stage, "--json")
    assert done.code == 0, str(done)
    return done.json


def planned_tasks(stage):
    """{rank: task texts of a training step}."""
    return {rank["rank"]: rank["tasks"] for rank in inspect(stage)["schedule"]["ranks"]}


def planned_bytes(stage):
    return inspect(stage)["planned_bytes"]
