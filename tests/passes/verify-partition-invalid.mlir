// Stages in order, with what is declared; neighbours agree.
// RUN: stagewright-opt %S/Inputs/mlp.mlir --phase-precision --phase-search --phase-partition > %t
// RUN: stagewright-opt %t --verify-partition > %t.again
// RUN: sed '/plan.mesh/d' %t | not stagewright-opt --verify-partition 2>&1 | FileCheck %s --check-prefix=CASE0
// CASE0: error: needs one plan.mesh
// RUN: sed 's/mesh pipe(2)/mesh pipe(3)/' %t | not stagewright-opt --verify-partition 2>&1 | FileCheck %s --check-prefix=CASE1
// CASE1: error: is not for 2 stages
// RUN: sed 's/plan.stage 1 rank(1)/plan.stage 1 rank(0)/' %t | not stagewright-opt --verify-partition 2>&1 | FileCheck %s --check-prefix=CASE2
// CASE2: error: is out of order
// RUN: sed 's/plan.stage 1 rank(1)/plan.stage 2 rank(1)/' %t | not stagewright-opt --verify-partition 2>&1 | FileCheck %s --check-prefix=CASE3
// CASE3: error: is out of order
// RUN: sed 's/blocks(3, 4)/blocks(2, 4)/' %t | not stagewright-opt --verify-partition 2>&1 | FileCheck %s --check-prefix=CASE4
// CASE4: error: is out of order
// RUN: sed 's/<receive, "relu">/<receive, "fc1">/' %t | not stagewright-opt --verify-partition 2>&1 | FileCheck %s --check-prefix=CASE5
// CASE5: error: does not receive what stage 0 sends
// RUN: sed 's/<parameter, "fc2.weight">/<parameter, "fc3.weight">/' %t | not stagewright-opt --verify-partition 2>&1 | FileCheck %s --check-prefix=CASE6
// CASE6: error: names #plan.value<parameter, "fc3.weight"> of type 'tensor<3x5xf32>', which is not declared so
// RUN: sed 's/<input, "image">/<input, "picture">/' %t | not stagewright-opt --verify-partition 2>&1 | FileCheck %s --check-prefix=CASE7
// CASE7: error: names #plan.value<input, "picture">
// RUN: sed 's/<parameter, "fc2.weight">/<saved, "fc2.weight">/' %t | not stagewright-opt --verify-partition 2>&1 | FileCheck %s --check-prefix=CASE8
// CASE8: error: has a weight or a bias that is no parameter of its stage
// RUN: sed '/plan.precision/d' %t | not stagewright-opt --verify-partition 2>&1 | FileCheck %s --check-prefix=CASE9
// CASE9: error: needs one plan.precision
// RUN: sed '/layer.loss/d' %t | not stagewright-opt --verify-partition 2>&1 | FileCheck %s --check-prefix=CASE10
// CASE10: error: needs one layer.loss
