// The plan dialect: who does what, when.
#ifndef STAGEWRIGHT_PLAN_OPS
#define STAGEWRIGHT_PLAN_OPS

include "Int64Attr.td"
include "mlir/IR/AttrTypeBase.td"
include "mlir/IR/BuiltinAttributes.td"
include "mlir/IR/EnumAttr.td"
include "mlir/IR/OpBase.td"
include "mlir/Interfaces/SideEffectInterfaces.td"

def Plan_Dialect : Dialect {
  let name = "plan";
  let cppNamespace = "::stagewright::plan";
  let summary = "Who does what, when";
  let description = [{
    The passes turn the model's blocks into one `plan.stage` per pipeline stage, each with isolated functions (`prepare`,
    `forward`, `backward_input`, `backward_weight`, `norm`, `update`, `evaluate`), and into one `plan.schedule` that says
    in which order each rank calls them. Arguments and results of functions carry a `#plan.value<role, "name">`: two
    functions of a stage that name the same value mean the same memory. Those names are the whole interface between the
    slices of a stage; lifetimes and memory classes follow from which functions name a value.
  }];
  let useDefaultAttributePrinterParser = 1;
}

class Plan_Op<string mnemonic, list<Trait> traits = []> : Op<Plan_Dialect, mnemonic, traits>;

// ---- Attributes --------------------------------------------------------------------------------------------------

def Plan_Role : I32EnumAttr<"Role", "What a value of a stage is", [
    I32EnumAttrCase<"Parameter", 0, "parameter">,      // fp32 weights, by parameter name
    I32EnumAttrCase<"Accumulator", 1, "accumulator">,  // gradient sum, by parameter name; "parameter/use" from use 1 on
    I32EnumAttrCase<"State", 2, "state">,              // optimizer state, "parameter:state"
    I32EnumAttrCase<"Derived", 3, "derived">,          // made by prepare, once per step
    I32EnumAttrCase<"Input", 4, "input">,              // model input of a micro-batch
    I32EnumAttrCase<"Receive", 5, "receive">,          // activation from the previous stage
    I32EnumAttrCase<"Send", 6, "send">,                // activation to the next stage
    I32EnumAttrCase<"ReceiveGradient", 7, "receive_gradient">,
    I32EnumAttrCase<"SendGradient", 8, "send_gradient">,
    I32EnumAttrCase<"Saved", 9, "saved">,              // crosses from one slice to a later one
    I32EnumAttrCase<"Loss", 10, "loss">,               // one element of the shared value "losses"
    I32EnumAttrCase<"Correct", 11, "correct">,         // one element of the shared value "correct"
    I32EnumAttrCase<"Scalar", 12, "scalar">,           // per-step value of the runtime
    I32EnumAttrCase<"Shared", 13, "shared">,           // all ranks hold it after ALL_GATHER
    I32EnumAttrCase<"Buffer", 14, "buffer">,           // updated by forward, by buffer name
    I32EnumAttrCase<"Output", 15, "output">,           // what evaluation hands out, in memory of its own function
    I32EnumAttrCase<"Residual", 16, "residual">]> {    // what compression has not sent of a gradient sum, by its name
  let cppNamespace = "::stagewright::plan";
}

def Plan_FunctionKind : I32EnumAttr<"FunctionKind", "A function of a stage; the numbers are the file's ProgramKind", [
    I32EnumAttrCase<"Prepare", 0, "prepare">,
    I32EnumAttrCase<"Forward", 1, "forward">,
    I32EnumAttrCase<"BackwardInput", 2, "backward_input">,
    I32EnumAttrCase<"BackwardWeight", 3, "backward_weight">,
    I32EnumAttrCase<"Norm", 4, "norm">,
    I32EnumAttrCase<"Update", 5, "update">,
    I32EnumAttrCase<"Evaluate", 6, "evaluate">,
    I32EnumAttrCase<"Model", 7, "model">]> {           // before differentiation
  let cppNamespace = "::stagewright::plan";
}

class Plan_Attr<string name, string mnemonicName> : AttrDef<Plan_Dialect, name> { let mnemonic = mnemonicName; }

