/* teacher.c - the file of a teacher's log-probabilities, read and written.  See teacher.h. */
#include "data/tokens/teacher.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#include "data/corpus/json.h"
#include "data/file.h"

enum { HEADER_BYTES = 4096, SEEN_PLACES = 1024 };
static const char FORMAT[] = "atelier-teacher 1";

/* Of a file: begun, and gone on with by the next start, or whole, which finishing alone says. */
enum state { BEGUN, WHOLE };
static const char *const STATES[] = {[BEGUN] = "begun", [WHOLE] = "whole"};

struct teacher {
    char *path;
    int fd;
    enum state state;
    struct teacher_facts facts;
};

struct teacher_writer {
    char *path;
    struct teacher file; /* PATH.partial; PATH itself, for reading, where is_done */
    bool is_done;
};

static size_t row_bytes(const struct teacher_facts *facts) {
    return (size_t)facts->top_k * (sizeof(int32_t) + sizeof(float)) + sizeof(uint32_t);
}

static int64_t row_offset(const struct teacher_facts *facts, int64_t token) {
    return HEADER_BYTES + token * (int64_t)row_bytes(facts);
}

/* row_sum - of a row's ids and log-probabilities; the token is part of it, so that no row stands for another one. */
static uint32_t row_sum(const struct teacher_facts *facts, const void *row, int64_t token) {
    size_t length_bytes = row_bytes(facts) - sizeof(uint32_t);
    return (uint32_t)XXH3_64bits_withSeed(row, length_bytes, (uint64_t)token);
}

static bool is_sound(const struct teacher_facts *facts, const char *row, int64_t token) {
    uint32_t sum;
    memcpy(&sum, row + row_bytes(facts) - sizeof sum, sizeof sum);
    return sum == row_sum(facts, row, token);
}

/* --- the header --- */

/* make_header - HEADER_BYTES of text; malloc'ed. */
static char *make_header(const struct teacher_facts *facts, enum state state) {
    json_t *object = json_pack(
        "{s:s, s:s, s:s, s:s, s:s, s:I, s:I, s:f, s:I, s:I, s:s}", "format", FORMAT, "content",
        facts->content, "name", facts->name, "model", facts->model, "tokenizer_hash", facts->tokenizer_hash,
        "vocab_size", (json_int_t)facts->vocab_size, "top_k", (json_int_t)facts->top_k, "temperature",
        facts->temperature, "sequence_tokens", (json_int_t)facts->sequence_tokens, "tokens",
        (json_int_t)facts->num_tokens, "state", STATES[state]);
    char *text = object ? json_dumps(object, JSON_COMPACT | JSON_REAL_PRECISION(17)) : NULL;
    char *header = xmalloc(HEADER_BYTES + 1);
    CHECK(text && strlen(text) < HEADER_BYTES, "the header of a teacher's file cannot be written");
    memset(header, ' ', HEADER_BYTES);
    memcpy(header, text, strlen(text));
    header[HEADER_BYTES - 1] = '\n';
    header[HEADER_BYTES] = '\0';
    free(text);
    json_decref(object);
    return header;
}

/* take_text - a fact of exactly room - 1 characters. */
static int take_text(const json_t *object, const char *key, char *to, size_t room, struct err *err) {
    const char *text;
    if (json_get_string(object, key, &text, err) != 0)
        return -1;
    if (strlen(text) >= room)
        return err_set(err, "'%s' is longer than %zu characters", key, room - 1);
    memcpy(to, text, strlen(text) + 1);
    return 0;
}

/* check_facts - what rows are found and checked by. */
static int check_facts(const struct teacher_facts *facts, struct err *err) {
    const struct {
        const char *name;
        int64_t value, most;
    } counts[] = {{"vocab_size", facts->vocab_size, INT32_MAX},
                  {"top_k", facts->top_k, TEACHER_MOST_IDS},
                  {"sequence_tokens", facts->sequence_tokens, INT32_MAX},
                  {"tokens", facts->num_tokens, INT64_MAX / (int64_t)(16 * TEACHER_MOST_IDS)}};
    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++)
        if (counts[i].value < 1 || counts[i].value > counts[i].most)
            return err_set(err, "'%s' is %lld, expected 1 to %lld", counts[i].name,
                           (long long)counts[i].value, (long long)counts[i].most);
    if (facts->top_k >= facts->vocab_size)
        return err_set(err, "'top_k' is %lld, expected less than the vocabulary of %lld",
                       (long long)facts->top_k, (long long)facts->vocab_size);
    if (!(facts->temperature > 0 && facts->temperature < 1e6))
        return err_set(err, "'temperature' is %g, expected above 0", facts->temperature);
    return 0;
}

