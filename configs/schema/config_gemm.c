/* config_gemm.c - whether algorithms of matrix products are measured: run.gemm_choices. */
#include <string.h>

#include "configs/schema/config.h"

enum gemm_choices config_gemm_choices(const struct config *config) {
    const char *path = config->run.gemm_choices;
    if (!path || strcmp(path, "auto") == 0) /* what is measured may be chosen otherwise the next time */
        return config->train.reproducible == REPRODUCIBLE_OFF ? GEMM_CHOICES_AUTO : GEMM_CHOICES_NONE;
    return path[0] && strcmp(path, "none") != 0 ? GEMM_CHOICES_FILE : GEMM_CHOICES_NONE;
}
