#!/usr/bin/env python3
"""compare_muon.py - `atelier train` with optimizer.kind muon against torch.optim.Muon.

The data and the model are those of compare_train.py.  The matrices of the layers are torch.optim.Muon's, everything
else torch.optim.AdamW's.  torch makes the Newton-Schulz steps in torch.bfloat16; here that name means f32 for once, so that
the arithmetic can be compared and not the rounding.  Then once as torch has it.
"""

import sys
from pathlib import Path
from unittest import mock

import torch

import atelier_tools as tools
import compare_train as base

MODELS = ["llama3", "smollm2"]
MOMENTUM = 0.95
LOSS_LIMIT = 1e-5     # relative, steps in f32
ROUNDED_LIMIT = 1e-3  # the same with torch's bfloat16

RUN_FILE = base.RUN_FILE.replace("optimizer: {{", "optimizer: {{kind: muon, momentum: 0.95, ")


def optimizers(model, nesterov):
    """Muon for what is a matrix inside a layer, AdamW for the rest."""
    named = list(model.named_parameters())
    matrices = [p for name, p in named if ".layers." in name and p.ndim == 2]
    others = [p for name, p in named if not (".layers." in name and p.ndim == 2)]
    groups = [{"params": [p for p in others if p.ndim >= 2], "weight_decay": base.DECAY},
              {"params": [p for p in others if p.ndim < 2], "weight_decay": 0.0}]
    return [torch.optim.Muon(matrices, lr=base.RATE, weight_decay=base.DECAY, momentum=MOMENTUM, nesterov=nesterov,
                             ns_coefficients=(3.4445, -4.7750, 2.0315), eps=1e-7, ns_steps=5,
                             adjust_lr_fn="match_rms_adamw"),
            torch.optim.AdamW(groups, lr=base.RATE, betas=base.BETAS, eps=base.EPS)]


def train_torch(model, documents, masks, nesterov=True):
    """Losses of the steps; model is changed in place."""
    both, losses = optimizers(model, nesterov), []
    for step in range(1, base.STEPS + 1):
        for optimizer in both:
            optimizer.zero_grad()
            for group in optimizer.param_groups:
                group["lr"] = base.rate_at(step)
        loss = base.batch_loss(model, documents, masks)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), base.CLIP)
        for optimizer in both:
            optimizer.step()
        losses.append(loss.item())
    return losses


def in_f32(function, *arguments, **keywords):
    """Call with Newton-Schulz steps in f32."""
    with mock.patch.object(torch, "bfloat16", torch.float32):
        return function(*arguments, **keywords)


def compare(report, name, folder):
    folder.mkdir()
    model = tools.load_hf(tools.GOLDEN / name)
    documents, masks = base.make_data(model.config.vocab_size)
    data = folder / "train.h5"
    tools.write_token_file(data, documents, model.config.vocab_size, tools.GOLDEN / name, masks)
    documents, masks = [d.tolist() for d in documents], [m.tolist() for m in masks]
    base.RUN_FILE = RUN_FILE
    own, _, checkpoint = base.train_atelier(tools.GOLDEN / name, data, folder, 1)
    losses = in_f32(train_torch, model, documents, masks)
    report.near(f"{base.STEPS} losses, {losses[0]:.3f} to {losses[-1]:.3f}", base.worst(own, losses), LOSS_LIMIT)
    report.near("weights of the checkpoint, in transformers", base.weight_error(tools.load_hf(checkpoint), model),
                base.WEIGHT_LIMIT)
    rounded = train_torch(tools.load_hf(tools.GOLDEN / name), documents, masks)
    report.near("losses with torch's own bfloat16", base.worst(own, rounded), ROUNDED_LIMIT)
    plain = in_f32(train_torch, tools.load_hf(tools.GOLDEN / name), documents, masks, nesterov=False)
    report.notices("a run without Nesterov's look ahead", base.worst(own, plain), LOSS_LIMIT)


def main():
    report = tools.Report()
    torch.set_num_threads(1)
    with tools.scratch() as scratch:
        for name in MODELS:
            print(f" {name}")
            try:
                compare(report, name, Path(scratch) / name)
            except tools.ProgramFailed as failure:
                report.expect(False, str(failure))
    return report.code()


if __name__ == "__main__":
    sys.exit(main())
