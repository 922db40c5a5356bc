#!/usr/bin/env python3
"""shapes.py - training steps of five shapes, and of short documents, beside transformers + torch on the same CPU.

    shapes.py [--rounds 5] [--steps 2] [--threads 1] [--only 256,documents] [--types f32,bf16]

Both programs are started once per shape and type, and then take turns, a few steps each, the other one stopped: a machine that is
busy is busy for both.  f32 stands beside torch's f32, bf16 (f32 masters, bf16 products) beside its autocast; torch compiled.
A figure is a ratio of what a step took, torch's to atelier's, median over rounds: of processor seconds of all threads, and of the
clock.  Short documents: atelier packs them without padding, torch pads a batch of 8 to its longest; a step has the same documents.
`make bench` runs it (ONLY=shapes); the folder of the work is build/bench/shapes.
"""

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
WORK = os.path.join("build", "bench", "shapes")
sys.path.insert(0, HERE)
LENGTHS = [36, 320, 72, 150, 48, 204, 96, 98]  # tokens of the short documents of a batch: 1,024, of torch's places 40 %

# sequences x tokens of a step; the models are in peer_torch.py
BATCHES = {"256": (8, 128), "576": (1, 512), "768": (1, 1024), "1024": (1, 4096), "2048": (1, 128), "documents": (1, 1024)}


def run_file(shape, model):
    """What atelier trains: the model as torch's configuration says it, of random weights."""
    keys = {"width": "hidden_size", "layers": "num_hidden_layers", "heads": "num_attention_heads",
            "kv_heads": "num_key_value_heads", "ffn_width": "intermediate_size", "vocab_size": "vocab_size",
            "max_positions": "max_position_embeddings"}
    batch, sequence = BATCHES[shape]
    architecture = "".join(f"    {ours}: {model[theirs]}\n" for ours, theirs in keys.items())
    return (f"run:\n  folder: {WORK}/run\n"
            f"model:\n  tokenizer: data/sample/tokenizer/tokenizer.json\n  architecture:\n{architecture}"
            f"    head_dim: 64\n    rope_theta: {model['rope_parameters']['rope_theta']}\n    tied_head: true\n"
            f"prepare:\n  tokenizer: data/sample/tokenizer/tokenizer.json\n  output: {WORK}/tokens.h5\n"
            f"  sources:\n    - path: {WORK}/documents.jsonl\n"
            f"data:\n  train: {WORK}/tokens.h5\n  sequence_tokens: {sequence}\n"
            f"  packing: {'whole' if shape == 'documents' else 'stream'}\n"
            f"train:\n  steps: 100000\n  batch_sequences: {batch}\n  micro_sequences: {batch}\n  grad_clip: 1.0\n"
            f"parallel:\n  stage: 0\ncheckpoint:\n  resume: never\n  every_steps: 0\n  async: false\n  max_file_bytes: 2000000000\n")


def documents(shape):
    """Texts: the sample's, or pieces of it of the lengths of the short documents."""
    from tokenizers import Tokenizer
    tokenizer = Tokenizer.from_file("data/sample/tokenizer/tokenizer.json")
    with open("data/sample/fiches.jsonl", encoding="utf-8") as file:
        texts = [json.loads(line)["text"] for line in file]
    if shape != "documents":
        return [" ".join(texts * 20)]  # the last sequence of an epoch is not full, and is not reached
    ids, pieces = tokenizer.encode(" ".join(texts), add_special_tokens=False).ids, []
    while len(ids) >= sum(LENGTHS):
        for length in LENGTHS:
            pieces.append(tokenizer.decode(ids[:length - 2]))  # with the tokens of a begin and an end
            ids = ids[length - 2:]
    return pieces


def prepare(shape, model, env):
    os.makedirs(WORK, exist_ok=True)
    with open(f"{WORK}/documents.jsonl", "w", encoding="utf-8") as file:
        for text in documents(shape):
            file.write(json.dumps({"text": text}) + "\n")
    with open(f"{WORK}/run.yaml", "w", encoding="utf-8") as file:
        file.write(run_file(shape, model))
    subprocess.run(["rm", "-f", f"{WORK}/tokens.h5"], check=True)
    subprocess.run(["atelier", "prepare", f"{WORK}/run.yaml"], check=True, env=env, stderr=subprocess.DEVNULL)


