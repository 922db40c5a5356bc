/* config_table.c - the keys of a run file.  The order here is that of `atelier help config` and of the
 * resolved text.  A new setting is one line here and one field in config.h.  Its class (FREE, COURSE, or
 * nothing: fixed) says what train/run/resume_config.c does when it changed since the checkpoint. */
#include "configs/schema/config_choices.h"

#define COUNT_OF(array) ((int)(sizeof(array) / sizeof(array)[0]))
#define AT(field) offsetof(struct config, field)

/* Largest integer a double still tells apart from its neighbours; no count in a run file comes near it. */
#define LARGEST 9007199254740992.0

#define RECORDS "completion pair label vote reaction"

static const struct config_key run_file_keys[] = {
    PATH(
        "run.folder", AT(run.folder), NULL,
        "checkpoints, metrics and logs go here; default: runs/ and the name of the run file, for one run file: a "
        "second one of the same name is refused there; in this and every path $NAME and ${NAME} are environment "
        "variables, $$ is a dollar sign",
        FREE),
    INT("run.seed", AT(run.seed), "1", 0, LARGEST, NULL, "order of the data and weights of a new model"),
    INT("run.threads", AT(run.threads), "0", 0, 1024, "threads",
        "OpenMP threads of each rank; 0: cores of the host divided by the ranks on it", FREE),
    INT("run.log_every", AT(run.log_every), "10", 1, 1e9, "steps",
        "between two lines of a log that is not a terminal", FREE),
    CHOICE("run.progress", AT(run.progress), "auto", progresses,
           "live: one line that is rewritten; auto: live where standard error is a terminal, which mpirun "
           "hides",
           FREE),
    BOOL("run.tensorboard", AT(run.tensorboard), "false",
         "also write the curves as event files of TensorBoard: RUN/tensorboard, a file for each start", FREE),
    CHOICE("run.device", AT(run.device), "auto", devices,
           "what computes: cuda is one GPU for each rank; auto: GPUs where there are any, and never "
           "processors where "
           "Slurm gave GPUs; 'atelier submit' writes cuda where it asks for GPUs",
           FREE),
    REAL("run.timeout_s", AT(run.timeout_s), "300", 1, 1e6, "s",
         "a rank that waits longer for the others in a step gives up, and the job ends; after 10 s it says "
         "for "
         "whom it waits",
         FREE),
    REAL(
        "run.start_timeout_s", AT(run.start_timeout_s), "0", 0, 1e6, "s",
        "a rank that waits longer for the others before the first step is done gives up, and the job ends; 0: four times run.timeout_s, at most 1800",
        FREE),
    PATH(
        "run.gemm_choices", AT(run.gemm_choices), NULL,
        "file that keeps which of cuBLASLt's algorithms multiplies what: products that are new to it are "
        "measured before the first step and added, the same file gives the same bits; left out, or auto: one for "
        "each kind of GPU and cuBLASLt in $XDG_CACHE_HOME/atelier (~/.cache/atelier); none: cuBLASLt's first "
        "proposal. A run keeps its choices in its folder, for when it is resumed; without effect on a CPU",
        FREE),
    BOOL(
        "run.graphs", AT(run.graphs), "true",
        "a GPU is given the operations of a micro-batch as one CUDA graph, from the second micro-batch of a kind on; where other GPUs "
        "take part, as one between each two exchanges; false: one by one, to the same bits. Without effect on a CPU",
        FREE),

#include "configs/schema/config_table_model.inc"

    CHOICE(
        "adapter.method", AT(adapter.method), "none", adapter_methods,
        "lora: the model of model.path stays as it is, and low-rank pairs beside its matrices are trained; a "
        "checkpoint is then a PEFT folder; dora: the lengths of the matrices' rows as well, which takes a product more and "
        "is served merged alone"),
    PATH(
        "adapter.path", AT(adapter.path), NULL,
        "PEFT folder, or run that trained one, whose pairs the training begins with; rank, alpha, targets, layers, train and "
        "rslora are then its own",
        NEEDS("adapter.method", "lora dora")),
    CHOICE(
        "adapter.base", AT(adapter.base), "compute", adapter_bases,
        "how the layers' matrices of model.path are kept in memory: as train.compute says, or in fewer bits (QLoRA)",
        NEEDS("adapter.method", "lora dora")),
    CHOICE(
        "adapter.resident", AT(adapter.resident), "auto", adapter_residents,
        "whether each rank has all of model.path in memory (parallel.stage 0 to 2), or its share, and gathers a layer at a time (3); "
        "auto: as parallel.stage says, by itself in memory where it fits",
        FREE, NEEDS("adapter.method", "lora dora")),
    INT("adapter.rank", AT(adapter.rank), "16", 1, 65536, NULL,
        "of a pair: rows of A and columns of B; vLLM serves more than 16 only with --max-lora-rank",
        NEEDS("adapter.method", "lora dora")),
    REAL("adapter.alpha", AT(adapter.alpha), "32", 1e-6, 1e6, NULL,
         "a pair's product is multiplied by alpha / rank", NEEDS("adapter.method", "lora dora")),
    REAL(
        "adapter.dropout", AT(adapter.dropout), NULL, 0, 0.999, NULL,
        "share of what each pair reads of its matrix's input that is left out in training, drawn anew in every step; "
        "QLoRA took 0.1 up to 13 billion parameters and 0.05 above; left out: that of adapter.path, else 0",
        COURSE, NEEDS("adapter.method", "lora dora")),
    BOOL("adapter.rslora", AT(adapter.rank_stabilised), "false",
         "multiplied by alpha / the root of the rank instead", NEEDS("adapter.method", "lora dora")),
    LIST(
        "adapter.targets", AT(adapter.targets), AT(adapter.num_targets), &config_target_table,
        "which matrices have pairs: all-linear, or a list of q, k, v, o, gate, up, down (of Phi-3 qkv, o, gate_up, down), "
        "or of {name, rank, alpha}, or a regular expression that matches whole names of modules, as PEFT's: '.*layers\\.[0-3]\\.self_attn\\.(q|v)_proj'; "
        "left out: all-linear, but no experts",
        NEEDS("adapter.method", "lora dora")),
    LIST("adapter.layers", AT(adapter.layers), AT(adapter.num_layers), &config_text_table,
         "which layers have pairs: a list of numbers and ranges such as [0-3, 7], from 0; left out: all",
         NEEDS("adapter.method", "lora dora")),
    LIST(
        "adapter.train", AT(adapter.train), AT(adapter.num_train), &config_text_table,
        "what of the model itself is trained whole beside the pairs and saved with them (PEFT: modules_to_save): a list of "
        "norms, embedding, head; vLLM and llama.cpp take such an adapter merged alone; left out: nothing",
        NEEDS("adapter.method", "lora dora")),
    REAL("adapter.b_learning_rate_ratio", AT(adapter.b_rate_ratio), "1", 1e-3, 1e3, NULL,
         "learning rate of every B, as a multiple of that of every A (LoRA+ takes 16)", COURSE,
         NEEDS("adapter.method", "lora dora")),

    LIST("data.train", AT(data.train), AT(data.num_train), &config_data_file_table,
         "token files: one path, a list of paths, or a list of {path, weight}"),
    LIST("data.valid", AT(data.valid), AT(data.num_valid), &config_data_file_table,
         "token files of the validation loss; none: no validation", FREE),
    INT("data.sequence_tokens", AT(data.sequence_tokens), "512", 2, 1 << 24, "tokens",
        "length of a training sequence; documents are packed into it"),
    CHOICE(
        "data.packing", AT(data.packing), "auto", packings,
        "stream: documents laid end to end and cut anywhere; whole: none is cut unless it is too long; auto: whole of token "
        "files that hold conversations, completions or pairs, stream of others"),
    CHOICE(
        "data.long_documents", AT(data.long_documents), "cut", long_policies,
        "packing whole, documents and conversations longer than sequence_tokens: cut them there, skip them, "
        "or fail; the log counts what is left out",
        NEEDS("data.packing", "whole auto")),
    CHOICE("data.verify", AT(data.verify), "sample", data_verifies,
           "checksums of the token files compared before the first step: some blocks of 1 MiB of each file, "
           "or all "
           "of them, shared by the ranks; all refuses files without checksums",
           FREE),

    INT("train.steps", AT(train.steps), "1000", 1, 1e12, "steps", "optimizer steps of the whole run", COURSE),
    REAL(
        "train.epochs", AT(train.epochs), "0", 0, 1e6, NULL,
        "in place of train.steps: how often as many sequences are read as the files of data.train have together; the steps that "
        "this means are said and kept; 0: train.steps says it",
        COURSE, NEEDS("data.train", NULL)),
    INT("train.batch_sequences", AT(train.batch_sequences), "32", 1, 1 << 24, "sequences",
        "of the whole job in one optimizer step, whatever the number of ranks"),
    INT_OR(
        "train.micro_sequences", AT(train.micro_sequences), "group", 1, 1 << 16, "sequences", auto_micros,
        "of one rank in one forward pass; more is faster and takes more memory; auto: the fastest that fits; group: 1, and of "
        "short sequences as many as have 512 tokens together (on a GPU 4096), where they fit",
        FREE),
    CHOICE("train.recompute", AT(train.recompute), "none", recomputes,
           "what is computed again in the backward pass instead of being kept: attention, mlp, or the whole "
           "layer "
           "but its input; auto: what the memory asks for",
           FREE),
    CHOICE("train.compute", AT(train.compute), "f32", computes,
           "type of weights and activations while computing; master weights stay f32; f16 scales the loss by "
           "itself; fp8 is bf16 with the products of the layers in 8 bits",
           COURSE),
    CHOICE("train.fp8_format", AT(train.fp8_gradients), "e4m3", fp8_formats,
           "e4m3: all in E4M3; hybrid: weights and activations in E4M3, gradients in E5M2", COURSE,
           NEEDS("train.compute", "fp8")),
    CHOICE(
        "train.fp8_scaling", AT(train.fp8_scaling), "tensor", fp8_scalings,
        "what has a scale of its own, by its present largest value: a tensor; or a block of it, 1 x 128 values along "
        "the sum and 128 x 128 of weights, as DeepSeek-V3 has them",
        COURSE, NEEDS("train.compute", "fp8")),
    INT("train.fp8_skip_layers", AT(train.fp8_skip_layers), "0", 0, 4096, "layers",
        "so many of the first layers, and of the last, have their products in bf16", COURSE,
        NEEDS("train.compute", "fp8")),
    REAL("train.grad_clip", AT(train.grad_clip), "1", 0, 1e9, NULL,
         "longest gradient (norm over all parameters); 0: no limit", COURSE),
    INT("train.early_stop", AT(train.early_stop), "0", 0, 1e6, "validations",
        "end the run, done with code 0, when so many validations in a row were no better than the best one; 0: never",
        FREE, NEEDS("data.valid", NULL)),
    REAL("train.stop_after_s", AT(train.stop_after_s), "0", 0, 1e9, "s",
         "save and end with code 75 after so long; 0: never", FREE),
    CHOICE(
        "train.reproducible", AT(train.reproducible), "off", reproducibles,
        "layout: the same bits on any number of ranks, at every stage, in any number of replicas and over restarts, by sums of "
        "gradients in whole numbers; wants run.threads, and that, train.micro_sequences and the kind of device stay; off: as fast as "
        "it goes",
        COURSE),
    CHOICE(
        "train.spike", AT(train.spike), "off", spike_policies,
        "what a step does whose loss or gradient norm is a spike: nothing; skip, its batch makes no update; rollback, the "
        "run goes back to the last checkpoint that is not suspect and leaves that batch out (skip, before the first one)",
        COURSE),
    REAL(
        "train.spike_sigma", AT(train.spike_sigma), "6", 1, 1000, "standard deviations",
        "above the mean of train.spike_window steps, from which on it is a spike; what is not a number always is",
        COURSE, NEEDS("train.spike", "skip rollback")),
    INT("train.spike_window", AT(train.spike_window), "128", 4, 1024, "steps",
        "that a step is compared with, spikes left out; nothing is one before half of them are done", COURSE,
        NEEDS("train.spike", "skip rollback")),
    INT("train.spike_limit", AT(train.spike_limit), "10", 1, 1e6, "batches",
        "left out in the whole run; one more spike, and it has diverged: code 1", COURSE,
        NEEDS("train.spike", "skip rollback")),

    CHOICE(
        "objective.kind", AT(objective.kind), "sft", objectives,
        "what is minimised: sft, the mean loss of the target tokens; dpo, orpo, simpo, of pairs; kto, of labelled "
        "completions: data that 'prepare' made of records, packed whole. The mean is over the pairs of a step, or its "
        "labelled completions. dpo and kto compare with the model of model.path"),
    CHOICE("objective.loss", AT(objective.loss), "sigmoid", dpo_losses,
           "dpo: of the margin between the two answers of a pair; ipo: of the margin per token", COURSE,
           NEEDS("objective.kind", "dpo")),
    REAL(
        "objective.beta", AT(objective.beta), "0.1", 1e-6, 1000, NULL,
        "how far the model may go from the reference: larger is nearer; orpo: weight of the odds ratio; simpo: of the margin "
        "per token",
        COURSE, NEEDS("objective.kind", "dpo orpo simpo kto")),
    REAL("objective.label_smoothing", AT(objective.label_smoothing), "0", 0, 0.49, NULL,
         "dpo (sigmoid, robust), simpo: the share of pairs that are believed to be the wrong way round",
         COURSE, NEEDS("objective.kind", "dpo simpo")),
    REAL("objective.sft_weight", AT(objective.sft_weight), "0", 0, 1000, NULL,
         "dpo, simpo: weight of the mean loss of the chosen answer's tokens, added", COURSE,
         NEEDS("objective.kind", "dpo simpo")),
    REAL("objective.gamma", AT(objective.gamma), "0.5", 0, 1000, NULL, "simpo: the margin that is asked for",
         COURSE, NEEDS("objective.kind", "simpo")),
    REAL("objective.desirable_weight", AT(objective.desirable_weight), "1", 0, 1000, NULL,
         "kto: of completions whose label is true", COURSE, NEEDS("objective.kind", "kto")),
    REAL("objective.undesirable_weight", AT(objective.undesirable_weight), "1", 0, 1000, NULL,
         "kto: of completions whose label is false", COURSE, NEEDS("objective.kind", "kto")),
    LIST(
        "objective.teacher", AT(objective.teachers), AT(objective.num_teachers), &config_path_table,
        "distill: what the teacher says of the tokens of data.train, a file of 'atelier eval --top-k' for each of its "
        "token files, in any order",
        COURSE, NEEDS("objective.kind", "distill")),
    REAL("objective.temperature", AT(objective.temperature), "1", 1e-2, 100, NULL,
         "distill: of both models' softmax, as the teacher's file was made ('--temperature')", COURSE,
         NEEDS("objective.kind", "distill")),
    REAL("objective.teacher_share", AT(objective.teacher_share), "0.5", 0, 1, NULL,
         "distill: w of (1 - w) x loss + w x temperature^2 x divergence from the teacher", COURSE,
         NEEDS("objective.kind", "distill")),
    INT("objective.top_k", AT(objective.top_k), "64", 1, 256, NULL,
        "distill: so many tokens of the teacher's are compared one by one, the rest of the vocabulary as one; the file "
        "has as many at least",
        COURSE, NEEDS("objective.kind", "distill")),
    REAL(
        "objective.load_balance", AT(objective.load_balance), NULL, 0, 1000, NULL,
        "of a model with experts, beside every kind: so many times the load-balance loss of its routers is added, the mean over the "
        "sequences of a step; left out: as the model's config.json says, router_aux_loss_coef where output_router_logits is "
        "true, else 0",
        COURSE),
    REAL(
        "objective.router_z", AT(objective.router_z), "0", 0, 1000, NULL,
        "of a model with experts, beside every kind: so many times the mean of the routers' logsumexp squared is added, which keeps "
        "their logits small",
        COURSE),

    CHOICE(
        "optimizer.kind", AT(optimizer.kind), "adamw", optimizers,
        "how gradients become new weights; muon: matrices of the layers move along their momentum made orthogonal, "
        "everything else as with adamw"),
    REAL("optimizer.learning_rate", AT(optimizer.learning_rate), "1e-4", 1e-12, 100, NULL,
         "at the top of the schedule; the same size suits both optimizers", COURSE),
    REAL("optimizer.beta1", AT(optimizer.beta1), "0.9", 0, 0.999999, NULL, "AdamW, decay of the mean",
         COURSE),
    REAL("optimizer.beta2", AT(optimizer.beta2), "0.95", 0, 0.999999, NULL, "AdamW, decay of the mean square",
         COURSE),
    REAL("optimizer.eps", AT(optimizer.eps), "1e-8", 1e-15, 1, NULL, "AdamW, added to the root", COURSE),
    REAL("optimizer.momentum", AT(optimizer.momentum), "0.95", 0, 0.999999, NULL,
         "Muon, decay of the momentum, which is kept in f32", COURSE, NEEDS("optimizer.kind", "muon")),
    REAL("optimizer.weight_decay", AT(optimizer.weight_decay), "0.1", 0, 10, NULL,
         "on matrices; norms are left alone", COURSE),
    CHOICE("optimizer.state_dtype", AT(optimizer.state_dtype), "f32", moments,
           "type of AdamW's two moments; bf16: half the memory, rounded at random without bias", COURSE),
    BOOL("optimizer.offload", AT(optimizer.offload), "false",
         "keep masters and moments in the host's memory: larger models fit, the update takes longer", FREE),

    CHOICE("schedule.kind", AT(schedule.kind), "cosine", schedules,
           "shape of the learning rate after the warm-up; wsd: it stays at the top, then falls linearly over "
           "decay_steps",
           COURSE),
    INT("schedule.warmup_steps", AT(schedule.warmup_steps), "0", 0, 1e12, "steps",
        "linear rise from 0 to the learning rate", COURSE),
    INT("schedule.decay_steps", AT(schedule.decay_steps), "0", 0, 1e12, "steps",
        "wsd: length of the linear fall at the end; 0: a tenth of train.steps", COURSE,
        NEEDS("schedule.kind", "wsd")),
    REAL("schedule.final_ratio", AT(schedule.final_ratio), "0.1", 0, 1, NULL,
         "last learning rate divided by the highest", COURSE, NEEDS("schedule.kind", "linear cosine wsd")),

    INT_OR("parallel.stage", AT(parallel.zero_stage), "usual", 0, 3, NULL, auto_stages,
           "what is split over the ranks: 0 nothing, 1 optimizer state, 2 also gradients, 3 also parameters; "
           "auto: the "
           "fastest that fits; usual: 3, and beside an adapter auto, for what is split is then little",
           FREE),
    INT_OR(
        "parallel.replicas", AT(parallel.replicas), "1", 0, 1 << 20, NULL, auto_replicas,
        "copies of the model, each sharded over its own ranks, with one sum between them per step, which from "
        "stage 1 on they split, with the optimizer's state; 0: one "
        "per node, for "
        "a slow network; auto: so where the site's network is slow, else 1",
        FREE),
    CHOICE(
        "parallel.reduce", AT(parallel.reduce), "auto", reduces,
        "when stages 2 and 3 add up gradients over the ranks: micro, after each micro-batch; step, once a step, "
        "from a buffer of each rank as large as the whole gradient; auto: step where it is faster and fits",
        FREE),
    INT_OR(
        "parallel.context", AT(parallel.context), "1", 1, 256, "ranks", auto_contexts,
        "neighbouring ranks that share the tokens of a micro-batch, for texts that are too long for one; a divisor of the "
        "model's heads and keys; auto: more than 1 only where that is faster, or nothing else fits",
        FREE),
    INT_OR(
        "parallel.tensor", AT(parallel.tensor), "1", 1, 64, "ranks", auto_tensors,
        "neighbouring ranks of a node that divide the matrices of each layer by heads and by elements of the feed-forward; a "
        "divisor of the model's heads and keys and of its feed-forward's width; auto: more than 1 only where that is faster",
        FREE),
    INT_OR(
        "parallel.expert", AT(parallel.expert), "1", 1, 256, "ranks", auto_experts,
        "ranks that divide the experts of each layer, whole ones, and send each other's the rows that go to them; a divisor of "
        "the model's experts. Each has samples of its own, and its share of all other parameters as parallel.stage says; auto: "
        "more than 1 only where that is faster",
        FREE),
    CHOICE(
        "parallel.wire", AT(parallel.wire), "compute", wires,
        "type of gradients between replicas from stage 1 on: compute, that of train.compute, rounded once and added in "
        "f32; f32, twice the bytes; int8, half of them, what rounding loses is sent with the next step's; auto: compute or f32, "
        "whichever is faster",
        FREE, NEEDS("train.reproducible", "off")),
    INT("parallel.sync_every", AT(parallel.sync_every), "0", 0, 1e6, "steps",
        "each replica makes so many steps by itself, then all make an outer step along the mean of what they changed "
        "(DiLoCo); 0: gradients are added up in every step"),
    REAL("parallel.outer_learning_rate", AT(parallel.outer_learning_rate), "0.7", 0, 10, NULL,
         "of the outer step; 1, with outer_momentum 0: the mean of the replicas' weights", COURSE,
         NEEDS_OTHER("parallel.sync_every", "0")),
    REAL("parallel.outer_momentum", AT(parallel.outer_momentum), "0.9", 0, 0.999999, NULL,
         "Nesterov momentum of the outer step", COURSE, NEEDS_OTHER("parallel.sync_every", "0")),
    CHOICE(
        "parallel.comm", AT(parallel.comm), "nccl", comms,
        "how GPUs exchange parameters and gradients; mpi: through host memory, slow, lets ranks share a GPU",
        FREE),
    CHOICE(
        "parallel.gathers", AT(parallel.gathers), "auto", gather_ways,
        "how NCCL gathers parameters beside products at stages 2 and 3: auto, by copy engines between the GPUs of a node, where NCCL "
        "2.28.3 and the driver have that, else by its kernels, which the log says; kernels: always",
        FREE, NEEDS("parallel.comm", "nccl")),

    CHOICE("fabric.probe", AT(fabric.probe), "auto", probes,
           "measure the bandwidth between the ranks before the first step; auto: not between the processes "
           "of one CPU "
           "host",
           FREE),
    REAL("fabric.minimum", AT(fabric.minimum), "0", 0, 1, NULL,
         "share of the site's expected bandwidth below which the run is refused; 0: a warning alone", FREE,
         NEEDS("fabric.probe", "auto on")),

    INT("checkpoint.every_steps", AT(checkpoint.every_steps), "-1", -1, 1e12, "steps",
        "between two checkpoints; 0: only at the end and on a signal; -1: as often as it pays, from what a "
        "save takes "
        "and how often nodes fail",
        FREE),
    INT("checkpoint.keep", AT(checkpoint.keep), "2", 0, 1e6, "checkpoints",
        "newest ones kept, and beside them the last good one where the loss went out of bounds; 0: all",
        FREE),
    BOOL(
        "checkpoint.keep_best", AT(checkpoint.keep_best), "false",
        "keep the checkpoint of the lowest validation loss as well, as run.folder/best: one is written after each "
        "validation (valid.every_steps) that is the best so far",
        FREE, NEEDS("data.valid", NULL)),
    CHOICE(
        "checkpoint.async", AT(checkpoint.async), "auto", async_saves,
        "true: the training goes on while a checkpoint is written, from a copy of this rank's masters and optimizer state in "
        "host memory (AdamW: 12 bytes for each parameter that the rank owns); false: it waits, and nothing is copied; auto: true "
        "where the copy fits.  The last checkpoint of a start, and one that was asked for, are always waited for",
        FREE),
    CHOICE(
        "checkpoint.resume", AT(checkpoint.resume), "auto", resumes,
        "auto: go on from the checkpoint that run.folder/latest names, where there is one; never: start anew",
        FREE),
    PATH("checkpoint.from", AT(checkpoint.from), NULL,
         "RUN, RUN@STEP or a checkpoint's folder: begin a new line of history there, read only while "
         "run.folder has no "
         "checkpoint; steps go on counting, seed, data and batch may change and are then read from their "
         "beginning",
         FREE),
    INT("checkpoint.max_file_bytes", AT(checkpoint.max_file_bytes), "5000000000", 1 << 20, 1e15, "bytes",
        "longer models are split over several files", FREE),
    REAL("checkpoint.timeout_s", AT(checkpoint.timeout_s), "0", 0, 1e6, "s",
         "a rank that waits longer for the others while a checkpoint is written gives up, and the job ends; "
         "0: "
         "four times run.timeout_s, at most 3600",
         FREE),
    REAL("checkpoint.node_mtbf_h", AT(checkpoint.node_mtbf_h), "5000", 1, 1e9, "h",
         "mean time between failures of one node: how often it pays to save follows from it", FREE,
         NEEDS("checkpoint.every_steps", "-1")),

    INT("valid.every_steps", AT(valid.every_steps), "0", 0, 1e12, "steps",
        "between two validation losses; 0: only before and after", FREE, NEEDS("data.valid", NULL)),
    INT("valid.sequences", AT(valid.sequences), "0", 0, 1e9, "sequences",
        "at most so many per validation, of several sources some of each; 0: all", FREE),

    LIST(
        "eval.tasks", AT(eval.tasks), AT(eval.num_tasks), &config_path_table,
        "files of questions with choices, as 'atelier eval --tasks' reads them: the share of right choices goes into "
        "metrics.jsonl and the summary; none: no such evaluation",
        FREE),
    INT("eval.every_steps", AT(eval.every_steps), "0", 0, 1e12, "steps",
        "between two evaluations of eval.tasks; 0: only before and after", FREE, NEEDS("eval.tasks", NULL)),

    PATH("prepare.tokenizer", AT(prepare.tokenizer), NULL,
         "tokenizer.json or tekken.json, a model folder that holds one, or a GGUF file", FREE),
    PATH("prepare.output", AT(prepare.output), NULL, "token file to write (.h5)", FREE),
    LIST(
        "prepare.sources", AT(prepare.sources), AT(prepare.num_sources), &config_source_table,
        "corpora: a list of {path, name, licence, url, format, field, fields, separator, where, element, delimiter, encoding, "
        "subfolders, chat, form, record}",
        FREE),
    {"prepare.chat_template", KEY_PATH, AT(prepare.chat_template), "auto", 0, 0, chat_templates, NULL, 0,
     NULL,
     "how chat sources are written; auto: by the model's own template, exactly, or not at all; a name or a file "
     "that holds a template: in that format on purpose",
     KEY_FREE, NEEDS("prepare.sources.chat", "true")},
    TEXT(
        "prepare.date", AT(prepare.date), NULL,
        "the date, as 2026-01-31, that a chat template writes as the present one; a template that asks for it is "
        "refused without",
        FREE, NEEDS("prepare.sources.chat", "true")),
    CHOICE("prepare.train_on", AT(prepare.train_on), "assistant", learnt_parts,
           "what of a conversation the loss counts: the assistant's turns, the last of them, or all", FREE,
           NEEDS("prepare.sources.chat", "true")),
    CHOICE(
        "prepare.on_bad_conversation", AT(prepare.bad_chat), "fail", chat_policies,
        "a conversation that the template cannot write, with an empty question or answer, with nothing to "
        "learn, too long or of more than 16 MiB: fail at its line, skip and count it, or keep and count it where it "
        "can be written",
        FREE, NEEDS("prepare.sources.chat", "true")),
    INT("prepare.max_conversation_tokens", AT(prepare.max_chat_tokens), "0", 0, 1e9, "tokens",
        "a longer conversation is a bad one, as what does not fit into data.sequence_tokens is cut; 0: of any length",
        FREE, NEEDS("prepare.sources.chat", "true")),
    CHOICE(
        "prepare.on_bad_record", AT(prepare.on_bad_record), "fail", bad_lines,
        "a record without difference, with an empty prompt or a missing side or field, a label that is not true or false, too "
        "long, or that the template cannot write: fail at its line, or skip and count it",
        FREE, NEEDS("prepare.sources.record", RECORDS)),
    INT("prepare.max_record_tokens", AT(prepare.max_record_tokens), "0", 0, 1e9, "tokens",
        "a longer prompt with its completion is a bad record: both of a pair have to fit into data.sequence_tokens; 0: of "
        "any length",
        FREE, NEEDS("prepare.sources.record", RECORDS)),
    LIST(
        "prepare.models", AT(prepare.models), AT(prepare.num_models), &config_model_table,
        "models whose answers may be learnt from, by the names in the data: their licences decide; left out: any",
        FREE, NEEDS("prepare.sources.record", "vote reaction")),
    CHOICE("prepare.document_ends", AT(prepare.ends), "bos_eos", document_endings,
           "special tokens put around each document", FREE, NEEDS("prepare.sources.chat", "false")),
    CHOICE(
        "prepare.bad_utf8", AT(prepare.bad_utf8), "fail", utf8_policies,
        "a document that is not UTF-8 in spite of its source's encoding, or holds NUL: fail, replace the bad "
        "bytes, or skip it",
        FREE),
    CHOICE("prepare.on_bad_line", AT(prepare.on_bad_line), "fail", bad_lines,
           "a line that is not JSON or has not the source's field: fail, or skip and count it", FREE),
    BOOL("prepare.deduplicate", AT(prepare.deduplicate), "true",
         "leave out exact copies of earlier documents", FREE),
    BOOL("prepare.near_duplicates", AT(prepare.near_duplicates), "false",
         "leave out documents that share most of their runs of words with an earlier one (MinHash)", FREE),
    INT32(
        "prepare.near_bands", AT(prepare.near.num_bands), "14", 1, MINHASH_MAX_BANDS, NULL,
        "a document with the share s of its runs in common is found with probability 1 - (1 - s^rows)^bands: 66 % at 0.72, "
        "99.9 % at 0.9",
        FREE, NEEDS("prepare.near_duplicates", "true")),
    INT32("prepare.near_rows", AT(prepare.near.num_rows), "8", 1, MINHASH_MAX_ROWS, NULL,
          "more rows: only closer copies", FREE, NEEDS("prepare.near_duplicates", "true")),
    INT32("prepare.near_words", AT(prepare.near.num_words), "5", 1, MINHASH_MAX_WORDS, "words",
          "of a run that is compared", FREE, NEEDS("prepare.near_duplicates", "true")),
    CHOICE(
        "prepare.personal_data", AT(prepare.personal), "keep", personal_policies,
        "e-mail addresses, telephone numbers, social security numbers (NIR) and IBANs in texts, told by their form and check "
        "digits: kept, counted per source, or replaced by [EMAIL], [TELEPHONE], [NIR], [IBAN]",
        FREE),
    INT("prepare.min_tokens", AT(prepare.min_tokens), "1", 0, 1e9, "tokens", "shorter documents are left out",
        FREE),
    INT32("prepare.threads", AT(prepare.num_threads), "0", 0, 1024, "threads",
          "0: all cores; the result does not depend on it", FREE),
    INT("prepare.valid_every", AT(prepare.valid_every), "0", 0, 1e9, "documents",
        "every n-th document goes to a second file, '-valid' before .h5; 0: none", FREE),
    REAL(
        "prepare.valid_share", AT(prepare.valid_share), "0", 0, 0.9, NULL,
        "in place of valid_every: share of each source's documents that goes there, chosen by their texts alone: the same ones in "
        "whatever order files are read, and copies together; 0: none",
        FREE),

#include "configs/schema/config_table_slurm.inc"
};
static const struct config_table run_file_table = {run_file_keys, COUNT_OF(run_file_keys),
                                                   sizeof(struct config)};

const struct config_table *config_table(void) {
    return &run_file_table;
}
