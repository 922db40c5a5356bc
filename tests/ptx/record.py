"""record.py - which cases passed, kept in a file while they run: a run that was cut goes on from there.

A line holds while nothing that it stands on has changed: the texts of PTX that the case executed, and the interpreter
and the case's own module with all that they import.  What fails is not written.
"""
import functools
import glob
import hashlib
import json
import os
import re

HERE = os.path.dirname(os.path.abspath(__file__))


@functools.lru_cache(maxsize=None)
def contents(path):
    """A digest of a file; of one that is not there: none that a line has."""
    try:
        with open(path, "rb") as file:
            return hashlib.sha256(file.read()).hexdigest()
    except FileNotFoundError:
        return "missing"


@functools.lru_cache(maxsize=None)
def imported(module):
    """The files of this folder that a module is made of: its own, and those of all that it imports."""
    found, left = set(), [module]
    while left:
        path = os.path.join(HERE, left.pop() + ".py")
        if path in found or not os.path.exists(path):
            continue
        found.add(path)
        with open(path, encoding="utf-8") as file:
            left += re.findall(r"^(?:from|import) (\w+)", file.read(), flags=re.M)
    return sorted(found)


class Result:
    """What ran, and how.  key: (what, name, seed); files: names of the texts that were executed, without '.ptx'; kernels:
    those that ran to their end, 'FILE:NAME'; seconds: of a processor."""

    def __init__(self, key, passed, text, seconds, files, kernels):
        self.key, self.passed, self.text, self.seconds = key, passed, text, seconds
        self.files, self.kernels = sorted(files), sorted(kernels)


class Record:
    """path: of the file; "": nothing is kept, and nothing is known."""

    def __init__(self, path, folder):
        self.path, self.folder, self.known = path, folder, {}
        for file in glob.glob(os.path.join(HERE, "*.py")) + glob.glob(os.path.join(folder, "*.ptx")):
            contents(file)  # now: what is written meanwhile is not what is executed
        if path and os.path.exists(path):
            with open(path, "r+", encoding="utf-8") as file:
                line = "\n"
                for line in file:
                    self.take(line)
                if not line.endswith("\n"):  # of a run that was cut
                    file.write("\n")

    def take(self, line):
        """Keep a line, unless it is a part of one."""
        try:
            digest, what, name, seed, seconds, files, kernels = json.loads(line)
        except ValueError:
            return
        key = what, name, seed
        self.known[key] = digest, Result(key, True, "as before", seconds, files, kernels)

    def digest(self, modules, files):
        """Of what a result stands on: Python modules and texts of PTX."""
        paths = sorted({path for module in modules for path in imported(module)})
        paths += [os.path.join(self.folder, file + ".ptx") for file in files]
        return hashlib.sha256(" ".join(contents(path) for path in paths).encode()).hexdigest()

    def before(self, key, modules):
        """The result of a run that passed and would pass again, or None."""
        digest, result = self.known.get(key, ("", None))
        return result if result and digest == self.digest(modules, result.files) else None

    def keep(self, result, modules):
        if not self.path or not result.passed:
            return
        line = [self.digest(modules, result.files), *result.key, round(result.seconds, 2), result.files, result.kernels]
        with open(self.path, "a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
