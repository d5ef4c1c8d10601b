#include "frontends/config/KeyTables.h"

namespace stagewright::keys {

static constexpr std::string_view kSwitchOff = "set it to false or remove the block";
static constexpr std::string_view kNoMonitor = "this version writes no monitor files";
static constexpr std::string_view kUseJson =
    "set it to false or remove the block; `stagewright train --json` ends with every loss";
static constexpr std::string_view kNoProfiler = "this version has no such profiler";
static constexpr std::string_view kUseTrace =
    "set it to false or remove the block; `stagewright train --trace FILE` records every task";

static constexpr ConfigKey kTable[] = {
    block("/flops_profiler"),
    offOnly("/flops_profiler/enabled", kFlag, "false", kNoProfiler, kUseTrace),
    ignored("/flops_profiler/recompute_fwd_factor", kNumber, "0.0"),
    ignored("/flops_profiler/profile_step", kCount, "1"),
    ignored("/flops_profiler/module_depth", kWhole, "-1"),
    ignored("/flops_profiler/top_modules", kCount, "1"),
    ignored("/flops_profiler/detailed", kFlag, "true"),
    ignored("/flops_profiler/output_file", kText, "null"),
    block("/comms_logger"),
    offOnly("/comms_logger/enabled", kFlag, "false", kNoProfiler, kUseTrace),
    ignored("/comms_logger/prof_all", kFlag, "true"),
    ignored("/comms_logger/prof_ops", kList, "[]"),
    ignored("/comms_logger/verbose", kFlag, "false"),
    ignored("/comms_logger/debug", kFlag, "false"),
    block("/timers"),
    block("/timers/throughput"),
    ignored("/timers/throughput/enabled", kFlag, "true"),
    ignored("/timers/throughput/synchronized", kFlag, "true"),
    block("/tensorboard"),
    offOnly("/tensorboard/enabled", kFlag, "false", kNoMonitor, kUseJson),
    ignored("/tensorboard/output_path", kText, "\"\""),
    ignored("/tensorboard/job_name", kText, "\"DeepSpeedJobName\""),
    block("/csv_monitor"),
    offOnly("/csv_monitor/enabled", kFlag, "false", kNoMonitor, kUseJson),
    ignored("/csv_monitor/output_path", kText, "\"\""),
    ignored("/csv_monitor/job_name", kText, "\"DeepSpeedJobName\""),
    block("/wandb"),
    offOnly("/wandb/enabled", kFlag, "false", kNoMonitor, kUseJson),
    ignored("/wandb/group", kText, "null"),
    ignored("/wandb/team", kText, "null"),
    ignored("/wandb/project", kText, "\"deepspeed\""),
    block("/comet"),
    offOnly("/comet/enabled", kFlag, "false", kNoMonitor, kUseJson),
    ignored("/comet/samples_log_interval", kCount, "100"),
    ignored("/comet/project", kText, "null"),
    ignored("/comet/workspace", kText, "null"),
    ignored("/comet/api_key", kText, "null"),
    ignored("/comet/experiment_name", kText, "null"),
    ignored("/comet/experiment_key", kText, "null"),
    ignored("/comet/online", kFlag, "null"),
    ignored("/comet/mode", choice("get|create|get_or_create"), "null"),

    block("/checkpoint"),
    ignored("/checkpoint/tag_validation", choice("Warn|Ignore|Fail"), "\"Warn\""),
    offOnly("/checkpoint/load_universal", kFlag, "false", "this version reads no universal checkpoints",
            "set it to false; `stagewright train --init F.safetensors` starts from stored weights"),
    ignored("/checkpoint/use_node_local_storage", kFlag, "false"),
    block("/checkpoint/parallel_write"),
    ignored("/checkpoint/parallel_write/pipeline_stage", kFlag, "false"),
    ignored("/checkpoint/checkpoint_serialization", kFlag, "true"),
    {"/checkpoint/writer", {.type = Type::Block}, "null", Treatment::WithoutEffect},
    ignored("/checkpoint/writer/type", choice("mock|python|fast"), "\"fast\""),
    ignored("/checkpoint/writer/decoupled", kFlag, "false"),
    ignored("/checkpoint/writer/io_buffer_size", kCount, "67108864"),
    ignored("/checkpoint/writer/io_buffer_double", kFlag, "true"),
    ignored("/checkpoint/writer/show_statistics", kFlag, "false"),
    ignored("/checkpoint/writer/data_parallel", choice("replica|socket|machine"), "null"),
    ignored("/checkpoint/writer/io_multiplier", kPositive, "1"),
    block("/nebula"),
    offOnly("/nebula/enabled", kFlag, "false", "this version has no asynchronous checkpoint engine",
            kSwitchOff),
    ignored("/nebula/persistent_storage_path", kText, "null"),
    ignored("/nebula/persistent_time_interval", kCount, "100"),
    ignored("/nebula/num_of_version_in_retention", kCount, "2"),
    ignored("/nebula/enable_nebula_load", kFlag, "true"),
    ignored("/nebula/load_path", kText, "null"),
    refused("/datastates_ckpt", {.type = Type::OpenBlock}, "null",
            "this version has no asynchronous checkpoint engine", "remove the block"),
};

std::span<const ConfigKey> outputKeys() {
  return kTable;
}

} // namespace stagewright::keys
