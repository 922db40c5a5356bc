/* adapter_coverage.h - whether the pairs of an adapter are those that its adapter_config.json speaks of.  PEFT makes pairs by the
 * words and then looks for their tensors: it leaves those out that the words do not name, without an error, and refuses other
 * ranks (src/peft/tuners/tuners_utils.py: check_target_module_exists, get_pattern_key). */
#pragma once

#include <jansson.h>

#include "kernels/error.h"

/* A pair as it is stored. */
struct adapter_pair {
    const char *tensor; /* base_model.model.MODULE.lora_A.weight */
    int layer;
    int64_t rank;
};

/* adapter_coverage_keep - of a parsed adapter_config.json, the keys that are compared: a new reference.
 *
 * adapter_coverage_check_parameter - target_parameters against the name of a parameter; its rank is not compared.
 *
 * adapter_coverage_check - r, rank_pattern, target_modules, exclude_modules and layers_to_transform against a pair.  Patterns of
 * target_modules and exclude_modules that are one text, and keys of rank_pattern with other signs than letters, digits, "_" and ".",
 * are regular expressions of Python, which are not compared; nor is what is not said.  Returns 0, or -1 with err set: key, what
 * it says and tensor. */
json_t *adapter_coverage_keep(const json_t *root);
int adapter_coverage_check(const json_t *said, const struct adapter_pair *pair, struct err *err);
int adapter_coverage_check_parameter(const json_t *said, const char *parameter, struct err *err);
