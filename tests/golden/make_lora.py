#!/usr/bin/env python3
"""make_lora.py - adapters on the golden models, and what peft computes with them: logits, gradients, AdamW, merged weights.

    .venv-interop/bin/python tests/golden/make_lora.py [NAME]...

Writes tests/golden/lora/NAME/ as peft's save_pretrained does, with pairs of which neither half is zero, beside them
expected.safetensors and expected.json.  Base and batch are those of tests/golden/models/NAME, the name up to a hyphen.  What is
stored is checked before: the merged model of peft gives the logits of base and pairs, and without its pairs the model gives
others.  A dropout is peft's own with the mask of kernels/ops.h (op_dropout) in place of torch's random numbers.
"""

import json
import shutil
import sys
from pathlib import Path

import numpy
import peft
import torch
from safetensors.torch import load_file, save_file

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
    "llama3-dropout": {"r": 4, "lora_alpha": 8, "target_modules": ["q_proj", "v_proj", "o_proj", "up_proj", "down_proj"],
                       "lora_dropout": 0.3, "seed": 77},
    "qwen3-modules": {"r": 2, "lora_alpha": 4, "target_modules": ["q_proj", "down_proj"],
                      "modules_to_save": ["embed_tokens", "lm_head", "input_layernorm", "post_attention_layernorm", "q_norm",
                                          "k_norm", "model.norm"]},
    "smollm2-modules": {"r": 2, "lora_alpha": 4, "target_modules": ["v_proj", "up_proj"], "modules_to_save": ["embed_tokens"],
                        "ensure_weight_tying": True},
    "nemotron-modules": {"r": 2, "lora_alpha": 4, "target_modules": ["q_proj", "up_proj"],
                         "modules_to_save": ["input_layernorm", "post_attention_layernorm", "model.norm"]},
    "phi3": {"r": 4, "lora_alpha": 8, "target_modules": ["qkv_proj", "o_proj", "gate_up_proj", "down_proj"]},
    "phi3-dora": {"r": 2, "lora_alpha": 4, "target_modules": ["qkv_proj", "gate_up_proj"], "use_dora": True},
    "llama3-dora": {"r": 4, "lora_alpha": 8, "target_modules": ALL, "use_dora": True},
    "qwen2-dora": {"r": 2, "lora_alpha": 4, "target_modules": ["q_proj", "v_proj", "down_proj"], "use_dora": True,
                   "use_rslora": True, "layers_to_transform": [0],
                   "modules_to_save": ["input_layernorm", "post_attention_layernorm", "model.norm"]},
    "olmo2": {"r": 2, "lora_alpha": 4, "target_modules": ["q_proj", "down_proj"], "layers_to_transform": [1]},
    # With experts, on attention alone (all-linear would turn experts and routers into target_parameters): all of it, and a part.
    "mixtral": {"r": 4, "lora_alpha": 8, "target_modules": ["q_proj", "k_proj", "v_proj", "o_proj"]},
    "qwen3_moe": {"r": 2, "lora_alpha": 4, "target_modules": ["q_proj", "v_proj"], "layers_to_transform": [1]},
    # On experts: each a module of its own in the file, which peft turns into target_parameters when it reads them.
    "mixtral-experts": {"r": 3, "lora_alpha": 6, "target_modules": ["q_proj", "w1", "w2", "w3"], "rank_pattern": {"w2": 2, "down_proj": 2},
                        "ratio": 4.0},
    "qwen3_moe-experts": {"r": 2, "lora_alpha": 4, "target_modules": ["v_proj", "gate_proj", "up_proj", "down_proj"],
                          "alpha_pattern": {"down_proj": 3}},
    "olmoe-experts": {"r": 2, "lora_alpha": 4, "target_modules": ["down_proj"]},
    # As peft writes them where experts are one parameter: gate and up have one A.
    "mixtral-fused": {"r": 2, "lora_alpha": 4, "target_modules": ["q_proj"],
                      "target_parameters": ["mlp.experts.gate_up_proj", "mlp.experts.down_proj"],
                      "alpha_pattern": {"gate_up_proj": 6}},
    "gpt_oss": {"r": 3, "lora_alpha": 6, "target_modules": ["q_proj", "k_proj", "v_proj", "o_proj"]},
}
OWN_WORDS = ("ratio", "seed")
EXPERT_MODULES = {"w1": "gate", "w3": "up", "w2": "down", "gate_proj": "gate", "up_proj": "up", "down_proj": "down"}


