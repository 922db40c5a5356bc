/* cmd_eval.c - `atelier eval MODEL --data FILE.h5`: loss and perplexity per token and bits per byte, in all and per source; of pairs and labelled
 * completions also of the preferred and of the other side.  With --tasks in its place: eval_tasks.c. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "checkpoints/vocabulary.h"
#include "data/corpus/json.h"
#include "data/tokens/loader_spread.h"
#include "data/tokens/token_places.h"
#include "train/commands/commands.h"
#include "train/commands/eval_tasks.h"
#include "train/commands/shots_words.h"
#include "train/measure/teach.h"
#include "train/model/session.h"
#include "train/record/metrics.h"

struct eval_words {
    const char *device, *type, *model, *base, *data, *output, *results;
    struct option_list tasks;
    struct shots_words shots;
    int64_t sequence_tokens, max_sequences, threads, top_k;
    double temperature;
    bool as_json;
};

static const struct option OPTIONS[] = {
    {.name = "MODEL",
     .help = "a folder, a checkpoint, a GGUF file or an adapter",
     .kind = OPTION_TEXT,
     .at = offsetof(struct eval_words, model),
     .is_required = true},
    OPTION_BASE(offsetof(struct eval_words, base)),
    {.name = "--data",
     .value = "FILE.h5",
     .help = "token file made with the model's tokenizer",
     .kind = OPTION_TEXT,
     .at = offsetof(struct eval_words, data)},
    {.name = "--tasks",
     .value = "FILE.jsonl",
     .help =
         "in place of --data, questions with choices, a line each: {\"query\", \"choices\", \"gold\" (the right one, from "
         "0), \"id\", \"group\", \"delimiter\"}; may be repeated",
     .kind = OPTION_LIST,
     .at = offsetof(struct eval_words, tasks)},
    {.name = "--sequence-tokens",
     .value = "N",
     .help =
         "tokens per sequence; left out: up to 2048 (the validation of a run: its data.sequence_tokens); of --tasks "
         "the most that query and choice may have",
     .kind = OPTION_INT,
     .at = offsetof(struct eval_words, sequence_tokens),
     .min = 2,
     .max = 1 << 20},
    {.name = "--sequences",
     .value = "N",
     .help = "at most so many, of each source in its proportion; 0: all",
     .kind = OPTION_INT,
     .at = offsetof(struct eval_words, max_sequences),
     .fallback = "0",
     .min = 0,
     .max = 1e12},
    {.name = "--threads",
     .value = "N",
     .help = "threads of the processor; 0: all, of --tasks a rank's share",
     .kind = OPTION_INT,
     .at = offsetof(struct eval_words, threads),
     .fallback = "0",
     .min = 0,
     .max = 4096},
    OPTION_DEVICE(offsetof(struct eval_words, device)),
    OPTION_TYPE(offsetof(struct eval_words, type), "f32"),
    {.name = "--top-k",
     .value = "K",
     .help =
         "in place of the losses write to --output, of each token that counts, the K tokens that the model finds most "
         "probable there, with their log-probabilities: a teacher's file, for objective.kind distill",
     .kind = OPTION_INT,
     .at = offsetof(struct eval_words, top_k),
     .min = 1,
     .max = TEACHER_MOST_IDS},
    {.name = "--temperature",
     .value = "T",
     .help = "of the softmax of --top-k, that of objective.temperature",
     .kind = OPTION_REAL,
     .at = offsetof(struct eval_words, temperature),
     .fallback = "1",
     .min = 1e-2,
     .max = 100},
    {.name = "--output",
     .value = "FILE",
     .help =
         "the file to write, which must not exist: of --top-k the teacher's, and what an earlier start began is "
         "continued; of --tasks a line of JSON for each item: acc and the others 1 where the choice is right, else 0, which it is (chosen), and the "
         "log-probability of each",
     .kind = OPTION_TEXT,
     .at = offsetof(struct eval_words, output)},
    {.name = "--results",
     .value = "FILE.json",
     .help =
         "of --tasks, what --json prints, also into this file; RUN/eval-tasks.json is where reports look for it",
     .kind = OPTION_TEXT,
     .at = offsetof(struct eval_words, results)},
    OPTION_SHOTS(offsetof(struct eval_words, shots.count)),
    OPTION_SHOTS_FROM(offsetof(struct eval_words, shots.from)),
    OPTION_SHOTS_ORDER(offsetof(struct eval_words, shots.order)),
    OPTION_SHOTS_SEED(offsetof(struct eval_words, shots.seed)),
    {.name = "--json",
     .help = "one JSON object on standard output",
     .kind = OPTION_FLAG,
     .at = offsetof(struct eval_words, as_json)},
};

/* Over target tokens. */
struct sums {
    double loss, tokens;
    double bytes; /* of text that they stand for; 0: not known */
};

