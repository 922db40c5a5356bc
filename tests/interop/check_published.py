#!/usr/bin/env python3
"""check_published.py - folders as they are published: a model of text and images, and matrices in FP8, NF4 and MXFP4.

The model of text and images is made by transformers (Mistral3ForConditionalGeneration, random weights), saved by it, trained
three steps and exported by atelier, and loaded again by AutoModelForImageTextToText: nothing missing, nothing unexpected,
every tensor outside of the text decoder the same, the text decoder another one.  The FP8 folders hold what torch's own
float8_e4m3fn makes; transformers dequantises them with the rule of its FineGrainedFP8Config.  What atelier writes in FP8 after
training on such a folder is, byte for byte, what torch makes of the checkpoint, and transformers reads it again.
"""

import json
import sys
from pathlib import Path

import bitsandbytes
import safetensors.torch
import torch
import transformers
from transformers.integrations.mxfp4 import convert_moe_packed_tensors

import atelier_tools as tools

LOGITS_LIMIT = 1e-4
VOCAB = 320
TEXT = {"model_type": "mistral", "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16, "vocab_size": VOCAB,
        "max_position_embeddings": 256, "sliding_window": None, "initializer_range": 0.1, "tie_word_embeddings": False}
VISION = {"model_type": "pixtral", "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1,
          "num_attention_heads": 2, "image_size": 28, "patch_size": 14, "num_channels": 3}


def make_wrapper(folder):
    torch.manual_seed(3)
    config = transformers.Mistral3Config(text_config=TEXT, vision_config=VISION, image_token_index=5,
                                         tie_word_embeddings=False)
    model = transformers.Mistral3ForConditionalGeneration(config).float().eval()
    model.save_pretrained(folder)
    return model


def load_wrapper(folder):
    return transformers.AutoModelForImageTextToText.from_pretrained(
        folder, attn_implementation="eager", dtype=torch.float32, local_files_only=True, output_loading_info=True)


def train(model_folder, folder):
    documents = tools.random_documents([60] * 20, VOCAB, seed=4)
    tools.write_token_file(folder / "train.h5", documents, VOCAB, model_folder)
    settings = {"run": {"folder": str(folder / "run")}, "model": {"path": str(model_folder)},
                "data": {"train": str(folder / "train.h5"), "sequence_tokens": 64},
                "train": {"steps": 3, "batch_sequences": 2, "compute": "f32"}}
    (folder / "run.yaml").write_text(json.dumps(settings))
    tools.run(tools.ATELIER, "train", folder / "run.yaml")
    return folder / "run" / "step-000003"


def is_text(name):
    return "language_model" in name or name.startswith("lm_head")


def check_wrapper(report, scratch):
    base = scratch / "base"
    original = make_wrapper(base)
    tokens = tools.random_documents([40], VOCAB, seed=1)[0]
    with torch.no_grad():
        theirs = original(input_ids=torch.as_tensor(tokens)[None]).logits[0]
    own = tools.program_logits(base, tokens)
    report.near("logits of the text decoder", tools.max_difference(own, theirs), LOGITS_LIMIT)
    trained = train(base, scratch)
    exported = scratch / "hf"
    tools.run(tools.ATELIER, "export", trained, "--to", "hf", "--type", "f32", "--out", exported)
    before = original.state_dict()
    for folder in trained, exported:
        model, info = load_wrapper(folder)
        report.expect(not info["missing_keys"] and not info["unexpected_keys"] and not info["mismatched_keys"],
                      f"{folder.name}: no key missing, unexpected or of another shape")
        after = model.state_dict()
        others = [name for name in before if not is_text(name)]
        report.expect(len(others) > 5 and all(torch.equal(before[name], after[name]) for name in others),
                      f"{folder.name}: {len(others)} tensors outside of the text decoder, the same bits")
        report.expect(all(not torch.equal(before[name], after[name]) for name in before if name.endswith("proj.weight")
                          and is_text(name)), f"{folder.name}: the text decoder was trained")
        with torch.no_grad():
            theirs = model.eval()(input_ids=torch.as_tensor(tokens)[None]).logits[0]
        report.near(f"{folder.name}: logits after training",
                    tools.max_difference(tools.program_logits(folder, tokens), theirs), LOGITS_LIMIT)
        report.notices("the model before training", tools.max_difference(own, theirs), LOGITS_LIMIT)


