/* task_results.c - choices, counts, means; as JSON and as a table.  See task_results.h. */
#include "train/measure/task_results.h"

#include <math.h>
#include <stdlib.h>

#include "data/corpus/text.h"
#include "data/file.h"
#include "data/tokenizer/token_text.h"

static const char *const NAMES[TASK_MEASURES] = {"acc", "acc_norm", "acc_bytes", "acc_token"};
static const char *const STATES[TASK_STATES] = {[TASK_TOO_LONG] = "too_long", [TASK_NO_TOKENS] = "no_tokens"};

const char *task_measure_name(enum task_measure measure) {
    return NAMES[measure];
}

/* --- counting --- */

/* score - of one choice. */
static double score(const struct task_choice *choice, double logp, enum task_measure measure) {
    switch (measure) {
    case TASK_ACC_NORM:
        return logp / (double)choice->num_chars;
    case TASK_ACC_BYTES:
        return logp / (double)choice->num_bytes;
    case TASK_ACC_TOKEN:
        return logp / (double)choice->num_tokens;
    default:
        return logp;
    }
}

int task_chosen(const struct task_tokens *tokens, const double *logps, int64_t item,
                enum task_measure measure) {
    int64_t first = tokens->first_choice[item], best = first;
    for (int64_t c = first + 1; c < tokens->first_choice[item + 1]; c++)
        if (score(&tokens->choices[c], logps[c], measure) >
            score(&tokens->choices[best], logps[best], measure))
            best = c;
    return (int)(best - first);
}

static void count_item(struct task_results *results, int64_t item) {
    const struct task_item *at = &results->set->items[item];
    struct task_result *each[] = {&results->all, &results->groups[at->group]};
    for (int i = 0; i < 2; i++) {
        each[i]->num_items++;
        each[i]->chance_sum += 1.0 / at->num_choices;
    }
    for (int m = 0; m < TASK_MEASURES; m++)
        if (task_chosen(results->tokens, results->logps, item, (enum task_measure)m) == at->gold)
            for (int i = 0; i < 2; i++)
                each[i]->num_right[m]++;
}

void task_results_make(struct task_results *results, const struct task_set *set,
                       const struct task_tokens *tokens, const double *logps) {
    *results = (struct task_results){.set = set, .tokens = tokens, .logps = logps};
    results->groups = xcalloc((size_t)set->num_groups + 1, sizeof *results->groups);
    for (int64_t i = 0; i < set->num_items; i++)
        if (tokens->states[i] == TASK_SCORED)
            count_item(results, i);
}

void task_results_release(struct task_results *results) {
    free(results->groups);
    results->groups = NULL;
}

double task_mean(const struct task_result *result, enum task_measure measure) {
    return result->num_items > 0 ? (double)result->num_right[measure] / (double)result->num_items : NAN;
}

/* Of values that are 0 or 1 the sum of squares about the mean p is n p (1 - p). */
double task_error(const struct task_result *result, enum task_measure measure) {
    double p = task_mean(result, measure);
    return result->num_items > 1 ? sqrt(p * (1 - p) / (double)(result->num_items - 1)) : NAN;
}

/* --- as JSON --- */

static json_t *real_or_null(double value) {
    return isfinite(value) ? json_real(value) : json_null();
}

/* path_json - names of files are bytes, JSON is UTF-8. */
static json_t *path_json(const char *path) {
    struct text text = {0};
    text_append_repaired(&text, path, strlen(path));
    json_t *json = json_stringn(text.bytes, text.length_bytes);
    text_release(&text);
    return json;
}

static json_t *result_json(const struct task_result *result) {
    json_t *json = json_pack("{s:I}", "items", (json_int_t)result->num_items);
    json_object_set_new(json, "chance", real_or_null(result->chance_sum / (double)result->num_items));
    for (int m = 0; m < TASK_MEASURES; m++) {
        char error[32];
        snprintf(error, sizeof error, "%s_stderr", NAMES[m]);
        json_object_set_new(json, NAMES[m], real_or_null(task_mean(result, (enum task_measure)m)));
        json_object_set_new(json, error, real_or_null(task_error(result, (enum task_measure)m)));
    }
    return json;
}

static json_t *files_json(const struct task_set *set) {
    json_t *files = json_array();
    for (int f = 0; f < set->num_files; f++)
        json_array_append_new(files,
                              json_pack("{s:o, s:s, s:I}", "path", path_json(set->files[f].path), "sha256",
                                        set->files[f].sha256, "items", (json_int_t)set->files[f].num_items));
    return files;
}

