"""What bench/gpu/run and bench/gpu/pack ask a machine: its GPU, its libraries, its C library; and how commands run on it."""
import glob
import importlib.util
import os
import pathlib
import platform
import re
import shutil
import signal
import subprocess
import threading

# The files that the plug-in opens, each with those that it opens itself.
LIBRARIES = {"libcublasLt.so.13": ("libcublasLt.so.13",), "libcudnn.so.9": ("libcudnn*.so.9",),
             "libnvrtc.so.13": ("libnvrtc.so.13", "libnvrtc-builtins.so.13.*")}  # cuDNN compiles with it


def run_group(arguments, limit, environment=None):
    """(exit code, stdout, stderr); the exit code is None when it has not ended in `limit` seconds. It is a session of its own, and
    nothing of that goes on when this returns."""
    process = subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True,
                               errors="replace", env=environment, start_new_session=True)

    def end():
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass

    try:
        out, err = process.communicate(timeout=limit)
        return process.returncode, out, err
    except subprocess.TimeoutExpired:
        end()
        try:
            out, err = process.communicate(timeout=10)
        except subprocess.TimeoutExpired as rest:  # who has left the session still has the pipe
            out, err = (text.decode(errors="replace") if isinstance(text, bytes) else text or "" for text in (rest.stdout, rest.stderr))
        return None, out, err
    finally:
        end()


def library_folders(packed):
    """Where the toolkit's libraries may be, the first choice first: the user's, those of the kit, the toolkit's own, the system's, those
    of NVIDIA's Python packages (of this Python and of `python3`), and conda's."""
    folders = [*os.environ.get("LD_LIBRARY_PATH", "").split(":"), str(packed), "/usr/local/cuda/lib64",
               *sorted(glob.glob("/usr/local/cuda-13*/lib64"), reverse=True), "/usr/lib/x86_64-linux-gnu", "/usr/lib64"]
    nvidia = importlib.util.find_spec("nvidia")
    places = list(nvidia.submodule_search_locations or []) if nvidia else []
    try:
        asked = subprocess.run(["python3", "-c", "import nvidia; print(*nvidia.__path__, sep='\\n')"], capture_output=True, text=True, timeout=30)
        places += asked.stdout.splitlines() if asked.returncode == 0 else []
    except (OSError, subprocess.SubprocessError):
        pass
    for place in places:
        folders += sorted(glob.glob(f"{place}/*/lib"))
    if os.environ.get("CONDA_PREFIX"):
        folders.append(os.environ["CONDA_PREFIX"] + "/lib")
    return [folder for folder in folders if folder]


def find_libraries(folders):
    """{name: its path, or None}"""
    paths = {name: [f"{folder}/{name}" for folder in folders if os.path.exists(f"{folder}/{name}")] for name in LIBRARIES}
    return {name: found[0] if found else None for name, found in paths.items()}


def link_libraries(found, folder):
    """Links what was found, and what belongs to it, into a folder: nothing else of theirs is to be found before the system's."""
    for name, path in found.items():
        for pattern in LIBRARIES[name] if path else ():
            for file in glob.glob(f"{os.path.dirname(path)}/{pattern}"):
                link = pathlib.Path(folder) / os.path.basename(file)
                if not link.exists():
                    link.symlink_to(os.path.realpath(file))


def version_of(text):
    return tuple(int(part) for part in re.findall(r"\d+", text))


def glibc_here():
    """"2.39"; empty: this is another C library."""
    name, version = platform.libc_ver()
    return version if name == "glibc" else ""


def glibc_needed(files):
    """The highest version of glibc that one of these programs and libraries needs."""
    needed = {"2.17"}
    for file in files:
        text = subprocess.run(["readelf", "--version-info", "--wide", file], capture_output=True, text=True, check=True).stdout
        needed.update(re.findall(r"Name: GLIBC_([\d.]+)", text))
    return max(needed, key=version_of)


def smi(*fields):
    """What nvidia-smi says of the first GPU; None: nothing."""
    try:
        out = subprocess.run(["nvidia-smi", f"--query-gpu={','.join(fields)}", "--format=csv,noheader,nounits"], capture_output=True,
                             text=True, timeout=20, check=True).stdout
        return [cell.strip() for cell in out.splitlines()[0].split(",")]
    except (OSError, subprocess.SubprocessError, IndexError):
        return None


def describe():
    gpu = smi("name", "driver_version", "memory.total", "compute_cap")
    nvcc = shutil.which("nvcc") or "/usr/local/cuda/bin/nvcc"
    version = subprocess.run([nvcc, "--version"], capture_output=True, text=True).stdout.splitlines() if os.path.exists(nvcc) else []
    return {"gpu": dict(zip(("name", "driver", "memory_mib", "compute_capability"), gpu)) if gpu else None,
            "toolkit": version[-1] if version else None, "cores": os.cpu_count(), "system": platform.platform()}


class MemoryWatch:
    """The most memory that the GPU has in use while the block runs, less what it had before: bytes, or None."""

    def __enter__(self):
        self.before, self.most, self.ends = self.used(), None, threading.Event()
        self.thread = threading.Thread(target=self.watch)
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.ends.set()
        self.thread.join()

    @staticmethod
    def used():
        try:
            return int(smi("memory.used")[0]) * 2**20
        except (TypeError, ValueError):  # no answer, or "[N/A]"
            return None

    def watch(self):
        while self.before is not None and not self.ends.wait(0.3):
            used = self.used()
            if used is not None:
                self.most = max(self.most or 0, used - self.before)
