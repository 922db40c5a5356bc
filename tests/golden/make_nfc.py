#!/usr/bin/env python3
"""make_nfc.py - expected values of NFC, made with Python's unicodedata (an implementation of its own).

Restricted to the characters assigned in that module's version of Unicode: the normal form of an assigned character
never changes in later versions, so the values hold for every utf8proc of that version or a later one.

nfc/nfc.txt:
    version VERSION
    assigned FIRST LAST         ranges of assigned code points, hexadecimal
    single CODE UTF8            every code point that NFC changes, and its normal form in hexadecimal
    context FIRST SHA256        of the normal forms, one line each, of "e C cedilla acute" for the assigned C of
                                0x1000 code points from FIRST
"""
import hashlib
import os
import unicodedata

out = open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "nfc", "nfc.txt"), "w")
print("version", unicodedata.unidata_version, file=out)


def assigned(c):
    return not 0xD800 <= c <= 0xDFFF and unicodedata.category(chr(c)) != "Cn"


first = None
for c in range(0x110001):
    if c < 0x110000 and assigned(c):
        first = c if first is None else first
    elif first is not None:
        print("assigned %x %x" % (first, c - 1), file=out)
        first = None
for c in range(0x110000):
    if assigned(c) and unicodedata.normalize("NFC", chr(c)) != chr(c):
        print("single %x %s" % (c, unicodedata.normalize("NFC", chr(c)).encode().hex()), file=out)
for start in range(0, 0x110000, 0x1000):
    lines = [
        unicodedata.normalize("NFC", "e" + chr(c) + "\u0327\u0301") + "\n"
        for c in range(start, start + 0x1000)
        if assigned(c)
    ]
    if lines:
        print("context %x %s" % (start, hashlib.sha256("".join(lines).encode()).hexdigest()), file=out)
