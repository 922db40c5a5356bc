/* teacher_writer.c - the file of a teacher's log-probabilities, written: begun, gone on with, finished.  See teacher.h. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "data/corpus/json.h"
#include "data/file.h"
#include "data/tokens/teacher.h"
#include "data/tokens/teacher_file.h"

struct teacher_writer {
    char *path;
    struct teacher file; /* PATH.partial; PATH itself, for reading, where is_done */
    bool is_done;
};

/* make_header - TEACHER_HEADER_BYTES of text; malloc'ed. */
static char *make_header(const struct teacher_facts *facts, enum teacher_state state) {
    json_t *object =
        json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:I, s:I, s:f, s:I, s:I, s:s}", "format", TEACHER_FORMAT,
                  "content", facts->content, "name", facts->name, "model", facts->model, "identity",
                  facts->identity, "tokenizer_hash", facts->tokenizer_hash, "vocab_size",
                  (json_int_t)facts->vocab_size, "top_k", (json_int_t)facts->top_k, "temperature",
                  facts->temperature, "sequence_tokens", (json_int_t)facts->sequence_tokens, "tokens",
                  (json_int_t)facts->num_tokens, "state", TEACHER_STATES[state]);
    char *text = object ? json_dumps(object, JSON_COMPACT | JSON_REAL_PRECISION(17)) : NULL;
    char *header = xmalloc(TEACHER_HEADER_BYTES + 1);
    CHECK(text && strlen(text) < TEACHER_HEADER_BYTES, "the header of a teacher's file cannot be written");
    memset(header, ' ', TEACHER_HEADER_BYTES);
    memcpy(header, text, strlen(text));
    header[TEACHER_HEADER_BYTES - 1] = '\n';
    header[TEACHER_HEADER_BYTES] = '\0';
    free(text);
    json_decref(object);
    return header;
}

static int write_header(struct teacher *file, enum teacher_state state, struct err *err) {
    char *header = make_header(&file->facts, state);
    int status = file_write_at(file->fd, file->path, header, TEACHER_HEADER_BYTES, 0, err);
    free(header);
    return status;
}

/* is_header - of this file in that state. */
static bool is_header(const struct teacher *file, const char *found, enum teacher_state state) {
    char *header = make_header(&file->facts, state);
    bool is = memcmp(found, header, TEACHER_HEADER_BYTES) == 0;
    free(header);
    return is;
}

/* go_on - a file that an earlier start left has the same header and length.  One that ended while it began has no header
 * (the length is set first), one that ended while it finished may say whole: both are begun again. */
static int go_on(struct teacher *file, int64_t size_bytes, struct err *err) {
    char found[TEACHER_HEADER_BYTES];
    bool is_long = size_bytes == teacher_row_offset(&file->facts, file->facts.num_tokens);
    if (is_long && file_read_at(file->fd, file->path, found, sizeof found, 0, err) != 0)
        return -1;
    if (is_long && is_header(file, found, TEACHER_BEGUN))
        return 0;
    if (is_long && (found[0] == '\0' || is_header(file, found, TEACHER_WHOLE)))
        return write_header(file, TEACHER_BEGUN, err);
    return err_set(err,
                   "'%s' was begun by another model, or with other tokens or options; go on with those, or "
                   "remove it",
                   file->path);
}

/* begin - the length first: what is not written stays a hole, and a length is right from the start. */
static int begin(struct teacher *file, struct err *err) {
    if (ftruncate(file->fd, (off_t)teacher_row_offset(&file->facts, file->facts.num_tokens)) != 0)
        return file_io_failed(err, "write", file->path, 0);
    return write_header(file, TEACHER_BEGUN, err);
}

/* is_there - anything under this name, a link that leads nowhere included. */
static bool is_there(const char *path) {
    struct stat found;
    return lstat(path, &found) == 0;
}

/* difference - the first fact in which two files are not the same; NULL: in none.  What the model was called is not asked: it may
 * have been moved. */
static const char *difference(const struct teacher_facts *a, const struct teacher_facts *b) {
    if (strcmp(a->content, b->content) != 0 || a->num_tokens != b->num_tokens ||
        strcmp(a->tokenizer_hash, b->tokenizer_hash) != 0 || a->vocab_size != b->vocab_size)
        return "of other tokens";
    if (strcmp(a->model, b->model) != 0)
        return "by another model";
    if (a->identity[0] && b->identity[0] && strcmp(a->identity, b->identity) != 0)
        return "by the same weights with another config.json";
    if (a->top_k != b->top_k)
        return "with another --top-k";
    if (a->sequence_tokens != b->sequence_tokens)
        return "with another --sequence-tokens";
    return memcmp(&a->temperature, &b->temperature, sizeof a->temperature) == 0
               ? NULL
               : "with another --temperature";
}

/* open_done - the file is there under its own name: it must be the very one that would be written. */
static struct teacher_writer *open_done(const char *path, const struct teacher_facts *facts,
                                        struct err *err) {
    struct teacher *found = teacher_open(path, err);
    const char *what = found ? difference(&found->facts, facts) : NULL;
    if (what)
        err_set(err, "'%s' is there already, made %s: name another output, or remove it", path, what);
    if (!found || what) {
        teacher_close(found);
        return NULL;
    }
    struct teacher_writer *writer = xcalloc(1, sizeof *writer);
    *writer = (struct teacher_writer){.path = xstrdup(path), .file = *found, .is_done = true};
    free(found);
    return writer;
}

