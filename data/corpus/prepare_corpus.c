/* prepare_corpus.c - the input of prepare: which files there are, their formats, and their text in batches.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "data/corpus/content_kind.h"
#include "data/corpus/prepare_batch.h"
#include "data/file.h"

/* unknown_format - what to do about a file whose name says nothing, or another thing. */
static int unknown_format(const char *path, struct err *err) {
    const struct content_kind *kind = content_kind_of_name(path);
    if (kind)
        return err_set(err, "'%s' is %s; %s", path, kind->name, kind->advice);
    return err_set(
        err,
        "cannot tell the format of '%s' by its name (.txt, .md: text; .jsonl, .ndjson: JSON lines; .json: an array of JSON; .csv, .tsv: a table; .parquet: a Parquet table; .xml); set the source's format to text, jsonl, json, csv, parquet or xml if it is one of them",
        path);
}

/* check_fields - what no file of the source can have was not meant for these files. */
static int check_fields(const struct corpus *corpus, int first, const struct prepare_source *source,
                        struct err *err) {
    bool has_field = source->field && strcmp(source->field, source->chat ? "messages" : "text") != 0;
    const char *name = has_field                 ? source->field
                       : source->num_fields > 0  ? source->fields[0].text
                       : source->num_filters > 0 ? source->where[0].field
                                                 : NULL;
    if (!name)
        return 0;
    for (int i = first; i < corpus->num_files; i++)
        if (!corpus->files[i].format || corpus->files[i].format->has_fields)
            return 0;
    return err_set(
        err,
        "the field '%s' of source '%s' would have no effect: its files are text, which has no fields; leave "
        "it out, or set the source's format",
        name, source->path);
}

/* has_format - whether a file of the source may be of a format: an archive may hold one. */
static bool has_format(const struct corpus *corpus, int first, enum source_format id) {
    for (int i = first; i < corpus->num_files; i++)
        if (!corpus->files[i].format || corpus->files[i].format->id == id)
            return true;
    return false;
}

/* check_formats - keys that no file of the source has a use for. */
static int check_formats(const struct corpus *corpus, int first, const struct prepare_source *source,
                         struct err *err) {
    bool has_delimiter = source->delimiter && strcmp(source->delimiter, "auto") != 0;
    if (has_delimiter && !has_format(corpus, first, SOURCE_CSV))
        return err_set(
            err, "the delimiter of source '%s' would have no effect: none of its files is a table (csv)",
            source->path);
    if (source->element && !has_format(corpus, first, SOURCE_XML))
        return err_set(err, "the element of source '%s' would have no effect: none of its files is XML",
                       source->path);
    return 0;
}

/* look_at - that it is text in the source's encoding and what its format is, NULL where that is not known, before hours of
 * work on other files. */
static int look_at(struct corpus_file *file, const struct prepare_source *source, struct err *err) {
    struct record_stream stream;
    if (record_stream_open(&stream, file, source, err) != 0)
        return -1;
    const char *coding = stream.reader ? reader_unnamed_coding(stream.reader) : NULL;
    if (coding)
        warn("'%s' is %s data, which its name does not say: it is read decompressed", file->path, coding);
    int status = file->format ? record_stream_look(&stream, file, err) : unknown_format(file->path, err);
    record_stream_close(&stream);
    return status;
}

/* add_file - takes over path. */
static int add_file(struct corpus *corpus, const struct prepare_source *source, int row, char *path,
                    int64_t size_bytes, struct err *err) {
    struct corpus_file file = {.source = row, .path = path, .size_bytes = size_bytes};
    int status;
    if (is_tar_name(path)) {
        status = archive_look(path, err);
    } else {
        file.format = source->format == SOURCE_AUTO ? format_of_name(path) : format_of(source->format);
        status = look_at(&file, source, err);
        if (status == 0)
            status = source_takes_file(source, &file, err);
    }
    if (status != 0) {
        corpus_file_release(&file);
        return -1;
    }
    corpus->files = xrealloc(corpus->files, (size_t)(corpus->num_files + 1) * sizeof *corpus->files);
    corpus->files[corpus->num_files++] = file;
    corpus->total_bytes += size_bytes;
    return 0;
}

