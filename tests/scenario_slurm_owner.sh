#!/bin/sh
# scenario_slurm_owner.sh - whose a run is, and what happens before it trains, on a real Slurm: a module that cannot be
# loaded is a start of the chain and told; a controller that is down while a job asks to be requeued is waited for;
# another user's submission to the same folder is refused; a job that waits is stopped.
# shellcheck source=tests/scenario.sh
. "$(dirname "$0")/scenario.sh"
scenario slurm_owner
# shellcheck source=tests/slurm/scenario_cluster.sh
. tests/slurm/scenario_cluster.sh
cluster_start
prepare_sample
export ATELIER_SLURM_PATIENCE_S=120

# --- a module that cannot be loaded ---

cat >"$work/modinit" <<END
module() { if [ "\$1" = load ] && [ -e "$PWD/$work/broken" ]; then echo "ERROR: Unable to locate a modulefile for '\$2'" >&2; return 1; fi
[ "\$1" != load ] || export LOADEDMODULES=\$2; return 0; }
END
sed "s|^purge_modules: .*|purge_modules: true\nmodule_init: [$PWD/$work/modinit]\nmodules: [nccl/2]|" tests/slurm/site.yaml >"$work/modules.yaml"
usual_site=$site
site=$work/modules.yaml

touch "$work/broken"
folder=$work/modules
submit 0 "$folder" --chain 5 --set train.steps=3
wait_until 60 "the end of the chain" has_ended "$folder"
expect "the chain without its module" stopped "$(status "$folder" chain)"
expect "its starts" 2 "$(status "$folder" starts)"
run 0 "$atelier" status "$folder"
expect_output '^state +stopped$'
expect_output "^reason +two starts in a row left no new checkpoint.*; job [0-9]+ could not start: module 'nccl/2' could not be loaded on "
expect_line "$folder" "start 1 of at most 5, could not start: module 'nccl/2' could not be loaded"
[ ! -e "$folder/metrics.jsonl" ] || fail "a job without its module has trained"

submit 0 "$folder.single" --set train.steps=3 # without a chain a fault is the end
wait_until 60 "the end of the single job" has_ended "$folder"
expect "the reason of a single job" "job $job could not start: module 'nccl/2' could not be loaded on $(hostname)" "$(status "$folder" reason)"

# Where not even the program can be started the script itself leaves word.
submit 0 "$work/gone" --set train.steps=3 --set 'slurm.options=[--hold]'
folder=$work/gone
sed -i "s|^atelier=.*|atelier=/nowhere/atelier|; /--hold/d" "$folder/job.sh"
scancel "$job"
sbatch --parsable "$folder/job.sh" >"$work/id"
printf '%s 0\n' "$(cat "$work/id")" >>"$folder/jobs.txt"
in_queue() { [ -n "$(squeue -h -j "$(cat "$work/id"),$(cat "$work/id")" 2>/dev/null)" ]; }
out_of_queue() { ! in_queue; }
wait_until 60 "the job without a program" out_of_queue
run 0 "$atelier" status "$folder"
expect_output '^state +stopped$'
expect_output "^reason +job $(cat "$work/id") could not start: module 'nccl/2' could not be loaded"

# The module is back while the chain waits for its second start: it goes on.
folder=$work/mended
submit 0 "$folder" --chain 5 --set train.steps=3
wait_until 60 "the first start" has_line "$folder" "start 1 of at most 5, could not start"
rm "$work/broken"
wait_until 60 "the end of the mended chain" has_ended "$folder"
case $(status "$folder" chain) in
done) say "a module that cannot be loaded: counted, told, and the chain goes on once it is back" ;;
*) # both starts came before the module was back: a machine that quick is fine too
    expect "the mended chain" stopped "$(status "$folder" chain)"
    say "a module that cannot be loaded: counted and told" ;;
esac
site=$usual_site

# --- another user, and a job that waits ---

if setpriv --reuid nobody --regid nogroup --clear-groups test -x "$PWD/$atelier" -a -r "$PWD/$work/fiches.h5"; then
    folder=$work/shared
    mkdir -m 0777 "$folder"
    submit 0 "$folder" --set train.steps=3 --set 'slurm.options=[--hold]'
    cp "$folder/job.sh" "$folder/run.yaml" "$work/"
    code=0
    setpriv --reuid nobody --regid nogroup --clear-groups "$atelier" submit "$tiny" --set "run.folder=$folder" \
        --set "slurm.site=$site" --set slurm.partition=cpu --set "data.train=$PWD/$work/fiches.h5" --set data.valid=null \
        >"$log" 2>&1 || code=$?
    expect "exit code of another user's submission" 2 "$code"
    expect_output "^error: '$folder' belongs to user 'root' \(job $job, PENDING\)"
    cmp -s "$folder/job.sh" "$work/job.sh" || fail "another user's submission changed 'job.sh'"
    cmp -s "$folder/run.yaml" "$work/run.yaml" || fail "another user's submission changed 'run.yaml'"
    setpriv --reuid nobody --regid nogroup --clear-groups "$atelier" status "$folder" >"$log" 2>&1 || fail "status for another user"
    expect_output '^state +waiting$'
    run 2 "$atelier" train "$tiny" --set "run.folder=$folder" --set "data.train=$work/fiches.h5"
    expect_output "'$folder' belongs to user 'root' \(job $job, PENDING\)"
    run 1 "$atelier" stop "$folder" --save
    expect_output "job $job of this run waits .*: there is nothing to save"
    run 0 "$atelier" stop "$folder"
    expect_output "^job $job +was cancelled$"
    expect_output '^nothing had begun: the job that waited is cancelled'
    run 0 "$atelier" status "$folder"
    expect_output '^state +stopped$'
    run 0 "$atelier" stop "$folder"
    expect_output "there is nothing to stop"
    say "another user's submission is refused by name and changes nothing; a job that waits is cancelled"
else
    say "another user cannot read this folder: left out"
fi

# --- the controller is down while the job asks to be requeued ---

folder=$work/down
submit 0 "$folder" --set train.steps=100000 --set train.stop_after_s=4 --set slurm.chain.max_jobs=3
wait_until 60 "the first step" has_step "$folder" 1
end_controller() { kill "$(cat "$ATELIER_SLURM_FOLDER/slurmctld.pid")"; }
end_controller
wait_until 90 "the first try" has_line "$folder" "'scontrol' is tried again for up to"
if has_line "$folder" 'is requeued'; then fail "a job is said to be requeued while nobody could do it"; fi
run 0 sh tests/slurm/cluster.sh controller
wait_until 90 "the requeue" has_line "$folder" "saved after step [0-9]+ of 100000; job $job is requeued"
wait_until 60 "the second start" has_starts "$folder" 2
run 0 "$atelier" stop "$folder" --now
wait_until 90 "the end" has_ended "$folder"
say "the controller was down at the requeue: tried again, and requeued once it was back"
