#!/bin/sh
# family_checks.sh - what is asked of every family, for the scenarios that train one; read after scenario.sh.  The scenario has
# train_family CODE RANKS FOLDER [SETTING]..., which trains ten steps of it.
# shellcheck shell=sh disable=SC2154 # of scenario.sh and of the scenario: work, atelier, tiny, worst

perplexity() {
    run 0 "$atelier" eval "$1" --data "$work/fiches-valid.h5" --json
    json_number perplexity "$log"
}

# layouts_agree ALONE WHAT LAYOUT... - the losses of the run ALONE, now in ALONE.losses, are those on RANKS:STAGE.
layouts_agree() {
    alone=$1 what=$2
    shift 2
    losses "$alone" >"$alone.losses"
    for layout in "$@"; do
        ranks=${layout%:*} stage=${layout#*:}
        train_family 0 "$ranks" "$alone-$ranks-$stage" --set "parallel.stage=$stage"
        losses "$alone-$ranks-$stage" >"$work/got"
        is_within "$work/got" "$alone.losses" 1e-5 || fail "$what$ranks ranks, stage $stage: losses differ by $worst"
        say "$what$ranks ranks, stage $stage: largest relative difference of the losses $worst"
    done
}

# differs_from_llama ALONE SETTING... - the control: a Llama with these settings has other losses.
differs_from_llama() {
    alone=$1
    shift
    train 0 0 "$work/llama" "$@"
    losses "$work/llama" >"$work/got"
    if is_within "$work/got" "$alone.losses" 1e-5; then
        fail "a Llama of the same sizes has the same losses: the comparison sees nothing"
    fi
}

# resumes_to_the_bit ALONE - stopped in the middle, or with layers computed again.
resumes_to_the_bit() {
    train_family 0 0 "$work/split" --set train.steps=5
    train_family 0 0 "$work/split"
    for file in model state/master state/adam_m state/adam_v; do
        cmp "$1/step-000010/$file.safetensors" "$work/split/step-000010/$file.safetensors" ||
            fail "$file differs after a resume"
    done
    train_family 0 0 "$work/recomputed" --set train.recompute=layer
    cmp "$1/step-000010/model.safetensors" "$work/recomputed/step-000010/model.safetensors" ||
        fail "weights differ where layers are computed again"
    say "a resume and recomputed layers give the same bits"
}

# exports_agree MODEL OUT WHAT WORDS - to OUT-hf and OUT-gguf.gguf, read back with the same perplexity; WORDS: a pattern of
# what 'inspect' tells of them, in Hugging Face's form or in GGUF's, that Llama does not have.
exports_agree() {
    model=$1 out=$2 what=$3 words=$4
    trained=$(perplexity "$model") || fail "$trained"
    for form in hf gguf; do
        exported=$out-$form
        [ $form = hf ] || exported=$exported.gguf
        run 0 "$atelier" export "$model" --to $form --type f32 --out "$exported"
        expect_output "read back, its logits differ"
        run 0 "$atelier" inspect "$exported" --json
        expect_output "$words"
        now=$(perplexity "$exported") || fail "$now"
        away=$(awk -v a="$now" -v b="$trained" 'BEGIN { d = (a - b) / b; printf "%.2g", d < 0 ? -d : d }')
        is_at_most "$away" 1e-6 || fail "the perplexity of '$exported' is $now, the trained model's $trained"
        say "$what$form: perplexity $now, $away from the trained model's"
    done
}
