/* prepare_choose.c - what is asked for, checked, and how documents and conversations are written, decided before any is
 * read. */
#include <ctype.h>
#include <string.h>

#include "data/corpus/prepare_batch.h"

enum { MAX_THREADS = 1024 };

enum token_preference prepare_preference(enum source_record record) {
    if (record == RECORD_PAIR || record == RECORD_VOTE)
        return PREFERENCE_PAIRS;
    return record == RECORD_LABEL || record == RECORD_REACTION ? PREFERENCE_LABELS : PREFERENCE_NONE;
}

/* check_records - one kind of documents in a file, and keys that speak of it. */
static int check_records(const struct prepare_config *config, struct err *err) {
    for (int i = 0; i < config->num_sources; i++) {
        const struct prepare_source *source = &config->sources[i];
        bool is_comparia = source->record == RECORD_VOTE || source->record == RECORD_REACTION;
        if (prepare_preference(source->record) != prepare_preference(config->sources[0].record))
            return err_set(
                err,
                "the sources '%s' and '%s' hold different kinds of documents: pairs, labelled completions and "
                "documents of their own each go into a token file of their own",
                config->sources[0].path, source->path);
        if (is_comparia && !source->chat)
            return err_set(err, "the source '%s' holds conversations: its chat has to be true", source->path);
        if (source->num_fields > 0 && (source->field || source->chat || source->record != RECORD_DOCUMENT))
            return err_set(
                err,
                "the source '%s' has fields, whose texts become one document, and %s: leave one of them out",
                source->path,
                source->field  ? "field, which is a single text"
                : source->chat ? "chat, which has messages"
                               : "record, whose fields have names of their own");
        for (int f = 0; f < source->num_filters; f++)
            if (source->where[f].num_values == 0)
                return err_set(err,
                               "the source '%s' asks for no value of '%s' (where): nothing would be read",
                               source->path, source->where[f].field);
        if (source->separator && source->num_fields == 0)
            return err_set(err, "the separator of source '%s' would have no effect without fields",
                           source->path);
        if (source->form != FORM_AUTO && (!source->chat || source->record != RECORD_DOCUMENT))
            return err_set(
                err,
                "the form of source '%s' would have no effect: it is that of conversations (chat: true) that "
                "are no record",
                source->path);
        if ((source->form == FORM_ALPACA || source->form == FORM_COMPLETION) && source->field)
            return err_set(
                err, "the field '%s' of source '%s' would have no effect: its form has fields of its own",
                source->field, source->path);
        if (source->record != RECORD_DOCUMENT && source->field)
            return err_set(
                err, "the field '%s' of source '%s' would have no effect: a record has fields of its own",
                source->field, source->path);
        if (source->record != RECORD_DOCUMENT && config->train_on != TRAIN_ON_ASSISTANT)
            return err_set(
                err, "prepare.train_on has to be assistant: of the records of '%s' the completion is learnt",
                source->path);
    }
    return 0;
}

/* check_delimiters - a character that is no part of what it stands between. */
static int check_delimiters(const struct prepare_config *config, struct err *err) {
    for (int i = 0; i < config->num_sources; i++) {
        const char *said = config->sources[i].delimiter;
        bool is_word = !said || strcmp(said, "auto") == 0 || strcmp(said, "tab") == 0;
        if (!is_word && (strlen(said) != 1 || (unsigned char)*said >= 0x80 || isalnum((unsigned char)*said) ||
                         strchr("\"\r\n", *said)))
            return err_set(
                err,
                "the delimiter '%s' of source '%s' is none: auto, tab, or one character of ASCII other than "
                "letters, digits, quotes and line ends",
                said, config->sources[i].path);
    }
    return 0;
}

int prepare_check(const struct prepare_config *config, struct err *err) {
    if (config->num_sources < 1)
        return err_set(err, "no sources to prepare");
    if (split_check(config, err) != 0)
        return -1;
    if (config->num_threads < 0 || config->num_threads > MAX_THREADS)
        return err_set(err, "%d threads; use 0 for all processors, or 1 to %d", config->num_threads,
                       MAX_THREADS);
    return check_delimiters(config, err) != 0 ? -1 : check_records(config, err);
}