/* What is open for the command; run frees all of it, however far open_all came. */
struct eval {
    struct eval_words words;
    struct session session;
    struct token_file *file;
    struct loader *loader;
    int64_t num_sources;
    struct sums *sources;               /* [num_sources] */
    struct sums sides[SIDE_MISMATCHED]; /* by enum token_side, of files that have sides; without bytes */
    int32_t *token_bytes; /* [num_token_bytes] of text that a token stands for; NULL: not known */
    int64_t num_token_bytes;
};

static const char *const SIDE_NAMES[SIDE_MISMATCHED] = {[SIDE_CHOSEN] = "chosen",
                                                        [SIDE_REJECTED] = "rejected",
                                                        [SIDE_DESIRABLE] = "desirable",
                                                        [SIDE_UNDESIRABLE] = "undesirable"};

static bool has_sides(const struct eval *eval) {
    return token_file_preference(eval->file) != PREFERENCE_NONE;
}

/* open_loader - windows of the file; the two documents of a pair stay whole, as in training, and one that does not fit is
 * left out, which is said. */
static int open_loader(struct eval *eval, int64_t vocab_size, struct err *err) {
    struct loader_file list = {eval->words.data, 1.0};
    struct loader_config config = {.files = &list,
                                   .num_files = 1,
                                   .sequence_tokens = eval->words.sequence_tokens,
                                   .packing = has_sides(eval) ? PACKING_WHOLE : PACKING_STREAM,
                                   .long_documents = LONG_SKIP,
                                   .vocab_size = vocab_size};
    struct long_documents left_out = {0};
    eval->loader = loader_open(&config, err);
    if (!eval->loader || loader_check_spread_targets(eval->loader, eval->words.max_sequences, err) != 0)
        return -1;
    if (has_sides(eval) && loader_long_documents(eval->loader, 0, &left_out, err) != 0)
        return -1;
    if (left_out.num_long > 0)
        warn(
            "%lld of the %lld pairs of '%s' are longer than a sequence (--sequence-tokens %lld), both documents "
            "together, and are left out",
            (long long)left_out.num_long, (long long)left_out.num_documents, eval->words.data,
            (long long)eval->words.sequence_tokens);
    return 0;
}

/* open_all - model, token file, and that they belong together.  The model's description is read before its weights:
 * the number of positions decides how long a sequence the session makes room for. */
static int open_all(struct eval *eval, struct err *err) {
    enum { DEFAULT_SEQUENCE_TOKENS = 2048 };
    eval->file = token_file_open(eval->words.data, err);
    if (!eval->file)
        return -1;
    struct weights_place place = {eval->words.model, eval->words.base};
    struct weights *peek = weights_open_any(place, err);
    if (!peek)
        return -1;
    int64_t positions = weights_config(peek)->max_positions, vocab_size = weights_config(peek)->vocab_size;
    weights_close(peek);
    if (eval->words.sequence_tokens == 0)
        eval->words.sequence_tokens =
            positions < DEFAULT_SEQUENCE_TOKENS ? positions : DEFAULT_SEQUENCE_TOKENS;
    struct session_setup setup = {.place = place,
                                  .max_tokens = eval->words.sequence_tokens,
                                  .max_positions = eval->words.sequence_tokens,
                                  .num_threads = (int)eval->words.threads};
    if (session_way_of(&setup.way, eval->words.device, eval->words.type, SESSION_F32, err) ||
        session_open(&eval->session, &setup, err) || session_tokenizer(&eval->session, err))
        return -1;
    if (!eval->session.tokenizer)
        warn("the model has no tokenizer: whether '%s' fits it cannot be checked", eval->words.data);
    else if (vocabulary_check(eval->session.tokenizer, vocab_size, err) != 0)
        return err_prefix(err, "'%s'", eval->words.model);
    else if (strcmp(tokenizer_hash(eval->session.tokenizer), token_file_tokenizer_hash(eval->file)) != 0)
        return err_set(err, "'%s' was made with another tokenizer than the model's: prepare it again",
                       eval->words.data);
    if (open_loader(eval, vocab_size, err) != 0)
        return -1;
    eval->num_sources = token_file_num_sources(eval->file);
    eval->sources = xcalloc((size_t)eval->num_sources + 1, sizeof *eval->sources);
    if (eval->session.tokenizer && !has_sides(eval)) { /* of answers that are compared they say nothing */
        eval->token_bytes = tokenizer_token_bytes(eval->session.tokenizer);
        eval->num_token_bytes = tokenizer_vocab_size(eval->session.tokenizer);
    }
    return 0;
}

