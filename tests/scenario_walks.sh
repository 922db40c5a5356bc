#!/bin/sh
# scenario_walks.sh - walks over grids of ranks: a run that is resumed again and again on another grid, drawn at random, stays on
# the curve of one rank.
#   WALKS=2        so many (`make walks`: 100); each goes in f32, bf16, bf16 with gradients rounded between replicas, f32 with a model with
#                  experts, which ranks divide or have all of, f32 on grids of which some divide tensors, or f32 in replicas that learn
#                  apart, which go on after an outer step at another stage
#   WALK_SEED=1    another one draws other walks
# What a grid may change is the order of additions: f32 sums of gradients and losses, and Adam's step from them.  One rounding is
# 6e-8 of a term; in the mean over the 512 tokens of a step these go both ways, and f32 losses stay within a few times 1e-9.
# In bf16 a last bit of a sum may move a weight over the edge of a rounding, by 2^-8 of itself: thousands of times less often
# than every weight is rounded, but as much.  Gradients rounded on the wire are all off by up to 2^-9.  The bounds are several
# times what a hundred walks had (TARGETS.md), and the controls break them.
# shellcheck source=tests/scenario.sh
. "$(dirname "$0")/scenario.sh"
scenario walks
prepare_sample
walks=${WALKS:-2} state=${WALK_SEED:-1} num_steps=12

# draw N - a number from 0 to N - 1 into $drawn: the same walks on every machine.
draw() {
    state=$(((state * 1103515245 + 12345) % 2147483648))
    drawn=$((state / 65536 % $1))
}

# draw_of WORD... - one of them.
draw_of() {
    draw $#
    shift "$drawn"
    drawn=$1
}

# draw_expert TYPE - of a model with experts, how many ranks divide them: a setting, or nothing, in $expert.
draw_expert() {
    expert=
    [ "$1" = experts ] || return 0
    case $((ranks / context / replicas)) in
    4) draw_of 1 2 4 ;;
    2) draw_of 1 2 2 ;;
    *) drawn=1 ;;
    esac
    expert="parallel.expert=$drawn "
}

# draw_way - how a leg computes on its grid, after what is in $grid.
draw_way() {
    draw 4
    grid="$grid parallel.stage=$drawn"
    if [ "$drawn" -ge 2 ]; then
        draw_of micro step
        grid="$grid parallel.reduce=$drawn"
    fi
    draw_of none none layer
    grid="$grid train.recompute=$drawn parallel.wire=compute"
}

# draw_tensor - a grid that divides tensors, or not.
draw_tensor() {
    draw_of 2:2:1 4:2:1 4:2:2 2:1:1 4:1:2
    ranks=${drawn%%:*} grid="parallel.replicas=${drawn##*:}"
    drawn=${drawn#*:}
    grid="$grid parallel.tensor=${drawn%:*}"
    draw_way
}

# draw_apart - the samples of replicas that learn apart are dealt once, for all legs: $dealt.
draw_apart() {
    ranks=${dealt%%:*} grid="parallel.replicas=2 parallel.sync_every=$apart_every train.micro_sequences=${dealt##*:}"
    draw_way
}

# draw_grid TYPE - $ranks (0: alone) and the settings of a leg, in $grid.
draw_grid() {
    case $1 in tensor | apart) draw_"$1" && return ;; esac
    draw_of 0 1 2 3 4 4
    ranks=$drawn context=1 replicas=1
    case $ranks in
    2) draw_of 1:1 1:1 1:2 2:1 ;;
    3) draw_of 1:1 1:3 ;;
    4) draw_of 1:1 1:2 1:4 2:1 2:2 ;;
    *) drawn=1:1 ;;
    esac
    context=${drawn%:*} replicas=${drawn#*:}
    draw_expert "$1"
    draw 4
    grid="${expert}parallel.context=$context parallel.replicas=$replicas parallel.stage=$drawn"
    if [ "$drawn" -ge 2 ]; then
        draw_of micro step
        grid="$grid parallel.reduce=$drawn"
    fi
    draw_of 1 2 4
    grid="$grid train.micro_sequences=$drawn"
    draw_of none none layer
    grid="$grid train.recompute=$drawn"
    if [ "$1" = wire ]; then
        grid="$grid parallel.wire=compute"
    else
        grid="$grid parallel.wire=f32"
    fi
}

