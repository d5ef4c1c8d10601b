"""The program's surface: help, version, the reference page, and how it refuses what it does not understand."""
import os
import pathlib
import re
import subprocess
import unittest

import cli_reference

PROGRAM = os.environ["STAGEWRIGHT_PROGRAM"]
SOURCE = pathlib.Path(os.environ["STAGEWRIGHT_SOURCE"])


def run(*arguments, **options):
    return subprocess.run([PROGRAM, *map(str, arguments)], capture_output=True, text=True, timeout=60, **options)


class Help(unittest.TestCase):
    def test_reference_page_is_what_help_says(self):
        self.assertEqual((SOURCE / "docs" / "cli.md").read_text(), cli_reference.reference(PROGRAM))

    def test_help_lists_the_verbs(self):
        listed = re.search(r"Verbs:\n((?:  \S.*\n)+)", run("--help").stdout).group(1)
        self.assertEqual([line.split()[0] for line in listed.splitlines()], cli_reference.VERBS)

    def test_every_verb_has_an_example_with_known_options(self):
        for verb in cli_reference.VERBS:
            with self.subTest(verb=verb):
                text = run(verb, "--help").stdout
                example = re.search(r"Example:\n  stagewright (.*)", text).group(1).split()
                self.assertEqual(example[0], verb)
                for word in example:
                    if word.startswith("-"):
                        self.assertRegex(text, rf"(?m)^  (-\w,)?{re.escape(word)}\b|^  {re.escape(word)},")

    def test_version(self):
        declared = re.search(r"project\(Stagewright VERSION (\S+)", (SOURCE / "CMakeLists.txt").read_text()).group(1)
        self.assertEqual(run("--version").stdout, f"stagewright {declared}\n")


class Refusals(unittest.TestCase):
    def refused(self, *arguments, says, code=2):
        done = run(*arguments)
        self.assertEqual((done.returncode, done.stdout), (code, ""), done.stderr)
        self.assertRegex(done.stderr, r"\Astagewright: error: [^\n]+; [^\n]+\n\Z")
        for word in says:
            self.assertIn(word, done.stderr)

    def test_command_lines_that_make_no_sense(self):
        self.refused(says=["no verb", "--help"])
        self.refused("trian", says=["trian"])
        self.refused("inspect", says=["FILE", "inspect --help"])
        self.refused("inspect", "a.stage", "--jsn", says=["--jsn"])
        self.refused("compile", "--stages", says=["--stages", "missing"])
        for wrong in ("0", "-1", "two", "2.5"):
            self.refused("compile", "m", f"--stages={wrong}", says=["--stages", wrong])
        self.refused("train", "a.stage", "--data", "d", "--ranks", "fibres", says=["--ranks", "fibres"])
        self.refused("train", "a.stage", "--data", "d", "--isa", "sse", says=["--isa", "sse"])
        self.refused("train", "a.stage", "--data", "d", "--steps", "5", "--epochs", "1", says=["--steps", "--epochs"])
        self.refused("train", "a.stage", says=["--data"])

    def test_what_belongs_to_a_later_version_names_what_to_use(self):
        self.refused("train", "a.stage", "--data", "d", "--save", "dir", says=["--save", "later", "--save-weights"])
        self.refused("train", "a.stage", "--data", "d", "--resume", says=["--resume", "later", "--init"])
        self.refused("compile", "m", "--cluster", "c.json", says=["--cluster", "later", "--stages"])
        for verb, word in (("launch", "--ranks"), ("report", "ctest"), ("tune", "simulate")):
            for more in ([], ["--help"], ["a.stage", "--some", "option"]):
                self.refused(verb, *more, says=[f"{verb}: belongs to a later version", word, "see stagewright --help"])

    def test_a_file_that_is_not_there(self):
        for verb, *more in (["inspect"], ["simulate"], ["train", "--data", "."], ["eval", "--data", "."]):
            with self.subTest(verb=verb):
                self.refused(verb, "nowhere.stage", *more, says=["nowhere.stage"])

    def test_a_result_that_stdout_does_not_take(self):
        with open("/dev/full", "w") as full:
            done = subprocess.run(
                [PROGRAM, "inspect", os.environ["STAGEWRIGHT_PLANS"] + "/1f1b-2.stage", "--json"], stdout=full, stderr=subprocess.PIPE
            )
        self.assertEqual(done.returncode, 3)
        self.assertIn(b"stdout", done.stderr)


if __name__ == "__main__":
    unittest.main(verbosity=2)
