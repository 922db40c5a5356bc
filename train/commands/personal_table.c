/* personal_table.c - see personal_table.h. */
#include "train/commands/personal_table.h"

static const char *name_of(const struct prepare_source *source) {
    return source->name ? source->name : source->path;
}

void personal_print(FILE *out, const struct prepare_config *config, const struct personal_counts *found) {
    fprintf(out, "personal data    %s\n ",
            config->personal == PERSONAL_REPLACE
                ? "replaced in the documents that were kept"
                : "in the documents that were kept, as it is (prepare.personal_data)");
    for (int kind = 0; kind < PERSONAL_KINDS; kind++)
        fprintf(out, " %9s", personal_name((enum personal_kind)kind));
    fputs("  source\n", out);
    for (int i = 0; i < config->num_sources; i++) {
        fputc(' ', out);
        for (int kind = 0; kind < PERSONAL_KINDS; kind++)
            fprintf(out, " %9lld", (long long)found[i].found[kind]);
        fprintf(out, "  %s\n", name_of(&config->sources[i]));
    }
}

json_t *personal_json(const struct prepare_config *config, const struct personal_counts *found) {
    json_t *list = json_array();
    for (int i = 0; i < config->num_sources; i++) {
        json_t *row = json_pack("{s:s}", "source", name_of(&config->sources[i]));
        for (int kind = 0; kind < PERSONAL_KINDS; kind++)
            json_object_set_new(row, personal_name((enum personal_kind)kind),
                                json_integer((json_int_t)found[i].found[kind]));
        json_array_append_new(list, row);
    }
    return list;
}
