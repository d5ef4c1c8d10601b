"""A reader of safetensors files with the standard library: an independent check of what the program writes."""
import array
import json
import math
import pathlib
import struct
import sys

ELEMENT_BYTES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "U8": 1}


class Tensor:
    def __init__(self, dtype, shape, data):
        self.dtype, self.shape, self.data = dtype, shape, data

    def values(self):
        """The elements as Python numbers."""
        found = array.array({"F32": "f", "F64": "d", "I64": "q"}[self.dtype])
        found.frombytes(self.data)
        if sys.byteorder == "big":
            found.byteswap()
        return found


def read(path):
    """{name: Tensor}. Raises ValueError when the file breaks the format's rules."""
    data = pathlib.Path(path).read_bytes()
    if len(data) < 8:
        raise ValueError("shorter than its length field")
    (size,) = struct.unpack("<Q", data[:8])
    if size > len(data) - 8:
        raise ValueError("the header does not fit the file")
    header = json.loads(data[8 : 8 + size])
    header.pop("__metadata__", None)
    body, tensors, end = data[8 + size :], {}, 0
    for name, entry in sorted(header.items(), key=lambda item: item[1]["data_offsets"]):
        begin, stop = entry["data_offsets"]
        if begin != end:
            raise ValueError(f"{name}: a hole or an overlap at byte {begin}")
        if stop - begin != math.prod(entry["shape"]) * ELEMENT_BYTES[entry["dtype"]]:
            raise ValueError(f"{name}: {stop - begin} bytes for shape {entry['shape']}")
        tensors[name] = Tensor(entry["dtype"], entry["shape"], body[begin:stop])
        end = stop
    if end != len(body):
        raise ValueError(f"{len(body) - end} bytes behind the last tensor")
    return tensors
