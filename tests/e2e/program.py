"""Runs the built `stagewright` program the way a user does: what every end-to-end test starts from.

Standard library only. CTest sets STAGEWRIGHT_BIN (the folder of the program) and STAGEWRIGHT_SOURCE (the tree).
"""
import contextlib
import json
import os
import pathlib
import shutil
import signal
import subprocess
import tempfile
import time
import unittest
import uuid

SOURCE = pathlib.Path(os.environ.get("STAGEWRIGHT_SOURCE", pathlib.Path(__file__).resolve().parents[2]))
BIN = pathlib.Path(os.environ.get("STAGEWRIGHT_BIN", SOURCE / "build" / "release" / "bin"))
STAGEWRIGHT = BIN / "stagewright"
GOLDENS = SOURCE / "tests" / "goldens"
FASHION_MODEL = SOURCE / "models" / "fashion_mlp" / "model.json"
FASHION_DATA = pathlib.Path(os.environ.get("STAGEWRIGHT_DATA", "/usr/share/datasets/fashion-mnist"))

# Every process that descends from a test carries this variable, so that one left over can be found.
MARK = "STAGEWRIGHT_TEST_RUN"


class Finished:
    """A program that has ended: exit code, both outputs, and the last line of stdout as JSON."""

    def __init__(self, command, code, out, err, seconds, usage):
        self.command, self.code, self.out, self.err = command, code, out, err
        self.seconds, self.usage = seconds, usage

    @property
    def json(self):
        return json.loads(self.out.strip().splitlines()[-1])

    def __str__(self):
        return f"$ {' '.join(map(str, self.command))}\nexit code {self.code}\n-- stdout\n{self.out}\n-- stderr\n{self.err}"


class Running:
    """A program in a process group of its own, with a mark in its environment."""

    def __init__(self, arguments, environment=None, folder=None, preexec=None, program=STAGEWRIGHT):
        self.mark = uuid.uuid4().hex
        self.command = [str(program), *map(str, arguments)]
        # Files, not pipes: a process left over would hold a pipe open and hang the test.
        self.output, self.errors = tempfile.TemporaryFile("w+"), tempfile.TemporaryFile("w+")
        self.begin = time.monotonic()
        self.process = subprocess.Popen(
            self.command,
            stdin=subprocess.DEVNULL,
            stdout=self.output,
            stderr=self.errors,
            cwd=folder,
            env={**os.environ, "TMPDIR": "/tmp", MARK: self.mark, **(environment or {})},
            start_new_session=True,
            preexec_fn=preexec,
        )

    def wait(self, timeout):
        """Waits for the program and returns Finished; past `timeout` seconds ends it and raises."""
        deadline = time.monotonic() + timeout
        while True:
            pid, status, usage = os.wait4(self.process.pid, os.WNOHANG)
            if pid:
                break
            if time.monotonic() > deadline:
                self.end()
                raise AssertionError(f"still running after {timeout} s: {' '.join(self.command)}\n{self.text(self.errors)}")
            time.sleep(0.002)
        self.process.returncode = os.waitstatus_to_exitcode(status)
        seconds = time.monotonic() - self.begin
        with self.output, self.errors:
            texts = self.text(self.output), self.text(self.errors)
        return Finished(self.command, self.process.returncode, *texts, seconds, usage)

    @staticmethod
    def text(file):
        file.seek(0)
        return file.read()

    def members(self):
        """Process ids that carry this run's mark, the program's own included."""
        wanted = f"{MARK}={self.mark}".encode()
        found = []
        for folder in pathlib.Path("/proc").iterdir():
            if folder.name.isdigit():
                with contextlib.suppress(OSError):
                    if wanted in (folder / "environ").read_bytes().split(b"\0"):
                        found.append(int(folder.name))
        return found

    def ranks(self):
        """{MPI rank: process id} of this run."""
        found = {}
        for pid in self.members():
            with contextlib.suppress(OSError):
                variables = dict(
                    entry.split(b"=", 1)
                    for entry in pathlib.Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
                    if b"=" in entry
                )
                if b"OMPI_COMM_WORLD_RANK" in variables:
                    found[int(variables[b"OMPI_COMM_WORLD_RANK"])] = pid
        return found

    def errors_so_far(self):
        """What stands on stderr while the program runs."""
        # Not by seeking: the program writes where this file's offset is.
        return os.pread(self.errors.fileno(), 1 << 20, 0).decode(errors="replace")

    def job_folders(self):
        """Folders of Open MPI's files, in /dev/shm and /tmp, by the names that the launcher gives them."""
        return [path for place in ("/dev/shm", "/tmp") for path in pathlib.Path(place).glob(f"stagewright-{self.process.pid}-*")]

    def end(self):
        for pid in self.members():
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            self.process.wait()


