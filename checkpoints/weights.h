/* weights.h - a model to read from, whatever it is stored as: a Hugging Face folder, a checkpoint, or a GGUF
 * file. Of a wrapper (text and images) the text decoder is read.  Values come out as f32 in the Hugging Face layout: dequantised (GGUF blocks, and the schemes of quantised.h), rotary rows in half-split order. */
#pragma once

#include "checkpoints/family/family.h"
#include "checkpoints/safetensors/carried.h"
#include "checkpoints/value_check.h"

struct weights;

/* What a user names: a model, or an adapter and where its base is. */
struct weights_place {
    const char *path;
    const char *base; /* of an adapter; NULL: where the adapter says */
};

/* weights_open - path is a folder with config.json and safetensors, a .gguf file, or a run
 * folder: its newest complete checkpoint.  Every tensor of the family must be there with its shape; extra tensors are refused unless known to be harmless (rotary inv_freq
 * buffers, rope_freqs). Returns NULL with err set. */
struct weights *weights_open(const char *path, struct err *err);
/* weights_open_adapter - an adapter's folder, or a run folder whose newest checkpoint is one, on its base: a path as
 * weights_open takes it, NULL: the one that the adapter names.  The model has the pairs among its parameters.  Small files
 * are the adapter's where it has a whole model's, else the base's.  Returns NULL with err set.
 * adapter_base_path - where the adapter at path says that its base is, malloc'ed; NULL with err set.
 * weights_open_any - a model, or an adapter.
 * weights_merge - from here on the model is the merged one, without an adapter: its matrices are read as W + scale B A, in f32
 * from the base's values as they are stored. */
struct weights *weights_open_adapter(const char *path, const char *base, struct err *err);
char *adapter_base_path(const char *path, struct err *err);
struct weights *weights_open_any(struct weights_place place, struct err *err);
void weights_merge(struct weights *weights);
/* weights_close - NULL is fine.  weights_config - the model's sizes and types; borrowed. */
void weights_close(struct weights *weights);
const struct model_config *weights_config(const struct weights *weights);

/* weights_check_tie - the head that an untied model stores is its embedding, value by value.  Returns 0, or -1 with err set: in
 * how many rows it is not, and where first.  weights_tie - from here on the model has no head of its own, which was checked;
 * nothing where it has none.  weights_untie - it has one, a copy of the embedding; nothing where it has one.  Before anything
 * else is read or grown. */
int weights_check_tie(const struct weights *weights, struct err *err);
void weights_tie(struct weights *weights);
void weights_untie(struct weights *weights);

/* weights_grow - rows [first, end) of the embedding, and of a head of its own, are those of tokens that were added: each is
 * the mean of the rows before first.  They may be padding so far, or lie beyond the stored rows; the model's vocabulary grows
 * to end where it was smaller.  Once for a model, before anything is read. */
void weights_grow(struct weights *weights, int64_t first, int64_t end);

/* weights_read - elements [first, first + count) of a tensor, row-major.  Returns 0, or -1 with err set. */
int weights_read(const struct weights *weights, struct param param, int64_t first, int64_t count, float *out,
                 struct err *err);

/* weights_read_fit - the same for what is to be kept as range.type: a value that is not finite, or too large
 * for it, is refused with the tensor's name, how many it holds and where.  Returns 0, or -1 with err set. */
struct weights_range {
    int64_t first, count;
    struct value_type type;
};
int weights_read_fit(const struct weights *weights, struct param param, struct weights_range range,
                     float *out, struct err *err);

/* weights_map - a matrix as the file holds it, mapped until weights_close: its values are those of weights_read.  False where they
 * are not one tensor of a file in a form that products read (kernels/stored.h): quantised otherwise, merged with an adapter or
 * trained beside one, with rows that were added, of an odd width; or where the file cannot be mapped. */
struct stored_rows;
bool weights_map(const struct weights *weights, struct param param, struct stored_rows *rows);

/* weights_check_fit - that all values of a tensor fit, as weights_read_fit has it: for those that nobody reads.  Returns 0,
 * or -1 with err set. */
int weights_check_fit(const struct weights *weights, struct param param, struct value_type type,
                      struct err *err);

/* weights_tokenizer_text - text of tokenizer.json and tokenizer_config.json (NULL where there is none),
 * malloc'ed; made from the metadata when the source is GGUF.  Returns 0, or -1 with err set. */
int weights_tokenizer_text(const struct weights *weights, char **tokenizer_json, char **tokenizer_config,
                           struct err *err);

/* weights_config_text - the source's config.json, or NULL (GGUF); borrowed. */
const char *weights_config_text(const struct weights *weights);

/* weights_folder - the folder of a Hugging Face model (generation_config.json, templates), or NULL; borrowed.
 */
const char *weights_folder(const struct weights *weights);

/* weights_base_folder - the folder that holds the model's weights, also where an adapter lies elsewhere; NULL: GGUF.  Borrowed. */
const char *weights_base_folder(const struct weights *weights);

/* weights_adapter_path - the adapter's folder; NULL: there is none.  Borrowed. */
const char *weights_adapter_path(const struct weights *weights);

/* weights_verify - the checksums of model and adapter, where they are checkpoints made here.  Returns 0, or -1 with err set. */
int weights_verify(const struct weights *weights, struct err *err);

/* weights_tell_storage - warnings about what is not trained as it is stored: matrices in fewer bits than what will be made
 * of them (FP8, NF4), tensors that are left out, a wrapper of which only the text decoder is read and what of its other
 * tensors is dequantised, an adapter beside the model, what config.json leaves to its class. */
void weights_tell_storage(const struct weights *weights);

/* weights_carried - of a wrapper, the tensors beside the text decoder; NULL: there are none.  Borrowed. */
const struct carried *weights_carried(const struct weights *weights);

/* weights_stored - the files of a Hugging Face folder, and how matrices are stored in them; NULL: a GGUF file.
 * weights_find - the index in them of a parameter's tensor.  weights_carried_stored - what weights_carried names, as it is
 * stored, with the scales that restore it, and what only a server of the quantised model uses; NULL: none.  Borrowed. */
const struct st_files *weights_stored(const struct weights *weights, const struct quantised **quantised);
int64_t weights_find(const struct weights *weights, struct param param);
const struct carried *weights_carried_stored(const struct weights *weights);

/* weights_files - paths of the files that hold the tensors, in the order of their names; the list and each
 * path are malloc'ed.  Returns their number. */
int weights_files(const struct weights *weights, char ***paths);

/* weights_licence - what the model itself states ("apache-2.0"): in its model card or its GGUF metadata;
 * malloc'ed, or NULL. */
char *weights_licence(const struct weights *weights);
