/* nccl_watch.c - what the host does while it waits for NCCL and the GPU: it looks for errors of NCCL and for ranks that do not come,
 * and ends the process with one line where there are any. */
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "kernels/clock.h"
#include "train/ranks/cuda/nccl_state.h"

enum {
    ABORT_PATIENCE_S = 5, /* ncclCommAbort has been seen to hang (NVIDIA/nccl issues 549, 863, 1013) */
    LOOK_INTERVAL_NS = 50000
};

/* --- dying --- */

/* What the thread has to abort: its own copy, as the caller may be gone when it gets there. */
struct aborted {
    int count;
    ncclComm_t comms[NUM_COMMS];
};

static void *abort_comms(void *user) {
    struct aborted *aborted = user;
    for (int i = 0; i < aborted->count; i++)
        if (aborted->comms[i])
            ncclCommAbort(aborted->comms[i]); /* what it says changes nothing any more */
    free(aborted);
    return NULL;
}

/* So that the other ranks see an error soon; in a thread, as what is done next must be even if this hangs. */
void nccl_abort_in_time(ncclComm_t *comms, int count) {
    pthread_t thread;
    struct timespec until;
    struct aborted *aborted = xcalloc(1, sizeof *aborted);
    aborted->count = count;
    memcpy(aborted->comms, comms, (size_t)count * sizeof *comms);
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += ABORT_PATIENCE_S;
    if (pthread_create(&thread, NULL, abort_comms, aborted) == 0)
        pthread_timedjoin_np(thread, NULL, &until);
}

/* oldest_text - what the GPU has not finished: the transfer that others are missing in, or a phase of NCCL.
 */
static const char *oldest_text(const struct nccl *nccl, char *text, size_t room_bytes) {
    const struct flight *flight = &nccl->flights[(nccl->num_finished + 1) % MAX_AHEAD];
    if (nccl->num_finished < nccl->num_started)
        snprintf(text, room_bytes, "%s of %zu bytes, transfer %lld", flight->what, flight->size_bytes,
                 (long long)nccl->num_finished + 1);
    else
        snprintf(text, room_bytes, "%s", nccl->phase ? nccl->phase : "the GPU's own work");
    return text;
}

static void die_of_error(struct nccl *nccl, int i, ncclResult_t result) __attribute__((noreturn));
static void die_of_timeout(struct nccl *nccl, double waited_s, const char *whom) __attribute__((noreturn));

static void die_of_error(struct nccl *nccl, int i, ncclResult_t result) {
    const struct cuda_state *gpu = nccl->device->state;
    const char *last = nccl->comms[i] ? ncclGetLastError(nccl->comms[i]) : NULL;
    char oldest[128], reason[256];
    oldest_text(nccl, oldest, sizeof oldest);
    snprintf(reason, sizeof reason, "%s%s%.160s", ncclGetErrorString(result), last && last[0] ? ": " : "",
             last ? last : "");
    reason[strcspn(reason, "\n")] = '\0';
    nccl_abort_in_time(nccl->comms, NUM_COMMS);
    die("NCCL on GPU %d (%s): %s, in '%s': another rank ended or the network failed; that rank's own line "
        "says "
        "why, NCCL_DEBUG=INFO tells more",
        gpu->ordinal, gpu->gpu, reason, oldest);
}

static void die_of_timeout(struct nccl *nccl, double waited_s, const char *whom) {
    const struct cuda_state *gpu = nccl->device->state;
    char oldest[128];
    oldest_text(nccl, oldest, sizeof oldest);
    bool has_engines = nccl->comms[COMM_ENGINES] != NULL;
    nccl_abort_in_time(nccl->comms, NUM_COMMS);
    const struct comm_phase *phase = comm_phase(nccl->comm);
    die("GPU %d (%s) waited %.1f s in '%s', for %s, while %s: it ended, hangs, is stopped or is slower; look "
        "at its "
        "host and start again, or raise %s%s",
        gpu->ordinal, gpu->gpu, waited_s, oldest, whom, phase->name, phase->key,
        has_engines ? "; gathers went by copy engines here: parallel.gathers: kernels is the other way" : "");
}

