/* checkpoint_prune.c - which old checkpoints go: those of the run's own line, oldest first, and one that cannot be deleted does
 * not make a younger one go in its place. */
#include "checkpoints/checkpoint/checkpoint_internal.h"

#include <stdlib.h>

/* spared_entry - of the checkpoints of the line the newest one from step `first` to step `last`, where it is not among the
 * newest keep_count anyway; -1: none. */
static int spared_entry(const struct lineage *lineage, const bool *is_own, int keep_count, int64_t first,
                        int64_t last) {
    int spared = -1, num_newer = 0;
    for (int i = 0; i < lineage->count; i++)
        if (is_own[i] && lineage->entries[i].self.step >= first && lineage->entries[i].self.step <= last &&
            (spared < 0 || lineage->entries[i].self.step > lineage->entries[spared].self.step))
            spared = i;
    for (int i = 0; i < lineage->count && spared >= 0; i++)
        num_newer += is_own[i] && lineage->entries[i].self.step > lineage->entries[spared].self.step;
    return num_newer >= keep_count ? spared : -1;
}

/* read_all - what pruning goes by; without one of these nobody knows what may go. */
static int read_all(const char *run_folder, struct lineage *lineage, struct step_list *list,
                    int64_t *best_step, struct err *err) {
    *best_step = 0;
    if (lineage_read(run_folder, lineage, err) != 0 || step_list_read(run_folder, list, err) != 0)
        return -1;
    return best_link_read(run_folder, best_step) != BEST_UNREADABLE
               ? 0
               : err_set(err, "'%s/best' is not a link to a checkpoint beside it: move it away", run_folder);
}

/* tell_stuck - once for each checkpoint. */
static void tell_stuck(struct checkpoint_stuck *stuck, int64_t step, const struct err *why) {
    for (int i = 0; stuck && i < stuck->count; i++)
        if (stuck->steps[i] == step)
            return;
    if (stuck && stuck->count == CHECKPOINT_MAX_STUCK)
        return;
    if (stuck)
        stuck->steps[stuck->count++] = step;
    warn("an old checkpoint stays: %s", why->text);
}

/* num_there counts what the line would keep if every deletion worked: one that fails counts as gone, or a younger checkpoint
 * would go in its place.  The spared ones are beside keep_count and not among them: the last that is known to be sound, and
 * the best one. */
int step_prune(const char *run_folder, const struct checkpoint_id *last, int keep_count, int64_t good_step,
               struct checkpoint_stuck *stuck) {
    struct lineage lineage;
    struct step_list list = {.count = 0};
    struct err err;
    int64_t best_step;
    int num_there = 0, num_deleted = 0;
    if (read_all(run_folder, &lineage, &list, &best_step, &err) != 0) {
        warn("older checkpoints stay: %s", err.text);
        free(list.steps);
        lineage_release(&lineage);
        return 0;
    }
    int tip = lineage_find(&lineage, last);
    bool *is_own = xcalloc((size_t)lineage.count + 1, sizeof *is_own);
    for (int i = 0; i < lineage.count && tip >= 0; i++) {
        is_own[i] = lineage.entries[i].is_there && lineage.entries[i].self.step <= last->step &&
                    lineage_leads(&lineage, i, tip);
        num_there += is_own[i];
    }
    int sound = spared_entry(&lineage, is_own, keep_count, 1, good_step),
        best = spared_entry(&lineage, is_own, keep_count, best_step ? best_step : 1, best_step);
    num_there -= (sound >= 0) + (best >= 0 && best != sound);
    for (int s = 0; s < list.count && num_there > keep_count; s++)
        for (int i = 0; i < lineage.count; i++) {
            if (!is_own[i] || lineage.entries[i].self.step != list.steps[s].step ||
                list.steps[s].state != STEP_COMPLETE || i == tip || i == sound || i == best)
                continue;
            if (step_remove(run_folder, list.steps[s], &err) != 0)
                tell_stuck(stuck, list.steps[s].step, &err);
            else
                num_deleted++;
            num_there--;
            break;
        }
    free(is_own);
    free(list.steps);
    lineage_release(&lineage);
    return num_deleted;
}

void checkpoint_prune(const char *run_folder, const struct checkpoint_id *last, int keep_count,
                      struct checkpoint_stuck *stuck) {
    step_prune(run_folder, last, keep_count, 0, stuck);
}
