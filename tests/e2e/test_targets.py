"""One file for several devices: what CUDA's programs read and hold, that the host's stay what they are, and what is refused.
No GPU is needed: CUDA's programs are compiled, proved and shown."""
import json
import shutil
import sys
import unittest

from program import FASHION_DATA, FASHION_MODEL, GOLDENS, SOURCE, ProgramTest, configuration, run

sys.path.insert(0, str(SOURCE / "tests" / "tools"))
import json_schema  # noqa: E402

SCHEMA = SOURCE / "runtime" / "executable" / "stage.fbs"
BOTH = ("--target", "host,cuda:sm_90")
TYPES = {"fp32": {}, "bf16": {"bf16": {"enabled": True}}, "fp16": {"fp16": {"enabled": True}}}

# [weight, bias or nothing] of every Linear.
FASHION_LINEAR = [(256 * 784, 256), (10 * 256, 10)]
GPT_BLOCK = [(1152 * 384, 1152), (384 * 384, 384), (1536 * 384, 1536), (384 * 1536, 384)]
GPT_LINEAR = 6 * GPT_BLOCK + [(8192 * 384, 0)]  # the head reads the embedding's table


def aligned(size):
    return (size + 63) // 64 * 64


class Targets(ProgramTest):
    def fields(self, stage):
        """The file as flatc reads it."""
        self.run_ok("--json", "--strict-json", "--raw-binary", "-o", self.folder / "fields", SCHEMA, "--", stage, program=shutil.which("flatc"))
        return json.loads((self.folder / "fields" / f"{stage.stem}.json").read_text())

    def inspect(self, stage, *options):
        return self.run_ok("inspect", stage, "--json", *options).json

    def pair(self, config, *options, model):
        """The file for both targets, and that for the host alone."""
        both = self.compile(config, *options, *BOTH, model=model, name="both.stage")
        return both, self.compile(config, *options, model=model, name="host.stage")

    def check_pair(self, both, host):
        """The host's programs and memory are those of a file for the host; what is read of both is CUDA's variant."""
        fields, alone = self.fields(both), self.fields(host)
        self.assertEqual([variant["target"] for variant in fields["variants"]], ["host", "cuda:sm_90"])
        self.assertEqual(fields["variants"][0], alone["variants"][0])
        self.assertEqual(fields["contract"].pop("device_family"), "host,cuda")
        self.assertEqual(alone["contract"].pop("device_family"), "host")
        self.assertFalse(alone["contract"].pop("gelu_epilogues", False))
        fields["contract"].pop("gelu_epilogues", False)
        for name in ("contract", "parameters", "schedule", "recipe", "blocks", "boundaries", "inputs"):
            self.assertEqual(fields[name], alone[name], name)
        kernels = [(kernel["name"], kernel["version"]) for kernel in fields["kernels"]]
        called = {target: set() for target in ("host", "cuda:sm_90")}
        for variant in fields["variants"]:
            for rank in variant["ranks"]:
                for program in rank["programs"]:
                    called[variant["target"]] |= {kernels[command.get("kernel", 0)] for command in program["commands"]}
        self.assertFalse([name for name, _ in called["cuda:sm_90"] if name.startswith("pack_")])
        products = {"linear", "linear_input_grad", "conv2d", "conv2d_input_grad"}
        for target, version in (("host", 1), ("cuda:sm_90", 2)):
            versions = {kernel[1] for kernel in called[target] if kernel[0] in products}
            self.assertEqual(versions, {version}, target)
        return fields


