#!/usr/bin/env python3
"""wrap_model.py MODEL OUT STYLE - a model folder of a text decoder becomes one of text and images.

STYLE outer or inner: how the decoder's tensors are called.  Beside them come tensors of every kind that vision towers have:
2, 4 and 5 dimensions, none, integers, an empty one, several types.  config.json becomes a mistral3 with a text_config.
wrap_model.py --add-fp8 FOLDER SCALE - the folder has one matrix more beside the decoder, in FP8, with that scale (nan too).
wrap_model.py --compare A B - the tensors outside of the text decoder are equal byte for byte, types and shapes too; prints
their number.  Standard library alone.
"""
import hashlib
import json
import pathlib
import struct
import sys


def read(folder):
    """name -> (type, shape, bytes), whatever files the folder has."""
    tensors = {}
    for path in sorted(pathlib.Path(folder).glob("model*.safetensors")):
        data = path.read_bytes()
        length = struct.unpack("<Q", data[:8])[0]
        for name, entry in json.loads(data[8 : 8 + length]).items():
            if name != "__metadata__":
                begin, end = entry["data_offsets"]
                tensors[name] = (entry["dtype"], entry["shape"], data[8 + length + begin : 8 + length + end])
    return tensors


def noise(name, count):
    """count bytes that depend on the name alone."""
    return hashlib.shake_128(name.encode()).digest(count)


def vision():
    """Bytes are any bits, NaN of every kind included: nothing may look at them."""
    kinds = {
        "patch_conv.weight": ("BF16", [48, 3, 4, 4], 2),
        "patch_conv_3d.weight": ("F16", [8, 3, 2, 4, 4], 2),
        "ln_pre.weight": ("F32", [48], 4),
        "transformer.layers.0.attention.q_proj.weight": ("BF16", [48, 48], 2),
        "transformer.layers.0.feed_forward.up_proj.weight": ("BF16", [768, 1024], 2),
        "position_ids": ("I64", [1, 77], 8),
        "scale": ("F32", [], 4),
        "nothing": ("BF16", [0, 4], 2),
        "mask": ("BOOL", [7], 1),
    }
    for name, (kind, shape, size) in kinds.items():
        count = size
        for dim in shape:
            count *= dim
        yield "vision_tower." + name, (kind, shape, noise(name, count))
    yield "multi_modal_projector.linear_1.weight", ("BF16", [64, 48], noise("projector", 64 * 48 * 2))


def renamed(name, style):
    if style == "outer":
        return "language_model." + name
    return "model.language_model." + name[len("model.") :] if name.startswith("model.") else name


def is_text(name):
    return name.startswith(("language_model.", "model.language_model.", "lm_head."))


def write(folder, tensors):
    header, data = {"__metadata__": {"format": "pt"}}, b""
    for name, (kind, shape, raw) in tensors.items():
        header[name] = {"dtype": kind, "shape": shape, "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    text = json.dumps(header).encode()
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + data)


def wrap(model, out, style):
    out.mkdir()
    for path in model.iterdir():
        if path.is_file() and not path.name.startswith(("model", "manifest", "README")):
            (out / path.name).write_bytes(path.read_bytes())
    prefix = "model." if style == "inner" else ""
    tensors = {renamed(name, style): value for name, value in read(model).items()}
    tensors.update({prefix + name: value for name, value in vision()})
    write(out, tensors)
    text = json.loads((model / "config.json").read_text())
    text.pop("architectures")
    text.update(model_type="mistral", sliding_window=None)
    config = {
        "architectures": ["Mistral3ForConditionalGeneration"],
        "model_type": "mistral3",
        "image_token_index": 10,
        "torch_dtype": text["torch_dtype"],
        "text_config": text,
        "vision_config": {"model_type": "pixtral", "hidden_size": 48},
    }
    (out / "config.json").write_text(json.dumps(config, indent=2))


def add_fp8(folder, scale):
    tensors = read(folder)
    tensors["model.vision_tower.fc.weight"] = ("F8_E4M3", [4, 8], bytes(range(56, 88)))
    tensors["model.vision_tower.fc.weight_scale_inv"] = ("F32", [], struct.pack("<f", scale))
    write(folder, tensors)
    config = json.loads((folder / "config.json").read_text())
    config["quantization_config"] = {"quant_method": "fp8"}
    (folder / "config.json").write_text(json.dumps(config))


def compare(a, b):
    first = {name: value for name, value in read(a).items() if not is_text(name)}
    second = {name: value for name, value in read(b).items() if not is_text(name)}
    if first != second:
        names = sorted(name for name in first.keys() | second.keys() if first.get(name) != second.get(name))
        sys.exit("these differ: " + ", ".join(names))
    print(len(first))


if sys.argv[1] == "--compare":
    compare(sys.argv[2], sys.argv[3])
elif sys.argv[1] == "--add-fp8":
    add_fp8(pathlib.Path(sys.argv[2]), float(sys.argv[3]))
else:
    wrap(pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]), sys.argv[3])
