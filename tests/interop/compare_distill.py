#!/usr/bin/env python3
"""compare_distill.py - `atelier eval --top-k` and a run that learns from its file against transformers and torch in f64.

The teacher is the sample model, the student a random one of another shape with its tokenizer.  What the teacher's file says of each
token must be what transformers says.  Then the student learns, by the program and by torch: autograd and torch.optim.AdamW in
f64, with torch's kl_div of the teacher's outcomes, the rest of the vocabulary as one of them, from the student's.  All documents fit
into one sequence and a step is the whole file, so the order of the data cannot matter.  Losses, distances and gradient norms of the
steps must be the program's.  Controls: a teacher whose rows are those of the tokens before, another temperature, and the rest left out.
"""

import json
import shutil
import sys

import h5py
import numpy as np
import torch
import torch.nn.functional as F
import transformers

import atelier_tools as tools

TEACHER = tools.ROOT / "data" / "sample" / "model"
STEPS, RATE, K, HEADER = 6, 2e-3, 12, 4096
LIMIT, NORM_LIMIT, TEACHER_LIMIT = 1e-6, 1e-5, 2e-6
PLACES = ["Lyon", "Nantes", "Brest", "Dijon", "Pau", "Metz", "Albi"]
CASES = [(1.0, 0.5), (2.0, 0.8), (0.7, 1.0)]

RUN_FILE = """
run: {{folder: "{folder}/run", threads: 1}}
model: {{path: "{student}", save_dtype: f32}}
prepare: {{tokenizer: "{teacher}", output: "{folder}/data.h5", deduplicate: false, sources: [{{path: "{folder}/lines.jsonl"}}]}}
data: {{train: "{folder}/data.h5", sequence_tokens: 512, packing: whole}}
objective: {{kind: distill, teacher: "{folder}/file.teacher", temperature: {temperature}, teacher_share: {share}, top_k: {k}}}
train: {{steps: {steps}, batch_sequences: 1, micro_sequences: 1, grad_clip: 0}}
optimizer: {{learning_rate: {rate}, beta1: 0.9, beta2: 0.95, eps: 1.0e-8, weight_decay: 0}}
schedule: {{kind: constant}}
"""


def make_student(folder):
    """A random model of another shape, with the teacher's vocabulary and tokenizer."""
    torch.manual_seed(3)
    config = transformers.LlamaConfig(vocab_size=4096, hidden_size=48, intermediate_size=96, num_hidden_layers=2,
                                      num_attention_heads=4, num_key_value_heads=2, head_dim=12, max_position_embeddings=512,
                                      tie_word_embeddings=True, initializer_range=0.08)
    transformers.LlamaForCausalLM(config).to(torch.float32).save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(TEACHER / name, folder / name)


def read_documents(path):
    with h5py.File(path) as file:
        tokens, starts = file["tokens"][:].astype(np.int64), file["doc_offsets"][:].astype(np.int64)
    return [(int(a), torch.tensor(tokens[a:b])) for a, b in zip(starts[:-1], starts[1:])]


def read_teacher(path):
    """Header, ids and log-probabilities [tokens, K] of the program's file."""
    header = json.loads(path.read_bytes()[:HEADER])
    k = header["top_k"]
    row = np.dtype([("ids", "<i4", k), ("logps", "<f4", k), ("sum", "<u4")])
    rows = np.fromfile(path, dtype=row, offset=HEADER)
    return header, rows["ids"], rows["logps"].astype(np.float64)


def check_teacher(report, documents, path, temperature):
    """What the file says of each token, as transformers has it."""
    header, ids, logps = read_teacher(path)
    model = tools.load_hf(TEACHER).double()
    worst, largest, num_others = 0.0, 0.0, 0
    for start, tokens in documents:
        with torch.no_grad():
            want = F.log_softmax(model(input_ids=tokens[None]).logits[0, :-1].double() / temperature, -1)
        top = torch.topk(want, K)
        rows = slice(start + 1, start + len(tokens))
        largest = max(largest, np.abs(top.values.numpy()).max())
        worst = max(worst, np.abs(top.values.numpy() - logps[rows]).max())
        own = want.gather(1, torch.tensor(ids[rows].astype(np.int64))).numpy()
        worst = max(worst, np.abs(own - logps[rows]).max())
        num_others += int((np.sort(top.indices.numpy(), 1) != np.sort(ids[rows], 1)).any(1).sum())
    report.near(f"temperature {temperature}: what the teacher says of each token", worst / largest, TEACHER_LIMIT)
    report.expect(num_others <= 1, f"temperature {temperature}: other tokens in {num_others} places")
    report.expect(header["tokens"] == sum(len(t) for _, t in documents), "the header counts the tokens")
    return ids, logps


