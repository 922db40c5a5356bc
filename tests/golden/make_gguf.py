#!/usr/bin/env python3
"""Make tests/golden/gguf: two tiny models written by the PyPI package gguf, and the ids llama.cpp gives for texts.

    byte_level.gguf      gpt2 vocabulary, pre-tokenizer llama-bpe
    sentencepiece.gguf   llama vocabulary: scores, byte tokens, spaces as U+2581
    expected.json        {file: [{"text": ..., "ids": [...]}]}

The vocabularies are trained on the project's own sample text.  Made with gguf 0.19.0, tokenizers 0.23.3 and the
llama.cpp of xllamacpp 2026.10.11549; the files also seed tests/fuzz/fuzz_gguf.c.
"""
import json
import pathlib
import sys

import gguf
import numpy as np
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "interop"))
import check_llamacpp  # noqa: E402

LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
          r"|\s+(?!\S)|\s+")
TEXTS = [
    "La mairie délivre le certificat.",
    " deux  espaces   et\ttabulation \n\nfin ",
    "L’usager n°1234567 paie 1 234,56 € avant le 31/12.",
    "ÉTAT, DÉCRET, œuvre, naïve",
    "日本 😀 \u00a0insécable",
    "aaaaaaa ------- ........",
    "<s>balises</s> dans <x> le texte",
    "demande",
    "",
]
LAYERS, WIDTH, FFN = 1, 32, 32


def sample_texts():
    for line in open(ROOT / "data" / "sample" / "fiches.jsonl", encoding="utf-8"):
        yield json.loads(line)["text"]


def trained(tokenizer, **options):
    tokenizer.train_from_iterator(sample_texts(), trainers.BpeTrainer(show_progress=False, **options))
    return json.loads(tokenizer.to_str())["model"]


def byte_level():
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(LLAMA3), "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    model = trained(tokenizer, vocab_size=420, initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    tokens = sorted(model["vocab"], key=model["vocab"].get) + ["<s>", "</s>", "<x>"]
    types = [gguf.TokenType.NORMAL] * (len(tokens) - 3) + [gguf.TokenType.CONTROL] * 2 + [gguf.TokenType.USER_DEFINED]
    return tokens, types, model["merges"]


def sentencepiece():
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Fuse()
    # Words, as SentencePiece's own trainer has them: no token goes on after a space.
    tokenizer.pre_tokenizer = pre_tokenizers.Split("▁", "merged_with_next")
    model = trained(tokenizer, vocab_size=260)
    learned = sorted(model["vocab"], key=model["vocab"].get)
    tokens = ["<unk>", "<s>", "</s>"] + [f"<0x{byte:02X}>" for byte in range(256)] + learned + ["<x>"]
    types = [gguf.TokenType.UNKNOWN] + [gguf.TokenType.CONTROL] * 2 + [gguf.TokenType.BYTE] * 256
    types += [gguf.TokenType.NORMAL] * len(learned) + [gguf.TokenType.USER_DEFINED]
    order = {"".join(pair): i for i, pair in reversed(list(enumerate(model["merges"])))}
    scores = [float(-order[token]) if token in order else -1e6 for token in tokens]
    return tokens, types, scores


def write_model(path, kind):
    writer = gguf.GGUFWriter(path, "llama")
    if kind == "gpt2":
        tokens, types, merges = byte_level()
        bos, eos = tokens.index("<s>"), tokens.index("</s>")
        writer.add_tokenizer_pre("llama-bpe")
        writer.add_token_merges([" ".join(pair) for pair in merges])
    else:
        tokens, types, scores = sentencepiece()
        bos, eos = 1, 2
        writer.add_tokenizer_pre("default")
        writer.add_token_scores(scores)
        writer.add_unk_token_id(0)
    writer.add_tokenizer_model(kind)
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    writer.add_bos_token_id(bos)
    writer.add_eos_token_id(eos)
    writer.add_add_bos_token(True)
    writer.add_chat_template("{{ messages }}")
    writer.add_context_length(64)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(FFN)
    writer.add_head_count(2)
    writer.add_head_count_kv(1)
    writer.add_layer_norm_rms_eps(1e-5)
    add_tensors(writer, len(tokens))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def add_tensors(writer, num_tokens):
    random = np.random.default_rng(7)

    def matrix(name, rows):
        values = (random.standard_normal((rows, WIDTH)) * 0.3).astype(np.float32)
        packed = gguf.quants.quantize(values, gguf.GGMLQuantizationType.Q4_0)
        writer.add_tensor(name, packed, raw_dtype=gguf.GGMLQuantizationType.Q4_0)

    matrix("token_embd.weight", num_tokens)
    for name in ("attn_norm", "ffn_norm"):
        writer.add_tensor(f"blk.0.{name}.weight", np.ones(WIDTH, dtype=np.float32))
    for name, rows in (("attn_q", WIDTH), ("attn_k", WIDTH // 2), ("attn_v", WIDTH // 2), ("attn_output", WIDTH),
                       ("ffn_gate", FFN), ("ffn_up", FFN), ("ffn_down", WIDTH)):
        matrix(f"blk.0.{name}.weight", rows)
    writer.add_tensor("output_norm.weight", np.ones(WIDTH, dtype=np.float32))


def main():
    folder = ROOT / "tests" / "golden" / "gguf"
    folder.mkdir(exist_ok=True)
    expected = {}
    for name, kind in (("byte_level", "gpt2"), ("sentencepiece", "llama")):
        path = folder / f"{name}.gguf"
        write_model(path, kind)
        model = check_llamacpp.Model(str(path), 64)
        expected[name] = [{"text": text, "ids": model.tokenize(text, parse_special=True)} for text in TEXTS]
        model.close()
    with open(folder / "expected.json", "w", encoding="utf-8") as out:
        json.dump(expected, out, ensure_ascii=False, indent=1)
        out.write("\n")


if __name__ == "__main__":
    main()
