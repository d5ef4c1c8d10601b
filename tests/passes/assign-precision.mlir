// RUN: stagewright-opt %S/Inputs/mlp.mlir --phase-import --assign-precision --verify-precision | FileCheck %s
// In fp32 the phase says so and leaves the model as it is.
// CHECK: plan.precision compute(f32) master(f32) loss_scale(1.000000e+00)
// CHECK: layer.model "mlp"
// CHECK: layer.block "fc2"
