/* prepare_batch.h - inside prepare: what travels from the reading loop to the workers and back.
 *
 *   corpus (prepare_corpus.c)     reads files into batches of raw documents, in order
 *   worker (prepare_document.c)   turns a batch's documents into tokens, any order, one batch at a time
 *   prepare.c                     hands batches round and appends the results in order */
#pragma once

#include <jansson.h>
#include <xxhash.h>

#include "data/corpus/format.h"
#include "data/corpus/json_line.h"
#include "data/corpus/prepare.h"
#include "data/corpus/tar.h"
#include "data/template/chat.h"
#include "data/tokens/tokens.h"
#include "kernels/units.h"

enum {
    BATCH_BYTES = MIB, /* of raw text, unless one document is longer */
    BATCH_DOCUMENTS = 1024,
    CHAT_MAX_BYTES = 16 * MIB,  /* a longer list of messages is refused; such a one takes 3.3 times that */
    BATCH_KEPT_TOKENS = 1 << 22 /* a token list that grew beyond this is given back after use */
};

enum outcome {
    OUTCOME_TOKENS,     /* encoded */
    OUTCOME_BLANK,      /* an empty line: no document */
    OUTCOME_EMPTY,      /* a document without text: left out like a short one */
    OUTCOME_SKIPPED,    /* left out because of bad bytes */
    OUTCOME_BAD_CHAT,   /* a conversation that cannot be written or has nothing to learn: left out */
    OUTCOME_BAD_LINE,   /* a line that cannot be used: left out */
    OUTCOME_BAD_RECORD, /* a record with a fault: left out */
    OUTCOME_PASSED      /* nothing to learn from, a tie for example: left out */
};

/* Why a record is not among those that the source's where asks for. */
struct where_reason {
    int filter;     /* the first that it does not meet */
    bool is_absent; /* it has no such field */
};

/* Records that filters left out. */
struct where_counts {
    struct where_count {
        int64_t num_left, num_absent; /* of these the field was not there at all */
    } * *of;                          /* [num_sources][num_filters] */
    int num_sources;
};

/* One document: where it was read, what became of it. */
struct batch_document {
    int source; /* row of the corpus */
    const struct corpus_file *file;
    int64_t number; /* of the record, in the unit of the format; 0: the whole file is the document */
    size_t first_byte, length_bytes;
    enum outcome outcome;
    bool is_converted; /* the file is in another encoding than UTF-8 (encoding_fault) */
    bool has_bad_text; /* invalid UTF-8, a NUL byte or a lone surrogate was in it */
    int num_marked;    /* messages that hold the text of a special token; the first of them, and the token: */
    int marked_message;
    int32_t marked_id;
    int64_t num_names; /* of messages, which the template does not write */
    int64_t num_nulls; /* left out of tools and calls (prepare_padding.c) */
    int64_t first_token, num_tokens;
    enum token_side side;            /* of a record; SIDE_PLAIN: the document is one */
    int64_t num_first_tokens;        /* of a pair: of its chosen document, which comes first */
    bool has_bands;                  /* the batch's bands of it count */
    struct personal_counts personal; /* in its text */
    enum left_reason reason;         /* OUTCOME_BAD_RECORD, OUTCOME_PASSED */
    struct where_reason where;       /* LEFT_FILTER */
    XXH128_hash_t hash;              /* of its text */
    char *
        why; /* OUTCOME_BAD_CHAT, OUTCOME_BAD_LINE, OUTCOME_BAD_RECORD, and of a bad conversation that is kept: in words, malloc'ed;
                  released when it is appended */
};

enum batch_state { BATCH_FREE, BATCH_READ, BATCH_TAKEN, BATCH_DONE };

/* A file of an archive; the documents of several batches may be its. */
struct member {
    struct corpus_file file; /* path: "ARCHIVE:NAME" */
    int num_users; /* batches, and the corpus while it reads it; changed by the thread that reads alone */
};

