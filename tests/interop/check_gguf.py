#!/usr/bin/env python3
"""check_gguf.py [FILE.gguf [MODEL_FOLDER]] - what atelier exports as GGUF, read by the gguf package.

Without arguments, small random models with the sample tokenizer are exported in every type and checked.  With a file,
that file is: the keys llama.cpp requires, the order and alignment of the tensors, the vocabulary; and with the folder
it was made from, every value of every tensor, the rows of queries and keys in llama.cpp's order."""

import json
import shutil
import sys
from pathlib import Path

import gguf
import numpy as np
import torch
import transformers
from safetensors import safe_open

import atelier_tools as tools

TYPES = {"f32": "F32", "f16": "F16", "bf16": "BF16", "q8_0": "Q8_0"}
LIMITS = {"F32": 0.0, "F16": 6e-4, "BF16": 5e-3, "Q8_0": 1e-2}  # relative error of a tensor
NAMES = {
    "model.embed_tokens.weight": "token_embd.weight",
    "model.norm.weight": "output_norm.weight",
    "lm_head.weight": "output.weight",
}
LAYER_NAMES = {
    "input_layernorm": "attn_norm", "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output", "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down",
    "self_attn.qkv_proj": "attn_qkv", "mlp.gate_up_proj": "ffn_up", "self_attn.q_norm": "attn_q_norm", "self_attn.k_norm": "attn_k_norm",
    "attention_layernorm": "attn_norm", "feedforward_layernorm": "ffn_norm",
    **{f"mlp.shared_experts.{name}_proj": f"ffn_{name}_shexp" for name in ("gate", "up", "down")},
}
LLAMA3 = {"rope_type": "llama3", "rope_theta": 500000.0, "factor": 8.0, "low_freq_factor": 1.0,
          "high_freq_factor": 4.0, "original_max_position_embeddings": 8192}
# Frequencies of each kind within a few positions; cosines and sines not multiplied by what the factor alone would say.
YARN = {"rope_type": "yarn", "rope_theta": 500.0, "factor": 8.0, "mscale": 0.7, "mscale_all_dim": 0.3,
        "original_max_position_embeddings": 16}


def make_model(folder, seed, kind="Llama", **changes):
    """A random two-layer model whose attention is sharp enough for a wrong rotation to show."""
    torch.manual_seed(seed)
    settings = dict(vocab_size=4096, hidden_size=64, intermediate_size=160, num_hidden_layers=2, num_attention_heads=4,
                    num_key_value_heads=2, max_position_embeddings=512, tie_word_embeddings=True, bos_token_id=4091,
                    eos_token_id=4092, rope_parameters={"rope_type": "default", "rope_theta": 1e4})
    gemma3, gemma = kind == "Gemma3", kind in ("Gemma2", "Gemma3")
    settings["norm_eps" if kind == "Nemotron" else "rms_norm_eps"] = 1e-5
    config = getattr(transformers, "Gemma3TextConfig" if gemma3 else f"{kind}Config")(**(settings | changes))
    model = getattr(transformers, f"{kind}ForCausalLM")(config)
    for name, weight in model.named_parameters():
        scale = 0.2 if weight.ndim == 1 else 0.5 if "embed" in name else 1 / weight.shape[-1] ** 0.5
        if name.endswith(("mlp.gate.weight", "mlp.router.weight")):  # routers whose choice does not depend on the last bit
            scale = 1
        whole = weight.ndim == 1 and kind != "Nemotron" and not gemma  # norms kept less one, biases about nothing
        weight.data = torch.randn(weight.shape) * scale + whole
    for name, buffer in model.named_buffers():
        if name.endswith("e_score_correction_bias"):  # a choice that depends on it, but not on the last bit
            buffer.copy_(torch.randn(buffer.shape) * 0.3 + 7)
    model.save_pretrained(folder)
    for source in (tools.ROOT / "data" / "sample" / "tokenizer").iterdir():
        shutil.copy(source, folder)


