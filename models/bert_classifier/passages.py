#!/usr/bin/env python3
"""Makes train.npz and test.npz: passages of licences, and which licence each comes from.

    python3 passages.py FOLDER [LICENCES]          LICENCES: /usr/share/common-licenses

A sample is [CLS] first part [SEP] second part [SEP], padded to 128 tokens: input_ids, token_type_ids (1 in the second part),
attention_mask (1 where there is no padding) and label: 0 GPL, 1 LGPL, 2 GFDL, 3 MPL. Tokens 0 to 3 are padding, [CLS], [SEP] and
unused, 4 to 259 are bytes; the others, up to 8192, are the most frequent words of the training text, with the space before
them. The last fifth of each text is for test.npz.
"""
import array
import collections
import pathlib
import random
import re
import struct
import sys
import zipfile

LENGTH, VOCABULARY = 128, 8192
PADDING, BEGIN, END, BYTES = 0, 1, 2, 4
SAMPLES = {"train": 2048, "test": 512}
CLASSES = [["GPL-1", "GPL-2", "GPL-3"], ["LGPL-2", "LGPL-2.1", "LGPL-3"], ["GFDL-1.2", "GFDL-1.3"], ["MPL-1.1", "MPL-2.0"]]
PIECES = re.compile(rb" ?[A-Za-z]+|[^A-Za-z]")


def write_npz(path, arrays):
    """{name: (shape, values)} as arrays of int32, without numpy."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, (shape, values) in arrays.items():
            header = f"{{'descr': '<i4', 'fortran_order': False, 'shape': {shape}, }}".encode()
            header += b" " * (63 - (10 + len(header)) % 64) + b"\n"
            numbers = array.array("i", values)
            if sys.byteorder == "big":
                numbers.byteswap()
            member = zipfile.ZipInfo(name + ".npy")  # of 1980, so that the same text gives the same file
            archive.writestr(member, b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + numbers.tobytes())


def passage(tokens, generator):
    """Two parts that follow each other, 30 to 125 tokens together."""
    size = generator.randint(30, LENGTH - 3)
    begin = generator.randrange(max(1, len(tokens) - size))
    text = tokens[begin : begin + size]
    cut = len(text) // 2
    ids = [BEGIN, *text[:cut], END, *text[cut:], END]
    kinds = [0] * (cut + 2) + [1] * (len(ids) - cut - 2)
    padding = [0] * (LENGTH - len(ids))
    return ids + [PADDING] * len(padding), kinds + padding, [1] * len(ids) + padding


def main(folder, licences="/usr/share/common-licenses"):
    parts = {"train": [], "test": []}  # pieces of every text, by class
    for files in CLASSES:
        texts = [PIECES.findall((pathlib.Path(licences) / file).read_bytes()) for file in files]
        parts["train"].append([text[: len(text) * 4 // 5] for text in texts])
        parts["test"].append([text[len(text) * 4 // 5 :] for text in texts])
    counts = collections.Counter(piece for texts in parts["train"] for text in texts for piece in text if len(piece) > 1)
    # Ties by the words themselves, so that the same text gives the same tokens.
    frequent = sorted(counts, key=lambda piece: (-counts[piece], piece))[: VOCABULARY - 256 - BYTES]
    number = {piece: BYTES + 256 + i for i, piece in enumerate(frequent)}
    generator = random.Random(20261121)
    for name, classes in parts.items():
        texts = [[[n for p in text for n in ([number[p]] if p in number else [BYTES + b for b in p])] for text in texts]
                 for texts in classes]
        columns = {"input_ids": [], "token_type_ids": [], "attention_mask": [], "label": []}
        for i in range(SAMPLES[name]):
            label = i % len(CLASSES)
            values = passage(generator.choice(texts[label]), generator)
            for key, value in zip(columns, (*values, [label])):
                columns[key] += value
        shapes = {key: (SAMPLES[name],) + (() if key == "label" else (LENGTH,)) for key in columns}
        write_npz(pathlib.Path(folder) / f"{name}.npz", {key: (shapes[key], value) for key, value in columns.items()})
        print(f"{name}.npz: {SAMPLES[name]} passages, {sum(columns['attention_mask'])} tokens")


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    main(*sys.argv[1:])
