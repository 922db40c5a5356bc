/* test_ranks_provenance.c - tokens consumed by corpus and the hash of the base model, on any number of ranks:
 * the ranks' sums are what one reader counts, whatever was trained before; controls show that a count or a
 * byte that is off is seen. */
#include "tests/checkpoint_fixture.h"

#include "data/sha256.h"
#include "train/record/provenance.h"
#include "train/run/feed.h"

enum { SEQUENCE = 24, BATCH = 12, NUM_SOURCES = 4, DOCUMENTS = 60 };

static struct comm *comm;
static char *folder; /* the root's, known to all */

/* write_file - a token file of two corpora, whose documents differ in length from the other file's. */
static char *write_file(int file) {
    struct err err = {""};
    char *path = xasprintf("%s/tokens-%d.h5", folder, file);
    if (!comm_is_root(comm))
        return path;
    struct token_writer *writer = token_writer_create(path, "none", 50, &err);
    CHECK(writer, "%s", err.text);
    token_writer_add_source(writer, file ? "law" : "forms", "etalab-2.0", "https://example.org/a");
    token_writer_add_source(writer, "letters", "", ""); /* the same corpus in both files */
    for (int d = 0; d < DOCUMENTS; d++) {
        int32_t tokens[64];
        int count = 3 + (7 * d + 13 * file) % 50;
        for (int i = 0; i < count; i++)
            tokens[i] = (d + i) % 50;
        CHECK(token_writer_append(writer, d % 3 == 0, tokens, NULL, count, &err) == 0, "%s", err.text);
    }
    CHECK(token_writer_finish(writer, &err) == 0, "%s", err.text);
    return path;
}

static struct loader *open_loader(char *const paths[2], int64_t seed) {
    struct err err = {""};
    struct loader_file files[2] = {{paths[0], 3.0}, {paths[1], 1.0}};
    struct loader_config config = {.files = files,
                                   .num_files = 2,
                                   .sequence_tokens = SEQUENCE,
                                   .seed = seed,
                                   .packing = PACKING_WHOLE,
                                   .vocab_size = 50};
    struct loader *loader = loader_open(&config, &err);
    CHECK(loader, "%s", err.text);
    return loader;
}

/* consume - steps [first, end) on all ranks; the sums over the ranks by source.  Returns the tokens of all.
 */
static int64_t consume(struct loader *loader, int64_t first, int64_t end, int64_t counts[NUM_SOURCES]) {
    struct err err = {""};
    struct feed feed;
    int64_t tokens = 0;
    feed_open(&feed, SEQUENCE, BATCH, 2, comm_rank(comm), comm_num_ranks(comm));
    feed_start(&feed, loader, first, NULL);
    for (int64_t step = first; step < end; step++) {
        CHECK(feed_step(&feed, &err) == 0, "%s", err.text);
        feed_count(&feed);
        tokens += feed.filled_tokens;
    }
    CHECK(feed.num_sources == NUM_SOURCES, "%lld sources", (long long)feed.num_sources);
    memcpy(counts, feed.source_tokens, NUM_SOURCES * sizeof *counts);
    feed_close(&feed);
    comm_sum_i64(comm, counts, NUM_SOURCES);
    comm_sum_i64(comm, &tokens, 1);
    return tokens;
}

/* recount - the same by one reader, from the documents that the samples are made of. */
static void recount(struct loader *loader, char *const paths[2], int64_t end, int64_t counts[NUM_SOURCES]) {
    struct err err = {""};
    struct token_file *files[2] = {token_file_open(paths[0], &err), token_file_open(paths[1], &err)};
    memset(counts, 0, NUM_SOURCES * sizeof *counts);
    for (int64_t g = 0; g < end * BATCH; g++) {
        struct sample_piece *pieces;
        int64_t count = loader_pieces(loader, g, &pieces, &err);
        for (int64_t p = 0; p < count; p++)
            counts[2 * pieces[p].file +
                   token_file_document_source(files[pieces[p].file], pieces[p].document)] += pieces[p].count;
        free(pieces);
    }
    token_file_close(files[0]);
    token_file_close(files[1]);
}

