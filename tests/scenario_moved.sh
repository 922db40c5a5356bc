#!/bin/sh
# scenario_moved.sh - the folder of a run that is under way is moved, and nothing, an empty folder or another run is put in
# its place: the run ends after its present step, or in the middle of a save, with a line that names both places, and touches
# nothing of what stands there now; from the moved folder it goes on as if nothing had happened.
# shellcheck source=tests/scenario.sh
. "$(dirname "$0")/scenario.sh"
scenario moved
prepare_sample
longest_s=60

listing() {
    (cd "$1" && find . -type f -exec cksum {} + | sort)
}

# put_in_place WHAT FOLDER - nothing, an empty folder, or a finished run of five checkpoints.
put_in_place() {
    case $1 in
    empty) mkdir "$2" ;;
    other) cp -r "$work/other" "$2" ;;
    esac
}

# expect_untouched WHAT FOLDER - what was put there is as it was.
expect_untouched() {
    case $1 in
    nothing) [ ! -e "$2" ] || fail "'$2' was made again" ;;
    empty) expect "files in the empty folder" "" "$(ls -A "$2")" ;;
    other) expect "files of the other run" "$(listing "$work/other")" "$(listing "$2")" ;;
    esac
}

train 0 0 "$work/other" --set train.steps=5 --set checkpoint.every_steps=1 --set run.seed=8
train 0 0 "$work/straight" --set train.steps=40

for ranks in 0 2; do
    for what in nothing empty other; do
        folder=$work/run-$ranks-$what moved=$work/moved-$ranks-$what
        train_start "$ranks" "$folder" --set train.steps=100000 --set checkpoint.every_steps=2 --set checkpoint.keep=2
        wait_for_step "$folder" 5
        mv "$folder" "$moved"
        put_in_place "$what" "$folder"
        train_end $longest_s
        expect "exit code of a run whose folder was moved" 1 "$code"
        expect_no_process
        expect_output "^error: '$folder' is not this run's folder any more: that was moved to '/.*/$moved', and (nothing|another folder|what) stands there"
        expect "lines that name the places" 1 "$(grep -c "is not this run's folder" "$log")"
        expect_output '^outcome +ended, because its folder was moved or removed$'
        expect_untouched "$what" "$folder"
    done
    say "moved under $ranks ranks (0: started alone), with nothing, a folder or another run in its place: ended, nothing touched"
done

# In the middle of a save: the rank that writes stops as it opens its first file, and goes on once the folder is moved.
if ${CC:-mpicc} -shared -fPIC -O1 -o "$work/stop_rank.so" tests/scenario/stop_rank.c -ldl >"$log" 2>&1; then
    for what in nothing other; do
        folder=$work/save-$what moved=$work/moved-save-$what
        LD_PRELOAD="$PWD/$work/stop_rank.so" STOP_RANK=0 STOP_AT=open:step-000004.partial/model \
            "$atelier" train "$tiny" --set "run.folder=$folder" --set "data.train=$work/fiches.h5" --set train.steps=8 \
            --set checkpoint.every_steps=2 >"$log" 2>&1 &
        started=$!
        until [ -n "$(ls -d "$folder"/*4.partial 2>/dev/null)" ] && grep -q '^State:.*stopped' "/proc/$started/status"; do
            expect_running "its save"
            sleep 0.05
        done
        mv "$folder" "$moved"
        put_in_place "$what" "$folder"
        while kill -CONT "$started" 2>/dev/null; do # it stops at each of its files
            sleep 0.05
        done
        train_end $longest_s
        expect "exit code of a run whose folder was moved while it saved" 1 "$code"
        expect_output "^error: '$folder' is not this run's folder any more: that was moved to '/.*/$moved', and"
        expect_untouched "$what" "$folder"
        expect_complete "$moved" 2
    done
    say "moved in the middle of a save: ended, nothing touched, the checkpoint before it is whole"
fi

# The moved folder goes on, with the losses of a run that was never moved.
moved=$work/moved-0-nothing
train 0 0 "$moved" --set train.steps=40
expect_output "'$moved' was '.*/run-0-nothing' when it was last trained: it was moved"
expect "losses over the move" "$(losses "$work/straight")" "$(losses "$moved")"
say "from the moved folder the run went on with the same losses"
