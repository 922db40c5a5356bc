/* fuzz_tasks.c - libFuzzer target of questions with choices: any bytes, as items or as records of a published set, are refused with
 * a message, or every scored choice has its tokens where the texts say, without a crash or a leak.  The first byte chooses: a set,
 * or items. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "data/tasks/convert.h"
#include "data/tasks/encode.h"
#include "tests/tiny_tokenizer.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length_bytes);

enum { MAX_TOKENS = 64 };

/* path_of - a file of this process; records are known by the ending of their file's name. */
static const char *path_of(const char *name) {
    static char paths[2][96];
    static int next;
    char *path = paths[next = !next];
    snprintf(path, sizeof paths[0], "/tmp/atelier-fuzz-%ld-%s.jsonl", (long)getpid(), name);
    return path;
}

static void write_file(const char *path, const uint8_t *bytes, size_t length_bytes) {
    FILE *file = fopen(path, "w");
    CHECK(file && fwrite(bytes, 1, length_bytes, file) == length_bytes && fclose(file) == 0,
          "cannot write '%s'", path);
}

/* check_tokens - every target lies in a text, and every scored choice has as many as it says. */
static void check_tokens(const struct task_tokens *tokens) {
    int64_t *counts = xcalloc((size_t)tokens->num_choices + 1, sizeof *counts);
    for (int64_t i = 0; i < tokens->num_targets; i++) {
        const struct task_target *target = &tokens->targets[i];
        CHECK(target->row >= 0 && target->row < tokens->inputs.count, "row %lld", (long long)target->row);
        CHECK(i == 0 || target->row >= tokens->targets[i - 1].row, "targets out of order");
        counts[target->choice]++;
    }
    for (int64_t item = 0; item < tokens->num_items; item++)
        for (int64_t c = tokens->first_choice[item]; c < tokens->first_choice[item + 1]; c++)
            CHECK(counts[c] == (tokens->states[item] == TASK_SCORED ? tokens->choices[c].num_tokens : 0),
                  "choice %lld has %lld targets", (long long)c, (long long)counts[c]);
    for (int64_t t = 0; t < tokens->num_texts; t++)
        CHECK(tokens->texts[t + 1] > tokens->texts[t] &&
                  tokens->texts[t + 1] - tokens->texts[t] <= MAX_TOKENS,
              "a text of %lld tokens", (long long)(tokens->texts[t + 1] - tokens->texts[t]));
    free(counts);
}

/* read_items - returns whether they are items. */
static bool read_items(const char *path) {
    static struct tokenizer *tokenizer; /* made once; libFuzzer's process keeps it */
    struct err err = {""};
    struct task_set set = {0};
    struct task_tokens tokens;
    if (!tokenizer)
        tokenizer = tiny_tokenizer(TINY_ALL);
    int status = task_set_read(&set, path, &err);
    bool is_read = status == 0; /* that none of its items can be scored is another matter */
    if (status == 0) {
        status = task_encode(&tokens, &set, tokenizer, MAX_TOKENS, &err);
        if (status == 0)
            check_tokens(&tokens);
        task_tokens_release(&tokens);
    }
    CHECK(status == 0 || err.text[0], "refused without a message");
    task_set_release(&set);
    return is_read;
}

/* convert - what a set makes of the records is a file of items. */
static void convert(const struct task_kind *kind, const char *path) {
    struct err err = {""};
    struct task_conversion done;
    const char *items = path_of("items");
    FILE *out = fopen(items, "w");
    CHECK(out, "cannot write '%s'", items);
    int status = task_convert(kind, path, out, &done, &err);
    fclose(out);
    CHECK(status == 0 || err.text[0], "refused without a message");
    CHECK(status != 0 || (done.num_items > 0 && read_items(items)), "what was converted is not read");
    unlink(items);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length_bytes) {
    const char *path = path_of("records");
    if (length_bytes == 0)
        return 0;
    const struct task_kind *kind = task_kind_at(bytes[0] % 16);
    write_file(path, bytes + 1, length_bytes - 1);
    if (kind)
        convert(kind, path);
    else
        read_items(path);
    unlink(path);
    return 0;
}