def quantise(weight, block):
    """The published form: values of float8_e4m3fn, and what they are to be multiplied by."""
    rows, cols = weight.shape
    high, wide = block or (rows, cols)
    tiles = weight.reshape(rows // high, high, cols // wide, wide)
    scale = tiles.abs().amax(dim=(1, 3)) / 448
    values = (tiles / scale[:, None, :, None]).reshape(rows, cols).to(torch.float8_e4m3fn)
    return values, scale if block else scale.reshape(())


def their_weights(folder):
    """What transformers reads from the FP8 folder, by its own rule, in f32."""
    model = transformers.AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, local_files_only=True,
        quantization_config=transformers.FineGrainedFP8Config(dequantize=True))
    return model.state_dict()


def check_fp8(report, scratch, block):
    torch.manual_seed(5)
    words = {key: value for key, value in TEXT.items() if key != "model_type"}
    model = transformers.MistralForCausalLM(transformers.MistralConfig(**words)).to(torch.bfloat16)
    folder = scratch / ("blocks" if block else "one")
    model.save_pretrained(folder)
    tensors = {}
    for name, weight in model.state_dict().items():
        tensors[name] = weight.contiguous()
        if "_proj." in name:
            tensors[name], scale = quantise(weight.float(), block)
            tensors[name + "_scale_inv"] = scale.float().contiguous()
    safetensors.torch.save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    config = json.loads((folder / "config.json").read_text())
    config["quantization_config"] = {"quant_method": "fp8", "weight_block_size": block and list(block)}
    (folder / "config.json").write_text(json.dumps(config))
    exported = scratch / (folder.name + "-hf")
    tools.run(tools.ATELIER, "export", folder, "--to", "hf", "--type", "f32", "--out", exported)
    got = safetensors.torch.load_file(exported / "model.safetensors")
    expected = their_weights(folder)
    report.expect(got.keys() == expected.keys() and all(torch.equal(got[name], expected[name].float()) for name in got),
                  f"FP8, {'blocks' if block else 'one scale'}: {len(got)} tensors as transformers dequantises them")
    name = "model.layers.1.mlp.up_proj.weight"
    report.expect(not torch.equal(got[name], model.state_dict()[name].float()), "notices the values before FP8")


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name].float(), other[name].float()) for name in one)


def check_fp8_out(report, scratch, block):
    base = scratch / ("blocks" if block else "one")
    what = f"FP8 written, {'blocks' if block else 'one scale'}"
    place = scratch / (base.name + "-trained")
    place.mkdir()
    trained, exported, whole = train(base, place), place / "fp8", place / "whole"
    tools.run(tools.ATELIER, "export", trained, "--to", "hf", "--type", "fp8", "--out", exported)
    tools.run(tools.ATELIER, "export", exported, "--to", "hf", "--type", "f32", "--out", whole)
    got, published = (safetensors.torch.load_file(folder / "model.safetensors") for folder in (exported, base))
    expected = {}
    for name, weight in safetensors.torch.load_file(trained / "model.safetensors").items():
        expected[name] = weight
        if name + "_scale_inv" in published:
            expected[name], expected[name + "_scale_inv"] = quantise(weight.float(), block)
    report.expect(same(got, expected) and all(got[name].dtype == published[name].dtype for name in published),
                  f"{what}: {len(got)} tensors as torch makes them of the checkpoint")
    report.expect(not same(got, published), f"{what}: notices the base")
    schemes = [json.loads((folder / "config.json").read_text())["quantization_config"] for folder in (base, exported)]
    report.expect(schemes[0] == schemes[1], f"{what}: config.json says what the base's said")
    read, theirs = safetensors.torch.load_file(whole / "model.safetensors"), their_weights(exported)
    report.expect(same(read, theirs), f"{what}: transformers reads what atelier reads")
    name = "model.layers.0.mlp.down_proj.weight_scale_inv"
    got[name] = got[name] * 1.0001
    safetensors.torch.save_file(got, exported / "model.safetensors", {"format": "pt"})
    report.expect(not same(read, their_weights(exported)), f"{what}: notices one scale that is 0.01 % off")


