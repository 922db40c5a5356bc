/* comm_guard.c - the watch over one wait.  A thread, and neither an alarm nor a handler: stop.c says what handlers
 * do here. */
#include "train/ranks/comm_guard.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "kernels/clock.h"

static const double LOOK_S = 0.25;  /* between two looks at the clock */
static const double LONGEST_S = 1;  /* what counts between two looks: a job that was suspended did not wait */
static const double PATIENCE_S = 2; /* the rank that speaks for its host ends first */

struct guard {
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t over;
    bool is_over;
    struct marks *marks; /* borrowed */
    const char *what;
    enum mark_stage stage;
    struct comm_phase phase;
};

/* wait_a_little - true when it is over. */
static bool wait_a_little(struct guard *guard) {
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_nsec += (long)(LOOK_S * 1e9);
    until.tv_sec += until.tv_nsec / 1000000000;
    until.tv_nsec %= 1000000000;
    pthread_mutex_lock(&guard->lock);
    if (!guard->is_over)
        pthread_cond_timedwait(&guard->over, &guard->lock, &until);
    bool is_over = guard->is_over;
    pthread_mutex_unlock(&guard->lock);
    return is_over;
}

/* watch_over - the thread.  It may end the process, but calls nothing of MPI: the main thread stands inside MPI_Init or
 * MPI_Finalize, where nobody else may.  One rank of a host speaks; the others give it PATIENCE_S to say why before they end
 * without a word. */
static void *watch_over(void *user) {
    struct guard *guard = user;
    double waited_s = 0, tell_s = COMM_TELL_S, last = clock_s();
    char whom[COMM_WHOM_ROOM];
    while (!wait_a_little(guard)) {
        double now = clock_s(), limit_s = guard->phase.limit_s;
        waited_s += now - last < LONGEST_S ? now - last : LONGEST_S;
        last = now;
        if (waited_s < limit_s && waited_s < tell_s)
            continue;
        bool speaks = marks_speaks(guard->marks, guard->stage);
        marks_missing(guard->marks, guard->stage, whom, sizeof whom);
        if (waited_s >= limit_s && marks_given_up(guard->marks))
            _exit(1); /* it has been said */
        if (waited_s >= limit_s + (speaks ? 0 : PATIENCE_S)) {
            marks_give_up(guard->marks);
            error_set_abort_hook(NULL); /* MPI cannot be called from here */
            die("waited %.1f s for %s in '%s', while %s: it hangs, is stopped or is slower; look at its host "
                "and start again, or raise %s",
                waited_s, whom, guard->what, guard->phase.name, guard->phase.key);
        }
        if (waited_s >= tell_s && speaks)
            warn("waiting for %s in '%s', while %s, for %.0f s now; the limit is %.0f s (%s)", whom,
                 guard->what, guard->phase.name, waited_s, limit_s, guard->phase.key);
        tell_s = waited_s >= tell_s ? tell_s * 2 : tell_s;
    }
    return NULL;
}

/* The clock is the monotonic one: setting a node's date, as happens when it boots, is no wait. */
struct guard *guard_begin(struct marks *marks, const char *what, enum mark_stage stage,
                          const struct comm_phase *phase) {
    struct guard *guard = xcalloc(1, sizeof *guard);
    pthread_condattr_t monotonic;
    sigset_t all, before;
    guard->marks = marks;
    guard->what = what;
    guard->stage = stage;
    guard->phase = *phase;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&guard->over, &monotonic);
    pthread_condattr_destroy(&monotonic);
    pthread_mutex_init(&guard->lock, NULL);
    sigfillset(&all); /* signals are not for this thread */
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int status = pthread_create(&guard->thread, NULL, watch_over, guard);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    CHECK(status == 0, "cannot start the thread that watches '%s': raise 'ulimit -u'", what);
    return guard;
}

void guard_end(struct guard *guard) {
    pthread_mutex_lock(&guard->lock);
    guard->is_over = true;
    pthread_cond_signal(&guard->over);
    pthread_mutex_unlock(&guard->lock);
    pthread_join(guard->thread, NULL);
    pthread_cond_destroy(&guard->over);
    pthread_mutex_destroy(&guard->lock);
    free(guard);
}
