/* tasks_plan.c - see tasks_plan.h. */
#include "train/plan/tasks_plan.h"

#include "checkpoints/files.h"

/* Before the first step, and after the last, whatever eval.every_steps says. */
enum { EVALUATIONS_AT_ENDS = 2 };

/* read_set - the files that are there; the first that is not is named. */
static int read_set(struct tasks_plan *plan, struct task_set *set, const struct config *config,
                    struct err *err) {
    for (int i = 0; i < config->eval.num_tasks; i++) {
        const char *path = config->eval.tasks[i].text;
        if (!path_exists(path)) {
            plan->missing = plan->missing ? plan->missing : path;
            plan->lack = TASKS_NO_FILE;
        } else if (task_set_read(set, path, err) != 0) {
            return err_prefix(err, "eval.tasks");
        }
    }
    return 0;
}

int tasks_plan_read(struct tasks_plan *plan, const struct config *config, const struct tokenizer *tokenizer,
                    struct err *err) {
    struct task_set set = {0};
    int64_t first;
    *plan = (struct tasks_plan){.lack = tokenizer ? TASKS_KNOWN : TASKS_NO_TOKENIZER};
    int status = read_set(plan, &set, config, err);
    plan->num_items = set.num_items;
    if (status == 0 && set.num_items > 0 && plan->lack == TASKS_KNOWN)
        status = task_encode(&plan->tokens, &set, tokenizer, config->data.sequence_tokens, err);
    if (status == 0)
        plan->num_left_out = task_left_out(&plan->tokens, TASK_TOO_LONG, &first) +
                             task_left_out(&plan->tokens, TASK_NO_TOKENS, &first);
    task_set_release(&set);
    return status;
}

void tasks_plan_release(struct tasks_plan *plan) {
    task_tokens_release(&plan->tokens);
    *plan = (struct tasks_plan){.lack = TASKS_KNOWN};
}

/* The one of the last step is made when the run is over, and counts among those at the ends. */
int64_t tasks_plan_times(const struct config *config) {
    int64_t every = config->eval.every_steps;
    if (config->eval.num_tasks == 0)
        return 0;
    return EVALUATIONS_AT_ENDS + (every > 0 ? (config->train.steps - 1) / every : 0);
}