def run(*arguments, timeout=120, **options):
    return Running(arguments, **options).wait(timeout)


class ProgramTest(unittest.TestCase):
    """A test with a folder of its own, and the program's verbs as methods that must succeed."""

    maxDiff = None

    @classmethod
    def setUpClass(cls):
        if not STAGEWRIGHT.exists():
            raise AssertionError(f"{STAGEWRIGHT} is not built")
        cls.shared = pathlib.Path(tempfile.mkdtemp(prefix="stagewright-e2e-"))
        cls.addClassCleanup(shutil.rmtree, cls.shared, ignore_errors=True)

    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(dir=self.shared))

    def run_ok(self, *arguments, **options):
        done = run(*arguments, **options)
        self.assertEqual(done.code, 0, str(done))
        return done

    def write(self, name, value):
        """Writes text, bytes or JSON to a file of the test's folder."""
        path = self.folder / name
        if isinstance(value, bytes):
            path.write_bytes(value)
        else:
            path.write_text(value if isinstance(value, str) else json.dumps(value, indent=1))
        return path

    def compile(self, config, *options, model=FASHION_MODEL, name="x.stage", **run_options):
        """Compiles with a configuration given as a dictionary; returns the path of the .stage file."""
        out = self.folder / name
        self.run_ok("compile", model, "-c", self.write(name + ".config.json", config), *options, "-o", out, **run_options)
        return out

    def train(self, stage, *options, data=FASHION_DATA, timeout=120, **run_options):
        """Trains and returns the closing JSON line."""
        return self.run_ok("train", stage, "--data", data, *options, "--json", timeout=timeout, **run_options).json

    def count_messages(self, stage, ranks, *options, **run_options):
        """Bytes that each rank of a run has given MPI to send to each other one: [from][to]."""
        prefix = self.folder / "count"
        environment = {"LD_PRELOAD": os.environ["STAGEWRIGHT_MESSAGE_COUNTER"], "STAGEWRIGHT_MESSAGE_COUNT": prefix}
        self.train(stage, *options, "--ranks", "processes", environment=environment, **run_options)
        return [[int(line) for line in pathlib.Path(f"{prefix}.{rank}").read_text().split()] for rank in range(ranks)]

    def listing(self):
        return sorted(str(path.relative_to(self.folder)) for path in self.folder.rglob("*"))


def configuration(**changes):
    """Fashion-MNIST in four micro-batches of 16 with Adam and clipping."""
    return {
        "train_micro_batch_size_per_gpu": 16,
        "gradient_accumulation_steps": 4,
        "optimizer": {"type": "Adam", "params": {"lr": 0.001}},
        "gradient_clipping": 1.0,
        "steps_per_print": 0,
        "seed": 1234,
        **changes,
    }


def strip_comments(text):
    """JSON with whole-line // comments, as the model files have them."""
    return "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("//"))


def write_idx(path, sizes, body, code=0x08):
    """IDX file: element type `code` (8: bytes), big-endian sizes, then `body`."""
    head = bytes([0, 0, code, len(sizes)]) + b"".join(size.to_bytes(4, "big") for size in sizes)
    pathlib.Path(path).write_bytes(head + body)
