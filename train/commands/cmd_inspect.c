/* cmd_inspect.c - `atelier inspect PATH [--verify] [--json]`: the tree of describe.h as JSON, or as lines for
 * people. In lines, a list of objects is a table: one line each, without the keys.  With --show N the samples of a token file
 * come after it.  With --document or --step the tree is that of run_index.h. */
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "configs/schema/config.h"
#include "train/commands/commands.h"
#include "train/commands/show_words.h"
#include "train/measure/describe.h"
#include "train/measure/run_index.h"
#include "train/measure/summary.h"
#include "train/plan/packing.h"
#include "train/plan/prepare_tokenizer.h"

/* print_text - control characters, which could move a terminal's cursor, are written as escapes: a template
 * or a token that holds a newline shows it. */
static void print_text(const char *text) {
    for (const unsigned char *at = (const unsigned char *)text; *at; at++) {
        bool is_c1 = at[0] == 0xc2 && at[1] >= 0x80 && at[1] < 0xa0;
        if (*at == '\n' || *at == '\t' || *at == '\r')
            printf("\\%c", *at == '\n' ? 'n' : *at == '\t' ? 't' : 'r');
        else if (*at < 0x20 || *at == 0x7f || is_c1)
            printf("\\x%02x", is_c1 ? at[1] : *at);
        else
            putchar(*at);
        at += is_c1;
    }
}

/* print_inline - a value on the line that is being written. */
static void print_inline(const json_t *value) {
    const char *key;
    json_t *member;
    size_t i;
    if (json_is_string(value)) {
        print_text(json_string_value(value));
    } else if (json_is_array(value)) {
        putchar('[');
        json_array_foreach(value, i, member) {
            fputs(i > 0 ? ", " : "", stdout);
            print_inline(member);
        }
        putchar(']');
    } else if (json_is_object(value)) {
        const char *between = "";
        json_object_foreach((json_t *)(uintptr_t)value, key, member) {
            printf("%s%s ", between, key);
            print_inline(member);
            between = ", ";
        }
    } else if (json_is_integer(value)) {
        printf("%lld", (long long)json_integer_value(value));
    } else if (json_is_real(value)) {
        printf("%g", json_real_value(value));
    } else {
        fputs(json_is_true(value) ? "yes" : json_is_false(value) ? "no" : "-", stdout);
    }
}

/* print_row - one object of a table: texts without their keys, numbers with them, empty texts left out. */
static void print_row(const json_t *row) {
    const char *key;
    json_t *member;
    fputs("   ", stdout);
    json_object_foreach((json_t *)(uintptr_t)row, key, member) {
        if (json_is_string(member) && !json_string_length(member))
            continue;
        putchar(' ');
        /* The first columns of a table of tensors are its name and type; counts carry their key. */
        if (json_is_integer(member))
            printf(" %s ", key);
        else
            putchar(' ');
        print_inline(member);
    }
    putchar('\n');
}

/* is_table - by its first item: a list of describe.h holds one kind of them. */
static bool is_table(const json_t *value) {
    return json_is_array(value) && json_is_object(json_array_get(value, 0));
}

/* print_object - small objects, of one or two members, stay on the line of their key. */
static void print_object(const json_t *object, int indent) {
    const char *key;
    json_t *member, *row;
    size_t i;
    json_object_foreach((json_t *)(uintptr_t)object, key, member) {
        printf("%*s", indent, "");
        print_text(key);
        if (strcmp(key, "lengths") == 0 && is_table(member)) {
            printf(":\n");
            summary_print_lengths(stdout, member, indent + 2);
        } else if (is_table(member)) {
            printf(":\n");
            json_array_foreach(member, i, row) print_row(row);
        } else if (json_is_object(member) && json_object_size(member) > 2) {
            printf(":\n");
            print_object(member, indent + 4);
        } else {
            printf("%*s ", (int)strlen(key) < 16 ? 16 - (int)strlen(key) : 1, "");
            print_inline(member);
            putchar('\n');
        }
    }
}

/* is_unverified - --verify was asked for, and there is nothing to verify it with. */
static bool is_unverified(const json_t *tree) {
    const char *checksums = json_string_value(json_object_get(tree, "checksums"));
    return checksums && strcmp(checksums, DESCRIBE_NO_CHECKSUMS) == 0;
}

