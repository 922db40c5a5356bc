#!/usr/bin/env python3
"""check_vocabulary.py - tokens that a run adds to a model, as transformers and llama.cpp see them.

The sample's base model, with its head tied and with one of its own, gets three tokens in a run of one step that moves no
weight by more than 1e-12.  transformers then loads the checkpoint: ids equal those of its own add_tokens, the new rows are the
mean of the others, all other rows and the logits of the old tokens are the base model's.  llama.cpp reads the GGUF export and
makes the same ids.  And a run that unties the head: transformers finds a head of its own, which begins as the embedding.
"""
import json
import sys
from pathlib import Path

import torch
import transformers
from tokenizers import AddedToken

import atelier_tools as tools
import check_llamacpp

PLAIN, SPECIAL = ["<pv>", "art.\N{NO-BREAK SPACE}L."], ["<|juge|>"]
LIMIT = 1e-6  # what the step may move, and f32
LINES = ["Le <pv> du juge, art.\N{NO-BREAK SPACE}L. 12 et<pv>.", "<|juge|>Oui<|juge|> <pv><pv>", "sans rien de nouveau", "<pv", ""]


def make_base(folder, tied):
    """The sample model in f32; untied: with a head that is not its embedding."""
    source = tools.ROOT / "data" / "sample" / "model"
    model = tools.load_hf(source)
    if not tied:
        torch.manual_seed(3)
        model.config.tie_word_embeddings = False
        model.lm_head.weight = torch.nn.Parameter(torch.randn_like(model.lm_head.weight) * 0.02)
    model.save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).write_bytes((source / name).read_bytes())
    return tools.load_hf(folder)


def run_file(folder, base, **model):
    """One step over texts that have the new tokens; returns the path of the run file."""
    (folder / "texts.jsonl").write_text("".join(json.dumps({"text": line * 8}) + "\n" for line in LINES[:3]))
    path = folder / "run.yaml"
    path.write_text(json.dumps({
        "prepare": {"tokenizer": str(base), "output": str(folder / "tokens.h5"), "sources": [{"path": str(folder / "texts.jsonl")}]},
        "model": {"path": str(base), "save_dtype": "f32", **model}, "data": {"train": str(folder / "tokens.h5"), "sequence_tokens": 16},
        "run": {"folder": str(folder / "run"), "threads": 1}, "train": {"steps": 1, "batch_sequences": 1, "micro_sequences": 1},
        "optimizer": {"learning_rate": 1e-12, "weight_decay": 0}, "schedule": {"kind": "constant"}}))
    return path


def train(folder, base, **model):
    path = run_file(folder, base, **model)
    tools.run(tools.ATELIER, "prepare", path)
    tools.run(tools.ATELIER, "train", path)
    return folder / "run" / "step-000001"


def check_ids(report, base_folder, checkpoint, gguf):
    ours = transformers.AutoTokenizer.from_pretrained(checkpoint, local_files_only=True)
    before = transformers.AutoTokenizer.from_pretrained(base_folder, local_files_only=True)
    theirs = transformers.AutoTokenizer.from_pretrained(base_folder, local_files_only=True)
    theirs.add_tokens([AddedToken(text, normalized=False) for text in PLAIN])
    theirs.add_tokens([AddedToken(text, normalized=False, special=True) for text in SPECIAL], special_tokens=True)
    report.expect(len(ours) == len(before) + 3, f"{len(ours)} tokens")
    report.expect(all(ours.encode(line) == theirs.encode(line) for line in LINES), f"ids of {len(LINES)} lines, as add_tokens makes them")
    report.expect(ours.decode(ours.encode(LINES[1]), skip_special_tokens=True) == "Oui <pv><pv>", "special tokens are left out of text")
    report.expect(sum(before.encode(line) != theirs.encode(line) for line in LINES) == 2, "notices a tokenizer without them")
    model = check_llamacpp.Model(str(gguf), 64)
    got = [model.tokenize(line, parse_special=True) for line in LINES]
    model.close()
    report.expect(got == [theirs.encode(line) for line in LINES], "llama.cpp makes the same ids")


def check_rows(report, what, before, after):
    """A matrix [V, C] of the base, and of the checkpoint."""
    rows = len(before)
    mean = before.double().mean(dim=0)
    report.expect(len(after) == rows + 3, f"{what}: {len(after)} rows")
    report.near(f"{what}: the rows that were there", tools.max_difference(before, after[:rows]), LIMIT)
    report.near(f"{what}: the new rows and the mean", tools.max_difference(after[rows:], mean.expand(3, -1)), LIMIT)
    report.notices(f"{what}: a row that is another token's", tools.max_difference(after[rows:], before[-3:]), 100 * LIMIT)


def check_model(report, folder, tied):
    folder.mkdir()
    base = make_base(folder / "base", tied)
    checkpoint = train(folder, folder / "base", add_tokens=PLAIN, add_special_tokens=SPECIAL)
    model = tools.load_hf(checkpoint)
    report.expect(model.config.vocab_size == base.config.vocab_size + 3, f"vocab_size {model.config.vocab_size}")
    check_rows(report, "embedding", base.get_input_embeddings().weight, model.get_input_embeddings().weight)
    check_rows(report, "head", base.get_output_embeddings().weight, model.get_output_embeddings().weight)
    ids = tools.random_documents([40], base.config.vocab_size, seed=5)[0]
    report.near("logits of the tokens that were there", tools.max_difference(
        tools.hf_logits(base, ids), tools.hf_logits(model, ids)[:, :base.config.vocab_size]), 1e-4)
    gguf = folder / "model.gguf"
    tools.run(tools.ATELIER, "export", checkpoint, "--to", "gguf", "--type", "f32", "--out", gguf)
    check_ids(report, folder / "base", checkpoint, gguf)


def check_untied(report, folder):
    folder.mkdir()
    base = make_base(folder / "base", tied=True)
    untied = tools.load_hf(train(folder, folder / "base", tied_head=False))
    embedding, head = untied.get_input_embeddings().weight, untied.get_output_embeddings().weight
    report.expect(not untied.config.tie_word_embeddings and embedding.data_ptr() != head.data_ptr(), "a head of its own")
    report.near("the head and the embedding", tools.max_difference(head, base.get_input_embeddings().weight), LIMIT)
    ids = tools.random_documents([40], base.config.vocab_size, seed=6)[0]
    report.near("logits", tools.max_difference(tools.hf_logits(base, ids), tools.hf_logits(untied, ids)), 1e-4)
    with torch.no_grad():
        head += 0.01  # the control: a tied model would change with it
    report.expect(torch.equal(embedding, tools.load_hf(folder / "run" / "step-000001").get_input_embeddings().weight),
                  "the embedding stays when the head moves")


def main():
    report = tools.Report()
    with tools.scratch() as scratch:
        print(" the sample's model, untied")
        try:
            check_untied(report, Path(scratch) / "untied")
        except tools.ProgramFailed as failure:
            report.expect(False, str(failure))
        for tied in (True, False):
            print(f" the sample's model, {'tied' if tied else 'with a head of its own'}")
            try:
                check_model(report, Path(scratch) / f"tied-{tied}", tied)
            except tools.ProgramFailed as failure:
                report.expect(False, str(failure))
    return report.code()


if __name__ == "__main__":
    sys.exit(main())
