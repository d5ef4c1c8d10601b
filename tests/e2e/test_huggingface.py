"""Models of Hugging Face folders: what transformers computes, its names and shapes, and a way back.

The folders under tests/goldens/huggingface are transformers' own, see make_huggingface_goldens.py.
"""
import json
import math
import pathlib
import shutil
import struct
import unittest

import safetensors_file
from program import GOLDENS, ProgramTest, run
from test_sentences import read_npz

FOLDERS = GOLDENS / "huggingface"
TOLERANCE = 1e-5


def write_tensors(path, tensors):
    """{name: (dtype, shape, bytes)} as a safetensors file."""
    header, body = {}, b""
    for name, (dtype, shape, data) in tensors.items():
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [len(body), len(body) + len(data)]}
        body += data
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + body)
    return path


def tensors_of(folder):
    """{name: (dtype, shape, bytes)} of all safetensors files of a model's folder."""
    found = {}
    for path in sorted(folder.glob("model*.safetensors")):
        for name, tensor in safetensors_file.read(path).items():
            found[name] = (tensor.dtype, tensor.shape, tensor.data)
    return found


def transposed(shape, data):
    rows, columns = shape
    values = struct.unpack(f"<{rows * columns}f", data)
    return struct.pack(f"<{rows * columns}f", *(values[r * columns + c] for c in range(columns) for r in range(rows)))


class FolderTest(ProgramTest):
    def golden(self, name):
        return json.loads((FOLDERS / name / "golden.json").read_text())

    def prepare(self, name, *options, **changes):
        """Compiles a golden's folder and writes its data; returns the stage and the golden."""
        golden = self.golden(name)
        config = {
            "train_micro_batch_size_per_gpu": 2,
            "gradient_accumulation_steps": golden["batch"] // 2,
            "optimizer": {"type": "SGD", "params": {"lr": golden["learning_rate"]}},
            "gradient_clipping": 0.0,
            "steps_per_print": 0,
            "seed": 7,
            **changes,
        }
        stage = self.compile(config, "--sequence-length", golden["length"], *options, model=FOLDERS / name)
        for file, key in (("train.bin", "train_tokens"), ("val.bin", "test_tokens")):
            self.write(file, struct.pack(f"<{len(golden[key])}H", *golden[key]))
        count = (len(golden["train_tokens"]) - 1) // golden["length"]
        self.order = self.write("order.txt", "".join(f"{i}\n" for i in range(count)))
        return stage, golden

    def evaluate(self, stage, init):
        return self.run_ok("eval", stage, "--data", self.folder, "--init", init, "--json").json

    def outputs(self, stage, init):
        """What the last layer gives: shape and values."""
        out = self.folder / "out.npz"
        self.run_ok("eval", stage, "--data", self.folder, "--init", init, "--outputs", out)
        shape, values = read_npz(out)["outputs"]
        return list(shape), values

    def assertOutputs(self, found, path, key):
        expected = safetensors_file.read(path)[key]
        shape, values = found
        self.assertEqual(shape, expected.shape)
        most = max(map(abs, expected.values()))
        difference = max(abs(value - wanted) for value, wanted in zip(values, expected.values()))
        self.assertLess(difference, TOLERANCE * most)

    def train_golden(self, stage, *options, init):
        return self.train(stage, "--init", init, "--sample-order", self.order, "--epochs", 1, *options, data=self.folder)

    def assertNear(self, value, expected):
        self.assertLess(abs(value - expected), TOLERANCE * abs(expected), f"{value} is not {expected}")

    def refused(self, *arguments, code=2):
        done = run(*arguments)
        self.assertEqual(done.code, code, str(done))
        return done.err


class Transformers(FolderTest):
    """The losses of transformers itself, in evaluation and over five steps of training."""

    def check(self, name, *options):
        stage, golden = self.prepare(name, *options)
        self.assertNear(self.evaluate(stage, FOLDERS / name)["loss"], golden["test_loss"])
        self.assertOutputs(self.outputs(stage, FOLDERS / name), FOLDERS / name / "logits.safetensors", "logits")
        losses = self.train_golden(stage, init=FOLDERS / name)["losses"]
        self.assertEqual(len(losses), len(golden["train_losses"]))
        for loss, expected in zip(losses, golden["train_losses"]):
            self.assertNear(loss, expected)

    def test_gpt2(self):
        self.check("gpt2")

    def test_llama(self):
        self.check("llama", "--stages", 2, "--schedule", "1f1b")

    def test_mistral_with_a_tied_head(self):
        self.check("mistral", "--stages", 2)

    def test_qwen2_in_shards(self):
        self.check("qwen2", "--stages", 3)


