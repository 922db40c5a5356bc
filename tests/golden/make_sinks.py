#!/usr/bin/env python3
"""make_sinks.py - attention with sinks and its gradients, as transformers' gpt-oss computes them in f64.

    .venv-interop/bin/python tests/golden/make_sinks.py

Writes sinks/expected.safetensors, rounded to f32: qkv [N, H + 2 G, D] (queries, keys, values), sinks [H], out and
dout [N, H, D], dqkv, dsinks, and out.without: the same with sinks of minus infinity.  Causal, one document.
"""
from pathlib import Path
from types import SimpleNamespace

import torch
from safetensors.torch import save_file
from transformers.models.gpt_oss.modeling_gpt_oss import eager_attention_forward

N, H, G, D, SCALE = 11, 4, 2, 6, 0.4


def attend(qkv, sinks):
    module = SimpleNamespace(num_key_value_groups=H // G, sinks=sinks, training=False)
    q, k, v = (part.transpose(0, 1).unsqueeze(0) for part in qkv.split([H, G, G], dim=1))
    mask = torch.full((N, N), -torch.inf, dtype=qkv.dtype).triu(1)
    return eager_attention_forward(module, q, k, v, mask, SCALE)[0][0]


torch.manual_seed(1)
qkv = torch.randn(N, H + 2 * G, D).double().requires_grad_()
sinks = torch.tensor([-1.0, 0.5, 2.0, 0.0]).double().requires_grad_()
dout = torch.randn(N, H, D).double()
out = attend(qkv, sinks)
out.backward(dout)
tensors = {"qkv": qkv, "sinks": sinks, "dout": dout, "out": out, "dqkv": qkv.grad, "dsinks": sinks.grad,
           "out.without": attend(qkv, torch.full_like(sinks, -torch.inf))}
folder = Path(__file__).parent / "sinks"
folder.mkdir(exist_ok=True)
save_file({name: t.detach().float().contiguous() for name, t in tensors.items()}, folder / "expected.safetensors")