static int read_facts(const json_t *object, struct teacher_facts *facts, struct err *err) {
    const char *format;
    if (json_find(object, "name") && take_text(object, "name", facts->name, sizeof facts->name, err) != 0)
        return -1;
    if (json_get_string(object, "format", &format, err) != 0)
        return -1;
    if (strcmp(format, FORMAT) != 0)
        return err_set(err, "its format is '%.40s'; this version reads '%s'", format, FORMAT);
    if (take_text(object, "content", facts->content, sizeof facts->content, err) != 0 ||
        take_text(object, "model", facts->model, sizeof facts->model, err) != 0 ||
        take_text(object, "tokenizer_hash", facts->tokenizer_hash, sizeof facts->tokenizer_hash, err) != 0 ||
        json_get_int(object, "vocab_size", &facts->vocab_size, err) != 0 ||
        json_get_int(object, "top_k", &facts->top_k, err) != 0 ||
        json_get_double(object, "temperature", &facts->temperature, err) != 0 ||
        json_get_int(object, "sequence_tokens", &facts->sequence_tokens, err) != 0 ||
        json_get_int(object, "tokens", &facts->num_tokens, err) != 0)
        return -1;
    return check_facts(facts, err);
}

static int read_state(const json_t *object, enum state *state, struct err *err) {
    const char *text;
    if (json_get_string(object, "state", &text, err) != 0)
        return -1;
    for (*state = BEGUN; *state <= WHOLE; (*state)++)
        if (strcmp(text, STATES[*state]) == 0)
            return 0;
    return err_set(err, "'state' is '%.20s', expected whole", text);
}

/* read_header - the facts, and that the file is as long as they say. */
static int read_header(struct teacher *teacher, int64_t size_bytes, struct err *err) {
    char header[HEADER_BYTES];
    if (size_bytes < HEADER_BYTES)
        return err_set(err, "it has %lld bytes, less than a header", (long long)size_bytes);
    if (file_read_at(teacher->fd, teacher->path, header, sizeof header, 0, err) != 0)
        return -1;
    json_t *object = json_parse_text(header, sizeof header, "its header", err);
    int status = object ? read_facts(object, &teacher->facts, err) : -1;
    if (status == 0)
        status = read_state(object, &teacher->state, err);
    json_decref(object);
    int64_t wanted = status == 0 ? row_offset(&teacher->facts, teacher->facts.num_tokens) : 0;
    if (status == 0 && size_bytes != wanted)
        return err_set(err, "it has %lld bytes where %lld belong: it was cut or appended to",
                       (long long)size_bytes, (long long)wanted);
    return status;
}

/* --- reading --- */

/* fail_begun - a file that was named before it was finished: how to go on with it. */
static int fail_begun(const struct teacher *teacher, struct err *err) {
    static const char ENDING[] = ".partial";
    const struct teacher_facts *facts = &teacher->facts;
    bool has_ending = name_ends_with(teacher->path, ENDING);
    int length = (int)(strlen(teacher->path) - (has_ending ? strlen(ENDING) : 0));
    return err_set(
        err,
        "'%s' was begun and is not finished: %sgo on with 'atelier eval MODEL --data FILE.h5 --output %.*s --top-k %lld "
        "--temperature %.17g --sequence-tokens %lld', of the same model and tokens",
        teacher->path, has_ending ? "" : "give it back the ending .partial, and ", length, teacher->path,
        (long long)facts->top_k, facts->temperature, (long long)facts->sequence_tokens);
}

struct teacher *teacher_open(const char *path, struct err *err) {
    int64_t size_bytes = 0;
    struct teacher *teacher = xcalloc(1, sizeof *teacher);
    teacher->path = xstrdup(path);
    teacher->fd = file_open_read(path, &size_bytes, err);
    bool is_read = teacher->fd >= 0 && read_header(teacher, size_bytes, err) == 0;
    if (is_read && teacher->state == WHOLE)
        return teacher;
    if (is_read)
        fail_begun(teacher, err);
    else if (teacher->fd >= 0)
        err_prefix(err, "'%s' is not what 'atelier eval --top-k' writes", path);
    teacher_close(teacher);
    return NULL;
}