struct batch {
    enum batch_state state;  /* guarded by the job's mutex */
    struct member **members; /* whose documents it has */
    int num_members;
    struct text raw;
    struct batch_document *documents; /* [BATCH_DOCUMENTS] */
    int num_documents;
    struct token_list tokens;
    uint8_t *mask;
    XXH128_hash_t *bands;   /* [BATCH_DOCUMENTS, near.num_bands]; NULL: near copies are kept */
    int64_t consumed_bytes; /* of all files, when this batch was read */
    int bad_document; /* its first error is in err: the document's index, or num_documents for the reader's */
    struct err err;
};

/* --- prepare_corpus.c: the input files --- */
/* Files of folders that are not read. */
struct left_out {
    int64_t num_nested, num_hidden, num_others; /* in subfolders; ".name"; FIFOs, devices, dangling links */
    int64_t num_members;                        /* of archives: links, devices, names that say no format */
};

struct corpus {
    struct left_out left_out;
    const struct prepare_source *sources; /* [num_sources], borrowed */
    struct corpus_file *files;            /* in reading order */
    int num_files;
    int num_sources;
    char (*sha256)[SHA256_HEX_ROOM]; /* [num_sources], complete at the end */
    int64_t total_bytes;
    int num_readers; /* set by who has threads for them: of record_stream */
    /* reading */
    int file;
    struct record_stream stream; /* of that file, or of a member of it; without a reader before it */
    struct tar *archive;         /* that file, where it is one */
    struct member *member;       /* of the archive */
    int64_t num_members;         /* of it, read so far */
    struct sha256 *list_sha;     /* [num_sources] over "hash  name" lines, for sources of several files */
    int64_t done_bytes;          /* of the files before */
    int64_t text_bytes;          /* read so far, after decompression */
    bool *has_enough;            /* [num_sources], set by who counts what is kept: no more of it is read */
    bool is_part;                /* a file was left before its end; such a source's sha256 stays empty */
};

/* corpus_open - lists the files, checks their formats.  Returns 0 or -1 with err set; corpus_close either
 * way. */
int corpus_open(struct corpus *corpus, const struct prepare_source *sources, int num_sources,
                struct err *err);
void corpus_close(struct corpus *corpus);

/* prepare_folder.c: what is done with each file of a folder; add takes over path. */
struct folder_walk {
    const struct prepare_source *source;
    int row;
    int (*add)(struct corpus *corpus, const struct prepare_source *source, int row, char *path,
               int64_t size_bytes, struct err *err);
};
/* corpus_add_folder - the files of a folder, and of its subfolders where the source says so, in no order.
 * Returns the number of the first, or -1 with err set: none, or files in subfolders that the source does not
 * allow. */
int corpus_add_folder(struct corpus *corpus, const struct folder_walk *walk, struct err *err);

/* corpus_note_files - what folders hold beside what is read, a line for each kind.  corpus_count_files - with that of archives, once
 * all was read. */
void corpus_note_files(const struct corpus *corpus);
void corpus_count_files(const struct corpus *corpus, struct prepare_totals *totals);

/* --- prepare_archive.c: the members of an archive, as the files of a folder --- */

/* archive_look - that it is one.  Returns 0, or -1 with err set.
 *
 * archive_next - the next record of an archive; *file is the member that it is of.  Hidden members, links, devices, and those of which
 * the name says no format are left out and counted.  Returns 1, 0 at its end, -1 with err set: also where nothing was read of it.
 * archive_close - also in the middle, or of none. */
int archive_look(const char *path, struct err *err);
int archive_next(struct corpus *corpus, struct raw_record *record, struct err *err);
void archive_close(struct corpus *corpus);

/* batch_use_member - of the corpus, whose documents the batch gets.  batch_release_members - all of them, once its documents are gone. */
void batch_use_member(struct batch *batch, struct member *member);
void batch_release_members(struct batch *batch);

/* corpus_place - where a document is, for messages: "'FILE' line 17"; malloc'ed. */
char *corpus_place(const struct batch_document *document);

/* corpus_read - fill a batch; no documents and no error: the end.  An error becomes the batch's. */
void corpus_read(struct corpus *corpus, struct batch *batch);

