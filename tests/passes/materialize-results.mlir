// RUN: sed 's/explicit:3/explicit:1/' %S/Inputs/mlp.mlir | stagewright-opt --phase-precision --phase-search --phase-partition --phase-differentiate --phase-parallel --phase-schedule --materialize-results | FileCheck %s
// A stage that only flattens sends a view of its input: the sent value gets memory of its own.
// CHECK: plan.stage 0
// CHECK: plan.function forward
// CHECK: %[[VIEW:.+]] = layer.reshape
// CHECK: %[[COPY:.+]] = layer.copy %[[VIEW]]
// CHECK: plan.return %[[COPY]]
