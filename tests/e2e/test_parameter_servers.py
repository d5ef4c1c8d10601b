"""Parameter servers: with updates in time the bits of replicas that update, with late ones those of the algorithm, step by step."""
import json
import math
import random
import unittest

from plan_report import inspect
from program import FASHION_DATA, GOLDENS, SOURCE, ProgramTest, configuration, run
from test_compression import StepByStep, f32
from test_zero import ReplicaTest, zero

GPT_TIED, TOKENS = "tests/goldens/gpt_tied/model.json", GOLDENS / "gpt"


def served(servers, staleness=0, **changes):
    return {**changes, "stagewright": {"parameter_server": {"servers": servers, "staleness": staleness}, **changes.get("stagewright", {})}}


class Served(ReplicaTest):
    SIZES = {"train_micro_batch_size_per_gpu": 3, "gradient_accumulation_steps": 2}

    def one(self, replicas, servers, pipeline=0, ranks="threads", model=GPT_TIED, data=TOKENS, options=(), staleness=0, **changes):
        changes = served(servers, staleness, **changes) if servers else changes
        config = configuration(**{**self.SIZES, "data_parallel_size": replicas, **changes})
        return self.bits(model, data, config, (*self.PIPELINES[pipeline], *options), ranks, 1 + pipeline)

    def check_plans(self, replicas, cases, staleness=0, **changes):
        """Of (servers, pipeline, ranks). Updates in time: the run without servers."""
        results = [self.one(replicas, *case, staleness=staleness, **changes) for case in cases]
        results += [self.one(replicas, 0, **changes)] if staleness == 0 else []
        self.assertEqual(len(set(results)), 1, results)
        return results[0]


class InTime(Served):
    CASES = [(1, 0, "threads"), (2, 1, "processes"), (3, 2, "threads")]

    def test_gpt_tied(self):
        """Sums of the tied table go from server to server, its weights from replica to replica."""
        self.check_plans(2, self.CASES)

    def test_recompute_of_three(self):
        self.check_plans(3, self.CASES[:2], stagewright={"recompute": "selective"})

    def test_precisions(self):
        """Servers and replicas skip the same steps: the scale is too large at first."""
        for precision in ({"bf16": {"enabled": True}}, {"fp16": {"enabled": True, "initial_scale_power": 30}}):
            self.check_plans(2, self.CASES[:2], **precision)

    def test_whole_parameters(self):
        self.check_plans(2, self.CASES[:2], optimizer={"type": "Lamb", "params": {"lr": 1e-3}})

    def test_no_clipping(self):
        """And no norm to send."""
        self.check_plans(2, self.CASES[:2], gradient_clipping=0, optimizer={"type": "SGD", "params": {"lr": 0.1, "momentum": 0.9}})

    def test_tensor_ranks(self):
        self.check_plans(2, self.CASES[:2], options=("--tensor-parallel", 2))

    def test_parts(self):
        """Pieces of more than the megabyte that servers add up at a time, whose last part is short."""
        changes = {"model": "models/mlp_wide/model.json", "data": "synthetic", "train_micro_batch_size_per_gpu": 1}
        self.check_plans(2, [(1, 0, "threads"), (3, 0, "processes")], **changes)

    def test_more_servers_than_granules(self):
        self.check_plans(2, [(5, 0, "threads"), (4, 1, "threads")], model="models/simple_model/model.json", data="synthetic")

    def test_files_and_evaluation(self):
        """Weights that replicas have taken are saved; a file with servers evaluates on one replica."""
        saved, evaluated = [], set()
        for servers in (0, 2):
            changes = served(servers) if servers else {}
            stage = self.compile(configuration(data_parallel_size=2, **changes), "--stages", 2)
            saved.append(self.folder / f"{servers}.safetensors")
            self.train(stage, "--steps", 5, "--save-weights", saved[-1])
            for ranks in ("threads", "processes"):
                report = self.run_ok("eval", stage, "--data", FASHION_DATA, "--init", saved[-1], "--ranks", ranks, "--json").json
                self.assertEqual(report["allocated_bytes"], report["planned_bytes"])
                evaluated.add((report["loss"], report["accuracy"]))
        self.assertEqual(saved[0].read_bytes(), saved[1].read_bytes())
        self.assertEqual(len(evaluated), 1)


