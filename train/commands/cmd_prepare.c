/* cmd_prepare.c - `atelier prepare CONFIG [--set key=value]... [--show N] [--json]`: finds the tokenizer, runs
 * data/corpus/prepare.h under a progress bar, prints the totals; or shows samples and writes nothing. */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "checkpoints/files.h"
#include "configs/schema/config.h"
#include "kernels/clock.h"
#include "kernels/units.h"
#include "train/commands/commands.h"
#include "train/commands/personal_table.h"
#include "train/commands/prepare_tasks.h"
#include "train/commands/show_words.h"
#include "train/measure/show_part.h"
#include "train/measure/summary.h"
#include "train/plan/epochs.h"
#include "train/plan/prepare_tokenizer.h"
#include "train/record/live_line.h"
#include "train/record/metrics_summary.h"

enum { BAR_WIDTH = 24, LOG_EVERY_S = 10 };

/* --- progress --- */

struct progress {
    bool is_terminal;
    double started_s, shown_s; /* clock_s */
};

/* show_bar - on a terminal: one line that redraws itself. */
static void show_bar(double fraction, const char *documents, const char *tokens, const char *speed,
                     const char *left) {
    char bar[BAR_WIDTH + 3] = "[", share[16];
    for (int i = 0; i < BAR_WIDTH; i++)
        bar[i + 1] = i < (int)(fraction * BAR_WIDTH) ? '#' : '-';
    bar[BAR_WIDTH + 1] = ']';
    snprintf(share, sizeof share, "%3.0f %%", 100 * fraction);
    live_line_show(
        (const struct live_part[]){{bar, 2}, {share, 5}, {documents, 1}, {tokens, 3}, {speed, 0}, {left, 4}},
        6);
}

/* show_progress - a bar on a terminal; in a log a line of words, every ten seconds from the tenth on.  The
 * share is of the input's bytes, and rounded down: 100 % is said when all is done. */
static void show_progress(void *user, double fraction, int64_t num_documents, int64_t num_tokens) {
    struct progress *progress = user;
    double now_s = clock_s(), elapsed_s = now_s - progress->started_s;
    if (now_s - progress->shown_s < (progress->is_terminal ? 0.1 : LOG_EVERY_S))
        return;
    progress->shown_s = now_s;
    char duration[32], documents[40], tokens[40], speed[40], left[48];
    double bounded = fraction < 0 ? 0 : fraction > 0.99 ? 0.99 : fraction;
    duration_text(bounded > 0 ? elapsed_s * (1 - bounded) / bounded : -1, duration, sizeof duration);
    snprintf(documents, sizeof documents, "%lld documents", (long long)num_documents);
    snprintf(tokens, sizeof tokens, "%.2f M tokens", (double)num_tokens / MEGA);
    snprintf(speed, sizeof speed, "%.0f tokens/s", elapsed_s > 0 ? (double)num_tokens / elapsed_s : 0);
    snprintf(left, sizeof left, "ETA %s", duration);
    if (progress->is_terminal)
        show_bar(bounded, documents, tokens, speed, left);
    else
        fprintf(stderr, "prepare: %d %% read, %s, %s, %s, about %s left\n", (int)(100 * bounded), documents,
                tokens, speed, duration);
    fflush(stderr);
}

struct prepare_words {
    const char *config_path, *task_kind, *task_output;
    struct option_list overrides;
    struct show_words show;
    bool as_json;
};

/* --- the totals --- */

/* left_json - records left out, by their reason. */
static json_t *left_json(const struct prepare_totals *t) {
    json_t *left = json_object();
    for (int reason = 0; reason < LEFT_COUNT; reason++)
        if (t->num_left[reason] > 0)
            json_object_set_new(left, left_reason_key((enum left_reason)reason),
                                json_integer((json_int_t)t->num_left[reason]));
    return left;
}

/* What was written, looked at again. */
struct written {
    struct token_summary summary;
    struct run_share share;
    char *style; /* of the conversations; NULL: there are none */
};

/* look_at - the output, as `inspect` would tell it.  Returns 0, or -1 with err set; style is freed by the caller. */
static int look_at(struct written *written, struct config *run_file, struct err *err) {
    const char *path = run_file->prepare.output;
    struct token_file *file = token_file_open(path, err);
    struct err refusal = {""};
    *written = (struct written){.style = NULL};
    if (!file)
        return -1;
    const char *style = token_file_chat(file)->style;
    written->style = style ? xstrdup(style) : NULL;
    int status = token_summary_make(&written->summary, file, err);
    token_file_close(file);
    if (status == 0 && epochs_resolve(run_file, &refusal) != 0)
        warn("%s", refusal.text);
    if (status == 0 && summary_run(&written->share, path, run_file, &refusal) != 0)
        warn("'train' will refuse the file as the run file has it: %s", refusal.text);
    return status;
}

