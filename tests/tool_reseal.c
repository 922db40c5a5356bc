/* tool_reseal.c - makes the manifest of a checkpoint anew, for scenarios: a file that was edited by hand passes
 * for whole, as it would where somebody meant harm.  The checkpoint keeps its step, id and parent.
 *
 *   tool_reseal CHECKPOINT */
#include <string.h>

#include "checkpoints/checkpoint/checkpoint_internal.h"

int main(int argc, char **argv) {
    struct manifest before, now;
    struct err err;
    CHECK(argc == 2, "usage: tool_reseal CHECKPOINT");
    if (manifest_read(&before, argv[1], &err) != 0)
        die("%s", err.text);
    now = (struct manifest){.step = before.step, .parent = before.parent};
    memcpy(now.id, before.id, sizeof now.id);
    if (manifest_add_small(&now, argv[1], &err) != 0 || manifest_write(&now, argv[1], &err) != 0)
        die("%s", err.text);
    manifest_free(&before);
    manifest_free(&now);
    return 0;
}
