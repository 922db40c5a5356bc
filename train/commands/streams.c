/* streams.c - see streams.h. */
#include "train/commands/streams.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "train/commands/commands.h"

void streams_open(void) {
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
        if (fcntl(fd, F_GETFD) < 0 && errno == EBADF)
            (void)!open("/dev/null", O_RDWR); /* the lowest number that is free is this one */
    signal(SIGXFSZ, SIG_IGN);
}

void streams_may_be_lost(void) {
    signal(SIGPIPE, SIG_IGN);
}

/* What is still in the stream's buffer then goes where no write fails. */
void streams_lost(void) {
    bool had_failed = ferror(stdout) != 0;
    if (fflush(stdout) == 0 && !had_failed)
        return;
    warn("standard output takes no more: what was printed is in the files of the run alone");
    int nowhere = open("/dev/null", O_WRONLY);
    if (nowhere >= 0 && dup2(nowhere, STDOUT_FILENO) >= 0)
        clearerr(stdout);
    if (nowhere >= 0)
        close(nowhere);
}

/* A full disk or a closed pipe shows at the last fflush at the latest: a command whose output is lost has not done
 * what was asked, whatever it thought. */
int streams_close(int code) {
    bool had_failed = ferror(stdout) != 0;
    bool is_lost = fflush(stdout) != 0 || had_failed;
    if (!is_lost)
        return code;
    fprintf(stderr, "error: cannot write to standard output: %s\n",
            had_failed ? "what was written is not whole" : strerror(errno));
    return code == EXIT_DONE ? EXIT_FAULT : code;
}
