#!/usr/bin/env python3
"""check_qlora.py - adapters beside a base in fewer bits: as peft trains them beside what bitsandbytes leaves of the base.

For models of three families: the layers' matrices pass through bitsandbytes' NF4, with scales in f32 and in 8 bits, and through
torch's E4M3 and int8 of 128 values; beside them peft and torch train the pairs of an adapter.  `adapter.base` on the model as it
was gives the same losses and pairs, on 1 and 2 ranks.  Controls: the base as it was, and every other form.
"""

import shutil
import sys
from pathlib import Path

import bitsandbytes.functional
import safetensors.torch
import torch

import atelier_tools as tools
import check_lora
import compare_train

MODELS = ("llama3", "qwen3", "nemotron")
FORMS = ("nf4", "nf4_double", "fp8", "int8")


def blocks_left(matrix, largest, to_code):
    values = matrix.flatten()
    padded = torch.nn.functional.pad(values, (0, -len(values) % 128)).reshape(-1, 128)
    scales = padded.abs().amax(1, keepdim=True) / largest
    return (to_code(padded / scales.clamp(min=2.0 ** -126)) * scales).flatten()[:len(values)].reshape(matrix.shape)


def left_of(matrix, form):
    if form == "fp8":
        return blocks_left(matrix, 448, lambda x: x.to(torch.float8_e4m3fn).float())
    if form == "int8":
        return blocks_left(matrix, 127, torch.round)
    # As one row: on a CPU bitsandbytes 0.50.2 restores rows of 48 or 32 values, shorter than a block, by scales of other blocks
    # than those it stored.
    codes, state = bitsandbytes.functional.quantize_4bit(matrix.flatten(), blocksize=64, quant_type="nf4",
                                                         compress_statistics=form == "nf4_double")
    return bitsandbytes.functional.dequantize_4bit(codes, state).reshape(matrix.shape)


def make_left(base, form, out):
    shutil.copytree(base, out)
    path = out / "model.safetensors"
    tensors = safetensors.torch.load_file(path)
    for name, value in tensors.items():
        if ".layers." in name and value.ndim == 2:
            tensors[name] = left_of(value.float(), form).contiguous()
    safetensors.torch.save_file(tensors, path, {"format": "pt"})


def check_model(report, name, scratch):
    base, data = scratch / "base", scratch / "data.h5"
    shutil.copytree(tools.GOLDEN / name, base)
    vocab_size = tools.load_hf(base).config.vocab_size
    documents, masks = compare_train.make_data(vocab_size)
    tools.write_token_file(data, documents, vocab_size, base, masks)
    check_lora.make_adapter(base, name, scratch / "start")
    wanted, got = {}, {}
    for form in FORMS:
        left = scratch / f"left-{form}"
        make_left(base, form, left)
        model = check_lora.make_adapter(left, name, scratch / f"start-{form}")
        wanted[form] = check_lora.train_peft(model, name, documents, masks, compare_train.RATE)
        for ranks, stage in ((1, 0), (2, 3)):
            folder = scratch / f"run-{form}-{ranks}"
            got[form] = check_lora.train_here(base, scratch / "start", data, folder, name, ranks, stage, form)
            report.near(f"{form}, {ranks} ranks: losses of {check_lora.STEPS} steps",
                        check_lora.worst(got[form], wanted[form]), check_lora.LOSS_LIMIT)
            report.near("pairs after them", check_lora.pairs_error(folder / f"step-{check_lora.STEPS:06}", model),
                        check_lora.WEIGHT_LIMIT)
    wanted["compute"] = check_lora.train_here(base, scratch / "start", data, scratch / "plain", name, 1, 0)
    for form in FORMS:
        nearest = min(check_lora.worst(got[form], wanted[other]) for other in wanted if other != form)
        report.notices(f"another form than {form}", nearest, check_lora.LOSS_LIMIT)


def main():
    report = tools.Report()
    for name in MODELS:
        print(f" {name}")
        with tools.scratch() as scratch:
            check_model(report, name, Path(scratch))
    return report.code()


if __name__ == "__main__":
    sys.exit(main())
