/* test_task_kinds.c - published sets of questions as items: every kind converts a record that has its fields, and what it writes
 * is read back; a field left out, of another type, or an answer that is none of the choices is refused with its place.  What
 * lm-evaluation-harness makes of such records is compared in tests/interop/check_task_sets.py. */
#include "tests/task_fixture.h"

#include "checkpoints/files.h"
#include "data/corpus/json.h"
#include "data/tasks/convert.h"

/* A record that each kind takes, the query that comes of it, and the choices' first and right ones. */
static const struct {
    const char *kind, *record, *query, *first;
    int num_choices, gold;
} CASES[] = {
    {"arc_challenge",
     "{\"question\": \"Q\", \"choices\": [\"a\", \"b\", \"c\"], \"answerKey\": \"C\", \"more\": [1]}",
     "Question: Q\nRéponse:", "a", 3, 2},
    {"hellaswag",
     "{\"activity_label\": \"Vélo\", \"ctx_a\": \" Il  roule [x] [title]\", \"ctx_b\": \"ÉLAN Là\", \"endings\": [\" a [b]c\", \"d\"], "
     "\"label\": \"1\"}",
     "Vélo: Il roule . Élan là", "a c", 2, 1},
    {"grammar",
     "{\"question\": \"Je <...>\", \"answerA\": \"suis\", \"answerB\": \"es\", \"answerC\": \"est\", \"answerD\": \"a\", \"answer\": \"A\"}",
     "Répond au mieux en complétant la question avec une des réponses proposées.La phrase suivante est correcte grammaticalement:\n",
     "Je suis", 4, 0},
    {"vocab",
     "{\"question\": \"Je <...>\", \"answerA\": \"suis\", \"answerB\": \"es\", \"answerC\": \"est\", \"answerD\": \"a\", \"answer\": \"B\"}",
     "La phrase suivante est logique sémantiquement:\n", "Je suis", 4, 1},
    {"reading_comp",
     "{\"question\": \"Qui ?\", \"answerA\": \"moi\", \"answerB\": \"toi\", \"answerC\": \"lui\", \"answerD\": \"a\", \"answer\": \"D\", "
     "\"context\": \"C\"}",
     "Context: C\n\n", "Qui ? moi", 4, 3},
    {"boolqa", "{\"passage\": \"P\", \"question\": \"Q\", \"label\": 0}",
     "D'après l'information dans le contexte donné, quelle est la réponse à la question ?\nContexte: P\n\nQuestion: Q\n",
     "Oui", 2, 1},
    {"xnli", "{\"premise\": \"P\", \"hypothesis\": \"H\", \"label\": 2}",
     "La prémisse et l'hypothèse sont elles en accord, neutres en elles, ou en contradiction ?\nPrémisse: P\n\nHypothèse: H\n\nLa "
     "prémisse et l'hypothèse sont",
     "en accord", 3, 2},
    {"topic_based_nli", "{\"text\": \"T\", \"topic\": \"S\", \"polarity\": \"negatif\"}",
     "A propos du thème spécifié, l'avis client est il positif, négatif, ou neutre ?\nAvis Client: T\n\nA propos du thème \"S\", "
     "l'avis client est",
     "positif", 3, 1},
    {"global_mmlu",
     "{\"question\": \" Q \", \"option_a\": \"a\", \"option_b\": \"b\", \"option_c\": \"c\", \"option_d\": \"d\", \"answer\": \"D\", "
     "\"subject\": \"droit\"}",
     "Q\nA. a\nB. b\nC. c\nD. d\nAnswer:", "A", 4, 3},
    {"mmmlu",
     "{\"Question\": \" Q \", \"A\": \"a\", \"B\": \"b\", \"C\": \"c\", \"D\": \"d\", \"Answer\": \"B\", \"Subject\": \"droit\"}",
     "Q\nA. a\nB. b\nC. c\nD. d\nAnswer:", "A", 4, 1},
    {"include",
     "{\"question\": \" Q \", \"option_a\": \"a\", \"option_b\": \"b\", \"option_c\": \"c\", \"option_d\": \"d\", \"answer\": 2, "
     "\"domain\": \"STEM\"}",
     "The following is multiple-choice question about STEM.Q\nA. a\nB. b\nC. c\n D. d\nAnswer:", "A", 4, 2},
    {"belebele",
     "{\"flores_passage\": \"P\", \"question\": \" Q \", \"mc_answer1\": \"a\", \"mc_answer2\": \"b\", \"mc_answer3\": \"c\", "
     "\"mc_answer4\": \"d\", \"correct_answer_num\": \"4\"}",
     "P: P\nQ: Q\nA: a\nB: b\nC: c\nD: d\nAnswer:", "A", 4, 3},
    {"gpqa_fr",
     "{\"Question\": \"Q\", \"Réponse correcte\": \"r\", \"Réponse incorrecte 1\": \"x\", \"Réponse incorrecte 2\": \"y\", "
     "\"Réponse incorrecte 3\": \"z\"}",
     "Choisissez la réponse correcte aux questions suivantes.\n\nQuestion: Q\nA. r\nB. x\nC. y\nD. z\nRéponse: ",
     "A", 4, 0},
    {"bac_fr",
     "{\"enonce\": \"E\", \"instruction\": \"I\", \"choix\": [\"a\", \"b\"], \"choix correct\": \"b\", \"reponse\": null}",
     "Enoncé: E\nI\n", "a", 2, 1},
};
enum { NUM_CASES = sizeof CASES / sizeof CASES[0] };

