#!/usr/bin/env python3
"""make_parquet.py - small Parquet tables as pyarrow writes them, and their records as it reads them.

    .venv-interop/bin/python tests/golden/make_parquet.py

Writes parquet/NAME.parquet, the same records in each codec, page version and encoding, in row groups of 5 rows and pages of a
few, and parquet/records.jsonl; the same of a few questions with choices (questions.*) and of conversations with calls (tools.*), in
several forms and as texts of JSON (forms.*, texts.*); and a few smaller ones for the fuzz target.  The columns: text (null in row 7), id, words (a list), messages (a list of objects), kind (a
word), score (a real number), good (true or false) and beside, which nobody asks for.
"""
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

ROWS = 12
folder = Path(__file__).parent / "parquet"
folder.mkdir(exist_ok=True)

schema = pa.schema([
    ("text", pa.string()), ("id", pa.int64()), ("words", pa.list_(pa.string())),
    ("messages", pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))),
    ("kind", pa.string()), ("score", pa.float64()), ("good", pa.bool_()), ("beside", pa.string())])


def record(i):
    turns = [{"role": "user", "content": f"Question {i} ?"}, {"role": "assistant", "content": f"Réponse \"{i}\"\n"}]
    return {"text": None if i == 7 else f"Article L{i} : « œuvre » {'x' * i}", "id": (-1) ** i * i ** 9,
            "words": None if i == 3 else [None if k == 1 else f"mot{k}" for k in range(i % 4)],
            "messages": turns * (1 + i % 2), "kind": ["loi", "décret", None][i % 3], "score": i / 8,
            "good": None if i == 5 else i % 2 == 0, "beside": "à côté " * 9}


table = pa.Table.from_pylist([record(i) for i in range(ROWS)], schema)
deltas = {"text": "DELTA_BYTE_ARRAY", "id": "DELTA_BINARY_PACKED", "words.list.element": "DELTA_LENGTH_BYTE_ARRAY",
          "kind": "DELTA_LENGTH_BYTE_ARRAY", "score": "BYTE_STREAM_SPLIT", "good": "RLE"}
for name, codec, version, encodings in [
        ("plain", "none", "1.0", {}), ("snappy", "snappy", "1.0", None), ("gzip", "gzip", "2.0", None),
        ("zstd", "zstd", "2.0", deltas), ("lz4", "lz4", "1.0", deltas), ("brotli", "brotli", "2.0", {})]:
    path = folder / f"{name}.parquet"
    pq.write_table(table, path, compression=codec, data_page_version=version, row_group_size=5, data_page_size=60,
                   write_batch_size=2, store_schema=False, write_statistics=False,
                   use_dictionary=encodings is None, column_encoding=encodings or None)
    assert pq.ParquetFile(path).read().to_pylist() == table.to_pylist(), name
seeds = Path(__file__).parent.parent / "fuzz" / "corpus" / "parquet"
seeds.mkdir(exist_ok=True)
for name, codec, version, encodings in [("plain", "none", "1.0", {}), ("deltas", "none", "2.0", deltas),
                                        ("dictionary", "none", "1.0", None), ("zstd", "zstd", "2.0", None)]:
    pq.write_table(table.slice(5, 3), seeds / f"{name}.parquet", compression=codec, data_page_version=version,
                   row_group_size=2, store_schema=False, write_statistics=False, use_dictionary=encodings is None,
                   column_encoding=encodings or None)
questions = [{"question": f"Question {i} ?", "choices": ["une mairie", "une plage", "un bois"][:2 + i % 2], "answerKey": "AB"[i % 2],
              "id": f"q{i}", "beside": {"x": [i]}} for i in range(4)]
pq.write_table(pa.Table.from_pylist(questions), folder / "questions.parquet", compression="zstd", data_page_version="2.0",
               store_schema=False, write_statistics=False)
with open(folder / "questions.jsonl", "w", encoding="utf-8") as out:
    out.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in questions)
tools = [{"type": "function", "function": {"name": name, "parameters": {"type": "object", "properties": {field: {"type": kind}}}}}
         for name, field, kind in [("weather", "city", "string"), ("stock", "symbol", "integer")]]
calls = [{"tools": tools, "messages": [
    {"role": "user", "content": "q"},
    {"role": "assistant", "content": "", "tool_calls": [{"type": "function", "function": {"name": name, "arguments": arguments}}]},
    {"role": "tool", "content": "18"}, {"role": "assistant", "content": "18."}]}
    for name, arguments in [("weather", {"city": "Lyon"}), ("stock", {"symbol": 3})]]
pq.write_table(pa.Table.from_pylist(calls), folder / "tools.parquet", compression="zstd", data_page_version="2.0",
               store_schema=False, write_statistics=False)
with open(folder / "tools.jsonl", "w", encoding="utf-8") as out:
    out.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in calls)
talks = [[{"role": "user", "content": "q" * i}, {"role": "assistant", "content": "r"}] for i in (1, 2, 3)]
with open(folder / "forms.jsonl", "w", encoding="utf-8") as out:
    out.writelines(json.dumps({"messages": talk}) + "\n" for talk in talks)
pq.write_table(pa.table({"messages": [json.dumps(talk) for talk in talks]}), folder / "texts.parquet", compression="zstd",
               store_schema=False, write_statistics=False)
pq.write_table(pa.table({"prompt": [None, "qq", None], "completion": [None, "r", None], "messages": [talks[0], None, talks[2]]}),
               folder / "forms.parquet", compression="zstd", store_schema=False, write_statistics=False)
with open(folder / "records.jsonl", "w", encoding="utf-8") as out:
    for row in table.to_pylist():
        out.write(json.dumps(row, ensure_ascii=False) + "\n")
