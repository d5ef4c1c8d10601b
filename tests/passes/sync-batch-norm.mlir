// RUN: stagewright-opt %S/Inputs/sync_batch_norm.mlir --phase-import --phase-precision --phase-search --phase-partition --phase-differentiate > %t
// RUN: FileCheck %s < %t
// Replicas meet once in F and once in I. W, which a schedule may put off, has the replica's own sums and meets nobody.
// CHECK: plan.function forward(
// CHECK-SAME: -> [{{.*}}#plan.value<buffer, "bn.running_var">{{.*}}#plan.value<saved, "bn/sync_batch_norm:1">, #plan.value<saved, "bn/sync_batch_norm:2">
// CHECK-NOT: saved, "bn/all_gather"
// CHECK: %[[OWN:.*]] = layer.channel_moments %[[X:.*]] :
// CHECK: %[[ALL:.*]] = layer.all_gather %[[OWN]] axis("data") : (tensor<2x5xf32>) -> tensor<2x2x5xf32>
// CHECK: %{{.*}}, %[[MEAN:.*]], %[[VARIANCE:.*]] = layer.sync_batch_norm %[[X]], %[[ALL]]
// CHECK: layer.batch_norm_update %[[MEAN]], %[[VARIANCE]], {{.*}} {count = 8 : i64
// CHECK: plan.function backward_input(
// CHECK-NOT: layer.channel_moments
// CHECK: %[[MEANS:.*]] = layer.channel_gradient_means
// CHECK: %[[GATHERED:.*]] = layer.all_gather %[[MEANS]] axis("data") : (tensor<2x5xf32>) -> tensor<2x2x5xf32>
// CHECK: layer.sync_batch_norm_grad {{.*}}, %[[GATHERED]], %
// CHECK: plan.function backward_weight(
// CHECK-NOT: layer.all_gather
// CHECK: layer.batch_norm_weight_grad
// CHECK-NOT: layer.all_gather
// Evaluation has the running statistics.
// CHECK: plan.function evaluate(
// CHECK-NOT: {{channel_moments|all_gather|sync_batch_norm }}
// CHECK: layer.batch_norm_inference
// CHECK-NOT: {{channel_moments|all_gather}}
// CHECK: plan.stage 1

// What was gathered is kept; recompute normalises again by it, and no replica is asked twice.
// RUN: sed 's/entries = \[\]/entries = [], recompute = ["interval:9"]/; s/stages = 2/stages = 1/; s/explicit:3/uniform/' %S/Inputs/sync_batch_norm.mlir | stagewright-opt --phase-import --phase-precision --phase-search --phase-partition --phase-differentiate | FileCheck %s --check-prefix=AGAIN
// AGAIN: plan.function forward(
// AGAIN-SAME: #plan.value<saved, "bn/all_gather">
// AGAIN: plan.function backward_input(
// AGAIN-NOT: layer.channel_moments
// AGAIN-NOT: layer.all_gather
// AGAIN: layer.sync_batch_norm %
// AGAIN: layer.channel_gradient_means
// AGAIN: layer.all_gather
// AGAIN-NOT: layer.all_gather
// AGAIN: plan.function backward_weight(

// Statistics stay fp32 on the wire, whatever the compute type is.
// RUN: sed 's/entries = \[\]/entries = [], precision = "bf16"/' %S/Inputs/sync_batch_norm.mlir | stagewright-opt --phase-import --phase-precision | FileCheck %s --check-prefix=BF16
// BF16: layer.channel_moments %{{.*}} : (tensor<4x5x1xbf16>) -> tensor<2x5xf32>
// BF16: layer.all_gather %{{.*}} axis("data") : (tensor<2x5xf32>) -> tensor<2x2x5xf32>
// BF16: layer.sync_batch_norm %{{.*}} -> (tensor<4x5x1xbf16>, tensor<5xf32>, tensor<5xf32>)
