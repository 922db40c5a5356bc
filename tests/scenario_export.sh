#!/bin/sh
# scenario_export.sh - what is exported is what was trained: every form is read again, has the same perplexity, and
# writes the same text for the same seed.  With the Python packages gguf, safetensors and xllamacpp (in ATELIER_VENV,
# default .venv-light) the files are also opened by programs that nobody here wrote.
# shellcheck source=tests/scenario.sh
. "$(dirname "$0")/scenario.sh"
scenario export
prepare_sample
train 0 2 "$work/run" --set train.steps=20 --set optimizer.learning_rate=3e-3
model=$work/run/step-000020

# perplexity MODEL - on the held-out part of the sample.
perplexity() {
    run 0 "$atelier" eval "$1" --data "$work/fiches-valid.h5" --json
    json_number perplexity "$log"
}

# expect_perplexity MODEL RELATIVE - as the trained model's.
expect_perplexity() {
    now=$(perplexity "$1") || fail "$now"
    away=$(awk -v a="$now" -v b="$trained" 'BEGIN { d = (a - b) / b; printf "%.2g", d < 0 ? -d : d }')
    is_at_most "$away" "$2" || fail "the perplexity of '$1' is $now, the trained model's $trained ($away away)"
    say "$(basename "$1"): perplexity $now, $away from the trained model's $trained"
}

# text_of MODEL SEED
text_of() {
    run 0 "$atelier" generate "$1" --prompt "La carte d'identité" --max-tokens 30 --temperature 1 --seed "$2" --ignore-end
    cat "$log"
}

trained=$(perplexity "$model") || fail "$trained"
same_seed=$(text_of "$model" 5)
[ -n "$same_seed" ] || fail "no text was generated"
expect "the same seed again" "$same_seed" "$(text_of "$model" 5)"
[ "$same_seed" != "$(text_of "$model" 6)" ] || fail "seeds 5 and 6 give the same text"

# In each type it is the same model: the text of most likely tokens, and the perplexity as near as the digits are, which differ.
first=$("$atelier" generate "$model" --prompt "La carte" --temperature 0 --max-tokens 20 --type f32)
expect "most likely tokens, stored" "$first" "$("$atelier" generate "$model" --prompt "La carte" --temperature 0 --max-tokens 20)"
for type in stored:1e-5 bf16:2e-2 f16:2e-3; do
    run 0 "$atelier" eval "$model" --data "$work/fiches-valid.h5" --json --type "${type%:*}"
    now=$(json_number perplexity "$log")
    away=$(awk -v a="$now" -v b="$trained" 'BEGIN { d = (a - b) / b; printf "%.2g", d < 0 ? -d : d }')
    is_at_most "$away" "${type#*:}" || fail "in ${type%:*} the perplexity is $now, in f32 $trained"
    [ "${type%:*}" = stored ] || [ "$now" != "$trained" ] || fail "in ${type%:*} the perplexity is that of f32, digit by digit"
    run 0 "$atelier" export "$model" --to gguf --type f32 --out "$work/checked.gguf" --check-type "${type%:*}"
    rm "$work/checked.gguf"
done
for words in "generate $model --prompt a" "eval $model --data $work/fiches-valid.h5" "chat $model"; do
    # shellcheck disable=SC2086 # words
    run "[12]" "$atelier" $words --device cuda --type stored
    expect_output "error: 'stored' is for processors"
done
say "types of a session: stored as f32, bf16 and f16 near it; a GPU takes no stored one"

# A checkpoint with a damaged byte in its weights is not evaluated, exported, sampled or trained from; an edited small file
# is nobody's damage.
cp -r "$model" "$work/damaged"
echo '{}' >"$work/damaged/generation_config.json"
expect "the perplexity with an edited small file" "$trained" "$(perplexity "$work/damaged")"
printf '\101' | dd of="$work/damaged/model.safetensors" bs=1 seek=200001 conv=notrunc status=none
for words in "eval $work/damaged --data $work/fiches-valid.h5" "generate $work/damaged --prompt a" \
    "export $work/damaged --to gguf --out $work/damaged.gguf"; do
    # shellcheck disable=SC2086 # words
    run "[12]" "$atelier" $words
    expect_output "damaged/model.safetensors' was damaged after it was written"
done
[ ! -e "$work/damaged.gguf" ] || fail "a damaged model was exported"
sed '/^model:/,/^data:/{/^data:/!d}' "$tiny" >"$work/from_model.yaml"
run "[12]" "$atelier" train "$work/from_model.yaml" --set "model.path=$work/damaged" --set "run.folder=$work/on-damaged" \
    --set "data.train=$work/fiches.h5"
expect_output "damaged/model.safetensors' was damaged after it was written"
say "a damaged checkpoint is refused by eval, generate, export and as a base"