def make_models(folder):
    """Paths of model folders: tied and plain; Mistral, with a window longer than what is compared; untied with llama3 positions, wide heads, spare embedding rows; YaRN; Ministral 3; Qwen3;
    Qwen2, OLMo 2 and 3, Granite, Phi-3 with plain positions and longrope, SmolLM3, Nemotron; Gemma 2, Apertus; Mixtral, Qwen3-MoE, OLMoE; Gemma 3 with llama.cpp's period of six and one of its own, stretched where all is seen."""
    make_model(folder / "plain", 1)
    make_model(folder / "mistral", 11, kind="Mistral", sliding_window=200)
    make_model(folder / "llama3", 2, tie_word_embeddings=False, head_dim=32, vocab_size=4100, rope_parameters=LLAMA3)
    make_model(folder / "linear", 3, rope_parameters={"rope_type": "linear", "rope_theta": 1e4, "factor": 2.0})
    make_model(folder / "yarn", 9, rope_parameters=YARN)
    make_model(folder / "ministral3", 10, kind="Ministral3", head_dim=16, tie_word_embeddings=False, pad_token_id=None,
               rope_parameters=YARN | {"beta_fast": 2.0, "beta_slow": 0.1, "mscale": 1.0, "mscale_all_dim": 1.0,
                                       "llama_4_scaling_beta": 0.3})
    make_model(folder / "qwen3", 4, kind="Qwen3", head_dim=32)
    make_model(folder / "qwen2", 6, kind="Qwen2")
    make_model(folder / "olmo2", 7, kind="Olmo2", tie_word_embeddings=False)
    make_model(folder / "olmo3", 13, kind="Olmo3", tie_word_embeddings=False, num_hidden_layers=5, sliding_window=24,
               pad_token_id=None, rope_parameters={
                   "full_attention": {key: of for key, of in YARN.items() if not key.startswith("mscale")},
                   "sliding_attention": {"rope_type": "default", "rope_theta": 500.0}})
    make_model(folder / "granite", 14, kind="Granite", embedding_multiplier=3.0, residual_multiplier=0.6, pad_token_id=None,
               attention_multiplier=0.5, logits_scaling=8.0)
    make_model(folder / "phi3", 15, kind="Phi3", tie_word_embeddings=False, pad_token_id=None, sliding_window=None,
               original_max_position_embeddings=4096, rope_parameters={
                   "rope_type": "default", "rope_theta": 1e4, "partial_rotary_factor": 0.75})
    make_model(folder / "phi3_longrope", 16, kind="Phi3", tie_word_embeddings=False, pad_token_id=None,
               original_max_position_embeddings=256, rope_parameters={
                   "rope_type": "longrope", "rope_theta": 1e3, "short_factor": [1.0, 1.1, 1.3, 1.5, 1.6, 1.7, 1.8, 2.0],
                   "long_factor": [1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0], "original_max_position_embeddings": 256})
    make_model(folder / "smollm3", 8, kind="SmolLM3", num_hidden_layers=5, pad_token_id=None)
    make_model(folder / "nemotron", 5, kind="Nemotron", tie_word_embeddings=False, rope_parameters={
        "rope_type": "default", "rope_theta": 1e4, "partial_rotary_factor": 0.5})
    make_model(folder / "gemma2", 12, kind="Gemma2", query_pre_attn_scalar=32, head_dim=32, sliding_window=24, pad_token_id=None,
               num_hidden_layers=4, attn_logit_softcapping=4.0, final_logit_softcapping=2.0)
    make_model(folder / "apertus", 11, kind="Apertus", tie_word_embeddings=False, pad_token_id=None,
               rope_parameters=LLAMA3 | {"rope_theta": 500.0, "original_max_position_embeddings": 64})
    # Routers whose choices the rounding of q8_0 does not change: with another seed a token may get another expert, and logits far away.
    make_model(folder / "mixtral", 17, kind="Mixtral", tie_word_embeddings=False, num_local_experts=4, num_experts_per_tok=2)
    make_model(folder / "qwen3_moe", 29, kind="Qwen3Moe", head_dim=16, tie_word_embeddings=False, num_experts=4, num_experts_per_tok=2, norm_topk_prob=True,
               moe_intermediate_size=96)
    make_model(folder / "olmoe", 19, kind="Olmoe", tie_word_embeddings=False, num_key_value_heads=4, num_experts=4, num_experts_per_tok=2, pad_token_id=None)
    # Bounds that rounding does not change: below the first frequency and above the last.
    make_model(folder / "gpt_oss", 20, kind="GptOss", head_dim=16, tie_word_embeddings=False, num_local_experts=4, num_experts_per_tok=2,
               sliding_window=24, pad_token_id=None, rope_parameters={
                   "rope_type": "yarn", "rope_theta": 3.0, "factor": 8.0, "beta_fast": 32.0, "beta_slow": 1.0, "truncate": False,
                   "original_max_position_embeddings": 100})
    make_model(folder / "glm4_moe", 21, kind="Glm4Moe", head_dim=16, tie_word_embeddings=False, num_hidden_layers=3, n_routed_experts=8,
               num_experts_per_tok=2, moe_intermediate_size=96, n_group=4, topk_group=2, routed_scaling_factor=1.5, n_shared_experts=2,
               first_k_dense_replace=1, attention_bias=True, use_qk_norm=True, pad_token_id=None, rope_parameters={
                   "rope_type": "default", "rope_theta": 1e4, "partial_rotary_factor": 0.5})
    gemma3 = dict(kind="Gemma3", query_pre_attn_scalar=32, head_dim=32, sliding_window=24, pad_token_id=None)
    make_model(folder / "gemma3", 9, **gemma3, num_hidden_layers=7, rope_parameters={
        "full_attention": {"rope_type": "default", "rope_theta": 1e4},
        "sliding_attention": {"rope_type": "default", "rope_theta": 100.0}})
    make_model(folder / "gemma3_linear", 10, **gemma3, num_hidden_layers=4, layer_types=[
        "sliding_attention", "full_attention"] * 2, rope_parameters={
        "full_attention": {"rope_type": "linear", "factor": 4.0, "rope_theta": 1e4},
        "sliding_attention": {"rope_type": "default", "rope_theta": 100.0}})
    return [folder / name for name in ("plain", "mistral", "llama3", "linear", "yarn", "ministral3", "qwen3", "qwen2", "olmo2", "olmo3", "granite", "phi3", "phi3_longrope", "smollm3", "nemotron", "apertus", "mixtral", "qwen3_moe", "olmoe", "gpt_oss", "glm4_moe",
                                       "gemma2", "gemma3", "gemma3_linear")]


