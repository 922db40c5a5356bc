/* stop.c - see stop.h.  The flag below is the one global of the program besides error.c's: a handler reaches
 * nothing else. */
#include "train/stop.h"

#include <signal.h>
#include <string.h>
#include <unistd.h>

static volatile sig_atomic_t signal_seen;

/* on_signal - only what is async-signal-safe.  The first signal is kept: its name is what the summary shows.
 */
static void on_signal(int signal_number) {
    /* Somebody at a terminal who asks twice does not want to wait for a checkpoint. */
    if (signal_number == SIGINT && signal_seen == SIGINT)
        _exit(128 + SIGINT);
    if (!signal_seen)
        signal_seen = signal_number;
}

void stop_install(void) {
    static const int signals[] = {SIGTERM, SIGUSR1, SIGINT};
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_handler = on_signal;
    action.sa_flags = SA_RESTART; /* reads and writes under way go on */
    sigemptyset(&action.sa_mask);
    for (size_t i = 0; i < sizeof signals / sizeof signals[0]; i++)
        CHECK(sigaction(signals[i], &action, NULL) == 0, "cannot install the handler of signal %d",
              signals[i]);
}

bool stop_agreed(struct comm *comm) {
    int64_t seen = signal_seen != 0;
    comm_max_i64(comm, &seen, 1);
    return seen != 0;
}

const char *stop_reason(void) {
    switch (signal_seen) {
    case SIGTERM:
        return "SIGTERM";
    case SIGUSR1:
        return "SIGUSR1";
    case SIGINT:
        return "SIGINT";
    default:
        return "";
    }
}
