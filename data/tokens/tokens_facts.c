/* tokens_facts.c - the facts of a token file as bytes, and back with checks.  Numbers are 64 bits, little-endian; a
 * text is its length and its bytes. */
#include "data/tokens/tokens_facts.h"

#include <stdlib.h>

enum { MAX_SOURCES = 1 << 20, NUM_TEXTS = 4, NUM_COUNTS = 4 };

/* The members of struct token_source, in the order in which they are written. */
static const size_t TEXTS[NUM_TEXTS] = {
    offsetof(struct token_source, name), offsetof(struct token_source, licence),
    offsetof(struct token_source, url), offsetof(struct token_source, sha256)};
static const size_t COUNTS[NUM_COUNTS] = {
    offsetof(struct token_source, num_documents), offsetof(struct token_source, num_tokens),
    offsetof(struct token_source, num_duplicates), offsetof(struct token_source, num_invalid_utf8)};

const char *token_part_name(enum token_part part) {
    static const char *const names[NUM_PARTS] = {"tokens",   "doc_offsets", "doc_source", "loss_mask",
                                                 "doc_side", "doc_record",  "doc_files"};
    return names[part];
}

int64_t token_part_bytes(const struct token_facts *facts, enum token_part part) {
    return facts->parts[part].count * (int64_t)h5_type_bytes(facts->parts[part].type);
}

int token_facts_num_learnt(const struct token_facts *facts) {
    return facts->has_sides ? PART_SIDES + 1 : PART_SIDES;
}

int token_facts_num_parts(const struct token_facts *facts) {
    return facts->has_places ? NUM_PARTS : token_facts_num_learnt(facts);
}

/* --- to bytes --- */

/* Bits of the number that says which datasets there are. */
enum { HAS_MASK = 1, HAS_SIDES = 2, HAS_PLACES = 4 };

static void put_number(struct text *bytes, int64_t value) {
    text_append(bytes, &value, sizeof value);
}

static void put_text(struct text *bytes, const char *text) {
    put_number(bytes, (int64_t)strlen(text));
    text_append(bytes, text, strlen(text));
}

/* The conversations come last and are left out where there are none: files of before have the same bytes.  What
 * newer versions add goes after them. */
void token_facts_encode(const struct token_facts *facts, struct text *bytes) {
    put_text(bytes, facts->tokenizer_hash);
    put_number(bytes, facts->vocab_size);
    put_number(bytes, (facts->has_mask ? HAS_MASK : 0) | (facts->has_sides ? HAS_SIDES : 0) |
                          (facts->has_places ? HAS_PLACES : 0));
    for (int part = 0; part < token_facts_num_parts(facts); part++) {
        put_number(bytes, facts->parts[part].type);
        put_number(bytes, facts->parts[part].count);
        put_number(bytes, facts->parts[part].offset_bytes);
    }
    put_number(bytes, facts->num_sources);
    for (int64_t i = 0; i < facts->num_sources; i++) {
        const char *source = (const char *)&facts->sources[i], *text;
        for (int t = 0; t < NUM_TEXTS; t++) {
            memcpy(&text, source + TEXTS[t], sizeof text);
            put_text(bytes, text);
        }
        text_append(bytes, source + COUNTS[0], NUM_COUNTS * sizeof(int64_t)); /* they follow one another */
    }
    if (!facts->chat.style)
        return;
    put_text(bytes, facts->chat.style);
    put_text(bytes, facts->chat.template_text);
    put_number(bytes, facts->chat.end_id);
    put_number(bytes, facts->chat.differs);
    put_number(bytes, facts->chat.num_left_out);
    if (facts->chat.train_on) {
        put_text(bytes, facts->chat.date ? facts->chat.date : "");
        put_text(bytes, facts->chat.train_on);
    }
}

/* --- from bytes --- */

/* take_number, take_text and the others below - false or NULL where the bytes end early or a value is out of range:
 * the bytes come from a file, or from a child process that read one. */
