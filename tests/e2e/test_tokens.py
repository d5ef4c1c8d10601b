"""Language models: tokens as inputs, a class for each token."""
import json
import math
import struct
import unittest

from program import ProgramTest, configuration, run, write_idx

VOCABULARY, LENGTH = 5, 6


def model(layers, **changes):
    return {
        "name": "tokens",
        "inputs": [
            {"name": "tokens", "role": "feature", "dtype": "i32", "shape": [LENGTH]},
            {"name": "next", "role": "label", "dtype": "i32", "shape": [LENGTH]},
        ],
        "layers": layers,
        "loss": {"type": "CrossEntropyLoss"},
        "metrics": ["accuracy"],
        **changes,
    }


def embedding(name, **changes):
    return {"type": "Embedding", "name": name, "num_embeddings": VOCABULARY, "embedding_dim": VOCABULARY, **changes}


BIGRAM = model([embedding("table")])
# The tokens are read again behind two cuts.
TWICE = model(
    [
        embedding("first"),
        {"type": "Linear", "name": "mixed", "in_features": VOCABULARY, "out_features": VOCABULARY},
        {"type": "Tanh", "name": "tanh"},
        embedding("second", inputs=["tokens"]),
        {"type": "Add", "name": "sum", "inputs": ["tanh", "second"]},
    ]
)


def write_safetensors(path, tensors):
    """{name: (shape, values)}, all fp32."""
    header, body = {}, b""
    for name, (shape, values) in tensors.items():
        data = struct.pack(f"<{len(values)}f", *values)
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [len(body), len(body) + len(data)]}
        body += data
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + body)
    return path


def sequences(count):
    """`count` windows of LENGTH + 1 tokens; a token is mostly followed by its double plus one."""
    text = [1]
    for i in range(count * LENGTH):
        text.append((2 * text[-1] + 1 + (i * i) % 7 // 6) % VOCABULARY)
    return [text[i * LENGTH : (i + 1) * LENGTH + 1] for i in range(count)]


class Tokens(ProgramTest):
    def write_data(self, windows, split="train"):
        for name, part in (("tokens", slice(0, LENGTH)), ("next", slice(1, LENGTH + 1))):
            body = bytes(token for window in windows for token in window[part])
            write_idx(self.folder / f"{split}-{name}-idx2-ubyte", [len(windows), LENGTH], body)

    def compile_model(self, spec, *options, name="x.stage", **changes):
        return self.compile(configuration(**changes), *options, model=self.write("model.json", spec), name=name)

    def test_loss_and_accuracy_are_means_over_the_tokens(self):
        """A table of logits by hand; 21 samples do not fill the last batch."""
        windows = sequences(21)
        self.write_data(windows, "t10k")
        logits = [[math.sin(3 * i + j * j) for j in range(VOCABULARY)] for i in range(VOCABULARY)]
        weights = write_safetensors(
            self.folder / "w.safetensors", {"table.weight": ([VOCABULARY, VOCABULARY], sum(logits, []))}
        )
        stage = self.compile_model(BIGRAM, train_micro_batch_size_per_gpu=4, gradient_accumulation_steps=2)
        result = self.run_ok("eval", stage, "--data", self.folder, "--init", weights, "--json").json
        pairs = [pair for window in windows for pair in zip(window, window[1:])]
        losses = [math.log(sum(map(math.exp, logits[a]))) - logits[a][b] for a, b in pairs]
        right = sum(logits[a].index(max(logits[a])) == b for a, b in pairs)
        self.assertEqual(result["samples"], 21)
        self.assertLess(abs(result["loss"] - sum(losses) / len(pairs)), 1e-6)
        self.assertEqual(result["accuracy"], right / len(pairs))

    def test_tokens_reach_any_stage(self):
        """An embedding in the middle reads the model's input, under any cut."""
        self.write_data(sequences(64))
        results = set()
        for stages, schedule in ((1, "gpipe"), (2, "1f1b"), (4, "zb-h1"), (5, "gpipe")):
            stage = self.compile_model(
                TWICE, "--stages", stages, "--schedule", schedule, "--partition", "uniform",
                train_micro_batch_size_per_gpu=4, optimizer={"type": "Adam", "params": {"lr": 0.05}},
            )
            result = self.train(stage, "--epochs", 20, data=self.folder)
            results.add((result["weights_sha256"], result["state_sha256"], tuple(result["losses"])))
        self.assertEqual(len(results), 1)
        losses = next(iter(results))[2]
        self.assertLess(losses[-1], 0.5 * losses[0])

    def test_synthetic_tokens_are_in_the_vocabulary(self):
        stage = self.compile_model(TWICE, "--stages", 2)
        losses = self.train(stage, "--epochs", 1, data="synthetic")["losses"]
        self.assertEqual(len(losses), 8)
        self.assertTrue(all(map(math.isfinite, losses)))

    def test_mistakes_name_file_and_position(self):
        stage = self.compile_model(BIGRAM, train_micro_batch_size_per_gpu=1)
        for name, says in (
            ("tokens", "token 5 is not in the vocabulary of this model ([0, 5))"),
            ("next", "label 5 is not a class of this model ([0, 5))"),
        ):
            self.write_data(sequences(8))
            path = self.folder / f"train-{name}-idx2-ubyte"
            data = bytearray(path.read_bytes())
            data[-2] = VOCABULARY
            path.write_bytes(data)
            done = run("train", stage, "--data", self.folder)
            self.assertEqual(done.code, 2, str(done))
            self.assertIn(f"{path} at sample 7, position 4: {says}", done.err)
        self.write_data(sequences(8))
        write_idx(self.folder / "train-tokens-idx2-ubyte", [8, LENGTH], bytes(8 * LENGTH * 4), code=0x0D)
        done = run("train", stage, "--data", self.folder)
        self.assertEqual(done.code, 2, str(done))
        self.assertIn("tokens are integers, the file holds f32", done.err)


if __name__ == "__main__":
    unittest.main(verbosity=2)
