/* test_writer.c - a text that goes on: what is told are whole characters, and together they are the text; a beginning that the caches
 * hold is not read again, and says the same. */
#include "train/model/writer.h"

#include <stdlib.h>
#include <string.h>

#include "data/corpus/text.h"
#include "tests/check.h"

#define SAMPLE "data/sample/model"

/* What was told, piece by piece. */
struct told {
    struct text text;
    int num_pieces;
};

static void hear(void *user, const char *bytes, size_t length_bytes) {
    struct told *told = user;
    assert_int_equal(text_valid_bytes(bytes, length_bytes), length_bytes);
    text_append(&told->text, bytes, length_bytes);
    told->num_pieces++;
}

static void open_sample(struct session *session) {
    struct err err = {""};
    struct session_setup setup = {.place = {SAMPLE, NULL},
                                  .max_tokens = WRITER_CHUNK_TOKENS,
                                  .num_threads = 1,
                                  .way = {SESSION_STORED, SESSION_CPU}};
    if (session_open(session, &setup, &err) != 0 || session_need_tokenizer(session, SAMPLE, &err) != 0)
        fail_msg("%s", err.text);
}

static struct token_list tokens_of(const struct session *session, const char *text) {
    struct token_list tokens = {0};
    struct err err = {""};
    struct encoder *enc = encoder_open(session->tokenizer);
    assert_int_equal(encoder_encode(enc, text, strlen(text), ENCODE_ADD_SPECIAL, &tokens, &err), 0);
    encoder_close(enc);
    return tokens;
}

/* num_cut - tokens after the prompt that are no whole characters by themselves. */
static int num_cut(const struct writer *writer) {
    int count = 0;
    for (int64_t i = writer->prompt_tokens; i < writer->tokens.count; i++) {
        char *text = tokenizer_decode(writer->session->tokenizer, writer->tokens.ids + i, 1, true, NULL);
        count += strstr(text, "\xEF\xBF\xBD") != NULL;
        free(text);
    }
    return count;
}

/* At a high temperature the sample writes bytes that begin or end within characters: without those nothing would be shown. */
static void test_characters(void **state) {
    (void)state;
    struct session session;
    struct writer writer;
    struct told told = {.num_pieces = 0};
    struct err err = {""};
    struct writing writing = {.sampling = {.temperature = 100, .top_p = 1, .seed = 2},
                              .max_tokens = 400,
                              .ignores_end = true,
                              .turn_end = -1,
                              .write = hear,
                              .user = &told};
    open_sample(&session);
    writer_open(&writer, &session, SAMPLE);
    struct token_list tokens = tokens_of(&session, "L'été");
    assert_int_equal(writer_begin(&writer, &tokens, &err), 0);
    assert_int_equal(writer_go_on(&writer, &writing, &err), 0);
    size_t length_bytes;
    char *text = writer_text(&writer, &length_bytes);
    assert_int_equal(told.text.length_bytes, length_bytes);
    assert_memory_equal(told.text.bytes, text, length_bytes);
    assert_true(num_cut(&writer) > 3);
    assert_true(told.num_pieces > 100);
    free(text);
    text_release(&told.text);
    token_list_release(&tokens);
    writer_close(&writer);
    session_close(&session);
}

/* go_on - twelve most likely tokens. */
static char *go_on(struct writer *writer, const struct token_list *tokens) {
    struct told told = {.num_pieces = 0};
    struct err err = {""};
    struct writing writing = {.max_tokens = 12, .turn_end = -1, .write = hear, .user = &told};
    assert_int_equal(writer_begin(writer, tokens, &err), 0);
    assert_int_equal(writer_go_on(writer, &writing, &err), 0);
    text_release(&told.text);
    return writer_text(writer, NULL);
}

static void test_same_beginning(void **state) {
    (void)state;
    struct session session;
    struct writer fresh, used;
    open_sample(&session);
    struct token_list first = tokens_of(&session, "La carte d'identité est"),
                      second = tokens_of(&session, "La carte d'identité, on la demande");
    writer_open(&used, &session, SAMPLE);
    writer_open(&fresh, &session, SAMPLE);
    char *begun = go_on(&used, &first);
    struct err err = {""};
    assert_int_equal(writer_begin(&used, &second, &err), 0);
    assert_true(used.past >= 3 && used.past < second.count); /* some of it is in the caches */
    char *after = go_on(&used, &second), *alone = go_on(&fresh, &second);
    assert_string_equal(after, alone);
    assert_string_not_equal(after, begun);
    free(begun), free(after), free(alone);
    token_list_release(&first);
    token_list_release(&second);
    writer_close(&used);
    writer_close(&fresh);
    session_close(&session);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_characters),
                                       cmocka_unit_test(test_same_beginning)};
    return cmocka_run_group_tests_name("writer", tests, NULL, NULL);
}