def check_fp8_wrapper(report, scratch):
    """A model of text and images whose vision tower is in FP8 as well: what is carried of it, and what FP8 makes of it again."""
    folder, place = scratch / "fp8-wrapper", scratch / "fp8-wrapper-trained"
    place.mkdir()
    model = make_wrapper(folder).to(torch.bfloat16)
    model.save_pretrained(folder)
    tensors = {}
    for name, weight in safetensors.torch.load_file(folder / "model.safetensors").items():
        tensors[name] = weight
        if "_proj." in name:
            tensors[name], scale = quantise(weight.float(), None)
            tensors[name + "_scale_inv"] = scale.bfloat16()
            tensors[name[:-len("weight")] + "activation_scale"] = torch.tensor(0.5, dtype=torch.bfloat16)
    safetensors.torch.save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    config = json.loads((folder / "config.json").read_text())
    config["quantization_config"] = {"quant_method": "fp8", "activation_scheme": "static", "weight_block_size": None}
    (folder / "config.json").write_text(json.dumps(config))
    trained, exported = train(folder, place), place / "fp8"
    tools.run(tools.ATELIER, "export", trained, "--to", "hf", "--type", "fp8", "--out", exported)
    theirs = transformers.AutoModelForImageTextToText.from_pretrained(
        folder, dtype=torch.bfloat16, local_files_only=True,
        quantization_config=transformers.FineGrainedFP8Config(dequantize=True)).state_dict()
    model, info = load_wrapper(trained)
    others = {name for name in theirs if not is_text(name)}
    vision = {name for name in others if "_proj." in name}
    report.expect(len(vision) == 7 and not info["missing_keys"] and not info["unexpected_keys"],
                  f"FP8 outside of the text decoder: {len(vision)} of {len(others)} tensors, no key missing or unexpected")
    after = model.state_dict()
    report.expect(all(torch.equal(after[name], theirs[name].float()) for name in others),
                  "FP8 outside of the text decoder: carried as transformers dequantises it to bf16")
    again = safetensors.torch.load_file(exported / "model.safetensors")
    stored = [name for name in tensors if not is_text(name)]
    report.expect(again.keys() == tensors.keys() and all(torch.equal(again[name], tensors[name]) for name in stored)
                  and all(again[name].dtype == tensors[name].dtype for name in tensors),
                  f"FP8 written: {len(stored)} tensors outside of the text decoder byte for byte as in the base")
    name = next(name for name in tensors if is_text(name) and name.endswith("q_proj.weight"))
    report.expect(not torch.equal(again[name].float(), tensors[name].float()), "notices the text decoder before training")


def compressed_config(form, strategy):
    """As llm-compressor writes it; only what transformers and atelier look at."""
    weights = {"num_bits": 8, "type": "float", "symmetric": True, "strategy": strategy, "dynamic": False}
    return {"quant_method": "compressed-tensors", "format": form, "quantization_status": "compressed",
            "ignore": ["lm_head"], "config_groups": {"group_0": {"targets": ["Linear"], "weights": weights,
                                                                 "input_activations": None, "output_activations": None}}}


def compressed_weights(folder):
    """What transformers reads, by the library's own rule, in f32."""
    model = transformers.AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, local_files_only=True,
        quantization_config=transformers.CompressedTensorsConfig(run_compressed=False))
    return {name: weight for name, weight in model.state_dict().items() if "scale" not in name}


