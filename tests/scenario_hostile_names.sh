#!/bin/sh
# scenario_hostile_names.sh - spaces, quotes, $(..), backquotes, line breaks, dashes, 300 characters, control characters and
# UTF-8 in everything that a run file or a site profile says for a job: each works or is refused by one line; the script
# parses, each of its #SBATCH lines is one option, and run to its srun it executes nothing but itself and splits no word.
# shellcheck source=tests/scenario.sh
. "$(dirname "$0")/scenario.sh"
scenario hostile_names
atelier=$PWD/$atelier
work=$PWD/$work
log=$PWD/$log
mkdir "$work/bin" "$work/runs"

# The programs of a job that the script meets: srun keeps what it was called with, the program says that there is work.
cat >"$work/bin/srun" <<END
#!/bin/sh
printf '<%s>\n' "\$@" "\${STRANGE-}" >"$work/srun.words"
END
cat >"$work/program" <<END
#!/bin/sh
[ "\$1" = chain ] || exec "$atelier" "\$@"
END
cat >"$work/modules" <<'END'
module() { [ "$1" != load ] || LOADEDMODULES=${LOADEDMODULES-}:$2; }
END
chmod +x "$work/bin/srun" "$work/program"
PATH=$work/bin:$PATH

# Values, as they stand between the double quotes of YAML.
cat >"$work/values" <<'END'
a b
it's
say \"hi\"
$(touch HACKED)
`touch HACKED`
; touch HACKED; '
a\ntouch HACKED
x\n#SBATCH --wrap=touch
a\u001b[31mb\r
-rf
--wrap=touch HACKED
a\\b
*?[a-z]{1,2}~
%x-%j é日本 #d
a&&touch HACKED|tee HACKED>HACKED<x
END
printf '%0300d\n' 0 | tr 0 n >>"$work/values"

# Places: KEY|what stands in the run file|what stands in the profile, with @ for the value.
cat >"$work/places" <<'END'
run.folder|run: {folder: "runs/@"}|
slurm.account|slurm: {account: "@"}|
slurm.partition|slurm: {partition: "@"}|
slurm.qos|slurm: {qos: "@"}|
slurm.constraint|slurm: {constraint: "@"}|
slurm.job_name|slurm: {job_name: "@"}|
slurm.exclude|slurm: {exclude: "@"}|
slurm.mail|slurm: {mail: "@"}|
slurm.options|slurm: {options: ["--comment=@"]}|
slurm.modules|slurm: {modules: ["@"]}|
slurm.environment|slurm: {environment: [{name: STRANGE, value: "@"}]}|
slurm.environment name|slurm: {environment: [{name: "@", value: x}]}|
slurm.launcher|slurm: {launcher: [env, "@"]}|
slurm.srun_options|slurm: {srun_options: ["--network=@"]}|
launcher||launcher: [env, "@"]
environment||environment: [{name: STRANGE, value: "@"}]
hint||hint: "@"
mpi||mpi: "@"
module_path||module_path: ["@"]
options||options: ["--comment=@"]
partition option||partitions: [{name: p, option: "@"}]
partition constraint||partitions: [{name: p, constraint: "@"}]
partition suffix||partitions: [{name: p, account_suffix: "@"}]
partition name||partitions: [{name: "@"}]
END

# put_value TEXT VALUE - the text with @ replaced; where paths and launchers expand '$', it is doubled.
put_value() {
    doubled=$2
    case $1 in *folder* | *launcher* | *module_path*) doubled=$(printf '%s\n' "$2" | sed 's/\$/$$/g') ;; esac
    printf '%s\n' "$1" | VALUE=$doubled awk '{ i = index($0, "@"); print i ? substr($0, 1, i - 1) ENVIRON["VALUE"] substr($0, i + 1) : $0 }'
}

# check_lines - what submit said: messages, a line each, without control characters, and one error where it refused.
check_lines() {
    ! grep -Evq '^(error|warning|note): ' "$work/said" || fail "$what: a line is not a message: $(cat "$work/said")"
    ! LC_ALL=C tr -d '\n\200-\377 -~' <"$work/said" | grep -q . || fail "$what: control characters in a message"
    errors=$(grep -c '^error: ' "$work/said")
    [ "$errors" = $((code / 2)) ] || fail "$what: code $code, $errors errors: $(cat "$work/said")"
}

# check_script - whether it was refused or not: it is shown, and may be copied.
check_script() {
    bash -n "$work/job.sh" || fail "$what: bash does not parse the script"
    ! grep '^#SBATCH' "$work/job.sh" | grep -Evq '^#SBATCH ("--([^"\]|\\.)*"|--[^" ]*)$' ||
        fail "$what: an #SBATCH line is not one option: $(grep '^#SBATCH' "$work/job.sh")"
}

# run_script - to its srun, in a folder of its own; what arrives there is what was written.
run_script() {
    rm -f "$work/srun.words"
    (cd "$work" && SLURM_JOB_ID=7 HOME=$work bash "$work/job.sh") >"$work/ran" 2>&1
    [ -s "$work/srun.words" ] || fail "$what: the script did not come to srun: $(cat "$work/ran")"
    count=$((count + 1))
    case $2 in
    *\\*) return ;; # written in YAML's way
    esac
    case $1 in
    *launcher | *environment)
        grep -Fxq -- "<$2>" "$work/srun.words" || fail "$what: '$2' did not arrive: $(cat "$work/srun.words")"
        ;;
    esac
}

count=0 refused=0
while IFS='|' read -r key in_run in_profile; do
    while IFS= read -r value; do
        what="$key with '$value'"
        {
            put_value "${in_run:-slurm: {\}}" "$value" | sed "s|^slurm: {|&site: $work/site.yaml, |"
            case $in_run in *slurm*) ;; '') ;; *) echo "slurm: {site: $work/site.yaml}" ;; esac
            case $in_run in *folder*) ;; *) echo 'run: {folder: runs/x}' ;; esac
            printf 'model: {path: m}\ndata: {train: t.h5}\n'
        } >"$work/run.yaml"
        {
            printf 'name: s\nmodule_init: [%s]\nmodules: [m]\n' "$work/modules"
            case $in_profile in partitions*) ;; *) echo 'partitions: [{name: p}]' ;; esac
            put_value "$in_profile" "$value"
        } >"$work/site.yaml"
        code=0
        (cd "$work" && "$atelier" submit run.yaml --program ./program --dry-run >job.sh 2>said) || code=$?
        case $code in 0 | 2) ;; *) fail "$what: code $code: $(cat "$work/said")" ;; esac
        check_lines
        [ ! -s "$work/job.sh" ] || check_script
        if [ "$code" = 0 ]; then run_script "$key" "$value"; else refused=$((refused + 1)); fi
        [ -z "$(find "$work" -name HACKED)" ] || fail "$what: a command in it was executed"
    done <"$work/values"
done <"$work/places"
if [ "$count" -lt 60 ] || [ "$refused" -lt 60 ]; then fail "only $count scripts were run and $refused refused"; fi
say "$count scripts with hostile names came to srun with every word whole, $refused were refused by a line"

# Controls: the checks see what they look for.
what=control
printf '#SBATCH --qos=a b\n' >"$work/job.sh"
if (check_script) >/dev/null; then fail "an #SBATCH line of two words was not noticed"; fi
printf 'error: one\n' >"$work/said"
if (code=0 check_lines) >/dev/null; then fail "an error with code 0 was not noticed"; fi
printf 'error: \033[31m\n' >"$work/said"
if (code=2 check_lines) >/dev/null; then fail "an escape sequence was not noticed"; fi
