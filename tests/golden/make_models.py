#!/usr/bin/env python3
"""make_models.py - tiny models of each family, and what transformers computes from them: logits, gradients, AdamW.

The C tests compare themselves with these files (README.md beside this one says what is in them), so that `make test`
needs no Python.  Run it only to change them:

    .venv-interop/bin/python tests/golden/make_models.py

The oracle is checked before it is stored.  A second forward pass, written here from the papers in f64 and sharing no
code with transformers, must agree with it; so must its finite differences, and so must transformers itself when the
documents are packed into one sequence.  Same versions, same bytes: seeds are fixed and torch runs on one thread.
"""

import argparse
import json
import math
import re
import shutil
import sys
from pathlib import Path

import torch
import transformers
from safetensors.torch import load_file, save_file
from torch.nn.functional import cross_entropy, gelu, silu, softplus

# Two packed rows.  They differ in their number of targets (15 and 22), so that a mean of the rows' means is not the
# mean over tokens; the first has documents of one token, which have no target and attend to nothing but themselves.
DOCUMENTS = [[9, 1, 1, 5, 2, 1, 3, 1, 1], [21, 3]]
ROW_TOKENS = 24
NO_TARGET = -1

STEPS = 10
ADAMW = {"lr": 0.003, "beta1": 0.9, "beta2": 0.95, "eps": 1e-8, "weight_decay": 0.1}

LLAMA3_ROPE = {"rope_type": "llama3", "low_freq_factor": 1.0, "high_freq_factor": 4.0}

