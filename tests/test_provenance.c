/* test_provenance.c - the model card from a provenance: what it must hold in both languages, and that no
 * name, licence or address of others breaks out of its place; provenances that must be refused; cards of base
 * models kept apart. */
#include "tests/checkpoint_fixture.h"

#include "checkpoints/model_folder.h"
#include "train/record/card_escape.h"
#include "train/record/card_words.h"
#include "train/record/provenance.h"

static const char *const HOSTILE[] = {
    "a | b",
    "x\n---\nlicense: mit\n# Title",
    "<script>alert(1)</script> <!-- -->",
    "\"quoted\" \\ 'single' `code` ``",
    "[link](javascript:alert(1)) ![image](http://evil.example/x.png)",
    "- item: {a: [b, c]} & *anchor !!tag #comment %dir @at",
    "yes",
    "\x01\x7f\t tab, a bell and \xe2\x80\xae reversed \xe2\x80\xa8 separated \xef\xbb\xbf mark",
    "été déjà l'œuvre \xf0\x9f\xa6\x89",
    "https://a.example/|x> <b>",
    "",
};
enum { NUM_HOSTILE = sizeof HOSTILE / sizeof HOSTILE[0] };

/* sample - a provenance of two corpora; text stands in every place that others fill. */
static json_t *sample(const char *text) {
    json_t *root = json_pack(
        "{s:s, s:s, s:s, s:s, s:{s:s, s:s, s:n, s:s, s:s, s:s}, s:{s:s, s:I, s:s}, s:{s:i, s:i, s:I, s:I}}",
        "format", "atelier-provenance 1", "program", text, "started", "2026-01-02T03:04:05Z", "updated",
        "2026-02-03T04:05:06Z", "base_model", "path", text, "name", text, "repository", "model_type", "llama",
        "licence", text, "sha256", "0123456789abcdef", "model", "model_type", "llama", "parameters",
        (json_int_t)1234567, "dtype", "bf16", "progress", "step", 50, "steps", 100, "tokens",
        (json_int_t)4000, "tokens_not_attributed", (json_int_t)1000);
    json_t *corpora = json_pack("[{s:s, s:s, s:s, s:s, s:i, s:i, s:i}, {s:s, s:s, s:s, s:s, s:i, s:i, s:i}]",
                                "name", text, "licence", text, "url", text, "sha256", "ab", "documents", 10,
                                "tokens", 20000, "tokens_consumed", 2500, "name", "plain", "licence", "",
                                "url", "https://huggingface.co/datasets/AgentPublic/legi", "sha256", "cd",
                                "documents", 3, "tokens", 700, "tokens_consumed", 500);
    json_t *cost = json_pack("{s:i, s:f, s:f, s:f, s:f, s:f, s:f, s:{s:f, s:s, s:s, s:f, s:s}}", "starts", 2,
                             "hours", 3.5, "gpu_hours", 14.0, "core_hours", 84.0, "kwh", 7.5, "counted", 0.5,
                             "co2_kg", 0.288, "factor", "grams_co2_per_kwh", 32.0, "name", text, "source",
                             text, "pue", 1.2, "pue_source", text);
    json_object_set_new(root, "corpora", corpora);
    json_object_set_new(root, "cost", cost);
    json_object_set_new(root, "site",
                        json_pack("{s:s, s:i, s:i, s:i}", "name", text, "ranks", 4, "gpus", 4, "hosts", 1));
    json_object_set_new(
        root, "losses",
        json_pack("{s:f, s:f, s:i}", "training_last", 2.25, "validation_last", 2.5, "validation_step", 50));
    json_object_set_new(root, "procedure", json_pack("{s:s, s:f}", "schedule", text, "learning_rate", 3e-4));
    return root;
}

static bool holds(const char *text, const char *part) {
    return strstr(text, part) != NULL;
}

/* --- the card --- */

/* count_lines - that begin with `start`. */
static int count_lines(const char *text, const char *start) {
    int count = 0;
    for (const char *line = text; line; line = strchr(line, '\n') ? strchr(line, '\n') + 1 : NULL)
        count += strncmp(line, start, strlen(start)) == 0;
    return count;
}

