#!/usr/bin/env python3
"""check_tekken.py - ids from a tekken.json, as mistral-common and transformers make them.

The files of mistral-common's own package: ids of the sample texts, of awkward ones and of ../shared/corpora where they are
there, against mistral-common, which computes with ranks; and the vocabulary and merges of the tokenizer.json that a
checkpoint gets, against the conversion of transformers, which makes them of the same file.
"""
import json
import random
import struct
import sys
from pathlib import Path

import mistral_common
from mistral_common.tokens.tokenizers.tekken import Tekkenizer
from transformers.integrations.mistral.tokenizer import MistralConverter

import atelier_tools as tools
import compare_tokenizers

DATA = Path(mistral_common.__file__).parent / "data"
MOST_BYTES = 4_000_000  # of a corpus
AWKWARD = ["", " ", "\n\n", "  deux  espaces\t", "ÉTAT, DÉCRET n° 2023-1234 : 1 234,56 €", "😀 日本 l’œuvre", "12345678", "aaaa" * 40,
           " " * 90, "\r\n\r\n x", "<s>[INST] pas un token </s>", "e\u0301te\u0301", "\u0000\u0001\u007f", "ﬁn\u00a0de\u202fligne"]


def texts():
    lines = list(AWKWARD)
    with open(tools.ROOT / "data" / "sample" / "fiches-validation.jsonl", encoding="utf-8") as file:
        lines += [json.loads(line)["text"] for line in file]
    lines += [chr(code) for code in range(1, 0x3000)]  # every byte that UTF-8 has
    noise = random.Random(7)
    lines += ["".join(noise.choice("aàbcdé 'AZ12\n\t.,;-_/") for _ in range(60)) for _ in range(2000)]
    corpora = compare_tokenizers.SHARED / "corpora"
    for path in sorted(corpora.glob("*.jsonl.zst")) if corpora.is_dir() else []:
        size = 0
        for text in compare_tokenizers.documents(path):
            size += len(text.encode())
            if size > MOST_BYTES:
                break
            lines.append(text)
    return lines


def ids_of(path, lines):
    answers = compare_tokenizers.run_tool(str(tools.OUT / "tests" / "tool_encode"), path, "plain", [line.encode() for line in lines])
    return [list(struct.unpack(f"<{len(answer) // 4}i", answer)) for answer in answers]


def check_file(report, source, folder, lines):
    folder.mkdir()
    path = folder / "tekken.json"
    path.write_bytes(source.read_bytes())
    theirs = Tekkenizer.from_file(path)
    got, want = ids_of(folder, lines), [theirs.encode(line, bos=False, eos=False) for line in lines]
    wrong = [line for line, a, b in zip(lines, got, want) if a != b]
    report.expect(not wrong, f"ids of {len(lines)} texts, {sum(map(len, want))} tokens, different: {wrong[:2] or 'none'}")
    changed = sum(a != b for a, b in zip(got, ids_of(folder, [line.upper() for line in lines])))
    report.expect(changed > 100, f"notices other texts: {changed}")
    check_conversion(report, folder, path, theirs)


def listed(path, tekkenizer):
    """The same file with its special tokens listed, as newer files have them; transformers asks for that."""
    root = json.loads(path.read_text(encoding="utf-8"))
    root["special_tokens"] = [{"rank": i, "token_str": tekkenizer.id_to_piece(i), "is_control": True}
                              for i in range(root["config"]["default_num_special_tokens"])]
    copy = path.with_name("tekken_listed.json")
    copy.write_text(json.dumps(root))
    return copy


def check_conversion(report, folder, path, tekkenizer):
    """The tokenizer.json of a checkpoint."""
    (folder / "texts.jsonl").write_text(json.dumps({"text": "un texte assez long pour une séquence"}) + "\n")
    config = folder / "run.yaml"
    config.write_text(json.dumps({
        "prepare": {"tokenizer": str(path), "output": str(folder / "t.h5"), "sources": [{"path": str(folder / "texts.jsonl")}]},
        "model": {"tokenizer": str(folder), "architecture": {"width": 8, "layers": 1, "heads": 1, "ffn_width": 8}},
        "data": {"train": str(folder / "t.h5"), "sequence_tokens": 4}, "run": {"folder": str(folder / "run"), "threads": 1},
        "train": {"steps": 1, "batch_sequences": 1, "micro_sequences": 1}}))
    tools.run(tools.ATELIER, "prepare", config)
    tools.run(tools.ATELIER, "train", config)
    ours = json.loads((folder / "run" / "step-000001" / "tokenizer.json").read_text())
    theirs = json.loads(MistralConverter(str(listed(path, tekkenizer))).converted().to_str())
    report.expect(ours["model"]["vocab"] == theirs["model"]["vocab"], f"{len(ours['model']['vocab'])} tokens, as transformers names them")
    report.expect(ours["model"]["merges"] == theirs["model"]["merges"], f"{len(ours['model']['merges'])} merges, in its order")
    report.expect(ours["added_tokens"] == theirs["added_tokens"], f"{len(ours['added_tokens'])} special tokens")
    for part in ("pre_tokenizer", "normalizer"):
        report.expect(ours[part] == theirs[part], part)
    theirs["model"]["merges"].reverse()
    report.expect(ours["model"]["merges"] != theirs["model"]["merges"], "notices another order of merges")


def main():
    report = tools.Report()
    sources = sorted(DATA.glob("tekken*.json"))
    if not sources:
        print("  mistral-common brings no tekken.json")
        return tools.SKIPPED
    lines = texts()
    with tools.scratch() as scratch:
        for source in sources:
            print(f" {source.name}")
            try:
                check_file(report, source, Path(scratch) / source.stem, lines)
            except tools.ProgramFailed as failure:
                report.expect(False, str(failure))
    return report.code()


if __name__ == "__main__":
    sys.exit(main())
