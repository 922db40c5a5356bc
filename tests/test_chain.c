/* test_chain.c - the jobs of a run: who may start, what comes next, when it ends and why; the file that carries it
 * from job to job. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "checkpoints/files.h"
#include "data/corpus/json.h"
#include "slurm/chain.h"
#include "tests/check.h"

/* A chain of one-hour jobs on 4 GPUs, 100 steps. */
static struct chain hourly(void) {
    return (struct chain){.follows = true,
                          .requeues = true,
                          .max_jobs = 5,
                          .billed_gpus = 4,
                          .time_s = 3600,
                          .signal_lead_s = 300,
                          .num_steps = 100};
}

static struct chain_moment at(int64_t now, const char *id, int64_t newest_step) {
    return (struct chain_moment){.job_id = id, .now = now, .newest_step = newest_step};
}

static bool begins(struct chain *chain, int64_t now, const char *id, int64_t newest_step) {
    struct chain_moment moment = at(now, id, newest_step);
    return chain_begin(chain, &moment);
}

static enum chain_next ends(struct chain *chain, int64_t now, int64_t newest_step, int64_t code) {
    struct chain_moment moment = at(now, chain->jobs[chain->num_jobs - 1].id, newest_step);
    return chain_end(chain, &moment, code);
}

/* follow - the follow-up of the last job was queued. */
static void follow(struct chain *chain, const char *id, int64_t limit_s) {
    snprintf(chain->jobs[chain->num_jobs - 1].follow_up, CHAIN_ID_ROOM, "%s", id);
    chain->jobs[chain->num_jobs - 1].follow_limit_s = limit_s;
}

static void assert_reason(const struct chain *chain, enum chain_state state, const char *phrase) {
    assert_int_equal(chain->state, state);
    if (!strstr(chain->reason, phrase))
        fail_msg("'%s' does not contain '%s'", chain->reason, phrase);
}

static void test_three_jobs(void **state) {
    (void)state;
    struct chain chain = hourly();
    int64_t time_s;
    assert_true(begins(&chain, 1000, "1", 0));
    assert_true(chain_wants_follow_up(&chain, &time_s));
    assert_int_equal(time_s, 3600);
    follow(&chain, "2", 3600);
    assert_false(chain_wants_follow_up(&chain, &time_s)); /* it has one */
    assert_int_equal(ends(&chain, 4600, 40, 75), CHAIN_NEXT_FOLLOW_UP);
    assert_true(begins(&chain, 5000, "2", 40));
    follow(&chain, "3", 3600);
    assert_int_equal(ends(&chain, 8600, 80, 75), CHAIN_NEXT_FOLLOW_UP);
    assert_true(begins(&chain, 9000, "3", 80));
    follow(&chain, "4", 3600);
    assert_int_equal(ends(&chain, 9900, 100, 0), CHAIN_NEXT_NOTHING);
    assert_reason(&chain, CHAIN_DONE, "all 100 steps are done");
    assert_int_equal(chain.num_jobs, 3);
    assert_true(fabs(chain_spent_hours(&chain, 0) - (4 + 4 + 1)) < 1e-9);
    assert_false(
        begins(&chain, 10000, "4", 100)); /* a follow-up that could not be cancelled ends by itself */
    assert_int_equal(chain.num_jobs, 3);
    chain_release(&chain);
}

static void test_requeue(void **state) {
    (void)state;
    struct chain chain = hourly();
    int64_t time_s;
    chain.follows = false;
    chain.max_jobs = 2;
    assert_true(begins(&chain, 1000, "1", 0));
    assert_false(chain_wants_follow_up(&chain, &time_s));
    assert_int_equal(ends(&chain, 4000, 40, 75), CHAIN_NEXT_REQUEUE);
    assert_true(begins(&chain, 5000, "1", 40));
    assert_int_equal(ends(&chain, 8000, 80, 75), CHAIN_NEXT_NOTHING);
    assert_reason(&chain, CHAIN_STOPPED, "2 of at most 2 starts are used");
    chain_release(&chain);

    chain = hourly();
    chain.follows = chain.requeues = false;
    assert_true(begins(&chain, 1000, "1", 0));
    assert_int_equal(ends(&chain, 4000, 40, 75), CHAIN_NEXT_NOTHING);
    assert_reason(&chain, CHAIN_STOPPED, "saved after step 40; slurm.requeue is false");
    chain_release(&chain);
}

