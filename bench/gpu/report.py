"""report.md of bench/gpu/run."""


def megabytes(count):
    return f"{count / 2**20:,.0f}" if count is not None else ""


def cell(text):
    return text.replace("|", "/").replace("\n", " ")


def by_cudnn(result):
    """"attention 12 of 12": calls that cuDNN runs."""
    calls = (result.get("cudnn") or {}).get("calls", {})
    return ", ".join(f"{kernel} {one['cudnn']} of {one['cudnn'] + one['own']}" for kernel, one in calls.items())


def refusals(results):
    said = {name: (result.get("cudnn") or {}).get("refusal") for name, result in results.items()}
    return [f"cuDNN's first refusal, {name}: {cell(text)}" for name, text in said.items() if text]


def throughput(trained, torch, about):
    if not trained and not torch:
        return []
    lines = [f"GPT-2 124M, bf16, {about['batch']} samples of {about['sequence']} tokens in micro-batches of {about['micro_batch']}, "
             "all ranks in one process on one GPU; memory in MiB.", "",
             "| | tokens/s | planned | cudaMemGetInfo, by loading | nvidia-smi, most | graphs | losses, first and last | calls by cuDNN |",
             "|---|---|---|---|---|---|---|---|"]
    lines += [f"| {name} | {one['tokens_per_second']:,} | {megabytes(one['planned_bytes'])} | {megabytes(one['device_bytes_used'])} | "
              f"{megabytes(one['nvidia_smi_bytes'])} | {one['captured_graphs']} | {one['losses'][0]:.4f}, {one['losses'][-1]:.4f} | "
              f"{by_cudnn(one)} |" for name, one in trained.items()]
    if torch:
        lines.append(f"| PyTorch {torch['torch']}, torch.compile | {torch['tokens_per_second']:,.0f} | | {megabytes(torch['peak_bytes'])} "
                     f"(its allocator) | | | {torch['first_loss']:.4f}, {torch['last_loss']:.4f} | |")
    return [*lines, "", *refusals(trained), ""]


def beside_host(losses):
    if not losses:
        return []
    lines = ["| losses | steps | first, GPU | last, GPU | last, host | largest relative difference | tolerance | calls by cuDNN |",
             "|---|---|---|---|---|---|---|---|"]
    lines += [f"| {name} | {one['steps']} | {one['gpu'][0]:.6f} | {one['gpu'][-1]:.6f} | {one['host'][-1]:.6f} | "
              f"{one['largest_relative_difference']:.2e} | {one['tolerance']:.0e} | {by_cudnn(one)} |" for name, one in losses.items()]
    return [*lines, "", *refusals(losses), ""]


def kernels(found, emulated=False):
    """How many are right; those that are not, products with epilogues and the sum over ranks."""
    shown = {name: one for name, one in found.items() if one["passed"] != one["cases"] or one["cases"] == 0 or "+" in name or
             name == "ordered_sum"}
    if not found:
        return []
    right = sum(0 < one["cases"] == one["passed"] for one in found.values())
    lines = [f"{right} of {len(found)} kernels are right{', on the emulated GPU' if emulated else ''} (cuda_parity.json)."]
    if shown:
        lines += ["", "| kernel | right cases | without an algorithm | largest error, of its tolerance | |", "|---|---|---|---|---|"]
    for name, one in shown.items():
        error = one["largest_error"]
        lines.append(f"| {name} | {one['passed']} of {one['cases']} | {one.get('refused', 0)} | "
                     f"{'infinite' if error is None else format(error, '.3g')} | {cell(one['fault'])} |")
    return [*lines, ""]


def markdown(report, about):
    gpu = report["machine"]["gpu"]
    steps = {entry["name"]: entry for entry in report["steps"]}
    states = [entry["state"] for entry in steps.values()]
    late = sum(entry.get("time_over", False) for entry in steps.values())
    results = {name: entry["result"] for name, entry in steps.items() if entry["state"] == "passed"}
    where = f"{gpu['name']}, driver {gpu['driver']}" if gpu else "No GPU"
    lines = [f"# {where}, {report['date']}", "",
             f"Steps: {states.count('passed')} passed, {states.count('failed')} failed, {states.count('not run')} not run"
             f"{f' ({late} as the time was over)' if late else ''}.", "",
             f"Commit {about['commit']}; {report['machine']['toolkit'] or 'no nvcc'}; {report['machine']['cores']} cores.", ""]
    trained = {name[len("train "):]: result for name, result in results.items() if name.startswith("train ")}
    lines += throughput(trained, results.get("PyTorch with torch.compile"), about)
    lines += beside_host({name.rpartition(" ")[2]: result for name, result in results.items() if name.startswith("losses beside")})
    lines += kernels(report["kernels"], report.get("kernels_emulated", False))
    lines += ["| step | | s | |", "|---|---|---|---|"]
    lines += [f"| {name} | {entry['state']} | {entry['seconds']} | {cell(entry.get('why', entry.get('note', '')))} |"
              for name, entry in steps.items()]
    return "\n".join(lines) + "\n"
