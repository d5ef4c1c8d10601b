// RUN: stagewright-opt %S/Inputs/mlp.mlir --phase-precision --phase-search --phase-partition --differentiate-stages --prepare-weights --verify-differentiate | FileCheck %s
// Each product gets its packing: [K, 32 columns at a time]. Stage 0 has no input gradient to pack for.
// CHECK: plan.stage 0
// CHECK: plan.function prepare([#plan.value<parameter, "fc1.weight">]) -> [#plan.value<derived, "fc1.weight/forward">]
// CHECK: layer.pack_linear_forward {{.*}} : tensor<5x6xf32> -> tensor<192xf32>
// CHECK: plan.function forward([#plan.value<input, "image">, #plan.value<parameter, "fc1.bias">, #plan.value<derived, "fc1.weight/forward">])
// CHECK: plan.stage 1
// CHECK: plan.function prepare([#plan.value<parameter, "fc2.weight">]) -> [#plan.value<derived, "fc2.weight/forward">, #plan.value<derived, "fc2.weight/input_grad">]
// CHECK: layer.pack_linear_input_grad {{.*}} : tensor<3x5xf32> -> tensor<96xf32>
