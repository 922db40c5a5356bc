"""check_sift.py - personal data as `prepare` finds it (prepare.personal_data) against python-stdnum and Google's libphonenumber,
and near copies (prepare.near_duplicates) against the exact shares of common runs of words.

Numbers of a seeded generator: social security numbers and IBANs whose keys stdnum has made, spaced as people write them; the same
with a digit changed, which stdnum refuses and which must not be found (the control).  Telephone numbers that libphonenumber calls
valid, in all of its formats.  Pairs of texts whose exact resemblance is known: nearly all above 0.9, nearly none below 0.4 are
found.
"""
import json
import os
import random
import subprocess
import sys
import tempfile

import phonenumbers
from stdnum import iban
from stdnum.fr import nir

ATELIER = os.path.join(os.environ.get("OUT", "build/cpu"), "atelier")
LENGTHS = {"FR": 27, "DE": 22, "BE": 16, "ES": 24, "IT": 27, "CH": 21, "LU": 20, "PT": 25, "NL": 18, "PL": 28}


def prepare(folder, sources, **settings):
    """The totals of a run over sources {name: lines}."""
    config = {"prepare": {"tokenizer": "data/sample/tokenizer", "output": f"{folder}/out.h5", "deduplicate": False, "sources": [],
                          **settings}}
    for name, lines in sources.items():
        path = f"{folder}/{name}.jsonl"
        with open(path, "w", encoding="utf-8") as file:
            file.writelines(json.dumps({"text": line}, ensure_ascii=False) + "\n" for line in lines)
        config["prepare"]["sources"].append({"path": path, "name": name})
    with open(f"{folder}/run.yaml", "w", encoding="utf-8") as file:
        json.dump(config, file)
    done = subprocess.run([ATELIER, "prepare", f"{folder}/run.yaml", "--json"], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def spaced(rng, text, groups):
    if rng.random() < 0.4:
        return text
    out, at, blank = [], 0, rng.choice([" ", "\u00a0", "\u202f"])
    for size in groups:
        out.append(text[at:at + size])
        at += size
    return blank.join(part for part in out + [text[at:]] if part)


def make_nir(rng):
    department = rng.choice(["75", "13", "2A", "2B", "69", "99", "97"])
    month = rng.choice(["01", "06", "12", "20", "33", "62"])
    number = f"{rng.choice('12')}{rng.randrange(100):02}{month}{department}{rng.randrange(1, 990):03}{rng.randrange(1, 1000):03}"
    return number + nir.calc_check_digits(number)


def make_iban(rng):
    country = rng.choice(list(LENGTHS))
    bban = "".join(rng.choice("0123456789") for _ in range(LENGTHS[country] - 4))
    return country + iban.calc_check_digits(country + "00" + bban) + bban


def changed(rng, text, is_valid):
    """The same with one digit changed, so that the reference refuses it."""
    while True:
        at = rng.choice([i for i, c in enumerate(text) if c.isdigit()])
        other = text[:at] + rng.choice([d for d in "0123456789" if d != text[at]]) + text[at + 1:]
        if not is_valid(other):
            return other


def phones(rng):
    formats = [phonenumbers.PhoneNumberFormat.E164, phonenumbers.PhoneNumberFormat.INTERNATIONAL]
    for _ in range(400):
        number = phonenumbers.parse(f"+33{rng.choice('1234567')}{rng.randrange(10 ** 8):08}")
        if phonenumbers.is_valid_number(number):
            yield phonenumbers.format_number(number, rng.choice(formats + [phonenumbers.PhoneNumberFormat.NATIONAL]))
    for region in ["DE", "BE", "CH", "ES", "IT", "GB", "US", "MA", "DZ", "SN", "CA", "PT"]:
        for kind in (phonenumbers.PhoneNumberType.MOBILE, phonenumbers.PhoneNumberType.FIXED_LINE):
            number = phonenumbers.example_number_for_type(region, kind)
            for form in formats if number else []:
                yield phonenumbers.format_number(number, form)


def runs(text, n=5):
    words = text.split()
    return {tuple(words[i:i + n]) for i in range(len(words) - n + 1)}


def pair(rng, num_changes):
    """A text and a copy with so many words changed, and what they have in common of all runs."""
    words = [f"mot{rng.randrange(10 ** 9)}" for _ in range(300)]
    copy = list(words)
    for at in rng.sample(range(300), num_changes):
        copy[at] = f"autre{rng.randrange(10 ** 9)}"
    a, b = runs(" ".join(words)), runs(" ".join(copy))
    return " ".join(words), " ".join(copy), len(a & b) / len(a | b)


def main():
    rng, failed = random.Random(12), []
    groups = (1, 2, 2, 2, 3, 3, 2)
    nirs = [make_nir(rng) for _ in range(500)]
    ibans = [make_iban(rng) for _ in range(500)]
    sources = {
        "nir": ["n° " + spaced(rng, n, groups) + "." for n in nirs],
        "bad_nir": ["n° " + spaced(rng, changed(rng, n, nir.is_valid), groups) + "." for n in nirs],
        "iban": ["IBAN : " + spaced(rng, n, (4,) * 8) + ", BIC" for n in ibans],
        "bad_iban": ["IBAN : " + spaced(rng, changed(rng, n, iban.is_valid), (4,) * 8) + ", BIC" for n in ibans],
        "telephone": [f"tél. {n}, merci" for n in phones(rng)],
    }
    with tempfile.TemporaryDirectory() as folder:
        found = {row["source"]: row for row in prepare(folder, sources, personal_data="count")["personal_data"]}
        for name, kind, want in (("nir", "nir", 500), ("bad_nir", "nir", 0), ("iban", "iban", 500), ("bad_iban", "iban", 0),
                                 ("telephone", "telephone", len(sources["telephone"]))):
            print(f"{name}: {found[name][kind]} of {len(sources[name])} found as {kind}")
            if found[name][kind] != want:
                failed.append(f"{name}: {found[name][kind]} found, {want} expected")
        for num_changes, low, high in ((1, 0.97, 1), (3, 0.9, 1), (40, 0, 0.1), (300, 0, 0)):
            pairs = [pair(rng, num_changes) for _ in range(100)]
            totals = prepare(folder, {"pairs": [text for a, b, _ in pairs for text in (a, b)]}, near_duplicates=True)
            share = totals["near_duplicates"] / 100
            print(f"near copies: {num_changes} words of 300 changed, common {min(s for *_, s in pairs):.2f} to "
                  f"{max(s for *_, s in pairs):.2f}: {share:.0%} left out")
            if not low <= share <= high:
                failed.append(f"{num_changes} words changed: {share} left out, {low} to {high} expected")
    print("\n".join(["FAILED"] + failed) if failed else "ok")
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