class Atelier:
    """A run that goes on for as long as it is asked to, and is stopped (SIGSTOP) in between."""

    def __init__(self, kind, args, env):
        command = ["atelier", "train", f"{WORK}/run.yaml", "--set", f"train.compute={kind}",
                   "--set", f"run.threads={args.threads}"]
        self.metrics, self.offset = f"{WORK}/run/metrics.jsonl", 0
        subprocess.run(["rm", "-rf", f"{WORK}/run"], check=True)
        self.log = open(f"{WORK}/train.log", "w", encoding="utf-8")
        # In a session of its own: the system wakes what is stopped in a group whose shell has ended.
        self.process = subprocess.Popen(command, stdout=self.log, stderr=self.log, env=env, start_new_session=True)
        self.wait_line()
        self.wait_line()
        self.stop()

    def stop(self):
        self.process.send_signal(signal.SIGSTOP)

    def processor_s(self):
        folder, total = f"/proc/{self.process.pid}/task", 0
        for task in os.listdir(folder):
            with open(f"{folder}/{task}/schedstat", encoding="ascii") as file:
                total += int(file.read().split()[0])
        return total / 1e9

    def wait_line(self):
        """The next step's line of metrics.jsonl."""
        while True:
            if os.path.exists(self.metrics):
                with open(self.metrics, encoding="utf-8") as file:
                    file.seek(self.offset)
                    line = file.readline()
                if line.endswith("\n"):
                    self.offset += len(line.encode())
                    if "grad_norm" in line:
                        return json.loads(line)
                    continue
            if self.process.poll() is not None:
                raise SystemExit(f"shapes: atelier ended with code {self.process.returncode}; see '{WORK}/train.log'")
            time.sleep(0.002)

    def take_turn(self, steps):
        """(processor seconds, seconds, targets) of each of `steps` whole steps; the one that it was stopped in is not counted."""
        self.offset = os.path.getsize(self.metrics)
        self.process.send_signal(signal.SIGCONT)
        self.wait_line()
        taken, before, start = [], self.processor_s(), time.perf_counter()
        for _ in range(steps):
            line = self.wait_line()
            after, end = self.processor_s(), time.perf_counter()
            taken.append((after - before, end - start, line["target_tokens"]))
            before, start = after, end
        self.stop()
        return taken

    def end(self):
        self.process.kill()
        self.process.wait()
        self.log.close()


class Torch:
    """peer_torch.py, which trains the steps that it is asked for."""

    def __init__(self, shape, kind, args):
        batch, sequence = BATCHES[shape]
        command = [sys.executable, f"{HERE}/peer_torch.py", "--turns", "--compile", "--shape", shape, "--warmup", "3",
                   "--dtype", {"f32": "f32", "bf16": "autocast"}[kind], "--threads", str(args.threads),
                   "--batch", str(batch), "--sequence", str(sequence)]
        if shape == "documents":
            command += ["--lengths", ",".join(map(str, LENGTHS))]
        self.targets = sum(LENGTHS) - len(LENGTHS) if shape == "documents" else batch * (sequence - 1)
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        if self.process.stdout.readline() != "ready\n":
            raise SystemExit("shapes: peer_torch.py ended; run it by itself to see why: " + " ".join(command))

    def take_turn(self, steps):
        self.process.stdin.write(f"{steps}\n")
        self.process.stdin.flush()
        lines = [self.process.stdout.readline().split() for _ in range(steps)]
        return [(float(cpu), float(wall), self.targets) for cpu, wall in lines]

    def end(self):
        self.process.kill()
        self.process.wait()


def per_target(turn):
    """Processor seconds and seconds of one token that is learnt: steps of documents do not all have as many."""
    targets = sum(part[2] for part in turn)
    return sum(part[0] for part in turn) / targets, sum(part[1] for part in turn) / targets


def compare(shape, kind, args, env):
    """One row of the table."""
    ours, theirs = Atelier(kind, args, env), None
    try:
        theirs = Torch(shape, kind, args)
        rounds = [(per_target(ours.take_turn(args.steps)), per_target(theirs.take_turn(args.steps))) for _ in range(args.rounds)]
    finally:
        ours.end()
        if theirs:
            theirs.end()
    by_processor, by_clock = ([torch[i] / atelier[i] for atelier, torch in rounds] for i in (0, 1))
    tokens = BATCHES[shape][0] * BATCHES[shape][1]
    step_s = [tokens * statistics.median(side[i][0] for side in rounds) for i in (0, 1)]
    each = ", ".join(f"{ratio:.2f}" for ratio in by_processor)
    print(f"| {shape} | {kind} | {step_s[0]:.2f} | {step_s[1]:.2f} | **{statistics.median(by_processor):.2f}** ({each}) "
          f"| {statistics.median(by_clock):.2f} |", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=2, help="of a turn")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--only", default=",".join(BATCHES))
    parser.add_argument("--types", default="f32,bf16")
    args = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("shapes: ended"))  # what was started is ended, too
    env = os.environ | {"OMP_WAIT_POLICY": "passive"}
    from peer_torch import SHAPES
    print(f"| shape | type | atelier: processor s a step | torch | ratio (rounds) | by the clock |\n|---|---|---|---|---|---|")
    for shape in args.only.split(","):
        prepare(shape, SHAPES[shape], env)
        for kind in args.types.split(","):
            compare(shape, kind, args, env)


if __name__ == "__main__":
    main()
