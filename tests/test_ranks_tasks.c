/* test_ranks_tasks.c - log-probabilities of choices on any number of ranks: those of each choice alone, from its logits in f64,
 * and the same bits however many ranks share the work.  Control: the neighbour of each choice. */
#include "tests/task_fixture.h"

#include <math.h>

#include "checkpoints/files.h"
#include "train/measure/task_score.h"
#include "train/model/session.h"

static struct comm *comm;
static const char MODEL[] = "data/sample/model";
enum { NUM_ITEMS = 40, ROOM = 96 };

/* make_items - queries and choices of different lengths, some of one token, some that share their beginning. */
static struct task_set make_items(void) {
    static const char *const words[] = {"La",       "mairie", "demande", "un", "justificatif", "de",
                                        "domicile", "récent", "été",     "à",  "Paris",        "A"};
    enum { NUM_WORDS = sizeof words / sizeof words[0] };
    char *text = xstrdup("");
    for (int i = 0; i < NUM_ITEMS; i++) {
        char *query = xstrdup(i % 7 == 3 ? "" : "Question:");
        for (int w = 0; w < i % 9 + (i % 7 != 3); w++) {
            char *longer = xasprintf("%s %s", query, words[(i * 5 + w) % NUM_WORDS]);
            free(query);
            query = longer;
        }
        char *more =
            xasprintf("%s{\"query\": \"%s\", \"choices\": [\"%s\", \"%s\", \"%s %s\"], \"gold\": %d}\n", text,
                      query, words[i % NUM_WORDS], words[(i + 1) % NUM_WORDS], words[i % NUM_WORDS],
                      words[(i + 5) % NUM_WORDS], i % 3);
        free(text);
        free(query);
        text = more;
    }
    struct task_set set = read_items("items.jsonl", text);
    free(text);
    return set;
}

/* logp_alone - of one choice, its text alone in a forward. */
static double logp_alone(struct model *model, const struct task_tokens *tokens, int64_t choice) {
    int64_t vocab_size = model->setup.config->vocab_size, text = 0;
    int32_t zeros[ROOM] = {0}, positions[ROOM];
    double sum = 0;
    const struct task_target *end = tokens->targets + tokens->num_targets, *target = tokens->targets;
    while (target->choice != choice)
        target++;
    while (tokens->texts[text + 1] <= target->row)
        text++;
    int64_t first = tokens->texts[text], count = tokens->texts[text + 1] - first;
    float *logits = xcalloc((size_t)(count * vocab_size), sizeof *logits);
    for (int32_t i = 0; i < count; i++)
        positions[i] = i;
    struct batch batch = {.num_tokens = count,
                          .tokens = tokens->inputs.ids + first,
                          .row_start = zeros,
                          .positions = positions};
    model_logits(model, NULL, &batch, logits);
    for (; target < end; target++) {
        const float *row = logits + (target->row - first) * vocab_size;
        double all = 0;
        for (int64_t v = 0; target->choice == choice && v < vocab_size; v++)
            all += exp((double)row[v]);
        if (target->choice == choice)
            sum += (double)row[target->id] - log(all);
    }
    free(logits);
    return sum;
}

static double *score_in(struct session *session, const struct task_set *set, const struct task_tokens *tokens,
                        int64_t room, struct comm *of) {
    struct task_scoring scoring = {.model = &session->model, .room = room};
    double *logps = xcalloc((size_t)tokens->num_choices, sizeof *logps);
    assert_int_equal(task_score(&scoring, set, tokens, of, logps), TASK_DONE);
    return logps;
}

/* stops - the third time that it is asked. */
static bool stops(void *user) {
    return ++*(int *)user == 3;
}

static void test_scores(void **state) {
    (void)state;
    struct err err = {""};
    struct session session;
    struct weights_place place = {MODEL, NULL};
    struct task_set set = make_items();
    struct task_tokens tokens;
    if (session_open(&session, &(struct session_setup){.place = place, .max_tokens = ROOM, .num_threads = 1},
                     &err) != 0 ||
        session_tokenizer(&session, &err) != 0 ||
        task_encode(&tokens, &set, session.tokenizer, ROOM, &err) != 0)
        die("%s", err.text);
    assert_true(tokens.num_texts < tokens.num_choices); /* some are read once for two */
    double *together = score_in(&session, &set, &tokens, ROOM, comm), worst = 0, neighbour = 0;
    for (int64_t c = 0; c < tokens.num_choices; c++) {
        double alone = logp_alone(&session.model, &tokens, c);
        worst = fmax(worst, fabs(together[c] - alone));
        neighbour = fmax(neighbour, fabs(together[(c + 1) % tokens.num_choices] - alone));
    }
    if (!(worst < 1e-4) || !(neighbour > 1))
        fail_msg("%g from each choice alone, %g from its neighbour", worst, neighbour);
    /* One rank of its own, and all of them: the same bits; other forwards: nearly the same. */
    struct comm *self = comm_split(comm, comm_rank(comm));
    double *by_one = score_in(&session, &set, &tokens, ROOM, self);
    assert_memory_equal(by_one, together, (size_t)tokens.num_choices * sizeof *by_one);
    double *narrow = score_in(&session, &set, &tokens, tokens.longest, comm);
    for (int64_t c = 0; c < tokens.num_choices; c++)
        assert_true(fabs(narrow[c] - together[c]) < 1e-4);
    int asked = 0;
    struct task_scoring stopped = {
        .model = &session.model, .room = tokens.longest, .stops = stops, .user = &asked};
    assert_int_equal(task_score(&stopped, &set, &tokens, comm, narrow), TASK_STOPPED);
    assert_int_equal(asked, 3);
    comm_join(self);
    free(narrow);
    free(by_one);
    free(together);
    task_tokens_release(&tokens);
    task_set_release(&set);
    session_close(&session);
}

int main(int argc, char **argv) {
    comm = comm_start(&argc, &argv);
    char *name = xasprintf("ranks-tasks-%d", comm_rank(comm));
    folder = test_folder(name);
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_scores)};
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    folder_remove(folder, NULL);
    free(folder);
    free(name);
    comm_finish(comm);
    return failed;
}
