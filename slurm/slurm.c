/* slurm.c - squeue, sbatch, scontrol, scancel and sacct: called, tried again while Slurm is away, their answers
 * read. */
#include "slurm/slurm.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "kernels/clock.h"
#include "kernels/units.h"
#include "slurm/slurm_text.h"
#include "slurm/subprocess.h"

static const double SUBMIT_TIMEOUT_S = 120; /* a controller under load takes its time */
static const double TELL_TIMEOUT_S = MINUTE_S;
static const double LIST_TIMEOUT_S = 10;

enum { NUM_FIELDS = 8 };

/* take_field - up to the next '|' or the end, into room; returns what follows. */
static const char *take_field(const char *at, const char *end, char *room, size_t room_bytes) {
    const char *bar = memchr(at, '|', (size_t)(end - at));
    const char *stop = bar ? bar : end;
    snprintf(room, room_bytes, "%.*s", (int)(stop - at), at);
    return bar ? bar + 1 : end;
}

/* count_bars - how many fields a line has, less one. */
static int count_bars(const char *line, size_t length) {
    int count = 0;
    for (size_t i = 0; i < length; i++)
        count += line[i] == '|';
    return count;
}

/* add_line - a line of squeue, with or without the user; one that does not begin with an id is not a job. */
static void add_line(struct queue *queue, const char *line, size_t length) {
    const char *end = line + length;
    struct queued_job job = {.id = ""};
    int num_bars = count_bars(line, length);
    if (num_bars != NUM_FIELDS - 1 && num_bars != NUM_FIELDS - 2)
        return;
    line = take_field(line, end, job.id, sizeof job.id);
    line = take_field(line, end, job.state, sizeof job.state);
    line = take_field(line, end, job.reason, sizeof job.reason);
    line = take_field(line, end, job.start, sizeof job.start);
    line = take_field(line, end, job.left, sizeof job.left);
    line = take_field(line, end, job.qos, sizeof job.qos);
    line = take_field(line, end, job.nodes, sizeof job.nodes);
    take_field(line, end, job.user, sizeof job.user);
    if (job.id[0] < '0' || job.id[0] > '9')
        return;
    if (strcmp(job.start, "N/A") == 0)
        job.start[0] = '\0';
    queue->jobs = xrealloc(queue->jobs, (size_t)(queue->num_jobs + 1) * sizeof *queue->jobs);
    queue->jobs[queue->num_jobs++] = job;
}

void queue_read(struct queue *queue, const char *text) {
    *queue = (struct queue){NULL, 0};
    while (*text) {
        size_t length = strcspn(text, "\n");
        add_line(queue, text, length);
        text += length + (text[length] == '\n');
    }
}

/* --- patience --- */

double slurm_patience_s(void) {
    static const double TEN_MINUTES_S = 600;
    const char *text = getenv("ATELIER_SLURM_PATIENCE_S");
    char *end;
    double seconds = text ? strtod(text, &end) : 0;
    return text && end != text && !*end && seconds >= 0 && seconds <= DAY_S ? seconds : TEN_MINUTES_S;
}

/* What Slurm's programs say while the controller restarts, is overloaded, or hands over to its second.  Phrases of several
 * versions: an error that is not among them is Slurm's decision, and final. */
bool slurm_is_passing(const char *failure) {
    static const char *const phrases[] = {"Unexpected message received",
                                          "shutting down",
                                          "Unable to contact slurm controller",
                                          "Socket timed out",
                                          "Connection refused",
                                          "Connection timed out",
                                          "did not answer within",
                                          "Zero Bytes were transmitted",
                                          "temporarily unable to accept",
                                          "in standby mode",
                                          "connection failure",
                                          "connect failure",
                                          "Transport endpoint"};
    for (size_t i = 0; i < sizeof phrases / sizeof phrases[0]; i++)
        if (strcasestr(failure, phrases[i]))
            return true;
    return false;
}

/* A pause between two tries grows from the first to the longest. */
static const double FIRST_PAUSE_S = 1, LONGEST_PAUSE_S = 20;