/* A run that is done before its last step (train.early_stop) ends a chain of follow-ups. */
static void test_done_early(void **state) {
    (void)state;
    struct chain chain = hourly();
    assert_true(begins(&chain, 1000, "1", 0));
    follow(&chain, "2", 3600);
    assert_int_equal(ends(&chain, 2000, 40, 0), CHAIN_NEXT_NOTHING);
    assert_reason(&chain, CHAIN_DONE, "done after step 40 of 100 (train.early_stop)");
    chain_release(&chain);
}

/* Faults: a chain goes on from the last checkpoint, a single job does not; a refused configuration ends both.
 */
static void test_faults(void **state) {
    (void)state;
    for (int code = 1; code <= 137; code += 136) {
        struct chain chain = hourly();
        assert_true(begins(&chain, 1000, "1", 0));
        follow(&chain, "2", 3600);
        assert_int_equal(ends(&chain, 2000, 10, code), CHAIN_NEXT_FOLLOW_UP);
        chain_release(&chain);
        chain = hourly();
        chain.follows = false;
        assert_true(begins(&chain, 1000, "1", 0));
        assert_int_equal(ends(&chain, 2000, 10, code), CHAIN_NEXT_NOTHING);
        assert_reason(&chain, CHAIN_STOPPED, "ended by a fault");
        chain_release(&chain);
    }
    struct chain chain = hourly();
    assert_true(begins(&chain, 1000, "1", 0));
    follow(&chain, "2", 3600);
    assert_int_equal(ends(&chain, 2000, 10, 2), CHAIN_NEXT_NOTHING);
    assert_reason(&chain, CHAIN_STOPPED, "the configuration was refused");
    chain_release(&chain);
}

static void test_no_progress(void **state) {
    (void)state;
    struct chain chain = hourly();
    assert_true(begins(&chain, 1000, "1", 20));
    assert_int_equal(ends(&chain, 2000, 20, 1), CHAIN_NEXT_SUBMIT); /* once may be bad luck */
    assert_true(begins(&chain, 3000, "2", 20));
    assert_int_equal(ends(&chain, 4000, 20, 1), CHAIN_NEXT_NOTHING);
    assert_reason(&chain, CHAIN_STOPPED, "two starts in a row left no new checkpoint");
    chain_release(&chain);
    /* The same where both were killed without a word. */
    chain = hourly();
    assert_true(begins(&chain, 1000, "1", 20));
    assert_true(begins(&chain, 3000, "2", 20));
    assert_false(begins(&chain, 5000, "3", 20));
    assert_reason(&chain, CHAIN_STOPPED, "two starts in a row");
    chain_release(&chain);
    /* Control: progress in between. */
    chain = hourly();
    assert_true(begins(&chain, 1000, "1", 20));
    assert_int_equal(ends(&chain, 2000, 20, 1), CHAIN_NEXT_SUBMIT);
    assert_true(begins(&chain, 3000, "2", 20));
    assert_int_equal(ends(&chain, 4000, 21, 1), CHAIN_NEXT_SUBMIT);
    assert_true(begins(&chain, 5000, "3", 21));
    assert_int_equal(ends(&chain, 6000, 21, 1), CHAIN_NEXT_SUBMIT);
    chain_release(&chain);
}

/* A job that was killed is paid until the run last wrote something, and never beyond its limit. */
static void test_killed(void **state) {
    (void)state;
    struct chain chain = hourly();
    struct chain_moment moment = at(9000, "2", 30);
    assert_true(begins(&chain, 1000, "1", 0));
    assert_true(fabs(chain_spent_hours(&chain, 2800) - 2) < 1e-9); /* while it runs */
    moment.last_sign_of_life = 2800;
    assert_true(chain_begin(&chain, &moment));
    assert_int_equal(chain.jobs[0].ended, 2800);
    assert_int_equal(chain.jobs[0].code, -1);
    assert_int_equal(chain.jobs[0].last_step, 30);
    moment = at(99000, "3", 60);
    moment.last_sign_of_life = 90000;
    assert_true(chain_begin(&chain, &moment));
    assert_int_equal(chain.jobs[1].ended, 9000 + 3600);
    moment = at(100000, "4", 90);
    moment.last_sign_of_life = 5; /* it wrote nothing */
    assert_true(chain_begin(&chain, &moment));
    assert_int_equal(chain.jobs[2].ended, 99001);
    chain_release(&chain);
}

