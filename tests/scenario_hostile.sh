#!/bin/sh
# scenario_hostile.sh - damaged files and other things in the place of files, for every command that opens them: each ends
# within ten seconds with an exit code of 1 or 2 and a line that names the file; nothing is left behind.  A sample: cuts,
# flipped bits in headers, absurd counts, bytes that are not text, a FIFO, a device, a folder and a link to itself.
# shellcheck source=tests/scenario.sh
. "$(dirname "$0")/scenario.sh"
scenario hostile
cp -r data/sample/model "$work/good" && chmod -R u+w "$work/good"
prepare_sample
run 0 "$atelier" export "$work/good" --to gguf --type q8_0 --out "$work/good.gguf"
num_refused=0

# copy_model - a model to damage, in $work/model.
copy_model() {
    rm -rf "$work/model" && cp -r "$work/good" "$work/model"
}

# put FILE OFFSET BYTES - overwrite bytes (printf's escapes).
put() {
    # shellcheck disable=SC2059
    printf "$3" | dd of="$1" bs=1 seek="$2" conv=notrunc status=none
}

# refused WORDS COMMAND... - the command ends in time, with 1 or 2, and says an error that holds these words.
refused() {
    words=$1
    shift
    rm -rf "$work"/out.*
    run '[12]' timeout 10 "$atelier" "$@"
    expect_output "^error: .*$words"
    if grep -Eq 'fatal|Sanitizer|runtime error' "$log"; then
        fail "'$*': this is not an answer to a damaged file"
    fi
    left=$(find "$work" -maxdepth 1 -name 'out.*')
    [ -z "$left" ] || fail "'$*' left something behind: $left"
    num_refused=$((num_refused + 1))
}

# model_refused WORDS - by every command that reads the weights of $work/model.
model_refused() {
    refused "$1" inspect "$work/model"
    refused "$1" generate "$work/model" --prompt La --max-tokens 1
    refused "$1" eval "$work/model" --data "$work/fiches-valid.h5"
    refused "$1" export "$work/model" --to hf --out "$work/out.hf"
    refused "$1" export "$work/model" --to gguf --out "$work/out.gguf"
}

# --- a model folder ---
weights=$work/model/model.safetensors
for damage in cut half empty length name json dtype; do
    copy_model
    case $damage in
    cut) truncate -s -1 "$weights" ;;
    half) truncate -s 100 "$weights" ;;
    empty) : >"$weights" ;;
    length) put "$weights" 0 '\377\377\377\377\377\377\377\177' ;;
    name) put "$weights" 12 '\377\300' ;;
    json) put "$weights" 8 '[' ;;
    dtype) sed -i '1s/"BF16"/"QF16"/' "$weights" ;;
    esac
    model_refused model.safetensors
done
for value in -1 0 99999999999999999999 1e999 '"x"' null '[]' 2147483647; do
    copy_model
    sed -i "s/\"num_attention_heads\": [0-9]*/\"num_attention_heads\": $value/" "$work/model/config.json"
    refused config.json generate "$work/model" --prompt La --max-tokens 1
done
for file in config.json tokenizer.json; do
    copy_model
    truncate -s -20 "$work/model/$file"
    refused "$file" generate "$work/model" --prompt La --max-tokens 1
    copy_model
    put "$work/model/$file" 30 '\000'
    refused "$file" generate "$work/model" --prompt La --max-tokens 1
done
say "a damaged model folder: named by inspect, generate, eval and export"

# --- GGUF ---
for damage in '4 \377\377\377\377' '8 \377\377\377\377\377\377\377\177' '16 \377\377\377\377\377\377\377\177' '24 \377\377\377\377\377\377\377\177' '16 \000\000\000\000\000\000\000\000' '60 \377\377\377\377'; do
    cp "$work/good.gguf" "$work/bad.gguf"
    put "$work/bad.gguf" "${damage%% *}" "${damage#* }"
    refused bad.gguf generate "$work/bad.gguf" --prompt La --max-tokens 1
    refused bad.gguf export "$work/bad.gguf" --to hf --out "$work/out.hf"
done
for size in 3 30 3000 300000; do
    head -c $size "$work/good.gguf" >"$work/bad.gguf"
    refused bad.gguf inspect "$work/bad.gguf"
    refused bad.gguf generate "$work/bad.gguf" --prompt La --max-tokens 1
done
say "a damaged GGUF file: refused by inspect, generate and export"

# --- token files ---
size=$(wc -c <"$work/fiches-valid.h5")
for damage in '0 X' '20 \377\377\377\377' '100 \377\377\377\377\377\377\377\377' "$((size / 2)) \001\002\003" "$((size - 10)) \377"; do
    cp "$work/fiches-valid.h5" "$work/bad.h5"
    put "$work/bad.h5" "${damage%% *}" "${damage#* }"
    refused bad.h5 inspect "$work/bad.h5" --verify
    refused bad.h5 eval "$work/good" --data "$work/bad.h5"
done
for size in 0 8 2000; do
    head -c $size "$work/fiches-valid.h5" >"$work/bad.h5"
    refused bad.h5 eval "$work/good" --data "$work/bad.h5"
done
say "a damaged token file: refused by inspect and eval"

# --- other things in the place of files ---
for file in model/model.safetensors model/config.json model/tokenizer.json bad.gguf bad.h5 bad.yaml; do
    for kind in fifo device folder loop; do
        copy_model
        rm -rf "${work:?}/$file"
        case $kind in
        fifo) mkfifo "$work/$file" ;;
        device) ln -s /dev/zero "$work/$file" ;;
        folder) mkdir "$work/$file" ;;
        loop) ln -s "$(basename "$file")" "$work/$file" ;;
        esac
        case $file in
        model/*) refused "$(basename "$file")" generate "$work/model" --prompt La --max-tokens 1 ;;
        bad.gguf) refused bad.gguf export "$work/bad.gguf" --to hf --out "$work/out.hf" ;;
        bad.h5) refused bad.h5 eval "$work/good" --data "$work/bad.h5" ;;
        bad.yaml) refused bad.yaml prepare "$work/bad.yaml" ;;
        esac
    done
    rm -rf "${work:?}/$file"
done
say "a FIFO, a device, a folder and a link to itself in the place of six files: refused by name"

# --- the control: the good ones are taken ---
copy_model
for model in "$work/model" "$work/good.gguf"; do
    run 0 "$atelier" inspect "$model"
    run 0 "$atelier" generate "$model" --prompt La --max-tokens 1
    run 0 "$atelier" eval "$model" --data "$work/fiches-valid.h5" --sequences 1
done
[ $num_refused -gt 100 ] || fail "only $num_refused damages were tried"
say "$num_refused damaged files: each refused within ten seconds by a line that names it"
