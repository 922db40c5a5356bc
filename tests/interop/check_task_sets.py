#!/usr/bin/env python3
"""check_task_sets.py - published sets of questions as `atelier prepare --eval` converts them, beside lm-evaluation-harness.

Records made here with the fields of each set, as JSON Lines and as a table; of each the query, the choices, the right one and
the delimiter are those of lm-eval's own task, its description before the question included. gpqa-fr and bac-fr, which lm-eval
does not have, are compared with what lighteval's French evaluations write, said again here.  Control: another set's prompt.
"""

import contextlib
import csv
import io
import json
import logging
import os
import sys
from pathlib import Path

os.environ.update(HF_DATASETS_OFFLINE="1", TQDM_DISABLE="1")

import datasets

import atelier_tools as tools

logging.disable(logging.WARNING)
import lm_eval
from lm_eval.api.task import ConfigurableTask
from lm_eval.tasks import _yaml_loader

TASKS = Path(lm_eval.__file__).parent / "tasks"
QUESTIONS = [" Où est l'école ? ", "C'est <...> ici", "Deux  lignes\nà lire", "日本 {{x}} {% raw %}", "e\u0301te\u0301 <...>"]
BLANK = {"answerA": "suis", "answerB": "es", "answerC": "est là", "answerD": "sont"}
OPTIONS = {"option_a": "un", "option_b": "dé", "option_c": " trois", "option_d": "quatre "}


def cycle(values, i):
    return values[i % len(values)]


# Of each set: lm-eval's file, and a record by its number.
SETS = {
    "arc_challenge": ("french_bench/french_bench_arc_challenge.yaml", lambda i: {
        "question": cycle(QUESTIONS, i), "choices": ["a", "é", "c d", "\"e\""], "answerKey": cycle("ABCD", i)}),
    "hellaswag": ("french_bench/french_bench_hellaswag.yaml", lambda i: {
        "activity_label": "Sport [x]", "ctx_a": cycle([" Il  court [title]", "[a\nb] c", "Elle [rit", "Il rit    fort"], i),
        "ctx_b": cycle(["pUIS Il ÉTAIT là", "", "écoute [b] et  c", "[x][y] z"], i),
        "endings": [" va [b] ici", "[title] rit", "a  b", "Fin\u00a0"], "label": str(i % 4)}),
    "grammar": ("french_bench/french_bench_grammar.yaml", lambda i: {
        "question": cycle(QUESTIONS, i), **BLANK, "answer": cycle("ABCD", i), "context": ""}),
    "vocab": ("french_bench/french_bench_vocab.yaml", lambda i: {
        "question": cycle(QUESTIONS, i), **BLANK, "answer": cycle("DCBA", i), "context": ""}),
    "reading_comp": ("french_bench/french_bench_reading_comp.yaml", lambda i: {
        "question": cycle(QUESTIONS, i), **BLANK, "answer": cycle("ABCD", i), "context": "Un texte.\n"}),
    "boolqa": ("french_bench/french_bench_boolqa.yaml", lambda i: {
        "passage": "Le passage\nest là.", "question": cycle(QUESTIONS, i), "label": i % 2}),
    "xnli": ("french_bench/french_bench_xnli.yaml", lambda i: {
        "premise": cycle(QUESTIONS, i), "hypothesis": "Il est là.", "label": i % 3}),
    "topic_based_nli": ("french_bench/french_bench_topic_based_nli.yaml", lambda i: {
        "text": cycle(QUESTIONS, i), "topic": "l'accueil", "polarity": cycle(["positif", "negatif", "neutre"], i)}),
    "global_mmlu": ("global_mmlu/full/fr/global_mmlu_full_fr_anatomy.yaml", lambda i: {
        "question": cycle(QUESTIONS, i), **OPTIONS, "answer": cycle("ABCD", i), "subject": "anatomy"}),
    "include": ("include/default/French/include_base_44_french_arts_humanities.yaml", lambda i: {
        "question": cycle(QUESTIONS, i), **OPTIONS, "answer": i % 4, "domain": "Arts & Humanities"}),
    "belebele": ("belebele/belebele_fra_Latn.yaml", lambda i: {
        "flores_passage": "Le passage.", "question": cycle(QUESTIONS, i), "mc_answer1": "a", "mc_answer2": "b", "mc_answer3": "é",
        "mc_answer4": "d", "correct_answer_num": str(i % 4 + 1)}),
}


def harness(file, records):
    """[(query, choices, gold, delimiter)] of lm-eval's task over these records."""
    config = _yaml_loader.load_yaml(TASKS / file)
    for key in ("dataset_path", "dataset_name", "tag", "group", "fewshot_split", "fewshot_config", "training_split", "validation_split"):
        config.pop(key, None)
    config.update(test_split="test", custom_dataset=lambda **_: {"test": datasets.Dataset.from_list(records)})
    with contextlib.redirect_stderr(io.StringIO()):
        task = ConfigurableTask(config=config)
        found = [(task.fewshot_context(doc, 0), task.doc_to_choice(doc), task.doc_to_target(doc), task.config.target_delimiter)
                 for doc in task.test_docs()]
    return [(query, choices, choices.index(gold) if isinstance(gold, str) else gold, delimiter) for query, choices, gold, delimiter in found]


