#!/bin/sh
# check_layers.sh - fail if a folder includes what is above it, or a library is used outside the files that own it
cd "$(dirname "$0")/.." || exit 1
status=0
sources() { find "$@" \( -name '*.[ch]' -o -name '*.inc' -o -name '*.cu' -o -name '*.cuh' \) -print 2>/dev/null; }
report() { [ -z "$2" ] || {
    echo "$1:"
    printf '%s\n' "$2" | sed 's/^/    /'
    status=1
}; }
may_include() { # folder, folders it may include
    # simt*.h: the host twins that dev*.h takes in place of PTX where no CUDA compiler reads it
    found=$(sources "$1" | xargs -r grep -Hn '#include "' |
        grep -vE "#include \"($2)/|^kernels/cuda/dev[a-z0-9_]*\.h:[0-9]+:#include \"simt")
    report "$1/ may include only $2" "$found"
}
owned_by() { # pattern, files that may use it
    found=$(sources kernels data checkpoints configs slurm train | grep -vE "^($2)$" | xargs -r grep -HnE "$1" |
        grep -vE '^[^:]*:[0-9]+: *(/\*|\*|//)') # comments may name what they like
    report "$1 belongs in $2" "$found"
}
may_include kernels     'kernels'
may_include data        'kernels|data'
may_include checkpoints 'kernels|data|checkpoints'
may_include configs     'kernels|data|checkpoints|configs'
may_include slurm       'kernels|data|checkpoints|configs|slurm'
# The rooms of train/, lowest first: each may include itself and those before it.
below='kernels|data|checkpoints|configs|slurm'
for room in ranks model record report measure plan run commands; do
    below="$below|train/$room"
    may_include "train/$room" "$below"
done
flat=$(find train -maxdepth 1 -name '*.[ch]' ! -name main.c)
report "only main.c lies outside the rooms of train/" "$flat"
owned_by '\bMPI_[A-Z]'           'train/ranks/comm_mpi[a-z_]*\.[ch]'
owned_by '\bH5[A-Z][a-z]'        'data/tokens/h5.c'
owned_by '\byaml_(parser|event|emitter|document|token)_' 'configs/schema/config_yaml.c'
owned_by '\bdnnl_[a-z]'          'kernels/cpu/(linear\.c|onednn\.h|describe\.c)'
owned_by '\bpcre2_[a-z]'         'data/tokenizer/.*'
owned_by '\butf8proc_[a-z]'      'data/.*'
owned_by '\b(ZSTD_|inflate|gz)[a-zA-Z]+\(' 'data/(corpus/reader.*|parquet/codec.c)'
owned_by '\b(snappy_|LZ4_|Brotli)[a-zA-Z_]+\(' 'data/parquet/codec.c'
owned_by '\bxml(Text|Reader|Parser|Free|Init|Doc|Dtd)[A-Z]' 'data/corpus/xml\.c'
owned_by '\bXXH[0-9]*_[a-z]'     '(data|checkpoints)/.*'
owned_by '\bjson_[a-z]'          '(data|checkpoints|configs|slurm|train)/.*'
owned_by '\b(nccl|cuda|cublas)[A-Z]' '(kernels|train/ranks)/cuda/.*'
# Files are opened for reading in one place, which never waits for a FIFO; the kernel's own files and folders excepted.
# kernels/ may not include that place: there O_NONBLOCK on the same line is what counts.
found=$(sources kernels data checkpoints configs slurm train |
    grep -vE '^(data/file\.c|train/(run/run_lock|ranks/comm_marks|record/energy)\.c)$' |
    xargs -r grep -HnE '\b(fopen|freopen)\([^;]*"r|\bopen(at)?\([^;]*O_RD(ONLY|WR)|\bmmap\([^;]*fd' |
    grep -vE '"/(proc|sys)/|O_DIRECTORY|O_CREAT|"r\+|f?open\("/dev/null|^kernels/[^:]*:.*O_NONBLOCK' |
    grep -vE '^[^:]*:[0-9]+: *(/\*|\*|//)')
report "files are opened for reading by data/file.h" "$(printf '%s' "$found" | grep -v -E '^(data/tokens/tokens_writer|train/ranks/comm_mpi_shared)\.c:')"
owned_by '\b(exit|assert) *\('   'no/file'
exit $status