/* check_front_matter - between the first two "---", only the keys that we write, one a line. */
static void check_front_matter(const char *text) {
    static const char *const keys[] = {"language:",
                                       "license: ",
                                       "base_model: ",
                                       "base_model_relation: ",
                                       "datasets:",
                                       "library_name: ",
                                       "pipeline_tag: ",
                                       "tags:",
                                       "co2_eq_emissions:",
                                       "  emissions: ",
                                       "  training_type: ",
                                       "  source: ",
                                       "- ",
                                       "# "};
    assert_int_equal(strncmp(text, "---\n", 4), 0);
    const char *line = text + 4;
    while (strncmp(line, "---\n", 4) != 0) {
        bool known = false;
        for (size_t k = 0; k < sizeof keys / sizeof keys[0]; k++)
            known = known || strncmp(line, keys[k], strlen(keys[k])) == 0;
        if (!known)
            fail_msg("unexpected in the front matter: %.80s", line);
        line = strchr(line, '\n');
        assert_non_null(line);
        line++;
    }
    assert_int_equal(count_lines(text, "---\n"), 2);
}

/* check_tables - as many cells in each row as in the row above. */
static void check_tables(const char *text) {
    int before = 0;
    for (const char *line = text; *line; line = strchr(line, '\n') + 1) {
        int bars = 0;
        if (*line == '|')
            for (const char *at = line; *at != '\n'; at++)
                bars += *at == '|' && at[-1] != '\\';
        if (before && bars && before != bars)
            fail_msg("a row of %d bars below one of %d: %.120s", bars, before, line);
        before = bars;
        assert_non_null(strchr(line, '\n'));
    }
}

/* check_parts - what every card must hold. */
static void check_parts(const char *text, enum card_language language) {
    const struct card_words *w = card_words(language);
    const char *const parts[] = {w->what_title,
                                 w->data_title,
                                 w->procedure_title,
                                 w->cost_title,
                                 w->limits_title,
                                 w->draft_title,
                                 w->draft_warning,
                                 w->draft_general,
                                 w->draft_rest,
                                 w->not_attributed,
                                 w->not_finished,
                                 w->blank_purpose,
                                 w->cost_scope,
                                 w->draft_sources,
                                 w->base_hash,
                                 w->data_explained,
                                 w->blank,
                                 "0123456789abcdef",
                                 "library_name: transformers\n",
                                 "datasets:\n- AgentPublic/legi\n",
                                 "- fr",
                                 "<https://huggingface.co/datasets/"};
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++)
        if (!holds(text, parts[i]))
            fail_msg("the card lacks '%s'", parts[i]);
    assert_int_equal(count_lines(strstr(text, "\n---\n"), "# "),
                     1); /* "# " in the front matter is a comment */
    assert_int_equal(count_lines(text, "## "), 6);
    assert_int_equal(count_lines(text, "### "), 3);
    check_front_matter(text);
    check_tables(text);
}

static void test_card(void **state) {
    (void)state;
    json_t *root = sample("Lucie-7B");
    char *english = card_text(root, CARD_ENGLISH), *french = card_text(root, CARD_FRENCH);
    check_parts(english, CARD_ENGLISH);
    check_parts(french, CARD_FRENCH);
    assert_true(holds(english, "| 2,500 | 62.5 % |") && holds(french, "| 2\u202f500 | 62,5 % |"));
    assert_true(holds(english, "1,234,567 (llama, bf16)"));
    assert_true(holds(english, "| 1,000 | 25 % |"));  /* not counted by corpus */
    assert_true(holds(english, "| 4,000 | 100 % |")); /* the whole */
    assert_true(holds(english, "license: Lucie-7B #") && holds(english, "base_model: Lucie-7B #"));
    assert_true(holds(english, "0.288 kg") && holds(french, "0,288 kg") && holds(english, "32 g/kWh"));
    assert_true(holds(english, "2.5 at step 50 (perplexity 12.18)"));
    assert_false(holds(french, "[To complete]") || holds(english, "[À compléter]"));
    free(english);
    free(french);
    json_decref(root);
}

/* test_place - where it was trained: in the card's language where no site has a name of its own. */
static void test_place(void **state) {
    (void)state;
    static const struct {
        const char *name, *description, *english, *french;
    } places[] = {
        {"local", "no scheduler", ": local machine (machines", " machine locale (machines"},
        {"generic", "a Slurm cluster, described by sinfo", ": Slurm cluster (", " grappe de calcul Slurm ("},
        {"jeanzay", "Jean Zay, Orsay", "Jean Zay, Orsay", "Jean Zay, Orsay"},
    };
    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
        json_t *root = sample("x");
        json_object_set_new(root, "site",
                            json_pack("{s:s, s:s, s:i, s:i, s:i}", "name", places[i].name, "description",
                                      places[i].description, "ranks", 2, "gpus", 0, "hosts", 1));
        char *english = card_text(root, CARD_ENGLISH), *french = card_text(root, CARD_FRENCH);
        if (!holds(english, places[i].english) || !holds(french, places[i].french))
            fail_msg("'%s' is not told in %s\n%s", places[i].name, english, french);
        assert_int_equal(holds(french, places[i].description), i == 2);
        free(english);
        free(french);
        json_decref(root);
    }
}

