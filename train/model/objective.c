/* objective.c - the list of objectives.  Each is in objective_NAME.c. */
#include "train/model/objective.h"

const struct objective *objective_kind(enum objective_id id) {
    static const struct objective *const kinds[OBJECTIVE_COUNT] = {
        [OBJECTIVE_SFT] = &objective_token_mean, [OBJECTIVE_DPO] = &objective_dpo,
        [OBJECTIVE_ORPO] = &objective_orpo,      [OBJECTIVE_SIMPO] = &objective_simpo,
        [OBJECTIVE_KTO] = &objective_kto,        [OBJECTIVE_DISTILL] = &objective_distill,
    };
    CHECK(id < OBJECTIVE_COUNT, "objective %d", (int)id);
    return kinds[id];
}

double objective_loss(const struct objective_use *use, const struct batch *batch, const float *losses,
                      double sum) {
    return use->kind->loss ? use->kind->loss(use->state, batch, losses) : sum;
}
