#!/bin/sh
# scenario_wrapper.sh - a model of text and images: its text decoder is trained as if it stood alone, to the bit; every other
# tensor comes out byte for byte, in checkpoints of several ranks, after a resume and in exports, under the names it had.
# shellcheck source=tests/scenario.sh
. "$(dirname "$0")/scenario.sh"
scenario wrapper
command -v python3 >/dev/null || skip "no python3, which makes the model"
prepare_sample
wrap="python3 $(dirname "$0")/wrap_model.py"
sed '/^model:/,/^$/d' "$tiny" >"$work/from_model.yaml"
train 0 0 "$work/made" --set train.steps=1
text=$work/made/step-000001

# go CODE RANKS MODEL FOLDER [ARGUMENT...]
go() {
    code=$1 ranks=$2 model=$3 folder=$4
    shift 4
    run "$code" on_ranks "$ranks" "$atelier" train "$work/from_model.yaml" --set "run.folder=$folder" \
        --set "data.train=$work/fiches.h5" --set "model.path=$model" --set train.steps=3 "$@"
}
# carried A B - as many tensors as there are, all equal.
carried() {
    number=$($wrap --compare "$1" "$2") || fail "$2: $number"
    expect "carried tensors" 10 "$number"
}

cp -r "$text" "$work/text"
rm -rf "$work/text/state" "$work/text/manifest.json"
go 0 0 "$work/text" "$work/alone"
for style in outer inner; do
    base=$work/$style
    $wrap "$work/text" "$base" $style || fail "the model was not made"
    go 0 0 "$base" "$work/run-$style"
    expect_output "is a mistral3: its text decoder \(mistral\) is read; its 10 other tensors"
    expect "losses of $style" "$(losses "$work/alone")" "$(losses "$work/run-$style")"
    carried "$base" "$work/run-$style/step-000003"
done
grep -q '"Mistral3ForConditionalGeneration"' "$work/run-inner/step-000003/config.json" || fail "another class"
python3 - "$base/config.json" "$work/run-inner/step-000003/config.json" <<'END' || fail "config.json has changed"
import json, sys
base, ours = (json.load(open(path)) for path in sys.argv[1:])
assert ours["vision_config"] == base["vision_config"] and ours["image_token_index"] == 10
assert ours["text_config"]["hidden_size"] == base["text_config"]["hidden_size"] and "hidden_size" not in ours
END
grep -q "mistral3" "$work/run-inner/step-000003/README.md" || fail "the model card does not name the wrapper"
say "one rank: losses of the decoder alone, all other tensors byte for byte, both ways of naming"

# --- ranks, a resume whose base is gone, files of 1 MiB ---
cp -r "$work/inner" "$work/moving"
go 0 2 "$work/moving" "$work/two" --set train.steps=2 --set checkpoint.max_file_bytes=1048576 --set parallel.stage=3
mv "$work/moving" "$work/moved"
go 0 3 "$work/moving" "$work/two" --set train.steps=3 --set checkpoint.max_file_bytes=1048576 --set parallel.stage=3 \
    --set checkpoint.keep=1
carried "$work/inner" "$work/two/step-000003"
[ -f "$work/two/step-000003/model.safetensors.index.json" ] || fail "one file, where several were asked for"
[ ! -e "$work/two/step-000002" ] || fail "the older checkpoint was kept"
losses "$work/run-inner" >"$work/alone.losses"
losses "$work/two" >"$work/got"
is_within "$work/got" "$work/alone.losses" 1e-5 || fail "losses on ranks differ by $worst"
say "2 ranks, then 3, from the checkpoint alone: all other tensors byte for byte"

# --- the base goes while the run computes: its files are open ---
cp -r "$work/inner" "$work/going"
run_config="$work/from_model.yaml"
train_start_on() {
    on_ranks 2 "$atelier" train "$run_config" --set "run.folder=$work/gone" --set "data.train=$work/fiches.h5" \
        --set "model.path=$work/going" --set train.steps=60 --set checkpoint.every_steps=0 >"$work/gone.log" 2>&1
}
train_start_on &
started=$!
wait_for_step "$work/gone" 1
rm -rf "$work/going"
wait "$started" || fail "a run whose base went ended with $?: $(tail -n 3 "$work/gone.log")"
carried "$work/inner" "$work/gone/step-000060"
say "the base was removed while the run computed: its other tensors are in the checkpoint"

