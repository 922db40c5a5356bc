/* config_fail.c - messages about a value, each at the place it came from: an override, a line of the file, or neither. */
#include "configs/schema/config_load.h"

#include <stdio.h>

int config_fail_at(const struct loading *loading, const struct key_origin *where, const char *fmt,
                   va_list args) {
    char reason[768];
    vsnprintf(reason, sizeof reason, fmt, args);
    if (where && where->override)
        return err_set(loading->err, "option '--set %.120s': %s", where->override, reason);
    if (where && where->line > 0)
        return err_set(loading->err, "%s '%.200s' line %d column %d: %s", loading->kind, loading->origin,
                       where->line, where->column, reason);
    return err_set(loading->err, "%s '%.200s': %s", loading->kind, loading->origin, reason);
}

int config_fail_key(const struct loading *loading, const char *name, const char *fmt, ...) {
    int index = config_key_index(loading->table, name);
    CHECK(index >= 0, "no key '%s' in the table", name);
    va_list args;
    va_start(args, fmt);
    config_fail_at(loading, &loading->origins[index], fmt, args);
    va_end(args);
    return -1;
}
