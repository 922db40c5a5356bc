/* format_xml.c - documents of XML, a file each, or the elements of one name in a file, which are cut out of it one after another; both
 * become UTF-8 as the prolog says.  What is inside of them is for the workers (xml_record.h). */
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "data/corpus/format_rows.h"
#include "data/corpus/xml.h"
#include "data/corpus/xml_cut.h"
#include "data/corpus/xml_record.h"

/* The names that a prolog gives to encodings (IANA's, and two of their aliases), in any case. */
static const struct {
    const char *name;
    enum text_encoding encoding;
} ENCODINGS[] = {{"UTF-8", ENCODING_UTF8},
                 {"UTF8", ENCODING_UTF8},
                 {"US-ASCII", ENCODING_UTF8},
                 {"ISO-8859-1", ENCODING_LATIN1},
                 {"ISO8859-1", ENCODING_LATIN1},
                 {"latin1", ENCODING_LATIN1},
                 {"windows-1252", ENCODING_WINDOWS_1252},
                 {"cp1252", ENCODING_WINDOWS_1252}};

/* declared - the encoding that a prolog names, between its quotes (XML 1.0, section 2.8); empty without one. */
static struct text_span declared(struct text_span document) {
    static const char start[] = "<?xml", word[] = "encoding";
    struct text_span nothing = {"", 0};
    if (document.length_bytes < sizeof start || memcmp(document.bytes, start, sizeof start - 1) != 0)
        return nothing;
    const char *end = memchr(document.bytes, '>', document.length_bytes);
    size_t length = end ? (size_t)(end - document.bytes) : 0;
    const char *at = memmem(document.bytes, length, word, sizeof word - 1);
    if (!at)
        return nothing;
    for (at += sizeof word - 1;
         at < end && (*at == '=' || *at == ' ' || *at == '\t' || *at == '\r' || *at == '\n'); at++)
        ;
    const char *close = at < end ? memchr(at + 1, *at, (size_t)(end - at - 1)) : NULL;
    return close ? (struct text_span){at + 1, (size_t)(close - at - 1)} : nothing;
}

/* Of a file that is read. */
struct progress {
    struct encoding_state encoding; /* of one byte a character, or UTF-8: blocks are converted one by one */
    struct xml_cut cut;             /* with the source's element */
};

/* find_encoding - by the prolog in the first block.  Where the source says one, or a mark did, the reader has followed it, and the prolog
 * tells of the file as it was.  Returns 0, or -1 with err set. */
static int find_encoding(const struct record_stream *stream, struct text_span first,
                         enum text_encoding *encoding, struct err *err) {
    struct text_span name = declared(first);
    const int length = (int)(name.length_bytes < 40 ? name.length_bytes : 40);
    struct encoding_state state = {.encoding = ENCODING_UTF8};
    bool is_known = name.length_bytes == 0 || reader_is_converted(stream->reader);
    *encoding = ENCODING_UTF8;
    for (size_t i = 0; !is_known && i < sizeof ENCODINGS / sizeof *ENCODINGS; i++)
        if (strlen(ENCODINGS[i].name) == name.length_bytes &&
            strncasecmp(ENCODINGS[i].name, name.bytes, name.length_bytes) == 0) {
            *encoding = state.encoding = ENCODINGS[i].encoding;
            is_known = true;
        }
    if (!is_known)
        return err_set(err,
                       "'%s' line 1: it says that its encoding is '%.*s', which is not read: convert it, for "
                       "example with xmllint --encode UTF-8 FILE",
                       stream->file->path, length, name.bytes);
    struct err why;
    if (encoding_start(&state, first, stream->file->path, &why) != 0)
        return err_set(err,
                       "'%s' line 1: it says that its encoding is '%.*s', and it is UTF-8: mend its prolog",
                       stream->file->path, length, name.bytes);
    return 0;
}

/* begin - at the first block.  Returns 0, or -1 with err set. */
static int begin(struct record_stream *stream, struct text_span first, struct err *err) {
    struct progress *progress = xcalloc(1, sizeof *progress);
    stream->own = progress;
    progress->cut.name = stream->source->element;
    return find_encoding(stream, first, &progress->encoding.encoding, err);
}