def Plan_ValueAttr : Plan_Attr<"Value", "value"> {
  let summary = "Role and name of a value of a stage";
  let parameters = (ins EnumParameter<Plan_Role>:$role, StringRefParameter<>:$name);
  let assemblyFormat = "`<` $role `,` $name `>`";
  let extraClassDeclaration = [{
    /// Parameter and state of an optimizer state, "parameter:state"; parameter and number of the use of the gradient
    /// sum of a further use, "parameter/use". Of any other value: the name, and nothing.
    std::pair<::llvm::StringRef, ::llvm::StringRef> parameterAndState() const {
      // A layer's name may hold colons, a state's does not; slashes it holds none.
      return getRole() == Role::State         ? getName().rsplit(':')
             : getRole() == Role::Accumulator || getRole() == Role::Residual ? getName().split('/')
                                              : std::pair(getName(), ::llvm::StringRef());
    }
  }];
}
def Plan_ValueArrayAttr : TypedArrayAttrBase<Plan_ValueAttr, "values of a stage">;

def Plan_OffloadAttr : Plan_Attr<"Offload", "offload"> {
  let summary = "What of a class of values leaves the device's memory";
  let description = [{
    `tier` is "host" or "file", `ratio` the part in (0, 1] of each rank's shards, `path` the folder of tier File.
  }];
  let parameters = (ins StringRefParameter<>:$tier, "::mlir::FloatAttr":$ratio, StringRefParameter<>:$path);
  let assemblyFormat = "`<` $tier `,` $ratio `,` $path `>`";
  let extraClassDeclaration = [{
    /// Of the file's MemoryTier.
    int64_t tierNumber() const { return getTier() == "host" ? 1 : 2; }
  }];
}

def Plan_CompressionAttr : Plan_Attr<"Compression", "compression"> {
  let summary = "How much of their gradients replicas send each other";
  let description = [{
    `type` is "top_k", with the `ratio` in (0, 1] that is sent, or "one_bit", with 0.
  }];
  let parameters = (ins StringRefParameter<>:$type, "::mlir::FloatAttr":$ratio);
  let assemblyFormat = "`<` $type `,` $ratio `>`";
}

def Plan_TasksAttr : Plan_Attr<"Tasks", "tasks"> {
  let summary = "A task list of the schedule library, in its text form";
  let parameters = (ins ArrayRefParameter<"::stagewright::schedule::Task">:$tasks);
  let hasCustomAssemblyFormat = 1;
}

// ---- Settings and choices ----------------------------------------------------------------------------------------

