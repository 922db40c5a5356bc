/* config_choices.h - the words that keys of a run file may have as values, for config_table.c alone: a list for each key. */
#pragma once

#include "configs/schema/config_keys.h"

static const struct config_choice progresses[] = {
    {"auto", PROGRESS_AUTO}, {"live", PROGRESS_LIVE}, {"lines", PROGRESS_LINES}, {NULL, 0}};
static const struct config_choice recomputes[] = {
    {"none", RECOMPUTE_NONE},   {"attention", RECOMPUTE_ATTENTION}, {"mlp", RECOMPUTE_FFN},
    {"layer", RECOMPUTE_LAYER}, {"auto", RECOMPUTE_AUTO},           {NULL, 0}};
static const struct config_choice auto_micros[] = {
    {"auto", AUTO_MICRO_SEQUENCES}, {"group", GROUP_MICRO_SEQUENCES}, {NULL, 0}};
static const struct config_choice auto_stages[] = {{"auto", AUTO_STAGE}, {"usual", USUAL_STAGE}, {NULL, 0}};
static const struct config_choice auto_replicas[] = {{"auto", AUTO_REPLICAS}, {NULL, 0}};
static const struct config_choice auto_contexts[] = {{"auto", AUTO_CONTEXT}, {NULL, 0}};
static const struct config_choice auto_tensors[] = {{"auto", AUTO_TENSOR}, {NULL, 0}};
static const struct config_choice auto_experts[] = {{"auto", AUTO_EXPERT}, {NULL, 0}};
static const struct config_choice probes[] = {
    {"auto", PROBE_AUTO}, {"off", PROBE_OFF}, {"on", PROBE_ON}, {NULL, 0}};
static const struct config_choice computes[] = {
    {"f32", COMPUTE_F32}, {"bf16", COMPUTE_BF16}, {"f16", COMPUTE_F16}, {"fp8", COMPUTE_FP8}, {NULL, 0}};
static const struct config_choice fp8_formats[] = {{"e4m3", FP8_E4M3}, {"hybrid", FP8_E5M2}, {NULL, 0}};
static const struct config_choice fp8_scalings[] = {
    {"tensor", FP8_CURRENT}, {"block", FP8_BLOCKS}, {NULL, 0}};
#define OPTIMIZER_CHOICE(NAME, name) {#name, OPTIMIZER_##NAME},
static const struct config_choice optimizers[] = {EACH_OPTIMIZER(OPTIMIZER_CHOICE){NULL, 0}};
static const struct config_choice objectives[] = {{"sft", OBJECTIVE_SFT},
                                                  {"dpo", OBJECTIVE_DPO},
                                                  {"orpo", OBJECTIVE_ORPO},
                                                  {"simpo", OBJECTIVE_SIMPO},
                                                  {"kto", OBJECTIVE_KTO},
                                                  {"distill", OBJECTIVE_DISTILL},
                                                  {NULL, 0}};
static const struct config_choice dpo_losses[] = {
    {"sigmoid", DPO_SIGMOID}, {"ipo", DPO_IPO}, {"hinge", DPO_HINGE}, {"robust", DPO_ROBUST}, {NULL, 0}};
static const struct config_choice moments[] = {{"f32", DTYPE_F32}, {"bf16", DTYPE_BF16}, {NULL, 0}};
static const struct config_choice devices[] = {
    {"auto", DEVICE_AUTO}, {"cpu", DEVICE_CPU}, {"cuda", DEVICE_CUDA}, {NULL, 0}};
static const struct config_choice reduces[] = {
    {"micro", REDUCE_MICRO}, {"step", REDUCE_STEP}, {"auto", REDUCE_AUTO}, {NULL, 0}};
static const struct config_choice wires[] = {
    {"compute", WIRE_COMPUTE}, {"f32", WIRE_F32}, {"int8", WIRE_INT8}, {"auto", WIRE_AUTO}, {NULL, 0}};
static const struct config_choice comms[] = {{"nccl", COMM_NCCL}, {"mpi", COMM_MPI}, {NULL, 0}};
static const struct config_choice gather_ways[] = {
    {"auto", GATHERS_AUTO}, {"kernels", GATHERS_KERNELS}, {NULL, 0}};
static const struct config_choice packings[] = {
    {"auto", PACKING_AUTO}, {"stream", PACKING_STREAM}, {"whole", PACKING_WHOLE}, {NULL, 0}};
static const struct config_choice long_policies[] = {
    {"cut", LONG_CUT}, {"skip", LONG_SKIP}, {"fail", LONG_FAIL}, {NULL, 0}};
