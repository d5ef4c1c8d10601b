#include "frontends/config/KeyTables.h"

namespace stagewright::keys {

static constexpr ValueRule kBatch = integer(1, 2147483647);
// Slot numbers of the .stage file have 16 bits, so a step has at most that many micro-batches.
static constexpr ValueRule kMicroBatches = integer(1, 65535);
static constexpr std::string_view kExactSums =
    "gradients of replicas are added up in fp32, in the order of ranks";
static constexpr std::string_view kPredivided =
    "the loss is divided by the numbers of micro-batches and replicas before gradients are added";
static constexpr std::string_view kOneGroup = "this version has no sequence parallelism";

static constexpr ConfigKey kTable[] = {
    honoured("/train_batch_size", kBatch, "null", "samples per step; see the batch sizes above"),
    honoured("/train_micro_batch_size_per_gpu", kBatch, "null", "samples per micro-batch"),
    honoured("/gradient_accumulation_steps", kMicroBatches, "null",
             "micro-batches per step; --micro-batches wins"),
    honoured("/steps_per_print",
             {.type = Type::Integer, .minimum = 0, .maximum = 2147483647, .nullToo = true}, "10",
             "steps between two log lines; null or 0 = none"),
    honoured("/gradient_clipping", kNonNegative, "1.0", "largest global norm of the gradients; 0 = off"),
    honoured("/seed", integer(0, 18446744073709551615.0), "1234",
             "Stagewright's own: seed of initial weights and of the shuffle"),
    ignored("/$schema", kText, "null", "for editors"),

    block("/pipeline"),
    honoured("/pipeline/stages", {.type = Type::Integer, .minimum = 1, .maximum = 4096, .autoToo = true},
             "\"auto\"",
             "\"auto\" = 1, or one more than the cut points of an explicit partition; --stages wins"),
    honoured("/pipeline/partition", kText, "\"best\"", "see the partitions above; --partition wins"),
    ignored("/pipeline/seed_layers", kFlag, "false",
            "initial weights depend on seed and parameter name alone, never on the stages"),
    honoured("/pipeline/activation_checkpoint_interval", integer(0, 2147483647), "0",
             "backward passes compute runs of so many layers again, from what enters them; 0 = off"),
    ignored("/pipeline/pipe_partitioned", kFlag, "true", "tensor ranks send each to their own neighbour"),
    ignored("/pipeline/grad_partitioned", kFlag, "true", "tensor ranks send each to their own neighbour"),
    ignored("/pipeline/use_reentrant", kFlag, "true", "it matters with activation checkpointing alone"),

    block("/stagewright", "Stagewright's own keys"),
    honoured("/stagewright/schedule", kText, "\"1f1b\"", "order of the tasks of a step; --schedule wins"),
    honoured("/stagewright/partition", kText, "\"best\"",
             "the same as /pipeline/partition; give one of the two"),
    honoured("/stagewright/parameter_groups", kList, "[]",
             "[{\"match\": REGEX, \"lr\": .., \"weight_decay\": ..}]: parameters with their own rate or "
             "decay; see "
             "the groups above"),
    honoured("/stagewright/gather_weights", choice("step|visit|block"), "\"block\"",
             "with ZeRO 3, gathered weights stay for a step, a task or a block"),
    honoured("/stagewright/gradient_reduction", choice("step|micro_batch"), "\"step\"",
             "when replicas add up gradients; part of the result contract"),
    {"/stagewright/gradient_compression",
     {.type = Type::Block},
     "{}",
     Treatment::WithoutEffect,
     "gradients that replicas send each other, with what is not sent added to those of the next step"},
    honoured("/stagewright/gradient_compression/type", choice("none|top_k|one_bit"), "\"none\"",
             "send the largest gradients, or all signs; part of the result contract"),
    honoured("/stagewright/gradient_compression/ratio", kFraction, "0.01", "of top_k: the part that is sent"),
    {"/stagewright/parameter_server",
     {.type = Type::Block},
     "{}",
     Treatment::WithoutEffect,
     "ranks that have the optimizer's states, add up the gradients of replicas and update the weights"},
    honoured("/stagewright/parameter_server/servers", integer(0, 256), "0",
             "of each stage (and tensor rank); 0: the replicas update"),
    honoured("/stagewright/parameter_server/staleness", integer(0, 64), "0",
             "updates that a step does not wait for; part of the result contract"),
    honoured("/stagewright/offload_param_ratio", kFraction, "1.0",
             "the part of each shard that /zero_optimization/offload_param offloads"),
    honoured("/stagewright/recompute", kText, "\"none\"",
             "what backward passes compute again instead of keeping it: \"none\", \"selective\" (norms, "
             "attention, "
             "GELU, SiLU, SwiGLU), \"interval:2\" or \"types:LayerNorm,GELU\" (layers of the list); with "
             "semicolons "
             "between, one for each stage"),
    honoured("/stagewright/tf32", kFlag, "false",
             "on CUDA fp32 products round their factors to 10 bits of mantissa; part of the result contract"),
    honoured("/stagewright/stochastic_rounding", kFlag, "false",
             "with fp16 or bf16: weights are rounded up or down by chance when products get them, so that "
             "the mean "
             "is the weight; part of the result contract"),
    honoured("/stagewright/sync_batch_norm", kFlag, "false",
             "every BatchNorm of the model is a SyncBatchNorm, with the statistics of all replicas"),
    honoured("/stagewright/target", kText, "\"host\"",
             "\"host\", \"cuda:sm_80\", \"cuda:sm_90\", \"cuda:sm_100\", or several with commas between: the "
             "devices that "
             "the file has programs for; --target wins"),
    honoured("/stagewright/shuffle", kFlag, "true",
             "a new order of the samples, from the seed, in every epoch"),

    offOnly("/managed_gradient_accumulation", kFlag, "true",
            "a step always accumulates all of its micro-batches", "remove it"),
    honoured("/data_parallel_size", {.type = Type::Integer, .minimum = 1, .maximum = 256, .nullToo = true},
             "null", "replicas of the model, each with ranks of its own; null = 1; --data-parallel wins"),
    offOnly("/sequence_parallel_size", kCount, "null", kOneGroup, "set it to 1 or remove it", "null|1"),
    ignored("/prescale_gradients", kFlag, "false", kPredivided),
    ignored("/gradient_predivide_factor", kNumber, "1.0", kPredivided),
    ignored("/gradient_allreduce_op", choice("mean|sum"), "\"mean\"",
            "a step trains on the mean over all samples; with several replicas \"sum\" is refused"),
    ignored("/sparse_gradients", kFlag, "false", kExactSums),
    honoured("/communication_data_type", choice("fp16|bf16|fp32"), "null",
             "in what replicas send each other gradients (null: fp32); part of the result contract"),
    ignored("/seq_parallel_communication_data_type", choice("fp16|bf16|fp32"), "\"fp32\"", kOneGroup),
    ignored("/disable_allgather", kFlag, "false", kExactSums),
    ignored("/use_data_before_expert_parallelism", kFlag, "false", "there are no experts"),
    offOnly("/dump_state", kFlag, "false", "training prints no engine state",
            "remove it; `stagewright inspect --config` prints the effective configuration"),
    offOnly("/wall_clock_breakdown", kFlag, "false", "training prints no table of phases",
            "remove it; `stagewright train --trace FILE` records every task"),
    offOnly("/memory_breakdown", kFlag, "false", "memory is planned before training",
            "remove it; `stagewright inspect --memory` prints the plan to the byte"),
    ignored("/dataloader_drop_last", kFlag, "false",
            "every step trains on a full batch; evaluation sees every sample"),
    ignored("/zero_allow_untested_optimizer", kFlag, "false", "ZeRO works with every optimizer here"),
    ignored("/zero_force_ds_cpu_optimizer", kFlag, "true", "the optimizer is the plan's, offloaded or not"),
    ignored("/graph_harvesting", kFlag, "false", "it tunes CUDA graphs and changes no result"),
    ignored("/vocabulary_size", kPositive, "null", "DeepSpeed uses it for a warning alone"),
    ignored("/log_level", choice("debug|info|warning|error|critical"), "null", "messages have no levels"),
};

std::span<const ConfigKey> topLevelKeys() {
  return kTable;
}

} // namespace stagewright::keys
