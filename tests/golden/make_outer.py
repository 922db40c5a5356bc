#!/usr/bin/env python3
"""make_outer.py - outer steps of replicas that learn apart, as torch.optim.SGD(nesterov=True) makes them of the mean of what the
replicas changed, into outer.json.

A case: learning rate, momentum, the weights at first, and round by round what each replica adds to the weights and what they are after
the outer step.  tests/test_ranks_outer.c compares.  Run it only to change them:

    .venv-interop/bin/python tests/golden/make_outer.py
"""

import json
from pathlib import Path

import torch

NUM_ROUNDS, NUM_VALUES = 3, 4
CASES = [(replicas, rate, momentum) for replicas in (1, 2, 3, 4) for rate, momentum in ((0.7, 0.9), (1.0, 0.0), (0.3, 0.5))]


def case_of(replicas, rate, momentum, generator):
    weights = torch.nn.Parameter(torch.randn(NUM_VALUES, generator=generator))
    outer = torch.optim.SGD([weights], lr=rate, momentum=momentum, nesterov=momentum > 0)
    case = {"replicas": replicas, "learning_rate": rate, "momentum": momentum, "weights": weights.tolist(), "rounds": []}
    for _ in range(NUM_ROUNDS):
        changes = 0.1 * torch.randn(replicas, NUM_VALUES, generator=generator)
        weights.grad = -changes.mean(dim=0)
        outer.step()
        case["rounds"].append({"changes": changes.tolist(), "weights": weights.tolist()})
    return case


def main():
    generator = torch.Generator().manual_seed(5)
    cases = [case_of(*case, generator) for case in CASES]
    path = Path(__file__).parent / "outer.json"
    path.write_text(json.dumps({"torch": torch.__version__.split("+")[0], "cases": cases}) + "\n")


main()