static void test_counts(void **state) {
    (void)state;
    char *paths[2] = {write_file(0), write_file(1)};
    int64_t got[NUM_SOURCES], want[NUM_SOURCES], sum = 0;
    comm_barrier(comm);
    struct loader *loader = open_loader(paths, 3), *other = open_loader(paths, 4);
    int64_t tokens = consume(loader, 0, 11, got);
    recount(loader, paths, 11, want);
    for (int s = 0; s < NUM_SOURCES; s++) {
        assert_int_equal(got[s], want[s]);
        assert_true(got[s] > 0);
        sum += got[s];
    }
    assert_int_equal(sum, tokens);
    assert_string_equal(loader_source(loader, 0)->name, "forms");
    assert_string_equal(loader_source(loader, 2)->name, "law");
    assert_string_equal(loader_source(loader, 3)->name, "letters");
    /* Controls: a step less, and another order of the data. */
    recount(loader, paths, 10, want);
    assert_memory_not_equal(got, want, sizeof got);
    recount(other, paths, 11, want);
    assert_memory_not_equal(got, want, sizeof got);
    loader_close(loader);
    loader_close(other);
    free(paths[0]);
    free(paths[1]);
}

/* --- over restarts --- */

/* describe - provenance after a start that consumed these counts; written to folder/provenance.json by the
 * root. */
static json_t *describe(const struct provenance *p, const struct loader *loader, const int64_t *counts,
                        int64_t tokens) {
    static const struct config config = {.train = {.steps = 20}};
    static const struct accounts accounts;
    struct model_config model = small_config(50);
    struct provenance_facts facts = {.config = &config,
                                     .model = &model,
                                     .loader = loader,
                                     .source_tokens = counts,
                                     .tokens_seen = tokens,
                                     .accounts = &accounts,
                                     .device = "cpu",
                                     .num_ranks = comm_num_ranks(comm)};
    json_t *root = provenance_json(p, &facts);
    char *text = json_dumps(root, JSON_INDENT(1));
    put(folder, "provenance.json", text);
    free(text);
    return root;
}

static bool resume(struct provenance *p, int64_t tokens) {
    struct provenance_setup setup = {.resumed_from = folder, .tokens_seen = tokens, .base_path = "base"};
    return provenance_open(p, comm, &setup);
}

/* consumed - of a corpus, by name; -1: not there. */
static int64_t consumed(const json_t *root, const char *name) {
    size_t i;
    json_t *corpus;
    json_array_foreach(json_find(root, "corpora"), i, corpus) {
        if (strcmp(json_string_value(json_object_get(corpus, "name")), name) == 0)
            return json_integer_value(json_object_get(corpus, "tokens_consumed"));
    }
    return -1;
}

/* check_whole - as if it had never stopped; the corpus of two files stands there once. */
static void check_whole(const json_t *root, const int64_t whole[NUM_SOURCES]) {
    assert_int_equal(json_array_size(json_find(root, "corpora")), 3);
    assert_int_equal(consumed(root, "forms"), whole[0]);
    assert_int_equal(consumed(root, "law"), whole[2]);
    assert_int_equal(consumed(root, "letters"), whole[1] + whole[3]);
}

static void test_resume(void **state) {
    (void)state;
    char *paths[2] = {write_file(0), write_file(1)};
    int64_t first[NUM_SOURCES], second[NUM_SOURCES], whole[NUM_SOURCES];
    comm_barrier(comm);
    struct loader *loader = open_loader(paths, 3);
    int64_t tokens = consume(loader, 0, 4, first), more = consume(loader, 4, 11, second);
    recount(loader, paths, 11, whole);
    struct provenance_setup fresh = {.base_path = NULL};
    struct provenance p;
    assert_true(provenance_open(&p, comm, &fresh));
    if (comm_is_root(comm))
        json_decref(describe(&p, loader, first, tokens));
    provenance_close(&p);
    comm_barrier(comm);
    assert_true(resume(&p, tokens));
    if (comm_is_root(comm)) {
        json_t *root = describe(&p, loader, second, tokens + more);
        check_whole(root, whole);
        assert_true(json_is_null(json_object_get(root, "base_model")));
        json_decref(root);
    }
    provenance_close(&p);
    comm_barrier(comm);
    /* Controls: a training.json of another number of tokens; a checkpoint that kept no provenance. */
    assert_false(resume(&p, tokens + more - 1));
    provenance_close(&p);
    comm_barrier(comm);
    char *path = path_of(folder, "provenance.json");
    if (comm_is_root(comm))
        assert_int_equal(remove(path), 0);
    comm_barrier(comm);
    assert_true(resume(&p, tokens));
    if (comm_is_root(comm)) {
        json_t *root = describe(&p, loader, second, tokens + more);
        assert_int_equal(consumed(root, "forms"), second[0]);
        assert_int_equal(json_integer_value(json_find(root, "progress/tokens_not_attributed")), tokens);
        assert_null(json_find(root, "base_model/sha256"));
        json_decref(root);
    }
    provenance_close(&p);
    free(path);
    loader_close(loader);
    free(paths[0]);
    free(paths[1]);
}