/* test_unknown - an empty provenance gives a whole card that knows nothing, and claims nothing. */
static void test_unknown(void **state) {
    (void)state;
    json_t *root = json_pack("{s:n, s:n, s:[], s:i}", "base_model", "cost", "corpora", "losses", 3);
    for (int language = 0; language < 2; language++) {
        const struct card_words *w = card_words((enum card_language)language);
        char *text = card_text(root, (enum card_language)language);
        check_front_matter(text);
        check_tables(text);
        assert_true(holds(text, w->cost_unknown) && holds(text, w->what_new) &&
                    holds(text, w->yaml_licence_unknown));
        assert_false(holds(text, "base_model:") || holds(text, "co2_eq") || holds(text, "kWh") ||
                     holds(text, " nan"));
        free(text);
    }
    json_decref(root);
}

static void test_energy_unknown(void **state) {
    (void)state;
    json_t *root = sample("x");
    json_t *cost = json_find(root, "cost");
    json_object_set_new(cost, "kwh", json_null());
    json_object_set_new(cost, "co2_kg", json_null());
    json_object_set_new(cost, "factor", json_null());
    char *text = card_text(root, CARD_ENGLISH);
    assert_true(holds(text, "Energy: not known: no counter") && holds(text, "CO2 equivalent: not known"));
    assert_true(holds(text, "Emission factor: not known"));
    assert_false(holds(text, "co2_eq_emissions"));
    free(text);
    json_decref(root);
}

/* holds_bare - part without a backslash before it, after the front matter. */
static bool holds_bare(const char *text, const char *part) {
    const char *body = strncmp(text, "---\n", 4) == 0 ? strstr(text, "\n---\n") : text;
    for (const char *at = strstr(body, part); at; at = strstr(at + 1, part))
        if (at == text || at[-1] != '\\')
            return true;
    return false;
}

static void test_hostile(void **state) {
    (void)state;
    for (int i = 0; i < NUM_HOSTILE; i++)
        for (int language = 0; language < 2; language++) {
            json_t *root = sample(HOSTILE[i]);
            char *text = card_text(root, (enum card_language)language);
            check_parts(text, (enum card_language)language);
            assert_false(holds_bare(text, "<script") || holds(text, "\nlicense: mit") ||
                         holds_bare(text, "](") || holds(text, "\xe2\x80\xae") || holds(text, "\x01"));
            free(text);
            json_decref(root);
        }
}

/* test_hostile_is_noticed - the control: the checks see a text that was put there as it is. */
static void test_hostile_is_noticed(void **state) {
    (void)state;
    int noticed = 0;
    for (int i = 0; i < NUM_HOSTILE; i++)
        noticed += strpbrk(HOSTILE[i], "|<\n\x01[\"{") != NULL;
    assert_int_equal(noticed, 8);
    assert_true(holds_bare(HOSTILE[4], "](") && holds_bare(HOSTILE[2], "<script"));
    assert_int_equal(count_lines("---\na: x\n---\nlicense: mit\n---\n", "---\n"), 3);
}

static void test_words(void **state) {
    (void)state;
    /* The table is made of texts alone: none may be missing, and few are the same in both languages. */
    enum { NUM_WORDS = sizeof(struct card_words) / sizeof(const char *) };
    const char *const *english = (const char *const *)(const void *)card_words(CARD_ENGLISH);
    const char *const *french = (const char *const *)(const void *)card_words(CARD_FRENCH);
    int same = 0, accents = 0;
    for (int i = 0; i < NUM_WORDS; i++) {
        assert_non_null(english[i]);
        assert_non_null(french[i]);
        same += strcmp(english[i], french[i]) == 0;
        accents += strstr(french[i], "é") != NULL;
        for (const char *at = english[i]; *at; at++)
            assert_true((unsigned char)*at < 0x80);
    }
    assert_in_range(same, 0, 2);
    assert_true(accents > 30);
}

