/* test_sift.c - personal data told by its form (personal.h), near copies told by their words (minhash.h), and what prepare does
 * with both. */
#include <math.h>

#include "data/corpus/minhash.h"
#include "data/corpus/personal.h"
#include "data/corpus/prepare_batch.h"
#include "tests/prepare_fixture.h"

/* --- personal data --- */

/* replaced - the text with marks; the caller's. */
static char *replaced(const char *text) {
    struct personal_counts counts = {{0}}, again = {{0}};
    struct text out = {0};
    bool has_any = personal_replace(text, strlen(text), &counts, &out);
    assert_int_equal(personal_count(text, strlen(text), &again), has_any);
    assert_memory_equal(&counts, &again, sizeof counts);
    text_append(&out, "", 1);
    return out.bytes;
}

/* The numbers are the examples of INSEE (NIR), of the ECBS and of SWIFT's registry (IBAN), and of ARCEP's ranges for works of
 * fiction (telephone). */
static const struct {
    const char *text, *want;
} TEXTS[] = {
    {"Écrire à marie.durand+aide@mairie-lyon.fr.", "Écrire à [EMAIL]."},
    {"<a.b@c.example>, d@e.fr", "<[EMAIL]>, [EMAIL]"},
    {"pas @une adresse, ni a@b, ni a@b.c, ni x@@y.fr", "pas @une adresse, ni a@b, ni a@b.c, ni x@@y.fr"},
    {"Tél. 01 99 00 12 34 ou 06-39-98-12-34", "Tél. [TELEPHONE] ou [TELEPHONE]"},
    {"0199001234, +33 6 39 98 12 34; +33 (0)1.99.00.12.34", "[TELEPHONE], [TELEPHONE]; [TELEPHONE]"},
    {"0033199001234 et +49 30 23125 000", "[TELEPHONE] et [TELEPHONE]"},
    {"le 3939, le 01 99 00 12 3, 101990012345, 2024-01-99 00",
     "le 3939, le 01 99 00 12 3, 101990012345, 2024-01-99 00"},
    {"NIR 2 55 08 14 168 025 38.", "NIR [NIR]."},
    {"255081416802538 mais pas 255081416802539", "[NIR] mais pas 255081416802539"},
    {"né en Corse : 1 84 02 2A 003 042 66", "né en Corse : 1 84 02 2A 003 042 66"}, /* a wrong key */
    {"FR14 2004 1010 0505 0001 3M02 606", "[IBAN]"},
    {"IBAN FR1420041010050500013M02606, DE89370400440532013000", "IBAN [IBAN], [IBAN]"},
    {"FR14 2004 1010 0505 0001 3M02 607", "FR14 2004 1010 0505 0001 3M02 607"},
    {"GB29 NWBK 6016 1331 9268 19 SUITE", "[IBAN] SUITE"},
    {"«marie@mairie.fr» (“b@c.fr”) éric.dupont@mairie.fr", "«[EMAIL]» (“[EMAIL]”) [EMAIL]"},
    {"marie@mairie.fr-, b@c.fr--, e@f.fr-x", "[EMAIL]-, [EMAIL]--, e@f.fr-x"},
    {"n°0199001234, nº0199001234, –0199001234", "n°[TELEPHONE], nº[TELEPHONE], –[TELEPHONE]"},
    {"(0)1 99 00 12 34 ; 01\t99\t00\t12\t34 ; 01–99–00–12–34", "[TELEPHONE] ; [TELEPHONE] ; [TELEPHONE]"},
    {"é0199001234 ٣0199001234 (0)1 99 00 12",
     "é0199001234 ٣0199001234 (0)1 99 00 12"}, /* parts of words, three pairs */
    {"n°255081416802538, 2-55-08-14-168-025-38, 2.55.08.14.168.025.38", "n°[NIR], [NIR], [NIR]"},
    {"2-55-08-14-168-025-39", "2-55-08-14-168-025-39"},
    {"fr1420041010050500013m02606, Fr14 2004 1010 0505 0001 3m02 606", "[IBAN], [IBAN]"},
    {"fr1420041010050500013m02607, fr14 rue", "fr1420041010050500013m02607, fr14 rue"},
    /* parts of longer runs: decimals, references, tables of pairs */
    {"3.0199001234, 0199001234.55, 2.01.99.00.12.34", "3.0199001234, 0199001234.55, 2.01.99.00.12.34"},
    {"0199001234-557, 12-0199001234-557", "0199001234-557, 12-0199001234-557"},
    {"12 01 99 00 12 34 ; 01 99 00 12 34 56 ; 01 02 03 04 05 06 07",
     "12 01 99 00 12 34 ; 01 99 00 12 34 56 ; 01 02 03 04 05 06 07"},
    {"01 99 00 12 34 56", "01 99 00 12 34 56"},
    /* the controls: numbers beside each other, a second one by its last pair, a number of the list, a post code, a sentence */
    {"01 99 00 12 34 06 39 98 12 34/0639981234-0199001234",
     "[TELEPHONE] [TELEPHONE]/[TELEPHONE]-[TELEPHONE]"},
    {"01 99 00 12 34/35, 01.99.00.12.34-35, 0199001234/35", "[TELEPHONE]/35, [TELEPHONE]-35, [TELEPHONE]/35"},
    {"3. 01 99 00 12 34; 3.01 99 00 12 34; 75001 01 99 00 12 34",
     "3. [TELEPHONE]; 3.[TELEPHONE]; 75001 [TELEPHONE]"},
    {"01 99 00 12 34 2 rue ; 01 99 00 12 34. 12 jours", "[TELEPHONE] 2 rue ; [TELEPHONE]. 12 jours"},
    {"01 99 00 12 34 24h/24, 01 99 00 12 34 12 rue ; poste 12 01 99 00 12 34",
     "[TELEPHONE] 24h/24, [TELEPHONE] 12 rue ; poste 12 [TELEPHONE]"},
    {"", ""},
    {"01 99 00 12 34", "[TELEPHONE]"}, /* no-break spaces */
};

