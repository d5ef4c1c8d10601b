"""What `inspect --json` says about a plan."""
from program import run


def inspect(stage):
    done = run("inspect", stage, "--json")
    assert done.code == 0, str(done)
    return done.json


def planned_tasks(stage):
    """{rank: task texts of a training step}."""
    return {rank["rank"]: rank["tasks"] for rank in inspect(stage)["schedule"]["ranks"]}


def stage_of(stage, block):
    """The pipeline stage that holds this block."""
    return next(found["stage"] for found in inspect(stage)["blocks"] if found["name"] == block)


def planned_bytes(stage):
    return inspect(stage)["planned_bytes"]