static void test_earlier(void **state) {
    (void)state;
    json_t *root = sample("second"), *base = sample("first");
    json_object_set_new(json_find(root, "base_model"), "provenance", base);
    char *text = card_text(root, CARD_FRENCH);
    assert_true(holds(text, "### Entraînement antérieur, dans le modèle de base : second\n"));
    assert_true(holds(text, "| first | first |"));
    assert_int_equal(count_lines(text, "### "), 4);
    check_tables(text);
    free(text);
    json_decref(root);
}

/* --- escaping --- */

static char *escaped(void (*put_text)(FILE *, const char *), const char *text) {
    char *bytes;
    size_t length_bytes;
    FILE *out = open_memstream(&bytes, &length_bytes);
    put_text(out, text);
    fclose(out);
    return bytes;
}

static void assert_escaped(void (*put_text)(FILE *, const char *), const char *text, const char *want) {
    char *got = escaped(put_text, text);
    assert_string_equal(got, want);
    free(got);
}

static void test_escape(void **state) {
    (void)state;
    assert_escaped(put_yaml, "apache-2.0", "apache-2.0");
    assert_escaped(put_yaml, "No", "\"No\"");
    assert_escaped(put_yaml, "1.0", "\"1.0\"");
    assert_escaped(put_yaml, "a: b", "\"a: b\"");
    assert_escaped(put_yaml, "a \"b\" \\ c\nd", "\"a \\\"b\\\" \\\\ c d\"");
    assert_escaped(put_yaml, "", "\"\"");
    assert_escaped(put_markdown, "a|b <c> [d](e) *f*", "a\\|b \\<c\\> \\[d\\](e) \\*f\\*");
    assert_escaped(put_markdown, "l'été\n2", "l'été 2");
    assert_escaped(put_address, "https://a.fr/b?c=d&e", "<https://a.fr/b?c=d&e>");
    assert_escaped(put_address, "javascript:alert(1)", "javascript:alert(1)");
    assert_escaped(put_address, "https://a.fr/ b", "https://a.fr/ b");
    assert_escaped(put_address, "https://", "https://");
    char *long_text = xcalloc(5001, 1), *got;
    memset(long_text, 'x', 5000);
    got = escaped(put_markdown, long_text);
    assert_true(strlen(got) < 500);
    free(got);
    free(long_text);
}

/* --- files --- */

/* refused - after one change to a good provenance; the message says why. */
static void assert_refused(const char *folder, json_t *root, const char *phrase) {
    struct err err = {""};
    char *text = json_dumps(root, 0);
    put(folder, "provenance.json", text);
    json_t *loaded = provenance_load(folder, &err);
    if (phrase) {
        assert_null(loaded);
        if (!holds(err.text, phrase))
            fail_msg("'%s' does not say '%s'", err.text, phrase);
    } else {
        assert_true(json_equal(loaded, root));
    }
    json_decref(loaded);
    free(text);
    json_decref(root);
}

static json_t *changed(const char *object, const char *key, json_t *value) {
    json_t *root = sample("x"), *at = object[0] ? json_find(root, object) : root;
    json_object_set_new(at, key, value);
    return root;
}

static json_t *changed_corpus(const char *key, json_t *value) {
    json_t *root = sample("x");
    json_object_set_new(json_array_get(json_find(root, "corpora"), 0), key, value);
    return root;
}

static void test_refused(void **state) {
    (void)state;
    char *folder = test_folder("provenance");
    assert_refused(folder, sample("x"), NULL); /* the control: nothing is wrong with it */
    assert_refused(folder, changed("", "format", json_string("atelier-provenance 2")),
                   "not known to this version");
    assert_refused(folder, changed("", "corpora", json_integer(1)), "corpora");
    assert_refused(folder, changed("", "base_model", json_integer(1)), "base_model");
    assert_refused(folder, changed("progress", "tokens", json_integer(4001)), "add up to 4000");
    assert_refused(folder, changed("progress", "tokens_not_attributed", json_integer(-1)), "-1 tokens");
    assert_refused(folder, changed_corpus("tokens_consumed", json_integer(-2500)), "-2500 tokens");
    assert_refused(folder, changed_corpus("tokens_consumed", json_integer(INT64_MAX)),
                   "9223372036854775807 tokens");
    assert_refused(folder, changed_corpus("name", json_null()), "name");
    put(folder, "provenance.json", "{\"format\": ");
    struct err err = {""};
    assert_null(provenance_load(folder, &err));
    assert_true(holds(err.text, "JSON"));
    drop(folder);
}

