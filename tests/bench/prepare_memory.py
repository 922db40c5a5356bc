"""prepare_memory.py [MB...] - the peak memory of `atelier prepare` on ever larger corpora: JSON Lines, and a table of Parquet (zstd).

Texts are those of the sample, turned round and numbered, so that none is a copy; one worker thread.  Needs pyarrow and /usr/bin/time
(GNU); writes to build/tmp, several times the largest size.  A line for each corpus: name, bytes, peak in KiB.
"""

import json
import os
import pathlib
import random
import subprocess
import sys

import pyarrow as pa
import pyarrow.parquet as pq

ROOT = pathlib.Path(__file__).resolve().parents[2]
WORK = ROOT / "build" / "tmp" / "prepare_memory"
ROWS = 20000  # of a row group


def texts(size_bytes):
    words = [json.loads(line)["text"].split() for line in open(ROOT / "data/sample/fiches.jsonl", encoding="utf-8")]
    drawn, written, number = random.Random(1), 0, 0
    while written < size_bytes:
        chosen = drawn.choice(words)
        turn = drawn.randrange(len(chosen))
        text = " ".join([str(number)] + chosen[turn:] + chosen[:turn])
        number, written = number + 1, written + len(text.encode())
        yield text


def batches(size_bytes):
    rows = []
    for text in texts(size_bytes):
        rows.append(text)
        if len(rows) == ROWS:
            yield rows
            rows = []
    if rows:
        yield rows


def write_jsonl(path, size_bytes):
    with open(path, "w", encoding="utf-8") as file:
        for text in texts(size_bytes):
            file.write(json.dumps({"text": text}, ensure_ascii=False) + "\n")


def write_parquet(path, size_bytes):
    with pq.ParquetWriter(path, pa.schema([("text", pa.string())]), compression="zstd") as writer:
        for rows in batches(size_bytes):
            writer.write_table(pa.table({"text": rows}), row_group_size=ROWS)


def peak_kib(path):
    config, output = WORK / "run.yaml", WORK / "out.h5"
    config.write_text(f"prepare:\n  tokenizer: {ROOT}/data/sample/tokenizer\n  output: {output}\n  deduplicate: false\n"
                      f"  threads: 1\n  sources:\n    - path: {path}\n")
    command = ["/usr/bin/time", "-f", "peak %M", ROOT / "build/cpu/atelier", "prepare", config]
    told = subprocess.run(command, check=True, capture_output=True, text=True).stderr
    output.unlink()
    return int(told.rsplit("peak ", 1)[1])


def main():
    WORK.mkdir(parents=True, exist_ok=True)
    for size_mb in [int(word) for word in sys.argv[1:]] or [10, 200, 2000]:
        for ending, write in (("jsonl", write_jsonl), ("parquet", write_parquet)):
            path = WORK / f"corpus.{ending}"
            write(path, size_mb * 1000 * 1000)
            print(f"{ending} {size_mb} MB of text: {os.path.getsize(path)} bytes, peak {peak_kib(path)} KiB", flush=True)
            path.unlink()


if __name__ == "__main__":
    main()
