// RUN: stagewright-opt %S/Inputs/mlp.mlir --phase-precision --search-plan --verify-search | FileCheck %s
// One row per block (the loss is none), with parameters and 2 flops per multiply-add plus the bias.
// CHECK: plan.block "flatten" "Flatten" output [4, 6] parameters(0) flops(0.000000e+00, 0.000000e+00)
// CHECK: plan.block "fc1" "Linear" output [4, 5] parameters(35) flops(2.600000e+02, 5.200000e+02)
// CHECK: plan.block "relu" "ReLU" output [4, 5] parameters(0)
// CHECK: plan.block "fc2" "Linear" output [4, 3] parameters(15) flops(1.200000e+02, 2.400000e+02)
// CHECK-NOT: plan.block
// CHECK: plan.choice boundaries [0, 3, 4] explanation "chosen    explicit:3
// CHECK-SAME: runner-up uniform
