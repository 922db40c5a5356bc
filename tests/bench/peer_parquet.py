"""peer_parquet.py - reading the text of a Parquet table (tool_parquet) beside pyarrow, one thread, processor seconds.

    peer_parquet.py CORPUS.jsonl.zst [ROUNDS]

The corpus, several times, is written by pyarrow with zstd, once as its defaults have it and once as DuckDB's V2 has it (pages of version 2, lengths
as differences), with a column beside that is not read.  Each round runs both in turns.  pyarrow makes Arrow arrays of the text,
tool_parquet objects of JSON; starting either program is not counted.
"""
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time

import pyarrow as pa
import pyarrow.parquet as pq

COPIES = 4  # of the corpus, for a table of the usual size
TOOL = os.path.join(os.environ.get("OUT", "build/cpu"), "tests", "tool_parquet")


def read_pyarrow(path):
    start = time.process_time()
    file = pq.ParquetFile(path, pre_buffer=False)
    rows = sum(batch.num_rows for batch in file.iter_batches(columns=["text"], use_threads=False))
    return time.process_time() - start, rows


def read_ours(path):
    out = subprocess.run([TOOL, path, "text", "COUNT"], capture_output=True, check=True).stdout.split()
    return float(out[2]), int(out[0])


def main(corpus, rounds):
    pa.set_cpu_count(1)
    lines = subprocess.run(["zstd", "-dc", corpus], capture_output=True, check=True).stdout.splitlines()
    texts = [json.loads(line)["text"] for line in lines] * COPIES
    table = pa.table({"text": texts, "beside": [os.urandom(300).hex() for _ in texts]})
    size = sum(len(text.encode()) for text in texts) / 1e6
    with tempfile.TemporaryDirectory() as folder:
        for name, more in [("defaults", {}), ("V2", {"data_page_version": "2.0", "use_dictionary": False,
                                                     "column_encoding": {"text": "DELTA_LENGTH_BYTE_ARRAY"}})]:
            path = os.path.join(folder, f"{name}.parquet")
            pq.write_table(table, path, compression="zstd", row_group_size=50000, **more)
            pairs = []
            for _ in range(rounds + 1):
                (theirs, rows), (ours, count) = read_pyarrow(path), read_ours(path)
                assert rows == count == len(texts)
                pairs.append((theirs, ours))
            pairs = pairs[1:]  # the first round reads the file from the disk
            print(f"{name}: {size:.1f} MB of text, atelier {size / statistics.median(p[1] for p in pairs):.0f} MB/s, pyarrow "
                  f"{size / statistics.median(p[0] for p in pairs):.0f} MB/s, ratio "
                  f"{statistics.median(p[0] / p[1] for p in pairs):.2f} "
                  f"({', '.join(f'{p[0] / p[1]:.2f}' for p in pairs)})")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 7)
