/* adapter_merge.c - W + scale B A, by rows of W: A whole, of B the rows that are touched; their lengths, with DoRA. */
#include "checkpoints/adapter/adapter_merge.h"

#include "checkpoints/family/family_adapter.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* What one matrix is made of. */
struct pair {
    int64_t rank, cols;
    double scale;
    float *a, *b; /* [rank, cols]; rows of B from first_row on, [num_rows, rank] */
    int64_t first_row;
    double *sums; /* [cols] */
};

/* add_row - elements [first, first + count) of one row, counted in the matrix. */
static void add_row(const struct pair *pair, int64_t first, int64_t count, float *values) {
    const float *b = pair->b + (first / pair->cols - pair->first_row) * pair->rank;
    double *sums = pair->sums;
    memset(sums, 0, (size_t)count * sizeof *sums);
    for (int64_t r = 0; r < pair->rank; r++) {
        const float *a = pair->a + r * pair->cols + first % pair->cols;
        double factor = pair->scale * (double)b[r];
        for (int64_t i = 0; i < count; i++)
            sums[i] += factor * (double)a[i];
    }
    for (int64_t i = 0; i < count; i++)
        values[i] += (float)sums[i];
}

static void add_rows(const struct pair *pair, struct adapter_range range, float *values) {
    for (int64_t done = 0; done < range.count;) {
        int64_t first = range.first + done, in_row = pair->cols - first % pair->cols,
                left = range.count - done;
        int64_t now = left < in_row ? left : in_row;
        add_row(pair, first, now, values + done);
        done += now;
    }
}

/* set_length - of one row; a row of zeros stays one. */
static void set_length(float *row, int64_t count, double length) {
    double sum = 0;
    for (int64_t i = 0; i < count; i++)
        sum += (double)row[i] * (double)row[i];
    double factor = sum > 0 ? length / sqrt(sum) : 0;
    for (int64_t i = 0; i < count; i++)
        row[i] = (float)(factor * (double)row[i]);
}

/* Whole rows of a matrix. */
struct merge_rows {
    struct param matrix;
    int64_t first, count, cols;
};

/* set_lengths - of the rows in `values`. */
static int set_lengths(const struct adapter_folder *adapter, const struct model_config *config,
                       struct merge_rows rows, float *values, struct err *err) {
    enum adapter_target target = adapter_target_of(rows.matrix.role);
    struct param lengths = param_at(adapter_length_role(target), rows.matrix.layer);
    float *wanted = xmalloc((size_t)rows.count * sizeof *wanted);
    struct adapter_range range = {rows.first, rows.count};
    int status = adapter_folder_read(adapter, config, lengths, range, wanted, err);
    for (int64_t row = 0; status == 0 && row < rows.count; row++)
        set_length(values + row * rows.cols, rows.cols, (double)wanted[row]);
    free(wanted);
    return status;
}

int adapter_merge(const struct adapter_folder *adapter, const struct model_config *config,
                  struct param matrix, struct adapter_range range, float *values, struct err *err) {
    enum adapter_target target = adapter_target_of(matrix.role);
    struct param a = {adapter_pair_role(target, ADAPTER_A), matrix.layer, matrix.expert},
                 b = {adapter_pair_role(target, ADAPTER_B), matrix.layer, matrix.expert};
    struct tensor shape = param_shape(config, a);
    struct pair pair = {.rank = shape.dims[0], .cols = shape.dims[1], .scale = adapter_scale(config, target)};
    if (range.count == 0)
        return 0;
    pair.first_row = range.first / pair.cols;
    int64_t num_rows = (range.first + range.count - 1) / pair.cols - pair.first_row + 1;
    struct adapter_range all = {0, pair.rank * pair.cols},
                         rows = {pair.first_row * pair.rank, num_rows * pair.rank};
    pair.a = xmalloc((size_t)all.count * sizeof *pair.a);
    pair.b = xmalloc((size_t)rows.count * sizeof *pair.b);
    pair.sums = xmalloc((size_t)pair.cols * sizeof *pair.sums);
    int status = adapter_folder_read(adapter, config, a, all, pair.a, err);
    if (status == 0)
        status = adapter_folder_read(adapter, config, b, rows, pair.b, err);
    if (status == 0)
        add_rows(&pair, range, values);
    if (status == 0 && config->adapter.method == ADAPTER_DORA)
        status = set_lengths(adapter, config,
                             (struct merge_rows){matrix, pair.first_row, num_rows, pair.cols}, values, err);
    free(pair.a);
    free(pair.b);
    free(pair.sums);
    return status;
}
