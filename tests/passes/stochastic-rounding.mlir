// Weights that are rounded by chance when they are derived for products.
// RUN: sed 's/data_parallel = 1/precision = "bf16", stochastic_rounding = true, data_parallel = 1/' %S/Inputs/mlp.mlir > %t.host
// RUN: sed 's/targets = \["host"\]/targets = ["cuda:sm_90"]/' %t.host > %t.cuda
// RUN: stagewright-opt %t.host --phase-precision --phase-search --phase-partition --phase-differentiate > %t.packed
// RUN: FileCheck %s --input-file %t.packed
// RUN: stagewright-opt %t.cuda --phase-precision --phase-search --phase-partition --phase-differentiate | FileCheck %s --check-prefix=CUDA
// RUN: stagewright-opt %t.packed --phase-parallel --phase-schedule --phase-memory --phase-lower | FileCheck %s --check-prefix=LOWER

// Once for both layouts, which stand behind it.
// CHECK: plan.stage 1
// CHECK: plan.function prepare([#plan.value<parameter, "fc2.weight">, #plan.value<scalar, "rounding">]) -> [#plan.value<derived, "fc2.weight/forward">, #plan.value<derived, "fc2.weight/input_grad">]
// CHECK: %[[ROUNDED:.*]] = layer.cast_stochastic %{{.*}}, %{{.*}} {parameter = 2 : i64, split = 0 : i64} : (tensor<3x5xf32>, tensor<5xi32>) -> tensor<3x5xbf16>
// CHECK-NEXT: %[[WEIGHT:.*]] = layer.cast_from %[[ROUNDED]]
// CHECK-NEXT: layer.pack_linear_forward %[[WEIGHT]]
// CHECK-NEXT: layer.pack_linear_input_grad %[[WEIGHT]]

// CUDA: plan.stage 0
// CUDA: plan.function prepare([#plan.value<parameter, "fc1.weight">, #plan.value<scalar, "rounding">, #plan.value<parameter, "fc1.bias">]) -> [#plan.value<derived, "fc1.weight/cast">, #plan.value<derived, "fc1.bias/cast">]
// CUDA: layer.cast_stochastic {{.*}} {parameter = 0 : i64, split = 0 : i64}
// CUDA-NEXT: layer.cast_stochastic {{.*}} {parameter = 1 : i64, split = 0 : i64}
// CUDA-NEXT: plan.return

// LOWER: command.scalar "rounding"
// LOWER: command.launch "cast_stochastic" version(1)

// Three tensor ranks split the last layer over the classes: they draw apart for its weight, and alike for the one that each has whole.
// RUN: sed 's/data_parallel = 1/data_parallel = 1, tensor_parallel = 3/' %t.host | stagewright-opt --phase-precision --phase-search --phase-partition --phase-differentiate | FileCheck %s --check-prefix=SPLIT
// SPLIT: plan.stage 0
// SPLIT: layer.cast_stochastic {{.*}} {parameter = 0 : i64, split = 0 : i64} : (tensor<5x6xf32>
// SPLIT: plan.stage 1
// SPLIT: layer.cast_stochastic {{.*}} {parameter = 2 : i64, split = 1 : i64} : (tensor<1x5xf32>