/* print_json - every count, zero or not: programs compare them. */
static void print_json(const struct prepare_config *config, const struct prepare_totals *t,
                       const struct written *written) {
    json_t *root = json_pack(
        "{s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:f}",
        "output", config->output, "documents", (json_int_t)t->num_documents, "tokens",
        (json_int_t)t->num_tokens, "duplicates", (json_int_t)t->num_duplicates, "near_duplicates",
        (json_int_t)t->num_near, "short", (json_int_t)t->num_short, "bad_conversations",
        (json_int_t)t->num_bad_chats, "kept_bad_conversations", (json_int_t)t->num_kept_chats,
        "special_token_messages", (json_int_t)t->num_marked, "bad_lines", (json_int_t)t->num_bad_lines,
        "files_in_subfolders", (json_int_t)t->num_nested_files, "hidden_files",
        (json_int_t)t->num_hidden_files, "other_files", (json_int_t)t->num_other_files, "invalid_utf8",
        (json_int_t)t->num_invalid_utf8, "input_bytes", (json_int_t)t->input_bytes, "valid_documents",
        (json_int_t)t->valid_documents, "valid_tokens", (json_int_t)t->valid_tokens, "seconds", t->seconds);
    CHECK(root, "out of memory, or an output path that is not UTF-8");
    json_object_set_new(root, "left_out_records", left_json(t));
    json_object_set_new(root, "left_out_names", json_integer((json_int_t)t->num_names));
    json_object_set_new(root, "left_out_nulls", json_integer((json_int_t)t->num_nulls));
    if (t->personal)
        json_object_set_new(root, "personal_data", personal_json(config, t->personal));
    if (written->style)
        json_object_set_new(root, "chat_style", json_string(written->style));
    summary_put(root, &written->summary);
    summary_put_run(root, &written->share);
    json_dumpf(root, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(6));
    putchar('\n');
    json_decref(root);
}

/* print_left - records left out, a line for each reason. */
static void print_left(FILE *out, const struct prepare_totals *t) {
    for (int reason = 0; reason < LEFT_COUNT; reason++)
        if (t->num_left[reason] > 0)
            fprintf(out, "  records        %lld: %s\n", (long long)t->num_left[reason],
                    left_reason_text((enum left_reason)reason));
}

/* print_totals - what was left out is told only where something was; duplicates, short documents and invalid UTF-8
 * always, as every corpus may have them. */
static void print_totals(const struct prepare_config *config, const struct prepare_totals *t,
                         const struct written *written) {
    char duration[32];
    printf("wrote '%s'\n", config->output);
    printf("  documents      %lld, %lld tokens\n", (long long)t->num_documents, (long long)t->num_tokens);
    if (written->style)
        printf("  template       %s\n",
               strcmp(written->style, "own") == 0 ? "the model's own" : written->style);
    summary_print(stdout, &written->summary);
    summary_print_run(stdout, &written->share);
    if (prepare_has_valid(config)) {
        char *path = prepare_valid_path(config->output);
        printf("wrote '%s'\n  documents      %lld, %lld tokens\n", path, (long long)t->valid_documents,
               (long long)t->valid_tokens);
        free(path);
    }
    printf("left out\n  duplicates     %lld\n  short          %lld\n", (long long)t->num_duplicates,
           (long long)t->num_short);
    if (config->near_duplicates)
        printf("  near copies    %lld (prepare.near_duplicates)\n", (long long)t->num_near);
    if (t->num_bad_chats > 0)
        printf("  conversations  %lld (prepare.on_bad_conversation)\n", (long long)t->num_bad_chats);
    if (t->num_kept_chats > 0)
        printf("  kept           %lld conversations all the same (prepare.on_bad_conversation)\n",
               (long long)t->num_kept_chats);
    if (t->num_bad_lines > 0)
        printf("  lines          %lld (prepare.on_bad_line)\n", (long long)t->num_bad_lines);
    print_left(stdout, t);
    if (t->num_nested_files + t->num_hidden_files + t->num_other_files > 0)
        printf("  files          %lld in subfolders, %lld hidden, %lld others\n",
               (long long)t->num_nested_files, (long long)t->num_hidden_files, (long long)t->num_other_files);
    if (t->num_marked > 0)
        printf(
            "special tokens   their text stands in %lld messages: written as other text, never as the token\n",
            (long long)t->num_marked);
    if (t->num_names > 0)
        printf(
            "names            of %lld messages are left out: the chat template does not write who speaks\n",
            (long long)t->num_names);
    if (t->num_nulls > 0)
        printf(
            "nulls            %lld left out of tools and calls of Parquet: a column's place in rows without it; a "
            "null that is meant is kept where arguments are texts of JSON\n",
            (long long)t->num_nulls);
    if (t->personal)
        personal_print(stdout, config, t->personal);
    printf("invalid UTF-8    %lld documents\n", (long long)t->num_invalid_utf8);
    printf("read             %.1f MB in %s, %.1f MB/s\n", (double)t->input_bytes / MEGA,
           duration_text(t->seconds, duration, sizeof duration),
           t->seconds > 0 ? (double)t->input_bytes / MEGA / t->seconds : 0);
}

