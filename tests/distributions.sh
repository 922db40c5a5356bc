#!/usr/bin/env bash
# distributions.sh [SUITE]... - 'make demo' and 'make test' on bare systems: Debian bookworm and trixie by default; Ubuntu's
# jammy and noble where their archive can be reached; others where MIRROR=URL names a mirror of them.  Each is made new by
# debootstrap from the mirror that this machine's apt uses, gets a clean clone of the last commit, and goes when it is done.  Needs root, debootstrap and 5 GB.
#   RECORD=1   put the results into tests/DISTRIBUTIONS.md
#   KEEP=1     leave the systems in $FOLDER (default /tmp/atelier-distributions)
#   distributions.sh --again SYSTEM COMMAND   one more command in a system that was left, such as a test that failed:
#              distributions.sh --again /tmp/atelier-distributions/trixie-123 "sh tests/scenario_kill.sh"
# Logs: build/distributions/SUITE.log.  The last line of each suite: ok or FAILED, versions, counts.
#
# All mounts, and every process inside, belong to namespaces of their own: they end with this script, however it ends,
# and nothing is ever removed while something is mounted in it.
set -u
cd "$(dirname "$0")/.." || exit 1
folder=${FOLDER:-/tmp/atelier-distributions}
logs=$PWD/build/distributions
results=tests/DISTRIBUTIONS.md
child='' root=''

complain() {
    echo "distributions.sh: $*" >&2
    exit 2
}

# forget ROOT - remove a system, only where nothing is mounted in it.
forget() {
    [ -n "$1" ] && [ -d "$1" ] || return 0
    if grep -q " $1/\| $1 " /proc/self/mountinfo; then
        echo "distributions.sh: something is mounted in '$1', which is left where it is" >&2
    elif [ -z "${KEEP:-}" ]; then
        rm -rf --one-file-system "$1"
    fi
}

# shellcheck disable=SC2317 # called by a trap
# end - what runs inside ends with the namespaces, then the files go.
end() {
    trap - EXIT INT TERM HUP
    if [ -n "$child" ]; then
        kill -KILL "$child" 2>/dev/null # unshare ignores SIGTERM; --kill-child ends the namespace's first process with it
        wait "$child" 2>/dev/null
    fi
    forget "$root"
    rmdir "$folder" 2>/dev/null
}

# mirror_of SUITE - from this machine's apt, which has packages of the same origin, or MIRROR.
mirror_of() {
    local origin=Debian site='' archive=http://archive.ubuntu.com/ubuntu
    case $1 in jammy | noble) origin=Ubuntu ;; esac
    [ -z "${MIRROR:-}" ] || { echo "$MIRROR" && return; }
    # shellcheck disable=SC2016 # for apt-get
    site=$(apt-get indextargets --format '$(SITE)' 'Created-By: Packages' "Label: $origin" 2>/dev/null | head -n 1)
    if [ -z "$site" ] && [ "$origin" = Ubuntu ] && wget -q -T 20 -t 1 --spider "$archive/dists/$1/Release"; then
        site=$archive
    fi
    echo "$site"
}

# mounts - what a program expects of a system.
mounts() {
    mount --bind "$root" "$root" && mount -t proc proc "$root/proc" && mount -t sysfs -o ro sysfs "$root/sys" &&
        mount --bind /dev "$root/dev" && mount -t devpts -o newinstance,ptmxmode=0666 devpts "$root/dev/pts" &&
        mount -t tmpfs -o mode=1777 tmpfs "$root/dev/shm"
}

# prepare_system SUITE - inside the namespaces: the bare system, what it takes from this machine to reach the mirror, mounts.
prepare_system() {
    local scripts=/usr/share/debootstrap/scripts rules=
    case $1 in jammy | noble) [ -e "$scripts/$1" ] || rules=$scripts/jammy ;; esac # one that is younger than this debootstrap
    # shellcheck disable=SC2086 # none, or one word
    debootstrap --variant=minbase "$1" "$root" "$2" $rules || return 1
    cp /etc/resolv.conf /etc/hosts "$root/etc/"
    grep -qw "$(hostname)" "$root/etc/hosts" || echo "127.0.0.1 $(hostname)" >>"$root/etc/hosts"
    apt-config dump | grep -iE '^Acquire::(http|https|ftp|Check)' >"$root/etc/apt/apt.conf.d/99host"
    case $1 in jammy | noble) echo "deb $2 $1 main universe" >"$root/etc/apt/sources.list" ;; esac
    mounts || return 1
    git clone --quiet --no-hardlinks . "$root/root/atelier"
}