# What makes each family different, at the smallest size that shows it.  theta 500 and an original length of 64 put a
# frequency in each zone of the llama3 scaling (kept, blended, divided), and all of them matter within 24 positions.  "seed": another than that of the place in
# this list, which would change with it.
VARIANTS = {
    "llama2": {"hidden_size": 20, "num_attention_heads": 2, "num_key_value_heads": 2, "intermediate_size": 40,
               "vocab_size": 64, "rope": {"rope_theta": 10000.0}, "rms_norm_eps": 1e-5, "old": True},
    "llama3": {"hidden_size": 24, "num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 36,
               "vocab_size": 64, "rope": {"rope_theta": 500.0, **LLAMA3_ROPE, "factor": 8.0,
               "original_max_position_embeddings": 64}, "rms_norm_eps": 1e-5, "old": True},
    "llama32_tied": {"hidden_size": 32, "num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 32,
                     "vocab_size": 64, "rope": {"rope_theta": 500.0, **LLAMA3_ROPE, "factor": 32.0,
                     "original_max_position_embeddings": 64}, "rms_norm_eps": 1e-5, "tie": True},
    "mistral": {"hidden_size": 16, "num_attention_heads": 2, "num_key_value_heads": 1, "intermediate_size": 36,
                "vocab_size": 72, "head_dim": 24, "rope": {"rope_theta": 1000000.0}, "rms_norm_eps": 1e-5},
    "smollm2": {"hidden_size": 24, "num_attention_heads": 3, "num_key_value_heads": 1, "intermediate_size": 42,
                "vocab_size": 96, "rope": {"rope_theta": 100000.0}, "rms_norm_eps": 1e-5, "tie": True},
    "lucie": {"hidden_size": 24, "num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 36,
              "vocab_size": 65, "rope": {"rope_theta": 20000000.0}, "rms_norm_eps": 1e-5, "old": True},
    "croissant": {"hidden_size": 16, "num_attention_heads": 2, "num_key_value_heads": 2, "intermediate_size": 43,
                  "vocab_size": 80, "rope": {"rope_theta": 10000.0}, "rms_norm_eps": 1e-5, "old": True},
    "eurollm": {"hidden_size": 16, "num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 44,
                "vocab_size": 83, "rope": {"rope_theta": 10000.0}, "rms_norm_eps": 1e-6, "shards": 3,
                "max_grad_norm": 1.4},  # crossed during the run: some steps are clipped, some are not
    # Heads of 24 while the width is 20 (2 x 24 is not 20); queries and keys are normalised before they turn.
    "qwen3": {"hidden_size": 20, "num_attention_heads": 2, "num_key_value_heads": 1, "intermediate_size": 36,
              "vocab_size": 64, "head_dim": 24, "rope": {"rope_theta": 1000000.0}, "rms_norm_eps": 1e-6, "qk_norm": True},
    "qwen3_tied": {"hidden_size": 32, "num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 40,
                   "vocab_size": 80, "head_dim": 16, "rope": {"rope_theta": 1000000.0}, "rms_norm_eps": 1e-6,
                   "tie": True, "qk_norm": True, "old": True},
    # LayerNorm with 1 + w and a bias, squared ReLU without a gate, half of each head turns.
    "nemotron": {"hidden_size": 24, "num_attention_heads": 3, "num_key_value_heads": 1, "intermediate_size": 40,
                 "vocab_size": 64, "rope": {"rope_theta": 2000000.0, "partial_rotary_factor": 0.5}, "norm_eps": 1e-5,
                 "nemotron": True},
    # Heads of 16 while width / heads is 10; a quarter turns; config.json as transformers 4 wrote it.
    "nemotron_wide": {"hidden_size": 20, "num_attention_heads": 2, "num_key_value_heads": 2, "intermediate_size": 36,
                      "vocab_size": 72, "head_dim": 16, "rope": {"rope_theta": 10000.0, "partial_rotary_factor": 0.25},
                      "norm_eps": 1e-5, "old": True, "nemotron": True},
    # Biases of queries, keys and values.
    "qwen2": {"hidden_size": 24, "num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 36,
              "vocab_size": 64, "rope": {"rope_theta": 1000000.0}, "rms_norm_eps": 1e-6, "class": "Qwen2"},
    "qwen2_tied": {"hidden_size": 20, "num_attention_heads": 2, "num_key_value_heads": 1, "intermediate_size": 40,
                   "vocab_size": 72, "rope": {"rope_theta": 10000.0}, "rms_norm_eps": 1e-6, "tie": True, "old": True,
                   "class": "Qwen2"},
    # Norms after the branches; queries and keys normalised as whole rows.
    "olmo2": {"hidden_size": 24, "num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 36,
              "vocab_size": 64, "rope": {"rope_theta": 500000.0}, "rms_norm_eps": 1e-6, "class": "Olmo2"},
    # The last of four layers rotates nothing.
    "smollm3": {"hidden_size": 16, "num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 28,
                "vocab_size": 64, "rope": {"rope_theta": 5000000.0}, "rms_norm_eps": 1e-6, "tie": True, "layers": 4,
                "class": "SmolLM3"},
    # YaRN: of the four frequencies one stays, one is divided, two are mixed; cosines and sines are multiplied.
    "yarn": {"hidden_size": 24, "num_attention_heads": 3, "num_key_value_heads": 1, "intermediate_size": 36,
             "vocab_size": 64, "rope": {"rope_theta": 100.0, "rope_type": "yarn", "factor": 8.0, "mscale": 0.7,
             "mscale_all_dim": 0.3, "original_max_position_embeddings": 64}, "rms_norm_eps": 1e-5, "old": True},
    # YaRN as published, and queries that are multiplied from the seventh position on, and more from the fourteenth.
    "ministral3": {"hidden_size": 20, "num_attention_heads": 2, "num_key_value_heads": 1, "intermediate_size": 36,
                   "vocab_size": 64, "head_dim": 16, "rope": {"rope_theta": 100.0, "rope_type": "yarn", "factor": 16.0,
                   "beta_fast": 32.0, "beta_slow": 1.0, "mscale": 1.0, "mscale_all_dim": 1.0, "llama_4_scaling_beta": 0.4,
                   "original_max_position_embeddings": 7}, "rms_norm_eps": 1e-5, "class": "Ministral3"},
    # Norms around each branch, an embedding times the root of its width; windows of 5 with a base of their own on all
    # layers but every second, which stretches its own.
    "gemma3": {"hidden_size": 20, "num_attention_heads": 2, "num_key_value_heads": 1, "intermediate_size": 40,
               "vocab_size": 64, "head_dim": 20, "rms_norm_eps": 1e-6, "tie": True, "layers": 4, "class": "Gemma3Text",
               "rope": {"rope_type": "linear", "rope_theta": 5000.0, "factor": 4.0}, "local_theta": 100.0, "window": 5,
               "period": 2, "query_pre_attn_scalar": 20, "seed": 260},
    # The same with every third layer, nothing stretched, a scale that is not that of the heads' width; config.json as transformers 4 wrote it.
    "gemma3_old": {"hidden_size": 20, "num_attention_heads": 2, "num_key_value_heads": 1, "intermediate_size": 36,
                   "vocab_size": 72, "head_dim": 20, "rms_norm_eps": 1e-5, "tie": True, "layers": 3, "old": True,
                   "class": "Gemma3Text", "rope": {"rope_theta": 100000.0}, "local_theta": 50.0, "window": 3,
                   "period": 3, "query_pre_attn_scalar": 24, "seed": 270},
    # Mistral 7B 0.1: all layers see a window.
    "mistral_window": {"hidden_size": 20, "num_attention_heads": 2, "num_key_value_heads": 1, "intermediate_size": 36,
                       "vocab_size": 64, "rope": {"rope_theta": 10000.0}, "rms_norm_eps": 1e-5, "class": "Mistral",
                       "window": 4, "old": True, "seed": 282},
    # Gemma 2: caps of scores and logits low enough to bend them; windows of 5 on every other layer; another scale than that of D.
    "gemma2": {"hidden_size": 20, "num_attention_heads": 2, "num_key_value_heads": 1, "intermediate_size": 36,
               "vocab_size": 64, "head_dim": 20, "rms_norm_eps": 1e-6, "tie": True, "layers": 3, "class": "Gemma2",
               "rope": {"rope_theta": 10000.0}, "window": 5, "period": 2, "query_pre_attn_scalar": 24,
               "attn_logit_softcapping": 2.0, "final_logit_softcapping": 3.0, "seed": 300},
    # OLMo 3: OLMo 2's layers, windows of 4 on three of four, and YaRN on the last.
    "olmo3": {"hidden_size": 24, "num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 28,
              "vocab_size": 64, "rms_norm_eps": 1e-6, "class": "Olmo3", "layers": 4, "window": 4, "period": 4,
              "rope": {"rope_theta": 500.0, "rope_type": "yarn", "factor": 8.0, "attention_factor": 1.2,
              "original_max_position_embeddings": 64}, "local_theta": 500.0, "seed": 312},
    # Granite: four multipliers.
    "granite": {"hidden_size": 20, "num_attention_heads": 2, "num_key_value_heads": 1, "intermediate_size": 36,
                "vocab_size": 64, "rope": {"rope_theta": 10000.0}, "rms_norm_eps": 1e-5, "tie": True, "class": "Granite",
                "multipliers": {"embedding_multiplier": 6.0, "residual_multiplier": 0.4, "attention_multiplier": 0.2,
                                "logits_scaling": 3.0}, "seed": 330},
    # Phi-3: queries, keys and values in one matrix, gate and up in one; three quarters of each head turn, longrope's short
    # positions; all layers see a window.
    "phi3": {"hidden_size": 16, "num_attention_heads": 2, "num_key_value_heads": 1, "intermediate_size": 28,
             "vocab_size": 64, "rms_norm_eps": 1e-5, "class": "Phi3", "window": 6, "seed": 340, "original": 24,
             "rope": {"rope_theta": 100.0, "rope_type": "longrope", "partial_rotary_factor": 0.75,
             "short_factor": [1.0, 1.2, 1.5], "long_factor": [1.0, 2.0, 4.0], "original_max_position_embeddings": 24}},
    # Of six pairs of each head the first three turn, by half the frequencies of all six.
    "proportional": {"hidden_size": 24, "num_attention_heads": 2, "num_key_value_heads": 1, "intermediate_size": 28,
                     "vocab_size": 64, "rope": {"rope_theta": 500.0, "rope_type": "proportional", "factor": 2.0,
                     "partial_rotary_factor": 0.5}, "rms_norm_eps": 1e-5, "seed": 320},
    # Ministral 8B: the first and the last of three layers see all.
    "ministral": {"hidden_size": 20, "num_attention_heads": 2, "num_key_value_heads": 1, "intermediate_size": 36,
                  "vocab_size": 64, "head_dim": 12, "rope": {"rope_theta": 1000000.0}, "rms_norm_eps": 1e-5,
                  "class": "Ministral", "layers": 3, "window": 3, "types": "fsf", "seed": 290},
    # xIELU without a gate, with two values of each layer that are learnt; queries and keys normalised, llama3 positions.
    "apertus": {"hidden_size": 24, "num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 36,
                "vocab_size": 64, "rope": {"rope_theta": 500.0, **LLAMA3_ROPE, "factor": 8.0,
                "original_max_position_embeddings": 64}, "rms_norm_eps": 1e-5, "qk_norm": True, "class": "Apertus",
                "seed": 280},
    # The same, tied; config.json as transformers 4 wrote it.
    "apertus_tied": {"hidden_size": 20, "num_attention_heads": 2, "num_key_value_heads": 1, "intermediate_size": 40,
                     "vocab_size": 72, "rope": {"rope_theta": 1000.0, **LLAMA3_ROPE, "factor": 4.0,
                     "original_max_position_embeddings": 32}, "rms_norm_eps": 1e-5, "tie": True, "old": True,
                     "qk_norm": True, "class": "Apertus", "seed": 290},
    # Experts: two of four with weights that add up to one; two of six of a width of their own and heads that are normalised; two of four with the
    # probabilities as they are, rows normalised.  The gaps between the chosen and the others are wide (checked below).
    "mixtral": {"hidden_size": 20, "num_attention_heads": 2, "num_key_value_heads": 1, "intermediate_size": 24,
                "vocab_size": 64, "rope": {"rope_theta": 1000000.0}, "rms_norm_eps": 1e-5, "class": "Mixtral", "seed": 360,
                "experts": {"num_local_experts": 4, "num_experts_per_tok": 2}},
    "qwen3_moe": {"hidden_size": 20, "num_attention_heads": 2, "num_key_value_heads": 1, "intermediate_size": 36,
                  "vocab_size": 64, "head_dim": 16, "rope": {"rope_theta": 1000000.0}, "rms_norm_eps": 1e-6,
                  "class": "Qwen3Moe", "qk_norm": True, "seed": 370, "experts": {
                      "num_experts": 6, "num_experts_per_tok": 2, "moe_intermediate_size": 20, "norm_topk_prob": True}},
    # The same family, whose first layer has a gated block of its own width in place of experts.  With seed 380 the norms of step 8 in
    # f32 and in f64 differ by 8e-6, in transformers itself: too badly conditioned to compare with at 1e-5.
    "qwen3_moe_dense": {"hidden_size": 20, "num_attention_heads": 2, "num_key_value_heads": 1, "intermediate_size": 36,
                        "vocab_size": 64, "head_dim": 16, "rope": {"rope_theta": 1000000.0}, "rms_norm_eps": 1e-6,
                        "class": "Qwen3Moe", "qk_norm": True, "seed": 381, "dense": [0], "experts": {
                            "num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 20, "norm_topk_prob": True,
                            "mlp_only_layers": [0]}},
    "olmoe": {"hidden_size": 24, "num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 16,
              "vocab_size": 64, "rope": {"rope_theta": 10000.0}, "rms_norm_eps": 1e-5, "class": "Olmoe", "seed": 392,
              "experts": {"num_experts": 4, "num_experts_per_tok": 2}},
    # gpt-oss: biases, a sink of each head, windows of 4 on every other layer, YaRN with bounds between frequencies; two of four experts,
    # some of whose gates and ups lie beyond the limit.
    "gpt_oss": {"hidden_size": 20, "num_attention_heads": 2, "num_key_value_heads": 1, "intermediate_size": 20,
                "vocab_size": 64, "head_dim": 12, "rms_norm_eps": 1e-5, "class": "GptOss", "window": 4, "period": 2,
                "rope": {"rope_theta": 100.0, "rope_type": "yarn", "factor": 8.0, "beta_fast": 32.0, "beta_slow": 1.0,
                "truncate": False, "original_max_position_embeddings": 64}, "seed": 400,
                "experts": {"num_local_experts": 4, "num_experts_per_tok": 2}},
    # GLM-4.5: after a dense layer two of eight experts, chosen by corrected sigmoids in two of four groups, with weights that add up to
    # 2.5, beside two shared ones; biases of queries, keys and values, normalised heads of which the first half turns.
    "glm4_moe": {"hidden_size": 20, "num_attention_heads": 2, "num_key_value_heads": 1, "intermediate_size": 36,
                 "vocab_size": 64, "head_dim": 16, "rope": {"rope_theta": 1000.0, "partial_rotary_factor": 0.5}, "rms_norm_eps": 1e-5,
                 "class": "Glm4Moe", "qk_norm": True, "seed": 410, "layers": 3, "dense": [0], "experts": {
                     "n_routed_experts": 8, "num_experts_per_tok": 2, "moe_intermediate_size": 12, "norm_topk_prob": True,
                     "n_group": 4, "topk_group": 2, "routed_scaling_factor": 2.5, "n_shared_experts": 2, "first_k_dense_replace": 1,
                     "attention_bias": True, "use_qk_norm": True}},
    # Attention without biases and norms, no groups, the sigmoids as they are; no layer is dense; a quarter of each head turns.  With seed
    # 420 the norms in f32 and in f64 differ by 4e-6, in transformers itself.
    "glm4_moe_air": {"hidden_size": 24, "num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 36,
                     "vocab_size": 72, "head_dim": 8, "rope": {"rope_theta": 10000.0, "partial_rotary_factor": 0.25}, "rms_norm_eps": 1e-5,
                     "class": "Glm4Moe", "seed": 421, "dense": [], "old": True, "experts": {
                         "n_routed_experts": 5, "num_experts_per_tok": 3, "moe_intermediate_size": 12, "norm_topk_prob": False,
                         "n_group": 1, "topk_group": 1, "routed_scaling_factor": 1.5, "n_shared_experts": 1,
                         "first_k_dense_replace": 0, "attention_bias": False, "use_qk_norm": False}},
}
WRONG = "llama3"  # the variant that also gets deliberately wrong answers


