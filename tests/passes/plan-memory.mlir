// RUN: stagewright-opt %S/Inputs/mlp.mlir --phase-precision --phase-search --phase-partition --phase-differentiate --phase-parallel --phase-schedule --materialize-results --plan-memory --verify-memory | FileCheck %s
// fc1: 5x6 floats in 128 bytes, 5 floats in 64. Adam keeps two states of each.
// CHECK: command.rank 0
// CHECK: command.arena "parameters" class(0) bytes(192)
// CHECK: command.arena "gradients" class(1) bytes(192)
// CHECK: command.arena "optimizer_state" class(2) bytes(384)
// CHECK: command.arena "derived" class(3) bytes(768)
// The input lives from F to W; 1f1b holds two micro-batches on rank 0.
// CHECK: command.pool "s0.input-W" {{.*}}slots(2 x 128){{.*}}live(0, 2) train [0, 1]
// What is sent is read again by I, and waits for its transfer.
// CHECK: command.pool "s0.send-I" {{.*}}live(0, 1) sent
// CHECK: plan.placement stage(0) <send, "relu">
// CHECK: command.rank 1
// The gradient of the logits lies where the logits were, from F to W.
// CHECK: command.pool "s1.saved.F-W" {{.*}}slots(1 x 64){{.*}}live(0, 2)
// Losses of all micro-batches lie side by side, on the last rank's stage.
// CHECK: command.pool "s1.losses" {{.*}}slots(2 x 4){{.*}}train [0, 1] evaluate [0, 1]
// CHECK: plan.placement stage(1) <saved, "fc2/linear"> arena([[ARENA:[0-9]+]]) pool([[POOL:[0-9]+]]) offset(0)
// CHECK: plan.placement stage(1) <saved, "/loss/softmax_cross_entropy_grad"> arena([[ARENA]]) pool([[POOL]]) offset(0)
// Not where W reads the logits too.
// RUN: stagewright-opt %S/Inputs/mlp.mlir --phase-precision --phase-search --phase-partition --phase-differentiate --phase-parallel --phase-schedule --materialize-results | sed '/backward_weight(\[#plan.value<saved, "\/loss/{s/backward_weight(\[/&#plan.value<saved, "fc2\/linear">, /;n;s/\^bb0(/&%logits: tensor<4x3xf32>, /}' | stagewright-opt --plan-memory --verify-memory | FileCheck %s --check-prefix=READ
// READ: command.pool "s1.saved.I-W" {{.*}}slots(1 x 64)
// READ: command.pool "s1.saved.F-W" {{.*}}slots(1 x 64)
