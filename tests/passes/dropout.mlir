// RUN: sed -f %S/Inputs/dropout.sed %S/Inputs/mlp.mlir | stagewright-opt --phase-import --phase-precision --phase-search --phase-partition --phase-differentiate > %t
// RUN: FileCheck %s < %t
// The gradient draws the numbers of the forward function again: same input, block and ordinal; no mask is saved.
// CHECK: plan.function forward([{{.*}}#plan.value<input, "/random">{{.*}}]) -> [#plan.value<send, "relu">]
// CHECK: layer.dropout %{{.*}} {block = 2 : i64, ordinal = 0 : i64, p = 5.000000e-01 : f64}
// CHECK: plan.function backward_input([#plan.value<receive_gradient, "relu">, #plan.value<input, "/random">]) -> [#plan.value<saved, "relu/dropout">]
// CHECK: layer.dropout %arg0, %arg1 {block = 2 : i64, ordinal = 0 : i64, p = 5.000000e-01 : f64}
// In evaluation it is its input.
// CHECK: plan.function evaluate
// CHECK-NOT: layer.dropout
// CHECK: plan.stage 1

// The runtime fills it as input -2, for as long as the gradient needs it.
// RUN: stagewright-opt %t --phase-parallel --phase-schedule --phase-memory --phase-lower | FileCheck %s --check-prefix=LOWER
// LOWER: command.pool "s0.input-I" arena({{[0-9]+}}) {{.*}} slots({{[0-9]+}} x 64)
// LOWER: command.input -2 stage(0) pool([[POOL:[0-9]+]]) offset(0) [4]
