/* references.c - the file of a reference model's log-probabilities.  See references.h. */
#include "train/run/references.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <xxhash.h>

#include "checkpoints/files.h"
#include "data/corpus/text.h"
#include "data/file.h"
#include "kernels/units.h"

static const char FORMAT[] = "atelier-reference 1";
enum { LINE_FORMAT, LINE_CONTENT, LINE_MODEL, LINE_COMPUTE, LINE_DOCUMENTS, NUM_LINES };
enum { LONGEST_LINE = 80, HASH_DIGITS = 12 };

/* header - all that a file of the key begins with: whoever compares bytes need not interpret any.  malloc'ed. */
static char *header(const struct reference_key *key) {
    return xasprintf("%s\n%s\n%s\n%s\n%lld\n", FORMAT, key->content, key->model, key->compute,
                     (long long)key->num_documents);
}

char *reference_path(const char *token_path, const struct reference_key *key) {
    return xasprintf("%s.reference-%.*s-%s", token_path, HASH_DIGITS, key->model, key->compute);
}

/* refuse - always with the way out: the file is made again by the next start. */
static int refuse(const char *path, const char *what, struct err *err) {
    return err_set(err,
                   "the reference log-probabilities in '%s' %s; remove the file, and they are computed again",
                   path, what);
}

/* differing_lines - of the header, a bit each: those that are not the wanted ones. */
static unsigned differing_lines(const char *bytes, size_t length_bytes, const char *wanted) {
    unsigned differing = 0;
    for (int line = 0; line < NUM_LINES; line++) {
        const char *end = memchr(bytes, '\n', length_bytes);
        size_t length = end ? (size_t)(end - bytes) + 1 : length_bytes, expected = strcspn(wanted, "\n") + 1;
        if (length != expected || memcmp(bytes, wanted, length) != 0)
            differing |= 1U << line;
        bytes += length;
        length_bytes -= length;
        wanted += expected;
    }
    return differing;
}

/* check_header - whether the values are those of the key: 1, or 0 where the same program kept them of other tokens, of which
 * there are none any more at this place; -1 with err set. */
static int check_header(const char *path, unsigned differing, struct err *err) {
    static const char *const reasons[NUM_LINES] = {
        [LINE_FORMAT] = "are of another format",
        [LINE_MODEL] = "are of another model",
        [LINE_COMPUTE] = "were computed in another type",
    };
    for (int line = 0; line < NUM_LINES; line++)
        if (reasons[line] && (differing & 1U << line))
            return refuse(path, reasons[line], err);
    return differing == 0;
}

/* check_sum - the file ends in the checksum of everything before it: before anything that it says is believed. */
static int check_sum(int fd, const char *path, int64_t size_bytes, struct err *err) {
    static const int64_t MOST_BYTES = (int64_t)8 * GIB; /* a thousand million documents */
    uint64_t said = 0;
    int64_t body_bytes = size_bytes - (int64_t)sizeof said;
    if (body_bytes < 0 || size_bytes > MOST_BYTES)
        return refuse(path, body_bytes < 0 ? "are cut short" : "are longer than any", err);
    char *bytes = xmalloc((size_t)size_bytes);
    int status = file_read_at(fd, path, bytes, (size_t)size_bytes, 0, err);
    if (status == 0)
        memcpy(&said, bytes + body_bytes, sizeof said);
    if (status == 0 && said != XXH3_64bits(bytes, (size_t)body_bytes))
        status = refuse(path, "are damaged (checksum)", err);
    free(bytes);
    return status;
}

/* check_values - sums of logarithms of probabilities; rounding may carry one of nearly certain tokens above 0. */
static int check_values(const char *path, const double *values, int64_t count, struct err *err) {
    for (int64_t i = 0; i < count; i++)
        if (isinf(values[i]) || values[i] > 1)
            return refuse(path, "hold a value that is not a log-probability", err);
    return 0;
}

/* read_open - as reference_read, of a file that is open. */
static int read_open(int fd, const char *path, int64_t size_bytes, const struct reference_key *key,
                     double *values, struct err *err) {
    char start[NUM_LINES * LONGEST_LINE], *head = header(key);
    size_t head_bytes = strlen(head), value_bytes = (size_t)key->num_documents * sizeof *values;
    size_t start_bytes = size_bytes < (int64_t)sizeof start ? (size_t)size_bytes : sizeof start;
    int status = file_read_at(fd, path, start, start_bytes, 0, err);
    unsigned differing = status == 0 ? differing_lines(start, start_bytes, head) : 0;
    free(head);
    if (status == 0 && differing == 0 && size_bytes != (int64_t)(head_bytes + value_bytes + sizeof(uint64_t)))
        status = refuse(path, "are cut short, or longer than they should be", err);
    if (status == 0)
        status = check_sum(fd, path, size_bytes, err);
    int found = status == 0 ? check_header(path, differing, err) : -1;
    if (found != 1)
        return found < 0 ? -1 : REFERENCE_STALE;
    status = file_read_at(fd, path, values, value_bytes, (int64_t)head_bytes, err);
    if (status == 0)
        status = check_values(path, values, key->num_documents, err);
    return status == 0 ? REFERENCE_READ : -1;
}

int reference_read(const char *path, const struct reference_key *key, double *values, struct err *err) {
    int64_t size_bytes = 0;
    if (!path_exists(path))
        return REFERENCE_ABSENT;
    int fd = file_open_read(path, &size_bytes, err);
    if (fd < 0)
        return -1;
    int found = read_open(fd, path, size_bytes, key, values, err);
    close(fd);
    return found;
}

/* Two jobs may compute the same at once: each writes under a name of its own, and the last one stands. */
int reference_write(const char *path, const struct reference_key *key, const double *values,
                    struct err *err) {
    struct text bytes = {0};
    char *head = header(key);
    text_append(&bytes, head, strlen(head));
    text_append(&bytes, values, (size_t)key->num_documents * sizeof *values);
    uint64_t checksum = XXH3_64bits(bytes.bytes, bytes.length_bytes);
    text_append(&bytes, &checksum, sizeof checksum);
    int status = file_replace_shared(path, bytes.bytes, bytes.length_bytes, err);
    text_release(&bytes);
    free(head);
    return status;
}
