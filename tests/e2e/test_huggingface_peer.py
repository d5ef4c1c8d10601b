"""Beside transformers itself: folders that `export` wrote are loaded by from_pretrained and compute the same.

Needs a Python with torch and transformers. By hand:
    STAGEWRIGHT_BIN=build/release/bin /path/to/python -B tests/e2e/test_huggingface_peer.py
or with -DSTAGEWRIGHT_PEER_PYTHON=/path/to/python: ctest --test-dir build/release -L peer
"""
import json
import unittest

import safetensors.torch
import torch
import transformers

from test_huggingface import FOLDERS, FolderTest
from test_huggingface_bert import BertTest


class Peer(FolderTest):
    def check(self, name):
        stage, golden = self.prepare(name)
        saved, out = self.folder / "w.safetensors", self.folder / "out"
        self.train_golden(stage, "--save-weights", saved, init=FOLDERS / name)
        self.run_ok("export", stage, "--init", saved, "-o", out)
        kind = getattr(transformers, json.loads((out / "config.json").read_text())["architectures"][0])
        model, told = kind.from_pretrained(out, output_loading_info=True)
        for trouble in ("missing_keys", "unexpected_keys", "mismatched_keys", "error_msgs"):
            self.assertFalse(told.get(trouble), f"{trouble}: {told.get(trouble)}")
        # The same logits as the weights that were trained give under the source folder's own configuration.
        model = model.eval()
        source = kind.from_pretrained(FOLDERS / name).eval()
        source.load_state_dict(safetensors.torch.load_file(saved), strict=False)
        source.tie_weights()
        text = golden["test_tokens"]
        windows = torch.tensor([text[i : i + golden["length"] + 1] for i in range(0, len(text) - 1, golden["length"])])
        with torch.no_grad():
            logits, expected = (one(input_ids=windows[:, :-1]).logits for one in (model, source))
        self.assertTrue(torch.equal(logits, expected))
        shape, values = self.outputs(stage, out)
        ours = torch.tensor(values).reshape(shape)
        difference = ((ours - logits).abs().max() / logits.abs().max()).item()
        self.assertLess(difference, 1e-5)
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), windows[:, 1:].flatten()).item()
        ours = self.evaluate(stage, out)["loss"]
        print(f"{name}: logits differ by {difference:.1e} of the largest; loss of transformers {loss:.7f}, stagewright {ours:.7f}, before training {golden['test_loss']:.7f}")
        self.assertNear(ours, loss)
        self.assertGreater(abs(loss - golden["test_loss"]), 1e-3)

    def test_gpt2(self):
        self.check("gpt2")

    def test_llama(self):
        self.check("llama")

    def test_mistral(self):
        self.check("mistral")

    def test_qwen2(self):
        self.check("qwen2")


class PeerBert(BertTest):
    def test_classifier(self):
        name = "bert_classifier"
        stage, golden = self.prepare(name)
        saved, out = self.folder / "w.safetensors", self.folder / "out"
        self.train_golden(stage, "--save-weights", saved, init=FOLDERS / name)
        self.run_ok("export", stage, "--init", saved, "-o", out)
        model, told = transformers.BertForSequenceClassification.from_pretrained(out, output_loading_info=True)
        for trouble in ("missing_keys", "unexpected_keys", "mismatched_keys", "error_msgs"):
            self.assertFalse(told.get(trouble), f"{trouble}: {told.get(trouble)}")
        with torch.no_grad():
            logits = model.eval()(**{key: torch.tensor(value) for key, value in golden["test"].items()}).logits
        shape, values = self.outputs(stage, saved)
        difference = ((torch.tensor(values).reshape(shape) - logits).abs().max() / logits.abs().max()).item()
        print(f"{name}: logits differ by {difference:.1e} of the largest")
        self.assertLess(difference, 1e-5)


if __name__ == "__main__":
    unittest.main()
