"""What models of sentences need: several inputs, masks of padding, the last layer's values as a file, models without a loss."""
import hashlib
import json
import math
import struct
import unittest
import zipfile

import safetensors_file
from program import GOLDENS, ProgramTest, configuration, run, write_idx
from test_graphs import GraphGoldens, PlanInvariance
from test_tokens import write_safetensors

LENGTH, SIZE, VOCABULARY = 5, 3, 7
BERT = GOLDENS / "bert"

# stages, schedule, threads, ranks, instruction set
PLANS = [
    (1, "gpipe", 1, "threads", "auto"),
    (2, "1f1b", 2, "threads", "avx2"),
    (3, "zb-h1", 2, "processes", "auto"),
    (5, "1f1b", 1, "threads", "auto"),
    (4, "gpipe", 1, "processes", "avx2"),
]


def read_npz(path):
    """{name: (shape, values)} of an archive of f32 arrays."""
    arrays = {}
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        for member in archive.infolist():
            data = archive.read(member)
            assert data[:8] == b"\x93NUMPY\x01\x00" and (10 + struct.unpack("<H", data[8:10])[0]) % 64 == 0
            end = 10 + struct.unpack("<H", data[8:10])[0]
            header = eval(data[10:end], {})
            assert header["descr"] == "<f4" and not header["fortran_order"]
            values = struct.unpack(f"<{math.prod(header['shape'])}f", data[end:])
            arrays[member.filename.removesuffix(".npy")] = header["shape"], list(values)
    return arrays


def sentences(count):
    """Tokens and masks of `count` samples: one to five tokens, then padding."""
    tokens = [[(3 * i + j * j) % VOCABULARY for j in range(LENGTH)] for i in range(count)]
    masks = [[int(j <= i % LENGTH) for j in range(LENGTH)] for i in range(count)]
    return tokens, masks


FEATURES = [{"name": name, "role": "feature", "dtype": "i32", "shape": [LENGTH]} for name in ("tokens", "mask")]
TABLE = {"type": "Embedding", "name": "table", "num_embeddings": VOCABULARY, "embedding_dim": SIZE, "inputs": ["tokens"]}
POOLING = [{"type": "MaskedMean", "name": "mean", "mask": "mask"}, {"type": "Normalize", "name": "unit"}]
LABEL = {"name": "label", "role": "label", "dtype": "i32", "shape": []}
SENTENCES = {
    "name": "sentences",
    "inputs": FEATURES,
    "layers": [
        TABLE,
        {"type": "LearnedPositions", "name": "positions", "num_positions": LENGTH, "embedding_dim": SIZE},
        {"type": "ScaledDotProductAttention", "name": "attention", "num_heads": 1, "key_mask": "mask",
         "inputs": ["positions", "positions", "positions"]},
        {"type": "Add", "name": "sum", "inputs": ["positions", "attention"]},
        *POOLING,
    ],
}
CLASSIFIER = {**SENTENCES, "inputs": [*FEATURES, LABEL], "layers": SENTENCES["layers"] + [
    {"type": "Linear", "name": "head", "in_features": SIZE, "out_features": 2}], "loss": {"type": "CrossEntropyLoss"}}


class Sentences(ProgramTest):
    """What the tests here share."""

    def write_samples(self, count=21, split="t10k", tokens=None, masks=None, labels=None):
        made = sentences(count)
        for name, rows in (("tokens", tokens or made[0]), ("mask", masks or made[1])):
            write_idx(self.folder / f"{split}-{name}-idx2-ubyte", [count, LENGTH], bytes(sum(rows, [])))
        write_idx(self.folder / f"{split}-labels-idx1-ubyte", [count], bytes(labels or [i % 2 for i in range(count)]))

    def compile_model(self, spec, *options, name="x.stage", **changes):
        return self.compile(configuration(**changes), *options, model=self.write("model.json", spec), name=name)

    def outputs(self, stage, *options, data=None, name="out.npz"):
        """The summary of an evaluation, and the arrays it wrote."""
        path = self.folder / name
        result = self.run_ok("eval", stage, "--data", data or self.folder, "--outputs", path, "--json", *options).json
        return result, read_npz(path)

    def refused(self, *arguments, code=2):
        done = run(*arguments)
        self.assertEqual(done.code, code, str(done))
        return done.err