class OneResult(FolderTest):
    def test_stages_do_not_change_a_bit(self):
        """GPT-2's head is the table of its tokens: on two stages, and in the saved file once, transposed back."""
        for name in ("llama", "gpt2"):
            hashes, files = set(), set()
            for stages, ranks in ((1, "threads"), (2, "processes"), (4, "threads")):
                stage, _ = self.prepare(name, "--stages", stages, optimizer={"type": "AdamW", "params": {"lr": 0.01}})
                saved = self.folder / "saved.safetensors"
                trained = self.train_golden(stage, "--ranks", ranks, "--save-weights", saved, init=FOLDERS / name)
                hashes.add((trained["state_sha256"], trained["weights_sha256"]))
                files.add(saved.read_bytes())
            self.assertEqual((len(hashes), len(files)), (1, 1), name)

    def test_processes_read_the_folder_as_threads_do(self):
        stage, _ = self.prepare("qwen2", "--stages", 2)
        hashes = {
            self.train_golden(stage, "--ranks", ranks, init=FOLDERS / "qwen2")["state_sha256"]
            for ranks in ("threads", "processes")
        }
        self.assertEqual(len(hashes), 1)

    def test_shards_and_one_file_are_the_same(self):
        stage, _ = self.prepare("qwen2")
        whole = self.folder / "whole"
        whole.mkdir()
        file = write_tensors(whole / "model.safetensors", tensors_of(FOLDERS / "qwen2"))
        hashes = {self.evaluate(stage, init)["weights_sha256"] for init in (FOLDERS / "qwen2", whole, file)}
        self.assertEqual(len(hashes), 1)

    def test_dropout_of_the_configuration(self):
        """Probabilities above 0 become layers: another loss in training, none in evaluation."""
        folder = self.folder / "model"
        shutil.copytree(FOLDERS / "gpt2", folder)
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps({**config, "attn_pdrop": 0.1, "resid_pdrop": 0.1, "embd_pdrop": 0.1}))
        stage, golden = self.prepare("gpt2")
        dropping = self.folder / "dropping.stage"
        self.run_ok("compile", folder, "-c", self.folder / "x.stage.config.json", "--sequence-length", golden["length"],
                    "-o", dropping)
        self.assertEqual(self.evaluate(dropping, folder)["loss"], self.evaluate(stage, folder)["loss"])
        losses = self.train_golden(dropping, init=folder)["losses"]
        self.assertTrue(all(math.isfinite(loss) for loss in losses))
        self.assertNotEqual(losses[0], self.train_golden(stage, init=folder)["losses"][0])
        text = self.run_ok("inspect", dropping).out
        self.assertIn("transformer.drop", text)


