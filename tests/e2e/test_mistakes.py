"""Each mistake of a user: exit code 2, one clear message with a place and advice, and nothing written."""
import gzip
import json
import random
import shutil
import unittest

from program import FASHION_DATA, FASHION_MODEL, GOLDENS, ProgramTest, configuration, run, strip_comments


class Refusal(ProgramTest):
    def refused(self, *arguments, place, says, advice=None, code=2):
        """Runs the program and checks that it refuses: the message names `place`, holds every word of `says` and of
        `advice`, is one line, and the folder is as before, with the x.stage that was there."""
        before, older = self.listing(), self.folder / "x.stage"
        stage = older.read_bytes() if older.exists() else None
        done = run(*arguments, folder=self.folder)
        text = str(done)
        self.assertEqual(done.code, code, text)
        self.assertEqual(done.out, "", text)
        lines = [line for line in done.err.splitlines() if line.strip()]
        self.assertEqual(len(lines), 1, text)
        self.assertRegex(lines[0], r"^stagewright: error: ", text)
        self.assertIn(str(place), lines[0], text)
        for word in [*([says] if isinstance(says, str) else says), *([advice] if isinstance(advice, str) else advice or [])]:
            self.assertIn(word, lines[0], text)
        self.assertIn("; ", lines[0], f"no advice\n{text}")
        self.assertEqual(self.listing(), before, text)
        self.assertEqual(older.read_bytes() if older.exists() else None, stage, text)
        return lines[0]

    def refused_compile(self, model, config, *options, **expected):
        self.refused("compile", model, "-c", config, *options, "-o", "x.stage", **expected)

    def model(self, change):
        """Fashion-MNIST's model with a change, as a file in this test's folder."""
        spec = json.loads(strip_comments(FASHION_MODEL.read_text()))
        change(spec)
        return self.write("model.json", spec)


class Configuration(Refusal):
    def check(self, config, **expected):
        path = self.write("config.json", config)
        self.refused_compile(FASHION_MODEL, path, **{"place": path, **expected})

    def test_unknown_key_offers_the_nearest(self):
        text = '{\n  "train_micro_batch_size_per_gpu": 16,\n  "gradient_acumulation_steps": 4\n}\n'
        path = self.write("config.json", text)
        self.refused_compile(
            FASHION_MODEL, path, place=f"{path}:3:3", says="gradient_acumulation_steps", advice="gradient_accumulation_steps"
        )

    def test_unknown_key_of_the_optimizer(self):
        self.check(configuration(optimizer={"type": "Adam", "params": {"learning_rat": 0.1}}), says="learning_rat", advice="lr")

    def test_duplicate_key(self):
        text = '{\n  "train_micro_batch_size_per_gpu": 16,\n  "seed": 1,\n  "seed": 2\n}\n'
        path = self.write("config.json", text)
        self.refused_compile(FASHION_MODEL, path, place=f"{path}:4:3", says="seed")

    def test_broken_batch_triangle_prints_all_numbers(self):
        self.check(configuration(train_batch_size=96), says=["96", "16", "4", "1"])

    def test_syntax(self):
        path = self.write("config.json", '{\n  "seed": ,\n}\n')
        self.refused_compile(FASHION_MODEL, path, place=f"{path}:2:11", says="")

    def test_wrong_type(self):
        self.check(configuration(gradient_clipping="much"), says="gradient_clipping")

    def test_unknown_schedule(self):
        path = self.write("config.json", configuration())
        self.refused_compile(FASHION_MODEL, path, "--schedule", "1f2b", place="--schedule: ", says="1f2b", advice="1f1b")

    def test_missing_file(self):
        self.refused_compile(FASHION_MODEL, "nowhere.json", place="nowhere.json", says="")


class Model(Refusal):
    def check(self, change, *options, **expected):
        path, config = self.model(change), self.write("config.json", configuration())
        self.refused_compile(path, config, *options, **{"place": path, **expected})

    def test_shapes_that_do_not_match(self):
        def change(spec):
            spec["layers"][3]["in_features"] = 255

        self.check(change, says=["fc2", "255", "256"])

    def test_unknown_layer_type_offers_the_nearest(self):
        def change(spec):
            spec["layers"][2]["type"] = "Relu"

        self.check(change, says="Relu", advice="ReLU")

    def test_unknown_argument_offers_the_nearest(self):
        def change(spec):
            spec["layers"][1]["out_feature"] = spec["layers"][1].pop("out_features")

        self.check(change, says="out_feature", advice="out_features")

    def test_duplicate_layer_name(self):
        def change(spec):
            spec["layers"][3]["name"] = "fc1"

        self.check(change, says="fc1")

    def test_input_that_no_layer_reads_leaves_the_old_file(self):
        def change(spec):
            spec["inputs"].append({"name": "spare", "role": "feature", "dtype": "f32", "shape": [3]})

        self.write("x.stage", b"an older file")
        self.check(change, says=["spare", "no layer reads"], advice="remove it")

    def test_model_without_parameters(self):
        def change(spec):
            spec["layers"] = spec["layers"][:1]

        self.check(change, says="no trainable parameters", advice="Linear")

    def test_huge_batch(self):
        path = self.write("config.json", configuration(train_micro_batch_size_per_gpu=1500000000, gradient_accumulation_steps=1))
        model = self.model(lambda spec: spec["inputs"][0].update(shape=[1, 28, 2800]))
        self.refused_compile(model, path, place=model, says="elements", advice="train_micro_batch_size_per_gpu")

    def test_text_that_the_loader_refuses_leaves_the_old_file(self):
        config = self.write("config.json", configuration())
        text = self.folder / "lower.mlir"
        self.run_ok("compile", FASHION_MODEL, "-c", config, "--compile-to", "lower", "-o", text)
        text.write_text(text.read_text().replace('"linear" version(1) block(1)', '"linear" version(1) block(99)'))
        self.write("x.stage", b"an older file")
        self.refused("compile", "--resume-from", text, "-o", "x.stage", place=text, says="refused by the loader")

    def test_more_stages_than_blocks(self):
        self.check(lambda spec: None, "--stages", 5, place="error: --stages: ", says="5 stages for 4 blocks", advice="at most 4")

    def test_more_stages_than_blocks_in_the_file(self):
        text = '{\n "train_micro_batch_size_per_gpu": 16,\n "pipeline": {\n  %s\n }\n}\n'
        for line, says in (
            ('"stages": 5', "5 stages for 4 blocks"),
            ('"partition": "explicit:1,2,3,4"', "5 stages for 4 blocks"),
            ('"partition": "explicit:2,7"', "explicit:2,7: the cuts"),
        ):
            with self.subTest(line):
                config = self.write("config.json", text % line)
                column = 3 + line.index(": ") + 2
                self.refused_compile(FASHION_MODEL, config, place=f"error: {config}:4:{column}: ", says=says, advice="4")

    def test_cuts_behind_the_last_block(self):
        self.check(lambda spec: None, "--partition", "explicit:4", place="error: --partition: ", says="explicit:4: the cuts")


