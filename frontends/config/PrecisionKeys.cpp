#include "frontends/config/KeyTables.h"

namespace stagewright::keys {

static constexpr std::string_view kSingle = "this version computes in fp32 alone";
static constexpr std::string_view kSwitchOff = "set it to false or remove the block";

static constexpr ConfigKey kTable[] = {
    block("/fp16"),
    offOnly("/fp16/enabled", kFlag, "false", kSingle, kSwitchOff),
    ignored("/fp16/auto_cast", kFlag, "false"),
    ignored("/fp16/loss_scale", kNonNegative, "0"),
    ignored("/fp16/initial_scale_power", kCount, "16"),
    ignored("/fp16/loss_scale_window", kPositive, "1000"),
    ignored("/fp16/hysteresis", kCount, "2"),
    ignored("/fp16/consecutive_hysteresis", kFlag, "false"),
    ignored("/fp16/min_loss_scale", kNonNegative, "1"),
    ignored("/fp16/fp16_master_weights_and_grads", kFlag, "false"),
    block("/bf16"),
    offOnly("/bf16/enabled", kFlag, "false", kSingle, kSwitchOff),
    ignored("/bf16/immediate_grad_update", kFlag, "false"),
    ignored("/bf16/check_grad_overflow", kFlag, "true"),
    ignored("/bf16/bf16_master_weights_and_grads", kFlag, "false"),
    ignored("/bf16/bf16_optimizer_states", kFlag, "false"),
    block("/bfloat16", "DeepSpeed's other name of /bf16"),
    offOnly("/bfloat16/enabled", kFlag, "false", kSingle, kSwitchOff),
    ignored("/bfloat16/immediate_grad_update", kFlag, "false"),
    ignored("/bfloat16/check_grad_overflow", kFlag, "true"),
    ignored("/bfloat16/bf16_master_weights_and_grads", kFlag, "false"),
    ignored("/bfloat16/bf16_optimizer_states", kFlag, "false"),
    openBlock("/amp", "further keys are NVIDIA Apex's"),
    offOnly("/amp/enabled", kFlag, "false", kSingle, kSwitchOff),
    block("/torch_autocast"),
    offOnly("/torch_autocast/enabled", kFlag, "false", kSingle, kSwitchOff),
    ignored("/torch_autocast/dtype", kText, "null"),
    ignored("/torch_autocast/lower_precision_safe_modules", kList, "null"),
    block("/data_types"),
    offOnly("/data_types/grad_accum_dtype", choice("fp32|fp16|bf16"), "null", kSingle,
            "use \"fp32\" or remove it", "null|\"fp32\""),
    offOnly("/data_types/param_dtype", choice("fp32|fp16|bf16"), "null", kSingle, "use \"fp32\" or remove it",
            "null|\"fp32\""),
    offOnly("/data_types/buffer_dtype", choice("fp32|fp16|bf16"), "null", kSingle,
            "use \"fp32\" or remove it", "null|\"fp32\""),
};

std::span<const ConfigKey> precisionKeys() {
  return kTable;
}

} // namespace stagewright::keys
