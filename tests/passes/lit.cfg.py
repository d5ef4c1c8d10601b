import os

import lit.formats

config.name = "stagewright passes"
config.test_format = lit.formats.ShTest(True)
config.suffixes = [".mlir"]
config.excludes = ["Inputs"]
config.test_exec_root = os.environ["STAGEWRIGHT_LIT_OUTPUT"]
config.environment["PATH"] = os.pathsep.join(
    [lit_config.params["tools"], "/usr/lib/llvm-22/bin", os.environ["PATH"]])
for name in ("ASAN_OPTIONS", "UBSAN_OPTIONS"):
    if name in os.environ:
        config.environment[name] = os.environ[name]