/* A job that Slurm requeued by itself finds the follow-up it had queued. */
static void test_requeued_by_slurm(void **state) {
    (void)state;
    struct chain chain = hourly();
    int64_t time_s;
    assert_true(begins(&chain, 1000, "1", 0));
    follow(&chain, "2", 1800);
    assert_true(begins(&chain, 2000, "1", 10));
    assert_string_equal(chain.jobs[1].follow_up, "2");
    assert_false(chain_wants_follow_up(&chain, &time_s));
    assert_int_equal(ends(&chain, 3000, 20, 75), CHAIN_NEXT_FOLLOW_UP);
    assert_true(begins(&chain, 4000, "2", 20));
    assert_int_equal(chain.jobs[2].limit_s, 1800); /* the shorter limit it was submitted with */
    chain_release(&chain);
}

/* A code is booked on the job it is of, whatever has started since. */
static void test_booking(void **state) {
    (void)state;
    struct chain chain = hourly();
    struct chain_moment moment = at(2000, "9", 10);
    assert_true(begins(&chain, 1000, "1", 0));
    assert_int_equal(chain_end(&chain, &moment, 1), CHAIN_NEXT_ELSEWHERE); /* a job that nobody knows */
    assert_int_equal(chain.jobs[0].ended, 0);
    assert_int_equal(chain.state, CHAIN_ACTIVE);
    chain.jobs = xrealloc(chain.jobs, 2 * sizeof *chain.jobs); /* two at once, as it should not be */
    chain.jobs[1] = chain.jobs[0];
    snprintf(chain.jobs[1].id, CHAIN_ID_ROOM, "2");
    chain.num_jobs = 2;
    moment.job_id = "1";
    assert_int_equal(chain_end(&chain, &moment, 75), CHAIN_NEXT_ELSEWHERE);
    assert_int_equal(chain.jobs[0].code, 75);
    assert_int_equal(chain.jobs[0].ended, 2000);
    assert_int_equal(chain.jobs[1].ended, 0);
    assert_int_equal(chain_end(&chain, &moment, 75), CHAIN_NEXT_ELSEWHERE); /* and once */
    moment.job_id = "2";
    moment.now = 3000;
    assert_int_equal(chain_end(&chain, &moment, 75), CHAIN_NEXT_SUBMIT); /* control: the last one decides */
    assert_int_equal(chain.jobs[1].ended, 3000);
    chain_release(&chain);
}

/* What fails before the training is a start: a chain tries once more and then says why it ends; a job of its
 * own ends with the reason. */
static void test_prologue(void **state) {
    (void)state;
    struct chain chain = hourly();
    struct chain_moment moment = at(2000, "1", 0);
    moment.fault = "module 'nccl/2' could not be loaded on n0";
    assert_true(begins(&chain, 1000, "1", 0));
    assert_int_equal(chain_end(&chain, &moment, 1), CHAIN_NEXT_SUBMIT);
    assert_int_equal(chain.state, CHAIN_ACTIVE);
    assert_string_equal(chain.fault, "job 1 could not start: module 'nccl/2' could not be loaded on n0");
    assert_true(begins(&chain, 3000, "2", 0));
    moment.job_id = "2";
    moment.now = 3001;
    assert_int_equal(chain_end(&chain, &moment, 1), CHAIN_NEXT_NOTHING);
    assert_reason(&chain, CHAIN_STOPPED, "two starts in a row left no new checkpoint");
    assert_reason(&chain, CHAIN_STOPPED,
                  "; job 2 could not start: module 'nccl/2' could not be loaded on n0");
    chain_release(&chain);

    chain = hourly(); /* a start that trains takes the fault back */
    assert_true(begins(&chain, 1000, "1", 0));
    moment.job_id = "1";
    assert_int_equal(chain_end(&chain, &moment, 1), CHAIN_NEXT_SUBMIT);
    assert_true(begins(&chain, 3000, "2", 0));
    assert_int_equal(ends(&chain, 4000, 20, 75), CHAIN_NEXT_SUBMIT);
    assert_string_equal(chain.fault, "");
    chain_release(&chain);

    chain = hourly();
    chain.follows = false;
    assert_true(begins(&chain, 1000, "1", 0));
    assert_int_equal(chain_end(&chain, &moment, 1), CHAIN_NEXT_NOTHING);
    assert_reason(&chain, CHAIN_STOPPED, "job 1 could not start: module 'nccl/2' could not be loaded on n0");
    chain_release(&chain);
}

