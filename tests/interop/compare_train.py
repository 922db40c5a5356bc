#!/usr/bin/env python3
"""compare_train.py - `atelier train` against the same training in transformers and torch.

The token file is made so that the order of the data cannot matter: every document has a quarter of a sequence's length
and a batch is the whole file.  What remains is the training itself: losses and gradient norms of 20 steps of packed,
masked, sharded fine-tuning must be those of torch.optim.AdamW on the documents one by one, and so must the weights of
the checkpoint, which transformers loads as it is.  On 1 rank, and on 2 where there is an mpirun.
"""

import json
import math
import shutil
import sys
from pathlib import Path

import torch
from torch.nn.functional import cross_entropy

import atelier_tools as tools

MODELS = ["llama3", "smollm2", "mistral", "qwen3", "qwen2", "olmo2", "smollm3", "ministral3", "nemotron", "gemma3", "apertus", "mistral_window", "gemma2", "granite"]
STEPS, WARMUP = 20, 5
SEQUENCE_TOKENS, SEQUENCES, DOCUMENTS_PER_SEQUENCE = 32, 4, 4
RATE, BETAS, EPS, DECAY, CLIP = 2e-3, (0.9, 0.95), 1e-8, 0.1, 1.5
LOSS_LIMIT = 1e-5    # relative
WEIGHT_LIMIT = 1e-4  # relative, of all weights together: Adam magnifies the rounding of gradients that are almost 0

RUN_FILE = """
run: {{folder: "{folder}", threads: 1}}
model: {{path: "{model}", save_dtype: f32}}
data: {{train: "{data}", sequence_tokens: {sequence_tokens}, packing: whole}}
train: {{steps: {steps}, batch_sequences: {sequences}, micro_sequences: 1, grad_clip: {clip}}}
optimizer: {{learning_rate: {rate}, beta1: {beta1}, beta2: {beta2}, eps: {eps}, weight_decay: {decay}}}
schedule: {{kind: cosine, warmup_steps: {warmup}, final_ratio: 0.1}}
parallel: {{stage: 3}}
"""


def make_data(vocab_size):
    """Documents of equal length, and masks under which about a third of the tokens do not count."""
    length = SEQUENCE_TOKENS // DOCUMENTS_PER_SEQUENCE
    documents = tools.random_documents([length] * (SEQUENCES * DOCUMENTS_PER_SEQUENCE), vocab_size, seed=3)
    masks = [mask % 3 != 0 for mask in tools.random_documents([length] * len(documents), 300, seed=4)]
    return documents, masks


def rate_at(step):
    """Learning rate of update number step, from 1: linear warm-up, then a cosine down to a tenth."""
    if step <= WARMUP:
        return RATE * step / WARMUP
    done = (step - WARMUP) / (STEPS - WARMUP)
    return RATE * (0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * done)))


def batch_loss(model, documents, masks):
    """Mean over the targets that count; all documents have one length, so they are a plain batch for transformers."""
    ids = torch.tensor(documents)
    logits = model(input_ids=ids).logits[:, :-1]
    losses = cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten(), reduction="none")
    counts = torch.tensor(masks)[:, 1:].flatten().float()
    return (losses * counts).sum() / counts.sum()


def train_torch(model, documents, masks, decay=DECAY):
    """Losses and gradient norms of STEPS updates; model is changed in place."""
    groups = [{"params": [p for p in model.parameters() if p.ndim >= 2], "weight_decay": decay},
              {"params": [p for p in model.parameters() if p.ndim < 2], "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=RATE, betas=BETAS, eps=EPS)
    losses, norms = [], []
    for step in range(1, STEPS + 1):
        for group in optimizer.param_groups:
            group["lr"] = rate_at(step)
        optimizer.zero_grad()
        loss = batch_loss(model, documents, masks)
        loss.backward()
        norms.append(torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP).item())
        optimizer.step()
        losses.append(loss.item())
    return losses, norms


def train_atelier(model_folder, data, folder, ranks):
    """The same by the program: losses and norms from its metrics, and the folder of its last checkpoint."""
    path = folder / "run.yaml"
    path.write_text(RUN_FILE.format(folder=folder / "run", model=model_folder, data=data, steps=STEPS, clip=CLIP,
                                    sequence_tokens=SEQUENCE_TOKENS, sequences=SEQUENCES, rate=RATE, beta1=BETAS[0],
                                    beta2=BETAS[1], eps=EPS, decay=DECAY, warmup=WARMUP))
    start = ["mpirun", "-n", ranks] if ranks > 1 else []
    tools.run(*start, tools.ATELIER, "train", path)
    lines = [json.loads(line) for line in (folder / "run" / "metrics.jsonl").read_text().splitlines()]
    steps = [line for line in lines if "grad_norm" in line]
    newest = (folder / "run" / "latest").read_text().strip()
    return [line["loss"] for line in steps], [line["grad_norm"] for line in steps], folder / "run" / newest


def worst(got, want):
    """Largest relative difference of two lists; infinite when they differ in length."""
    return max(abs(a / b - 1) for a, b in zip(got, want)) if len(got) == len(want) else math.inf


def weight_error(model, other):
    flat = [torch.cat([p.detach().flatten() for _, p in sorted(m.named_parameters())]) for m in (model, other)]
    return tools.relative_error(*flat)


def compare(report, name, ranks, folder):
    folder.mkdir()
    model = tools.load_hf(tools.GOLDEN / name)
    documents, masks = make_data(model.config.vocab_size)
    data = folder / "train.h5"
    tools.write_token_file(data, documents, model.config.vocab_size, tools.GOLDEN / name, masks)
    documents, masks = [d.tolist() for d in documents], [m.tolist() for m in masks]
    own_losses, own_norms, checkpoint = train_atelier(tools.GOLDEN / name, data, folder, ranks)
    losses, norms = train_torch(model, documents, masks)
    report.near(f"{STEPS} losses, {losses[0]:.3f} to {losses[-1]:.3f}", worst(own_losses, losses), LOSS_LIMIT)
    report.near(f"{STEPS} gradient norms", worst(own_norms, norms), 10 * LOSS_LIMIT)
    report.near("weights of the checkpoint, in transformers", weight_error(tools.load_hf(checkpoint), model),
                WEIGHT_LIMIT)
    everything = [[True] * len(mask) for mask in masks]
    for what, wrong in (("a loss without its mask", {"masks": everything}),
                        ("a run without weight decay", {"decay": 0})):
        losses, _ = train_torch(tools.load_hf(tools.GOLDEN / name), documents, **({"masks": masks} | wrong))
        report.notices(what, worst(own_losses, losses), LOSS_LIMIT)


def main():
    report = tools.Report()
    torch.set_num_threads(1)
    with tools.scratch() as scratch:
        for name in MODELS:
            for ranks in (1, 2):
                if ranks > 1 and not shutil.which("mpirun"):
                    print(f" {name}, {ranks} ranks: left out, there is no mpirun")
                    continue
                print(f" {name}, {ranks} rank{'s' if ranks > 1 else ''}")
                try:
                    compare(report, name, ranks, Path(scratch) / f"{name}-{ranks}")
                except tools.ProgramFailed as failure:
                    report.expect(False, str(failure))
    return report.code()


if __name__ == "__main__":
    sys.exit(main())
