/* data_open.c - see data_open.h. */
#include "train/plan/data_open.h"

#include <stdlib.h>

#include "data/tokens/loader_spread.h"

struct loader *data_open(const struct config *config, const struct data_file *files, int num_files,
                         const struct data_look *look, struct err *err) {
    struct loader_file *list = xcalloc((size_t)num_files + 1, sizeof *list);
    for (int i = 0; i < num_files; i++)
        list[i] = (struct loader_file){files[i].path, files[i].weight};
    const struct loader_config wanted = {.files = list,
                                         .num_files = num_files,
                                         .sequence_tokens = config->data.sequence_tokens,
                                         .seed = config->run.seed,
                                         .packing = config->data.packing,
                                         .long_documents = config->data.long_documents,
                                         .vocab_size = look->vocab_size,
                                         .verify_share = look->verify_share,
                                         .num_verify_shares = look->num_verify_shares};
    struct loader *loader = loader_open(&wanted, err);
    free(list);
    return loader;
}

int data_check_targets(const struct config *config, const struct loader *train, const struct loader *valid,
                       struct err *err) {
    if (train && loader_check_targets(train, err) != 0)
        return err_prefix(err, "nothing to learn");
    if (valid && loader_check_spread_targets(valid, config->valid.sequences, err) != 0)
        return err_prefix(err, "nothing to validate");
    return 0;
}