/* another_try - whether to go on after a failure; it then waits, and says so the first time. */
static bool another_try(const char *program, const struct err *err, double deadline_s, double *pause_s) {
    double left_s = deadline_s - clock_s();
    if (!slurm_is_passing(err->text) || left_s <= 0)
        return false;
    if (*pause_s == 0)
        warn("%s; '%s' is tried again for up to %.0f s", err->text, program, left_s);
    *pause_s = *pause_s == 0                    ? FIRST_PAUSE_S
               : *pause_s < LONGEST_PAUSE_S / 2 ? 2 * *pause_s
                                                : LONGEST_PAUSE_S;
    double wait_s = *pause_s < left_s ? *pause_s : left_s;
    usleep((useconds_t)(wait_s * 1e6));
    return true;
}

/* ask_patiently - as subprocess_ask, again and again while the controller cannot be reached. */
static char *ask_patiently(const char *const *argv, double timeout_s, struct err *err) {
    double deadline_s = clock_s() + slurm_patience_s(), pause_s = 0;
    for (;;) {
        char *output = subprocess_ask(argv, timeout_s, err);
        if (output || !another_try(argv[0], err, deadline_s, &pause_s))
            return output;
    }
}

/* --- the queue --- */

/* As queue_read takes it: squeue's own columns would be cut and padded. */
#define QUEUE_FORMAT "%i|%T|%r|%S|%L|%q|%N|%u"

int queue_ask(struct queue *queue, double timeout_s, struct err *err) {
    char user[24];
    snprintf(user, sizeof user, "%u", (unsigned)getuid());
    const char *const argv[] = {"squeue", "-h", "-u", user, "-o", QUEUE_FORMAT, NULL};
    *queue = (struct queue){NULL, 0};
    char *text = subprocess_ask(argv, timeout_s, err);
    if (!text)
        return -1;
    queue_read(queue, text);
    free(text);
    return 0;
}

int queue_ask_jobs(struct queue *queue, const char *ids, double timeout_s, struct err *err) {
    /* Twice the same: squeue asks for a single job by its id, and an id that is forgotten is an error then.
     */
    char *twice = xasprintf("%s,%s", ids, ids);
    const char *const argv[] = {"squeue", "-h", "-j", twice, "-o", QUEUE_FORMAT, NULL};
    *queue = (struct queue){NULL, 0};
    char *text = subprocess_ask(argv, timeout_s, err);
    free(twice);
    if (!text)
        return -1;
    queue_read(queue, text);
    free(text);
    return 0;
}

int queue_ask_patiently(struct queue *queue, const char *ids, double timeout_s, struct err *err) {
    double deadline_s = clock_s() + slurm_patience_s(), pause_s = 0;
    for (;;) {
        if (queue_ask_jobs(queue, ids, timeout_s, err) == 0)
            return 0;
        if (!another_try("squeue", err, deadline_s, &pause_s))
            return -1;
    }
}

void queue_release(struct queue *queue) {
    free(queue->jobs);
    *queue = (struct queue){NULL, 0};
}

const struct queued_job *queue_find(const struct queue *queue, const char *id) {
    for (int i = 0; i < queue->num_jobs; i++)
        if (strcmp(queue->jobs[i].id, id) == 0)
            return &queue->jobs[i];
    return NULL;
}

/* Jobs of all partitions: a QoS counts them together. */
int queue_count_qos(const struct queue *queue, const char *qos) {
    int count = 0;
    for (int i = 0; i < queue->num_jobs; i++)
        count += strcmp(queue->jobs[i].qos, qos) == 0;
    return count;
}

/* --parsable gives "id" or "id;cluster".  The rest is checked: an id that is half of one would cancel somebody's job. */
int slurm_parse_id(const char *output, char id[SLURM_ID_ROOM], struct err *err) {
    size_t length = strspn(output, "0123456789");
    const char *rest = output + length;
    bool is_whole = *rest == '\n' || *rest == ';' || *rest == '\0';
    if (length == 0 && (*rest == '\n' || !*rest))
        return err_set(
            err, "sbatch gave no job id, though it ended without an error: a limit of the QoS on submitted "
                 "jobs does that; look at 'squeue -u $USER'");
    if (length == 0 || length >= SLURM_ID_ROOM || !is_whole)
        return err_set(err, "sbatch gave '%.60s', which is not a job id", output);
    snprintf(id, SLURM_ID_ROOM, "%.*s", (int)length, output);
    return 0;
}

