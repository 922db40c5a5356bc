/* fuzz_gguf.c - any bytes as a GGUF file: refused with a message, or every value, tensor, model and tokenizer
 * in it can be read or is refused with a message. */
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "checkpoints/gguf/gguf_model.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length_bytes);

static void read_keys(const struct gguf *file) {
    struct err err;
    for (int64_t i = 0; i < gguf_num_keys(file); i++) {
        struct gguf_string text;
        int64_t integer, last = gguf_array_count(file, i) - 1;
        double real;
        CHECK(gguf_find_key(file, gguf_key(file, i)) == i, "'%s' is not found", gguf_key(file, i));
        gguf_get_int(file, i, last, &integer, &err);
        gguf_get_double(file, i, last, &real, &err);
        bool is_text = gguf_array_type(file, i) == GGUF_STRING && last >= 0;
        CHECK((gguf_get_string(file, i, last, &text, &err) == 0) == is_text, "'%s'", gguf_key(file, i));
    }
}

/* read_tensors - the last elements of each, from the middle of a block. */
static void read_tensors(const struct gguf *file) {
    enum { MOST = 3000 };
    float values[MOST];
    for (int64_t i = 0; i < gguf_num_tensors(file); i++) {
        struct err err = {""};
        struct gguf_tensor tensor = gguf_tensor(file, i);
        CHECK(gguf_find_tensor(file, tensor.name) == i, "'%s' is not found", tensor.name);
        int64_t count = tensor.count < MOST ? tensor.count : MOST - 5;
        int status = gguf_read_f32(file, i, tensor.count - count, count, values, &err);
        CHECK((status == 0) == (quant_format(tensor.type) != NULL), "'%s': %s", tensor.name, err.text);
    }
}

/* read_model - the last row of every tensor, as the program reads it. */
static void read_model(const struct gguf *file) {
    struct err err = {""};
    struct model_config config;
    if (gguf_model_config(file, &config, &err) != 0 || gguf_model_check(file, &config, &err) != 0) {
        CHECK(err.text[0], "refused without a message");
        return;
    }
    struct param at = PARAM_START;
    while (family_next_param(&config, &at)) {
        struct tensor shape = param_shape(&config, at);
        int64_t width = shape.dims[shape.ndim - 1];
        float *row = xmalloc((size_t)width * sizeof *row);
        CHECK(gguf_model_read(file, &config, at, tensor_count(shape) - width, width, row, &err) == 0,
              "role %d: %s", (int)at.role, err.text);
        free(row);
    }
}

static void read_tokenizer(const struct gguf *file) {
    struct err err = {""};
    char *json, *config;
    if (gguf_tokenizer_text(file, &json, &config, &err) != 0) {
        CHECK(err.text[0], "refused without a message");
        return;
    }
    free(json);
    free(config);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length_bytes) {
    char path[64];
    struct err err = {""};
    int fd = memfd_create("fuzz", 0);
    CHECK(fd >= 0 && write(fd, bytes, length_bytes) == (ssize_t)length_bytes, "no memory file");
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    struct gguf *file = gguf_open(path, &err);
    if (file) {
        read_keys(file);
        read_tensors(file);
        read_model(file);
        read_tokenizer(file);
    } else {
        CHECK(err.text[0], "refused without a message");
    }
    gguf_close(file);
    close(fd);
    return 0;
}
