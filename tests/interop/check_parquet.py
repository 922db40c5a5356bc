"""check_parquet.py - Parquet tables as `prepare` reads them (tool_parquet) against pyarrow.

Tables of a seeded generator, written by pyarrow in every combination of codec, page version, dictionary and encoding, with
nulls, empty texts and lists, row groups and pages that end anywhere; every record has to be the one that pyarrow was given and
reads.  So has every record of tables that DuckDB writes.  Then the same bytes cut, or with some of them changed: nothing may
crash, and what is refused is told in one line with the file's name.  Columns that are not asked for may be full of damage: they
are not read.  Last, what `prepare` makes of each kind of record is what it makes of the same lines of JSON, by one reader or several.  The control: records
with one value changed, or one row left out, are told apart.
"""
import datetime
import decimal
import itertools
import json
import math
import os
import random
import subprocess
import sys
import tempfile
import uuid

import duckdb
import h5py
import pyarrow as pa
import pyarrow.parquet as pq

TOOL = os.path.join(os.environ.get("OUT", "build/cpu"), "tests", "tool_parquet")
ATELIER = os.path.join(os.environ.get("OUT", "build/cpu"), "atelier")
CODECS = ["none", "snappy", "gzip", "zstd", "lz4", "brotli"]
PIECES = ["a", "é", "œuvre ", "\n", '"', "\\", "\x00", "\x1f", "€", "une phrase un peu plus longue, ", "𝒳", "\t"]
seen = {"files": 0, "records": 0, "refused": 0, "read though damaged": 0,
        "lists that pyarrow reads otherwise than it was given": 0}


def text(rng):
    return "".join(rng.choice(PIECES) for _ in range(rng.choice([0, 1, 3, 8, 40])))


def messages(rng):
    return [{"role": rng.choice(["user", "assistant", None]), "content": maybe(rng, text(rng), 9)}
            for _ in range(rng.randrange(4))]


def maybe(rng, value, one_in=4):
    return None if rng.randrange(one_in) == 0 else value


def columns(rng, rows):
    """Name, Arrow type, values; and the encodings beside plain and the dictionary that fit."""
    words = [text(rng) for _ in range(5)]
    i64 = lambda: rng.choice([0, 1, -1, 2**63 - 1, -2**63, rng.randrange(-10**6, 10**6)])
    real = lambda: rng.choice([0.0, -0.0, 0.1, 1e300, 5e-324, math.inf, -math.inf, rng.random()])
    step = itertools.count(rng.randrange(1000), 3)
    texts = ["DELTA_LENGTH_BYTE_ARRAY", "DELTA_BYTE_ARRAY"]
    whole = ["DELTA_BINARY_PACKED", "BYTE_STREAM_SPLIT"]
    yield "text", pa.string(), [maybe(rng, text(rng)) for _ in range(rows)], texts
    yield "required", pa.field("required", pa.string(), nullable=False), [text(rng) for _ in range(rows)], texts
    yield "word", pa.string(), [maybe(rng, rng.choice(words)) for _ in range(rows)], texts
    yield "nothing", pa.string(), [None] * rows, texts
    yield "big", pa.int64(), [maybe(rng, i64()) for _ in range(rows)], whole
    yield "id", pa.int32(), [next(step) for _ in range(rows)], whole
    yield "tiny", pa.int8(), [maybe(rng, rng.randrange(-128, 128)) for _ in range(rows)], whole
    yield "u32", pa.uint32(), [maybe(rng, rng.randrange(2**32)) for _ in range(rows)], whole
    yield "u64", pa.uint64(), [maybe(rng, rng.randrange(2**64)) for _ in range(rows)], whole
    yield "real", pa.float64(), [maybe(rng, real()) for _ in range(rows)], ["BYTE_STREAM_SPLIT"]
    yield "single", pa.float32(), [maybe(rng, rng.random()) for _ in range(rows)], ["BYTE_STREAM_SPLIT"]
    yield "truth", pa.bool_(), [maybe(rng, rng.random() < 0.7) for _ in range(rows)], ["RLE"]
    yield "words", pa.list_(pa.string()), [maybe(rng, [maybe(rng, text(rng)) for _ in range(rng.randrange(4))])
                                          for _ in range(rows)], texts
    yield "numbers", pa.list_(pa.int64()), [maybe(rng, [i64() for _ in range(rng.randrange(9))]) for _ in range(rows)], whole
    yield "pair", pa.struct([("a", pa.string()), ("n", pa.int32())]), [
        maybe(rng, {"a": maybe(rng, text(rng)), "n": maybe(rng, 7)}) for _ in range(rows)], None
    yield "messages", pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())])), [
        maybe(rng, messages(rng)) for _ in range(rows)], None
    yield "deep", pa.list_(pa.struct([("tags", pa.list_(pa.string())), ("inner", pa.struct([("b", pa.bool_())]))])), [
        maybe(rng, [maybe(rng, {"tags": maybe(rng, [text(rng)] * rng.randrange(3)),
                                "inner": maybe(rng, {"b": maybe(rng, True)})}) for _ in range(rng.randrange(3))])
        for _ in range(rows)], None


