/* families.c - the list of supported families: a new one is its file family_NAME.c and a word here. */
#include "checkpoints/family/family_internal.h"

const struct family *const family_list[] = {&family_llama, &family_mistral, &family_qwen3};
const int num_families = sizeof family_list / sizeof family_list[0];
