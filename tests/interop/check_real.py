#!/usr/bin/env python3
"""check_real.py - real small models from packages: read, evaluated, fine-tuned for 20 steps and exported, beside llama.cpp.

SmolLM2-135M (GGUF, Q4_1) and Gemma 3 270M (GGUF, Q4_K_M with Q5_0 and Q8_0 inside), as tests/fetch_model.sh finds them.
Of each: llama.cpp gives a French text the same ids; the perplexity of the model as published, where llama.cpp rounds what
it multiplies to 8 bits and we do not, is near; after training, that of the F16 export equals ours within 0.5 %, which the
model before the training does not.
"""

import contextlib
import json
import subprocess
import sys
from pathlib import Path

import h5py

import atelier_tools as tools
import check_llamacpp

MODELS = ["smollm2", "gemma3"]
TOKENS = 192           # of the text that both read
PUBLISHED_LIMIT = 0.03 # relative, of perplexities of 4-bit weights
F16_LIMIT = 0.005      # the same of F16 weights

RUN_FILE = """
run: {{folder: "{folder}", seed: 7}}
prepare: {{tokenizer: "{model}", sources: ["{pages}"], output: "{scratch}/pages.h5", valid_every: 10}}
model: {{path: "{model}", save_dtype: bf16}}
data: {{train: "{scratch}/pages.h5", sequence_tokens: 64}}
train: {{steps: 20, batch_sequences: 2, micro_sequences: 1}}
optimizer: {{learning_rate: 2e-5, weight_decay: 0.01}}
schedule: {{kind: cosine, warmup_steps: 3}}
"""


def fetched(name):
    done = subprocess.run(["sh", "tests/fetch_model.sh", name], cwd=tools.ROOT, capture_output=True, text=True)
    if done.returncode:
        print(f" {name}: skipped, {done.stderr.strip()}")
        return None
    return tools.ROOT / done.stdout.strip()


def french_text():
    lines = (tools.ROOT / "data" / "sample" / "fiches-validation.jsonl").read_text(encoding="utf-8").splitlines()
    return "\n".join(json.loads(line)["text"] for line in lines)


def program_ids(model, text, adds_bos, scratch):
    """Ids that `prepare` makes of one document, which begins as llama.cpp begins it."""
    (scratch / "text.txt").write_text(text, encoding="utf-8")
    run_file = scratch / "text.yaml"
    run_file.write_text(json.dumps({"prepare": {"tokenizer": str(model), "output": str(scratch / "text.h5"),
                                                "document_ends": "bos" if adds_bos else "none",
                                                "sources": [str(scratch / "text.txt")]}}))
    tools.run(tools.ATELIER, "prepare", run_file)
    with h5py.File(scratch / "text.h5") as file:
        return [int(token) for token in file["tokens"][:TOKENS]]


def llamacpp_ids(path, text):
    """The first ids, and whether they begin with more than the text."""
    with contextlib.closing(check_llamacpp.Model(str(path), TOKENS)) as model:
        plain = model.tokenize(text, add_special=False)[:TOKENS]
        ids = model.tokenize(text)[:TOKENS]
        return ids, ids != plain


def llamacpp_perplexity(path, ids):
    with contextlib.closing(check_llamacpp.Model(str(path), TOKENS)) as model:
        return check_llamacpp.perplexity(model, ids)[0]


PROMPTS = ["La capitale de la France est", "Pour demander un passeport,", "The three largest planets are"]
WRITTEN = 24            # tokens after each
STORED_LIMIT = 1e-5     # of log-probabilities, where the matrices are in memory and where the file has them
BEHIND_LIMIT = 0.15     # nats that a token of llama.cpp's is less likely here than the most likely one, with Q8_0


def written(model, prompt, *words):
    """The most likely tokens after a prompt, as text."""
    return tools.run(tools.ATELIER, "generate", model, "--prompt", prompt, "--temperature", "0", "--max-tokens", str(WRITTEN),
                     *words).decode().removesuffix("\n")


def llamacpp_written(path, prompt):
    """The ids of a prompt, those that llama.cpp goes on with, and their text."""
    with contextlib.closing(check_llamacpp.Model(str(path), 4 * WRITTEN)) as model:
        ids = model.tokenize(prompt)
        made = check_llamacpp.generate_ids(model, ids, WRITTEN)
        text = b"".join(model.piece(one) for one in made if not model.library.llama_vocab_is_eog(model.vocab, one))
        return ids, made, text.decode(errors="replace")


