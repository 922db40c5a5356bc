#!/usr/bin/env python3
"""Make tests/golden/distill.json: cross-entropy, divergence from a teacher and the gradient by the logits, in f64 by torch.

The divergence is torch's kl_div of the teacher's outcomes from the student's: the K ids and, as one outcome, the rest of the
vocabulary, whose log-probability is the logsumexp of its own.  With K = V - 1 the rest is one id, and the divergence that of
torch's kl_div over the whole vocabularies.
"""
import json
import pathlib

import torch
import torch.nn.functional as F

V = 12
torch.manual_seed(5)


def f32(t):
    return t.to(torch.float32).to(torch.float64)


def outcomes(logits, ids, temperature):
    """Log-probabilities of the ids and of the rest."""
    logq = F.log_softmax(logits / temperature, dim=-1)
    rest = torch.ones(V, dtype=torch.bool)
    rest[ids] = False
    return torch.cat([logq[ids], torch.logsumexp(logq[rest], 0)[None]])


def case(num_ids, temperature, share, scale=1.0, cap=0.0):
    logits = f32(2 * torch.randn(V, dtype=torch.float64)).requires_grad_()
    teacher = 2 * torch.randn(V, dtype=torch.float64)
    target = int(torch.randint(V, (1,)))
    ids = torch.topk(teacher, num_ids).indices
    logps = f32(F.log_softmax(teacher / temperature, dim=-1)[ids])
    z = scale * logits
    if cap:
        z = cap * torch.tanh(z / cap)
    rest = torch.log1p(-logps.exp().sum())
    want = torch.cat([logps, rest[None]])
    ce = F.cross_entropy(z[None], torch.tensor([target]))
    kl = F.kl_div(outcomes(z, ids, temperature), want, log_target=True, reduction="sum")
    if num_ids == V - 1:
        whole = torch.full((V,), float(rest), dtype=torch.float64)
        whole[ids] = logps
        assert abs(F.kl_div(F.log_softmax(z / temperature, -1), whole, log_target=True, reduction="sum") - kl) < 1e-12
    ((1 - share) * ce + share * temperature**2 * kl).backward()
    return {"temperature": temperature, "share": share, "logit_scale": scale, "softcap": cap, "target": target,
            "ids": ids.tolist(), "logps": logps.tolist(), "logits": logits.detach().tolist(), "loss": ce.item(),
            "divergence": kl.item(), "dlogits": logits.grad.tolist()}


CASES = [(1, 1.0, 1.0), (3, 1.0, 0.5), (3, 2.0, 0.25), (11, 1.0, 0.5), (11, 3.0, 1.0), (4, 0.5, 0.75, 0.5, 0.0),
         (4, 2.0, 0.5, 1.0, 1.5), (5, 1.0, 0.0)]
out = {"made_with": f"torch {torch.__version__.split('+')[0]}", "cases": [case(*c) for c in CASES]}
pathlib.Path(__file__).with_name("distill.json").write_text(json.dumps(out, indent=1) + "\n")
