// The choice covers the table of blocks.
// RUN: stagewright-opt %S/Inputs/mlp.mlir --phase-precision --phase-search > %t
// RUN: stagewright-opt %t --verify-search > %t.again
// RUN: sed '/plan.choice/d' %t | not stagewright-opt --verify-search 2>&1 | FileCheck %s --check-prefix=CASE0
// CASE0: error: needs one plan.choice
// RUN: sed 's/boundaries \[0, 3, 4\]/boundaries [0, 4]/' %t | not stagewright-opt --verify-search 2>&1 | FileCheck %s --check-prefix=CASE1
// CASE1: error: does not cut the 4 blocks into 2 stages
// RUN: sed '/plan.block "relu"/d' %t | not stagewright-opt --verify-search 2>&1 | FileCheck %s --check-prefix=CASE2
// CASE2: error: does not cut the 4 blocks into 2 stages
// RUN: sed '/plan.precision/d' %t | not stagewright-opt --verify-search 2>&1 | FileCheck %s --check-prefix=CASE3
// CASE3: error: needs one plan.precision
// RUN: sed 's/^  plan.choice/  plan.mesh pipe(2) data(1)\n  plan.choice/' %t | not stagewright-opt --verify-search 2>&1 | FileCheck %s --check-prefix=CASE4
// CASE4: error: these ops have no place behind the phase search: plan.mesh (1)
