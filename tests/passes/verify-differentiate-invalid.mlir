// Every stage has its functions; what they hand on is made before it is used.
// RUN: stagewright-opt %S/Inputs/mlp.mlir --phase-precision --phase-search --phase-partition --phase-differentiate > %t
// RUN: stagewright-opt %t --verify-differentiate > %t.again
// RUN: sed 's/plan.function evaluate/plan.function norm/' %t | not stagewright-opt --verify-differentiate 2>&1 | FileCheck %s --check-prefix=CASE0
// CASE0: error: has no function evaluate
// RUN: sed 's|-> \[#plan.value<saved, "relu/relu_grad">\]|-> [#plan.value<saved, "relu">]|' %t | not stagewright-opt --verify-differentiate 2>&1 | FileCheck %s --check-prefix=CASE1
// CASE1: error: reads saved value relu/relu_grad before an earlier function made it
// RUN: sed 's|-> \[#plan.value<derived, "fc1.weight/forward">\]|-> [#plan.value<derived, "fc1.weight">]|' %t | not stagewright-opt --verify-differentiate 2>&1 | FileCheck %s --check-prefix=CASE2
// CASE2: error: reads derived value fc1.weight/forward before
// RUN: sed '/plan.mesh/d' %t | not stagewright-opt --verify-differentiate 2>&1 | FileCheck %s --check-prefix=CASE3
// CASE3: error: needs one plan.mesh
// RUN: sed 's/forward(\[#plan.value<receive, "relu">/forward([#plan.value<saved, "relu">/' %t | not stagewright-opt --verify-differentiate 2>&1 | FileCheck %s --check-prefix=CASE4
// CASE4: error: reads saved value relu before
