/* hub_name.c - see hub_name.h. */
#include "checkpoints/hub_name.h"

#include <string.h>

bool hub_is_name(const char *path) {
    static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";
    size_t before = strspn(path, allowed);
    size_t after = path[before] == '/' ? strspn(path + before + 1, allowed) : 0;
    return path[0] != '.' && before > 0 && after > 0 && path[before + 1 + after] == '\0';
}

const char *hub_note(const char *path) {
    return hub_is_name(path)
               ? "; nothing is downloaded: where it is a name on the Hugging Face Hub, 'hf download "
                 "ORGANISATION/NAME --local-dir FOLDER' on a machine with network brings it, and FOLDER "
                 "is the path"
               : "";
}