class Weights(FolderTest):
    """Which files are read, and how those are refused that are not."""

    def setUp(self):
        super().setUp()
        self.stage, _ = self.prepare("gpt2")
        self.tensors = tensors_of(FOLDERS / "gpt2")
        self.expected = self.evaluate(self.stage, FOLDERS / "gpt2")["weights_sha256"]

    def folder_with(self, tensors, name="model.safetensors"):
        folder = self.folder / "weights"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        write_tensors(folder / name, tensors)
        return folder

    def error(self, init):
        return self.refused("eval", self.stage, "--data", self.folder, "--init", init)

    def test_names_as_transformers_takes_them(self):
        """Without the prefix of the base model; buffers of masks; the table's copy for the head."""
        tensors = {name.removeprefix("transformer."): value for name, value in self.tensors.items()}
        tensors["h.0.attn.bias"] = ("U8", [1, 1, 4, 4], bytes(16))
        tensors["h.1.attn.masked_bias"] = ("F32", [], bytes(4))
        tensors["lm_head.weight"] = self.tensors["transformer.wte.weight"]
        self.assertEqual(self.evaluate(self.stage, self.folder_with(tensors))["weights_sha256"], self.expected)

    def test_halves_are_widened(self):
        def cut(data):  # to bf16's bits
            return b"".join(b"\0\0" + data[i + 2 : i + 4] for i in range(0, len(data), 4))

        wide = {name: (dtype, shape, cut(data)) for name, (dtype, shape, data) in self.tensors.items()}
        bf16 = {name: ("BF16", shape, b"".join(data[i + 2 : i + 4] for i in range(0, len(data), 4)))
                for name, (_, shape, data) in wide.items()}
        f16, as_f32 = {}, {}
        for number, (name, (_, shape, data)) in enumerate(self.tensors.items()):
            values = struct.unpack(f"<{len(data) // 4}f", data)
            scale = 2.0 ** -20 if number % 5 == 0 else 1  # subnormal numbers too
            half = struct.pack(f"<{len(values)}e", *(value * scale for value in values))
            f16[name] = ("F16", shape, half)
            as_f32[name] = ("F32", shape, struct.pack(f"<{len(values)}f", *struct.unpack(f"<{len(values)}e", half)))
        for narrow, same in ((bf16, wide), (f16, as_f32)):
            hashes = {self.evaluate(self.stage, self.folder_with(tensors))["weights_sha256"] for tensors in (narrow, same)}
            self.assertEqual(len(hashes), 1)
            self.assertNotEqual(hashes, {self.expected})

    def test_tensors_of_another_model_are_listed(self):
        tensors = dict(self.tensors)
        tensors["transformer.h.0.attn.c_atn.weight"] = tensors.pop("transformer.h.0.attn.c_attn.weight")
        dtype, shape, data = tensors["transformer.h.1.mlp.c_fc.weight"]
        tensors["transformer.h.1.mlp.c_fc.weight"] = (dtype, shape[::-1], data)
        tensors["lm_head.weight"] = ("F32", [1, 32], bytes(128))
        folder = self.folder_with(tensors)
        text = self.error(folder)
        for words in (str(folder), "missing: transformer.h.0.attn.c_attn.weight",
                      "transformer.h.0.attn.c_atn.weight (nearest: transformer.h.0.attn.c_attn.weight)",
                      "transformer.h.1.mlp.c_fc.weight ([80, 32], not [32, 80])", "lm_head.weight ([1, 32], not [97, 32])"):
            self.assertIn(words, text)
        twice = {**self.tensors, "wte.weight": self.tensors["transformer.wte.weight"]}
        self.assertIn("twice: wte.weight", self.error(self.folder_with(twice)).replace("transformer.wte", "wte"))
        integers = {**self.tensors, "transformer.ln_f.bias": ("I32", [32], bytes(128))}
        self.assertIn("transformer.ln_f.bias (I32, not F32)", self.error(self.folder_with(integers)))

    def test_folders_that_are_refused(self):
        folder = self.folder / "empty"
        folder.mkdir()
        self.assertIn("neither model.safetensors nor model.safetensors.index.json", self.error(folder))
        (folder / "pytorch_model.bin").write_bytes(b"x")
        self.assertIn("save_pretrained", self.error(folder))
        (folder / "model.safetensors").mkdir()
        self.assertIn("not a regular file", self.error(folder))

    def test_hostile_indexes(self):
        folder = self.folder_with(self.tensors, "part.safetensors")
        index = folder / "model.safetensors.index.json"
        good = {name: "part.safetensors" for name in self.tensors}
        index.write_text(json.dumps({"weight_map": good}))
        self.assertEqual(self.evaluate(self.stage, folder)["weights_sha256"], self.expected)
        outside = self.folder / "outside.safetensors"
        shutil.copy(folder / "part.safetensors", outside)
        for shard in ("../outside.safetensors", str(outside), "..", "", "a\0b", 7):
            index.write_text(json.dumps({"weight_map": {**good, "transformer.wte.weight": shard}}))
            self.assertIn("no name of a file in this folder", self.error(folder))
        index.write_text(json.dumps({"weight_map": {**good, "other.weight": "part.safetensors"}}))
        self.assertIn('there is no tensor "other.weight"', self.error(folder))
        index.write_text(json.dumps({"weight_map": {**good, "other.weight": "gone.safetensors"}}))
        self.assertIn("gone.safetensors", self.error(folder))
        for text in ("[]", "{", "{}", '{"weight_map": []}', '{"weight_map": {}}', '{"weight_map": {"a": "b", "a": "b"}}',
                     "[" * 100000):
            index.write_text(text)
            self.assertIn(str(index), self.error(folder))
        shutil.copy(folder / "part.safetensors", folder / "more.safetensors")
        index.write_text(json.dumps({"weight_map": {**good, "transformer.wte.weight": "more.safetensors"}}))
        self.assertIn("twice: ", self.error(folder))

    def test_hostile_files(self):
        path = FOLDERS / "gpt2" / "model.safetensors"
        whole = path.read_bytes()
        (size,) = struct.unpack("<Q", whole[:8])
        head, body = whole[8 : 8 + size], whole[8 + size :]

        def with_header(text):
            return struct.pack("<Q", len(text)) + text + body

        header = json.loads(head)
        entry = header["transformer.wte.weight"]["data_offsets"]
        moved = {**header, "transformer.wte.weight": {**header["transformer.wte.weight"], "data_offsets": [entry[0] - 4, entry[1] - 4]}}
        beyond = {**header, "transformer.wte.weight": {**header["transformer.wte.weight"], "data_offsets": [entry[0] + 2**40, entry[1] + 2**40]}}
        for data in (b"", whole[:7], whole[:100], whole[:-1], struct.pack("<Q", 2**63) + whole[8:],
                     with_header(json.dumps(moved).encode()), with_header(json.dumps(beyond).encode()),
                     with_header(head.rstrip()[:-1] + b',"transformer.wte.weight":{}}'), with_header(b"\xff" * 64)):
            broken = self.write("broken.safetensors", data)
            self.assertIn(str(broken), self.error(broken))


