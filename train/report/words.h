/* words.h - all that a report says, in each language: one row a text, so that no language can lack one. */
#pragma once

#include "train/report/markup.h"

enum report_language { REPORT_ENGLISH, REPORT_FRENCH, REPORT_LANGUAGES };

/* WORD - the name in the code; the texts stand in words.c. */
#define EACH_WORD(X)                                                                                             \
    X(LANGUAGE)                                                                                                  \
    X(TITLE)                                                                                                     \
    X(WRITTEN)                                                                                                   \
    X(WRITTEN_BY)                                                                                                \
    X(CONTENTS)                                                                                                  \
    X(COLON)                                                                                                     \
    X(NOT_RECORDED)                                                                                              \
    X(NONE)                                                                                                      \
    X(RUN)                                                                                                       \
    X(RUNS)                                                                                                      \
    X(STEP)                                                                                                      \
    X(STEP_AXIS) X(OF) X(AT_STEP) X(YES) X(NO) X(UNIT_PLAIN) X(UNIT_NATS) X(UNIT_SPEED) X(UNIT_MEGA_SPEED)       \
        X(UNIT_RATIO) X(UNIT_BYTE) X(SUMMARY) X(SUMMARY_NOTE) X(STATE) X(STATE_DONE) X(STATE_PART) X(            \
            STATE_UNKNOWN) X(STATE_DIVERGED) X(STATE_STILL) X(STATE_SUFFERED) X(STATE_SUFFERED_TO)               \
            X(STEPS_DONE) X(STEPS_REDONE) X(STEPS_EMPTY) X(STEPS_OVERFLOW) X(TOKENS) X(TARGETS) X(BEGAN) X(      \
                ENDED) X(TIME_IN_STEPS) X(MEAN_SPEED) X(LOSS_FIRST) X(LOSS_LAST) X(VALID_BEST) X(VALID_LAST)     \
                X(PERPLEXITY) X(CHECKPOINTS) X(RESTART_COUNT) X(CHARTS) X(CHART_NOTE) X(CHART_NONE) X(           \
                    CHART_CUT) X(RESTART) X(FROM_AT) X(TO_AT) X(LOWEST) X(HIGHEST) X(LOSS) X(LOSS_NOTE)          \
                    X(OBJECTIVE_NOTE) X(VALID) X(VALID_NOTE) X(VALID_SOURCES) X(VALID_SOURCES_NOTE) X(           \
                        MORE_SOURCES) X(RATE) X(RATE_NOTE) X(NORM) X(NORM_NOTE) X(SPEED) X(SPEED_NOTE)           \
                        X(MEMORY) X(MEMORY_NOTE) X(PHASES) X(PHASES_NOTE) X(PHASE_DATA) X(                       \
                            PHASE_FORWARD) X(PHASE_BACKWARD) X(PHASE_COMM) X(PHASE_OPTIMIZER) X(PHASE_OTHER)     \
                            X(PHASE) X(SHARE) X(TIME_PER_STEP) X(SLOWNESS) X(SLOWNESS_NOTE) X(MARGIN) X(         \
                                MARGIN_NOTE) X(ACCURACY) X(ACCURACY_NOTE)                                        \
                                X(CROSS_ENTROPY) X(CROSS_ENTROPY_NOTE) X(KL) X(                                  \
                                    KL_NOTE) X(VALIDATIONS) X(VALIDATIONS_NOTE)                                  \
                                    X(VALIDATIONS_THINNED) X(LAST) X(BEST) X(                                    \
                                        BEST_MARK) X(EVALUATIONS) X(EVALUATIONS_NOTE)                            \
                                        X(FILE_NAME) X(SOURCE) X(ALL_SOURCES) X(                                 \
                                            CHOSEN) X(REJECTED) X(DESIRABLE) X(UNDESIRABLE) X(LOSS_ALONE)        \
                                            X(BITS_PER_BYTE) X(LOSS_PER_TOKEN) X(TARGETS_MEASURED) X(            \
                                                STARTS) X(STARTS_NOTE) X(START_TIME) X(JOB)                      \
                                                X(RANKS) X(GPUS) X(MACHINES) X(FROM_STEP) X(                     \
                                                    TO_STEP) X(DURATION) X(EARLIER_STARTS) X(SLOW)               \
                                                    X(SLOW_NOTE) X(SLOW_NONE) X(RANK) X(MACHINE) X(              \
                                                        TIMES_SLOW) X(WORST) X(COMPARISONS) X(COST) X(COST_NOTE) \
                                                        X(WALL_HOURS) X(GPU_HOURS) X(CORE_HOURS) X(ENERGY) X(    \
                                                            ENERGY_UNKNOWN) X(COUNTED) X(CARBON)                 \
                                                            X(FACTOR) X(FACTOR_SOURCE) X(PUE) X(PROVENANCE) X(   \
                                                                PROVENANCE_NOTE) X(PROVENANCE_NONE)              \
                                                                X(PROGRAM) X(PARAMETERS) X(BASE) X(              \
                                                                    NO_BASE) X(BASE_LICENCE)                     \
                                                                    X(BASE_HASH) X(DEVICE) X(DEVICE_CPU) X(      \
                                                                        SITE) X(SITE_LOCAL)                      \
                                                                        X(SITE_SLURM) X(ADAPTER) X(              \
                                                                            CORPUS) X(LICENCE) X(ORIGIN)         \
                                                                            X(DOCUMENTS) X(CORPUS_TOKENS) X(     \
                                                                                CONSUMED) X(NOT_ATTRIBUTED)      \
                                                                                X(CORPUS_HASH) X(TEACHER) X(     \
                                                                                    DIFFERENCES)                 \
                                                                                    X(DIFFERENCES_NOTE) X(       \
                                                                                        DIFFERENCES_NONE)        \
                                                                                        X(KEY) X(RUN_FILE) X(    \
                                                                                            RUN_FILE_NOTE)       \
                                                                                            X(RUN_FILE_CUT)      \
                                                                                                X(FOOT)
#define ENUM_WORD(name) WORD_##name,
enum word { EACH_WORD(ENUM_WORD) WORD_COUNT };
#undef ENUM_WORD

/* word_of - UTF-8, without marks of HTML. */
const char *word_of(enum word word, enum report_language language);

/* marks_of - how numbers are written. */
const struct number_marks *marks_of(enum report_language language);