static void test_personal(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof TEXTS / sizeof *TEXTS; i++) {
        char *got = replaced(TEXTS[i].text);
        if (strcmp(got, TEXTS[i].want) != 0)
            fail_msg("'%s' became '%s', not '%s'", TEXTS[i].text, got, TEXTS[i].want);
        free(got);
    }
}

/* key_of - of 13 digits, by the definition: 97 less the remainder. */
static void test_nir_keys(void **state) {
    (void)state;
    int num_found = 0;
    for (int order = 1; order <= 200; order++) {
        char text[32];
        int64_t number = 1840275115000 + order;
        for (int key = 1; key <= 97; key++) {
            struct personal_counts counts = {{0}};
            snprintf(text, sizeof text, "%lld %02d", (long long)number, key);
            bool is_found = personal_count(text, strlen(text), &counts);
            assert_int_equal(is_found, (number + key) % 97 == 0);
            num_found += counts.found[PERSONAL_NIR] == 1;
        }
    }
    assert_int_equal(num_found, 200);
}

/* --- near copies --- */

enum { RUNS = 400, PAIRS = 300 };

/* add_words - of a text in which each run is a word. */
static void add_words(struct minhash *minhash, uint64_t pair, uint64_t side, int num_common) {
    char word[64];
    for (int i = 0; i < RUNS; i++) {
        uint64_t own = i < num_common ? 0 : side;
        snprintf(word, sizeof word, "w%llux%llux%d ", (unsigned long long)pair, (unsigned long long)own, i);
        minhash_add(minhash, word, strlen(word));
    }
}

/* share_found - of pairs of texts with so many runs in common. */
static double share_found(const struct minhash_config *config, int num_common) {
    XXH128_hash_t bands[2][MINHASH_MAX_BANDS];
    struct minhash minhash = {.least = NULL};
    int num_found = 0;
    for (uint64_t pair = 0; pair < PAIRS; pair++) {
        for (uint64_t side = 1; side <= 2; side++) {
            minhash_begin(&minhash, config);
            add_words(&minhash, pair, side, num_common);
            assert_true(minhash_end(&minhash, bands[side - 1]));
        }
        bool is_found = false;
        for (int band = 0; band < config->num_bands; band++)
            is_found = is_found || XXH128_isEqual(bands[0][band], bands[1][band]);
        num_found += is_found;
    }
    minhash_release(&minhash);
    return (double)num_found / PAIRS;
}

/* Within five standard deviations of what the theory says; the last one is the control: without a common run none is found. */
static void test_minhash(void **state) {
    (void)state;
    const struct minhash_config config = {.num_bands = 14, .num_rows = 8, .num_words = 1};
    static const int common[] = {380, 350, 320, 300, 240, 0};
    for (size_t i = 0; i < sizeof common / sizeof *common; i++) {
        double s = (double)common[i] / (2 * RUNS - common[i]); /* of the union */
        double p = 1 - pow(1 - pow(s, config.num_rows), config.num_bands);
        double got = share_found(&config, common[i]), sigma = sqrt(p * (1 - p) / PAIRS);
        if (fabs(got - p) > 5 * sigma + 1e-9)
            fail_msg("%d runs in common: %.3f found, %.3f expected, sigma %.3f", common[i], got, p, sigma);
    }
}