struct inspect_words {
    const char *path;
    const char *tokenizer, *run_file;
    const char *document; /* of a run; NULL: not asked */
    int64_t step;         /* of a run; 0: not asked */
    struct show_words show;
    bool as_json, verifies;
};

static const struct option OPTIONS[] = {
    {.name = "PATH",
     .help =
         "a .h5, .safetensors, .gguf or tokenizer.json file, a model folder, an adapter, a checkpoint or a run",
     .kind = OPTION_TEXT,
     .at = offsetof(struct inspect_words, path),
     .is_required = true},
    {.name = "--verify",
     .help = "compare every byte with the checksums; code 1 where there are none",
     .kind = OPTION_FLAG,
     .at = offsetof(struct inspect_words, verifies)},
    {.name = "--json", .help = "as JSON", .kind = OPTION_FLAG, .at = offsetof(struct inspect_words, as_json)},
    OPTION_SHOW(offsetof(struct inspect_words, show.count)),
    OPTION_SHOW_SEED(offsetof(struct inspect_words, show.seed)),
    OPTION_SHOW_IDS(offsetof(struct inspect_words, show.has_ids)),
    {.name = "--tokenizer",
     .value = "MODEL",
     .help = "of --show: whose tokenizer made the file, a tokenizer.json, a model folder or a GGUF file",
     .kind = OPTION_TEXT,
     .at = offsetof(struct inspect_words, tokenizer)},
    {.name = "--run",
     .value = "CONFIG",
     .help = "of --show: the run file that cuts and packs the sequences, and names the tokenizer",
     .kind = OPTION_TEXT,
     .at = offsetof(struct inspect_words, run_file)},
    {.name = "--document",
     .value = "ID",
     .help =
         "of a run folder: the steps that read this document, and will; its number in the token file (from 0), FILE:NUMBER "
         "where the run reads several, or its hash",
     .kind = OPTION_TEXT,
     .at = offsetof(struct inspect_words, document)},
    {.name = "--step",
     .value = "K",
     .help = "of a run folder: the documents that this step read, or will read",
     .kind = OPTION_INT,
     .at = offsetof(struct inspect_words, step),
     .min = 1,
     .max = 1e12},
};

/* check - a token file keeps the hash of its tokenizer, not the tokenizer. */
static int check(const void *of_command, struct err *err) {
    const struct inspect_words *words = of_command;
    bool has_names = words->tokenizer || words->run_file, is_of_run = words->document || words->step > 0;
    if (words->document && words->step > 0)
        return err_set(err, "--document and --step are two questions: ask one of them");
    if (is_of_run && (words->verifies || words->show.count > 0))
        return err_set(err, "%s does not go with %s", words->verifies ? "--verify" : "--show",
                       words->document ? "--document" : "--step");
    if (words->show.count == 0 && has_names)
        return err_set(err, "%s has no effect without --show N", words->tokenizer ? "--tokenizer" : "--run");
    if (words->show.count > 0 && !has_names)
        return err_set(err,
                       "--show needs the tokenizer that made the file: --tokenizer MODEL, or --run CONFIG");
    if (words->tokenizer && words->run_file)
        return err_set(err, "--tokenizer and --run both name a tokenizer: leave one of them out");
    return show_words_check(&words->show, err);
}

/* --- samples --- */

/* open_tokenizer - the one that is named, else the run file's. */
static struct tokenizer *open_tokenizer(const struct inspect_words *words, const struct config *config,
                                        struct err *err) {
    struct config named = *config; /* whose texts are borrowed */
    if (words->tokenizer)
        named.prepare.tokenizer = (char *)(uintptr_t)words->tokenizer;
    else if (!named.prepare.tokenizer)
        named.prepare.tokenizer = config->model.tokenizer ? config->model.tokenizer : config->model.path;
    if (named.prepare.tokenizer)
        return prepare_tokenizer_open(&named, err);
    err_set(err, "'%s' names no tokenizer: give --tokenizer MODEL", words->run_file);
    return NULL;
}

