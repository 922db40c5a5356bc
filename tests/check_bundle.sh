#!/bin/sh
# check_bundle.sh - the archive of 'make bundle' on a bare machine: a root folder with a shell, and at most the C library
# beside it, in which the bundle's atelier looks around, prepares the sample and trains on two ranks.
# Needs root, for chroot; builds a bundle of $OUT/atelier in build/tmp unless BUNDLE names an archive.
cd "$(dirname "$0")/.." || exit 1
if [ "$(id -u)" -ne 0 ] || ! unshare -m true 2>/dev/null; then
    echo "root and mount namespaces are needed"
    exit 77
fi
command -v ompi_info >/dev/null || { echo "MPI is not Open MPI"; exit 77; }
test "$(uname -m)" = x86_64 || { echo "bundles are made for x86_64"; exit 77; }
out=${OUT:-build/cpu}
work=$PWD/build/tmp/bundle
root=$work/root
rm -rf "$work" && mkdir -p "$work"
fail() { echo "$1; its output:"; sed 's/^/    /' "$work/log"; exit 1; }

archive=${BUNDLE:-}
if [ -z "$archive" ]; then
    BUNDLE_OUT=$work slurm/bundle/make.sh "$out" 0 >"$work/log" 2>&1 || fail "the bundle could not be made"
    archive=$(ls "$work"/*.tar.gz)
fi

# bare KIND - a root folder with a shell; KIND glibc: and the C library with a program that tells its version.
bare() {
    rm -rf "$root" && mkdir -p "$root/bin" "$root/lib64" "$root/proc" "$root/sys" "$root/dev" "$root/tmp" "$root/opt"
    mkdir -p "$root/lib/x86_64-linux-gnu"
    programs=/bin/sh
    test "$1" != glibc || programs="/bin/sh $(command -v getconf)"
    for program in $programs; do
        cp -L "$program" "$root/bin/"
        ldd "$program" | sed -n 's/.* => \(\/[^ ]*\).*/\1/p' | while read -r library; do
            cp -L "$library" "$root/lib/x86_64-linux-gnu/"
        done
    done
    if [ "$1" = glibc ]; then
        for library in m dl pthread rt resolv util mvec; do
            cp -L /lib/x86_64-linux-gnu/lib$library.so.* "$root/lib/x86_64-linux-gnu/" 2>/dev/null
        done
    fi
    cp -L /lib64/ld-linux-x86-64.so.2 "$root/lib64/"
    tar -C "$root/opt" -xzf "$archive"
}

# inside COMMANDS - run them there, in the folder with the sample.
inside() {
    unshare -m sh -c "mount -t proc proc '$root/proc' && mount -t sysfs sysfs '$root/sys' &&
        mount --bind /dev '$root/dev' && exec chroot '$root' /bin/sh -c '
            cd /opt/atelier-*/share/atelier
            PATH=/bin:\$(cd ../../bin && pwd)
            export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
            $1'" >"$work/log" 2>&1
}

for kind in glibc shell; do
    bare $kind
    inside "atelier doctor" || fail "doctor fails with $kind alone"
    grep -q '^ok  *MPI' "$work/log" || fail "doctor does not see MPI with $kind alone"
    inside "atelier prepare configs/demo.yaml &&
        mpirun --oversubscribe -n 2 atelier train configs/demo.yaml --set train.steps=6" ||
        fail "the demo fails with $kind alone"
    test "$(grep -c '"grad_norm"' "$root"/opt/atelier-*/share/atelier/runs/demo/metrics.jsonl)" -eq 6 ||
        fail "the demo did not make its 6 steps with $kind alone"
done

# Control: a library taken out must show, or the ones outside were used.
rm "$root"/opt/atelier-*/lib/libyaml*
if inside "atelier doctor"; then fail "doctor runs without a library that was taken away"; fi
rm -rf "$work"
