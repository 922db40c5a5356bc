"""check_records.py - tables and arrays of JSON as `prepare` reads them (tool_records) against Python's csv and json modules.

Tables of a seeded generator, in every delimiter, with quotes, delimiters and line ends inside of fields, LF and CRLF, with and
without a byte order mark; each as it is, cut somewhere, and with a byte changed.  Whatever Python reads (strict: a quote that
is closed is followed by a delimiter) must be the same here, row by row; what Python refuses must be refused here.  A reader
that splits at every delimiter or line is the control: it has to differ.
"""
import csv
import io
import json
import os
import random
import subprocess
import sys
import tempfile

TOOL = os.path.join(os.environ.get("OUT", "build/cpu"), "tests", "tool_records")
PIECES = ["a", "é", "œuvre", " ", '"', '""', ",", ";", "\t", "|", "\n", "\r\n", "\\", "\\n", "0", "1,5", "'", "€", "\x01", "{", "]"]
seen = {"read": 0, "rows": 0, "bad rows": 0, "refused": 0, "control": 0}


def field(rng):
    return "".join(rng.choice(PIECES) for _ in range(rng.choice([0, 1, 1, 2, 3, 5, 12])))


def table(rng, delimiter):
    columns = rng.randint(2, 6)
    out = io.StringIO()
    writer = csv.writer(out, delimiter=delimiter, lineterminator=rng.choice(["\n", "\r\n"]),
                        quoting=rng.choice([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]))
    writer.writerow([f"c{i}" if rng.random() < 0.8 else f'é "{i}"{delimiter}' for i in range(columns)])
    for _ in range(rng.randint(0, 30)):
        writer.writerow([field(rng) for _ in range(columns)])
    text = out.getvalue()
    return text if rng.random() < 0.7 else text.rstrip("\r\n")


def damage(rng, text):
    at = rng.randrange(len(text)) if text else 0
    kind = rng.choice(["cut", "change", "insert"])
    if kind == "cut":
        return text[:at]
    return text[:at] + rng.choice(['"', ",", "\n", "x", ";", "\t"]) + text[at + (kind == "change"):]


def python_rows(text, delimiter):
    """The header, rows (None: of another length), and whether all was read."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    rows, header = [], None
    try:
        for row in reader:
            if not row:
                continue
            if header is None:
                header = row
            else:
                rows.append(row if len(row) == len(header) else None)
    except csv.Error:
        return header, rows, False
    return header, rows, True


def bare_return(text):
    """A carriage return that ends a line for Python, and is refused here: before anything but a line feed."""
    return "\r" in text.replace("\r\n", "")


def ours(path, kind, *words):
    done = subprocess.run([TOOL, path, kind, *words], capture_output=True, check=False)
    lines = done.stdout.decode().split("\0")[:-1]
    return [None if line.startswith("fault: ") else json.loads(line) for line in lines], done.returncode, done.stderr.decode()


def same_rows(header, rows, got):
    return [row and dict(zip(header, row)) for row in rows] == got


def check_table(text, delimiter, folder, name):
    path = os.path.join(folder, name)
    with open(path, "w", encoding=random.choice(["utf-8", "utf-8-sig"]), newline="") as file:
        file.write(text)
    header, rows, is_whole = python_rows(text, delimiter)
    got, code, why = ours(path, "csv", "tab" if delimiter == "\t" else delimiter)
    if bare_return(text):
        return
    if header is None or not is_whole:
        has_fault = code != 0 or None in got
        assert has_fault, f"{path}: Python refuses it, it is read here"
        seen["refused"] += 1
        return
    assert code == 0, f"{path}: {why}"
    assert same_rows(header, rows, got), f"{path}: other rows than Python's"
    seen["read"] += 1
    seen["rows"] += len(rows)
    seen["bad rows"] += rows.count(None)
    naive = [line.split(delimiter) for line in text.splitlines()[1:]]
    seen["control"] += naive != rows


def check_delimiters(rng, folder):
    """The delimiter is found where it can be, as written; never another one in silence."""
    found = refused = 0
    for i in range(200):
        delimiter = rng.choice(",;\t|")
        text = table(rng, delimiter)
        path = os.path.join(folder, f"auto{i}.csv")
        open(path, "w", encoding="utf-8", newline="").write(text)
        header, rows, _ = python_rows(text, delimiter)
        if bare_return(text):
            continue
        got, code, why = ours(path, "csv")
        if code != 0:
            assert "the delimiter is not clear" in why, why
            refused += 1
            continue
        assert same_rows(header, rows, got), f"{path}: another delimiter than '{delimiter}'"
        found += 1
    print(f"delimiters: {found} found, {refused} refused as not clear")
    assert found > 4 * refused


def value(rng, depth=0):
    kind = rng.randrange(6 if depth < 3 else 4)
    if kind == 4:
        return [value(rng, depth + 1) for _ in range(rng.randrange(4))]
    if kind == 5:
        return {field(rng): value(rng, depth + 1) for _ in range(rng.randrange(4))}
    return [None, True, rng.randrange(-10**6, 10**6), field(rng)][kind]


def check_arrays(rng, folder):
    read = refused = 0
    for i in range(300):
        wanted = [value(rng) for _ in range(rng.randrange(12))]
        text = json.dumps(wanted, ensure_ascii=rng.random() < 0.5, indent=rng.choice([None, None, 0, 2]))
        if rng.random() < 0.5:
            text = damage(rng, text)
        try:
            wanted, is_whole = json.loads(text), True
        except ValueError:
            is_whole = False
        path = os.path.join(folder, f"array{i}.json")
        open(path, "w", encoding="utf-8", newline="").write(text)
        try:
            got, code, why = ours(path, "json")
        except ValueError:  # an element that is no JSON: the workers refuse it
            got, code = None, 1
        if is_whole and isinstance(wanted, list):
            assert code == 0 and got == wanted, f"{path}: {why}"
            read += 1
        else:
            assert code != 0, f"{path}: Python refuses it, it is read here"
            refused += 1
    print(f"arrays: {read} as json reads them, {refused} refused as there")
    assert read > 100 and refused > 50


def main():
    rng = random.Random(11)
    random.seed(12)
    with tempfile.TemporaryDirectory() as folder:
        for i in range(500):
            delimiter = rng.choice(",;\t|")
            text = table(rng, delimiter)
            check_table(text, delimiter, folder, f"{i}.csv")
            check_table(damage(rng, text), delimiter, folder, f"{i}d.csv")
        check_delimiters(rng, folder)
        check_arrays(rng, folder)
    print("tables: " + ", ".join(f"{count} {what}" for what, count in seen.items()))
    assert seen["read"] > 400 and seen["refused"] > 50 and seen["bad rows"] > 100 and seen["control"] > 300
    return 0


if __name__ == "__main__":
    sys.exit(main())
