#!/usr/bin/env python3
"""Compare atelier's tokenizer with the package `tokenizers` on whole corpora, document by document.

    compare_tokenizers.py [--tool TOOL] [--tokenizers FOLDER] [--corpora FOLDER] [--golden FOLDER] [--only NAME,...]

TOOL is the program built from tests/tool_encode.c, FOLDER of tokenizers one of folders with a tokenizer.json each, the
corpora .jsonl, .jsonl.zst and .tar.zst files.  The sample tokenizer and text of the repository always take part; the
rest comes from ../shared unless told otherwise.  Every document is encoded with special tokens, without them, and with
special tokens in the text taken as text; the ids are decoded with and without special tokens.  Any difference is
printed and makes the program fail.  --golden also writes what tests/test_tokenizer.c checks without Python: per
tokenizer and corpus the number of documents and tokens and the SHA-256 of all ids.
"""
import argparse
import hashlib
import io
import json
import os
import pathlib
import struct
import subprocess
import sys
import tarfile
import tempfile

from tokenizers import Tokenizer

MODES = {"encode": dict(add_special_tokens=True), "bare": dict(add_special_tokens=False),
         "plain": dict(add_special_tokens=False)}
CHUNK = 2000
ROOT = pathlib.Path(__file__).resolve().parents[2]
SHARED = pathlib.Path(os.environ.get("ATELIER_SHARED", ROOT.parent / "shared"))


def unpack(path):
    return subprocess.run(["zstd", "-dc", str(path)], check=True, capture_output=True).stdout


def documents(path):
    """Texts of a corpus: the field 'text', each message's content, or each file of an archive."""
    data = unpack(path) if path.suffix == ".zst" else path.read_bytes()
    if path.name.endswith(".tar.zst"):
        with tarfile.open(fileobj=io.BytesIO(data)) as archive:
            return [archive.extractfile(member).read().decode() for member in archive if member.isfile()]
    texts = []
    for line in data.splitlines():
        record = json.loads(line)
        texts += [message["content"] for message in record["messages"]] if "messages" in record else [record["text"]]
    return texts


def frames(parts):
    return b"".join(struct.pack("<I", len(part)) + part for part in parts)


def run_tool(tool, path, mode, parts):
    """The tool's answer to each part; None where it refused."""
    done = subprocess.run([tool, str(path), mode], input=frames(parts), stdout=subprocess.PIPE, check=True)
    answers, at = [], 0
    while at < len(done.stdout):
        (length,) = struct.unpack_from("<I", done.stdout, at)
        at += 4
        if length == 0xFFFFFFFF:
            answers.append(None)
            continue
        answers.append(done.stdout[at:at + length])
        at += length
    return answers


def pack_ids(ids):
    return struct.pack(f"<{len(ids)}i", *ids)


def reference_ids(tokenizer, texts, mode):
    tokenizer.encode_special_tokens = mode == "plain"
    ids = []
    for start in range(0, len(texts), CHUNK):
        for encoding in tokenizer.encode_batch_fast(texts[start:start + CHUNK], **MODES[mode]):
            ids.append(encoding.ids)
    tokenizer.encode_special_tokens = False
    return ids


def report(name, what, texts, wanted, got):
    """Number of documents that differ; shows the first."""
    bad = [i for i, (w, g) in enumerate(zip(wanted, got)) if w != g]
    if len(wanted) != len(got):
        print(f"{name} {what}: {len(got)} answers for {len(wanted)} documents")
        return len(wanted)
    if bad:
        i = bad[0]
        first = next((k for k in range(min(len(wanted[i]), len(got[i] or b""))) if wanted[i][k] != got[i][k]), 0)
        print(f"{name} {what}: {len(bad)} of {len(wanted)} differ; first document {i}, byte {first}")
        print("  text     ", repr(texts[i][:300]))
        print("  reference", wanted[i][max(0, first // 4 * 4 - 16):first // 4 * 4 + 32])
        print("  atelier  ", (got[i] or b"refused")[max(0, first // 4 * 4 - 16):first // 4 * 4 + 32])
    return len(bad)


def compare(tool, path, tokenizer, name, texts):
    """Encode and decode one corpus both ways; returns (differences, ids with special tokens)."""
    differences, kept = 0, None
    parts = [text.encode() for text in texts]
    for mode in MODES:
        ids = reference_ids(tokenizer, texts, mode)
        wanted = [pack_ids(one) for one in ids]
        differences += report(name, mode, texts, wanted, run_tool(tool, path, mode, parts))
        if mode == "encode":
            kept = ids
    packed = [pack_ids(one) for one in kept]
    for mode, skip in (("decode", False), ("skip", True)):
        wanted = [text.encode() for text in tokenizer.decode_batch(kept, skip_special_tokens=skip)]
        differences += report(name, mode, texts, wanted, run_tool(tool, path, mode, packed))
    return differences, kept


def golden_line(corpus, ids):
    digest = hashlib.sha256()
    for one in ids:
        digest.update(struct.pack("<I", len(one)) + pack_ids(one))
    return f"{corpus} {len(ids)} {sum(map(len, ids))} {digest.hexdigest()}\n"


def compare_family(options, path, family, corpora):
    """All corpora with one tokenizer; the number of differences."""
    tokenizer, lines, total = Tokenizer.from_file(str(path)), [], 0
    for corpus, texts in corpora.items():
        differences, ids = compare(options.tool, path, tokenizer, f"{family} {corpus}", texts)
        total += differences
        lines.append(golden_line(corpus, ids))
        print(f"{family} {corpus}: {len(texts)} documents, {sum(map(len, ids))} tokens, {differences} differences",
              flush=True)
    if options.golden:
        (options.golden / f"{family}.txt").write_text("# corpus documents tokens sha256\n" + "".join(lines))
    return total


def unpack_tokenizers(folder):
    """The archives of ../shared/tokenizers, for as long as the program runs."""
    for archive in sorted((SHARED / "tokenizers").glob("*.tar.zst")):
        with tarfile.open(fileobj=io.BytesIO(unpack(archive))) as members:
            members.extractall(folder)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tool", default=str(ROOT / os.environ.get("OUT", "build/cpu") / "tests" / "tool_encode"))
    parser.add_argument("--tokenizers", type=pathlib.Path)
    parser.add_argument("--corpora", type=pathlib.Path, default=SHARED / "corpora")
    parser.add_argument("--golden", type=pathlib.Path)
    parser.add_argument("--only", default="")
    options = parser.parse_args()
    corpora = {path.name: documents(path) for path in sorted(options.corpora.glob("*.zst"))}
    sample = ROOT / "data" / "sample"
    families = {"sample": sample / "tokenizer" / "tokenizer.json"}
    with tempfile.TemporaryDirectory() as folder:
        if not options.tokenizers:
            unpack_tokenizers(folder)
        for path in sorted(pathlib.Path(options.tokenizers or folder).glob("**/tokenizer.json")):
            families[path.parent.name] = path
        corpora["fiches.jsonl"] = documents(sample / "fiches.jsonl")
        wanted = options.only.split(",") if options.only else list(families)
        total = sum(compare_family(options, families[family], family, corpora) for family in wanted)
    print(f"{total} differences")
    return 1 if total else 0


if __name__ == "__main__":
    sys.exit(main())
