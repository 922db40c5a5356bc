#!/usr/bin/env python3
"""Make tests/golden/objectives.json: losses of preference objectives and their slopes, as TRL (made with 1.16.0) computes
them, from log-probabilities of tokens alone: TRL's own methods run on a stand-in of a trainer whose model returns these
log-probabilities, in f64 where TRL does not cast, and torch differentiates.

Two terms are not TRL's and are written here from their papers: sigmoid with label smoothing (Mitchell 2023, "A note on DPO
with noisy preferences", equation 3; TRL 1.16 has no smoothing there), and ORPO's mean loss of the chosen answer (Hong et
al. 2024, equation 2; TRL counts the prompt's tokens too).  Chosen answers have five tokens each, so that TRL's mean over
all tokens of a batch (loss_type sft) is ours over pairs.
"""
import collections
import json
import pathlib
import types

import numpy as np
import torch
import torch.nn.functional as F
import trl
from trl.experimental.cpo.cpo_trainer import CPOTrainer
from trl.experimental.orpo.orpo_trainer import ORPOTrainer
from trl.trainer.dpo_trainer import DPOTrainer
from trl.trainer.kto_trainer import KTOTrainer

PROMPT = 2
rng = np.random.default_rng(7)


def f32(values):
    """Values that f32 holds exactly, as f64."""
    return np.asarray(values, dtype=np.float32).astype(np.float64)


def documents(lengths):
    return [f32(-rng.gamma(2.0, 0.6, n) - 0.01) for n in lengths]


def references(docs):
    return [float(f32(d.sum() + rng.normal(0, 1.5))) for d in docs]


def padded(docs):
    """Log-probabilities [B, L] as leaves, and the mask of input tokens [B, PROMPT + L]."""
    longest = max(len(d) for d in docs)
    logps = torch.zeros(len(docs), PROMPT - 1 + longest, dtype=torch.float64)
    mask = torch.zeros(len(docs), PROMPT + longest, dtype=torch.int64)
    for i, d in enumerate(docs):
        logps[i, PROMPT - 1 : PROMPT - 1 + len(d)] = torch.tensor(d)
        mask[i, PROMPT : PROMPT + len(d)] = 1
    return logps.requires_grad_(), mask


def trainer(**given):
    accelerator = types.SimpleNamespace(device="cpu", gather_for_metrics=lambda x: x, gather=lambda x: x)
    usual = dict(accelerator=accelerator, model=types.SimpleNamespace(training=True), aux_loss_enabled=False,
                 ld_alpha=None, precompute_ref_logps=True, f_divergence_type="reverse_kl", use_weighting=False,
                 _metrics=collections.defaultdict(lambda: collections.defaultdict(list)), _total_train_tokens=0, _tp_size=1,
                 loss_weights=[1.0])
    return types.SimpleNamespace(**{**usual, **given})


def answers(logps, mask):
    """A model that has computed logps: outputs as TRL's fused head gives them."""
    shifted = mask[:, 1:]
    zero = torch.zeros_like(logps)
    return lambda **_: types.SimpleNamespace(log_probs=logps * shifted, entropy=zero, mean_logits=zero,
                                             is_top1=shifted.bool(), log_sum_sq_probs=zero)


