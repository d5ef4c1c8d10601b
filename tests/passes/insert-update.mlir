// RUN: stagewright-opt %S/Inputs/mlp.mlir --phase-precision --phase-search --phase-partition --phase-differentiate --insert-update --verify-parallel | FileCheck %s
// RUN: sed 's/gradient_clipping = 1.0/gradient_clipping = 0.0/; s/"adam"/"sgd"/; s/momentum = 0.0/momentum = 0.5/' %S/Inputs/mlp.mlir | stagewright-opt --phase-precision --phase-search --phase-partition --phase-differentiate --insert-update | FileCheck %s --check-prefix=SGD
// CHECK: plan.shared "loss" : tensor<1xf64> from 1
// CHECK: plan.shared "losses" : tensor<2xf32> from 1 evaluation
// CHECK: plan.shared "correct" : tensor<2xi64> from 1 evaluation
// CHECK: plan.shared "partials/fc1.weight" : tensor<1xf64> from 0
// CHECK: plan.shared "partials/fc2.weight" : tensor<1xf64> from 1
// The norm is over all stages: three parameters, one granule each.
// CHECK: plan.function update([#plan.value<shared, "partials">
// CHECK: layer.clip_coefficient {{.*}} max_norm(1.000000e+00) {skip = 0 : i64} : (tensor<3xf64>)
// CHECK: layer.adam
// SGD-NOT: partials
// SGD: plan.function update([#plan.value<scalar, "clip_coefficient">, #plan.value<scalar, "learning_rate">, #plan.value<scalar, "step">
// SGD: layer.sgd {{.*}}momentum = 5.000000e-01
