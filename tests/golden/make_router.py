#!/usr/bin/env python3
"""make_router.py - what the losses of routers add to loss and gradients, as transformers computes them in f32.

    .venv-interop/bin/python tests/golden/make_router.py

For tiny models of models/ with experts, two rows of 24 tokens of which the second ends in five of padding: each row by itself through
the class with output_router_logits and labels, as a batch of one sequence.  Loss and gradients are those of

    sum of the rows' cross-entropies / targets + mean over the rows of (BALANCE aux_loss + Z z-loss)

where aux_loss is the class's own and the z-loss router_z_loss_func of Switch Transformers, of all layers' logits together.  Writes
router/NAME.safetensors (gradients, under the names of the files) and router/expected.json: per model the loss, both losses of each row,
and the load balance of both rows as one batch, which is another number.
"""
import json
from pathlib import Path

import torch
from safetensors.torch import save_file
from transformers.models.switch_transformers.modeling_switch_transformers import router_z_loss_func

from make_models import VARIANTS, in_files, load_model

FOLDER = Path(__file__).parent
NAMES, ROW_TOKENS, PADDING, BALANCE, Z = ("mixtral", "olmoe"), 24, 5, 0.5, 0.1


def row_losses(model, row):
    """Cross-entropy summed, aux_loss and z-loss of one sequence, checked against the class's own loss."""
    out = model(input_ids=row[None], labels=row[None], output_router_logits=True)
    z = router_z_loss_func(torch.stack(out.router_logits))
    mean = out.loss - model.router_aux_loss_coef * out.aux_loss
    return mean * (len(row) - 1), out.aux_loss, z


def with_padding(model, tokens):
    """aux_loss of sequences as one batch, the class being told the padding of the last: it must not count."""
    mask = torch.ones_like(tokens)
    mask[-1, ROW_TOKENS - PADDING:] = 0
    return model(input_ids=tokens, attention_mask=mask, output_router_logits=True).aux_loss


def main():
    torch.set_num_threads(1)
    (FOLDER / "router").mkdir(exist_ok=True)
    facts = {"balance": BALANCE, "z": Z, "padding": PADDING}
    for name in NAMES:
        model, spec = load_model(FOLDER / "models" / name), VARIANTS[name]
        model.router_aux_loss_coef = BALANCE
        generator = torch.Generator().manual_seed(7)
        tokens = torch.randint(0, spec["vocab_size"], (2, ROW_TOKENS), generator=generator)
        rows = [tokens[0], tokens[1, :ROW_TOKENS - PADDING]]
        parts = [row_losses(model, row) for row in rows]
        padded = with_padding(model, tokens[1:])
        assert abs(padded.item() / parts[1][1].item() - 1) < 1e-6, "padding counts"
        targets = sum(len(row) - 1 for row in rows)
        loss = sum(part[0] for part in parts) / targets + sum(BALANCE * part[1] + Z * part[2] for part in parts) / 2
        loss.backward()
        gradients = {key: p.grad for key, p in model.named_parameters()}
        save_file({key: value.contiguous() for key, value in in_files(spec, gradients).items()},
                  FOLDER / "router" / f"{name}.safetensors")
        facts[name] = {"tokens": tokens.flatten().tolist(), "loss": loss.item(),
                       "load_balance": [part[1].item() for part in parts], "router_z": [part[2].item() for part in parts],
                       "both_as_one": with_padding(model, tokens).item()}
        (FOLDER / "router" / f"{name}.safetensors").chmod(0o644)
    (FOLDER / "router" / "expected.json").write_text(json.dumps(facts, indent=1) + "\n")


main()
