"""check_tar.py - archives as `prepare` walks them (tool_members) against Python's tarfile.

Archives of a seeded generator in every format of tarfile (ustar, GNU, pax) and of GNU tar where it is installed (v7, oldgnu too), plain,
gzip and zstd, with long names, names beyond ASCII, folders, links, devices, hidden and empty files.  Names and contents must be
tarfile's.  Cut anywhere before the end mark an archive must be refused; with a byte of a header changed too, unless tarfile finds the
same in it; with a byte of a content changed the content is that of tarfile.  Names that lead out, sparse members and several
archives one after another are refused by name.
"""
import gzip
import io
import os
import random
import subprocess
import sys
import tarfile
import tempfile

TOOL = os.path.join(os.environ.get("OUT", "build/cpu"), "tests", "tool_members")
seen = {"archives": 0, "members": 0, "cut": 0, "changed": 0, "refused headers": 0, "refused": 0, "control": 0}


def name_of(rng, format_of_names):
    parts = [rng.choice(["a", "bc", "data", "été", "LEGIARTI000006", "x" * 30]) for _ in range(rng.choice([1, 1, 2, 4, 9]))]
    if format_of_names != tarfile.USTAR_FORMAT and rng.random() < 0.2:
        parts += ["long" * 30, "d" * 99]
    return "/".join(parts + [f"{rng.randrange(10 ** 6)}.txt"])