/* afterany: a follow-up starts however the job before it ended, and the chain then decides.  afterok is of other runs, whose
 * result is needed: Slurm cancels the job where that cannot come any more, or it would wait for ever. */
int slurm_submit(const struct submission *submission, char id[SLURM_ID_ROOM], struct err *err) {
    const char *argv[11] = {"sbatch", "--parsable"};
    int num_words = 2;
    char time[SLURM_TIME_ROOM], *dependency = NULL, *needs = NULL, *limit = NULL, *exclude = NULL;
    if (submission->after)
        argv[num_words++] = dependency = xasprintf("--dependency=afterany:%s", submission->after);
    if (submission->after_ok) {
        argv[num_words++] = needs = xasprintf("--dependency=afterok:%s", submission->after_ok);
        argv[num_words++] = "--kill-on-invalid-dep=yes";
    }
    if (submission->time_s > 0)
        argv[num_words++] = limit = xasprintf("--time=%s", slurm_time_text(submission->time_s, time));
    if (submission->exclude && submission->exclude[0])
        argv[num_words++] = exclude = xasprintf("--exclude=%s", submission->exclude);
    argv[num_words++] = submission->script;
    argv[num_words] = NULL;
    char *output = ask_patiently(argv, SUBMIT_TIMEOUT_S, err);
    int status = output ? slurm_parse_id(output, id, err) : -1;
    free(output);
    free(dependency);
    free(needs);
    free(limit);
    free(exclude);
    return status;
}

/* Of a job that waits already: a follow-up was queued before the node was found to be bad. */
int slurm_exclude(const char *id, const char *nodes, struct err *err) {
    char *job = xasprintf("JobId=%s", id), *list = xasprintf("ExcNodeList=%s", nodes);
    const char *const argv[] = {"scontrol", "update", job, list, NULL};
    char *output = ask_patiently(argv, TELL_TIMEOUT_S, err);
    free(list);
    free(job);
    free(output);
    return output ? 0 : -1;
}

/* Only these phrases say that there are too few nodes left: a QoS that is full, or a controller that does not answer, is no
 * reason to use a node that failed. */
bool slurm_cannot_exclude(const char *script, const char *nodes, struct err *err) {
    char *exclude = xasprintf("--exclude=%s", nodes);
    const char *const argv[] = {"sbatch", "--test-only", exclude, script, NULL};
    char *output = ask_patiently(argv, SUBMIT_TIMEOUT_S, err);
    free(exclude);
    free(output);
    return !output &&
           (strcasestr(err->text, "node configuration is not available") ||
            strcasestr(err->text, "invalid node name") || strcasestr(err->text, "node not available"));
}

/* say_code - of a program that ended with another code than 0, with the first line of its errors.  Always -1. */
static int say_code(const char *program, struct subprocess_result *result, struct err *err) {
    result->errors[strcspn(result->errors, "\n")] = '\0';
    return err_set(err, "'%s' ended with code %d: %.300s", program, result->exit_code,
                   result->errors[0] ? result->errors : "it said nothing");
}

/* requeue_once - scontrol may be killed with the job before it has ended: then Slurm has obeyed. */
static int requeue_once(const char *id, struct err *err) {
    static const int KILLED = 128 + SIGKILL, TERMINATED = 128 + SIGTERM;
    const char *const argv[] = {"scontrol", "requeue", id, NULL};
    struct subprocess_result result;
    int status = subprocess_run(argv, TELL_TIMEOUT_S, &result, err), code = result.exit_code;
    if (status == 0 && code != 0 && code != KILLED && code != TERMINATED)
        status = say_code("scontrol requeue", &result, err);
    subprocess_release(&result);
    return status;
}

