"""Language models: tokens as inputs, a class for each token; the formats of data other than IDX."""
import json
import math
import re
import struct
import unittest
import zipfile

from program import SOURCE, ProgramTest, configuration, run, write_idx

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
    """What the tests here share."""

    def write_data(self, windows, split="train"):
        for name, part in (("tokens", slice(0, LENGTH)), ("next", slice(1, LENGTH + 1))):
            body = bytes(token for window in windows for token in window[part])
            write_idx(self.folder / f"{split}-{name}-idx2-ubyte", [len(windows), LENGTH], body)

    def compile_model(self, spec, *options, name="x.stage", **changes):
        return self.compile(configuration(**changes), *options, model=self.write("model.json", spec), name=name)


class Models(Tokens):
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


class TokenFiles(Tokens):
    """train.bin gives the bits that IDX files of the same windows give."""

    def spec(self, vocabulary):
        return model([embedding("table", num_embeddings=vocabulary, embedding_dim=4),
                      {"type": "Linear", "name": "head", "in_features": 4, "out_features": vocabulary}])

    def result(self, stage, data):
        result = self.train(stage, "--epochs", 2, data=data)
        return result["steps"], result["weights_sha256"], result["losses"]

    def check(self, vocabulary, size):
        """A text whose last two tokens fill no window."""
        text = [(37 * i * i + 11 * i) % vocabulary for i in range(40 * LENGTH + 3)]
        self.write("train.bin", struct.pack(f"<{len(text)}{'H' if size == 2 else 'I'}", *text))
        idx = self.folder / "idx"
        idx.mkdir()
        for name, start in (("tokens", 0), ("next", 1)):
            part = text[start : start + 40 * LENGTH]
            write_idx(idx / f"train-{name}-idx2-int", [40, LENGTH], struct.pack(f">{len(part)}i", *part), code=0x0C)
        stage = self.compile_model(self.spec(vocabulary), "--stages", 2, train_micro_batch_size_per_gpu=4,
                                   gradient_accumulation_steps=2)
        expected = self.result(stage, idx)
        self.assertEqual(expected[0], 10)
        self.assertEqual(self.result(stage, self.folder / "train.bin"), expected)
        moved = self.folder / "moved"
        moved.mkdir()
        (self.folder / "train.bin").rename(moved / "train.bin")
        self.assertEqual(self.result(stage, moved), expected)
        (moved / "train.bin").rename(moved / "val.bin")
        self.assertEqual(self.run_ok("eval", stage, "--data", moved, "--json").json["samples"], 40)

    def test_short_tokens(self):
        self.check(50, 2)

    def test_wide_tokens(self):
        self.check(70000, 4)

    def test_mistakes_name_file_and_byte(self):
        stage = self.compile_model(BIGRAM, train_micro_batch_size_per_gpu=1, gradient_accumulation_steps=1)
        path, good = self.folder / "train.bin", [i % VOCABULARY for i in range(100)]

        def refused(data, *says):
            path.write_bytes(data)
            done = run("train", stage, "--data", path)
            self.assertEqual(done.code, 2, str(done))
            for word in says:
                self.assertIn(word, done.err)

        def short(tokens):
            return struct.pack(f"<{len(tokens)}H", *tokens)

        refused(b"", f"{path}: the file is empty")
        refused(short(good)[:-1], f"{path} at byte 198: the file ends inside a token", "uint16")
        refused(short(good[:LENGTH]), "has 6 tokens, fewer than one sample and its labels: 7")
        refused(short(good[:50] + [5] + good[51:]), f"{path} at byte 100: token 5 is not in the vocabulary")
        # The first token of the last window's labels that no window has as a token.
        refused(short(good[:96] + [7] + good[97:]), f"{path} at byte 192: label 7 is not a class")
        refused(struct.pack("<100I", *good), "32 bits", "uint16")
        path.write_bytes(short(good))
        self.train(stage, "--steps", 1, data=path)
        self.write("data_batch_1.bin", b"")
        done = run("train", stage, "--data", self.folder)
        self.assertIn("files of two formats, tokens and CIFAR-10", done.err)
        (self.folder / "data_batch_1.bin").unlink()
        image = model([{"type": "Linear", "name": "fc", "in_features": LENGTH, "out_features": 2}])
        image["inputs"][0]["dtype"], image["inputs"][1]["shape"] = "f32", []
        done = run("train", self.compile_model(image, name="image.stage"), "--data", self.folder)
        self.assertEqual(done.code, 2, str(done))
        self.assertIn("a file of tokens feeds a model with one feature and one label of dtype i32", done.err)


