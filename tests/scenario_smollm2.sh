#!/bin/sh
# scenario_smollm2.sh - open weights in, a fine-tuned model out: SmolLM2-135M-Instruct from its GGUF (Q4_1), evaluated,
# fine-tuned on 2 ranks on French administrative pages, exported as GGUF and as a folder, and asked to write.
# shellcheck source=tests/scenario.sh
. "$(dirname "$0")/scenario.sh"
scenario smollm2
corpus=../shared/corpora/service_public_particuliers.jsonl.zst
[ -e "$corpus" ] || skip "no '$corpus'"
command -v zstd >/dev/null 2>&1 || skip "no zstd"
base=$(sh tests/fetch_model.sh smollm2 2>"$work/fetch.log") || skip "$(tail -n 1 "$work/fetch.log")"
# Masters, moments, gradients and buffers of both ranks, and as much again in the page cache.
[ "$(awk '/^MemAvailable:/ { print int($2 / 1048576) }' /proc/meminfo)" -ge 5 ] || skip "less than 5 GiB of memory free"
unset OMP_NUM_THREADS # all cores: what counts here is not the last bit

zstd -dc "$corpus" 2>/dev/null | head -n 120 >"$work/pages.jsonl"
run 0 "$atelier" inspect "$base"
expect_output "Q4_1"
run 0 "$atelier" prepare tests/scenario/smollm2.yaml --set "prepare.tokenizer=$base" \
    --set "prepare.sources=$work/pages.jsonl" --set "prepare.output=$work/pages.h5"

# evaluate MODEL - mean loss on the first held-out tokens; to $loss.
evaluate() {
    run 0 "$atelier" eval "$1" --data "$work/pages-valid.h5" --sequence-tokens 128 --sequences 8 --json
    loss=$(json_number loss "$log")
}

evaluate "$base"
before=$loss
# A model that was read wrongly is not better than chance, ln(49152) = 10.8; this one knows some French.
is_at_most "$before" 4.5 || fail "the base model has a loss of $before per token on French pages: was it read right?"

run 0 on_ranks 2 "$atelier" train tests/scenario/smollm2.yaml --set "run.folder=$work/run" --set "model.path=$base" \
    --set "data.train=$work/pages.h5" --set "data.valid=$work/pages-valid.h5"
grep -E '^(model|memory|speed|step .* validation|validation)' "$log"
tuned=$work/run/step-000006
evaluate "$tuned"
after=$loss
is_at_most "$after" "$(awk -v a="$before" 'BEGIN { print a - 0.02 }')" ||
    fail "the validation loss should fall: $before before, $after after 6 steps"
say "validation loss $before before, $after after 6 steps on 2 ranks"

run 0 "$atelier" export "$tuned" --to hf --type bf16 --out "$work/hf"
run 0 "$atelier" export "$tuned" --to gguf --type q8_0 --out "$work/tuned.gguf"
rm -rf "$work/run" # 2 GB
for exported in "$work/hf:0.001" "$work/tuned.gguf:0.01"; do
    evaluate "${exported%:*}"
    away=$(awk -v a="$loss" -v b="$after" 'BEGIN { d = exp(a - b) - 1; printf "%.2g", d < 0 ? -d : d }')
    is_at_most "$away" "${exported##*:}" || fail "'${exported%:*}' has a loss of $loss, the trained model $after"
    say "$(basename "${exported%:*}"): perplexity $away from the trained model's"
    run 0 "$atelier" generate "${exported%:*}" --prompt "Pour demander un passeport," --max-tokens 16 --seed 3
    [ "$(wc -w <"$log")" -ge 5 ] || fail "hardly a word was generated"
    say "it writes: $(head -n 2 "$log" | tr '\n' ' ')"
done
rm -rf "$work/hf" "$work/tuned.gguf"
