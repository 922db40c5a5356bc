/* card_words.h - what a model card says, in each language.  Plain texts without formats: card.c puts the
 * values between them. */
#pragma once

#include "train/record/card.h"

struct card_words {
    const char *thousands, *decimal, *colon; /* of numbers, and of "name: value" */
    const char *blank;                       /* mark of what the author must write */
    const char *unknown;
    /* front matter */
    const char *yaml_licence_of_base, *yaml_licence_unknown, *yaml_name_of_folder, *yaml_language;
    const char *written_by; /* comment at the top, around the program's name */
    const char *written_by_end;
    /* titles */
    const char *title_from_base, *title_new;
    const char *what_title, *data_title, *earlier_title, *procedure_title, *cost_title, *limits_title;
    /* what it is */
    const char *what_new, *what_from_base, *parameters, *wrapper, *added_tokens, *numbers, *base_model,
        *base_licence, *base_hash, *base_hash_how;
    const char *base_hash_unknown, *trained, *progress, *of_steps, *not_finished, *program;
    const char *diverged, *had_diverged, *to_step, *learnt_nothing, *no_update;
    const char *blank_purpose;
    const char *what_adapter, *what_merged, *adapter_parameters, *adapter_rank, *adapter_base, *use_title,
        *use_adapter, *use_adapter_merged, *adapter_whole;
    /* data */
    const char *data_head, *data_explained, *not_attributed, *total, *no_licence, *no_url, *blank_data,
        *earlier_explained;
    /* procedure */
    const char *setting_head, *batch, *sequence, *packing, *unused, *objective, *teacher, *optimizer, *rate,
        *betas, *decay, *clip, *schedule, *warmup;
    const char *compute, *seed, *ranks, *loss_first, *loss_last, *valid_last, *valid_best, *left_out,
        *at_step, *perplexity;
    /* cost */
    const char *place, *place_local, *place_slurm, *gpu_hours, *core_hours, *starts, *energy, *energy_unknown,
        *counted, *co2, *co2_unknown, *factor;
    const char *factor_source, *pue, *cost_unknown, *cost_scope;
    /* limits, and the draft */
    const char *limits_text;
    const char *draft_title, *draft_warning, *draft_general, *draft_sources, *draft_listed, *draft_rest,
        *draft_tokens;
    const char *draft_base;
};

const struct card_words *card_words(enum card_language language);