def write(rng, path, codec, version, has_dictionary, encode):
    """A table; encode: whether columns have an encoding of their own."""
    rows = rng.choice([0, 1, 7, 100, 1000])
    fields, arrays, encodings = [], [], {}
    for name, kind, values, fitting in columns(rng, rows):
        field = kind if isinstance(kind, pa.Field) else pa.field(name, kind)
        fields.append(field)
        arrays.append(pa.array(values, field.type))
        leaf = name + (".list.element" if pa.types.is_list(field.type) else "")
        if encode and fitting:
            encodings[leaf] = rng.choice(fitting)
    table = pa.table(arrays, pa.schema(fields))
    more = {"column_encoding": encodings, "use_dictionary": False} if encode else {"use_dictionary": has_dictionary}
    pq.write_table(table, path, compression=codec, data_page_version=version, write_page_checksum=rng.random() < 0.3,
                   row_group_size=rng.choice([1, 33, 400, 10**6]), data_page_size=rng.choice([64, 1000, 2**20]),
                   write_statistics=rng.random() < 0.7, dictionary_pagesize_limit=rng.choice([200, 2**20]),
                   **more)
    return table


def ours(path, *words):
    done = subprocess.run([TOOL, path, *words], capture_output=True, check=False, timeout=120)
    assert done.returncode in (0, 1), f"{path}: exit code {done.returncode}: {done.stderr.decode()}"
    return done.stdout.decode("utf-8", "replace").split("\0")[:-1], done.returncode, done.stderr.decode()


def check(path, wanted, *words):
    got, code, why = ours(path, *words)
    assert code == 0, why
    got = [json.loads(record) for record in got]
    assert same(got, wanted), f"{path}: other records than pyarrow's"
    seen["records"] += len(got)
    return got


def same(a, b):
    return repr(a) == repr(b)  # also the sign of zero, and 1 from 1.0


def check_pyarrow(path, wanted):
    """That what pyarrow reads is what it was given.  Of lists it is not always (26.0.1, pages of version 2, few rows): counted."""
    for field in pq.read_schema(path):
        try:
            there = pq.ParquetFile(path).read(columns=[field.name], use_threads=False).to_pylist()
        except (OSError, pa.ArrowInvalid):
            there = None
        if not same(there, [{field.name: record[field.name]} for record in wanted]):
            assert pa.types.is_list(field.type), field.name
            seen["lists that pyarrow reads otherwise than it was given"] += 1


def check_combinations(rng, folder):
    path = os.path.join(folder, "table.parquet")
    for _ in range(int(os.environ.get("ROUNDS", "8"))):
        for codec, version, kind in itertools.product(CODECS, ["1.0", "2.0"], ["plain", "dictionary", "encoded"]):
            wanted = write(rng, path, codec, version, kind == "dictionary", kind == "encoded").to_pylist()
            check_pyarrow(path, wanted)
            got = check(path, wanted)
            seen["files"] += 1
            name = rng.choice(["text", "messages", "truth"])
            check(path, [{name: record[name]} for record in wanted], name)
            if got:  # the control
                changed = json.loads(json.dumps(got))
                changed[rng.randrange(len(got))]["id"] += 1
                assert not same(changed, wanted) and not same(got[1:], wanted), "a change was not seen"