class Outputs(Sentences):
    def test_values_in_the_order_of_the_data(self):
        """Rows of a table and their normalised means, by hand; 21 samples do not fill the last batch of 8."""
        self.write_samples()
        tokens, masks = sentences(21)
        table = [[math.sin(3 * i + j) for j in range(SIZE)] for i in range(VOCABULARY)]
        weights = write_safetensors(self.folder / "w.safetensors", {"table.weight": ([VOCABULARY, SIZE], sum(table, []))})
        stage = self.compile_model({**SENTENCES, "layers": [TABLE, *POOLING]}, "--stages", 2,
                                   train_micro_batch_size_per_gpu=4, gradient_accumulation_steps=2)
        result, arrays = self.outputs(stage, "--init", weights)
        self.assertEqual((result["samples"], result["loss"], result["accuracy"]), (21, None, None))
        shape, values = arrays.pop("outputs")
        self.assertEqual((shape, arrays), ((21, SIZE), {}))
        for i, (words, mask) in enumerate(zip(tokens, masks)):
            mean = [sum(table[word][j] * seen for word, seen in zip(words, mask)) / sum(mask) for j in range(SIZE)]
            norm = math.sqrt(sum(x * x for x in mean))
            for j in range(SIZE):
                self.assertLess(abs(values[i * SIZE + j] - mean[j] / norm), 1e-6, (i, j))

    def test_a_failed_evaluation_leaves_the_old_file(self):
        self.write_samples(masks=[[1, 2, 0, 0, 0]] * 21)
        stage = self.compile_model(SENTENCES, train_micro_batch_size_per_gpu=4, gradient_accumulation_steps=2)
        old = self.write("out.npz", "old")
        self.refused("eval", stage, "--data", self.folder, "--outputs", old)
        self.assertEqual(old.read_text(), "old")
        self.assertIn("cannot be written", self.refused("eval", stage, "--data", "synthetic", "--outputs", self.folder / "no" / "x"))

    def test_padding_does_not_matter(self):
        """Other tokens where the mask is 0 change nothing; another one where it is 1 does."""
        tokens, masks = sentences(21)
        other = [[word if seen else (word + 1) % VOCABULARY for word, seen in zip(*row)] for row in zip(tokens, masks)]
        stage = self.compile_model(SENTENCES, train_micro_batch_size_per_gpu=4, gradient_accumulation_steps=2)
        found = []
        for rows in (tokens, other, [[(row[0] + 1) % VOCABULARY, *row[1:]] for row in tokens]):
            self.write_samples(tokens=rows)
            found.append(self.outputs(stage)[1])
        self.assertEqual(found[0], found[1])
        self.assertNotEqual(found[0], found[2])


