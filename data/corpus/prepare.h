/* prepare.h - corpora into one token file: readers, exact deduplication, chat masks, provenance. */
#pragma once

#include "data/corpus/encoding.h"
#include "data/corpus/minhash.h"
#include "data/corpus/personal.h"
#include "data/tokenizer/tokenizer.h"
#include "data/tokens/tokens.h"

enum source_format {
    SOURCE_AUTO,
    SOURCE_TEXT,
    SOURCE_JSONL,
    SOURCE_JSON,
    SOURCE_CSV,
    SOURCE_XML,
    SOURCE_PARQUET
};
enum bad_utf8_policy { BAD_UTF8_REPLACE, BAD_UTF8_SKIP, BAD_UTF8_FAIL };
enum bad_chat_policy { BAD_CHAT_FAIL, BAD_CHAT_SKIP, BAD_CHAT_KEEP };
enum personal_policy { PERSONAL_KEEP, PERSONAL_COUNT, PERSONAL_REPLACE };
enum train_on { TRAIN_ON_ASSISTANT, TRAIN_ON_LAST_ASSISTANT, TRAIN_ON_ALL };
enum bad_line_policy { BAD_LINE_FAIL, BAD_LINE_SKIP };
enum subfolder_policy { SUBFOLDERS_IGNORE, SUBFOLDERS_READ, SUBFOLDERS_FAIL };
/* What a line of a source holds.  The columns of a record are TRL's (its documentation, "Dataset formats and types"),
 * or those of the votes and reactions that compar:IA publishes. */
enum source_record {
    RECORD_DOCUMENT,   /* one document, in a field */
    RECORD_COMPLETION, /* prompt and completion */
    RECORD_PAIR,       /* prompt, chosen and rejected; or chosen and rejected, which begin alike */
    RECORD_LABEL,      /* prompt, completion and label */
    RECORD_VOTE,       /* compar:IA: two conversations, and which is better */
    RECORD_REACTION    /* compar:IA: a conversation, and whether one answer is liked */
};

/* How a conversation is said (prepare_form.h). */
enum conversation_form { FORM_AUTO, FORM_MESSAGES, FORM_SHAREGPT, FORM_ALPACA, FORM_COMPLETION };

/* Why a record is left out.  The first ones are faults, by prepare.on_bad_record; from LEFT_TIE on it is as it should be. */
enum left_reason {
    LEFT_OTHER,
    LEFT_NO_DIFFERENCE,
    LEFT_MISSING_FIELD,
    LEFT_MISSING_SIDE,
    LEFT_EMPTY_PROMPT,
    LEFT_BAD_LABEL,
    LEFT_TOO_LONG,
    LEFT_TIE,
    LEFT_NO_OPINION,
    LEFT_SYSTEMS_DIFFER,
    LEFT_NOTHING_COMMON,
    LEFT_MODEL,
    LEFT_FILTER,
    LEFT_CONTRADICTED,
    LEFT_COUNT
};
/* left_reason_text - for a table, and for the keys of its JSON. */
const char *left_reason_text(enum left_reason reason);
const char *left_reason_key(enum left_reason reason);

enum document_ends { DOCUMENT_BOS_EOS, DOCUMENT_EOS, DOCUMENT_BOS, DOCUMENT_NONE };

/* Texts of a list. */
struct prepare_word {
    char *text;
};

/* A field of a record, and the values of which it has to have one. */
struct prepare_filter {
    char *field;
    struct prepare_word *values;
    int num_values;
};

/* One corpus.  Text: one document per file.  JSONL: one per line.  JSON: one per element of an array.  CSV, Parquet: one per row;
 * .gz and .zst are read through, not of Parquet. */
struct prepare_source {
    char *path; /* a file, or a folder whose files are read in name order */
    char *name, *licence, *url;
    enum source_format format;
    char *
        field; /* of formats of fields: the text field, or the list of messages where chat is set; NULL: "text", "messages"
                  */
    struct prepare_word *fields; /* instead of field: several texts, one after another */
    int num_fields;
    char *separator;              /* between them; NULL: a blank line */
    struct prepare_filter *where; /* all of which a record has to meet; others are left out */
    int num_filters;
    char *element;                    /* XML: the elements that are records; NULL: a file is one */
    char *delimiter;                  /* CSV: a character, "tab", or "auto", as NULL: it is found */
    enum text_encoding encoding;      /* of its files, which become UTF-8 */
    enum subfolder_policy subfolders; /* of a folder */
    bool chat;                   /* the field holds messages; the loss counts on the assistant's turns only */
    enum conversation_form form; /* of chat; FORM_AUTO: by the fields of each line */
    enum source_record record;   /* RECORD_DOCUMENT: all of the above; else field is NULL */
    bool takes_all;              /* fields: not of a run file, for who reads whole records */
    double valid_share;          /* of its documents, kept for validation; NaN: as of all sources */
};

