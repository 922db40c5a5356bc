/* format_parquet.c - tables of columns (data/parquet/table.h): a row is a record, and only the columns of which the source makes
 * use are read.  The thread that reads also decompresses and writes the records as JSON, or others do it for it, several row groups at
 * once (data/parquet/ahead.h); the workers do the rest. */
#include <stdlib.h>

#include "data/corpus/file_hash.h"
#include "data/corpus/format_rows.h"
#include "data/corpus/prepare_wanted.h"
#include "data/parquet/ahead.h"
#include "data/parquet/table.h"

/* What the file says at its end: for the place of a row in messages, and how far the reading is. */
struct row_groups {
    int64_t num_groups;
    int64_t *ends; /* [num_groups]: rows up to the end of each */
};

struct parquet_stream {
    struct table *table;
    struct ahead *ahead;    /* in its place, with several readers */
    struct file_hash *hash; /* of the whole file, for its provenance */
};

static bool is_wanted(const void *user, struct text_span name) {
    return source_wants(user, name);
}

/* open_table - returns 0, or -1 with err set. */
static int open_table(struct record_stream *stream, struct err *err) {
    struct parquet_stream *own = xcalloc(1, sizeof *own);
    stream->own = own;
    own->table = table_open(stream->file->path, err);
    if (!own->table)
        return -1;
    return table_choose(own->table, is_wanted, stream->source, err);
}

static void close_table(struct record_stream *stream) {
    struct parquet_stream *own = stream->own;
    if (own) {
        ahead_stop(own->ahead);
        table_close(own->table);
        file_hash_release(own->hash);
    }
    free(own);
}

static void release(void *header) {
    struct row_groups *groups = header;
    if (groups)
        free(groups->ends);
    free(groups);
}

/* look - at the columns, before any is read, and at the row groups. */
static int look(struct record_stream *stream, void **header, struct err *err) {
    const struct parquet_stream *own = stream->own;
    const char *path = stream->file->path;
    struct row_groups *groups = xcalloc(1, sizeof *groups);
    struct text sample = {0};
    *header = groups;
    if (stream->source->encoding != ENCODING_UTF8)
        return err_set(err, "'%s' is a Parquet table, whose texts are UTF-8: leave the source's encoding out",
                       path);
    groups->num_groups = table_num_groups(own->table);
    groups->ends = xcalloc((size_t)groups->num_groups + 1, sizeof *groups->ends);
    for (int64_t i = 0; i < groups->num_groups; i++)
        groups->ends[i] = table_group_rows(own->table, i) + (i > 0 ? groups->ends[i - 1] : 0);
    table_append_sample(own->table, &sample);
    int status =
        source_check_sample(stream->source, (struct text_span){sample.bytes, sample.length_bytes}, err);
    text_release(&sample);
    return status == 0 ? 0 : err_prefix(err, "'%s'", path);
}

/* begin - at the first row; no more readers than there are row groups.  Returns 0, or -1 with err set. */
static int begin(const struct record_stream *stream, struct parquet_stream *own, struct err *err) {
    const struct ahead_wish wish = {stream->file->path, is_wanted, stream->source, DOCUMENT_MAX_BYTES};
    int64_t num_groups = table_num_groups(own->table);
    int num_readers = stream->num_readers < num_groups ? stream->num_readers : (int)num_groups;
    own->hash = file_hash_start(stream->file->path, stream->file->size_bytes);
    if (num_readers > 1)
        own->ahead = ahead_start(wish, num_readers, err);
    return num_readers > 1 && !own->ahead ? -1 : 0;
}

static int next_row(struct record_stream *stream, struct raw_record *record, struct err *err) {
    struct parquet_stream *own = stream->own;
    struct text_span row;
    int status;
    if (!own->hash && begin(stream, own, err) != 0)
        return -1;
    if (own->ahead) {
        status = ahead_next(own->ahead, &row, err);
    } else {
        stream->record.length_bytes = 0;
        status = table_next(own->table, DOCUMENT_MAX_BYTES, &stream->record, err);
        row = (struct text_span){stream->record.bytes, stream->record.length_bytes};
    }
    if (status > 0)
        *record = (struct raw_record){row.bytes, row.length_bytes, stream->num_records + 1};
    return status;
}

static int hash(struct record_stream *stream, char hex[SHA256_HEX_ROOM], struct err *err) {
    const struct parquet_stream *own = stream->own;
    return file_hash_finish(own->hash, hex, err);
}

static int64_t consumed_bytes(const struct record_stream *stream) {
    const struct row_groups *groups = stream->file->header;
    int64_t num_rows = groups->num_groups > 0 ? groups->ends[groups->num_groups - 1] : 0;
    double fraction = num_rows > 0 ? (double)stream->num_records / (double)num_rows : 1;
    return (int64_t)((double)stream->file->size_bytes * fraction);
}

/* place - rows are counted anew in each row group. */
static char *place(const void *header, int64_t number) {
    const struct row_groups *groups = header;
    int64_t i = 0;
    while (i < groups->num_groups - 1 && groups->ends[i] < number)
        i++;
    return xasprintf("row %lld of row group %lld", (long long)(number - (i > 0 ? groups->ends[i - 1] : 0)),
                     (long long)i + 1);
}

static const char *const ENDINGS[] = {".parquet", NULL};
const struct format FORMAT_PARQUET = {.id = SOURCE_PARQUET,
                                      .name = "parquet",
                                      .unit = "row",
                                      .endings = ENDINGS,
                                      .has_fields = true,
                                      .open = open_table,
                                      .close = close_table,
                                      .look = look,
                                      .release = release,
                                      .next = next_row,
                                      .hash = hash,
                                      .consumed_bytes = consumed_bytes,
                                      .place = place};