def export(model_folder, kind, to):
    tools.run(tools.ATELIER, "export", model_folder, "--to", "gguf", "--type", kind, "--out", to)
    return to


def expert_name(stem, kind):
    """Of the router, or of an expert's matrix: that of all experts of a layer, with the expert's number after it."""
    parts = stem.split(".")
    if ".experts." not in stem:
        return f"blk.{parts[2]}.ffn_gate_inp.{kind}"
    part = {"w1": "gate", "w3": "up", "w2": "down"}.get(parts[-1], parts[-1].removesuffix("_proj"))
    return f"blk.{parts[2]}.ffn_{part}_exps.{kind} {parts[-2]}"


def gguf_name(name, architecture):
    stem, kind = name.rsplit(".", 1)
    if kind == "e_score_correction_bias":
        return f"blk.{stem.split('.')[2]}.exp_probs_b.bias"
    if architecture == "glm4moe" and "post_" in stem:
        return f"blk.{stem.split('.')[2]}.post_attention_norm.{kind}"
    if ".experts." in stem or stem.endswith((".gate", ".router")):
        return expert_name(stem, kind)
    if architecture in ("gemma2", "gemma3") and "pre_" in stem:
        return f"blk.{stem.split('.')[2]}.ffn_norm.{kind}"
    if architecture in ("olmo2", "gemma2", "gemma3") and "post_" in stem:
        return f"blk.{stem.split('.')[2]}.post_{'attention' if 'attention' in stem else 'ffw'}_norm.{kind}"
    if f"{stem}.weight" in NAMES:
        return NAMES[f"{stem}.weight"].removesuffix("weight") + kind
    _, _, layer, rest = stem.split(".", 3)
    return f"blk.{layer}.{LAYER_NAMES[rest]}.{kind}"