static int compare_files(const void *a, const void *b) {
    return strcmp(((const struct corpus_file *)a)->path, ((const struct corpus_file *)b)->path);
}

/* add_folder - its files, in byte order of their names. */
static int add_folder(struct corpus *corpus, const struct prepare_source *source, int row, struct err *err) {
    const struct folder_walk walk = {source, row, add_file};
    int first = corpus_add_folder(corpus, &walk, err);
    if (first < 0)
        return -1;
    qsort(corpus->files + first, (size_t)(corpus->num_files - first), sizeof *corpus->files, compare_files);
    return 0;
}

int corpus_open(struct corpus *corpus, const struct prepare_source *sources, int num_sources,
                struct err *err) {
    struct stat facts;
    *corpus = (struct corpus){.num_sources = num_sources, .sources = sources};
    corpus->sha256 = xcalloc((size_t)num_sources, sizeof *corpus->sha256);
    corpus->list_sha = xcalloc((size_t)num_sources, sizeof *corpus->list_sha);
    corpus->has_enough = xcalloc((size_t)num_sources, sizeof *corpus->has_enough);
    for (int i = 0; i < num_sources; i++) {
        const struct prepare_source *source = &sources[i];
        sha256_init(&corpus->list_sha[i]);
        if (stat(source->path, &facts) != 0)
            return err_set(err, "cannot read source '%s': %s", source->path, strerror(errno));
        int first = corpus->num_files;
        int status = S_ISDIR(facts.st_mode)
                         ? add_folder(corpus, source, i, err)
                         : add_file(corpus, source, i, xstrdup(source->path), facts.st_size, err);
        if (status != 0 || check_fields(corpus, first, source, err) != 0 ||
            check_formats(corpus, first, source, err) != 0)
            return -1;
    }
    return 0;
}

void corpus_close(struct corpus *corpus) {
    archive_close(corpus);
    record_stream_close(&corpus->stream);
    for (int i = 0; i < corpus->num_files; i++)
        corpus_file_release(&corpus->files[i]);
    free(corpus->files);
    free(corpus->sha256);
    free(corpus->list_sha);
    free(corpus->has_enough);
    *corpus = (struct corpus){0};
}

/* name_of - as it stands in a source's list of files: below the source's folder, or the last part. */
static const char *name_of(const struct corpus *corpus, const struct corpus_file *file) {
    const char *folder = corpus->sources[file->source].path, *slash = strrchr(file->path, '/');
    size_t length = strlen(folder);
    if (strncmp(file->path, folder, length) == 0 && file->path[length] == '/')
        return file->path + length + 1;
    return slash ? slash + 1 : file->path;
}

/* consumed_bytes - of the current file, which may be an archive, as it is stored; hash_file - its SHA-256, once it has ended; returns
 * 0, or -1 with err set. */
static int64_t consumed_bytes(const struct corpus *corpus) {
    if (corpus->archive)
        return reader_consumed_bytes(tar_reader(corpus->archive));
    return record_stream_is_open(&corpus->stream) ? record_stream_consumed_bytes(&corpus->stream) : 0;
}

static int hash_file(struct corpus *corpus, char hex[SHA256_HEX_ROOM], struct err *err) {
    if (!corpus->archive)
        return record_stream_hash(&corpus->stream, hex, err);
    reader_sha256(tar_reader(corpus->archive), hex);
    return 0;
}

/* end_file - its hash joins the source's: that of the file itself, or where a source has several files that
 * of the lines "hash  name", as sha256sum prints them.  Returns 0, or -1 with err set. */