def write_folder(folder, tensors, scheme):
    safetensors.torch.save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    config = json.loads((folder / "config.json").read_text())
    config["quantization_config"] = scheme
    (folder / "config.json").write_text(json.dumps(config))


def export_whole(folder, out):
    tools.run(tools.ATELIER, "export", folder, "--to", "hf", "--type", "f32", "--out", out)
    return safetensors.torch.load_file(out / "model.safetensors")


def halved(tensors):
    """The library multiplies in the type of its scales."""
    return {name: weight.bfloat16() for name, weight in tensors.items()}


def check_compressed(report, scratch):
    """FP8 with a scale for each row, as compressed-tensors stores it, read and written; MXFP4 of that library, read."""
    try:
        from compressed_tensors.compressors import unpack_fp4_from_uint8
        from compressed_tensors.compressors.mx_utils import decompress_mx_scale
    except ImportError:
        print("  skipped: the package compressed-tensors is not installed")
        return
    torch.manual_seed(8)
    words = {key: value for key, value in TEXT.items() if key != "model_type"}
    model = transformers.MistralForCausalLM(transformers.MistralConfig(**words)).to(torch.bfloat16)
    folder, place = scratch / "channels", scratch / "channels-trained"
    place.mkdir()
    model.save_pretrained(folder)
    tensors = {}
    for name, weight in model.state_dict().items():
        tensors[name] = weight.contiguous()
        if "_proj." in name:
            tensors[name], scale = quantise(weight.float(), (1, weight.shape[1]))
            tensors[name + "_scale"] = scale.bfloat16()
    write_folder(folder, tensors, compressed_config("float-quantized", "channel"))
    expected = compressed_weights(folder)
    report.expect(same(halved(export_whole(folder, scratch / "channels-hf")), expected),
                  f"compressed-tensors, FP8: {len(expected)} tensors as transformers reads them")
    trained, exported = train(folder, place), place / "fp8"
    tools.run(tools.ATELIER, "export", trained, "--to", "hf", "--type", "fp8", "--out", exported)
    written, theirs = export_whole(exported, place / "whole"), compressed_weights(exported)
    report.expect(same(halved(written), theirs), "compressed-tensors, FP8 written: transformers reads what atelier reads")
    report.expect(not same(theirs, expected), "notices the base")
    master = safetensors.torch.load_file(trained / "model.safetensors")
    worst = max(((theirs[name] - master[name].float()).abs() / master[name].float().abs().amax(1, True)).max().item()
                for name in master if "_proj." in name)
    report.near("compressed-tensors, FP8 written: beside the checkpoint, of the largest of a row", worst, 1 / 28)

    folder, tensors, expected = scratch / "mxfp4-packed", {}, {}
    model.float().save_pretrained(folder)
    for name, weight in model.state_dict().items():
        tensors[name] = expected[name] = weight.contiguous()
        if "_proj." in name:
            rows, cols = weight.shape
            packed = torch.randint(0, 256, (rows, cols // 2), dtype=torch.uint8)
            scales = torch.randint(118, 124, (rows, cols // 32), dtype=torch.uint8)
            del tensors[name]
            tensors.update({name + "_packed": packed, name + "_scale": scales})
            values = unpack_fp4_from_uint8(packed, rows, cols, dtype=torch.float32).reshape(rows, cols // 32, 32)
            expected[name] = (values * decompress_mx_scale(scales).float()[..., None]).reshape(rows, cols)
    write_folder(folder, tensors, compressed_config("mxfp4-pack-quantized", "group"))
    report.expect(same(export_whole(folder, scratch / "mxfp4-packed-hf"), expected),
                  f"compressed-tensors, MXFP4: {len(expected)} tensors as the library unpacks them")


def check_nf4(report, scratch, nested):
    """The state that bitsandbytes itself packs; its dequantisation, in f32."""
    torch.manual_seed(6)
    words = {key: value for key, value in TEXT.items() if key != "model_type"}
    model = transformers.MistralForCausalLM(transformers.MistralConfig(**words))
    folder = scratch / f"nf4-{nested}"
    model.save_pretrained(folder)
    tensors, expected = {}, {}
    for name, weight in model.state_dict().items():
        tensors[name] = expected[name] = weight.contiguous()
        if "_proj." in name:
            packed, state = bitsandbytes.functional.quantize_4bit(weight, quant_type="nf4", compress_statistics=nested)
            tensors[name] = packed
            tensors.update({f"{name}.{key}": value for key, value in state.as_dict(packed=True).items()})
            expected[name] = bitsandbytes.functional.dequantize_4bit(packed, state)
    safetensors.torch.save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    config = json.loads((folder / "config.json").read_text())
    config["quantization_config"] = {"quant_method": "bitsandbytes", "load_in_4bit": True,
                                     "bnb_4bit_quant_type": "nf4", "bnb_4bit_use_double_quant": nested}
    (folder / "config.json").write_text(json.dumps(config))
    exported = scratch / (folder.name + "-hf")
    tools.run(tools.ATELIER, "export", folder, "--to", "hf", "--type", "f32", "--out", exported)
    got = safetensors.torch.load_file(exported / "model.safetensors")
    # Double quantisation: the two add an offset in another order of operations, one rounding apart.
    worst = max((tools.max_difference(got[name], expected[name]) / expected[name].abs().max().item()) for name in got)
    report.near(f"NF4{', double' if nested else ''}: {len(got)} tensors as bitsandbytes dequantises them", worst, 2e-7)
    name = "model.layers.1.mlp.up_proj.weight"
    report.notices("the values before NF4", tools.max_difference(got[name], model.state_dict()[name]), 1e-3)


def check_mxfp4(report, scratch):
    """Bytes of the form in which gpt-oss is published, in a model of a family without experts."""
    torch.manual_seed(7)
    words = {key: value for key, value in TEXT.items() if key != "model_type"}
    model = transformers.MistralForCausalLM(transformers.MistralConfig(**words))
    folder = scratch / "mxfp4"
    model.save_pretrained(folder)
    tensors, expected = {}, {}
    for name, weight in model.state_dict().items():
        tensors[name] = expected[name] = weight.contiguous()
        if "_proj." in name:
            rows, cols = weight.shape
            blocks = torch.randint(0, 256, (rows, cols // 32, 16), dtype=torch.uint8)
            scales = torch.randint(118, 124, (rows, cols // 32), dtype=torch.uint8)
            del tensors[name]
            tensors.update({name + "_blocks": blocks, name + "_scales": scales})
            expected[name] = convert_moe_packed_tensors(blocks[None], scales[None], dtype=torch.float32)[0].T.contiguous()
    safetensors.torch.save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    config = json.loads((folder / "config.json").read_text())
    config["quantization_config"] = {"quant_method": "mxfp4", "modules_to_not_convert": ["lm_head"]}
    (folder / "config.json").write_text(json.dumps(config))
    exported = scratch / "mxfp4-hf"
    tools.run(tools.ATELIER, "export", folder, "--to", "hf", "--type", "f32", "--out", exported)
    got = safetensors.torch.load_file(exported / "model.safetensors")
    report.expect(same(got, expected), f"MXFP4: {len(got)} tensors as transformers dequantises them")
    name = "model.layers.1.mlp.up_proj.weight"
    report.expect(not torch.equal(got[name], model.state_dict()[name]), "notices the values before MXFP4")


def main():
    report = tools.Report()
    with tools.scratch() as scratch:
        try:
            check_wrapper(report, Path(scratch))
            for block in None, (16, 32):
                check_fp8(report, Path(scratch), block)
                check_fp8_out(report, Path(scratch), block)
            check_fp8_wrapper(report, Path(scratch))
            for nested in False, True:
                check_nf4(report, Path(scratch), nested)
            check_mxfp4(report, Path(scratch))
            check_compressed(report, Path(scratch))
        except tools.ProgramFailed as failure:
            report.expect(False, str(failure))
    return report.code()


if __name__ == "__main__":
    sys.exit(main())