class Export(FolderTest):
    def export(self, stage, init, *options, name="out"):
        out = self.folder / name
        result = self.run_ok("export", stage, "--init", init, "-o", out, *options, "--json").json
        self.assertEqual(result["output"], str(out))
        return out

    def test_the_way_there_and_back_changes_no_bit(self):
        for name in ("gpt2", "qwen2"):
            stage, _ = self.prepare(name)
            out = self.export(stage, FOLDERS / name, name=f"out-{name}")
            self.assertEqual(sorted(path.name for path in out.iterdir()), ["config.json", "model.safetensors"])
            self.assertEqual(tensors_of(out), tensors_of(FOLDERS / name))
            self.assertEqual(*(json.loads((folder / "config.json").read_text()) for folder in (out, FOLDERS / name)))
            # Through the memory of a run, too.
            saved = self.folder / "w.safetensors"
            frozen, _ = self.prepare(name, "--stages", 2 if name == "qwen2" else 1,
                                     optimizer={"type": "SGD", "params": {"lr": 0.0}})
            self.train_golden(frozen, "--save-weights", saved, init=FOLDERS / name)
            again = self.export(stage, saved, name=f"again-{name}")
            self.assertEqual(tensors_of(again), tensors_of(FOLDERS / name))

    def test_trained_weights(self):
        """A folder that was exported begins where the training ended."""
        stage, _ = self.prepare("gpt2")
        saved = self.folder / "w.safetensors"
        trained = self.train_golden(stage, "--save-weights", saved, init=FOLDERS / "gpt2")
        out = self.export(stage, saved)
        self.assertNotEqual(tensors_of(out), tensors_of(FOLDERS / "gpt2"))
        self.assertEqual(self.evaluate(stage, out)["weights_sha256"], trained["weights_sha256"])

    def test_conv1d_weights_are_stored_as_transformers_has_them(self):
        """In a file of a model that is no Hugging Face folder's they would be the other way round."""
        stage, _ = self.prepare("gpt2", optimizer={"type": "SGD", "params": {"lr": 0.0}})
        saved = self.folder / "w.safetensors"
        self.train_golden(stage, "--save-weights", saved, init=FOLDERS / "gpt2")
        weight = "transformer.h.0.attn.c_proj.weight"
        stored, original = (safetensors_file.read(path)[weight] for path in (saved, FOLDERS / "gpt2" / "model.safetensors"))
        self.assertEqual(stored.data, original.data)
        self.assertNotEqual(stored.data, transposed([32, 32], original.data))

    def test_older_folders(self):
        stage, _ = self.prepare("gpt2")
        out = self.export(stage, FOLDERS / "gpt2")
        before = self.listing()
        again = ("export", stage, "--init", FOLDERS / "gpt2", "-o", out)
        self.assertIn("--force", self.refused(*again))
        (out / "other").write_text("x")
        self.run_ok(*again, "--force")
        self.assertEqual(self.listing(), before)
        precious = self.folder / "precious"
        precious.mkdir()
        (precious / "thesis").write_text("x")
        self.assertIn("not replaced", self.refused(*again[:-1], precious, "--force"))
        self.assertIn("out", self.refused(*again[:-1], out / "config.json", "--force"))
        self.assertIn("gone", self.refused(*again[:-1], self.folder / "gone" / "out"))
        self.assertEqual(self.listing(), sorted(before + ["precious", "precious/thesis"]))

    def test_tokenizer(self):
        stage, _ = self.prepare("gpt2")
        source = self.folder / "tokenizer"
        source.mkdir()
        command = ("export", stage, "--init", FOLDERS / "gpt2", "-o", self.folder / "out", "--tokenizer", source)
        self.assertIn("no files of a tokenizer", self.refused(*command))
        self.assertFalse((self.folder / "out").exists())
        (source / "tokenizer.json").write_text("{}")
        (source / "other.json").write_text("{}")
        self.run_ok(*command)
        self.assertTrue((self.folder / "out" / "tokenizer.json").exists())
        self.assertFalse((self.folder / "out" / "other.json").exists())

    def test_halves_become_fp32(self):
        folder = self.folder / "half"
        shutil.copytree(FOLDERS / "llama", folder)
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps({**config, "dtype": "bfloat16"}))
        tensors = {name: ("BF16", shape, b"".join(data[i + 2 : i + 4] for i in range(0, len(data), 4)))
                   for name, (_, shape, data) in tensors_of(FOLDERS / "llama").items()}
        write_tensors(folder / "model.safetensors", tensors)
        self.prepare("llama")
        stage = self.folder / "half.stage"
        self.run_ok("compile", folder, "-c", self.folder / "x.stage.config.json", "-o", stage)
        out = self.export(stage, folder)
        self.assertEqual(json.loads((out / "config.json").read_text())["dtype"], "float32")
        for name, (dtype, shape, data) in tensors_of(out).items():
            self.assertEqual((dtype, shape), ("F32", tensors[name][1]))
            self.assertEqual(b"".join(data[i + 2 : i + 4] for i in range(0, len(data), 4)), tensors[name][2])

    def test_models_of_no_folder_are_refused(self):
        stage = self.compile({"train_micro_batch_size_per_gpu": 4})
        text = self.refused("export", stage, "--init", FOLDERS / "gpt2", "-o", self.folder / "out")
        self.assertIn("not compiled from a Hugging Face folder", text)