class OneFile(Sentences):
    """Every plan writes the same bytes."""

    def check(self, model, data, *options, **changes):
        hashes = set()
        for number, (stages, schedule, threads, ranks, isa) in enumerate(PLANS):
            stage = self.compile(
                configuration(train_micro_batch_size_per_gpu=3, gradient_accumulation_steps=4, **changes), "--stages", stages,
                "--schedule", schedule, "--partition", "uniform", model=model, name=f"{number}.stage",
            )
            path = self.folder / f"{number}.npz"
            result = self.run_ok("eval", stage, "--data", data, "--outputs", path, "--threads", threads, "--ranks", ranks,
                                 "--isa", isa, "--json", *options).json
            self.assertEqual(result["planned_bytes"], result["allocated_bytes"])
            hashes.add((hashlib.sha256(path.read_bytes()).hexdigest(), result["loss"], result["accuracy"]))
        self.assertEqual(len(hashes), 1)
        return read_npz(path)["outputs"]

    def test_without_a_loss(self):
        self.write_samples(100)
        shape, values = self.check(self.write("model.json", SENTENCES), self.folder)
        self.assertEqual(shape, (100, SIZE))
        for i in range(100):
            self.assertLess(abs(math.hypot(*values[i * SIZE : (i + 1) * SIZE]) - 1), 1e-6)

    def bert_data(self):
        """The samples of the golden, as test data."""
        for file in BERT.glob("train-*"):
            (self.folder / file.name.replace("train", "t10k")).symlink_to(file)
        return self.folder

    def test_bert(self):
        shape, _ = self.check(BERT / "model.json", self.bert_data(), "--init", BERT / "weights.safetensors")
        self.assertEqual(shape, (700, 3))

    def test_bert_in_16_bits(self):
        data = self.bert_data()
        for precision in ("bf16", "fp16"):
            _, values = self.check(BERT / "model.json", data, **{precision: {"enabled": True}})
            kept = 2**16 if precision == "bf16" else 2**13  # bits of an fp32 that such a value has not
            self.assertTrue(all(struct.unpack("<I", struct.pack("<f", x))[0] % kept == 0 for x in values))


class WithoutLoss(Sentences):
    def test_is_not_trained(self):
        stage = self.compile_model(SENTENCES, "--stages", 3, "--partition", "uniform", train_micro_batch_size_per_gpu=4)
        error = self.refused("train", stage, "--data", "synthetic")
        self.assertIn("the model has no loss", error)
        self.assertIn("eval --outputs", error)
        self.assertIn("loss none", self.run_ok("inspect", stage).out)

    def test_needs_no_memory_for_training(self):
        """No gradients and no optimizer states, and no values kept for a gradient."""
        plans = {}
        for name, spec in (("without", SENTENCES), ("with", CLASSIFIER)):
            stage = self.compile_model(spec, "--stages", 1, name=f"{name}.stage")
            arenas = self.run_ok("inspect", stage, "--memory", "--json").json["ranks"][0]["arenas"]
            plans[name] = {arena["name"] for arena in arenas}
        self.assertFalse(plans["without"] & {"gradients", "optimizer_state", "activations"}, plans)
        self.assertTrue(plans["with"] >= {"gradients", "optimizer_state", "activations"}, plans)

    def test_mistakes(self):
        for changes, says in (
            ({"inputs": [*FEATURES, LABEL]}, 'an input of the role "label", but no loss'),
            ({"metrics": ["accuracy"]}, '"accuracy" counts correct classes, but the model has no loss'),
            ({"layers": [{**TABLE, "tied": "k"}, *SENTENCES["layers"][1:3], {
                "type": "LearnedPositions", "name": "again", "num_positions": VOCABULARY, "embedding_dim": SIZE, "tied": "k"}, *POOLING]},
             "layers of a model without a loss share a weight"),
        ):
            error = self.refused("compile", self.write("model.json", {**SENTENCES, **changes}), "-c",
                                 self.write("config.json", configuration()), "-o", self.folder / "x.stage")
            self.assertIn(says, error)