static int end_file(struct corpus *corpus, struct err *err) {
    const struct corpus_file *file = &corpus->files[corpus->file];
    const char *name = name_of(corpus, file);
    struct sha256 *list = &corpus->list_sha[file->source];
    char hex[SHA256_HEX_ROOM];
    if (hash_file(corpus, hex, err) != 0)
        return -1;
    char *line = xasprintf("%s  %s\n", hex, name);
    bool is_only = list->length_bytes == 0;
    sha256_update(list, line, strlen(line));
    free(line);
    struct sha256 copy = *list;
    if (is_only)
        memcpy(corpus->sha256[file->source], hex, sizeof hex);
    else
        sha256_finish(&copy, corpus->sha256[file->source]);
    corpus->done_bytes += consumed_bytes(corpus);
    archive_close(corpus);
    record_stream_close(&corpus->stream);
    corpus->file++;
    return 0;
}

/* leave_file - the rest of it is not read. */
static void leave_file(struct corpus *corpus) {
    corpus->done_bytes += consumed_bytes(corpus);
    archive_close(corpus);
    record_stream_close(&corpus->stream);
    corpus->is_part = true;
    corpus->file++;
}

char *corpus_place(const struct batch_document *document) {
    const struct corpus_file *file = document->file;
    if (document->number == 0)
        return xasprintf("'%s'", file->path);
    if (!file->format->place)
        return xasprintf("'%s' %s %lld", file->path, file->format->unit, (long long)document->number);
    char *place = file->format->place(file->header, document->number);
    char *whole = xasprintf("'%s' %s", file->path, place);
    free(place);
    return whole;
}

/* add_document - its bytes join the batch's.  A line was read with its line feed, which counts as text read. */
static void add_document(struct corpus *corpus, struct batch *batch, const struct raw_record *record) {
    batch->documents[batch->num_documents++] = (struct batch_document){
        .source = corpus->files[corpus->file].source,
        .is_converted = corpus->stream.reader && reader_is_converted(corpus->stream.reader),
        .file = corpus->member ? &corpus->member->file : &corpus->files[corpus->file],
        .number = record->number,
        .first_byte = batch->raw.length_bytes,
        .length_bytes = record->length_bytes};
    if (corpus->member)
        batch_use_member(batch, corpus->member);
    text_reserve(&batch->raw, record->length_bytes);
    text_append(&batch->raw, record->bytes, record->length_bytes);
    corpus->text_bytes += (int64_t)record->length_bytes + (record->number > 0);
}

/* file_next - the next record of the current file, which is opened where it has not begun. */
static int file_next(struct corpus *corpus, struct raw_record *record, struct err *err) {
    const struct corpus_file *file = &corpus->files[corpus->file];
    if (!record_stream_is_open(&corpus->stream) &&
        record_stream_open(&corpus->stream, file, &corpus->sources[file->source], err) != 0)
        return -1;
    corpus->stream.num_readers = corpus->num_readers;
    return record_stream_next(&corpus->stream, record, err);
}

/* read_document - the next of the current file.  Returns 1, 0 where the file has ended, -1 with err set. */
static int read_document(struct corpus *corpus, struct batch *batch, struct err *err) {
    const struct corpus_file *file = &corpus->files[corpus->file];
    struct raw_record record;
    int status = file->format ? file_next(corpus, &record, err) : archive_next(corpus, &record, err);
    if (status > 0)
        add_document(corpus, batch, &record);
    record_stream_trim(&corpus->stream);
    return status;
}

void corpus_read(struct corpus *corpus, struct batch *batch) {
    if (batch->raw.room_bytes > 4 * BATCH_BYTES) /* after one huge document */
        text_release(&batch->raw);
    batch_release_members(batch);
    batch->raw.length_bytes = 0;
    batch->num_documents = 0;
    batch->bad_document = -1;
    while (corpus->file < corpus->num_files && batch->num_documents < BATCH_DOCUMENTS &&
           batch->raw.length_bytes < BATCH_BYTES) {
        if (corpus->has_enough[corpus->files[corpus->file].source]) {
            leave_file(corpus);
            continue;
        }
        int status = read_document(corpus, batch, &batch->err);
        if (status == 0)
            status = end_file(corpus, &batch->err);
        if (status < 0) {
            batch->bad_document = batch->num_documents;
            break;
        }
    }
    batch->consumed_bytes = corpus->done_bytes + consumed_bytes(corpus);
}