def interleaved(rows, head_dim):
    """Rows of queries or keys from the order of Hugging Face into llama.cpp's."""
    return rows.reshape(-1, 2, head_dim // 2, rows.shape[1]).swapaxes(1, 2).reshape(rows.shape)


def source_tensors(model_folder):
    for path in sorted(Path(model_folder).glob("*.safetensors")):
        with safe_open(path, "pt") as file:
            for name in file.keys():
                yield name, file.get_tensor(name).float().numpy()


def value(reader, key):
    field = reader.get_field(key)
    return field.contents() if field else None


def check_keys(report, reader):
    architecture = value(reader, "general.architecture")
    eps = "attention.layer_norm_epsilon" if architecture == "nemotron" else "attention.layer_norm_rms_epsilon"
    own = ["context_length", "embedding_length", "block_count", "feed_forward_length", "attention.head_count",
           "attention.head_count_kv", eps, "rope.freq_base", "rope.dimension_count"]
    required = [f"{architecture}.{key}" for key in own]
    required += ["tokenizer.ggml.model", "tokenizer.ggml.tokens", "tokenizer.ggml.token_type", "tokenizer.ggml.bos_token_id",
                "tokenizer.ggml.eos_token_id", "tokenizer.ggml.add_bos_token"]
    missing = [key for key in required if reader.get_field(key) is None]
    report.expect(not missing, f"required keys, missing: {missing or 'none'}")
    tokens = value(reader, "tokenizer.ggml.tokens")
    report.expect(len(set(tokens)) == len(tokens), f"{len(tokens)} tokens, each once")
    shapes = {tensor.name: tensor.shape for tensor in reader.tensors}
    report.expect(int(shapes["token_embd.weight"][1]) == len(tokens), "as many tokens as rows of the embedding")
    report.expect(len(value(reader, "tokenizer.ggml.token_type")) == len(tokens), "as many token types as tokens")


def check_positions(report, reader, model_folder):
    """Where llama.cpp knows no window, the file is for as many positions as the window has."""
    config = json.loads((Path(model_folder) / "config.json").read_text())
    architecture, window = value(reader, "general.architecture"), config.get("sliding_window")
    unknown = window if architecture in ("llama", "phi3") else None
    report.expect(value(reader, f"{architecture}.context_length") == (unknown or config["max_position_embeddings"]),
                  f"for {unknown or 'all'} positions")


def check_layout(report, reader):
    """Offsets are the running sum of the padded sizes, which llama.cpp insists on."""
    expected, right = reader.tensors[0].data_offset, True
    for tensor in reader.tensors:
        right = right and tensor.data_offset == expected
        expected += -(-tensor.n_bytes // reader.alignment) * reader.alignment
    report.expect(right, f"{len(reader.tensors)} tensors without holes")
    vectors = {t.tensor_type.name for t in reader.tensors if len(t.shape) == 1}
    report.expect(vectors == {"F32"}, "all vectors are F32")


def check_metadata(report, reader, model_folder):
    """What Apertus's activation has: in Hugging Face's files tensors, here arrays of all layers."""
    worst, moved = 0.0, np.inf
    for name, values in source_tensors(model_folder):
        if ".act_fn." in name:
            listed = value(reader, f"xielu.{name.rsplit('.', 1)[1]}")
            layer = int(name.split(".")[2])
            worst = max(worst, abs(listed[layer] - values.item()))
            if "alpha" in name:
                moved = min(moved, abs(listed[layer - 1] - values.item()))
    report.expect(worst == 0, "values of the activation, by layer")
    report.notices("values of another layer", moved, 1e-3)


def check_values(report, reader, model_folder):
    architecture = value(reader, "general.architecture")
    head_dim = value(reader, f"{architecture}.attention.key_length")
    tensors = {tensor.name: tensor for tensor in reader.tensors}
    seen, worst, worst_control, worst_whole = set(), 0.0, 0.0, np.inf
    if architecture == "apertus":
        check_metadata(report, reader, model_folder)
    for name, values in source_tensors(model_folder):
        if ".act_fn." in name:
            continue
        own_name, _, expert = gguf_name(name, architecture).partition(" ")
        tensor = tensors[own_name]
        seen.add(own_name)
        got = gguf.quants.dequantize(tensor.data, tensor.tensor_type).astype(np.float32)
        got = (got[int(expert)] if expert else got).reshape(values.shape)
        is_matrix = values.ndim == 2 and ("q_proj" in name or "k_proj" in name)
        is_turned = is_matrix and architecture in ("llama", "mistral3", "granite", "smollm3")  # other architectures keep Hugging Face's order
        want = interleaved(values, head_dim) if is_turned else values
        if architecture in ("nemotron", "gemma2", "gemma3") and name.endswith("norm.weight"):
            worst_whole = min(worst_whole, np.linalg.norm(got - want) / np.linalg.norm(want))
            want = want + 1
        worst = max(worst, np.linalg.norm(got - want) / np.linalg.norm(want) - LIMITS[tensor.tensor_type.name])
        if is_matrix:
            other = values if is_turned else interleaved(values, head_dim)
            worst_control = max(worst_control, np.linalg.norm(got - other) / np.linalg.norm(values))
    report.expect(worst <= 0, "values of all tensors within the rounding of their type")
    if architecture != "phi3":  # whose queries and keys are in one matrix with the values
        report.notices("rows of queries and keys in the other order", worst_control, 0.1)
    if architecture in ("nemotron", "gemma2", "gemma3"):
        report.notices("norms less one", worst_whole, 0.1)
    of_positions = {"rope_freqs.weight", "rope_factors_long.weight", "rope_factors_short.weight"}
    others = set(tensors) - seen
    report.expect(others <= of_positions, f"nothing else but {sorted(others) or 'nothing'}")


def check_file(report, path, model_folder=None):
    reader = gguf.GGUFReader(path)
    check_keys(report, reader)
    check_layout(report, reader)
    if model_folder:
        check_positions(report, reader, model_folder)
        if value(reader, "general.architecture") != "gpt-oss":  # whose experts are turned: llama.cpp computes with them
            check_values(report, reader, model_folder)


def check_exports(report):
    with tools.scratch() as scratch:
        for model_folder in make_models(Path(scratch)):
            tokens = json.loads((model_folder / "tokenizer.json").read_text())["model"]["vocab"]
            for kind, name in TYPES.items():
                print(f" {model_folder.name}, {kind}")
                path = export(model_folder, kind, Path(scratch) / f"{model_folder.name}-{kind}.gguf")
                check_file(report, path, model_folder)
                reader = gguf.GGUFReader(path)
                # Routers are kept whole, and so are biases, of which those of all experts of a layer are one table.
                types = {tensor.tensor_type.name for tensor in reader.tensors
                         if len(tensor.shape) > 1 and "ffn_gate_inp" not in tensor.name and not tensor.name.endswith(".bias")}
                report.expect(types == {name}, f"matrices are {types}")
                written = value(reader, "tokenizer.ggml.tokens")
                report.expect(all(written[i] == text for text, i in tokens.items()), "tokens in their places")


def main():
    report = tools.Report()
    if len(sys.argv) > 1:
        check_file(report, *sys.argv[1:3])
    else:
        check_exports(report)
    return report.code()


if __name__ == "__main__":
    sys.exit(main())