# ---------------------------------------------------------------------------------------------------- the models


def is_gemma3(spec):
    return spec.get("class") == "Gemma3Text"


def is_gemma(spec):
    return is_gemma3(spec) or spec.get("class") == "Gemma2"


def is_local(spec, layer):
    """Whether a layer sees a window: every so many-th does not, or the word of the layers says so, or all do."""
    if "period" in spec:
        return (layer + 1) % spec["period"] != 0
    return "window" in spec and spec.get("types", "s" * (layer + 1))[layer] == "s"


def make_config(name, spec):
    """The transformers configuration of a variant."""
    eps = "norm_eps" if spec.get("nemotron") else "rms_norm_eps"
    shared = {key: spec[key] for key in ("hidden_size", "num_attention_heads", "num_key_value_heads",
                                         "intermediate_size", "vocab_size", eps)}
    shared |= {"num_hidden_layers": spec.get("layers", 2), "max_position_embeddings": 512, "rope_parameters": {"rope_type": "default"}
               | spec["rope"], "tie_word_embeddings": spec.get("tie", False), "bos_token_id": 1, "eos_token_id": 2,
               "pad_token_id": None, "dtype": "float32", "attention_dropout": 0.0}
    if "head_dim" in spec:
        shared["head_dim"] = spec["head_dim"]
    if name == "mistral":
        return transformers.MistralConfig(**shared, sliding_window=None, architectures=["MistralForCausalLM"])
    if "window" in spec:
        shared["sliding_window"] = spec["window"]
    for key in ("query_pre_attn_scalar", "attn_logit_softcapping", "final_logit_softcapping"):
        if key in spec:
            shared[key] = spec[key]
    shared |= spec.get("multipliers", {}) | spec.get("experts", {})
    if "original" in spec:
        shared["original_max_position_embeddings"] = spec["original"]
    if "types" in spec:
        shared["layer_types"] = ["sliding_attention" if kind == "s" else "full_attention" for kind in spec["types"]]
    if "local_theta" in spec:
        shared["layer_types"] = ["sliding_attention" if is_local(spec, layer) else "full_attention"
                                 for layer in range(spec["layers"])]
        shared["rope_parameters"] = {"full_attention": shared["rope_parameters"], "sliding_attention": {
            "rope_type": "default", "rope_theta": spec["local_theta"]}}
    if is_gemma3(spec):
        return transformers.Gemma3TextConfig(**shared,
                                             architectures=["Gemma3ForCausalLM"])
    if "class" in spec:
        return getattr(transformers, spec["class"] + "Config")(**shared, architectures=[spec["class"] + "ForCausalLM"])
    if spec.get("nemotron"):
        return transformers.NemotronConfig(**shared, architectures=["NemotronForCausalLM"])
    if spec.get("qk_norm"):
        return transformers.Qwen3Config(**shared, architectures=["Qwen3ForCausalLM"])
    return transformers.LlamaConfig(**shared, architectures=["LlamaForCausalLM"])