json_t *task_results_json(const struct task_results *results, const char *model) {
    json_t *left_out = json_object(), *groups = json_object();
    int64_t first;
    for (int state = TASK_SCORED + 1; state < TASK_STATES; state++)
        json_object_set_new(left_out, STATES[state],
                            json_integer(task_left_out(results->tokens, (enum task_state)state, &first)));
    for (int g = 0; g < results->set->num_groups; g++)
        json_object_set_new(groups, results->set->group_names[g], result_json(&results->groups[g]));
    return json_pack("{s:s, s:o, s:o, s:o, s:o, s:o}", "format", TASK_RESULTS_FORMAT, "model",
                     path_json(model), "files", files_json(results->set), "left_out", left_out, "all",
                     result_json(&results->all), "groups", groups);
}

/* item_json - the line of one item. */
static json_t *item_json(const struct task_results *results, int64_t item) {
    const struct task_tokens *tokens = results->tokens;
    const struct task_item *at = &results->set->items[item];
    json_t *json = json_object(), *id = json_object_get(at->json, "id"), *choices;
    char *place = xasprintf("%s:%lld", results->set->files[at->file].path, (long long)at->line);
    json_object_set_new(json, "id", id ? json_incref(id) : path_json(place));
    free(place);
    json_object_set_new(json, "group", json_string(results->set->group_names[at->group]));
    if (tokens->states[item] != TASK_SCORED) {
        json_object_set_new(json, "left_out", json_string(STATES[tokens->states[item]]));
        return json;
    }
    json_object_set_new(json, "gold", json_integer(at->gold));
    json_t *chosen = json_object();
    for (int m = 0; m < TASK_MEASURES; m++) {
        int number = task_chosen(tokens, results->logps, item, (enum task_measure)m);
        json_object_set_new(json, NAMES[m], json_integer(number == at->gold));
        json_object_set_new(chosen, NAMES[m], json_integer(number));
    }
    json_object_set_new(json, "chosen", chosen);
    choices = json_array();
    for (int64_t c = tokens->first_choice[item]; c < tokens->first_choice[item + 1]; c++)
        json_array_append_new(choices, json_pack("{s:f, s:I, s:I, s:I}", "logp", results->logps[c], "tokens",
                                                 (json_int_t)tokens->choices[c].num_tokens, "chars",
                                                 (json_int_t)tokens->choices[c].num_chars, "bytes",
                                                 (json_int_t)tokens->choices[c].num_bytes));
    json_object_set_new(json, "choices", choices);
    return json;
}

int task_results_write_items(const struct task_results *results, FILE *out, const char *path,
                             struct err *err) {
    for (int64_t i = 0; i < results->set->num_items; i++) {
        json_t *json = item_json(results, i);
        int status = json_dumpf(json, out, JSON_COMPACT);
        json_decref(json);
        if (status != 0 || fputc('\n', out) == EOF)
            return file_io_failed(err, "write", path, 0);
    }
    return 0;
}

/* --- as a table --- */

enum { NAME_WIDTH = 40 };

/* print_line - means in percent with their standard errors. */
static void print_line(FILE *out, const char *name, const struct task_result *result) {
    struct text shown = {0}; /* of a name that is somebody else's */
    token_text_append_visible(&shown, name, strlen(name));
    text_append(&shown, "", 1);
    int gap = NAME_WIDTH - (int)text_num_chars(shown.bytes);
    fprintf(out, "%s%*s %8lld", shown.bytes, gap > 0 ? gap : 0, "", (long long)result->num_items);
    for (int m = 0; m < TASK_MEASURES; m++) {
        double mean = task_mean(result, (enum task_measure)m),
               error = task_error(result, (enum task_measure)m);
        if (!isfinite(mean))
            fprintf(out, " %15s", "none scored");
        else if (!isfinite(error))
            fprintf(out, " %7.2f        ", 100 * mean);
        else
            fprintf(out, " %7.2f ± %5.2f", 100 * mean, 100 * error);
    }
    text_release(&shown);
    if (result->num_items > 0)
        fprintf(out, " %7.2f", 100 * result->chance_sum / (double)result->num_items);
    fputc('\n', out);
}

void task_results_print(const struct task_results *results, FILE *out) {
    fprintf(out, "%-*s %8s", NAME_WIDTH, "group: % right, with standard error", "items");
    for (int m = 0; m < TASK_MEASURES; m++)
        fprintf(out, " %15s", NAMES[m]);
    fprintf(out, " %7s\n", "chance");
    for (int g = 0; g < results->set->num_groups; g++)
        print_line(out, results->set->group_names[g], &results->groups[g]);
    print_line(out, "all", &results->all);
}
