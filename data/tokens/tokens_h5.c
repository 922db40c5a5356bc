/* tokens_h5.c - facts of a token file, asked of HDF5 in a child process.  The child sends one byte, 'F' for facts or
 * 'E' for an error's text, and then the bytes of it, through a pipe. */
#include "data/tokens/tokens_h5.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "data/file.h"
#include "kernels/units.h"

enum { MAX_SOURCES = 1 << 20, MAX_STRINGS_BYTES = 64 * MIB, MAX_ANSWER_BYTES = GIB, CHILD_SECONDS = 60 };

/* --- in the child --- */

/* read_header - the attributes. */
static int read_header(const struct h5_file *h5, const char *path, struct token_facts *facts,
                       struct err *err) {
    int64_t is_sealed = 0;
    char *format = h5_read_text(h5, "format", err);
    if (!format)
        return err_prefix(err, "'%s' is not a token file", path);
    bool is_known = strcmp(format, "atelier-tokens 1") == 0;
    if (!is_known)
        err_set(err, "'%s' has format '%.40s'; this version reads 'atelier-tokens 1'", path, format);
    free(format);
    if (!is_known)
        return -1;
    if (h5_read_number(h5, "sealed", &is_sealed, NULL) == 0 && is_sealed != 0)
        return err_set(err,
                       "token file '%s' has lost the checksums at its end: it was cut, or changed by another "
                       "program; copy it again, or prepare it again",
                       path);
    facts->tokenizer_hash = h5_read_text(h5, "tokenizer_hash", err);
    if (!facts->tokenizer_hash)
        return -1;
    return h5_read_number(h5, "vocab_size", &facts->vocab_size, err);
}

/* is_there - of the parts that a file may lack. */
static bool is_there(const struct token_facts *facts, int part) {
    return (part != PART_MASK || facts->has_mask) && (part != PART_SIDES || facts->has_sides);
}

/* find_parts - without a mask every token counts in the loss. */
static int find_parts(const struct h5_file *h5, struct token_facts *facts, struct err *err) {
    facts->has_mask = h5_has(h5, token_part_name(PART_MASK));
    facts->has_sides = h5_has(h5, token_part_name(PART_SIDES));
    facts->has_places = h5_has(h5, token_part_name(PART_RECORDS)) && h5_has(h5, token_part_name(PART_FILES));
    for (int part = 0; part < token_facts_num_parts(facts); part++)
        if (is_there(facts, part) &&
            h5_find(h5, token_part_name((enum token_part)part), &facts->parts[part], err) != 0)
            return -1;
    return 0;
}

/* The columns of /sources, with the place of each in struct token_source. */
static const struct {
    const char *name;
    size_t place;
} TEXT_COLUMNS[] = {{"sources/name", offsetof(struct token_source, name)},
                    {"sources/licence", offsetof(struct token_source, licence)},
                    {"sources/url", offsetof(struct token_source, url)},
                    {"sources/sha256", offsetof(struct token_source, sha256)}},
  COUNT_COLUMNS[] = {{"sources/documents", offsetof(struct token_source, num_documents)},
                     {"sources/tokens", offsetof(struct token_source, num_tokens)},
                     {"sources/duplicates", offsetof(struct token_source, num_duplicates)},
                     {"sources/invalid_utf8", offsetof(struct token_source, num_invalid_utf8)}};

static int wrong_rows(const char *column, const char *path, int64_t found, int64_t wanted, struct err *err) {
    return err_set(err, "dataset '%s' in '%s' has %lld rows, expected %lld", column, path, (long long)found,
                   (long long)wanted);
}

/* read_text_column - one string per source; the first column read says how many sources there are. */
static int read_text_column(const struct h5_file *h5, const char *path, int column, struct token_facts *facts,
                            struct err *err) {
    char **strings = NULL;
    int64_t count = h5_read_strings(h5, TEXT_COLUMNS[column].name, MAX_STRINGS_BYTES, &strings, err);
    if (count < 0)
        return -1;
    if (!facts->sources && count <= MAX_SOURCES) {
        facts->num_sources = count;
        facts->sources = xcalloc((size_t)count + 1, sizeof *facts->sources);
    }
    bool fits = facts->sources && count == facts->num_sources;
    for (int64_t i = 0; i < count; i++) {
        if (fits)
            memcpy((char *)&facts->sources[i] + TEXT_COLUMNS[column].place, &strings[i], sizeof strings[i]);
        else
            free(strings[i]);
    }
    free(strings);
    return fits ? 0 : wrong_rows(TEXT_COLUMNS[column].name, path, count, facts->num_sources, err);
}

/* read_count_column - by HDF5 only its place, as of the large datasets: the numbers are read as plain bytes. */
static int read_count_column(const struct h5_file *h5, const char *path, int fd, int column,
                             struct token_facts *facts, struct err *err) {
    struct h5_dataset found;
    const char *name = COUNT_COLUMNS[column].name;
    if (h5_find(h5, name, &found, err) != 0)
        return -1;
    if (found.type != H5_UINT64)
        return err_set(err, "dataset '%s' in '%s' has elements of %zu bytes where 8 belong", name, path,
                       h5_type_bytes(found.type));
    if (found.count != facts->num_sources)
        return wrong_rows(name, path, found.count, facts->num_sources, err);
    for (int64_t i = 0; i < found.count; i++)
        if (file_read_at(fd, path, (char *)&facts->sources[i] + COUNT_COLUMNS[column].place, sizeof(int64_t),
                         found.offset_bytes + 8 * i, err) != 0)
            return -1;
    return 0;
}