/* not_finite - the loss of a row of sequence `index` is not a number: where, why, what to do.  Returns -1. */
static int not_finite(const struct eval *eval, int64_t index, int64_t row, struct err *err) {
    struct sample_piece token = loader_eval_token(eval->loader, index, row);
    const struct token_source *source =
        token_file_source(eval->file, token_file_document_source(eval->file, token.document));
    char note[TOKEN_PLACE_ROOM], *place = token_place_text(eval->file, token.document);
    token_place_note(place, note);
    free(place);
    return err_set(err,
                   "the loss of '%s' is not finite at token %lld of document %lld of '%s'%s, source '%s': "
                   "although the weights are finite, an activation or a logit overflowed f32, as after a "
                   "training that diverged; evaluate an earlier checkpoint, or train again with a lower "
                   "learning rate",
                   eval->words.model, (long long)token.first, (long long)token.document, eval->words.data,
                   note, source->name);
}

/* leave_mismatched - completions under the prompt of another one, which KTO compares with, say nothing of the model. */
static void leave_mismatched(struct sample *sample) {
    for (int64_t d = 0; d < sample->num_documents; d++)
        for (int64_t i = sample->documents[d].first_row; i < sample->documents[d].end_row; i++)
            if (sample->documents[d].side == SIDE_MISMATCHED)
                sample->weights[i] = 0;
}

/* add_sides - to the sums of the documents' sides. */
static void add_sides(struct eval *eval, const struct sample *sample, const float *losses) {
    for (int64_t d = 0; d < sample->num_documents; d++) {
        const struct sample_document *document = &sample->documents[d];
        for (int64_t i = document->first_row; document->side != SIDE_MISMATCHED && i < document->end_row;
             i++) {
            eval->sides[document->side].loss += (double)losses[i];
            eval->sides[document->side].tokens += (double)sample->weights[i];
        }
    }
}

/* add_sample - losses of one sequence to the sums of their sources.  A row that is no target has the weight 0 and
 * adds nothing; the sums are in f64, as a file may have billions of rows.  Returns 0, or -1 with err set. */
static int add_sample(struct eval *eval, int64_t index, const struct sample *sample, struct err *err) {
    struct batch batch = {.num_tokens = eval->words.sequence_tokens,
                          .tokens = sample->tokens,
                          .targets = sample->targets,
                          .row_start = sample->row_start,
                          .positions = sample->positions,
                          .weights = sample->weights};
    model_evaluate(&eval->session.model, NULL, &batch);
    const float *losses = eval->session.model.flight.host_losses;
    for (int64_t i = 0; i < sample->filled; i++) {
        if (!isfinite(losses[i]))
            return not_finite(eval, index, i, err);
        struct sums *source = &eval->sources[sample->sources[i]];
        source->loss += (double)losses[i];
        source->tokens += (double)sample->weights[i];
        if (sample->weights[i] > 0 && sample->targets[i] < eval->num_token_bytes)
            source->bytes += (double)eval->token_bytes[sample->targets[i]];
    }
    add_sides(eval, sample, losses);
    return 0;
}

/* evaluate - sequence after sequence, in the order of the file: with --sequences the same ones of each source for any model. */
static int evaluate(struct eval *eval, struct err *err) {
    struct sample sample;
    int64_t count = loader_num_eval_samples(eval->loader);
    int64_t *spread = loader_spread(eval->loader, eval->words.max_sequences);
    int status = 0;
    if (eval->words.max_sequences > 0 && eval->words.max_sequences < count)
        count = eval->words.max_sequences;
    sample_init(&sample, eval->words.sequence_tokens);
    for (int64_t i = 0; i < count && !status; i++) {
        int64_t index = spread ? spread[i] : i;
        status = loader_eval_sample(eval->loader, index, &sample, err);
        leave_mismatched(&sample);
        status = status ? status : add_sample(eval, index, &sample, err);
    }
    free(spread);
    sample_release(&sample);
    return status;
}

/* real_or_null - JSON knows no infinity: the perplexity of a model gone wrong. */
static json_t *real_or_null(double value) {
    return isfinite(value) ? json_real(value) : json_null();
}

/* bits_per_byte - as a validation tells them: losses are natural logarithms.  NaN: not known. */
static double bits_per_byte(const struct sums *sums) {
    return sums->bytes > 0 ? sums->loss / log(2) / sums->bytes : NAN;
}

