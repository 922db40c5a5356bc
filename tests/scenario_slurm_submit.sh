#!/bin/sh
# scenario_slurm_submit.sh - what is said before anything is submitted, against a real Slurm: each partition's script and
# each ready run file pass `sbatch --test-only` on partitions like Jean Zay's; profile errors end with code 2, one clear
# message and an empty queue; `doctor --site` finds the differences; hostile names reach nothing but their own text.
# shellcheck source=tests/scenario.sh
. "$(dirname "$0")/scenario.sh"
scenario slurm_submit
# shellcheck source=tests/slurm/scenario_cluster.sh
. tests/slurm/scenario_cluster.sh
cluster_start
prepare_sample
export IDRPROJ=abc # the project, as every shell of Jean Zay knows it
script=$work/job.sh

# dry_run FILE [ARGUMENT...] - the script to $script.
dry_run() {
    code=0
    case $1 in
    "$tiny") set -- "$@" --set data.train=any.h5 --set "run.folder=$work/jz" ;;
    esac
    "$atelier" submit "$@" --program "$work/atelier-cuda" --dry-run >"$script" 2>"$log" || code=$?
    expect "exit code of a dry run of '$*'" 0 "$code"
}

# slurm_takes WANTED_CODE - what Slurm and the filter of the mock say of the script.
slurm_takes() {
    sbatch_code=0
    sbatch --test-only "$script" >"$log" 2>&1 || sbatch_code=$?
    [ "$sbatch_code" -eq 0 ] || sbatch_code=1
    expect "'sbatch --test-only' ($(tail -n 1 "$log"))" "$1" "$sbatch_code"
}

# --- every partition, every ready run file ---

num_scripts=0
for partition in gpu_p13 gpu_p2 gpu_p2s gpu_p2l gpu_p5 gpu_p6 cpu_p1 prepost archive compil compil_h100; do
    for shape in "1 2h" "1 20h"; do
        dry_run "$tiny" --set slurm.site=jeanzay --set "slurm.partition=$partition" --set "slurm.nodes=${shape% *}" \
            --set "slurm.time=${shape#* }"
        slurm_takes 0
        num_scripts=$((num_scripts + 1))
    done
    if command -v shellcheck >/dev/null; then
        shellcheck "$script" >"$log" || fail "shellcheck on the script for '$partition'"
    fi
done
dry_run "$tiny" --set slurm.site=jeanzay --set slurm.partition=gpu_p6 --set slurm.nodes=128
slurm_takes 0
dry_run "$tiny" --set slurm.site=jeanzay --set slurm.partition=gpu_p13 --set slurm.constraint=v100-32g --set slurm.nodes=4 \
    --set slurm.time=100h
slurm_takes 0
for config in configs/jeanzay_*.yaml; do
    dry_run "$config"
    slurm_takes 0
    num_scripts=$((num_scripts + 1))
done
[ ! -e "$work/jz" ] || fail "a dry run wrote '$work/jz'"
say "$num_scripts scripts for Jean Zay's partitions pass sbatch --test-only"

# Controls: the mock refuses what Jean Zay refuses.
for change in 's/@h100/@v100/' 's/^#SBATCH --constraint=h100$//' 's/--time=.*/--time=21:00:00/' 's/--qos=.*/--qos=qos_gpu-t3/' \
    's/--nodes=.*/--nodes=129/' 's/^#SBATCH --account.*$//'; do
    dry_run "$tiny" --set slurm.site=jeanzay --set slurm.partition=gpu_p6
    sed -i "$change" "$script"
    slurm_takes 1
done
say "scripts with another account, constraint, time, QoS or number of nodes do not"

# --- refusals ---

