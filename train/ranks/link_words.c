/* link_words.c - how NCCL, PSM2 and UCX are told which links to use. */
#include "train/ranks/link_words.h"

#include <stdlib.h>
#include <string.h>

/* names_link - whether the entry of a list, of so many bytes, is this link; a port after it (":1") does not matter here. */
static bool names_link(const char *entry, size_t length, const char *link, bool exact) {
    const char *colon = memchr(entry, ':', length);
    if (colon)
        length = (size_t)(colon - entry);
    return length > 0 && strncmp(link, entry, length) == 0 && (!exact || link[length] == '\0');
}

/* list_names - a list with commas. */
static bool list_names(const char *list, const char *link, bool exact) {
    while (*list) {
        size_t length = strcspn(list, ",");
        if (names_link(list, length, link, exact))
            return true;
        list += length + (list[length] == ',');
    }
    return false;
}

/* is_empty_list - entries without a name are none. */
static bool is_empty_list(const char *list) {
    while (*list && (*list == ',' || *list == ':'))
        list += *list == ':' ? strcspn(list, ",") : 1;
    return *list == '\0';
}

/* "mlx5_0,mlx5_3": links that begin so; "=": just those; "^": all but those ("^="); an empty list stands for all. */
static bool nccl_takes(const char *value, const char *link) {
    bool excludes = value[0] == '^';
    bool exact = value[excludes] == '=';
    const char *list = value + excludes + exact;
    return (is_empty_list(list) || list_names(list, link, exact)) != excludes;
}

static bool nccl_uses_links(const char *value, const char *link) {
    (void)link;
    return strtol(value, NULL, 10) == 0;
}

/* The number of the only one; less than 0: any. */
static bool psm2_takes(const char *value, const char *link) {
    char *end;
    long unit = strtol(value, &end, 10);
    const char *number = strchr(link, '_');
    return strncmp(link, "hfi1", 4) != 0 || !number || end == value || unit < 0 ||
           strtol(number + 1, NULL, 10) == unit;
}

/* has_port - some entry of the list is this link with a port: UCX compares whole names, and a device without one is none. */
static bool has_port(const char *list, const char *link) {
    while (*list) {
        size_t length = strcspn(list, ",");
        if (names_link(list, length, link, true) && memchr(list, ':', length))
            return true;
        list += length + (list[length] == ',');
    }
    return false;
}

/* "all" anywhere, or devices with their ports; "^": all but those. */
static bool ucx_takes(const char *value, const char *link) {
    bool excludes = value[0] == '^';
    return (!excludes && list_names(value, "all", true)) || has_port(value + excludes, link) != excludes;
}

const char *link_word_against(const char *link, bool uses_nccl) {
    static const struct {
        const char *variable;
        bool (*takes)(const char *value, const char *link);
        bool of_nccl, of_mpi;
    } words[] = {{"NCCL_IB_DISABLE", nccl_uses_links, true, false},
                 {"NCCL_IB_HCA", nccl_takes, true, false},
                 {"HFI_UNIT", psm2_takes, true, true}, /* NCCL comes to it by its plugin for libfabric */
                 {"UCX_NET_DEVICES", ucx_takes, false, true}};
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        const char *value = getenv(words[i].variable);
        bool applies = uses_nccl ? words[i].of_nccl : words[i].of_mpi;
        if (value && value[0] && applies && !words[i].takes(value, link))
            return words[i].variable;
    }
    return NULL;
}
