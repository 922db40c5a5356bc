#!/usr/bin/env python3
"""turns.py - what it costs that tiles of keys add to the gradient of the queries in a fixed order (attention_fused_sm90.cu): a count of
turns, no measurement.

    turns.py     prints the table that kernels/cuda/NOTES.md holds

Blocks of threads draw tiles as the kernel does.  A block of queries and head takes a unit of time; its share then waits for its
turn, is read after READ units and gives the turn on after ADD; two shares fit in shared memory.  Without turns nobody waits for
another tile.  The other orders are those that were not taken.
"""
import heapq

MULTIPROCESSORS, KEYS, QUERIES = 132, 128, 64
READ, ADD = 0.3, 1.0  # of a unit, which is about 2 us: 2560 tensor clocks at 80 %, with what does not hide behind them


def tile(start, blocks, group, taken, how, free):
    """One tile from `start` on: when it ends.  taken: when each block and head of the chain was given on; free: of the shares."""
    order = blocks if how == "first to last" else blocks[::-1]
    if how == "heads outside":
        visits = [(block, head) for head in range(group) for block in order]
    else:
        visits = [(block, head) for block in order for head in range(group)]
    now, stored = start, [0.0, 0.0]
    for i, visit in enumerate(visits):
        now = max(now + 1, free[i % 2])
        begins = max(now, stored[i % 2], taken.get(visit, 0.0) if how else 0.0)
        free[i % 2] = begins + READ
        taken[visit] = stored[i % 2] = begins + ADD
    return now


def makespan(texts, rows, kv_heads, group, how):
    sms = [(0.0, number) for number in range(MULTIPROCESSORS)]
    shares = [[0.0, 0.0] for _ in sms]
    taken = {}
    for text in range(texts):
        for first in range(0, rows, KEYS):
            blocks = list(range(first // QUERIES, rows // QUERIES))
            for head in range(kv_heads):
                start, number = heapq.heappop(sms)
                end = tile(start, blocks, group, taken.setdefault((text, head), {}), how, shares[number])
                heapq.heappush(sms, (end, number))
    return max(end for end, _ in sms)


CASES = [(2, 8192, 8, 4), (2, 8192, 32, 1), (1, 4096, 8, 4), (4, 4096, 8, 4), (1, 16384, 8, 4)]


def main():
    print("| texts, rows, heads of keys, queries' heads for each | speed, of that without turns | blocks first to last | heads outside |"
          "\n|---|---|---|---|")
    for case in CASES:
        free = makespan(*case, "")
        shares = [free / makespan(*case, how) for how in ("as it is", "first to last", "heads outside")]
        print(f"| {', '.join(map(str, case))} | " + " | ".join(f"{100 * share:.0f} %" for share in shares) + " |")


if __name__ == "__main__":
    main()
