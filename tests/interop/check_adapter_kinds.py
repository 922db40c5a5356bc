#!/usr/bin/env python3
"""check_adapter_kinds.py - adapters that are more than pairs: trained as peft trains them, loaded by peft, merged for transformers.

Modules that are trained whole (of a model with a head of its own, of one whose head is its embedding, norms with biases) and DoRA: a
training that begins with an adapter of peft gives, on 1 and 2 ranks, the losses and the weights of the same training in peft and
torch.  The checkpoint of one that began anew loads in peft with nothing missing and nothing more, and gives the program's logits; so
does the merged folder in transformers.  Controls: the base alone, another rate.
"""

import json
import shutil
import sys
from pathlib import Path

import peft
import safetensors.torch
import torch

import atelier_tools as tools
import check_lora
import compare_train

NORMS = ["input_layernorm", "post_attention_layernorm", "model.norm"]
KINDS = {
    "qwen3": {"r": 4, "lora_alpha": 8, "target_modules": ["q_proj", "down_proj"],
              "modules_to_save": ["embed_tokens", "lm_head", "q_norm", "k_norm", *NORMS]},
    "smollm2": {"r": 3, "lora_alpha": 6, "target_modules": ["v_proj", "up_proj"], "modules_to_save": ["embed_tokens"],
                "ensure_weight_tying": True},
    "nemotron": {"r": 2, "lora_alpha": 4, "target_modules": ["q_proj", "up_proj"], "modules_to_save": NORMS},
    "llama3": {"r": 4, "lora_alpha": 8, "target_modules": check_lora.ALL, "use_dora": True},
    "qwen2": {"r": 3, "lora_alpha": 6, "target_modules": ["q_proj", "v_proj", "down_proj"], "use_dora": True, "use_rslora": True},
}
ANEW = {"qwen3": "train: [norms, embedding, head]", "smollm2": "train: [embedding]", "nemotron": "train: [norms]"}


def trained_of(model):
    """name in a file -> parameter."""
    found = {}
    for key, p in model.named_parameters():
        if "lora_" in key or ".modules_to_save." in key:
            key = key.replace(".modules_to_save.default.", ".").replace("magnitude_vector.default.weight", "magnitude_vector")
            found[key.replace(".default.", ".")] = p
    return found


def make_adapter(base, name, folder):
    model = peft.get_peft_model(check_lora.load_base(base, name), peft.LoraConfig(task_type="CAUSAL_LM", **KINDS[name]))
    generator = torch.Generator().manual_seed(9)
    with torch.no_grad():
        for key, p in trained_of(model).items():
            noise = torch.randn(p.shape, generator=generator)
            is_half = "lora_A" in key or "lora_B" in key
            p.copy_(0.1 * noise if is_half else p + 0.05 * noise)
    model.peft_config["default"].base_model_name_or_path = str(base)
    model.save_pretrained(folder)
    return model


def train_peft(model, documents, masks, rate):
    groups = [{"params": [p], "weight_decay": compare_train.DECAY if p.ndim >= 2 else 0.0} for p in trained_of(model).values()]
    optimizer = torch.optim.AdamW(groups, lr=rate, betas=compare_train.BETAS, eps=compare_train.EPS)
    losses = []
    for _ in range(check_lora.STEPS):
        optimizer.zero_grad()
        loss = compare_train.batch_loss(model, documents, masks)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained_of(model).values(), compare_train.CLIP)
        optimizer.step()
        losses.append(loss.item())
    return losses


def train_here(base, data, folder, name, adapter, ranks, stage):
    """adapter: a folder to begin with, or words for a new one."""
    text = check_lora.RUN_FILE.format(
        folder=folder, model=base, form="compute", adapter=adapter, data=data, ratio=1.0, steps=check_lora.STEPS,
        sequences=compare_train.SEQUENCES, sequence_tokens=compare_train.SEQUENCE_TOKENS, clip=compare_train.CLIP,
        rate=compare_train.RATE, beta1=compare_train.BETAS[0], beta2=compare_train.BETAS[1], eps=compare_train.EPS,
        decay=compare_train.DECAY, stage=stage)
    if not Path(adapter).is_dir():
        text = text.replace(f'path: "{adapter}"', adapter)
    text = text.replace("method: lora", "method: dora") if KINDS[name].get("use_dora") else text
    config = folder.with_suffix(".yaml")
    config.write_text(text)
    launcher = ["mpirun", "-n", ranks] if ranks > 1 and shutil.which("mpirun") else []
    tools.run(*launcher, tools.ATELIER, "train", config)
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [line["loss"] for line in lines if "loss" in line and "event" not in line]


