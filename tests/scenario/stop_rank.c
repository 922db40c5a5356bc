/* stop_rank.c - a library to be preloaded: the rank STOP_RANK stops itself (SIGSTOP, or SIGUSR1
 * where STOP_SIGNAL is USR1; started alone it is rank 0) at the place STOP_AT, so
 * that tests of waits need no luck with time.  STOP_AT: "start" (before main), "init", "initialised",
 * "finalize", or "open:TEXT" (when it opens a file whose path holds TEXT). */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <mpi.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* place_of - where this process is to stop; "" for every other one. */
static const char *place_of(void) {
    const char *rank = getenv("OMPI_COMM_WORLD_RANK"), *wanted = getenv("STOP_RANK"),
               *place = getenv("STOP_AT");
    return wanted && place && strcmp(rank ? rank : "0", wanted) == 0 ? place : "";
}

static void stop(void) {
    const char *name = getenv("STOP_SIGNAL");
    kill(getpid(), name && strcmp(name, "USR1") == 0 ? SIGUSR1 : SIGSTOP);
}

static void reach(const char *place) {
    if (strcmp(place_of(), place) == 0)
        stop();
}

__attribute__((constructor)) static void start(void) {
    reach("start");
}

int MPI_Init_thread(int *argc, char ***argv, int wanted, int *level) {
    reach("init");
    int status = PMPI_Init_thread(argc, argv, wanted, level);
    reach("initialised");
    return status;
}

int MPI_Finalize(void) {
    reach("finalize");
    return PMPI_Finalize();
}

static int open_by(const char *name, const char *path, int flags, mode_t mode) {
    int (*next)(const char *, int, ...);
    const char *place = place_of();
    *(void **)&next = dlsym(RTLD_NEXT, name);
    if (strncmp(place, "open:", 5) == 0 && strstr(path, place + 5))
        stop();
    return next(path, flags, mode);
}

static mode_t mode_in(int flags, va_list args) {
    return flags & (O_CREAT | O_TMPFILE) ? (mode_t)va_arg(args, int) : 0;
}

int open(const char *path, int flags, ...) {
    va_list args;
    va_start(args, flags);
    mode_t mode = mode_in(flags, args);
    va_end(args);
    return open_by("open", path, flags, mode);
}

int open64(const char *path, int flags, ...) {
    va_list args;
    va_start(args, flags);
    mode_t mode = mode_in(flags, args);
    va_end(args);
    return open_by("open64", path, flags, mode);
}

int openat(int folder, const char *path, int flags, ...) {
    int (*next)(int, const char *, int, ...);
    const char *place = place_of();
    va_list args;
    va_start(args, flags);
    mode_t mode = mode_in(flags, args);
    va_end(args);
    *(void **)&next = dlsym(RTLD_NEXT, "openat");
    if (strncmp(place, "open:", 5) == 0 && strstr(path, place + 5))
        stop();
    return next(folder, path, flags, mode);
}
