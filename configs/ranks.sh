# shellcheck shell=sh
# ranks.sh - how ranks are started on this machine, decided here alone for the demo and all tests, under Open MPI 4 (ORTE)
# and 5 (PRRTE).  Source it; then 'mpirun -n N PROGRAM' starts N ranks, as many as are asked for, as whoever calls it.

# Containers run as root; Open MPI wants to be told twice.
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
# More ranks than cores are meant here.  Each version reads its own variable and leaves the other alone;
# --oversubscribe is deprecated in 5.
export OMPI_MCA_rmaps_base_oversubscribe=1 PRTE_MCA_rmaps_default_mapping_policy=:oversubscribe
# All ranks are on this one machine: shared memory is enough, Open MPI 5 complains of networks whose interfaces it cannot
# pair, and Open MPI 4 takes a second to find out that there is none.  A rank that waits lets others have the core.
export OMPI_MCA_btl=^tcp,ofi,openib,usnic OMPI_MCA_mpi_yield_when_idle=1
# The layer of messages that shared memory takes, by its name: else each rank first loads those of networks, with their libraries.
export OMPI_MCA_pml=ob1

# open_mpi_version - its first number, or nothing.
open_mpi_version() {
    mpirun --version 2>/dev/null | sed -n '1s/^mpirun (Open MPI) \([0-9]*\)\..*/\1/p'
}

# explain_code CODE - where mpirun reports a code of its ranks as a failure although it was asked for, and cannot be told
# to keep quiet, say so.  Open MPI 4 is told (OMPI_MCA_orte_execute_quiet=1).
explain_code() {
    [ "$(open_mpi_version)" = 4 ] ||
        echo "(mpirun reports every code but 0 as above; $1 is the one that was asked for)"
}