static int read_sources(const struct h5_file *h5, const char *path, struct token_facts *facts,
                        struct err *err) {
    int fd = file_open_read(path, NULL, err), status = fd < 0 ? -1 : 0;
    for (int c = 0; status == 0 && c < (int)(sizeof TEXT_COLUMNS / sizeof TEXT_COLUMNS[0]); c++)
        status = read_text_column(h5, path, c, facts, err);
    for (int c = 0; status == 0 && c < (int)(sizeof COUNT_COLUMNS / sizeof COUNT_COLUMNS[0]); c++)
        status = read_count_column(h5, path, fd, c, facts, err);
    if (fd >= 0)
        close(fd);
    return status;
}

/* answer - to the pipe; what cannot be written is missed on the other side. */
static void answer(int to, char kind, const void *bytes, size_t length_bytes) {
    const char *from = bytes;
    ssize_t written = write(to, &kind, 1);
    while (written > 0 && length_bytes > 0) {
        written = write(to, from, length_bytes);
        if (written > 0) {
            from += written;
            length_bytes -= (size_t)written;
        }
    }
}

/* work_in_child - never returns.  A crash here is nobody else's: no handler of MPI's, no abort of the job, no
 * core file; and an end to loops. */
static void __attribute__((noreturn)) work_in_child(const char *path, int to) {
    static const int crashes[] = {SIGSEGV, SIGBUS, SIGABRT, SIGFPE, SIGILL, SIGALRM, SIGTERM, SIGPIPE};
    const struct rlimit none = {0, 0};
    struct token_facts facts = {0};
    struct err err = {{0}};
    sigset_t all;
    for (size_t i = 0; i < sizeof crashes / sizeof crashes[0]; i++)
        signal(crashes[i], SIG_DFL);
    sigemptyset(&all);
    sigprocmask(SIG_SETMASK, &all, NULL);
    setrlimit(RLIMIT_CORE, &none);
    error_set_abort_hook(NULL);
    alarm(CHILD_SECONDS);
    struct h5_file *h5 = h5_open(path, &err);
    if (h5 && read_header(h5, path, &facts, &err) == 0 && find_parts(h5, &facts, &err) == 0 &&
        read_sources(h5, path, &facts, &err) == 0) {
        struct text bytes = {0};
        token_facts_encode(&facts, &bytes);
        answer(to, 'F', bytes.bytes, bytes.length_bytes);
    } else {
        answer(to, 'E', err.text, strlen(err.text));
    }
    _exit(0);
}

/* --- in the parent --- */

/* read_answer - until the child closes its end. */
static void read_answer(int from, struct text *bytes) {
    char piece[64 * KIB];
    for (;;) {
        ssize_t got = read(from, piece, sizeof piece);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0 || bytes->length_bytes > MAX_ANSWER_BYTES)
            return;
        text_append(bytes, piece, (size_t)got);
    }
}

static int wait_for(pid_t child) {
    int status = 0;
    while (waitpid(child, &status, 0) < 0 && errno == EINTR)
        ;
    return status;
}

/* judge - what the child said, or what became of it. */
static int judge(int status, const struct text *bytes, const char *path, int64_t file_bytes,
                 struct token_facts *facts, struct err *err) {
    bool has_ended = WIFEXITED(status) && WEXITSTATUS(status) == 0 && bytes->length_bytes > 0;
    if (WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM)
        return err_set(err,
                       "cannot read token file '%s': HDF5 took more than %d s for its structure; it is "
                       "damaged, prepare it again",
                       path, CHILD_SECONDS);
    if (!has_ended)
        return err_set(err,
                       "cannot read token file '%s': HDF5 crashed on its structure (%s %d); it is damaged, "
                       "prepare it again",
                       path, WIFSIGNALED(status) ? "signal" : "code",
                       WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
    struct text_span rest = {bytes->bytes + 1, bytes->length_bytes - 1};
    if (bytes->bytes[0] != 'F')
        return err_set(err, "%.*s", (int)(rest.length_bytes < 1000 ? rest.length_bytes : 1000), rest.bytes);
    return token_facts_decode(facts, rest, file_bytes, path, err);
}

/* A child, because HDF5's library crashes on some damaged files; it shares nothing with us but the pipe.  It is
 * forked and not started: no program has to be found, and it ends by _exit, so that nothing of ours is flushed
 * twice. */
int token_facts_of_hdf5(const char *path, int64_t file_bytes, struct token_facts *facts, struct err *err) {
    int ends[2];
    *facts = (struct token_facts){0};
    if (pipe2(ends, O_CLOEXEC) != 0)
        return err_set(err, "cannot read token file '%s': %s", path, strerror(errno));
    pid_t child = fork();
    if (child < 0) {
        close(ends[0]);
        close(ends[1]);
        return err_set(err, "cannot read token file '%s': cannot start a second process: %s", path,
                       strerror(errno));
    }
    if (child == 0)
        work_in_child(path, ends[1]);
    struct text bytes = {0};
    close(ends[1]);
    read_answer(ends[0], &bytes);
    close(ends[0]); /* first: a child that still writes ends by it */
    int result = judge(wait_for(child), &bytes, path, file_bytes, facts, err);
    text_release(&bytes);
    return result;
}
