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

// Groups of two among four replicas: 0 and 2 have the shards of both, one behind the other, as have 1 and 3; states and sums are each
// replica's own. UPDATE writes where the shard lies, and GATHER (17) shares it.
// RUN: sed 's/data_parallel = 2/data_parallel = 4/; s/train_batch_size = 16/train_batch_size = 32/; s/zero = 3/shard_group = 2 : i64, zero = 3/' %t > %t.groups
// RUN: stagewright-opt %t.groups --phase-precision --phase-search --phase-partition --phase-differentiate --phase-parallel --phase-schedule > %t.scheduled
// RUN: stagewright-opt %t.groups --phase-precision --phase-search --phase-partition --phase-differentiate --phase-parallel --phase-schedule --phase-memory --phase-lower | FileCheck %s --check-prefix=GROUPS
// RUN: FileCheck %s --check-prefix=CUT --input-file=%t.scheduled
// CUT: plan.shard "fc1.weight" stage(0) [0, 16384, 0, 0, 16384, 16384, 1, 0, 32768, 16384, 2, 0]
// CUT-NEXT: plan.shard "fc1.bias" stage(0) [0, 8192, 3, 0]
// CUT-NEXT: plan.shard "fc2.weight" stage(0) [0, 16384, 2, 16384, 16384, 8192, 3, 8192]
// GROUPS: plan.rank 0 train(<"{{.*}}0REDUCE, 0NORM, ALL_GATHER, 0UPDATE, 0GATHER">)
// GROUPS: command.arena "parameters" class(0) bytes(196608)
// GROUPS: command.arena "optimizer_state" class(2) bytes(262144)
// GROUPS: command.exchange 1 stage(0) scratch(0) [0, [[W:[0-9]+]], 0, 65536, 0, 0, 1, [[W]], 65536, 65536, 0, 0, 2, [[W]], 131072, 65536, 0, 65536, 3, [[W]], 196608, 32768, 0, 65536]
// GROUPS: command.launch "adam" {{.*}}[#command.slice<0, -1, 65536, tensor<16384xf32>>, #command.slice<1, -1, 131072, tensor<16384xf32>>{{.*}}#command.slice<2, -1, 0, tensor<16384xf32>>{{.*}}replica(2)
// GROUPS: command.placement "fc1.weight" "" stage(0) <0, -1, 65536, tensor<16384xf32>> first(32768) replica(2)
// GROUPS: command.placement "fc2.weight" "" stage(0) <0, -1, 131072, tensor<16384xf32>> replica(2)
// GROUPS: command.replica_gather 17 stage(0) <0, -1, 0, tensor<16384xf32>> replica(0)
// GROUPS-NEXT: command.replica_gather 17 stage(0) <0, -1, 0, tensor<16384xf32>> replica(1)
// GROUPS-NEXT: command.replica_gather 17 stage(0) <0, -1, 65536, tensor<32768xf32>> replica(2)
// GROUPS-NEXT: command.replica_gather 17 stage(0) <0, -1, 65536, tensor<16384xf32>> replica(3)
// GROUPS-NOT: command.replica_gather 17
// RUN: sed 's/, 0GATHER//' %t.scheduled | not stagewright-opt --verify-schedule 2>&1 | FileCheck %s --check-prefix=NOGATHER
// NOGATHER: has not the tasks of the replicas

// RUN: sed 's/shard_group = 2/shard_group = 3/' %t.groups | not stagewright-opt 2>&1 | FileCheck %s --check-prefix=SIZE
// RUN: sed 's/shard_group = 2/shard_group = -1/' %t.groups | not stagewright-opt 2>&1 | FileCheck %s --check-prefix=SIZE
// RUN: sed 's/zero = 3/zero = 2/' %t.groups | not stagewright-opt 2>&1 | FileCheck %s --check-prefix=SIZE
// RUN: sed 's/zero = 3/weights_offload = #plan.offload<"host", 1.0 : f64, "">, zero = 3/' %t.groups | not stagewright-opt 2>&1 | FileCheck %s --check-prefix=SIZE
// SIZE: has groups of shards with ZeRO stage 3 without offloaded weights, of a size that divides the replicas
