"""The program and GPUs: what it says where there is none, and that nothing else needs one."""
import shutil
import unittest

from program import FASHION_MODEL, STAGEWRIGHT, ProgramTest, configuration, run

BOTH = ("--target", "host,cuda:sm_90")


class Program(ProgramTest):
    def test_without_a_gpu_the_program_says_what_is_missing(self):
        stage = self.compile(configuration(), *BOTH)
        for verb in ("train", "eval"):
            done = run(verb, stage, "--data", "synthetic", "--target", "cuda", *(("--steps", "1") if verb == "train" else ()))
            if done.code == 0:
                continue  # there is one
            self.assertEqual(done.code, 3, str(done))
            self.assertRegex(done.err, r"NVIDIA|libstagewright_cuda\.so|cuBLAS")
            self.assertIn("--target host", done.err)
            self.assertEqual(done.err.count("\n"), 1, done.err)
        self.train(stage, "--steps", "1", data="synthetic")

    def test_without_the_plug_in_the_program_says_so(self):
        stage = self.compile(configuration(), *BOTH)
        alone = self.folder / "bin" / "stagewright"
        alone.parent.mkdir()
        shutil.copy(STAGEWRIGHT, alone)
        done = run("train", stage, "--data", "synthetic", "--target", "cuda", "--steps", "1", program=alone)
        self.assertEqual(done.code, 3, str(done))
        self.assertIn("libstagewright_cuda.so: is not there", done.err)

    def test_a_file_without_cuda_is_named(self):
        stage = self.compile(configuration())
        done = run("train", stage, "--data", "synthetic", "--target", "cuda")
        self.assertEqual(done.code, 2, str(done))
        self.assertIn("--target", done.err)

    def test_cuda_programs_are_shown_and_simulated(self):
        stage = self.compile(configuration(), *BOTH, "--stages", "2", model=FASHION_MODEL)
        shown = self.run_ok("inspect", stage, "--memory", "--target", "cuda").out
        self.assertIn("cuda:sm_90", shown)
        self.assertIn("workspace", shown)
        host = self.run_ok("simulate", stage, "--json").json
        cuda = self.run_ok("simulate", stage, "--json", "--target", "cuda").json
        self.assertEqual(host["makespan"], cuda["makespan"])
        self.assertIn("none for cuda:sm_80", run("simulate", stage, "--target", "cuda:sm_80").err)


if __name__ == "__main__":
    unittest.main()
