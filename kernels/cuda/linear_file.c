/* linear_file.c - the choices of linear_search.c in a text file, for the next run on the same kind of GPU.
 *
 *   atelier linear choices 2
 *   gpu NVIDIA H200
 *   cublaslt 130100
 *   <KEY_LENGTH numbers of the product> <CONFIG_LENGTH numbers of the algorithm> <milliseconds>
 *
 * The file may be damaged or come from anybody: every number has a range, and a choice whose algorithm the
 * library does not propose is without effect. */
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "kernels/cuda/linear.h"

#define FIRST_LINE "atelier linear choices 2"
#define OLDER_LINE "atelier linear choices 1\n" /* without leading dimensions: nothing of it is used */
enum { LINE_BYTES = 512 };

static const int64_t MAX_SIZE = (int64_t)1 << 40;

/* parse_integer - the next number of the line, in [low, high]; moves *text after it. */
static bool parse_integer(const char **text, int64_t low, int64_t high, int64_t *value) {
    char *end;
    errno = 0;
    long long parsed = strtoll(*text, &end, 10);
    if (end == *text || errno || parsed < low || parsed > high)
        return false;
    *text = end;
    *value = parsed;
    return true;
}

static bool is_power_of_two(int64_t value) {
    return value > 0 && (value & (value - 1)) == 0;
}

/* parse_choice - one line. */
static bool parse_choice(const char *text, struct choice *choice) {
    static const int64_t highest[KEY_LENGTH] = {
        [KEY_IN] = IN_COUNT - 1,
        [KEY_OUT] = DTYPE_F16,
        [KEY_A_TRANSPOSED] = 1,
        [KEY_B_TRANSPOSED] = 1,
        [KEY_WRITE] = OP_ACCUMULATE,
        [KEY_SM_TARGET] = 1024,
        [KEY_A_ALIGNMENT] = CUDA_ALIGN_BYTES,
        [KEY_B_ALIGNMENT] = CUDA_ALIGN_BYTES,
        [KEY_D_ALIGNMENT] = CUDA_ALIGN_BYTES,
    };
    int64_t *key = choice->product.key, value;
    memset(choice, 0, sizeof *choice);
    for (int i = 0; i < KEY_LENGTH; i++) {
        bool is_size = i <= KEY_K || i >= KEY_B_LEADING;
        if (!parse_integer(&text, i <= KEY_K ? 1 : 0, is_size ? MAX_SIZE : highest[i], &key[i]))
            return false;
    }
    for (int i = KEY_A_ALIGNMENT; i <= KEY_D_ALIGNMENT; i++)
        if (!is_power_of_two(key[i]))
            return false;
    for (int i = 0; i < CONFIG_LENGTH; i++) {
        if (!parse_integer(&text, INT32_MIN, INT32_MAX, &value))
            return false;
        choice->algorithm.config[i] = (int32_t)value;
    }
    char *end;
    choice->ms = strtof(text, &end);
    return end != text && choice->ms >= 0 && strcmp(end, "\n") == 0;
}

/* The lines that a file for this GPU and library starts with, or had better start with. */
struct header {
    char lines[3][LINE_BYTES];
};

static struct header expected_header(const struct device *dev) {
    struct header header;
    snprintf(header.lines[0], LINE_BYTES, FIRST_LINE "\n");
    snprintf(header.lines[1], LINE_BYTES, "gpu %s\n", ((const struct cuda_state *)dev->state)->name);
    snprintf(header.lines[2], LINE_BYTES, "cublaslt %zu\n", cublasLtGetVersion());
    return header;
}

/* read_header - 1 when the file is for us, 0 when it is for another GPU or library or of an older form, -1 when it is
 * something else. */
static int read_header(FILE *file, const struct device *dev, const char *path, struct err *err) {
    struct header want = expected_header(dev), got;
    bool matches = true;
    for (int i = 0; i < 3; i++) {
        bool read = fgets(got.lines[i], LINE_BYTES, file);
        if (!read && ferror(file))
            return err_set(err, "cannot read '%s': %s", path, strerror(errno));
        bool known = strcmp(got.lines[0], want.lines[0]) == 0 || strcmp(got.lines[0], OLDER_LINE) == 0;
        if (!read || (i == 0 && !known))
            return err_set(
                err,
                "'%s' is not a file of choices for matrix products (it should begin with '" FIRST_LINE
                "'): delete it, or name another file",
                path);
        matches = matches && strcmp(got.lines[i], want.lines[i]) == 0;
    }
    return matches;
}

/* read_choices - the rest of the file into choices [MAX_CHOICES]; how many, or -1. */
static int read_choices(FILE *file, struct choice *choices, const char *path, struct err *err) {
    char line[LINE_BYTES];
    int count = 0;
    while (fgets(line, sizeof line, file)) {
        if (count == MAX_CHOICES)
            return err_set(err, "'%s' has more than %d choices: delete it", path, MAX_CHOICES);
        if (!parse_choice(line, &choices[count]))
            return err_set(err, "'%s' line %d is damaged: delete the file", path, count + 4);
        count++;
    }
    return ferror(file) ? err_set(err, "cannot read '%s': %s", path, strerror(errno)) : count;
}