def behind(path, ids, made):
    """The most nats by which one of these tokens is less likely here than the most likely one in its place."""
    logits = tools.program_logits(path, ids + made, "stored")[len(ids) - 1 : -1]
    return max((row.max() - row[one]).item() for row, one in zip(logits, made))


def check_asked(report, base, ids, scratch):
    """The program reads matrices where the files have them: with what is published as with f32 in memory, with an F16 export as
    llama.cpp goes on.  With Q8_0 llama.cpp rounds what it multiplies to 8 bits: where two tokens are about as likely it may take the
    other one."""
    texts = [written(base, prompt) for prompt in PROMPTS]
    report.expect(texts == [written(base, prompt, "--type", "f32") for prompt in PROMPTS], f"the text of {WRITTEN} most likely tokens, stored and f32")
    report.expect(len(set(texts)) == len(texts), "notices other prompts")
    stored, memory = (tools.program_logits(base, ids, *how).log_softmax(-1) for how in (["stored"], []))
    report.near("log-probabilities, stored and f32", tools.relative_error(stored, memory), STORED_LIMIT)
    for kind in ("f16", "q8_0"):
        exported = scratch / f"asked-{kind}.gguf"
        tools.run(tools.ATELIER, "export", base, "--to", "gguf", "--type", kind, "--out", exported)
        theirs = [llamacpp_written(exported, prompt) for prompt in PROMPTS]
        if kind == "f16":
            same = [written(exported, prompt) for prompt in PROMPTS] == [text for _, _, text in theirs]
            report.expect(same, f"f16: {WRITTEN} most likely tokens after {len(PROMPTS)} prompts, as llama.cpp")
        most = max(behind(exported, ids, made) for ids, made, _ in theirs)
        report.near(f"{kind}: llama.cpp's tokens behind the most likely ones", most, BEHIND_LIMIT)
        report.notices("its tokens the other way round", behind(exported, theirs[0][0], theirs[0][1][::-1]), BEHIND_LIMIT)


def away(got, want):
    return abs(got - want) / want


def check_model(report, name, base, scratch):
    text = french_text()
    their_ids, adds_bos = llamacpp_ids(base, text)
    ids = program_ids(base, text, adds_bos, scratch)
    theirs = llamacpp_perplexity(base, ids)
    published = tools.program_perplexity(base, [ids])
    report.expect(ids == their_ids, f"{name}: {len(ids)} ids of a French text")
    report.expect(ids[1:] != their_ids[:-1], "notices ids that are one off")
    report.near(f"as published: perplexity {published:.3f}, llama.cpp {theirs:.3f}", away(published, theirs), PUBLISHED_LIMIT)

    check_asked(report, base, ids, scratch)
    run_file = scratch / "run.yaml"
    run_file.write_text(RUN_FILE.format(folder=scratch / "run", model=base, scratch=scratch,
                                        pages=tools.ROOT / "data" / "sample" / "fiches.jsonl"))
    tools.run(tools.ATELIER, "prepare", run_file)
    tools.run(tools.ATELIER, "train", run_file, limit_s=3600)
    tuned = next((scratch / "run").glob("step-*20"))
    ours = tools.program_perplexity(tuned, [ids])
    report.expect(ours < published, f"after 20 steps: perplexity {ours:.3f}, before {published:.3f}")
    exported = scratch / "tuned.gguf"
    tools.run(tools.ATELIER, "export", tuned, "--to", "gguf", "--type", "f16", "--out", exported)
    theirs = llamacpp_perplexity(exported, ids)
    report.near(f"F16 export: perplexity {ours:.4f}, llama.cpp {theirs:.4f}", away(theirs, ours), F16_LIMIT)
    report.notices("the model before the training", away(theirs, published), F16_LIMIT)


def main():
    report = tools.Report()
    for name in MODELS:
        base = fetched(name)
        if base:
            with tools.scratch() as scratch:
                check_model(report, name, base, Path(scratch))
    return report.code() if report.done else tools.SKIPPED


if __name__ == "__main__":
    sys.exit(main())
