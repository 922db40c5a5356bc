/* format_xml.c - documents of XML, a file each: read whole on the thread that reads, turned into UTF-8 as the prolog says; what is
 * inside of them is for the workers (xml_record.h). */
#include <strings.h>

#include "data/corpus/format_rows.h"
#include "data/corpus/xml.h"
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

/* to_utf8 - a document in the encoding of its prolog.  Where the source says one, the reader has followed it, and the prolog tells
 * of the file as it was. */
static int to_utf8(struct record_stream *stream, struct raw_record *record, struct err *err) {
    const struct text_span document = {record->bytes, record->length_bytes};
    struct text_span name = declared(document);
    struct encoding_state state = {.encoding = ENCODING_UTF8};
    bool is_known = name.length_bytes == 0;
    if (stream->source->encoding != ENCODING_UTF8)
        return 0;
    for (size_t i = 0; i < sizeof ENCODINGS / sizeof *ENCODINGS; i++)
        if (strlen(ENCODINGS[i].name) == name.length_bytes &&
            strncasecmp(ENCODINGS[i].name, name.bytes, name.length_bytes) == 0) {
            state.encoding = ENCODINGS[i].encoding;
            is_known = true;
        }
    if (!is_known)
        return err_set(
            err,
            "'%s' line 1: it says that its encoding is '%.*s', which is not read: convert it, for example with "
            "xmllint --encode UTF-8 FILE",
            stream->file->path, (int)(name.length_bytes < 40 ? name.length_bytes : 40), name.bytes);
    if (state.encoding == ENCODING_UTF8)
        return 0;
    if (encoding_start(&state, document, stream->file->path, err) != 0)
        return -1;
    stream->record.length_bytes = 0;
    encoding_append(&state, document, &stream->record);
    record->bytes = stream->record.bytes;
    record->length_bytes = stream->record.length_bytes;
    return 0;
}

static int next_document(struct record_stream *stream, struct raw_record *record, struct err *err) {
    char *bytes;
    *record = (struct raw_record){.number = 0};
    if (stream->num_records > 0)
        return 0;
    if (reader_rest(stream->reader, DOCUMENT_MAX_BYTES, &bytes, &record->length_bytes, err) != 0)
        return -1;
    record->bytes = bytes;
    return to_utf8(stream, record, err) == 0 ? 1 : -1;
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
                                  .unit = "file",
                                  .endings = ENDINGS,
                                  .has_fields = true,
                                  .look = look,
                                  .next = next_document,
                                  .append_json = append_json};