static void assert_repository(const char *path, const char *want) {
    char *got = provenance_repository(path);
    if (want)
        assert_string_equal(got, want);
    else
        assert_null(got);
    free(got);
}

static void test_repository(void **state) {
    (void)state;
    assert_repository("/x/hub/models--OpenLLM-France--Lucie-7B/snapshots/abc", "OpenLLM-France/Lucie-7B");
    assert_repository("models--a--b", "a/b");
    assert_repository("/models/Lucie-7B", NULL);
    assert_repository("/x/mymodels--a--b", NULL);
    assert_repository("/x/models--gpt2/snapshots", NULL);
    assert_repository("/x/models--a--b\"c/d", NULL);
}

static void test_licence(void **state) {
    (void)state;
    static const struct {
        const char *card, *want;
    } cases[] = {{"---\nlicense: apache-2.0 # as far as known\n---\n", "apache-2.0"},
                 {"---\nlicense: \"Licence Ouverte 2.0\"\n---\n", "Licence Ouverte 2.0"},
                 {"---\ntags: a\nlicense: 'b c'\n---\n", "b c"},
                 {"---\n# license: to complete\n---\nlicense: mit\n", NULL},
                 {"license: mit\n", NULL},
                 {"---\nlicense: mit", NULL},
                 {"---\nlicense: \"\n---\n", NULL}};
    char *folder = test_folder("provenance_licence");
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        put(folder, "README.md", cases[i].card);
        char *got = model_folder_licence(folder);
        if (cases[i].want)
            assert_string_equal(got, cases[i].want);
        else
            assert_null(got);
        free(got);
    }
    drop(folder);
}

/* test_cards_of_base - a first start keeps the base model's card apart, a later one carries it on, an export
 * takes both; a checkpoint of a version that copied it unchanged is put right. */
static void test_cards_of_base(void **state) {
    (void)state;
    const struct model_config config = small_config(50);
    char *run = test_folder("provenance_run"), *base = test_folder("provenance_base");
    put(base, "README.md", "---\ntags: [x]\nlicense: \"etalab-2.0\"\n---\nbase card");
    put(base, "provenance.json", "{}");
    struct checkpoint_source source = source_of(&config, base);
    source.card = "card 1", source.provenance = "{\"a\": 1}", source.card_is_of_base = true;
    save(run, &source, 1, 0);
    assert_file_text(run, "step-000001/README.md", "card 1");
    assert_file_text(run, "step-000001/provenance.json", "{\"a\": 1}");
    assert_file_text(run, "step-000001/README.base.md",
                     "---\ntags: [x]\nlicense: \"etalab-2.0\"\n---\nbase card");
    char *first = path_of(run, "step-000001"), *licence = model_folder_licence(base);
    assert_string_equal(licence, "etalab-2.0");
    assert_false(model_folder_card_is_of_base(first) || model_folder_card_is_of_base(base));
    source.base_folder = first, source.card = "card 2", source.card_is_of_base = false;
    save(run, &source, 2, 0);
    assert_file_text(run, "step-000002/README.md", "card 2");
    assert_file_text(run, "step-000002/README.base.md",
                     "---\ntags: [x]\nlicense: \"etalab-2.0\"\n---\nbase card");
    source.card = source.provenance = NULL; /* as an export does */
    save(run, &source, 3, 0);
    assert_file_text(run, "step-000003/README.md", "card 1");
    assert_file_text(run, "step-000003/provenance.json", "{\"a\": 1}");
    char *old = path_of(first, "provenance.json");
    assert_int_equal(remove(old), 0);
    assert_true(model_folder_card_is_of_base(first));
    source.card_is_of_base = true;
    save(run, &source, 4, 0);
    assert_false(has(run, "step-000004/README.md"));
    assert_file_text(run, "step-000004/README.base.md", "card 1");
    assert_latest(run, 4); /* the manifest covers them all */
    free(old);
    free(licence);
    free(first);
    drop(run);
    drop(base);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_card),       cmocka_unit_test(test_place),
        cmocka_unit_test(test_unknown),    cmocka_unit_test(test_energy_unknown),
        cmocka_unit_test(test_hostile),    cmocka_unit_test(test_hostile_is_noticed),
        cmocka_unit_test(test_words),      cmocka_unit_test(test_earlier),
        cmocka_unit_test(test_escape),     cmocka_unit_test(test_refused),
        cmocka_unit_test(test_repository), cmocka_unit_test(test_cards_of_base),
        cmocka_unit_test(test_licence),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
