#!/bin/sh
# check_bundle_environment.sh - what the commands of a bundle hand on of the environment: nothing that was meant for another
# MPI, all that its own mpirun has set, and what is asked to be kept.  A stand-in for the programs prints what it gets.
cd "$(dirname "$0")/.." || exit 1
test -x /lib64/ld-linux-x86-64.so.2 || { echo "bundles are made for x86_64 with glibc"; exit 77; }
work=$PWD/build/tmp/bundle_environment
root="$work/a bundle"
rm -rf "$work" && mkdir -p "$root/bin" "$root/libexec" "$root/lib" || exit 1
cp slurm/bundle/start.sh "$root/libexec/"
for command in atelier mpirun orted; do
    cp slurm/bundle/command.sh "$root/bin/$command"
    cp "$(command -v env)" "$root/libexec/$command"
done
chmod +x "$root"/bin/*
echo 0123 >"$root/libexec/commit"
echo 2.0 >"$root/libexec/glibc_needed"
: >"$root/libexec/left_out"
fail() {
    echo "FAILED: $1; its output:"
    sed 's/^/    /' "$work/out"
    exit 1
}

# How the tests start ranks is kept by a bundle on purpose; what is looked at here begins without it.
unset OMPI_MCA_rmaps_base_oversubscribe OMPI_MCA_mpi_yield_when_idle OMPI_MCA_orte_execute_quiet OMPI_MCA_btl
unset PRTE_MCA_rmaps_default_mapping_policy

# What modules and shells leave: for another Open MPI, for PMIx, with values that could disturb a shell.
foreign() {
    # shellcheck disable=SC2016 # the dollar is meant
    env OMPI_MCA_pml=ucx OMPI_MCA_btl=openib OMPI_HOME=/opt/site 'OMPI_MCA_x=two
export OMPI_y=lines' PMIX_MCA_psec=munge PRTE_MCA_plm=slurm 'OMPI_MCA_star=*' \
        PMIX_RANK=3 PMIX_NAMESPACE=slurm.1.0 OMPI_ALLOW_RUN_AS_ROOT=1 'KEEP_ME=a "b" $c' "$@"
}
# gets COMMAND PATTERN, lacks COMMAND PATTERN - among the lines of the last output.
gets() { grep -Eq "$1" "$work/out" || fail "'$1' is missing"; }
lacks() { if grep -Eq "$1" "$work/out"; then fail "'$1' is there"; fi; }

for shell in sh bash; do
    command -v $shell >/dev/null || continue
    foreign $shell "$root/bin/atelier" >"$work/out" 2>&1 || fail "the command fails under $shell"
    lacks '^OMPI_(MCA|HOME)|^PMIX_MCA|^PRTE_MCA'
    gets '^PMIX_RANK=3$'
    gets '^PMIX_NAMESPACE=slurm.1.0$'
    gets '^OMPI_ALLOW_RUN_AS_ROOT=1$'
    # shellcheck disable=SC2016
    gets '^KEEP_ME=a "b" \$c$'
    gets "^OPAL_PREFIX=.*/a bundle$"
    lacks '^ATELIER_MPIRUN='
    foreign ATELIER_KEEP='OMPI_MCA_btl PMIX_MCA_psec' $shell "$root/bin/atelier" >"$work/out" 2>&1 || fail "with ATELIER_KEEP"
    gets '^OMPI_MCA_btl=openib$'
    gets '^PMIX_MCA_psec=munge$'
    lacks '^OMPI_MCA_pml'
done

# Its own mpirun is cleaned the same way, and what it sets for its ranks reaches them.
foreign "$root/bin/mpirun" >"$work/out" 2>&1 || fail "mpirun fails"
lacks '^OMPI_MCA_pml|^PMIX_MCA'
gets '^ATELIER_MPIRUN='
foreign ATELIER_MPIRUN="$root" OMPI_COMM_WORLD_SIZE=2 "$root/bin/atelier" >"$work/out" 2>&1 || fail "a rank fails"
gets '^OMPI_MCA_pml=ucx$'
gets '^OMPI_COMM_WORLD_SIZE=2$'
# That of another bundle or of the site is not its own: a rank says so.
foreign ATELIER_MPIRUN=/elsewhere OMPI_COMM_WORLD_SIZE=2 "$root/bin/atelier" >"$work/out" 2>&1 && fail "another mpirun passes"
gets "^atelier: was started by another mpirun than the bundle's, which would make 2 runs of one rank each: take "
test "$(wc -l <"$work/out")" -eq 1 || fail "more than one line"
# Control: the stand-in shows what is not dropped.
foreign "$root/libexec/atelier" >"$work/out"
gets '^OMPI_MCA_pml=ucx$'
rm -rf "$work"
