"""Optimizer states and weights in host memory or in a file (ZeRO-Offload, ZeRO-Infinity): the bits of plans that keep them, and the bytes
that `inspect` prints."""
import resource
import unittest

from plan_report import inspect
from program import FASHION_DATA, GOLDENS, SOURCE, ProgramTest, configuration, run

GPT_TIED = SOURCE / "tests/goldens/gpt_tied/model.json"


class OffloadTest(ProgramTest):
    def settings(self, stage, states=None, weights=None, ratio=1.0, **own):
        """`states` and `weights`: "cpu" or "nvme"; `ratio` of both; `own`: of /stagewright."""
        zero = {"stage": stage}
        for key, device in (("offload_optimizer", states), ("offload_param", weights)):
            if device:
                zero[key] = {"device": device, "nvme_path": str(self.folder)}
        if states:
            zero["offload_optimizer"]["ratio"] = ratio
        return {"zero_optimization": zero, "stagewright": {"offload_param_ratio": ratio, **own}}


class Offload(OffloadTest):
    def bits(self, config, options, model=GPT_TIED, data=GOLDENS / "gpt", ranks="threads"):
        stage = self.compile(config, *options, model=model, name="x.stage")
        result = self.train(stage, "--steps", 3, "--ranks", ranks, data=data)
        self.assertEqual(result["allocated_bytes"], inspect(stage)["planned_bytes"])
        self.assertEqual(result["allocations_after_warmup"] or 0, 0)
        return result["weights_sha256"], result["state_sha256"], tuple(result["losses"])

    ONE, TWO, THREE = (
        ("--stages", 1),
        ("--stages", 2, "--partition", "uniform"),
        ("--stages", 3, "--partition", "uniform", "--schedule", "zb-h1"),
    )

    def one_result(self, replicas, cases, model=GPT_TIED, data=GOLDENS / "gpt", **changes):
        sizes = {"train_micro_batch_size_per_gpu": 3, "data_parallel_size": replicas, **changes}
        expected = self.bits(configuration(**sizes), self.ONE, model, data)
        for number, (options, *arguments) in enumerate(cases):
            own = arguments.pop() if isinstance(arguments[-1], dict) else {}
            config = configuration(**sizes, **self.settings(*arguments, **own))
            with self.subTest(replicas=replicas, options=options, arguments=arguments, **own):
                ranks = "processes" if number % 3 == 2 else "threads"
                self.assertEqual(self.bits(config, options, model, data, ranks), expected)

    def test_host_memory(self):
        for replicas in (1, 2):
            cases = [
                (self.ONE, 1, "cpu"),
                (self.THREE, 2, "cpu", None, 0.5),
                (self.TWO, 3, "cpu", "cpu"),
                (self.THREE, 3, None, "cpu", 0.37, {"gather_weights": "step"}),
                (self.TWO, 3, "cpu", "cpu", 0.83, {"gather_weights": "visit"}),
            ]
            self.one_result(replicas, cases)

    def test_files(self):
        for replicas in (1, 3):
            cases = [
                (self.THREE if replicas == 1 else self.TWO, 1, "nvme", None, 0.6),
                (self.ONE, 3, "nvme", "nvme"),
                (self.ONE, 3, "nvme", "nvme", 0.37, {"gather_weights": "visit"}),
                (self.ONE, 3, "cpu", "nvme", 0.83, {"gather_weights": "step"}),
                (self.TWO, 3, "nvme", "cpu"),
            ]
            self.one_result(replicas, cases)

    def test_optimizers_and_precisions(self):
        cases = [(self.TWO, 1, "cpu", None, 0.5), (self.ONE, 3, "nvme", "nvme", 0.7), (self.THREE, 3, "cpu", "cpu")]
        for optimizer, changes in (
            ({"type": "Lamb", "params": {"lr": 1e-3}}, {}),
            ({"type": "SGD", "params": {"lr": 0.05}}, {"bf16": {"enabled": True}}),  # no states
            ({"type": "Adam", "params": {"lr": 1e-3}}, {"fp16": {"enabled": True, "initial_scale_power": 30}}),  # overflows
            ({"type": "Lion", "params": {"lr": 1e-3}}, {"gradient_clipping": 0}),
        ):
            with self.subTest(optimizer["type"]):
                self.one_result(2, cases, optimizer=optimizer, **changes)

    def test_large_parameters(self):
        """Of which several chunks are under way."""
        cases = [(self.ONE, 1, "cpu"), (self.ONE, 3, "nvme", "cpu", 0.9)]
        self.one_result(2, cases, SOURCE / "models/fashion_mlp", FASHION_DATA)

    def test_evaluation_and_weights(self):
        """A file of weights, and an evaluation on one rank per stage, are those of a plan that keeps all."""
        results = set()
        for arguments in ((0,), (3, "cpu", "cpu"), (3, "nvme", "nvme")):
            config = configuration(data_parallel_size=2, **self.settings(*arguments))
            stage = self.compile(config, "--stages", 2)
            weights = self.folder / "w.safetensors"
            first = self.train(stage, "--steps", 2, "--save-weights", weights)
            again = self.train(stage, "--steps", 1, "--init", weights)
            report = self.run_ok("eval", stage, "--data", FASHION_DATA, "--init", weights, "--json").json
            results.add((first["weights_sha256"], again["state_sha256"], report["loss"], report["weights_sha256"]))
        self.assertEqual(len(results), 1, results)