# refused PATTERN [ARGUMENT...]
refused() {
    pattern=$1
    shift
    run 2 "$atelier" submit "$tiny" --program "$work/atelier-cuda" --set slurm.site=jeanzay --set "run.folder=$work/refused" \
        --set "data.train=$work/fiches.h5" --set data.valid=null "$@"
    expect "errors with $*" 1 "$(grep -c '^error: ' "$log")"
    expect_output "^error: .*$pattern"
    [ ! -e "$work/refused" ] || fail "a refused submission wrote '$work/refused'"
}
refused "'slurm.qos' is 'qos_gpu-t3', but partition 'gpu_p6' has: qos_gpu_h100-dev" --set slurm.qos=qos_gpu-t3
refused "'gpu_p5' allows 20:00:00: set slurm.time=20h and chain jobs.*--chain 2" --set slurm.partition=gpu_p5 --set slurm.time=30h
refused "are 516 GPUs, but QoS 'qos_gpu_h100-t3' allows 512" --set slurm.nodes=129
refused "account 'abc@v100' does not fit partition 'gpu_p6'" --set slurm.account=abc@v100
refused "data.train '.*nowhere.h5' is not there" --set data.train=nowhere.h5
refused "fiches.h5': every document is longer than data.sequence_tokens .16." --set data.packing=whole --set data.long_documents=skip --set data.sequence_tokens=16
refused "data.train '.*fiches.h5' holds documents that are learnt one by one, and objective.kind orpo learns from pairs" --set objective.kind=orpo --set data.packing=whole
IDRPROJ='' && unset IDRPROJ
refused "no account: set slurm.account to the project that pays, or the environment variable IDRPROJ"
run 2 "$atelier" submit "$tiny" --set slurm.site=jeanzai --set data.train=any.h5
expect_output "no site profile 'jeanzai' \(did you mean 'jeanzay'\?\)"
run 2 "$atelier" submit "$tiny" --set slurm.site=local --set data.train=any.h5
expect_output "no scheduler; start the ranks here: mpirun"
: >"$work/a-file"
submit 1 "$work/a-file"
expect_output "^error: nothing was submitted: .*a file is in its place"
expect "jobs in the queue" "" "$(squeue -h)"
say "wrong QoS, time, GPUs, account, data, site, folder: one message each, nothing submitted"

# A program that cannot compute on the GPUs that are asked for: refused before the queue, and again in the job.  A dry run
# shows the script all the same.
run 2 "$atelier" submit "$tiny" --set "slurm.site=$site" --set "run.folder=$work/refused" --set "data.train=$work/fiches.h5" \
    --set data.valid=null
expect_output "^error: .* asks for GPUs of partition 'tiny' .* was built without CUDA"
[ ! -e "$work/refused" ] || fail "a refused submission wrote '$work/refused'"
run 2 "$atelier" submit configs/jeanzay_h100_8b_continue.yaml --dry-run
expect_output "^error: .* asks for GPUs of partition 'gpu_p6' \(H100 SXM5\), but '.*atelier' was built without CUDA"
expect_output "^#SBATCH --gres=gpu:4"
run 2 "$atelier" submit "$tiny" --program "$work/atelier-cuda" --set "slurm.site=$site" --set "run.folder=$work/refused" \
    --set "data.train=$work/fiches.h5" --set data.valid=null --set run.device=cpu
expect_output "'run.device' is cpu, but the job asks for 4 GPUs"
expect "jobs in the queue" "" "$(squeue -h)"
run 2 srun -N1 -n1 --gres=gpu:2 "$atelier" train "$tiny" --set "run.folder=$work/refused" --set "data.train=$work/fiches.h5" \
    --set data.valid=null
expect_output "Slurm allocated 2 GPUs on 'n[01]' \(SLURM_GPUS_ON_NODE\), and run.device is auto, but this program was built without"
[ ! -e "$work/refused/latest" ] || fail "a refused run has trained"
rm -rf "$work/refused"
run 0 srun -N1 -n1 "$atelier" train "$tiny" --set "run.folder=$work/processors" --set "data.train=$work/fiches.h5" \
    --set data.valid=null --set train.steps=2 # control: no GPUs were asked for
run 0 "$atelier" submit "$tiny" --set "slurm.site=$site" --set slurm.partition=cpu --set "run.folder=$work/cpu" \
    --set "data.train=$work/fiches.h5" --set data.valid=null --set train.steps=2
