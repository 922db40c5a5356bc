/* prefetch.c - a bounded ring between one reading thread and one caller. */
#include "data/prefetch.h"

#include <pthread.h>
#include <stdlib.h>

struct prefetch {
    struct loader *loader;
    prefetch_wanted wanted;
    void *user;
    struct sample *slots; /* sample n sits in slot n modulo num_slots */
    int num_slots;
    pthread_t thread;
    pthread_mutex_t mutex; /* everything below */
    pthread_cond_t changed;
    int64_t num_read, num_taken;
    bool has_ended, has_failed, is_stopping;
    struct err err;
};

/* wait_for_room - false when it is time to stop. */
static bool wait_for_room(struct prefetch *prefetch) {
    pthread_mutex_lock(&prefetch->mutex);
    while (!prefetch->is_stopping && prefetch->num_read - prefetch->num_taken == prefetch->num_slots)
        pthread_cond_wait(&prefetch->changed, &prefetch->mutex);
    bool goes_on = !prefetch->is_stopping;
    pthread_mutex_unlock(&prefetch->mutex);
    return goes_on;
}

/* read_ahead - the thread.  A sample is read without the lock: num_read, which says that it is there, grows after
 * it.  An error ends the thread, and is told after the samples that were read before it. */
static void *read_ahead(void *argument) {
    struct prefetch *prefetch = argument;
    bool goes_on = true;
    for (int64_t n = 0; goes_on && wait_for_room(prefetch); n++) {
        struct err err;
        int status = 0;
        int64_t g = prefetch->wanted(prefetch->user, n);
        if (g >= 0) /* the slot is free: the caller does not look at it */
            status = loader_sample(prefetch->loader, g, &prefetch->slots[n % prefetch->num_slots], &err);
        goes_on = g >= 0 && status == 0;
        pthread_mutex_lock(&prefetch->mutex);
        if (status != 0) {
            prefetch->has_failed = true;
            prefetch->err = err;
        }
        prefetch->has_ended = !goes_on;
        prefetch->num_read += goes_on;
        pthread_cond_broadcast(&prefetch->changed);
        pthread_mutex_unlock(&prefetch->mutex);
    }
    return NULL;
}

struct prefetch *prefetch_open(struct loader *loader, int64_t sequence_tokens, int num_slots,
                               prefetch_wanted wanted, void *user) {
    struct prefetch *prefetch = xcalloc(1, sizeof *prefetch);
    *prefetch = (struct prefetch){.loader = loader, .wanted = wanted, .user = user, .num_slots = num_slots};
    CHECK(num_slots > 0, "prefetch with %d slots", num_slots);
    prefetch->slots = xcalloc((size_t)num_slots, sizeof *prefetch->slots);
    for (int i = 0; i < num_slots; i++)
        sample_init(&prefetch->slots[i], sequence_tokens);
    pthread_mutex_init(&prefetch->mutex, NULL);
    pthread_cond_init(&prefetch->changed, NULL);
    CHECK(pthread_create(&prefetch->thread, NULL, read_ahead, prefetch) == 0,
          "cannot start the reading thread");
    return prefetch;
}

/* Swapped and not copied: the slot gets the caller's buffers, which have the same sizes. */
int prefetch_next(struct prefetch *prefetch, struct sample *out, struct err *err) {
    pthread_mutex_lock(&prefetch->mutex);
    while (!prefetch->has_ended && prefetch->num_read == prefetch->num_taken)
        pthread_cond_wait(&prefetch->changed, &prefetch->mutex);
    int status = prefetch->num_read > prefetch->num_taken ? 1 : prefetch->has_failed ? -1 : 0;
    if (status > 0) {
        struct sample *slot = &prefetch->slots[prefetch->num_taken % prefetch->num_slots];
        struct sample ready = *slot;
        *slot = *out;
        *out = ready;
        prefetch->num_taken++;
        pthread_cond_broadcast(&prefetch->changed);
    } else if (status < 0) {
        *err = prefetch->err;
    }
    pthread_mutex_unlock(&prefetch->mutex);
    return status;
}

/* A sample that is being read is read to its end first: loader_sample cannot be interrupted. */
void prefetch_close(struct prefetch *prefetch) {
    if (!prefetch)
        return;
    pthread_mutex_lock(&prefetch->mutex);
    prefetch->is_stopping = true;
    pthread_cond_broadcast(&prefetch->changed);
    pthread_mutex_unlock(&prefetch->mutex);
    pthread_join(prefetch->thread, NULL);
    for (int i = 0; i < prefetch->num_slots; i++)
        sample_release(&prefetch->slots[i]);
    pthread_mutex_destroy(&prefetch->mutex);
    pthread_cond_destroy(&prefetch->changed);
    free(prefetch->slots);
    free(prefetch);
}
