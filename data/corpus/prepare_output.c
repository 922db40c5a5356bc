/* prepare_output.c - the token files that are written, and what they may replace: another one.  Anything else in its place,
 * a corpus above all, was not meant to be lost. */
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "data/corpus/prepare_batch.h"
#include "data/corpus/prepare_where.h"
#include "data/tokens/tokens.h"

/* output_check - nothing stands at path, or a token file.  Returns 0, or -1 with err set. */
static int output_check(const char *path, struct err *err) {
    struct err why;
    struct stat facts;
    if (stat(path, &facts) != 0 || !S_ISREG(facts.st_mode) || facts.st_size == 0)
        return 0; /* what is not a regular file is refused where it is written */
    struct token_file *file = token_file_open(path, &why);
    if (!file)
        return err_set(
            err,
            "'%.300s' is there and is not a token file: it is not replaced; name another prepare.output, or "
            "remove it",
            path);
    token_file_close(file);
    return 0;
}

int output_check_valid(const struct prepare_config *config, struct err *err) {
    struct stat facts;
    if (prepare_has_valid(config))
        return 0;
    char *path = prepare_valid_path(config->output);
    int status =
        stat(path, &facts) == 0
            ? err_set(err,
                      "'%.300s' is there from an earlier preparation, and this one keeps nothing for "
                      "validation: its texts would be learnt; set prepare.valid_share or valid_every, "
                      "or remove it",
                      path)
            : 0;
    free(path);
    return status;
}

/* set_chat - how conversations are written. */
static void set_chat(struct token_writer *writer, const struct worker *worker) {
    static const char *const parts[] = {"assistant", "last_assistant", "all"};
    const struct chat_style *style = worker->style;
    enum train_on train_on = worker->config->train_on;
    if (!style)
        return;
    bool is_plain = !style->date && train_on == TRAIN_ON_ASSISTANT; /* as files without a word of it */
    *token_writer_chat(writer) = (struct token_chat){.style = xstrdup(chat_style_name(style)),
                                                     .template_text = chat_style_template(style, worker->tok),
                                                     .end_id = style->end_id,
                                                     .differs = style->differs,
                                                     .date = style->date ? xstrdup(style->date) : NULL,
                                                     .train_on = is_plain ? NULL : xstrdup(parts[train_on])};
}

struct token_writer *output_create(const char *path, const struct worker *worker, struct err *err) {
    const struct prepare_config *config = worker->config;
    if (output_check(path, err) != 0)
        return NULL;
    struct token_writer *writer =
        token_writer_create(path, tokenizer_hash(worker->tok), tokenizer_vocab_size(worker->tok), err);
    if (!writer)
        return NULL;
    set_chat(writer, worker);
    for (int i = 0; i < config->num_sources; i++) {
        const struct prepare_source *source = &config->sources[i];
        token_writer_add_source(writer, source->name ? source->name : source->path, source->licence,
                                source->url);
    }
    return writer;
}

void output_set_hashes(struct token_writer *writer, const struct corpus *corpus) {
    for (int i = 0; writer && i < corpus->num_sources; i++) {
        struct token_source *source = token_writer_source(writer, i);
        free(source->sha256);
        source->sha256 = xstrdup(corpus->sha256[i]);
    }
}

void prepare_totals_release(struct prepare_totals *totals) {
    free(totals->personal);
    totals->personal = NULL;
}

int64_t prepare_num_left(const struct prepare_totals *totals) {
    int64_t sum = 0;
    for (int reason = 0; reason < LEFT_COUNT; reason++)
        sum += totals->num_left[reason];
    return sum;
}

int output_fail_empty(const struct prepare_config *config, const struct prepare_totals *totals,
                      const struct where_counts *filtered, struct err *err) {
    for (int i = 0; i < config->num_sources; i++)
        if (config->sources[i].num_filters > 0)
            where_tell(filtered, config, i, config->sources[i].path);
    return err_set(
        err,
        "no document to write to '%s': the sources are empty, or every document was left out (%lld "
        "short, %lld duplicates, %lld nearly such, %lld conversations, %lld records, %lld lines that cannot be used, %lld with "
        "invalid UTF-8)",
        config->output, (long long)totals->num_short, (long long)totals->num_duplicates,
        (long long)totals->num_near, (long long)totals->num_bad_chats, (long long)prepare_num_left(totals),
        (long long)totals->num_bad_lines, (long long)totals->num_invalid_utf8);
}
