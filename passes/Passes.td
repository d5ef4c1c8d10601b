// The passes, in the order of the phases (Pipeline.cpp is the only place that knows it). Each paragraph says what a pass
// requires, what it ensures, and shows the IR before ~~> after.
#ifndef STAGEWRIGHT_PASSES
#define STAGEWRIGHT_PASSES

include "mlir/Pass/PassBase.td"

class StagewrightPass<string flag> : Pass<flag, "::mlir::ModuleOp"> {
  let dependentDialects = ["::stagewright::layer::LayerDialect", "::stagewright::plan::PlanDialect",
                           "::stagewright::command::CommandDialect"];
}

class VerifyPass<string flag> : Pass<flag, "::mlir::ModuleOp">;

// ---- import ------------------------------------------------------------------------------------------------------

def VerifyImport : VerifyPass<"verify-import"> {
  let summary = "Checks what a front end built";
  let description = [{
    *Ensures:* one `plan.settings` and one `layer.model`; blocks hold ops of the layer dialect only (all others are listed
    at once, with their counts); every block result has exactly one use; every declared parameter is read.
  }];
}

// ---- precision ---------------------------------------------------------------------------------------------------

def SplitParameters : StagewrightPass<"split-parameters"> {
  let summary = "Splits parameters over tensor ranks";
  let description = [{
    *Requires:* an imported model. *Ensures:* with several tensor ranks the model is that of one of them: `layer.parameter`
    has the type of a rank's part, and `split` says which; what a rank makes a part of is added up (`all_reduce`) or gathered
    where all of it is read. Pairs of linear layers are split by the columns of the first and the rows of the second, with
    what lies between them (Megatron-LM, Shoeybi et al. 2019), embeddings by rows, the last layer by the classes of
    its loss; all else stays whole, and all ranks compute it. *Errors:* there is nothing to split.

        linear %x, %w1 | relu | linear ..., %w2
          ~~> %s = layer.shared_input %x   linear %s, %w1   relu   %p = linear ..., %w2   all_reduce %p axis("tensor")
  }];
}

def AssignPrecision : StagewrightPass<"assign-precision"> {
  let summary = "Gives activations the compute type";
  let description = [{
    *Requires:* an imported model. *Ensures:* one `plan.precision`; whatever a kernel's entry calls T has the compute type,
    with casts where a value of another type is read (model inputs, parameters that are no weight of a product or norm).
    In fp32 the model stays as it is.

        %y = layer.relu %x : tensor<16x256xf32>
          ~~> %c = layer.cast_to %x : tensor<16x256xf32> -> tensor<16x256xbf16>   %y = layer.relu %c : tensor<16x256xbf16>
  }];
}

def VerifyPrecision : VerifyPass<"verify-precision"> {
  let summary = "Checks that there is one plan.precision, that every parameter has its master type and every T its compute type";
}

// ---- search ------------------------------------------------------------------------------------------------------

def SearchPlan : StagewrightPass<"search-plan"> {
  let summary = "Writes the table of blocks, lets PlanSearch choose, and records the choice";
  let description = [{
    *Requires:* `plan.settings`, `layer.model`. *Ensures:* one `plan.block` per block (the loss is no block) and one
    `plan.choice`. *Errors:* more stages than blocks, cut points that do not fit.

        layer.block "fc1" ... ~~> plan.block "fc1" "Linear" output [16, 256] ...   plan.choice boundaries [0, 2, 4] ...
  }];
}

def VerifySearch : VerifyPass<"verify-search"> {
  let summary = "Checks that the choice covers the table of blocks with the settings' number of stages";
}

// ---- partition ---------------------------------------------------------------------------------------------------