static bool take_number(struct text_span *from, int64_t low, int64_t high, int64_t *value) {
    return text_take(from, value, sizeof *value) && *value >= low && *value <= high;
}

/* take_text - malloc'ed; NULL where the bytes end early. */
static char *take_text(struct text_span *from) {
    int64_t length;
    if (!take_number(from, 0, INT64_MAX, &length) || (uint64_t)length > from->length_bytes)
        return NULL;
    char *text = text_copy(from->bytes, (size_t)length);
    from->bytes += length;
    from->length_bytes -= (size_t)length;
    return text;
}

/* take_source - every text is set, also after a failure: token_facts_release frees them. */
static bool take_source(struct text_span *from, struct token_source *source) {
    bool is_whole = true;
    for (int t = 0; t < NUM_TEXTS; t++) {
        char *text = take_text(from);
        is_whole = is_whole && text;
        text = text ? text : xstrdup(""); /* never NULL, however little came */
        memcpy((char *)source + TEXTS[t], &text, sizeof text);
    }
    for (int c = 0; c < NUM_COUNTS; c++) {
        int64_t value = 0;
        is_whole = is_whole && take_number(from, INT64_MIN, INT64_MAX, &value);
        memcpy((char *)source + COUNTS[c], &value, sizeof value);
    }
    return is_whole;
}

static bool take_part(struct text_span *from, struct h5_dataset *part) {
    int64_t type = 0;
    bool is_good = take_number(from, H5_UINT8, H5_UINT64, &type) &&
                   take_number(from, 0, INT64_MAX, &part->count) &&
                   take_number(from, 0, INT64_MAX, &part->offset_bytes);
    part->type = (enum h5_type)type;
    return is_good;
}

/* take_choices - of the conversations of newer files. */
static bool take_choices(struct text_span *from, struct token_chat *chat) {
    return from->length_bytes == 0 ||
           ((chat->date = take_text(from)) && (chat->train_on = take_text(from)) && from->length_bytes == 0);
}

/* take_chat - at the end; files without conversations and those of older versions have nothing there. */
static bool take_chat(struct text_span *from, struct token_chat *chat) {
    if (from->length_bytes == 0)
        return true;
    return (chat->style = take_text(from)) && (chat->template_text = take_text(from)) &&
           take_number(from, -1, INT32_MAX, &chat->end_id) && take_number(from, 0, 1, &chat->differs) &&
           take_number(from, 0, INT64_MAX, &chat->num_left_out) && take_choices(from, chat);
}

/* take_all - num_sources grows with what was read, so that a release after a failure frees just that. */
static bool take_all(struct text_span *from, struct token_facts *facts) {
    int64_t datasets = 0, num_sources = 0;
    if (!(facts->tokenizer_hash = take_text(from)) ||
        !take_number(from, INT64_MIN, INT64_MAX, &facts->vocab_size) ||
        !take_number(from, 0, HAS_MASK | HAS_SIDES | HAS_PLACES, &datasets))
        return false;
    facts->has_mask = datasets & HAS_MASK;
    facts->has_sides = datasets & HAS_SIDES;
    facts->has_places = datasets & HAS_PLACES;
    for (int part = 0; part < token_facts_num_parts(facts); part++)
        if (!take_part(from, &facts->parts[part]))
            return false;
    if (!take_number(from, 0, MAX_SOURCES, &num_sources))
        return false;
    facts->sources = xcalloc((size_t)num_sources + 1, sizeof *facts->sources);
    for (int64_t i = 0; i < num_sources; i++) {
        facts->num_sources = i + 1;
        if (!take_source(from, &facts->sources[i]))
            return false;
    }
    return take_chat(from, &facts->chat);
}

/* check_place - a dataset lies wholly inside the file. */
static int check_place(const struct token_facts *facts, enum token_part part, int64_t file_bytes,
                       const char *path, struct err *err) {
    const struct h5_dataset *place = &facts->parts[part];
    int64_t room = place->offset_bytes > file_bytes ? 0 : file_bytes - place->offset_bytes;
    if (place->count <= room / (int64_t)h5_type_bytes(place->type))
        return 0;
    return err_set(err, "dataset '%s' in '%s' is not wholly inside the file (truncated?)",
                   token_part_name(part), path);
}