class BadData(Sentences):
    def check_refused(self, stage, *says):
        error = self.refused("train", stage, "--data", self.folder)
        for text in says:
            self.assertIn(text, error)

    def test_masks_and_tokens(self):
        stage = self.compile_model(CLASSIFIER, train_micro_batch_size_per_gpu=1)
        masks = [[1, 1, 0, 0, 0]] * 10 + [[1, 1, 0, 2, 0]] + [[1, 1, 1, 0, 0]] * 10
        self.write_samples(split="train", masks=masks)
        self.check_refused(stage, "train-mask-idx2-ubyte at sample 10, position 3", "the mask is 2, neither 1 (a token) nor 0")
        tokens = [[0] * LENGTH] * 20 + [[1, VOCABULARY, 1, 1, 1]]
        self.write_samples(split="train", tokens=tokens)
        self.check_refused(stage, "train-tokens-idx2-ubyte at sample 20, position 1", "token 7 is not in the vocabulary")

    def test_two_vocabularies(self):
        """Each input is checked by the embedding that reads it."""
        spec = {**CLASSIFIER, "layers": [
            TABLE,
            {"type": "Embedding", "name": "kinds", "num_embeddings": 2, "embedding_dim": SIZE, "inputs": ["kind"]},
            {"type": "Add", "name": "sum", "inputs": ["table", "kinds"]},
            *CLASSIFIER["layers"][-3:],
        ], "inputs": [*FEATURES, {**FEATURES[0], "name": "kind"}, LABEL]}
        stage = self.compile_model(spec, train_micro_batch_size_per_gpu=1, gradient_accumulation_steps=3)
        self.write_samples(split="train")
        for last in (1, 2):
            write_idx(self.folder / "train-kind-idx2-ubyte", [21, LENGTH], bytes([0, 1] * 50 + [0, 1, 0, 1, last]))
            if last == 1:
                self.train(stage, data=self.folder)
        self.check_refused(stage, "train-kind-idx2-ubyte at sample 20, position 4", "token 2 is not in the vocabulary", "[0, 2)")

    def test_numbers_that_are_not_finite(self):
        spec = {
            "name": "numbers",
            "inputs": [{"name": "x", "role": "feature", "dtype": "f32", "shape": [4]}, {**LABEL, "dtype": "f32", "shape": [1]}],
            "layers": [{"type": "Linear", "name": "fc", "in_features": 4, "out_features": 1}],
            "loss": {"type": "MSELoss"},
        }
        stage = self.compile_model(spec, train_micro_batch_size_per_gpu=1, gradient_accumulation_steps=1)
        for value, says in ((math.nan, "not a number"), (-math.inf, "infinite")):
            x, y = [0.5] * 40, [1.0] * 10
            x[4 * 7 + 2] = value
            write_idx(self.folder / "train-images-idx2-float", [10, 4], struct.pack(">40f", *x), 0x0D)
            write_idx(self.folder / "train-labels-idx2-float", [10, 1], struct.pack(">10f", *y), 0x0D)
            self.check_refused(stage, "train-images-idx2-float at sample 7, position 2", says)
        y[3] = math.nan
        write_idx(self.folder / "train-images-idx2-float", [10, 4], struct.pack(">40f", *[0.5] * 40), 0x0D)
        write_idx(self.folder / "train-labels-idx2-float", [10, 1], struct.pack(">10f", *y), 0x0D)
        self.check_refused(stage, "train-labels-idx2-float at sample 3", "not a number")