# --- the mask of a dropout, written a second time


def philox(seed, stream, index):
    """Four words of 32 bits for each index: Philox 4x32-10 (Salmon et al. 2011)."""
    low = numpy.uint64(0xFFFFFFFF)
    index = numpy.asarray(index, dtype=numpy.uint64)
    words = [index & low, index >> numpy.uint64(32), numpy.full_like(index, stream & 0xFFFFFFFF),
             numpy.full_like(index, stream >> 32)]
    keys = [seed & 0xFFFFFFFF, seed >> 32]
    for _ in range(10):
        a, b = words[0] * numpy.uint64(0xD2511F53), words[2] * numpy.uint64(0xCD9E8D57)
        words = [(b >> numpy.uint64(32)) ^ words[1] ^ numpy.uint64(keys[0]), b & low,
                 (a >> numpy.uint64(32)) ^ words[3] ^ numpy.uint64(keys[1]), a & low]
        keys = [(keys[0] + 0x9E3779B9) & 0xFFFFFFFF, (keys[1] + 0xBB67AE85) & 0xFFFFFFFF]
    return words


def stream_of(name, number):
    """FNV-1a of a name, with a number by SplitMix64; the high byte says what it is for: 7, a dropout."""
    whole = (1 << 64) - 1
    value = 0xCBF29CE484222325
    for byte in name.encode():
        value = (value ^ byte) * 0x100000001B3 & whole
    value = (value + (number + 1) * 0x9E3779B97F4A7C15) & whole
    value = (value ^ value >> 30) * 0xBF58476D1CE4E5B9 & whole
    value = (value ^ value >> 27) * 0x94D049BB133111EB & whole
    return 7 << 56 ^ (value ^ value >> 31) >> 8


class Mask(torch.nn.Module):
    """In place of a module's dropout.  step and places are those of the rows at hand; None: nothing is left out."""
    step, places = 0, None

    def __init__(self, name, share, seed):
        super().__init__()
        self.name, self.share, self.seed = name, share, seed

    def forward(self, x):
        if Mask.places is None:
            return x
        blocks = (x.shape[-1] + 3) // 4
        index = (numpy.asarray(Mask.places, dtype=numpy.uint64)[:, None] << numpy.uint64(32)) + numpy.arange(
            blocks, dtype=numpy.uint64)
        words = numpy.stack(philox(self.seed, stream_of(self.name, Mask.step), index), -1).reshape(len(index), -1)
        kept = torch.from_numpy(words[:, :x.shape[-1]] >= int(self.share * 2**32))
        return x * kept.float() / (1 - self.share)


def mask_dropouts(model, spec):
    known = [int(word[0]) for word in philox(0, 0, [0])]
    assert known == [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8], "Random123's answer to zeros"
    for name, module in model.named_modules():
        if hasattr(module, "lora_dropout") and spec.get("lora_dropout"):
            module.lora_dropout["default"] = Mask(f"{name}.lora_A.weight", spec["lora_dropout"], spec["seed"])


def trained_logits(model, batch):
    """Of the documents one by one, each row at its place."""
    rows = [[] for _ in models.DOCUMENTS]
    for row, first, count, _ in models.spans():
        Mask.places = range(row * models.ROW_TOKENS + first, row * models.ROW_TOKENS + first + count)
        rows[row].append(models.hf_forward(model)(batch["tokens"][row, first:first + count]))
    Mask.places = None
    return torch.stack([torch.cat(row) for row in rows])


# --- adapters