folder=$work/cpu
wait_until 60 "the job on processors" has_ended "$folder"
expect "the run on processors" "done" "$(status "$folder" chain)"
grep -q '^  device: "\{0,1\}auto' "$folder/run.yaml" || fail "a job without GPUs: $(grep device: "$folder/run.yaml")"
submit 0 "$work/with" --set train.steps=2
folder=$work/with
grep -q '^  device: "\{0,1\}cuda' "$folder/run.yaml" || fail "a job with GPUs: $(grep device: "$folder/run.yaml")"
wait_until 60 "the job with GPUs" has_ended "$folder"
say "a program without CUDA is refused where GPUs are asked for, and ends where it finds itself beside them"

# sbatch that ends well and says nothing, as at a QoS limit, is not a success.
mkdir "$work/bin"
printf '#!/bin/sh\nexit 0\n' >"$work/bin/sbatch"
chmod +x "$work/bin/sbatch"
old_path=$PATH
PATH=$PWD/$work/bin:$PATH
submit 1 "$work/silent"
expect_output "sbatch gave no job id"
PATH=$old_path

# --- the profile and the cluster ---

run 0 "$atelier" doctor --site jeanzay
expect_output "^warning +partition 'gpu_p6': 364 nodes in the profile, 128 on the cluster"
expect_output "sacctmgr does not answer here"
expect_output '^unsure +storage\.scratch\.quota_gb: the documentation says .* \(a slide of the course'
expect_output '^ +[0-9]+ facts of this profile are not confirmed'
sed 's/max_hours: 20  .*t4.*/max_hours: 30/; s/v100-32g/v100-64g/' slurm/sites/jeanzay.yaml >"$work/wrong.yaml"
run 1 "$atelier" doctor --site "$work/wrong.yaml"
expect_output "^error +partition 'gpu_p5': time limit 30:00:00 in the profile, 20:00:00 on the cluster"
expect_output "^error +partition 'gpu_p13': no node of the cluster has the feature 'v100-64g'"
run 0 "$atelier" doctor --site "$site"
expect_output "^ok +the profile agrees"
run 0 "$atelier" doctor --site generic
expect_output "^site +generic"
run 0 "$atelier" submit "$tiny" --program "$work/atelier-cuda" --set slurm.site=generic --dry-run --set data.train=any.h5
expect_output "^#SBATCH --partition=tiny$"
expect_output "^#SBATCH --gres=gpu:4$"
say "doctor --site: differences found on the mock, none on the tests' own cluster"

# --- a run after another ---

submit 0 "$work/first" --set train.steps=5
submit 0 "$work/next" --set train.steps=5 --set "slurm.after=[$work/first]"
expect_output '^waits +for job [0-9]+ to end well'
# What the first run is yet to write need not be there.
submit 0 "$work/failing" --set train.steps=5 --set train.micro_sequences=1 --set "slurm.options=[--begin=now+1hour]"
submit 0 "$work/never" --set train.steps=5 --set "slurm.after=[$job]" --set "data.train=$work/none.h5"
expect_output "^warning: data.train '.*none.h5' is not there"
scancel "$(tail -n 1 "$work/failing/jobs.txt" | cut -d ' ' -f 1)"
wait_until 60 "the run after the first" has_ended "$work/next"
expect "the chain of the run after" "done" "$(status "$work/next" chain)"
[ "$(stat -c %Y "$work/first/latest")" -le "$(stat -c %Y "$work/next/latest")" ] || fail "the run after came before"
gone() { [ -z "$(squeue -h -j "$job" -o %i 2>/dev/null)" ]; }
wait_until 30 "the job that waited in vain to be cancelled" gone
[ ! -e "$work/never/metrics.jsonl" ] || fail "a run began although the one before it had not ended well"
submit 2 "$work/late" --set "slurm.after=[$work/unknown]"
expect_output "^error: 'slurm.after' names '.*unknown', which is neither the number of a job nor a folder that is there"
say "slurm.after: a run starts after another, or is cancelled where that one does not end well"

# --- prepare, eval and export as jobs, beside the training of the same folder ---