class Bytes(OffloadTest):
    def classes(self, stage):
        return [rank["bytes_by_class"] for rank in inspect(stage)["ranks"]]

    def test_device_memory_falls_by_what_is_printed(self):
        for replicas, arguments in ((2, (1, "cpu")), (2, (2, "nvme", None, 0.5)), (4, (3, "cpu", "cpu")), (3, (3, None, "nvme", 0.25))):
            with self.subTest(replicas=replicas, arguments=arguments):
                config = configuration(train_micro_batch_size_per_gpu=1, data_parallel_size=replicas)
                model = SOURCE / "models/gpt_mini"
                kept = self.classes(self.compile({**config, **self.settings(arguments[0])}, "--stages", 1, model=model))
                stage = self.compile({**config, **self.settings(*arguments)}, "--stages", 1, model=model)
                report = inspect(stage)
                for before, after, rank in zip(kept, self.classes(stage), report["ranks"], strict=True):
                    self.assertEqual(sum(before.values()) - sum(after.values()), rank["offload_saves"])
                    offloaded = sum(rank["offloaded_bytes"].values())
                    states, weights = arguments[1:3] if len(arguments) > 2 else (arguments[1], None)
                    ratio = arguments[3] if len(arguments) > 3 else 1
                    ideal = ratio * 4 * 13_891_584 / replicas * (2 * bool(states) + bool(weights))
                    self.assertLess(abs(offloaded / ideal - 1), 0.02)
                text = self.run_ok("inspect", "--memory", stage).out
                self.assertIn(f"{report['offload_saves']:,}", text)

    def test_memory_is_counted(self):
        config = configuration(data_parallel_size=2, **self.settings(3, "cpu", "cpu"))
        stage = self.compile(config, "--stages", 2)
        result, report = self.train(stage, "--steps", 1), inspect(stage)
        self.assertEqual(result["allocated_bytes"], report["planned_bytes"])
        pages = sum(-(-arena["bytes"] // 4096) * 4096 for rank in report["ranks"] for arena in rank["arenas"] if arena["tier"] == "Host")
        self.assertEqual(result["offloaded_bytes"], 2 * pages)

    def test_what_is_sent_is_the_same(self):
        sent = []
        for arguments in ((3,), (3, "cpu", "cpu"), (3, "nvme", "nvme", 0.5)):
            config = configuration(data_parallel_size=2, **self.settings(*arguments))
            sent.append([rank["sent_bytes"] for rank in inspect(self.compile(config, "--stages", 2))["ranks"]])
        self.assertEqual(sent[0], sent[1])
        self.assertEqual(sent[0], sent[2])


class Mistakes(OffloadTest):
    def test_a_folder_that_is_not_there(self):
        for ranks in ("threads", "processes"):
            config = configuration(**self.settings(1, "nvme"))
            config["zero_optimization"]["offload_optimizer"]["nvme_path"] = "/nowhere/at/all"
            stage = self.compile(config, "--stages", 2)
            done = run("train", stage, "--data", FASHION_DATA, "--steps", 1, "--ranks", ranks)
            self.assertEqual(done.code, 3, done.err)
            self.assertIn("/nowhere/at/all/stagewright-", done.err)
            self.assertIn("No such file or directory", done.err)

    def test_a_full_disk(self):
        stage = self.compile(configuration(**self.settings(1, "nvme")), "--stages", 1)
        limit = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))  # noqa: E731
        done = run("train", stage, "--data", FASHION_DATA, "--steps", 1, preexec=limit)
        self.assertEqual(done.code, 3, done.err)
        self.assertIn(f"{self.folder}/stagewright-", done.err)
        self.assertIn("cannot reserve", done.err)

    def test_what_has_no_shards(self):
        for arguments, least in (((0, "cpu"), 1), ((2, None, "cpu"), 3), ((2, None, "nvme"), 3)):
            done = self.refused(configuration(**self.settings(*arguments)))
            self.assertIn(f"needs ZeRO stage {least}", done)

    def test_nvme_without_a_folder(self):
        config = configuration(zero_optimization={"stage": 1, "offload_optimizer": {"device": "nvme"}})
        self.assertIn("nvme_path", self.refused(config))

    def test_weights_of_several_stages_in_files(self):
        config = configuration(train_micro_batch_size_per_gpu=3, **self.settings(3, None, "nvme"))
        done = self.refused(config, "--stages", 2, "--partition", "uniform", model=GPT_TIED)
        self.assertIn("several stages", done)
        self.assertIn('"cpu"', done)

    def refused(self, config, *options, model=SOURCE / "models/fashion_mlp"):
        done = run("compile", model, "--config", self.write("config.json", config), "-o", self.folder / "x.stage", *options)
        self.assertEqual(done.code, 2, done.err)
        return done.err


if __name__ == "__main__":
    unittest.main(verbosity=2)
