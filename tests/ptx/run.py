#!/usr/bin/env python3
"""run.py FOLDER - execute the kernels that were compiled to FOLDER/*.ptx, and compare with references in f64.

    --fast       the cases of `make test`, some of every kind
    --only TEXT  the cases with TEXT in their name
    --seeds N    every case N times: lowest program counter first and copies that land at once; then warps that run ahead,
                 and copies that land late, or at random (default 2; asynchronous copies 3)
    --jobs N     processes (default: as many as there are cores)
    --record FILE  keep in FILE what passed, and do not execute again what passed before with the same texts and
                 the same interpreter (record.py)
    --list       the names alone
    --planted    the planted faults alone

Exit code 0: all as expected, planted faults included; 1: something is not.
"""
import argparse
import collections
import glob
import multiprocessing
import os
import re
import sys
import time
from dataclasses import dataclass

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
import kernels_volta
import kernels_volta_others
import planted
from bench import Bench, PtxError, Wrong
from module import Module
from record import Record, Result

FAMILIES = [kernels_rows, kernels_flat, kernels_fixed, kernels_packed, kernels_fp8, kernels_vocab, kernels_experts,
            kernels_experts_parts, kernels_heads, kernels_flash, kernels_hopper, kernels_volta, kernels_volta_others]
LANDINGS = ["early", "late", "at random"]


@dataclass
class Case:
    function: object  # of a bench; returns the share of the bound that was used
    arch: str
    family: str  # the module that it is of
    fast: bool
    seeds: list


def all_cases():
    """By name."""
    cases = {}
    for family in FAMILIES:
        seeds = getattr(family, "SEEDS", [0, 1])
        for name, arch, function in family.cases():
            cases[name] = Case(function, arch, family.__name__, name in family.FAST, seeds)
    return cases


CASES = all_cases()
PLANTS = {plant.name: plant for plant in planted.plants()}


def run_case(folder, name, seed):
    """(passed, text)."""
    bench = Bench(folder, CASES[name].arch, seed)
    bench.start(name)
    try:
        return True, f"{CASES[name].function(bench):.3g} of the bound"
    except (Wrong, PtxError) as error:
        return False, str(error)
    except Exception as error:  # of the interpreter itself: the other cases go on
        return False, f"{type(error).__name__}: {error}"


def run_planted(folder, name, seed):
    plant = PLANTS[name]
    bench = Bench(folder, CASES[plant.case].arch, seed, (plant.file, plant.change))
    bench.start(plant.case)
    try:
        CASES[plant.case].function(bench)
    except (Wrong, PtxError) as error:
        return True, f"seen: {error}"
    except Exception as error:
        return False, f"{type(error).__name__}: {error}"
    return False, "a planted fault is not seen"


def job(item):
    folder, what, name, seed = item
    start = time.process_time()
    Module.launched.clear()
    Bench.used.clear()
    passed, text = (run_case if what == "case" else run_planted)(folder, name, seed)
    kernels = Module.launched if what == "case" else ()
    return Result((what, name, seed), passed, text, time.process_time() - start, Bench.used, kernels)


def modules_of(key):
    """What a result stands on, besides texts: Python modules."""
    what, name, _ = key
    return [CASES[name].family] if what == "case" else [CASES[PLANTS[name].case].family, "planted"]


def never_launched(folder, launched):
    """Kernels of the folder's files that no case has executed, 'FILE:NAME'."""
    names = set()
    for path in glob.glob(os.path.join(folder, "*.ptx")):
        with open(path, encoding="utf-8") as text:
            found = re.findall(r"^\S*\s*\.entry (\w+)", text.read(), flags=re.M)
        names.update(f"{os.path.basename(path)[:-len('.ptx')]}:{name}" for name in found)
    return sorted(names - launched)


def keys_of(options):
    """(what, name, seed) of all that is asked for."""
    for name, case in () if options.planted else CASES.items():
        if (case.fast or not options.fast) and options.only in name:
            few = case.seeds[:2] if options.fast else case.seeds
            for seed in range(options.seeds) if options.seeds else few:
                yield "case", name, seed
    for name, plant in PLANTS.items():
        if (plant.fast or not options.fast) and options.only in name:
            yield "planted", name, plant.seed


def arch_of(key):
    return CASES[key[1] if key[0] == "case" else PLANTS[key[1]].case].arch


def landing_of(seed):
    return LANDINGS[0 if seed == 0 else 2 - seed % 2]


def tell_times(results):
    """Seconds of a processor by family and by when copies land."""
    table = collections.defaultdict(lambda: [0, 0.0])
    for result in results:
        what, name, seed = result.key
        row = table[(CASES[name].family if what == "case" else what, landing_of(seed))]
        row[0] += 1
        row[1] += result.seconds
    for (family, landing), (count, seconds) in table.items():
        print(f"{family}, copies land {landing}: {count} in {seconds:.0f} s of a processor")


def execute(options, record, keys):
    """Results of `keys`, told as they come."""
    with multiprocessing.Pool(options.jobs) as pool:
        for result in pool.imap_unordered(job, [(options.folder, *key) for key in keys]):
            record.keep(result, modules_of(result.key))
            what, name, seed = result.key
            print(f"{'ok    ' if result.passed else 'FAILED'} {what} {name}, seed {seed}: {result.text}"
                  f" ({result.seconds:.1f} s)", flush=True)
            yield result


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder")
    parser.add_argument("--fast", action="store_true")
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--planted", action="store_true")
    parser.add_argument("--only", default="")
    parser.add_argument("--record", default="")
    parser.add_argument("--seeds", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    return parser.parse_args()


def main():
    options = arguments()
    keys = list(keys_of(options))
    if options.list:
        print("\n".join(f"{what} {name}, seed {seed}" for what, name, seed in keys))
        return 0
    if not glob.glob(os.path.join(options.folder, "*.sm_70.ptx")):
        print("the texts for sm_70 are not there, which the compiler of CUDA 12 makes: their cases are left out")
        keys = [key for key in keys if arch_of(key) != "sm_70"]
    record = Record(options.record, options.folder)
    before = [result for key in keys if (result := record.before(key, modules_of(key)))]
    known = {result.key for result in before}
    results = before + list(execute(options, record, [key for key in keys if key not in known]))
    failed = sum(not result.passed for result in results)
    if not (options.fast or options.only or options.planted):
        launched = {kernel for result in results for kernel in result.kernels}
        missing = never_launched(options.folder, launched)
        failed += len(missing)
        tell_times(results)
        print(f"{len(launched)} kernels executed" + "".join(f"\nFAILED no case executes {name}" for name in missing))
    cases = sum(key[0] == "case" for key in keys)
    print(f"{cases} cases and {len(keys) - cases} planted faults, {failed} not as expected"
          + (f"; {len(before)} of them passed before, as {options.record} says" if before else ""))
    return 1 if failed or not keys else 0


if __name__ == "__main__":
    sys.exit(main())
