// The task lists are for this plan.
// RUN: stagewright-opt %S/Inputs/mlp.mlir --phase-precision --phase-search --phase-partition --phase-differentiate --phase-parallel --phase-schedule > %t
// RUN: stagewright-opt %t --verify-schedule > %t.again
// RUN: sed '/^  plan.schedule/,/^  }/d' %t | not stagewright-opt --verify-schedule 2>&1 | FileCheck %s --check-prefix=CASE0
// CASE0: error: needs one plan.schedule
// RUN: sed 's/plan.mesh pipe(2)/plan.mesh pipe(1)/' %t | not stagewright-opt --verify-schedule 2>&1 | FileCheck %s --check-prefix=CASE1
// CASE1: error: is not for 2 stages
// RUN: sed 's/micro_batches = 2 : i64/micro_batches = 1 : i64/; s/train_batch_size = 8/train_batch_size = 4/; s/tensor<2xf32>/tensor<1xf32>/g; s/tensor<2xi64>/tensor<1xi64>/' %t | not stagewright-opt --verify-schedule 2>&1 | FileCheck %s --check-prefix=CASE2
// CASE2: error: is not for the stages, ranks and micro-batches of this plan
// RUN: sed 's/rank_of_stage \[0, 1\]/rank_of_stage [0, 9]/' %t | not stagewright-opt --verify-schedule 2>&1 | FileCheck %s --check-prefix=CASE3
// CASE3: error: 'plan.schedule' op does not hold
// RUN: sed '/plan.precision/d' %t | not stagewright-opt --verify-schedule 2>&1 | FileCheck %s --check-prefix=CASE4
// CASE4: error: needs one plan.precision