export HACKED="$PWD/$work/hacked"
folder="$PWD/$work/tasks" data="$PWD/$work/tasks.h5"
# task WANTED_CODE NAME [ARGUMENT...]
task() {
    wanted_code=$1 name=$2
    shift 2
    run "$wanted_code" "$atelier" submit "$name" "$tiny" "$@" --set "run.folder=$folder" --set "slurm.site=$site"
    job=$(sed -n 's/^job *\([0-9]*\)$/\1/p' "$log")
}
task_is() { "$atelier" status "$folder" 2>&1 | grep -Eq -- "^$1 +$2"; }
task 0 prepare --set "prepare.output=$data" --dry-run
[ ! -e "$folder" ] || fail "a dry run wrote '$folder'"
task 2 export --to gguf --out "$work/early.gguf"
expect_output "^error: the run in '.*' has no checkpoint yet"
task 0 prepare --set "prepare.output=$data" --set "slurm.options=[--begin=now+1hour]"
expect_output "^note: 'prepare' computes on processors: partition 'cpu' is taken"
prepare_job=$job
task_is prepare "job $prepare_job, waits: " || fail "status does not show the job that prepares"
task 2 prepare --set "prepare.output=$data"
expect_output "^error: job $prepare_job \\('prepare' of this run, .*is in the queue"
submit 0 "$folder" --set "data.train=$data" --set train.steps=3 --set "slurm.after=[$folder]"
expect_output "^waits +for job $prepare_job to end well"
# shellcheck disable=SC2016 # single quotes on purpose
strange="$PWD/$work/it's "'$(touch $HACKED) `touch $HACKED`;.h5'
task 0 eval --data "$strange" --set "slurm.after=[$folder]"
expect_output "^waits +for job [0-9]+ to end well"
if ! [ -s "$folder/job.sh" ] || ! grep -q " train " "$folder/job.sh"; then fail "the script of the training was overwritten"; fi
cp "$work/fiches.h5" "$strange"
scontrol update "JobId=$prepare_job" StartTime=now
wait_until 90 "the three jobs" task_is eval "done"
expect "the chain after a prepare job" "done" "$(status "$folder" chain)"
task_is prepare "done, job $prepare_job" || fail "status does not say that prepare is done"
expect_line "$folder" '^all +[0-9.]+ +[0-9.]+ +[0-9.]+ +[0-9]+$'
[ ! -e "$HACKED" ] || fail "a word of the command was run by a shell"
task 0 eval --data README.md
eval_job=$job
wait_until 60 "the eval of what is not a token file" task_is eval "failed with code 2, job $eval_job"
submit 2 "$work/late" --set "slurm.after=['$folder:eval']"
expect_output "^error: 'slurm.after' waits for 'eval' of '.*', whose job $eval_job ended with code 2"
folder="$PWD/$work/tasks" # submit has moved on to another
task 0 export --to hf --out "$work/exported"
wait_until 60 "the export" task_is export "done, job $job"
[ -s "$work/exported/config.json" ] || fail "nothing was exported"
say "prepare, training and eval as jobs one after the other; a failed one is told, and not waited for"

# --- hostile names, in a job that runs ---

# shellcheck disable=SC2016 # single quotes on purpose
name='it'"'"'s $(touch $HACKED) `touch $HACKED`; touch $HACKED #1 %d "x" & é'
folder="$work/$name"
# In a path of a run file $HACKED is its value, $$ a dollar sign.
# shellcheck disable=SC2016
in_run_file=$(printf '%s' "$folder" | sed 's/\$/$$/g')
# shellcheck disable=SC2016
submit 0 "$in_run_file" --set train.steps=2 --set 'slurm.environment=[{name: STRANGE, value: "a'"'"' $(touch $HACKED) \"b"}]' \
    --set 'slurm.options=["--comment=c '"'"'d'"'"' \"e\" #f $(touch $HACKED)"]'
# shellcheck disable=SC2016
expect "the comment Slurm has" "c 'd' \"e\" #f \$(touch \$HACKED)" \
    "$(scontrol show job "$job" | sed -n 's/^ *Comment=\(.*[^ ]\) *$/\1/p')"
folder="$work/$name"
wait_until 60 "the job with a strange name" has_ended "$folder"
expect "chain of the strange run" "done" "$(status "$folder" chain)"
expect_complete "$folder" 2
[ -f "$folder/logs/$(ls "$folder/logs")" ] || fail "no log in '$folder/logs'"
[ ! -e "$HACKED" ] || fail "a name of the run file was run by a shell"
say "a run folder called <$name>: trained there, and nothing else happened"