static void test_words(void **state) {
    (void)state;
    const struct minhash_config config = {.num_bands = 4, .num_rows = 2, .num_words = 3};
    static const char *const texts[] = {"L'Éducation nationale, article 1er",
                                        "l éducation NATIONALE article 1ER",
                                        "l education nationale article 1er"};
    XXH128_hash_t bands[3][4];
    struct minhash minhash = {.least = NULL};
    for (int i = 0; i < 3; i++) {
        minhash_begin(&minhash, &config);
        minhash_add(&minhash, texts[i], strlen(texts[i]));
        assert_true(minhash_end(&minhash, bands[i]));
    }
    assert_memory_equal(bands[0], bands[1], sizeof bands[0]);
    assert_memory_not_equal(bands[0], bands[2], sizeof bands[0]); /* an accent makes another word */
    minhash_begin(&minhash, &config);
    minhash_add(&minhash, " -- ! ", 6);
    assert_false(minhash_end(&minhash, bands[0]));
    minhash_release(&minhash);
}

/* --- in prepare --- */

static struct job plain_job(const char *input) {
    struct job job = job_for(input);
    job.config.ends = DOCUMENT_NONE;
    return job;
}

static void test_prepare_sifts(void **state) {
    (void)state;
    write_text(
        "mail.jsonl",
        "{\"text\": \"Le maire de la commune répond à vos questions sur les cartes : a@b.fr, c@d.fr\"}\n"
        "{\"text\": \"Le maire de la commune répond à vos questions sur les cartes : e@f.fr et 0199001234\"}\n"
        "{\"text\": \"Un tout autre texte, qui parle du permis de conduire et de rien d'autre.\"}\n");
    struct job job = plain_job("mail.jsonl");
    job.config.personal = PERSONAL_REPLACE;
    run_well(&job);
    assert_int_equal(job.totals.num_documents, 3);
    assert_int_equal(job.totals.personal[0].found[PERSONAL_EMAIL], 3);
    assert_int_equal(job.totals.personal[0].found[PERSONAL_TELEPHONE], 1);
    check_document(job.output, 0,
                   "Le maire de la commune répond à vos questions sur les cartes : [EMAIL], [EMAIL]");
    prepare_totals_release(&job.totals);
    release(&job);

    job = plain_job("mail.jsonl");
    job.config.near_duplicates = true;
    job.config.near = (struct minhash_config){.num_bands = 20, .num_rows = 2, .num_words = 2};
    run_well(&job);
    assert_int_equal(job.totals.num_documents, 2);
    assert_int_equal(job.totals.num_near, 1);
    assert_null(job.totals.personal);
    release(&job);
}

/* Every text of a conversation is looked at: contents, calls of tools, thoughts, a system text beside the messages. */
static void test_values(void **state) {
    (void)state;
    json_error_t fault;
    struct prepare_config config = {.personal = PERSONAL_REPLACE};
    struct worker worker = {.config = &config};
    struct batch_document document = {.source = 0};
    json_t *value = json_loads(
        "{\"system\": \"a@b.fr\", \"messages\": [{\"role\": \"user\", \"content\": [{\"type\": \"text\", "
        "\"text\": \"0199001234\"}]}, {\"tool_calls\": [{\"function\": {\"arguments\": {\"to\": "
        "\"c@d.fr\", \"n\": 1}}}]}]}",
        0, &fault);
    assert_non_null(value);
    worker_sift_personal(&worker, &document, value);
    char *text = json_dumps(value, JSON_COMPACT | JSON_SORT_KEYS);
    assert_non_null(strstr(text, "\"system\":\"[EMAIL]\""));
    assert_non_null(strstr(text, "\"text\":\"[TELEPHONE]\""));
    assert_non_null(strstr(text, "\"to\":\"[EMAIL]\""));
    assert_int_equal(document.personal.found[PERSONAL_EMAIL], 2);
    free(text);
    json_decref(value);
    text_release(&worker.marked);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_personal), cmocka_unit_test(test_nir_keys),      cmocka_unit_test(test_minhash),
        cmocka_unit_test(test_words),    cmocka_unit_test(test_prepare_sifts), cmocka_unit_test(test_values),
    };
    folder = test_folder("sift");
    tok = tiny_tokenizer(TINY_ALL);
    int status = cmocka_run_group_tests(tests, NULL, NULL);
    tokenizer_free(tok);
    free(folder);
    return status;
}
