/* content_kind.c - a table of first bytes and endings, and the share of control characters.  Sources: the magic
 * numbers of file(1) and of the formats' own descriptions. */
#include "data/corpus/content_kind.h"

#include <strings.h>

#define PANDOC "extract its text first, for example with pandoc FILE -t plain -o FILE.txt"
#define UNPACK "unpack it first"
#define OUT "take it out of the source"
#define ARROW                                                                                                \
    "convert it to JSON lines: python3 -c \"import pandas; pandas.read_feather('FILE.parquet')"              \
    ".to_json('FILE.jsonl', orient='records', lines=True, force_ascii=False)\""
/* Bytes at a place; needs_binary: text could start like this, so a control character must follow soon. */
static const struct {
    size_t offset, length;
    const char *magic;
    bool needs_binary;
    struct content_kind kind;
} MAGICS[] = {
    {0, 4, "PAR1", true, {"a Parquet table", "set the source's format to parquet"}},
    {0, 6, "ARROW1", true, {"an Arrow table", ARROW}},
    {0, 4, "Obj\x01", false, {"an Avro file", "convert it to JSON lines"}},
    {0, 5, "%PDF-", false, {"a PDF", "extract its text first, for example with pdftotext FILE.pdf FILE.txt"}},
    {0, 4, "PK\x03\x04", false, {"a zip archive (or .docx, .odt, .xlsx, .epub)", "unpack it; " PANDOC}},
    {0, 8, "\xD0\xCF\x11\xE0\xA1\xB1\x1A\xE1", false, {"an old Office document", PANDOC}},
    {0, 5, "{\\rtf", false, {"an RTF document", PANDOC}},
    {0, 8, "\x89PNG\r\n\x1A\n", false, {"a PNG image", OUT}},
    {0, 3, "\xFF\xD8\xFF", false, {"a JPEG image", OUT}},
    {0, 6, "GIF87a", false, {"a GIF image", OUT}},
    {0, 6, "GIF89a", false, {"a GIF image", OUT}},
    {0, 4, "RIFF", true, {"an image, a sound or a film (RIFF)", OUT}},
    {0,
     4,
     "\x7F"
     "ELF",
     false,
     {"a program", OUT}},
    {0, 16, "SQLite format 3\0", false, {"an SQLite database", "write its texts as JSON lines"}},
    {0, 6, "\x93NUMPY", false, {"a NumPy array", OUT}},
    {0, 8, "\x89HDF\r\n\x1A\n", false, {"an HDF5 file", "a token file goes to data.train; text goes here"}},
    {0, 4, "GGUF", true, {"a GGUF model", OUT}},
    {0,
     6,
     "\xFD"
     "7zXZ\0",
     false,
     {"xz data", "decompress it, or compress it with zstd or gzip"}},
    {0, 3, "BZh", true, {"bzip2 data", "decompress it, or compress it with zstd or gzip"}},
    {0, 4, "\x04\x22\x4D\x18", false, {"lz4 data", "decompress it, or compress it with zstd or gzip"}},
    {0, 6, "7z\xBC\xAF\x27\x1C", false, {"a 7z archive", UNPACK}},
    {0, 6, "Rar!\x1A\x07", false, {"a RAR archive", UNPACK}},
    {0, 4, "OggS", true, {"sound or film (Ogg)", OUT}},
    {0, 3, "ID3", true, {"sound (MP3)", OUT}},
    {4, 4, "ftyp", true, {"film or sound (MP4)", OUT}},
    {0, 4, "II*\0", false, {"a TIFF image", OUT}},
    {0, 4, "MM\0*", false, {"a TIFF image", OUT}},
    {0, 2, "BM", true, {"a BMP image", OUT}},
    {0, 2, "MZ", true, {"a program", OUT}},
    {0, 4, "\xCA\xFE\xBA\xBE", false, {"a program", OUT}},
    {0, 4, "wOFF", true, {"a font", OUT}},
    {0, 4, "wOF2", true, {"a font", OUT}},
    {0, 4, "%!PS", false, {"PostScript", "extract its text first, for example with ps2txt FILE.ps FILE.txt"}},
    {0,
     8,
     "AT&TFORM",
     false,
     {"a DjVu document", "extract its text first, for example with djvutxt FILE.djvu FILE.txt"}},
    {5, 5, "\0\0\0{\"", false, {"a safetensors model", OUT}},
    {0, 2, "\x78\x9C", false, {"zlib data", "decompress it, or compress it with zstd or gzip"}},
    {0, 2, "\x78\xDA", false, {"zlib data", "decompress it, or compress it with zstd or gzip"}},
    {257, 5, "ustar", false, {"a tar archive", "give it a name that ends in .tar, .tar.gz or .tar.zst"}},
    {0, 2, "\x1F\x8B", false, {"compressed twice (gzip)", "decompress it once"}},
    {0, 4, "\x28\xB5\x2F\xFD", false, {"compressed twice (zstd)", "decompress it once"}},
    {0, 2, "\x80\x02", false, {"a Python pickle", "write its texts as JSON lines"}},
    {0, 2, "\x80\x03", false, {"a Python pickle", "write its texts as JSON lines"}},
    {0, 2, "\x80\x04", false, {"a Python pickle", "write its texts as JSON lines"}},
    {0, 2, "\x80\x05", false, {"a Python pickle", "write its texts as JSON lines"}},
    {0, 4, "\xFF\xFE\0\0", false, {"text in UTF-32", "convert it with iconv -f UTF-32 -t UTF-8"}},
    {0, 2, "\xFF\xFE", false, {"text in UTF-16", "set the source's encoding to utf-16"}},
    {0, 2, "\xFE\xFF", false, {"text in UTF-16", "set the source's encoding to utf-16"}},
    {0,
     42,
     "version https://git-lfs.github.com/spec/v1",
     false,
     {"a git-lfs pointer, not the data itself", "fetch it with git lfs pull"}},
};

