"""philox.py - Philox 4x32-10 (Salmon et al., SC11), and rounding to bf16 by 16 random bits, for references."""
import numpy as np

U32, U64 = np.uint32, np.uint64


def philox_blocks(seed, stream, index):
    """[n, 4] words of blocks `index`."""
    index = np.asarray(index, U64)
    words = [index & U64(0xFFFFFFFF), index >> U64(32), np.full_like(index, stream & 0xFFFFFFFF),
             np.full_like(index, stream >> 32)]
    low, high = seed & 0xFFFFFFFF, seed >> 32
    for _ in range(10):
        a, b = U64(0xD2511F53) * words[0], U64(0xCD9E8D57) * words[2]
        words = [(b >> U64(32)) ^ words[1] ^ U64(low), b & U64(0xFFFFFFFF),
                 (a >> U64(32)) ^ words[3] ^ U64(high), a & U64(0xFFFFFFFF)]
        low, high = (low + 0x9E3779B9) & 0xFFFFFFFF, (high + 0xBB67AE85) & 0xFFFFFFFF
    return np.stack(words, 1).astype(U32)


def philox(seed, stream, places):
    """Word place % 4 of block place / 4."""
    places = np.asarray(places)
    return philox_blocks(seed, stream, places // 4)[np.arange(len(places)), places % 4]


def bf16_at_random(x, words):
    return ((x.view(U32) + (words & U32(0xFFFF))) >> U32(16)).astype(np.uint16)