/* --- the command --- */

/* make_folder_of - the folder that path lies in. */
static int make_folder_of(const char *path, struct err *err) {
    const char *slash = strrchr(path, '/');
    if (!slash || slash == path)
        return 0;
    char *folder = xstrndup(path, (size_t)(slash - path));
    int status = folder_create(folder, err);
    free(folder);
    return status;
}

/* prepare - returns the exit code.  The bar, which has no end of its own, is wiped before anything else is said. */
static int prepare(struct config *run_file, bool as_json, struct err *err) {
    const struct prepare_config *config = &run_file->prepare;
    struct progress progress = {.is_terminal = isatty(STDERR_FILENO) == 1, .started_s = clock_s()};
    progress.shown_s = progress.is_terminal ? 0 : progress.started_s;
    struct prepare_totals totals;
    struct written written = {.style = NULL};
    memset(&totals, 0, sizeof totals);
    struct tokenizer *tok = prepare_tokenizer_open(run_file, err);
    if (!tok)
        return 1;
    int status = make_folder_of(config->output, err);
    if (status == 0)
        status = prepare_run(config, tok, show_progress, &progress, &totals, err);
    if (progress.is_terminal)
        live_line_end();
    tokenizer_free(tok);
    if (status == 0)
        status = look_at(&written, run_file, err);
    if (status == 0 && as_json)
        print_json(config, &totals, &written);
    else if (status == 0)
        print_totals(config, &totals, &written);
    else /* with the error: why nothing, or nothing more, was written */
        print_left(stderr, &totals);
    free(written.style);
    prepare_totals_release(&totals);
    return status == 0 ? 0 : 1;
}

/* --- samples --- */

/* print_part - how much of the corpora was looked at. */
static void print_part(const struct prepare_config *config, const struct prepare_totals *t) {
    printf("nothing was written: a look at what 'prepare' would write to '%s'\n", config->output);
    if (t->is_part)
        printf(
            "read: a part, %.1f MB of %.1f MB, from the beginning of each source; %lld documents are numbered as in that "
            "part\n",
            (double)t->consumed_bytes / MEGA, (double)t->total_bytes / MEGA, (long long)t->num_documents);
    else
        printf("read: all, %.1f MB, %lld documents\n", (double)t->total_bytes / MEGA,
               (long long)t->num_documents);
}

/* print_shown_json - returns 0, or -1 with err set. */
static int print_shown_json(const struct show *show, const struct show_request *request,
                            const struct prepare_totals *t, struct err *err) {
    json_t *samples = show_json(show, request, err);
    if (!samples)
        return -1;
    json_t *root = json_pack("{s:b, s:I, s:I, s:I, s:o}", "all_read", !t->is_part, "read_bytes",
                             (json_int_t)t->consumed_bytes, "total_bytes", (json_int_t)t->total_bytes, "seed",
                             (json_int_t)request->seed, "samples", samples);
    CHECK(root, "out of memory");
    json_dumpf(root, stdout, JSON_INDENT(2));
    putchar('\n');
    json_decref(root);
    return 0;
}

