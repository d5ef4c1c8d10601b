// What the file holds, and nothing else.
// RUN: stagewright-opt %S/Inputs/mlp.mlir --phase-precision --phase-search --phase-partition --phase-differentiate --phase-parallel --phase-schedule --phase-memory --phase-lower > %t
// RUN: stagewright-opt %t --verify-lower > %t.again
// RUN: sed '/plan.mesh/d' %t | not stagewright-opt --verify-lower 2>&1 | FileCheck %s --check-prefix=CASE0
// CASE0: error: needs one plan.mesh
// RUN: sed '/layer.loss/d' %t | not stagewright-opt --verify-lower 2>&1 | FileCheck %s --check-prefix=CASE1
// CASE1: error: needs one layer.loss
// RUN: sed 's/command.placement "fc1.bias" ""/command.placement "fc9.bias" ""/' %t | not stagewright-opt --verify-lower 2>&1 | FileCheck %s --check-prefix=CASE2
// CASE2: error: places the parameter fc9.bias, which is not declared
// RUN: sed 's/^\( *\)command.transfer 4\(.*\)pool([0-9]*)/\1command.transfer 4\2pool(17)/' %t | not stagewright-opt --verify-lower 2>&1 | FileCheck %s --check-prefix=CASE3
// CASE3: error: 'command.transfer' op names a pool, an arena or a task that the rank does not have
// RUN: sed 's/^\( *\)\(command.arena "parameters".*\)$/\1plan.locals stage(0) forward arena(0) offsets [] workspace(0)\n\1\2/' %t | not stagewright-opt --verify-lower 2>&1 | FileCheck %s --check-prefix=CASE4
// CASE4: error: is left, and the file cannot hold it
// RUN: sed 's/\(command.arena "shared" class(7) bytes(\)192/\1-64/' %t | not stagewright-opt --verify-lower 2>&1 | FileCheck %s --check-prefix=CASE5
// CASE5: error: 'command.arena' op has an impossible size
// RUN: sed 's/^  plan.choice/  plan.shared "loss" : tensor<1xf64> from 0\n  plan.choice/' %t | not stagewright-opt --verify-lower 2>&1 | FileCheck %s --check-prefix=CASE6
// CASE6: error: these ops have no place behind the phase lower: plan.shared (1)
