// ZeRO 1 over two replicas: the states lie in a shard each, norm and update are cut between granules, each piece for the replica that has
// it; its sum goes to that replica, its partial sums and weights from there to the others.
// RUN: sed 's/data_parallel = 1/data_parallel = 2/; s/train_batch_size = 8/train_batch_size = 16/; s/seed =/zero = 1 : i64, overlap = false, seed =/; s/<5x6xf32>/<8192x6xf32>/g; s/4x5x/4x8192x/g; s/3x5x/3x8192x/g; s/<5xf32>/<8192xf32>/g' %S/Inputs/mlp.mlir > %t
// RUN: stagewright-opt %t --phase-precision --phase-search --phase-partition --phase-differentiate --phase-parallel > %t.parallel
// RUN: FileCheck %s --check-prefix=SHARD --input-file=%t.parallel
// RUN: stagewright-opt %t.parallel --phase-schedule --phase-memory --lower-to-commands --verify-lower | FileCheck %s
// RUN: sed 's/zero = 1/zero = 0/' %t | stagewright-opt --phase-precision --phase-search --phase-partition --phase-differentiate --phase-parallel --phase-schedule --phase-memory --phase-lower | FileCheck %s --check-prefix=WHOLE
// RUN: sed 's/optimizer = "adam"/optimizer = "lamb", max_coeff = 10.0 : f64, min_coeff = 0.01 : f64/' %t | stagewright-opt --phase-precision --phase-search --phase-partition --phase-differentiate --phase-parallel | FileCheck %s --check-prefix=LAMB

// SHARD-DAG: plan.shard "fc1.weight" stage(0) [0, 32768, 0, 0, 32768, 16384, 1, 0]
// SHARD-DAG: plan.shard "fc1.bias" stage(0) [0, 8192, 1, 16384]
// SHARD-DAG: plan.shard "fc2.weight" stage(1) [0, 16384, 0, 0, 16384, 8192, 1, 0]

// CHECK: plan.rank 0 train(<"{{.*}}0REDUCE, 0NORM, ALL_GATHER, 0UPDATE, 0GATHER">)
// CHECK: command.rank 0
// CHECK: command.arena "optimizer_state" class(2) bytes(262144)
// CHECK: command.launch "gradient_norm_partials" {{.*}}tensor<32768xf32>{{.*}}tensor<2xf64>{{.*}}replica(0)
// CHECK: command.launch "gradient_norm_partials" {{.*}}tensor<16384xf32>{{.*}}tensor<1xf64>{{.*}}replica(1)
// CHECK: command.launch "clip_coefficient"
// CHECK-NOT: replica
// CHECK: command.launch "adam" {{.*}}block(-1) [#command.slice<0, -1, 0, tensor<32768xf32>>{{.*}}replica(0)
// CHECK: command.launch "adam" {{.*}}block(-1) [#command.slice<0, -1, 131072, tensor<16384xf32>>{{.*}}<2, -1, 0, tensor<16384xf32>>{{.*}}replica(1)
// CHECK: command.placement "fc1.weight" "exp_avg" stage(0) <2, -1, 0, tensor<32768xf32>> replica(0)
// CHECK: command.placement "fc1.weight" "exp_avg" stage(0) <2, -1, 0, tensor<16384xf32>> first(32768) replica(1)
// CHECK: command.reduction stage(0) <{{[0-9]+}}, -1, 0, tensor<32768xf32>> replica(0)
// CHECK: command.reduction stage(0) <{{[0-9]+}}, -1, 131072, tensor<24576xf32>> replica(1)
// CHECK: command.replica_gather 17 stage(0) <0, -1, 0, tensor<32768xf32>> replica(0)
// CHECK: command.replica_gather 17 stage(0) <0, -1, 131072, tensor<24576xf32>> replica(1)
// CHECK: command.replica_gather 10 stage(0) {{.*}}tensor<2xf64>> replica(0)
// CHECK: command.replica_gather 10 stage(0) {{.*}}tensor<2xf64>> replica(1)

// Without ZeRO each replica updates everything.
// WHOLE: command.arena "optimizer_state" class(2) bytes(458752)
// WHOLE-NOT: replica(
// WHOLE-NOT: replica_gather