def Plan_SettingsOp : Plan_Op<"settings"> {
  let summary = "The effective configuration";
  let description = [{
    Everything that later phases read of the config file and the command line. `entries` is the printed form of the
    effective configuration: arrays of JSON pointer, value, origin. The places say where the number of stages and the
    partition were given (`file:line:column`, or an option), for errors about them. `scheduler` is DeepSpeed's name of the
    schedule of the learning rate, with all its parameters; without one the rate is constant. `recompute` has one entry for
    all stages, or one for each, in the text form of ir/schedule/Recompute.h. `zero` is the ZeRO stage: what the replicas
    divide between them. With `overlap` they exchange gradients during the backward pass; of ZeRO 3, `gather`
    ("step", "visit", "block") says how long gathered weights stay. `reduction` ("step", "micro_batch"): after what the
    gradients of replicas are added up; `wire` ("fp32", "fp16", "bf16"): in what they travel, and `compression`: how much
    of the sums of a step. `states_offload` and `weights_offload` are of the shards that ZeRO makes: of optimizer
    states from stage 1 on, of weights with stage 3. `shard_group`: so many neighbouring replicas divide the weights of stage 3,
    which each such group has all of; 0: all replicas do. `servers`: so many parameter servers of each stage have the optimizer's states
    and update, in place of the replicas; `staleness`: the updates that a step need not wait for. `tf32`: fp32 products on CUDA
    round their factors. `stochastic_rounding`: prepare rounds weights by chance. `lr_decay` is of Adagrad alone, `max_coeff` and `min_coeff` are of Lamb.
  }];
  let arguments = (ins StrAttr:$model, StrAttr:$model_sha256, Int64Attr:$stages, Int64Attr:$micro_batches,
                       Int64Attr:$micro_batch_size, Int64Attr:$train_batch_size, Int64Attr:$data_parallel, StrAttr:$schedule,
                       StrAttr:$partition, Int64Attr:$seed, F64Attr:$gradient_clipping, Int64Attr:$steps_per_print,
                       BoolAttr:$shuffle, StrAttr:$optimizer, F64Attr:$learning_rate, F64Attr:$beta1, F64Attr:$beta2,
                       F64Attr:$epsilon, F64Attr:$momentum, F64Attr:$dampening, BoolAttr:$nesterov,
                       F64Attr:$weight_decay, BoolAttr:$decoupled_decay, BoolAttr:$bias_correction,
                       DefaultValuedStrAttr<StrAttr, "fp32">:$precision, DefaultValuedAttr<Int64Attr, "0">:$zero,
                       DefaultValuedAttr<BoolAttr, "true">:$overlap,
                       DefaultValuedStrAttr<StrAttr, "block">:$gather,
                       DefaultValuedAttr<Int64Attr, "0">:$shard_group, DefaultValuedAttr<Int64Attr, "0">:$servers,
                       DefaultValuedAttr<Int64Attr, "0">:$staleness,
                       DefaultValuedAttr<BoolAttr, "false">:$tf32,
                       DefaultValuedAttr<BoolAttr, "false">:$stochastic_rounding,
                       DefaultValuedStrAttr<StrAttr, "step">:$reduction,
                       DefaultValuedStrAttr<StrAttr, "fp32">:$wire,
                       DefaultValuedAttr<Int64Attr, "1">:$tensor_parallel,
                       StrArrayAttr:$targets, ArrayAttr:$entries,
                       OptionalAttr<StrAttr>:$stages_place,
                       OptionalAttr<StrAttr>:$partition_place, OptionalAttr<StrAttr>:$scheduler,
                       OptionalAttr<DictionaryAttr>:$scheduler_params, OptionalAttr<StrArrayAttr>:$recompute,
                       OptionalAttr<F64Attr>:$lr_decay, OptionalAttr<F64Attr>:$max_coeff, OptionalAttr<F64Attr>:$min_coeff,
                       OptionalAttr<Plan_OffloadAttr>:$states_offload, OptionalAttr<Plan_OffloadAttr>:$weights_offload,
                       OptionalAttr<Plan_CompressionAttr>:$compression);
  let assemblyFormat = "attr-dict";
  let hasVerifier = 1;
  let extraClassDeclaration = [{
    /// Whether the schedule of the learning rate also changes the first of the optimizer's betas (OneCycle).
    bool cyclesFirstBeta() { return getSchedulerParams() && getSchedulerParams()->contains("cycle_max_mom"); }
    /// In what gradients travel between replicas.
    ::stagewright::catalogue::GradientWire gradientWire();
    /// Whether gradients travel in exchanges of W, and not in REDUCE alone, which knows fp32 only.
    bool exchangesInPrograms() {
      return getDataParallel() > 1 && getServers() == 0 && (getOverlap() || getReduction() == "micro_batch" || !gradientWire().isExact());
    }
    /// Whether an update looks at all of a parameter at once.
    bool updatesWholeParameters() { return getOptimizer() == "lamb"; }
    bool offloads() { return getStatesOffload() || getWeightsOffload(); }
    /// Whether replicas divide anything between them; a single one that offloads has one shard.
    bool shards() { return getServers() > 0 || (getZero() > 0 && (getDataParallel() > 1 || offloads())); }
    /// Into how many parts they divide it.
    int64_t updaters() { return getServers() > 0 ? getServers() : getDataParallel(); }
    /// Whether they divide the weights as well, and gather them where they are read.
    bool shardsWeights() { return getZero() == 3 && (getDataParallel() > 1 || getWeightsOffload()); }
    /// How many replicas divide the weights, and whether several groups of them do, which then share what they update.
    int64_t replicasOfShards() { return getShardGroup() > 0 ? getShardGroup() : getDataParallel(); }
    bool repeatsShards() { return shardsWeights() && replicasOfShards() < getDataParallel(); }
    /// Whether GATHER shares updated weights.
    bool sharesWeights() { return getDataParallel() > 1 && shards() && (!shardsWeights() || repeatsShards()); }
    /// Whether replicas send a part of their gradients, and keep the rest for the next step.
    bool compressesGradients() { return getDataParallel() > 1 && getCompression(); }
    /// Whether they add up the gradients of each micro-batch, and whether each of them keeps its shard of the sums.
    bool reducesMicroBatches() { return getReduction() == "micro_batch" && getDataParallel() > 1; }
    bool shardsGradients() { return reducesMicroBatches() && getZero() >= 2; }
  }];
}