class Memory(Targets):
    def check(self, config, layers, model, *options):
        for precision, width in (("fp32", 0), ("bf16", 2)):
            with self.subTest(precision=precision):
                both, host = self.pair({**config, **TYPES[precision]}, *options, model=model)
                self.check_pair(both, host)
                shown = self.inspect(both)
                self.assertEqual([variant["target"] for variant in shown["variants"]], ["host", "cuda:sm_90"])
                self.assertEqual(json_schema.errors(shown, json.loads((SOURCE / "docs" / "inspect.schema.json").read_text())), [])
                on_host, on_cuda = shown["variants"]
                derived = sum(aligned(width * size) for layer in layers for size in layer)
                self.assertEqual(on_cuda["bytes_by_class"]["derived"], derived)
                alone = self.inspect(host)
                self.assertNotIn("variants", alone)
                self.assertEqual({**on_host, "target": None}, {"target": None, **{key: alone[key] for key in on_host if key != "target"}})
                for rank in on_cuda["ranks"]:  # what cuBLASLt gets, and what other kernels need
                    self.assertGreaterEqual(rank["bytes_by_class"]["workspace"], 32 << 20)
                one = self.inspect(both, "--target", "cuda")
                self.assertEqual(one["variants"], [on_cuda])
                self.assertEqual(one["planned_bytes"], on_cuda["planned_bytes"])
                text = self.run_ok("inspect", both).out
                self.assertLess(text.index("target host\n"), text.index("target cuda:sm_90\n"))
                self.assertNotIn("target ", self.run_ok("inspect", host).out)
                self.assertNotIn("target host", self.run_ok("inspect", both, "--target", "cuda:sm_90").out)

    def test_fashion_mlp(self):
        self.check(configuration(), FASHION_LINEAR, FASHION_MODEL, "--stages", 2)

    def test_gpt_mini(self):
        folder = SOURCE / "models" / "gpt_mini"
        config = json.loads((folder / "config.json").read_text())
        self.check(config, GPT_LINEAR, folder / "model.json", "--stages", 2)


class Training(Targets):
    def check(self, config, *options, model, data, steps):
        both, host = self.pair(config, *options, model=model)
        results = [self.train(stage, "--steps", steps, data=data) for stage in (both, host)]
        for name in ("losses", "weights_sha256", "state_sha256", "planned_bytes"):
            self.assertEqual(results[0][name], results[1][name], name)

    def test_fashion_mlp(self):
        for precision in ("fp32", "bf16"):
            with self.subTest(precision=precision):
                self.check(configuration(**TYPES[precision]), "--stages", 2, model=FASHION_MODEL, data=FASHION_DATA, steps=20)

    def test_gpt(self):
        model = GOLDENS / "gpt_tied" / "model.json"
        self.check(configuration(**TYPES["bf16"]), "--stages", 2, model=model, data="synthetic", steps=5)

    def test_a_file_for_cuda_does_not_train_on_the_host(self):
        stage = self.compile(configuration(), "--target", "cuda:sm_90")
        refused = run("train", stage, "--data", "synthetic", "--steps", 1)
        self.assertEqual(refused.code, 2)
        for text in ("cuda:sm_90", "none for host", "--target cuda:sm_90,host"):
            self.assertIn(text, refused.err)


class Combinations(Targets):
    """Everything that the host has and CUDA will: the loader proves both of every pair."""

    CASES = [
        # precision, ZeRO, gathers, reduction, recompute, offload, options
        ("fp32", 0, "block", "step", "none", False, ("--stages", 3)),
        ("bf16", 0, "block", "micro_batch", "selective", False, ("--stages", 2, "--data-parallel", 2)),
        ("fp16", 0, "block", "step", "none", False, ("--tensor-parallel", 2, "--stages", 2)),
        ("fp32", 1, "block", "step", "interval:2", True, ("--data-parallel", 2)),
        ("bf16", 1, "block", "step", "none", False, ("--stages", 2, "--data-parallel", 2, "--tensor-parallel", 2)),
        ("fp16", 2, "block", "micro_batch", "none", True, ("--stages", 2, "--data-parallel", 3)),
        ("fp32", 3, "block", "step", "selective", False, ("--stages", 2, "--data-parallel", 2)),
        ("bf16", 3, "block", "micro_batch", "none", True, ("--stages", 2, "--data-parallel", 2)),
        ("fp32", 3, "visit", "step", "none", True, ("--stages", 2, "--data-parallel", 2, "--schedule", "zb-h1")),
        ("bf16", 3, "visit", "step", "interval:2", False, ("--stages", 2, "--data-parallel", 2)),
        ("fp32", 3, "step", "micro_batch", "none", False, ("--stages", 2, "--data-parallel", 2)),
        ("fp16", 3, "step", "step", "none", True, ("--data-parallel", 2, "--schedule", "gpipe")),
        ("bf16", 3, "step", "step", "selective", False, ("--tensor-parallel", 2, "--data-parallel", 2)),
    ]

    def check(self, name, cases):
        for precision, zero, gathers, reduction, recompute, offloads, options in cases:
            with self.subTest(precision=precision, zero=zero, gathers=gathers, options=options):
                tier = {"device": "cpu"} if offloads else {"device": "none"}
                config = configuration(
                    **TYPES[precision],
                    zero_optimization={"stage": zero, "offload_optimizer": tier, **({"offload_param": tier} if zero == 3 else {})},
                    stagewright={"gather_weights": gathers, "gradient_reduction": reduction, "recompute": recompute},
                )
                self.check_pair(*self.pair(config, *options, model=GOLDENS / name / "model.json"))

    def test_gpt_tied(self):
        self.check("gpt_tied", self.CASES)

    def test_convolution(self):
        self.check("convolution", [case for case in self.CASES if "--tensor-parallel" not in case[6]])


