#!/bin/sh
# make.sh PROGRAMS VERSION - one relocatable archive of what an air-gapped node needs: atelier, every shared library it
# takes, Open MPI's runtime and plug-ins, the sample, run files, and the GPU's check and benchmark.  'make bundle' calls it.
#   PROGRAMS        tree with atelier and tests/ (build/cuda, or build/cpu where there is no nvcc)
#   BUNDLE_CUDA=0   leave cuBLASLt and NCCL (0.7 GB) to the site's own modules
#   BUNDLE_OUT      where the archive goes (default build)
#   BUNDLE_PACK     what compresses it (default gzip).  The programs hold the same kernels, which a long memory sees:
#                   BUNDLE_CUDA=0 BUNDLE_PACK="xz -T0 --lzma2=preset=3,dict=256MiB" makes 30 MB of 97
# Left out on purpose: the NVIDIA driver, which is the node's, and Open MPI's plug-ins for network cards, which want the
# site's own libraries.  glibc comes along for nodes whose own is older.
set -eu
cd "$(dirname "$0")/../.."
programs=${1:?usage: make.sh PROGRAMS VERSION}
version=${2:?usage: make.sh PROGRAMS VERSION}
out=${BUNDLE_OUT:-build}
name=atelier-$version-$(uname -m)
stage=$out/bundle/$name
pack=${BUNDLE_PACK:-gzip}
checks="$(sed -n 's|.*start "[$]tests/\([a-z0-9_]*\)".*|\1|p' tests/gpu/gpu_check.sh | sort -u)"

say() { echo "bundle: $*"; }
ompi_path() { ompi_info --parsable --path all | sed -n "s/^path:$1://p" | head -n 1; }

# is_glibc, is_driver - by the name of a library.
is_glibc() {
    case $1 in
    ld-linux* | libc.so.* | libm.so.* | libmvec.so.* | libpthread.so.* | libdl.so.* | librt.so.* | libresolv.so.* | \
        libutil.so.* | libanl.so.* | libnss_*.so.*) return 0 ;;
    esac
    return 1
}
is_left_out() {
    case $1 in
    libcuda.so.* | libnvidia-*.so.*) return 0 ;;
    libcublasLt.so.* | libnccl.so.*) test "${BUNDLE_CUDA:-1}" = 0 && return 0 ;;
    esac
    return 1
}

# libraries FILE... - the shared libraries that files need, with what these need: "NAME PATH" lines; dies on a missing one.
libraries() {
    for file in "$@"; do ldd "$file" 2>/dev/null || true; done | awk '
        / => not found/ { print "missing " $1 > "/dev/stderr"; bad = 1 }
        / => \// { print $1, $3 }
        /^[ \t]*\/.*ld-linux/ { n = split($1, part, "/"); print part[n], $1 }
        END { exit bad }' | sort -u
}