# compute_of TYPE - what it computes in.
compute_of() {
    case $1 in f32 | experts | tensor | apart) echo f32 ;; *) echo bf16 ;; esac
}

# curve_of TYPE - the run on one rank that it is compared with.
curve_of() {
    case $1 in wire) echo bf16 ;; tensor) echo f32 ;; *) echo "$1" ;; esac
}

# model_of TYPE - settings.
model_of() {
    case $1 in experts) echo "--set model.architecture.family=mixtral --set model.architecture.experts=8 \
        --set model.architecture.experts_per_token=2 --set model.architecture.ffn_width=48" ;; esac
}

# bound_of TYPE - of the largest relative difference of a loss.
bound_of() {
    case $1 in f32 | tensor | apart) echo 1.5e-8 ;; experts) echo 5e-8 ;; bf16) echo 5e-5 ;; wire) echo 1e-4 ;; esac
}

# draw_dealing - of replicas that learn apart, and the curve that they have in one leg.
draw_dealing() {
    draw_of 2:1 2:2 4:1 4:2
    dealt=$drawn
    draw_of 2 3
    apart_every=$drawn
    train 0 "${dealt%%:*}" "$work/apart-$number" --set train.steps=$num_steps --set parallel.replicas=2 --set parallel.stage=0 \
        --set "parallel.sync_every=$apart_every" --set "train.micro_sequences=${dealt##*:}"
    losses "$work/apart-$number" >"$work/apart.losses"
}

# walk NUMBER TYPE - three legs; $worst is the largest relative difference of its losses.
walk() {
    folder=$work/walk route=""
    rm -rf "$folder"
    draw 5
    first=$((2 + drawn))
    draw 5
    second=$((first + 1 + drawn)) curve=$(curve_of "$2")
    if [ "$2" = apart ]; then # which meet at the end of each leg
        draw_dealing
        folder=$work/walk # which train has set
        first=$apart_every second=$((3 * apart_every)) curve=apart
    fi
    for steps in $first $second $num_steps; do
        draw_grid "$2"
        settings=$(model_of "$2")
        for setting in $grid; do
            settings="$settings --set $setting"
        done
        # shellcheck disable=SC2086 # words
        train 0 "$ranks" "$folder" --set "train.steps=$steps" --set "train.compute=$(compute_of "$2")" $settings
        route="$route; to step $steps on $ranks: $grid"
    done
    losses "$folder" >"$work/got"
    expect "steps of walk $1" "$num_steps" "$(wc -l <"$work/got" | tr -d ' ')"
    is_within "$work/got" "$work/$curve.losses" "$(bound_of "$2")" ||
        fail "walk $1 in $2: losses differ by $worst$route"
}

for type in f32 bf16 experts; do
    [ $type != experts ] || [ "$walks" -gt 6 ] || continue
    # shellcheck disable=SC2046 # words
    train 0 0 "$work/$type" --set train.steps=$num_steps --set "train.compute=$(compute_of $type)" $(model_of $type)
    losses "$work/$type" >"$work/$type.losses"
done
: >"$work/walks"
number=0
while [ $number -lt "$walks" ]; do
    case $((number % 7)) in 0 | 2) type=f32 ;; 1) type=bf16 ;; 3) type=wire ;; 4) type=tensor ;; 5) type=apart ;; 6) type=experts ;; esac
    number=$((number + 1))
    walk "$number" "$type"
    say "$type $worst" >>"$work/walks"
    [ -z "${WALKS:-}" ] || say "walk $number in $type: $worst$route"
done
say "$(awk '{ n[$1]++; if (!($1 in worst) || $2 + 0 > worst[$1] + 0) worst[$1] = $2 }
    END { for (type in n) printf "%d walks in %s within %s; ", n[type], type, worst[type] }' "$work/walks")"

# control COMPUTE RATE - the last leg with another learning rate is seen.
control() {
    train 0 2 "$work/control-$1" --set "train.compute=$1" --set train.steps=6
    train 0 2 "$work/control-$1" --set "train.compute=$1" --set train.steps=$num_steps --set "optimizer.learning_rate=$2"
    losses "$work/control-$1" >"$work/got"
    if is_within "$work/got" "$work/$1.losses" "$(bound_of "$1")"; then
        fail "a learning rate of $2 in the last leg is not seen in $1: losses differ by $worst"
    fi
    say "the control in $1, a learning rate of $2 in place of 1e-3: losses differ by $worst"
}
control f32 1.001e-3
control bf16 1.05e-3
