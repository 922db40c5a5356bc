/* token_list.c - token ids, one after the other. */
#include "data/tokenizer/tokenizer.h"

#include <stdlib.h>

void token_list_push(struct token_list *list, int32_t id) {
    if (list->count == list->room) {
        list->room = list->room ? 2 * list->room : 64;
        list->ids = xrealloc(list->ids, (size_t)list->room * sizeof *list->ids);
    }
    list->ids[list->count++] = id;
}

void token_list_release(struct token_list *list) {
    free(list->ids);
    *list = (struct token_list){0};
}