int teacher_check_output(const char *path, const char *tokens_path, struct err *err) {
    struct stat output, tokens;
    if (path[0] == '\0')
        return err_set(err, "the output has no name");
    if (stat(path, &output) == 0 && stat(tokens_path, &tokens) == 0 && output.st_dev == tokens.st_dev &&
        output.st_ino == tokens.st_ino)
        return err_set(err, "'%s' is the token file itself: name another output", path);
    if (!is_there(path))
        return 0;
    struct teacher *found = teacher_open(path, err);
    teacher_close(found);
    return found ? 0 : err_prefix(err, "the output must not exist, or be the same file, made earlier");
}

/* lock - the open file is this process's alone while it is open, and still the one of that name: another process may have finished
 * it since.  Where the file system has no locks there is none; the rows of two processes are the same ones. */
static int lock(const struct teacher *file, struct err *err) {
    struct stat opened, named;
    bool is_busy = flock(file->fd, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK;
    if (!is_busy && fstat(file->fd, &opened) == 0 && stat(file->path, &named) == 0 &&
        opened.st_dev == named.st_dev && opened.st_ino == named.st_ino)
        return 0;
    return err_set(err,
                   "'%s' is being written by another process: wait for it, end it, or name another output",
                   file->path);
}

/* prepare - the open file, for rows. */
static int prepare(struct teacher *file, struct err *err) {
    if (lock(file, err) != 0)
        return -1;
    int64_t size_bytes = lseek(file->fd, 0, SEEK_END);
    return size_bytes > 0 ? go_on(file, size_bytes, err) : begin(file, err);
}

struct teacher_writer *teacher_writer_open(const char *path, const struct teacher_facts *facts,
                                           struct err *err) {
    if (is_there(path))
        return open_done(path, facts, err);
    struct teacher_writer *writer = xcalloc(1, sizeof *writer);
    writer->path = xstrdup(path);
    writer->file = (struct teacher){.path = xasprintf("%s.partial", path), .fd = -1, .facts = *facts};
    if (teacher_check_facts(facts, err) == 0 && file_check_regular(writer->file.path, err) == 0) {
        writer->file.fd = open(writer->file.path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0666);
        if (writer->file.fd < 0)
            file_io_failed(err, "write", writer->file.path, 0);
    }
    if (writer->file.fd >= 0 && prepare(&writer->file, err) == 0)
        return writer;
    teacher_writer_close(writer);
    return NULL;
}

void teacher_writer_close(struct teacher_writer *writer) {
    if (!writer)
        return;
    if (writer->file.fd >= 0)
        close(writer->file.fd);
    free(writer->file.path);
    free(writer->path);
    free(writer);
}

bool teacher_writer_is_done(const struct teacher_writer *writer) {
    return writer->is_done;
}

int teacher_writer_has(const struct teacher_writer *writer, const struct teacher_range *range,
                       struct err *err) {
    char *rows = teacher_read_rows(&writer->file, range, err);
    int has = rows ? 1 : -1;
    for (int64_t i = 0; i < range->count && has == 1; i++)
        if (range->wanted[i] &&
            !teacher_row_is_sound(&writer->file.facts,
                                  rows + (size_t)i * teacher_row_bytes(&writer->file.facts),
                                  range->first + i))
            has = 0;
    free(rows);
    return has;
}

int teacher_writer_put(struct teacher_writer *writer, int64_t token, const int32_t *ids, const float *logps,
                       struct err *err) {
    char row[TEACHER_MOST_IDS * 8 + 4];
    CHECK(!writer->is_done, "'%s' is done: nothing is put into it", writer->path);
    const struct teacher_facts *facts = &writer->file.facts;
    size_t half = (size_t)facts->top_k * 4;
    memcpy(row, ids, half);
    memcpy(row + half, logps, half);
    uint32_t sum = teacher_row_sum(facts, row, token);
    memcpy(row + 2 * half, &sum, sizeof sum);
    return file_write_at(writer->file.fd, writer->file.path, row, teacher_row_bytes(facts),
                         teacher_row_offset(facts, token), err);
}

int teacher_writer_finish(struct teacher_writer *writer, struct err *err) {
    int status = 0;
    if (writer->is_done)
        status = 0;
    else if (is_there(writer->path)) /* it was not when this began */
        status = err_set(err, "'%s' was made by something else meanwhile: '%s' is whole, rename it yourself",
                         writer->path, writer->file.path);
    else if (fsync(writer->file.fd) != 0) /* the rows are on the disk before the header says that they are */
        status = file_io_failed(err, "write", writer->file.path, 0);
    else if (write_header(&writer->file, TEACHER_WHOLE, err) != 0)
        status = -1;
    else if (fsync(writer->file.fd) != 0)
        status = file_io_failed(err, "write", writer->file.path, 0);
    else if (rename(writer->file.path, writer->path) != 0)
        status =
            err_set(err, "cannot rename '%s' to '%s': %s", writer->file.path, writer->path, strerror(errno));
    teacher_writer_close(writer);
    return status;
}
