#!/bin/sh
# run.sh - compares atelier with software that nobody here wrote: transformers with torch, and tokenizers.
# Called by `make interop`, from anywhere.  Makes the virtual environment .venv-interop in the repository root where
# there is none for this requirements.txt (heavy: several GB, and the only part that needs a network), then runs the
# checks listed at the end.  A check ends with 0 (passed), 77 (skipped, having said why), or anything else (failed).
#   OUT=build/cpu        the build to test
#   INTEROP_VENV=DIR     use this environment as it is
#   CHECKS="check_hf"    run these only
set -eu
here=$(cd "$(dirname "$0")" && pwd)
cd "$here/../.."
export OUT="${OUT:-build/cpu}"
# shellcheck source=configs/ranks.sh
. configs/ranks.sh

# The stamp is written last, so that an interrupted installation is taken up again.
make_venv() {
    venv=.venv-interop
    cmp -s "$here/requirements.txt" "$venv/installed.txt" && return
    echo "installing the packages of tests/interop/requirements.txt into $venv (once; several GB)"
    if ! python3 -m venv "$venv"; then
        echo "python3 -m venv failed; on Debian and Ubuntu: apt-get install python3-venv" >&2
        exit 1
    fi
    "$venv/bin/pip" install --quiet --disable-pip-version-check -r "$here/requirements.txt"
    cp "$here/requirements.txt" "$venv/installed.txt"
}

if [ -n "${INTEROP_VENV:-}" ]; then
    venv=$INTEROP_VENV
else
    make_venv
fi
[ -x "$OUT/atelier" ] || { echo "no '$OUT/atelier': build it first (make)" >&2; exit 1; }

# Nothing is fetched while checking: models and data are ours.
export HF_HUB_OFFLINE=1 TRANSFORMERS_OFFLINE=1 HF_HUB_DISABLE_TELEMETRY=1 TOKENIZERS_PARALLELISM=false
export PYTHONDONTWRITEBYTECODE=1
passed=0 failed=0 skipped=0

# run NAME [ARGUMENT]... - one script, counted by its exit code.
run() {
    name=$1
    shift
    case " ${CHECKS:-$name} " in *" $name "*) ;; *) return 0 ;; esac
    echo "== $name"
    status=0
    "$venv/bin/python" "$here/$name.py" "$@" || status=$?
    case $status in
    0) passed=$((passed + 1)) ;;
    77) skipped=$((skipped + 1)) ;;
    *)
        failed=$((failed + 1))
        echo "FAILED: $name (exit code $status)"
        ;;
    esac
}

# The real tokenizers and corpora lie beside the repository; the check unpacks them for itself.
tokenizers() {
    if [ ! -e ../shared/tokenizers/tokenizers.tar.zst ]; then
        echo "== compare_tokenizers: skipped, ../shared/tokenizers is absent"
        skipped=$((skipped + 1))
        return
    fi
    run compare_tokenizers
}

run check_hf
run check_published
run compare_train
run compare_muon
run compare_preferences
run compare_distill
run check_lora
run check_adapter_kinds
run check_qlora
run check_gguf
run check_llamacpp
run check_vocabulary
run check_tekken
run check_real
run check_jinja
run check_templates
run check_chat
run check_records
run check_sift
run check_show
run check_xml
run check_tar
run check_legi
run check_cells
run check_parquet
run check_tensorboard
run check_tasks
run check_task_sets
tokenizers
case "${CHECKS:-}" in *compare_experts*) run compare_experts ;; esac # make moe-curve: hours
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
