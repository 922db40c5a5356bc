#!/usr/bin/env python3
"""compare_preferences.py - `atelier prepare` and `atelier train` of pairs and labelled completions against TRL.

The program prepares texts of its own, and h5py reads the token file.  All documents fit into one sequence and a step is the
whole file, so the order of the data cannot matter: what remains is training.  transformers computes log-probabilities of
the documents one by one, TRL's methods the losses from them (as in tests/golden/make_objectives.py), torch.optim.AdamW the
updates: losses and gradient norms of the steps must be the program's, and the reference's log-probabilities those of its
companion file.  Layouts are compared in tests/scenario_preferences.sh.
"""

import collections
import json
import os
import shutil
import sys
import types

import h5py
import numpy as np
import torch

import atelier_tools as tools

os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")
try:
    from trl.experimental.cpo.cpo_trainer import CPOTrainer
    from trl.experimental.orpo.orpo_trainer import ORPOTrainer
    from trl.trainer.dpo_trainer import DPOTrainer
    from trl.trainer.kto_trainer import KTOTrainer
except ImportError as problem:
    print(f"trl is not there: {problem}")
    sys.exit(tools.SKIPPED)

MODEL = tools.ROOT / "data" / "sample" / "model"
STEPS, RATE = 8, 2e-4
LOSS_LIMIT = 1e-5       # relative to the largest of the curve: a loss of preferences may be 0, or less
NORM_LIMIT = 1e-4
REFERENCE_LIMIT = 1e-5  # relative
PLACES = ["Lyon", "Nantes", "Brest", "Dijon", "Pau", "Metz", "Albi"]

RUN_FILE = """
run: {{folder: "{folder}", threads: 1}}
model: {{path: "{model}", save_dtype: f32}}
prepare: {{tokenizer: "{model}", output: "{data}", deduplicate: false, sources: [{{path: "{lines}", record: {record}}}]}}
data: {{train: "{data}", sequence_tokens: 512, packing: whole, long_documents: skip}}
train: {{steps: {steps}, batch_sequences: 1, micro_sequences: 1, grad_clip: 0}}
objective: {{kind: {kind}, {settings}}}
optimizer: {{learning_rate: {rate}, beta1: 0.9, beta2: 0.95, eps: 1.0e-8, weight_decay: 0}}
schedule: {{kind: constant}}
parallel: {{stage: 3}}
"""
CASES = [("dpo", dict(loss="sigmoid", beta=0.1)), ("dpo", dict(loss="ipo", beta=0.2)), ("dpo", dict(loss="hinge", beta=0.05)),
         ("dpo", dict(loss="robust", beta=0.1, label_smoothing=0.1)), ("orpo", dict(beta=0.3)),
         ("simpo", dict(beta=2.0, gamma=0.4)), ("kto", dict(beta=0.1, desirable_weight=1.2, undesirable_weight=0.9))]


def write_lines(path, record):
    """Pairs and labels whose completions differ in length."""
    lines = []
    for i, place in enumerate(PLACES):
        question, answer = f"Où renouveler son passeport à {place} ?", " À la mairie" + ", sur rendez-vous" * (i % 3) + "."
        if record == "pair":
            lines.append({"prompt": question, "chosen": answer, "rejected": " Demandez" + " ailleurs" * (1 + i % 4)})
        else:
            lines.append({"prompt": question, "completion": answer, "label": i % 3 != 1})
    path.write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines))


def read_documents(path):
    """Ids, masks of what is learnt, and sides of all documents."""
    with h5py.File(path) as file:
        tokens, starts = file["tokens"][:].astype(np.int64), file["doc_offsets"][:].astype(np.int64)
        masks, sides = file["loss_mask"][:], file["doc_side"][:]
    spans = list(zip(starts[:-1], starts[1:]))
    return [tokens[a:b] for a, b in spans], [masks[a:b] for a, b in spans], sides


def read_references(path, count):
    """The values of a companion file: after five lines of text, before eight bytes of checksum."""
    bytes_ = path.read_bytes()
    return np.frombuffer(bytes_[-8 - 8 * count : -8], dtype="<f8")


def token_logps(model, documents, masks):
    """Log-probabilities of the learnt tokens of each document."""
    found = []
    for ids, mask in zip(documents, masks):
        ids = torch.tensor(ids)
        logps = torch.log_softmax(model(input_ids=ids[None]).logits[0, :-1].double(), -1)
        found.append(logps.gather(1, ids[1:, None])[:, 0][torch.tensor(mask[1:]) != 0])
    return found


def trainer(**given):
    accelerator = types.SimpleNamespace(device="cpu", gather_for_metrics=lambda x: x, gather=lambda x: x)
    usual = dict(accelerator=accelerator, model=types.SimpleNamespace(training=True), aux_loss_enabled=False,
                 ld_alpha=None, precompute_ref_logps=True, f_divergence_type="reverse_kl", use_weighting=False, alpha=0.0,
                 label_smoothing=0.0, _metrics=collections.defaultdict(lambda: collections.defaultdict(list)),
                 _total_train_tokens=0, _tp_size=1, loss_weights=[1.0], calculate_KL=True)
    return types.SimpleNamespace(**{**usual, **given})


