/* stop.c - signals.  They are not handled but blocked in every thread, and looked for between steps.  A
 * handler would be the usual way; yet oneDNN 2.6's sgemm moves the stack pointer into its own buffers while
 * it computes, and the frame of a handler that runs at that moment destroys the heap. */
#include "train/run/stop.h"

#include <errno.h>
#include <signal.h>
#include <time.h>

#include "kernels/error.h"

static bool signal_seen;

/* hangup_counts - not where the caller has it ignored, as nohup does: a blocked signal would be kept all the same. */
static bool hangup_counts(void) {
    struct sigaction now;
    return sigaction(SIGHUP, NULL, &now) == 0 && now.sa_handler != SIG_IGN;
}

/* stop_signals - SIGTERM ends a job, SIGUSR1 is asked of Slurm before the time limit, SIGINT is a user's, SIGHUP that of a
 * terminal that is gone. */
static sigset_t stop_signals(void) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGUSR1);
    sigaddset(&set, SIGINT);
    if (hangup_counts())
        sigaddset(&set, SIGHUP);
    return set;
}

void stop_install(void) {
    sigset_t set = stop_signals();
    CHECK(pthread_sigmask(SIG_BLOCK, &set, NULL) == 0, "cannot block the signals that stop a run");
}

/* take_pending - signals that arrived since the last look. */
static void take_pending(void) {
    static const struct timespec at_once = {0, 0};
    sigset_t set = stop_signals();
    for (;;) {
        int arrived = sigtimedwait(&set, NULL, &at_once);
        if (arrived < 0 && errno != EINTR)
            return;
        if (arrived > 0)
            signal_seen = true;
    }
}

bool stop_requested(void) {
    take_pending();
    return signal_seen;
}
