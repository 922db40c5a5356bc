/* params_pieces.c - which parts of which tensors lie in a range of a segment: how states and files of tensors, which are whole,
 * meet buffers of ranks, which are not. */
#include "train/model/params.h"

/* each_run - visit elements [begin, end) of what the segment holds of a tensor: whole rows together, a row that the
 * range cuts by itself.  at: where begin lies in the range. */
static int each_run(struct piece piece, int64_t begin, int64_t end, params_visit visit, void *user) {
    const struct unit_tensor *tensor = piece.tensor;
    int64_t row_count = tensor->row_count;
    int status = 0;
    while (begin < end && status == 0) {
        int64_t place = begin % row_count, left = end - begin, most = row_count - place;
        piece.count = left < most ? left : most;
        piece.num_rows = piece.count == row_count ? left / row_count : 1;
        piece.whole_first = tensor->whole_first + begin / row_count * tensor->stride + place;
        status = visit(user, &piece);
        begin += piece.num_rows * piece.count;
        piece.at += piece.num_rows * piece.count;
    }
    return status;
}

int params_each_piece(const struct segment *segment, int64_t first, int64_t count, params_visit visit,
                      void *user) {
    int status = 0;
    for (int i = 0; i < segment->num_tensors && status == 0; i++) {
        const struct unit_tensor *tensor = &segment->tensors[i];
        int64_t tensor_first = tensor->stored_first, begin = tensor_first > first ? tensor_first : first;
        int64_t tensor_end = tensor_first + tensor->count, range_end = first + count;
        int64_t end = tensor_end < range_end ? tensor_end : range_end;
        struct piece piece = {
            .segment = segment, .tensor = tensor, .at = begin - first, .stride = tensor->stride};
        if (begin < end)
            status = each_run(piece, begin - tensor_first, end - tensor_first, visit, user);
    }
    return status;
}