/* keep - bytes of the record, as UTF-8. */
static int keep(struct record_stream *stream, struct text_span part, struct err *err) {
    struct progress *progress = stream->own;
    if (stream->record.length_bytes + part.length_bytes > DOCUMENT_MAX_BYTES)
        return err_set(err, "'%s' line %lld: %s is longer than %d bytes (256 MiB)", stream->file->path,
                       (long long)progress->cut.at_line + !progress->cut.at_line,
                       stream->source->element
                           ? "the element"
                           : "the document, which is read whole without the source's element,",
                       DOCUMENT_MAX_BYTES);
    encoding_append(&progress->encoding, part, &stream->record);
    return 0;
}

/* next_document - the file. */
static int next_document(struct record_stream *stream, struct raw_record *record, struct err *err) {
    struct text_span block;
    int status;
    if (stream->num_records > 0)
        return 0;
    stream->record.length_bytes = 0;
    while ((status = reader_peek(stream->reader, &block, err)) > 0) {
        if ((!stream->own && begin(stream, block, err) != 0) || keep(stream, block, err) != 0)
            return -1;
        reader_skip(stream->reader, block.length_bytes);
    }
    if (status == 0 && stream->record.length_bytes == 0)
        return err_set(err, "'%s' is empty: no XML", stream->file->path);
    *record =
        (struct raw_record){stream->record.bytes ? stream->record.bytes : "", stream->record.length_bytes, 0};
    return status == 0 ? 1 : -1;
}

/* end_elements - at the end of the file. */
static int end_elements(const struct record_stream *stream, struct err *err) {
    const struct progress *progress = stream->own;
    const char *name = stream->source->element;
    if (!progress)
        return err_set(err, "'%s' is empty: no XML", stream->file->path);
    if (progress->cut.state != CUT_TEXT || progress->cut.depth != 0)
        return err_set(err, "'%s' line %lld: the file ends, and its elements are not closed: it was cut",
                       stream->file->path, (long long)progress->cut.num_lines + 1);
    return stream->num_records > 0
               ? 0
               : err_set(err, "'%s' holds no element '%s' (the source's element)", stream->file->path, name);
}

/* next_element - of the source's name, by the line on which it begins. */
static int next_element(struct record_stream *stream, struct raw_record *record, struct err *err) {
    enum xml_cut_event event = XML_CUT_MORE;
    struct text_span block;
    struct err why;
    int status;
    stream->record.length_bytes = 0;
    while (event != XML_CUT_ELEMENT && (status = reader_peek(stream->reader, &block, err)) != 0) {
        size_t taken = 0;
        if (status < 0 || (!stream->own && begin(stream, block, err) != 0))
            return -1;
        struct xml_cut *cut = &((struct progress *)stream->own)->cut;
        event = xml_cut_step(cut, block, &taken, &why);
        if (event == XML_CUT_FAULT)
            return err_set(err, "'%s' %s", stream->file->path, why.text);
        bool is_outside = event == XML_CUT_DROP || event == XML_CUT_KEEP ||
                          (event == XML_CUT_MORE && cut->inside == 0 && cut->state == CUT_TEXT);
        if (is_outside)
            stream->record.length_bytes = 0;
        else if (keep(stream, (struct text_span){block.bytes, taken}, err) != 0)
            return -1;
        reader_skip(stream->reader, taken);
        if (event == XML_CUT_ELEMENT)
            *record = (struct raw_record){stream->record.bytes, stream->record.length_bytes, cut->at_line};
    }
    return event == XML_CUT_ELEMENT ? 1 : end_elements(stream, err);
}

static int next(struct record_stream *stream, struct raw_record *record, struct err *err) {
    return stream->source->element ? next_element(stream, record, err) : next_document(stream, record, err);
}

/* look - the source's paths; the source itself is what every record needs. */
static int look(struct record_stream *stream, void **header, struct err *err) {
    xml_library_init();
    *header = (void *)(uintptr_t)stream->source;
    return xml_record_check(stream->source, err);
}

static int append_json(const void *header, struct text_span record, struct text *out, struct err *err) {
    return xml_record_append(header, record, out, err);
}

static const char *const ENDINGS[] = {".xml", NULL};
const struct format FORMAT_XML = {.id = SOURCE_XML,
                                  .name = "xml",
                                  .unit = "line",
                                  .endings = ENDINGS,
                                  .has_fields = true,
                                  .look = look,
                                  .next = next,
                                  .append_json = append_json};
