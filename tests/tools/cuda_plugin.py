"""What the plug-in for NVIDIA GPUs is made of: code for Hopper and PTX for others from every file of device code, one symbol
that it exports, and no library that a machine without a GPU lacks.

    cuda_plugin.py PLUGIN FATBIN_FOLDER DEVICE_SOURCES_FOLDER
"""
import pathlib
import re
import struct
import subprocess
import sys

PTX, ELF = 1, 2


def entries(data):
    """(kind, architecture) of the parts of a fat binary: its header, then each part's, as `fatbinary` writes them. An ELF's architecture
    is that of the assembler's command line, which it has in a note ("-arch sm_90a"): the numbers of the headers are those of sm_90."""
    magic, _, header, size = struct.unpack_from("<IHHQ", data)
    if magic != 0xBA55ED50:
        raise ValueError("no fat binary")
    at, end = header, header + size
    while at < end:
        kind, _, header, payload = struct.unpack_from("<HHIQ", data, at)
        named = re.search(rb"-arch\s+(sm_\w+)", data[at + header : at + header + payload]) if kind == ELF else None
        yield kind, named[1].decode() if named else f"compute_{struct.unpack_from('<I', data, at + 28)[0]}"
        at += header + payload


def main(plugin, fatbins, sources):
    sources = sorted(pathlib.Path(sources).glob("*.cu"))
    assert sources, "there is no device code"
    for source in sources:
        found = list(entries((pathlib.Path(fatbins) / f"{source.stem}.fatbin").read_bytes()))
        assert sorted(found) == [(PTX, "compute_80"), (ELF, "sm_90a")], f"{source.name} has {found}"
    symbols = subprocess.run(["nm", "-D", "--defined-only", plugin], capture_output=True, text=True, check=True).stdout
    exported = [line.split()[-1] for line in symbols.splitlines() if line.split()[-2] == "T"]
    assert exported == ["stagewright_cuda_open"], exported
    dynamic = subprocess.run(["readelf", "-d", plugin], capture_output=True, text=True, check=True).stdout
    needed = re.findall(r"NEEDED.*\[(.*?)\]", dynamic)
    assert not [name for name in needed if re.match(r"lib(cu|nv|nccl)", name)], needed
    print(f"{len(sources)} files of device code, needs {', '.join(needed)}")


if __name__ == "__main__":
    main(*sys.argv[1:])
