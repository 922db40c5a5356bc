#!/usr/bin/env python3
"""check_lora.py - adapters: trained as peft trains them, loaded by peft, put on a model by llama.cpp.

For models of several families, one of text and images among them: a training that begins with an adapter of peft gives, on 1
and 2 ranks, the losses and the pairs of the same training in peft and torch; its checkpoint and its `export --to peft` load in
peft with nothing missing and nothing more, and give the program's logits; so does the merged folder in transformers.  What
`export --to gguf-lora` writes gives in llama.cpp, on the GGUF file of the base, the logits of the merged one.  Controls: the base
alone, another rate, an adapter under the names of another class, which peft loads without effect and atelier refuses.  Pairs on experts that were trained here
load in peft, and what peft saves of them is read here.
"""

import json
import shutil
import sys
from pathlib import Path

import peft
import safetensors.torch
import torch
import transformers

import atelier_tools as tools
import check_gguf
import check_llamacpp
import check_published
import compare_train

ALL = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
MODELS = {
    "llama3": {"r": 4, "lora_alpha": 8, "target_modules": ALL},
    "smollm2": {"r": 3, "lora_alpha": 6, "target_modules": ALL, "use_rslora": True},
    "qwen3": {"r": 4, "lora_alpha": 8, "target_modules": ALL, "rank_pattern": {"k_proj": 2},
              "alpha_pattern": {"down_proj": 3}, "ratio": 4.0},
    "gemma3": {"r": 4, "lora_alpha": 4, "target_modules": ["q_proj", "v_proj", "down_proj"], "layers_to_transform": [0, 3]},
    "nemotron": {"r": 2, "lora_alpha": 3, "target_modules": ["q_proj", "o_proj", "up_proj"]},
    "phi3": {"r": 4, "lora_alpha": 8, "target_modules": ["qkv_proj", "o_proj", "gate_up_proj", "down_proj"]},
    "wrapper": {"r": 3, "lora_alpha": 6, "target_modules": r".*language_model\.layers\.\d+\.(self_attn|mlp)\.[a-z]+_proj"},
}
STEPS = 10
LOSS_LIMIT, WEIGHT_LIMIT, LOGITS_LIMIT = 1e-5, 1e-4, 1e-5

RUN_FILE = """
run: {{folder: "{folder}", threads: 1}}
model: {{path: "{model}"}}
adapter: {{method: lora, base: {form}, path: "{adapter}", b_learning_rate_ratio: {ratio}}}
data: {{train: "{data}", sequence_tokens: {sequence_tokens}, packing: whole}}
train: {{steps: {steps}, batch_sequences: {sequences}, micro_sequences: 1, grad_clip: {clip}}}
optimizer: {{learning_rate: {rate}, beta1: {beta1}, beta2: {beta2}, eps: {eps}, weight_decay: {decay}}}
schedule: {{kind: constant}}
parallel: {{stage: {stage}}}
"""


def load_base(folder, name):
    if name != "wrapper":
        return tools.load_hf(folder)
    return transformers.AutoModelForImageTextToText.from_pretrained(folder, attn_implementation="eager",
                                                                    dtype=torch.float32, local_files_only=True)


def pairs_of(model):
    return {key.replace(".default.", "."): p for key, p in model.named_parameters() if "lora_" in key}


def make_adapter(base, name, folder):
    """An adapter on disk with pairs of which no half is zero, and how it differs from peft's defaults."""
    words = {key: value for key, value in MODELS[name].items() if key != "ratio"}
    model = peft.get_peft_model(load_base(base, name), peft.LoraConfig(task_type="CAUSAL_LM", **words))
    generator = torch.Generator().manual_seed(9)
    with torch.no_grad():
        for key, p in pairs_of(model).items():
            p.copy_(torch.randn(p.shape, generator=generator) * 0.1)
    model.peft_config["default"].base_model_name_or_path = str(base)
    model.save_pretrained(folder)
    return model


