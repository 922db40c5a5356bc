"""check_show.py - samples that `atelier inspect --show` tells, against the token file as h5py reads it and texts as tokenizers
decodes them.

Every document of a file of conversations and of one of texts: ids, which of them are learnt (the mask, without the first token
of a document), the source's name, and the text between the marks.  Controls: a mask with one bit changed, and a text with one
character changed, have to be noticed.
"""
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import h5py
from tokenizers import Tokenizer

from atelier_tools import ATELIER, ROOT, Report

TOKENIZER = ROOT / "data" / "sample" / "tokenizer"
MARKS = {"⟦": "", "⟧": "", "↵\n": "\n", "⇥": "\t"}


def prepare(folder, name, lines):
    config = Path(folder) / f"{name}.yaml"
    config.write_text(f"prepare:\n  tokenizer: {TOKENIZER}\n  output: {folder}/{name}.h5\n  sources:\n{lines}", encoding="utf-8")
    subprocess.run([ATELIER, "prepare", config], check=True, capture_output=True)
    return Path(folder) / f"{name}.h5"


def shown(path):
    command = [ATELIER, "inspect", path, "--show", "1000", "--json", "--tokenizer", TOKENIZER]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)["samples"]


def plain(text, special):
    """A shown text without its marks."""
    for mark, meaning in MARKS.items():
        text = text.replace(mark, meaning)
    for token in special:
        text = text.replace(f"⟨{token}⟩", token)
    return text


def documents_of(path):
    with h5py.File(path) as file:
        offsets, tokens = file["doc_offsets"][:], file["tokens"][:]
        mask = file["loss_mask"][:] if "loss_mask" in file else None
        names = [name.decode() if isinstance(name, bytes) else name for name in file["sources/name"][:]]
        sources = file["doc_source"][:]
    for i, (first, end) in enumerate(zip(offsets[:-1], offsets[1:])):
        learnt = [1] * int(end - first) if mask is None else [int(bit != 0) for bit in mask[first:end]]
        if learnt:
            learnt[0] = 0
        yield i, names[sources[i]], [int(t) for t in tokens[first:end]], learnt


def differences(samples, path, tokenizer, special, change=None):
    """How many documents are shown otherwise than they stand in the file."""
    wanted = list(documents_of(path))
    count = abs(len(wanted) - len(samples))
    for sample, (number, name, ids, learnt) in zip(samples, wanted):
        text = tokenizer.decode(ids, skip_special_tokens=False)
        if change == "mask" and number == 3:
            learnt[-1] = 1 - learnt[-1]
        if change == "text" and number == 3:
            text = text[:-1] + "?"
        (piece,) = sample["documents"]
        count += not (piece["document"] == number and piece["source"] == name and piece["ids"] == ids
                      and piece["learnt"] == learnt and plain(piece["text"], special) == text)
    return count


def summary_differs(path, samples):
    """Whether `inspect` counts otherwise than the file's own arrays say."""
    told = json.loads(subprocess.run([ATELIER, "inspect", path, "--json"], check=True, capture_output=True, text=True).stdout)
    documents = [(ids, learnt) for _, _, ids, learnt in samples]
    lengths = [len(ids) for ids, _ in documents]
    learnt = sum(sum(bits) for _, bits in documents)
    counted = all(c["documents"] == sum(c["from"] <= n <= c["to"] for n in lengths) for c in told["lengths"])
    return not (told["learnt_tokens"] == learnt and abs(told["learnt_share"] - learnt / sum(lengths)) < 1e-5
                and told["documents_without_learnt"] == sum(not any(bits) for _, bits in documents)
                and told["longest_document"] == {"document": lengths.index(max(lengths)), "tokens": max(lengths)}
                and counted and sum(c["documents"] for c in told["lengths"]) == len(lengths))


def main():
    report = Report()
    tokenizer = Tokenizer.from_file(str(TOKENIZER / "tokenizer.json"))
    special = [t.content for t in tokenizer.get_added_tokens_decoder().values() if t.special]
    sample = ROOT / "data" / "sample"
    with tempfile.TemporaryDirectory() as folder:
        cases = {
            "conversations": f"    - {{path: {sample}/conversations.jsonl, name: dialogues, chat: true}}\n",
            "texts": f"    - {{path: {sample}/fiches.jsonl, name: fiches}}\n"
                     f"    - {{path: {sample}/fiches-validation.jsonl, name: more}}\n",
        }
        for name, lines in cases.items():
            path = prepare(folder, name, lines)
            samples = shown(path)
            found = differences(samples, path, tokenizer, special)
            report.expect(found == 0 and len(samples) > 20, f"{name}: {len(samples)} documents, {found} shown otherwise")
            documents = list(documents_of(path))
            report.expect(not summary_differs(path, documents), f"{name}: the summary counts the same")
            report.expect(summary_differs(path, documents[1:]), f"{name}: notices a document less in the summary")
            for change in ("mask", "text"):
                found = differences(samples, path, tokenizer, special, change)
                report.expect(found == 1, f"{name}: notices one changed {change}: {found}")
    return report.code()


if __name__ == "__main__":
    sys.exit(main())
