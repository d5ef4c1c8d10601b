"""Tensor ranks that split parameters between them: the losses of ranks that do not, within roundings, one set of bits for every plan of
one number of tensor ranks, and the bytes that `inspect` prints."""
import array
import itertools
import json
import math
import pathlib
import struct
import unittest

import safetensors_file
from plan_report import inspect
from program import FASHION_DATA, GOLDENS, SOURCE, ProgramTest, configuration, run
from test_sentences import read_npz

TOKENS = GOLDENS / "gpt"
WIDTH, VOCABULARY = 24, 32


def linear(name, width, out, **more):
    return {"type": "Linear", "name": name, "in_features": width, "out_features": out, **more}


def residual(name, *inputs):
    return {"type": "Add", "name": name, "inputs": list(inputs)}


def language_model(layers, loss=None):
    return {
        "name": "language_model",
        "inputs": [
            {"name": "tokens", "role": "feature", "dtype": "i32", "shape": [12]},
            {"name": "next", "role": "label", "dtype": "i32", "shape": [12]},
        ],
        "layers": layers,
        "loss": {"type": "CrossEntropyLoss", **(loss or {})},
        "metrics": [] if loss and "ignore_index" in loss else ["accuracy"],
    }


def gpt(heads=4, vocabulary=VOCABULARY, loss=None, dropout=0.0):
    """Queries, keys and values in one layer; a tied head. Dropout inside of both pairs of layers and behind one."""
    table = {"num_embeddings": vocabulary, "embedding_dim": WIDTH, "tied": "table"}
    attention = {"type": "ScaledDotProductAttention", "name": "attention", "num_heads": heads, "is_causal": True, "dropout_p": dropout}
    block = [
        {"type": "LayerNorm", "name": "ln_1", "normalized_shape": WIDTH},
        linear("qkv", WIDTH, 3 * WIDTH),
        attention,
        linear("out", WIDTH, WIDTH),
        residual("residual", "input", "out"),
        {"type": "LayerNorm", "name": "ln_2", "normalized_shape": WIDTH},
        linear("up", WIDTH, 4 * WIDTH),
        {"type": "GELU", "name": "gelu", "approximate": "tanh"},
        *([{"type": "Dropout", "name": "drop_up", "p": dropout}] if dropout else []),
        linear("down", 4 * WIDTH, WIDTH),
        *([{"type": "Dropout", "name": "drop_down", "p": dropout}] if dropout else []),
        residual("output", "residual", "drop_down" if dropout else "down"),
    ]
    return language_model(
        [
            {"type": "Embedding", "name": "wte", **table},
            {"type": "LearnedPositions", "name": "wpe", "num_positions": 16, "embedding_dim": WIDTH},
            {"type": "Sequential", "name": "h", "repeat": 2, "layers": block},
            {"type": "LayerNorm", "name": "ln_f", "normalized_shape": WIDTH},
            linear("head", WIDTH, vocabulary, bias=False, tied="table"),
        ],
        loss,
    )


