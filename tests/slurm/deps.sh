#!/bin/sh
# deps.sh [accounts] - the packages of a small Slurm for the tests (about 12 MB), with 'accounts' also those of its database
# (about 50 MB); does nothing where they are there.  Ends with 1 and the reason on its last line where they cannot be had.
packages="slurm-wlm slurm-wlm-basic-plugins munge"
programs="munged slurmctld slurmd sbatch srun setpriv"
if [ "${1:-}" = accounts ]; then
    packages="$packages slurmdbd mariadb-server"
    programs="$programs slurmdbd mariadbd mariadb mariadb-install-db sacctmgr"
fi
have_all() {
    for program in $programs; do
        command -v "$program" >/dev/null 2>&1 || return 1
    done
    id munge >/dev/null 2>&1
}
if [ "$(id -u)" -ne 0 ]; then
    echo "a real Slurm on this machine needs root"
    exit 1
fi
if ! have_all; then
    if ! command -v apt-get >/dev/null 2>&1; then
        echo "Slurm is not installed, and this is neither Debian nor Ubuntu"
        exit 1
    fi
    exec 9>/tmp/atelier-slurm-deps.lock && flock 9 # scenarios run side by side, and apt-get does not wait
fi
if ! have_all; then
    # shellcheck disable=SC2086
    DEBIAN_FRONTEND=noninteractive apt-get -qq -y --no-install-recommends install $packages >/dev/null 2>&1 9>&- || {
        DEBIAN_FRONTEND=noninteractive apt-get -qq update >/dev/null 2>&1 9>&-
        DEBIAN_FRONTEND=noninteractive apt-get -qq -y --no-install-recommends install $packages >/dev/null 2>&1 9>&-
    }
    have_all || {
        echo "the packages of Slurm could not be installed: $packages"
        exit 1
    }
fi
