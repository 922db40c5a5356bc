/* subprocess.c - starting a program with a bare environment, reading its two streams within a time limit. */
#include "slurm/subprocess.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kernels/clock.h"

extern char **environ;

/* One stream of the child on its way into a buffer. */
struct stream {
    int fd; /* -1 once it has ended */
    char *bytes;
    size_t length, room;
};

static bool starts_with(const char *text, const char *prefix) {
    return strncmp(text, prefix, strlen(prefix)) == 0;
}

/* is_passed_on - SBATCH_* would override the script's own lines; SLURM_* of the job we are in would speak for
 * the job that is submitted; BASH_ENV would be sourced by every job.  What tells where the cluster is stays.
 */
static bool is_passed_on(const char *variable) {
    if (starts_with(variable, "SLURM_CONF=") || starts_with(variable, "SLURM_CLUSTERS="))
        return true;
    return !starts_with(variable, "SBATCH_") && !starts_with(variable, "SLURM_") &&
           !starts_with(variable, "SRUN_") && !starts_with(variable, "SQUEUE_") &&
           !starts_with(variable, "BASH_ENV=");
}

/* subprocess_environment - borrowed strings in a list of its own. */
static char **subprocess_environment(void) {
    size_t count = 0, kept = 0;
    while (environ[count])
        count++;
    char **list = xcalloc(count + 1, sizeof *list);
    for (size_t i = 0; i < count; i++)
        if (is_passed_on(environ[i]))
            list[kept++] = environ[i];
    return list;
}

/* spawn - the child with its two streams; signals that this program blocks are open again there. */
static int spawn(const char *const *argv, const int out[2], const int errors[2], pid_t *pid) {
    posix_spawn_file_actions_t files;
    posix_spawnattr_t attributes;
    sigset_t none;
    char **environment = subprocess_environment();
    sigemptyset(&none);
    posix_spawn_file_actions_init(&files);
    posix_spawnattr_init(&attributes);
    posix_spawn_file_actions_addopen(&files, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_adddup2(&files, out[1], STDOUT_FILENO);
    posix_spawn_file_actions_adddup2(&files, errors[1], STDERR_FILENO);
    posix_spawnattr_setsigmask(&attributes, &none);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK);
    int status = posix_spawnp(pid, argv[0], &files, &attributes, (char *const *)(uintptr_t)argv, environment);
    posix_spawnattr_destroy(&attributes);
    posix_spawn_file_actions_destroy(&files);
    free(environment);
    return status;
}

/* take - what is there to read; ends the stream at its end, and beyond the limit reads without keeping. */
static void take(struct stream *stream) {
    char block[4096];
    ssize_t count = read(stream->fd, block, sizeof block);
    if (count < 0 && errno == EINTR)
        return;
    if (count <= 0) {
        close(stream->fd);
        stream->fd = -1;
        return;
    }
    size_t kept = (size_t)count;
    if (kept > CHILD_MAX_OUTPUT - stream->length)
        kept = CHILD_MAX_OUTPUT - stream->length;
    if (stream->length + kept + 1 > stream->room) {
        stream->room = 2 * (stream->length + kept) + 1;
        stream->bytes = xrealloc(stream->bytes, stream->room);
    }
    memcpy(stream->bytes + stream->length, block, kept);
    stream->length += kept;
    stream->bytes[stream->length] = '\0';
}

/* read_streams - until both have ended.  False when the time is over. */
static bool read_streams(struct stream *streams, double deadline_s) {
    while (streams[0].fd >= 0 || streams[1].fd >= 0) {
        struct pollfd waits[2] = {{streams[0].fd, POLLIN, 0}, {streams[1].fd, POLLIN, 0}};
        double left_s = deadline_s - clock_s();
        if (left_s <= 0)
            return false;
        if (poll(waits, 2, (int)(left_s * 1000) + 1) <= 0)
            continue; /* the clock decides */
        for (int i = 0; i < 2; i++)
            if (streams[i].fd >= 0 && waits[i].revents)
                take(&streams[i]);
    }
    return true;
}