/* read_all - take over what the file holds, and close it; how many choices, or -1. */
static int read_all(FILE *file, struct device *dev, const char *path, struct err *err) {
    struct linear_state *linear = linear_state_of(dev);
    int num_before = linear->num_choices;
    struct choice *choices = xcalloc(MAX_CHOICES, sizeof *choices);
    int status = read_header(file, dev, path, err);
    if (status > 0)
        status = read_choices(file, choices, path, err);
    for (int i = 0; i < status;
         i++) /* only after all of it was read and found good; the first of equals counts */
        if (!linear_choice_find(linear, &choices[i].product))
            linear_choice_add(linear, &choices[i]);
    free(choices);
    fclose(file);
    if (linear->num_choices > num_before)
        linear_forget(linear); /* those made before did not know of them */
    return status < 0 ? -1 : linear->num_choices - num_before;
}

/* not_a_file - what a user names may be a FIFO, which would be waited on for ever, or a device. */
static int not_a_file(const char *verb, const char *path, struct err *err) {
    return err_set(err, "cannot %s '%s': it is not a regular file; name another one", verb, path);
}

/* wait_again - as data/file.c: some network file systems answer a read that may not wait with EAGAIN. */
static int wait_again(int fd) {
    int flags = fcntl(fd, F_GETFL);
    return flags < 0 ? -1 : fcntl(fd, F_SETFL, flags & ~O_NONBLOCK);
}

/* open_choices - the file, or NULL: with *exists false there is none, else err is set.  Opened without waiting
 * and looked at, as data/file.h does for the layers above. */
static FILE *open_choices(const char *path, bool *exists, struct err *err) {
    struct stat facts;
    FILE *file = NULL;
    int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
    *exists = fd >= 0 || errno != ENOENT;
    if (fd < 0 && errno == ENXIO) /* a socket */
        not_a_file("open", path, err);
    else if (fd >= 0 && fstat(fd, &facts) == 0 && !S_ISREG(facts.st_mode))
        not_a_file("open", path, err);
    else if (fd < 0 || wait_again(fd) != 0 || !(file = fdopen(fd, "r")))
        err_set(err, "cannot open '%s': %s", path, strerror(errno));
    if (fd >= 0 && !file)
        close(fd);
    return file;
}

int cuda_linear_load(struct device *dev, const char *path, struct err *err) {
    bool exists;
    FILE *file = open_choices(path, &exists, err);
    if (!file)
        return exists ? -1 : 0;
    return read_all(file, dev, path, err);
}

int cuda_linear_take(struct device *dev, const char *text, struct err *err) {
    FILE *file = fmemopen((void *)(uintptr_t)text, strlen(text), "r"); /* which only reads it */
    CHECK(file, "out of memory for the choices of matrix products");
    return read_all(file, dev, "the choices of the first rank", err);
}

/* write_all - header and choices.  Returns false on a failure. */
static bool write_all(FILE *file, const struct device *dev) {
    const struct linear_state *linear = linear_state_of(dev);
    struct header header = expected_header(dev);
    for (int i = 0; i < 3; i++)
        fputs(header.lines[i], file);
    for (int i = 0; i < linear->num_choices; i++) {
        const struct choice *choice = &linear->choices[i];
        for (int part = 0; part < KEY_LENGTH; part++)
            fprintf(file, "%lld ", (long long)choice->product.key[part]);
        for (int part = 0; part < CONFIG_LENGTH; part++)
            fprintf(file, "%d ", (int)choice->algorithm.config[part]);
        fprintf(file, "%.4f\n", (double)choice->ms);
    }
    return !ferror(file) && fflush(file) == 0;
}

/* What a file system may not like in a name of NVIDIA's becomes a line. */
char *cuda_linear_file_name(const struct device *dev) {
    const struct cuda_state *state = dev->state;
    char *name = xasprintf("gemm-%s-cublaslt-%zu", state->name, cublasLtGetVersion());
    for (char *at = name; *at; at++)
        if (!isalnum((unsigned char)*at) && *at != '-')
            *at = '_';
    return name;
}

char *cuda_linear_text(const struct device *dev) {
    char *text = NULL;
    size_t length_bytes = 0;
    FILE *file = open_memstream(&text, &length_bytes);
    bool written = file && write_all(file, dev);
    CHECK(written && fclose(file) == 0, "out of memory for the choices of matrix products");
    return text;
}

int cuda_linear_num_choices(const struct device *dev) {
    return linear_state_of(dev)->num_choices;
}

int cuda_linear_save(struct device *dev, const char *path, struct err *err) {
    struct stat facts;
    if (stat(path, &facts) == 0 && !S_ISREG(facts.st_mode)) /* as root, a rename would take a device away */
        return not_a_file("write", path, err);
    char *unfinished = xasprintf("%s.%ld", path, (long)getpid()); /* no reader ever sees half a file */
    unlink(unfinished);
    int fd = open(unfinished, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0666), status = 0;
    FILE *file = fd >= 0 ? fdopen(fd, "w") : NULL;
    if (!file) {
        status =
            err_set(err, "cannot write '%s': %s: name a file in a folder of yours", path, strerror(errno));
    } else {
        bool written = write_all(file, dev) && fsync(fileno(file)) == 0;
        if (fclose(file) != 0 || !written || rename(unfinished, path) != 0) {
            status = err_set(err, "cannot write '%s': %s", path, strerror(errno));
            unlink(unfinished);
        }
    }
    free(unfinished);
    return status;
}