/* convert - these lines, as a kind has them, into items.jsonl.  Returns what task_convert does. */
static int convert(const char *name, const char *lines, struct task_conversion *done, struct err *err) {
    const struct task_kind *kind = task_kind_of(name, err);
    char *from = write_text("records.jsonl", lines), *to = xasprintf("%s/items.jsonl", folder);
    FILE *out = fopen(to, "w");
    assert_non_null(kind);
    assert_non_null(out);
    int status = task_convert(kind, from, out, done, err);
    assert_int_equal(fclose(out), 0);
    free(from);
    free(to);
    return status;
}

static void test_every_kind(void **state) {
    (void)state;
    int count = 0;
    while (task_kind_at(count))
        count++;
    assert_int_equal(count, NUM_CASES);
    for (int i = 0; i < NUM_CASES; i++) {
        struct err err = {""};
        struct task_conversion done;
        struct task_set set = {0};
        assert_string_equal(task_kind_at(i)->name, CASES[i].kind);
        if (convert(CASES[i].kind, CASES[i].record, &done, &err) != 0)
            fail_msg("%s: %s", CASES[i].kind, err.text);
        char *path = xasprintf("%s/items.jsonl", folder);
        if (task_set_read(&set, path, &err) != 0)
            fail_msg("%s: %s", CASES[i].kind, err.text);
        assert_int_equal(done.num_items, 1);
        assert_int_equal(set.num_items, 1);
        assert_string_equal(set.items[0].query, CASES[i].query);
        assert_int_equal(set.items[0].num_choices, CASES[i].num_choices);
        assert_string_equal(task_choice(&set.items[0], 0), CASES[i].first);
        assert_int_equal(set.items[0].gold, CASES[i].gold);
        assert_string_equal(set.items[0].delimiter, strstr(CASES[i].kind, "_fr") ? "" : " ");
        task_set_release(&set);
        free(path);
    }
}

/* Every field that a kind asks for: left out, and of a type that no set has there. */
static void test_fields(void **state) {
    (void)state;
    for (int i = 0; i < NUM_CASES; i++)
        for (int f = 0; task_kind_at(i)->fields[f]; f++)
            for (int missing = 0; missing < 2; missing++) {
                struct err err = {""};
                struct task_conversion done;
                const char *field = task_kind_at(i)->fields[f];
                json_t *record = json_loads(CASES[i].record, 0, NULL);
                assert_non_null(json_object_get(record, field));
                if (missing)
                    json_object_del(record, field);
                else
                    json_object_set_new(record, field, json_object());
                char *line = json_dumps(record, JSON_COMPACT);
                char *lines = xasprintf("%s\n%s\n", CASES[i].record, line);
                assert_int_equal(convert(CASES[i].kind, lines, &done, &err), -1);
                if (!strstr(err.text, field) || !strstr(err.text, "records.jsonl', line 2") ||
                    !strstr(err.text, missing ? "is nothing" : "is an object"))
                    fail_msg("'%s' of %s without '%s'", err.text, CASES[i].kind, field);
                json_decref(record);
                free(line);
                free(lines);
            }
}

/* items_of - what a file of questions becomes; the caller's. */
static char *items_of(const char *path) {
    struct err err = {""};
    struct task_conversion done;
    char *to = xasprintf("%s/items.jsonl", folder);
    FILE *out = fopen(to, "w");
    size_t length_bytes;
    assert_non_null(out);
    if (task_convert(task_kind_of("arc_challenge", &err), path, out, &done, &err) != 0)
        fail_msg("%s: %s", path, err.text);
    assert_int_equal(fclose(out), 0);
    assert_int_equal(done.num_items, 4);
    char *text = file_read_whole(to, 1 << 20, &length_bytes, &err);
    assert_non_null(text);
    free(to);
    return text;
}

/* A table of columns gives the items of the same records on lines. */
static void test_parquet(void **state) {
    (void)state;
    char *table = items_of("tests/golden/parquet/questions.parquet");
    char *lines = items_of("tests/golden/parquet/questions.jsonl");
    assert_string_equal(table, lines);
    assert_non_null(strstr(lines, "Question 3 ?"));
    free(table);
    free(lines);
}

static void refuse(const char *kind, const char *lines, const char *words) {
    struct err err = {""};
    struct task_conversion done;
    assert_int_equal(convert(kind, lines, &done, &err), -1);
    if (!strstr(err.text, words))
        fail_msg("'%s': '%s' was expected", err.text, words);
}

