/* test_events.c - event files of TensorBoard: CRC32C by the vectors of RFC 3720, records read back by other code than wrote
 * them, names in the order of the starts. */
#include <dirent.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "checkpoints/files.h"
#include "data/corpus/json.h"
#include "tests/check.h"
#include "train/record/event_file.h"
#include "train/record/tensorboard.h"

/* RFC 3720, appendix B.4; the last one is the check value that catalogues of CRCs give. */
static void test_crc(void **state) {
    (void)state;
    unsigned char zeros[32] = {0}, ones[32], rising[32], falling[32];
    memset(ones, 0xff, sizeof ones);
    for (int i = 0; i < 32; i++) {
        rising[i] = (unsigned char)i;
        falling[i] = (unsigned char)(31 - i);
    }
    assert_int_equal(crc32c(zeros, 32), 0x8a9136aa);
    assert_int_equal(crc32c(ones, 32), 0x62a8ab43);
    assert_int_equal(crc32c(rising, 32), 0x46dd794e);
    assert_int_equal(crc32c(falling, 32), 0x113fdb5c);
    assert_int_equal(crc32c("123456789", 9), 0xe3069283);
    assert_int_not_equal(crc32c("123456788", 9), 0xe3069283); /* the control */
}

/* The bytes of an event, as protoc's encoding has them: worked out by hand from the field numbers. */
static void test_event_bytes(void **state) {
    (void)state;
    static const unsigned char wanted[] = {
        0x09, 0,    0,    0,    0,    0,    0,   0xf8, 0x3f, /* wall_time = 1.5 */
        0x10, 0xac, 0x02,                                    /* step = 300 */
        0x2a, 0x0c, 0x0a, 0x0a, 0x0a, 0x03, 'a', '/',  'b',
        0x15, 0,    0,    0x20, 0x40, /* summary { value { "a/b", 2.5 } } */
    };
    struct text event = {0};
    event_begin(&event, 1.5, 300);
    event_value(&event, "a/b", 2.5);
    assert_int_equal(event.length_bytes, sizeof wanted);
    assert_memory_equal(event.bytes, wanted, sizeof wanted);
    event_start(&event, 1.5, 2);
    static const unsigned char start[] = {0x09, 0,    0,    0,    0,    0,    0,   0xf8,
                                          0x3f, 0x10, 0x02, 0x3a, 0x02, 0x08, 0x01};
    assert_int_equal(event.length_bytes, sizeof start);
    assert_memory_equal(event.bytes, start, sizeof start);
    text_release(&event);
}

static int is_event_file(const struct dirent *entry) {
    return strncmp(entry->d_name, "events.out.tfevents.", 20) == 0;
}

/* names - how many there are; the last of them in the order of names, static buffer. */
static int newest(const char *folder, char last[300]) {
    struct dirent **entries;
    int count = scandir(folder, &entries, is_event_file, alphasort);
    for (int i = 0; i < count; i++) {
        snprintf(last, 300, "%s", entries[i]->d_name);
        free(entries[i]);
    }
    free(entries);
    return count;
}

/* Starts within one second, and after one whose clock was ahead: each has a file of its own, later in the order of names. */
static void test_names(void **state) {
    (void)state;
    struct err err = {""};
    char *run = test_folder("events"), *folder = xasprintf("%s/tensorboard", run), last[300] = "",
         before[300] = "";
    for (int i = 1; i <= 3; i++) {
        struct tensorboard *board;
        memcpy(before, last, sizeof last);
        assert_int_equal(tensorboard_open(&board, run, 0, &err), 0);
        tensorboard_close(board);
        assert_int_equal(newest(folder, last), i);
        assert_true(strcmp(last, before) > 0);
    }
    char *ahead = xasprintf("%s/events.out.tfevents.%010lld.other.1.0", folder, (long long)time(NULL) + 5000);
    assert_int_equal(file_create(ahead, "", 0, &err), 0);
    struct tensorboard *board;
    assert_int_equal(tensorboard_open(&board, run, 0, &err), 0);
    tensorboard_step(board,
                     &(struct step_record){.step = 1, .loss = NAN, .grad_norm = INFINITY, .learning_rate = 1},
                     4096);
    tensorboard_close(board);
    newest(folder, last);
    assert_true(strcmp(last, strrchr(ahead, '/') + 1) > 0);
    char *path = xasprintf("%s/%s", folder, last);
    size_t length;
    char *bytes = file_read_whole(path, 100000, &length, &err);
    assert_non_null(bytes);
    assert_non_null(memmem(bytes, length, "brain.Event:2", 13));
    assert_non_null(memmem(bytes, length, "train/learning_rate", 19));
    /* tag, then simple_value, field 2 of 32 bits: the number that was given, not one that was asked for again */
    static const char peak[] = {'p', 'e', 'a',  'k', '_', 'b',        'y', 't',
                                'e', 's', 0x15, 0,   0,   (char)0x80, 0x45};
    assert_non_null(memmem(bytes, length, peak, sizeof peak));
    assert_null(memmem(bytes, length, "train/loss", 10)); /* what is not a number is not a point */
    assert_null(memmem(bytes, length, "train/grad_norm", 15));
    free(bytes);
    free(path);
    free(ahead);
    free(folder);
    free(run);
}

/* A file in the place of the folder: said, and nothing is opened. */
static void test_no_folder(void **state) {
    (void)state;
    struct err err = {""};
    char *run = test_folder("events_none"), *folder = xasprintf("%s/tensorboard", run);
    struct tensorboard *board;
    assert_int_equal(file_create(folder, "x", 1, &err), 0);
    assert_int_equal(tensorboard_open(&board, run, 0, &err), -1);
    assert_null(board);
    assert_non_null(strstr(err.text, "tensorboard"));
    tensorboard_close(NULL);
    tensorboard_step(NULL, &(struct step_record){.step = 1}, 0);
    free(folder);
    free(run);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_crc), cmocka_unit_test(test_event_bytes),
                                       cmocka_unit_test(test_names), cmocka_unit_test(test_no_folder)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
