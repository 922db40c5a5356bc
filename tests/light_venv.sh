#!/bin/sh
# light_venv.sh - the Python packages that tests/scenario_export.sh opens our files with: gguf, safetensors and a
# prebuilt llama.cpp (xllamacpp), in .venv-light; and cuobjdump, which tests/check_sass.sh reads machine code with and
# which not every toolkit has (5 MB).  Where they cannot be had the tests do without and say so: this always ends with 0.
# Called by 'make test'.
# And, in .venv-sm70, the compiler and the assembler of CUDA 12, with which tests/check_sm70.sh compiles the kernels for V100
# (130 MB).
cd "$(dirname "$0")/.." || exit 0
if ! [ -e .venv-sm70/complete ] && command -v nvcc python3 >/dev/null 2>&1; then
    rm -rf .venv-sm70
    echo "fetching the compiler of CUDA 12 for the tests (once, into .venv-sm70)"
    if python3 -m venv .venv-sm70 >/dev/null 2>&1 &&
        timeout 600 .venv-sm70/bin/pip install --quiet --disable-pip-version-check --only-binary :all: \
            nvidia-cuda-nvrtc-cu12 nvidia-cuda-runtime-cu12 nvidia-cuda-nvcc-cu12 >/dev/null 2>&1; then
        touch .venv-sm70/complete
    else
        rm -rf .venv-sm70
        echo "it cannot be fetched here: the kernels are not compiled for V100"
    fi
fi
venv=.venv-light
[ -e "$venv/complete" ] && exit 0
if ! command -v python3 >/dev/null 2>&1; then
    echo "no python3: the written files are checked by atelier alone"
    exit 0
fi
rm -rf "$venv"
echo "fetching gguf, safetensors, xllamacpp and cuobjdump for the tests (once, into $venv)"
if python3 -m venv "$venv" >/dev/null 2>&1 &&
    timeout 300 "$venv/bin/pip" install --quiet --disable-pip-version-check --only-binary :all: \
        numpy gguf safetensors xllamacpp nvidia-cuda-cuobjdump nvidia-cuda-nvdisasm >/dev/null 2>&1; then
    touch "$venv/complete"
else
    rm -rf "$venv"
    echo "they cannot be fetched here: the written files are checked by atelier alone"
fi
exit 0