copy_programs() {
    mkdir -p "$stage/bin" "$stage/lib/openmpi" "$stage/lib/glibc" "$stage/libexec" "$stage/share/openmpi" "$stage/etc"
    cp "$programs/atelier" "$stage/libexec/"
    for program in $checks; do
        test ! -x "$programs/tests/$program" || cp "$programs/tests/$program" "$stage/libexec/"
    done
    cp "$(readlink -f "$(command -v mpirun)")" "$stage/libexec/mpirun"
    cp "$(readlink -f "$(command -v orted)")" "$stage/libexec/orted"
    strip --strip-debug "$stage"/libexec/*
}

# copy_open_mpi - plug-ins without those for network cards, help texts, settings.
copy_open_mpi() {
    command -v ompi_info >/dev/null || { say "ompi_info is not found: the bundle needs Open MPI" && exit 1; }
    for plugin in "$(ompi_path pkglibdir)"/mca_*.so; do
        case $(basename "$plugin") in
        *_ofi.so | *_ucx.so | *_openib.so | *_psm.so | *_psm2.so | *_usnic.so | mca_pml_cm.so | *monitoring.so) ;;
        *) cp "$plugin" "$stage/lib/openmpi/" ;;
        esac
    done
    cp "$(ompi_path pkgdatadir)"/help-*.txt "$stage/share/openmpi/"
    cat >"$stage/etc/openmpi-mca-params.conf" <<'END'
# Shared memory on a node, TCP between nodes: what every network has.
btl = self,vader,tcp
pml = ob1
osc = ^pt2pt
btl_base_warn_component_unused = 0
END
}

# copy_libraries - what the programs and plug-ins need, from wherever this machine has it.
copy_libraries() {
    libraries "$stage"/libexec/* "$stage"/lib/openmpi/*.so >"$out/bundle/libraries"
    while read -r library path; do
        if is_glibc "$library"; then
            cp -L "$path" "$stage/lib/glibc/$library"
        elif is_left_out "$library"; then
            printf '%s ' "$library" # one line, for a message
        else
            cp -L "$path" "$stage/lib/$library"
        fi
    done <"$out/bundle/libraries" >"$stage/libexec/left_out"
    test ! -s "$stage/libexec/left_out" || echo >>"$stage/libexec/left_out"
    # PMIx, which connects the ranks, loads plug-ins of its own.
    pmix=$(dirname "$(readlink -f "$(awk '$1 ~ /^libpmix/ { print $2; exit }' "$out/bundle/libraries")")")/pmix
    if [ -d "$pmix" ]; then cp -r "$pmix" "$stage/lib/"; fi
    # The newest glibc that anything here asks for.
    find "$stage" -type f \( -name '*.so*' -o -path '*/libexec/*' \) ! -path '*/glibc/*' -exec objdump -T {} + 2>/dev/null |
        grep -o 'GLIBC_2\.[0-9]*' | sort -t. -k2 -n | tail -n 1 | sed 's/GLIBC_//' >"$stage/libexec/glibc_needed"
}

copy_files() {
    mkdir -p "$stage/share/atelier/tests/golden" "$stage/share/atelier/data"
    cp -r configs "$stage/share/atelier/"
    cp -r data/sample "$stage/share/atelier/data/"
    cp -r slurm "$stage/share/atelier/"
    cp -r tests/golden/models tests/golden/fp8 tests/golden/router tests/golden/sinks "$stage/share/atelier/tests/golden/"
    mkdir -p "$stage/share/atelier/tests/bench"
    mkdir -p "$stage/share/atelier/tests/gpu" && cp tests/gpu/*.sh "$stage/share/atelier/tests/gpu/"
    cp tests/bench/peer_torch.py "$stage/share/atelier/tests/bench/"
    cp LICENSE CHANGELOG.md "$stage/"
    git describe --always --dirty --exclude='*' >"$stage/libexec/commit" 2>/dev/null || echo unknown >"$stage/libexec/commit"
    sed "s/VERSION/$version/g; s/GLIBC/$(cat "$stage/libexec/glibc_needed")/g" slurm/bundle/README.md >"$stage/README.md"
    cp slurm/bundle/start.sh "$stage/libexec/start.sh"
    for command in atelier mpirun orted gpu-check gpu-bench; do cp slurm/bundle/command.sh "$stage/bin/$command"; done
    chmod +x "$stage"/bin/*
}

test "$(uname -m)" = x86_64 || { say "only made for x86_64 so far" && exit 1; }
command -v orted >/dev/null || {
    say "made with Open MPI 4 only so far: the mpirun here, '$(mpirun --version | head -n 1)', has no orted; build it on" \
        "Debian 12, or with an Open MPI 4 of your own on PATH"
    exit 1
}
rm -rf "$stage"
mkdir -p "$out/bundle"
copy_programs
copy_open_mpi
copy_libraries
copy_files
say "compressing $(du -sh "$stage" | cut -f1) (glibc $(cat "$stage/libexec/glibc_needed") or the bundled one)"
case $pack in
xz*) archive=$out/$name.tar.xz ;;
*) archive=$out/$name.tar.gz ;;
esac
tar -C "$out/bundle" --owner=0 --group=0 --sort=name -I "$pack" -cf "$archive" "$name"
say "$archive, $(du -h "$archive" | cut -f1); largest parts:"
du -ah "$stage/lib" | sort -rh | sed -n '2,6p'
