// Parameters are updated once; each shared value has one producer.
// RUN: stagewright-opt %S/Inputs/mlp.mlir --phase-precision --phase-search --phase-partition --phase-differentiate --phase-parallel > %t
// RUN: stagewright-opt %t --verify-parallel > %t.again
// RUN: sed 's/<parameter, "fc1.weight">, #plan.value<accumulator/<state, "fc1.weight:x">, #plan.value<accumulator/g; s/<parameter, "fc1.weight">, #plan.value<accumulator/<state, "fc1.weight:x">, #plan.value<accumulator/' %t | not stagewright-opt --verify-parallel 2>&1 | FileCheck %s --check-prefix=CASE0
// CASE0: error: parameter fc1.weight is updated 0 times in a step
// RUN: sed '/plan.shared "loss" /d' %t | not stagewright-opt --verify-parallel 2>&1 | FileCheck %s --check-prefix=CASE1
// CASE1: error: shares no "loss"
// RUN: sed '/plan.shared "partials.fc1.bias"/d' %t | not stagewright-opt --verify-parallel 2>&1 | FileCheck %s --check-prefix=CASE2
// CASE2: error: does not share "partials/fc1.bias", which a stage makes for all
// RUN: sed 's/plan.shared "partials.fc2.weight" : tensor<1xf64> from 1/plan.shared "partials\/fc2.weight" : tensor<1xf64> from 0/' %t | not stagewright-opt --verify-parallel 2>&1 | FileCheck %s --check-prefix=CASE3
// CASE3: error: "partials/fc2.weight" has not stage 0 alone for its producer
// RUN: sed 's/plan.shared "losses" : tensor<2xf32>/plan.shared "losses" : tensor<3xf32>/' %t | not stagewright-opt --verify-parallel 2>&1 | FileCheck %s --check-prefix=CASE4
// CASE4: error: "losses" has not stage 1 alone for its producer, or another type there
// RUN: sed 's/plan.shared "loss" : tensor<1xf64> from 1/plan.shared "loss" : tensor<1xf64> from 7/' %t | not stagewright-opt --verify-parallel 2>&1 | FileCheck %s --check-prefix=CASE5
// CASE5: error: is shared twice or by no stage
// RUN: sed 's/^\( *plan.shared "loss" .*\)$/\1\n\1/' %t | not stagewright-opt --verify-parallel 2>&1 | FileCheck %s --check-prefix=CASE6
// CASE6: error: is shared twice or by no stage
// RUN: sed 's/plan.function norm/plan.function model/' %t | not stagewright-opt --verify-parallel 2>&1 | FileCheck %s --check-prefix=CASE7
// CASE7: error: has no function norm or update