/* --- prepare_document.c: text to tokens --- */
struct worker {
    const struct prepare_config *config;
    const struct tokenizer *tok;
    const struct chat_style *style; /* of the sources that hold conversations; NULL without */
    int32_t bos, eos;               /* -1: not added */
    struct encoder *encoder;
    struct minhash minhash; /* of the document that is being read */
    struct text scratch, repaired, converted,
        joined, /* converted: a record as JSON; joined: several fields of it */
        marked; /* a text with marks in place of personal data */
};
/* --- prepare_split.c: what is kept for validation --- */

/* split_check - keys that contradict each other.  Returns 0, or -1 with err set.  split_is_valid - a document that is kept, after
 * num_kept others. */
int split_check(const struct prepare_config *config, struct err *err);
bool split_is_valid(const struct prepare_config *config, const struct batch_document *document,
                    int64_t num_kept);

/* split_fail - no document is kept for validation, of so many.  Returns -1 with err set.  split_tell - sources of which
 * nothing is kept, though some should be: at all, or for validation; valid_writer of the validation file, or NULL. */
int split_fail(const struct prepare_config *config, int64_t num_documents, struct err *err);
void split_tell(const struct prepare_config *config, const struct where_counts *filtered,
                struct token_writer *writer, struct token_writer *valid_writer);

/* --- prepare_choose.c: what worker, whose config and tok stand, will write --- */

/* prepare_check - what several keys together can be wrong about.  Returns 0, or -1 with err set. */
int prepare_check(const struct prepare_config *config, struct err *err);

/* source_takes_file - a file of plain text in a source that is said to hold conversations or records is refused: -1 with err set. */
int source_takes_file(const struct prepare_source *source, const struct corpus_file *file, struct err *err);

/* worker_choose_ends - bos and eos of documents.  worker_choose_chat - style (the caller's, released by it)
 * and the worker's pointer to it, where a source holds conversations.  Both return 0, or -1 with err set. */
int worker_choose_ends(struct worker *worker, struct err *err);
int worker_choose_chat(struct worker *worker, struct chat_style *style, struct err *err);

/* --- prepare_output.c --- */

/* output_check_valid - no earlier file for validation stays beside an output that has all texts.  Returns 0, or -1 with err set. */
int output_check_valid(const struct prepare_config *config, struct err *err);

/* output_create - a writer of path where nothing else is lost by it, which knows how conversations are written (style
 * NULL: there are none) and the sources.  NULL with err set. */
struct token_writer *output_create(const char *path, const struct worker *worker, struct err *err);

/* output_set_hashes - of the sources, once all of the corpus was read; writer NULL: nothing. */
void output_set_hashes(struct token_writer *writer, const struct corpus *corpus);
/* output_fail_empty - nothing is kept at all.  Returns -1 with err set, after a warning of each source that its filters emptied. */
int output_fail_empty(const struct prepare_config *config, const struct prepare_totals *totals,
                      const struct where_counts *filtered, struct err *err);

/* --- prepare_field.c: what a source takes from a line --- */

/* source_no_column - err says that a line, which was looked through, has no field of this name, which it has, and which is near.
 * Returns -1. */
int source_no_column(const struct json_line *line, const char *field, struct err *err);

/* source_field - the field's name.  source_find_field - where it, or another one by name, stands on a line of valid UTF-8.
 * Returns 0, or -1 with err set: not JSON, no such field (what there is instead), another type than the source wants.
 * source_has_field - whether a line, whose first names are known, has one.
 *
 * source_parse_chat - an object with the field as "messages", numbers beyond JSON's as strings, and with
 * CHAT_REFUSED_FIELDS, CHAT_WEIGHT_FIELDS and CHAT_INPUT_FIELDS where the line has them (as a string where they come twice or
 * are long), and CHAT_SYSTEM_FIELD whole, at most 1 MiB; of the rest of the line nothing.  source_parse_beside - the same
 * without messages.  NULL with err set. */
#define CHAT_SYSTEM_FIELD "system"            /* beside the messages, the text of the first of them */
extern const char *const CHAT_INPUT_FIELDS[]; /* which the template gets; ends with NULL */
extern const char
    *const CHAT_REFUSED_FIELDS[]; /* a conversation with one of these is refused; ends with NULL */
