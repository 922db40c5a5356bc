#!/bin/sh
# check_bundle.sh - the archive of 'make bundle' on a bare machine: a root folder with a shell, and at most the C library
# and the usual commands beside it, in which the bundle's atelier looks around, prepares the sample and trains on two
# ranks; from a folder that was moved, has spaces in its name and cannot be written, too.
# Needs root, for chroot.  Makes a quick bundle of the programs in $SIMT_OUT, whose GPU is the host's stand-in, or of
# those in $OUT, in build/tmp unless BUNDLE names an archive.
cd "$(dirname "$0")/.." || exit 1
if [ "$(id -u)" -ne 0 ] || ! unshare -m true 2>/dev/null; then
    echo "root and mount namespaces are needed"
    exit 77
fi
command -v ompi_info >/dev/null || { echo "MPI is not Open MPI"; exit 77; }
command -v orted >/dev/null || { echo "bundles are made with Open MPI 4"; exit 77; }
test "$(uname -m)" = x86_64 || { echo "bundles are made for x86_64"; exit 77; }
programs=${SIMT_OUT:-build/simt}
test -x "$programs/atelier" || programs=${OUT:-build/cpu}
work=$PWD/build/tmp/bundle
root=$work/root
rm -rf "$work" && mkdir -p "$work"
fail() { echo "$1; its output:"; sed 's/^/    /' "$work/log"; exit 1; }

archive=${BUNDLE:-}
if [ -z "$archive" ]; then
    BUNDLE_OUT=$work BUNDLE_PACK="gzip -1" slurm/bundle/make.sh "$programs" 0 >"$work/log" 2>&1 ||
        fail "the bundle could not be made"
    archive=$(ls "$work"/*.tar.gz)
fi

# bare KIND FOLDER - a root folder with a shell and the bundle in /opt/FOLDER; KIND glibc: and the C library, with a
# program that tells its version, and the commands of any system.
bare() {
    rm -rf "$root" && mkdir -p "$root/bin" "$root/lib64" "$root/proc" "$root/sys" "$root/dev" "$root/tmp" "$root/opt"
    mkdir -p "$root/lib/x86_64-linux-gnu"
    commands="sh"
    test "$1" != glibc || commands="sh getconf cat date dirname mktemp rm sed tail uname awk"
    for command in $commands; do
        program=$(command -v "$command")
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
    mv "$root"/opt/atelier-* "$root/opt/$2"
}

# inside COMMANDS - run them there, in the folder with the sample; WRITABLE=no: which cannot be written.
inside() {
    mode=rw
    test "${WRITABLE:-yes}" = yes || mode=ro
    unshare -m sh -c "mount -t proc proc '$root/proc' && mount -t sysfs sysfs '$root/sys' &&
        mount --bind /dev '$root/dev' && mount --bind '$root/opt' '$root/opt' &&
        mount -o remount,bind,$mode '$root/opt' && exec chroot '$root' /bin/sh -c '
            cd /opt/*/share/atelier
            PATH=/bin:\$(cd ../../bin && pwd)
            . configs/ranks.sh
            export SIMT_GPUS=0
            # what a site sets for its own MPI: each of these ends another Open MPI
            export OMPI_MCA_pml=ucx PMIX_MCA_psec=munge
            $1'" >"$work/log" 2>&1
}

# demo FOLDER - the sample prepared, and three steps on two ranks; what is written goes to the folder.
demo() {
    inside "atelier prepare configs/demo.yaml --set prepare.output=$1/demo.h5 &&
        mpirun -n 2 atelier train configs/demo.yaml --set train.steps=3 --set schedule.warmup_steps=1 \
            --set data.sequence_tokens=64 --set train.batch_sequences=2 --set train.micro_sequences=1 \
            --set data.train=$1/demo.h5 --set data.valid=[] --set run.folder=$1/demo"
}

# steps_of FOLDER - that the run in there made.
steps_of() { grep -c '"grad_norm"' "$1/metrics.jsonl"; }

bare glibc atelier
inside "atelier doctor" || fail "doctor fails with glibc alone"
grep -q '^ok  *MPI' "$work/log" || fail "doctor does not see MPI with glibc alone"
demo runs || fail "the demo fails with glibc alone"
test "$(steps_of "$root/opt/atelier/share/atelier/runs/demo")" -eq 3 || fail "the demo did not make its 3 steps with glibc"
WRITABLE=no
for command in gpu-check gpu-bench; do
    inside "$command"
    test $? -eq 77 || fail "$command does not end with 77 where there is no GPU"
    grep -q '^no GPU: ' "$work/log" || fail "$command does not say that there is no GPU"
done

# With the glibc that comes along, from a folder that was moved.
bare shell 'a moved (bundle)'
demo /tmp || fail "the demo fails with a shell alone, from a folder that cannot be written"
test "$(steps_of "$root/tmp/demo")" -eq 3 || fail "the demo did not make its 3 steps with a shell alone"
WRITABLE=yes

# Controls: what is missing must show, or what lies outside was used.
mv "$root/opt/a moved (bundle)/lib/glibc" "$root/opt/glibc"
if inside "atelier help"; then fail "atelier runs without any glibc that is new enough"; fi
grep -q '^atelier: needs a 64-bit x86 Linux with glibc 2' "$work/log" || fail "a glibc that is too old is not told in one line"
test "$(wc -l <"$work/log")" -eq 1 || fail "a glibc that is too old is told in more than one line"
mv "$root/opt/glibc" "$root/opt/a moved (bundle)/lib/glibc"
inside "atelier help" || fail "atelier does not run again"
rm "$root/opt/a moved (bundle)"/lib/libyaml*
if inside "atelier help"; then fail "atelier runs without a library that was taken away"; fi
rm -rf "$work"
