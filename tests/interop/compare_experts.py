#!/usr/bin/env python3
"""compare_experts.py - a model of Qwen3-MoE's kind trained from scratch on French sheets, by `atelier train` and by transformers with
torch, from the same weights on the same tokens in the same order (`make moe-curve`; not part of `make interop`, for it takes long).

Ten steps on few tokens, where no token is near the border between two experts (gaps between the last chosen probability and the first
that was not chosen above 1e-4): losses within 1e-5.  Then the curve, where tokens near such borders may go to another expert by a
rounding: the mean difference of the losses has to be less than half of that between two seeds of the weights; told beside it is how far
transformers gets from itself when it computes experts one after another.  Control: with the weights
of a token's experts as they are, not added up to one, the ten losses are others.  The time of a step is told of both, in seconds of
processors, on as many threads.

Sizes by the environment, for a machine that has less time: MOE_WIDTH, MOE_LAYERS, MOE_EXPERTS, MOE_FFN, MOE_STEPS, MOE_SEQUENCES,
MOE_TOKENS, MOE_THREADS, MOE_CORPUS.
"""

import json
import os
import resource
import sys
import time
from pathlib import Path

import h5py
import torch
import transformers
from torch.nn.functional import cross_entropy

import atelier_tools as tools


def size(name, usual):
    return int(os.environ.get(f"MOE_{name}", usual))


WIDTH, LAYERS, EXPERTS, FFN, CHOSEN = size("WIDTH", 640), size("LAYERS", 12), size("EXPERTS", 32), size("FFN", 256), 4
STEPS, SEQUENCES, TOKENS, THREADS = size("STEPS", 200), size("SEQUENCES", 8), size("TOKENS", 256), size("THREADS", os.cpu_count())
CORPUS = Path(os.environ.get("MOE_CORPUS", tools.ROOT / "../shared/corpora/service_public_particuliers.jsonl.zst"))
SHORT_STEPS, SHORT_SEQUENCES, SHORT_TOKENS = 10, 2, 16
SEEDS = range(27, 67)  # the first has large gaps with torch 2.15; another torch draws other weights
GAP_LIMIT, LOSS_LIMIT = 1e-4, 1e-5
SHORT_RATE = 1e-3
CURVE_RATE = 1e-4  # at 1e-3, transformers is as far from itself with its experts in another order as from anybody: nothing is compared
BETAS, EPS, DECAY, CLIP = (0.9, 0.95), 1e-8, 0.1, 1.0

RUN_FILE = """
run: {{folder: "{folder}", threads: {threads}, seed: 5}}
model: {{path: "{model}", save_dtype: f32}}
data: {{train: "{data}", sequence_tokens: {tokens}, packing: whole}}
train: {{steps: {steps}, batch_sequences: {sequences}, micro_sequences: {sequences}, grad_clip: {clip}, compute: f32}}
optimizer: {{learning_rate: {rate}, beta1: {beta1}, beta2: {beta2}, eps: {eps}, weight_decay: {decay}}}
schedule: {{kind: constant}}
checkpoint: {{every_steps: 0, keep: 1}}
"""


# --- data and model


def corpus_ids(scratch, count):
    """The first tokens of the corpus, by the tokenizer of the sample."""
    words, output = scratch / "prepare.yaml", scratch / "corpus.h5"
    words.write_text(json.dumps({"prepare": {"tokenizer": str(tools.ROOT / "data/sample/tokenizer/tokenizer.json"),
                                             "output": str(output), "sources": [{"path": str(CORPUS), "field": "text"}]}}))
    tools.run(tools.ATELIER, "prepare", words)
    with h5py.File(output) as file:
        ids = file["tokens"][:count].tolist()
    if len(ids) < count:
        raise SystemExit(f"'{CORPUS}' has {len(ids)} tokens, and {count} are asked for")
    return ids