def Plan_GroupOp : Plan_Op<"group"> {
  let summary = "A group of parameters with a learning rate and a weight decay of its own";
  let description = [{
    The groups are numbered in their order, as `layer.parameter` refers to them. `match` is the regular expression that
    chose them. The rates of steps are cells "learning_rate.N".
  }];
  let arguments = (ins StrAttr:$match, F64Attr:$learning_rate, F64Attr:$weight_decay);
  let assemblyFormat = "$match `learning_rate` `(` $learning_rate `)` `weight_decay` `(` $weight_decay `)` attr-dict";
}

def Plan_FolderOp : Plan_Op<"folder"> {
  let summary = "The Hugging Face folder that the model was read from";
  let description = [{
    How its tensors belong to the parameters, which have their names. `config` is the text of config.json, from which `export`
    writes a folder. Names of tensors may lack `prefix`, or have it besides. Parameters named by `transposed` are stored
    [in, out]. `copies` are pairs of a tensor and the parameter that it repeats; tensors whose names end in one of
    `ignored` are no parameters.
  }];
  let arguments = (ins StrAttr:$config, StrAttr:$prefix, StrArrayAttr:$transposed, StrArrayAttr:$copies,
                       StrArrayAttr:$ignored);
  let assemblyFormat = "attr-dict";
  let hasVerifier = 1;
}

def Plan_PrecisionOp : Plan_Op<"precision"> {
  let summary = "Type of activations and their gradients, and type of the master weights";
  let arguments = (ins TypeAttr:$compute, TypeAttr:$master);
  let assemblyFormat = "`compute` `(` $compute `)` `master` `(` $master `)` attr-dict";
}

def Plan_LossScaleOp : Plan_Op<"loss_scale"> {
  let summary = "How the factor on the loss changes from step to step";
  let description = [{
    Of precision fp16. The factor is the scalar "loss_scale", which the runtime writes before each step: it begins at
    `initial`, and where it is `dynamic` an overflow halves it, at the `hysteresis`-th one first, and `window` steps
    without one double it. `minimum` is its least value; `ends_at_minimum`: an overflow there ends the run. Rules and names
    are DeepSpeed's.
  }];
  let arguments = (ins F64Attr:$initial, BoolAttr:$dynamic, Int64Attr:$window, Int64Attr:$hysteresis,
                       BoolAttr:$consecutive_hysteresis, F64Attr:$minimum, BoolAttr:$ends_at_minimum);
  let assemblyFormat = "attr-dict";
  let hasVerifier = 1;
}

def Plan_BlockOp : Plan_Op<"block"> {
  let summary = "A row of the table of blocks that the search works on";
  let description = [{`output` is the shape of one micro-batch; flops are of one micro-batch.}];
  let arguments = (ins StrAttr:$name, StrAttr:$type, DenseI64ArrayAttr:$output, Int64Attr:$parameters,
                       F64Attr:$forward_flops, F64Attr:$gradient_flops);
  let assemblyFormat = [{ $name $type `output` $output `parameters` `(` $parameters `)` `flops` `(` $forward_flops `,`
                          $gradient_flops `)` attr-dict }];
}