void teacher_close(struct teacher *teacher) {
    if (!teacher)
        return;
    if (teacher->fd >= 0)
        close(teacher->fd);
    free(teacher->path);
    free(teacher);
}

const struct teacher_facts *teacher_facts(const struct teacher *teacher) {
    return &teacher->facts;
}

const char *teacher_path(const struct teacher *teacher) {
    return teacher->path;
}

/* are_different - ids of a row; a table of four places for each, for this is done for every token. */
static bool are_different(const int32_t *ids, int64_t count) {
    int32_t seen[SEEN_PLACES];
    memset(seen, 0xff, sizeof seen);
    for (int64_t j = 0; j < count; j++) {
        uint32_t place = (uint32_t)ids[j] * 2654435761u >> 22;
        while (seen[place] >= 0 && seen[place] != ids[j])
            place = (place + 1) % SEEN_PLACES;
        if (seen[place] == ids[j])
            return false;
        seen[place] = ids[j];
    }
    return true;
}

/* check_row - a checksum is against accidents: what would be computed with is bounded all the same.  Rounding may carry the
 * probabilities above 1 together. */
static int check_row(const struct teacher *teacher, const int32_t *ids, const float *logps, int64_t token,
                     struct err *err) {
    static const double ROUNDING = 1e-3;
    double sum = 0;
    bool is_right = true;
    for (int64_t j = 0; j < teacher->facts.top_k; j++) {
        is_right = is_right && ids[j] >= 0 && ids[j] < teacher->facts.vocab_size && isfinite(logps[j]) &&
                   (j == 0 || logps[j] <= logps[j - 1]);
        sum += exp((double)logps[j]);
    }
    if (is_right && sum <= 1 + ROUNDING && are_different(ids, teacher->facts.top_k))
        return 0;
    return err_set(
        err,
        "'%s' says of token %lld what no model can: an id outside of the vocabulary or twice, or "
        "probabilities that are not in order or add up to more than 1; make it again with 'atelier eval --top-k'",
        teacher->path, (long long)token);
}

/* What was read of one row. */
struct said {
    int32_t ids[TEACHER_MOST_IDS];
    float logps[TEACHER_MOST_IDS];
};

/* take_row - from the bytes of one row of the file. */
static int take_row(const struct teacher *teacher, const char *row, int64_t token, struct said *said,
                    struct err *err) {
    size_t count = (size_t)teacher->facts.top_k;
    if (!is_sound(&teacher->facts, row, token))
        return err_set(
            err,
            "'%s' has nothing sound for token %lld: the row is missing or damaged; make it again with "
            "'atelier eval --top-k'",
            teacher->path, (long long)token);
    memcpy(said->ids, row, count * sizeof *said->ids);
    memcpy(said->logps, row + count * sizeof *said->ids, count * sizeof *said->logps);
    return check_row(teacher, said->ids, said->logps, token, err);
}

/* read_rows - of the range, as they are in the file; malloc'ed, NULL with err set. */
static char *read_rows(const struct teacher *teacher, const struct teacher_range *range, struct err *err) {
    CHECK(range->first >= 0 && range->count >= 0 && range->count <= teacher->facts.num_tokens - range->first,
          "tokens %lld + %lld of %lld", (long long)range->first, (long long)range->count,
          (long long)teacher->facts.num_tokens);
    size_t length_bytes = (size_t)range->count * row_bytes(&teacher->facts);
    char *rows = xmalloc(length_bytes + 1);
    if (file_read_at(teacher->fd, teacher->path, rows, length_bytes,
                     row_offset(&teacher->facts, range->first), err) == 0)
        return rows;
    free(rows);
    return NULL;
}

