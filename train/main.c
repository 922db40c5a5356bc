/* main.c - the only main: finds the command and calls it.  What each command takes is described here, in one
 * table; what it does is in cmd_*.c. */
#include <stdio.h>
#include <string.h>

#include "configs/schema/config.h"
#include "configs/schema/foreign_words.h"
#include "configs/schema/nearest.h"
#include "slurm/program.h"
#include "train/commands/commands.h"

struct command {
    const char *name;
    int (*run)(int argc, char **argv);
    const char *summary;
    const char *usage; /* what follows "atelier NAME " */
    const char *help;
};

static const struct command COMMANDS[] = {
    {"prepare", command_prepare, "corpora -> one token file, with provenance",
     "CONFIG [--set KEY=VALUE]... [--json]",
     "Reads the 'prepare:' section of the run file CONFIG and writes the token file it names.\n"
     "  --set KEY=VALUE   takes precedence over the file; may be repeated\n"
     "  --json            totals as JSON on standard output\n"},
    {"train", command_train, "pre-training and fine-tuning, on any number of ranks",
     "CONFIG [--set KEY=VALUE]...",
     "Trains the model of the run file CONFIG.  Alone it runs on one rank; with more:\n"
     "  mpirun -n 4 atelier train CONFIG        srun atelier train CONFIG\n"
     "SIGTERM and SIGUSR1 save a checkpoint and end with code 75; the same command then goes on from there.\n"
     "As root (containers) mpirun wants OMPI_ALLOW_RUN_AS_ROOT=1 and OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 in the "
     "environment.\n"
     "  --set KEY=VALUE   takes precedence over the file; may be repeated\n"},
    {"plan", command_plan, "does it fit, how long, what does it cost: before it is started",
     "CONFIG [--ranks N] [--set KEY=VALUE]... [--json]",
     "Works out memory, speed, time, jobs, cost, energy and disk of the run file CONFIG, and what would be "
     "better.  "
     "No\n"
     "weights are read: of model.path the config.json is enough.  Exit code 0: it fits into the memory; 2: "
     "it does "
     "not.\n"
     "  --ranks N         on N ranks of this computer, instead of the job of the 'slurm:' section\n"
     "  --set KEY=VALUE   takes precedence over the file; may be repeated\n"
     "  --json            the figures as JSON\n"
     "Rates are those of the site's profile, or of a calibration made on such a node: 'atelier doctor "
     "--calibrate "
     "FILE',\n"
     "read from ATELIER_CALIBRATION or calibrations/SITE-PARTITION.json beside the profile.\n"},
    {"submit", command_submit, "a Slurm job for a run file: checked, submitted, chained",
     "[prepare|eval|export] CONFIG [--dry-run] [--program PATH] [--chain N] [--set KEY=VALUE]...",
     "Checks what the 'slurm:' section of CONFIG asks for against the site's profile, writes the batch "
     "script to\n"
     "run.folder and submits it.  The site is found out, or named by slurm.site (slurm/sites holds the "
     "profiles).\n"
     "  --dry-run         print the script and what it would cost, write and submit nothing; code 2 where a "
     "job\n"
     "                    would be refused\n"
     "  --program PATH    another build of atelier for the job: the one for its GPUs, build/cuda/atelier\n"
     "  --chain N         a follow-up job after each job until all steps are done, at most N starts\n"
     "  --set KEY=VALUE   takes precedence over the file; may be repeated\n"
     "Other commands as one job on a node without GPUs, beside the training of the same run folder:\n"
     "  submit prepare CONFIG\n"
     "  submit eval CONFIG [MODEL] --data FILE.h5 [OPTION]...\n"
     "  submit export CONFIG [MODEL] --to hf|gguf --out PATH [OPTION]...\n"
     "MODEL left out: the run's newest checkpoint.  Partition: the run file's where it has no GPUs, else the site's\n"
     "first without; --set slurm.partition=NAME names one.  In slurm.after RUN:prepare is such a job.\n"},
    {"status", command_status, "how far a run is: queue, step, loss, speed, hours", "RUN [--json]",
     "Reads the files of the run folder RUN, and asks squeue where there is one.  Changes nothing.\n"
     "  --json            as JSON\n"},
    {"stop", command_stop, "tells a running job to save and end", "RUN [--save | --now]",
     "Leaves a command in the run folder RUN; the job saves after its present step and ends, and no further "
     "job\n"
     "of its chain follows.  'atelier submit' goes on from there.  Where nothing has begun a job that waits is "
     "cancelled.\n"
     "  --save            save, and go on training\n"
     "  --now             tell it through Slurm as well, and cancel the jobs that wait\n"},
    {"chain", command_chain, "used by batch scripts: may this job work, what comes next",
     "RUN begin | RUN end CODE | RUN fail REASON",
     "Called before and after the training by the script that 'atelier submit' wrote.  'begin' records the "
     "start\n"
     "and queues the follow-up job of a chain; exit code 3: there is nothing to do.  'end' takes the "
     "training's\n"
     "exit code, and requeues the job, lets the follow-up start, or ends the chain; 'fail' does so where the "
     "training\n"
     "could not be started.\n"},
    {"export", command_export, "a model for other programs: Hugging Face folder or GGUF",
     "MODEL --to hf|gguf [--type f32|f16|bf16|q8_0] --out PATH",
     "Writes MODEL, reads it back, and compares its logits with the source's.\n"
     "  --to hf|gguf      a folder for transformers and vLLM, or a file for llama.cpp and Ollama\n"
     "  --type TYPE       of the numbers; default: as in MODEL; q8_0 for gguf only\n"
     "  --out PATH        the folder or file to write; it must not exist\n"},
    {"card", command_card, "the model card of a checkpoint, in English or French",
     "CHECKPOINT [--lang en|fr] [--out FILE]",
     "Writes README.md for a model hub from the provenance that CHECKPOINT carries: base model and hash, "
     "corpora "
     "with\n"
     "licences and the tokens consumed, procedure, energy and CO2, and a draft of the summary of training "
     "content "
     "(EU AI\n"
     "Act, Article 53(1)(d)).  What only its author can know is left as marked blanks.  CHECKPOINT is a "
     "checkpoint, "
     "an\n"
     "exported folder, or a run folder: its newest checkpoint.\n"
     "  --lang en|fr      default: en\n"
     "  --out FILE        default: standard output; FILE must not exist\n"},
    {"generate", command_generate, "text from any model, to look at it",
     "MODEL --prompt TEXT [--chat TEMPLATE] [OPTION]...",
     "Continues TEXT, or with --chat answers it.\n"
     "  --chat TEMPLATE   TEXT is a user's turn, written by the model's own template (auto), or as chatml,\n"
     "                    llama2, llama3 or mistral\n"
     "  --max-tokens N    default 200\n"
     "  --temperature T   default 0.7; 0: always the most likely token\n"
     "  --top-p P         default 0.95: draw from the most likely tokens that make up this share\n"
     "  --seed N          default 1; same seed, same text\n"
     "  --threads N       default 0: all\n"
     "  --ignore-end      go on after an end token\n"},
    {"eval", command_eval, "loss and perplexity on a token file", "MODEL --data FILE.h5 [OPTION]...",
     "Loss per token and perplexity of MODEL on a token file, whole and by source.\n"
     "  --data FILE.h5    token file made with the model's tokenizer\n"
     "  --sequence-tokens N   tokens per sequence; default: up to 2048\n"
     "  --sequences N     at most so many; 0: all\n"
     "  --threads N       default 0: all\n"
     "  --json            as JSON\n"},
    {"inspect", command_inspect, "what is in a token file, model, checkpoint or tokenizer",
     "PATH [--verify] [--json]",
     "PATH is a .h5, .safetensors, .gguf or tokenizer.json file, a model folder or a checkpoint.\n"
     "  --verify          checkpoint: compare every byte with its checksums\n"
     "  --json            as JSON\n"},
    {"doctor", command_doctor, "is this machine ready",
     "[--folder PATH] [--json] [--calibrate FILE] | --site [SITE]",
     "Libraries, processor, GPU, speeds and limits, each with 'ok' or 'warning'.  With several ranks also "
     "what is "
     "between\n"
     "them:  mpirun -n 4 atelier doctor        srun atelier doctor\n"
     "  --folder PATH     where the writing speed is measured; default: the working folder\n"
     "  --json            as JSON\n"
     "  --calibrate FILE  write the rates down for 'atelier plan'\n"
     "  --site [SITE]     instead: compare a site's profile with what sinfo, sacctmgr and scontrol say\n"},
};
enum { NUM_COMMANDS = sizeof COMMANDS / sizeof COMMANDS[0] };

