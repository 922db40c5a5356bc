#!/usr/bin/env python3
"""check_tasks.py - questions with choices, beside lm-evaluation-harness.

Items made here: queries that end in white space of several kinds or in nothing, empty ones, accents composed and decomposed,
Chinese, emoji, choices of one token and of many, examples before the question, another delimiter, a special token in the
text.  Of each model lm-eval (its Hugging Face models on a processor, f32) and `atelier eval --tasks` say the sum of
log-probabilities of every choice: near within 1e-3, with the same choice in every item by the sum, by characters and by bytes;
means and standard errors are the same.  With `--shots` likewise, examples by lm-eval's sampler first_n.  Controls: choices one place
on, another delimiter, another number of examples.  Models: the sample model, SmolLM2-135M as
tests/fetch_model.sh finds it, and tiny random ones with the tokenizers of ../shared, which begin their texts with a token or not.
"""

import contextlib
import io
import json
import logging
import os
import subprocess
import sys
from pathlib import Path

os.environ.update(HF_DATASETS_OFFLINE="1", TQDM_DISABLE="1")

import datasets
import numpy as np
import torch
import transformers

import atelier_tools as tools
import compare_tokenizers

logging.disable(logging.WARNING)
import lm_eval
from lm_eval.api.task import ConfigurableTask
from lm_eval.models.huggingface import HFLM

SUM_LIMIT = 1e-3
NEAR_TIE = 1e-4  # of two scores: a choice between them may fall either way

WORDS = ["été", "e\u0301te\u0301", "mairie", "l'école", "justificatif", "à", "Où", "日本語", "🙂", "naïve", "cœur", "A", "oui", "№ 5", "deux  mois"]
ENDS = ["", " ", "  ", "\n", " \n\t", "\u00a0", "\u3000", ":", " :", "l'"]


def make_items(delimiter, count, seed):
    """A list of items, the same ones for a seed."""
    random = np.random.default_rng(seed)

    def words(count):
        return " ".join(random.choice(WORDS, count))

    items = []
    for i in range(count):
        query = words(random.integers(1, 12)) + ENDS[i % len(ENDS)]
        choices = [words(random.integers(1, 4)) for _ in range(random.integers(2, 6))]
        if i % 5 == 1:  # letters, after the answers, with two examples before
            listed = "\n".join(f"{letter}. {words(2)}" for letter in "ABCD")
            query = f"Q: {words(4)}\nA. x\nB. y\nRéponse: A\n\nQ: {words(4)}\n{listed}\nRéponse:"
            choices = list("ABCD")
        if i % 5 == 2:  # texts that begin alike
            choices = [choices[0], choices[0] + " " + words(1), choices[0] + " " + words(3)]
        if i % 20 == 7:
            query = ""
        items.append({"id": i, "query": query, "choices": choices, "gold": int(random.integers(len(choices))),
                      "group": f"groupe {i % 3}", "delimiter": delimiter})
    return items


def items_with_bos(tokenizer):
    """A begin token that is written in the text is not put before it again."""
    if not tokenizer.bos_token:
        return []
    return [{"id": "bos", "query": tokenizer.bos_token + "Où est la", "choices": ["mairie", "plage"], "gold": 0, "group": "groupe 0",
             "delimiter": " "}]


