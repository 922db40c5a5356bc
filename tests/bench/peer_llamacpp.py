#!/usr/bin/env python3
"""peer_llamacpp.py MODEL.gguf [--rounds N] [--threads N] - reading prompts and writing tokens, beside llama.cpp, in turns.

Each round runs tests/bench/bench_session (make OUT/tests/bench/bench_session) and the same with the llama.cpp of the package xllamacpp:
prompts of 64, 256 and 953 tokens, then 32 tokens one at a time.  Prints processor milliseconds of a prompt and of a token after it,
the least of 32, which a machine that others use lengthens less than the clock's, as medians over the rounds; and of a token the least by
the clock over all rounds, which is what threads are for.
"""
import argparse
import ctypes
import re
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "interop"))
import check_llamacpp  # noqa: E402

LENGTHS, DECODED, CONTEXT, CHUNK = (64, 256, 953), 32, 1024, 256


def decode(model, ids):
    """The next positions, with the logits of the last alone; milliseconds of the processor and of the clock."""
    batch = model.library.llama_batch_init(len(ids), 0, 1)
    batch.n_tokens = len(ids)
    for i, token in enumerate(ids):
        batch.token[i], batch.pos[i], batch.n_seq_id[i] = token, model.position + i, 1
        batch.logits[i] = i == len(ids) - 1
        batch.seq_id[i][0] = 0
    start, start_wall = time.process_time(), time.perf_counter()
    if model.library.llama_decode(model.context, batch) != 0:
        raise SystemExit("llama_decode failed")
    model.library.llama_get_logits_ith(model.context, -1)
    model.position += len(ids)
    return 1e3 * (time.process_time() - start), 1e3 * (time.perf_counter() - start_wall)


def theirs(model, threads):
    result = {}
    set_threads = model.library.llama_set_n_threads
    set_threads.restype, set_threads.argtypes = None, [ctypes.c_void_p, ctypes.c_int32, ctypes.c_int32]
    for length in LENGTHS:
        model.reset()
        set_threads(model.context, threads, threads)
        prompt = [i * 7919 % model.num_tokens for i in range(length)]
        took = sum(decode(model, prompt[at : at + CHUNK])[0] for at in range(0, length, CHUNK))
        tokens = [decode(model, [i]) for i in range(DECODED)]
        result[length] = took, min(t[0] for t in tokens), min(t[1] for t in tokens)
    return result


def ours(path, threads):
    text = subprocess.run([ROOT / "build/cpu/tests/bench/bench_session", path, str(threads), "1"], check=True,
                          capture_output=True, text=True).stdout
    found = re.findall(r"(\d+) tokens: .*?processor ([\d.]+)\), +([\d.]+) ms .*?processor ([\d.]+)\)", text)
    return {int(length): (float(prompt), float(token), float(wall)) for length, prompt, wall, token in found}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    model = check_llamacpp.Model(options.model, CONTEXT)
    rounds = [(ours(options.model, options.threads), theirs(model, options.threads)) for _ in range(options.rounds)]
    print(f"{'tokens':>7} {'':8} {'here':>9} {'llama.cpp':>9} {'ratio':>6}")
    for length in LENGTHS:
        for place, (what, choose) in enumerate((("prompt", statistics.median), ("a token", statistics.median), ("by clock", min))):
            mine, other = (choose(one[side][length][place] for one in rounds) for side in (0, 1))
            print(f"{length:7} {what:8} {mine:9.2f} {other:9.2f} {mine / other:6.2f}")


if __name__ == "__main__":
    main()
