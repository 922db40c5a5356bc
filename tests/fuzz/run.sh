#!/bin/bash
# run.sh [SECONDS [NAME]...] - libFuzzer on every parser for so long each, or on those named (jinja: fuzz_jinja.c); needs clang with
# its sanitizer runtime (Debian: clang libclang-rt-14-dev).  New inputs stay in build/fuzz/NAME, a crash in build/fuzz/NAME-crash-*.
cd "$(dirname "$0")/../.." || exit 1
seconds=${1:-60}
only=" ${*:2} "
passed=0 failed=0
command -v clang >/dev/null || { echo "clang is not installed"; exit 77; }
mkdir -p build/fuzz
read -ra libraries <<<"hdf5-serial yaml-0.1 jansson libpcre2-8 libutf8proc libzstd zlib libxxhash libxml-2.0 snappy liblz4 libbrotlidec"
read -ra found <<<"$(pkg-config --cflags "${libraries[@]}")"
read -ra linked <<<"$(pkg-config --libs "${libraries[@]}") -ldnnl -lgomp -lm"
flags=(-std=c11 -D_GNU_SOURCE -DH5_USE_110_API '-DATELIER_VERSION="fuzz"' -O1 -g -I. '-fsanitize=address,undefined'
    -fno-sanitize-recover=undefined "${found[@]}")
# is_current OBJECT - newer than its source and every header that it was made from.
is_current() {
    local made_from
    [ -e "$1" ] && [ -e "${1%.o}.d" ] || return 1
    while read -r made_from; do
        [ "$1" -nt "$made_from" ] || return 1
    done < <(sed 's/^[^:]*://; s/\\$//' "${1%.o}.d" | xargs -n 1)
}

# Everything that reads a file: the layers below slurm/ and train/, without CUDA.
while read -r source; do
    object=build/fuzz/$(echo "$source" | tr / _).o
    is_current "$object" && continue
    clang "${flags[@]}" -fopenmp=libgomp -fsanitize=fuzzer-no-link -MD -c "$source" -o "$object" </dev/null || exit 1
done < <(find kernels data checkpoints configs/schema -name '*.c' -not -path 'kernels/cuda/*' && echo kernels/cuda/absent.c)
for target in tests/fuzz/fuzz_*.c; do
    name=$(basename "$target" .c)
    name=${name#fuzz_}
    [[ $only = "  " || $only = *" $name "* ]] || continue
    clang "${flags[@]}" -fsanitize=fuzzer "$target" build/fuzz/*.o -o "build/fuzz/fuzz_$name" "${linked[@]}" || exit 1
    mkdir -p "build/fuzz/$name"
    if "build/fuzz/fuzz_$name" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=4096 -verbosity=0 \
        -artifact_prefix="build/fuzz/$name-crash-" "build/fuzz/$name" "tests/fuzz/corpus/$name" \
        >"build/fuzz/$name.log" 2>&1; then
        passed=$((passed + 1))
        echo "ok      $name, $seconds s"
    else
        failed=$((failed + 1))
        echo "FAILED  $name"
        tail -n 30 "build/fuzz/$name.log" | sed 's/^/    /'
    fi
done
echo "$passed passed, $failed failed, 0 skipped"
test $failed -eq 0 -a $passed -gt 0