def train_peft(model, name, documents, masks, rate):
    groups = [{"params": [p for key, p in pairs_of(model).items() if half in key], "lr": rate * times}
              for half, times in (("lora_A", 1), ("lora_B", MODELS[name].get("ratio", 1.0)))]
    optimizer = torch.optim.AdamW(groups, betas=compare_train.BETAS, eps=compare_train.EPS,
                                  weight_decay=compare_train.DECAY)
    losses = []
    for _ in range(STEPS):
        optimizer.zero_grad()
        loss = compare_train.batch_loss(model, documents, masks)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(pairs_of(model).values(), compare_train.CLIP)
        optimizer.step()
        losses.append(loss.item())
    return losses


def train_here(base, adapter, data, folder, name, ranks, stage, form="compute"):
    config = folder.with_suffix(".yaml")
    config.write_text(RUN_FILE.format(
        folder=folder, model=base, form=form, adapter=adapter, data=data, ratio=MODELS[name].get("ratio", 1.0), steps=STEPS,
        sequences=compare_train.SEQUENCES, sequence_tokens=compare_train.SEQUENCE_TOKENS, clip=compare_train.CLIP,
        rate=compare_train.RATE, beta1=compare_train.BETAS[0], beta2=compare_train.BETAS[1], eps=compare_train.EPS,
        decay=compare_train.DECAY, stage=stage))
    launcher = ["mpirun", "-n", ranks] if ranks > 1 and shutil.which("mpirun") else []
    tools.run(*launcher, tools.ATELIER, "train", config)
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [line["loss"] for line in lines if "loss" in line and "event" not in line]


def worst(got, want):
    return max(abs(a / b - 1) for a, b in zip(got, want, strict=True))


def pairs_error(folder, model):
    """All pairs together; names must be the same."""
    ours = safetensors.torch.load_file(folder / "adapter_model.safetensors")
    theirs = {key: p.detach() for key, p in pairs_of(model).items()}
    assert ours.keys() == theirs.keys(), sorted(ours.keys() ^ theirs.keys())[:4]
    order = sorted(ours)
    return tools.relative_error(torch.cat([ours[key].flatten() for key in order]),
                                torch.cat([theirs[key].flatten() for key in order]))


def check_loads(report, base, name, folder, tokens):
    """In peft: every tensor has its place, no place is empty, and the logits are the program's."""
    model = load_base(base, name)
    plain = tools.hf_logits(model, tokens)
    model = peft.PeftModel.from_pretrained(model, folder).eval()
    stored = safetensors.torch.load_file(folder / "adapter_model.safetensors")
    report.expect(stored.keys() == pairs_of(model).keys() and all(
        torch.equal(stored[key].float(), p.detach()) for key, p in pairs_of(model).items()),
        f"{folder.name}: peft takes {len(stored)} tensors, and has a place for no other")
    theirs = tools.hf_logits(model, tokens)
    report.near(f"{folder.name}: logits, relative", tools.relative_error(tools.program_logits(folder, tokens), theirs),
                LOGITS_LIMIT)
    report.notices("the base alone", tools.relative_error(plain, theirs), 100 * LOGITS_LIMIT)
    return theirs


def refused(*command):
    try:
        tools.run(*command)
    except tools.ProgramFailed as failed:
        return str(failed)
    return ""


def check_other_class(report, base, folder, scratch):
    """The names of the text decoder alone: on a model of text and images they hit nothing."""
    wrong = scratch / "wrong"
    shutil.copytree(folder, wrong)
    tensors = safetensors.torch.load_file(wrong / "adapter_model.safetensors")
    safetensors.torch.save_file({key.replace("model.language_model.", "model."): value for key, value in tensors.items()},
                                wrong / "adapter_model.safetensors", {"format": "pt"})
    said = refused(tools.ATELIER, "export", wrong, "--base", base, "--to", "peft", "--out", scratch / "never")
    report.expect("would hit nothing" in said, f"a wrong prefix is refused: {said.splitlines()[-1][:90]}")
    said = refused(tools.ATELIER, "export", folder, "--to", "peft", "--for", tools.GOLDEN / "llama3", "--out",
                   scratch / "never")
    report.expect("0 of 14 modules" in said, f"so is a model of another class: {said.splitlines()[-1][:90]}")


