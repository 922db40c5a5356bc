"""check_chat.py - conversations that `atelier prepare` writes against apply_chat_template of transformers.

Each template of tests/golden/chat/templates is put into a copy of the sample model's tokenizer, to which the special tokens
that it writes are added; the conversations of check_templates.py and 40 of data/sample/conversations.jsonl are prepared and
compared: the ids must equal apply_chat_template(tokenize=True), and where the template has {% generation %} the mask must
equal return_assistant_tokens_mask.  Conversations that hold the text of a special token are left out: there transformers
makes a token of it, and we do not.  What either side refuses is counted.  Needs transformers, tokenizers and h5py.
"""
import collections
import datetime
import glob
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile

import h5py
import transformers

import check_templates

ATELIER = os.path.join(os.environ.get("OUT", "build/cpu"), "atelier")
MODEL = "data/sample/model"
TODAY = datetime.date.today().isoformat()
REASONS = collections.Counter()  # why conversations are left out here
FEW = 5  # conversations in one file: each that is left out is named
SPECIAL = re.compile(r"<\|[^|>'\n]*\|>|\[/?[A-Z_]{4,}\]|<(?:start|end)_of_turn>|<SPECIAL_1[0-2]>")


def make_model(folder, source):
    """The sample's tokenizer with this template and its tokens."""
    os.makedirs(folder, exist_ok=True)
    tokenizer = json.load(open(os.path.join(MODEL, "tokenizer.json"), encoding="utf-8"))
    known = {token["content"] for token in tokenizer["added_tokens"]}
    highest = max([token["id"] for token in tokenizer["added_tokens"]] + list(tokenizer["model"]["vocab"].values()))
    for text in sorted(set(SPECIAL.findall(source)) - known):
        highest += 1
        tokenizer["added_tokens"].append({"id": highest, "content": text, "single_word": False, "lstrip": False, "rstrip": False,
                                          "normalized": False, "special": True})
    json.dump(tokenizer, open(os.path.join(folder, "tokenizer.json"), "w", encoding="utf-8"), ensure_ascii=False)
    shutil.copy(os.path.join(MODEL, "tokenizer_config.json"), folder)
    with open(os.path.join(folder, "chat_template.jinja"), "w", encoding="utf-8", newline="") as file:
        file.write(source)
    return transformers.PreTrainedTokenizerFast.from_pretrained(folder)


def prepare(folder, cases):
    """The documents that atelier writes of these lines, as (ids, mask); None for one that it leaves out."""
    documents = []
    config = {"prepare": {"tokenizer": folder, "output": os.path.join(folder, "out.h5"), "on_bad_conversation": "skip",
                          "deduplicate": False, "date": TODAY,
                          "sources": [{"path": os.path.join(folder, "in.jsonl"), "licence": "x", "name": "s", "chat": True}]}}
    with open(os.path.join(folder, "config.yaml"), "w", encoding="utf-8") as file:
        json.dump(config, file)
    with open(os.path.join(folder, "in.jsonl"), "w", encoding="utf-8") as file:
        for case in cases:
            line = {"messages": case["messages"], "tools": case.get("tools"), "chat_template_kwargs": case.get("kwargs")}
            file.write(json.dumps(line, ensure_ascii=False) + "\n")
    run = subprocess.run([ATELIER, "prepare", os.path.join(folder, "config.yaml")], capture_output=True, text=True)
    if run.returncode != 0 and "no document" not in run.stderr + run.stdout:
        return None, run.stderr.strip().split("\n")[-1]
    for reason in re.findall(r"line \d+: (.*), left out", run.stderr + run.stdout):
        REASONS[re.sub(r"\d+", "N", reason)] += 1
    left_out = {int(number) for number in re.findall(r"line (\d+): .*left out", run.stderr + run.stdout)}
    if len(left_out) == len(cases):
        return [None] * len(cases), ""
    with h5py.File(os.path.join(folder, "out.h5")) as file:
        ids, mask, offsets = file["tokens"][:], file["loss_mask"][:], file["doc_offsets"][:]
    written = iter(range(len(offsets) - 1))
    for number in range(1, len(cases) + 1):
        if number in left_out:
            documents.append(None)
            continue
        at = next(written)
        documents.append((ids[offsets[at]:offsets[at + 1]].tolist(), mask[offsets[at]:offsets[at + 1]].tolist()))
    return documents, ""


def reference(tokenizer, case, has_marks):
    """The ids and the mask (None without marks) of transformers, or None where it refuses."""
    try:
        got = tokenizer.apply_chat_template(
            case["messages"], tools=case.get("tools"), tokenize=True, return_dict=True, return_assistant_tokens_mask=has_marks,
            **case.get("kwargs", {}))
    except Exception:  # whatever Python or the template has against it
        return None
    return got["input_ids"], got.get("assistant_masks")


def holds_special(tokenizer, case):
    text = json.dumps([case["messages"], case.get("tools")], ensure_ascii=False)
    return any(token in text for token in tokenizer.get_added_vocab())


def check_template(path, folder, cases, counts):
    """The conversations that differ."""
    source = open(path, encoding="utf-8", newline="").read()
    tokenizer = make_model(folder, source)
    has_marks = "{% generation" in source or "{%- generation" in source
    cases = [case for case in cases if not holds_special(tokenizer, case)]
    ours = []
    for first in range(0, len(cases), FEW):
        few, why = prepare(folder, cases[first:first + FEW])
        if few is None:
            counts["templates refused"] += 1
            print("refused: %s: %.200s" % (os.path.basename(path), why))
            return []
        ours += few
    wrong = []
    for case, got in zip(cases, ours):
        want = reference(tokenizer, case, has_marks)
        if got is None or want is None:
            counts["left out by both" if got is None and want is None else "left out here" if got is None else "refused there alone"] += 1
            if got is not None:
                wrong.append((case, got, want))
        elif got[0] != list(want[0]) or (has_marks and got[1] != list(want[1])):
            wrong.append((case, got, want))
        else:
            counts["equal"] += 1
            counts["masks equal"] += has_marks
    return wrong


def main():
    transformers.logging.set_verbosity_error()
    lines = [json.loads(line) for line in open("data/sample/conversations.jsonl", encoding="utf-8")][:40]
    cases = [{"messages": line["messages"]} for line in lines]
    cases += [{key: value for key, value in case.items() if key != "prompt"} for case in check_templates.CASES]
    counts, num_wrong = collections.Counter(), 0
    with tempfile.TemporaryDirectory() as folder:
        for path in sorted(glob.glob(os.path.join(check_templates.HERE, "*.jinja"))):
            for case, got, want in check_template(path, os.path.join(folder, os.path.basename(path)), cases, counts):
                num_wrong += 1
                print("WRONG: %s: %.300s\n  here         %.500s\n  transformers %.500s" % (os.path.basename(path), case, got, want))
    print("%s; %d differ" % (", ".join("%s: %d" % item for item in counts.most_common()), num_wrong))
    print("why conversations are left out here:")
    for reason, count in REASONS.most_common():
        print("  %5d  %.160s" % (count, reason))
    if counts["equal"] < 500 or counts["masks equal"] < 40:
        print("too few conversations: this compares nothing")
        return 1
    return 1 if num_wrong else 0


if __name__ == "__main__":
    sys.exit(main())
