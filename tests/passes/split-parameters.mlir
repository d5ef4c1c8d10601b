// Five tensor ranks divide the five hidden values: fc1 is split by columns, fc2 by rows, whose products are added up.
// RUN: sed 's/data_parallel = 1/data_parallel = 1, tensor_parallel = 5/' %S/Inputs/mlp.mlir | stagewright-opt --split-parameters | FileCheck %s --check-prefix=PAIR
// PAIR: layer.parameter @fc1.weight of "fc1" : tensor<1x6xf32> {{.*}}split = array<i64: 0, 5>
// PAIR: layer.parameter @fc1.bias of "fc1" : tensor<1xf32> {{.*}}split = array<i64: 0, 5>
// PAIR: layer.parameter @fc2.weight of "fc2" : tensor<3x1xf32> {{.*}}split = array<i64: 1, 5>
// PAIR: layer.block "fc1" "Linear"(%{{.*}}) : (tensor<4x6xf32>) -> tensor<4x1xf32>
// PAIR: %[[SHARED:.*]] = layer.shared_input
// PAIR: layer.linear %[[SHARED]], {{.*}} -> tensor<4x1xf32>
// PAIR: layer.relu {{.*}} : tensor<4x1xf32>
// PAIR: %[[PART:.*]] = layer.linear {{.*}} -> tensor<4x3xf32>
// PAIR: %[[SUM:.*]] = layer.all_reduce %[[PART]] axis("tensor") : tensor<4x3xf32>
// PAIR: layer.yield %[[SUM]]
// PAIR: layer.softmax_cross_entropy

// Three of them divide the classes: the last layer hands out all logits and, behind them, a rank's, which the loss reads.
// RUN: sed 's/data_parallel = 1/data_parallel = 1, tensor_parallel = 3/' %S/Inputs/mlp.mlir > %t
// RUN: stagewright-opt %t --split-parameters | FileCheck %s --check-prefix=CLASSES
// CLASSES: layer.parameter @fc1.weight of "fc1" : tensor<5x6xf32>
// CLASSES-NOT: split
// CLASSES: layer.parameter @fc2.weight of "fc2" : tensor<1x5xf32> {{.*}}split = array<i64: 0, 3>
// CLASSES: layer.input "/tensor_rank" "tensor_rank" tensor<1xi32>
// CLASSES: %[[HEAD:.*]]:2 = layer.block "fc2" {{.*}} -> (tensor<4x3xf32>, tensor<4x1xf32>)
// CLASSES: %[[OWN:.*]] = layer.linear
// CLASSES: %[[ALL:.*]] = layer.all_gather %[[OWN]] axis("tensor") : (tensor<4x1xf32>) -> tensor<3x4x1xf32>
// CLASSES: layer.permute %[[ALL]] {{.*}}1, 0, 2{{.*}} -> tensor<4x3x1xf32>
// CLASSES: layer.yield %{{.*}}, %[[OWN]] : tensor<4x3xf32>, tensor<4x1xf32>
// CLASSES: layer.block "/loss" {{.*}}(%[[HEAD]]#0, %{{.*}}, %{{.*}}, %[[HEAD]]#1, %{{.*}})
// CLASSES: layer.vocabulary_statistics
// CLASSES: layer.all_gather {{.*}} -> tensor<3x4x3xf32>
// CLASSES: layer.vocabulary_cross_entropy {{.*}}vocabulary = 3
// CLASSES: layer.count_correct {{.*}}tensor<4x3xf32>

// In training nobody gathers logits; the gradient of what all ranks read is their sum, and so are the partial sums of the norm.
// RUN: stagewright-opt %t --phase-precision --phase-search --phase-partition --phase-differentiate > %t.gradients
// RUN: FileCheck %s --check-prefix=GRADIENTS --input-file=%t.gradients
// GRADIENTS: plan.function forward
// GRADIENTS: layer.all_gather {{.*}}tensor<3x4x3xf32>
// GRADIENTS-NOT: layer.all_gather
// GRADIENTS: plan.function backward_input
// GRADIENTS: layer.vocabulary_cross_entropy_grad
// GRADIENTS: %[[G:.*]] = layer.linear_input_grad
// GRADIENTS: layer.all_reduce %[[G]] axis("tensor") : tensor<4x5xf32>
// GRADIENTS: plan.function backward_weight
// GRADIENTS-NOT: layer.all_
// GRADIENTS: plan.function evaluate
// GRADIENTS: layer.all_gather {{.*}}tensor<3x4x1xf32>
// RUN: stagewright-opt %t.gradients --phase-parallel --phase-schedule --phase-memory --phase-lower | FileCheck %s --check-prefix=NORM
// NORM-COUNT-2: command.reduction stage(-1) <{{.*}}tensor<1xf64>> tensor

// RUN: sed 's/data_parallel = 1/data_parallel = 1, tensor_parallel = 2/' %S/Inputs/mlp.mlir | not stagewright-opt --split-parameters 2>&1 | FileCheck %s --check-prefix=NOTHING
// NOTHING: no parameter of the model can be split over 2 tensor ranks
// NOTHING: layer "fc1": {{.*}} has 5 columns, which 2 tensor ranks cannot divide
