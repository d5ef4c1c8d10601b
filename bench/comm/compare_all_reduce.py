#!/usr/bin/env python3
"""Times the all-reduce of gradients between two processes beside MPI_Allreduce, and beside what it is made of.

    bench/comm/compare_all_reduce.py [--build build/release] [--mebibytes 64] [--turns 5]

The two programs run in turn, each turn with a few rounds. "Exchange" is both processes sending each other all of the values at once,
"add" one pass that adds them: an all-reduce of two moves as much and adds half of it in each process. Medians of all rounds; ratios
are of the medians of a turn, with their smallest and largest. MPI_Allreduce and MPI_Sendrecv, the same exchange, run with Open MPI's own
choices.
"""
import argparse
import datetime
import json
import os
import pathlib
import statistics
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
ROUNDS = 5


def run(arguments, program):
    """{what: [seconds of each round]}."""
    allowed = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
    command = ["mpirun", "-n", "2", "--oversubscribe", "--bind-to", "none", arguments.build / "bin" / program]
    done = subprocess.run([*map(str, command), str(arguments.mebibytes), str(ROUNDS)], capture_output=True, text=True, env=os.environ | allowed)
    if done.returncode:
        sys.exit(f"compare_all_reduce.py: {program} failed: exit code {done.returncode}\n{done.stderr}")
    rounds = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    return {key: statistics.median(entry[key] for entry in rounds) for key in rounds[0]}


def spread(values, form="{:.2f}"):
    return f"{form.format(statistics.median(values))} ({form.format(min(values))}..{form.format(max(values))})"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=pathlib.Path, default=ROOT / "build" / "release", help="our build folder")
    parser.add_argument("--mebibytes", type=int, default=64)
    parser.add_argument("--turns", type=int, default=5)
    arguments = parser.parse_args()
    turns = [(run(arguments, "bench_all_reduce"), run(arguments, "bench_mpi_all_reduce")) for _ in range(arguments.turns)]
    cpu = next((line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), "?")
    print(f"{datetime.date.today()}, {cpu}, {os.cpu_count()} cores, {arguments.mebibytes} MiB of fp32 between 2 processes, "
          f"{arguments.turns} turns of {ROUNDS} rounds\n")
    print("| | ms, median (min..max) | all-reduce of ours is so many times as fast |\n|---|---|---|")
    rows = {
        "our all-reduce": lambda ours, mpi: ours["all_reduce"],
        "exchange + add": lambda ours, mpi: ours["exchange"] + ours["add"],
        "MPI_Sendrecv + add": lambda ours, mpi: mpi["exchange"] + ours["add"],
        "MPI_Allreduce": lambda ours, mpi: mpi["all_reduce"],
    }
    for name, of in rows.items():
        ratio = "" if name == "our all-reduce" else spread([of(*turn) / turn[0]["all_reduce"] for turn in turns])
        print(f"| {name} | {spread([1e3 * of(*turn) for turn in turns], '{:.1f}')} | {ratio} |")


if __name__ == "__main__":
    main()