class Late(Served):
    def test_one_result(self):
        """Whoever is fast, and however parameters are cut."""
        found = {0: self.one(2, 0)}
        for staleness in (1, 2, 3):
            found[staleness] = self.check_plans(2, InTime.CASES, staleness)
        self.assertEqual(len({result[0] for result in found.values()}), 4)
        for staleness, (_, _, losses) in found.items():  # the first steps have the first weights
            self.assertEqual(losses[0], found[0][2][0])
            self.assertEqual(losses[: staleness + 1], found[3][2][: staleness + 1])

    def test_steady_steps_allocate_nothing(self):
        for staleness in (0, 1, 3):
            stage = self.compile(configuration(data_parallel_size=2, **served(2, staleness)), "--stages", 2)
            self.assertEqual(self.train(stage, "--steps", 30)["allocations_after_warmup"], 0, staleness)

    def test_a_trace_has_all_updates(self):
        """Those behind the last step as tasks of the step whose update they take."""
        stage, trace = self.compile(configuration(data_parallel_size=2, **served(1, 2))), self.folder / "trace.jsonl"
        self.train(stage, "--steps", 6, "--trace", trace)
        records = [json.loads(line) for line in trace.read_text().splitlines()]
        tasks = [(r["rank"], r["step"], r["task"]) for r in records if "task" in r]
        self.assertEqual([step for rank, step, task in tasks if (rank, task) == (0, "0GATHER")], [1, 2, 3, 4, 5, 6, 5, 6])
        self.assertEqual([step for rank, step, task in tasks if (rank, task) == (2, "0UPDATE")], [1, 2, 3, 4, 5, 6])

    def test_more_than_steps(self):
        """All updates are made in the end."""
        self.check_plans(2, [(1, 0, "threads"), (2, 1, "processes")], 7)

    def test_it_learns(self):
        losses = {}
        for staleness in (0, 2):
            sizes = {"train_micro_batch_size_per_gpu": 32, "gradient_accumulation_steps": 1, "data_parallel_size": 2}
            stage = self.compile(configuration(**sizes, **served(1, staleness)))
            losses[staleness] = sum(self.train(stage, "--steps", 200)["losses"][-50:]) / 50
        self.assertLess(losses[2], 1.4 * losses[0], losses)

    def test_a_loss_that_is_not_finite(self):
        """Replicas and servers stop at the same step."""
        for ranks in ("threads", "processes"):
            optimizer = {"optimizer": {"type": "SGD", "params": {"lr": 1e25}}, "gradient_clipping": 0}
            stage = self.compile(configuration(data_parallel_size=2, **served(2, 1, **optimizer)), "--stages", 2)
            done = run("train", stage, "--data", FASHION_DATA, "--steps", 50, "--ranks", ranks, timeout=60)
            self.assertEqual(done.code, 2, str(done))
            self.assertIn("the loss is", done.err)


class LateSteps(StepByStep):
    def test_algorithm(self):
        """Step t adds to the weights what its gradients at the weights of update t - 1 - s say."""
        images = [random.Random(seed).randbytes(self.SAMPLES * 784) for seed in (1, 2)]
        parts = [self.data(f"part{i}", part) for i, part in enumerate(images)]
        whole = self.data("whole", b"".join(images))
        model = self.linear_model()
        alone = self.compile(self.config(self.RATE, 1, zero(0)), model=model, name="alone.stage")
        for staleness in (0, 1, 2):
            plan = self.compile(self.config(0.5, 2, served(2, staleness)), model=model, name=f"{staleness}.stage")
            zeros = {"fc.bias": [0.0] * self.CLASSES, "fc.weight": [0.0] * (self.CLASSES * 784)}
            weights = [zeros]  # behind each update
            for step in range(self.STEPS):
                first, second = (self.gradients(alone, part, weights[max(0, step - staleness)]) for part in parts)
                sums = {name: [f32(a + b) for a, b in zip(first[name], second[name], strict=True)] for name in zeros}
                weights.append({name: [f32(w - 0.5 * g) for w, g in zip(weights[-1][name], sums[name], strict=True)] for name in zeros})
                self.assertEqual(self.after(plan, whole, step + 1, zeros), weights[-1], (staleness, step))


