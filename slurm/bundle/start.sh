# shellcheck shell=sh
# start.sh - sourced by the commands in bin/: tells Open MPI where its files are now, and starts the program with the
# bundle's libraries.  Needs a shell and nothing else.
# shellcheck disable=SC2154 # root and self come from the command
command=${self##*/}
refuse() {
    echo "$command: $*" >&2
    exit 1
}
case $root in *:*) refuse "the folder '$root' has a colon in its name, which separates search paths: rename it" ;; esac
export OPAL_PREFIX="$root" OPAL_BINDIR="$root/bin" OPAL_LIBDIR="$root/lib" OPAL_PKGLIBDIR="$root/lib/openmpi"
export OPAL_DATADIR="$root/share" OPAL_PKGDATADIR="$root/share/openmpi" OPAL_SYSCONFDIR="$root/etc"
export PMIX_PREFIX="$root" PMIX_LIBDIR="$root/lib" PMIX_PKGLIBDIR="$root/lib/pmix"
export ATELIER_BUNDLE="$root"
read -r ATELIER_COMMIT <"$root/libexec/commit"
export ATELIER_COMMIT
case :$PATH: in *":$root/bin:"*) ;; *) export PATH="$root/bin:$PATH" ;; esac

# What a module or a shell set for another MPI steers this one, too: OMPI_MCA_pml=ucx names a plug-in that is not here and
# ends MPI_Init, PMIX_MCA_psec=munge ends PMIx.  All of it is dropped but what has nothing to do with plug-ins and what
# ATELIER_KEEP names.  Ranks of the bundle's own mpirun find what that has set for them.
kept=" OMPI_ALLOW_RUN_AS_ROOT OMPI_ALLOW_RUN_AS_ROOT_CONFIRM OMPI_MCA_rmaps_base_oversubscribe OMPI_MCA_orte_execute_quiet
 OMPI_MCA_mpi_yield_when_idle PRTE_ALLOW_RUN_AS_ROOT PRTE_ALLOW_RUN_AS_ROOT_CONFIRM ${ATELIER_KEEP:-} "
drop_foreign() {
    lines_apart='
'
    words_apart=$IFS
    IFS=$lines_apart
    set -f
    for line in $(export -p); do
        name=${line#export }
        name=${name#declare -x }
        name=${name%%=*}
        case $name in
        *[!A-Za-z0-9_]*) ;;
        OMPI_* | PMIX_MCA_* | PRTE_*)
            case $kept in
            *[!A-Za-z0-9_]"$name"[!A-Za-z0-9_]*) ;;
            *) unset "$name" ;;
            esac
            ;;
        esac
    done
    set +f
    IFS=$words_apart
}
if [ "${ATELIER_MPIRUN:-}" != "$root" ]; then
    if [ "$command" = atelier ] && [ "${OMPI_COMM_WORLD_SIZE:-1}" != 1 ]; then
        refuse "was started by another mpirun than the bundle's, which would make $OMPI_COMM_WORLD_SIZE runs of one rank" \
            "each: take '$root/bin/mpirun', or srun --mpi=pmix"
    fi
    drop_foreign
fi
case $command in mpirun | orted) export ATELIER_MPIRUN="$root" ;; esac

# The node's glibc where it is new enough, because it knows the node's users and names; else the bundled one.
read -r needed <"$root/libexec/glibc_needed"
found=$(getconf GNU_LIBC_VERSION 2>/dev/null) || found=
found=${found#glibc 2.}
loader=/lib64/ld-linux-x86-64.so.2
libraries=$root/lib
if [ "${found%%[!0-9]*}" = "" ] || [ "${found%%[!0-9]*}" -lt "${needed#2.}" ] || [ ! -x "$loader" ]; then
    loader=$root/lib/glibc/ld-linux-x86-64.so.2
    libraries=$root/lib/glibc:$root/lib
    "$loader" --verify "$root/libexec/atelier" 2>/dev/null || test $? -eq 2 ||
        refuse "needs a 64-bit x86 Linux with glibc $needed or newer, or the glibc in '$root/lib/glibc'; this node has" \
            "${found:+glibc 2.}${found:-no glibc that tells its version}, and the other cannot be run: is the archive" \
            "unpacked whole, the file system mounted without noexec, the processor x86-64"
fi
# Modules of the site may bring cuBLASLt and NCCL where the bundle has none.
libraries=$libraries${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
if [ -s "$root/libexec/left_out" ]; then
    cuda=${CUDA_HOME:-/usr/local/cuda}
    libraries=$libraries:$cuda/lib64:$cuda/lib
    "$loader" --library-path "$libraries" --list "$root/libexec/atelier" >/dev/null 2>&1 || {
        read -r missing <"$root/libexec/left_out"
        refuse "this bundle was made without $missing: load the site's modules of CUDA and NCCL, or add their folders" \
            "to LD_LIBRARY_PATH"
    }
fi

# A node alone, without ssh: mpirun need not look for other nodes.
if [ -z "${SLURM_JOB_ID:-}" ] && ! command -v ssh >/dev/null && ! command -v rsh >/dev/null; then
    export OMPI_MCA_plm=isolated
fi

# How the scripts start the other programs of libexec/.
export ATELIER_LOADER="$loader" ATELIER_LIBRARIES="$libraries"

case $command in
gpu-check) exec sh "$root/share/atelier/tests/gpu/gpu_check.sh" "$root/libexec" "$@" ;;
gpu-bench) exec sh "$root/share/atelier/tests/gpu/gpu_bench.sh" "$root/libexec" "$@" ;;
esac
exec "$loader" --library-path "$libraries" "$root/libexec/$command" "$@"
