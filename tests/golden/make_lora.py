#!/usr/bin/env python3
"""make_lora.py - adapters on the golden models, and what peft computes with them: logits, gradients, AdamW, merged weights.

    .venv-interop/bin/python tests/golden/make_lora.py

Writes tests/golden/lora/NAME/ as peft's save_pretrained does, with pairs of which neither half is zero, beside them
expected.safetensors and expected.json.  Base and batch are those of tests/golden/models/NAME.  What is stored is checked
before: the merged model of peft gives the logits of base and pairs, and without its pairs the model gives others.
"""

import json
import shutil
from pathlib import Path

import peft
import torch
from safetensors.torch import load_file

import make_models as models

HERE = Path(__file__).resolve().parent
ALL = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]

# What is different: the head (tied or not), the scale, ranks and alphas of their own, chosen targets and layers, LoRA+.
VARIANTS = {
    "llama3": {"r": 4, "lora_alpha": 8, "target_modules": ALL},
    "smollm2": {"r": 3, "lora_alpha": 6, "target_modules": ALL, "use_rslora": True},
    "qwen3": {"r": 4, "lora_alpha": 8, "target_modules": ALL, "rank_pattern": {"k_proj": 2},
              "alpha_pattern": {"down_proj": 3}, "ratio": 16.0},
    "nemotron": {"r": 2, "lora_alpha": 3, "target_modules": ["q_proj", "o_proj", "up_proj"]},
    "gemma3": {"r": 4, "lora_alpha": 4, "target_modules": ["q_proj", "v_proj", "down_proj"],
               "layers_to_transform": [0, 3]},
}


def attach(base, spec, seed):
    """The model with its pairs, random ones: as peft begins, B is zero and A has no gradient."""
    words = {key: value for key, value in spec.items() if key != "ratio"}
    model = peft.get_peft_model(base, peft.LoraConfig(task_type="CAUSAL_LM", **words))
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for key, p in pairs_of(model).items():
            p.copy_(torch.randn(p.shape, generator=generator) * (0.2 if "lora_A" in key else 0.1))
    return model


def pairs_of(model):
    """name in a file -> parameter."""
    return {key.replace(".default.", "."): p for key, p in model.named_parameters() if "lora_" in key}


def adamw(model, loss_of, ratio):
    """As models.adamw_run, with a learning rate of B of its own (LoRA+)."""
    settings = models.ADAMW
    groups = [{"params": [p for key, p in pairs_of(model).items() if half in key], "lr": settings["lr"] * times}
              for half, times in (("lora_A", 1), ("lora_B", ratio))]
    optimizer = torch.optim.AdamW(groups, betas=(settings["beta1"], settings["beta2"]), eps=settings["eps"],
                                  weight_decay=settings["weight_decay"], foreach=False)
    losses, norms = [], []
    for _ in range(models.STEPS):
        optimizer.zero_grad()
        loss = loss_of()
        loss.backward()
        norms.append(torch.nn.utils.clip_grad_norm_(pairs_of(model).values(), 1.0).item())
        optimizer.step()
        losses.append(loss.item())
    return {"loss": losses, "grad_norm": norms, "loss_after": loss_of().item()}


def merged_weights(folder, base_folder):
    merged = peft.PeftModel.from_pretrained(models.load_model(base_folder), folder).merge_and_unload()
    kept = ("self_attn.q_proj.weight", "self_attn.k_proj.weight", "mlp.down_proj.weight")
    return merged, {key: value for key, value in merged.state_dict().items()
                    if key.startswith("model.layers.0.") and key.endswith(kept)}


def settle(folder):
    """The same bytes each time: peft writes its modules as a set has them, and a card that nobody reads."""
    path = folder / "adapter_config.json"
    words = json.loads(path.read_text())
    words["target_modules"] = sorted(words["target_modules"])
    path.write_text(json.dumps(words, indent=2, sort_keys=True) + "\n")
    (folder / "README.md").unlink(missing_ok=True)


def make_variant(name, spec, seed):
    base_folder, folder = HERE / "models" / name, HERE / "lora" / name
    shutil.rmtree(folder, ignore_errors=True)
    batch = {key: value.long() for key, value in load_file(base_folder / "expected.safetensors").items()
             if key in ("tokens", "targets", "positions", "documents")}
    base = models.load_model(base_folder)
    plain = models.one_by_one(models.hf_forward(base), batch)
    model = attach(base, spec, seed)
    model.peft_config["default"].base_model_name_or_path = f"tests/golden/models/{name}"
    model.save_pretrained(folder)
    settle(folder)

    def loss_of():
        return models.mean_loss(models.one_by_one(models.hf_forward(model), batch), batch)

    logits = models.one_by_one(models.hf_forward(model), batch).detach()
    merged, weights = merged_weights(folder, base_folder)
    noise = models.relative_error(models.one_by_one(models.hf_forward(merged), batch), logits)
    assert noise < 2e-6 and models.relative_error(plain, logits) > 1e-2, f"{name}: merged {noise}"
    loss_of().backward()
    gradients = {key: p.grad.clone() for key, p in pairs_of(model).items()}
    ratio = spec.get("ratio", 1.0)
    run = adamw(model, loss_of, ratio)
    tensors = {"logits": logits} | {f"merged.{key}": value for key, value in weights.items()}
    tensors |= {f"grad.{key}": value for key, value in gradients.items()}
    tensors |= {f"final.{key}": p.detach() for key, p in pairs_of(model).items()}
    models.write_expected(folder, tensors, {
        "name": name, "peft": peft.__version__, "torch": torch.__version__.split("+")[0], "b_learning_rate_ratio": ratio,
        "adamw": models.ADAMW | {"max_grad_norm": 1.0}, "run": run, "merged_logits": noise})


def main():
    torch.set_num_threads(1)
    for number, (name, spec) in enumerate(VARIANTS.items()):
        make_variant(name, spec, 400 + number)
        print(f"{name}: {sum(path.stat().st_size for path in (HERE / 'lora' / name).iterdir())} bytes")


if __name__ == "__main__":
    main()
