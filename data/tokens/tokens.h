/* tokens.h - the token file: one HDF5 file with the tokens of many documents, and where they came from.
 *
 *   /tokens        uint16 (V <= 65536) or uint32, contiguous
 *   /doc_offsets   uint64 [documents + 1]
 *   /doc_source    uint32 [documents], row of /sources
 *   /loss_mask     uint8, one byte per token (1: counts in the loss); absent when every token counts
 *   /doc_side      uint8 [documents], enum token_side; absent where documents are not learnt against each other.  Then
 *                  documents come in twos, 2 n and 2 n + 1 are pair n: chosen and rejected, or labelled and mismatched
 *   /doc_record    uint64 [documents], the number of the record that a document was read from, in the unit of its file; 0: the
 *                  file is the document.  /doc_files uint8, text: "FIRST \t UNIT \t FILE \0" for each stretch of documents that
 *                  are of one file, FIRST being the first of them.  Absent in older files; not part of the contents
 *   /sources/      name, licence, url, sha256 (strings), documents, tokens, duplicates, invalid_utf8 (uint64)
 *   attributes: format "atelier-tokens 1", tokenizer_hash, vocab_size, created_by, sealed (1); where there
 * are conversations chat_style, chat_template (when short), chat_end_id after it:  the seal, checksums of
 * all that (tokens_seal.h); HDF5's readers do not see it
 *
 * A sealed file is read without HDF5, with pread at the datasets' offsets.  Files of older versions and of
 * other programs have no seal: a child process asks HDF5 where their datasets lie. */
#pragma once

#include "kernels/error.h"

enum { TOKEN_HASH_ROOM = 65, TOKEN_CONTENT_ROOM = 33 };

struct token_source {
    char *name, *licence, *url, *sha256; /* never NULL once read */
    int64_t num_documents, num_tokens, num_duplicates, num_invalid_utf8;
};

/* Where a document was read: record `number` of a file, counted from 1 in its unit ("line", "row"); 0: the file is the document. */
struct token_place {
    const char *file, *unit;
    int64_t number;
};

/* How the conversations of a file were written; style NULL: it holds none. */
struct token_chat {
    char *style;           /* "own": by the model's own template; else the format that was asked for */
    char *template_text;   /* the same as a Jinja template; never NULL beside style */
    int64_t end_id;        /* the token that ends the assistant's turn, and is learnt */
    int64_t differs;       /* 1: the model has a template of its own, which writes them otherwise */
    char *date, *train_on; /* prepare.date and prepare.train_on; NULL: not said, as in older files */
    int64_t num_left_out;  /* conversations that could not be written or taught nothing */
};

/* What a document of a file of preferences is.  A labelled document is followed by its prompt with the completion of
 * another one: what KTO estimates a divergence by (Ethayarajh et al. 2024, section 4.2). */
enum token_side { SIDE_PLAIN, SIDE_CHOSEN, SIDE_REJECTED, SIDE_DESIRABLE, SIDE_UNDESIRABLE, SIDE_MISMATCHED };

/* What a file holds: documents that are learnt one by one, pairs, or labelled completions. */
enum token_preference { PREFERENCE_NONE, PREFERENCE_PAIRS, PREFERENCE_LABELS };

/* --- reading --- */
struct token_file;

/* token_file_open - checks the structure: dataset types, contiguity, offsets never decreasing and ending at
 * the number of tokens, sources in range.  With checksums also that structure, offsets and sources are as
 * they were written, and some blocks of 1 MiB of tokens and mask.  Returns NULL with err set: what is wrong and what to do.
 * token_file_close - NULL is fine; texts that were borrowed from it end. */
struct token_file *token_file_open(const char *path, struct err *err);
void token_file_close(struct token_file *file);

/* token_file_path and what follows - facts; texts are borrowed.  token_file_tokenizer_hash - tokenizer_hash of what made the
 * ids, which are below token_file_vocab_size.  token_file_has_mask - without a mask every token but the first of a document
 * counts in the loss.  Of num_tokens, num_documents and num_sources none changes while the file is open. */
const char *token_file_path(const struct token_file *file);
const char *token_file_tokenizer_hash(const struct token_file *file);
int64_t token_file_vocab_size(const struct token_file *file);
int64_t token_file_num_tokens(const struct token_file *file);
int64_t token_file_num_documents(const struct token_file *file);
bool token_file_has_mask(const struct token_file *file);
int64_t token_file_num_sources(const struct token_file *file);
/* A row of /sources, from 0; borrowed. */
const struct token_source *token_file_source(const struct token_file *file, int64_t source);
/* The file's conversations; borrowed. */
const struct token_chat *token_file_chat(const struct token_file *file);
/* Offsets of all documents [documents + 1]; borrowed, held in memory. */
const uint64_t *token_file_offsets(const struct token_file *file);

