#!/usr/bin/env python3
"""Trains a byte-pair vocabulary of 8192 tokens on text files and writes train.bin and val.bin, files of uint16 tokens.

    python3 make_tokens.py FOLDER FILE ...          (needs PyPI's tokenizers; made with 0.23.3)

The vocabulary is byte-level, as GPT-2's, and trained on the training part of the text; the last tenth of each file is for val.bin.
FOLDER/tokenizer.json turns text into tokens and back (tokenizers.Tokenizer.from_file).
"""
import array
import hashlib
import pathlib
import sys

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

VOCABULARY = 8192


def main(folder, *files):
    parts = {"train": [], "val": []}
    for file in sorted(files):
        text = pathlib.Path(file).read_text(errors="replace")
        cut = len(text) * 9 // 10
        parts["train"].append(text[:cut])
        parts["val"].append(text[cut:])
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    bytes_first = {"initial_alphabet": pre_tokenizers.ByteLevel.alphabet(), "show_progress": False}
    tokenizer.train_from_iterator(parts["train"], trainers.BpeTrainer(vocab_size=VOCABULARY, **bytes_first))
    folder = pathlib.Path(folder)
    folder.mkdir(exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    for name, texts in parts.items():
        tokens = array.array("H")
        for text in texts:
            tokens.extend(tokenizer.encode(text).ids)
        assert tokenizer.decode(list(tokens), skip_special_tokens=False) == "".join(texts), "the tokens are not the text"
        if sys.byteorder == "big":
            tokens.byteswap()
        data = tokens.tobytes()
        (folder / f"{name}.bin").write_bytes(data)
        print(f"{name}.bin: {len(tokens)} tokens, sha256 {hashlib.sha256(data).hexdigest()[:16]}")


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    main(*sys.argv[1:])