def PartitionStages : StagewrightPass<"partition-stages"> {
  let summary = "Cuts the model into stages";
  let description = [{
    *Requires:* `plan.choice`. *Ensures:* one `plan.mesh`, one `plan.stage` per stage with a function `model` whose body is
    the blocks' ops; no `layer.model` is left. Values that cross a cut become `send` results and `receive` arguments of
    every stage between producer and last user.

        layer.block "fc1"  |  layer.block "fc2"
          ~~> plan.stage 0 { plan.function model ... -> [#plan.value<send, "fc1">] }  plan.stage 1 { ... receive, "fc1" ... }
  }];
}

def VerifyPartition : VerifyPass<"verify-partition"> {
  let summary = "Checks that no block is left and that neighbouring stages agree on what crosses between them";
}

// ---- differentiate -----------------------------------------------------------------------------------------------

def DifferentiateStages : StagewrightPass<"differentiate-stages"> {
  let summary = "Builds each stage's gradient and slices it";
  let description = [{
    *Requires:* stages with a function `model`. *Ensures:* functions `forward`, `backward_input`, `backward_weight` and
    `evaluate` in its place. One joint graph is built by the ops' gradient rules and then sliced; a value that crosses a
    slice is a result of the earlier function and an argument of the later one (`saved`). Views are cloned, never saved.
    Weight gradients accumulate in place. Where the stage says `recompute`, clones of forward ops stand in `backward_input`
    before the first op that reads them, and what they make is not saved by `forward`.

        model: y = relu(linear(x)) ~~> forward: ... -> saved y | backward_input: relu_grad ... | backward_weight: ...
  }];
}

def PrepareWeights : StagewrightPass<"prepare-weights"> {
  let summary = "Derives what matrix products read from their parameters, once per step";
  let description = [{
    *Requires:* sliced stages, one target. *Ensures:* a function `prepare` per stage; for the host, matrix products take packed
    weights (`derived` values); for CUDA, weights and biases in the type of the activations: in fp32 the parameters
    themselves, else one copy for all products of the stage.

        host: linear %x, %weight ~~> prepare: pack_linear_forward %weight -> derived "w/forward";  linear %x, %derived
        cuda: linear %x, %weight ~~> prepare: cast_to %weight -> derived "w/cast";  linear %x, %derived

    With `stochastic_rounding` what is read in 16 bits is rounded by `cast_stochastic` first, by the scalar "rounding".
  }];
}

def VerifyDifferentiate : VerifyPass<"verify-differentiate"> {
  let summary = "Checks that every stage has its five functions and that each saved value is made before it is used";
}

// ---- parallel ----------------------------------------------------------------------------------------------------

def InsertUpdate : StagewrightPass<"insert-update"> {
  let summary = "Adds the end of the step: partial norms, what all ranks share, clipping and optimizer";
  let description = [{
    *Requires:* differentiated stages. *Ensures:* functions `norm` and `update` per stage and one `plan.shared` per value
    that ALL_GATHER moves. The norm is that of all stages' gradients, added in import order of the parameters. Over replicas
    (data parallel) the sums of gradients are added up before `norm` reads them, by the task REDUCE: build-schedule places it,
    lower-to-commands says which bytes.
  }];
}

def ShardParameters : StagewrightPass<"shard-parameters"> {
  let summary = "Divides the parameters between the replicas: who adds up gradients, and with ZeRO who updates";
  let description = [{
    *Requires:* functions `update`. *Ensures:* with several replicas one `plan.shard` per trained parameter. Every block is spread over all replicas; cuts lie between granules of the norm, so that its partial sums are
    those of the whole parameter. With ZeRO, Lamb's parameters are not cut: its ratio is of a whole one. Functions stay those of whole
    parameters: plan-memory gives their states the bytes of a shard, lower-to-commands cuts their ops into pieces.

        layer.parameter @fc1.weight ... ~~> plan.shard "fc1.weight" [0, 98304, 0, 0, 98304, 102400, 1, 0]
  }];
}

def ReduceMicroBatches : StagewrightPass<"reduce-micro-batches"> {
  let summary = "Adds up the gradients of replicas after each micro-batch";
  let description = [{
    *Requires:* functions `backward_weight`. *Ensures:* with the setting `reduction` "micro_batch" and several replicas their
    gradients begin with zeros in memory of the call; a `plan.reduce` behind the last op of each block begins to add them up, and
    a `plan.await` in front of the next one ends it.

        backward_weight: %s = linear_weight_grad %x, %g, %acc   return %s : accumulator "fc1.weight"
          ~~> %m = plan.gradient   %z = clear %m   %s = linear_weight_grad %x, %g, %z   plan.reduce [accumulator "fc1.weight"] %s
    }];
}

def GatherParameters : StagewrightPass<"gather-parameters"> {
  let summary = "Gathers the weights that replicas divide where they are read (ZeRO 3)";
  let description = [{
    *Requires:* `plan.shard`. *Ensures:* with ZeRO stage 3 and several replicas only `update` reads trained parameters; other
    functions have a `plan.gather` instead, in each run of one block's ops that reads the parameter. With the setting
    `gather` "block" it stands in front of the run before that reads weights, with "visit" at the function's beginning, and what `prepare` has derived is
    computed in front of its reader. With "step" `prepare` alone gathers, and weights that are read as they are become
    derived values.

        forward: linear %x, %derived ~~> %w = plan.gather "fc1.weight" ... %p = pack_linear_forward %w   linear %x, %p
  }];
}

def VerifyParallel : VerifyPass<"verify-parallel"> {
  let summary = "Checks that every parameter is updated once, in shards that fit, and that each shared value has one producer";
}

// ---- schedule ----------------------------------------------------------------------------------------------------

def BuildSchedule : StagewrightPass<"build-schedule"> {
  let summary = "Generates the task lists and proves them";
  let description = [{
    *Requires:* stages and settings. *Ensures:* one `plan.schedule`, whose verifier is the schedule library's.

        settings {schedule = "1f1b"} ~~> plan.schedule "1f1b" ... { plan.rank 0 train(#plan.tasks<"0PREPARE, 0F0, ...">) }
  }];
}

def VerifySchedule : VerifyPass<"verify-schedule"> {
  let summary = "Checks that the schedule's stages, ranks and micro-batches are those of the plan";
}

// ---- memory ------------------------------------------------------------------------------------------------------

def MaterializeResults : StagewrightPass<"materialize-results"> {
  let summary = "Copies results that would share memory with another value";
  let description = [{
    *Ensures:* the memory of each function result is written by one op of the function, or the result updates the
    argument of the same name. A result that is a view of an argument, or a second name of a value, becomes a copy.

        return (reshape %x) ~~> return (copy (reshape %x))
  }];
}

def PlanMemory : StagewrightPass<"plan-memory"> {
  let summary = "Gives every value its bytes";
  let description = [{
    *Requires:* `plan.schedule`; materialized results. *Ensures:* one `command.executable` per target with arenas and slot
    pools (slots counted from the schedule by lifetime), a `plan.placement` per value of a stage, and a `plan.locals` per
    function.
  }];
}

def VerifyMemory : VerifyPass<"verify-memory"> {
  let summary = "Checks that every value of every function has a place and that slots are never overwritten while live";
}

// ---- lower -------------------------------------------------------------------------------------------------------

def LowerToCommands : StagewrightPass<"lower-to-commands"> {
  let summary = "Selects kernels and writes programs, transfers, collectives and bindings";
  let description = [{
    *Requires:* a memory plan. *Ensures:* the module holds declarations, settings, choice, schedule and `command.executable`
    only: what the .stage file holds.

        %y = layer.relu %x ~~> command.launch "relu" version(1) ... [#command.slice<...>, #command.slice<...>]
  }];
}

def VerifyLower : VerifyPass<"verify-lower"> {
  let summary = "Checks that nothing is left to lower";
}

#endif
