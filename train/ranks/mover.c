/* mover.c - the thread, and what the ops of the device tell it. */
#include "train/ranks/mover.h"

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <time.h>

#include "kernels/clock.h"

struct mover {
    struct comm *comm; /* borrowed, as is the device */
    struct device *device;
    pthread_t thread;
    pthread_mutex_t inside; /* who has it may call comm.h; of the opener, but during ops */
    pthread_cond_t wanted;
    bool is_lent; /* an op runs; of the opener alone */
    bool is_idle; /* the thread waits for something to move; this and what follows: of who has the lock */
    bool ends;
    double next_s; /* no look between ops before */
};

/* look - a few times while it lasts: a call that does is a sign that data moves, and that there is more of it. */
static void look(struct mover *mover) {
    const double slow_look_s = 4e-6;
    enum { MOST_LOOKS = 4 };
    double before = clock_s();
    for (int i = 0; i < MOST_LOOKS && comm_move(mover->comm); i++) {
        double now = clock_s();
        if (now - before < slow_look_s)
            break;
        before = now;
    }
}

/* rest - so short that a window of TCP is not used up in it. */
static void rest(void) {
    struct timespec pause = {0, 100000};
    nanosleep(&pause, NULL);
}

/* move_beside - the thread.  Where the lock is taken the other one is between two ops, or waits for the transfers itself. */
static void *move_beside(void *argument) {
    struct mover *mover = argument;
    pthread_mutex_lock(&mover->inside);
    while (!mover->ends) {
        look(mover);
        mover->is_idle = !comm_is_moving(mover->comm);
        if (mover->is_idle) {
            pthread_cond_wait(&mover->wanted, &mover->inside);
            continue;
        }
        pthread_mutex_unlock(&mover->inside);
        do
            rest();
        while (pthread_mutex_trylock(&mover->inside) != 0);
    }
    pthread_mutex_unlock(&mover->inside);
    return NULL;
}

/* lend - an op begins. */
static void lend(void *user) {
    struct mover *mover = user;
    if (mover->is_lent)
        return;
    if (mover->is_idle && comm_is_moving(mover->comm)) {
        mover->is_idle = false;
        pthread_cond_signal(&mover->wanted);
    }
    mover->is_lent = true;
    pthread_mutex_unlock(&mover->inside);
}

/* take_back - it is over.  Between short ops, which the thread sleeps through, this one looks itself. */
static void take_back(void *user) {
    const double rest_s = 100e-6;
    struct mover *mover = user;
    if (!mover->is_lent)
        return;
    pthread_mutex_lock(&mover->inside);
    mover->is_lent = false;
    double now = clock_s();
    if (now < mover->next_s || !comm_is_moving(mover->comm))
        return;
    look(mover);
    mover->next_s = clock_s() + rest_s;
}

/* start - the thread.  Signals are not for it. */
static void start(struct mover *mover) {
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int status = pthread_create(&mover->thread, NULL, move_beside, mover);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    CHECK(status == 0, "cannot start the thread that moves messages between ranks: raise 'ulimit -u'");
}

struct mover *mover_open(struct comm *comm, struct device *device) {
    struct mover *mover = xcalloc(1, sizeof *mover);
    mover->comm = comm;
    mover->device = device;
    pthread_mutex_init(&mover->inside, NULL);
    pthread_cond_init(&mover->wanted, NULL);
    pthread_mutex_lock(&mover->inside);
    start(mover);
    device->before_op = lend;
    device->after_op = take_back;
    device->around_user = mover;
    return mover;
}

void mover_close(struct mover *mover) {
    mover->device->before_op = mover->device->after_op = NULL;
    mover->device->around_user = NULL;
    mover->ends = true;
    pthread_cond_signal(&mover->wanted);
    pthread_mutex_unlock(&mover->inside);
    CHECK(pthread_join(mover->thread, NULL) == 0, "the thread that moves messages cannot be waited for");
    pthread_cond_destroy(&mover->wanted);
    pthread_mutex_destroy(&mover->inside);
    free(mover);
}
