/* card_cost.c - what the training took, as far as it was counted: nothing is estimated, and a factor is never
 * without its source. */
#include <math.h>
#include <string.h>

#include "train/record/card_parts.h"

/* put_energy - with the share of the hardware that was counted: without it a figure of some GPUs would pass for
 * that of all. */
static void put_energy(const struct card *card, const json_t *cost) {
    const struct card_words *w = card->words;
    double kwh = card_real_of(cost, "kwh"), counted = card_real_of(cost, "counted");
    card_begin_item(card, w->energy);
    if (!isfinite(kwh)) {
        fprintf(card->out, "%s\n", w->energy_unknown);
        return;
    }
    put_real(card->out, kwh, w->decimal);
    card_put(card, " kWh (");
    put_real(card->out, 100 * (isfinite(counted) ? counted : 0), w->decimal);
    fprintf(card->out, " %% %s)\n", w->counted);
}

/* put_carbon - the factor is told even where no energy was counted: it is a fact of the place. */
static void put_carbon(const struct card *card, const json_t *cost) {
    const struct card_words *w = card->words;
    double kg = card_real_of(cost, "co2_kg");
    const json_t *factor = json_find(cost, "factor");
    card_begin_item(card, w->co2);
    if (isfinite(kg)) {
        put_real(card->out, kg, w->decimal);
        card_put(card, " kg\n");
    } else {
        fprintf(card->out, "%s\n", w->co2_unknown);
    }
    card_begin_item(card, w->factor);
    if (!factor) {
        fprintf(card->out, "%s\n", w->unknown);
        return;
    }
    card_number(card, card_real_of(factor, "grams_co2_per_kwh"));
    card_put(card, " g/kWh, ");
    put_markdown(card->out, card_text_of(factor, "name") ? card_text_of(factor, "name") : w->unknown);
    fprintf(card->out, " (%s", w->factor_source);
    put_markdown(card->out, card_text_of(factor, "source") ? card_text_of(factor, "source") : w->unknown);
    card_put(card, ")\n");
    card_begin_item(card, w->pue);
    card_number(card, card_real_of(factor, "pue"));
    card_put(card, " (");
    put_markdown(card->out,
                 card_text_of(factor, "pue_source") ? card_text_of(factor, "pue_source") : w->unknown);
    card_put(card, ")\n");
}

/* place_name - a profile that stands for any machine of its kind is told in the card's language, one of a
 * place by its description. */
static const char *place_name(const struct card *card, const json_t *site) {
    const char *name = card_text_of(site, "name"), *description = card_text_of(site, "description");
    if (name && strcmp(name, "local") == 0)
        return card->words->place_local;
    if (name && strcmp(name, "generic") == 0)
        return card->words->place_slurm;
    return description ? description : name;
}

static void put_place(const struct card *card) {
    const json_t *site = json_find(card->root, "site");
    const char *name = place_name(card, site);
    int64_t gpus = card_int_of(site, "gpus"), hosts = card_int_of(site, "hosts");
    card_begin_item(card, card->words->place);
    put_markdown(card->out, name ? name : card->words->unknown);
    if (hosts > 0)
        fprintf(card->out, " (machines%s%lld, GPU%s%lld)", card->words->colon, (long long)hosts,
                card->words->colon, (long long)gpus);
    card_put(card, "\n");
}

void card_cost(const struct card *card) {
    const struct card_words *w = card->words;
    const json_t *cost = json_find(card->root, "cost");
    card_title(card, w->cost_title);
    put_place(card);
    if (!json_is_object(cost)) {
        fprintf(card->out, "\n%s\n", w->cost_unknown);
        return;
    }
    card_begin_item(card, w->gpu_hours);
    card_number(card, card_real_of(cost, "gpu_hours"));
    card_put(card, "\n");
    card_begin_item(card, w->core_hours);
    card_number(card, card_real_of(cost, "core_hours"));
    card_put(card, "\n");
    card_count_item(card, w->starts, card_int_of(cost, "starts"));
    put_energy(card, cost);
    put_carbon(card, cost);
    fprintf(card->out, "\n%s\n", w->cost_scope);
}