/* A model whose answers may be learnt from. */
struct prepare_model {
    char *name;
};

/* When a source has given enough for a look at it, and no more of it is read: at least so many of both were kept.  Zeros: all
 * is read.  What is read depends on neither threads nor time. */
struct prepare_enough {
    int64_t documents, tokens;
};

struct prepare_config {
    char *tokenizer; /* tokenizer.json, or a folder or GGUF that holds one (resolved by the caller) */
    char *output;    /* .h5 */
    struct prepare_source *sources;
    int num_sources;
    char *
        chat_template; /* "auto" (the tokenizer's own template), chatml, llama2, llama3, mistral, or a file */
    char *date; /* that a template writes as the present one, YYYY-MM-DD; NULL: such a template is refused */
    enum train_on train_on; /* what of a conversation the loss counts */
    enum bad_chat_policy
        bad_chat; /* a conversation that cannot be written as asked (keep: fails), or teaches nothing */
    int64_t max_chat_tokens; /* a longer conversation is a bad one; 0: of any length */
    enum document_ends ends;
    enum bad_utf8_policy bad_utf8;
    enum bad_line_policy
        on_bad_record;         /* of a record: no difference, no prompt, a label that is not a boolean, ... */
    int64_t max_record_tokens; /* a longer document of a record is a fault; 0: of any length */
    struct prepare_model *models; /* of votes and reactions; none: any */
    int num_models;
    enum bad_line_policy on_bad_line; /* a record that is not JSON, or has not the field */
    bool deduplicate;
    bool near_duplicates;          /* leaves documents out whose words are nearly those of one before: */
    struct minhash_config near;    /* by these, of which num_bands counts only with it */
    enum personal_policy personal; /* personal data in texts (personal.h) */
    int64_t min_tokens;            /* shorter documents are left out and counted */
    int num_threads;               /* 0: all */
    int64_t valid_every;           /* every n-th document goes to output with "-valid" before .h5; 0: none */
    double valid_share; /* in place of valid_every: of each source, by the hashes of its texts; 0: none */
    struct prepare_enough enough; /* not of the run file: to look at a part */
};

struct prepare_totals {
    int64_t num_documents, num_tokens; /* in the output file */
    int64_t num_duplicates, num_short; /* left out; short: fewer than min_tokens, or no text */
    int64_t num_near;                  /* left out: nearly a document before */
    struct personal_counts
        *personal;          /* [num_sources] of the documents that are kept; NULL: they were not looked for */
    int64_t num_bad_chats;  /* conversations left out, by bad_chat */
    int64_t num_kept_chats; /* conversations that teach nothing or are too long, kept by bad_chat */
    int64_t num_marked;     /* messages that hold the text of a special token, written as other text */
    int64_t num_names;      /* messages with the name of who speaks, which the template does not write */
    int64_t num_nulls;      /* of columns below tools and their calls, which are no arguments: left out */
    int64_t num_left[LEFT_COUNT]; /* records left out */
    int64_t num_invalid_utf8;     /* documents with invalid UTF-8 or NUL: repaired or left out */
    int64_t num_bad_lines;        /* left out: not JSON, without the field, or not to be encoded */
    int64_t num_nested_files, num_hidden_files, num_other_files; /* of folders, not read */
    int64_t input_bytes;                                         /* text read, after decompression */
    int64_t valid_documents, valid_tokens;
    bool is_part;                        /* prepare_enough: some source was not read to its end */
    int64_t consumed_bytes, total_bytes; /* of the files, as they are stored */
    double seconds;
};

/* prepare_totals_release - what they hold.  prepare_num_left - records left out, for whatever reason. */
void prepare_totals_release(struct prepare_totals *totals);
int64_t prepare_num_left(const struct prepare_totals *totals);

/* prepare_progress - called a few times a second; fraction of the input read, in [0, 1]. */
typedef void (*prepare_progress)(void *user, double fraction, int64_t num_documents, int64_t num_tokens);

/* prepare_preference - what the documents of a record are to each other. */
enum token_preference prepare_preference(enum source_record record);

/* prepare_valid_path - where the documents for validation go: "-valid" before ".h5"; malloc'ed.  prepare_has_valid - whether there
 * are to be any.  prepare_valid_share - of a source. */
char *prepare_valid_path(const char *output);
bool prepare_has_valid(const struct prepare_config *config);
double prepare_valid_share(const struct prepare_config *config, int source);

/* prepare_run - the whole job.  Conversations get no other ends than their template's.  The result does not
 * depend on num_threads.  Returns 0, or -1 with err set and no file left behind: unreadable input, no
 * document, a line that is not JSON (line number), a missing field. */
int prepare_run(const struct prepare_config *config, const struct tokenizer *tok, prepare_progress progress,
                void *user, struct prepare_totals *totals, struct err *err);
