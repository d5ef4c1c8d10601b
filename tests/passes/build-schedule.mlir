// RUN: stagewright-opt %S/Inputs/mlp.mlir --phase-precision --phase-search --phase-partition --phase-differentiate --phase-parallel --build-schedule --verify-schedule | FileCheck %s
// CHECK: plan.schedule "1f1b" micro_batches(2) rank_of_stage [0, 1]
// CHECK: plan.rank 0 train(<"0PREPARE, {{.*}}0NORM, ALL_GATHER, 0UPDATE">)
// CHECK: plan.rank 1 train(<"1PREPARE, {{.*}}1NORM, ALL_GATHER, 1UPDATE">)
