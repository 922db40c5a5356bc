/* submit_fixture.h - requests for jobs made from a run file, a profile and words like slurm.time=2h, for the tests of
 * submit. */
#pragma once

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "slurm/submit.h"
#include "tests/check.h"

static const char RUN_FILE[] = "run: {folder: runs/x}\nmodel: {path: m}\ndata: {train: t.h5}\n"
                               "slurm: {site: jeanzay, account: abc}\n";

/* A request with all it was made from. */
struct requested {
    struct config config;
    struct site site;
    struct submit_facts facts;
    struct job_request request;
    struct diagnostics diagnostics;
};

/* A program that can compute anywhere. */
static const struct program_facts ANY_GPU = {"0", "sm_70 sm_80 sm_90a", false};

/* requested_begin - all but the site, which the caller loads, and the request: request_again makes it. */
static inline void requested_begin(struct requested *p, const char *run_file, const char *const *overrides,
                                   int num_overrides) {
    struct err err = {""};
    memset(p, 0, sizeof *p);
    if (config_load_text(&p->config, run_file, strlen(run_file), "run.yaml", overrides, num_overrides,
                         &err) != 0)
        fail_msg("%s", err.text);
    p->facts = (struct submit_facts){.program = "/opt/atelier",
                                     .build = &ANY_GPU,
                                     .working_folder = "/lustre/me",
                                     .run_folder = "/lustre/me/runs/x",
                                     .config_path = "run.yaml"};
}

/* request_again - the request, also after a test has changed facts or the like. */
static inline void request_again(struct requested *p) {
    submit_request_release(&p->request);
    diagnostics_release(&p->diagnostics);
    submit_request(&p->request, &p->config, &p->site, &p->facts, &p->diagnostics);
    submit_check_device(&p->request, &p->diagnostics);
}

static inline void request_with(struct requested *p, const char *profile, const char *const *overrides,
                                int num_overrides) {
    struct err err = {""};
    requested_begin(p, RUN_FILE, overrides, num_overrides);
    if (site_load(&p->site, profile, &err) != 0)
        fail_msg("%s", err.text);
    request_again(p);
}

static inline void requested_release(struct requested *p) {
    submit_request_release(&p->request);
    diagnostics_release(&p->diagnostics);
    config_free(&p->config);
    site_release(&p->site);
}

/* split - "a=1 b=2" into overrides; the texts stay in room. */
static inline int split(const char *words, char *room, size_t room_bytes, const char *overrides[16]) {
    int count = 0;
    snprintf(room, room_bytes, "%s", words);
    for (char *word = strtok(room, " "); word && count < 16; word = strtok(NULL, " "))
        overrides[count++] = word;
    return count;
}

static inline void request_words(struct requested *p, const char *words) {
    char room[512];
    const char *overrides[16];
    int count = split(words, room, sizeof room, overrides);
    request_with(p, "slurm/sites/jeanzay.yaml", overrides, count);
}

static inline bool has_diagnostic(const struct diagnostics *diagnostics, enum diagnostic_level level,
                                  const char *phrase) {
    for (int i = 0; i < diagnostics->count; i++)
        if (diagnostics->items[i].level == level && strstr(diagnostics->items[i].text, phrase))
            return true;
    return false;
}