/* --- the base model --- */

/* file_hash - by another way than the one tested. */
static void file_hash(const char *at, const char *name, char hex[SHA256_HEX_ROOM]) {
    char *path = path_of(at, name);
    size_t length_bytes;
    char *bytes = file_read_whole(path, 64 << 20, &length_bytes, NULL);
    struct sha256 sha;
    CHECK(bytes, "cannot read '%s'", path);
    sha256_init(&sha);
    sha256_update(&sha, bytes, length_bytes);
    sha256_finish(&sha, hex);
    free(bytes);
    free(path);
}

/* check_hashes - every file of the list, and the list itself, against sha256sum's way. */
static void check_hashes(const json_t *base, const char *at) {
    struct sha256 whole;
    char hex[SHA256_HEX_ROOM];
    size_t i;
    json_t *file;
    sha256_init(&whole);
    json_array_foreach(json_find(base, "files"), i, file) {
        const char *name = json_string_value(json_object_get(file, "name"));
        file_hash(at, name, hex);
        assert_string_equal(json_string_value(json_object_get(file, "sha256")), hex);
        char *line = xasprintf("%s  %s\n", hex, name);
        sha256_update(&whole, line, strlen(line));
        free(line);
    }
    sha256_finish(&whole, hex);
    assert_true(json_array_size(json_find(base, "files")) >= 3);
    assert_string_equal(json_string_value(json_object_get(base, "sha256")), hex);
    assert_string_equal(json_string_value(json_object_get(base, "licence")), "etalab-2.0");
    assert_string_equal(json_string_value(json_object_get(base, "name")), "step-000001");
    assert_null(json_find(base, "repository"));
}

static json_t *hash_base(const char *at) {
    struct err err = {""};
    json_t *base;
    struct weights *weights = weights_open(at, &err);
    CHECK(weights, "%s", err.text);
    assert_true(provenance_base(&base, comm, weights, at));
    weights_close(weights);
    return base;
}

static void change_byte(const char *at, const char *name) {
    char *path = path_of(at, name);
    FILE *file = fopen(path, "r+b");
    CHECK(file && fseek(file, -1, SEEK_END) == 0, "cannot open '%s'", path);
    int byte = fgetc(file);
    CHECK(fseek(file, -1, SEEK_END) == 0 && fputc(byte ^ 1, file) >= 0 && fclose(file) == 0, "cannot write");
    free(path);
}

static void test_base(void **state) {
    (void)state;
    const struct model_config config = small_config(50);
    struct checkpoint_source source = source_of(&config, NULL);
    source.max_file_bytes = 8192; /* several files */
    char *at = path_of(folder, "step-000001");
    if (comm_is_root(comm)) {
        save(folder, &source, 1, 0);
        put(at, "README.md", "---\nlicense: 'etalab-2.0'\n---\n");
    }
    comm_barrier(comm);
    json_t *before = hash_base(at);
    if (comm_is_root(comm)) {
        check_hashes(before, at);
        change_byte(
            at, json_string_value(json_object_get(json_array_get(json_find(before, "files"), 1), "name")));
    }
    comm_barrier(comm);
    json_t *after = hash_base(at); /* the control: one byte of one file */
    if (comm_is_root(comm)) {
        check_hashes(after, at);
        assert_false(json_equal(json_object_get(before, "sha256"), json_object_get(after, "sha256")));
        for (size_t i = 0; i < 3; i++)
            assert_int_equal(json_equal(json_array_get(json_find(before, "files"), i),
                                        json_array_get(json_find(after, "files"), i)),
                             i != 1);
    }
    json_decref(before);
    json_decref(after);
    free(at);
}

int main(int argc, char **argv) {
    comm = comm_start(&argc, &argv);
    folder = comm_is_root(comm) ? test_folder("ranks-provenance") : NULL;
    comm_broadcast_text(comm, &folder);
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_counts), cmocka_unit_test(test_resume),
                                       cmocka_unit_test(test_base)};
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    comm_barrier(comm);
    if (comm_is_root(comm))
        folder_remove(folder, NULL);
    free(folder);
    comm_finish(comm);
    return failed;
}