/* A start that Slurm ended for another job does not count in max_jobs, nor as a sign of being stuck. */
static void test_preempted(void **state) {
    (void)state;
    for (int preempted = 1; preempted >= 0; preempted--) { /* 0: the control */
        struct chain chain = hourly();
        chain.follows = false;
        chain.max_jobs = 2;
        struct chain_moment moment = at(2000, "1", 0);
        moment.preempted = preempted;
        assert_true(begins(&chain, 1000, "1", 0));
        for (int i = 0; i < 4; i++) { /* killed at once, and started again by Slurm */
            moment.now += 1000;
            if (!chain_begin(&chain, &moment)) {
                assert_false(preempted);
                break;
            }
        }
        assert_int_equal(chain.num_jobs, preempted ? 5 : 2);
        assert_int_equal(chain_num_starts(&chain), preempted ? 1 : 2);
        assert_int_equal(chain.state, preempted ? CHAIN_ACTIVE : CHAIN_STOPPED);
        chain_release(&chain);

        chain = hourly(); /* it had the time to save */
        chain.follows = false;
        chain.max_jobs = 1;
        assert_true(begins(&chain, 1000, "1", 0));
        moment = at(2000, "1", 10);
        moment.preempted = preempted;
        assert_int_equal(chain_end(&chain, &moment, 75), preempted ? CHAIN_NEXT_REQUEUE : CHAIN_NEXT_NOTHING);
        chain_release(&chain);
    }
}

static void test_budget(void **state) {
    (void)state;
    struct chain chain = hourly();
    int64_t time_s;
    chain.budget_hours = 10; /* two jobs and a half */
    assert_true(begins(&chain, 1000, "1", 0));
    assert_true(chain_wants_follow_up(&chain, &time_s));
    assert_int_equal(time_s, 3600);
    follow(&chain, "2", time_s);
    assert_int_equal(ends(&chain, 4600, 20, 75), CHAIN_NEXT_FOLLOW_UP);
    assert_true(begins(&chain, 5000, "2", 20));
    assert_true(chain_wants_follow_up(&chain, &time_s));
    assert_int_equal(time_s, 1800); /* what is left, if this one takes all its time */
    follow(&chain, "3", time_s);
    assert_int_equal(ends(&chain, 8600, 40, 75), CHAIN_NEXT_FOLLOW_UP);
    assert_true(begins(&chain, 9000, "3", 40));
    assert_false(chain_wants_follow_up(&chain, &time_s));
    assert_int_equal(ends(&chain, 9000 + 1800, 50, 75), CHAIN_NEXT_NOTHING);
    assert_reason(&chain, CHAIN_STOPPED, "the budget is reached: 10.00 of 10 GPU-hours are used");
    assert_true(chain_spent_hours(&chain, 0) <= 10);
    chain_release(&chain);

    /* A job that ended early leaves room: at its end there is enough for another. */
    chain = hourly();
    chain.budget_hours = 5;
    assert_true(begins(&chain, 1000, "1", 0));
    assert_true(!chain_wants_follow_up(&chain, &time_s) || time_s < 3600);
    assert_int_equal(ends(&chain, 1900, 20, 75), CHAIN_NEXT_SUBMIT);
    assert_int_equal(chain_next_time(&chain, 0), 3600);
    chain_release(&chain);

    /* A requeued job would keep its limit: a shorter one is submitted instead. */
    chain = hourly();
    chain.follows = false;
    chain.budget_hours = 6;
    assert_true(begins(&chain, 1000, "1", 0));
    assert_int_equal(ends(&chain, 4600, 20, 75), CHAIN_NEXT_SUBMIT);
    assert_int_equal(chain_next_time(&chain, 0), 1800);
    chain_release(&chain);

    /* Less than a job needs to do anything is not started. */
    chain = hourly();
    chain.budget_hours = 4 + 4.0 * 419 / 3600;
    assert_true(begins(&chain, 1000, "1", 0));
    assert_int_equal(ends(&chain, 4600, 20, 75), CHAIN_NEXT_NOTHING);
    assert_reason(&chain, CHAIN_STOPPED, "the budget is reached");
    chain_release(&chain);
}

/* Starts and hours of earlier submissions: the hours count, the starts do not. */
static void test_second_submission(void **state) {
    (void)state;
    struct chain chain = hourly();
    chain.max_jobs = 1;
    assert_true(begins(&chain, 1000, "1", 0));
    assert_int_equal(ends(&chain, 4600, 20, 75), CHAIN_NEXT_NOTHING);
    chain_stop(&chain, CHAIN_ACTIVE, "%s", "");
    chain.first_job = chain.num_jobs;
    assert_true(begins(&chain, 9000, "9", 20));
    assert_true(fabs(chain_spent_hours(&chain, 9900) - 5) < 1e-9);
    chain_release(&chain);
}