def llama(loss=None):
    """Queries, keys and values of layers of their own, four heads on two; positions that turn; a head with a bias of its own."""
    no_bias = {"bias": False}
    attention = {"type": "ScaledDotProductAttention", "num_heads": 4, "num_key_value_heads": 2, "rotary_base": 10000.0, "is_causal": True}
    block = [
        {"type": "RMSNorm", "name": "norm_1", "normalized_shape": WIDTH},
        linear("q", WIDTH, WIDTH, **no_bias, inputs=["norm_1"]),
        linear("k", WIDTH, WIDTH // 2, **no_bias, inputs=["norm_1"]),
        linear("v", WIDTH, WIDTH // 2, **no_bias, inputs=["norm_1"]),
        {**attention, "name": "attention", "inputs": ["q", "k", "v"]},
        linear("out", WIDTH, WIDTH, **no_bias),
        residual("residual", "input", "out"),
        {"type": "RMSNorm", "name": "norm_2", "normalized_shape": WIDTH},
        linear("gate", WIDTH, 40, **no_bias, inputs=["norm_2"]),
        linear("up", WIDTH, 40, **no_bias, inputs=["norm_2"]),
        {"type": "SwiGLU", "name": "swiglu", "inputs": ["gate", "up"]},
        linear("down", 40, WIDTH, **no_bias),
        residual("output", "residual", "down"),
    ]
    return language_model(
        [
            {"type": "Embedding", "name": "tokens_in", "num_embeddings": VOCABULARY, "embedding_dim": WIDTH, "padding_idx": 3},
            {"type": "Sequential", "name": "layers", "repeat": 2, "layers": block},
            {"type": "RMSNorm", "name": "norm", "normalized_shape": WIDTH},
            linear("head", WIDTH, VOCABULARY),
        ],
        loss,
    )


MODELS = {
    "gpt": gpt(),
    "gpt_dropout": gpt(dropout=0.2),
    "gpt_smoothed": gpt(loss={"label_smoothing": 0.1, "ignore_index": 5}),
    "llama": llama(),
    "llama_ignored": llama(loss={"ignore_index": 0}),
}


def data_of_tests(folder):
    """The tokens of training once more."""
    data = folder / "data"
    data.mkdir()
    for name in ("tokens", "next"):
        (data / f"t10k-{name}-idx2-ubyte.gz").symlink_to(TOKENS / f"train-{name}-idx2-ubyte.gz")
    return data


class TensorTest(ProgramTest):
    def plan(self, model, ranks, *options, name="x.stage", **changes):
        path = model if isinstance(model, pathlib.Path) else self.write("model.json", model)
        sizes = {"train_micro_batch_size_per_gpu": 3, "gradient_accumulation_steps": 2}
        return self.compile(configuration(**{**sizes, **changes}), "--tensor-parallel", ranks, *options, model=path, name=name)

    def split(self, stage):
        """Names of the parameters that ranks split."""
        return {parameter["name"] for parameter in inspect(stage)["parameters"] if parameter["split"]}

    def assert_close(self, found, expected, distance):
        self.assertEqual(len(found), len(expected))
        for step, (a, b) in enumerate(zip(found, expected, strict=True), 1):
            self.assertLess(abs(a - b), distance * abs(b), f"step {step}: {a}, not {b}")


class Losses(TensorTest):
    """Of 50 steps, beside those of one tensor rank, in fp32."""

    def check(self, model, data, ranks=(2,), splits=None, distance=1e-5, **changes):
        alone = self.train(self.plan(model, 1, **changes), "--steps", 50, data=data)
        for count in ranks:
            stage = self.plan(model, count, **changes)
            if splits is not None:
                self.assertEqual(self.split(stage), splits)
            together = self.train(stage, "--steps", 50, data=data)
            self.assert_close(together["losses"], alone["losses"], distance)
            self.assertNotEqual(together["losses"], alone["losses"])

    def test_gpt(self):
        layers = ("qkv.weight", "qkv.bias", "out.weight", "up.weight", "up.bias", "down.weight")
        splits = {"wte.weight", *(f"h.{block}.{name}" for block in (0, 1) for name in layers)}
        self.check(MODELS["gpt"], TOKENS, (2, 4), splits)
        self.check(MODELS["gpt_smoothed"], TOKENS, (2,), splits)

    def test_llama(self):
        layers = ("q", "k", "v", "out", "gate", "up", "down")
        splits = {"tokens_in.weight", "head.weight", "head.bias", *(f"layers.{b}.{name}.weight" for b in (0, 1) for name in layers)}
        self.check(MODELS["llama"], TOKENS, (2,), splits)
        self.check(MODELS["llama_ignored"], TOKENS, (2,), splits)

    def test_three_ranks(self):
        """Which divide 24 columns of queries, but not four heads, nor 32 tokens."""
        self.check(MODELS["gpt"], TOKENS, (3,), {f"h.{b}.{name}" for b in (0, 1) for name in ("up.weight", "up.bias", "down.weight")})

    def test_fashion_mlp(self):
        self.check(SOURCE / "models/fashion_mlp/model.json", FASHION_DATA, (2, 4), {"fc1.weight", "fc1.bias", "fc2.weight"})

    def test_optimizers(self):
        for optimizer in ({"type": "SGD", "params": {"lr": 0.05, "momentum": 0.9}}, {"type": "Adagrad", "params": {"lr": 0.01}}):
            self.check(MODELS["gpt"], TOKENS, optimizer=optimizer)


def narrow(name, source, start, length, dim=2):
    return {"type": "Narrow", "name": name, "inputs": [source], "dim": dim, "start": start, "length": length}


def norm(name, **more):
    return {"type": "LayerNorm", "name": name, "normalized_shape": WIDTH, **more}


def graph(*layers, **more):
    """Behind an embedding of tokens."""
    return {**language_model([{"type": "Embedding", "name": "wte", "num_embeddings": VOCABULARY, "embedding_dim": WIDTH}, *layers]), **more}


def product(name, *inputs):
    return {"type": "Multiply", "name": name, "inputs": list(inputs)}


def head(name="head", **more):
    return linear(name, WIDTH, VOCABULARY, **more)


def cross_entropies(*logits):
    return {"loss": [{"type": "CrossEntropyLoss", "name": f"loss_{i}", "inputs": [name, "next"]} for i, name in enumerate(logits)], "metrics": []}


QKV = linear("qkv", WIDTH, 3 * WIDTH)
ATTENTION = {"type": "ScaledDotProductAttention", "name": "attention", "num_heads": 4, "is_causal": True}
OUT = linear("out", WIDTH, WIDTH)

# Layers that read split values in their own ways, and the weights that can be split for them.
GRAPHS = {
    # Queries, keys and values, which another layer reads as one row.
    "side": (graph(QKV, ATTENTION, OUT, linear("side", 72, WIDTH, inputs=["qkv"]), residual("sum", "out", "side"), norm("ln"), head()), {"head"}),
    "tokens": (
        graph(QKV, narrow("half", "qkv", 0, 6, dim=1), {**ATTENTION, "inputs": ["half"]}, OUT,
              {"type": "Concat", "name": "twice", "inputs": ["out", "out"], "dim": 1}, residual("sum", "twice", "wte"), head()),
        {"head"},
    ),
    "nested": (
        graph(linear("up", WIDTH, 48), narrow("a", "up", 0, 24), narrow("b", "up", 24, 24), narrow("a0", "a", 0, 12), narrow("a1", "a", 12, 12),
              product("m", "a0", "a1"), linear("d1", 12, WIDTH), linear("d2", WIDTH, WIDTH, inputs=["b"]), residual("s", "d1", "d2"), norm("ln"), head()),
        {"head"},
    ),
    "halves": (
        graph(linear("up", WIDTH, 48), narrow("a", "up", 0, 24), narrow("b", "up", 24, 24), product("m", "a", "b"), linear("down", WIDTH, WIDTH),
              norm("ln"), head()),
        {"up", "down", "head"},
    ),
    "logits_in_parts": (
        graph(head(), narrow("a", "head", 0, 16), narrow("b", "head", 16, 16), product("m", "a", "b"), linear("d", 16, WIDTH), head("head2"),
              **cross_entropies("head", "head2")),
        {"d", "head2"},
    ),
    "two_losses": (graph(head(), **cross_entropies("head", "head")), {"head"}),
    "early_head": (
        graph(linear("h1", WIDTH, WIDTH), norm("ln"), head(), linear("d", WIDTH, WIDTH, inputs=["ln"]), norm("ln2"), head("head2"),
              **cross_entropies("head", "head2")),
        {"head", "head2"},
    ),
    "frozen": (graph(linear("up", WIDTH, 48, trainable=False), {"type": "GELU", "name": "g"}, linear("down", 48, WIDTH, trainable=False), norm("ln"), head()), {"up", "down", "head"}),
}


class Graphs(TensorTest):
    def test_graphs(self):
        for name, (model, split) in GRAPHS.items():
            expected = self.train(self.plan(model, 1), "--steps", 5, data=TOKENS)["losses"]
            found = []
            for stages in (1, 2, 3):
                with self.subTest(name, stages=stages):
                    if stages < 3 or len(model["layers"]) > 2:
                        stage = self.plan(model, 2, "--stages", stages, "--partition", "uniform")
                        self.assertEqual({key.split(".")[0] for key in self.split(stage)}, split | {"wte"})
                        found.append(self.train(stage, "--steps", 5, data=TOKENS)["losses"])
                        self.assert_close(found[-1], expected, 1e-5)
                        self.assertEqual(found[-1], found[0])

    def test_a_model_without_a_loss(self):
        """Hands out whole values."""
        model = graph(linear("up", WIDTH, 48), linear("down", 48, WIDTH), linear("up2", WIDTH, 48), product("mul", "up", "up2"))
        model = {key: value for key, value in model.items() if key not in ("loss", "metrics")}
        model["inputs"] = model["inputs"][:1]
        path = self.write("model.json", model)
        (self.folder / "data").mkdir()
        (self.folder / "data" / "t10k-tokens-idx2-ubyte.gz").symlink_to(TOKENS / "train-tokens-idx2-ubyte.gz")
        outputs = []
        for ranks in (1, 2):
            stage = self.compile({"train_micro_batch_size_per_gpu": 3, "seed": 7}, "--tensor-parallel", ranks, model=path)
            made = self.folder / f"{ranks}.npz"
            self.run_ok("eval", stage, "--data", self.folder / "data", "--outputs", made)
            outputs.append(next(iter(read_npz(made).values())))
        self.assertEqual(outputs[0][0], outputs[1][0])
        for a, b in zip(outputs[0][1], outputs[1][1], strict=True):
            self.assertLess(abs(a - b), 1e-5)


class LossesOfModels(TensorTest):
    def test_gpt_mini(self):
        model = SOURCE / "models/gpt_mini/model.json"
        sizes = {"train_micro_batch_size_per_gpu": 1, "gradient_accumulation_steps": 1}
        alone = self.train(self.plan(model, 1, **sizes), "--steps", 50, data="synthetic", timeout=300)
        stage = self.plan(model, 2, **sizes)
        self.assertIn("wte.weight", self.split(stage))
        together = self.train(stage, "--steps", 50, data="synthetic", timeout=300)
        self.assert_close(together["losses"], alone["losses"], 1e-5)


class OneResult(TensorTest):
    """One set of bits for each number of replicas and of tensor ranks."""

    PIPELINES = [
        ("--stages", 1, "--schedule", "gpipe"),
        ("--stages", 2, "--schedule", "1f1b", "--partition", "uniform"),
        ("--stages", 3, "--schedule", "zb-h1", "--partition", "uniform"),
    ]

    def check(self, model, cases, replicas=1, tensor=2, **changes):
        """`cases`: (number of the pipeline, threads or processes, further settings)."""
        results = {}
        for number, (pipeline, ranks, more) in enumerate(cases):
            options = ("--data-parallel", replicas, *self.PIPELINES[pipeline])
            stage = self.plan(MODELS[model], tensor, *options, **{**changes, **more})
            done = self.train(stage, "--steps", 4, "--ranks", ranks, "--threads", 1 + number % 2, data=TOKENS)
            self.assertEqual(done["allocated_bytes"], done["planned_bytes"])
            results[number] = done["weights_sha256"], done["state_sha256"], tuple(done["losses"])
        self.assertEqual(len(set(results.values())), 1, results)

    def test_pipelines(self):
        cases = [(0, "threads", {}), (1, "processes", {}), (2, "threads", {})]
        cases += [(1, "threads", {"stagewright": {"recompute": kind}}) for kind in ("selective", "interval:1")]
        for model in ("gpt", "gpt_dropout", "llama_ignored"):
            self.check(model, cases)

    def test_sixteen_bits(self):
        for precision in ({"bf16": {"enabled": True}}, {"fp16": {"enabled": True, "initial_scale_power": 8}}):
            self.check("gpt_smoothed", [(0, "threads", {}), (1, "processes", {}), (2, "threads", {})], **precision)

    def test_replicas(self):
        zero = lambda stage, **more: {"zero_optimization": {"stage": stage, **more}}  # noqa: E731
        cases = [(0, "threads", zero(0)), (1, "processes", zero(1)), (0, "threads", zero(2)), (1, "threads", zero(3))]
        offload = {"offload_param": {"device": "cpu"}, "offload_optimizer": {"device": "nvme", "nvme_path": str(self.folder)}}
        cases += [(0, "threads", zero(3, **offload)), (1, "threads", zero(1, overlap_comm=False))]
        for model in ("gpt", "llama"):
            self.check(model, cases, replicas=2)

    def test_micro_batches(self):
        own = {"stagewright": {"gradient_reduction": "micro_batch"}}
        cases = [(0, "threads", {"zero_optimization": {"stage": stage}, **own}) for stage in (0, 2, 3)]
        self.check("gpt", [*cases, (1, "threads", cases[1][2])], replicas=2)


class Files(TensorTest):
    """A file of weights does not say how many ranks wrote it."""

    def test_weights(self):
        for model in ("gpt", "llama"):
            still = {"optimizer": {"type": "SGD", "params": {"lr": 0}}}
            hashes, files = set(), []
            for ranks in (1, 2, 4) if model == "gpt" else (1, 2):
                files.append(self.folder / f"{ranks}.safetensors")
                stage = self.plan(MODELS[model], ranks, **still)
                done = self.train(stage, "--steps", 1, "--save-weights", files[-1], data=TOKENS)
                again = self.train(stage, "--steps", 1, "--init", files[0], data=TOKENS)
                hashes |= {done["weights_sha256"], again["weights_sha256"]}
            self.assertEqual(len(hashes), 1, model)
            self.assertEqual(len({file.read_bytes() for file in files}), 1)

    def test_hugging_face_folders(self):
        """Whose tensors may be stored transposed, and hold queries, keys and values in one."""
        for name, split in (("gpt2", "transformer.h.0.attn.c_attn.weight"), ("llama", "model.layers.0.self_attn.k_proj.weight")):
            folder, results = GOLDENS / "huggingface" / name, []
            for ranks in (1, 2):
                stage = self.plan(folder, ranks)
                self.assertEqual(split in self.split(stage), ranks == 2)
                results.append(self.train(stage, "--steps", 4, "--init", folder, data="synthetic"))
            self.assert_close(results[1]["losses"], results[0]["losses"], 1e-5)

    def test_evaluation(self):
        """On the ranks of one replica, with the same rows of logits."""
        weights, reports, outputs = self.folder / "w.safetensors", [], []
        data = data_of_tests(self.folder)
        self.train(self.plan(MODELS["gpt"], 2), "--steps", 5, "--save-weights", weights, data=TOKENS)
        self.assertEqual(safetensors_file.read(weights)["h.0.qkv.weight"].shape, [3 * WIDTH, WIDTH])
        for ranks, options in ((1, ()), (2, ("--data-parallel", 2)), (2, ("--stages", 2))):
            stage = self.plan(MODELS["gpt"], ranks, *options)
            for mode in ("threads", "processes"):
                made = self.folder / "outputs.npz"
                arguments = ("--data", data, "--init", weights, "--ranks", mode, "--outputs", made, "--json")
                reports.append(self.run_ok("eval", stage, *arguments).json)
                shape, values = next(iter(read_npz(made).values()))
                self.assertEqual(list(shape[1:]), [12, VOCABULARY])
                outputs.append(values)
                made.unlink()
        self.assertEqual(len({(report["accuracy"], report["weights_sha256"]) for report in reports}), 1)
        self.assert_close([report["loss"] for report in reports], [reports[0]["loss"]] * len(reports), 1e-6)
        for values in outputs[1:]:
            self.assertLess(max(abs(a - b) for a, b in zip(values, outputs[0], strict=True)), 1e-4)
        self.assertEqual(outputs[2], outputs[3])


class Dropout(TensorTest):
    LAYERS = [{"type": "Flatten", "name": "flat"}, linear("up", 784, 16), {"type": "Dropout", "name": "drop", "p": 0.5}, linear("down", 16, 10)]

    def twins(self, dropout):
        """Weights behind a step that begins with hidden values whose halves, of one tensor rank each, are equal."""
        image = {"name": "image", "role": "feature", "dtype": "f32", "shape": [28, 28], "scale": 1.0, "mean": 0.0, "deviation": 1.0}
        label = {"name": "label", "role": "label", "dtype": "i32", "shape": []}
        layers = [layer for layer in self.LAYERS if dropout or layer["type"] != "Dropout"]
        model = {"name": "m", "inputs": [image, label], "layers": layers, "loss": {"type": "CrossEntropyLoss"}}
        sizes = {"up.weight": [16, 784], "up.bias": [16], "down.weight": [10, 16], "down.bias": [10]}
        header, body = {}, b""
        for name, shape in sizes.items():
            size = math.prod(shape)
            values = {"up.weight": lambda i: (i % (8 * 784) % 97 - 48) / 5000, "down.weight": lambda i: (i // 16 * 3 + i % 8 - 17) / 100}
            data = array.array("f", [values.get(name, lambda i: 0.0)(i) for i in range(size)]).tobytes()
            header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [len(body), len(body) + len(data)]}
            body += data
        text = json.dumps(header).encode()
        begin = self.write("begin.safetensors", struct.pack("<Q", len(text)) + text + body)
        stage = self.plan(model, 2, optimizer={"type": "SGD", "params": {"lr": 0.1}})
        self.assertEqual(self.split(stage), {"up.weight", "up.bias", "down.weight"})
        made = self.folder / "made.safetensors"
        self.train(stage, "--steps", 1, "--init", begin, "--save-weights", made)
        weights = safetensors_file.read(made)["up.weight"].values()
        return weights[: 8 * 784], weights[8 * 784 :]

    def test_ranks_draw_apart(self):
        first, second = self.twins(dropout=False)
        self.assertEqual(first, second)
        first, second = self.twins(dropout=True)
        self.assertNotEqual(first, second)

    def test_evaluation_drops_nothing(self):
        weights = self.folder / "w.safetensors"
        data = data_of_tests(self.folder)
        self.train(self.plan(MODELS["gpt_dropout"], 2), "--steps", 3, "--save-weights", weights, data=TOKENS)
        losses = [self.run_ok("eval", self.plan(MODELS["gpt_dropout"], ranks), "--data", data, "--init", weights, "--json").json["loss"] for ranks in (1, 2)]
        self.assert_close(losses[1:], losses[:1], 1e-6)


class Plan(TensorTest):
    def test_split_parameters_take_their_part(self):
        """Of weights, gradients and states: whole values begin at 64 bytes."""
        for model, ranks in itertools.product(("gpt", "llama"), (1, 2)):
            stage = self.plan(MODELS[model], ranks)
            report = inspect(stage)
            lines = whole = 0
            for parameter in report["parameters"]:
                elements = 1
                for size in parameter["shape"]:
                    elements *= size
                whole += elements
                elements //= ranks if parameter["split"] else 1
                lines += -(-4 * elements // 64) * 64
            (rank,) = report["ranks"]
            self.assertEqual(rank["bytes_by_class"]["parameters"], lines)
            self.assertEqual(rank["bytes_by_class"]["optimizer state"], 2 * lines)
            self.assertEqual(report["planned_bytes"], ranks * rank["planned_bytes"])
            self.assertIn(f"{whole:,} parameters", self.run_ok("inspect", stage).out)

    def test_gpt_mini(self):
        """Nearly all of a language model is split: a rank has half of it."""
        plans = [inspect(self.plan(SOURCE / "models/gpt_mini/model.json", ranks))["ranks"][0]["bytes_by_class"] for ranks in (1, 2)]
        for name in ("parameters", "gradients", "optimizer state", "derived"):
            self.assertLess(plans[1][name], 0.52 * plans[0][name], name)

    def test_bytes_sent_are_those_planned(self):
        for replicas, ranks, model, changes in ((1, 2, "gpt", {}), (2, 2, "llama", {"zero_optimization": {"stage": 1}}), (1, 2, "gpt", {"bf16": {"enabled": True}})):
            options = ("--stages", 2, "--partition", "uniform", "--data-parallel", replicas)
            stage = self.plan(MODELS[model], ranks, *options, **changes)
            few, many = (self.count_messages(stage, 2 * replicas * ranks, "--steps", steps, data=TOKENS) for steps in (2, 5))
            per_rank = [(sum(b) - sum(a)) / 3 for a, b in zip(few, many, strict=True)]
            for rank in inspect(stage)["ranks"]:
                each = replicas * ranks
                sent = sum(per_rank[rank["rank"] * each : (rank["rank"] + 1) * each])
                self.assertEqual(sent, sum(rank["sent_bytes"].values()), rank["sent_bytes"])
                self.assertGreater(rank["sent_bytes"]["inside of layers"], 0)

    def test_report(self):
        stage = self.plan(MODELS["gpt"], 2, "--data-parallel", 2, "--stages", 2)
        text = self.run_ok("inspect", stage, "--parameters").out
        self.assertIn("dimension 0 in sections of 24, 24, 24", text)
        self.assertIn("data parallel 2, tensor parallel 2", self.run_ok("inspect", stage).out)
        self.assertEqual(inspect(stage)["contract"]["tensor_parallel"], 2)


class Refusals(TensorTest):
    def refused(self, model, ranks, *options, **changes):
        path = self.write("model.json", model)
        config = self.write("config.json", configuration(**changes))
        done = run("compile", path, "-c", config, "--tensor-parallel", ranks, *options, "-o", self.folder / "x.stage")
        self.assertEqual(done.code, 2, str(done))
        return done.err

    def test_lamb(self):
        error = self.refused(MODELS["gpt"], 2, optimizer={"type": "Lamb", "params": {"lr": 1e-3}})
        self.assertIn("Lamb's trust ratio is of a whole parameter", error)

    def test_nothing_to_split(self):
        layers = [{"type": "Flatten", "name": "flat"}, linear("first", 784, 16), {"type": "LayerNorm", "name": "norm", "normalized_shape": 16}]
        image = {"name": "image", "role": "feature", "dtype": "f32", "shape": [28, 28], "scale": 1.0, "mean": 0.0, "deviation": 1.0}
        label = {"name": "label", "role": "label", "dtype": "i32", "shape": []}
        model = {"name": "m", "inputs": [image, label], "layers": [*layers, linear("last", 16, 9)], "loss": {"type": "CrossEntropyLoss"}}
        error = self.refused(model, 2)
        self.assertIn("no parameter of the model can be split over 2 tensor ranks", error)
        self.assertIn('layer_norm of layer "norm" works on whole tensors', error)
        self.assertIn("9 columns, which 2 tensor ranks cannot divide", error)
        self.assertIn("pipeline stages or replicas", error)

    def test_numbers(self):
        for ranks in (0, 257):
            self.assertIn("--tensor-parallel", self.refused(MODELS["gpt"], ranks))

    def test_key(self):
        stage = self.compile(configuration(tensor_parallel={"autotp_size": 2}), model=self.write("model.json", MODELS["gpt"]))
        self.assertEqual(inspect(stage)["recipe"]["tensor_parallel"], 2)
        stage = self.compile(configuration(tensor_parallel={"autotp_size": 0}), model=self.write("model.json", MODELS["gpt"]))
        self.assertEqual(inspect(stage)["recipe"]["tensor_parallel"], 1)


if __name__ == "__main__":
    unittest.main(verbosity=2)