def harness(model, tokenizer, items, delimiter, shots=0):
    """What lm-eval says: sums [item][choice], whether each item is right by each measure, means and errors of all."""
    task = ConfigurableTask(config={
        "task": "made_here", "output_type": "multiple_choice", "test_split": "test", "target_delimiter": delimiter,
        "custom_dataset": lambda **_: {"test": datasets.Dataset.from_list([{k: i[k] for k in ("query", "choices", "gold")} for i in items])},
        "doc_to_text": lambda doc: doc["query"], "doc_to_choice": lambda doc: doc["choices"], "doc_to_target": lambda doc: doc["gold"],
        "fewshot_split": "test", "fewshot_config": {"sampler": "first_n"},
        "metric_list": [{"metric": name, "aggregation": "mean", "higher_is_better": True} for name in ("acc", "acc_norm", "acc_bytes")]})
    with contextlib.redirect_stderr(io.StringIO()):  # its progress bars
        wrapped = HFLM(pretrained=model, tokenizer=tokenizer, backend="causal", batch_size=8, device="cpu")
        found = lm_eval.simple_evaluate(model=wrapped, tasks=[task], num_fewshot=shots, log_samples=True, bootstrap_iters=1, verbosity="ERROR")
    samples = sorted(found["samples"]["made_here"], key=lambda sample: sample["doc_id"])
    return ([[float(r[0]) for r in sample["filtered_resps"]] for sample in samples],
            [{name: sample[name] for name in ("acc", "acc_norm", "acc_bytes")} for sample in samples],
            found["results"]["made_here"])


def program(model, items, scratch, *words):
    """What the program says: the lines of --output, and --json."""
    file, output = scratch / "items.jsonl", scratch / "output.jsonl"
    file.write_text("".join(json.dumps(item, ensure_ascii=False) + "\n" for item in items), encoding="utf-8")
    output.unlink(missing_ok=True)
    results = json.loads(tools.run(tools.ATELIER, "eval", model, "--tasks", file, "--output", output, "--json", *words))
    return [json.loads(line) for line in output.read_text(encoding="utf-8").splitlines()], results


def scores(sums, choices, measure):
    lengths = {"acc": lambda c: 1, "acc_norm": len, "acc_bytes": lambda c: len(c.encode())}[measure]
    return np.array(sums) / np.array([lengths(choice) for choice in choices])


def is_tie(values):
    order = np.sort(values)
    return order[-1] - order[-2] < NEAR_TIE


def worst_difference(lines, sums):
    return max(abs(ours["logp"] - theirs) for line, item in zip(lines, sums) for ours, theirs in zip(line["choices"], item))


def compare(report, name, folder, model, tokenizer, count, scratch):
    for delimiter in (" ", ""):
        items = make_items(delimiter, count, 3)
        items += items_with_bos(tokenizer) if delimiter == " " else []
        lines, results = program(folder, items, scratch)
        if delimiter:
            report.expect(all("left_out" not in line for line in lines), f"{name}: all {len(lines)} items scored")
        kept = [i for i, line in enumerate(lines) if "left_out" not in line]  # no delimiter: a choice may have no token of its own
        items, lines = [items[i] for i in kept], [lines[i] for i in kept]
        sums, right, theirs = harness(model, tokenizer, items, delimiter)
        shown = f"{name}, delimiter '{delimiter}', {len(items)} items"
        report.near(f"{shown}: sums of log-probabilities", worst_difference(lines, sums), SUM_LIMIT)
        turned = [item[1:] + item[:1] for item in sums]
        report.notices("choices one place on", worst_difference(lines, turned), SUM_LIMIT)
        for measure in ("acc", "acc_norm", "acc_bytes"):
            values = [scores(item, asked["choices"], measure) for item, asked in zip(sums, items)]
            clear = [i for i, value in enumerate(values) if not is_tie(value)]
            same = sum(lines[i]["chosen"][measure] == int(np.argmax(values[i])) and lines[i][measure] == right[i][measure] for i in clear)
            report.expect(same == len(clear) >= 0.9 * len(items), f"{shown}: the same choice by {measure} in {same} of {len(clear)}")
        if len(kept) == results["all"]["items"] and len(clear) == len(items):
            for measure in ("acc", "acc_norm", "acc_bytes"):
                report.near(f"{measure} of all", abs(results["all"][measure] - theirs[f"{measure},none"]), 1e-9)
                report.near("its standard error", abs(results["all"][f"{measure}_stderr"] - theirs[f"{measure}_stderr,none"]), 1e-9)
    other, _, _ = harness(model, tokenizer, items[:8], "\n")
    report.notices("another delimiter", worst_difference(lines[:8], other), SUM_LIMIT)