def randomise(model, seed):
    """Weights that make every gradient matter: sharp enough attention, norm weights that are not one, biases not zero."""
    generator = torch.Generator().manual_seed(seed)
    one = 0.0 if model.config.model_type in ("nemotron", "gemma2", "gemma3_text") else 1.0  # their files hold w - 1
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            is_norm = parameter.ndim == 1 and not name.endswith("bias")
            wide = 5.0 if name.endswith("experts.gate_up_proj") and model.config.model_type == "gpt_oss" else 1.0
            parameter.copy_((one if is_norm else 0.0) + 0.2 * wide * noise)
        for _, buffer in corrections(model):
            buffer.copy_(0.3 * torch.randn(buffer.shape, generator=generator))


def corrections(model):
    """What routers of sigmoids add before they choose: no parameters, for nothing trains them."""
    return [(name, buffer) for name, buffer in model.named_buffers() if name.endswith("e_score_correction_bias")]


def old_spelling(config):
    """config.json as transformers 4 wrote it: rope_theta and rope_scaling beside each other, torch_dtype."""
    config = dict(config)
    rope = dict(config.pop("rope_parameters"))
    if "sliding_attention" in rope:
        config["rope_local_base_freq"] = rope["sliding_attention"]["rope_theta"]
        config["sliding_window_pattern"] = config.pop("layer_types").index("full_attention") + 1
        config.pop("_sliding_window_pattern", None)
        rope = dict(rope["full_attention"])
    config["rope_theta"] = rope.pop("rope_theta")
    if "partial_rotary_factor" in rope:
        config["partial_rotary_factor"] = rope.pop("partial_rotary_factor")
    config["rope_scaling"] = None if rope["rope_type"] == "default" else rope
    config["torch_dtype"] = config.pop("dtype")
    config["transformers_version"] = "4.44.2"
    return dict(sorted(config.items()))


def save_model(name, spec, folder, seed):
    """Writes the model folder and returns the model as transformers loads it back from there."""
    config = make_config(name, spec)
    model = transformers.AutoModelForCausalLM.from_config(config, attn_implementation="eager", dtype=torch.float32)
    randomise(model, seed)
    shutil.rmtree(folder, ignore_errors=True)
    model_bytes = sum(4 * p.numel() for p in model.parameters())
    shards = spec.get("shards", 1)
    model.save_pretrained(folder, max_shard_size=int(1.1 * model_bytes / shards))  # 1.1: a tensor is not divided
    (folder / "generation_config.json").unlink(missing_ok=True)
    path = folder / "config.json"
    written = json.loads(path.read_text())
    path.write_text(json.dumps(old_spelling(written) if spec.get("old") else written, indent=2) + "\n")
    assert len(list(folder.glob("*.safetensors"))) == shards, f"{name}: number of files"
    loaded = load_model(folder)
    for (key, a), (_, b) in zip(model.named_parameters(), loaded.named_parameters(), strict=True):
        assert torch.equal(a, b), f"{name}: '{key}' changed on its way through the file"
    for (key, a), (_, b) in zip(corrections(model), corrections(loaded), strict=True):
        assert torch.equal(a, b), f"{name}: '{key}' changed on its way through the file"
    return loaded


def load_model(folder):
    return transformers.AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager", dtype=torch.float32,
                                                             local_files_only=True)


# ---------------------------------------------------------------------------------------------------- the batch


def make_batch(vocab_size, seed):
    """Tokens, targets, positions and document numbers of the packed rows, each [rows, ROW_TOKENS]."""
    generator = torch.Generator().manual_seed(seed)
    tokens = torch.randint(0, vocab_size, (len(DOCUMENTS), ROW_TOKENS), generator=generator)
    targets = torch.full_like(tokens, NO_TARGET)
    positions, documents = torch.zeros_like(tokens), torch.zeros_like(tokens)
    for row, first, count, number in spans():
        targets[row, first:first + count - 1] = tokens[row, first + 1:first + count]
        positions[row, first:first + count] = torch.arange(count)
        documents[row, first:first + count] = number
    return {"tokens": tokens, "targets": targets, "positions": positions, "documents": documents}


def spans():
    """(row, first position, tokens, number within the row) of each document."""
    for row, lengths in enumerate(DOCUMENTS):
        assert sum(lengths) == ROW_TOKENS
        for number, count in enumerate(lengths):
            yield row, sum(lengths[:number]), count, number


def one_by_one(forward, batch):
    """Logits [rows, ROW_TOKENS, V] of the documents, each alone: this is what packing has to reproduce."""
    rows = [[] for _ in DOCUMENTS]
    for row, first, count, _ in spans():
        rows[row].append(forward(batch["tokens"][row, first:first + count]))
    return torch.stack([torch.cat(row) for row in rows])


def token_losses(logits, batch):
    """Negative log likelihood [rows, ROW_TOKENS] of each target, 0 where there is none."""
    flat = cross_entropy(logits.flatten(0, 1), batch["targets"].flatten(), ignore_index=NO_TARGET, reduction="none")
    return flat.view(batch["targets"].shape)


def mean_loss(logits, batch):
    return token_losses(logits, batch).sum() / (batch["targets"] != NO_TARGET).sum()


def hf_forward(model):
    return lambda tokens: model(input_ids=tokens[None]).logits[0]


