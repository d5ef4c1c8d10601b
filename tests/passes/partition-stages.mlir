// RUN: stagewright-opt %S/Inputs/mlp.mlir --phase-precision --phase-search --partition-stages --verify-partition | FileCheck %s
// Cut before fc2: relu's output is sent by stage 0 and received by stage 1, which also holds the loss.
// CHECK: plan.mesh pipe(2) data(1)
// CHECK: plan.stage 0 rank(0) blocks(0, 3)
// CHECK: plan.function model([#plan.value<input, "image">, #plan.value<parameter, "fc1.weight">, #plan.value<parameter, "fc1.bias">]) -> [#plan.value<send, "relu">]
// CHECK: layer.reshape
// CHECK: layer.linear
// CHECK: layer.relu
// CHECK: plan.stage 1 rank(1) blocks(3, 4)
// CHECK: plan.function model([#plan.value<receive, "relu">, #plan.value<parameter, "fc2.weight">, #plan.value<input, "label">, #plan.value<input, "/valid_rows">]) -> [#plan.value<loss, "losses">, #plan.value<correct, "correct">, #plan.value<output, "fc2">]
// CHECK-NOT: layer.block
