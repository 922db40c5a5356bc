#!/usr/bin/env python3
"""Speed of atelier's tokenizer beside other programs, on one thread, in turns.

    peer_tokenizers.py BENCH TOKENIZER.json... --corpus FILE.jsonl.zst [--rounds 5]

BENCH is the program built from tests/bench/bench_tokenizer.c.  The peers are the package `tokenizers`, and of `tiktoken` and
`tokie` those that are installed and read the file (--peers names fewer).  Each round runs, for each tokenizer, atelier (documents one at a
time), then each peer one document at a time and, where it has that, in one batch (asked for one thread); the faster of the
two counts.  All are timed in processor seconds of the whole process, so that a busy machine disturbs less and a peer's threads are
counted.  Peers keep their caches between rounds; atelier starts with an empty one.  A peer whose ids are not those of
`tokenizers` is said to have others, and how many documents they are.  Printed are medians of the rounds.
"""
import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import time

os.environ.update(TOKENIZERS_PARALLELISM="false", RAYON_NUM_THREADS="1")
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "interop"))

from tokenizers import Tokenizer  # noqa: E402

from compare_tokenizers import documents, frames  # noqa: E402


def timed(work):
    start = time.process_time()
    result = work()
    return result, time.process_time() - start


def byte_of_letter():
    """The letters by which byte-level vocabularies write bytes (GPT-2's table), backwards."""
    kept = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [b for b in range(256) if b not in kept]
    return {chr(b): b for b in kept} | {chr(256 + i): b for i, b in enumerate(others)}


def open_tiktoken(path):
    import tiktoken
    model = json.loads(path.read_text(encoding="utf-8"))
    if model["pre_tokenizer"]["type"] != "Sequence" or not model["model"].get("ignore_merges"):
        raise ValueError("not a vocabulary that tiktoken can express")
    pattern = next(part["pattern"]["Regex"] for part in model["pre_tokenizer"]["pretokenizers"] if part["type"] == "Split")
    letters = byte_of_letter()
    ranks = {bytes(letters[letter] for letter in token): number for token, number in model["model"]["vocab"].items()}
    encoding = tiktoken.Encoding("peer", pat_str=pattern, mergeable_ranks=ranks, special_tokens={})
    begin = Tokenizer.from_file(str(path)).encode("").ids  # what a tokenizer sets before each text is not tiktoken's part
    return (lambda text: begin + encoding.encode_ordinary(text),
            lambda texts: encoding.encode_ordinary_batch(texts, num_threads=1))


def open_tokenizers(path):
    tokenizer = Tokenizer.from_file(str(path))
    return lambda text: tokenizer.encode(text).ids, tokenizer.encode_batch


def open_tokie(path):
    import tokie
    tokenizer = tokie.Tokenizer.from_json(str(path))
    return lambda text: tokenizer.encode(text).ids, tokenizer.encode_batch


PEERS = {"tokenizers": open_tokenizers, "tiktoken": open_tiktoken, "tokie": open_tokie}


def open_peers(path, names, texts, wanted):
    """Those that can be had, and of how many documents each has other ids."""
    peers = {}
    for name in names:
        try:
            single, batch = PEERS[name](path)
            others = sum(list(single(text)) != ids for text, ids in zip(texts, wanted))
        except Exception as fault:  # a package that is absent, or cannot read the file
            print(f"{path.parent.name}: {name} is left out: {type(fault).__name__} {str(fault)[:100]}", flush=True)
            continue
        peers[name] = (single, batch, others)
    return peers


def one_round(bench, path, peers, texts, stream, num_tokens):
    done = subprocess.run([bench, str(path), "1"], input=stream, capture_output=True, check=True)
    ours = json.loads(done.stdout)
    if num_tokens != ours["tokens"]:
        sys.exit(f"{path}: {ours['tokens']} tokens, the reference has {num_tokens}")
    speeds = {"atelier": ours["first_mb_per_s"]}
    for name, (single, batch, _) in peers.items():
        _, one_by_one = timed(lambda: sum(len(single(text)) for text in texts))
        _, together = timed(lambda: batch(texts))
        speeds[name] = ours["mb"] / min(one_by_one, together)
    return speeds


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bench")
    parser.add_argument("tokenizers", nargs="+", type=pathlib.Path)
    parser.add_argument("--corpus", type=pathlib.Path, required=True)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--peers", nargs="+", choices=PEERS, default=list(PEERS))
    options = parser.parse_args()
    texts = documents(options.corpus)
    stream = frames([text.encode() for text in texts])
    print(f"{options.corpus.name}: {len(texts)} documents, {len(stream) / 1e6:.1f} MB; medians of {options.rounds} rounds")
    for path in options.tokenizers:
        wanted = [encoding.ids for encoding in Tokenizer.from_file(str(path)).encode_batch(texts)]
        peers = open_peers(path, options.peers, texts, wanted)
        rounds = [one_round(options.bench, path, peers, texts, stream, sum(map(len, wanted))) for _ in range(options.rounds)]
        ours = [speeds["atelier"] for speeds in rounds]
        print(f"{path.parent.name}\n  atelier      {statistics.median(ours):7.2f} MB/s", flush=True)
        for name, (_, _, others) in peers.items():
            ratios = [speeds["atelier"] / speeds[name] for speeds in rounds]
            print(f"  {name:12} {statistics.median(speeds[name] for speeds in rounds):7.2f} MB/s, ratio {statistics.median(ratios):.2f} "
                  f"({', '.join(f'{ratio:.2f}' for ratio in ratios)})" + (f", other ids in {others} documents" if others else ""), flush=True)


if __name__ == "__main__":
    main()