/* Not by ask_patiently: what scontrol's end means is requeue_once's business. */
int slurm_requeue(const char *id, struct err *err) {
    double deadline_s = clock_s() + slurm_patience_s(), pause_s = 0;
    for (;;) {
        if (requeue_once(id, err) == 0)
            return 0;
        if (!another_try("scontrol", err, deadline_s, &pause_s))
            return -1;
    }
}

/* sacct names the state, scontrol the moment: "PreemptTime=None" is no preemption. */
bool slurm_says_preempted(const char *answer) {
    static const char KEY[] = "PreemptTime=";
    const char *at = strstr(answer, KEY);
    if (strstr(answer, "PREEMPTED"))
        return true;
    return at && at[sizeof KEY - 1] >= '0' && at[sizeof KEY - 1] <= '9';
}

bool slurm_is_preempted(const char *id) {
    const char *const argv[] = {"scontrol", "-o", "show", "job", id, NULL};
    char *answer = subprocess_ask(argv, LIST_TIMEOUT_S, NULL);
    bool is = answer && slurm_says_preempted(answer);
    free(answer);
    return is;
}

bool slurm_was_preempted(const char *id) {
    const char *const argv[] = {"sacct", "-n", "-X", "-D", "-P", "-j", id, "-o", "State", NULL};
    char *answer = subprocess_ask(argv, LIST_TIMEOUT_S, NULL), *last = NULL;
    /* The newest line is the start that runs now; the one before it is what is asked about. */
    for (char *line = answer, *next; line && *line; line = next) {
        next = line + strcspn(line, "\n");
        if (*next)
            *next++ = '\0';
        if (*next)
            last = line;
    }
    bool was = last ? slurm_says_preempted(last) : slurm_is_preempted(id);
    free(answer);
    return was;
}

/* scancel - with one option or none.  A job that has ended meanwhile is not a failure: Slurm 24 ends with that error number
 * (ESLURM_ALREADY_DONE, 2021), cut to a byte, and says nothing. */
static int scancel(const char *option, const char *id, struct err *err) {
    enum { ALREADY_DONE = 2021 & 0xff };
    const char *const argv[] = {"scancel", option ? option : id, option ? id : NULL, NULL};
    struct subprocess_result result;
    int status = subprocess_run(argv, TELL_TIMEOUT_S, &result, err), code = result.exit_code;
    if (status == 0 && code != 0 && (code != ALREADY_DONE || result.errors[0]))
        status = say_code("scancel", &result, err);
    subprocess_release(&result);
    return status;
}

int slurm_cancel(const char *id, struct err *err) {
    return scancel(NULL, id, err);
}

int slurm_signal(const char *id, struct err *err) {
    return scancel("--signal=USR1", id, err);
}

/* has_word - as a word of its own. */
static bool has_word(const char *text, const char *word) {
    size_t length = strlen(word);
    for (const char *at = text; (at = strstr(at, word)); at += length) {
        bool starts = at == text || strchr(" \t\n,:", at[-1]);
        if (starts && (!at[length] || strchr(" \t\n,:", at[length])))
            return true;
    }
    return false;
}

/* The plain name first: it is the site's default version.  pmi2 is not among them, as Open MPI from version 5 on does not
 * speak it. */
const char *slurm_choose_mpi(const char *list) {
    static const char *const wanted[] = {"pmix", "pmix_v5", "pmix_v4", "pmix_v3"};
    for (size_t i = 0; i < sizeof wanted / sizeof wanted[0]; i++)
        if (has_word(list, wanted[i]))
            return wanted[i];
    return NULL;
}

char *slurm_mpi_plugin(void) {
    static const char *const argv[] = {"srun", "--mpi=list", NULL};
    struct subprocess_result result;
    const char *chosen = NULL;
    /* Some versions write the list on standard error. */
    if (subprocess_run(argv, LIST_TIMEOUT_S, &result, NULL) == 0) {
        chosen = slurm_choose_mpi(result.output);
        if (!chosen)
            chosen = slurm_choose_mpi(result.errors);
    }
    subprocess_release(&result);
    return chosen ? xstrdup(chosen) : NULL;
}