class Compile(FolderTest):
    def test_phases_keep_what_the_folder_says(self):
        stage, golden = self.prepare("gpt2")
        config = self.folder / "x.stage.config.json"
        for phase in ("import", "lower"):
            text, again = self.folder / f"{phase}.mlir", self.folder / f"{phase}.stage"
            self.run_ok("compile", FOLDERS / "gpt2", "-c", config, "--sequence-length", golden["length"],
                        "--compile-to", phase, "-o", text)
            self.run_ok("compile", "--resume-from", text, "-o", again)
            self.assertEqual(again.read_bytes(), stage.read_bytes())

    def test_which_folder_it_is(self):
        folder = self.folder / "model"
        shutil.copytree(FOLDERS / "gpt2", folder)
        config = self.write("config.json", {"train_micro_batch_size_per_gpu": 2})
        out = self.folder / "x.stage"
        self.assertIn("-c CONFIG; the folder's config.json describes the model", self.refused("compile", folder, "-o", out))
        (folder / "model.json").write_text("{}")
        self.assertIn("model.json, and a config.json with", self.refused("compile", folder, "-c", config, "-o", out))
        (folder / "model.json").unlink()
        (folder / "config.json").write_text("{}")
        self.assertIn('neither "architectures" nor "model_type"', self.refused("compile", folder, "-c", config, "-o", out))
        (folder / "config.json").unlink()
        self.assertIn("neither model.json nor", self.refused("compile", folder, "-c", config, "-o", out))
        self.assertFalse(out.exists())

    def test_sequence_length(self):
        config = self.write("config.json", {"train_micro_batch_size_per_gpu": 2})
        out = self.folder / "x.stage"
        self.assertIn('"n_positions" is 24, fewer than --sequence-length 25',
                      self.refused("compile", FOLDERS / "gpt2", "-c", config, "--sequence-length", 25, "-o", out))
        self.assertIn("Hugging Face folders", self.refused(
            "compile", GOLDENS / "gpt" / "model.json", "-c", config, "--sequence-length", 5, "-o", out))
        self.run_ok("compile", FOLDERS / "gpt2", "-c", config, "-o", out)
        plan = self.run_ok("inspect", out, "--json").json
        self.assertEqual(plan["inputs"][0]["shape"] if "inputs" in plan else [24], [24])

    def test_new_weights_are_announced_once(self):
        stage, _ = self.prepare("llama")
        done = self.run_ok("train", stage, "--data", self.folder, "--json")
        self.assertEqual(done.err.count("training begins with new weights"), 1)
        # GPT's initial values: the loss begins near that of all tokens being as likely.
        self.assertLess(abs(done.json["losses"][0] - math.log(97)), 0.2)
        done = self.run_ok("train", stage, "--data", self.folder, "--init", FOLDERS / "llama", "--json")
        self.assertNotIn("new weights", done.err)


if __name__ == "__main__":
    unittest.main()