for form in hf:f32:1e-6 hf:bf16:5e-3 hf:f16:5e-3 gguf:f32:1e-6 gguf:f16:5e-3 gguf:bf16:5e-3 gguf:q8_0:1e-2; do
    to=${form%%:*} type=${form#*:}
    limit=${type#*:} type=${type%:*}
    exported=$work/$to-$type
    [ "$to" = hf ] || exported=$exported.gguf
    run 0 "$atelier" export "$model" --to "$to" --type "$type" --out "$exported"
    expect_output "read back, its logits differ"
    expect_perplexity "$exported" "$limit"
    run 0 "$atelier" inspect "$exported" --json
    expect_output "embed_tokens.weight|token_embd.weight"
    if [ "$type" = f32 ]; then
        expect "text of '$exported'" "$same_seed" "$(text_of "$exported" 5)"
    fi
done
run 2 "$atelier" export "$model" --to hf --out "$work/hf-f32"
expect_output "exists already"

# From one form to the next, and back into training.
run 0 "$atelier" export "$work/gguf-f32.gguf" --to hf --type f32 --out "$work/hf-from-gguf"
expect_perplexity "$work/hf-from-gguf" 1e-6
for source in hf-f32 gguf-f32.gguf; do
    run 0 "$atelier" train "$work/from_model.yaml" --set "model.path=$work/$source" --set "run.folder=$work/on-$source" \
        --set "data.train=$work/fiches.h5" --set train.steps=2
done
expect "two steps from GGUF and from the folder" "$(losses "$work/on-hf-f32")" "$(losses "$work/on-gguf-f32.gguf")"

# The control: the model of an earlier step is noticed.
train 0 2 "$work/run" --set train.steps=21 --set optimizer.learning_rate=3e-3
later=$(perplexity "$work/run/step-000021") || fail "$later"
if is_at_most "$(awk -v a="$later" -v b="$trained" 'BEGIN { d = (a - b) / b; print d < 0 ? -d : d }')" 1e-6; then
    fail "one more step leaves the perplexity as it was: the comparison sees nothing"
fi

# --- by others ---

python=${ATELIER_VENV:-.venv-light}/bin/python
if ! "$python" -c 'import gguf, safetensors' 2>/dev/null; then
    say "no Python packages gguf and safetensors in '${ATELIER_VENV:-.venv-light}': files were opened by atelier only"
    exit 0
fi
for file in "$work"/gguf-*.gguf; do
    run 0 "$python" -c 'import sys, gguf
reader = gguf.GGUFReader(sys.argv[1])
tensors = {t.name: t for t in reader.tensors}
assert tensors["token_embd.weight"].shape.tolist() == [64, 4096], tensors["token_embd.weight"].shape
assert len(reader.fields["tokenizer.ggml.tokens"].data) == 4096
print(len(tensors))' "$file"
    expect "tensors that gguf finds in '$file'" 20 "$(cat "$log")"
done
for folder in "$work"/hf-* "$model"; do
    run 0 "$python" -c 'import sys, safetensors
with safetensors.safe_open(sys.argv[1], "numpy") as file:
    names = list(file.keys())
    assert file.get_slice("model.embed_tokens.weight").get_shape() == [4096, 64]
print(len(names))' "$folder/model.safetensors"
    expect "tensors that safetensors finds in '$folder'" 20 "$(cat "$log")"
done
say "gguf and safetensors open the files"
if ! "$python" -c 'import xllamacpp, numpy' 2>/dev/null || [ ! -e tests/interop/check_llamacpp.py ]; then
    say "no Python package xllamacpp: llama.cpp was not asked"
    exit 0
fi

# llama.cpp's perplexity of a short text, after its begin token, against `atelier eval` on the same tokens.
text="Pour demander une carte d'identité, prenez rendez-vous à la mairie. Apportez une photo et un justificatif."
printf '%s' "$text" >"$work/text.txt"
printf '{"text": "%s"}\n' "$text" >"$work/text.jsonl"
printf 'prepare:\n  tokenizer: %s\n  output: %s\n  document_ends: bos\n  sources:\n    - path: %s\n' \
    "$model" "$work/fiches-valid.h5" "$work/text.jsonl" >"$work/text.yaml"
run 0 "$atelier" prepare "$work/text.yaml"
for form in f32:1e-3 f16:5e-3 q8_0:1e-2; do
    type=${form%:*}
    trained=$(perplexity "$work/gguf-$type.gguf") || fail "$trained"
    run 0 "$python" tests/interop/check_llamacpp.py "$work/gguf-$type.gguf" "$work/text.txt"
    now=$(json_number perplexity "$log")
    away=$(awk -v a="$now" -v b="$trained" 'BEGIN { d = (a - b) / b; printf "%.2g", d < 0 ? -d : d }')
    is_at_most "${away:-1}" "${form#*:}" || fail "llama.cpp's perplexity of $type is $now, atelier's $trained"
    say "llama.cpp, $type: perplexity $now, $away from atelier's $trained"
done