static void test_refusals(void **state) {
    (void)state;
    struct err err = {""};
    refuse("xnli", "{\"premise\": \"P\", \"hypothesis\": \"H\", \"label\": 3}",
           "the right answer is '3', which is none of the 3 choices");
    refuse("xnli", "{\"premise\": \"P\", \"hypothesis\": \"H\", \"label\": -1}", "the right answer is '-1'");
    refuse("arc_challenge", "{\"question\": \"Q\", \"choices\": [\"a\", \"b\"], \"answerKey\": \"C\"}",
           "the right answer is 'C'");
    refuse("arc_challenge", "{\"question\": \"Q\", \"choices\": [\"a\", 3], \"answerKey\": \"A\"}",
           "entry 1 of 'choices' is an integer");
    refuse("arc_challenge", "{\"question\": \"Q\", \"choices\": [\"a\", \"\"], \"answerKey\": \"A\"}",
           "choice 1 (from 0) is empty");
    refuse(
        "arc_challenge",
        "{\"question\": \"Q\", \"choices\": [\"a\", \"b\", \"c\", \"d\", \"e\", \"f\"], \"answerKey\": \"F\"}",
        "the right answer is 'F'");
    refuse(
        "hellaswag",
        "{\"activity_label\": \"V\", \"ctx_a\": \"a\", \"ctx_b\": \"b\", \"endings\": [\"[a]\", \"d\"], \"label\": \"1\"}",
        "choice 0 (from 0) is empty");
    refuse("bac_fr",
           "{\"enonce\": \"E\", \"instruction\": \"I\", \"choix\": [\"a\", \"b\"], \"choix correct\": \"c\"}",
           "'choix correct' is not one of 'choix'");
    refuse("bac_fr",
           "{\"enonce\": \"E\", \"instruction\": \"I\", \"choix\": \"a\", \"choix correct\": \"a\"}",
           "'choix' is a string");
    refuse("bac_fr", "{\"enonce\": \"E\", \"instruction\": \"I\", \"choix\": null}",
           "has no questions of bac_fr");
    refuse("arc_challenge", "{\"question\": \"Q\", \"choices\": [\"a\"], \"answerKey\": \"A\"}",
           "it has 1 choices, expected 2 to 256");
    refuse("arc_challenge", "{\"question\": \"Q\", \"choices\": [\"a\", \"b\\u0000\"], \"answerKey\": \"A\"}",
           "has a NUL");
    refuse(
        "mmmlu",
        "{\"Question\": \"Q\", \"A\": \"a\", \"B\": \"b\", \"C\": \"c\", \"D\": \"d\", \"Answer\": \"B\", \"Subject\": 3}",
        "its group is an integer");
    refuse("xnli", "[1]", "an array, expected an object");
    refuse("xnli", "{\"premise\": ", "as JSON");
    refuse("xnli", "\n", "has no questions of xnli");
    assert_null(task_kind_of("xlni", &err));
    assert_non_null(strstr(err.text, "arc_challenge, hellaswag, grammar"));
}

/* The right answer of gpqa_fr moves; records of bac_fr without choices are counted, and the others keep their numbers. */
static void test_numbers(void **state) {
    (void)state;
    struct err err = {""};
    struct task_conversion done;
    struct task_set set = {0};
    char *path = xasprintf("%s/items.jsonl", folder), *lines = xstrdup("");
    for (int i = 0; i < 6; i++) {
        char *more = xasprintf("%s%s\n", lines, CASES[12].record);
        free(lines);
        lines = more;
    }
    assert_int_equal(convert("gpqa_fr", lines, &done, &err), 0);
    assert_int_equal(task_set_read(&set, path, &err), 0);
    for (int i = 0; i < 6; i++)
        assert_int_equal(set.items[i].gold, i % 4);
    assert_non_null(strstr(set.items[2].query, "A. x\nB. y\nC. r\nD. z\n"));
    task_set_release(&set);
    free(lines);
    lines = xasprintf("{\"enonce\": \"E\", \"instruction\": \"I\", \"choix\": null, \"reponse\": \"4\"}\n%s",
                      CASES[13].record);
    assert_int_equal(convert("bac_fr", lines, &done, &err), 0);
    assert_int_equal(done.num_items, 1);
    assert_int_equal(done.num_left_out, 1);
    assert_int_equal(task_set_read(&set, path, &err), 0);
    assert_int_equal(json_integer_value(json_object_get(set.items[0].json, "id")), 2);
    task_set_release(&set);
    free(lines);
    free(path);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_parquet), cmocka_unit_test(test_every_kind),
                                       cmocka_unit_test(test_fields), cmocka_unit_test(test_refusals),
                                       cmocka_unit_test(test_numbers)};
    folder = test_folder("task-kinds");
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    folder_remove(folder, NULL);
    free(folder);
    return failed;
}
