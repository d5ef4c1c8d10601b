"""Includes run one way between targets: tools, api -> frontends, passes, runtime; frontends -> ir; passes -> ir;
runtime -> kernels; everything -> the leaves. Asks the compiler which headers each target's users can see.

Arguments: the compiler, and a file with one line per target: its name, then its include folders.
"""
import pathlib
import subprocess
import sys
import unittest

HEADER = {
    "error": "error/Error.h",
    "files": "files/WholeFile.h",
    "schedule": "schedule/Schedule.h",
    "catalogue": "catalogue/Catalogue.h",
    "random": "random/Philox.h",
    "schema": "schema/stage_generated.h",
    "kernels": "kernels/host/Host.h",
    "device": "runtime/device/TilePool.h",
    "comm": "runtime/comm/Communicator.h",
    "launch": "runtime/launch/ProcessLauncher.h",
    "loader": "runtime/executable/Executable.h",
    "runtime": "runtime/train/Engine.h",
    "frontends": "frontends/config/Config.h",
    "ir": "ir/layer/LayerDialect.h",
    "passes": "passes/Pipeline.h",
    "api": "stagewright/Engine.h",
    "mlir": "mlir/IR/MLIRContext.h",
}
LEAVES = {"error", "files", "schedule", "catalogue", "random", "schema"}
RUNTIME = LEAVES | {"kernels", "device", "comm", "launch", "loader", "runtime"}
MAY_SEE = {
    "error": {"error"},
    "files": {"files", "error"},
    "schedule": {"schedule", "error"},
    "catalogue": {"catalogue", "error"},
    "random": {"random"},
    "schema": {"schema", "error"},
    "kernels": LEAVES | {"kernels"},
    "device": LEAVES | {"kernels", "device"},
    "comm": LEAVES | {"kernels", "device", "comm"},
    "launch": LEAVES | {"launch"},
    "loader": LEAVES | {"loader"},
    "runtime": RUNTIME,
    "frontends": LEAVES | {"frontends", "ir", "mlir"},
    "ir": LEAVES | {"ir", "mlir"},
    "api": {"api"},
    "passes": LEAVES | {"ir", "mlir", "passes"},
}

compiler = sys.argv[1]
folders = {}
for line in pathlib.Path(sys.argv[2]).read_text().splitlines():
    target, *paths = line.split()
    folders[target.removeprefix("stagewright_")] = paths


def visible(part):
    """The parts whose header a user of `part` can include."""
    program = "".join(f'#if __has_include("{header}")\nsees {name}\n#endif\n' for name, header in HEADER.items())
    command = [compiler, "-std=c++20", "-x", "c++", "-E", "-P", *(f"-I{path}" for path in folders[part]), "-"]
    # From a folder that holds none of the headers: a quoted name is looked up there first.
    out = subprocess.run(command, input=program, capture_output=True, text=True, check=True, cwd="/").stdout
    return {line.split()[1] for line in out.splitlines() if line.startswith("sees ")}


class IncludeRule(unittest.TestCase):
    def test_every_target_sees_itself_and_nothing_against_the_rule(self):
        self.assertGreaterEqual(len(folders), 12)
        for part in folders:
            with self.subTest(part=part):
                seen = visible(part)
                self.assertIn(part, seen)
                self.assertLessEqual(seen, MAY_SEE[part])

    def test_no_library_outside_the_standard_paths_is_seen_by_accident(self):
        """MLIR ends at the .stage file."""
        self.assertNotIn("mlir", visible("runtime"))


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1], verbosity=2)