static void print_overview(FILE *out) {
    fprintf(out, "atelier %s - trains and fine-tunes language models on MPI ranks\n\n", ATELIER_VERSION);
    for (int i = 0; i < NUM_COMMANDS; i++)
        fprintf(out, "  atelier %-9s %s\n", COMMANDS[i].name, COMMANDS[i].summary);
    fprintf(out, "\n  atelier help COMMAND    what a command takes; so does 'atelier COMMAND --help'\n"
                 "  atelier help config     every key of a run file\n"
                 "  atelier --version [--json]   with --json also the GPUs it was built for\n\n"
                 "MODEL is a Hugging Face folder, a GGUF file or a checkpoint.\n"
                 "Exit codes: 0 done, 1 fault, 2 usage or configuration, 75 stopped after a checkpoint: "
                 "start again.\n");
}

static const struct command *find_command(const char *name) {
    for (int i = 0; i < NUM_COMMANDS; i++)
        if (strcmp(COMMANDS[i].name, name) == 0)
            return &COMMANDS[i];
    return NULL;
}

static void print_command(const struct command *command) {
    printf("usage: atelier %s %s\n\n%s", command->name, command->usage, command->help);
}

static int unknown_command(const char *name) {
    const char *names[NUM_COMMANDS + 1];
    const struct foreign_word *foreign = foreign_command(name);
    if (foreign) {
        fprintf(stderr, "error: unknown command '%s' (", name);
        if (foreign->here)
            fprintf(stderr, "did you mean '%s'?%s", foreign->here, foreign->note ? " " : "");
        fprintf(stderr, "%s)\n", foreign->note ? foreign->note : "");
        return 2;
    }
    for (int i = 0; i < NUM_COMMANDS; i++)
        names[i] = COMMANDS[i].name;
    names[NUM_COMMANDS] = "help";
    const char *close = nearest_word(name, names, NUM_COMMANDS + 1);
    if (close)
        fprintf(stderr, "error: unknown command '%s' (did you mean '%s'?)\n", name, close);
    else
        fprintf(stderr, "error: unknown command '%s' ('atelier help' lists them)\n", name);
    return 2;
}

