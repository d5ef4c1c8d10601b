"""Writes a table of what p stages times d replicas make of one training run under every ZeRO stage, offload and way to run ranks: one
weights_sha256 and state_sha256 for each number of replicas and order of reduction.

    STAGEWRIGHT_BIN=build/release/bin python3 tests/e2e/parallel_plans.py fashion_mlp fp32 > table.md
"""
import itertools
import json
import pathlib
import subprocess
import sys
import tempfile

from program import FASHION_DATA, SOURCE, STAGEWRIGHT

MESHES = [(p, d) for p, d in itertools.product((1, 2, 4), repeat=2) if p * d <= 8]
ZERO = [("0", {}), ("1", {}), ("1", {"offload_optimizer": "cpu"}), ("2", {}), ("2", {"offload_optimizer": "nvme"}), ("3", {}),
        ("3", {"offload_optimizer": "cpu", "offload_param": "cpu"})]
SCHEDULES = ("gpipe", "1f1b", "zb-h1")
MODELS = {
    "fashion_mlp": (FASHION_DATA, {"train_micro_batch_size_per_gpu": 16}, 10),
    "gpt_mini": ("synthetic", {"train_micro_batch_size_per_gpu": 1}, 2),
}


def run(*arguments):
    done = subprocess.run([*map(str, arguments)], capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(map(str, arguments))}\n{done.stderr}")
    return done.stdout


def row(model, precision, mesh, zero, offload, reduction, ranks, number, folder):
    data, sizes, steps = MODELS[model]
    config = {
        **sizes,
        "gradient_accumulation_steps": 4,
        "optimizer": {"type": "Adam", "params": {"lr": 1e-3}},
        "gradient_clipping": 0.5,
        "steps_per_print": 0,
        "data_parallel_size": mesh[1],
        "pipeline": {"stages": mesh[0], "partition": "uniform"},
        "zero_optimization": {"stage": int(zero), **{key: {"device": device, "nvme_path": str(folder)} for key, device in offload.items()}},
        "stagewright": {"gradient_reduction": reduction, "schedule": SCHEDULES[number % 3], "gather_weights": ("block", "visit", "step")[number % 3]},
    }
    if precision != "fp32":
        config[precision] = {"enabled": True}
    if precision == "fp16":
        config["fp16"]["initial_scale_power"] = 8  # above what the stages' rules end at
    (folder / "config.json").write_text(json.dumps(config))
    stage = folder / "x.stage"
    run(STAGEWRIGHT, "compile", SOURCE / "models" / model, "-c", folder / "config.json", "-o", stage)
    options = ("--data", data, "--steps", steps, "--ranks", ranks, "--threads", 1 + number % 2, "--json")
    result = json.loads(run(STAGEWRIGHT, "train", stage, *options).splitlines()[-1])
    return result["weights_sha256"], result["state_sha256"], config["stagewright"]["schedule"]


def main():
    model, precision = sys.argv[1:3]
    results = {}
    print(f"## {model}, {precision}\n\n| replicas | reduction | stages | ZeRO | offloaded | schedule | ranks as | weights | state |\n|" + "---|" * 9)
    number = 0
    with tempfile.TemporaryDirectory() as folder:
        for d, reduction in itertools.product((1, 2, 4), ("step", "micro_batch")):
            if d == 1 and reduction == "micro_batch":
                continue  # one replica adds nothing
            for (p, replicas), (zero, offload), ranks in itertools.product(MESHES, ZERO, ("threads", "processes")):
                if replicas != d:
                    continue
                number += 1
                weights, state, schedule = row(model, precision, (p, d), zero, offload, reduction, ranks, number, pathlib.Path(folder))
                results.setdefault((d, reduction), set()).add((weights, state))
                where = ", ".join(f"{key.split('_')[1]} {device}" for key, device in offload.items())
                print(f"| {d} | {reduction} | {p} | {zero} | {where} | {schedule} | {ranks} | {weights[:12]} | {state[:12]} |", flush=True)
    print()
    for (d, reduction), bits in results.items():
        print(f"{d} replicas, reduction per {reduction}: {len(bits)} result(s).")
    sys.exit(0 if all(len(bits) == 1 for bits in results.values()) else 1)


if __name__ == "__main__":
    main()
