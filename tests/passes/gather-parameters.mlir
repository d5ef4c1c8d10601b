// ZeRO 3 over two replicas: weights are gathered one block with weights ahead of their readers, what `prepare` derived is computed there,
// and parts of them lie in shards.
// RUN: sed 's/data_parallel = 1/data_parallel = 2/; s/train_batch_size = 8/train_batch_size = 16/; s/seed =/zero = 3 : i64, overlap = false, seed =/; s/stages = 2/stages = 1/; s/explicit:3/uniform/; s/<5x6xf32>/<8192x6xf32>/g; s/4x5x/4x8192x/g; s/3x5x/3x8192x/g; s/<5xf32>/<8192xf32>/g' %S/Inputs/mlp.mlir > %t
// RUN: stagewright-opt %t --phase-precision --phase-search --phase-partition --phase-differentiate --phase-parallel | FileCheck %s --check-prefix=BLOCK
// RUN: sed 's/zero = 3/gather = "visit", zero = 3/' %t | stagewright-opt --phase-precision --phase-search --phase-partition --phase-differentiate --phase-parallel | FileCheck %s --check-prefix=VISIT
// RUN: sed 's/zero = 3/gather = "step", zero = 3/' %t | stagewright-opt --phase-precision --phase-search --phase-partition --phase-differentiate --phase-parallel | FileCheck %s --check-prefix=STEP
// RUN: stagewright-opt %t --phase-precision --phase-search --phase-partition --phase-differentiate --phase-parallel --phase-schedule --phase-memory --phase-lower | FileCheck %s --check-prefix=LOWER
// RUN: sed 's/zero = 3/zero = 2/' %t | stagewright-opt --phase-precision --phase-search --phase-partition --phase-differentiate --phase-parallel | FileCheck %s --check-prefix=TWO

// BLOCK: plan.function prepare([]) -> [] {
// BLOCK: plan.function forward([#plan.value<input, "image">, #plan.value<input, "label">, #plan.value<input, "/valid_rows">])
// BLOCK: plan.gather "fc2.weight"
// BLOCK-NEXT: layer.pack_linear_forward
// BLOCK: layer.relu
// BLOCK-NEXT: layer.pack_linear_forward
// BLOCK: plan.function backward_input
// BLOCK: plan.gather "fc2.weight"
// BLOCK: layer.softmax_cross_entropy_grad
// BLOCK: %[[P:.*]] = layer.pack_linear_input_grad
// BLOCK-NEXT: layer.linear_input_grad {{.*}}%[[P]]
// BLOCK: plan.function update([{{.*}}#plan.value<parameter, "fc1.weight">

// VISIT: plan.function forward(
// VISIT-NEXT: ^bb0
// VISIT-COUNT-3: plan.gather
// VISIT-NEXT: layer.reshape

// STEP: plan.function prepare([]) -> [{{.*}}#plan.value<derived, "fc2.weight/forward">{{.*}}#plan.value<derived, "fc1.bias/gathered">]
// STEP: plan.function forward([{{.*}}#plan.value<derived, "fc1.bias/gathered">
// STEP-NOT: plan.gather

// Shards of 32768 and 49152 elements, states twice as much; the gather of fc2.weight arrives before it is packed.
// LOWER: 0PREPARE{{.*}}0UPDATE">
// LOWER: command.arena "parameters" class(0) bytes(196608)
// LOWER: command.arena "optimizer_state" class(2) bytes(393216)
// LOWER: command.program 1 stage(0)
// LOWER: command.exchange_point [[A:[0-9]+]] begins
// LOWER: command.exchange_point [[B:[0-9]+]] begins
// LOWER: command.exchange_point [[A]]
// LOWER-NEXT: command.launch "pack_linear_forward"
// LOWER: command.launch "linear"
// LOWER: command.launch "relu"
// LOWER-NEXT: command.exchange_point [[B]]
// LOWER-NEXT: command.launch "pack_linear_forward"
// LOWER: command.exchange 1 stage(0) scratch(0) [0, [[W:[0-9]+]], {{[0-9]+}}, 131072, 0, 0,
// LOWER: command.placement "fc1.weight" "" stage(0) <0, -1, 0, tensor<32768xf32>> replica(0)
// LOWER-NOT: command.replica_gather 17

// TWO-NOT: plan.gather

// RUN: stagewright-opt %t --phase-precision --phase-search --phase-partition --phase-differentiate --phase-parallel --phase-schedule --phase-memory > %t.memory
// RUN: sed 's/plan.gather "fc2.weight" : tensor<3x8192xf32>/plan.gather "fc3.weight" : tensor<3x8192xf32>/' %t.memory | not stagewright-opt --verify-memory 2>&1 | FileCheck %s --check-prefix=UNKNOWN
// UNKNOWN: gathers a parameter of which the stage has no shard
// RUN: sed 's/zero = 3/gather = "never", zero = 3/' %t | not stagewright-opt 2>&1 | FileCheck %s --check-prefix=NEVER
// NEVER: gathers weights for a step, a visit or a block
