"""Which fields of TRL's configs stand under `trl:` of a recipe, and why others do not: one table.

In: a training's settings and a field that they give to TRL. Out: nothing, or an error where the
field contradicts a setting of rali's, would do nothing, or would stop the training after the model
is loaded. Each field of TRL 1.16 and transformers stands in one of the tables; what stands in none,
as a newer TRL may have it, is handed on.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rali.errors import InputError
from rali.files import read_json

from .training import TrainingConfig
from .trl_fields import trl_defaults

# Fields that have a setting here: two values of one thing would contradict. Of several settings
# that of the training's kind counts; where it has none, the field is handed on.
OURS = {
    "seed": "seed", "learning_rate": "lr", "per_device_train_batch_size": "micro_batch",
    "gradient_checkpointing": "gradient_checkpointing",
    "activation_checkpointing": "gradient_checkpointing", "bf16": "dtype", "fp16": "dtype",
    "save_steps": "save_every", "logging_steps": "log_every", "logging_strategy": "log_every",
    "report_to": "report_to", "output_dir": "-o", "num_train_epochs": "epochs",
    "data_seed": "data_seed or seed", "shuffle_dataset": "data_seed or seed",
    "train_sampling_strategy": "data_seed or seed",
    "beta": "beta", "num_generations": "num_generations", "temperature": "temperature",
    "top_k": "top_k", "top_p": "top_p", "max_completion_length": "max_completion_length",
    "gradient_accumulation_steps": "prompts_per_step or batch_size and micro_batch",
    "generation_batch_size": "prompts_per_step", "steps_per_generation": "prompts_per_step",
    "warmup_steps": "warmup", "reward_weights": "tasks", "weight_decay": "weight_decay",
    "lr_scheduler_type": "lr_schedule", "lr_scheduler_kwargs": "lr_schedule",
}  # fmt: skip
# Of these, what rali gives TRL or leaves at TRL's default, whatever the setting.
LEFT = (
    "data_seed", "shuffle_dataset", "train_sampling_strategy", "logging_strategy",
    "activation_checkpointing",
)  # fmt: skip
# What rali gives TRL in place of its default.
GIVEN = {
    "max_length": None, "remove_unused_columns": False, "shuffle_dataset": False,
    "train_sampling_strategy": "sequential",
}  # fmt: skip
# Why → the fields that are refused, but for a value that asks for nothing (`_idle`).
REFUSED = {
    "TRL is given no pictures to evaluate on; set watch, which looks at validation pictures.": (
        "do_eval eval_strategy eval_steps eval_delay eval_on_start eval_accumulation_steps "
        "eval_do_concat_batches eval_use_gather_object eval_packing per_device_eval_batch_size "
        "num_generations_eval prediction_loss_only include_for_metrics batch_eval_metrics "
        "bf16_full_eval fp16_full_eval do_predict label_names load_best_model_at_end "
        "metric_for_best_model greater_is_better"
    ),
    "TRL does not read it. The command trains, resumes from RUN/checkpoints, and runs on several "
    "GPUs by accelerate launch.": "do_train resume_from_checkpoint local_rank",
    "rali loads the model; set model, revision, dtype, attn_implementation or quantization.": (
        "model_init_kwargs trust_remote_code"
    ),
    "prompts are written and answers read by the model's own chat template; change it in the "
    "model's folder.": "chat_template_kwargs chat_template_path",
    "TRL does not do this with pictures; leave it out.": (
        "packing packing_strategy padding_free dataset_kwargs dataset_num_proc dataset_text_field "
        "use_transformers_continuous_batching transformers_continuous_batching_config "
        "use_transformers_paged"
    ),
    "nothing is cut, as a cut could separate a picture from its tokens; set max_pixels.": (
        "max_length truncation_mode"
    ),
    "a step would hold another number of texts than is planned; set micro_batch.": (
        "auto_find_batch_size"
    ),
    "a training that was stopped would resume with other steps; leave it out.": (
        "save_only_model ignore_data_skip"
    ),
    "examples are drawn in their order, and have rali's columns; leave it out.": (
        "dataloader_in_order length_column_name remove_unused_columns"
    ),
    "TRL would upload RUN/checkpoints, in float32, and not the teacher; afterwards type: hf upload "
    "OWNER/NAME RUN/model": "push_to_hub hub_model_id hub_strategy hub_always_push hub_revision",
    "settings are written into the run's folder, a token must not be; type: hf auth login": (
        "hub_token"
    ),
    "no recipe can hold it; give its values to accelerate launch.": "parallelism_config",
    "a teacher is given no tools; leave it out.": "max_tool_calling_iterations",
    "vLLM shares the training's GPUs, and no server is asked; leave it out.": (
        "vllm_server_base_url vllm_server_host vllm_server_port vllm_server_timeout vllm_group_port"
    ),
}
BY_FIELD = {name: why for why, names in REFUSED.items() for name in names.split()}
# Values that are refused, of fields that take others.
VALUES = {
    ("save_strategy", "epoch"): "set save_every.",
    ("save_strategy", "best"): "TRL evaluates nothing; set save_every.",
    ("lr_scheduler_type", "reduce_lr_on_plateau"): "TRL evaluates nothing; take another.",
    ("lr_scheduler_type", "greedy"): "TRL evaluates nothing; take another.",
    ("dataloader_multiprocessing_context", "spawn"): "give fork, which alone takes pictures along.",
    ("dataloader_multiprocessing_context", "forkserver"): (
        "give fork, which alone takes pictures along."
    ),
}
# Fields without effect → the field that gives them one, and its value where not any will do.
OF_WORKERS = (  # torch takes none of them without
    "dataloader_prefetch_factor", "dataloader_persistent_workers",
    "dataloader_multiprocessing_context",
)  # fmt: skip
NEEDS: dict[str, tuple[str, Any]] = {
    **dict.fromkeys(OF_WORKERS, ("dataloader_num_workers", None)),
    **dict.fromkeys(("ref_model_mixup_alpha", "ref_model_sync_steps"), ("sync_ref_model", None)),
    **dict.fromkeys(
        ("entropy_coef_min", "entropy_coef_max", "entropy_coef_delta", "entropy_target"),
        ("use_adaptive_entropy", None)),
    **dict.fromkeys(("sapo_temperature_neg", "sapo_temperature_pos"), ("loss_type", "sapo")),
    **dict.fromkeys(
        ("vespo_k_pos", "vespo_lambda_pos", "vespo_k_neg", "vespo_lambda_neg"),
        ("loss_type", "vespo")),
    **dict.fromkeys(
        ("log_multimodal", "num_completions_to_print", "log_unique_prompts",
         "log_completions_hub_repo"), ("log_completions", None)),
    **dict.fromkeys(
        ("vllm_mode", "vllm_model_impl", "vllm_enable_sleep_mode", "vllm_structured_outputs_regex",
         "vllm_gpu_memory_utilization", "vllm_max_model_length", "vllm_tensor_parallel_size",
         "vllm_importance_sampling_correction", "vllm_importance_sampling_mode",
         "vllm_importance_sampling_clip_max", "vllm_importance_sampling_clip_min",
         "vllm_importance_sampling_cap"), ("use_vllm", None)),
    "fsdp_config": ("fsdp", None),
    "liger_kernel_config": ("use_liger_kernel", None),
}  # fmt: skip
# Fields that TRL is handed as they are.
HANDED_ON = (
    "max_steps num_iterations loss_type epsilon epsilon_high delta scale_rewards "
    "importance_sampling_level multi_objective_aggregation mask_truncated_completions "
    "top_entropy_quantile entropy_coef use_adaptive_entropy off_policy_mask_threshold "
    "use_bias_correction_kl sync_ref_model disable_dropout cast_lm_head_to_fp32 "
    "router_aux_loss_coef min_p repetition_penalty generation_kwargs cache_implementation "
    "ds3_gather_for_generation use_vllm log_completions completion_only_loss "
    "assistant_only_loss activation_offloading eos_token pad_token pad_to_multiple_of "
    "label_smoothing_factor neftune_noise_alpha optim optim_args optim_target_modules "
    "adam_beta1 adam_beta2 adam_epsilon max_grad_norm average_tokens_across_devices tf32 "
    "activation_checkpointing_kwargs gradient_checkpointing_kwargs torch_compile "
    "torch_compile_backend torch_compile_mode use_liger_kernel use_cache use_cpu "
    "torch_empty_cache_steps logging_first_step log_on_each_node logging_nan_inf_filter "
    "include_num_input_tokens_seen log_level log_level_replica disable_tqdm run_name project "
    "trackio_space_id trackio_bucket_id trackio_static_space_id hub_private_repo "
    "save_strategy save_total_limit save_on_each_node enable_jit_checkpoint "
    "restore_callback_states_from_checkpoint full_determinism accelerator_config "
    "dataloader_drop_last dataloader_num_workers dataloader_pin_memory "
    "ddp_find_unused_parameters ddp_bucket_cap_mb ddp_broadcast_buffers ddp_static_graph "
    "ddp_backend ddp_timeout fsdp deepspeed debug skip_memory_metrics"
)
# What transformers and vLLM call a setting of ours, in `generation_kwargs`.
DRAWN = {
    "temperature": "temperature", "top_k": "top_k", "top_p": "top_p",
    "max_new_tokens": "max_completion_length", "max_length": "max_completion_length",
    "max_tokens": "max_completion_length", "num_return_sequences": "num_generations",
    "n": "num_generations",
}  # fmt: skip
FILES = ("deepspeed", "fsdp_config", "accelerator_config")  # a path, or its contents


def check_setting(settings: TrainingConfig, name: str) -> None:
    """Refuse a field of `settings.trl` that contradicts a setting, does nothing or stops late.

    A value that changes nothing is no reason to refuse; nor is a field of what is switched off, as
    `trl.use_vllm=false` does on a recipe with a `vllm_max_model_length`.

    Raises:
        InputError: it says why, and what to set instead.
    """
    value = settings.trl[name]
    grpo = hasattr(settings, "beta")
    own = _own(settings, name)
    if (not own or name in LEFT) and _idle("GRPOConfig" if grpo else "SFTConfig", name, value):
        return
    if own:
        raise InputError(f"trl.{name}: set {own}, which would contradict it.")
    if why := BY_FIELD.get(name):
        raise InputError(f"trl.{name}: {why}")
    if isinstance(value, str) and (why := VALUES.get((name, value))):
        raise InputError(f"trl.{name} is {value!r}: {why}")
    needed, wanted = NEEDS.get(name, ("", None))
    given = settings.trl.get(needed)
    off = needed in settings.trl and wanted is None and name not in OF_WORKERS
    if needed and not off and not (given if wanted is None else given == wanted):
        raise InputError(
            f"trl.{name} does nothing without trl.{needed}{f'={wanted}' if wanted else ''}; add "
            "it, or leave this out."
        )
    if name == "label_smoothing_factor" and grpo and value:
        raise InputError(f"trl.{name}: texts that a model draws have no labels; leave it out.")
    if (
        name == "sync_ref_model"
        and value
        and (settings.lora.rank or not getattr(settings, "beta", 0))
    ):
        raise InputError(
            "trl.sync_ref_model: there is no reference model with "
            f"{'an adapter (lora.rank)' if settings.lora.rank else 'beta 0'}; leave it out."
        )
    if name == "generation_kwargs" and isinstance(value, dict):
        for each in value.keys() & DRAWN.keys():
            raise InputError(f"trl.{name}.{each}: set {DRAWN[each]}, which would contradict it.")
    if name in FILES and isinstance(value, str) and not value.startswith("{"):
        try:
            value = read_json(Path(value), "Give a file of JSON, or its contents.")
        except InputError as error:
            raise InputError(f"trl.{name}: {error}") from error
    if name == "accelerator_config" and isinstance(value, dict) and value.get("split_batches"):
        raise InputError(f"trl.{name}.split_batches: micro_batch is of one process; leave it out.")


def _idle(kind: str, name: str, value: Any) -> bool:
    """Whether a field that would be refused, or that another must switch on, asks for nothing.

    Its value is what the training has without it, or switches off what is off.
    """
    if name not in BY_FIELD and name not in NEEDS and name not in LEFT:
        return False
    default = GIVEN[name] if name in GIVEN else trl_defaults(kind).get(name)
    off = value is None or value is False or value == "no"
    return (off and default is not True) or (value == default and type(value) is type(default))


def _own(settings: TrainingConfig, name: str) -> str:
    """The setting of a training that a field of TRL's would contradict; empty for none."""
    for own in OURS.get(name, "").split(" or "):
        if own == "-o" or (own and hasattr(settings, own.split()[0])):
            return own
    return ""