def as_batch(logps):
    """Padded log-probabilities, the mask that TRL counts them by, and a model that gives them back."""
    rows = torch.nn.utils.rnn.pad_sequence(logps, batch_first=True)
    mask = torch.zeros(len(logps), rows.shape[1] + 1, dtype=torch.int64)
    for i, own in enumerate(logps):
        mask[i, 1 : 1 + len(own)] = 1
    zero = torch.zeros_like(rows)
    answer = types.SimpleNamespace(log_probs=rows, entropy=zero, mean_logits=zero, is_top1=mask[:, 1:].bool(),
                                   log_sum_sq_probs=zero)
    return dict(input_ids=mask, attention_mask=torch.ones_like(mask), completion_mask=mask), lambda **_: answer


def trl_loss(kind, settings, logps, references, sides):
    """As TRL computes it of documents that follow one another in twos."""
    first, second = logps[0::2], logps[1::2]
    ref = torch.tensor(references, dtype=torch.float64)
    means = [torch.stack([own.mean() for own in half]) for half in (first, second)]
    if kind == "dpo":
        batch, model = as_batch(first + second)
        self = trainer(loss_types=[settings["loss"]], **{k: v for k, v in settings.items() if k != "loss"})
        return DPOTrainer._compute_loss(self, model, dict(batch, ref_chosen_logps=ref[0::2], ref_rejected_logps=ref[1::2]),
                                        False)
    if kind == "kto":
        batch, model = as_batch(first)
        mismatched = torch.stack([own.sum() for own in second]).detach()
        self = trainer(loss_type="kto", _compute_kl_logps=lambda *_: mismatched, **settings)
        labels = torch.tensor(sides[0::2] == 3)
        return KTOTrainer._compute_loss(self, model, dict(batch, label=labels, ref_logps=ref[0::2], ref_KL_logps=ref[1::2]),
                                        False)
    if kind == "orpo":  # TRL's odds ratio; its mean loss counts the prompt too, ours is the completion's
        odds = ORPOTrainer.odds_ratio_loss(trainer(**settings), *means)[0]
        return -means[0].mean() - odds.double().mean()
    self = trainer(loss_type="simpo", beta=settings["beta"], simpo_gamma=settings["gamma"])
    return CPOTrainer.cpo_loss(self, *means)[0].mean()


def train_torch(kind, settings, documents, masks, sides):
    """Losses, gradient norms and the reference's log-probabilities."""
    model = tools.load_hf(MODEL)
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, betas=(0.9, 0.95), eps=1e-8, weight_decay=0.0)
    with torch.no_grad():
        references = [own.sum().item() for own in token_logps(model, documents, masks)]
    losses, norms = [], []
    for _ in range(STEPS):
        optimizer.zero_grad()
        loss = trl_loss(kind, settings, token_logps(model, documents, masks), references, sides)
        loss.backward()
        norms.append(torch.nn.utils.clip_grad_norm_(model.parameters(), 1e9).item())
        optimizer.step()
        losses.append(loss.item())
    return losses, norms, references


def train_atelier(kind, settings, folder):
    folder.mkdir(parents=True)
    record, data = "label" if kind == "kto" else "pair", folder / "data.h5"
    write_lines(folder / "lines.jsonl", record)
    path = folder / "run.yaml"
    path.write_text(RUN_FILE.format(folder=folder / "run", model=MODEL, data=data, lines=folder / "lines.jsonl", record=record,
                                    steps=STEPS, rate=RATE, kind=kind,
                                    settings=", ".join(f"{k}: {v}" for k, v in settings.items())))
    tools.run(tools.ATELIER, "prepare", path)
    tools.run(tools.ATELIER, "train", path)
    lines = [json.loads(line) for line in (folder / "run" / "metrics.jsonl").read_text().splitlines()]
    steps = [line for line in lines if "grad_norm" in line]
    return [line["loss"] for line in steps], [line["grad_norm"] for line in steps], data


def worst(got, want):
    """Largest difference of two lists, relative to the largest value; infinite when they differ in length."""
    largest = max(abs(b) for b in want)
    return max(abs(a - b) / largest for a, b in zip(got, want)) if len(got) == len(want) else float("inf")


def compare(report, kind, settings, folder):
    name = kind + (f" {settings['loss']}" if kind == "dpo" else "")
    losses, norms, data = train_atelier(kind, settings, folder)
    documents, masks, sides = read_documents(data)
    want, want_norms, references = train_torch(kind, settings, documents, masks, sides)
    report.near(f"{name}: losses of {STEPS} steps", worst(losses, want), LOSS_LIMIT)
    report.near(f"{name}: gradient norms", worst(norms, want_norms), NORM_LIMIT)
    for companion in data.parent.glob("data.h5.reference-*"):
        report.near(f"{name}: what the reference says", worst(read_references(companion, len(references)), references),
                    REFERENCE_LIMIT)
    order = np.arange(len(documents)).reshape(-1, 2)
    order[0] = order[0][::-1] if kind != "kto" else order[0]
    swapped_sides = sides.copy()
    swapped_sides[0] = 7 - swapped_sides[0] if kind == "kto" else swapped_sides[0]  # desirable 3, undesirable 4
    other = train_torch(kind, settings, [documents[i] for i in order.flat], [masks[i] for i in order.flat], swapped_sides)[0]
    report.notices(f"{name}: one the other way round", worst(losses, other), 1e-3)


def main():
    report, folder = tools.Report(), tools.ROOT / "build" / "interop" / "preferences"
    shutil.rmtree(folder, ignore_errors=True)
    for number, (kind, settings) in enumerate(CASES):
        compare(report, kind, settings, folder / str(number))
    return report.code()


if __name__ == "__main__":
    sys.exit(main())