static int wrong_width(const struct token_facts *facts, enum token_part part, const char *wanted,
                       const char *path, struct err *err) {
    return err_set(err, "dataset '%s' in '%s' has elements of %zu bytes where %s belong",
                   token_part_name(part), path, h5_type_bytes(facts->parts[part].type), wanted);
}

/* check - what the parts say about each other. */
static int check(const struct token_facts *facts, int64_t file_bytes, const char *path, struct err *err) {
    const struct h5_dataset *parts = facts->parts;
    for (int part = 0; part < NUM_PARTS; part++)
        if (check_place(facts, (enum token_part)part, file_bytes, path, err) != 0)
            return -1;
    if (facts->vocab_size < 1 || facts->vocab_size > INT32_MAX)
        return err_set(err, "token file '%s' has a vocabulary of %lld entries", path,
                       (long long)facts->vocab_size);
    if (parts[PART_TOKENS].type != H5_UINT16 && parts[PART_TOKENS].type != H5_UINT32)
        return wrong_width(facts, PART_TOKENS, "2 or 4", path, err);
    if (parts[PART_OFFSETS].type != H5_UINT64)
        return wrong_width(facts, PART_OFFSETS, "8", path, err);
    if (parts[PART_SOURCES].type != H5_UINT32)
        return wrong_width(facts, PART_SOURCES, "4", path, err);
    if (parts[PART_OFFSETS].count < 1)
        return err_set(err, "dataset 'doc_offsets' in '%s' is empty", path);
    if (parts[PART_SOURCES].count != parts[PART_OFFSETS].count - 1)
        return err_set(err, "dataset 'doc_source' in '%s' has %lld rows for %lld documents", path,
                       (long long)parts[PART_SOURCES].count, (long long)parts[PART_OFFSETS].count - 1);
    if (facts->chat.style && facts->chat.end_id >= facts->vocab_size)
        return err_set(err, "token file '%s' ends the assistant's turns with the token %lld of %lld", path,
                       (long long)facts->chat.end_id, (long long)facts->vocab_size);
    if (facts->has_mask &&
        (parts[PART_MASK].type != H5_UINT8 || parts[PART_MASK].count != parts[PART_TOKENS].count))
        return err_set(err, "dataset 'loss_mask' in '%s' does not have one byte for each token", path);
    if (facts->has_sides &&
        (parts[PART_SIDES].type != H5_UINT8 || parts[PART_SIDES].count != parts[PART_SOURCES].count))
        return err_set(err, "dataset 'doc_side' in '%s' does not have one byte for each document", path);
    if (facts->has_places &&
        (parts[PART_RECORDS].type != H5_UINT64 || parts[PART_RECORDS].count != parts[PART_SOURCES].count ||
         parts[PART_FILES].type != H5_UINT8))
        return err_set(
            err, "datasets 'doc_record' and 'doc_files' in '%s' do not have a place for each document", path);
    return 0;
}

int token_facts_decode(struct token_facts *facts, struct text_span bytes, int64_t file_bytes,
                       const char *path, struct err *err) {
    *facts = (struct token_facts){0};
    int status = take_all(&bytes, facts)
                     ? check(facts, file_bytes, path, err)
                     : err_set(err, "cannot use token file '%s': its description is damaged", path);
    if (status != 0)
        token_facts_release(facts);
    return status;
}

void token_facts_release(struct token_facts *facts) {
    for (int64_t i = 0; i < facts->num_sources; i++) {
        free(facts->sources[i].name);
        free(facts->sources[i].licence);
        free(facts->sources[i].url);
        free(facts->sources[i].sha256);
    }
    free(facts->sources);
    free(facts->tokenizer_hash);
    free(facts->chat.style);
    free(facts->chat.template_text);
    free(facts->chat.date);
    free(facts->chat.train_on);
    *facts = (struct token_facts){0};
}