class Arrays(Tokens):
    """NumPy's files give the bits that IDX files of the same values give."""

    @staticmethod
    def npy(descr, shape, body, version=1, fortran=False):
        text = f"{{'descr': '{descr}', 'fortran_order': {fortran}, 'shape': ({', '.join(map(str, shape))},), }}"
        length = 2 if version == 1 else 4
        text += " " * (-(8 + length + len(text) + 1) % 64) + "\n"
        return b"\x93NUMPY" + bytes([version, 0]) + len(text).to_bytes(length, "little") + text.encode() + body

    def write_archive(self, name, arrays, method):
        with zipfile.ZipFile(self.folder / name, "w", method) as archive:
            for key, data in arrays.items():
                archive.writestr(f"{key}.npy", data)
        return self.folder / name

    def test_arrays_of_a_folder_and_of_archives(self):
        windows = sequences(30)
        stage = self.compile_model(TWICE, "--stages", 2, train_micro_batch_size_per_gpu=4)
        self.write_data(windows)
        expected = self.train(stage, "--epochs", 2, data=self.folder)["weights_sha256"]
        for split in ("tokens", "next"):
            (self.folder / f"train-{split}-idx2-ubyte").unlink()
        tokens, following = ([t for w in windows for t in w[part]] for part in (slice(0, LENGTH), slice(1, None)))
        arrays = {
            "tokens": self.npy("<i8", [30, LENGTH], struct.pack(f"<{len(tokens)}q", *tokens), version=2),
            "next": self.npy("|u1", [30, LENGTH], bytes(following)),
        }
        for name, data in arrays.items():
            self.write(f"train-{name}.npy", data)
        self.assertEqual(self.train(stage, "--epochs", 2, data=self.folder)["weights_sha256"], expected)
        for name in arrays:
            (self.folder / f"train-{name}.npy").unlink()
        stored = self.write_archive("any.npz", arrays, zipfile.ZIP_STORED)
        self.assertEqual(self.train(stage, "--epochs", 2, data=stored)["weights_sha256"], expected)
        # Ranks that do not want an array read its header.
        self.write_archive("train.npz", arrays, zipfile.ZIP_DEFLATED)
        result = self.train(stage, "--epochs", 2, "--ranks", "processes", data=self.folder)
        self.assertEqual(result["weights_sha256"], expected)

    def test_dimensions_stand_in_the_models_order(self):
        """Images with their channels last would be other images of as many numbers."""
        spec = model([{"type": "Flatten"}, {"type": "Linear", "name": "fc", "in_features": 6, "out_features": 3}])
        spec["inputs"] = [{"name": "image", "role": "feature", "dtype": "f32", "shape": [2, 3]},
                          {"name": "label", "role": "label", "dtype": "i32", "shape": []}]
        stage = self.compile_model(spec, "--stages", 1, train_micro_batch_size_per_gpu=4, gradient_accumulation_steps=1)
        values, labels = struct.pack("<48f", *(i / 48 for i in range(48))), self.npy("|u1", [8], bytes(i % 3 for i in range(8)))

        def train_on(shape):
            arrays = {"image": self.npy("<f4", shape, values), "label": labels}
            return run("train", stage, "--data", self.write_archive("x.npz", arrays, zipfile.ZIP_STORED), "--json")

        weights = {train_on(shape).json["weights_sha256"] for shape in ([8, 2, 3], [8, 6], [8, 2, 1, 3], [8, 1, 6])}
        self.assertEqual(len(weights), 1)
        for shape in ([8, 3, 2], [8, 3, 1, 2]):
            done = train_on(shape)
            self.assertEqual(done.code, 2, str(done))
            self.assertIn('x.npz, array image: a sample has the shape [3, ', done.err)
            self.assertIn('the model\'s input "image" has [2, 3]; write numpy.transpose', done.err)

    def test_mistakes_name_file_and_array(self):
        stage = self.compile_model(BIGRAM, train_micro_batch_size_per_gpu=1, gradient_accumulation_steps=1)
        body = bytes(4 * LENGTH)
        good = self.npy("|u1", [4, LENGTH], body)

        def refused(tokens, *says):
            path = self.write_archive("x.npz", {"tokens": tokens, "next": good}, zipfile.ZIP_DEFLATED)
            done = run("train", stage, "--data", path)
            self.assertEqual(done.code, 2, str(done))
            for word in [f"{path}, array tokens", *says]:
                self.assertIn(word, done.err)

        refused(b"", "not a .npy array")
        refused(good[:40], "ends inside its header")
        refused(good[:-1], "should have 24 bytes of values, it has 23")
        refused(self.npy(">i4", [4, LENGTH], body * 4), "type '>i4'", "little-endian")
        refused(self.npy("|u1", [4, LENGTH], body, fortran=True), "stored by columns", "ascontiguousarray")
        refused(self.npy("|u1", [0, LENGTH], b""), "empty shape")
        refused(self.npy("<f2", [4, LENGTH], body * 2), "type '<f2' cannot", "astype")
        refused(self.npy("<f8", [1 << 39, 1 << 39], b""), "impossible")
        refused(self.npy("|u1", [4, LENGTH + 1], body + bytes(4)), "a sample has 7 values")
        refused(self.npy("|u1", [4, LENGTH], body[:-2] + b"\x09\x01"), "at sample 3, position 4: token 9")
        refused(self.npy("<f4", [4, LENGTH], body * 4), "tokens are integers, the file holds f32")
        path = self.write_archive("x.npz", {"tokens": good}, zipfile.ZIP_STORED)
        self.assertRegex(run("train", stage, "--data", path).err, 'there is no array "next".*the file has tokens')
        path.write_bytes(path.read_bytes().replace(body, b"\x01" + body[1:]))
        self.assertIn("cannot be unpacked: CRC error", run("train", stage, "--data", path).err)
        path.write_bytes(b"PK")
        self.assertIn("cannot read the archive", run("train", stage, "--data", path).err)


