/* weights_internal.h - what the weights*.c files share. */
#pragma once

#include "checkpoints/gguf/gguf_model.h"
#include "checkpoints/safetensors/quantised.h"
#include "checkpoints/safetensors/safetensors.h"
#include "checkpoints/weights.h"

struct grown_rows;

struct weights {
    struct model_config config;
    struct gguf *gguf;      /* or NULL */
    struct st_files *files; /* or NULL */
    char *path;             /* as it was opened */
    char *folder;           /* of a Hugging Face model */
    char *config_text;
    struct quantised quantised;        /* how config.json says that matrices are stored */
    int64_t num_quantised, num_served; /* matrices stored so; tensors that only a server of them uses */
    int64_t num_further;               /* tensors of layers that predict further tokens, which are left out */
    struct carried carried;            /* what a wrapper holds beside its text decoder */
    int64_t *carried_list;
    struct carried stored; /* the same, and all that a server of the quantised model needs besides */
    int64_t *stored_list;
    bool *is_beside;          /* [st_num_tensors] what restores the carried matrices that are quantised */
    bool stores_tied_head;    /* the files hold a head, equal to the embedding that it is tied to */
    bool head_is_embedding;   /* the head is read from the embedding: weights_untie */
    struct grown_rows *grown; /* rows of embedding and head that no file holds; NULL: none */
    struct adapter_folder *adapter; /* or NULL */
    char *adapter_path;
    struct model_config merged; /* of an adapter that is merged while reading: config has none, this has it */
    char *base_folder;          /* where the model of an adapter lies; NULL: folder */
};

/* weights_read_stored - as weights_read, of what the files hold.  weights_read_base - of that and of rows that were added:
 * everything but an adapter. */
int weights_read_stored(const struct weights *weights, struct param param, int64_t first, int64_t count,
                        float *out, struct err *err);
int weights_read_base(const struct weights *weights, struct param param, int64_t first, int64_t count,
                      float *out, struct err *err);

/* weights_turned_shape - of the stack of matrices that has a parameter of PARAM_STACKED where it is quantised: each is stored the
 * other way round, [outputs, inputs], one below the other. */
struct tensor weights_turned_shape(const struct weights *weights, struct param param);

/* weights_check_tensors - nothing is missing and nothing unknown; lists what is carried.  Returns 0, or -1 with err set. */
int weights_check_tensors(struct weights *weights, struct err *err);

/* weights_check_spare_head - some models whose head is their embedding store the head all the same (head: its index in files).
 * Loaders ignore it; that is harmless only while it is the embedding, so all rows are compared: one token may have been
 * added or tuned alone.  Returns 0, or -1 with err set: the type, the size, how many rows differ. */
int weights_check_spare_head(struct weights *weights, int64_t head, struct err *err);

/* weights_forget_rows - frees grown. */
void weights_forget_rows(struct weights *weights);
