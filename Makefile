# make              build build/cpu/atelier; where nvcc is found also build/cuda/atelier
# make deps         install the packages needed (Debian, Ubuntu; root or sudo)
# make demo         install, build (for the CPU alone) and run the whole job on 2 CPU ranks
# make test         install, build and run every test that needs no GPU
# make check        the tests alone, nothing installed; WHOLE=1: all of what is tried in samples otherwise
# make distributions  demo and test on bare Debian 12 and 13, made new by debootstrap (root; hours on a slow machine)
# make simt         the CUDA kernels compiled by g++ to run on the host, and their tests (part of check)
# make simt-whole   every program on the kernels' stand-in, in every type, with 1, 2 and 4 ranks (a sample is in check)
# make sanitized    the test programs under AddressSanitizer and UndefinedBehaviorSanitizer
# make cuda         build/cuda/atelier alone (needs nvcc, cuBLASLt, NCCL)
# make install      the program, manual pages, completion, run files and the sample; PREFIX=/usr/local, DESTDIR=
# make package      build/atelier_VERSION_ARCH.deb (Debian, Ubuntu)
# make bundle       one archive with the program and all it needs, for a node without network (BUNDLE_CUDA=0: small)
# make gpu-check    everything the GPU computes against the CPU's definition; skipped without a GPU
# make gpu-bench    times and rates of kernels and whole steps on the GPU, beside PyTorch where it is installed
# make ptx          nvcc's own PTX of the kernels executed by an interpreter (Python with numpy), against f64; goes on where it was
#                   cut; a sample is in check
# make budgets      write kernels/cuda/BUDGETS anew, for review
# make sass         write kernels/cuda/SASS anew, for review
# make refactoring  tiny models in every layout: the same bits as recorded (whole matrix; a sample is in check)
# make interop      compare with transformers, tokenizers, gguf, llama.cpp (heavy, makes a virtual environment)
# make bench        side-by-side timings against transformers + torch, recorded by hand in tests/bench/RESULTS.md
# make saves        what a checkpoint costs the training, in steps (a quiet machine; not part of check)
# make moe-curve    a new model with experts, its curve beside that of transformers (MOE_STEPS and others: its size; hours)
# make nodes        two nodes on one machine, joined by a link of so many bits a second: how much of the exchanges is hidden
# make walks        a hundred runs, each resumed on grids of ranks drawn at random: the curve of one rank (two are in check)
# make fuzz         60 s of libFuzzer for each parser (clang)
# make clean
# Knobs: CUDA=0 (no nvcc)  SIMT=0 (kernels not on the host)   CUDA_HOME=...  NCCL_HOME=...   SAN=address|undefined   WERROR=1   CC=...   CXX=...
#        PARTS=... of gpu-check (ops attention model train ranks) and gpu-bench (kernels steps peer); LIMIT_S=N: seconds for
#        each of them, 0: no limit
#        local settings in config.mk
-include config.mk
ifeq ($(origin CC),default)
CC := mpicc
endif
ifeq ($(origin CXX),default)
CXX := mpicxx
endif
NAME := cpu$(if $(SAN),-$(SAN))
OUT  := build/$(NAME)
VERSION := 0.2.0

pkg   = $(shell pkg-config $(1) $(2) 2>/dev/null)
HDF5 ?= $(firstword $(foreach p,hdf5-serial hdf5 hdf5-openmpi,$(if $(call pkg,--modversion,$(p)),$(p))))
LIBS := $(HDF5) yaml-0.1 jansson libpcre2-8 libutf8proc libzstd zlib libxxhash libxml-2.0 \
        snappy liblz4 libbrotlidec
WARN := $(if $(WERROR),-Werror) -Wall -Wextra -Wshadow -Wpointer-arith -Wvla -Wwrite-strings
WARN_C := $(WARN) -Wstrict-prototypes -Wmissing-prototypes
SANFLAGS = $(if $(SAN),-fsanitize=$(SAN) -fno-omit-frame-pointer -fno-sanitize-recover=all)
CFLAGS  = -std=c11 -D_GNU_SOURCE -DH5_USE_110_API -DATELIER_VERSION='"$(VERSION)"' $(if $(SAN),-O2 -g1,-O3 -g) -fopenmp \
          -ffp-contract=off -fno-math-errno $(WARN_C) -I. -MMD -MP $(SANFLAGS) $(call pkg,--cflags,$(LIBS))