class Cifar(Tokens):
    def test_batches_are_one_after_the_other(self):
        spec = model([{"type": "Flatten"}, {"type": "Linear", "name": "fc", "in_features": 3072, "out_features": 10}])
        spec["inputs"] = [{"name": "image", "role": "feature", "dtype": "f32", "shape": [3, 32, 32], "scale": 0.001},
                          {"name": "label", "role": "label", "dtype": "i32", "shape": []}]
        stage = self.compile_model(spec, "--stages", 1, train_micro_batch_size_per_gpu=4, gradient_accumulation_steps=2)
        records = [(7 * i % 10, bytes((i * j) % 251 for j in range(3072))) for i in range(24)]
        for number, part in ((1, records[:8]), (2, records[8:])):
            self.write(f"data_batch_{number}.bin", b"".join(bytes([label]) + image for label, image in part))
        idx = self.folder / "idx"
        idx.mkdir()
        write_idx(idx / "train-images-idx4-ubyte", [24, 3, 32, 32], b"".join(image for _, image in records))
        write_idx(idx / "train-labels-idx1-ubyte", [24], bytes(label for label, _ in records))
        expected = self.train(stage, "--epochs", 2, data=idx)["weights_sha256"]
        self.assertEqual(self.train(stage, "--epochs", 2, data=self.folder)["weights_sha256"], expected)
        self.assertIn("there is no test data", run("eval", stage, "--data", self.folder).err)
        for data, says in (
            (bytes(3072), "data_batch_1.bin at byte 0: the file ends inside a record"),
            (bytes(3073) + b"\x0a" + bytes(3072), "data_batch_1.bin at byte 3073: a record of CIFAR-10 begins with a label"),
        ):
            self.write("data_batch_1.bin", data)
            done = run("train", stage, "--data", self.folder)
            self.assertEqual(done.code, 2, str(done))
            self.assertIn(says, done.err)


class GptMini(ProgramTest):
    """models/gpt_mini compiles to the plan that its page states."""

    MODEL = SOURCE / "models" / "gpt_mini"

    def test_plan(self):
        stage = self.folder / "x.stage"
        self.run_ok("compile", self.MODEL, "-o", stage)
        summary = self.run_ok("inspect", stage).out
        stated = re.search(r"([0-9,]+) parameters.*needs ([0-9.]+ MiB)", (self.MODEL / "README.md").read_text(), re.S)
        self.assertIn(f"10 blocks, {stated[1]} parameters", summary)
        self.assertIn(f"({stated[2]})", summary)

    def test_initial_tables(self):
        """init_std is the deviation of what they begin with; a tied head has no values of its own."""
        stage = self.folder / "x.stage"
        self.run_ok("compile", self.MODEL, "-o", stage)
        known = {entry["name"]: entry["initializer"] for entry in self.run_ok("inspect", stage, "--json").json["parameters"]}
        self.assertEqual(known["wte.weight"], {"kind": "normal", "bound": 0.02, "value": 0.0})
        self.assertEqual(known["wpe.weight"], known["wte.weight"])
        self.assertNotIn("head.weight", known)


if __name__ == "__main__":
    unittest.main(verbosity=2)
