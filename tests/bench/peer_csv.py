"""peer_csv.py - reading a table as text (tool_records) beside pyarrow's and Python's own reader, one thread, processor seconds.

    peer_csv.py CORPUS.jsonl.zst [ROUNDS]

The corpus, several times, as a table of title and text in quotes, with line breaks inside of them.  Each round runs all in turns:
atelier makes each row an object of JSON, pyarrow arrays of both columns, Python's csv a list a row.  Starting a program is not counted.
"""
import csv
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time

import pyarrow as pa
import pyarrow.csv as pacsv

COPIES = 4  # of the corpus, for a table of the usual size
TOOL = os.path.join(os.environ.get("OUT", "build/cpu"), "tests", "tool_records")


def timed(work):
    start = time.process_time()
    rows = work()
    return time.process_time() - start, rows


def read_pyarrow(path):
    options = {"read_options": pacsv.ReadOptions(use_threads=False), "parse_options": pacsv.ParseOptions(newlines_in_values=True)}
    return timed(lambda: sum(batch.num_rows for batch in pacsv.open_csv(path, **options)))


def read_python(path):
    def rows():
        with open(path, encoding="utf-8", newline="") as file:
            return sum(1 for _ in csv.reader(file)) - 1
    return timed(rows)


def read_ours(path):
    out = subprocess.run([TOOL, path, "csv", ",", "PARSE"], capture_output=True, check=True).stdout.split()
    return float(out[2]), int(out[0])


def main(corpus, rounds):
    pa.set_cpu_count(1)
    csv.field_size_limit(1 << 30)
    lines = subprocess.run(["zstd", "-dc", corpus], capture_output=True, check=True).stdout.splitlines()
    rows = [(str(number), json.loads(line)["text"]) for number, line in enumerate(lines * COPIES)]
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "table.csv")
        with open(path, "w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n", quoting=csv.QUOTE_ALL)
            writer.writerow(("title", "text"))
            writer.writerows(rows)
        size, taken = os.path.getsize(path) / 1e6, {"atelier": [], "pyarrow": [], "python": []}
        for _ in range(rounds + 1):
            for name, read in (("pyarrow", read_pyarrow), ("atelier", read_ours), ("python", read_python)):
                seconds, count = read(path)
                assert count == len(rows), (name, count, len(rows))
                taken[name].append(seconds)
        ours = taken["atelier"][1:]  # the first round reads the file from the disk
        print(f"{size:.1f} MB of CSV, atelier {size / statistics.median(ours):.0f} MB/s")
        for name in ("pyarrow", "python"):
            theirs = taken[name][1:]
            ratios = [their / our for their, our in zip(theirs, ours)]
            print(f"{name} {size / statistics.median(theirs):.0f} MB/s, ratio {statistics.median(ratios):.2f} "
                  f"({', '.join(f'{ratio:.2f}' for ratio in ratios)})")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 7)
