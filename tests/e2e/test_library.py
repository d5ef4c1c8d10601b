"""Stagewright installed as a library: api/example, a project of its own, finds the package, builds with every compiler that
is here, and trains the weights that the installed program trains from the same model, configuration and samples.
"""
import pathlib
import re
import shutil
import struct
import subprocess
import unittest

from program import BIN, SOURCE, ProgramTest

EXAMPLE = SOURCE / "api" / "example"
COMPILERS = [path for path in map(shutil.which, ("clang++-22", "g++")) if path]
STEPS, VOCABULARY, LENGTH = 60, 32, 12


def write_npy(path, rows):
    """NumPy's format 1.0: i32 of shape [samples, LENGTH]."""
    head = f"{{'descr': '<i4', 'fortran_order': False, 'shape': ({len(rows)}, {LENGTH}), }}"
    head += " " * (-(10 + len(head) + 1) % 64) + "\n"
    body = b"".join(struct.pack(f"<{LENGTH}i", *row) for row in rows)
    pathlib.Path(path).write_bytes(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) + head.encode() + body)


def write_samples(folder):
    """What the example's own source makes up."""
    for split, count in (("train", 256), ("test", 64)):
        texts = [[(s + 5 * i) % VOCABULARY for i in range(LENGTH + 1)] for s in range(count)]
        write_npy(folder / f"{split}-ids.npy", [text[:-1] for text in texts])
        write_npy(folder / f"{split}-next.npy", [text[1:] for text in texts])


class Library(ProgramTest):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.prefix = cls.shared / "prefix"
        cls.command("cmake", "--install", BIN.parent, "--prefix", cls.prefix)

    @staticmethod
    def command(*arguments, code=0, **options):
        """Runs a command; with `code` None whatever its exit code is."""
        done = subprocess.run([str(a) for a in arguments], capture_output=True, text=True, timeout=300, **options)
        if code is not None and done.returncode != code:
            raise AssertionError(f"{arguments}\nexit code {done.returncode}\n{done.stdout}\n{done.stderr}")
        return done

    def installed(self, *arguments):
        return self.command(self.prefix / "bin" / "stagewright", *arguments)

    def build(self, compiler, prefix=None):
        build = self.folder / f"build-{pathlib.Path(compiler).name}"
        self.command("cmake", "-S", EXAMPLE, "-B", build, f"-DCMAKE_PREFIX_PATH={prefix or self.prefix}",
                     f"-DCMAKE_CXX_COMPILER={compiler}", "-DCMAKE_BUILD_TYPE=Release")
        self.command("cmake", "--build", build)
        return build / "example"

    def run_example(self, example, *arguments):
        done = self.command(example, self.folder, *arguments)
        self.assertEqual(done.stderr, "")  # the library prints nothing
        return dict(line.split(": ", 1) for line in done.stdout.splitlines())

    def test_example(self):
        samples = self.folder / "samples"
        samples.mkdir()
        write_samples(samples)
        seen = set()
        for compiler in COMPILERS:
            with self.subTest(compiler=compiler):
                example = self.build(compiler)
                one = self.run_example(example, 1)
                said = self.run_example(example)  # two stages, which share the tied weight
                self.assertIn("2 stages", said["compiled"])
                self.assertEqual((said["weights_sha256"], said["evaluated"]), (one["weights_sha256"], one["evaluated"]))
                self.assertRegex(said["refused"], r'^layer "up": .*17')
                self.assertEqual(said["second engine"], "equal")
                loss, accuracy = re.match(r"64 samples, loss (\S+), accuracy (\S+)", said["evaluated"]).groups()
                # The independent way: the program, its reader of files, its own loop.
                stage, weights = self.folder / "program.stage", self.folder / "program.safetensors"
                self.installed("compile", self.folder / "model.json", "-c", self.folder / "config.json", "-o", stage)
                trained = self.installed("train", stage, "--data", samples, "--steps", STEPS, "--save-weights", weights,
                                         "--json")
                self.assertIn(f'"weights_sha256":"{said["weights_sha256"]}"', trained.stdout)
                self.assertEqual(weights.read_bytes(), (self.folder / "w.safetensors").read_bytes())
                evaluated = self.installed("eval", stage, "--data", samples, "--init", weights, "--json").stdout
                self.assertIn(f'"loss":{float(loss)!r},', evaluated)
                self.assertGreater(float(accuracy), 0.9)
                seen.add(said["weights_sha256"])
        self.assertEqual(len(seen), 1)

    def test_without_the_compiler(self):
        """A machine that only trains needs no compiler; and no MLIR is mapped for that."""
        moved = self.folder / "prefix"
        shutil.copytree(self.prefix, moved, symlinks=True)
        shutil.rmtree(next(moved.glob("lib*/**/libstagewright_compiler.so")).parent)
        done = self.command(self.build(COMPILERS[0], moved), self.folder, code=3)
        self.assertIn("the compiler module cannot be loaded", done.stdout)
        self.assertIn("the compiler module cannot be loaded", done.stderr)
        needed = self.command("ldd", next(self.prefix.glob("lib*/**/libstagewright.so"))).stdout
        self.assertIn("libmpi", needed)
        self.assertNotIn("libMLIR", needed)

    def test_version(self):
        project = self.folder / "project"
        project.mkdir()
        for version, code in (("0.1", 0), ("0.2", 1)):
            (project / "CMakeLists.txt").write_text(
                "cmake_minimum_required(VERSION 3.25)\nproject(p LANGUAGES CXX)\n"
                f"find_package(Stagewright {version} REQUIRED)\n")
            self.command("cmake", "-S", project, "-B", project / version, f"-DCMAKE_PREFIX_PATH={self.prefix}",
                         f"-DCMAKE_CXX_COMPILER={COMPILERS[0]}", code=code)


if __name__ == "__main__":
    unittest.main(verbosity=2)
