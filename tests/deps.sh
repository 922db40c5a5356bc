#!/bin/sh
# deps.sh - list the packages that are missing and install them (Debian, Ubuntu); says so when all are there.
# Elsewhere it names what to install: on RHEL 8 and 9 and their rebuilds the packages of dnf.

# Debian's and Ubuntu's name, Red Hat's name.
packages="gcc=gcc g++=gcc-c++ make=make pkg-config=pkgconf-pkg-config
libopenmpi-dev=openmpi-devel openmpi-bin=openmpi libhdf5-dev=hdf5-devel libyaml-dev=libyaml-devel
libdnnl-dev=intel-oneapi-dnnl-devel libjansson-dev=jansson-devel libpcre2-dev=pcre2-devel
libutf8proc-dev=utf8proc-devel libzstd-dev=libzstd-devel zlib1g-dev=zlib-devel libsnappy-dev=snappy-devel
liblz4-dev=lz4-devel libbrotli-dev=brotli-devel libxxhash-dev=xxhash-devel
libxml2-dev=libxml2-devel libcmocka-dev=libcmocka-devel universal-ctags=ctags zstd=zstd"

# What the build asks for, whichever way it came here (packages, modules of a cluster, a hand-made tree).
have_header() { printf '#include <%s>\n' "$1" | ${2:-${CC:-cc} -x c} -E - >/dev/null 2>&1; }
have_all() {
    for tool in make pkg-config mpicc mpirun ctags zstd; do
        command -v $tool >/dev/null 2>&1 || return 1
    done
    for library in yaml-0.1 jansson libpcre2-8 libutf8proc libzstd zlib libxxhash libxml-2.0 snappy liblz4 libbrotlidec; do
        pkg-config --exists $library 2>/dev/null || return 1
    done
    pkg-config --exists hdf5-serial 2>/dev/null || pkg-config --exists hdf5 2>/dev/null ||
        pkg-config --exists hdf5-openmpi 2>/dev/null || return 1
    have_header dnnl.h && have_header cmocka.h && have_header cstdio "mpicxx -x c++"
}
have_all && {
    echo "deps: every package that the build needs is there"
    exit 0
}

# red_hat_release - 8, 9, ... on RHEL and what is built from its sources; nothing elsewhere.
red_hat_release() {
    command -v dnf >/dev/null 2>&1 || return 0
    release=$(rpm -E '%{?rhel}' 2>/dev/null)
    echo "${release:-fedora}"
}

# name_for_red_hat RELEASE - the commands, and what the standard repositories do not have.
name_for_red_hat() {
    builder=crb
    [ "$1" != 8 ] || builder=powertools
    names=
    for pair in $packages; do
        [ "$pair" = libdnnl-dev=intel-oneapi-dnnl-devel ] || names="$names ${pair#*=}"
    done
    echo "Packages are installed by 'make deps' on Debian and Ubuntu only.  Here, as root:"
    if [ "$1" != fedora ]; then
        echo "    dnf install epel-release 'dnf-command(config-manager)'   # hdf5, and xxhash or utf8proc, are in EPEL"
        echo "    dnf config-manager --set-enabled $builder                # -devel packages; on RHEL itself:"
        echo "    subscription-manager repos --enable codeready-builder-for-rhel-$1-$(uname -m)-rpms"
    fi
    echo "    dnf install$names"
    echo "oneDNN is not among them: 'dnf install intel-oneapi-dnnl-devel' from Intel's oneAPI repository, then"
    echo "'. /opt/intel/oneapi/setvars.sh', or build it from source.  'module load mpi/openmpi-$(uname -m)' puts mpicc on"
    echo "the PATH.  Then run make again.  (Names of Red Hat, EPEL and Intel; not tried on such a machine.)"
}
names_for_debian() {
    for pair in $packages; do
        echo "${pair%%=*}"
    done
}

if ! command -v dpkg >/dev/null 2>&1 || ! command -v apt-get >/dev/null 2>&1; then
    release=$(red_hat_release)
    if [ -n "$release" ]; then
        name_for_red_hat "$release" >&2
        exit 1
    fi
    echo "This is neither Debian nor Ubuntu.  Install the equivalents of these packages, or load the modules of your" >&2
    echo "cluster that provide them, then run make again:" >&2
    names_for_debian | sed 's/^/    /' >&2
    exit 1
fi
missing=
for package in $(names_for_debian); do
    dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'install ok installed' || missing="$missing $package"
done
if [ -z "$missing" ]; then
    echo "All packages are installed, and yet a tool or a header is not found: look at PATH, CC and PKG_CONFIG_PATH." >&2
    exit 1
fi
echo "installing:$missing"
if [ "$(id -u)" -eq 0 ]; then
    as_root=
elif command -v sudo >/dev/null 2>&1; then
    as_root="sudo -n" # never asks: fails where a password would be needed
else
    as_root=none
fi
# shellcheck disable=SC2086
if [ "$as_root" = none ] || ! { [ -z "$as_root" ] || $as_root true 2>/dev/null; }; then
    echo "Installing packages needs root.  Run this as root, then make again:" >&2
    echo "    apt-get install$missing" >&2
    exit 1
fi
# shellcheck disable=SC2086
{
    $as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq update &&
        $as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq -y --no-install-recommends install $missing
}