// With overlap the exchange of a block begins behind the last call that adds to its gradients; those of pieces go to their replica, and
// without ZeRO REDUCE shares the sums.
// RUN: sed 's/overlap = false/overlap = true/; s/zero = 1/zero = 0/; s/explicit:3/uniform/; s/stages = 2/stages = 1/' %t | stagewright-opt --phase-precision --phase-search --phase-partition --phase-differentiate --phase-parallel --phase-schedule --phase-memory --phase-lower | FileCheck %s --check-prefix=OVERLAP
// OVERLAP: command.arena "communication" class(9) bytes(262144)
// OVERLAP: command.program 3 stage(0)
// OVERLAP-NEXT: command.launch "linear_weight_grad"
// OVERLAP-NEXT: command.exchange_point 0 begins
// OVERLAP-NEXT: command.launch "linear_weight_grad"
// OVERLAP-NEXT: command.launch "bias_grad"
// OVERLAP-NEXT: command.exchange_point 1 begins
// OVERLAP-NOT: command.reduction stage(0)
// OVERLAP: command.replica_gather 16 stage(0)
// OVERLAP: command.exchange 0 stage(0) scratch(0) [1, 1, 229376, 98304, -1, 0]
// OVERLAP: command.exchange 0 stage(0) scratch(131072)

// Compressed gradients are whole granules of one parameter's sum, whose residual all replicas have; 8 bytes and a bit for each element are
// contributed to the larger part (2 x 2056 bytes, in lines), and all parts are converted.
// RUN: sed 's/zero = 1/compression = #plan.compression<"one_bit", 0.0 : f64>, zero = 1/' %t > %t.compressed
// RUN: stagewright-opt %t.compressed --phase-precision --phase-search --phase-partition --phase-differentiate --phase-parallel --phase-schedule --phase-memory --phase-lower | FileCheck %s --check-prefix=COMPRESS
// COMPRESS: command.arena "gradients" class(1) bytes(229376)
// COMPRESS: command.arena "residuals" class(11) bytes(229376)
// COMPRESS: command.arena "communication" class(9) bytes(11520)
// COMPRESS: command.placement "fc1.weight" "residual" stage(0) <2, -1, 0, tensor<8192x6xf32>>
// COMPRESS: command.placement "fc1.bias" "residual" stage(0) <2, -1, 196608, tensor<8192xf32>>
// COMPRESS: command.exchange 0 stage(0) scratch(0) [0, 1, 0, 131072, 2, 0, 1, 1, 131072, 65536, 2, 131072, 1, 1, 196608, 32768, 2, 196608]
// COMPRESS-NOT: command.reduction stage(0)
// RUN: sed 's/one_bit", 0.0/one_bit", 0.5/' %t.compressed | not stagewright-opt 2>&1 | FileCheck %s --check-prefix=RATIO
// RATIO: by top_k with a ratio in (0, 1], or to one_bit
// RUN: sed 's/compression =/reduction = "micro_batch", compression =/' %t.compressed | not stagewright-opt 2>&1 | FileCheck %s --check-prefix=STEPS
// STEPS: compresses fp32 sums of a step

// LAMB-DAG: plan.shard "fc1.weight" stage(0) [0, 49152, 0, 0]
// LAMB-DAG: plan.shard "fc1.bias" stage(0) [0, 8192, 1, 0]

// RUN: sed 's/plan.shard "fc1.weight" stage(0) .0, 32768, 0/plan.shard "fc1.weight" stage(0) [0, 32768, 1/' %t.parallel | not stagewright-opt --verify-parallel 2>&1 | FileCheck %s --check-prefix=TWICE
// TWICE: gives replica 1 a piece where another one lies
// RUN: sed 's/plan.shard "fc1.bias" stage(0) .0, 8192, 1/plan.shard "fc1.bias" stage(0) [0, 8192, 2/' %t.parallel | not stagewright-opt --verify-parallel 2>&1 | FileCheck %s --check-prefix=NOBODY
// NOBODY: gives replica 2 a piece
// RUN: sed 's/plan.shard "fc1.bias" stage(0) .0, 8192/plan.shard "fc1.bias" stage(0) [0, 8191/' %t.parallel | not stagewright-opt --verify-parallel 2>&1 | FileCheck %s --check-prefix=PART
// PART: or not all of it
// RUN: sed '/plan.shard "fc1.bias"/d' %t.parallel | not stagewright-opt --verify-parallel 2>&1 | FileCheck %s --check-prefix=MISSING
// MISSING: needs one plan.shard per trained parameter with several replicas
// RUN: sed 's/plan.shard "fc1.bias" stage(0) .0,/plan.shard "fc1.bias" stage(0) [4,/' %t.parallel | not stagewright-opt 2>&1 | FileCheck %s --check-prefix=GAP
// GAP: follow each other from the first element on
// RUN: stagewright-opt %t.parallel --phase-schedule | sed 's/, 0GATHER//; s/, 1GATHER//' | not stagewright-opt --verify-schedule 2>&1 | FileCheck %s --check-prefix=NOGATHER
// NOGATHER: has not the tasks of the replicas