def check_model(report, name, scratch):
    base = scratch / "base"
    if name == "wrapper":
        check_published.make_wrapper(base)
    else:
        shutil.copytree(tools.GOLDEN / name, base)
    if name == "phi3":  # longrope depends on the longest text, which torch is given one by one
        config = json.loads((base / "config.json").read_text())
        config["rope_parameters"] = {"rope_type": "default", "rope_theta": 100.0, "partial_rotary_factor": 0.75}
        (base / "config.json").write_text(json.dumps(config))
    vocab_size = json.loads((base / "config.json").read_text()).get("vocab_size", check_published.VOCAB)
    documents, masks = compare_train.make_data(vocab_size)
    data = scratch / "data.h5"
    tools.write_token_file(data, documents, vocab_size, base, masks)
    model = make_adapter(base, name, scratch / "start")
    want = train_peft(model, name, documents, masks, compare_train.RATE)
    for ranks, stage in ((1, 0), (2, 1), (2, 3)):
        folder = scratch / f"run-{ranks}-{stage}"
        losses = train_here(base, scratch / "start", data, folder, name, ranks, stage)
        report.near(f"losses of {STEPS} steps on {ranks}, stage {stage}", worst(losses, want), LOSS_LIMIT)
        report.near("pairs after them", pairs_error(folder / f"step-{STEPS:06}", model), WEIGHT_LIMIT)
    other = train_peft(make_adapter(base, name, scratch / "again"), name, documents, masks, 1.01 * compare_train.RATE)
    report.notices("a rate that is 1 % off", worst(other, want), LOSS_LIMIT)
    tokens = documents[0]
    trained = scratch / "run-1-0" / f"step-{STEPS:06}"
    check_loads(report, base, name, trained, tokens)
    exported = scratch / "peft"
    said = tools.run(tools.ATELIER, "export", trained, "--to", "peft", "--out", exported).decode()
    modules = len(pairs_of(model)) // 2
    report.expect(f"{modules} of {modules} modules hit" in said, said.splitlines()[0])
    theirs = check_loads(report, base, name, exported, tokens)
    merged = scratch / "merged"
    tools.run(tools.ATELIER, "export", trained, "--to", "hf", "--type", "f32", "--out", merged)
    report.near("merged: logits in transformers", tools.relative_error(
        tools.hf_logits(load_base(merged, name), tokens), theirs), LOGITS_LIMIT)
    if name == "wrapper":
        check_other_class(report, base, trained, scratch)


EXPERTS_RUN_FILE = """
run: {{folder: "{folder}", threads: 1}}
model: {{path: "{model}"}}
adapter: {{method: lora, rank: 3, alpha: 7, layers: {layers}, targets: [v, gate, up, {{name: down, rank: 2, alpha: 5}}]}}
data: {{train: "{data}", sequence_tokens: {sequence_tokens}, packing: whole}}
train: {{steps: {steps}, batch_sequences: {sequences}, micro_sequences: 1}}
optimizer: {{learning_rate: 2e-2}}
schedule: {{kind: constant}}
"""


def same_logits(report, what, folder, base, theirs, tokens):
    """In peft, on the model that transformers makes of the base."""
    model = peft.PeftModel.from_pretrained(tools.load_hf(base), folder).eval()
    report.near(f"{what}: logits in peft", tools.relative_error(tools.hf_logits(model, tokens), theirs), LOGITS_LIMIT)
    return model


