/* cmd_export.c - `atelier export MODEL --to hf|gguf|peft|gguf-lora [--type f32|f16|bf16|fp8|q8_0] --output PATH`: write, read back,
 * compare logits.  What fails the comparison is removed: a wrong model must not be taken for a right one.  Of an adapter it is
 * also checked that its names are those of the modules that are served, and that it does something. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "checkpoints/adapter_base.h"
#include "checkpoints/export/export.h"
#include "checkpoints/export/export_adapter.h"
#include "checkpoints/export/served.h"
#include "checkpoints/family/family_adapter.h"
#include "checkpoints/files.h"
#include "train/commands/commands.h"
#include "train/measure/verify.h"
#include "train/record/card.h"
#include "train/record/provenance.h"

struct export_words {
    const char *model, *base, *to, *served, *type, *path, *scheme, *check_device, *check_type;
    struct session_way way; /* of the check, from the two words */
};

static const struct option OPTIONS[] = {
    {.name = "MODEL",
     .help = "a folder, a checkpoint, a GGUF file or an adapter, which is merged into its base",
     .kind = OPTION_TEXT,
     .at = offsetof(struct export_words, model),
     .is_required = true},
    OPTION_BASE(offsetof(struct export_words, base)),
    {.name = "--to",
     .value = "hf|gguf|peft|gguf-lora",
     .help =
         "a folder for transformers and vLLM, or a file for llama.cpp and Ollama; peft and gguf-lora: of an adapter, "
         "itself, to be put on its base",
     .kind = OPTION_CHOICE,
     .at = offsetof(struct export_words, to),
     .is_required = true},
    {.name = "--for",
     .value = "MODEL",
     .help =
         "of an adapter, the folder or GGUF file that it will be put on, whose tensors its names must hit; left out: its "
         "base",
     .kind = OPTION_TEXT,
     .at = offsetof(struct export_words, served)},
    {.name = "--type",
     .value = "f32|f16|bf16|fp8|q8_0",
     .help = "type of the numbers, q8_0 for gguf only, fp8 for hf only; left out: as in MODEL",
     .kind = OPTION_CHOICE,
     .at = offsetof(struct export_words, type)},
    {.name = "--output",
     .older = "--out",
     .value = "PATH",
     .help = "the folder or file to write, which must not exist",
     .kind = OPTION_TEXT,
     .at = offsetof(struct export_words, path),
     .is_required = true},
    {.name = "--scheme",
     .value = "FOLDER|blocks",
     .help =
         "for fp8: the model, published in FP8, whose scheme of scales is taken, or a scale for each block of 128 x 128; "
         "left out: MODEL's own base, and blocks where that is not in FP8",
     .kind = OPTION_TEXT,
     .at = offsetof(struct export_words, scheme)},
    {.name = "--check-device",
     .value = "cpu|cuda",
     .help = "what computes the logits that are compared: processors, or the first GPU",
     .kind = OPTION_CHOICE,
     .at = offsetof(struct export_words, check_device),
     .fallback = "cpu"},
    {.name = "--check-type",
     .value = "stored|f32|bf16|f16",
     .help =
         "what it computes them in; stored: in f32 with matrices where the files have them, which takes no memory for them; "
         "left out: f32",
     .kind = OPTION_CHOICE,
     .at = offsetof(struct export_words, check_type)},
};

static bool is_to(const struct export_words *words, const char *to) {
    return strcmp(words->to, to) == 0;
}

/* writes_adapter - itself, and not merged. */
static bool writes_adapter(const struct export_words *words) {
    return is_to(words, "peft") || is_to(words, "gguf-lora");
}

static bool is_fp8(const struct export_words *words) {
    return words->type && strcmp(words->type, "fp8") == 0;
}

/* check - what is wrong is said before a model of many gigabytes is read.  The output must not exist: a run that
 * fails removes what it wrote, which must not have been anybody else's. */