def weights_error(folder, model):
    """All that is trained together.  Of a head that is the embedding peft has one parameter, and the file both."""
    ours, theirs = safetensors.torch.load_file(folder / "adapter_model.safetensors"), trained_of(model)
    order = sorted(theirs)
    assert ours.keys() - theirs.keys() <= {"base_model.model.lm_head.weight"} and not theirs.keys() - ours.keys()
    return tools.relative_error(torch.cat([ours[key].flatten() for key in order]),
                                torch.cat([theirs[key].detach().flatten() for key in order]))


def check_loads(report, base, name, folder, tokens):
    """In peft: every tensor has its place, no place is empty, and the logits are the program's."""
    model = check_lora.load_base(base, name)
    plain = tools.hf_logits(model, tokens)
    model = peft.PeftModel.from_pretrained(model, folder).eval()
    stored, taken = safetensors.torch.load_file(folder / "adapter_model.safetensors"), trained_of(model)
    report.expect(stored.keys() == taken.keys() and all(torch.equal(stored[key], p.detach()) for key, p in taken.items()),
                  f"{folder.parent.name}: peft takes {len(stored)} tensors, and has a place for no other")
    theirs = tools.hf_logits(model, tokens)
    report.near("logits, relative", tools.relative_error(tools.program_logits(folder, tokens), theirs), check_lora.LOGITS_LIMIT)
    report.notices("the base alone", tools.relative_error(plain, theirs), 100 * check_lora.LOGITS_LIMIT)
    return theirs


def check_kind(report, name, scratch):
    base = scratch / "base"
    shutil.copytree(tools.GOLDEN / name, base)
    vocab_size = json.loads((base / "config.json").read_text())["vocab_size"]
    documents, masks = compare_train.make_data(vocab_size)
    data = scratch / "data.h5"
    tools.write_token_file(data, documents, vocab_size, base, masks)
    model = make_adapter(base, name, scratch / "start")
    want = train_peft(model, documents, masks, compare_train.RATE)
    for ranks, stage in ((1, 0), (2, 3)):
        folder = scratch / f"run-{ranks}-{stage}"
        losses = train_here(base, data, folder, name, scratch / "start", ranks, stage)
        report.near(f"losses of {check_lora.STEPS} steps on {ranks}, stage {stage}", check_lora.worst(losses, want),
                    check_lora.LOSS_LIMIT)
        report.near("weights after them", weights_error(folder / f"step-{check_lora.STEPS:06}", model), check_lora.WEIGHT_LIMIT)
    other = train_peft(make_adapter(base, name, scratch / "again"), documents, masks, 1.01 * compare_train.RATE)
    report.notices("a rate that is 1 % off", check_lora.worst(other, want), check_lora.LOSS_LIMIT)
    words = f"rank: 3, alpha: 6, {ANEW[name]}" if name in ANEW else "rank: 3, alpha: 6"
    train_here(base, data, scratch / "anew", name, words, 1, 0)
    trained = scratch / "anew" / f"step-{check_lora.STEPS:06}"
    theirs = check_loads(report, base, name, trained, documents[0])
    merged = scratch / "merged"
    tools.run(tools.ATELIER, "export", trained, "--to", "hf", "--type", "f32", "--out", merged)
    report.near("merged: logits in transformers",
                tools.relative_error(tools.hf_logits(check_lora.load_base(merged, name), documents[0]), theirs),
                check_lora.LOGITS_LIMIT)


def main():
    report = tools.Report()
    for name in KINDS:
        print(f" {name}")
        with tools.scratch() as scratch:
            check_kind(report, name, Path(scratch))
    return report.code()


if __name__ == "__main__":
    sys.exit(main())