static const struct content_kind BINARY = {
    "not text: it is full of control characters",
    "convert it to text or JSON lines first; for UTF-16 without a byte order mark set the source's encoding"};

/* count_controls - bytes that text does not hold: control characters but tab, line ends, form feed, backspace
 * and escape. */
static size_t count_controls(struct text_span text) {
    size_t count = 0;
    for (size_t i = 0; i < text.length_bytes; i++) {
        unsigned char c = (unsigned char)text.bytes[i];
        count += c < 0x20 && !(c >= 8 && c <= 13) && c != 0x1B;
    }
    return count;
}

/* Known first bytes, and then a share of control characters that no text has: more than one byte in 20, and 8 at
 * least, as a short text may hold a few. */
const struct content_kind *content_kind_find(struct text_span first) {
    enum { LOOKED_AT = 4096, SOON = 64, FEW = 8, ONE_IN = 20 };
    struct text_span start = {first.bytes, first.length_bytes < LOOKED_AT ? first.length_bytes : LOOKED_AT};
    struct text_span soon = {first.bytes, first.length_bytes < SOON ? first.length_bytes : SOON};
    for (size_t i = 0; i < sizeof MAGICS / sizeof *MAGICS; i++)
        if (first.length_bytes >= MAGICS[i].offset + MAGICS[i].length &&
            memcmp(first.bytes + MAGICS[i].offset, MAGICS[i].magic, MAGICS[i].length) == 0 &&
            (!MAGICS[i].needs_binary || count_controls(soon) > 0))
            return &MAGICS[i].kind;
    size_t controls = count_controls(start);
    return controls >= FEW && controls > start.length_bytes / ONE_IN ? &BINARY : NULL;
}

static const struct content_kind HTML = {
    "HTML", PANDOC "; to learn the markup itself, list the file as a source of its own with format: text"};

/* skip_between - from `at`, where `first` may stand, to after `last`; `at` where it does not, or does not end. */
static size_t skip_between(struct text_span text, size_t at, const char *first, const char *last) {
    size_t length = strlen(first);
    if (text.length_bytes - at < length || memcmp(text.bytes + at, first, length) != 0)
        return at;
    const char *end = memmem(text.bytes + at + length, text.length_bytes - at - length, last, strlen(last));
    return end ? (size_t)(end - text.bytes) + strlen(last) : at;
}

/* skip_prolog - what a page may have before its document type: a mark, blanks, comments, XML's declaration. */
static size_t skip_prolog(struct text_span text) {
    size_t at = skip_between(text, 0, "\xEF\xBB\xBF", ""), before;
    do {
        before = at;
        while (at < text.length_bytes && strchr(" \t\r\n", text.bytes[at]) && text.bytes[at])
            at++;
        at = skip_between(text, at, "<!--", "-->");
        at = skip_between(text, at, "<?xml", "?>");
    } while (at > before);
    return at;
}

const struct content_kind *content_kind_of_markup(struct text_span text) {
    static const char *const starts[] = {"<!doctype html", "<html"};
    size_t at = skip_prolog(text);
    for (size_t i = 0; i < sizeof starts / sizeof *starts; i++) {
        size_t length = strlen(starts[i]);
        if (text.length_bytes > at + length && strncasecmp(text.bytes + at, starts[i], length) == 0 &&
            text.bytes[at + length] && strchr("> \t\r\n", text.bytes[at + length]))
            return &HTML;
    }
    return NULL;
}

const struct content_kind *content_kind_of_name(const char *path) {
    static const char *const endings[] = {".html", ".htm", ".xhtml"};
    size_t length = strlen(path);
    for (size_t i = 0; i < sizeof endings / sizeof *endings; i++) {
        size_t ending = strlen(endings[i]);
        if (length > ending && strcasecmp(path + length - ending, endings[i]) == 0)
            return &HTML;
    }
    return NULL;
}