extern const char
    *const CHAT_WEIGHT_FIELDS[]; /* the spellings of "is learnt" beside and in messages; ends with NULL */
const char *source_field(const struct prepare_source *source);
int source_find_field(const struct prepare_source *source, const char *name, struct text_span line,
                      struct json_line *found, struct err *err);
bool source_has_field(struct text_span line, const struct json_line *names, const char *name);
json_t *source_parse_chat(const char *field, struct text_span line, const struct json_line *found,
                          struct err *err);
json_t *source_parse_beside(struct text_span line, const struct json_line *names, struct err *err);

/* --- prepare_repair.c, prepare_document.c, prepare_chat.c --- */

/* What a policy made of a piece of text. */
enum verdict { VERDICT_CLEAN, VERDICT_REPAIRED, VERDICT_SKIP, VERDICT_ERROR };

/* worker_clean_bytes - invalid UTF-8 and NUL bytes of raw input.  On VERDICT_REPAIRED, *bytes is worker->repaired.
 * worker_clean_surrogates - JSON may escape half of a surrogate pair, which is not a character: such escapes are found,
 * and replaced by \uFFFD in place unless the policy says otherwise. */
enum verdict worker_clean_bytes(struct worker *worker, struct batch_document *document, const char **bytes,
                                size_t *length_bytes, struct err *err);
enum verdict worker_clean_surrogates(const struct worker *worker, struct batch_document *document, char *line,
                                     size_t length_bytes, struct err *err);
/* worker_append - the text of a JSON string, which may hold NUL characters (written \u0000), to the end of out. */
enum verdict worker_append(const struct worker *worker, struct batch_document *document,
                           struct text_span text, struct text *out, struct err *err);
/* worker_sift_text (prepare_sift.c) - what is looked for in a text before it is written: personal data, by the policy (what
 * replaces the text is worker->marked, until the next one), and its words for near copies.  worker_sift_personal - the first of
 * them alone, of all texts in a value of JSON, in place.  worker_sift_words - the second. */
void worker_sift_text(struct worker *worker, struct batch_document *document, struct text_span *text);
void worker_sift_personal(struct worker *worker, struct batch_document *document, json_t *value);
void worker_sift_words(struct worker *worker, struct text_span text);
/* worker_sift_begin, worker_sift_end - a document; with the second its bands are the batch's. */
void worker_sift_begin(struct worker *worker);
void worker_sift_end(struct worker *worker, struct batch *batch, struct batch_document *document);
/* worker_encode_chat - the messages of a parsed line (prepare_chat.c), which it takes over.  Returns 0, or -1
 * with err set; the outcome is OUTCOME_BAD_CHAT where the conversation is at fault. */
int worker_encode_chat(struct worker *worker, struct batch *batch, struct batch_document *document,
                       json_t *line, struct err *err);
/* worker_encode_record (prepare_record.c) - a line with a prompt and completions.  Returns 0, or -1 with err set; the outcome
 * is OUTCOME_BAD_RECORD with its reason where the record is at fault. */
int worker_encode_record(struct worker *worker, struct batch *batch, struct batch_document *document,
                         struct text_span line, struct err *err);
/* padding_leave_out (prepare_padding.c) - of a conversation, the nulls of a table's columns below 'tools', 'tool_calls' and
 * 'function_call'; how many there were. */
int64_t padding_leave_out(json_t *line);
/* worker_check_length (prepare_chat.c) - prepare.max_conversation_tokens, or max_record_tokens of a record.  Returns 0, or
 * -1 with err set and the document's reason. */
int worker_check_length(const struct worker *worker, struct batch_document *document, int64_t num_tokens,
                        struct err *err);
/* worker_give_back (prepare_worker.c) - the texts of a document that was large, once they are needed no more.
 * worker_release - all that a worker holds. */
void worker_give_back(struct worker *worker);
void worker_release(struct worker *worker);
/* worker_encode - all documents of a batch, up to its first error. */
void worker_encode(struct worker *worker, struct batch *batch);