class Refused(Targets):
    def refused(self, config, *options, says, model=FASHION_MODEL):
        path = self.write("config.json", config)
        done = run("compile", model, "-c", path, *options, "-o", self.folder / "x.stage")
        self.assertEqual(done.code, 2, str(done))
        for text in says:
            self.assertIn(text, done.err)
        self.assertFalse((self.folder / "x.stage").exists())

    def test_what_cuda_does_not_have(self):
        replicas = ("--data-parallel", 2)
        cases = [
            ({"stagewright": {"gradient_compression": {"type": "one_bit"}}}, replicas, ["compressed gradients", "config.json:"]),
            ({"communication_data_type": "bf16"}, replicas, ["fp32, not yet in bf16", "communication_data_type"]),
            ({"stagewright": {"parameter_server": {"servers": 1}}}, replicas, ["parameter servers", "train on the host"]),
            (
                {"zero_optimization": {"stage": 1, "offload_optimizer": {"device": "nvme", "nvme_path": "/tmp"}}},
                replicas,
                ["files", '"cpu"'],
            ),
            ({"zero_optimization": {"stage": 3, "offload_param": {"device": "nvme", "nvme_path": "/tmp"}}}, (), ["files", '"cpu"']),
        ]
        for changes, options, says in cases:
            with self.subTest(says=says[0]):
                config = configuration(**changes)
                self.compile(config, *options, name="host.stage")  # the host has it
                self.refused(config, *options, *BOTH, says=[*says, "--target host"])
        # With one replica nothing travels.
        self.compile(configuration(communication_data_type="fp16"), *BOTH)

    def test_names_of_targets(self):
        config = configuration()
        for target, says in (
            ("tpu", ['"tpu"', "host, cuda:sm_80, cuda:sm_90, cuda:sm_100"]),
            ("cuda:sm_61", ['"cuda:sm_61"', "cuda:sm_80"]),
            ("host,host", ["twice"]),
            ("cuda,cuda:sm_90", ["cuda:sm_90 is given twice"]),
        ):
            self.refused(config, "--target", target, says=["--target", *says])
        self.refused(configuration(stagewright={"target": "hosts"}), says=["config.json:", '"hosts"'])

    def test_text_of_one_target(self):
        for phase in ("partition", "differentiate", "parallel", "schedule", "memory"):
            self.refused(configuration(), *BOTH, "--compile-to", phase, says=[phase, "one target at a time"])


class Configured(Targets):
    def test_the_key_and_the_option(self):
        config = configuration(stagewright={"target": "cuda, host"})
        stage = self.compile(config)
        self.assertEqual([variant["target"] for variant in self.inspect(stage)["variants"]], ["cuda:sm_90", "host"])
        self.assertEqual(self.inspect(stage)["contract"]["device_family"], "cuda,host")
        stage = self.compile(config, "--target", "cuda:sm_80")
        shown = self.inspect(stage)
        self.assertEqual([variant["target"] for variant in shown["variants"]], ["cuda:sm_80"])
        entry = next(entry for entry in shown["configuration"] if entry["path"] == "/stagewright/target")
        self.assertEqual(entry, {"path": "/stagewright/target", "value": "cuda:sm_80", "origin": "option"})

    def test_simulate(self):
        """The schedule is one for all targets."""
        both = self.compile(configuration(), *BOTH, "--stages", 2)
        lines = {self.run_ok("simulate", both, *options).out for options in ((), ("--target", "cuda"), ("--target", "host"))}
        self.assertEqual(len(lines), 1)
        cuda = self.compile(configuration(), "--target", "cuda", "--stages", 2, name="cuda.stage")
        self.assertEqual({self.run_ok("simulate", cuda).out}, lines)
        self.assertEqual(run("simulate", cuda, "--target", "host").code, 2)


if __name__ == "__main__":
    unittest.main(verbosity=2)
