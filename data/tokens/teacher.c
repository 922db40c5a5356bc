/* teacher.c - the file of a teacher's log-probabilities, read.  See teacher.h. */
#include "data/tokens/teacher.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <xxhash.h>

#include "data/corpus/json.h"
#include "data/file.h"
#include "data/tokens/teacher_file.h"

enum { SEEN_PLACES = 1024 };
const char TEACHER_FORMAT[] = "atelier-teacher 1";
const char *const TEACHER_STATES[] = {[TEACHER_BEGUN] = "begun", [TEACHER_WHOLE] = "whole"};

size_t teacher_row_bytes(const struct teacher_facts *facts) {
    return (size_t)facts->top_k * (sizeof(int32_t) + sizeof(float)) + sizeof(uint32_t);
}

int64_t teacher_row_offset(const struct teacher_facts *facts, int64_t token) {
    return TEACHER_HEADER_BYTES + token * (int64_t)teacher_row_bytes(facts);
}

uint32_t teacher_row_sum(const struct teacher_facts *facts, const void *row, int64_t token) {
    size_t length_bytes = teacher_row_bytes(facts) - sizeof(uint32_t);
    return (uint32_t)XXH3_64bits_withSeed(row, length_bytes, (uint64_t)token);
}

bool teacher_row_is_sound(const struct teacher_facts *facts, const char *row, int64_t token) {
    uint32_t sum;
    memcpy(&sum, row + teacher_row_bytes(facts) - sizeof sum, sizeof sum);
    return sum == teacher_row_sum(facts, row, token);
}

/* --- the header --- */

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

int teacher_check_facts(const struct teacher_facts *facts, struct err *err) {
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
    if (json_find(object, "identity") &&
        take_text(object, "identity", facts->identity, sizeof facts->identity, err) != 0)
        return -1;
    if (json_get_string(object, "format", &format, err) != 0)
        return -1;
    if (strcmp(format, TEACHER_FORMAT) != 0)
        return err_set(err, "its format is '%.40s'; this version reads '%s'", format, TEACHER_FORMAT);
    if (take_text(object, "content", facts->content, sizeof facts->content, err) != 0 ||
        take_text(object, "model", facts->model, sizeof facts->model, err) != 0 ||
        take_text(object, "tokenizer_hash", facts->tokenizer_hash, sizeof facts->tokenizer_hash, err) != 0 ||
        json_get_int(object, "vocab_size", &facts->vocab_size, err) != 0 ||
        json_get_int(object, "top_k", &facts->top_k, err) != 0 ||
        json_get_double(object, "temperature", &facts->temperature, err) != 0 ||
        json_get_int(object, "sequence_tokens", &facts->sequence_tokens, err) != 0 ||
        json_get_int(object, "tokens", &facts->num_tokens, err) != 0)
        return -1;
    return teacher_check_facts(facts, err);
}

static int read_state(const json_t *object, enum teacher_state *state, struct err *err) {
    const char *text;
    if (json_get_string(object, "state", &text, err) != 0)
        return -1;
    for (*state = TEACHER_BEGUN; *state <= TEACHER_WHOLE; (*state)++)
        if (strcmp(text, TEACHER_STATES[*state]) == 0)
            return 0;
    return err_set(err, "'state' is '%.20s', expected whole", text);
}

/* read_header - the facts, and that the file is as long as they say. */
static int read_header(struct teacher *teacher, int64_t size_bytes, struct err *err) {
    char header[TEACHER_HEADER_BYTES];
    if (size_bytes < TEACHER_HEADER_BYTES)
        return err_set(err, "it has %lld bytes, less than a header", (long long)size_bytes);
    if (file_read_at(teacher->fd, teacher->path, header, sizeof header, 0, err) != 0)
        return -1;
    json_t *object = json_parse_text(header, sizeof header, "its header", err);
    int status = object ? read_facts(object, &teacher->facts, err) : -1;
    if (status == 0)
        status = read_state(object, &teacher->state, err);
    json_decref(object);
    int64_t wanted = status == 0 ? teacher_row_offset(&teacher->facts, teacher->facts.num_tokens) : 0;
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
    if (is_read && teacher->state == TEACHER_WHOLE)
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
    if (!teacher_row_is_sound(&teacher->facts, row, token))
        return err_set(
            err,
            "'%s' has nothing sound for token %lld: the row is missing or damaged; make it again with "
            "'atelier eval --top-k'",
            teacher->path, (long long)token);
    memcpy(said->ids, row, count * sizeof *said->ids);
    memcpy(said->logps, row + count * sizeof *said->ids, count * sizeof *said->logps);
    return check_row(teacher, said->ids, said->logps, token, err);
}

char *teacher_read_rows(const struct teacher *teacher, const struct teacher_range *range, struct err *err) {
    CHECK(range->first >= 0 && range->count >= 0 && range->count <= teacher->facts.num_tokens - range->first,
          "tokens %lld + %lld of %lld", (long long)range->first, (long long)range->count,
          (long long)teacher->facts.num_tokens);
    size_t length_bytes = (size_t)range->count * teacher_row_bytes(&teacher->facts);
    char *rows = xmalloc(length_bytes + 1);
    if (file_read_at(teacher->fd, teacher->path, rows, length_bytes,
                     teacher_row_offset(&teacher->facts, range->first), err) == 0)
        return rows;
    free(rows);
    return NULL;
}

int teacher_read(const struct teacher *teacher, const struct teacher_range *range, int64_t k, int32_t *ids,
                 float *logps, struct err *err) {
    CHECK(k > 0 && k <= teacher->facts.top_k, "%lld of %lld ids", (long long)k,
          (long long)teacher->facts.top_k);
    char *rows = teacher_read_rows(teacher, range, err);
    int status = rows ? 0 : -1;
    memset(ids, 0, (size_t)(range->count * k) * sizeof *ids);
    memset(logps, 0, (size_t)(range->count * k) * sizeof *logps);
    for (int64_t i = 0; i < range->count && status == 0; i++) {
        struct said said;
        if (!range->wanted[i])
            continue;
        status = take_row(teacher, rows + (size_t)i * teacher_row_bytes(&teacher->facts), range->first + i,
                          &said, err);
        if (status == 0) {
            memcpy(ids + i * k, said.ids, (size_t)k * sizeof *ids);
            memcpy(logps + i * k, said.logps, (size_t)k * sizeof *logps);
        }
    }
    free(rows);
    return status;
}
