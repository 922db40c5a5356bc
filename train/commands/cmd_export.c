/* cmd_export.c - `atelier export MODEL --to hf|gguf [--type f32|f16|bf16|fp8|q8_0] --out PATH`: write, read back,
 * compare logits.  What fails the comparison is removed: a wrong model must not be taken for a right one. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "checkpoints/adapter_base.h"
#include "checkpoints/export/export.h"
#include "checkpoints/files.h"
#include "train/commands/commands.h"
#include "train/measure/verify.h"

struct export_words {
    const char *model, *base, *to, *type, *path, *scheme;
};

static const struct option OPTIONS[] = {
    {.name = "MODEL",
     .help = "a folder, a checkpoint, a GGUF file or an adapter, which is merged into its base",
     .kind = OPTION_TEXT,
     .at = offsetof(struct export_words, model),
     .is_required = true},
    OPTION_BASE(offsetof(struct export_words, base)),
    {.name = "--to",
     .value = "hf|gguf",
     .help = "a folder for transformers and vLLM, or a file for llama.cpp and Ollama",
     .kind = OPTION_CHOICE,
     .at = offsetof(struct export_words, to),
     .is_required = true},
    {.name = "--type",
     .value = "f32|f16|bf16|fp8|q8_0",
     .help = "type of the numbers, q8_0 for gguf only, fp8 for hf only; left out: as in MODEL",
     .kind = OPTION_CHOICE,
     .at = offsetof(struct export_words, type)},
    {.name = "--out",
     .value = "PATH",
     .help = "the folder or file to write, which must not exist",
     .kind = OPTION_TEXT,
     .at = offsetof(struct export_words, path),
     .is_required = true},
    {.name = "--scheme",
     .value = "FOLDER",
     .help =
         "for fp8: the published model whose scheme of scales is taken; left out: MODEL's own base, and blocks of "
         "128 x 128 where that is not in FP8",
     .kind = OPTION_TEXT,
     .at = offsetof(struct export_words, scheme)},
};

static bool is_gguf(const struct export_words *words) {
    return strcmp(words->to, "gguf") == 0;
}

static bool is_fp8(const struct export_words *words) {
    return words->type && strcmp(words->type, "fp8") == 0;
}

/* check - what is wrong is said before a model of many gigabytes is read.  The output must not exist: a run that
 * fails removes what it wrote, which must not have been anybody else's. */
static int check(const void *given, struct err *err) {
    const struct export_words *words = given;
    if (!is_gguf(words) && words->type && strcmp(words->type, "q8_0") == 0)
        return err_set(err,
                       "--type: q8_0 is a type of GGUF files; choose f32, f16, bf16 or fp8 for a folder");
    if (is_gguf(words) && is_fp8(words))
        return err_set(
            err, "--type: fp8 is a type of Hugging Face folders; choose f32, f16, bf16 or q8_0 for gguf");
    if (words->scheme && !is_fp8(words))
        return err_set(err, "--scheme: it tells how matrices are stored in FP8, and goes with --type fp8");
    if (path_exists(words->path))
        return err_set(err, "'%s' exists already; remove it or choose another --out", words->path);
    return 0;
}

/* find_type - the type that was asked for, or else that of the model.  Returns 0, or -1 with err set. */
static int find_type(const char *asked, enum dtype dtype, enum export_type *type, struct err *err) {
    static const struct {
        const char *name;
        enum export_type type;
        enum dtype dtype; /* of a model that is exported so when nothing is said */
    } types[] = {
        {"f32", EXPORT_F32, DTYPE_F32},    {"f16", EXPORT_F16, DTYPE_F16},
        {"bf16", EXPORT_BF16, DTYPE_BF16}, {"q8_0", EXPORT_Q8_0, DTYPE_COUNT},
        {"fp8", EXPORT_FP8, DTYPE_COUNT},
    };
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++)
        if (asked ? strcmp(asked, types[i].name) == 0 : dtype == types[i].dtype) {
            *type = types[i].type;
            return 0;
        }
    return err_set(err, "the model's type %s cannot be exported as it is: give --type", dtype_name(dtype));
}

/* write_fp8 - in the scheme of the model that is its base. */
static int write_fp8(const struct export_words *words, const struct weights *weights, char **notes,
                     struct err *err) {
    struct weights *base;
    if (export_base(&base, weights, words->scheme, err) != 0)
        return err_prefix(err, "cannot export '%s' in FP8", words->model);
    int status = export_fp8(weights, words->path, base, notes, err);
    weights_close(base);
    return status;
}

/* write_model - returns 0, or -1 with err set and nothing left behind.  A checkpoint's own checksums are compared
 * first: damaged weights would pass the comparison of logits, which reads them, too. */
static int write_model(const struct export_words *words, enum export_type *type, struct err *err) {
    char *notes = NULL;
    struct weights *weights = weights_open_any((struct weights_place){words->model, words->base}, err);
    if (!weights)
        return -1;
    weights_tell_storage(weights);
    int status = weights_verify(weights, err);
    if (status == 0)
        status = adapter_base_check(weights, err);
    if (status == 0 && weights_adapter_path(weights))
        weights_merge(weights);
    if (status == 0)
        status = find_type(words->type, weights_config(weights)->dtype, type, err);
    if (status == 0 && is_gguf(words))
        status = export_gguf(weights, words->path, *type, &notes, err);
    else if (status == 0 && *type == EXPORT_FP8)
        status = write_fp8(words, weights, &notes, err);
    else if (status == 0)
        status = export_hf(weights, words->path, *type, &notes, err);
    if (status == 0 && notes)
        fprintf(stderr, "%s", notes);
    free(notes);
    weights_close(weights);
    return status;
}

/* remove_written - what failed the comparison, whichever of the two it is. */
static void remove_written(const struct export_words *words) {
    struct err err;
    if (is_gguf(words) ? remove(words->path) != 0 : folder_remove(words->path, &err) != 0)
        warn("'%s' could not be removed; do not use it", words->path);
}

static int run(int argc, char **argv) {
    struct export_words words;
    enum export_type type = EXPORT_F32;
    struct err err = {""};
    double difference = 0;
    if (!command_words(&COMMAND_export, &words, argc, argv))
        return EXIT_USAGE;
    int status = write_model(&words, &type, &err);
    if (status == 0 && export_check((struct weights_place){words.model, words.base}, words.path, type,
                                    &difference, &err) != 0) {
        remove_written(&words);
        status = -1;
    }
    if (status != 0) {
        fprintf(stderr, "error: %s\n", err.text);
        return EXIT_FAULT;
    }
    printf("wrote '%s'; read back, its logits differ from the source's by %.2g (relative)\n", words.path,
           difference);
    return EXIT_DONE;
}

const struct command COMMAND_export = {
    .name = "export",
    .summary = "a model for other programs: Hugging Face folder or GGUF",
    .text = "Writes MODEL, reads it back, and compares its logits with the source's.",
    .options = OPTIONS,
    .num_options = sizeof OPTIONS / sizeof OPTIONS[0],
    .words_bytes = sizeof(struct export_words),
    .check = check,
    .run = run,
};
