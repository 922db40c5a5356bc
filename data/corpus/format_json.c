/* format_json.c - a file that is one array of JSON: its elements one after another, without a tree of the file.  Here only
 * the commas between elements are found (RFC 8259: brackets outside of strings); whether an element is JSON is for the
 * worker that reads it. */
#include "data/corpus/format_rows.h"

/* record_stream.state */
enum { BEFORE_ARRAY, IN_ARRAY, LAST_ELEMENT, AFTER_ARRAY };

/* Where an element stands that is read over several blocks. */
struct element {
    int64_t depth; /* brackets that are open */
    bool in_string, is_escaped;
    bool has_ended;
    char end; /* what ended it, ',' or ']' */
};

static bool is_blank(char c) {
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

/* skip_blanks - up to the next byte that says something, which is *next.  Returns 1, 0 at the end, or -1 with err set. */
static int skip_blanks(struct record_stream *stream, char *next, struct err *err) {
    struct text_span ready;
    int status;
    while ((status = reader_peek(stream->reader, &ready, err)) > 0) {
        size_t blanks = 0;
        while (blanks < ready.length_bytes && is_blank(ready.bytes[blanks]))
            blanks++;
        *next = blanks < ready.length_bytes ? ready.bytes[blanks] : 0;
        reader_skip(stream->reader, blanks);
        if (blanks < ready.length_bytes)
            return 1;
    }
    return status;
}

/* find_array - the array's bracket; what else such files are. */
static int find_array(struct record_stream *stream, struct err *err) {
    char first;
    int status = skip_blanks(stream, &first, err);
    if (status < 0)
        return -1;
    if (status == 0)
        return err_set(err, "'%s' is empty; an array of JSON without elements is []", stream->file->path);
    if (first == '[')
        return 0;
    if (first == '{')
        return err_set(
            err,
            "'%s' is not an array of JSON but begins with an object; where every line is an object of its "
            "own, set the source's format to jsonl; else take the list out: jq -c '.NAME[]' FILE > FILE.jsonl",
            stream->file->path);
    return err_set(err, "'%s' is not an array of JSON: it begins with byte 0x%02X, expected '['",
                   stream->file->path, (unsigned char)first);
}

static int look(struct record_stream *stream, void **header, struct err *err) {
    *header = NULL;
    return find_array(stream, err);
}

/* span_of - how much of a block belongs to the element; the comma or bracket after it does not. */
static size_t span_of(struct element *element, struct text_span block) {
    for (size_t i = 0; i < block.length_bytes; i++) {
        char c = block.bytes[i];
        if (element->in_string) {
            element->in_string = element->is_escaped || c != '"';
            element->is_escaped = !element->is_escaped && c == '\\';
        } else if (c == '"') {
            element->in_string = true;
        } else if (c == '{' || c == '[') {
            element->depth++;
        } else if ((c == ',' || c == ']') && element->depth == 0) {
            element->has_ended = true;
            element->end = c;
            return i;
        } else if (c == '}' || c == ']') {
            element->depth--;
        }
    }
    return block.length_bytes;
}

/* cut_off - the next element, blanks around it included, into the stream's record, with what ended it. */
static int cut_off(struct record_stream *stream, struct element *element, struct err *err) {
    const long long number = stream->num_records + 1;
    struct text_span block;
    stream->record.length_bytes = 0;
    while (!element->has_ended) {
        int status = reader_peek(stream->reader, &block, err);
        if (status < 0)
            return -1;
        if (status == 0)
            return err_set(err, "'%s' element %lld: the file ends, and its array is not closed: it was cut",
                           stream->file->path, number);
        size_t part = span_of(element, block);
        if (stream->record.length_bytes + part > DOCUMENT_MAX_BYTES)
            return err_set(err, "'%s' element %lld is longer than %d bytes (256 MiB)", stream->file->path,
                           number, DOCUMENT_MAX_BYTES);
        text_append(&stream->record, block.bytes, part);
        reader_skip(stream->reader, part + element->has_ended);
        if (element->depth < 0)
            return err_set(err, "'%s' element %lld: '}' without '{'", stream->file->path, number);
    }
    return 0;
}

/* end_array - nothing but blanks may follow. */
static int end_array(struct record_stream *stream, struct err *err) {
    char next;
    stream->state = AFTER_ARRAY;
    int status = skip_blanks(stream, &next, err);
    if (status <= 0)
        return status;
    return err_set(err,
                   "'%s' goes on after the end of its array, which has %lld elements: a file is one array",
                   stream->file->path, (long long)stream->num_records);
}

static bool is_all_blank(const struct text *text) {
    for (size_t i = 0; i < text->length_bytes; i++)
        if (!is_blank(text->bytes[i]))
            return false;
    return true;
}

/* next_element - an array may be empty, an element may not: "[a, , b]" and "[a, ]" are faults. */
static int next_element(struct record_stream *stream, struct raw_record *record, struct err *err) {
    struct element element = {0};
    bool is_first = stream->state == BEFORE_ARRAY;
    if (stream->state == AFTER_ARRAY)
        return 0;
    if (stream->state == LAST_ELEMENT)
        return end_array(stream, err);
    if (is_first) {
        if (find_array(stream, err) != 0)
            return -1;
        reader_skip(stream->reader, 1);
        stream->state = IN_ARRAY;
    }
    if (cut_off(stream, &element, err) != 0)
        return -1;
    if (is_all_blank(&stream->record)) {
        if (is_first && element.end == ']')
            return end_array(stream, err);
        return err_set(err, "'%s' element %lld: there is nothing before '%c'", stream->file->path,
                       (long long)stream->num_records + 1, element.end);
    }
    *record = (struct raw_record){stream->record.bytes, stream->record.length_bytes, stream->num_records + 1};
    if (element.end == ']')
        stream->state = LAST_ELEMENT;
    return 1;
}

static const char *const ENDINGS[] = {".json", NULL};
const struct format FORMAT_JSON = {.id = SOURCE_JSON,
                                   .name = "json",
                                   .unit = "element",
                                   .endings = ENDINGS,
                                   .has_fields = true,
                                   .look = look,
                                   .next = next_element};
