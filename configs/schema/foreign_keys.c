/* foreign_keys.c - the words of other programs' configuration files, and the keys of a run file that mean the same.
 * Sources: the configuration references of axolotl, transformers (TrainingArguments), TRL, LLaMA-Factory, torchtune,
 * nanoGPT and Megatron-LM.  See foreign_words.h. */
#include <stddef.h>

#include "configs/schema/foreign_words.h"

static const struct foreign_word KEYS[] = {
    {"lr", "optimizer.learning_rate", NULL},
    {"learning_rate_scheduler", "schedule.kind", NULL},
    {"lr_scheduler lr_scheduler_type scheduler learning_rate_schedule lr_schedule "
     "lr_decay_style",
     "schedule.kind", "constant, linear, cosine or wsd"},
    {"lr_scheduler_kwargs", "schedule.final_ratio", "the schedule's keys stand below 'schedule:'"},
    {"min_lr min_learning_rate final_lr lr_end", "schedule.final_ratio",
     "the last rate divided by the highest"},
    {"min_lr_ratio cosine_min_lr_ratio", "schedule.final_ratio", NULL},
    {"decay_steps cosine_constant_lr_ratio num_stable_steps num_decay_steps lr_decay_steps",
     "schedule.decay_steps", NULL},
    {"num_warmup_steps warmup warmup_iters lr_warmup_steps warmup_steps_ratio warmup_num_steps",
     "schedule.warmup_steps", NULL},
    {"warmup_ratio", "schedule.warmup_steps", "in steps: the ratio times train.steps"},
    {"num_epochs num_train_epochs", "train.epochs", NULL},
    {"max_steps max_steps_per_epoch num_steps total_steps train_iters max_iters iterations", "train.steps",
     NULL},
    {"batch_size train_batch_size", "train.batch_sequences",
     "the sequences of the whole job in one step, over all ranks and accumulations"},
    {"global_batch_size effective_batch_size total_batch_size global_bsz", "train.batch_sequences", NULL},
    {"per_device_batch_size per_device_train_batch_size micro_batch_size "
     "train_micro_batch_size_per_gpu batch_size_per_gpu per_gpu_train_batch_size "
     "local_batch_size train_micro_batch_size micro_bsz",
     "train.micro_sequences", NULL},
    {"per_device_eval_batch_size eval_batch_size eval_accumulation_steps batch_size_val "
     "per_gpu_eval_batch_size val_batch_size",
     "train.micro_sequences", "validation takes the same"},
    {"gradient_accumulation gradient_accumulation_steps accumulate_grad_batches "
     "grad_accumulation_steps",
     "train.batch_sequences", "it follows: train.batch_sequences / (ranks x train.micro_sequences)"},
    {"sequence_len sequence_length seq_len seq_length max_seq_len max_seq_length max_length "
     "model_max_length block_size cutoff_len context_length max_seqlen max_prompt_length "
     "max_completion_length max_target_length max_source_length",
     "data.sequence_tokens", NULL},
    {"base_model model_name model_id model_name_or_path pretrained_model_name_or_path "
     "model_path base_model_name model_dir pretrained_model model_checkpoint init_model "
     "base_checkpoint",
     "model.path", "a folder or GGUF file on this machine: nothing is downloaded"},
    {"base_model_config", "model.path", "the model's own config.json is read"},
    {"model_type cls_model_config is_falcon_derived_model is_llama_derived_model "
     "is_qwen_derived_model is_mistral_derived_model architectures",
     NULL, "it is read from the model's config.json"},
    {"model_revision", NULL, "models are folders on this machine: nothing is downloaded"},
    {"tokenizer_type", NULL, "it is read from tokenizer.json"},
    {"tokenizer_name tokenizer_name_or_path tokenizer_config vocab_path tokenizer_path "
     "tokenizer_file merges_file tokenizer_model",
     "model.tokenizer", "a model brings its own"},
    {"special_tokens eos_token pad_token bos_token unk_token pad_token_id", NULL,
     "they are read from the model's tokenizer; model.add_special_tokens lists those that it lacks"},
    {"trust_remote_code", NULL, "no code is ever loaded with a model"},
    {"hub_model_id push_to_hub push_dataset_to_hub hub_strategy hub_private_repo "
     "hub_always_push export_hub_model_id push_to_hub_model_id push_to_hub_token hub_private",
     NULL, "nothing is uploaded; checkpoints are Hugging Face folders"},
    {"dataset datasets dataset_name dataset_dir dataset_path train_file data_files "
     "pretraining_dataset train_dataset train_files dataset_config dataset_config_name "
     "dataset_train_split train_split dataset_split data_dir corpus dataset_mixture "
     "custom_dataset",
     "prepare.sources", "'atelier prepare' makes a token file of them, which data.train names"},
    {"train_data data_path", "data.train", "token files made by 'atelier prepare'"},
    {"dataset_prepared_path tokenized_path overwrite_cache preprocessed_path", "prepare.output", NULL},
    {"test_datasets eval_dataset validation_file dataset_test_split dataset_val valid_data "
     "val_data",
     "data.valid", "token files made by 'atelier prepare'"},
    {"val_set_size val_size train_test_split_ratio test_size validation_split", "prepare.valid_share",
     "a share of the documents goes to a file for data.valid; every n-th one: prepare.valid_every"},
    {"dataset_text_field text_column", "prepare.sources", "'field' of a source"},
    {"dataset_num_proc preprocessing_num_workers dataset_processes num_proc "
     "num_preprocessing_workers",
     "prepare.threads", NULL},
    {"template chat_template", "prepare.chat_template", NULL},
    {"train_on_inputs train_on_prompt completion_only_loss assistant_only_loss roles_to_train "
     "train_on_eos train_on_eot mask_history train_on_input masked_tokens "
     "train_on_responses_only response_template instruction_template",
     "prepare.train_on",
     "the loss counts on the assistant's turns alone where a source has 'chat: true'; or all, or the last"},
    {"sample_packing packed", "data.packing", "sequences are always packed, whole keeps documents uncut"},
    {"neat_packing", "data.packing", "documents never attend to each other"},
    {"pad_to_sequence_len eval_sample_packing group_by_length pad_to_multiple_of padding_free "
     "padding packing_strategy packing_bin_size eval_packing sample_packing_group_size "
     "sample_packing_bin_size multipack_real_batches batch_flattening length_column_name "
     "padding_side truncation",
     "data.packing", "sequences are always packed"},
    {"shuffle shuffle_merged_datasets shuffle_before_merging_datasets curriculum_sampling "
     "sample_packing_sequentially disable_shuffling dataloader_shuffle sampler "
     "train_sampling_strategy",
     "run.seed", "samples are always in an order drawn from the seed"},
    {"data_seed random_seed", "run.seed", NULL},
    {"output_dir save_dir out_dir logging_dir run_name checkpoint_dir ckpt_dir "
     "checkpoint_folder checkpoints_dir ckpt_path",
     "run.folder", NULL},
    {"overwrite_output_dir", "checkpoint.resume", "never starts anew, in another run.folder"},
    {"logging_steps log_every_n_steps log_interval logging_strategy logging_first_step", "run.log_every",
     NULL},
    {"save_steps save_interval save_strategy save_every save_every_n_steps checkpoint_interval "
     "checkpointing_steps save_freq save_interval_steps save_every_epoch",
     "checkpoint.every_steps", NULL},
    {"saves_per_epoch", "checkpoint.every_steps", "in steps"},
    {"save_total_limit keep_last_n_checkpoints max_checkpoints keep_last", "checkpoint.keep", NULL},
    {"save_only_model save_last_epoch_only save_on_each_node save_strategy_kwargs "
     "restore_callback_states_from_checkpoint checkpointer "
     "safe_serialization recipe_checkpoint checkpoint_files checkpoint_format "
     "save_weights_only export_device export_size export_legacy_format save_optimizer_state",
     NULL, "a checkpoint is a model folder; what training needs stands in its state/"},
    {"enable_async_checkpointing async_save", "checkpoint.async", NULL},
    {"save_safetensors", NULL, "checkpoints are always safetensors"},
    {"resume_from_checkpoint auto_resume_from_checkpoints", "checkpoint.resume",
     "auto: the same command goes on from run.folder"},
    {"resume", "checkpoint.resume", NULL},
    {"eval_steps eval_interval eval_strategy evaluation_strategy eval_delay eval_on_start "
     "eval_on_each_dataset run_val_every_n_steps evaluate_every validate_every_n_steps "
     "val_check_interval validation_steps valid_interval",
     "valid.every_steps", NULL},
    {"evals_per_epoch", "valid.every_steps", "in steps"},
    {"max_eval_samples max_val_samples limit_val_batches eval_iters eval_samples", "valid.sequences", NULL},
    {"max_samples", "train.steps", "steps x train.batch_sequences sequences are read"},
    {"adam_beta1 beta_1 adam_b1", "optimizer.beta1", NULL},
    {"adam_beta2 beta_2 adam_b2", "optimizer.beta2", NULL},
    {"adam_epsilon epsilon adam_eps", "optimizer.eps", NULL},
    {"betas", "optimizer.beta1", "and optimizer.beta2"},
    {"wd decay", "optimizer.weight_decay", NULL},
    {"optim", "optimizer.kind", NULL},
    {"optimizer", "optimizer.kind", "adamw or muon; its keys stand below 'optimizer:'"},
    {"fused", NULL, "AdamW is always one kernel"},
    {"max_grad_norm clip_grad_norm gradient_clipping grad_clip_norm use_clipping "
     "grad_norm_clip gradient_clip_val clip_grad gradient_clip_norm",
     "train.grad_clip", NULL},
    {"bf16 bfloat16 pure_bf16", "train.compute", "'compute: bf16'"},
    {"fp16 float16", "train.compute", "'compute: f16'"},
    {"tf32 dtype torch_dtype precision mixed_precision fp16_opt_level fp16_backend "
     "half_precision_backend bf16_full_eval fp16_full_eval compute_dtype infer_dtype amp_dtype "
     "amp model_dtype",
     "train.compute", "f32, bf16, f16 or fp8"},
    {"fp8 float8", "train.compute", "'compute: fp8'"},
    {"fp8_format", "train.fp8_format", "hybrid or e4m3"},
    {"fp8_recipe", "train.fp8_scaling",
     "with compute: fp8; tensor: one scale for each tensor, by its present values ('tensorwise'); block: 'blockwise'"},
    {"first_last_layers_bf16 num_layers_at_start_in_bf16 num_layers_at_end_in_bf16", "train.fp8_skip_layers",
     "so many at each end"},
    {"gradient_checkpointing gradient_checkpointing_kwargs activation_checkpointing "
     "enable_activation_checkpointing enable_activation_offloading activation_offloading "
     "layer_offloading disable_gradient_checkpointing gradient_checkpointing_use_reentrant "
     "use_reentrant_gc use_reentrant use_gradient_checkpointing activation_checkpoint "
     "selective_ac activation_checkpointing_mode",
     "train.recompute", "attention, mlp or layer"},
    {"use_cpu no_cuda", "run.device", "'device: cpu'"},
    {"ddp_timeout", "run.timeout_s", NULL},
    {"deepspeed zero_optimization", "parallel.stage", "0 to 3, as ZeRO counts them"},
    {"zero_stage", "parallel.stage", NULL},
    {"fsdp fsdp_config fsdp_version fsdp_cpu_offload fsdp_reshard_after_forward "
     "fsdp_transformer_layer_cls_to_wrap fsdp_min_num_params fsdp_sharding_strategy "
     "fsdp_auto_wrap_policy custom_sharded_layers data_parallel_shard_dim dp_shard_size "
     "data_parallel_shard_degree fsdp_final_state_dict_type sharding_strategy zero3_init_flag "
     "zero_optimization_stage",
     "parallel.stage", "3 splits parameters, gradients and optimizer state"},
    {"cpu_offload offload_optimizer", "optimizer.offload", NULL},
    {"num_nodes nnodes", "slurm.nodes", NULL},
    {"nproc_per_node", "slurm.ranks_per_node", NULL},
    {"world_size", NULL, "the number of ranks is mpirun's or srun's"},
    {"tensor_parallel_size tensor_model_parallel_size tensor_parallel_dim tensor_parallel_degree tp_size",
     "parallel.tensor", "ranks of a node that divide each layer's matrices"},
    {"pipeline_model_parallel_size pipeline_parallel_size", NULL,
     "there is no pipeline axis yet; parallel.stage: 3 splits the model over the ranks"},
    {"context_parallel_size sequence_parallel_degree sequence_parallel_size "
     "context_parallel_degree cp_size ulysses_degree",
     "parallel.context", "ranks that share the tokens of a text"},
    {"heads_k_stride ring_attn_func", NULL,
     "ranks that share a text exchange rows for heads, with no ring (parallel.context)"},
    {"adapter", "adapter.method", "lora, dora or none; its keys stand below 'adapter:'"},
    {"peft use_peft lora use_lora peft_config lora_config lora_args finetuning_type", "adapter.method",
     "lora, or none where all weights are trained ('full')"},
    {"lora_r lora_rank", "adapter.rank", NULL},
    {"lora_alpha", "adapter.alpha", NULL},
    {"lora_target lora_target_modules lora_target_linear lora_attn_modules apply_lora_to_mlp",
     "adapter.targets",
     "all-linear, a list of q, k, v, o, gate, up, down, or peft's pattern over whole names of modules"},
    {"lora_layers_to_transform peft_layers_to_transform peft_layers_pattern layers_to_transform",
     "adapter.layers", "numbers and ranges such as [0-3, 7]"},
    {"peft_use_rslora use_rslora", "adapter.rslora", NULL},
    {"loraplus_lr_ratio", "adapter.b_learning_rate_ratio", NULL},
    {"lora_model_dir adapter_name_or_path adapter_folder lora_path", "adapter.path", NULL},
    {"lora_dropout", "adapter.dropout", NULL},
    {"merge_lora merge_adapter save_adapter_weights_only", NULL,
     "checkpoints hold the adapter alone; 'atelier export --to hf' merges it"},
    {"lora_modules_to_save additional_target modules_to_save", "adapter.train",
     "a list of norms, embedding, head"},
    {"apply_lora_to_output loraplus_lr_embedding lora_bias lora_target_parameters", NULL,
     "an adapter has pairs on the matrices of layers alone, which is what servers take"},
    {"peft_use_dora use_dora use_dora_lora", "adapter.method", "dora"},
    {"lora_fan_in_fan_out lora_on_cpu relora_steps relora_warmup_steps "
     "relora_cpu_offload relora lora_task_type create_new_adapter pissa_init pissa_iter pissa_convert "
     "init_lora_weights",
     NULL, "adapters are LoRA pairs, or DoRA: PiSSA and ReLoRA are not there"},
    {"load_in_4bit qlora bnb_4bit_quant_type nf4", "adapter.base",
     "nf4, or nf4_double; beside adapter.method: lora"},
    {"bnb_4bit_use_double_quant use_bnb_nested_quant double_quantization", "adapter.base",
     "nf4_double has its scales in eight bits, nf4 has not"},
    {"load_in_8bit", "adapter.base", "int8 or fp8: blocks of 128 with a scale, not LLM.int8()"},
    {"quantization_bit load_in_bits quantization_method bnb_config_kwargs quantize_base", "adapter.base",
     "nf4, nf4_double, fp8 or int8; compute: as it is"},
    {"bnb_4bit_compute_dtype", "train.compute", NULL},
    {"gptq bnb_4bit_quant_storage quantization quantization_type quantization_config quantization_device_map qat "
     "quantizer quantizer_mode",
     NULL,
     "a model that is trained whole is not quantized; adapter.base keeps that of an adapter in fewer bits"},
    {"flash_attention flash_attn xformers_attention sdp_attention attn_implementation "
     "flash_attn_cross_entropy flash_attn_rms_norm flash_attn_fuse_mlp flash_attn_fuse_qkv "
     "s2_attention shift_attn flex_attention eager_attention sage_attention "
     "pretrain_multipack_attn multipack_attention attn_implementation_kwargs "
     "use_flash_attention use_flash_attn use_flash_attention_2",
     NULL, "attention never stores the score matrix: there is nothing to switch on"},
    {"compile torch_compile torch_compile_backend torch_compile_mode torchdynamo "
     "torchdistx_path torch_empty_cache_steps cuda_graphs",
     NULL, "there is nothing to compile"},
    {"use_liger_kernel unsloth plugins liger_kernel_config liger_rope liger_rms_norm "
     "liger_layer_norm liger_swiglu liger_glu_activation liger_fused_linear_cross_entropy "
     "liger_cross_entropy enable_liger_kernel cut_cross_entropy use_unsloth use_unsloth_gc "
     "unsloth_cross_entropy_loss unsloth_lora_mlp unsloth_rms_norm unsloth_rope flash_optimum "
     "use_ipex jit_mode_eval lora_mlp_kernel lora_qkv_kernel lora_o_kernel kernels use_kernels",
     NULL, "the kernels are the program's own"},
    {"neftune_noise_alpha noisy_embedding_alpha", NULL, "there is no noise on embeddings"},
    {"label_smoothing_factor", NULL, "there is no label smoothing"},
    {"wandb_project wandb use_wandb report_to metric_logger wandb_mode wandb_entity "
     "wandb_watch wandb_name wandb_run_id wandb_log_model wandb_run_name wandb_group "
     "wandb_tags mlflow_tracking_uri mlflow_experiment_name mlflow_run_name "
     "hf_mlflow_log_artifacts use_mlflow use_comet comet_api_key comet_workspace "
     "comet_project_name comet_mode comet_online use_swanlab swanlab_project "
     "swanlab_run_name swanlab_mode swanlab_workspace trackio_space_id project entity "
     "ray_run_name ray_scope ray_num_workers ray_storage_path run_id logging_backend",
     NULL,
     "no service is reported to: metrics.jsonl and log.txt stand in run.folder, and event files of TensorBoard with run.tensorboard"},
    {"use_tensorboard tensorboard_dir tensorboard", "run.tensorboard",
     "its event files go to tensorboard/ in run.folder"},
    {"plot_loss", NULL, "'atelier report' draws the losses"},
    {"dataloader_num_workers num_workers dataloader_pin_memory persistent_workers "
     "dataloader_persistent_workers dataloader_prefetch_factor prefetch_factor pin_memory "
     "dataloader",
     NULL, "tokens are read ahead by a thread of their own"},
    {"do_train do_eval", NULL, "'atelier train' trains, 'atelier eval' evaluates"},
    {"do_predict", NULL, "'atelier generate' writes text, 'atelier eval' evaluates"},
    {"task_type", NULL, "the sources say it: text for pre-training, 'chat: true' for conversations"},
    {"stage", NULL,
     "the sources say it: text for pre-training, 'chat: true' for conversations; ZeRO's stage is parallel.stage"},
    {"rl dpo", "objective.kind", "sft, dpo, orpo, simpo, kto or distill"},
    {"pref_loss", "objective.loss",
     "of dpo: sigmoid, ipo, hinge or robust; orpo and simpo are objective.kind"},
    {"rl_beta pref_beta orpo_alpha", "objective.beta", NULL},
    {"pref_ftx rpo_alpha cpo_alpha", "objective.sft_weight", NULL},
    {"dpo_label_smoothing", "objective.label_smoothing", NULL},
    {"simpo_gamma", "objective.gamma", NULL},
    {"desirable_weight kto_desirable_weight kto_chosen_weight", "objective.desirable_weight", NULL},
    {"undesirable_weight kto_undesirable_weight kto_rejected_weight", "objective.undesirable_weight", NULL},
    {"ref_model ref_checkpointer precompute_ref_log_probs precompute_ref_batch_size ref_model_adapters "
     "ref_model_quantization_bit",
     NULL,
     "the reference is the model of model.path: its log-probabilities are computed once, before the first step"},
    {"dpo_use_weighting reward_model reward process_reward_model ppo_buffer_size "
     "ppo_epochs ppo_score_norm ppo_target ppo_whiten_rewards reward_model_adapters reward_model_type reward_weights trl "
     "grpo num_generations sync_ref_model reference_free ignore_bias_buffers",
     NULL,
     "it is not supported: objective.kind says what is minimised, sft, dpo, orpo, simpo, kto or distill"},
    {"beta", "objective.beta", "of preference objectives; AdamW has optimizer.beta1 and beta2"},
    {"objective.type objective.name objective.method", "objective.kind",
     "sft, dpo, orpo, simpo, kto or distill"},
    {"objective.loss_type", "objective.loss", NULL},
    {"objective.simpo_gamma", "objective.gamma", NULL},
    {"objective.rpo_alpha objective.cpo_alpha objective.alpha", "objective.sft_weight", NULL},
    {"early_stopping_patience early_stopping_steps early_stopping", "train.early_stop",
     "validations in a row that are no better"},
    {"early_stopping_threshold", NULL, "any better loss counts (train.early_stop)"},
    {"load_best_model_at_end save_best_only", "checkpoint.keep_best",
     "the checkpoint of the lowest validation loss is run.folder/best"},
    {"strict", NULL, "unknown keys are always refused"},
    {"debug", NULL, "'log_every: 1' below 'run:' shows every step"},
    {"vocab_size", "model.architecture.vocab_size", NULL},
    {"hidden_size n_embd d_model", "model.architecture.width", NULL},
    {"num_hidden_layers num_layers n_layers n_layer", "model.architecture.layers", NULL},
    {"num_attention_heads n_heads n_head", "model.architecture.heads", NULL},
    {"num_key_value_heads", "model.architecture.kv_heads", NULL},
    {"intermediate_size", "model.architecture.ffn_width", NULL},
    {"max_position_embeddings", "model.architecture.max_positions", NULL},
    {"rms_norm_eps", "model.architecture.norm_eps", NULL},
    {"tie_word_embeddings tie_embeddings untie_embeddings_and_output_weights", "model.tied_head",
     "of a new model model.architecture.tied_head"},
    {"base_model_ignore_patterns hf_use_auth_token hub_token ms_hub_token om_hub_token "
     "hf_hub_token hub_revision use_auth_token token revision cache_dir hub_model_revision "
     "model_cache_dir",
     NULL, "nothing is downloaded: models and data are files on this machine"},
    {"config_name overrides_of_model_config overrides_of_model_kwargs model_kwargs "
     "model_init_kwargs model_config_type",
     NULL, "the model's own config.json is obeyed; 'model.architecture' makes a new model"},
    {"tokenizer_use_fast use_fast_tokenizer tokenizer_legacy use_slow_tokenizer "
     "tokenizer_use_mistral_common",
     NULL, "tokenizer.json is read, by the program's own tokenizer"},
    {"resize_vocab mean_resizing_embeddings", "model.add_tokens", "the rows begin at the mean of the others"},
    {"resize_token_embeddings_to_32x shrink_embeddings embedding_size", NULL,
     "the embedding grows by what model.add_tokens needs, and keeps all its rows"},
    {"tokens new_tokens", "model.add_tokens", NULL},
    {"additional_special_tokens new_special_tokens extra_special_tokens", "model.add_special_tokens", NULL},
    {"added_tokens_overrides", "model.add_tokens", "a token that is there keeps its text and its id"},
    {"float32 fp32", "train.compute", "'compute: f32'"},
    {"gpu_memory_limit max_memory device_map low_cpu_mem_usage offload_folder low_cpu_ram", NULL,
     "the plan fits the model into the memory of the ranks: 'atelier plan' shows it, parallel.stage and train.recompute change it"},
    {"source split name_or_path streaming dataset_streaming buffer_size dataset_keep_in_memory "
     "dataset_shard_num dataset_shard_idx preprocessing_batch_size dataset_num_shards "
     "data_shared_file_system iterable_dataset shuffle_buffer_size",
     NULL,
     "corpora are files that 'atelier prepare' reads once into a token file; tokens are read from it as they are needed"},
    {"dataset_exact_deduplication dedup", "prepare.deduplicate", NULL},
    {"dataset_kwargs column_map conversation_column conversation_style field_messages "
     "message_property_mappings message_field_role message_field_content columns formatting",
     "prepare.sources",
     "'field' and 'form' of a source: conversations as messages, sharegpt, alpaca or completion"},
    {"mix_strategy interleave_probs dataset_weights sampling_ratio data_weights interleave "
     "probs",
     "data.train", "each path may have a weight: {path: a.h5, weight: 2}"},
    {"chat_template_jinja chat_template_path prompt_template conversation_template "
     "template_name",
     "prepare.chat_template", "auto takes the model's own"},
    {"default_system_message default_system new_system_prompt system_prompt tool_format "
     "enable_thinking reasoning_effort",
     NULL, "conversations are written as they stand: put the system message into the data"},
    {"dataloader_drop_last drop_last remove_unused_columns label_names ignore_data_skip "
     "ignore_pad_token_for_loss",
     NULL, "sequences are full and carry what the loss needs; a resumed run goes on with the next sample"},
    {"excess_length_strategy max_document_length", "data.long_documents", NULL},
    {"min_sample_len min_length", "prepare.min_tokens", NULL},
    {"unfrozen_parameters lisa_n_layers lisa_step_interval lisa_layers_attribute "
     "freeze_trainable_layers freeze_trainable_modules freeze_extra_modules "
     "freeze_vision_tower freeze_language_model freeze_multi_modal_projector freeze "
     "use_llama_pro train_from_scratch mixture_of_depths spectrum_top_fraction",
     NULL, "all weights of the model are trained"},
    {"moe_aux_loss_coef router_aux_loss_coef", "objective.load_balance", NULL},
    {"device_type accelerator", "run.device", NULL},
    {"auto_find_batch_size", "train.micro_sequences", "'atelier plan' says what fits"},
    {"lr_quadratic_warmup lr_div_factor", NULL, "the warm-up is linear, from 0 to optimizer.learning_rate"},
    {"embedding_lr embedding_lr_scale lr_groups layerwise_lr_decay", NULL,
     "one learning rate for all weights"},
    {"use_muon optimizer_type optimizer_name", "optimizer.kind", NULL},
    {"muon_momentum", "optimizer.momentum", NULL},
    {"optim_args optim_target_modules optimizer_in_bwd use_galore galore_rank "
     "galore_update_interval galore_scale galore_target use_apollo apollo_rank use_badam "
     "badam_mode use_adam_mini nesterov adafactor",
     NULL, "the optimizers are listed by 'atelier help config'; their keys stand below 'optimizer:'"},
    {"loss_watchdog_threshold loss_watchdog_patience logging_nan_inf_filter", NULL,
     "a run that diverges says so and ends with code 1; 'train.spike' leaves out single batches"},
    {"sigma_factor", "train.spike_sigma", "with train.spike"},
    {"rolling_interval_length", "train.spike_window", "with train.spike"},
    {"embeddings_skip_upcast upcast_layernorm upcast_lmhead_output", NULL,
     "norms, losses and sums are f32 always"},
    {"loss loss_type loss_fn num_output_chunks average_tokens_across_devices z_loss", NULL,
     "the loss is the mean over the target tokens of the whole batch, whatever the layout"},
    {"log_level log_level_replica log_on_each_node include_tokens_per_second "
     "include_num_input_tokens_seen include_effective_tokens_per_second log_peak_memory_stats "
     "skip_memory_metrics log_dir log_grad_norm log_params_norm",
     NULL, "losses, norms, tokens per second and memory stand in metrics.jsonl"},
    {"disable_tqdm", "run.progress", NULL},
    {"profiler profiler_steps profile_memory with_stack record_shapes with_flops wait_steps "
     "active_steps num_cycles profiler_config enable_profiling",
     NULL, "there is no profiler; times stand in metrics.jsonl, and 'atelier plan' estimates them"},
    {"export_dir merged_dir", "run.folder", "'atelier export' writes models elsewhere"},
    {"init_from load_checkpoint from_checkpoint", "checkpoint.from", NULL},
    {"eval_table_size eval_max_new_tokens do_causal_lm_eval eval_causal_lm_metrics "
     "metric_for_best_model greater_is_better prediction_loss_only predict_with_generate "
     "compute_accuracy batch_eval_metrics include_inputs_for_metrics include_for_metrics "
     "eval_do_concat_batches eval_use_gather_object past_index compute_metrics eval_num_beams "
     "generation_max_length",
     NULL,
     "validation gives the loss alone; 'atelier eval' evaluates a checkpoint, 'atelier generate' writes text"},
    {"max_new_tokens do_sample temperature top_p top_k num_beams repetition_penalty "
     "infer_backend use_kv_cache vllm use_vllm",
     NULL, "options of 'atelier generate', not of a run file"},
    {"teacher_model teacher_checkpointer", "objective.teacher",
     "a file of 'atelier eval TEACHER --data FILE.h5 --top-k K': the teacher runs once, before the training"},
    {"kd_ratio kd_alpha kd_ce_alpha", "objective.teacher_share", "of the divergence, 0 to 1"},
    {"kd_temperature", "objective.temperature", NULL},
    {"distillation kd_trainer", "objective.kind", "distill"},
    {"image_max_pixels image_min_pixels video_max_pixels video_fps video_maxlen media_dir "
     "image_size processor_type image_column is_multimodal freeze_vision",
     NULL, "models read text alone"},
    {"rope_scaling_type rope_scaling_factor", "model.architecture.rope_scaling", "a model brings its own"},
    {"ddp_bucket_cap_mb ddp_broadcast_buffers ddp_find_unused_parameters ddp_backend "
     "ddp_config distributed_backend local_rank tpu_num_cores accelerator_config use_ray "
     "use_mpi backend",
     NULL, "ranks are started by mpirun or srun; parallel.stage says what they split"},
    {"data_parallel_replicate_dim dp_replicate_size data_parallel_replicate_degree "
     "num_replicas",
     "parallel.replicas", NULL},
    {"expert_parallel_size expert_model_parallel_size expert_parallel_degree ep_size", "parallel.expert",
     "ranks that divide the experts of each layer"},
    {"tensor_parallel_plan pipeline_parallel_degree parallelism_config pp_size", NULL,
     "there is no such axis yet; parallel.stage: 3 splits the model over the ranks"},
    {"cudnn_deterministic_mode full_determinism deterministic", NULL,
     "a run gives the same bits whenever it is started the same way"},
    {"is_preprocess print_param_status dataset_debug env env_file _component_ _target_ "
     "defaults",
     NULL, "it names code of another program; nothing is loaded by name"},
    {"max_shard_size", "checkpoint.max_file_bytes", NULL},
    {"job_time time_limit walltime wall_time", "slurm.time", NULL},
    {"num_gpus gpus n_gpu num_gpus_per_node", "slurm.gpus_per_node", NULL},
    {"queue cluster", "slurm.partition", NULL},
    /* words that say something only with their section */
    {"optimizer.type optimizer.name optimizer.algorithm optimizer.muon optimizer.adamw optimizer.class",
     "optimizer.kind", "adamw or muon"},
    {"optimizer.clip optimizer.grad_clip", "train.grad_clip", NULL},
    {"optimizer.dtype optimizer.state", "optimizer.state_dtype", "of AdamW's moments: f32 or bf16"},
    {"schedule.type schedule.name schedule.shape", "schedule.kind", "constant, linear, cosine or wsd"},
    {"schedule.decay schedule.cooldown schedule.cooldown_steps", "schedule.decay_steps", "with 'kind: wsd'"},
    {"schedule.steps schedule.max_steps schedule.total_steps", "train.steps", NULL},
    {"prepare.chat prepare.conversations", "prepare.sources", "'chat: true' of a source"},
    {"prepare.field prepare.format prepare.encoding prepare.licence prepare.license prepare.subfolders prepare.name",
     "prepare.sources", "each entry of it has its own"},
    {"prepare.source prepare.input prepare.inputs prepare.path prepare.paths prepare.files prepare.data",
     "prepare.sources", "a list of {path, name, licence, ...}"},
    {"prepare.out prepare.out_file prepare.file prepare.folder", "prepare.output", "a token file (.h5)"},
    {"prepare.model", "prepare.tokenizer", "a model folder holds one"},
    {"prepare.eos prepare.bos prepare.ends", "prepare.document_ends", "bos_eos, eos, bos or none"},
    {"prepare.valid prepare.validation prepare.split", "prepare.valid_every",
     "every n-th document goes to a second file"},
    {"train.accumulation train.grad_accum train.accumulate", "train.batch_sequences",
     "it follows: train.batch_sequences / (ranks x train.micro_sequences)"},
    {"train.checkpointing train.remat train.rematerialize", "train.recompute", "attention, mlp or layer"},
    {"train.time train.max_time train.time_limit", "train.stop_after_s", NULL},
    {"train.optimizer", "optimizer.kind", NULL},
    {"train.model", "model.path", NULL},
    {"train.data train.path", "data.train", NULL},
    {"data.path data.paths data.file data.files data.folder data.input", "data.train",
     "token files made by 'atelier prepare'"},
    {"data.val data.eval data.test data.dev valid.data valid.path valid.file", "data.valid",
     "token files made by 'atelier prepare'"},
    {"data.chat data.format data.field", "prepare.sources", "of a source, when the token file is made"},
    {"model.name model.base model.checkpoint model.folder model.dir model.file", "model.path",
     "a folder or GGUF file on this machine"},
    {"model.type model.family", "model.architecture.family",
     "of a new model; another says it in its config.json"},
    {"model.dtype", "model.save_dtype", "of saved models; train.compute is the type while computing"},
    {"model.arch model.config", "model.architecture.width",
     "the keys of a new model stand below model.architecture"},
    {"model.architecture.dim model.architecture.d_model model.architecture.embed_dim",
     "model.architecture.width", NULL},
    {"model.architecture.theta", "model.architecture.rope_theta", NULL},
    {"model.architecture.dtype", "model.save_dtype", NULL},
    {"checkpoint.interval checkpoint.steps checkpoint.frequency checkpoint.freq", "checkpoint.every_steps",
     NULL},
    {"checkpoint.dir checkpoint.folder checkpoint.path checkpoint.output", "run.folder",
     "checkpoints lie in it"},
    {"checkpoint.load checkpoint.start checkpoint.init", "checkpoint.from",
     "to begin a new line of history; a run goes on by itself"},
    {"checkpoint.dtype checkpoint.type", "model.save_dtype", NULL},
    {"valid.steps valid.interval valid.frequency", "valid.every_steps", NULL},
    {"valid.samples valid.max_samples valid.batches valid.num", "valid.sequences", NULL},
    {"run.name run.dir run.output run.path run.out", "run.folder", NULL},
    {"run.log run.log_interval run.log_steps", "run.log_every", "in steps"},
    {"run.workers run.cpus run.num_threads", "run.threads", "of each rank"},
    {"run.ranks parallel.ranks parallel.world", NULL, "the number of ranks is mpirun's or srun's"},
    {"parallel.zero parallel.sharding parallel.shard", "parallel.stage", "0 to 3, as ZeRO counts them"},
    {"parallel.dp parallel.data parallel.replicate", "parallel.replicas", NULL},
    {"parallel.tp parallel.tensor_parallel", "parallel.tensor",
     "ranks of a node that divide each layer's matrices"},
    {"parallel.ep parallel.experts parallel.expert_parallel", "parallel.expert",
     "ranks that divide the experts of each layer"},
    {"parallel.pp parallel.pipeline", NULL,
     "there is no such axis yet; parallel.stage: 3 splits the model over the ranks"},
    {"parallel.cp parallel.sequence parallel.context_parallel parallel.sp parallel.ulysses",
     "parallel.context", "ranks that share the tokens of a text"},
    {"parallel.backend parallel.transport", "parallel.comm", "nccl or mpi"},
    {"slurm.memory", "slurm.mem", NULL},
    {"slurm.tasks slurm.ntasks slurm.ranks", "slurm.ranks_per_node", "times slurm.nodes"},
    {"slurm.gres", "slurm.gpus_per_node", NULL},
    {"slurm.depends slurm.dependency slurm.depend", "slurm.after", "run folders, or numbers of jobs"},
    {"slurm.chain slurm.jobs slurm.max_jobs", "slurm.chain.max_jobs", "with slurm.chain.until: done"},
    {"slurm.output slurm.error slurm.log slurm.logs", NULL, "logs of jobs go to run.folder/logs"},
    {"slurm.reservation slurm.nice slurm.comment slurm.licenses", "slurm.options", "[--NAME=VALUE]"},
    {"slurm.env slurm.variables slurm.export", "slurm.environment", "a list of {name, value}"},
    {"slurm.hint", NULL, "it belongs to the site's profile"},
};

const struct foreign_word *foreign_keys(int *count) {
    *count = (int)(sizeof KEYS / sizeof KEYS[0]);
    return KEYS;
}