int teacher_read(const struct teacher *teacher, const struct teacher_range *range, int64_t k, int32_t *ids,
                 float *logps, struct err *err) {
    CHECK(k > 0 && k <= teacher->facts.top_k, "%lld of %lld ids", (long long)k,
          (long long)teacher->facts.top_k);
    char *rows = read_rows(teacher, range, err);
    int status = rows ? 0 : -1;
    memset(ids, 0, (size_t)(range->count * k) * sizeof *ids);
    memset(logps, 0, (size_t)(range->count * k) * sizeof *logps);
    for (int64_t i = 0; i < range->count && status == 0; i++) {
        struct said said;
        if (!range->wanted[i])
            continue;
        status =
            take_row(teacher, rows + (size_t)i * row_bytes(&teacher->facts), range->first + i, &said, err);
        if (status == 0) {
            memcpy(ids + i * k, said.ids, (size_t)k * sizeof *ids);
            memcpy(logps + i * k, said.logps, (size_t)k * sizeof *logps);
        }
    }
    free(rows);
    return status;
}

/* --- writing --- */

static int write_header(struct teacher *file, enum state state, struct err *err) {
    char *header = make_header(&file->facts, state);
    int status = file_write_at(file->fd, file->path, header, HEADER_BYTES, 0, err);
    free(header);
    return status;
}

/* is_header - of this file in that state. */
static bool is_header(const struct teacher *file, const char *found, enum state state) {
    char *header = make_header(&file->facts, state);
    bool is = memcmp(found, header, HEADER_BYTES) == 0;
    free(header);
    return is;
}

/* go_on - a file that an earlier start left has the same header and length.  One that ended while it was finishing left no header
 * (the length is set first), or one that says whole: both are begun again. */
static int go_on(struct teacher *file, int64_t size_bytes, struct err *err) {
    char found[HEADER_BYTES];
    bool is_long = size_bytes == row_offset(&file->facts, file->facts.num_tokens);
    if (is_long && file_read_at(file->fd, file->path, found, sizeof found, 0, err) != 0)
        return -1;
    if (is_long && is_header(file, found, BEGUN))
        return 0;
    if (is_long && (found[0] == '\0' || is_header(file, found, WHOLE)))
        return write_header(file, BEGUN, err);
    return err_set(err,
                   "'%s' was begun by another model, or with other tokens or options; go on with those, or "
                   "remove it",
                   file->path);
}

/* begin - the length first: what is not written stays a hole, and a length is right from the start. */
static int begin(struct teacher *file, struct err *err) {
    if (ftruncate(file->fd, (off_t)row_offset(&file->facts, file->facts.num_tokens)) != 0)
        return file_io_failed(err, "write", file->path, 0);
    return write_header(file, BEGUN, err);
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

struct teacher_writer *teacher_writer_open(const char *path, const struct teacher_facts *facts,
                                           struct err *err) {
    if (is_there(path))
        return open_done(path, facts, err);
    struct teacher_writer *writer = xcalloc(1, sizeof *writer);
    writer->path = xstrdup(path);
    writer->file = (struct teacher){.path = xasprintf("%s.partial", path), .fd = -1, .facts = *facts};
    if (check_facts(facts, err) == 0 && file_check_regular(writer->file.path, err) == 0) {
        writer->file.fd = open(writer->file.path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0666);
        if (writer->file.fd < 0)
            file_io_failed(err, "write", writer->file.path, 0);
    }
    if (writer->file.fd >= 0) {
        int64_t size_bytes = lseek(writer->file.fd, 0, SEEK_END);
        int status = size_bytes > 0 ? go_on(&writer->file, size_bytes, err) : begin(&writer->file, err);
        if (status == 0)
            return writer;
    }
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
    char *rows = read_rows(&writer->file, range, err);
    int has = rows ? 1 : -1;
    for (int64_t i = 0; i < range->count && has == 1; i++)
        if (range->wanted[i] &&
            !is_sound(&writer->file.facts, rows + (size_t)i * row_bytes(&writer->file.facts),
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
    uint32_t sum = row_sum(facts, row, token);
    memcpy(row + 2 * half, &sum, sizeof sum);
    return file_write_at(writer->file.fd, writer->file.path, row, row_bytes(facts), row_offset(facts, token),
                         err);
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
    else if (write_header(&writer->file, WHOLE, err) != 0)
        status = -1;
    else if (fsync(writer->file.fd) != 0)
        status = file_io_failed(err, "write", writer->file.path, 0);
    else if (rename(writer->file.path, writer->path) != 0)
        status =
            err_set(err, "cannot rename '%s' to '%s': %s", writer->file.path, writer->path, strerror(errno));
    teacher_writer_close(writer);
    return status;
}
