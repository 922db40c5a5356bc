"""check_cells.py - votes, reactions, labels and conversations as a table, written by Python's csv module as pandas' to_csv writes them
(None an empty cell, booleans True and False, lists as texts of JSON), against the same rows as JSON Lines: `prepare` must make the
same token file of both, token for token, with the same numbers of what is left out.  The control is a table of which one row has the
other model chosen: its token file has to differ.
"""
import csv
import json
import os
import random
import subprocess
import sys
import tempfile
from pathlib import Path

import h5py

ROOT = Path(__file__).resolve().parents[2]
ATELIER = ROOT / os.environ.get("OUT", "build/cpu") / "atelier"
WORDS = ["mot", "l'État", '"cité"', "a\tb", "ligne\nsuivante", "[1, 2]", "{'x'}", "\\n", "œuvre", "True", "", ";"]


def text(rng):
    return " ".join(rng.choice(WORDS) for _ in range(rng.randint(1, 6))) or "x"


def talk(rng, question, turns):
    messages = [{"role": "user", "content": question}]
    for turn in range(turns):
        messages.append({"role": "assistant", "content": f"{turn} " + text(rng)})
        messages.append({"role": "user", "content": "suite " + text(rng)})
    return messages[:-1]


def vote(rng):
    question = "q " + text(rng)
    chosen = rng.choice(["m1", "m2", None])
    system = rng.choice([None, "soyez bref"])
    return {"model_a_name": "m1", "model_b_name": "m2", "chosen_model_name": chosen, "both_equal": chosen is None,
            "conversation_a": talk(rng, question, rng.randint(1, 3)), "conversation_b": talk(rng, question, rng.randint(1, 3)),
            "system_prompt_a": system, "system_prompt_b": system}


def reaction(rng):
    conversation = talk(rng, "q " + text(rng), 2)
    at = rng.choice([1, 3])
    liked = rng.choice([True, False, None])
    return {"refers_to_model": "m1", "model_pos": "a", "msg_index": at, "response_content": conversation[at]["content"], "liked": liked,
            "disliked": None if liked is None else not liked, "conversation_a": conversation, "conversation_b": talk(rng, "q", 1)}


def label(rng):
    return {"prompt": "p " + text(rng), "completion": "c " + text(rng), "label": rng.random() < 0.5}


def chat(rng):
    return {"id": str(rng.randrange(10 ** 6)), "messages": talk(rng, "q " + text(rng), rng.randint(1, 3))}


def pair(rng):
    return {"prompt": talk(rng, "q " + text(rng), 2)[:3], "chosen": [{"role": "assistant", "content": "o " + text(rng)}],
            "rejected": [{"role": "assistant", "content": "n " + text(rng)}]}


KINDS = {"vote": (vote, "record: vote\n      chat: true"), "reaction": (reaction, "record: reaction\n      chat: true"),
         "label": (label, "record: label"), "chat": (chat, "chat: true"), "pair": (pair, "record: pair\n      chat: true")}


def cell(value):
    if value is None:
        return ""
    return json.dumps(value, ensure_ascii=False) if isinstance(value, list) else str(value)


def write(rows, path):
    with open(path, "w", encoding="utf-8", newline="") as file:
        if path.endswith(".jsonl"):
            file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
            return
        writer = csv.writer(file, delimiter="\t" if path.endswith(".tsv") else ",", lineterminator="\n")
        writer.writerow(rows[0].keys())
        writer.writerows([cell(value) for value in row.values()] for row in rows)


def first_lines(rows, name):
    """The line on which each row begins: a cell may hold line breaks, and a table has a header."""
    if name.endswith(".jsonl"):
        return list(range(1, len(rows) + 1))
    lines, line = [], 2
    for row in rows:
        lines.append(line)
        line += 1 + sum(cell(value).count("\n") for value in row.values())
    return lines


def prepared(rows, name, keys, folder):
    """All arrays of the token file, and what was left out; of the places the numbers of the rows."""
    path, output = os.path.join(folder, name), os.path.join(folder, name + ".h5")
    write(rows, path)
    config = os.path.join(folder, "run.yaml")
    template = "  chat_template: chatml\n" if "chat: true" in keys else ""
    with open(config, "w", encoding="utf-8") as file:
        file.write(f"prepare:\n  tokenizer: {ROOT}/data/sample/model\n  output: {output}\n{template}  sources:\n"
                   f"    - path: {path}\n      {keys}\n")
    done = subprocess.run([ATELIER, "prepare", config, "--json"], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    arrays = {}
    with h5py.File(output) as file:
        file.visititems(lambda where, item: arrays.update({where: item[()].tolist()})
                        if isinstance(item, h5py.Dataset) and item.dtype.kind in "iu" else None)
    said = json.loads(done.stdout)
    del arrays["doc_files"]  # the name, which is another one
    row_of = {line: row for row, line in enumerate(first_lines(rows, name))}
    arrays["doc_record"] = [row_of.get(line) for line in arrays["doc_record"]]
    assert None not in arrays["doc_record"], f"{name}: a document of a line on which no row begins"
    return arrays, {key: value for key, value in said.items() if isinstance(value, (int, dict)) and "bytes" not in key}


def main():
    rng = random.Random(3)
    done = 0
    with tempfile.TemporaryDirectory() as folder:
        for kind, (make, keys) in KINDS.items():
            rows = [make(rng) for _ in range(300)]
            lines, said = prepared(rows, "rows.jsonl", keys, folder)
            for name in ("rows.csv", "rows.tsv"):
                table, said_of_table = prepared(rows, name, keys, folder)
                assert table == lines and len(lines) > 1, f"{kind}, {name}: other tokens than of JSON Lines"
                assert said_of_table == said, f"{kind}, {name}: {said_of_table} {said}"
                done += 1
            print(f"  ok     {kind}: {said.get('documents')} documents, {said.get('tokens')} tokens, of a table as of JSON Lines")
        rows = [vote(rng) for _ in range(20)] + [{**vote(rng), "chosen_model_name": "m1", "both_equal": False}]
        other = rows[:-1] + [{**rows[-1], "chosen_model_name": "m2"}]
        control = prepared(rows, "rows.csv", KINDS["vote"][1], folder)[0] != prepared(other, "rows.csv", KINDS["vote"][1], folder)[0]
        print(f"  control: another model chosen in one row {'differs' if control else 'is not seen'}")
    return 0 if control and done == 2 * len(KINDS) else 1


if __name__ == "__main__":
    sys.exit(main())
