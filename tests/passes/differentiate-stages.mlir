// RUN: stagewright-opt %S/Inputs/mlp.mlir --phase-precision --phase-search --phase-partition --differentiate-stages | FileCheck %s
// Stage 0: its input needs no gradient, so relu_grad is all of backward_input; W reads the input again through a view.
// CHECK: plan.stage 0
// CHECK: plan.function forward({{.*}}) -> [#plan.value<send, "relu">]
// CHECK: plan.function backward_input([#plan.value<receive_gradient, "relu">, #plan.value<send, "relu">]) -> [#plan.value<saved, "relu/relu_grad">]
// CHECK: layer.relu_grad
// CHECK-NOT: layer.linear_input_grad
// CHECK: plan.function backward_weight([#plan.value<saved, "relu/relu_grad">, #plan.value<input, "image">, #plan.value<accumulator, "fc1.weight">, #plan.value<accumulator, "fc1.bias">])
// CHECK: layer.reshape
// CHECK: layer.linear_weight_grad
// CHECK: layer.bias_grad
// CHECK: plan.function evaluate
// Stage 1: the seed is 1 / 2 micro-batches; accuracy is counted in evaluation only.
// CHECK: plan.stage 1
// CHECK: plan.function forward
// CHECK-NOT: layer.count_correct
// CHECK: plan.function backward_input
// CHECK: layer.softmax_cross_entropy_grad {{.*}} scale(5.000000e-01)
// CHECK: layer.linear_input_grad
// CHECK: plan.return {{.*}} : tensor<4x5xf32>, tensor<4x3xf32>
// CHECK: plan.function backward_weight([#plan.value<saved, "/loss/softmax_cross_entropy_grad">, #plan.value<receive, "relu">, #plan.value<accumulator, "fc2.weight">])
// CHECK: plan.function evaluate
// CHECK: layer.count_correct
