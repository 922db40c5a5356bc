/* families.c - the list of supported families, from EACH_FAMILY.  Apart from everything else, so that a test can bring a
 * list of its own. */
#include "checkpoints/family/family_internal.h"

#define FAMILY_ENTRY(name) &family_##name,

const struct family *const family_list[] = {EACH_FAMILY(FAMILY_ENTRY)};
const int num_families = sizeof family_list / sizeof family_list[0];
