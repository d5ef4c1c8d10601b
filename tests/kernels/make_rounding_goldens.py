"""RoundingGoldens.inc: weights rounded by chance, by exact fractions and a Philox of Python's integers.

    python3 make_rounding_goldens.py > RoundingGoldens.inc
"""
from fractions import Fraction
from math import frexp, ldexp

TYPES = {"F16": (11, -24), "BF16": (8, -133)}  # digits, exponent of the smallest number
SEED, STEP, RANK = 0x9E3779B97F4A7C15, 41, 2
PARAMETER = 7
SCALES = [0, 1, -1, 9, -9, -13, -14, -15, -17, -20, -24]


def philox(counter, key):
    c, k, mask = list(counter), list(key), 0xFFFFFFFF
    for _ in range(10):
        a, b = 0xD2511F53 * c[0], 0xCD9E8D57 * c[2]
        c = [(b >> 32) ^ c[1] ^ k[0], b & mask, (a >> 32) ^ c[3] ^ k[1], a & mask]
        k = [(k[0] + 0x9E3779B9) & mask, (k[1] + 0xBB67AE85) & mask]
    return c


def values(count):
    """Floats whose last bits matter to neither type's rounding being by chance."""
    state = 12345
    for i in range(count):
        state = (state * 1103515245 + 12345) & 0x7FFFFFFF
        yield (-1) ** i * ldexp(0x800000 | state & 0x7FFFFF, SCALES[i % len(SCALES)] - 23)


def rounded(x, name, word):
    digits, smallest = TYPES[name]
    exponent = max(frexp(x)[1] - digits, smallest)
    size = Fraction(abs(x)) / Fraction(2) ** exponent
    lower = size.numerator // size.denominator
    isUp = Fraction(word, 2**32) >= 1 - (size - lower)
    return (1 if x >= 0 else -1) * float((lower + isUp) * Fraction(2) ** exponent)


print("// Made by make_rounding_goldens.py. Do not edit.")
print("const RoundingGolden kGoldens[] = {")
for name in TYPES:
    for split in (0, 1):
        key = (SEED & 0xFFFFFFFF, SEED >> 32 ^ (0x9E3779B9 * RANK & 0xFFFFFFFF if split else 0))
        words = [w for block in range(18) for w in philox((block, PARAMETER, STEP, 0xFFFFFFFF), key)]
        xs = list(values(70))
        print(f"    {{catalogue::DType::{name}, {split},")
        print("     {" + ", ".join(x.hex() for x in xs) + "},")
        print("     {" + ", ".join(rounded(x, name, w).hex() for x, w in zip(xs, words)) + "}},")
print("};")