/* --- waiting --- */

/* In the order of the starts. */
void nccl_advance(struct nccl *nccl) {
    while (nccl->num_finished < nccl->num_started) {
        cudaError_t status = cudaEventQuery(nccl->flights[(nccl->num_finished + 1) % MAX_AHEAD].done);
        if (status == cudaErrorNotReady) {
            (void)cudaGetLastError(); /* it is remembered as if it were an error */
            return;
        }
        if (status != cudaSuccess)
            cuda_die(__FILE__, __LINE__, "cudaEventQuery", status);
        nccl->num_finished++;
        nccl->moved_s = clock_s();
    }
}

/* check_comms - die when NCCL reports an error. */
static void check_comms(struct nccl *nccl) {
    for (int i = 0; i < NUM_COMMS; i++) {
        ncclResult_t result = ncclSuccess;
        if (!nccl->comms[i])
            continue;
        ncclResult_t status = ncclCommGetAsyncError(nccl->comms[i], &result);
        if (status != ncclSuccess || (result != ncclSuccess && result != ncclInProgress))
            die_of_error(nccl, i, status != ncclSuccess ? status : result);
    }
}

/* look - what every wait of the host does now and then: MPI's progress, NCCL's errors.  waited_s is how long
 * this wait has lasted.  Returns for how long nothing has moved: a wait during which transfers finish is no
 * hang. */
static double look(struct nccl *nccl, double waited_s) {
    comm_poll(nccl->comm);
    nccl_advance(nccl);
    check_comms(nccl);
    double quiet_s = clock_s() - nccl->moved_s;
    return quiet_s < waited_s ? quiet_s : waited_s;
}

void nccl_look_or_die(struct nccl *nccl, double waited_s) {
    const double note_every_s = 0.2;
    double quiet_s = look(nccl, waited_s);
    char whom[COMM_WHOM_ROOM], oldest[128];
    if (nccl->num_finished == nccl->num_started && !nccl->phase) { /* of no other rank's making */
        if (quiet_s > comm_timeout(nccl->comm))
            die_of_timeout(nccl, quiet_s, "itself");
        return;
    }
    if (quiet_s < nccl->noted_s)
        nccl->noted_s = 0;
    if (quiet_s < nccl->noted_s + note_every_s)
        return;
    nccl->noted_s = quiet_s;
    if (!comm_note_wait(nccl->comm, oldest_text(nccl, oldest, sizeof oldest), quiet_s, whom))
        die_of_timeout(nccl, quiet_s, whom);
}

/* With several transports on a device the one that misses a transfer
 * shall speak; that the GPU itself hangs is for the first of them to say. */
void nccl_look_while_waiting(void *user, double waited_s) {
    struct nccl *nccl = user;
    double quiet_s = look(nccl, waited_s);
    if (nccl->look_before && nccl->num_finished == nccl->num_started && !nccl->phase)
        nccl->look_before(nccl->look_before_user, quiet_s);
    else
        nccl_look_or_die(nccl, quiet_s);
}

void nccl_pause(void) {
    struct timespec pause = {0, LOOK_INTERVAL_NS};
    nanosleep(&pause, NULL);
}

void nccl_settle(struct nccl *nccl, int i, ncclResult_t status) {
    double start = clock_s();
    while (status == ncclInProgress) {
        ncclResult_t call = ncclCommGetAsyncError(nccl->comms[i], &status);
        if (call != ncclSuccess)
            status = call;
        if (status != ncclInProgress)
            break;
        nccl_look_or_die(nccl, clock_s() - start);
        sched_yield(); /* it takes tens of microseconds: too short to sleep */
    }
    if (status != ncclSuccess)
        die_of_error(nccl, i, status);
}