/* result - loss per token, its exponential, and by the bytes; a mean over nothing is not a number: null. */
static json_t *result(const struct sums *sums) {
    double mean = sums->loss / sums->tokens;
    if (!(sums->tokens > 0))
        return json_pack("{s:n, s:n, s:n, s:i}", "loss", "perplexity", "bits_per_byte", "target_tokens", 0);
    return json_pack("{s:o, s:o, s:o, s:I}", "loss", real_or_null(mean), "perplexity",
                     real_or_null(exp(mean)), "bits_per_byte", real_or_null(bits_per_byte(sums)),
                     "target_tokens", (json_int_t)sums->tokens);
}

static void print_json(const struct eval *eval, const struct sums *all) {
    json_t *root = result(all), *sources = json_object();
    for (int64_t s = 0; s < eval->num_sources; s++)
        json_object_set_new(sources, token_file_source(eval->file, s)->name, result(&eval->sources[s]));
    json_object_set_new(root, "sources", sources);
    for (int side = SIDE_CHOSEN; side < SIDE_MISMATCHED; side++)
        if (eval->sides[side].tokens > 0)
            json_object_set_new(root, SIDE_NAMES[side], result(&eval->sides[side]));
    json_object_set_new(root, "sequence_tokens", json_integer((json_int_t)eval->words.sequence_tokens));
    json_dumpf(root, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(12));
    putchar('\n');
    json_decref(root);
}

static void print_line(const char *name, const struct sums *sums) {
    double mean = sums->loss / sums->tokens, bits = bits_per_byte(sums);
    char text[24] = "-";
    if (isfinite(bits))
        snprintf(text, sizeof text, "%.4f", bits);
    if (!(sums->tokens > 0))
        printf("%-40s %12s %14s %10s %14d\n", name, "no targets", "-", "-", 0);
    else
        printf("%-40s %12.6f %14.4f %10s %14.0f\n", name, mean, exp(mean), text, sums->tokens);
}

static void print(const struct eval *eval) {
    struct sums all = {0};
    for (int64_t s = 0; s < eval->num_sources; s++) {
        all.loss += eval->sources[s].loss;
        all.tokens += eval->sources[s].tokens;
        all.bytes += eval->sources[s].bytes;
    }
    if (eval->words.as_json) {
        print_json(eval, &all);
        return;
    }
    printf("%-40s %12s %14s %10s %14s\n", "source", "loss/token", "perplexity", "bits/byte", "target tokens");
    for (int64_t s = 0; s < eval->num_sources; s++)
        print_line(token_file_source(eval->file, s)->name, &eval->sources[s]);
    for (int side = SIDE_CHOSEN; side < SIDE_MISMATCHED; side++)
        if (eval->sides[side].tokens > 0)
            print_line(SIDE_NAMES[side], &eval->sides[side]);
    print_line("all", &all);
}

/* check_words_of_tasks - what is for token files alone. */
static int check_words_of_tasks(const struct eval_words *words, struct err *err) {
    if (words->data)
        return err_set(err, "--data and --tasks are two evaluations: ask for one of them");
    if (words->top_k > 0 || words->temperature != 1 || words->max_sequences > 0)
        return err_set(err, "%s is for --data: with --tasks it has no effect",
                       words->top_k > 0           ? "--top-k"
                       : words->max_sequences > 0 ? "--sequences"
                                                  : "--temperature");
    return 0;
}

/* check_words - options that go together. */
static int check_words(const void *given, struct err *err) {
    const struct eval_words *words = given;
    if (shots_words_check(&words->shots, &words->tasks, err) != 0)
        return -1;
    if (words->tasks.count > 0)
        return check_words_of_tasks(words, err);
    if (!words->data)
        return err_set(err, "--data FILE.h5 or --tasks FILE.jsonl is missing");
    if (words->results)
        return err_set(err, "--results is for --tasks: with --data it has no effect");
    if ((words->top_k > 0) != (words->output != NULL))
        return err_set(err, "--top-k and --output go together: so many tokens of each place, into that file");
    if (words->top_k == 0 && words->temperature != 1)
        return err_set(err, "--temperature has no effect without --top-k");
    if (words->top_k > 0 && words->max_sequences > 0)
        return err_set(err, "--top-k is for all of the token file: leave out --sequences");
    return 0;
}

