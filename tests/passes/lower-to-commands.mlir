// RUN: stagewright-opt %S/Inputs/mlp.mlir --phase-precision --phase-search --phase-partition --phase-differentiate --phase-parallel --phase-schedule --phase-memory --lower-to-commands --verify-lower | FileCheck %s
// CHECK-NOT: plan.stage
// CHECK: command.rank 0
// CHECK: command.program 1 stage(0)
// linear writes into the send buffer, and relu works there in place.
// CHECK: command.launch "linear" version(1) block(1) [#command.slice<{{[0-9]+}}, 0, 0, tensor<4x6xf32>>, {{.*}}, #command.slice<[[A:[0-9]+]], [[P:[0-9]+]], 0, tensor<4x5xf32>>, {{.*}}]
// CHECK: command.launch "relu" version(1) block(2) [#command.slice<[[A]], [[P]], 0, tensor<4x5xf32>>, #command.slice<[[A]], [[P]], 0, tensor<4x5xf32>>]
// CHECK: command.transfer 4 stage(0) peer(1)
// CHECK: command.transfer 7 stage(0) peer(1)
// One segment per run of neighbouring values of a rank: loss of 1, partials of 0, partials of 1.
// CHECK: command.collective arena({{[0-9]+}}) [1, 0, 8, 0, {{[0-9]+}}, 16, 1, {{[0-9]+}}, 8]
// CHECK: command.collective {{.*}} evaluation
// The last layer's value lies in the workspace when evaluation's F has run.
// CHECK: command.rank 1
// CHECK: command.program 6 stage(1)
// CHECK: command.launch "linear" version(1) block(3) [{{.*}}, #command.slice<[[W:[0-9]+]], -1, [[AT:[0-9]+]], tensor<4x3xf32>>]
// CHECK: command.output "fc2" stage(1) <[[W]], -1, [[AT]], tensor<4x3xf32>>