def compare_shots(report, name, folder, model, tokenizer, scratch):
    """Items of one group, as lm-eval's pool is one split."""
    items = [{**item, "group": "one"} for item in make_items(" ", 24, 11) if item["query"].strip() == item["query"]]
    for count in (1, 3):
        lines, results = program(folder, items, scratch, "--shots", str(count), "--shots-order", "first")
        sums, _, _ = harness(model, tokenizer, items, " ", count)
        report.expect(results["shots"]["count"] == count and all("left_out" not in line for line in lines), f"{name}: {count} shots")
        report.near(f"{name}, {count} examples before {len(items)} items: sums", worst_difference(lines, sums), SUM_LIMIT)
    other, _, _ = harness(model, tokenizer, items, " ", 2)
    report.notices("another number of examples", worst_difference(lines, other), SUM_LIMIT)


def random_model(tokenizer_folder, folder):
    """A tiny Llama with this tokenizer; the weights are large enough for choices to differ."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(tokenizer_folder, local_files_only=True)
    torch.manual_seed(5)
    config = transformers.LlamaConfig(vocab_size=len(tokenizer), hidden_size=32, intermediate_size=64, num_hidden_layers=2,
                                      num_attention_heads=2, num_key_value_heads=2, max_position_embeddings=512,
                                      initializer_range=0.3, bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id)
    transformers.LlamaForCausalLM(config).save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        if (tokenizer_folder / name).exists():
            (folder / name).write_bytes((tokenizer_folder / name).read_bytes())


def smollm2(scratch):
    """The folder of the real model, or None."""
    done = subprocess.run(["sh", "tests/fetch_model.sh", "smollm2"], cwd=tools.ROOT, capture_output=True, text=True)
    if done.returncode:
        print(f" smollm2: skipped, {done.stderr.strip()}")
        return None
    folder = scratch / "smollm2"
    tools.run(tools.ATELIER, "export", tools.ROOT / done.stdout.strip(), "--to", "hf", "--type", "f32", "--out", folder)
    return folder


def shared_tokenizers(scratch):
    """Folders of the tokenizers beside the repository; none where they are absent."""
    if not compare_tokenizers.SHARED.exists():
        print(" tokenizers: skipped, ../shared is absent")
        return []
    compare_tokenizers.unpack_tokenizers(scratch)
    return sorted(path.parent for path in scratch.rglob("tokenizer.json"))


def file_tokenizer(folder):
    """What tokenizer.json says: transformers 5 builds some classes anew (LlamaTokenizer), and a text that begins with a space
    then has other tokens."""
    own = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)
    return transformers.PreTrainedTokenizerFast(tokenizer_file=str(folder / "tokenizer.json"), bos_token=own.bos_token,
                                                eos_token=own.eos_token)


def check(report, name, folder, scratch, count=60):
    model, tokenizer = tools.load_hf(folder), file_tokenizer(folder)
    compare(report, name, folder, model, tokenizer, count, scratch)
    compare_shots(report, name, folder, model, tokenizer, scratch)


def main():
    """Arguments: names of the models to ask; none: all."""
    report = tools.Report()
    asked = sys.argv[1:]
    with tools.scratch() as scratch:
        scratch = Path(scratch)
        unpacked = scratch / "tokenizers"
        unpacked.mkdir()
        if not asked or "sample" in asked:
            check(report, "sample model", tools.ROOT / "data" / "sample" / "model", scratch)
        for number, tokenizer in enumerate(shared_tokenizers(unpacked)):
            if not asked or tokenizer.name in asked:
                folder = scratch / f"random-{number}"
                random_model(tokenizer, folder)
                check(report, tokenizer.name, folder, scratch, count=25)
        real = smollm2(scratch) if not asked or "smollm2" in asked else None
        if real:
            check(report, "SmolLM2-135M", real, scratch)
    return report.code() if report.done else tools.SKIPPED


if __name__ == "__main__":
    sys.exit(main())