static int check(const void *given, struct err *err) {
    const struct export_words *words = given;
    if (!is_to(words, "gguf") && words->type && strcmp(words->type, "q8_0") == 0)
        return err_set(err,
                       "--type: q8_0 is a type of GGUF files; choose f32, f16 or bf16, or fp8 for a folder");
    if (!is_to(words, "hf") && is_fp8(words))
        return err_set(
            err, "--type: fp8 is a type of Hugging Face folders; choose f32, f16 or bf16, or q8_0 for gguf");
    if (words->scheme && !is_fp8(words))
        return err_set(err, "--scheme: it tells how matrices are stored in FP8, and goes with --type fp8");
    if (words->served && !writes_adapter(words))
        return err_set(
            err,
            "--for: what is merged is a model of its own; with --to peft and --to gguf-lora it says where the "
            "adapter will be put");
    if (path_exists(words->path))
        return err_set(err, "'%s' exists already; remove it or choose another --output", words->path);
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

/* check_served - that the adapter will hit what it is meant to hit, said on standard output. */
static int check_served(const struct weights *weights, const struct export_words *words, struct err *err) {
    struct served_hits hits;
    if (!writes_adapter(words))
        return 0;
    if (served_check(weights, words->served, &hits, err) != 0)
        return -1;
    printf("%lld of %lld modules hit (%s)\n", (long long)hits.num_hit, (long long)hits.num_modules,
           hits.served_as);
    if (is_to(words, "peft") && !adapter_is_served(&weights_config(weights)->adapter))
        printf("vLLM refuses modules_to_save: this folder is for peft, a merged one (--to hf) for vLLM\n");
    if (is_to(words, "peft") && adapter_has_experts(weights_config(weights)))
        printf(
            "pairs on experts: vLLM takes them where its version has them (FusedMoEWithLoRA) and experts are not "
            "spread over GPUs; a merged model (--to hf) is served by all\n");
    return 0;
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

/* write_as - what was asked for, from weights that were checked. */
static int write_as(struct weights *weights, const struct export_words *words, enum export_type type,
                    char **notes, struct err *err) {
    if (is_to(words, "gguf-lora"))
        return export_gguf_lora(weights, words->path, type, err);
    if (is_to(words, "peft")) {
        char *named = words->base ? xstrdup(words->base) : adapter_base_path(words->model, err);
        int status = named ? export_peft(weights, named, words->path, type, err) : -1;
        free(named);
        return status;
    }
    if (weights_adapter_path(weights))
        weights_merge(weights);
    if (type == EXPORT_FP8)
        return write_fp8(words, weights, notes, err);
    return is_to(words, "gguf") ? export_gguf(weights, words->path, type, notes, err)
                                : export_hf(weights, words->path, type, notes, err);
}

/* type_of - of the numbers when nothing is said: the adapter's where it is written itself. */
static enum dtype type_of(const struct weights *weights, const struct export_words *words) {
    const struct model_config *config = weights_config(weights);
    return writes_adapter(words) ? config->adapter.dtype : config->dtype;
}

/* tell_merged - the card of a merged folder describes a model, not the adapter whose provenance it has. */
static int tell_merged(const char *folder, struct err *err) {
    json_t *root = provenance_load(folder, NULL), *adapter = json_find(root, "model/adapter");
    int status = 0;
    if (json_is_object(adapter)) {
        json_object_set_new(adapter, "merged", json_true());
        char *provenance = json_dumps(root, JSON_INDENT(2)), *card = card_text(root, CARD_ENGLISH);
        char *paths[2] = {xasprintf("%s/provenance.json", folder), xasprintf("%s/README.md", folder)};
        CHECK(provenance, "out of memory while writing provenance.json");
        status = file_replace(paths[0], provenance, strlen(provenance), err);
        if (status == 0)
            status = file_replace(paths[1], card, strlen(card), err);
        free(paths[0]);
        free(paths[1]);
        free(card);
        free(provenance);
    }
    json_decref(root);
    return status;
}

/* write_model - returns 0, or -1 with err set and nothing left behind.  A checkpoint's own checksums are compared
 * first: damaged weights would pass the comparison of logits, which reads them, too. */
static int write_model(const struct export_words *words, enum export_type *type, bool *is_adapter,
                       struct err *err) {
    char *notes = NULL;
    struct weights *weights = weights_open_any((struct weights_place){words->model, words->base}, err);
    if (!weights)
        return -1;
    weights_tell_storage(weights);
    *is_adapter = weights_adapter_path(weights) != NULL;
    int status = 0;
    if (writes_adapter(words) && !*is_adapter)
        status = err_set(err, "--to %s: '%s' is not an adapter", words->to, words->model);
    if (status == 0 && writes_adapter(words) && weights_config(weights)->adapter.method == ADAPTER_DORA)
        status = err_set(
            err,
            "--to %s: adapter '%s' is DoRA, which vLLM and llama.cpp do not take: export it merged, --to hf or --to "
            "gguf; peft loads the checkpoint as it is",
            words->to, words->model);
    if (status == 0)
        status = weights_verify(weights, err);
    if (status == 0)
        status = adapter_base_check(weights, err);
    if (status == 0)
        status = check_served(weights, words, err);
    if (status == 0)
        status = find_type(words->type, type_of(weights, words), type, err);
    if (status == 0)
        status = write_as(weights, words, *type, &notes, err);
    if (status == 0 && *is_adapter && is_to(words, "hf"))
        status = tell_merged(words->path, err);
    if (status == 0 && notes)
        fprintf(stderr, "%s", notes);
    free(notes);
    weights_close(weights);
    return status;
}

/* remove_written - what failed the comparison, whichever of the two it is. */
static void remove_written(const struct export_words *words) {
    struct err err;
    bool is_file = is_to(words, "gguf") || is_to(words, "gguf-lora");
    if (is_file ? remove(words->path) != 0 : folder_remove(words->path, &err) != 0)
        warn("'%s' could not be removed; do not use it", words->path);
}

/* tell_rounding - what a merged file loses in its type, beside what the adapter changed: where both are of one size, hardly anything
 * may be left of it. */
static void tell_rounding(const struct export_words *words, double effect, double difference) {
    if (difference < effect / 2)
        return;
    warn(
        "the logits of '%s' differ from the source's by %.2g, and the adapter changed them by %.2g: the rounding may have "
        "taken what it learnt; choose a --type of more bits, or write the adapter alone (--to %s)",
        words->path, difference, effect, is_to(words, "gguf") ? "gguf-lora" : "peft");
}

/* compare - what was written with its source; an adapter in a GGUF file is read by nothing here. */
static int compare(const struct export_words *words, enum export_type type, bool is_adapter,
                   struct err *err) {
    struct weights_place source = {words->model, words->base}, written = {words->path, NULL};
    struct export_difference difference;
    double effect = 0;
    if (is_to(words, "peft"))
        written.base = words->base;
    if (is_adapter && adapter_effect_check(source, words->way, &effect, err) != 0)
        return -1;
    if (is_adapter)
        printf("without the adapter, the base's logits differ by %.2g (relative)\n", effect);
    if (is_to(words, "gguf-lora")) {
        printf("wrote '%s'; it is not read back here: llama.cpp reads it with --lora\n", words->path);
        return 0;
    }
    if (export_check(source, written, type, words->way, &difference, err) != 0)
        return -1;
    printf("wrote '%s'; read back, its logits differ from the source's by %.2g (relative)\n", words->path,
           difference.relative);
    if (difference.num_apart > 0)
        printf("without %d of %d positions, at which rounding made a router take another expert\n",
               difference.num_apart, difference.num_tokens);
    if (is_adapter && !writes_adapter(words))
        tell_rounding(words, effect, difference.relative);
    return 0;
}

static int run(int argc, char **argv) {
    struct export_words words;
    enum export_type type = EXPORT_F32;
    struct err err = {""};
    bool is_adapter = false;
    if (!command_words(&COMMAND_export, &words, argc, argv))
        return EXIT_USAGE;
    int status = session_way_of(&words.way, words.check_device, words.check_type, SESSION_F32, &err);
    if (status == 0)
        status = write_model(&words, &type, &is_adapter, &err);
    if (status == 0 && compare(&words, type, is_adapter, &err) != 0) {
        remove_written(&words);
        status = -1;
    }
    if (status != 0) {
        fprintf(stderr, "error: %s\n", err.text);
        return EXIT_FAULT;
    }
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
