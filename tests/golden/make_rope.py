#!/usr/bin/env python3
"""make_rope.py - the rotary frequencies of each kind of positions, as transformers computes them, into rope.json.

Each case is a config.json without its sizes, the length of the longest text, the frequencies of that length and what cosines
and sines are multiplied by.  tests/test_rope_kinds.c compares.  Run it only to change them:

    .venv-interop/bin/python tests/golden/make_rope.py
"""

import json
from pathlib import Path

import transformers
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

SIZES = {"hidden_size": 64, "intermediate_size": 96, "vocab_size": 320, "num_hidden_layers": 1, "num_attention_heads": 4,
         "num_key_value_heads": 2, "head_dim": 16, "max_position_embeddings": 48}
SHORT = [1.0, 1.05, 1.1, 1.3, 1.7, 2.0, 2.5, 3.0]
LONG = [1.0, 1.5, 2.25, 3.5, 5.0, 8.0, 12.0, 16.0]
LONGROPE = {"rope_type": "longrope", "rope_theta": 10000.0, "short_factor": SHORT, "long_factor": LONG,
            "original_max_position_embeddings": 24}

# Name, rotary settings, positions of the longest text.
CASES = [
    ("linear", {"rope_type": "linear", "rope_theta": 10000.0, "factor": 3.0}, 40),
    ("dynamic, short", {"rope_type": "dynamic", "rope_theta": 10000.0, "factor": 4.0}, 40),
    ("dynamic, long", {"rope_type": "dynamic", "rope_theta": 10000.0, "factor": 4.0}, 100),
    ("longrope, short", LONGROPE, 24),
    ("longrope, long", LONGROPE, 25),
    ("longrope, a factor", LONGROPE | {"factor": 8.0}, 40),
    ("longrope, an attention factor", LONGROPE | {"attention_factor": 1.25}, 40),
    ("proportional", {"rope_type": "proportional", "rope_theta": 1000000.0, "partial_rotary_factor": 0.25}, 40),
    ("proportional, stretched", {"rope_type": "proportional", "rope_theta": 1000000.0, "partial_rotary_factor": 0.5,
                                 "factor": 2.0}, 40),
    ("yarn", {"rope_type": "yarn", "rope_theta": 100.0, "factor": 8.0, "original_max_position_embeddings": 24}, 40),
]


def main():
    cases = []
    for name, rope, positions in CASES:
        config = transformers.LlamaConfig(**SIZES, rope_parameters=dict(rope))
        kwargs = {"seq_len": positions} if rope["rope_type"] in ("dynamic", "longrope") else {}
        frequencies, amplitude = ROPE_INIT_FUNCTIONS[rope["rope_type"]](config, "cpu", **kwargs)
        cases.append({"name": name, "positions": positions, "amplitude": float(amplitude),
                      "frequencies": [float(frequency) for frequency in frequencies],
                      "config": {"model_type": "llama", "rope_parameters": rope} | SIZES})
    facts = {"transformers": transformers.__version__, "cases": cases}
    text = json.dumps(facts, indent=1)
    Path(__file__).with_name("rope.json").write_text(text + "\n")


if __name__ == "__main__":
    main()