/* token_last_not_above - the last index i in [0, count) with starts[i] <= position, starts[0] being 0: of several
 * documents that start there (the others have no tokens) the one that holds the token. */
int64_t token_last_not_above(const uint64_t *starts, int64_t count, uint64_t position);

/* Row of /sources of one document. */
int64_t token_file_document_source(const struct token_file *file, int64_t document);

/* token_file_preference - what the file holds; token_file_side - what one of its documents is.  The sides were checked
 * when the file was opened: each pair is whole, and all are of one kind. */
enum token_preference token_file_preference(const struct token_file *file);
enum token_side token_file_side(const struct token_file *file, int64_t document);

/* token_file_read - tokens [first, first + count) as int32, and their mask as bytes (all 1 without one).
 * mask may be NULL.  Returns 0, or -1 with err set: I/O error, or an id outside the vocabulary (document
 * named). */
int token_file_read(const struct token_file *file, int64_t first, int64_t count, int32_t *tokens,
                    uint8_t *mask, struct err *err);

/* token_file_has_checksums - false for files of older versions and of other programs.
 * token_file_verify - every block whose number is share, modulo num_shares, is as it was written (0, 1: all
 * of them).  Returns 0, or -1 with err set: the damaged block, or a file without checksums. */
bool token_file_has_checksums(const struct token_file *file);
int token_file_verify(const struct token_file *file, int64_t share, int64_t num_shares, struct err *err);

/* token_file_content_hash - identity of what training sees: the same for two files exactly when tokenizer,
 * vocabulary, tokens, documents, loss mask and the documents' sources (as rows) are the same; 32 hexadecimal
 * digits.  Costs nothing for a sealed file; one without checksums is read through.  Returns 0, or -1 with err
 * set. */
int token_file_content_hash(const struct token_file *file, char hex[TOKEN_CONTENT_ROOM], struct err *err);

/* token_file_has_places - false for files of older versions and of other programs.
 * token_file_read_records - where document [first, first + count) stand, see /doc_record.  token_file_read_files - the text
 * of /doc_files, malloc'ed, with a NUL at its end.  Of files with places alone.  Return 0 and the text, or -1 and NULL with err
 * set: I/O error. */
bool token_file_has_places(const struct token_file *file);
int token_file_read_records(const struct token_file *file, int64_t first, int64_t count, uint64_t *records,
                            struct err *err);
char *token_file_read_files(const struct token_file *file, size_t *size_bytes, struct err *err);

/* --- writing --- */
struct token_writer;

/* token_writer_create - documents are appended; memory stays bounded (side files beside path while the length
 * is not known).  What stands at path is replaced by token_writer_finish alone.  Returns NULL with err set: the side files
 * cannot be made, or another process writes the same file. */
struct token_writer *token_writer_create(const char *path, const char *tokenizer_hash, int64_t vocab_size,
                                         struct err *err);
/* token_writer_add_source - returns its row. */
int64_t token_writer_add_source(struct token_writer *writer, const char *name, const char *licence,
                                const char *url);
/* token_writer_append - one document of [count] ids below the vocabulary's size, [count] bytes of mask; mask NULL: all
 * count.  Returns 0, or -1 with err set: the disk. */
int token_writer_append(struct token_writer *writer, int64_t source, const int32_t *tokens,
                        const uint8_t *mask, int64_t count, struct err *err);
/* token_writer_append_side - the side of the document that was appended last: of every document, or of none. */
int token_writer_append_side(struct token_writer *writer, enum token_side side, struct err *err);
/* token_writer_append_place - where the document that was appended last was read: of every document, or of none. */
int token_writer_append_place(struct token_writer *writer, const struct token_place *place, struct err *err);
/* How conversations are written, to be set before the end (texts malloc'ed, the writer's). */
struct token_chat *token_writer_chat(struct token_writer *writer);
/* Counters of a source, to be set before the end: its sha256, duplicates, invalid bytes. */
struct token_source *token_writer_source(struct token_writer *writer, int64_t source);
/* token_writer_finish - write the HDF5 file at path.partial, fsync, rename; frees the writer.  Returns 0, or -1 with err set
 * and what stood at path as it was. */
int token_writer_finish(struct token_writer *writer, struct err *err);
/* token_writer_abandon - remove the side files, leave nothing behind, free. */
void token_writer_abandon(struct token_writer *writer);
