// RUN: stagewright-opt %S/Inputs/mlp.mlir --phase-precision --phase-search --phase-partition --differentiate-stages | FileCheck %s
// RUN: sed '/@fc1/s/value(0.0)/value(0.0) {frozen}/' %S/Inputs/mlp.mlir | stagewright-opt --phase-precision --phase-search --phase-partition --differentiate-stages | FileCheck %s --check-prefix=FROZEN
// RUN: sed '/@fc2.weight of/s/value(0.0)/value(0.0) {frozen}/' %S/Inputs/mlp.mlir | stagewright-opt --phase-precision --phase-search --phase-partition --differentiate-stages | FileCheck %s --check-prefix=LAST
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
// One stage that computes its blocks again: the hidden layer is no result of forward; its products are made before relu_grad, and
// handed to backward_weight, which reads the image itself.
// RUN: sed 's/stages = 2/stages = 1/; s/explicit:3/uniform/; s/data_parallel = 1/recompute = ["interval:4"], data_parallel = 1/' %S/Inputs/mlp.mlir | stagewright-opt --phase-precision --phase-search --phase-partition --differentiate-stages | FileCheck %s --check-prefix=AGAIN
// AGAIN: plan.stage 0 rank(0) blocks(0, 4) recompute("interval:4")
// AGAIN: plan.function forward({{.*}}) -> [#plan.value<loss, "losses">, #plan.value<saved, "fc2/linear">, #plan.value<saved, "/loss/softmax_cross_entropy:1">, #plan.value<saved, "/loss/softmax_cross_entropy:2">]
// AGAIN: plan.function backward_input
// AGAIN: layer.softmax_cross_entropy_grad
// AGAIN: layer.linear_input_grad
// AGAIN: layer.linear {{.*}} -> tensor<4x5xf32>
// AGAIN-NEXT: layer.relu
// AGAIN-NEXT: layer.relu_grad
// AGAIN: plan.function backward_weight
// AGAIN-NOT: layer.linear %
// AGAIN: layer.linear_weight_grad
// RUN: sed 's/stages = 2/stages = 1/; s/explicit:3/uniform/; s/data_parallel = 1/recompute = ["sometimes"], data_parallel = 1/' %S/Inputs/mlp.mlir | not stagewright-opt 2>&1 | FileCheck %s --check-prefix=UNKNOWN
// UNKNOWN: error: 'plan.settings' op recompute: "sometimes" is no way to recompute
// Stage 0 frozen: it receives its gradient, as every stage does, and computes nothing.
// FROZEN: plan.stage 0
// FROZEN: plan.function backward_input([#plan.value<receive_gradient, "relu">]) -> [] {
// FROZEN-NEXT: ^bb0
// FROZEN-NEXT: plan.return
// FROZEN: plan.function backward_weight([]) -> [] {
// FROZEN-NEXT: plan.return
// FROZEN: plan.stage 1
// FROZEN: layer.linear_weight_grad
// Stage 1 frozen: the gradient goes through it.
// LAST: plan.stage 0
// LAST: layer.linear_weight_grad
// LAST: plan.stage 1
// LAST: layer.linear_input_grad
// LAST: plan.function backward_weight([]) -> []
