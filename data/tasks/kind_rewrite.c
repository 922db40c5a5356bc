/* kind_rewrite.c - see kind_rewrite.h. */
#include "data/tasks/kind_rewrite.h"

#include <string.h>

#include "data/corpus/json.h"

/* The right answer is the first field of the set, which a model would learn to take: it stands at the place that the record's
 * number says, the wrong ones around it in their order.  lighteval draws the place anew at every start. */
json_t *rewrite_gpqa(const json_t *record, int64_t number, struct err *err) {
    static const char *const wrong[] = {"Réponse incorrecte 1", "Réponse incorrecte 2",
                                        "Réponse incorrecte 3"};
    int64_t gold = (number - 1) % 4;
    json_t *answers = json_array();
    (void)err; /* the fields were looked at */
    for (int i = 0; i < 3; i++)
        json_array_append(answers, json_object_get(record, wrong[i]));
    json_array_insert(answers, (size_t)gold, json_object_get(record, "Réponse correcte"));
    return json_pack("{s:O, s:o, s:I}", "question", json_object_get(record, "Question"), "answers", answers,
                     "gold", (json_int_t)gold);
}

json_t *rewrite_bac(const json_t *record, int64_t number, struct err *err) {
    json_t *choices = json_find(record, "choix"), *right = json_find(record, "choix correct");
    (void)number;
    if (!choices || (json_is_array(choices) && json_array_size(choices) == 0))
        return NULL;
    if (!json_is_array(choices)) {
        err_set(err, "'choix' is %s, expected an array", json_type_name(choices));
        return NULL;
    }
    for (size_t i = 0; i < json_array_size(choices); i++)
        if (json_equal(json_array_get(choices, i), right))
            return json_pack("{s:O, s:O, s:O, s:I}", "enonce", json_object_get(record, "enonce"),
                             "instruction", json_object_get(record, "instruction"), "choices", choices,
                             "gold", (json_int_t)i);
    err_set(err, "'choix correct' is not one of 'choix'");
    return NULL;
}