def content_of(rng):
    size = rng.choice([0, 1, 10, 511, 512, 513, 5000, 70000, 300000])
    return bytes(rng.choice(b"abc\n ") for _ in range(min(size, 600))) * (size // 600 + 1) if size else b""


def special(rng, name):
    info = tarfile.TarInfo(name)
    info.type = rng.choice([tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE])
    if info.type in (tarfile.SYMTYPE, tarfile.LNKTYPE):
        info.linkname = rng.choice(["/etc/passwd", "../../x", "y" * 95])
    return info


def archive(rng):
    kind = rng.choice([tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=kind) as tar:
        for _ in range(rng.randint(1, 12)):
            name = name_of(rng, kind)
            if rng.random() < 0.25:
                tar.addfile(special(rng, name))
                continue
            name = rng.choice(["", "", "", "./", "."]) + name if rng.random() < 0.5 else name
            info, data = tarfile.TarInfo(name), content_of(rng)
            info.size, info.mtime = len(data), rng.choice([0, 1.5, 10 ** 9])
            tar.addfile(info, io.BytesIO(data))
    return out.getvalue()


def by_gnu_tar(rng, folder):
    base = os.path.join(folder, "tree")
    os.makedirs(os.path.join(base, "d" * 90, "e" * 60), exist_ok=True)
    for name in ("a.txt", f"{'d' * 90}/b.txt", f"{'d' * 90}/{'e' * 60}/c.txt"):
        with open(os.path.join(base, name), "wb") as file:
            file.write(content_of(rng))
    kind = rng.choice(["v7", "oldgnu", "gnu", "ustar", "posix"])
    names = ["a.txt"] if kind == "v7" else ["."]
    return subprocess.run(["tar", "-C", base, f"--format={kind}", "-cf", "-", *names], capture_output=True, check=True).stdout


def by_python(data):
    found = []
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        for member in tar:
            name = member.name
            while name.startswith("./"):
                name = name[2:]
            if member.isreg() and not any(part.startswith(".") for part in name.split("/")):
                found.append((name, tar.extractfile(member).read()))
    return found


def packed(rng, data, folder):
    coding = rng.choice(["", ".gz", ".zst", "tgz"])
    path = os.path.join(folder, "archive.tgz" if coding == "tgz" else "archive.tar" + coding)
    if coding in (".gz", "tgz"):
        data = gzip.compress(data, 1)
    if coding == ".zst":
        data = subprocess.run(["zstd", "-q1c"], input=data, capture_output=True, check=True).stdout
    return path, data


def ours(path, data):
    with open(path, "wb") as file:
        file.write(data)
    done = subprocess.run([TOOL, path, "text"], capture_output=True, check=False)
    parts = done.stdout.split(b"\0")[:-1]
    names = [name.decode().removeprefix(path + ":") for name in parts[::2]]
    return list(zip(names, parts[1::2])) if done.returncode == 0 else None, done.stderr.decode()


def headers_of(data):
    """The offsets of all blocks that are headers, those of long names included."""
    blocks = set()
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        for member in tar:
            blocks.update((member.offset, member.offset_data - 512))
    return blocks


def check(rng, data, folder):
    want = by_python(data)
    path, stored = packed(rng, data, folder)
    got, fault = ours(path, stored)
    if not want:
        assert got is None and "holds no file that is read" in fault, fault
        return
    assert got == want, f"{fault}\n{[n for n, _ in got or []]}\n{[n for n, _ in want]}"
    seen["archives"] += 1
    seen["members"] += len(want)
    seen["control"] += [n for n, _ in got] != sorted(n for n, _ in got)  # in the order of the archive
    end = len(data.rstrip(b"\0"))
    cut = rng.randrange(min(end, len(data) - 1))
    got, fault = ours(path, stored[:rng.randrange(len(stored))] if path[-3:] != "tar" else data[:cut])
    assert got is None and "archive" in fault, f"cut at {cut}, and read: {fault}"
    seen["cut"] += 1
    plain = os.path.join(folder, "changed.tar")
    headers = sorted(headers_of(data))
    in_header = rng.random() < 0.5
    at = rng.choice(headers) + rng.randrange(512) if in_header else rng.randrange(end)
    other = next(byte for byte in (data[at] ^ (1 << rng.randrange(7)), 65) if byte)  # the tool ends its answers with NUL
    bad = data[:at] + bytes([other]) + data[at + 1:]
    got, fault = ours(plain, bad)
    seen["changed"] += 1
    if got is None:
        seen["refused headers"] += at // 512 * 512 in headers
        return
    try:
        same = got == by_python(bad)
    except tarfile.TarError:
        same = False
    assert same and not in_header, f"byte {at} changed (header: {in_header}), and read otherwise than by tarfile"


def check_refusals(folder):
    def one(name, kind=tarfile.GNU_FORMAT):
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w", format=kind) as tar:
            info = tarfile.TarInfo(name)
            info.size = 1
            tar.addfile(info, io.BytesIO(b"x"))
        return out.getvalue()

    sparse = subprocess.run("truncate -s 1M s.txt && printf x >>s.txt && tar -S -cf - s.txt", shell=True, cwd=folder,
                            capture_output=True, check=True).stdout
    path = os.path.join(folder, "archive.tar")
    for data, word in ((one("/etc/a.txt"), "leads out"), (one("../a.txt"), "leads out"), (one("a/../../b.txt"), "leads out"),
                       (one("a/../b.txt", tarfile.PAX_FORMAT), "leads out"), (sparse, "sparse"), (one("a.txt") * 2, "goes on after its end"),
                       (one("a.txt")[:1024], "no end mark"), (b"", "empty"), (b"%PDF-1.4" + bytes(1016), "a PDF"),
                       (b"\xfd7zXZ\0" + bytes(1018), "xz data")):
        got, fault = ours(path, data)
        assert got is None and word in fault and "archive.tar'" in fault, f"expected '{word}': {fault}"
        seen["refused"] += 1


def main():
    rng = random.Random(5)
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(300):
            check(rng, archive(rng), folder)
        for _ in range(20):
            check(rng, by_gnu_tar(rng, folder), folder)
        check_refusals(folder)
    print(f"  {seen['archives']} archives with {seen['members']} files walked as by tarfile ({seen['control']} in an order that is not that "
          f"of names), {seen['cut']} cut ones refused, {seen['changed']} with a byte changed refused ({seen['refused headers']} in headers) "
          f"or read as by tarfile, {seen['refused']} others refused by name")
    return 0 if seen["archives"] > 250 and seen["refused headers"] > 100 and seen["control"] > 100 else 1


if __name__ == "__main__":
    sys.exit(main())
