#include "frontends/config/KeyTables.h"

namespace stagewright::keys {

static constexpr ValueRule kBetas{.type = Type::Pair, .minimum = 0, .maximum = 1, .belowMaximum = true};
static constexpr ValueRule kFinite{.type = Type::Number, .minimum = -FLT_MAX, .maximum = FLT_MAX};
static constexpr std::string_view kAdam = "Adam|AdamW";
static constexpr std::string_view kAdams = "Adam|AdamW|Lamb";

static constexpr std::string_view kOther = "it belongs to an optimizer that this version does not have";
static constexpr std::string_view kRemove = "remove it";
static constexpr std::string_view kImplementation = "it chooses between implementations of the same rule";

static constexpr ConfigKey kTable[] = {
    block("/optimizer", "absent = Adam with its defaults"),
    honoured("/optimizer/type", {.type = Type::String, .required = true}, "\"Adam\"",
             "SGD, Adam, AdamW, Adagrad, Lamb or Lion, in any case; others are refused"),
    ignored("/optimizer/legacy_fusion", kFlag, "false", kImplementation),
    block("/optimizer/params"),
    honoured("/optimizer/params/lr", kNonNegative, "0.001", "learning rate; 0.01 by default with Adagrad"),
    honoured(
        "/optimizer/params/weight_decay", kNonNegative, "0.0",
        "for Adam and AdamW with torch_adam and decoupled decay the default is torch.optim.AdamW's 0.01"),
    honoured("/optimizer/params/betas", kBetas, "[0.9, 0.999]", "of the running averages",
             "Adam|AdamW|Lamb|Lion"),
    honoured("/optimizer/params/eps", kNonNegative, "1e-08",
             "added to the root of the second moment; 1e-10 by default with Adagrad",
             "Adam|AdamW|Lamb|Adagrad"),
    honoured("/optimizer/params/bias_correction", kFlag, "true", "divide the averages by 1 - beta^step",
             kAdams),
    honoured("/optimizer/params/adam_w_mode", kFlag, "true",
             "decoupled weight decay; as in DeepSpeed \"Adam\" has it too, and \"AdamW\" has it always",
             kAdam),
    honoured("/optimizer/params/torch_adam", kFlag, "false",
             "the same rule; changes the default of weight_decay, as in DeepSpeed", kAdam),
    honoured("/optimizer/params/momentum", kNonNegative, "0.0", "0 = no momentum buffer", "SGD"),
    honoured("/optimizer/params/dampening", kFinite, "0.0", "of the momentum buffer", "SGD"),
    honoured("/optimizer/params/nesterov", kFlag, "false", "needs momentum > 0 and dampening 0", "SGD"),
    honoured("/optimizer/params/lr_decay", kNonNegative, "0.0", "divide lr by 1 + this x (step - 1)",
             "Adagrad"),
    offOnly("/optimizer/params/initial_accumulator_value", kNonNegative, "0",
            "optimizer states begin with zeros", kRemove),
    honoured("/optimizer/params/max_coeff", kNonNegative, "10.0", "largest trust ratio", "Lamb"),
    honoured("/optimizer/params/min_coeff", kNonNegative, "0.01", "smallest trust ratio", "Lamb"),
    offOnly("/optimizer/params/eps_inside_sqrt", kFlag, "false", "eps is added outside the root", kRemove),
    offOnly("/optimizer/params/amsgrad", kFlag, "false", "DeepSpeed's Adam does not have it either", kRemove),
    offOnly("/optimizer/params/maximize", kFlag, "false", "training minimises the loss", kRemove),
    offOnly("/optimizer/params/max_grad_norm", kNonNegative, "0",
            "clipping is not a parameter of the optimizer", "use the top-level key gradient_clipping"),
    ignored("/optimizer/params/foreach", kFlag, "null", kImplementation),
    ignored("/optimizer/params/fused", kFlag, "null", kImplementation),
    ignored("/optimizer/params/capturable", kFlag, "false", kImplementation),
    ignored("/optimizer/params/differentiable", kFlag, "false", kImplementation),
    ignored("/optimizer/params/set_grad_none", kFlag, "true", kImplementation),
    ignored("/optimizer/params/fp32_optimizer_states", kFlag, "true", "optimizer states are always fp32"),
    refused("/optimizer/params/muon_lr", kNumber, "null", kOther, kRemove),
    refused("/optimizer/params/adam_lr", kNumber, "null", kOther, kRemove),
    refused("/optimizer/params/ns_method", kText, "\"gram\"", kOther, kRemove),
    refused("/optimizer/params/ns_steps", kPositive, "5", kOther, kRemove),
    refused("/optimizer/params/freeze_step", kCount, "100000", kOther, kRemove),
    refused("/optimizer/params/cuda_aware", kFlag, "false", kOther, kRemove),
    refused("/optimizer/params/comm_backend_name", kText, "\"nccl\"", kOther, kRemove),
    refused("/optimizer/params/var_freeze_step", kCount, "100000", kOther, kRemove),
    refused("/optimizer/params/var_update_scaler", kCount, "16", kOther, kRemove),
    refused("/optimizer/params/local_step_scaler", kCount, "32678", kOther, kRemove),
    refused("/optimizer/params/local_step_clipper", kCount, "16", kOther, kRemove),
    refused("/optimizer/params/coeff_beta", kNumber, "0.9", kOther, kRemove),
    refused("/optimizer/params/factor_max", kNumber, "4.0", kOther, kRemove),
    refused("/optimizer/params/factor_min", kNumber, "0.5", kOther, kRemove),
    refused("/optimizer/params/factor_threshold", kNumber, "0.1", kOther, kRemove),
};

std::span<const ConfigKey> optimizerKeys() {
  return kTable;
}

} // namespace stagewright::keys