def hf_packed(model, batch):
    """The same logits from transformers with a row as one sequence: block-diagonal causal mask, restarted positions."""
    documents = batch["documents"]
    same = documents[:, :, None] == documents[:, None, :]
    allowed = same & torch.ones(ROW_TOKENS, ROW_TOKENS, dtype=torch.bool).tril()

    def mask_of(allowed):
        return torch.zeros(allowed.shape).masked_fill(~allowed, torch.finfo(torch.float32).min)[:, None]

    mask = mask_of(allowed)
    if getattr(model.config, "sliding_window", None):
        before = torch.ones(ROW_TOKENS, ROW_TOKENS, dtype=torch.bool).tril(-model.config.sliding_window)
        local = mask_of(allowed & ~before)
        has_kinds = model.config.model_type not in ("mistral", "phi3")
        mask = {"full_attention": mask, "sliding_attention": local} if has_kinds else local
    return model(input_ids=batch["tokens"], position_ids=batch["positions"], attention_mask=mask).logits


# ---------------------------------------------------------------------------------------- the second opinion, in f64


def rope_frequencies(spec, head_dim, scaled=True):
    """Radians per position of each of head_dim / 2 pairs; scaled as Llama 3.1 does it where the variant says so."""
    rope = spec["rope"]
    if rope.get("rope_type") == "proportional":
        all_pairs = rope["rope_theta"] ** (-torch.arange(0, head_dim, 2, dtype=torch.float64) / head_dim) / rope["factor"]
        return all_pairs * (torch.arange(head_dim // 2) < rope["partial_rotary_factor"] * head_dim // 2)
    plain = rope["rope_theta"] ** (-torch.arange(0, head_dim, 2, dtype=torch.float64) / head_dim)
    if rope.get("rope_type") == "longrope":
        return plain / torch.tensor(rope["short_factor"], dtype=torch.float64)
    if "factor" not in rope or not scaled:
        return plain
    if rope["rope_type"] == "yarn":
        return yarn_frequencies(rope, plain)
    if rope["rope_type"] == "linear":
        return plain / rope["factor"]
    out = []
    for frequency in plain.tolist():
        turns = rope["original_max_position_embeddings"] * frequency / (2 * math.pi)
        blend = (turns - rope["low_freq_factor"]) / (rope["high_freq_factor"] - rope["low_freq_factor"])
        blend = min(max(blend, 0.0), 1.0)  # 1: kept, 0: divided by the factor
        out.append(frequency * ((1 - blend) / rope["factor"] + blend))
    return torch.tensor(out, dtype=torch.float64)


def yarn_frequencies(rope, plain):
    """Frequencies as YaRN mixes them: the number of a frequency decides, between the numbers that turn so often."""
    dim = 2 * len(plain)

    def number(turns):
        return dim * math.log(rope["original_max_position_embeddings"] / (turns * 2 * math.pi)) / (2 * math.log(rope["rope_theta"]))

    first, last = (number(32), number(1)) if not rope.get("truncate", True) else (
        math.floor(number(32)), math.ceil(number(1)))
    first, last = max(first, 0), min(last, dim - 1)
    blend = ((torch.arange(len(plain), dtype=torch.float64) - first) / (last - first)).clamp(0, 1)
    return plain * (1 - blend) + plain / rope["factor"] * blend


def amplitude(rope):
    """What YaRN multiplies cosines and sines by."""
    if rope.get("rope_type") == "longrope":
        return math.sqrt(1 + math.log(512 / rope["original_max_position_embeddings"]) /
                         math.log(rope["original_max_position_embeddings"]))
    if rope.get("rope_type") != "yarn":
        return 1

    def tempered(mscale):
        return 0.1 * mscale * math.log(rope["factor"]) + 1

    if "attention_factor" in rope:
        return rope["attention_factor"]
    return tempered(rope["mscale"]) / tempered(rope["mscale_all_dim"]) if "mscale" in rope else tempered(1)


def rotate(x, frequencies, order):
    """Rotary embedding of x [heads, T, D]: pairs (i, i + D/2) when order is "half", (2i, 2i + 1) when "interleaved"."""
    angles = torch.arange(x.shape[1], dtype=torch.float64)[:, None] * frequencies
    cos, sin = angles.cos(), angles.sin()
    a, b = x.chunk(2, dim=-1) if order == "half" else (x[..., 0::2], x[..., 1::2])
    a, b = a * cos - b * sin, a * sin + b * cos
    return torch.cat([a, b], dim=-1) if order == "half" else torch.stack([a, b], dim=-1).flatten(-2)


def renormalises(spec):
    return spec["class"] in ("Mixtral", "GptOss") or spec["experts"].get("norm_topk_prob", False)


def own_gap(values, count):
    """The count largest of the last dimension, and the least distance between them and the next."""
    values, chosen = values.topk(count + 1, -1)
    return chosen[..., :count], (values[..., count - 1] - values[..., count]).min().item()


def own_sigmoids(h, w, spec, seen):
    """Weights [T, E] of a router of sigmoids, 0 of what is not chosen; wrong: one mistake."""
    facts, wrong = spec["experts"], spec.get("wrong")
    scores = (h @ w("mlp.gate.weight").T).sigmoid()
    choice = scores if wrong == "no_correction" else scores + w("mlp.gate.e_score_correction_bias")
    groups = 1 if wrong == "no_groups" else facts["n_group"]
    if groups > 1:
        sums = choice.view(len(h), groups, -1).topk(2, -1)[0].sum(-1)
        kept, gap = own_gap(sums, facts["topk_group"])
        seen.append(gap)
        is_kept = torch.zeros_like(sums).scatter(1, kept, 1).bool().repeat_interleave(choice.shape[1] // groups, 1)
        choice = choice.masked_fill(~is_kept, -math.inf)
    chosen, gap = own_gap(choice, facts["num_experts_per_tok"])
    seen.append(gap)
    weights = scores * torch.zeros_like(scores).scatter(1, chosen, 1)
    if facts["norm_topk_prob"] != spec.get("flipped", False):
        weights = weights / weights.sum(-1, keepdim=True)
    return weights * (1 if wrong == "no_scale" else facts["routed_scaling_factor"])


def own_glm(h, w, spec, seen):
    """A block of GLM's experts, expert by expert, and the shared ones."""
    weights, wrong = own_sigmoids(h, w, spec, seen), spec.get("wrong")
    out = torch.zeros_like(h)
    for expert in range(weights.shape[1]):
        gate, up = (h @ w("mlp.experts.gate_up_proj")[expert].T).chunk(2, -1)
        out = out + weights[:, expert:expert + 1] * ((silu(gate) * up) @ w("mlp.experts.down_proj")[expert].T)
    if wrong == "no_shared_experts":
        return out
    gate, up = (h @ w(f"mlp.shared_experts.{name}_proj.weight").T for name in ("gate", "up"))
    return out + (silu(gate) * up) @ w("mlp.shared_experts.down_proj.weight").T


def own_experts(h, w, spec, seen):
    """A block of experts, expert by expert; seen: gets the least distance between a chosen probability and one that is not."""
    clamped = spec["class"] == "GptOss"
    logits = h @ w("mlp.router.weight").T + w("mlp.router.bias") if clamped else h @ w("mlp.gate.weight").T
    probabilities = logits.softmax(-1)
    count = spec["experts"]["num_experts_per_tok"]
    values, chosen = probabilities.topk(count + 1, -1)
    seen.append((values[:, count - 1] - values[:, count]).min().item())
    values, chosen = values[:, :count], chosen[:, :count]
    if spec.get("flipped", False) != renormalises(spec):
        values = values / values.sum(-1, keepdim=True)
    out = torch.zeros_like(h)
    for expert in range(probabilities.shape[1]):
        weight = (values * (chosen == expert)).sum(-1, keepdim=True)
        if clamped:
            pairs = h @ w("mlp.experts.gate_up_proj")[expert] + w("mlp.experts.gate_up_proj_bias")[expert]
            gate, up = pairs[:, ::2].clamp(max=7), pairs[:, 1::2].clamp(-7, 7)
            hidden = (up + 1) * gate * (1.702 * gate).sigmoid()
            out = out + weight * (hidden @ w("mlp.experts.down_proj")[expert] + w("mlp.experts.down_proj_bias")[expert])
            continue
        gate, up = (h @ w("mlp.experts.gate_up_proj")[expert].T).chunk(2, -1)
        out = out + weight * ((silu(gate) * up) @ w("mlp.experts.down_proj")[expert].T)
    return out


def in_files(spec, tensors):
    """Tensors under the names of the files, which have the matrices of each expert by themselves."""
    names = {"Mixtral": ("block_sparse_moe", "w1", "w3", "w2")}.get(spec.get("class"), ("mlp", "gate_proj", "up_proj", "down_proj"))
    out = {}
    for key, value in tensors.items():
        layer, found, rest = key.partition(".mlp.")
        if "experts" not in spec or not found or spec["class"] == "GptOss" or "_proj.weight" in rest:
            out[key] = value
        elif rest == "gate.weight":
            out[f"{layer}.{names[0]}.gate.weight"] = value
        else:
            for expert, matrix in enumerate(value):
                parts = matrix.chunk(2, 0) if rest == "experts.gate_up_proj" else (matrix,)
                for part, name in zip(parts, names[1:3] if len(parts) == 2 else names[3:]):
                    out[f"{layer}.{names[0]}.experts.{expert}.{name}.weight"] = part
    return out


def own_forward(spec, weights, order="half", scaled=True, gaps=None):
    """A forward pass of Llama, Granite, Phi-3, Mistral, Ministral, Qwen2, Qwen3, OLMo 2 and 3, SmolLM3, Ministral 3, Gemma 2 and 3, Apertus or Nemotron in f64 from the papers: tokens [T] -> logits [T, V]."""
    heads, kv_heads = spec["num_attention_heads"], spec["num_key_value_heads"]
    head_dim = spec.get("head_dim", spec["hidden_size"] // heads)
    is_part = spec["rope"].get("rope_type") != "proportional"
    turned = int(head_dim * spec["rope"].get("partial_rotary_factor", 1)) if is_part else head_dim
    frequencies = rope_frequencies(spec, turned, scaled)
    local = rope_frequencies({"rope": {"rope_theta": spec["local_theta"]}}, turned) if "local_theta" in spec else None
    multipliers = spec.get("multipliers", {})
    sandwich, root = is_gemma(spec), math.sqrt(spec.get("query_pre_attn_scalar", head_dim))
    residual = multipliers.get("residual_multiplier", 1)
    if "attention_multiplier" in multipliers:
        root = 1 / multipliers["attention_multiplier"]

    def norm(x, name):  # over the last dimension: a row's width, or each head's
        weight = weights[f"{name}.weight"]
        if spec.get("nemotron"):
            centred = x - x.mean(-1, keepdim=True)
            scale = (centred.pow(2).mean(-1, keepdim=True) + spec["norm_eps"]).rsqrt()
            return centred * scale * (1 + weight) + weights[f"{name}.bias"]
        return x * (x.pow(2).mean(-1, keepdim=True) + spec["rms_norm_eps"]).rsqrt() * (weight + (1 if sandwich else 0))

    def turn(x, layer):
        own = local if is_local(spec, layer) and local is not None else frequencies
        factor = 1 if own is local else amplitude(spec["rope"])
        return torch.cat([factor * rotate(x[..., :turned], own, order), x[..., turned:]], dim=-1)

    def capped(x, key):
        return spec[key] * (x / spec[key]).tanh() if key in spec else x

    def temperature(length):
        rope, positions = spec["rope"], torch.arange(length, dtype=torch.float64)[:, None]
        spans = (positions / rope.get("original_max_position_embeddings", math.inf)).floor()
        return 1 + rope.get("llama_4_scaling_beta", 0) * (1 + spans).log()

    def xielu(x, layer):
        positive, negative = (softplus(weights[f"{layer}.mlp.act_fn.alpha_{kind}"]) for kind in "pn")
        below = (0.5 + negative) * (torch.expm1(x.clamp(max=-1e-6)) - x)
        return torch.where(x > 0, positive * x * x, below) + 0.5 * x

    def bias(name):
        return weights.get(f"{name}.bias", 0)

    def split(x, count):
        return x.view(-1, count, head_dim).transpose(0, 1)

    def attention(x, w, layer):
        if spec.get("class") == "Phi3":
            sizes = [heads * head_dim, kv_heads * head_dim, kv_heads * head_dim]
            q, k, v = (x @ w("self_attn.qkv_proj").T).split(sizes, dim=-1)
        else:
            q, k, v = (x @ w(f"self_attn.{name}_proj").T + bias(f"{layer}.self_attn.{name}_proj") for name in "qkv")
        if spec.get("class") in ("Olmo2", "Olmo3", "Olmoe"):
            q, k = norm(q, f"{layer}.self_attn.q_norm"), norm(k, f"{layer}.self_attn.k_norm")
        q, k = split(q, heads), split(k, kv_heads)
        if spec.get("qk_norm") or is_gemma3(spec):
            q, k = norm(q, f"{layer}.self_attn.q_norm"), norm(k, f"{layer}.self_attn.k_norm")
        if not (spec.get("class") == "SmolLM3" and layer.endswith(".3")):
            number = int(layer.rsplit(".", 1)[1])
            q, k = temperature(len(x)) * turn(q, number), turn(k, number)
        k = k.repeat_interleave(heads // kv_heads, 0)
        v = split(v, kv_heads).repeat_interleave(heads // kv_heads, 0)
        future = torch.ones(len(x), len(x), dtype=torch.bool).triu(1)
        hidden = future | future.new_ones(future.shape).tril(-spec["window"]) if is_local(
            spec, int(layer.rsplit(".", 1)[1])) else future
        scores = capped(q @ k.transpose(1, 2) / root, "attn_logit_softcapping").masked_fill(hidden, -math.inf)
        sinks = weights.get(f"{layer}.self_attn.sinks")
        if sinks is not None:  # a key more, without a value
            scores = torch.cat([scores, sinks.view(-1, 1, 1).expand(-1, len(x), 1)], -1)
        attended = (scores.softmax(-1)[..., :len(x)] @ v).transpose(0, 1).flatten(1)
        return attended @ w("self_attn.o_proj").T + bias(f"{layer}.self_attn.o_proj")

    def forward(tokens):
        x = weights["model.embed_tokens.weight"][tokens] * (
            math.sqrt(spec["hidden_size"]) if sandwich else multipliers.get("embedding_multiplier", 1))
        for layer in range(spec.get("layers", 2)):
            def w(role, layer=layer):
                return weights[f"model.layers.{layer}.{role}.weight"]
            name, after = f"model.layers.{layer}", spec.get("class") in ("Olmo2", "Olmo3")
            own = spec.get("class") == "Apertus"  # names of its own
            a = attention(x if after else norm(x, f"{name}.{'attention' if own else 'input'}_layernorm"), w, name)
            x = x + residual * (norm(a, f"{name}.post_attention_layernorm") if after or sandwich else a)
            before = "feedforward" if own else "pre_feedforward" if sandwich else "post_attention"
            h = x if after else norm(x, f"{name}.{before}_layernorm")
            if "experts" in spec and layer not in spec.get("dense", []):
                block = own_glm if spec["class"] == "Glm4Moe" else own_experts
                x = x + block(h, lambda key, name=name: weights[f"{name}.{key}"], spec, [] if gaps is None else gaps)
                continue
            whole = spec.get("class") == "Phi3"
            up = (h @ w("mlp.gate_up_proj").T).chunk(2, -1)[1] if whole else h @ w("mlp.up_proj").T
            if spec.get("nemotron"):
                hidden = up.relu().square()
            elif own:
                hidden = xielu(up, name)
            else:
                gate = (h @ w("mlp.gate_up_proj").T).chunk(2, -1)[0] if whole else h @ w("mlp.gate_proj").T
                hidden = (gelu(gate, approximate="tanh") if sandwich else silu(gate)) * up
            out = hidden @ w("mlp.down_proj").T
            x = x + residual * (norm(out, f"{name}.post_feedforward_layernorm") if after or sandwich else out)
        head = weights["model.embed_tokens.weight" if spec.get("tie") else "lm_head.weight"]
        return capped(norm(x, "model.norm") @ head.T / multipliers.get("logits_scaling", 1), "final_logit_softcapping")

    return forward


def weights_f64(model):
    weights = {name: p.detach().double().requires_grad_() for name, p in model.named_parameters()}
    return weights | {name: buffer.detach().double() for name, buffer in corrections(model)}


# ---------------------------------------------------------------------------------------------------- training


def adamw_run(parameters, loss_of, max_grad_norm):
    """STEPS steps on the same batch: losses before each update, gradient norms before clipping, the loss after all."""
    decays = {key: p.ndim >= 2 and not key.endswith("_bias") for key, p in parameters.items()}  # biases of all experts: a matrix
    groups = [{"params": [p for key, p in parameters.items() if decays[key]], "weight_decay": ADAMW["weight_decay"]},
              {"params": [p for key, p in parameters.items() if not decays[key]], "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=ADAMW["lr"], betas=(ADAMW["beta1"], ADAMW["beta2"]), eps=ADAMW["eps"],
                                  foreach=False)
    losses, norms = [], []
    for _ in range(STEPS):
        optimizer.zero_grad()
        loss = loss_of(parameters)
        loss.backward()
        norms.append(torch.nn.utils.clip_grad_norm_(parameters.values(), max_grad_norm).item())
        optimizer.step()
        losses.append(loss.item())
    return {"loss": losses, "grad_norm": norms, "loss_after": loss_of(parameters).item()}


# ---------------------------------------------------------------------------------------------------- the checks


def relative_error(got, want):
    """||got - want|| / ||want||, in f64."""
    got, want = got.detach().double(), want.detach().double()
    return ((got - want).norm() / want.norm().clamp_min(1e-300)).item()


def check(name, what, value, limit):
    """Ends the program when the oracle disagrees with itself: nothing doubtful is stored."""
    if not value < limit:
        sys.exit(f"{name}: {what}: {value:.3g} is not below {limit:g}")
    return value


def finite_differences(name, spec, model, batch, gradients):
    """Central differences in f64 of the f64 loss, against the gradients that transformers gave in f32."""
    weights = {key: p.detach().double() for key, p in list(model.named_parameters()) + corrections(model)}
    h = 1e-5
    worst = 0.0
    own = spec.get("class") == "Apertus"
    first = "qkv_proj" if spec.get("class") == "Phi3" else "q_proj"
    for key in (f"model.layers.0.self_attn.{first}.weight", "model.embed_tokens.weight",
                *(("model.layers.0.mlp.act_fn.alpha_p", "model.layers.1.mlp.act_fn.alpha_n") if own else
                  ("model.layers.1.post_attention_layernorm.weight",))):
        flat, gradient = weights[key].view(-1), gradients[key].flatten()
        for index in gradient.abs().topk(min(3, flat.numel())).indices.tolist() + [0, flat.numel() // 2]:
            kept, ends = flat[index].item(), []
            for sign in (1, -1):
                flat[index] = kept + sign * h
                ends.append(mean_loss(one_by_one(own_forward(spec, weights), batch), batch).item())
            flat[index] = kept
            slope = (ends[0] - ends[1]) / (2 * h)
            worst = max(worst, abs(slope - gradient[index].item()) / gradient.abs().max().item())
    return check(name, "finite differences against gradients", worst, 1e-5)


def cross_check(name, spec, model, batch, logits, gradients):
    """The oracle against the second opinion, finite differences and itself packed; returns what was measured."""
    weights = weights_f64(model)
    own = one_by_one(own_forward(spec, weights), batch)
    mean_loss(own, batch).backward()
    packed = hf_packed(model, batch)
    model.zero_grad()
    mean_loss(packed, batch).backward()
    packed_gradients = {key: p.grad.clone() for key, p in model.named_parameters()}
    own_final = weights_f64(model)
    own_run = adamw_run(own_final, lambda w: mean_loss(one_by_one(own_forward(spec, w), batch), batch),
                        spec.get("max_grad_norm", 1.0))
    noise = {
        "logits": check(name, "logits against f64", relative_error(logits, own), 2e-6),
        "gradient": check(name, "gradients against f64", max(relative_error(gradients[key], weights[key].grad)
                                                            for key in gradients), 5e-6),
        "packed_logits": check(name, "packed logits", relative_error(packed, logits), 2e-6),
        "packed_gradient": check(name, "packed gradients", max(relative_error(packed_gradients[key], gradients[key])
                                                              for key in gradients), 5e-6),
        "finite_difference": finite_differences(name, spec, model, batch, gradients),
    }
    return noise, own_run, own_final


# ---------------------------------------------------------------------------------------------------- the files


def write_expected(folder, tensors, facts):
    save_file({key: value.float().contiguous() for key, value in tensors.items()}, folder / "expected.safetensors",
              metadata={"format": "pt"})
    text = json.dumps(facts, indent=2)
    text = re.sub(r"\[[^][{}]*\]", lambda match: " ".join(match[0].split()), text)  # a list of numbers on one line
    (folder / "expected.json").write_text(text + "\n")
    for path in folder.iterdir():
        path.chmod(0o644)


def mistakes(spec):
    """What a router of sigmoids could be computed without."""
    if spec["class"] != "Glm4Moe":
        return []
    return ["no_correction", "no_scale", "no_shared_experts"] + (["no_groups"] if spec["experts"]["n_group"] > 1 else [])


def make_variant(name, spec, folder, seed):
    """One model folder with its expected values; returns the batch, for the wrong answers to the same question."""
    model = save_model(name, spec, folder, seed)
    batch = make_batch(spec["vocab_size"], seed + 1)
    logits = one_by_one(hf_forward(model), batch)
    nll = token_losses(logits, batch)
    loss = mean_loss(logits, batch)
    loss.backward()
    gradients = {key: p.grad.clone() for key, p in model.named_parameters()}
    noise, own_run, own_final = cross_check(name, spec, model, batch, logits, gradients)
    parameters = dict(model.named_parameters())
    max_grad_norm = spec.get("max_grad_norm", 1.0)
    run = adamw_run(parameters, lambda _: mean_loss(one_by_one(hf_forward(model), batch), batch), max_grad_norm)
    noise["loss"] = check(name, "losses of the run against f64", max(abs(a / b - 1) for a, b in zip(
        run["loss"] + [run["loss_after"]], own_run["loss"] + [own_run["loss_after"]])), 2e-6)
    finals = {key: parameters[key].detach() for key in
              ("model.norm.weight", "model.layers.0.self_attn." + ("qkv" if spec.get("class") == "Phi3" else "k") + "_proj.weight")}
    noise["final"] = check(name, "final values against f64", max(
        relative_error(value, own_final[key]) for key, value in finals.items()), 1e-4)
    wrong = {}
    if "experts" in spec:
        gaps = []
        one_by_one(own_forward(spec, weights_f64(load_model(folder)), gaps=gaps), batch)
        check(name, "one over the least gap of a router", 1 / min(gaps), 1e4)
        flipped = one_by_one(own_forward(spec | {"flipped": True}, weights_f64(load_model(folder))), batch)
        wrong["other_renormalisation"] = mean_loss(flipped, batch).item()
        assert abs(wrong["other_renormalisation"] / loss.item() - 1) > 1e-3, f"{name}: renormalised or not is the same here"
        for mistake in mistakes(spec):
            mistaken = one_by_one(own_forward(spec | {"wrong": mistake}, weights_f64(load_model(folder))), batch)
            wrong[mistake] = mean_loss(mistaken, batch).item()
            assert abs(wrong[mistake] / loss.item() - 1) > 1e-3, f"{name}: {mistake} makes no difference here"
    counts = (batch["targets"] != NO_TARGET).sum(1)
    mean_of_means = (nll.sum(1) / counts).mean().item()
    assert abs(mean_of_means / loss.item() - 1) > 1e-4, f"{name}: this batch cannot tell a mean of means"
    tensors = {key: value.int() for key, value in batch.items()} | {"logits": logits.detach(), "nll": nll.detach()}
    tensors |= {f"grad.{key}": value for key, value in in_files(spec, gradients).items()}
    tensors |= {f"final.{key}": value for key, value in finals.items()}
    facts = {"name": name, "torch": torch.__version__.split("+")[0], "transformers": transformers.__version__,
             "documents": DOCUMENTS, "targets": int(counts.sum()), "loss": loss.item(),
             "adamw": ADAMW | {"max_grad_norm": max_grad_norm}, "run": run,
             "wrong": {"mean_of_row_means": mean_of_means} | wrong, "noise": noise}
    write_expected(folder, tensors, facts)
    return batch


def make_wrong(spec, folder, right, batch):
    """Answers with a mistake in them, one mistake each: a comparison that accepts one of these is broken."""
    model = load_model(right)
    weights = {key: p.detach().double() for key, p in model.named_parameters()}
    whole_rows = torch.stack([own_forward(spec, weights)(row) for row in batch["tokens"]])
    wrong = {"interleaved_rope": one_by_one(own_forward(spec, weights, order="interleaved"), batch),
             "unscaled_rope": one_by_one(own_forward(spec, weights, scaled=False), batch),
             "across_documents": whole_rows}
    truth = load_file(right / "expected.safetensors")["logits"]
    errors = {key: relative_error(value, truth) for key, value in wrong.items()}
    for key, error in errors.items():
        assert error > 1e-3, f"the wrong answer '{key}' is too good: {error}"
    losses = {key: mean_loss(value, batch).item() for key, value in wrong.items()}
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    write_expected(folder, {f"logits.{key}": value.float() for key, value in wrong.items()},
                   {"name": folder.name, "model": right.name, "loss": losses, "relative_error": errors})
    return errors


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "models", help="folder to write")
    parser.add_argument("--only", nargs="+", default=list(VARIANTS), help="names of the models to write")
    arguments = parser.parse_args()
    out = arguments.out
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    for number, (name, spec) in enumerate(VARIANTS.items()):
        if name not in arguments.only:
            continue
        batch = make_variant(name, spec, out / name, seed=spec.get("seed", 100 + 10 * number))
        facts = json.loads((out / name / "expected.json").read_text())
        bytes_written = sum(path.stat().st_size for path in (out / name).iterdir())
        print(f"{name:13} {bytes_written / 1000:6.1f} kB  loss {facts['loss']:.4f} -> "
              f"{facts['run']['loss_after']:.4f}  norm {facts['run']['grad_norm'][0]:.2f}  " +
              "  ".join(f"{key} {value:.1e}" for key, value in facts["noise"].items()))
        if name == WRONG:
            errors = make_wrong(spec, out / f"{name}_wrong", out / name, batch)
            print(f"{name}_wrong  " + "  ".join(f"{key} {value:.1e}" for key, value in errors.items()))


if __name__ == "__main__":
    main()