/* wait_for - the exit code; false when the child, its streams closed, still runs at the deadline. */
static bool wait_for(pid_t pid, double deadline_s, int *exit_code) {
    for (;;) {
        int status;
        pid_t ended = waitpid(pid, &status, WNOHANG); /* a wait that sleeps knows no deadline */
        if (ended == pid) {
            *exit_code = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
            return true;
        }
        if ((ended < 0 && errno != EINTR) || clock_s() >= deadline_s)
            return false;
        usleep(2000);
    }
}

/* follow - until the child has ended.  After the time limit it is killed and waited for, so that none stays behind
 * as a zombie; its own children are not known here. */
static int follow(pid_t pid, struct stream *streams, double timeout_s, const char *name, int *exit_code,
                  struct err *err) {
    double deadline_s = clock_s() + timeout_s;
    if (read_streams(streams, deadline_s) && wait_for(pid, deadline_s, exit_code))
        return 0;
    kill(pid, SIGKILL);
    while (waitpid(pid, NULL, 0) < 0 && errno == EINTR) {
    }
    return err_set(err, "'%s' did not answer within %g s", name, timeout_s);
}

/* Two pipes and not one: results are parsed, errors are shown.  Read together, or a child that fills one while the
 * other is waited for would never end. */
int subprocess_run(const char *const *argv, double timeout_s, struct subprocess_result *result,
                   struct err *err) {
    int out[2], errors[2], status = -1;
    pid_t pid;
    *result = (struct subprocess_result){NULL, NULL, -1};
    if (pipe2(out, O_CLOEXEC) != 0)
        return err_set(err, "cannot start '%s': %s", argv[0], strerror(errno));
    if (pipe2(errors, O_CLOEXEC) != 0) {
        err_set(err, "cannot start '%s': %s", argv[0], strerror(errno));
        close(out[0]);
        close(out[1]);
        return -1;
    }
    int failure = spawn(argv, out, errors, &pid);
    close(out[1]);
    close(errors[1]);
    struct stream streams[2] = {{.fd = out[0]}, {.fd = errors[0]}};
    if (failure == 0)
        status = follow(pid, streams, timeout_s, argv[0], &result->exit_code, err);
    else
        err_set(err, "cannot start '%s': %s", argv[0],
                failure == ENOENT ? "it is not installed, or not on PATH" : strerror(failure));
    for (int i = 0; i < 2; i++)
        if (streams[i].fd >= 0)
            close(streams[i].fd);
    result->output = streams[0].bytes ? streams[0].bytes : xstrdup("");
    result->errors = streams[1].bytes ? streams[1].bytes : xstrdup("");
    return status;
}

void subprocess_release(struct subprocess_result *result) {
    free(result->output);
    free(result->errors);
    *result = (struct subprocess_result){NULL, NULL, -1};
}

/* flatten - the errors on one line, without the final newline. */
static void flatten(char *text) {
    size_t length = strlen(text);
    while (length > 0 && (text[length - 1] == '\n' || text[length - 1] == ' '))
        text[--length] = '\0';
    for (char *at = text; *at; at++)
        if (*at == '\n')
            *at = ';';
}

char *subprocess_ask(const char *const *argv, double timeout_s, struct err *err) {
    struct subprocess_result result;
    char *output = NULL;
    int status = subprocess_run(argv, timeout_s, &result, err);
    if (status == 0 && result.exit_code != 0) {
        flatten(result.errors);
        err_set(err, "'%s' ended with code %d: %.700s", argv[0], result.exit_code,
                result.errors[0] ? result.errors : "it said nothing");
    } else if (status == 0) {
        output = result.output;
        result.output = NULL;
    }
    subprocess_release(&result);
    return output;
}

/* As execvp would find it, without starting it. */
bool subprocess_is_there(const char *program) {
    const char *path = getenv("PATH");
    for (const char *at = path; at && *at;) {
        size_t length = strcspn(at, ":");
        char *file = xasprintf("%.*s/%s", (int)length, at, program);
        bool found = access(file, X_OK) == 0;
        free(file);
        if (found)
            return true;
        at += length + (at[length] == ':');
    }
    return false;
}
