#!/bin/sh
# scenario_fp8.sh - a published model in FP8 is trained, and exported in FP8 as its base was: the scheme is found by the
# provenance of the checkpoint, or named, and never guessed where a base that might tell it is gone.
# shellcheck source=tests/scenario.sh
. "$(dirname "$0")/scenario.sh"
scenario fp8
prepare_sample
train 0 2 "$work/first" --set train.steps=20 --set optimizer.learning_rate=3e-3 --set model.architecture.ffn_width=256
first=$work/first/step-000020
sed '/^model:/,/^data:/{/^data:/!d}' "$tiny" >"$work/from_model.yaml"

# export_fp8 WANTED_CODE MODEL OUT [ARGUMENT...]
export_fp8() {
    wanted_code=$1 model=$2 out=$3
    shift 3
    run "$wanted_code" "$atelier" export "$model" --to hf --type fp8 --out "$out" "$@"
}
# perplexity MODEL - on the held-out part of the sample.
perplexity() {
    run 0 "$atelier" eval "$1" --data "$work/fiches-valid.h5" --json
    json_number perplexity "$log"
}
# expect_near MODEL OTHER RELATIVE - perplexities.
expect_near() {
    a=$(perplexity "$1") b=$(perplexity "$2")
    away=$(awk -v a="$a" -v b="$b" 'BEGIN { d = (a - b) / b; printf "%.2g", d < 0 ? -d : d }')
    is_at_most "$away" "$3" || fail "perplexity of '$1': $a, of '$2': $b"
    say "$(basename "$1"): perplexity $a, $away from $b"
}
# go WANTED_CODE RANKS MODEL FOLDER STEPS
go() {
    run "$1" on_ranks "$2" "$atelier" train "$work/from_model.yaml" --set "run.folder=$4" --set "model.path=$3" \
        --set "data.train=$work/fiches.h5" --set "train.steps=$5"
}

# --- a base that was not in FP8: blocks ---
export_fp8 0 "$first" "$work/base"
expect_output "a scale for each 128 x 128 values; embedding, head and norms stay bf16"
expect_near "$work/base" "$first" 2e-2
grep -q '"weight_block_size"' "$work/base/config.json" || fail "config.json does not say how it is quantised"
run 0 "$atelier" inspect "$work/base" --json
expect_output "F8_E4M3"

# --- trained on two ranks from FP8, and back to FP8 as the base is ---
go 0 2 "$work/base" "$work/run" 3
expect_output "in FP8 \(E4M3\): they are read as f32"
trained=$work/run/step-000003
if grep -q quantization_config "$trained/config.json"; then fail "a checkpoint says that it is quantised"; fi
export_fp8 0 "$trained" "$work/out"
expect_near "$work/out" "$trained" 2e-2
run 0 python3 - "$work/base" "$work/out" <<'END'
import json, struct, sys
def read(folder):
    with open(folder + "/model.safetensors", "rb") as file:
        header = json.loads(file.read(struct.unpack("<Q", file.read(8))[0]))
    header.pop("__metadata__")
    return json.load(open(folder + "/config.json"))["quantization_config"], {k: (v["dtype"], v["shape"]) for k, v in header.items()}
base, out = read(sys.argv[1]), read(sys.argv[2])
assert base == out, (base, out)
assert sum(dtype == "F8_E4M3" for dtype, _ in out[1].values()) > 10
END
if cmp -s "$work/base/model.safetensors" "$work/out/model.safetensors"; then fail "the same bytes after training"; fi
say "trained from FP8 and exported in FP8: the same tensors, types and settings as the base"

# --- the base of the base; a base that is gone; one that is named ---
go 0 0 "$trained" "$work/later" 2
export_fp8 0 "$work/later" "$work/out-later"
grep -q '"weight_block_size"' "$work/out-later/config.json" || fail "the base of the base was not found"
mv "$work/base" "$work/moved"
export_fp8 1 "$trained" "$work/out-gone"
expect_output "base' is not there, and that alone tells how its matrices were stored: name the folder with --scheme, or"
[ ! -e "$work/out-gone" ] || fail "something was written"
export_fp8 0 "$trained" "$work/out-named" --scheme "$work/moved"
cmp -s "$work/out/model.safetensors" "$work/out-named/model.safetensors" || fail "another model with --scheme"
export_fp8 0 "$trained" "$work/out-blocks" --scheme blocks
cmp -s "$work/out/model.safetensors" "$work/out-blocks/model.safetensors" || fail "blocks are not those of the base"

# --- what is refused ---
run 2 "$atelier" export "$trained" --to gguf --type fp8 --out "$work/refused"
expect_output "fp8 is a type of Hugging Face folders"
run 2 "$atelier" export "$trained" --to hf --type bf16 --out "$work/refused" --scheme "$work/moved"
expect_output "goes with --type fp8"
export_fp8 1 "$trained" "$work/refused" --scheme "$work/nowhere"
expect_output "nowhere"
export_fp8 1 "$trained" "$work/refused" --scheme "$first" # a folder that tells nothing of FP8
expect_output "error: cannot export .*: --scheme: the matrices of '.*' are not in FP8 .*--scheme blocks"
[ ! -e "$work/refused" ] || fail "something was written"
say "passed"