# inside COMMAND - in the system, as a user who has just logged in.
inside() {
    chroot "$root" /usr/bin/env -i HOME=/root PATH=/usr/sbin:/usr/bin:/sbin:/bin TERM=dumb \
        DEBIAN_FRONTEND=noninteractive MAKEFLAGS="-j$(nproc)" sh -c "cd /root/atelier && $1"
}

# whole SUITE MIRROR - everything, inside the namespaces; what came out is in $logs/SUITE.codes.
whole() {
    prepare_system "$1" "$2" && inside "apt-get -qq update && apt-get -qq -y --no-install-recommends install make" || return 1
    inside "make demo"
    echo "demo=$?" >"$logs/$1.codes"
    inside "make test"
    echo "test=$?" >>"$logs/$1.codes"
    inside "sh -s" >>"$logs/$1.codes" <<'END'
. /etc/os-release
hdf5=$(pkg-config --modversion hdf5-serial 2>/dev/null || pkg-config --modversion hdf5)
open_mpi=$(mpirun --version | sed -n '1s/.*) //p')
onednn=$(dpkg-query -W -f '${Version}' libdnnl-dev | sed 's/[+-].*//')
slurm=$(slurmd -V 2>/dev/null | sed 's/.* //')
echo "name='$NAME $(cat /etc/debian_version)'"
echo "versions='gcc $(gcc -dumpfullversion), Open MPI $open_mpi, HDF5 $hdf5, oneDNN $onednn, Slurm ${slurm:-none}'"
END
}

# record ROW SUITE - in place of the last result of that suite.
record() {
    [ -n "${RECORD:-}" ] || return 0
    grep -v "^| $2 " "$results" >"$results.new"
    printf '%s\n' "$1" >>"$results.new"
    mv "$results.new" "$results"
}

# try SUITE - 0 where both commands passed.
try() {
    local suite=$1 mirror counts demo=1 test=1 name=$1 versions=unknown commit
    mirror=$(mirror_of "$suite")
    [ -n "$mirror" ] || {
        echo "skipped $suite: this machine's apt has no mirror of it, or its archive cannot be reached; MIRROR=URL names one"
        return 0
    }
    root=$folder/$suite-$$
    mkdir -p "$folder" "$logs" && rm -f "$logs/$suite.codes"
    commit=$(git rev-parse --short HEAD)
    echo "$suite: made new from $mirror; 'make demo', then 'make test' at $commit; $logs/$suite.log"
    unshare --mount --propagation private --pid --fork --kill-child=KILL \
        bash tests/distributions.sh --inside "$suite" "$mirror" "$root" >"$logs/$suite.log" 2>&1 &
    child=$!
    wait "$child"
    child=
    # shellcheck source=/dev/null
    [ ! -s "$logs/$suite.codes" ] || . "$logs/$suite.codes"
    counts=$(grep -E '^[0-9]+ passed, [0-9]+ failed, [0-9]+ skipped$' "$logs/$suite.log" | tail -n 1)
    grep -E '^(FAILED|skipped) ' "$logs/$suite.log"
    forget "$root"
    root=
    record "| $suite | $name | $versions | $([ "$demo" = 0 ] && echo passed || echo failed) | ${counts:-did not finish} | $(
        date +%F) | $commit |" "$suite"
    if [ "$demo" = 0 ] && [ "$test" = 0 ]; then
        echo "ok      $name ($versions): make demo; make test: $counts"
    else
        echo "FAILED  $name ($versions): make demo: code $demo; make test: code $test, ${counts:-did not finish}"
        return 1
    fi
}

if [ "${1:-}" = --inside ]; then
    root=$4
    whole "$2" "$3"
    exit
elif [ "${1:-}" = --inside-again ]; then
    root=$2
    mounts && inside "$3"
    exit
elif [ "${1:-}" = --again ]; then
    [ -n "${3:-}" ] || complain "usage: distributions.sh --again SYSTEM COMMAND"
    [ -d "$2/root/atelier" ] || complain "'$2' is not a system that KEEP=1 left"
    exec unshare --mount --propagation private --pid --fork --kill-child=KILL bash tests/distributions.sh --inside-again "$2" "$3"
fi
[ "$(id -u)" -eq 0 ] || complain "needs root: it makes systems of their own to install packages in"
command -v debootstrap >/dev/null || complain "debootstrap is not installed: apt-get install debootstrap"
command -v git >/dev/null || complain "git is not installed"
trap end EXIT
trap 'exit 130' INT TERM HUP
failed=0
[ $# -gt 0 ] || set -- bookworm trixie
for suite in "$@"; do
    try "$suite" || failed=1
done
exit $failed