/* show_samples - returns the exit code. */
static int show_samples(const struct config *run_file, const struct prepare_words *words, struct err *err) {
    struct show_request request = show_words_request(&words->show);
    struct prepare_totals totals;
    struct show show;
    memset(&totals, 0, sizeof totals);
    struct tokenizer *tok = prepare_tokenizer_open(run_file, err);
    if (!tok)
        return EXIT_FAULT;
    int status = show_part_open(&show, run_file, tok, request.num_samples, &totals, err);
    if (status == 0 && words->as_json)
        status = print_shown_json(&show, &request, &totals, err);
    else if (status == 0) {
        print_part(&run_file->prepare, &totals);
        status = show_print(stdout, &show, &request, show_words_marks(), err);
    }
    show_close(&show);
    prepare_totals_release(&totals);
    tokenizer_free(tok);
    return status == 0 ? EXIT_DONE : EXIT_FAULT;
}

static const struct option OPTIONS[] = {
    OPTION_CONFIG(offsetof(struct prepare_words, config_path)),
    OPTION_SET(offsetof(struct prepare_words, overrides)),
    {.name = "--eval",
     .value = "SET",
     .help =
         "in place of corpora: CONFIG is a file of that published set of questions (.parquet, .jsonl, .json, .csv, .tsv), and "
         "becomes what 'eval --tasks' reads: arc_challenge, hellaswag, grammar, vocab, reading_comp, boolqa, xnli, "
         "topic_based_nli, global_mmlu, mmmlu, include, belebele, gpqa_fr, bac_fr",
     .kind = OPTION_TEXT,
     .at = offsetof(struct prepare_words, task_kind)},
    {.name = "--output",
     .value = "FILE.jsonl",
     .help = "of --eval, the file to write, which must not exist",
     .kind = OPTION_TEXT,
     .at = offsetof(struct prepare_words, task_output)},
    {.name = "--json",
     .help = "totals, or the samples of --show, as JSON on standard output",
     .kind = OPTION_FLAG,
     .at = offsetof(struct prepare_words, as_json)},
    OPTION_SHOW(offsetof(struct prepare_words, show.count)),
    OPTION_SHOW_SEED(offsetof(struct prepare_words, show.seed)),
    OPTION_SHOW_IDS(offsetof(struct prepare_words, show.has_ids)),
};

/* check - options that go together. */
static int check(const void *given, struct err *err) {
    const struct prepare_words *words = given;
    if (words->task_kind && !words->task_output)
        return err_set(err, "--eval writes a file: --output FILE.jsonl is missing");
    if (words->task_kind && words->overrides.count > 0)
        return err_set(err, "--set is for a run file: with --eval it has no effect");
    if (words->task_output && !words->task_kind)
        return err_set(err, "--output is for --eval: a run file says prepare.output");
    if (words->task_kind && words->show.count > 0)
        return err_set(err, "--show is for a run file: with --eval it has no effect");
    return show_words_check(&words->show, err);
}

/* prepare_run_file - by the run file; returns the exit code. */
static int prepare_run_file(const struct prepare_words *words, struct err *err) {
    struct config config;
    int code = EXIT_USAGE;
    if (config_load(&config, words->config_path, words->overrides.words, words->overrides.count, err) != 0)
        return code;
    if (config_need_prepare(&config, err) == 0)
        code =
            words->show.count > 0 ? show_samples(&config, words, err) : prepare(&config, words->as_json, err);
    config_free(&config);
    return code;
}

static int run(int argc, char **argv) {
    struct prepare_words words;
    struct err err = {""};
    if (!command_words(&COMMAND_prepare, &words, argc, argv))
        return EXIT_USAGE;
    const struct prepare_tasks_words tasks = {words.task_kind, words.config_path, words.task_output,
                                              words.as_json};
    int code = words.task_kind ? prepare_tasks(&tasks, &err) : prepare_run_file(&words, &err);
    if (code != EXIT_DONE)
        fprintf(stderr, "error: %s\n", err.text);
    return code;
}

const struct command COMMAND_prepare = {
    .name = "prepare",
    .summary = "corpora -> one token file, with provenance",
    .text =

        "Reads the 'prepare:' section of the run file CONFIG and writes the token file it names.  With --show nothing is "
        "written: samples of what would be are printed, cut and packed as training does where CONFIG has data.train; "
        "of large corpora the beginning of each source is read.  With --eval a published set "
        "of questions with choices becomes items for 'atelier eval --tasks'.",
    .options = OPTIONS,
    .num_options = sizeof OPTIONS / sizeof OPTIONS[0],
    .words_bytes = sizeof(struct prepare_words),
    .check = check,
    .run = run,
};
