#!/usr/bin/env python3
"""Makes the folder huggingface/ beside this file with transformers: small random models as save_pretrained writes them,
what they compute (logits.safetensors, golden.json), and how they train.

    /path/to/python-with-transformers make_huggingface_goldens.py [MODEL ...]
"""
import json
import pathlib
import platform
import random
import shutil
import sys

import safetensors.torch
import torch
import transformers

FOLDER = pathlib.Path(__file__).resolve().parent / "huggingface"
SEED, VOCABULARY, POSITIONS = 20261122, 97, 24
LENGTH, BATCH, STEPS, RATE = 12, 4, 5, 0.05

LLAMA = dict(vocab_size=VOCABULARY, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
             num_key_value_heads=2, max_position_embeddings=POSITIONS)
MODELS = {
    "gpt2": lambda: transformers.GPT2LMHeadModel(transformers.GPT2Config(
        vocab_size=VOCABULARY, n_positions=POSITIONS, n_embd=32, n_layer=2, n_head=4, n_inner=80,
        layer_norm_epsilon=1e-4, attn_pdrop=0.0, resid_pdrop=0.0, embd_pdrop=0.0)),
    "llama": lambda: transformers.LlamaForCausalLM(transformers.LlamaConfig(
        **LLAMA, head_dim=12, rms_norm_eps=1e-5, attention_bias=True, mlp_bias=True,
        rope_parameters={"rope_type": "default", "rope_theta": 5000.0})),
    # A window as long as the samples hides nothing.
    "mistral": lambda: transformers.MistralForCausalLM(transformers.MistralConfig(
        **LLAMA, sliding_window=LENGTH, tie_word_embeddings=True)),
    "qwen2": lambda: transformers.Qwen2ForCausalLM(transformers.Qwen2Config(**LLAMA)),
}
SHARDED = {"qwen2": "30KB"}


def tokens(seed, windows):
    """A text of `windows` samples; a token is mostly followed by one that depends on it."""
    numbers, text = random.Random(seed), [1]
    for _ in range(windows * LENGTH):
        text.append((5 * text[-1] + 3) % VOCABULARY if numbers.random() < 0.7 else numbers.randrange(VOCABULARY))
    return text


def samples(text):
    windows = [text[i : i + LENGTH + 1] for i in range(0, len(text) - LENGTH, LENGTH)]
    return torch.tensor(windows)


def loss_of(model, windows):
    """As nanoGPT: every token of a window is followed by a label."""
    logits = model(input_ids=windows[:, :-1]).logits
    return logits, torch.nn.functional.cross_entropy(logits.flatten(0, 1), windows[:, 1:].flatten())


def make(name):
    torch.manual_seed(SEED)
    model = MODELS[name]().eval()
    with torch.no_grad():  # no weight is 1 and no bias 0, which would hide mistakes
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    folder = FOLDER / name
    shutil.rmtree(folder, ignore_errors=True)
    model.save_pretrained(folder, max_shard_size=SHARDED.get(name, "1GB"))
    (folder / "generation_config.json").unlink(missing_ok=True)
    for path in folder.iterdir():
        path.chmod(0o644)
    test, train = tokens(SEED, BATCH), tokens(SEED + 1, BATCH * STEPS)
    with torch.no_grad():
        logits, loss = loss_of(model, samples(test))
    safetensors.torch.save_file({"logits": logits.contiguous()}, folder / "logits.safetensors")
    optimizer, losses = torch.optim.SGD(model.parameters(), lr=RATE), []
    for step in range(STEPS):
        _, step_loss = loss_of(model, samples(train)[step * BATCH : (step + 1) * BATCH])
        losses.append(step_loss.item())
        optimizer.zero_grad()
        step_loss.backward()
        optimizer.step()
    golden = {
        "made_by": f"python {pathlib.Path(__file__).name} {name}",
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "length": LENGTH,
        "batch": BATCH,
        "learning_rate": RATE,
        "test_tokens": test,
        "train_tokens": train,
        "test_loss": loss.item(),
        "train_losses": losses,
    }
    (folder / "golden.json").write_text(json.dumps(golden) + "\n")
    print(f"{name:10} test loss {loss.item():.6f}, training {losses}")


if __name__ == "__main__":
    torch.set_num_threads(1)
    for model in sys.argv[1:] or MODELS:
        make(model)
