/* checkpoint_prune.c - which old checkpoints go: those of the run's own line, oldest first, and one that cannot be deleted does
 * not make a younger one go in its place. */
#include "checkpoints/checkpoint/checkpoint_internal.h"

#include <stdlib.h>

/* spared_entry - of the checkpoints of the line the newest one at or before good_step, where it is not among
 * the newest keep_count anyway; -1: none. */
static int spared_entry(const struct lineage *lineage, const bool *is_own, int keep_count,
                        int64_t good_step) {
    int spared = -1, num_newer = 0;
    for (int i = 0; i < lineage->count; i++)
        if (good_step > 0 && is_own[i] && lineage->entries[i].self.step <= good_step &&
            (spared < 0 || lineage->entries[i].self.step > lineage->entries[spared].self.step))
            spared = i;
    for (int i = 0; i < lineage->count && spared >= 0; i++)
        num_newer += is_own[i] && lineage->entries[i].self.step > lineage->entries[spared].self.step;
    return num_newer >= keep_count ? spared : -1;
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
 * would go in its place.  The spared one is beside keep_count and not among them: it is the last that is known to be
 * sound. */
int step_prune(const char *run_folder, const struct checkpoint_id *last, int keep_count, int64_t good_step,
               struct checkpoint_stuck *stuck) {
    struct lineage lineage;
    struct step_list list;
    struct err err;
    int num_there = 0, num_deleted = 0;
    if (lineage_read(run_folder, &lineage, &err) != 0 || step_list_read(run_folder, &list, &err) != 0) {
        warn("older checkpoints stay: %s", err.text);
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
    int spared = spared_entry(&lineage, is_own, keep_count, good_step);
    num_there -= spared >= 0;
    for (int s = 0; s < list.count && num_there > keep_count; s++)
        for (int i = 0; i < lineage.count; i++) {
            if (!is_own[i] || lineage.entries[i].self.step != list.steps[s].step ||
                list.steps[s].state != STEP_COMPLETE || i == tip || i == spared)
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