def check_experts(report, name, layers, scratch):
    """Pairs on experts that are trained here, and what peft makes of them: it loads them, and what it then saves is read here."""
    base, data = tools.GOLDEN / name, scratch / "data.h5"
    vocab_size = json.loads((base / "config.json").read_text())["vocab_size"]
    documents, masks = compare_train.make_data(vocab_size)
    tools.write_token_file(data, documents, vocab_size, base, masks)
    tokens, config = documents[0], scratch / "run.yaml"
    config.write_text(EXPERTS_RUN_FILE.format(folder=scratch / "run", model=base, data=data, layers=layers, steps=STEPS,
                                              sequences=compare_train.SEQUENCES, sequence_tokens=compare_train.SEQUENCE_TOKENS))
    tools.run(tools.ATELIER, "train", config)
    trained, exported, saved, merged = scratch / "run" / f"step-{STEPS:06}", scratch / "peft", scratch / "saved", scratch / "merged"
    theirs = tools.program_logits(trained, tokens)
    tools.run(tools.ATELIER, "export", trained, "--to", "peft", "--out", exported)
    same_logits(report, "checkpoint", trained, base, theirs, tokens)
    model = same_logits(report, "exported", exported, base, theirs, tokens)
    if layers == "null":  # peft gives the experts of all layers pairs, of which those of other layers do nothing
        model.save_pretrained(saved)
        report.near("saved by peft, read here", tools.relative_error(tools.program_logits(saved, tokens), theirs), LOGITS_LIMIT)
    tools.run(tools.ATELIER, "export", trained, "--to", "hf", "--type", "f32", "--out", merged)
    report.near("merged: logits in transformers", tools.relative_error(
        tools.hf_logits(tools.load_hf(merged), tokens), theirs), LOGITS_LIMIT)
    report.notices("the base alone", tools.relative_error(tools.hf_logits(tools.load_hf(base), tokens), theirs), 100 * LOGITS_LIMIT)


def check_llama_cpp(report, scratch):
    """On models with a tokenizer, which GGUF needs; the adapter is a random one, with a scale of its own for some modules."""
    for number, folder in enumerate(check_gguf.make_models(scratch)):
        if folder.name == "gpt_oss":  # whose adapters are not written as GGUF
            continue
        print(f" {folder.name}, llama.cpp")
        targets = [key for key in ALL if key != "gate_proj"] if "nemotron" in folder.name else ALL
        if "fused" in folder.name:
            targets = MODELS["phi3"]["target_modules"]
        if folder.name in ("mixtral", "qwen3_moe", "olmoe"):  # whose experts are not modules
            targets = ALL[:4]
        words = {"r": 4, "lora_alpha": 8, "target_modules": targets,
                 "rank_pattern": {"v_proj": 2, "qkv_proj": 2}, "alpha_pattern": {"down_proj": 3}, "use_rslora": number % 2 == 1}
        MODELS[folder.name] = words
        adapter = scratch / f"{folder.name}-adapter"
        make_adapter(folder, folder.name, adapter)
        files = {}
        for kind, source, options in (("base", folder, ["gguf", "--type", "f32"]), ("lora", adapter, ["gguf-lora"]),
                                      ("merged", adapter, ["gguf", "--type", "f32"])):
            files[kind] = scratch / f"{folder.name}-{kind}.gguf"
            tools.run(tools.ATELIER, "export", source, "--to", *options, "--out", files[kind])
        ids = list(range(7, 67))
        logits = {}
        for kind, path in (("base", files["base"]), ("merged", files["merged"])):
            model = check_llamacpp.Model(str(path), 128)
            logits[kind] = torch.from_numpy(model.decode(ids))
            if kind == "base":
                model.put_adapter(str(files["lora"]))
                logits["lora"] = torch.from_numpy(model.decode(ids))
            model.close()
        report.near("base and GGUF adapter against the merged file",
                    tools.relative_error(logits["lora"], logits["merged"]), check_llamacpp.LOGITS_LIMIT)
        report.notices("the base alone", tools.relative_error(logits["base"], logits["merged"]),
                       10 * check_llamacpp.LOGITS_LIMIT)


def main():
    report = tools.Report()
    for name in MODELS.copy():
        print(f" {name}")
        with tools.scratch() as scratch:
            check_model(report, name, Path(scratch))
    for name, layers in (("mixtral", "null"), ("qwen3_moe", "null"), ("qwen3_moe_dense", "null"), ("olmoe", "[1]")):
        print(f" {name}, pairs on experts")
        with tools.scratch() as scratch:
            check_experts(report, name, layers, Path(scratch))
    with tools.scratch() as scratch:
        check_llama_cpp(report, Path(scratch))
    return report.code()


if __name__ == "__main__":
    sys.exit(main())
