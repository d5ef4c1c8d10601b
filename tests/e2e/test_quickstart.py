"""`./quickstart` works again and again, from any folder, and fails when the model does not learn. Runs the script itself on
the tree that it builds into, which is built already."""
import random
import unittest

from program import SOURCE, ProgramTest, Running, write_idx

LEAST = 0.87


class Quickstart(ProgramTest):
    def quickstart(self, **environment):
        """From another folder, by way of a link."""
        link = self.folder / "link"
        if not link.is_symlink():
            link.symlink_to(SOURCE / "quickstart")
        running = Running([], program=link, folder=self.folder, environment=environment)
        self.addCleanup(running.end)
        return running.wait(300)

    def test_again_and_again(self):
        for attempt in range(2):
            done = self.quickstart()
            self.assertEqual(done.code, 0, str(done))
            accuracy = float(done.out.splitlines()[-1].split()[1].rstrip(";"))
            self.assertGreaterEqual(accuracy, LEAST, str(done))
            self.assertEqual(self.listing(), ["link"])
            print(f"{done.seconds:.1f} s, accuracy {accuracy}")
        self.assertLess(done.seconds, 120, str(done))

    def test_a_model_that_does_not_learn(self):
        pixels, data = random.Random(1), self.folder / "data"
        data.mkdir()
        for name, count in (("train", 640), ("t10k", 100)):
            write_idx(data / f"{name}-images-idx3-ubyte", (count, 28, 28), pixels.randbytes(count * 28 * 28))
            write_idx(data / f"{name}-labels-idx1-ubyte", (count,), bytes(pixels.randrange(10) for _ in range(count)))
        done = self.quickstart(STAGEWRIGHT_DATA=str(data))
        self.assertEqual(done.code, 1, str(done))
        self.assertRegex(done.err.splitlines()[-1], rf"^quickstart: the accuracy is 0\.\d+, and should be at least {LEAST}: ")


if __name__ == "__main__":
    unittest.main(verbosity=2)