class IgnoredLabels(Sentences):
    """The label that the loss ignores may stand in the data, and no other one outside the classes."""

    SPEC = {
        "name": "tagger",
        "inputs": [FEATURES[0], {**LABEL, "shape": [LENGTH]}],
        "layers": [{**TABLE, "embedding_dim": VOCABULARY}],
        "loss": {"type": "CrossEntropyLoss"},
        "metrics": ["accuracy"],
    }

    def write_labels(self, rows, split="t10k"):
        write_idx(self.folder / f"{split}-labels-idx2-int", [len(rows), LENGTH], struct.pack(f">{5 * len(rows)}i", *sum(rows, [])), 0x0C)

    def write_tagged(self, rows, split="t10k"):
        self.write_samples(len(rows), split)
        (self.folder / f"{split}-labels-idx1-ubyte").unlink()
        self.write_labels(rows, split)

    def test_loss_and_accuracy_are_means_over_the_others(self):
        tokens, _ = sentences(8)
        rows = [[(token * i) % VOCABULARY if (i + j) % 3 else -100 for j, token in enumerate(row)] for i, row in enumerate(tokens)]
        self.write_tagged(rows)
        logits = [[math.sin(3 * i + j * j) for j in range(VOCABULARY)] for i in range(VOCABULARY)]
        weights = write_safetensors(self.folder / "w.safetensors", {"table.weight": ([VOCABULARY] * 2, sum(logits, []))})
        for ranks in ("threads", "processes"):
            stage = self.compile_model(self.SPEC, train_micro_batch_size_per_gpu=8, gradient_accumulation_steps=1)
            got = self.run_ok("eval", stage, "--data", self.folder, "--init", weights, "--ranks", ranks, "--json").json
            pairs = [(a, b) for words, labels in zip(tokens, rows) for a, b in zip(words, labels) if b >= 0]
            losses = [math.log(sum(map(math.exp, logits[a]))) - logits[a][b] for a, b in pairs]
            right = sum(logits[a].index(max(logits[a])) == b for a, b in pairs)
            self.assertLess(abs(got["loss"] - sum(losses) / len(pairs)), 1e-6)
            self.assertEqual(got["accuracy"], right / len(pairs))

    def test_nothing_else_is_accepted(self):
        stage = self.compile_model(self.SPEC, train_micro_batch_size_per_gpu=2, gradient_accumulation_steps=1)
        rows = [[0, 1, -100, 2, 3]] * 6
        self.write_tagged(rows, "train")
        self.train(stage, data=self.folder)
        for label in (-99, -101, -1, VOCABULARY):
            self.write_labels([*rows[:4], [0, 1, label, 2, 3], rows[5]], "train")
            error = self.refused("train", stage, "--data", self.folder)
            self.assertIn("train-labels-idx2-int at sample 4, position 2", error)
            self.assertIn(f"label {label} is not a class of this model ([0, 7)), nor -100, which does not count", error)


class PaddingRow(Sentences):
    def test_begins_as_zeros_and_stays(self):
        self.write_samples(24, "train")
        for padding in (2, -5):
            spec = {**CLASSIFIER, "layers": [{**TABLE, "padding_idx": padding}, *CLASSIFIER["layers"][1:]]}
            stage = self.compile_model(spec, "--stages", 2, train_micro_batch_size_per_gpu=4,
                                       optimizer={"type": "AdamW", "params": {"lr": 0.1, "weight_decay": 0.1}})
            weights = self.folder / "w.safetensors"
            self.train(stage, "--epochs", 2, "--save-weights", weights, data=self.folder)
            table = safetensors_file.read(weights)["table.weight"].values()
            rows = [table[i * SIZE : (i + 1) * SIZE] for i in range(VOCABULARY)]
            self.assertEqual([any(row) for row in rows], [i != 2 for i in range(VOCABULARY)])

    def test_must_be_a_row(self):
        for padding in (VOCABULARY, -VOCABULARY - 1):
            spec = {**CLASSIFIER, "layers": [{**TABLE, "padding_idx": padding}, *CLASSIFIER["layers"][1:]]}
            error = self.refused("compile", self.write("model.json", spec), "-c", self.write("config.json", configuration()),
                                 "-o", self.folder / "x.stage")
            self.assertIn(f"has padding_idx {padding}, but 7 rows", error)


class Bert(GraphGoldens):
    """BERT's form against PyTorch: masks, two embeddings, dropout, the poolers of BERT and of sentence-transformers."""

    name = "bert"
    # Softmax does not see what is added to all keys.
    without_gradient = tuple(f"bert.encoder.layer.{i}.attention.self.key.bias" for i in range(2))

    def test_sgd(self):
        self.check_every_sgd()

    def test_adam(self):
        self.check_every_adam()


class OneResult(PlanInvariance):
    def test_bert(self):
        self.check("bert", data=BERT)

    def test_bert_in_bf16(self):
        self.check("bert", data=BERT, bf16={"enabled": True})


if __name__ == "__main__":
    unittest.main(verbosity=2)
