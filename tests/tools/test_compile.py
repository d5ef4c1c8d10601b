"""compile as a command: where it finds model, configuration and compiler, and where it writes."""
import json
import os
import pathlib
import shutil
import subprocess
import tempfile
import unittest

PROGRAM = os.environ["STAGEWRIGHT_PROGRAM"]
SOURCE = pathlib.Path(os.environ["STAGEWRIGHT_SOURCE"])
FOLDER = SOURCE / "models" / "fashion_mlp"
PHASES = ["import", "precision", "search", "partition", "differentiate", "parallel", "schedule", "memory", "lower"]


def run(*arguments, program=PROGRAM, **options):
    return subprocess.run([program, *map(str, arguments)], capture_output=True, text=True, timeout=60, **options)


class Compile(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        self.out = self.folder / "x.stage"

    def compile(self, *arguments):
        done = run("compile", *arguments)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done

    def refused(self, *arguments, says, code=2, **options):
        before = sorted(self.folder.iterdir())
        done = run("compile", *arguments, **options)
        self.assertEqual((done.returncode, done.stdout), (code, ""), done.stderr)
        self.assertRegex(done.stderr, r"\Astagewright: error: [^\n]+; [^\n]+\n\Z")
        for word in says:
            self.assertIn(word, done.stderr)
        self.assertEqual(sorted(self.folder.iterdir()), before)

    def test_a_folder_stands_for_its_model_and_its_config(self):
        self.compile(FOLDER, "-o", self.out)
        whole = self.out.read_bytes()
        self.compile(FOLDER / "model.json", "-c", FOLDER / "config.json", "-o", self.out)
        self.assertEqual(self.out.read_bytes(), whole)
        config = json.loads((FOLDER / "config.json").read_text())
        config["pipeline"]["stages"] = 1
        (self.folder / "one.json").write_text(json.dumps(config))
        self.compile(FOLDER, "-c", self.folder / "one.json", "-o", self.out)
        self.assertEqual(json.loads(run("inspect", self.out, "--json").stdout)["schedule"]["stages"], 1)

    def test_what_is_missing_is_named(self):
        self.refused(says=["MODEL"])
        self.refused(self.folder, "-o", self.out, says=[str(self.folder), "model.json"])
        self.refused(FOLDER / "model.json", "-o", self.out, says=["--config"])
        self.refused(FOLDER, says=["--output"])
        self.refused(FOLDER, "--resume-from", self.out, "-o", self.out, says=["--resume-from"])
        shutil.copy(FOLDER / "model.json", self.folder)
        self.refused(self.folder, "-o", self.out, says=["--config"])
        self.refused(FOLDER, "-o", self.folder / "no" / "x.stage", says=[str(self.folder / "no" / "x.stage")])
        self.refused(FOLDER, "--compile-to", "lowr", says=["lowr", "lower"])
        self.refused(FOLDER, "--target", "cuda:sm_70", "-o", self.out, says=["cuda:sm_70", "host", "cuda:sm_90"])

    def test_what_the_ir_decides_already(self):
        ir = self.folder / "ir.mlir"
        self.compile(FOLDER, "--compile-to", "import", "-o", ir)
        for option, *value in (
            ("MODEL", FOLDER),
            ("--config", FOLDER / "config.json"),
            ("--stages", 2),
            ("--data-parallel", 1),
            ("--micro-batches", 2),
            ("--schedule", "gpipe"),
            ("--partition", "uniform"),
            ("--target", "host"),
        ):
            with self.subTest(option=option):
                given = value if option == "MODEL" else [option, *value]
                self.refused("--resume-from", ir, *given, "-o", self.out, says=[f"error: {option}: ", "in the IR"])
        self.assertFalse(self.out.exists())

    def test_outputs_that_make_no_sense(self):
        self.refused(FOLDER, "--compile-to", "import", "--json", says=["error: --json: ", "--compile-to"])
        dash = self.folder / "-"
        dash.write_text("mine")
        self.refused(FOLDER, "-o", "-", says=["error: --output -: ", "x.stage"], cwd=self.folder)
        self.assertEqual(dash.read_text(), "mine")
        os.mkfifo(self.folder / "pipe")
        self.refused(FOLDER, "-o", self.folder / "pipe", says=["pipe: this is not a regular file"])
        self.assertTrue((self.folder / "pipe").is_fifo())

    def test_json_describes_what_was_written(self):
        for options in ([], ["--stages", "3", "--schedule", "zb-h1"]):
            line = json.loads(self.compile(FOLDER, *options, "-o", self.out, "--json").stdout)
            report = json.loads(run("inspect", self.out, "--json").stdout)
            self.assertEqual(
                line,
                {
                    "output": str(self.out),
                    "bytes": self.out.stat().st_size,
                    "stages": report["schedule"]["stages"],
                    "ranks": len(report["ranks"]),
                    "planned_bytes": report["planned_bytes"],
                },
            )

    def test_every_phase_prints_to_stdout_or_a_file(self):
        for phase in PHASES:
            with self.subTest(phase=phase):
                text = self.compile(FOLDER, "--compile-to", phase).stdout
                self.assertIn("module", text)
                path = self.folder / f"{phase}.mlir"
                self.compile(FOLDER, "--compile-to", phase, "-o", path)
                self.assertEqual(path.read_text(), text)
                self.compile("--resume-from", path, "-o", self.out)
        self.assertEqual(len(list(self.folder.iterdir())), len(PHASES) + 1)

    def test_an_old_file_survives_a_compilation_that_fails(self):
        self.compile(FOLDER, "-o", self.out)
        whole = self.out.read_bytes()
        self.refused(FOLDER, "--stages", "9", "-o", self.out, says=["9", "4"])
        self.assertEqual(self.out.read_bytes(), whole)

    def test_the_compiler_is_found_beside_the_program(self):
        (self.folder / "bin").mkdir()
        lonely = self.folder / "bin" / "stagewright"
        shutil.copy(PROGRAM, lonely)
        self.refused(FOLDER, "-o", self.out, says=[str(self.folder / "lib"), "stagewright_compiler"], code=3, program=lonely)
        link = self.folder / "link"
        link.symlink_to(PROGRAM)
        self.assertEqual(run("compile", FOLDER, "-o", self.out, program=link).returncode, 0)


if __name__ == "__main__":
    unittest.main(verbosity=2)