def check_damage(rng, folder):
    """Cut and changed files: an answer or one line, never a crash (exit codes other than 0 and 1 fail in ours)."""
    path, hurt = os.path.join(folder, "table.parquet"), os.path.join(folder, "hurt.parquet")
    for i in range(int(os.environ.get("DAMAGED", "1500"))):
        if i % 30 == 0:
            write(rng, path, CODECS[i // 30 % len(CODECS)], rng.choice(["1.0", "2.0"]), rng.random() < 0.5, rng.random() < 0.5)
            whole = open(path, "rb").read()
        data = bytearray(whole)
        if rng.random() < 0.2:
            del data[rng.randrange(len(data)):]
        for _ in range(rng.choice([0, 1, 1, 2, 8])):
            if data:
                data[rng.randrange(len(data))] = rng.choice([0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)])
        open(hurt, "wb").write(data)
        _, code, why = ours(hurt)
        assert code == 0 or (why.count("\n") == 1 and hurt in why), f"no place: {why}"
        seen["refused" if code else "read though damaged"] += 1


def check_unread(folder):
    """A column beside that is large and damaged is not looked at; asked for, it is refused with its place."""
    path = os.path.join(folder, "beside.parquet")
    rows = 2000
    table = pa.table({"text": [f"texte {i}" for i in range(rows)], "embeddings": [os.urandom(5000).hex() for _ in range(rows)]})
    pq.write_table(table, path, compression="zstd", row_group_size=500, write_statistics=False)
    data = bytearray(open(path, "rb").read())
    for group in range(4):
        chunk = pq.ParquetFile(path).metadata.row_group(group).column(1)
        first = chunk.dictionary_page_offset or chunk.data_page_offset
        data[first:first + chunk.total_compressed_size] = b"\xff" * chunk.total_compressed_size
    open(path, "wb").write(data)
    check(path, [{"text": f"texte {i}"} for i in range(rows)], "text")
    out = subprocess.run([TOOL, path, "text", "COUNT"], capture_output=True, check=True).stdout.split()
    assert int(out[0]) == rows and int(out[3]) < len(data) // 20, f"{out[3]} of {len(data)} bytes were read"
    _, code, why = ours(path, "embeddings")
    assert code == 1 and "row 1 of row group 1, column 'embeddings'" in why, why
    print(f"a column beside: {int(out[3])} of {len(data)} bytes were read")


def check_duckdb(folder):
    """As AgentPublic writes its tables: DuckDB, both versions of the format, several row groups, embeddings beside the text."""
    connection = duckdb.connect()
    connection.execute("""create table t as select 'LEGI' || i as doc_id, (i % 7)::INT as chunk_index, i * 7919 as n,
        i * 0.5::DOUBLE as score, ['titre ' || i, NULL, 'section ' || (i % 3)] as context, ('{"a": ' || i || '}')::JSON as links,
        case when i % 5 = 0 then null else 'VIGUEUR' end as status, i % 2 = 0 as good,
        'Article ' || i || ' : ' || repeat('le texte é ', (i % 50)::INT) as text,
        [{'role': 'user', 'content': 'q' || i}, {'role': 'assistant', 'content': NULL}] as messages,
        repeat(md5(i::VARCHAR), 20) as "embeddings_bge-m3" from range(6000) r(i)""")
    for version, codec in itertools.product(["V1", "V2"], ["zstd", "snappy", "uncompressed", "gzip", "lz4_raw", "brotli"]):
        path = os.path.join(folder, f"{version}-{codec}.parquet")
        connection.execute(f"copy t to '{path}' (format parquet, compression '{codec}', parquet_version '{version}', "
                           "row_group_size 2048)")
        wanted = pq.ParquetFile(path).read(use_threads=False).to_pylist()
        assert len(wanted) == 6000
        check(path, wanted)
        seen["files"] += 1


def talk(i, *answers):
    turns = [{"role": "user", "content": f"Question {i} : que faire ?"}]
    for answer in answers:
        turns += [{"role": "assistant", "content": f"{answer} {i}"}, {"role": "user", "content": "Et ensuite ?"}]
    return turns[:-1] if len(turns) > 1 else turns


def kinds():
    """Name, the source's keys, records: every form of a conversation and kind of record, each with a column that nobody reads."""
    rows = range(40)
    beside = {"beside": "à côté", "other": 1.5}
    yield "messages", {"chat": True}, [{"messages": talk(i, "Oui", "Puis"), "system": maybe_system(i), **beside} for i in rows]
    yield "sharegpt", {"chat": True}, [{"conversations": [{"from": "human", "value": f"q{i}"}, {"from": "gpt", "value": f"r{i}"}],
                                        **beside} for i in rows]
    yield "alpaca", {"chat": True}, [{"instruction": f"Fais {i}", "input": "" if i % 2 else "ceci", "output": f"fait {i}", **beside}
                                     for i in rows]
    yield "completion form", {"chat": True, "form": "completion"}, [
        {"prompt": f"p{i}", "completion": f"c{i}", "messages": talk(i, "autre"), **beside} for i in rows]
    yield "completion", {"record": "completion"}, [{"prompt": f"p{i} ", "completion": f"c{i}", **beside} for i in rows]
    yield "pair", {"record": "pair", "chat": True}, [
        {"prompt": talk(i), "chosen": [{"role": "assistant", "content": f"oui {i}"}],
         "rejected": [{"role": "assistant", "content": f"non {i}"}], **beside} for i in rows]
    yield "label", {"record": "label"}, [{"prompt": f"p{i} ", "completion": f"c{i}", "label": i % 3 == 0, **beside} for i in rows]
    for is_text in (True, False):
        keep = json.dumps if is_text else (lambda value: value)
        yield "vote" + (", texts" if is_text else ""), {"record": "vote"}, [
            {"model_a_name": "a", "model_b_name": "b", "chosen_model_name": [None, "a", "b"][i % 3], "both_equal": i % 3 == 0,
             "system_prompt_a": None, "system_prompt_b": None, "conversation_a": keep(talk(i, "Oui")),
             "conversation_b": keep(talk(i, "Non")), **beside} for i in rows]
    yield "reaction", {"record": "reaction"}, [
        {"liked": i % 2 == 0, "disliked": i % 2 == 1, "model_pos": "a", "refers_to_model": "a", "model_a_name": "a", "model_b_name": "b",
         "msg_index": 1, "response_content": f"Oui {i}", "conversation_a": talk(i, "Oui"), "conversation_b": talk(i, "Non"),
         "system_prompt": None, **beside} for i in rows]
    yield "fields and where", {"fields": ["title", "text"], "where": {"status": "VIGUEUR", "year": ["2024", "2025"]}}, [
        {"title": maybe_system(i), "text": f"Article {i}", "status": ["VIGUEUR", "ABROGE"][i % 2], "year": 2020 + i % 7, **beside}
        for i in rows]


def maybe_system(i):
    return None if i % 4 == 0 else f"Titre {i}"


def prepared(folder, path, source, threads=1):
    """All that the token file holds of its documents."""
    config, out = os.path.join(folder, "run.yaml"), os.path.join(folder, "out.h5")
    with open(config, "w", encoding="utf-8") as file:
        json.dump({"prepare": {"tokenizer": "data/sample/tokenizer", "output": out, "sources": [{"path": path, **source}],
                               **({"chat_template": "chatml"} if "chat" in source else {})}}, file)
    done = subprocess.run([ATELIER, "prepare", config, "--set", f"prepare.threads={threads}"], check=False, capture_output=True)
    assert done.returncode == 0, done.stderr.decode()
    held = {}
    with h5py.File(out) as file:
        file.visititems(lambda name, item: held.update({name: item[()].tolist()}) if isinstance(item, h5py.Dataset)
                        and name not in ("sources/sha256", "sources/name", "doc_files") else None)
    return held


def check_kinds(folder):
    """Whatever a source asks for gives the same tokens from a table as from lines of JSON with the same records."""
    done = []
    for name, source, records in kinds():
        table, lines = os.path.join(folder, "kind.parquet"), os.path.join(folder, "kind.jsonl")
        pq.write_table(pa.Table.from_pylist(records), table, compression="zstd", data_page_version="2.0", row_group_size=7)
        with open(lines, "w", encoding="utf-8") as file:
            file.writelines(json.dumps(record) + "\n" for record in pa.Table.from_pylist(records).to_pylist())
        held = prepared(folder, table, source)
        assert held == prepared(folder, table, source, 32), f"{name}: row groups read by several threads give other tokens"
        assert held == prepared(folder, lines, source), f"{name}: a table and lines of JSON give other tokens"
        assert len(held["tokens"]) > 40 and (held["tokens"] not in done or name == "vote"), name  # the control: each gives its own
        done.append(held["tokens"])
    print(f"{len(done)} kinds of records give the same tokens from a table as from lines of JSON")


def check_times(rng, folder):
    """Dates and points in time are what Python's isoformat() makes of them, from year 1 to 9999, in each unit and zone."""
    path = os.path.join(folder, "times.parquet")
    start, utc = datetime.datetime(1, 1, 1), datetime.timezone.utc
    moments = [start + datetime.timedelta(days=rng.randrange(3652059), seconds=rng.randrange(86400),
                                          microseconds=rng.choice([0, 1000, 999999, rng.randrange(10**6)])) for _ in range(3000)]
    days = [start.date() + datetime.timedelta(days=i) for i in range(0, 3652059, 97)][:len(moments) * 9]
    pq.write_table(pa.table({"day": pa.array(days, pa.date32())}), path)
    check(path, [{"day": day.isoformat()} for day in days])
    near = [moment.replace(year=1700 + moment.year % 500) if (moment.month, moment.day) != (2, 29) else start.replace(year=1971)
            for moment in moments]  # what nanoseconds can count
    for unit, zone in itertools.product(["ms", "us", "ns"], [None, "UTC"]):
        values = near if unit == "ns" else moments
        if unit == "ms":
            values = [moment.replace(microsecond=moment.microsecond // 1000 * 1000) for moment in values]
        if zone:
            values = [moment.replace(tzinfo=utc) for moment in values]
        pq.write_table(pa.table({"at": pa.array(values, pa.timestamp(unit, zone))}), path)
        check(path, [{"at": value.isoformat()} for value in values])


def check_decimals(rng, folder):
    """Decimal numbers and UUIDs are what Python's str() makes of them."""
    path = os.path.join(folder, "decimals.parquet")
    for digits, scale, whole in [(9, 2, True), (18, 0, True), (18, 12, True), (5, 5, False), (38, 10, False), (38, 38, False), (76, 20, False)]:
        kind = (pa.decimal256 if digits > 38 else pa.decimal128)(digits, scale)
        numbers = [0, 1, -1, 10**digits - 1, 1 - 10**digits] + [rng.randrange(-10 ** rng.randrange(1, digits + 1), 10**digits) for _ in range(300)]
        with decimal.localcontext(prec=100):
            values = [decimal.Decimal(number).scaleb(-scale) for number in numbers] + [None]
        pq.write_table(pa.table({"n": pa.array(values, kind)}), path, store_decimal_as_integer=whole, use_dictionary=rng.random() < 0.5)
        read = pq.read_table(path)["n"].to_pylist()
        check(path, [{"n": None if value is None else str(value)} for value in read])
        expected = [{"n": None if value is None else str(value * 10)} for value in read]
        assert ours(path)[0] != expected, "the control passes"
    ids = [uuid.UUID(int=rng.randrange(2**128)) for _ in range(200)] + [None]
    pq.write_table(pa.table({"id": pa.array([i and i.bytes for i in ids], pa.uuid())}), path)
    check(path, [{"id": None if i is None else str(i)} for i in ids])


def check_refused(folder):
    """What is not read is refused by its column's name."""
    path = os.path.join(folder, "refused.parquet")
    for values, word in [([datetime.time(1, 2)], "a time of day"),
                         (pa.array([[("a", 1)]], pa.map_(pa.string(), pa.int32())), "a map"),
                         (pa.array([b"1234"], pa.binary(4)), "bytes of fixed length")]:
        pq.write_table(pa.table({"text": ["a"], "other": values}), path)
        _, code, why = ours(path)
        assert code == 1 and "column 'other'" in why and word in why, why
        check(path, [{"text": "a"}], "text")


def main():
    if not os.path.exists(TOOL):
        print(f"no {TOOL}: make tests")
        return 77
    rng = random.Random(int(os.environ.get("SEED", "20261129")))
    with tempfile.TemporaryDirectory() as folder:
        check_combinations(rng, folder)
        check_damage(rng, folder)
        check_unread(folder)
        check_duckdb(folder)
        check_kinds(folder)
        check_times(rng, folder)
        check_decimals(rng, folder)
        check_refused(folder)
    print(", ".join(f"{name}: {count}" for name, count in seen.items()))
    assert seen["refused"] > 100 and seen["records"] > 10000
    return 0


sys.exit(main())
