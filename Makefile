# make              build build/cpu/atelier
# make deps         install the packages needed (Debian, Ubuntu; root or sudo)
# make demo         install, build and run the whole job on 2 CPU ranks
# make test         install, build and run every test that needs no GPU
# make check        the tests alone, nothing installed
# make sanitized    the test programs under AddressSanitizer and UndefinedBehaviorSanitizer
# make interop      compare with transformers, tokenizers, gguf, llama.cpp (heavy, makes a virtual environment)
# make bench        side-by-side timings against transformers + torch, recorded by hand in tests/bench/RESULTS.md
# make fuzz         60 s of libFuzzer for each parser (clang)
# make clean
# Knobs: SAN=address|undefined   WERROR=1   CC=...   local settings in config.mk
-include config.mk
ifeq ($(origin CC),default)
CC := mpicc
endif
NAME := cpu$(if $(SAN),-$(SAN))
OUT  := build/$(NAME)
VERSION := 0.1.0

pkg   = $(shell pkg-config $(1) $(2) 2>/dev/null)
HDF5 ?= $(firstword $(foreach p,hdf5-serial hdf5 hdf5-openmpi,$(if $(call pkg,--modversion,$(p)),$(p))))
LIBS := $(HDF5) yaml-0.1 jansson libpcre2-8 libutf8proc libzstd zlib libxxhash
WARN := $(if $(WERROR),-Werror) -Wall -Wextra -Wshadow -Wpointer-arith -Wstrict-prototypes \
        -Wmissing-prototypes -Wvla -Wwrite-strings
SANFLAGS = $(if $(SAN),-fsanitize=$(SAN) -fno-omit-frame-pointer -fno-sanitize-recover=all)
CFLAGS  = -std=c11 -D_GNU_SOURCE -DH5_USE_110_API -DATELIER_VERSION='"$(VERSION)"' -O3 -g -fopenmp \
          -ffp-contract=off -fno-math-errno $(WARN) -I. -MMD -MP $(SANFLAGS) $(call pkg,--cflags,$(LIBS))
LDFLAGS = $(SANFLAGS) -fopenmp
LDLIBS  = $(call pkg,--libs,$(LIBS)) -ldnnl -lm -lpthread

SRC := $(wildcard kernels/*.c kernels/cpu/*.c data/*.c checkpoints/*.c train/*.c)
OBJ := $(SRC:%=$(OUT)/%.o)
LIB := $(filter-out $(OUT)/train/main.c.o,$(OBJ))
TESTS := $(patsubst %.c,$(OUT)/%,$(wildcard tests/test_*.c))
FUZZ  := $(patsubst tests/fuzz/fuzz_%.c,$(OUT)/tests/test_fuzz_%,$(wildcard tests/fuzz/fuzz_*.c))
TOOLS := $(patsubst %.c,$(OUT)/%,$(wildcard tests/tool_*.c))
TLIB  := $(OUT)/tests/check.c.o

all: $(OUT)/atelier
	@echo 'built $<   backend: cpu   HDF5: $(HDF5)   GEMM: oneDNN   MPI: $(CC)'
$(OUT)/atelier: $(OBJ)
	$(CC) $(LDFLAGS) -o $@ $^ $(LDLIBS)
$(OUT)/libatelier.a: $(LIB)
	@rm -f $@
	ar rcs $@ $^
$(OUT)/tests/test_%: $(OUT)/tests/test_%.c.o $(TLIB) $(OUT)/libatelier.a
	$(CC) $(LDFLAGS) -o $@ $^ $(LDLIBS) -lcmocka
$(OUT)/tests/test_fuzz_%: $(OUT)/tests/fuzz/fuzz_%.c.o $(OUT)/tests/fuzz/replay.c.o $(OUT)/libatelier.a
	$(CC) $(LDFLAGS) -o $@ $^ $(LDLIBS)
$(OUT)/tests/bench/bench_%: $(OUT)/tests/bench/bench_%.c.o $(OUT)/libatelier.a
	$(CC) $(LDFLAGS) -o $@ $^ $(LDLIBS)
$(OUT)/tests/tool_%: $(OUT)/tests/tool_%.c.o $(OUT)/libatelier.a
	$(CC) $(LDFLAGS) -o $@ $^ $(LDLIBS)
$(OUT)/%.c.o: %.c
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) -c -o $@ $<
tests: $(TESTS) $(FUZZ) $(TOOLS)
deps:
	@tests/deps.sh
test: deps
	@tests/light_venv.sh
	@$(MAKE) --no-print-directory check
check: all tests
	@OUT=$(OUT) tests/run.sh $(OUT)/tests
sanitized:
	@$(MAKE) --no-print-directory SAN=address,undefined all tests
	@ONLY=programs tests/run.sh build/cpu-address,undefined/tests
demo: deps
	@$(MAKE) --no-print-directory all
	@OUT=$(OUT) configs/demo.sh
interop: all
	@OUT=$(OUT) tests/interop/run.sh
bench: all
	@OUT=$(OUT) tests/bench/run.sh
fuzz:
	@tests/fuzz/run.sh 60
help:
	@sed -n 's/^# //p' $(firstword $(MAKEFILE_LIST))
clean:
	rm -rf build
-include $(OBJ:.o=.d) $(TESTS:=.c.d) $(TOOLS:=.c.d) $(TLIB:.o=.d)
.PHONY: all tests deps test check sanitized demo interop bench fuzz help clean
.SECONDARY:
