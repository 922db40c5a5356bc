/* test_file.c - whatever is named in place of a file: refused at once, by every module that opens one. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "checkpoints/gguf/gguf.h"
#include "checkpoints/safetensors/safetensors.h"
#include "configs/schema/config.h"
#include "data/corpus/json.h"
#include "data/corpus/reader.h"
#include "data/file.h"
#include "data/tokenizer/tokenizer.h"
#include "data/tokens/tokens.h"
#include "tests/check.h"

/* One per module: whether it opened, closed again. */
static bool opens_file(const char *path, struct err *err) {
    int fd = file_open_read(path, NULL, err);
    if (fd >= 0)
        close(fd);
    return fd >= 0;
}
static bool opens_corpus(const char *path, struct err *err) {
    struct reader *reader = reader_open(path, err);
    reader_close(reader);
    return reader;
}
static bool opens_json(const char *path, struct err *err) {
    json_t *root = json_load_path(path, 1 << 20, err);
    json_decref(root);
    return root;
}
static bool opens_tokens(const char *path, struct err *err) {
    struct token_file *file = token_file_open(path, err);
    token_file_close(file);
    return file;
}
static bool opens_tokenizer(const char *path, struct err *err) {
    struct tokenizer *tok = tokenizer_load(path, err);
    if (tok)
        tokenizer_free(tok);
    return tok;
}
static bool opens_gguf(const char *path, struct err *err) {
    struct gguf *file = gguf_open(path, err);
    if (file)
        gguf_close(file);
    return file;
}
static bool opens_config(const char *path, struct err *err) {
    struct config config;
    int status = config_load(&config, path, NULL, 0, err);
    config_free(&config);
    return status == 0;
}

static bool (*const openers[])(const char *path, struct err *err) = {
    opens_file, opens_corpus, opens_json, opens_tokens, opens_tokenizer, opens_gguf, opens_config};
enum { NUM_OPENERS = sizeof openers / sizeof *openers };

static char *folder;

static char *in_folder(const char *name) {
    return xasprintf("%s/%s", folder, name);
}

static void make_socket(const char *path) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    snprintf(address.sun_path, sizeof address.sun_path, "%s", path);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
    close(fd);
}

static void test_no_regular_file(void **state) {
    (void)state;
    char *fifo = in_folder("fifo"), *sock = in_folder("s"), *absent = in_folder("absent");
    assert_int_equal(mkfifo(fifo, 0600), 0);
    make_socket(sock);
    const struct {
        const char *path, *reason;
    } cases[] = {{fifo, "a FIFO"},
                 {sock, "a socket"},
                 {folder, "a folder"},
                 {"/dev/zero", "a character device"},
                 {absent, "No such file"}};
    alarm(30); /* a FIFO that is waited for would hang the test */
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++)
        for (size_t o = 0; o < NUM_OPENERS; o++) {
            struct err err = {{0}};
            if (openers[o](cases[c].path, &err) || !strstr(err.text, cases[c].reason))
                fail_msg("opener %zu, '%s': '%s'", o, cases[c].path, err.text);
        }
    alarm(0);
    struct err err = {{0}};
    struct st_files *files = st_open(fifo, &err);
    assert_null(files);
    assert_non_null(strstr(err.text, "FIFO"));
    assert_int_equal(file_check_regular(fifo, &err), -1);
    assert_int_equal(file_check_regular(absent, &err), 0);
    free(fifo);
    free(sock);
    free(absent);
}

/* Control: regular files open, through links as well, and their bytes come. */
static void test_regular_file(void **state) {
    (void)state;
    char *path = in_folder("good.json"), *link = in_folder("link.json"), bytes[3] = "";
    struct err err = {{0}};
    int64_t size_bytes = 0;
    FILE *file = fopen(path, "w");
    fputs("{}", file);
    fclose(file);
    assert_int_equal(symlink("good.json", link), 0);
    assert_true(opens_json(path, &err));
    assert_true(opens_json(link, &err));
    assert_true(opens_corpus(link, &err));
    int fd = file_open_read(link, &size_bytes, &err);
    assert_true(fd >= 0);
    assert_int_equal(size_bytes, 2);
    assert_int_equal(fcntl(fd, F_GETFL) & O_NONBLOCK, 0);
    assert_int_equal(fcntl(fd, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
    assert_int_equal(file_read_at(fd, link, bytes, 2, 0, &err), 0);
    assert_string_equal(bytes, "{}");
    assert_int_equal(file_read_at(fd, link, bytes, 2, 1, &err), -1);
    assert_non_null(strstr(err.text, "it ends at byte 2, 1 more were expected"));
    close(fd);
    file = file_open_stream(link, &err);
    assert_int_equal(fgetc(file), '{');
    fclose(file);
    free(path);
    free(link);
}

/* Two spellings of one place, through links and folders that are not there; and of two. */
static void test_places(void **state) {
    (void)state;
    char *root = test_folder("places"), *inner = xasprintf("%s/in", root), *link = xasprintf("%s/link", root);
    assert_int_equal(mkdir(inner, 0700), 0);
    assert_int_equal(symlink("in", link), 0);
    static const struct {
        const char *one, *other;
        bool is_same;
    } pairs[] = {{"x.h5", "./x.h5", true},
                 {"in/x.h5", "link/x.h5", true},
                 {"in/../x.h5", "x.h5", true},
                 {"none/x.h5", "./none//x.h5", true},
                 {"none/more/../x.h5", "link/../none/./x.h5", true},
                 {"in/x.h5", "x.h5", false},
                 {"none/x.h5", "none/y.h5", false},
                 {"none/x.h5", "x.h5", false}};
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
        char *one = xasprintf("%s/%s", root, pairs[i].one), *other = xasprintf("%s/%s", root, pairs[i].other);
        if (file_is_same_place(one, other) != pairs[i].is_same)
            fail_msg("'%s' and '%s'", one, other);
        free(one);
        free(other);
    }
    assert_true(file_is_same_place("x", "./x"));
    assert_true(file_is_same_place("none/x", "./none/x"));
    assert_true(file_is_same_place("/x", "//x"));
    free(inner);
    free(link);
    free(root);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_no_regular_file),
        cmocka_unit_test(test_regular_file),
        cmocka_unit_test(test_places),
    };
    folder = test_folder("file");
    int status = cmocka_run_group_tests(tests, NULL, NULL);
    free(folder);
    return status;
}
