/* ahead.c - reader i has the row groups i, i + n, i + 2 n, ...; each has a ring of blocks, which it fills and the caller empties.  One
 * mutex for all: a block is worth milliseconds. */
#include "data/parquet/ahead.h"

#include <pthread.h>
#include <stdlib.h>

#include "kernels/units.h"

enum { NUM_BLOCKS = 3, BLOCK_BYTES = MIB, BLOCK_RECORDS = 4096, KEPT_BYTES = 4 * MIB };

/* Records of one row group, one after another. */
struct block {
    struct text json;
    size_t ends[BLOCK_RECORDS];
    int num_records;
    bool is_last;    /* of its group */
    bool has_ended;  /* there is no such group: the table has ended */
    bool has_failed; /* after its records */
    struct err err;
};

struct reader_thread {
    struct ahead *ahead;
    int number;
    pthread_t thread;
    struct block blocks[NUM_BLOCKS]; /* block n in slot n modulo their number */
    int64_t num_filled, num_emptied; /* under the mutex */
};

struct ahead {
    struct ahead_wish wish;
    int num_readers, num_started;
    struct reader_thread *readers;
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    bool is_stopped; /* under the mutex */
    /* of the caller: */
    int64_t group;
    int record; /* of the block that is emptied */
};

/* --- the threads --- */

/* free_block - to be filled; NULL where nobody wants more. */
static struct block *free_block(struct reader_thread *reader) {
    struct ahead *ahead = reader->ahead;
    pthread_mutex_lock(&ahead->mutex);
    while (!ahead->is_stopped && reader->num_filled - reader->num_emptied == NUM_BLOCKS)
        pthread_cond_wait(&ahead->changed, &ahead->mutex);
    struct block *block = ahead->is_stopped ? NULL : &reader->blocks[reader->num_filled % NUM_BLOCKS];
    pthread_mutex_unlock(&ahead->mutex);
    if (!block)
        return NULL;
    if (block->json.room_bytes > KEPT_BYTES)
        text_release(&block->json);
    block->json.length_bytes = 0;
    block->num_records = 0;
    block->is_last = block->has_ended = block->has_failed = false;
    return block;
}

static void hand_over(struct reader_thread *reader) {
    pthread_mutex_lock(&reader->ahead->mutex);
    reader->num_filled++;
    pthread_cond_broadcast(&reader->ahead->changed);
    pthread_mutex_unlock(&reader->ahead->mutex);
}

/* fill - with records of the group that was begun. */
static void fill(struct block *block, struct table *table, size_t max_bytes) {
    while (block->num_records < BLOCK_RECORDS && block->json.length_bytes < BLOCK_BYTES) {
        int status = table_next(table, max_bytes, &block->json, &block->err);
        block->has_failed = status < 0;
        block->is_last = status == 0;
        if (status <= 0)
            return;
        block->ends[block->num_records++] = block->json.length_bytes;
    }
}

/* read_groups - returns where nobody wants more, or a fault was handed over. */
static void read_groups(struct reader_thread *reader, struct table *table) {
    const struct ahead *ahead = reader->ahead;
    struct block *block;
    for (int64_t group = reader->number; group < table_num_groups(table); group += ahead->num_readers) {
        bool goes_on = true;
        table_begin_group(table, group);
        while (goes_on) {
            if (!(block = free_block(reader)))
                return;
            fill(block, table, ahead->wish.max_bytes);
            goes_on = !block->is_last;
            bool has_failed = block->has_failed;
            hand_over(reader);
            if (has_failed)
                return;
        }
    }
    if ((block = free_block(reader))) {
        block->has_ended = true;
        hand_over(reader);
    }
}

static void *reader_main(void *argument) {
    struct reader_thread *reader = argument;
    const struct ahead *ahead = reader->ahead;
    struct err err;
    struct table *table = table_open(ahead->wish.path, &err);
    if (table && table_choose(table, ahead->wish.is_wanted, ahead->wish.user, &err) == 0) {
        read_groups(reader, table);
    } else {
        struct block *block = free_block(reader);
        if (block) {
            block->has_failed = true;
            block->err = err;
            hand_over(reader);
        }
    }
    table_close(table);
    return NULL;
}

/* --- the caller --- */

void ahead_stop(struct ahead *ahead) {
    if (!ahead)
        return;
    pthread_mutex_lock(&ahead->mutex);
    ahead->is_stopped = true;
    pthread_cond_broadcast(&ahead->changed);
    pthread_mutex_unlock(&ahead->mutex);
    for (int i = 0; i < ahead->num_started; i++) {
        pthread_join(ahead->readers[i].thread, NULL);
        for (int b = 0; b < NUM_BLOCKS; b++)
            text_release(&ahead->readers[i].blocks[b].json);
    }
    pthread_mutex_destroy(&ahead->mutex);
    pthread_cond_destroy(&ahead->changed);
    free(ahead->readers);
    free(ahead);
}

struct ahead *ahead_start(struct ahead_wish wish, int num_readers, struct err *err) {
    struct ahead *ahead = xcalloc(1, sizeof *ahead);
    ahead->wish = wish;
    ahead->num_readers = num_readers;
    ahead->readers = xcalloc((size_t)num_readers, sizeof *ahead->readers);
    pthread_mutex_init(&ahead->mutex, NULL);
    pthread_cond_init(&ahead->changed, NULL);
    for (int i = 0; i < num_readers; i++) {
        struct reader_thread *reader = &ahead->readers[i];
        reader->ahead = ahead;
        reader->number = i;
        int status = pthread_create(&reader->thread, NULL, reader_main, reader);
        if (status != 0) {
            ahead_stop(ahead);
            err_set(err, "cannot start a thread that reads '%s': %s", wish.path, strerror(status));
            return NULL;
        }
        ahead->num_started++;
    }
    return ahead;
}

/* full_block - the one that the caller empties, once it is there. */
static struct block *full_block(struct ahead *ahead) {
    struct reader_thread *reader = &ahead->readers[ahead->group % ahead->num_readers];
    pthread_mutex_lock(&ahead->mutex);
    while (reader->num_filled == reader->num_emptied)
        pthread_cond_wait(&ahead->changed, &ahead->mutex);
    struct block *block = &reader->blocks[reader->num_emptied % NUM_BLOCKS];
    pthread_mutex_unlock(&ahead->mutex);
    return block;
}

/* give_back - a block that is empty now. */
static void give_back(struct ahead *ahead, bool is_last) {
    pthread_mutex_lock(&ahead->mutex);
    ahead->readers[ahead->group % ahead->num_readers].num_emptied++;
    pthread_cond_broadcast(&ahead->changed);
    pthread_mutex_unlock(&ahead->mutex);
    ahead->group += is_last;
    ahead->record = 0;
}

int ahead_next(struct ahead *ahead, struct text_span *record, struct err *err) {
    for (;;) {
        struct block *block = full_block(ahead);
        if (ahead->record < block->num_records) {
            size_t start = ahead->record > 0 ? block->ends[ahead->record - 1] : 0;
            *record = (struct text_span){block->json.bytes + start, block->ends[ahead->record] - start};
            ahead->record++;
            return 1;
        }
        if (block->has_ended)
            return 0;
        if (block->has_failed) {
            *err = block->err;
            return -1;
        }
        give_back(ahead, block->is_last);
    }
}
