#!/usr/bin/env python3
"""run.py FOLDER - execute the kernels that nvcc compiled to FOLDER/*.ptx, and compare with references in f64.

    --fast       the cases of `make test`, some of every kind
    --only TEXT  the cases with TEXT in their name
    --seeds N    every case N times: lowest program counter first and copies that land at once; then warps that run ahead,
                 and copies that land late, or at random (default 1; tensor cores 3)
    --jobs N     processes (default: as many as there are cores)
    --list       the names alone
    --planted    the planted faults alone

Exit code 0: all as expected, planted faults included; 1: something is not.
"""
import argparse
import glob
import multiprocessing
import os
import re
import sys
import time

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import kernels_experts
import kernels_experts_parts
import kernels_fixed
import kernels_flash
import kernels_flat
import kernels_fp8
import kernels_heads
import kernels_hopper
import kernels_packed
import kernels_rows
import kernels_vocab
import planted
from bench import Bench, PtxError, Wrong
from module import Module

FAMILIES = [kernels_rows, kernels_flat, kernels_fixed, kernels_packed, kernels_fp8, kernels_vocab, kernels_experts,
            kernels_experts_parts, kernels_heads, kernels_flash, kernels_hopper]


def all_cases():
    """(name, function of a bench, of the fast subset, architecture, seed)."""
    for family in FAMILIES:
        seeds = getattr(family, "SEEDS", [0])
        for case in family.cases():
            name, arch, function = case
            yield name, function, name in family.FAST, arch, seeds


def run_case(folder, name, seed):
    """(passed, text)."""
    function, arch = next((f, a) for n, f, _, a, _ in all_cases() if n == name)
    bench = Bench(folder, arch, seed)
    bench.start(name)
    try:
        return True, f"{function(bench):.3g} of the bound"
    except (Wrong, PtxError) as error:
        return False, str(error)


def run_planted(folder, name):
    plant = next(p for p in planted.plants() if p.name == name)
    function, arch = next((f, a) for n, f, _, a, _ in all_cases() if n == plant.case)
    bench = Bench(folder, arch, plant.seed, (plant.file, plant.change))
    bench.start(plant.case)
    try:
        function(bench)
    except (Wrong, PtxError) as error:
        return True, f"seen: {error}"
    return False, "a planted fault is not seen"


def job(item):
    what, folder, name, seed = item
    start = time.time()
    Module.launched.clear()
    passed, text = run_case(folder, name, seed) if what == "case" else run_planted(folder, name)
    return what, name, seed, passed, text, time.time() - start, set(Module.launched) if what == "case" else set()


def never_launched(folder, launched):
    """Kernels of the folder's files that no case has executed."""
    names = set()
    for file in glob.glob(os.path.join(folder, "*.ptx")):
        with open(file) as text:
            names.update(re.findall(r"^\S*\s*\.entry (\w+)", text.read(), flags=re.M))
    return sorted(names - launched)


def jobs_of(options):
    for name, _, fast, _, seeds in () if options.planted else all_cases():
        if (fast or not options.fast) and options.only in name:
            few = seeds[:2] if options.fast else seeds
            for seed in range(options.seeds) if options.seeds else few:
                yield "case", options.folder, name, seed
    for plant in planted.plants():
        if (plant.fast or not options.fast) and options.only in plant.name:
            yield "planted", options.folder, plant.name, plant.seed


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder")
    parser.add_argument("--fast", action="store_true")
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--planted", action="store_true")
    parser.add_argument("--only", default="")
    parser.add_argument("--seeds", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    options = parser.parse_args()
    items = list(jobs_of(options))
    if options.list:
        print("\n".join(f"{what} {name}, seed {seed}" for what, _, name, seed in items))
        return 0
    failed, launched = 0, set()
    with multiprocessing.Pool(options.jobs) as pool:
        for what, name, seed, passed, text, seconds, kernels in pool.imap(job, items):
            failed += not passed
            launched |= kernels
            print(f"{'ok    ' if passed else 'FAILED'} {what} {name}, seed {seed}: {text} ({seconds:.1f} s)", flush=True)
    if not (options.fast or options.only or options.planted):
        missing = never_launched(options.folder, launched)
        failed += len(missing)
        print(f"{len(launched)} kernels executed" + "".join(f"\nFAILED no case executes {name}" for name in missing))
    cases = sum(item[0] == "case" for item in items)
    print(f"{cases} cases and {len(items) - cases} planted faults, {failed} not as expected")
    return 1 if failed or not items else 0


if __name__ == "__main__":
    sys.exit(main())
