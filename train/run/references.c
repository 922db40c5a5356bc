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

static const char FORMAT[] = "atelier-reference 1";
enum { NUM_LINES = 5, LONGEST_LINE = 80, HASH_DIGITS = 12 };

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

/* compare_header - which of its lines are not those of the key. */
static int compare_header(const char *path, const char *bytes, size_t length_bytes, const char *wanted,
                          struct err *err) {
    static const char *const reasons[NUM_LINES] = {
        "are of another format", "belong to other tokens: the token file was made again since",
        "are of another model", "were computed in another type", "are of another number of documents"};
    for (int line = 0; line < NUM_LINES; line++) {
        size_t length = strcspn(wanted, "\n") + 1;
        if (length > length_bytes || memcmp(bytes, wanted, length) != 0)
            return refuse(path, reasons[line], err);
        bytes += length;
        length_bytes -= length;
        wanted += length;
    }
    return 0;
}

/* check_values - sums of logarithms of probabilities; rounding may carry one of nearly certain tokens above 0. */
static int check_values(const char *path, const double *values, int64_t count, struct err *err) {
    for (int64_t i = 0; i < count; i++)
        if (isinf(values[i]) || values[i] > 1)
            return refuse(path, "hold a value that is not a log-probability", err);
    return 0;
}

/* read_whole - of a file whose length is the right one: its checksum, before anything that it says is believed. */
static int read_whole(int fd, const char *path, const char *head, const struct reference_key *key,
                      double *values, struct err *err) {
    size_t head_bytes = strlen(head), value_bytes = (size_t)key->num_documents * sizeof *values;
    size_t size_bytes = head_bytes + value_bytes;
    uint64_t checksum;
    char *bytes = xmalloc(size_bytes + sizeof checksum);
    int status = file_read_at(fd, path, bytes, size_bytes + sizeof checksum, 0, err);
    if (status == 0) {
        memcpy(&checksum, bytes + size_bytes, sizeof checksum);
        memcpy(values, bytes + head_bytes, value_bytes);
        status = checksum == XXH3_64bits(bytes, size_bytes)
                     ? compare_header(path, bytes, size_bytes, head, err)
                     : refuse(path, "are damaged (checksum)", err);
        if (status == 0)
            status = check_values(path, values, key->num_documents, err);
    }
    free(bytes);
    return status;
}

/* Of a file of another length the header is compared first: another number of documents is told as such. */
int reference_read(const char *path, const struct reference_key *key, double *values, struct err *err) {
    int64_t size_bytes = 0;
    char start[NUM_LINES * LONGEST_LINE], *head = header(key);
    if (!path_exists(path)) {
        free(head);
        return 0;
    }
    int fd = file_open_read(path, &size_bytes, err), status = fd < 0 ? -1 : 0;
    size_t start_bytes = size_bytes < (int64_t)sizeof start ? (size_t)size_bytes : sizeof start;
    int64_t wanted_bytes = (int64_t)strlen(head) + 8 * key->num_documents + 8;
    if (status == 0 && size_bytes == wanted_bytes)
        status = read_whole(fd, path, head, key, values, err);
    else if (status == 0) {
        status = file_read_at(fd, path, start, start_bytes, 0, err);
        if (status == 0)
            status = compare_header(path, start, start_bytes, head, err);
        if (status == 0)
            status = refuse(path, "are cut short, or longer than they should be", err);
    }
    if (fd >= 0)
        close(fd);
    free(head);
    return status == 0 ? 1 : -1;
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