def Plan_ChoiceOp : Plan_Op<"choice"> {
  let summary = "What the search chose: stage s holds blocks [boundaries[s], boundaries[s + 1])";
  let arguments = (ins DenseI64ArrayAttr:$boundaries, StrAttr:$explanation);
  let assemblyFormat = "`boundaries` $boundaries `explanation` $explanation attr-dict";
  let hasVerifier = 1;
}

def Plan_MeshOp : Plan_Op<"mesh"> {
  let summary = "Ranks by axis";
  let arguments = (ins Int64Attr:$pipe, Int64Attr:$data, DefaultValuedAttr<Int64Attr, "1">:$tensor);
  let assemblyFormat = "`pipe` `(` $pipe `)` `data` `(` $data `)` attr-dict";
}

// ---- Stages ------------------------------------------------------------------------------------------------------

def Plan_StageOp : Plan_Op<"stage", [IsolatedFromAbove, SingleBlock, NoTerminator]> {
  let summary = "One pipeline stage: blocks [first_block, end_block) and the functions made from them";
  let arguments = (ins Int64Attr:$index, Int64Attr:$rank, Int64Attr:$first_block, Int64Attr:$end_block,
                       OptionalAttr<StrAttr>:$recompute);
  let regions = (region SizedRegion<1>:$body);
  let assemblyFormat = [{ $index `rank` `(` $rank `)` `blocks` `(` $first_block `,` $end_block `)`
                          (`recompute` `(` $recompute^ `)`)? attr-dict-with-keyword $body }];
  let hasVerifier = 1;
  let hasRegionVerifier = 1;
}

def Plan_FunctionOp : Plan_Op<"function", [IsolatedFromAbove, SingleBlock, HasParent<"StageOp">]> {
  let summary = "One function of a stage";
  let description = [{
    `inputs` names the block arguments, `outputs` the operands of the `plan.return`. A result that names an argument
    updates it in place.
  }];
  let arguments = (ins Plan_FunctionKind:$kind, Plan_ValueArrayAttr:$inputs, Plan_ValueArrayAttr:$outputs);
  let regions = (region SizedRegion<1>:$body);
  let assemblyFormat = "$kind `(` $inputs `)` `->` $outputs attr-dict-with-keyword $body";
  let hasRegionVerifier = 1;
}

def Plan_ReturnOp : Plan_Op<"return", [Terminator, Pure, HasParent<"FunctionOp">]> {
  let summary = "The results of a function";
  let arguments = (ins Variadic<AnyType>:$values);
  let assemblyFormat = "($values^ `:` type($values))? attr-dict";
}

def Plan_SharedOp : Plan_Op<"shared"> {
  let summary = "A value that `stage` computes and ALL_GATHER shares with every rank";
  let description = [{`evaluation`: shared at the end of an evaluation pass, else at the end of a training step.}];
  let arguments = (ins StrAttr:$name, TypeAttrOf<AnyRankedTensor>:$type, Int64Attr:$stage, UnitAttr:$evaluation);
  let assemblyFormat = "$name `:` $type `from` $stage (`evaluation` $evaluation^)? attr-dict";
  let hasVerifier = 1;
}

def Plan_ShardOp : Plan_Op<"shard"> {
  let summary = "How the replicas divide a trained parameter between them";
  let description = [{
    `pieces` are quadruples, ascending and without a gap: first element, elements, the replica that adds up their gradients
    and, from ZeRO stage 1 on, updates them, and the element of that replica's shard of `stage` at which they begin. With
    ZeRO 3 other stages that hold the parameter have shards as well, cut alike. Pieces that begin at element `states_from` of
    the shard or behind it have offloaded states, `weights_from` likewise.

        plan.shard "fc1.weight" stage(0) [0, 98304, 0, 0, 98304, 102400, 1, 0]
  }];
  let arguments = (ins StrAttr:$parameter, Int64Attr:$stage, DenseI64ArrayAttr:$pieces, OptionalAttr<I64Attr>:$states_from,
                       OptionalAttr<I64Attr>:$weights_from);
  let assemblyFormat = "$parameter `stage` `(` $stage `)` $pieces attr-dict";
  let hasVerifier = 1;
}

