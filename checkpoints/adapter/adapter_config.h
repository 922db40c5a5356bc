/* adapter_config.h - adapter_config.json, as PEFT reads and writes it.
 * Source: huggingface/peft, src/peft/tuners/lora/config.py; what vLLM and llama.cpp read of it is in FORMAT.md. */
#pragma once

#include "checkpoints/adapter/adapter_coverage.h"
#include "checkpoints/family/family.h"

/* What it says that the tensors beside it do not. */
struct adapter_words {
    char *base;            /* base_model_name_or_path; NULL: not said */
    char *targets;         /* target_modules, "q_proj, v_proj" or a pattern; NULL: not said */
    int64_t rank;          /* r; 0: not said.  The tensors tell the rank of each module */
    json_t *coverage;      /* as adapter_coverage_check takes it */
    double alpha, dropout; /* lora_alpha, lora_dropout; what is no share counts as none */
    bool rank_stabilised;
    bool has_lengths;                    /* use_dora */
    bool names_whole;                    /* modules_to_save has some */
    bool ties_head;                      /* ensure_weight_tying: a head that is the embedding stays so */
    double alphas[ADAPTER_TARGET_COUNT]; /* of each target */
};

/* adapter_config_read - of a folder.  Everything that would compute otherwise than W + scale B A, with modules that are trained
 * whole beside it, is refused by its key (an initialisation that changed the base, ...).  Returns 0, or -1 with err set and nothing
 * to be freed.  adapter_words_free - what it holds. */
int adapter_config_read(struct adapter_words *words, const char *folder, struct err *err);
void adapter_words_free(struct adapter_words *words);

/* adapter_config_text - of a model's adapter, malloc'ed.  base: where the model is that it belongs to.  Of a wrapper the modules
 * are a pattern that its parts for images do not match. */
char *adapter_config_text(const struct model_config *config, const char *base);