def new_model(folder, seed, vocab_size=4096, **sizes):
    """Random weights in a folder; routers ten times as large, so that they have something to choose by."""
    torch.manual_seed(seed)
    config = transformers.Qwen3MoeConfig(
        vocab_size=vocab_size, norm_topk_prob=True, num_experts_per_tok=CHOSEN, decoder_sparse_step=1, mlp_only_layers=[],
        tie_word_embeddings=False, max_position_embeddings=4096, output_router_logits=False, bos_token_id=1, eos_token_id=2,
        **sizes)
    model = transformers.Qwen3MoeForCausalLM(config)
    with torch.no_grad():
        for layer in model.model.layers:
            layer.mlp.gate.weight.mul_(10)
    model.save_pretrained(folder)
    return folder


def large(folder, seed):
    heads = max(WIDTH // 64, 2)
    return new_model(folder, seed, hidden_size=WIDTH, intermediate_size=4 * WIDTH, moe_intermediate_size=FFN, num_hidden_layers=LAYERS,
                     num_attention_heads=heads, num_key_value_heads=max(heads // 4, 1), head_dim=64, num_experts=EXPERTS)


def small(folder, seed):
    return new_model(folder, seed, hidden_size=64, intermediate_size=128, moe_intermediate_size=48, num_hidden_layers=2,
                     num_attention_heads=4, num_key_value_heads=2, head_dim=16, num_experts=8)


def load(folder, **words):
    """As a user has it: transformers' own choice of how to attend and how to compute experts."""
    return transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, local_files_only=True, **words)


# --- the two programs


def train_atelier(model, data, folder, steps, sequences, tokens, rate):
    """Losses, seconds of processors for a step (the start included), and the documents that each step read."""
    folder.mkdir()
    path = folder / "run.yaml"
    path.write_text(RUN_FILE.format(folder=folder / "run", model=model, data=data, tokens=tokens, steps=steps, sequences=sequences,
                                    threads=THREADS, clip=CLIP, rate=rate, beta1=BETAS[0], beta2=BETAS[1], eps=EPS, decay=DECAY))
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    tools.run(tools.ATELIER, "train", path, limit_s=24 * 3600)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    lines = [json.loads(line) for line in (folder / "run" / "metrics.jsonl").read_text().splitlines()]
    order = []
    for step in range(1, steps + 1):
        said = json.loads(tools.run(tools.ATELIER, "inspect", folder / "run", "--step", step, "--json"))
        order.append([entry["document"] for entry in said["documents"]])
    return [line["loss"] for line in lines if "grad_norm" in line], seconds / steps, order


def smallest_gap(model, outputs):
    """Between the last chosen probability and the next, of all tokens and layers."""
    gaps = []
    for logits in outputs.router_logits:
        best = torch.softmax(logits.detach().float(), -1).topk(model.config.num_experts_per_tok + 1).values
        gaps.append((best[:, -2] - best[:, -1]).min().item())
    return min(gaps)


def train_torch(folder, documents, order, rate, with_gaps=False, **words):
    """Losses, seconds of processors for a step, and the smallest gap."""
    model = load(folder, **words)
    groups = [{"params": [p for p in model.parameters() if p.ndim >= 2], "weight_decay": DECAY},
              {"params": [p for p in model.parameters() if p.ndim < 2], "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=rate, betas=BETAS, eps=EPS)
    losses, gap, begin = [], 1.0, time.process_time()
    for numbers in order:
        ids = torch.tensor([documents[number] for number in numbers])
        optimizer.zero_grad()
        outputs = model(input_ids=ids, output_router_logits=with_gaps)
        loss = cross_entropy(outputs.logits[:, :-1].flatten(0, 1), ids[:, 1:].flatten())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP)
        optimizer.step()
        losses.append(loss.item())
        gap = min(gap, smallest_gap(model, outputs)) if with_gaps else gap
    return losses, (time.process_time() - begin) / len(order), gap


def write_data(path, ids, tokens, count, model):
    documents = [torch.tensor(ids[i * tokens:(i + 1) * tokens]).numpy() for i in range(count)]
    tools.write_token_file(path, documents, 4096, model)
    return [document.tolist() for document in documents]


# --- what is compared


def worst(got, want):
    return max(abs(a / b - 1) for a, b in zip(got, want)) if len(got) == len(want) else float("inf")


def short_run(report, scratch, ids):
    """The seed is the first whose gaps are large enough in all ten steps, as transformers computes them."""
    for seed in SEEDS:
        model = small(scratch / f"small-{seed}", seed)
        data = scratch / f"short-{seed}.h5"
        documents = write_data(data, ids, SHORT_TOKENS, SHORT_STEPS * SHORT_SEQUENCES, model)
        own, _, order = train_atelier(model, data, scratch / f"short-{seed}", SHORT_STEPS, SHORT_SEQUENCES, SHORT_TOKENS,
                                      SHORT_RATE)
        losses, _, gap = train_torch(model, documents, order, SHORT_RATE, with_gaps=True)
        if gap > GAP_LIMIT:
            break
    report.expect(gap > GAP_LIMIT, f"seed {seed}: the smallest gap of its routers is {gap:.1e}, limit {GAP_LIMIT:g}")
    report.near(f"{SHORT_STEPS} losses, {losses[0]:.4f} to {losses[-1]:.4f}", worst(own, losses), LOSS_LIMIT)
    words = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps(words | {"norm_topk_prob": False}))
    other, _, _ = train_torch(model, documents, order, SHORT_RATE)
    report.notices("weights of experts that do not add up to one", worst(other, own), LOSS_LIMIT)


def mean_difference(one, other):
    return sum(abs(a - b) for a, b in zip(one, other)) / len(one)


def curve(report, scratch, ids):
    models = [large(scratch / f"large-{seed}", seed) for seed in (1, 2)]
    count = sum(p.numel() for p in load(models[0]).parameters())
    data = scratch / "curve.h5"
    documents = write_data(data, ids, TOKENS, STEPS * SEQUENCES, models[0])
    print(f"  {count / 1e6:.1f} million parameters, {STEPS} steps of {SEQUENCES} x {TOKENS} tokens, {THREADS} threads", flush=True)
    own, own_s, order = train_atelier(models[0], data, scratch / "curve", STEPS, SEQUENCES, TOKENS, CURVE_RATE)
    losses, torch_s, _ = train_torch(models[0], documents, order, CURVE_RATE)
    eager, eager_s, _ = train_torch(models[0], documents, order, CURVE_RATE, experts_implementation="eager")
    other, _, _ = train_atelier(models[1], data, scratch / "curve-other", STEPS, SEQUENCES, TOKENS, CURVE_RATE)
    between = mean_difference(own, other)
    report.near(f"{STEPS} losses, {losses[0]:.3f} to {losses[-1]:.3f}: their mean difference (between two seeds {between:.2e})",
                mean_difference(own, losses), between / 2)
    print(f"  the first ten differ by {worst(own[:10], losses[:10]):.1e} at most, all by {worst(own, losses):.1e} (relative)")
    print(f"  transformers from itself, with its experts one after another: mean {mean_difference(eager, losses):.2e}, the first ten "
          f"{worst(eager[:10], losses[:10]):.1e} at most")
    print(f"  a step: atelier {own_s:.3f} s of processors (its start included), transformers {torch_s:.3f} s, {eager_s:.3f} s with experts "
          f"one after another: {min(torch_s, eager_s) / own_s:.2f} x")


def main():
    if not CORPUS.exists():
        print(f"  skipped: '{CORPUS}' is absent")
        return tools.SKIPPED
    report = tools.Report()
    torch.set_num_threads(THREADS)
    with tools.scratch() as name:
        scratch = Path(name)
        ids = corpus_ids(scratch, max(STEPS * SEQUENCES * TOKENS, SHORT_STEPS * SHORT_SEQUENCES * SHORT_TOKENS))
        short_run(report, scratch, ids)
        curve(report, scratch, ids)
    return report.code()


if __name__ == "__main__":
    sys.exit(main())