# --- exports ---
run 0 "$atelier" export "$work/two/step-000003" --to hf --type f32 --out "$work/hf"
carried "$work/inner" "$work/hf"
run 0 "$atelier" export "$work/two/step-000003" --to gguf --type f32 --out "$work/out.gguf"
expect_output "the text decoder alone is written: 10 tensors of mistral3 beside it are left out"
run 0 "$atelier" inspect "$work/hf" --json
expect_output '"wrapper": "mistral3"'
expect_output '"carried_tensors": 10'
run 0 "$atelier" inspect "$work/text" --json # control: no wrapper, nothing is carried
grep -q carried_tensors "$log" && fail "a model without a wrapper is said to carry tensors"
run 0 "$atelier" plan "$work/from_model.yaml" --set "data.train=$work/fiches.h5" --set "model.path=$work/inner"
expect_output "the text decoder \(mistral\) of a mistral3; its other tensors are carried"

# --- control, and what is refused ---
printf 'x' | dd of="$work/hf/model.safetensors" bs=1 seek=$(($(wc -c <"$work/hf/model.safetensors") - 1)) conv=notrunc 2>/dev/null
$wrap --compare "$work/inner" "$work/hf" >"$log" 2>&1 && fail "the comparison sees nothing"
sed 's/language_model.layers.1.mlp.up_proj/language_model.layers.1.mlp.up_prox/' "$work/inner/model.safetensors" >"$work/x"
cp -r "$work/inner" "$work/broken" && mv "$work/x" "$work/broken/model.safetensors"
go 2 0 "$work/broken" "$work/refused"
expect_output "tensor 'model.language_model.layers.1.mlp.up_proj.weight' is missing"
for style in inner outer; do # a name that is as long, so that the header is
    case $style in
        inner) vision=model.vision_tower.ln_pre.weight other=language_model.model.layers.norm ;;
        outer) vision=vision_tower.ln_pre.weight other=model.language_model.norms ;;
    esac
    rm -rf "$work/broken" && cp -r "$work/$style" "$work/broken"
    sed "s/$vision/$other/" "$work/$style/model.safetensors" >"$work/broken/model.safetensors"
    go 2 0 "$work/broken" "$work/refused"
    expect_output "tensor '$other' of .* is called as a text decoder's, yet this one's are called as"
done

# --- scales of a server are left out of the text decoder; beside it they are carried like everything else ---
rm -rf "$work/fp8" && cp -r "$work/outer" "$work/fp8"
sed 's/vision_tower.position_ids/vision_tower.xx.q.k_scale/' "$work/outer/model.safetensors" >"$work/fp8/model.safetensors"
sed 's/"image_token_index"/"quantization_config": {"quant_method": "fp8"}, "image_token_index"/' "$work/outer/config.json" >"$work/fp8/config.json"
run 0 "$atelier" export "$work/fp8" --to hf --out "$work/fp8-hf"
carried "$work/fp8" "$work/fp8-hf"

# --- a quantised matrix beside the decoder that no checkpoint could hold is found before the first step, by whichever rank ---
for case in "nan 2" "0.5 0"; do # the second is the control
    scale=${case% *} wanted=${case#* }
    rm -rf "$work/scaled" && cp -r "$work/inner" "$work/scaled"
    $wrap --add-fp8 "$work/scaled" "$scale" || fail "the model was not made"
    go "$wanted" 2 "$work/scaled" "$work/scaled-$scale"
    [ "$scale" != nan ] || expect_output "model.path '.*scaled': tensor 'model.vision_tower.fc.weight' holds 32 values that are not"
done
[ ! -e "$work/scaled-nan/metrics.jsonl" ] || ! grep -q '"step"' "$work/scaled-nan/metrics.jsonl" || fail "steps were made"
sed 's/"mistral3"/"internvl"/' "$work/inner/config.json" >"$work/broken/config.json"
go 2 0 "$work/broken" "$work/refused"
expect_output "model_type 'internvl' has a text_config: this model of text and images is not supported yet"
end_scenario