LDFLAGS = $(SANFLAGS) -fopenmp
LDLIBS  = $(call pkg,--libs,$(LIBS)) -ldnnl -lm -lpthread

# One tree of objects serves all programs; only what lies in a folder 'cuda' differs: absent.c stands there for a device
# that the program was built without.  Sources are found by room: a new file needs no line here.
LAYERS := kernels data checkpoints configs slurm train
SRC := $(sort $(shell find $(LAYERS) -name '*.c' -not -path '*/cuda/*'))
COMMON := $(filter-out $(OUT)/train/main.c.o,$(SRC:%=$(OUT)/%.o))
MAIN   := $(OUT)/train/main.c.o
ABSENT := $(patsubst %,$(OUT)/%.o,$(wildcard kernels/cuda/absent.c train/ranks/cuda/absent.c))
GPU_C  := $(filter-out %/absent.c,$(wildcard kernels/cuda/*.c train/ranks/cuda/*.c))
GPU_CU := $(wildcard kernels/cuda/*.cu)
TESTS := $(patsubst %.c,$(OUT)/%,$(wildcard tests/test_*.c))
FUZZ  := $(patsubst tests/fuzz/fuzz_%.c,$(OUT)/tests/test_fuzz_%,$(wildcard tests/fuzz/fuzz_*.c))
TOOLS := $(patsubst %.c,$(OUT)/%,$(wildcard tests/tool_*.c))
TLIB  := $(OUT)/tests/check.c.o $(OUT)/tests/op_cases.c.o $(OUT)/tests/exchange_checks.c.o

NVCC ?= $(firstword $(if $(CUDA_HOME),$(wildcard $(CUDA_HOME)/bin/nvcc)) $(shell command -v nvcc 2>/dev/null) $(wildcard /usr/local/cuda/bin/nvcc))
NVCC := $(NVCC)
# What a sanitizer looks at is the host's code: nvcc has no part in that build.
CUDA ?= $(if $(SAN),0,$(if $(NVCC),1,0))

all: $(OUT)/atelier $(if $(filter 1,$(CUDA)),cuda)
	@echo 'built $<   HDF5: $(HDF5)   GEMM: oneDNN   MPI: $(CC)   $(if $(filter 1,$(CUDA)),GPU: $(CUDA_OUT)/atelier for $(GPU_CODES),no GPU: $(if $(NVCC),CUDA=0$(if $(SAN), under SAN),nvcc is not found))'
$(OUT)/atelier: $(MAIN) $(COMMON) $(ABSENT)
	$(CC) $(LDFLAGS) -o $@ $^ $(LDLIBS)
$(OUT)/libatelier.a: $(COMMON) $(ABSENT)
	@rm -f $@
	@mkdir -p $(@D)
	ar rcs $@ $^
$(OUT)/tests/test_%: $(OUT)/tests/test_%.c.o $(TLIB) $(OUT)/libatelier.a
	$(CC) $(LDFLAGS) -o $@ $^ $(LDLIBS) -lcmocka
$(OUT)/tests/test_fuzz_%: $(OUT)/tests/fuzz/fuzz_%.c.o $(OUT)/tests/fuzz/replay.c.o $(OUT)/libatelier.a
	$(CC) $(LDFLAGS) -o $@ $^ $(LDLIBS)
$(OUT)/tests/bench/bench_%: $(OUT)/tests/bench/bench_%.c.o $(OUT)/libatelier.a
	$(CC) $(LDFLAGS) -o $@ $^ $(LDLIBS)
$(OUT)/tests/tool_%: $(OUT)/tests/tool_%.c.o $(OUT)/libatelier.a
	$(CC) $(LDFLAGS) -o $@ $^ $(LDLIBS)
# The refactoring check's program: the same but for its products, whose bits are those of every processor.
$(OUT)/tests/refactoring/atelier: $(MAIN) $(OUT)/tests/refactoring/plain_products.c.o $(OUT)/libatelier.a
	$(CC) $(LDFLAGS) -Wl,--wrap=block_gemm_version -Wl,--wrap=block_gemm_pairs -o $@ $^ $(LDLIBS)
$(OUT)/%.c.o: %.c
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) -c -o $@ $<
tests: $(TESTS) $(FUZZ) $(TOOLS) $(OUT)/tests/refactoring/atelier

# --- The GPU program: build/cuda.  One machine code for each kind of GPU that this nvcc knows, and PTX for newer ones.
# sm_90a must be written as -gencode; *_sm90.cu holds Hopper's own instructions and is compiled for nothing else.  sm_70 (V100)
# is known to CUDA 12 and older: *_sm70.cu is for it, and PTX of sm_80 that nothing calls where it is not known; AMPERE has
# instructions that it lacks.
CUDA_OUT := $(if $(filter build/$(NAME),$(OUT)),build/cuda$(if $(SAN),-$(SAN)),$(OUT)-cuda)
CUDA_HOME ?= $(patsubst %/bin/nvcc,%,$(realpath $(NVCC)))
CUDA_CODES = $(shell $(NVCC) --list-gpu-code)
GENCODE_70 = $(if $(filter sm_70,$(CUDA_CODES)),-Wno-deprecated-gpu-targets -gencode arch=compute_70$(,)code=sm_70)
GENCODE_80 = $(if $(filter sm_80,$(CUDA_CODES)),-gencode arch=compute_80$(,)code=[sm_80$(,)compute_80])
GENCODE_90 = $(if $(filter sm_90,$(CUDA_CODES)),-gencode arch=compute_90a$(,)code=sm_90a)
# What the program says of itself: 'atelier --version --json'.
GPU_CODES = $(strip $(if $(GENCODE_70),sm_70) $(if $(GENCODE_80),sm_80 compute_80) $(if $(GENCODE_90),sm_90a))
, := ,
CUDA_FLAGS = -isystem $(CUDA_HOME)/include $(if $(NCCL_HOME),-isystem $(NCCL_HOME)/include)
CUDA_LIBS  = $(foreach h,$(NCCL_HOME) $(CUDA_HOME),$(foreach d,$(wildcard $(h)/lib64 $(h)/lib),-L$(d) -Wl$(,)-rpath$(,)$(d))) \
             -lcublasLt -lnccl -lcudart -lstdc++ -ldl
NVFLAGS = -std=c++17 -O3 -lineinfo -Xptxas -v $(if $(WERROR),-Werror all-warnings) -Xcompiler -Wall -I. -MMD -MP
AMPERE := $(addprefix kernels/cuda/,attention_forward.cu attention_keys.cu attention_queries.cu experts_tiles.cu) tests/simt/conformance_sm80.cu
CUDA_OBJ := $(patsubst %,$(CUDA_OUT)/%.o,$(GPU_C) $(GPU_CU))

GPU_BENCH  := $(filter-out %/gpu_nccl.c,$(wildcard tests/gpu/*.c))
CUDA_TESTS := $(patsubst %,$(CUDA_OUT)/tests/%,test_ops test_ops_norm test_ops_qk_norm test_ops_columns test_ops_sinks test_ops_xielu test_experts test_experts_parts test_route_sigmoid test_ops_distill test_ops_fp8 test_exact test_ops_fp8_blocks test_fp8_step test_device test_packed test_attention test_attention_mask test_model test_model_routers test_router test_session test_layer_plan test_objectives test_linear_seam conformance gpu_nccl gpu_bench)

cuda: $(CUDA_OUT)/atelier
$(CUDA_OUT)/atelier: $(MAIN) $(COMMON) $(CUDA_OBJ)
	$(CC) $(LDFLAGS) -o $@ $^ $(LDLIBS) $(CUDA_LIBS)
$(CUDA_OUT)/libatelier.a: $(COMMON) $(CUDA_OBJ)
	@rm -f $@
	ar rcs $@ $^
$(CUDA_OUT)/tests/test_%: $(OUT)/tests/test_%.c.o $(TLIB) $(CUDA_OUT)/libatelier.a
	@mkdir -p $(@D)
	$(CC) $(LDFLAGS) -o $@ $^ $(LDLIBS) -lcmocka $(CUDA_LIBS)
$(CUDA_OUT)/tests/conformance: $(patsubst %,$(CUDA_OUT)/%.o,$(wildcard tests/simt/conformance*.cu)) $(CUDA_OUT)/libatelier.a
	@mkdir -p $(@D)
	$(CC) $(LDFLAGS) -o $@ $^ $(LDLIBS) $(CUDA_LIBS)
$(CUDA_OUT)/tests/gpu_bench: $(patsubst %,$(CUDA_OUT)/%.o,$(GPU_BENCH)) $(CUDA_OUT)/libatelier.a
	@mkdir -p $(@D)
	$(CC) $(LDFLAGS) -o $@ $^ $(LDLIBS) $(CUDA_LIBS)
$(CUDA_OUT)/tests/gpu_nccl: $(CUDA_OUT)/tests/gpu/gpu_nccl.c.o $(OUT)/tests/exchange_checks.c.o $(CUDA_OUT)/libatelier.a
	@mkdir -p $(@D)
	$(CC) $(LDFLAGS) -o $@ $^ $(LDLIBS) $(CUDA_LIBS)
$(CUDA_OUT)/%.c.o: %.c $(CUDA_OUT)/toolkit
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) -DATELIER_GPU_CODES='"$(GPU_CODES)"' $(CUDA_FLAGS) -c -o $@ $<
$(CUDA_OUT)/%_sm90.cu.o: %_sm90.cu $(CUDA_OUT)/toolkit
	$(call nvcc,$(GENCODE_90))
$(CUDA_OUT)/%_sm70.cu.o: %_sm70.cu $(CUDA_OUT)/toolkit
	$(call nvcc,$(or $(GENCODE_70),-gencode arch=compute_80$(,)code=compute_80))
$(AMPERE:%=$(CUDA_OUT)/%.o): $(CUDA_OUT)/%.cu.o: %.cu $(CUDA_OUT)/toolkit
	$(call nvcc,$(GENCODE_80) $(GENCODE_90))
# Probes of V100's instructions run on every GPU.
$(CUDA_OUT)/tests/simt/conformance_sm70.cu.o: tests/simt/conformance_sm70.cu $(CUDA_OUT)/toolkit
	$(call nvcc,$(GENCODE_70) $(GENCODE_80) $(GENCODE_90))
$(CUDA_OUT)/%.cu.o: %.cu $(CUDA_OUT)/toolkit
	$(call nvcc,$(GENCODE_70) $(GENCODE_80) $(GENCODE_90))
# The resource report of each file stays beside its object: tests/check_budgets.sh reads it.
define nvcc
@mkdir -p $(@D)
@echo "$(NVCC) $(1) -c $<"
@$(NVCC) $(NVFLAGS) $(1) -c -o $@ $< >$(@:.o=.ptxas) 2>&1 || { cat $(@:.o=.ptxas); rm -f $@; exit 1; }
endef
# The compiler and the machine codes that objects are of: those of another toolkit are made anew, never linked together.
$(CUDA_OUT)/toolkit: always | $(CUDA_OUT)/found
	@echo '$(NVCC) $(GPU_CODES)' | cmp -s - $@ || echo '$(NVCC) $(GPU_CODES)' >$@
always:
# A toolkit without its libraries is told in one line, not by the first file that fails.
$(CUDA_OUT)/found:
	@test -n "$(NVCC)" || { echo "nvcc is not found: load the CUDA module, or set NVCC or CUDA_HOME" >&2; exit 1; }
	@test -n "$(GENCODE_90)" || { echo "$(NVCC) does not know sm_90:" \
	    "CUDA 12.0 or later is needed" >&2; exit 1; }
	@for header in cublasLt.h nccl.h; do echo "#include <$$header>" | \
	    $(CC) $(CUDA_FLAGS) -E -x c - >/dev/null 2>&1 || { echo "nvcc is found but $$header is not: load the module" \
	    "that brings it, set CUDA_HOME or NCCL_HOME, or build for the CPU alone with 'make CUDA=0'" >&2; exit 1; }; done
	@mkdir -p $(@D) && touch $@

# --- What nvcc makes of them, as text: build/ptx, for the interpreter of tests/ptx.  Most compile to the same text for every
# GPU but for its name; the files of Hopper are executed as of sm_90a, and both texts of those that have an instruction there.
PTX_OUT := build/ptx
PTX_90  := $(patsubst %,$(PTX_OUT)/%.sm_90a.ptx,$(notdir $(basename $(wildcard kernels/cuda/*_sm90.cu))) fp8 fp8_blocks)
PTX_80  := $(patsubst kernels/cuda/%.cu,$(PTX_OUT)/%.sm_80.ptx,$(filter-out %_sm90.cu,$(GPU_CU)))
PTX_SAMPLE := $(file <tests/ptx/sample)
PTX_FAST := $(patsubst %,$(PTX_OUT)/%.ptx,$(filter-out %.sm_70,$(PTX_SAMPLE)))
$(PTX_OUT)/%.sm_80.ptx: kernels/cuda/%.cu
	$(call ptx,compute_80)
$(PTX_OUT)/%.sm_90a.ptx: kernels/cuda/%.cu
	$(call ptx,compute_90a)
define ptx
@mkdir -p $(@D)
@echo "$(NVCC) -arch=$(1) -ptx $<"
@$(NVCC) -std=c++17 -O3 -I. -MMD -MP -MT $@ -MF $@.d -arch=$(1) -ptx -o $@ $<
endef
ptx: $(if $(NVCC),$(PTX_80) $(PTX_90))
	@tests/check_sm70.sh --ptx $(PTX_OUT) || test $$? -eq 77 # skipped: the reason is printed
	@PTX_OUT=$(PTX_OUT) tests/check_ptx.sh --all || test $$? -eq 77
ptx-fast:
	@$(if $(NVCC),! tests/check_ptx.sh --can-run >/dev/null || $(MAKE) --no-print-directory $(PTX_FAST),true)
	@$(if $(NVCC),! tests/check_ptx.sh --can-run >/dev/null || \
	    tests/check_sm70.sh --ptx $(PTX_OUT) $(patsubst %.sm_70,%,$(filter %.sm_70,$(PTX_SAMPLE))) >/dev/null || test $$? -eq 77,true)

# --- The same kernels on the host: build/simt.  tests/simt takes the place of the CUDA compiler, runtime, cuBLASLt and
# NCCL; a test instrument, never part of the product.
SIMT ?= $(if $(filter x86_64,$(shell uname -m)),1,0)
SIMT_OUT := $(if $(filter build/$(NAME),$(OUT)),build/simt$(if $(SAN),-$(SAN)),$(OUT)-simt)
SIMT_FLAGS = -Itests/simt -Itests/simt/include
SIMT_CXXFLAGS = -std=c++17 -D_GNU_SOURCE -DOMPI_SKIP_MPICXX $(if $(SAN),-O1,-O2) -g1 -fopenmp -pthread -ffp-contract=off -fno-math-errno \
                $(WARN) -Wno-unknown-pragmas $(SIMT_FLAGS) -I. -MMD -MP $(SANFLAGS)
SIMT_CPP := $(wildcard tests/simt/*.cpp)
SIMT_OBJ := $(patsubst %,$(SIMT_OUT)/%.o,$(GPU_C) $(GPU_CU) $(filter-out tests/simt/test_%,$(SIMT_CPP)))
SIMT_OWN := $(patsubst tests/simt/%,$(SIMT_OUT)/tests/%,$(basename $(wildcard tests/simt/test_*.c tests/simt/test_*.cpp)))
SIMT_OPS := $(patsubst %,$(SIMT_OUT)/tests/%,test_ops test_ops_norm test_ops_qk_norm test_ops_columns test_ops_sinks test_ops_xielu test_experts test_experts_parts test_route_sigmoid test_ops_distill test_ops_fp8 test_exact test_ops_fp8_blocks test_fp8_step test_device test_packed test_attention test_attention_mask test_model test_model_routers test_router test_session test_layer_plan test_objectives test_short_logits test_preferences test_linear_seam test_ranks_train test_ranks_wire test_ranks_muon test_ranks_quantised test_ranks_expert test_ranks_halo)
SIMT_GPU := $(patsubst %,$(SIMT_OUT)/tests/%,conformance gpu_nccl gpu_bench)
SIMT_TESTS := $(if $(SIMT_OBJ),$(SIMT_OWN) $(SIMT_OPS) $(SIMT_GPU))
# Beside a GPU, of whose products it asks: attention on the CPU in f32.
$(foreach out,$(OUT) $(CUDA_OUT) $(SIMT_OUT),$(out)/tests/test_fp8_step): LDFLAGS += -Wl,--wrap=block_gemm_pairs
# Where several lines name what a program is made of, the library must come last.
objects_first = $(filter %.o,$^) $(filter %.a,$^)
PROBES := $(patsubst %,$(SIMT_OUT)/%.o,$(wildcard tests/simt/conformance_*.cu))

# Functions of NCCL that are looked up by name while the program runs (train/ranks/cuda/nccl_windows.c) are in the program here.
$(SIMT_OUT)/atelier $(SIMT_TESTS): LDFLAGS += -rdynamic
simt: $(if $(SIMT_OBJ),$(SIMT_OUT)/atelier) $(SIMT_TESTS)
$(SIMT_OUT)/atelier: $(MAIN) $(COMMON) $(SIMT_OBJ)
	$(CC) $(LDFLAGS) -o $@ $^ $(LDLIBS) -lstdc++
$(SIMT_OUT)/libatelier.a: $(COMMON) $(SIMT_OBJ)
	@rm -f $@
	ar rcs $@ $^
$(SIMT_OPS): $(SIMT_OUT)/tests/%: $(OUT)/tests/%.c.o $(TLIB) $(SIMT_OUT)/libatelier.a
	@mkdir -p $(@D)
	$(CC) $(LDFLAGS) -o $@ $^ $(LDLIBS) -lcmocka -lstdc++
$(SIMT_OUT)/tests/test_conformance $(SIMT_OUT)/tests/conformance: $(PROBES)
$(SIMT_OUT)/tests/test_%: $(SIMT_OUT)/tests/simt/test_%.cpp.o $(TLIB) $(SIMT_OUT)/libatelier.a
	$(CC) $(LDFLAGS) -o $@ $(objects_first) $(LDLIBS) -lcmocka -lstdc++
$(SIMT_OUT)/tests/test_%: $(SIMT_OUT)/tests/simt/test_%.c.o $(TLIB) $(SIMT_OUT)/libatelier.a
	$(CC) $(LDFLAGS) -o $@ $^ $(LDLIBS) -lcmocka -lstdc++
$(SIMT_OUT)/tests/conformance: $(SIMT_OUT)/tests/simt/conformance.cu.o
$(SIMT_OUT)/tests/gpu_nccl: $(SIMT_OUT)/tests/gpu/gpu_nccl.c.o $(OUT)/tests/exchange_checks.c.o
$(SIMT_OUT)/tests/gpu_bench: $(patsubst %,$(SIMT_OUT)/%.o,$(GPU_BENCH))
$(SIMT_GPU): $(SIMT_OUT)/libatelier.a
	@mkdir -p $(@D)
	$(CC) $(LDFLAGS) -o $@ $(objects_first) $(LDLIBS) -lstdc++
$(SIMT_OUT)/%.c.o: %.c
	@mkdir -p $(@D)
	$(CC) $(SIMT_FLAGS) $(CFLAGS) -c -o $@ $<
$(SIMT_OUT)/%.cpp.o: %.cpp
	@mkdir -p $(@D)
	$(CXX) $(SIMT_CXXFLAGS) -c -o $@ $<
$(SIMT_OUT)/%.cu.o: %.cu
	@mkdir -p $(@D)
	$(CXX) $(SIMT_CXXFLAGS) -x c++ -c -o $@ $<

# --- What runs.
deps:
	@tests/deps.sh
test: deps
	@tests/light_venv.sh
	@$(MAKE) --no-print-directory check
check: all tests $(if $(filter 1,$(SIMT)),simt) $(if $(filter 1,$(CUDA)),ptx-fast)
	@OUT=$(OUT) CUDA_OUT=$(CUDA_OUT) SIMT_OUT=$(SIMT_OUT) tests/run.sh $(OUT)/tests $(if $(filter 1,$(SIMT)),$(SIMT_OUT)/tests)
budgets: cuda
	@CUDA_OUT=$(CUDA_OUT) tests/check_budgets.sh --write >$(CUDA_OUT)/BUDGETS
	@mv $(CUDA_OUT)/BUDGETS kernels/cuda/BUDGETS && git --no-pager diff --stat kernels/cuda/BUDGETS
sass: cuda
	@CUDA_OUT=$(CUDA_OUT) tests/check_sass.sh --write >$(CUDA_OUT)/SASS
	@mv $(CUDA_OUT)/SASS kernels/cuda/SASS && git --no-pager diff --stat kernels/cuda/SASS
bundle: all $(if $(filter 1,$(CUDA)),$(CUDA_TESTS))
	@slurm/bundle/make.sh $(if $(filter 1,$(CUDA)),$(CUDA_OUT),$(OUT)) $(VERSION)
# What was built goes: the program for GPUs where there is one.  'sudo make install' builds nothing that is there already.
BUILT = $(if $(filter 1,$(CUDA)),$(CUDA_OUT),$(OUT))/atelier
install: all
	@PREFIX='$(PREFIX)' DESTDIR='$(DESTDIR)' slurm/package/install.sh $(BUILT)
package: all
	@PACKAGE_OUT='$(PACKAGE_OUT)' slurm/package/deb.sh $(BUILT) $(VERSION)
# A machine without a GPU is told before anything is compiled for one.
gpu-check gpu-bench:
	@tests/gpu/look.sh
	@$(MAKE) --no-print-directory cuda $(CUDA_TESTS)
	@tests/gpu/$(subst -,_,$@).sh $(CUDA_OUT) $(PARTS)
simt-whole: simt
	@ONLY=simt WHOLE=1 tests/run.sh $(OUT)/tests $(SIMT_OUT)/tests
sanitized:
	@$(MAKE) --no-print-directory SAN=address,undefined all tests
	@ONLY=programs RANKS=2 ATELIER_TEST_FEW_STEPS=1 tests/run.sh build/cpu-address,undefined/tests
demo: deps
	@$(MAKE) --no-print-directory CUDA=0 all
	@OUT=$(OUT) configs/demo.sh
refactoring: $(OUT)/tests/refactoring/atelier $(if $(filter 1,$(SIMT)),simt)
	@OUT=$(OUT) SIMT_OUT=$(SIMT_OUT) tests/refactoring/run.sh
distributions:
	@tests/distributions.sh
interop: all
	@OUT=$(OUT) tests/interop/run.sh
saves: all
	@OUT=$(OUT) tests/saves.sh
moe-curve: all
	@OUT=$(OUT) CHECKS=compare_experts tests/interop/run.sh
walks: all
	@OUT=$(OUT) WALKS=100 tests/scenario_walks.sh
nodes: all
	@OUT=$(OUT) OVERLAP=1 tests/scenario_two_nodes.sh

bench: all
	@OUT=$(OUT) tests/bench/run.sh
fuzz:
	@tests/fuzz/run.sh 60
help:
	@sed -n '/^[^#]/q;s/^# //p' $(firstword $(MAKEFILE_LIST))
clean:
	rm -rf build
-include $(shell find $(OUT) $(CUDA_OUT) $(SIMT_OUT) $(PTX_OUT) -name '*.d' 2>/dev/null)
.PHONY: always all tests cuda simt ptx ptx-fast simt-whole deps test check distributions budgets sass bundle install package gpu-check gpu-bench sanitized demo refactoring interop bench saves walks nodes moe-curve fuzz help clean
.SECONDARY:
