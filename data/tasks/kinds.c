/* kinds.c - the table of sets.  Prompts and orders of choices are those of lm-evaluation-harness 0.4.13 (lm_eval/tasks/french_bench,
 * global_mmlu, include, belebele) where it has the set, its descriptions before them included, and of lighteval's French
 * evaluations for gpqa-fr and bac-fr, which put no space between query and choice. */
#include "data/tasks/kinds.h"

#include <string.h>

#include "data/corpus/text.h"
#include "data/tasks/kind_rewrite.h"

#define LETTERS                                                                                              \
    { "A", "B", "C", "D" }
#define MMLU_PROMPT(question, a, b, c, d)                                                                    \
    "{{" question ".strip()}}\nA. {{" a "}}\nB. {{" b "}}\nC. {{" c "}}\nD. {{" d "}}\nAnswer:"
#define FILL_BLANK(answer) "{{question.replace('<...>', " answer ")}}"
#define FILL_OR_APPEND(answer)                                                                               \
    "{{question.replace('<...>', " answer ") if '<...>' in question else question + ' ' + " answer "}}"
#define BLANK_INTRODUCTION "Répond au mieux en complétant la question avec une des réponses proposées."
#define BLANK_FIELDS "question", "answerA", "answerB", "answerC", "answerD", "answer"

/* A line feed at the end of a template is not part of it: there it is written as a text. */
static const struct task_kind KINDS[] = {
    {.name = "arc_challenge",
     .about = "manu/french_bench_arc_challenge",
     .fields = {"question", "choices", "answerKey"},
     .query = "Question: {{question}}\nRéponse:",
     .list = "choices",
     .gold = "{{answerKey}}",
     .gold_words = LETTERS},
    {.name = "hellaswag",
     .about = "manu/french_bench_hellaswag, jon-tow/okapi_hellaswag",
     .fields = {"activity_label", "ctx_a", "ctx_b", "endings", "label"},
     .query = "{{activity_label + ': ' + ctx_a + ' ' + ctx_b.capitalize()}}",
     .list = "endings",
     .gold = "{{label}}",
     .cleans = true},
    {.name = "grammar",
     .about = "manu/french-bench-grammar-vocab-reading, Grammar",
     .fields = {BLANK_FIELDS},
     .query = BLANK_INTRODUCTION "La phrase suivante est correcte grammaticalement:{{'\\n'}}",
     .choices = {FILL_BLANK("answerA"), FILL_BLANK("answerB"), FILL_BLANK("answerC"), FILL_BLANK("answerD")},
     .gold = "{{answer}}",
     .gold_words = LETTERS},
    {.name = "vocab",
     .about = "manu/french-bench-grammar-vocab-reading, Vocabulary",
     .fields = {BLANK_FIELDS},
     .query = "La phrase suivante est logique sémantiquement:{{'\\n'}}",
     .choices = {FILL_BLANK("answerA"), FILL_BLANK("answerB"), FILL_BLANK("answerC"), FILL_BLANK("answerD")},
     .gold = "{{answer}}",
     .gold_words = LETTERS},
    {.name = "reading_comp",
     .about = "manu/french-bench-grammar-vocab-reading, Reading",
     .fields = {BLANK_FIELDS, "context"},
     .query = "Context: {{context}}{{'\\n\\n'}}",
     .choices = {FILL_OR_APPEND("answerA"), FILL_OR_APPEND("answerB"), FILL_OR_APPEND("answerC"),
                 FILL_OR_APPEND("answerD")},
     .gold = "{{answer}}",
     .gold_words = LETTERS},
    {.name = "boolqa",
     .about = "manu/french_boolq",
     .fields = {"passage", "question", "label"},
     .query = "D'après l'information dans le contexte donné, quelle est la réponse à la question ?\n"
              "Contexte: {{passage}}\n\nQuestion: {{question}}{{'\\n'}}",
     .choices = {"Oui", "Non"},
     .gold = "{{label}}",
     .gold_words = {"1", "0"}},
    {.name = "xnli",
     .about = "facebook/xnli, fr",
     .fields = {"premise", "hypothesis", "label"},
     .query = "La prémisse et l'hypothèse sont elles en accord, neutres en elles, ou en contradiction ?\n"
              "Prémisse: {{premise}}\n\nHypothèse: {{hypothesis}}\n\nLa prémisse et l'hypothèse sont",
     .choices = {"en accord", "neutres entre elles", "en contradiction"},
     .gold = "{{label}}"},
    {.name = "topic_based_nli",
     .about = "manu/topic_based_nli_test",
     .fields = {"text", "topic", "polarity"},
     .query = "A propos du thème spécifié, l'avis client est il positif, négatif, ou neutre ?\n"
              "Avis Client: {{text}}\n\nA propos du thème \"{{topic}}\", l'avis client est",
     .choices = {"positif", "négatif", "neutre"},
     .gold = "{{polarity}}",
     .gold_words = {"positif", "negatif", "neutre"}},
    {.name = "global_mmlu",
     .about = "CohereLabs/Global-MMLU and Global-MMLU-Lite, fr",
     .fields = {"question", "option_a", "option_b", "option_c", "option_d", "answer", "subject"},
     .query = MMLU_PROMPT("question", "option_a", "option_b", "option_c", "option_d"),
     .choices = LETTERS,
     .gold = "{{answer}}",
     .gold_words = LETTERS,
     .group = "subject"},
    {.name = "mmmlu",
     .about = "openai/MMMLU, FR_FR",
     .fields = {"Question", "A", "B", "C", "D", "Answer", "Subject"},
     .query = MMLU_PROMPT("Question", "A", "B", "C", "D"),
     .choices = LETTERS,
     .gold = "{{Answer}}",
     .gold_words = LETTERS,
     .group = "Subject"},
    {.name = "include",
     .about = "CohereLabs/include-base-44, French",
     .fields = {"question", "option_a", "option_b", "option_c", "option_d", "answer", "domain"},
     /* the space before D is lm-evaluation-harness's, of all of its languages */
     .query =
         "The following is multiple-choice question about {{domain}}.{{question.strip()}}\nA. {{option_a}}\n"
         "B. {{option_b}}\nC. {{option_c}}\n D. {{option_d}}\nAnswer:",
     .choices = LETTERS,
     .gold = "{{answer}}",
     .group = "domain"},
    {.name = "belebele",
     .about = "facebook/belebele, fra_Latn",
     .fields = {"flores_passage", "question", "mc_answer1", "mc_answer2", "mc_answer3", "mc_answer4",
                "correct_answer_num"},
     .query = "P: {{flores_passage}}\nQ: {{question.strip()}}\nA: {{mc_answer1}}\nB: {{mc_answer2}}\n"
              "C: {{mc_answer3}}\nD: {{mc_answer4}}\nAnswer:",
     .choices = LETTERS,
     .gold = "{{correct_answer_num}}",
     .gold_words = {"1", "2", "3", "4"}},
    {.name = "gpqa_fr",
     .about = "fr-gouv-coordination-ia/gpqa-fr; the right answer moves on by one place from record to record",
     .fields = {"Question", "Réponse correcte", "Réponse incorrecte 1", "Réponse incorrecte 2",
                "Réponse incorrecte 3"},
     .rewrite = rewrite_gpqa,
     .query = "Choisissez la réponse correcte aux questions suivantes.\n\nQuestion: {{question}}\n"
              "{% for answer in answers %}{{'ABCD'[loop.index0]}}. {{answer}}{{'\\n'}}{% endfor %}Réponse: ",
     .choices = LETTERS,
     .gold = "{{gold}}",
     .delimiter = ""},
    {.name = "bac_fr",
     .about = "fr-gouv-coordination-ia/bac-fr; records without choices are left out",
     .fields = {"enonce", "instruction"},
     .rewrite = rewrite_bac,
     .query = "Enoncé: {{enonce}}\n{{instruction}}{{'\\n'}}",
     .list = "choices",
     .gold = "{{gold}}",
     .delimiter = ""},
};
enum { NUM_KINDS = sizeof KINDS / sizeof KINDS[0] };

const struct task_kind *task_kind_at(int index) {
    return index < NUM_KINDS ? &KINDS[index] : NULL;
}

const struct task_kind *task_kind_of(const char *name, struct err *err) {
    struct text names = {0};
    for (int i = 0; i < NUM_KINDS; i++) {
        if (strcmp(KINDS[i].name, name) == 0) {
            text_release(&names);
            return &KINDS[i];
        }
        if (i > 0)
            text_append(&names, ", ", 2);
        text_append(&names, KINDS[i].name, strlen(KINDS[i].name));
    }
    err_set(err, "'%.100s' is not a set of questions that can be converted; these are: %.*s", name,
            (int)names.length_bytes, names.bytes);
    text_release(&names);
    return NULL;
}
