#!/usr/bin/env python3
"""Makes train.bin and val.bin, files of uint16 tokens, from text files.

    python3 tokens.py FOLDER FILE ...

Tokens 0 to 255 are bytes; the others, up to 8192, are the most frequent words of the training text, with the space
before them. A word without a number of its own is written as its bytes. The last tenth of each file is for val.bin.
"""
import array
import collections
import pathlib
import re
import sys

VOCABULARY = 8192
PIECES = re.compile(rb" ?[A-Za-z]+|[^A-Za-z]")


def main(folder, *files):
    parts = {"train": [], "val": []}
    for file in files:
        text = pathlib.Path(file).read_bytes()
        cut = len(text) * 9 // 10
        parts["train"] += PIECES.findall(text[:cut])
        parts["val"] += PIECES.findall(text[cut:])
    counts = collections.Counter(piece for piece in parts["train"] if len(piece) > 1)
    # Ties by the words themselves, so that the same text gives the same tokens.
    frequent = sorted(counts, key=lambda piece: (-counts[piece], piece))[: VOCABULARY - 256]
    number = {piece: 256 + i for i, piece in enumerate(frequent)}
    for name, pieces in parts.items():
        tokens = array.array("H")
        for piece in pieces:
            tokens.extend([number[piece]] if piece in number else piece)
        if sys.byteorder == "big":
            tokens.byteswap()
        (pathlib.Path(folder) / f"{name}.bin").write_bytes(tokens.tobytes())
        print(f"{name}.bin: {len(tokens)} tokens")


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    main(*sys.argv[1:])
