#include "frontends/config/KeyTables.h"

namespace stagewright::keys {

static constexpr std::string_view kMasters = "weights, gradient sums and optimizer states are fp32";
static constexpr std::string_view kSwitchOff = "set it to false or remove it";
static constexpr std::string_view kOwnCasts = "the blocks fp16 and bf16 choose the type of every activation";
static constexpr std::string_view kUseBlocks = "set it to false, and /fp16/enabled or /bf16/enabled to true";
static constexpr std::string_view kSkips = "a step whose gradients are not finite is always skipped";
static constexpr std::string_view kSums = "micro-batches are always added to fp32 sums at once";
static constexpr ValueRule kPower = integer(0, 127);
static constexpr ValueRule kHysteresis = integer(1, 2147483647);

static constexpr ConfigKey kTable[] = {
    block("/fp16"),
    honoured("/fp16/enabled", kFlag, "false", "activations and their gradients are fp16; the loss is scaled"),
    ignored("/fp16/auto_cast", kFlag, "false", "model inputs are always cast"),
    honoured("/fp16/loss_scale", kNonNegative, "0", "0 = dynamic; else the scale of every step"),
    honoured("/fp16/initial_scale_power", kPower, "16", "a dynamic scale begins at 2 to this power"),
    honoured("/fp16/loss_scale_window", kPositive, "1000", "steps without overflow that double the scale"),
    honoured("/fp16/hysteresis", kHysteresis, "2",
             "the overflow of this number halves the scale; 1 where it is not given, as in DeepSpeed without "
             "ZeRO"),
    honoured("/fp16/consecutive_hysteresis", kFlag, "false",
             "a step without overflow begins that count again"),
    honoured("/fp16/min_loss_scale", kNonNegative, "1",
             "least scale, above 0; with ZeRO an overflow there ends the run"),
    offOnly("/fp16/fp16_master_weights_and_grads", kFlag, "false", kMasters, kSwitchOff),
    block("/bf16"),
    honoured("/bf16/enabled", kFlag, "false", "activations and their gradients are bf16"),
    ignored("/bf16/immediate_grad_update", kFlag, "false", kSums),
    ignored("/bf16/check_grad_overflow", kFlag, "true", kSkips),
    offOnly("/bf16/bf16_master_weights_and_grads", kFlag, "false", kMasters, kSwitchOff),
    offOnly("/bf16/bf16_optimizer_states", kFlag, "false", kMasters, kSwitchOff),
    block("/bfloat16", "DeepSpeed's other name of /bf16"),
    honoured("/bfloat16/enabled", kFlag, "false", "the same as /bf16/enabled"),
    ignored("/bfloat16/immediate_grad_update", kFlag, "false", kSums),
    ignored("/bfloat16/check_grad_overflow", kFlag, "true", kSkips),
    offOnly("/bfloat16/bf16_master_weights_and_grads", kFlag, "false", kMasters, kSwitchOff),
    offOnly("/bfloat16/bf16_optimizer_states", kFlag, "false", kMasters, kSwitchOff),
    openBlock("/amp", "further keys are NVIDIA Apex's"),
    offOnly("/amp/enabled", kFlag, "false", kOwnCasts, kUseBlocks),
    block("/torch_autocast"),
    offOnly("/torch_autocast/enabled", kFlag, "false", kOwnCasts, kUseBlocks),
    ignored("/torch_autocast/dtype", kText, "null"),
    ignored("/torch_autocast/lower_precision_safe_modules", kList, "null"),
    block("/data_types"),
    offOnly("/data_types/grad_accum_dtype", choice("fp32|fp16|bf16"), "null", kMasters,
            "use \"fp32\" or remove it", "null|\"fp32\""),
    offOnly("/data_types/param_dtype", choice("fp32|fp16|bf16"), "null", kMasters,
            "use \"fp32\" or remove it", "null|\"fp32\""),
    offOnly("/data_types/buffer_dtype", choice("fp32|fp16|bf16"), "null", kMasters,
            "use \"fp32\" or remove it", "null|\"fp32\""),
};

std::span<const ConfigKey> precisionKeys() {
  return kTable;
}

} // namespace stagewright::keys
