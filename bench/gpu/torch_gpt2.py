"""GPT-2 124M in PyTorch with torch.compile: tokens a second of a training step, as one line of JSON.

bf16 by autocast with fp32 weights, fused AdamW, clipping, the same batch and micro-batches as Stagewright's plan, and data of its kind:
random tokens on the GPU. Causal attention is PyTorch's choice of kernel.
"""
import argparse
import json
import time

import torch
from torch import nn
from torch.nn import functional


class Block(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.ln_1, self.ln_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x):
        b, s, c = x.shape
        q, k, v = (part.view(b, s, self.heads, c // self.heads).transpose(1, 2) for part in self.qkv(self.ln_1(x)).split(c, dim=2))
        y = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(y.transpose(1, 2).reshape(b, s, c))
        return x + self.down(functional.gelu(self.up(self.ln_2(x)), approximate="tanh"))


class Gpt2(nn.Module):
    def __init__(self, width=768, heads=12, layers=12, tokens=50257, positions=1024):
        super().__init__()
        self.wte, self.wpe = nn.Embedding(tokens, width), nn.Embedding(positions, width)
        self.h = nn.ModuleList(Block(width, heads) for _ in range(layers))
        self.ln_f = nn.LayerNorm(width)
        for table in (self.wte, self.wpe):
            nn.init.normal_(table.weight, std=0.02)

    def forward(self, tokens, following):
        x = self.wte(tokens) + self.wpe.weight[: tokens.shape[1]]
        for block in self.h:
            x = block(x)
        logits = functional.linear(self.ln_f(x), self.wte.weight)
        return functional.cross_entropy(logits.flatten(0, 1).float(), following.flatten())


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--micro-batch", type=int, default=4)
    parser.add_argument("--sequence", type=int, default=1024)
    parser.add_argument("--steps", type=int, default=12)
    options = parser.parse_args()
    torch.manual_seed(1234)
    torch.set_float32_matmul_precision("high")
    model = Gpt2().cuda()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-4, betas=(0.9, 0.95), weight_decay=0.1, fused=True)
    compiled = torch.compile(model)
    micros = options.batch // options.micro_batch
    tokens = torch.randint(50257, (micros, options.micro_batch, options.sequence + 1), device="cuda")

    def step():
        total = torch.zeros((), device="cuda")
        for micro in tokens:
            with torch.autocast("cuda", dtype=torch.bfloat16):
                loss = compiled(micro[:, :-1], micro[:, 1:]) / micros
            loss.backward()
            total += loss.detach()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return total

    losses = [step() for _ in range(3)]
    torch.cuda.synchronize()
    begin = time.perf_counter()
    losses += [step() for _ in range(options.steps)]
    torch.cuda.synchronize()
    seconds = time.perf_counter() - begin
    print(json.dumps({"tokens_per_second": options.steps * options.batch * options.sequence / seconds,
                      "first_loss": float(losses[0]), "last_loss": float(losses[-1]), "torch": torch.__version__,
                      "device": torch.cuda.get_device_name(), "peak_bytes": torch.cuda.max_memory_allocated()}))


if __name__ == "__main__":
    main()
