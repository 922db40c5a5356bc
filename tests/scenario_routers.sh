#!/bin/sh
# scenario_routers.sh - the losses of routers in runs: the same on 1, 2 and 4 ranks and in micro-batches of 1, 2 and 4 sequences,
# to the same bits with train.reproducible; by the run file or by the model's config.json, of which the run file wins; what
# 'inspect' and 'plan' tell of a model with experts; what is refused.  That they are transformers' is compared in tests/test_router.c.
# shellcheck source=tests/scenario.sh
. "$(dirname "$0")/scenario.sh"
scenario routers
prepare_sample

# routed WANTED_CODE RANKS FOLDER [SETTING]... - four steps of 7 sequences: padding on every number of ranks but 1 and 7.
routed() {
    code_wanted=$1 ranks_wanted=$2 folder=$work/$3
    shift 3
    train "$code_wanted" "$ranks_wanted" "$folder" --set model.architecture.family=mixtral --set model.architecture.experts=5 \
        --set model.architecture.experts_per_token=2 --set model.architecture.ffn_width=48 --set train.steps=4 \
        --set train.batch_sequences=7 --set valid.sequences=0 "$@"
}

# values FOLDER KEY - of each step.
values() {
    sed -n "s/^{\"step\": \([0-9]*\), .*\"$2\": \([^,]*\),.*/\1 \2/p" "$work/$1/metrics.jsonl"
}

# agree FOLDER - losses and what was counted are those of 'one'.
agree() {
    for key in loss load_balance router_z fullest_expert emptiest_expert; do
        case $key in
        loss) losses "$work/one" >"$work/want" && losses "$work/$1" >"$work/got" ;;
        *) values one $key >"$work/want" && values "$1" $key >"$work/got" ;;
        esac
        is_within "$work/got" "$work/want" 1e-6 || fail "$1: $key differs by $worst"
        far=$(awk -v a="$far" -v b="$worst" 'BEGIN { print (a > b ? a : b) }')
    done
}

far=0
routed 0 0 one --set objective.load_balance=0.1 --set objective.router_z=0.01 --set train.micro_sequences=1
expect_output 'fullest expert [0-9.]+x'
expect_output 'is added 0.1 times, as objective.load_balance says'
[ "$(values one load_balance | wc -l)" -eq 4 ] || fail "expected the load balance of 4 steps, got: $(values one load_balance)"
for micro in 2 4; do
    routed 0 0 "micro-$micro" --set objective.load_balance=0.1 --set objective.router_z=0.01 --set "train.micro_sequences=$micro"
    agree "micro-$micro"
done
for ranks in 2 4; do
    routed 0 $ranks "ranks-$ranks" --set objective.load_balance=0.1 --set objective.router_z=0.01 --set train.micro_sequences=1
    agree "ranks-$ranks"
done
say "micro-batches of 1, 2 and 4, ranks 1, 2 and 4: losses and counts within $far"

for language in en fr; do
    run 0 "$atelier" report "$work/one" --output "$work/$language.html" --language $language
    for id in balance router-z fullest emptiest; do
        grep -q "id=\"chart-$id\"" "$work/$language.html" || fail "the report ($language) has no chart '$id'"
    done
done

# The control: another coefficient is seen, and so is none.
for setting in objective.load_balance=0.101 objective.load_balance=0 objective.router_z=0.0101; do
    routed 0 0 other --set objective.load_balance=0.1 --set objective.router_z=0.01 --set train.micro_sequences=1 --set "$setting"
    losses "$work/one" >"$work/want" && losses "$work/other" >"$work/got"
    if is_within "$work/got" "$work/want" 1e-6; then
        fail "$setting: the same losses: the comparison sees nothing"
    fi
    rm -rf "$work/other"
done

# --- the same bits ---
for ranks in 1 3; do
    routed 0 $ranks "bits-$ranks" --set objective.load_balance=0.1 --set objective.router_z=0.01 --set train.micro_sequences=1 \
        --set train.reproducible=layout
