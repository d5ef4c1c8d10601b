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
// Losses of all micro-batches lie side by side, on the last rank's stage.
// CHECK: command.rank 1
// CHECK: command.pool "s1.losses" {{.*}}slots(2 x 4){{.*}}train [0, 1] evaluate [0, 1]
