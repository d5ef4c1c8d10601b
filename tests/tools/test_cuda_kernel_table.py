"""The table of CUDA kernels tells what ran on a GPU as it is now from what has changed since and what never ran."""
import hashlib
import json
import pathlib
import subprocess
import sys
import tempfile
import unittest

import cuda_kernel_table

SCRIPT = pathlib.Path(cuda_kernel_table.__file__)
FILES = {
    "kernels/cuda/Map.cpp": '#include "kernels/cuda/Family.h"\n#include "kernels/cuda/device/MapArguments.h"\nconst CudaKernel kKernels[] = {\n'
                            '    {"relu", 1, relu},\n    {"tanh", 1,\n     [](const Enqueue &call) {}},\n};\n',
    "kernels/cuda/Product.cpp": 'call.multiply(product);\nconst CudaKernel kKernels[] = {{"linear", 2, linear}};\n',
    "kernels/cuda/Filter.cpp": 'const DnnPlan &plan;\nconst CudaKernel kKernels[] = {{"conv2d", 1, conv2d}};\n',
    "kernels/cuda/Fusion.cpp": "cache.api().multiply(plan);\n",
    "kernels/cuda/plugin/CublasLt.cpp": '#include "kernels/cuda/plugin/Library.h"\n',
    "kernels/cuda/plugin/CudnnGraphs.cpp": "",
    "kernels/cuda/plugin/Library.h": "",
    "kernels/cuda/emulation/Emulation.h": "",
    "kernels/catalogue/CudaSums.h": "",
    "kernels/random/Philox.h": "",
    "kernels/cuda/Family.h": "",
    "kernels/cuda/device/Map.cu": '#include "kernels/cuda/device/Packs.cuh"\n#include "catalogue/CudaSums.h"\n',
    "kernels/cuda/device/OrderedSum.cu": '#include "random/Philox.h"\n#  else\n#include "kernels/cuda/emulation/Emulation.h"\n',
    "kernels/cuda/device/Packs.cuh": '#include "kernels/cuda/device/MapArguments.h"\n',
    "kernels/cuda/device/MapArguments.h": "struct MapArguments;\n",
}


class Table(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.root = pathlib.Path(folder.name)
        for path, text in FILES.items():
            self.write(path, text)
        self.write_page()

    def write(self, path, text):
        path = self.root / path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def run_script(self, *arguments):
        return subprocess.run([sys.executable, "-B", SCRIPT, "--root", self.root, *arguments], capture_output=True, text=True)

    def write_page(self):
        self.write("docs/cuda_kernels.md", self.run_script().stdout)

    def rows(self):
        lines = (self.root / "docs/cuda_kernels.md").read_text().splitlines()
        cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("| `")]
        return {cell[0].strip("`"): cell[1:] for cell in cells}

    def take(self, *names, passed=3, emulated=False):
        digests = {cuda_kernel_table.label(*key): digest for key, (_, digest) in cuda_kernel_table.kernels(self.root).items()}
        records = {name: {"cases": 3, "passed": passed, "same_bits": True, "device": "GPU", "date": "2026-11-22", "sources_sha256": digests[name]}
                   for name in names}
        self.write("report.json", json.dumps({"emulated": emulated, "kernels": records}))
        return self.run_script("--take", self.root / "report.json")

    def test_never_run(self):
        self.assertEqual(self.rows(), {"relu": ["`device/Map.cu`", "", "", "", "never run"], "tanh": ["`device/Map.cu`", "", "", "", "never run"],
                                       "linear 2": ["cuBLASLt", "", "", "", "never run"], "conv2d": ["cuBLASLt", "", "", "", "never run"],
                                       "ordered_sum": ["`device/OrderedSum.cu`", "", "", "", "never run"],
                                       **{name: ["cuBLASLt", "", "", "", "never run"] for name in cuda_kernel_table.FUSED}})
        self.assertEqual(self.run_script("--check").returncode, 0)

    def test_fresh(self):
        self.take("relu")
        self.assertIn("not current", self.run_script("--check").stderr)
        self.write_page()
        self.assertEqual(self.run_script("--check").returncode, 0)
        self.assertEqual(self.rows()["relu"][2:], ["GPU", "2026-11-22", "passed (3 of 3 cases)"])
        self.assertEqual(self.rows()["tanh"][-1], "never run")

    def test_stale(self):
        for path in ("kernels/cuda/Map.cpp", "kernels/cuda/device/Map.cu", "kernels/cuda/device/Packs.cuh", "kernels/cuda/device/MapArguments.h",
                     "kernels/catalogue/CudaSums.h"):
            with self.subTest(path):
                self.take("relu", "linear 2")
                self.write(path, (self.root / path).read_text() + "// changed\n")
                self.write_page()
                self.assertEqual((self.rows()["relu"][-1], self.rows()["linear 2"][-1]), ("stale (3 of 3 cases)", "passed (3 of 3 cases)"))
                checked = self.run_script("--check")
                self.assertNotEqual(checked.returncode, 0)
                self.assertIn("changed since they ran on a GPU: relu; run bench/gpu/run", checked.stderr)

    def test_what_calls_a_library_is_part_of_its_kernels(self):
        products, sums = ["linear 2", *cuda_kernel_table.FUSED], ["ordered_sum"]
        for path, stale in (("kernels/cuda/plugin/CublasLt.cpp", products), ("kernels/cuda/plugin/CudnnGraphs.cpp", ["conv2d"]),
                            ("kernels/cuda/plugin/Library.h", products), ("kernels/random/Philox.h", sums),
                            ("kernels/cuda/emulation/Emulation.h", [])):
            with self.subTest(path):
                self.take("relu", "conv2d", *products, *sums)
                self.write(path, (self.root / path).read_text() + "// changed\n")
                self.write_page()
                self.assertCountEqual([name for name, row in self.rows().items() if row[-1].startswith("stale")], stale)

    def test_what_all_families_share_makes_nothing_stale(self):
        self.take("relu")
        self.write_page()
        self.write("kernels/cuda/Family.h", "// changed\n")
        self.assertEqual(self.run_script("--check").returncode, 0)

    def test_failed(self):
        self.take("relu", passed=2)
        self.write_page()
        self.assertEqual(self.rows()["relu"][-1], "failed (2 of 3 cases)")

    def test_reports_add_up_and_emulated_ones_do_not_count(self):
        self.take("relu")
        self.take("tanh")
        self.assertIn("emulated", self.take("linear 2", emulated=True).stderr)
        self.write_page()
        self.assertEqual([self.rows()[name][-1] for name in ("relu", "tanh", "linear 2")], ["passed (3 of 3 cases)"] * 2 + ["never run"])

    def test_the_hash_is_that_of_the_files_in_order(self):
        texts = [(path, FILES[path]) for path in sorted(FILES) if "Map" in path or "Packs" in path or "CudaSums" in path]
        lines = "".join(f"{path}\n{hashlib.sha256(text.encode()).hexdigest()}\n" for path, text in texts)
        self.assertEqual(cuda_kernel_table.kernels(self.root)["relu", 1], ("Map", hashlib.sha256(lines.encode()).hexdigest()))


if __name__ == "__main__":
    unittest.main()