class Bytes(ProgramTest):
    def test_memory(self):
        """Replicas have no states; servers divide them, and have nothing of micro-batches; each side keeps what it has sent."""
        parameters, replicas, part = 13_891_584, 3, 1 << 20
        tied = 8192 * 384  # which has two sums
        for servers, staleness in ((1, 0), (2, 0), (2, 3)):
            config = configuration(train_micro_batch_size_per_gpu=1, data_parallel_size=replicas, **served(servers, staleness))
            (rank,) = inspect(self.compile(config, model=SOURCE / "models/gpt_mini"))["ranks"]
            replica, server = rank["bytes_by_class"], rank["server"]["bytes_by_class"]
            near = lambda found, wanted: self.assertLess(abs(found - wanted), 0.002 * wanted + 64, (found, wanted))
            for each in (replica, server):
                near(each["parameters"], 4 * parameters)
                near(each["gradients"], 4 * (parameters + tied))
            self.assertEqual(replica["optimizer state"], 0)
            near(server["optimizer state"], 8 * parameters / servers)
            self.assertEqual([server[name] for name in ("derived", "activations", "inputs")], [0, 0, 0])
            near(replica["communication"], 4 * (parameters + tied) * staleness)
            near(server["communication"], 4 * parameters / servers * staleness + 2 * replicas * part)

    def test_bytes_sent_are_those_planned(self):
        model = SOURCE / GPT_TIED
        for replicas, servers, staleness, stages in ((2, 1, 0, 1), (3, 2, 0, 2), (2, 2, 2, 2)):
            with self.subTest(replicas=replicas, servers=servers, staleness=staleness):
                config = configuration(train_micro_batch_size_per_gpu=3, data_parallel_size=replicas, **served(servers, staleness))
                compiled = self.compile(config, "--stages", stages, "--partition", "uniform", model=model)
                ranks = stages * (replicas + servers)
                few, many = (self.count_messages(compiled, ranks, "--steps", steps, data=TOKENS) for steps in (3, 7))
                sent = [(sum(b) - sum(a)) / 4 for a, b in zip(few, many, strict=True)]
                for rank in inspect(compiled)["ranks"]:
                    own = range(rank["rank"] * replicas, (rank["rank"] + 1) * replicas)
                    served_by = range(stages * replicas + rank["rank"] * servers, stages * replicas + (rank["rank"] + 1) * servers)
                    planned = rank["sent_bytes"]
                    self.assertEqual(sum(sent[i] for i in (*own, *served_by)), sum(planned.values()), planned)
                    weights = planned["weights of replicas"]
                    shapes = self.updated(compiled, rank["rank"])
                    padding = weights - replicas * 4 * sum(shapes)
                    self.assertTrue(0 <= padding < replicas * 64 * len(shapes), padding)  # between neighbours

    def updated(self, stage, number):
        """Elements of each parameter that a stage updates."""
        report = inspect(stage)
        return [math.prod(p["shape"]) for p in report["parameters"] if p["stage"] == number]

    def test_what_inspect_says(self):
        stage = self.compile(configuration(data_parallel_size=2, **served(2, 3)))
        text = self.run_ok("inspect", stage).out
        self.assertIn("2 of each stage", text)
        self.assertIn("weights behind by 3 updates", text)
        report = inspect(stage)
        self.assertEqual((report["recipe"]["parameter_servers"], report["contract"]["staleness"]), (2, 3))
        self.assertIn("each server, 2-3", self.run_ok("inspect", stage, "--memory").out)


class Refusals(ProgramTest):
    def test_refusals(self):
        cases = [
            (served(1), "there is one"),
            (served(1, data_parallel_size=2, zero_optimization={"stage": 1}), "ZeRO divides"),
            (served(1, data_parallel_size=2, communication_data_type="bf16"), "fp32"),
            (served(1, data_parallel_size=2, stagewright={"gradient_compression": {"type": "one_bit"}}), "all of them"),
            (served(1, data_parallel_size=2, stagewright={"gradient_reduction": "micro_batch"}), "micro_batch"),
            (served(1, 1, data_parallel_size=2, bf16={"enabled": True}), "skipped"),
            (served(0, 1, data_parallel_size=2), "there are none"),
        ]
        for changes, says in cases:
            config = self.write("c.json", configuration(**changes))
            done = run("compile", SOURCE / "models/fashion_mlp", "-c", config, "-o", self.folder / "x.stage")
            self.assertEqual(done.code, 2, json.dumps(changes))
            self.assertIn(says, done.err)
            self.assertIn("parameter_server", done.err)


if __name__ == "__main__":
    unittest.main()
