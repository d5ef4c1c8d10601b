"""Reads what interposer/MemoryRecorder.c wrote, and attributes each memory call to the object and function that made it."""
import bisect
import functools
import os
import pathlib
import subprocess

RECORDER = os.environ.get("STAGEWRIGHT_MEMORY_RECORDER", "")
PROT_READ, PROT_WRITE, MAP_FIXED, MAP_ANONYMOUS = 1, 2, 0x10, 0x20


class Event:
    __slots__ = ("kind", "nanoseconds", "thread", "bytes", "protection", "flags", "frames")

    def __init__(self, fields):
        self.kind = fields[0]
        self.nanoseconds, self.thread, self.bytes, self.protection, self.flags = map(int, fields[1:6])
        self.frames = [int(frame, 16) for frame in fields[6:]]


class Module:
    def __init__(self, bias, begin, end, path):
        self.bias, self.begin, self.end, self.path = bias, begin, end, path
        self.name = pathlib.Path(path).name


class Record:
    """One process's memory calls."""

    def __init__(self, path):
        self.modules, self.events = [], []
        for line in path.read_text().splitlines():
            fields = line.split()
            if fields[0] == "process":
                facts = dict(zip(fields[0::2], fields[1::2]))
                self.process, self.rank = int(facts["process"]), int(facts["rank"])
                self.peak_address_space = 1024 * int(facts["peak_address_space_kb"])
                self.dropped = int(facts["dropped"])
            elif fields[0] == "module":
                self.modules.append(Module(*(int(field, 16) for field in fields[1:4]), fields[4] if len(fields) > 4 else ""))
            else:
                self.events.append(Event(fields))
        self.modules.sort(key=lambda module: module.begin)
        self.begins = [module.begin for module in self.modules]

    def module(self, address):
        index = bisect.bisect_right(self.begins, address) - 1
        found = self.modules[index] if index >= 0 else None
        return found if found and address < found.end else None

    def object_name(self, event):
        """File name of the object that made the call, "?" when the stack shows none (a thread's own start and end)."""
        module = self.module(event.frames[0]) if event.frames else None
        return module.name if module else "?"

    def functions(self, event):
        """Names of the functions of the program itself on the call's stack, innermost first."""
        names = []
        for frame in event.frames:
            module = self.module(frame)
            if module and module.name == "stagewright":
                names.append(function_at(module.path, frame - 1 - module.bias))
        return names


@functools.lru_cache(None)
def symbols(path):
    """Sorted (address, name) of the functions in a program's symbol table."""
    for tool in ("nm", "llvm-nm-22", "/usr/lib/llvm-22/bin/llvm-nm"):
        try:
            text = subprocess.run([tool, "-C", "--defined-only", path], capture_output=True, text=True, check=True).stdout
            break
        except FileNotFoundError:
            continue
    else:
        raise AssertionError("no nm or llvm-nm to read the program's symbols with")
    found = []
    for line in text.splitlines():
        fields = line.split(" ", 2)
        if len(fields) == 3 and fields[1] in "tTwW":
            found.append((int(fields[0], 16), fields[2]))
    return sorted(found)


def function_at(path, address):
    table = symbols(path)
    index = bisect.bisect_right(table, (address, "\x7f")) - 1
    return table[index][1] if index >= 0 else "?"


def environment(prefix):
    """Variables with which a process and its children write records to PREFIX.<pid>."""
    return {"LD_PRELOAD": RECORDER, "STAGEWRIGHT_MEMORY_RECORD": str(prefix)}


def read_all(prefix):
    """Records of the processes that ran the program: those with its code mapped."""
    prefix = pathlib.Path(prefix)
    records = [Record(path) for path in prefix.parent.glob(prefix.name + ".*")]
    return [record for record in records if any(module.name == "stagewright" for module in record.modules)]
