#!/usr/bin/env python3
"""make_tekken.py - tests/golden/tekken: a small tekken.json, what transformers makes of it, and ids by mistral-common.

    tekken.json     the bytes, tokens learnt from data/sample/fiches.jsonl, and some more than default_vocab_size takes
    twin.json       the tokenizer.json of transformers' MistralConverter
    expected.json   [text, ids] by mistral-common, which computes with ranks and not with merges

Packages of tests/interop/requirements.txt.
"""
import base64
import json
from pathlib import Path

from mistral_common.tokens.tokenizers.tekken import Tekkenizer
from tokenizers import Regex, Tokenizer, models, pre_tokenizers, trainers
from transformers.convert_slow_tokenizer import bytes_to_unicode
from transformers.integrations.mistral.tokenizer import MistralConverter

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "tests" / "golden" / "tekken"
NUM_SPECIAL, NUM_TOKENS, NUM_MORE = 24, 700, 20
PATTERN = (r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?"
           r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+")
SPECIAL = ["<unk>", "<s>", "</s>", "[INST]", "[/INST]", "<pad>", "[THINK]", "[/THINK]"]
AWKWARD = ["", " ", "\n\n", "  deux  espaces\t", "ÉTAT, DÉCRET n° 2023-1234 : 1 234,56 €", "😀 日本 l’œuvre", "aaaaaaaaa", "<s>[INST] x </s>",
           " " * 20, "\r\n x\r", "e\u0301te\u0301", "\u0001\u007f", "ﬁn\u00a0de\u202fligne", "Le greffe du tribunal judiciaire"]


def texts():
    with open(ROOT / "data" / "sample" / "fiches.jsonl", encoding="utf-8") as file:
        return [json.loads(line)["text"] for line in file]


def learn():
    """Bytes of the tokens, in the order of their ranks."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(PATTERN), "isolated"),
                                                       pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    tokenizer.train_from_iterator(texts(), trainers.BpeTrainer(vocab_size=NUM_TOKENS + NUM_MORE, show_progress=False,
                                                               initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    byte_of = {letter: byte for byte, letter in bytes_to_unicode().items()}
    vocab = sorted(tokenizer.get_vocab().items(), key=lambda item: item[1])
    longer = [bytes(byte_of[letter] for letter in text) for text, _ in vocab if len(text) > 1]
    return [bytes([byte]) for byte in range(256)] + longer


def text_of(token):
    try:
        return token.decode()
    except UnicodeDecodeError:
        return None


def main():
    FOLDER.mkdir(exist_ok=True)
    tokens = learn()
    assert len(tokens) == NUM_TOKENS + NUM_MORE
    root = {"config": {"pattern": PATTERN, "num_vocab_tokens": len(tokens), "default_vocab_size": NUM_TOKENS + NUM_SPECIAL,
                       "default_num_special_tokens": NUM_SPECIAL, "version": "v7"},
            "vocab": [{"rank": rank, "token_bytes": base64.b64encode(token).decode(), "token_str": text_of(token)}
                      for rank, token in enumerate(tokens)],
            "special_tokens": [{"rank": rank, "token_str": text, "is_control": True} for rank, text in enumerate(SPECIAL)]}
    path = FOLDER / "tekken.json"
    path.write_text(json.dumps(root, ensure_ascii=False, separators=(",", ":")).replace('},{"rank"', '},\n{"rank"') + "\n")
    twin = json.loads(MistralConverter(str(path)).converted().to_str())
    (FOLDER / "twin.json").write_text(json.dumps(twin, ensure_ascii=False, separators=(",", ":")) + "\n")
    reference = Tekkenizer.from_file(path)
    lines = AWKWARD + [line for text in texts()[:4] for line in text.split("\n")[:6]]
    cases = [[line, reference.encode(line, bos=False, eos=False)] for line in lines]
    (FOLDER / "expected.json").write_text(
        "[\n" + ",\n".join(json.dumps(case, ensure_ascii=False, separators=(",", ":")) for case in cases) + "\n]\n")


if __name__ == "__main__":
    main()