/* print_teacher - what was written, or was there. */
static void print_teacher(const struct eval_words *words, const struct teach_result *result) {
    if (words->as_json) {
        json_t *root = json_pack("{s:s, s:s, s:I, s:I, s:f, s:I, s:I, s:o}", "output", words->output, "model",
                                 result->model, "top_k", (json_int_t)words->top_k, "sequence_tokens",
                                 (json_int_t)words->sequence_tokens, "temperature", words->temperature,
                                 "places", (json_int_t)result->num_places, "found",
                                 (json_int_t)result->num_found, "mass", real_or_null(result->mass));
        json_dumpf(root, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(12));
        putchar('\n');
        json_decref(root);
        return;
    }
    printf("'%s'%s: the %lld most probable tokens of %lld places, by the model %.12s", words->output,
           result->was_done ? " is there already" : "", (long long)words->top_k,
           (long long)result->num_places, result->model);
    if (result->num_found > 0 && !result->was_done)
        printf("; %lld were there from an earlier start", (long long)result->num_found);
    if (isfinite(result->mass))
        printf("; together they have %.2f %% of the probability on average", 100 * result->mass);
    putchar('\n');
}

/* write_teacher - in place of the losses.  Returns an exit code. */
static int write_teacher(struct eval *eval, struct err *err) {
    const struct eval_words *words = &eval->words;
    struct teach_setup setup = {words->output, words->model, words->top_k, words->sequence_tokens,
                                words->temperature};
    struct teach_result result;
    if (model_has_adapter(&eval->session.config)) {
        err_set(
            err,
            "'%s' is an adapter, of which the file would name the base alone: write it out first with 'atelier "
            "export --to hf', and let that teach",
            words->model);
        return EXIT_USAGE;
    }
    if (!eval->session.tokenizer) {
        err_set(err,
                "'%s' has no tokenizer: whether '%s' was made with it cannot be known, and its ids may mean "
                "something else",
                words->model, words->data);
        return EXIT_USAGE;
    }
    if (teach(&eval->session, eval->file, &setup, &result, err) != 0)
        return result.has_begun ? EXIT_FAULT : EXIT_USAGE;
    print_teacher(words, &result);
    return EXIT_DONE;
}

/* check_output - a teacher's file is not written over the tokens. */
static int check_output(const struct eval_words *words, struct err *err) {
    if (words->output && teacher_check_output(words->output, words->data, err) != 0)
        return err_prefix(err, "--output");
    return 0;
}

/* ask_tasks - in place of all that is done with a token file. */
static int ask_tasks(const struct eval_words *words, int *argc, char ***argv) {
    struct eval_tasks_words tasks = {.model = words->model,
                                     .base = words->base,
                                     .device = words->device,
                                     .type = words->type,
                                     .files = &words->tasks,
                                     .shots = shots_words_request(&words->shots),
                                     .items_path = words->output,
                                     .results_path = words->results,
                                     .sequence_tokens = words->sequence_tokens,
                                     .threads = words->threads,
                                     .as_json = words->as_json};
    return eval_tasks(&tasks, argc, argv);
}

/* run - what cannot be opened is the caller's to mend (EXIT_USAGE); what goes wrong later is a fault. */
static int run(int argc, char **argv) {
    struct eval eval = {.file = NULL};
    struct err err = {""};
    int code = EXIT_USAGE;
    if (!command_words(&COMMAND_eval, &eval.words, argc, argv))
        return EXIT_USAGE;
    if (eval.words.tasks.count > 0)
        return ask_tasks(&eval.words, &argc, &argv);
    bool teaches = eval.words.top_k > 0;
    if (check_output(&eval.words, &err) == 0 && open_all(&eval, &err) == 0)
        code = teaches ? write_teacher(&eval, &err) : evaluate(&eval, &err) == 0 ? EXIT_DONE : EXIT_FAULT;
    if (code == EXIT_DONE && !teaches)
        print(&eval);
    if (code != EXIT_DONE)
        fprintf(stderr, "error: %s\n", err.text);
    if (eval.loader)
        loader_close(eval.loader);
    if (eval.file)
        token_file_close(eval.file);
    session_close(&eval.session);
    free(eval.sources);
    free(eval.token_bytes);
    return code;
}

const struct command COMMAND_eval = {
    .name = "eval",
    .summary = "loss, perplexity and bits per byte on a token file, or answers to questions with choices",
    .text =
        "Loss per token, perplexity and bits per byte of MODEL on a token file, whole and by source; of pairs and "
        "labelled completions also of each side.  With --tasks the share of questions whose right choice has the highest "
        "log-probability: the sum (acc), by code points (acc_norm), by bytes (acc_bytes), by tokens (acc_token); on any number "
        "of ranks:\n"
        "  mpirun -n 4 atelier eval MODEL --tasks FILE.jsonl",
    .options = OPTIONS,
    .num_options = sizeof OPTIONS / sizeof OPTIONS[0],
    .words_bytes = sizeof(struct eval_words),
    .check = check_words,
    .run = run,
};