def distance(logits, ids, logps, temperature, with_rest=True):
    """Sum over the rows of torch's divergence of the teacher's outcomes from the student's."""
    logq = F.log_softmax(logits / temperature, -1)
    ids, logps = torch.tensor(ids.astype(np.int64)), torch.tensor(logps)
    own = logq.gather(1, ids)
    if not with_rest:
        return F.kl_div(own, logps, log_target=True, reduction="sum")
    rest = torch.logsumexp(logq.scatter(1, ids, -torch.inf), -1, keepdim=True)
    want = torch.log1p(-logps.exp().sum(-1, keepdim=True))
    return F.kl_div(torch.cat([own, rest], 1), torch.cat([logps, want], 1), log_target=True, reduction="sum")


def train_torch(student, documents, said, temperature, share, **options):
    model = transformers.AutoModelForCausalLM.from_pretrained(student, attn_implementation="eager",
                                                              dtype=torch.float64, local_files_only=True)
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, betas=(0.9, 0.95), eps=1e-8, weight_decay=0.0)
    ids, logps = said
    count = sum(len(tokens) - 1 for _, tokens in documents)
    losses, distances, norms = [], [], []
    for _ in range(STEPS):
        optimizer.zero_grad()
        loss = torch.zeros((), dtype=torch.float64)
        apart = torch.zeros((), dtype=torch.float64)
        for start, tokens in documents:
            logits = model(input_ids=tokens[None]).logits[0, :-1]
            rows = slice(start + 1, start + len(tokens))
            loss = loss + F.cross_entropy(logits, tokens[1:], reduction="sum")
            apart = apart + distance(logits, ids[rows], logps[rows], temperature, **options)
        total = ((1 - share) * loss + share * temperature**2 * apart) / count
        total.backward()
        losses.append(total.item()), distances.append(apart.item() / count)
        norms.append(torch.nn.utils.clip_grad_norm_(model.parameters(), 1e9).item())
        optimizer.step()
    return losses, distances, norms


def train_atelier(folder, student, temperature, share):
    path = folder / "run.yaml"
    path.write_text(RUN_FILE.format(folder=folder, student=student, teacher=TEACHER, temperature=temperature, share=share, k=K,
                                    steps=STEPS, rate=RATE))
    tools.run(tools.ATELIER, "prepare", path)
    tools.run(tools.ATELIER, "eval", TEACHER, "--data", folder / "data.h5", "--top-k", K, "--temperature", temperature,
              "--sequence-tokens", 512, "--output", folder / "file.teacher")
    tools.run(tools.ATELIER, "train", path)
    lines = [json.loads(line) for line in (folder / "run" / "metrics.jsonl").read_text().splitlines()]
    steps = [line for line in lines if "grad_norm" in line]
    return [[line[name] for line in steps] for name in ("loss", "kl", "grad_norm")]


def worst(got, want):
    """Largest difference of two lists, relative to the largest value; infinite when they differ in length."""
    largest = max(abs(b) for b in want)
    return max(abs(a - b) / largest for a, b in zip(got, want)) if len(got) == len(want) else float("inf")


def compare(report, folder, student, temperature, share):
    folder.mkdir(parents=True)
    lines = [{"text": f"Où renouveler son passeport à {place} ? À la mairie" + ", sur rendez-vous" * (i % 3) + "."}
             for i, place in enumerate(PLACES)]
    (folder / "lines.jsonl").write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines))
    name = f"temperature {temperature}, share {share}"
    losses, distances, norms = train_atelier(folder, student, temperature, share)
    documents = read_documents(folder / "data.h5")
    said = check_teacher(report, documents, folder / "file.teacher", temperature)
    want, want_distances, want_norms = train_torch(student, documents, said, temperature, share)
    report.near(f"{name}: losses of {STEPS} steps", worst(losses, want), LIMIT)
    report.near(f"{name}: distances", worst(distances, want_distances), LIMIT)
    report.near(f"{name}: gradient norms", worst(norms, want_norms), NORM_LIMIT)
    if (temperature, share) == CASES[0]:
        controls(report, student, documents, said, losses)


def controls(report, student, documents, said, losses):
    """Torch's losses with something wrong are others than the program's."""
    temperature, share = CASES[0]
    moved = [part.copy() for part in said]
    for start, tokens in documents:
        for to, part in zip(moved, said):
            to[start + 2 : start + len(tokens)] = part[start + 1 : start + len(tokens) - 1]
    others = [("rows of the tokens before", moved, temperature, {}), ("another temperature", said, temperature * 1.1, {}),
              ("the rest left out", said, temperature, dict(with_rest=False))]
    for what, rows, used, options in others:
        got = train_torch(student, documents, rows, used, share, **options)[0]
        report.notices(what, worst(losses, got), 1e-3)


def main():
    report, folder = tools.Report(), tools.ROOT / "build" / "interop" / "distill"
    shutil.rmtree(folder, ignore_errors=True)
    student = folder / "student"
    student.mkdir(parents=True)
    make_student(student)
    for number, (temperature, share) in enumerate(CASES):
        compare(report, folder / str(number), student, temperature, share)
    return report.code()


if __name__ == "__main__":
    sys.exit(main())