def slopes(loss, logps, docs):
    """The derivative of the sum over pairs by each document's sum: the same for all of its tokens."""
    (gradient,) = torch.autograd.grad(loss * (len(docs) // 2 if docs is pair_docs else len(docs)), logps)
    found = []
    for i, d in enumerate(docs):
        row = gradient[i, PROMPT - 1 : PROMPT - 1 + len(d)]
        assert torch.allclose(row, row[0].expand_as(row), rtol=1e-12, atol=1e-15)
        found.append(float(row[0]))
    return found


pair_docs = documents([5, 5, 5, 5, 3, 8, 1, 6])  # chosen, then rejected
pair_refs = references(pair_docs)
label_docs = documents([4, 7, 2, 5, 1])
label_refs = references(label_docs)
kl_docs = documents([7, 2, 5, 1, 4])
kl_refs = [float(f32(d.sum() - 0.4 - 0.1 * i)) for i, d in enumerate(kl_docs)]
labels = [True, False, True, True, False]
cases = []


def case(kind, loss, logps, docs, total, **settings):
    cases.append(dict(kind=kind, loss=loss, settings=settings, total=total.item(), slopes=slopes(total, logps, docs)))


def dpo(types_, weights, **given):
    logps, mask = padded(pair_docs)
    half = len(pair_docs) // 2
    self = trainer(loss_types=types_, loss_weights=weights, **given)
    inputs = dict(input_ids=mask, attention_mask=torch.ones_like(mask), completion_mask=mask,
                  ref_chosen_logps=torch.tensor(pair_refs[:half], dtype=torch.float64),
                  ref_rejected_logps=torch.tensor(pair_refs[half:], dtype=torch.float64))
    return logps, DPOTrainer._compute_loss(self, answers(logps, mask), inputs, False)


def margins(logps, mask, beta):
    """beta times the difference of both log ratios."""
    ratio = (logps * mask[:, 1:]).sum(1) - torch.tensor(pair_refs, dtype=torch.float64)
    chosen, rejected = ratio.chunk(2)
    return beta * (chosen - rejected)


for name in ("sigmoid", "hinge", "ipo"):
    logps, loss = dpo([name], [1.0], beta=0.3, label_smoothing=0.0)
    case("dpo", name, logps, pair_docs, loss, beta=0.3)
logps, loss = dpo(["robust"], [1.0], beta=0.3, label_smoothing=0.1)
case("dpo", "robust", logps, pair_docs, loss, beta=0.3, label_smoothing=0.1)
logps, loss = dpo(["sigmoid", "sft"], [1.0, 0.7], beta=0.3, label_smoothing=0.0)
case("dpo", "sigmoid", logps, pair_docs, loss, beta=0.3, sft_weight=0.7)
logps, mask = padded(pair_docs)
m = margins(logps, mask, 0.3)
case("dpo", "sigmoid", logps, pair_docs, (-0.8 * F.logsigmoid(m) - 0.2 * F.logsigmoid(-m)).mean(), beta=0.3,
     label_smoothing=0.2)

logps, mask = padded(pair_docs)
mean = (logps * mask[:, 1:]).sum(1) / mask.sum(1)
chosen, rejected = mean.chunk(2)
odds = ORPOTrainer.odds_ratio_loss(trainer(beta=0.4), chosen, rejected)[0]
case("orpo", "sigmoid", logps, pair_docs, -chosen.mean() - odds.double().mean(), beta=0.4)

for smoothing in (0.0, 0.15):
    logps, mask = padded(pair_docs)
    chosen, rejected = ((logps * mask[:, 1:]).sum(1) / mask.sum(1)).chunk(2)
    self = trainer(beta=2.0, loss_type="simpo", simpo_gamma=0.6, label_smoothing=smoothing, alpha=0.0)
    loss = CPOTrainer.cpo_loss(self, chosen, rejected)[0].mean()
    case("simpo", "sigmoid", logps, pair_docs, loss, beta=2.0, gamma=0.6, label_smoothing=smoothing)

logps, mask = padded(label_docs)
kl_logps = torch.tensor([d.sum() for d in kl_docs], dtype=torch.float64)
self = trainer(beta=0.2, loss_type="kto", desirable_weight=1.3, undesirable_weight=0.8, calculate_KL=True,
               _compute_kl_logps=lambda model, batch: kl_logps)
batch = dict(input_ids=mask, attention_mask=torch.ones_like(mask), completion_mask=mask, label=torch.tensor(labels),
             ref_logps=torch.tensor(label_refs, dtype=torch.float64), ref_KL_logps=torch.tensor(kl_refs, dtype=torch.float64))
loss = KTOTrainer._compute_loss(self, answers(logps, mask), batch, False)
case("kto", "sigmoid", logps, label_docs, loss, beta=0.2, desirable_weight=1.3, undesirable_weight=0.8)

out = dict(made_with=f"trl {trl.__version__}",
           pairs=dict(tokens=[d.tolist() for d in pair_docs], references=pair_refs),
           labels=dict(tokens=[d.tolist() for d in label_docs], references=label_refs, labels=labels,
                       mismatched=[d.tolist() for d in kl_docs], mismatched_references=kl_refs),
           kl=float(self._metrics["train"]["kl"][0]), cases=cases)
path = pathlib.Path(__file__).parent / "objectives.json"
path.write_text(json.dumps(out, indent=1) + "\n")
print(len(cases), "cases,", path.stat().st_size, "bytes, kl", out["kl"])