static const struct config_choice data_verifies[] = {
    {"sample", DATA_VERIFY_SAMPLE}, {"all", DATA_VERIFY_ALL}, {NULL, 0}};
static const struct config_choice adapter_methods[] = {
    {"none", ADAPTER_NONE}, {"lora", ADAPTER_LORA}, {"dora", ADAPTER_DORA}, {NULL, 0}};
static const struct config_choice adapter_bases[] = {
    {"compute", BASE_COMPUTE}, {"nf4", BASE_NF4},   {"nf4_double", BASE_NF4_DOUBLE},
    {"fp8", BASE_FP8},         {"int8", BASE_INT8}, {NULL, 0}};
static const struct config_choice adapter_residents[] = {
    {"auto", RESIDENT_AUTO}, {"always", RESIDENT_ALWAYS}, {"never", RESIDENT_NEVER}, {NULL, 0}};
static const struct config_choice async_saves[] = {
    {"auto", ASYNC_AUTO}, {"true", ASYNC_TRUE}, {"false", ASYNC_FALSE}, {NULL, 0}};
static const struct config_choice resumes[] = {{"auto", RESUME_AUTO}, {"never", RESUME_NEVER}, {NULL, 0}};
static const struct config_choice spike_policies[] = {
    {"off", SPIKE_OFF}, {"skip", SPIKE_SKIP}, {"rollback", SPIKE_ROLLBACK}, {NULL, 0}};
static const struct config_choice reproducibles[] = {
    {"off", REPRODUCIBLE_OFF}, {"layout", REPRODUCIBLE_LAYOUT}, {NULL, 0}};
static const struct config_choice tied_heads[] = {
    {"auto", TIED_AUTO}, {"true", TIED_TRUE}, {"false", TIED_FALSE}, {NULL, 0}};
static const struct config_choice save_dtypes[] = {
    {"source", DTYPE_COUNT}, {"f32", DTYPE_F32}, {"bf16", DTYPE_BF16}, {"f16", DTYPE_F16}, {NULL, 0}};
static const struct config_choice schedules[] = {{"constant", SCHEDULE_CONSTANT},
                                                 {"linear", SCHEDULE_LINEAR},
                                                 {"cosine", SCHEDULE_COSINE},
                                                 {"wsd", SCHEDULE_WSD},
                                                 {NULL, 0}};
static const struct config_choice ropes[] = {
    {"none", ROPE_PLAIN}, {"linear", ROPE_LINEAR}, {"llama3", ROPE_LLAMA3}, {"yarn", ROPE_YARN}, {NULL, 0}};
static const struct config_choice document_endings[] = {{"bos_eos", DOCUMENT_BOS_EOS},
                                                        {"eos", DOCUMENT_EOS},
                                                        {"bos", DOCUMENT_BOS},
                                                        {"none", DOCUMENT_NONE},
                                                        {NULL, 0}};
static const struct config_choice utf8_policies[] = {
    {"fail", BAD_UTF8_FAIL}, {"replace", BAD_UTF8_REPLACE}, {"skip", BAD_UTF8_SKIP}, {NULL, 0}};
static const struct config_choice personal_policies[] = {
    {"keep", PERSONAL_KEEP}, {"count", PERSONAL_COUNT}, {"replace", PERSONAL_REPLACE}, {NULL, 0}};
static const struct config_choice bad_lines[] = {{"fail", BAD_LINE_FAIL}, {"skip", BAD_LINE_SKIP}, {NULL, 0}};
static const struct config_choice chat_policies[] = {
    {"fail", BAD_CHAT_FAIL}, {"skip", BAD_CHAT_SKIP}, {"keep", BAD_CHAT_KEEP}, {NULL, 0}};
static const struct config_choice chain_ends[] = {
    {"time_limit", CHAIN_UNTIL_TIME}, {"done", CHAIN_UNTIL_DONE}, {NULL, 0}};
/* Kept as text: data/template/chat.h knows what the names mean. */
static const struct config_choice chat_templates[] = {{"auto", 0},   {"chatml", 0},  {"llama2", 0},
                                                      {"llama3", 0}, {"mistral", 0}, {NULL, 0}};
static const struct config_choice learnt_parts[] = {{"assistant", TRAIN_ON_ASSISTANT},
                                                    {"last_assistant", TRAIN_ON_LAST_ASSISTANT},
                                                    {"all", TRAIN_ON_ALL},
                                                    {NULL, 0}};