def attach(base, spec, seed):
    """The model with its pairs, random ones: as peft begins, B is zero and A has no gradient.  What is trained whole is moved a little
    from the base."""
    words = {key: value for key, value in spec.items() if key not in OWN_WORDS}
    model = peft.get_peft_model(base, peft.LoraConfig(task_type="CAUSAL_LM", **words))
    mask_dropouts(model, spec)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for key, p in trained_of(model).items():
            noise = torch.randn(p.shape, generator=generator)
            if "lora_magnitude" in key or "lora_" not in key:
                p.copy_(p + 0.05 * noise)
            else:
                p.copy_(noise * (0.2 if "lora_A" in key else 0.1))
    return model


def trained_of(model):
    """name in a file -> parameter."""
    renamed = ((".modules_to_save.default.", "."), (".lora_magnitude_vector.default.weight", ".lora_magnitude_vector"),
               (".default.", "."))

    def saved(key):
        for old, new in renamed:
            key = key.replace(old, new)
        return key

    return {saved(key): p for key, p in model.named_parameters() if p.requires_grad}


# --- pairs on experts


class Experts:
    """What peft makes of the pairs of experts: of the file's names the place in its two parameters, of gate and up side by side and of down."""

    def __init__(self, config, spec):
        self.num_experts = getattr(config, "num_local_experts", None) or config.num_experts
        self.width = getattr(config, "moe_intermediate_size", None) or config.intermediate_size
        self.block = "block_sparse_moe" if config.model_type == "mixtral" else "mlp"
        self.modules = [m for m in spec["target_modules"] if m in EXPERT_MODULES]
        self.rank = {EXPERT_MODULES[m]: spec.get("rank_pattern", {}).get(m, spec["r"]) for m in self.modules}
        self.config = config

    def shapes(self):
        """name in the file -> shape, of the experts alone."""
        c, f = self.config.hidden_size, self.width
        found = {}
        for layer in range(self.config.num_hidden_layers):
            for expert in range(self.num_experts):
                for m in self.modules:
                    inputs, outputs = (f, c) if EXPERT_MODULES[m] == "down" else (c, f)
                    rank = self.rank[EXPERT_MODULES[m]]
                    stem = f"base_model.model.model.layers.{layer}.{self.block}.experts.{expert}.{m}"
                    found |= {f"{stem}.lora_A.weight": (rank, inputs), f"{stem}.lora_B.weight": (outputs, rank)}
        return found

    def view(self, name, tensor):
        """Of a parameter of peft's model, or its gradient, what stands for a half in the file: a view."""
        kind, half = EXPERT_MODULES[name.split(".")[-3]], name.split(".")[-2]
        expert, rank = int(name.split(".experts.")[1].split(".")[0]), self.rank[kind]
        first = rank if kind == "up" else 0
        if half == "lora_A":
            return tensor.view(self.num_experts, -1, tensor.shape[-1])[expert, first:first + rank]
        rows = slice(self.width, 2 * self.width) if kind == "up" else slice(0, self.width) if kind == "gate" else slice(None)
        return tensor.view(tensor.shape[0], -1, self.num_experts)[rows, first:first + rank, expert]

    def fused_name(self, name):
        """What trained_of calls the parameter that holds it."""
        before, after = name.split(".experts.")
        before = before.replace("block_sparse_moe", "mlp")
        inner = "" if EXPERT_MODULES[name.split(".")[-3]] == "down" else ".base_layer"
        return f"{before}.experts{inner}.{'.'.join(after.split('.')[2:])}"

    def split(self, named):
        """The file's names in place of peft's parameters."""
        rest = {key: value for key, value in named.items() if ".experts." not in key}
        return rest | {name: self.view(name, named[self.fused_name(name)]).clone() for name in self.shapes()}

    def merged(self, state):
        """Of the second expert of the first layer, its matrices under the names that they have in a model's files."""
        parameters, found = "model.layers.0.mlp.experts.", {}
        for m in self.modules:
            kind = EXPERT_MODULES[m]
            whole = state[f"{parameters}{'down_proj' if kind == 'down' else 'gate_up_proj'}"][1]
            rows = whole if kind == "down" else whole[:self.width] if kind == "gate" else whole[self.width:]
            found[f"model.layers.0.{self.block}.experts.1.{m}.weight"] = rows.clone()
        return found

    def hold(self, named):
        """What lies between the pairs of gate and of up stays zero."""
        for key, p in named.items():
            if ".experts." in key:
                mask = torch.zeros_like(p)
                for name in self.shapes():
                    if self.fused_name(name) == key:
                        self.view(name, mask).fill_(1)
                p.register_hook(lambda gradient, mask=mask: gradient * mask)