/* show_of - the samples, after the tree, or in it where it is JSON.  Returns 0, or -1 with err set. */
static int show_of(json_t *tree, const struct inspect_words *words, const struct config *config,
                   struct err *err) {
    struct show_request request = show_words_request(&words->show);
    struct show show = {.file = NULL};
    struct tokenizer *tok = open_tokenizer(words, config, err);
    int status = tok ? show_open(&show, words->path, tok, config, err) : -1;
    if (status == 0 && words->as_json) {
        json_t *samples = show_json(&show, &request, err);
        status = samples ? json_object_set_new(tree, "samples", samples) : -1;
    } else if (status == 0) {
        print_object(tree, 0);
        putchar('\n');
        status = show_print(stdout, &show, &request, show_words_marks(), err);
    }
    show_close(&show);
    tokenizer_free(tok);
    return status;
}

/* show_samples - the same with the run file, where one is named. */
static int show_samples(json_t *tree, const struct inspect_words *words, struct err *err) {
    struct config config;
    memset(&config, 0, sizeof config);
    if (strcmp(json_string_value(json_object_get(tree, "kind")), "token file") != 0)
        return err_set(err, "'%s' is not a token file: --show has no samples to take from it", words->path);
    if (words->run_file && config_load(&config, words->run_file, NULL, 0, err) != 0)
        return -1;
    if (words->run_file)
        packing_keep(&config);
    int status = show_of(tree, words, &config, err);
    if (words->run_file)
        config_free(&config);
    return status;
}

/* print - as it was asked for; of samples as text, all of it is there already. */
static int print(json_t *tree, const struct inspect_words *words, struct err *err) {
    bool has_samples = words->show.count > 0;
    if (has_samples && show_samples(tree, words, err) != 0)
        return -1;
    if (words->as_json) {
        json_dumpf(tree, stdout, JSON_INDENT(2));
        putchar('\n');
    } else if (!has_samples) {
        print_object(tree, 0);
    }
    return 0;
}

/* tree_of - what is asked about PATH. */
static json_t *tree_of(const struct inspect_words *words, struct err *err) {
    struct stat facts;
    bool is_of_run = words->document || words->step > 0;
    if (is_of_run && stat(words->path, &facts) == 0 && !S_ISDIR(facts.st_mode)) {
        err_set(err,
                "%s asks a run what it reads, and '%.300s' is a file: give the folder of the run, RUN %s",
                words->document ? "--document" : "--step", words->path,
                words->document ? "--document ID" : "--step K");
        return NULL;
    }
    if (words->document)
        return run_index_document(words->path, words->document, err);
    if (words->step > 0)
        return run_index_step(words->path, words->step, err);
    return describe_path(words->path, words->verifies ? VERIFY_CHECKSUMS : VERIFY_NOTHING, err);
}

/* run - the tree is printed also where there was nothing to verify; the code and the message come after it. */
static int run(int argc, char **argv) {
    struct inspect_words words;
    struct err err = {""};
    if (!command_words(&COMMAND_inspect, &words, argc, argv))
        return EXIT_USAGE;
    json_t *tree = tree_of(&words, &err);
    if (!tree) {
        fprintf(stderr, "error: %s\n", err.text);
        return EXIT_FAULT;
    }
    if (print(tree, &words, &err) != 0) {
        json_decref(tree);
        fprintf(stderr, "error: %s\n", err.text);
        return EXIT_FAULT;
    }
    bool is_failed = words.verifies && is_unverified(tree);
    json_decref(tree);
    if (is_failed) {
        fflush(stdout);
        fprintf(stderr,
                "error: cannot verify '%s': it holds no checksums; checkpoints and the token files of this "
                "version do (prepare an older token file again)\n",
                words.path);
    }
    return is_failed ? EXIT_FAULT : EXIT_DONE;
}

const struct command COMMAND_inspect = {
    .name = "inspect",
    .summary = "what is in a token file, model, checkpoint or tokenizer",
    .text =
        "Says what PATH is and holds: sizes, types, names, where it comes from.  Of a run also which steps read a document, and "
        "which documents a step read, computed from the order of its data.",
    .options = OPTIONS,
    .num_options = sizeof OPTIONS / sizeof OPTIONS[0],
    .words_bytes = sizeof(struct inspect_words),
    .check = check,
    .run = run,
};