class Data(Refusal):
    def setUp(self):
        super().setUp()
        self.stage = self.compile(configuration())
        self.data = self.folder / "data"
        self.data.mkdir()
        for file in FASHION_DATA.glob("*.gz"):
            (self.data / file.name).symlink_to(file)

    def refused_training(self, **expected):
        old = self.write("old.jsonl", b"an older trace\n")
        for ranks, trace in (("threads", "trace.jsonl"), ("threads", old), ("processes", old)):
            with self.subTest(ranks=ranks, trace=trace):
                self.refused(
                    *("train", self.stage, "--data", self.data, "--steps", 1, "--ranks", ranks),
                    *("--save-weights", "w.safetensors", "--trace", trace),
                    **expected,
                )
                self.assertEqual(old.read_bytes(), b"an older trace\n")

    def test_missing_file(self):
        (self.data / "train-labels-idx1-ubyte.gz").unlink()
        self.refused_training(place=self.data, says="train-labels")

    def test_missing_folder(self):
        shutil.rmtree(self.data)
        self.refused_training(place=self.data, says="")

    def test_truncated_gzip(self):
        path = self.data / "train-images-idx3-ubyte.gz"
        whole = path.read_bytes()
        path.unlink()
        path.write_bytes(whole[: len(whole) // 2])
        self.refused_training(place=path, says="")

    def test_truncated_idx(self):
        path = self.data / "train-images-idx3-ubyte.gz"
        whole = gzip.decompress(path.read_bytes())
        path.unlink()
        plain = self.data / "train-images-idx3-ubyte"
        plain.write_bytes(whole[:-100])
        self.refused_training(place=plain, says=["47040016", "47039916"])

    def test_label_outside_the_classes(self):
        path = self.data / "train-labels-idx1-ubyte.gz"
        labels = bytearray(gzip.decompress(path.read_bytes()))
        path.unlink()
        labels[8 + 17] = 10
        plain = self.data / "train-labels-idx1-ubyte"
        plain.write_bytes(labels)
        self.refused_training(place=plain, says=["17", "10"])


class StagedFile(Refusal):
    """A damaged .stage file, 20 ways, and weights of another model."""

    def setUp(self):
        super().setUp()
        self.stage = self.compile(configuration(), "--stages", 2)

    def refused_everywhere(self, data):
        path = self.write("damaged.stage", data)
        for verb in (["inspect"], ["train", "--data", FASHION_DATA, "--steps", 1, "--save-weights", "w.safetensors"]):
            self.refused(verb[0], path, *verb[1:], place=path, says="")

    def test_truncated(self):
        whole = self.stage.read_bytes()
        for length in [0, 3, 7, len(whole) // 3, len(whole) - 1, *random.Random(1).sample(range(8, len(whole)), 5)]:
            with self.subTest(length=length):
                self.refused_everywhere(whole[:length])

    def test_flipped(self):
        whole = self.stage.read_bytes()
        for place in [0, 5, len(whole) - 1, *random.Random(2).sample(range(8, len(whole)), 7)]:
            with self.subTest(byte=place):
                damaged = bytearray(whole)
                damaged[place] ^= 0x20
                self.refused_everywhere(bytes(damaged))

    def test_not_a_stage_file(self):
        self.refused_everywhere(b"PK\x03\x04" + bytes(100))

    def test_weights_of_another_model(self):
        weights = GOLDENS / "activations" / "weights.safetensors"
        self.refused(
            *("train", self.stage, "--data", FASHION_DATA, "--steps", 1, "--init", weights, "--save-weights", "w.safetensors"),
            place=weights,
            says="fc1.weight",
        )

    def test_truncated_weights(self):
        weights = self.write("short.safetensors", (GOLDENS / "fashion_mlp" / "weights.safetensors").read_bytes()[:-4])
        self.refused(
            *("train", self.stage, "--data", FASHION_DATA, "--steps", 1, "--init", weights, "--save-weights", "w.safetensors"),
            place=weights,
            says="",
        )


class Options(Refusal):
    def test_unknown_verb_and_option(self):
        for arguments in (["trian"], ["train", "--stepz", "3"], ["train"], []):
            with self.subTest(arguments):
                done = run(*arguments, folder=self.folder)
                self.assertEqual(done.code, 2, str(done))
                self.assertEqual(done.out, "", str(done))
                self.assertNotEqual(done.err, "", str(done))
                self.assertEqual(self.listing(), [])


if __name__ == "__main__":
    unittest.main(verbosity=2)