static void test_stop_request(void **state) {
    (void)state;
    struct chain chain = hourly();
    struct chain_moment moment = at(5000, "2", 40);
    assert_true(begins(&chain, 1000, "1", 0));
    follow(&chain, "2", 3600);
    moment.stop_requested = true;
    moment.job_id = "1";
    assert_int_equal(chain_end(&chain, &moment, 75), CHAIN_NEXT_NOTHING);
    assert_reason(&chain, CHAIN_STOPPED, "stopped by 'atelier stop' after step 40");
    assert_false(chain_begin(&chain, &moment));
    chain_release(&chain);
}

/* --- the file --- */

static void test_file(void **state) {
    (void)state;
    char *folder = test_folder("chain");
    struct chain chain = hourly(), back;
    struct err err = {""};
    chain.budget_hours = 12.5;
    assert_true(begins(&chain, 1000, "123", 7));
    follow(&chain, "124", 1800);
    chain_stop(&chain, CHAIN_STOPPED, "why \"it\" ended");
    snprintf(chain.fault, sizeof chain.fault, "what \"failed\"");
    chain.jobs[0].preempted = true;
    assert_int_equal(chain_save(&chain, folder, &err), 0);
    assert_int_equal(chain_load(&back, folder, &err), 0);
    assert_int_equal(back.state, CHAIN_STOPPED);
    assert_string_equal(back.reason, chain.reason);
    assert_string_equal(back.fault, chain.fault);
    assert_true(back.follows && back.requeues && back.budget_hours == 12.5 && back.billed_gpus == 4);
    assert_true(back.max_jobs == 5 && back.time_s == 3600 && back.signal_lead_s == 300 &&
                back.num_steps == 100);
    assert_int_equal(back.num_jobs, 1);
    assert_memory_equal(&back.jobs[0], &chain.jobs[0], sizeof chain.jobs[0]);
    chain_release(&back);
    chain_release(&chain);

    char *path = xasprintf("%s/chain.json", folder);
    size_t length;
    char *good = file_read_whole(path, 1 << 20, &length, &err);
    const struct {
        const char *from, *to, *message;
    } edits[] = {{"\"version\": 1", "\"version\": 9", "written by another version"},
                 {"\"stopped\"", "\"sleeping\"", "'state' is 'sleeping'"},
                 {"\"max_jobs\": 5", "\"max_jobs\": \"5\"", "max_jobs"},
                 {"\"first_job\": 0", "\"first_job\": 2", "'first_job' is out of range"},
                 {"\"started\": 1000", "\"started\": 99999999999999999", "'started' is out of range"},
                 {"\"123\"", "\"12345678901234567890123456789012345\"", "'id' is too long"},
                 {"\"jobs\": [", "\"jobs\": [5, ", "an entry of 'jobs' is"},
                 {"}", "", "chain.json"}};
    for (size_t i = 0; i < sizeof edits / sizeof edits[0]; i++) {
        char *found = strstr(good, edits[i].from);
        if (!found)
            fail_msg("'%s' is not in\n%s", edits[i].from, good);
        char *bad =
            xasprintf("%.*s%s%s", (int)(found - good), good, edits[i].to, found + strlen(edits[i].from));
        assert_int_equal(file_replace(path, bad, strlen(bad), &err), 0);
        assert_int_equal(chain_load(&back, folder, &err), -1);
        if (!strstr(err.text, edits[i].message))
            fail_msg("'%s' does not contain '%s'", err.text, edits[i].message);
        assert_null(back.jobs);
        free(bad);
    }
    unlink(path);
    assert_int_equal(chain_load(&back, folder, &err), -1);
    free(good);
    free(path);
    free(folder);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_three_jobs),        cmocka_unit_test(test_requeue),
        cmocka_unit_test(test_done_early),        cmocka_unit_test(test_faults),
        cmocka_unit_test(test_no_progress),       cmocka_unit_test(test_killed),
        cmocka_unit_test(test_requeued_by_slurm), cmocka_unit_test(test_prologue),
        cmocka_unit_test(test_preempted),         cmocka_unit_test(test_budget),
        cmocka_unit_test(test_booking),           cmocka_unit_test(test_second_submission),
        cmocka_unit_test(test_stop_request),      cmocka_unit_test(test_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