int source_takes_file(const struct prepare_source *source, const struct corpus_file *file, struct err *err) {
    const char *path = file->path;
    if (file->format->has_fields || (!source->chat && source->record == RECORD_DOCUMENT))
        return 0;
    if (source->record != RECORD_DOCUMENT)
        return err_set(
            err,
            "'%s' is text by %s, and its source has a record of several fields, which are read from JSON "
            "lines: set the source's format to jsonl if it holds them, else leave the file elsewhere",
            path, source->format == SOURCE_TEXT ? "the source's format" : "its name");
    return err_set(
        err,
        "'%s' is text by %s, and its source has chat: true; conversations are read from JSON lines: "
        "set the source's format to jsonl if it holds them, else leave chat out or the file elsewhere",
        path, source->format == SOURCE_TEXT ? "the source's format" : "its name");
}

/* has_source - whether a source holds conversations, or whether one holds plain text. */
static bool has_source(const struct prepare_config *config, bool chat) {
    for (int i = 0; i < config->num_sources; i++)
        if (config->sources[i].chat == chat)
            return true;
    return false;
}

/* warn_of_marker - some tokenizers name the token that opens a chat's turns as their bos. */
static void warn_of_marker(const struct tokenizer *tok, const struct worker *worker) {
    struct chat_style style = {.kind = CHAT_UNKNOWN};
    struct err err;
    if (worker->bos < 0 || !tokenizer_chat_template(tok))
        return;
    if (chat_style_open(&style, tok, "auto", worker->config->date, &err) == 0 && style.bos_is_marker)
        warn("each document begins with '%s', the tokenizer's bos, with which the model's chat template "
             "opens turns; "
             "set prepare.document_ends to 'eos' or 'none' for documents that are not conversations",
             tokenizer_entry(tok, worker->bos).text);
    chat_style_release(&style);
}

/* worker_choose_ends - the ids that frame a document; conversations have those of their template. */
int worker_choose_ends(struct worker *worker, struct err *err) {
    const struct prepare_config *config = worker->config;
    const struct tokenizer *tok = worker->tok;
    bool wants_bos = config->ends == DOCUMENT_BOS_EOS || config->ends == DOCUMENT_BOS;
    bool wants_eos = config->ends == DOCUMENT_BOS_EOS || config->ends == DOCUMENT_EOS;
    worker->bos = wants_bos ? tokenizer_bos(tok) : -1; /* some models have none: they do without */
    worker->eos = wants_eos ? tokenizer_eos(tok) : -1;
    if (!has_source(config, false))
        return 0;
    if (wants_eos && worker->eos < 0)
        return err_set(err,
                       "the tokenizer '%s' has no end-of-sequence token to put after documents; set "
                       "prepare.document_ends to 'none' or 'bos'",
                       config->tokenizer);
    warn_of_marker(tok, worker);
    return 0;
}

/* worker_choose_chat - the template, where a source holds conversations. */
int worker_choose_chat(struct worker *worker, struct chat_style *style, struct err *err) {
    const struct prepare_config *config = worker->config;
    const struct tokenizer *tok = worker->tok;
    struct err why;
    if (!has_source(config, true))
        return 0;
    if (chat_style_open(style, tok, config->chat_template, config->date, &why) != 0)
        return err_set(err, "cannot write conversations for '%s' (prepare.chat_template): %.800s",
                       config->tokenizer, why.text);
    worker->style = style;
    if (style->differs)
        warn("conversations are written as '%s', as prepare.chat_template says; the model's own chat "
             "template writes "
             "them otherwise, and engines will use that one",
             chat_style_name(style));
    if (style->end_id < 0 && config->train_on != TRAIN_ON_ALL)
        warn(
            "the model's chat template marks what is learnt by {%% generation %%} and puts no end token there: the "
            "model does not learn to stop; prepare.train_on: all counts the whole conversation");
    return 0;
}