static int help(const char *topic) {
    const struct command *command = topic ? find_command(topic) : NULL;
    if (!topic)
        print_overview(stdout);
    else if (strcmp(topic, "config") == 0)
        config_print_help();
    else if (strcmp(topic, "help") == 0)
        printf("usage: atelier help [COMMAND | config]\n\nWhat a command takes; 'config': every key of a run "
               "file; nothing: the list of commands.\n");
    else if (command)
        print_command(command);
    else
        return unknown_command(topic);
    return 0;
}

static bool asks_for_help(int argc, char **argv) {
    for (int i = 0; i < argc; i++)
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0)
            return true;
    return false;
}

int main(int argc, char **argv) {
    if (argc < 2) {
        print_overview(stderr);
        return 2;
    }
    const char *name = argv[1];
    if (strcmp(name, "help") == 0 || strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0)
        return help(argc > 2 ? argv[2] : NULL);
    if (strcmp(name, "--version") == 0 && argc > 2 && strcmp(argv[2], "--json") == 0) {
        program_print_json(stdout);
        return 0;
    }
    if (strcmp(name, "--version") == 0) {
        printf("atelier %s\n", ATELIER_VERSION);
        return 0;
    }
    const struct command *command = find_command(name);
    if (!command)
        return unknown_command(name);
    if (asks_for_help(argc - 2, argv + 2)) {
        print_command(command);
        return 0;
    }
    return command->run(argc - 2, argv + 2);
}
