#!/usr/bin/env python3
"""check_llamacpp.py [MODEL.gguf TEXT] - does llama.cpp load what atelier exports, and does it compute the same?

Without arguments, small random models with the sample tokenizer are exported and compared with transformers: ids of the
sample texts, logits, perplexity, generated tokens.  Then the F16 export of each: its perplexity by llama.cpp, over texts drawn
from the model, is within 0.5 % of the program's own of the f32 model, which that of a model with one changed tensor is not.
With a model and a UTF-8 text, prints one JSON object: ids of the text, its perplexity, and the text of some greedily generated
tokens.

Uses the llama.cpp inside the PyPI package xllamacpp through its C interface; the package's own classes offer a server,
which gives no logits of a prompt.
"""
import argparse
import contextlib
import ctypes
import functools
import json
import os
import shutil
import sys

import numpy as np

# The parameter structures travel by value and grow with every version.  llama.cpp fills in the defaults itself and
# only the first fields of the context's are set here; a buffer larger than either is passed, as the last argument,
# which on x86-64 leaves what the callee reads where it expects it.
PARAMETER_BYTES = 1024


class Parameters(ctypes.Structure):
    _fields_ = [("words", ctypes.c_uint32 * (PARAMETER_BYTES // 4))]


class Batch(ctypes.Structure):
    _fields_ = [
        ("n_tokens", ctypes.c_int32),
        ("token", ctypes.POINTER(ctypes.c_int32)),
        ("embd", ctypes.POINTER(ctypes.c_float)),
        ("pos", ctypes.POINTER(ctypes.c_int32)),
        ("n_seq_id", ctypes.POINTER(ctypes.c_int32)),
        ("seq_id", ctypes.POINTER(ctypes.POINTER(ctypes.c_int32))),
        ("logits", ctypes.POINTER(ctypes.c_int8)),
    ]


LOG_CALLBACK = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)


@functools.cache
def load_library():
    """The library, once; kept is what llama.cpp still calls after a model was closed, or refused."""
    import xllamacpp.xllamacpp as extension

    library = ctypes.CDLL(extension.__file__)
    pointer, integer, text = ctypes.c_void_p, ctypes.c_int32, ctypes.c_char_p
    signatures = {
        "llama_model_default_params": (Parameters, []),
        "llama_context_default_params": (Parameters, []),
        "llama_model_load_from_file": (pointer, [text, Parameters]),
        "llama_init_from_model": (pointer, [pointer, Parameters]),
        "llama_model_get_vocab": (pointer, [pointer]),
        "llama_vocab_n_tokens": (integer, [pointer]),
        "llama_vocab_bos": (integer, [pointer]),
        "llama_vocab_is_eog": (ctypes.c_bool, [pointer, integer]),
        "llama_tokenize": (
            integer,
            [pointer, text, integer, ctypes.POINTER(ctypes.c_int32), integer, ctypes.c_bool, ctypes.c_bool],
        ),
        "llama_token_to_piece": (integer, [pointer, integer, text, integer, integer, ctypes.c_bool]),
        "llama_batch_init": (Batch, [integer, integer, integer]),
        "llama_decode": (integer, [pointer, Batch]),
        "llama_get_logits_ith": (ctypes.POINTER(ctypes.c_float), [pointer, integer]),
        "llama_adapter_lora_init": (pointer, [pointer, text]),
        "llama_set_adapters_lora": (
            integer,
            [pointer, ctypes.POINTER(pointer), ctypes.c_size_t, ctypes.POINTER(ctypes.c_float)],
        ),
        "llama_free": (None, [pointer]),
        "llama_model_free": (None, [pointer]),
        "llama_log_set": (None, [LOG_CALLBACK, pointer]),
    }
    for name, (result, arguments) in signatures.items():
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    library.llama_backend_init()
    library.kept = []
    return library


class Model:
    """One model with one context of `context` positions."""

    def __init__(self, path, context, verbose=False):
        self.library = load_library()
        self.lines = []
        self.callback = LOG_CALLBACK(lambda level, line, user: self.lines.append((level, line)))
        self.library.kept.append(self.callback)
        if not verbose:
            self.library.llama_log_set(self.callback, None)
        self.model = self.library.llama_model_load_from_file(
            os.fsencode(path), self.library.llama_model_default_params()
        )
        if not self.model:
            reasons = b"".join(line for level, line in self.lines if level >= 3)
            raise SystemExit(f"llama.cpp refuses {path}: {reasons.decode(errors='replace').strip()}")
        parameters = self.library.llama_context_default_params()
        for word in range(3):  # n_ctx, n_batch, n_ubatch
            parameters.words[word] = context
        self.context_size = context
        self.parameters = parameters
        self.context = None
        self.vocab = self.library.llama_model_get_vocab(self.model)
        self.num_tokens = self.library.llama_vocab_n_tokens(self.vocab)
        self.reset()

    def reset(self):
        if self.context:
            self.library.llama_free(self.context)
        self.context = self.library.llama_init_from_model(self.model, self.parameters)
        if not self.context:
            raise SystemExit("llama.cpp cannot create a context")
        self.position = 0

    def close(self):
        self.library.llama_free(self.context)
        self.library.llama_model_free(self.model)

    def put_adapter(self, path):
        """A LoRA adapter of a GGUF file, with a scale of 1, on a context that begins anew."""
        self.reset()
        self.adapter = self.library.llama_adapter_lora_init(self.model, os.fsencode(path))
        if not self.adapter:
            reasons = b"".join(line for level, line in self.lines if level >= 3)
            raise SystemExit(f"llama.cpp refuses {path}: {reasons.decode(errors='replace').strip()}")
        adapters, scales = (ctypes.c_void_p * 1)(self.adapter), (ctypes.c_float * 1)(1.0)
        if self.library.llama_set_adapters_lora(self.context, adapters, 1, scales) != 0:
            raise SystemExit("llama.cpp does not take the adapter")

    def tokenize(self, text, parse_special=False, add_special=True):
        data = text.encode()
        room = len(data) + 16
        ids = (ctypes.c_int32 * room)()
        count = self.library.llama_tokenize(self.vocab, data, len(data), ids, room, add_special, parse_special)
        if count < 0:
            raise SystemExit(f"llama_tokenize failed: {count}")
        return list(ids[:count])

    def piece(self, token):
        room = ctypes.create_string_buffer(256)
        count = self.library.llama_token_to_piece(self.vocab, token, room, 256, 0, True)
        return room.raw[: max(count, 0)]

    def decode(self, ids):
        """Logits [len(ids), vocabulary] of the next positions."""
        batch = self.library.llama_batch_init(len(ids), 0, 1)
        batch.n_tokens = len(ids)
        for i, token in enumerate(ids):
            batch.token[i], batch.pos[i], batch.n_seq_id[i], batch.logits[i] = token, self.position + i, 1, 1
            batch.seq_id[i][0] = 0
        status = self.library.llama_decode(self.context, batch)
        if status != 0:
            raise SystemExit(f"llama_decode failed: {status}")
        self.position += len(ids)
        rows = [
            np.ctypeslib.as_array(self.library.llama_get_logits_ith(self.context, i), (self.num_tokens,)).copy()
            for i in range(len(ids))
        ]
        return np.stack(rows)


def perplexity(model, ids):
    """exp of the mean loss; windows of the context's size start anew, with the first token unpredicted."""
    total, count, all_logits = 0.0, 0, []
    for start in range(0, len(ids), model.context_size):
        window = ids[start : start + model.context_size]
        model.reset()
        logits = model.decode(window).astype(np.float64)
        all_logits.append(logits)
        shifted = logits[:-1] - logits[:-1].max(axis=1, keepdims=True)
        log_probability = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
        total -= log_probability[np.arange(len(window) - 1), window[1:]].sum()
        count += len(window) - 1
    return float(np.exp(total / max(count, 1))), count, np.concatenate(all_logits)


def generate_ids(model, ids, count):
    model.reset()
    last, made = model.decode(ids[: model.context_size - count])[-1], []
    for _ in range(count):
        made.append(int(last.argmax()))
        if model.library.llama_vocab_is_eog(model.vocab, made[-1]):
            break
        last = model.decode(made[-1:])[-1]
    return made


def generate(model, ids, count):
    return b"".join(map(model.piece, generate_ids(model, ids, count))).decode(errors="replace")


def inspect(options):
    model = Model(options.model, options.context, options.verbose)
    with open(options.text, encoding="utf-8", newline="") as file:
        text = file.read()
    with contextlib.closing(model):
        if options.ids:
            with open(options.ids, "w") as out:
                for line in text.split("\n"):
                    print(json.dumps(model.tokenize(line, options.parse_special)), file=out)
            return
        ids = model.tokenize(text, options.parse_special)[: options.max_tokens]
        result = {"vocabulary": model.num_tokens, "ids": ids}
        if len(ids) > 1:
            result["perplexity"], result["predicted"], logits = perplexity(model, ids)
            if options.logits:
                np.save(options.logits, logits.astype(np.float32))
        if options.generate:
            result["generated"] = generate(model, ids, options.generate)
    json.dump(result, sys.stdout, ensure_ascii=False)
    print()


# --- comparison with transformers; heavy imports stay inside, others use the class above ---

LOGITS_LIMIT = 1e-3  # relative; llama.cpp keeps keys and values as f16
F16_LIMIT = 0.005  # relative, of perplexities
TOKENS = 120
F16_TEXTS = 4
CHANGED = "model.layers.0.mlp.down_proj.weight"
OF_EXPERTS = "model.layers.0.self_attn.o_proj.weight"  # of a model with experts


def sample_lines(root):
    lines = []
    with open(root / "data" / "sample" / "fiches-validation.jsonl", encoding="utf-8") as file:
        for line in file:
            lines += json.loads(line)["text"].split("\n")
    return lines + ["ÉTAT, DÉCRET n° 2023-1234 : 1 234,56 €", "  deux  espaces\t", "😀 日本 l’œuvre", "12345678"]


def compare_tokens(report, model, tokenizer, lines):
    different = [line for line in lines if model.tokenize(line) != tokenizer.encode(line).ids]
    report.expect(not different, f"ids of {len(lines)} lines, different: {different[:3] or 'none'}")
    changed = sum(model.tokenize(line) != tokenizer.encode(line.upper()).ids for line in lines)
    report.expect(changed > len(lines) // 2, f"notices other text: {changed} lines")


def compare_numbers(report, model, ids, reference, kind):
    """Q8_0 changes the weights: its logits are only near."""
    import torch

    measured, count, logits = perplexity(model, ids)
    with torch.no_grad():
        want = reference(torch.tensor([ids])).logits[0].double()
    got = torch.from_numpy(logits)
    error = ((got - want).norm() / want.norm()).item()
    report.near(f"{kind}: logits of {len(ids)} tokens, relative", error, 0.05 if kind == "q8_0" else LOGITS_LIMIT)
    loss = torch.nn.functional.cross_entropy(want[:-1], torch.tensor(ids[1:])).item()
    report.near(f"{kind}: mean loss {loss:.4f}", abs(np.log(measured) - loss) / loss, 0.01)
    return want


def drawn_texts(reference):
    """Texts as the model itself would go on, no token twice: what it computes otherwise makes them less likely as a rule.  Of sample
    texts, which mean nothing to it, a wrong tensor may leave the perplexity as it is."""
    import torch

    torch.manual_seed(17)
    begun = torch.randint(0, reference.config.vocab_size, (F16_TEXTS, 1))
    return reference.generate(begun, do_sample=True, top_k=0, no_repeat_ngram_size=1, min_new_tokens=TOKENS - 1,
                              max_new_tokens=TOKENS - 1, attention_mask=torch.ones_like(begun), pad_token_id=0).tolist()


def change_tensor(folder, to):
    """The same values of one matrix in another order, all else as it is."""
    from safetensors.torch import load_file, save_file

    shutil.copytree(folder, to)
    tensors = load_file(to / "model.safetensors")
    changed = CHANGED if CHANGED in tensors else OF_EXPERTS
    tensors[changed] = tensors[changed].flip(0).contiguous()
    save_file(tensors, to / "model.safetensors", metadata={"format": "pt"})
    return to


def swap_experts(model):
    """The last matrices of two experts of a layer, each in the other's place."""
    import torch

    with torch.no_grad():
        down = next(layer.mlp.experts for layer in model.model.layers if hasattr(layer.mlp, "experts")).down_proj
        down.copy_(down.roll(1, 0))
    return model


def check_f16(report, folder, texts, scratch):
    """texts: ids, TOKENS of each."""
    import atelier_tools as tools
    import check_gguf

    path = check_gguf.export(folder, "f16", scratch / f"{folder.name}-f16.gguf")
    with contextlib.closing(Model(str(path), TOKENS)) as model:
        theirs = perplexity(model, [token for text in texts for token in text])[0]
    changed_folder = change_tensor(folder, scratch / f"{folder.name}-changed")
    ours, changed = (tools.program_perplexity(one, texts) for one in (folder, changed_folder))
    report.near(f"f16: perplexity {ours:.6g}, llama.cpp {theirs:.6g}", abs(theirs / ours - 1), F16_LIMIT)
    report.notices(f"another order of {CHANGED}, {changed:.6g}", abs(theirs / changed - 1), F16_LIMIT)


def check_name(report, path, scratch):
    """llama.cpp looks for Phi-3's tokenizer by the model's name; with the name that the file would have it does not open."""
    data = path.read_bytes()
    named = scratch / "named.gguf"
    named.write_bytes(data.replace(b"phi 3", b"phi-3", 1))
    report.expect(data.count(b"phi 3") == 1, "the model's name is one that llama.cpp does not take for Phi-3's")
    try:
        Model(str(named), TOKENS).close()
        refused = False
    except SystemExit:
        refused = True
    report.expect(refused, "notices the other name: llama.cpp does not open the file")


def check_exports():
    import atelier_tools as tools
    import check_gguf
    import check_hf
    from pathlib import Path
    from tokenizers import Tokenizer

    report = tools.Report()
    lines = sample_lines(tools.ROOT)
    with tools.scratch() as scratch:
        for folder in check_gguf.make_models(Path(scratch)):
            print(f" {folder.name}")
            reference = tools.load_hf(folder)
            for kind in ("f32", "q8_0"):
                path = check_gguf.export(folder, kind, Path(scratch) / f"{folder.name}-{kind}.gguf")
                model = Model(str(path), 2 * TOKENS)
                ids = model.tokenize("\n".join(lines))[:TOKENS]
                want = compare_numbers(report, model, ids, reference, kind)
                if kind == "f32" and folder.name == "phi3":
                    check_name(report, path, Path(scratch))
                if kind == "f32":
                    compare_tokens(report, model, Tokenizer.from_file(str(folder / "tokenizer.json")), lines)
                    expected = greedy(reference, ids, 10)
                    report.expect(generate_ids(model, ids, 10) == expected, "ten generated tokens")
                    if hasattr(reference.model.layers[-1].mlp, "experts"):
                        wrong = tools.hf_logits(swap_experts(tools.load_hf(folder)), ids).double()
                        report.notices("one expert's matrix in another's place", ((wrong - want).norm() / want.norm()).item(),
                                       10 * LOGITS_LIMIT)
                    wrong = tools.hf_logits(check_hf.spoil(tools.load_hf(folder)), ids).double()
                    report.notices("a wrong rotation", ((wrong - want).norm() / want.norm()).item(), 10 * LOGITS_LIMIT)
                model.close()
            check_f16(report, folder, drawn_texts(reference), Path(scratch))
    return report.code()


def greedy(reference, ids, count):
    import torch

    made = list(ids)
    with torch.no_grad():
        for _ in range(count):
            made.append(int(reference(torch.tensor([made])).logits[0, -1].argmax()))
    return made[len(ids) :]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("model", nargs="?")
    parser.add_argument("text", nargs="?", help="a UTF-8 file")
    parser.add_argument("--parse-special", action="store_true")
    parser.add_argument("--ids", help="write the ids of each line of the text, one JSON list a line, and stop")
    parser.add_argument("--logits", help="write the logits of the text as f32 .npy")
    parser.add_argument("--generate", type=int, default=0)
    parser.add_argument("--context", type=int, default=256)
    parser.add_argument("--max-tokens", type=int, default=1024)
    parser.add_argument("--verbose", action="store_true")
    options = parser.parse_args()
    if options.model and not options.text:
        parser.error("a model needs a text")
    if not options.model:
        return check_exports()
    inspect(options)
    return 0


if __name__ == "__main__":
    sys.exit(main())