def program(name, file, scratch):
    output = scratch / "items.jsonl"
    output.unlink(missing_ok=True)
    tools.run(tools.ATELIER, "prepare", file, "--eval", name, "--output", output)
    items = [json.loads(line) for line in output.read_text(encoding="utf-8").splitlines()]
    return [(item["query"], item["choices"], item["gold"], item.get("delimiter", " ")) for item in items], items


def as_lines(records, scratch):
    file = scratch / "records.jsonl"
    file.write_text("".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records), encoding="utf-8")
    return file


def as_table(records, scratch):
    file = scratch / "records.csv"
    with file.open("w", encoding="utf-8", newline="") as out:
        writer = csv.DictWriter(out, list(records[0]))
        writer.writeheader()
        writer.writerows(records)
    return file


def check_set(report, name, file, make, scratch):
    records = [make(i) for i in range(20)]
    theirs = harness(file, records)
    ours, items = program(name, as_lines(records, scratch), scratch)
    report.expect(ours == theirs, f"{name}: {len(ours)} items as lm-eval has them")
    for mine, wanted in zip(ours, theirs):
        if mine != wanted:
            print(f"    {mine}\n    {wanted}")
            break
    report.expect([item["id"] for item in items] == list(range(1, 21)), "numbered by their records")
    if not any(isinstance(value, list) for value in records[0].values()):
        report.expect(program(name, as_table(records, scratch), scratch)[0] == theirs, "the same of a table")
    turned = records[1:] + records[:1]
    report.expect(harness(file, turned) != ours, "notices records one place on")
    return theirs


def check_gpqa(report, scratch):
    records = [{"Question": cycle(QUESTIONS, i), "Réponse correcte": f"juste {i}",
                **{f"Réponse incorrecte {k}": f"faux {i} {k}" for k in (1, 2, 3)}} for i in range(9)]
    wanted = []
    for i, record in enumerate(records):
        answers = [record[f"Réponse incorrecte {k}"] for k in (1, 2, 3)]
        answers.insert(i % 4, record["Réponse correcte"])
        listed = "".join(f"{letter}. {answer}\n" for letter, answer in zip("ABCD", answers))
        query = f"Choisissez la réponse correcte aux questions suivantes.\n\nQuestion: {record['Question']}\n{listed}Réponse: "
        wanted.append((query, list("ABCD"), i % 4, ""))
    report.expect(program("gpqa_fr", as_lines(records, scratch), scratch)[0] == wanted, "gpqa_fr: as lighteval writes it")
    report.expect(program("gpqa_fr", as_lines(records[1:], scratch), scratch)[0] != wanted[1:], "notices a right answer elsewhere")


def check_bac(report, scratch):
    records = [{"enonce": f"Soit f{i}.", "instruction": "Choisir.", "choix": ["a", "b", "c"][: 2 + i % 2] if i % 3 else None,
                "choix correct": "b" if i % 3 else None, "reponse": "42"} for i in range(9)]
    wanted = [(f"Enoncé: {r['enonce']}\n{r['instruction']}\n", r["choix"], r["choix"].index(r["choix correct"]), "")
              for r in records if r["choix"]]
    ours, items = program("bac_fr", as_lines(records, scratch), scratch)
    report.expect(ours == wanted, f"bac_fr: {len(ours)} of {len(records)} records are questions with choices")
    report.expect([item["id"] for item in items] == [2, 3, 5, 6, 8, 9], "numbered by their records")


def check_mmmlu(report, scratch):
    """MMLU's prompt under the names that MMMLU's columns have."""
    _, make = SETS["global_mmlu"]
    names = {"question": "Question", "option_a": "A", "option_b": "B", "option_c": "C", "option_d": "D", "answer": "Answer",
             "subject": "Subject"}
    records = [make(i) for i in range(20)]
    renamed = [{names[key]: value for key, value in record.items()} for record in records]
    report.expect(program("mmmlu", as_lines(renamed, scratch), scratch)[0] == harness(SETS["global_mmlu"][0], records),
                  "mmmlu: as lm-eval has global_mmlu")


def main():
    report = tools.Report()
    with tools.scratch() as scratch:
        for name, (file, make) in SETS.items():
            check_set(report, name, file, make, Path(scratch))
        check_mmmlu(report, Path(scratch))
        check_gpqa(report, Path(scratch))
        check_bac(report, Path(scratch))
    return report.code()


if __name__ == "__main__":
    sys.exit(main())