def Plan_GradientOp : Plan_Op<"gradient"> {
  let summary = "Memory of a function for the gradient of one micro-batch";
  let results = (outs AnyRankedTensor:$value);
  let assemblyFormat = "`:` type($value) attr-dict";
}

def Plan_ReduceOp : Plan_Op<"reduce"> {
  let summary = "Gradients of one micro-batch begin to be added up over the replicas, and then to their sums";
  let description = [{`names` are those of the sums.}];
  let arguments = (ins Plan_ValueArrayAttr:$names, Variadic<AnyRankedTensor>:$values);
  let assemblyFormat = "$names $values `:` type($values) attr-dict";
}

def Plan_AwaitOp : Plan_Op<"await"> {
  let summary = "What a plan.reduce has begun with these values is complete";
  let arguments = (ins Variadic<AnyRankedTensor>:$values);
  let assemblyFormat = "$values `:` type($values) attr-dict";
}

def Plan_GatherOp : Plan_Op<"gather"> {
  let summary = "A parameter whose pieces the replicas have (ZeRO 3), as a value of the function";
  let description = [{
    They are sent from here on; whoever reads the value first waits for it.
  }];
  let arguments = (ins StrAttr:$parameter);
  let results = (outs AnyRankedTensor:$value);
  let assemblyFormat = "$parameter `:` type($value) attr-dict";
}

// ---- Schedule ----------------------------------------------------------------------------------------------------

def Plan_ScheduleOp : Plan_Op<"schedule", [IsolatedFromAbove, SingleBlock, NoTerminator]> {
  let summary = "Task lists of all ranks, proved by the schedule library's verifier";
  let arguments = (ins StrAttr:$kind, Int64Attr:$micro_batches, DenseI64ArrayAttr:$rank_of_stage);
  let regions = (region SizedRegion<1>:$body);
  let assemblyFormat = [{ $kind `micro_batches` `(` $micro_batches `)` `rank_of_stage` $rank_of_stage
                          attr-dict-with-keyword $body }];
  let hasRegionVerifier = 1;
  let extraClassDeclaration = [{
    /// The task lists as a value of the schedule library.
    ::stagewright::schedule::Schedule training();
    ::stagewright::schedule::Schedule evaluation();
  }];
}

def Plan_RankOp : Plan_Op<"rank", [HasParent<"ScheduleOp">]> {
  let summary = "What one rank does in a training step and in an evaluation pass";
  let arguments = (ins Int64Attr:$index, Plan_TasksAttr:$train, Plan_TasksAttr:$evaluate);
  let assemblyFormat = "$index `train` `(` $train `)` `evaluate` `(` $evaluate `)` attr-dict";
}

// ---- Memory ------------------------------------------------------------------------------------------------------

def Plan_PlacementOp : Plan_Op<"placement"> {
  let summary = "Where a value of a stage lies on its rank";
  let description = [{
    `pool` is -1 for values at a fixed place of the arena; else `offset` counts from the slot's start. A value in shards may
    have a second place, for its pieces that are `offloaded`.
  }];
  let arguments = (ins Int64Attr:$stage, Plan_ValueAttr:$value, Int64Attr:$arena, Int64Attr:$pool, Int64Attr:$offset,
                       UnitAttr:$offloaded);
  let assemblyFormat = [{ `stage` `(` $stage `)` $value `arena` `(` $arena `)` `pool` `(` $pool `)`
                          `offset` `(` $offset `)` attr-dict }];
}

def Plan_LocalsOp : Plan_Op<"locals"> {
  let summary = "Offsets in the workspace arena of a function's local buffers, in order of definition";
  let description = [{`workspace` is where the kernels' own workspace begins.}];
  let arguments = (ins Int64Attr:$stage, Plan_FunctionKind:$function, Int64Attr:$arena, DenseI64ArrayAttr:$offsets,
                       Int64Attr:$workspace);
  let assemblyFormat = [{ `stage` `(` $stage `)` $function `arena` `(` $arena `)` `offsets` $offsets
                          `workspace` `(` $workspace `)` attr-dict }];
}

#endif