done
cmp "$work/bits-1/step-000004/model.safetensors" "$work/bits-3/step-000004/model.safetensors" || fail "other bits on 3 ranks"
for key in loss load_balance router_z fullest_expert; do
    expect "$key on 3 ranks" "$(values bits-1 $key)" "$(values bits-3 $key)"
done
say "train.reproducible: layout: the same bits on 3 ranks as on 1"

# --- who says so ---
run 0 "$atelier" export "$work/one/step-000004" --to hf --type f32 --output "$work/base"
sed '/^model:/,/^data:/{/^data:/!d}' "$tiny" >"$work/tuned.yaml"
tiny=$work/tuned.yaml
# tuned FOLDER [SETTING]... - two steps from a model folder.
tuned() {
    folder=$1
    shift
    train 0 0 "$work/$folder" --set train.steps=2 --set valid.sequences=0 "$@"
}
tuned silent --set "model.path=$work/base"
expect_output 'measured and not added'
tuned off --set "model.path=$work/base" --set objective.load_balance=0
cp -r "$work/base" "$work/asks"
sed -i 's/"router_aux_loss_coef": [0-9.e-]*/"router_aux_loss_coef": 0.25, "output_router_logits": true/' "$work/asks/config.json"
tuned asks-on --set "model.path=$work/asks"
expect_output "is added 0.25 times, as the model's config.json says"
tuned on --set "model.path=$work/base" --set objective.load_balance=0.25
tuned asks-off --set "model.path=$work/asks" --set objective.load_balance=0
expect "losses with 0 and with nothing" "$(losses "$work/silent")" "$(losses "$work/off")"
expect "losses by config.json and by the run file" "$(losses "$work/on")" "$(losses "$work/asks-on")"
expect "losses where the run file says 0" "$(losses "$work/off")" "$(losses "$work/asks-off")"
[ "$(losses "$work/on")" != "$(losses "$work/off")" ] || fail "the load balance changes nothing"
grep -q '"output_router_logits": true' "$work/asks-off/step-000002/config.json" || fail "the checkpoint lost output_router_logits"
if grep -q output_router_logits "$work/on/step-000002/config.json"; then
    fail "the checkpoint has an output_router_logits that its model had not"
fi
# Attention alone learns, and the routers' gradient reaches it through what they read.
tuned lora-on --set "model.path=$work/base" --set objective.load_balance=0.25 --set adapter.method=lora --set adapter.rank=4
tuned lora-off --set "model.path=$work/base" --set adapter.method=lora --set adapter.rank=4
[ "$(values lora-on grad_norm)" != "$(values lora-off grad_norm)" ] || fail "the load balance does not reach an adapter"

# --- what is told beforehand: half of the experts' parameters and more are idle ---
run 0 "$atelier" inspect "$work/base" --json
all=$(json_number parameters "$log") active=$(json_number active_parameters "$log")
# three of five experts, with three matrices of 64 x 48 in each of two layers
expect "parameters that are idle" $((3 * 3 * 64 * 48 * 2)) $((all - active))
run 0 "$atelier" plan "$tiny" --ranks 1 --set "model.path=$work/base" --set "data.train=$work/fiches.h5" --set data.valid=null
expect_output '^experts      2 of 5 for a token, which makes use of [0-9]+ parameters; of a step their products take .* where each has as many'
run 0 "$atelier" plan "$tiny" --ranks 1 --set "model.path=$work/base" --set "data.train=$work/fiches.h5" --set data.valid=null --json
expect "active parameters by 'plan' and by 'inspect'" "$active" "$(json_number active_parameters "$log")"

# --- what is refused ---
tiny=tests/scenario/tiny.yaml
train 2 0 "$work/never" --set objective.load_balance=0.1
expect_output "objective.load_balance is set, and a model of model_type 'llama' has no experts"
train 2 0 "$work/never" --set objective.router_z=0.1
expect_output "objective.router_z is set, and a model of model_type 'llama' has no experts"
routed 2 2 never --set objective.load_balance=0.1 --set parallel.context=2
expect_output 'set parallel.context to 1, or objective.load_balance to 0'
routed 0 2 context --set objective.router_z=0.01 --set parallel.context=2
expect "the load balance where ranks share texts" "1 null" "$(values context load_balance | head -n 1)"