def attach_experts(base, base_folder, folder, spec, seed):
    """The adapter is written by hand, as peft wrote it when experts were modules, and read by peft; what that computes is held against
    weights that are merged by hand."""
    experts = Experts(base.config, spec)
    generator = torch.Generator().manual_seed(seed)
    words = {key: value for key, value in spec.items() if key not in OWN_WORDS}
    attention = [m for m in spec["target_modules"] if m not in EXPERT_MODULES]
    pairs = {}
    if attention:
        plain = peft.get_peft_model(models.load_model(base_folder), peft.LoraConfig(
            task_type="CAUSAL_LM", **(words | {"target_modules": attention, "rank_pattern": {}, "alpha_pattern": {}})))
        pairs = {key: tuple(p.shape) for key, p in trained_of(plain).items()}
    tensors = {name: torch.randn(shape, generator=generator) * (0.2 if "lora_A" in name else 0.1)
               for name, shape in (pairs | experts.shapes()).items()}
    folder.mkdir(parents=True)
    peft.LoraConfig(task_type="CAUSAL_LM", base_model_name_or_path=f"tests/golden/models/{base_folder.name}",
                    **words).save_pretrained(folder)
    save_file(tensors, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    settle(folder)
    model = peft.PeftModel.from_pretrained(base, folder, is_trainable=True)
    named = trained_of(model)
    for name, value in experts.split(named).items():
        assert torch.equal(value, tensors[name]), f"{name} is not where peft has it"
    experts.hold(named)
    return model, experts, tensors


def merged_by_hand(base_folder, experts, tensors, spec):
    """W + alpha / r B A, expert by expert; pairs of attention likewise."""
    model = models.load_model(base_folder)
    state = model.state_dict()
    for name in [name for name in tensors if "lora_A" in name]:
        a, b = tensors[name], tensors[name.replace("lora_A", "lora_B")]
        module = name.split(".")[-3]
        delta = spec.get("alpha_pattern", {}).get(module, spec["lora_alpha"]) / a.shape[0] * b @ a
        stem = name.removeprefix("base_model.model.").removesuffix(".lora_A.weight")
        if ".experts." not in name:
            state[f"{stem}.weight"] += delta
            continue
        before, after = stem.replace("block_sparse_moe", "mlp").split(".experts.")
        kind, expert = EXPERT_MODULES[module], int(after.split(".")[0])
        target = state[f"{before}.experts.{'down_proj' if kind == 'down' else 'gate_up_proj'}"][expert]
        rows = target if kind == "down" else target[:experts.width] if kind == "gate" else target[experts.width:]
        rows += delta
    return model


def adamw(model, loss_of, ratio):
    """As models.adamw_run, with a learning rate of B of its own (LoRA+)."""
    settings = models.ADAMW
    groups = [{"params": [p], "lr": settings["lr"] * (ratio if "lora_B" in key else 1),
               "weight_decay": settings["weight_decay"] if p.ndim >= 2 else 0.0} for key, p in trained_of(model).items()]
    optimizer = torch.optim.AdamW(groups, betas=(settings["beta1"], settings["beta2"]), eps=settings["eps"], foreach=False)
    losses, norms = [], []
    for step in range(models.STEPS):
        optimizer.zero_grad()
        Mask.step = step
        loss = loss_of()
        loss.backward()
        norms.append(torch.nn.utils.clip_grad_norm_(trained_of(model).values(), 1.0).item())
        optimizer.step()
        losses.append(loss.item())
    return {"loss": losses, "grad_norm": norms, "loss_after": loss_of().item()}


def merged_weights(folder, base_folder, whole):
    merged = peft.PeftModel.from_pretrained(models.load_model(base_folder), folder).merge_and_unload()
    kept = ("self_attn.q_proj.weight", "self_attn.k_proj.weight", "self_attn.qkv_proj.weight", "mlp.down_proj.weight")
    return merged, {key: value for key, value in merged.state_dict().items()
                    if key.startswith("model.layers.0.") and key.endswith(kept) or key == whole}


def settle(folder):
    """The same bytes each time: peft writes its modules as a set has them, and a card that nobody reads."""
    path = folder / "adapter_config.json"
    words = json.loads(path.read_text())
    for key in ("target_modules", "target_parameters", "modules_to_save"):
        words[key] = sorted(words[key]) if words[key] else words[key]
    path.write_text(json.dumps(words, indent=2, sort_keys=True) + "\n")
    (folder / "README.md").unlink(missing_ok=True)


def make_variant(name, spec, seed):
    base_folder, folder = HERE / "models" / name.split("-")[0], HERE / "lora" / name
    shutil.rmtree(folder, ignore_errors=True)
    batch = {key: value.long() for key, value in load_file(base_folder / "expected.safetensors").items()
             if key in ("tokens", "targets", "positions", "documents")}
    base = models.load_model(base_folder)
    plain = models.one_by_one(models.hf_forward(base), batch)
    if name.endswith("-experts"):
        model, experts, tensors = attach_experts(base, base_folder, folder, spec, seed)
        saved = experts.split
    else:
        model, saved = attach(base, spec, seed), dict
        model.peft_config["default"].base_model_name_or_path = f"tests/golden/models/{base_folder.name}"
        model.save_pretrained(folder)
        settle(folder)

    def loss_of():
        return models.mean_loss(trained_logits(model, batch), batch)

    logits = models.one_by_one(models.hf_forward(model), batch).detach()
    modules = spec.get("modules_to_save", [])
    whole = "model.norm.weight" if "model.norm" in modules else "model.embed_tokens.weight" if modules else None
    merged, weights = merged_weights(folder, base_folder, whole)
    noise = models.relative_error(models.one_by_one(models.hf_forward(merged), batch), logits)
    assert noise < 2e-6 and models.relative_error(plain, logits) > 1e-2, f"{name}: merged {noise}"
    if name.endswith("-experts"):
        by_hand = merged_by_hand(base_folder, experts, tensors, spec)
        noise = models.relative_error(models.one_by_one(models.hf_forward(by_hand), batch), logits)
        assert noise < 2e-6, f"{name}: merged by hand {noise}"
        weights |= experts.merged(merged.state_dict())
    if name.endswith("-fused"):
        weights |= Experts(base.config, {"target_modules": ["w1", "w2", "w3"], "r": spec["r"]}).merged(merged.state_dict())
    Mask.step = 0
    loss_of().backward()
    gradients = saved({key: p.grad.clone() for key, p in trained_of(model).items()})
    ratio = spec.get("ratio", 1.0)
    run = adamw(model, loss_of, ratio)
    tensors = {"logits": logits} | {f"merged.{key}": value for key, value in weights.items()}
    tensors |= {f"grad.{key}": value for key, value in gradients.items()}
    tensors |= {f"final.{key}": p for key, p in saved({k: p.detach() for k, p in trained_of(model).items()}).items()}
    models.write_expected(folder, tensors, {
        "name": name, "peft": peft.__version__, "torch": torch.__version__.split("+")[0], "b_learning_rate_ratio": ratio,
        **({"dropout": spec["lora_dropout"], "seed": spec["seed"]} if "seed" in spec else {}), "adamw": models.ADAMW | {"max_grad_norm": 1.0}, "run": run, "merged_logits": noise})


def main():
    torch.set_num_threads(1)
    for number, (name, spec) in enumerate(VARIANTS.items()):
        if sys.argv[1:] and name not in sys.argv[1:]:
            continue
        make_variant(name, spec, 400 + number)
        print(f"{name}: {sum(path.stat().st_size for path in (HERE / 'lora' / name).iterdir())} bytes")


if __name__ == "__main__":
    main()
