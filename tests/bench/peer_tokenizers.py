#!/usr/bin/env python3
"""Speed of atelier's tokenizer beside the package `tokenizers`, on one thread, in turns.

    peer_tokenizers.py BENCH TOKENIZER.json... --corpus FILE.jsonl.zst [--rounds 5]

BENCH is the program built from tests/bench/bench_tokenizer.c.  Each round runs, for each tokenizer, atelier (documents
one at a time), `tokenizers` one document at a time, and its encode_batch (with TOKENIZERS_PARALLELISM=false, one
thread as well).  Both sides are timed in processor time, so that a busy machine disturbs less; printed are medians of
the rounds.  The reference keeps its cache of words between rounds; atelier starts with an empty one.
"""
import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import time

os.environ["TOKENIZERS_PARALLELISM"] = "false"
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "interop"))

from tokenizers import Tokenizer  # noqa: E402

from compare_tokenizers import documents, frames  # noqa: E402


def timed(work):
    start = time.process_time()
    result = work()
    return result, time.process_time() - start


def one_round(bench, path, tokenizer, texts, stream):
    done = subprocess.run([bench, str(path), "1"], input=stream, capture_output=True, check=True)
    ours = json.loads(done.stdout)
    megabytes = ours["mb"]
    count, single = timed(lambda: sum(len(tokenizer.encode(text).ids) for text in texts))
    _, batch = timed(lambda: tokenizer.encode_batch(texts))
    if count != ours["tokens"]:
        sys.exit(f"{path}: {ours['tokens']} tokens, the reference has {count}")
    _, load = timed(lambda: Tokenizer.from_file(str(path)))
    return ours["first_mb_per_s"], megabytes / single, megabytes / batch, ours["load_s"], load


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bench")
    parser.add_argument("tokenizers", nargs="+", type=pathlib.Path)
    parser.add_argument("--corpus", type=pathlib.Path, required=True)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    texts = documents(options.corpus)
    stream = frames([text.encode() for text in texts])
    loaded = {path: Tokenizer.from_file(str(path)) for path in options.tokenizers}
    rounds = {path: [] for path in loaded}
    for _ in range(options.rounds):
        for path, tokenizer in loaded.items():
            rounds[path].append(one_round(options.bench, path, tokenizer, texts, stream))
    print(f"{options.corpus.name}: {len(texts)} documents, {len(stream) / 1e6:.1f} MB; medians of {options.rounds} rounds")
    print("tokenizer      atelier MB/s   encode MB/s   ratio   encode_batch MB/s   ratio   load s   reference load s")
    for path, results in rounds.items():
        ours, single, batch, load, their_load = (statistics.median(column) for column in zip(*results))
        print(f"{path.parent.name:14} {ours:12.1f} {single:13.2f} {ours / single:7.1f} {batch:19.2f} {ours / batch:7.1f} "
              f"{load:8.3f} {their_load:18.3f}")


if __name__ == "__main__":
    main()
