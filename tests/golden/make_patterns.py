#!/usr/bin/env python3
"""make_patterns.py - which modules peft finds for a text in target_modules.

    .venv-interop/bin/python tests/golden/make_patterns.py

Writes tests/golden/patterns.json: for models of several families at tiny sizes, every pattern with the modules that have pairs
after peft.get_peft_model; of a pattern that matches nothing, peft's refusal is an empty list.  tests/test_adapter_setup.c reads it.
"""

import json
from pathlib import Path

import peft
import transformers

HERE = Path(__file__).resolve().parent
PATTERNS = [
    r".*\.(q|v)_proj",
    r".*layers\.[0-1]\.self_attn\.(q_proj|k_proj)",
    r"model\.layers\.\d+\.mlp\.(gate|up|down)_proj",
    r"model\.layers\.(0|1)\.self_attn\.\w+_proj",
    r".*(?<!k)_proj",
    r"(?!.*mlp).*proj",
    r"layers\.0\.self_attn\.q_proj",
    r"model.layers.1.self_attn.o_proj",
    r".*q_proj|.*o_proj",
    r".*q_pro",
    r"^model.*down_proj$",
    r".*\.[[:alpha:]]+_proj",
    r".*\.self_attn\.[a-m]_proj",
]


def found(name, pattern):
    model = transformers.AutoModelForCausalLM.from_pretrained(HERE / "models" / name)
    linear = [key for key, module in model.named_modules() if "layers" in key and key.endswith("_proj")]
    try:
        model = peft.get_peft_model(model, peft.LoraConfig(task_type="CAUSAL_LM", r=2, target_modules=pattern))
    except ValueError:
        return []
    hit = sorted(key for key in linear if hasattr(model.base_model.model.get_submodule(key), "lora_A"))
    return hit


def main():
    answers = [{"model": name, "pattern": pattern, "modules": found(name, pattern)}
               for name in ("llama3", "nemotron") for pattern in PATTERNS]
    facts = {"peft": peft.__version__, "answers": answers}
    (HERE / "patterns.json").write_text(json.dumps(facts, indent=1) + "\n")
    for answer in answers:
        print(answer["model"], answer["pattern"], len(answer["modules"]))


if __name__ == "__main__":
    main()
