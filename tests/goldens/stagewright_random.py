"""Stagewright's random numbers (runtime/train/Random.h) in numpy, for models in PyTorch."""
import math

import numpy
import torch
from torch import nn


def philox(counter, seed):
    """[n, 4] words of Philox 4x32-10 with n counters, each four numbers or arrays of n."""
    mask = numpy.uint64(0xFFFFFFFF)
    c = numpy.broadcast_arrays(*(numpy.asarray(word, numpy.uint64) for word in counter))
    key = [seed & 0xFFFFFFFF, seed >> 32]
    for _ in range(10):
        a, b = numpy.uint64(0xD2511F53) * c[0], numpy.uint64(0xCD9E8D57) * c[2]
        high = [product >> numpy.uint64(32) for product in (a, b)]
        c = [high[1] ^ c[1] ^ numpy.uint64(key[0]), b & mask, high[0] ^ c[3] ^ numpy.uint64(key[1]), a & mask]
        key = [(key[0] + 0x9E3779B9) & 0xFFFFFFFF, (key[1] + 0xBB67AE85) & 0xFFFFFFFF]
    return numpy.stack(c, 1)


class RandomNumbers:
    """Stagewright's random numbers (runtime/train/Random.h) of the micro-batch at hand."""

    seed, step, micro_batch = 0, 0, 0

    @classmethod
    def factors(cls, elements, block, ordinal, p):
        """What dropout multiplies `elements` values with."""
        counter = (numpy.arange(-(-elements // 4)), 65536 * block + ordinal, cls.step, cls.micro_batch)
        words = philox(counter, cls.seed).reshape(-1)[:elements]
        return torch.from_numpy((words >= round(p * 2**32)) / (1 - p))


class Dropout(nn.Module):
    """nn.Dropout with those numbers; Graph gives block and ordinal."""

    def __init__(self, p=0.5):
        super().__init__()
        self.p = p

    def forward(self, x):
        if not self.training:
            return x
        return x * RandomNumbers.factors(x.numel(), self.block, self.ordinal, self.p).reshape(x.shape).to(x.dtype)


def words_of(seed, name, count):
    """The first `count` words of the stream that is called `name`."""
    hashed = 0xCBF29CE484222325
    for byte in name.encode():
        hashed = (hashed ^ byte) * 0x100000001B3 % 2**64
    blocks = []
    for begin in range(0, -(-count // 4), 1 << 20):
        index = numpy.arange(begin, min(begin + (1 << 20), -(-count // 4)))
        blocks.append(philox((index, 0, hashed & 0xFFFFFFFF, hashed >> 32), seed).reshape(-1))
    return numpy.concatenate(blocks)[:count]


def drawn(seed, name, shape, bound):
    """U(-bound, bound) from the stream that is called `name`."""
    centred = 2 * (words_of(seed, name, math.prod(shape)).astype(numpy.int64) >> 8) + 1 - 2**24
    return torch.from_numpy((centred * 2.0**-24 * bound).astype(numpy.float32)).reshape(shape)


def drawn_normal(seed, name, shape, deviation=1.0):
    """N(0, deviation^2) from that stream."""
    uniform = (torch.from_numpy(words_of(seed, name, math.prod(shape)).astype(numpy.float64)) + 0.5) * 2.0**-32
    return (torch.special.ndtri(uniform) * deviation).float().reshape(shape)
