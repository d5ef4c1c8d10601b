// RUN: stagewright-opt %S/Inputs/mlp.mlir --phase-precision --phase-search --phase-partition --phase-differentiate --insert-update --verify-parallel | FileCheck %s
// RUN: sed 's/gradient_clipping = 1.0/gradient_clipping = 0.0/; s/"adam"/"sgd"/; s/momentum = 0.0/momentum = 0.5/' %S/Inputs/mlp.mlir | stagewright-opt --phase-precision --phase-search --phase-partition --phase-differentiate --insert-update | FileCheck %s --check-prefix=SGD
// RUN: sed 's/"adam"/"lamb", max_coeff = 10.0 : f64, min_coeff = 0.01 : f64/' %S/Inputs/mlp.mlir | stagewright-opt --phase-precision --phase-search --phase-partition --phase-differentiate --insert-update --verify-parallel | FileCheck %s --check-prefix=LAMB
// RUN: sed 's/"adam"/"lion"/' %S/Inputs/mlp.mlir | stagewright-opt --phase-precision --phase-search --phase-partition --phase-differentiate --insert-update --verify-parallel | FileCheck %s --check-prefix=LION
// RUN: sed 's/"adam"/"adagrad", lr_decay = 0.5 : f64/' %S/Inputs/mlp.mlir | stagewright-opt --phase-precision --phase-search --phase-partition --phase-differentiate --insert-update --verify-parallel | FileCheck %s --check-prefix=ADAGRAD
// RUN: sed '/@fc1.bias of/s/value(0.0)/value(0.0) {group = 0 : i64}/; s/^  layer.loss/  plan.group "bias" learning_rate(0.5) weight_decay(0.25)\n  layer.loss/' %S/Inputs/mlp.mlir | stagewright-opt --phase-precision --phase-search --phase-partition --phase-differentiate --insert-update --verify-parallel | FileCheck %s --check-prefix=GROUP
// RUN: sed '/@fc1/s/value(0.0)/value(0.0) {frozen}/' %S/Inputs/mlp.mlir | stagewright-opt --phase-precision --phase-search --phase-partition --phase-differentiate --insert-update --verify-parallel | FileCheck %s --check-prefix=FROZEN
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
// LAMB: plan.function update({{.*}}#plan.value<scalar, "learning_rate">, #plan.value<scalar, "bias_corrections">, #plan.value<parameter, "fc1.weight">, #plan.value<accumulator, "fc1.weight">, #plan.value<state, "fc1.weight:exp_avg">, #plan.value<state, "fc1.weight:exp_avg_sq">
// LAMB: layer.lamb {{.*}}max_coeff = 1.000000e+01 : f64, min_coeff = 1.000000e-02
// LION: plan.function update({{.*}}#plan.value<scalar, "learning_rate">, #plan.value<parameter, "fc1.weight">, #plan.value<accumulator, "fc1.weight">, #plan.value<state, "fc1.weight:exp_avg">, #plan.value<parameter, "fc1.bias">
// LION: layer.lion
// ADAGRAD: plan.function update({{.*}}#plan.value<scalar, "step">, #plan.value<parameter, "fc1.weight">, #plan.value<accumulator, "fc1.weight">, #plan.value<state, "fc1.weight:sum">
// ADAGRAD: layer.adagrad {{.*}}lr_decay = 5.000000e-01
// GROUP: plan.function update({{.*}}#plan.value<scalar, "learning_rate">, #plan.value<scalar, "bias_corrections">, {{.*}}#plan.value<scalar, "learning_rate.0">, #plan.value<parameter, "fc1.bias">
// GROUP: layer.adam {{.*}}weight_decay = 0.000000e+00
// GROUP: layer.adam {{.*}}weight_decay = 2.500000e-01
// FROZEN-NOT: partials/fc1
// FROZEN: plan.function update([#plan.value<shared, "partials">]) -> [#plan.value<scalar, "clip_coefficient">, #plan.value<scalar, "gradient_norm">]
// FROZEN: tensor<1xf64>
// FROZEN: plan.stage 1
// FROZEN: layer.adam
