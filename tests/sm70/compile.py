#!/usr/bin/env python3
"""compile.py - kernels compiled for sm_70 by the compiler and the assembler of CUDA 12, without nvcc.

    compile.py --version PACKAGES          the compiler's release
    compile.py PACKAGES FOLDER FILE...     FOLDER/FILE.ptx and FOLDER/FILE.ptxas of each FILE (kernels/cuda/*.cu)

PACKAGES: the folder 'nvidia' of a Python environment with nvidia-cuda-nvrtc-cu12, nvidia-cuda-runtime-cu12 and
nvidia-cuda-nvcc-cu12.  NVRTC compiles kernels alone and knows no header of C: those of tests/sm70/include stand for them, and
the functions that launch kernels are compiled as if they ran on the GPU, then thrown away.  Ends with 1, and what was said,
where a file does not compile.
"""
import ctypes
import glob
import os
import re
import subprocess
import sys

ARCH = "70"
HERE = os.path.dirname(os.path.abspath(__file__))


def nvrtc_of(packages):
    libraries = [p for p in glob.glob(packages + "/cuda_nvrtc/lib/libnvrtc.so.*") if "alt" not in p]
    return ctypes.CDLL(libraries[0])


def release_of(nvrtc):
    major, minor = ctypes.c_int(), ctypes.c_int()
    nvrtc.nvrtcVersion(ctypes.byref(major), ctypes.byref(minor))
    return f"{major.value}.{minor.value}"


def text_of(nvrtc, program, what):
    """The log or the PTX of a program."""
    size = ctypes.c_size_t()
    getattr(nvrtc, f"nvrtcGet{what}Size")(program, ctypes.byref(size))
    text = ctypes.create_string_buffer(size.value)
    getattr(nvrtc, f"nvrtcGet{what}")(program, text)
    return text.value.decode()


def compile_file(nvrtc, packages, path):
    """PTX of a file, or None and what the compiler said on standard error."""
    options = [f"--gpu-architecture=compute_{ARCH}", "-std=c++17", "-default-device", "-I.", f"-I{HERE}/include",
               f"-I{packages}/cuda_runtime/include", f"-I{packages}/cuda_nvcc/include", "--pre-include=launch.h"]
    values = (ctypes.c_char_p * len(options))(*[o.encode() for o in options])
    program = ctypes.c_void_p()
    with open(path, "rb") as source:
        nvrtc.nvrtcCreateProgram(ctypes.byref(program), source.read(), path.encode(), 0, None, None)
    status = nvrtc.nvrtcCompileProgram(program, len(options), values)
    if status:
        print(f"{path} does not compile for sm_{ARCH}:\n{text_of(nvrtc, program, 'ProgramLog')}", file=sys.stderr)
    ptx = None if status else text_of(nvrtc, program, "PTX")
    nvrtc.nvrtcDestroyProgram(ctypes.byref(program))
    return ptx


def kernels_only(ptx):
    """The PTX without its functions: the launching ones, for kernels call none."""
    parts = re.split(r"(?m)^(?=(?:\.visible |\.extern |\.weak )*\.(?:func|entry)\b)", ptx)
    return "".join(p for p in parts if not re.match(r"(?:\.visible |\.extern |\.weak )*\.func\b", p))


def main():
    if sys.argv[1] == "--version":
        print(release_of(nvrtc_of(sys.argv[2])))
        return 0
    packages, folder, files = sys.argv[1], sys.argv[2], sys.argv[3:]
    nvrtc, failed = nvrtc_of(packages), False
    for path in files:
        ptx = compile_file(nvrtc, packages, path)
        if ptx is None:
            failed = True
            continue
        to = os.path.join(folder, os.path.basename(path)[: -len(".cu")])
        with open(to + ".ptx", "w", encoding="ascii") as out:
            out.write(kernels_only(ptx))
        report = subprocess.run([packages + "/cuda_nvcc/bin/ptxas", f"-arch=sm_{ARCH}", "-v", "-o", "/dev/null", to + ".ptx"],
                                capture_output=True, text=True, check=False)
        if report.returncode:
            print(f"{path}: the assembler refuses its PTX:\n{report.stderr}", file=sys.stderr)
            failed = True
            continue
        with open(to + ".ptxas", "w", encoding="ascii") as out:
            out.write(report.stdout + report.stderr)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
