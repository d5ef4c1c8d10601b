// Every value has a place where it can lie; slots are not overwritten while live.
// RUN: stagewright-opt %S/Inputs/mlp.mlir --phase-precision --phase-search --phase-partition --phase-differentiate --phase-parallel --phase-schedule --phase-memory > %t
// RUN: stagewright-opt %t --verify-memory > %t.again
// RUN: sed '/plan.placement stage(0) <send, "relu">/d' %t | not stagewright-opt --verify-memory 2>&1 | FileCheck %s --check-prefix=CASE0
// CASE0: error: uses #plan.value<send, "relu">, which has no place in memory
// RUN: sed '/plan.placement stage(0) <send, "relu">/s/pool(1)/pool(9)/' %t | not stagewright-opt --verify-memory 2>&1 | FileCheck %s --check-prefix=CASE1
// CASE1: error: puts #plan.value<send, "relu"> into pool 9
// RUN: sed '/plan.placement stage(0) <send, "relu">/s/pool(1)/pool(-1)/' %t | not stagewright-opt --verify-memory 2>&1 | FileCheck %s --check-prefix=CASE2
// CASE2: error: puts #plan.value<send, "relu"> into pool -1
// RUN: sed '/plan.placement stage(0) <send, "relu">/s/offset(0)/offset(64)/' %t | not stagewright-opt --verify-memory 2>&1 | FileCheck %s --check-prefix=CASE3
// CASE3: error: puts #plan.value<send, "relu"> outside its arena or slot
// RUN: sed '/plan.placement stage(0) <parameter, "fc1.bias">/s/offset(128)/offset(192)/' %t | not stagewright-opt --verify-memory 2>&1 | FileCheck %s --check-prefix=CASE4
// CASE4: error: puts #plan.value<parameter, "fc1.bias"> outside its arena or slot
// RUN: sed '/plan.placement stage(0) <parameter, "fc1.bias">/s/arena(0)/arena(70)/' %t | not stagewright-opt --verify-memory 2>&1 | FileCheck %s --check-prefix=CASE5
// CASE5: error: puts #plan.value<parameter, "fc1.bias"> into pool -1 of arena 70
// RUN: sed '/plan.locals stage(0) forward/d' %t | not stagewright-opt --verify-memory 2>&1 | FileCheck %s --check-prefix=CASE6
// CASE6: error: needs one plan.locals, but has 0
// RUN: sed '/command.scalar "learning_rate"/d' %t | not stagewright-opt --verify-memory 2>&1 | FileCheck %s --check-prefix=CASE8
// CASE8: error: uses #plan.value<scalar, "learning_rate">, which has no place in memory
// RUN: sed '/command.scalar "losses"/d' %t | not stagewright-opt --verify-memory 2>&1 | FileCheck %s --check-prefix=CASE9
// CASE9: error: has no cell of type 'tensor<2xf32>' for the shared value "losses"
// RUN: sed 's/s0.send-I\(.*\)train \[0, 1\]/s0.send-I\1train [0, 0]/' %t | not stagewright-opt --verify-memory 2>&1 | FileCheck %s --check-prefix=CASE10
// CASE10: error: {{.*}}the task writes slot 0 while micro-batch 0 still needs what it holds
// RUN: sed 's/live(0, 2)/live(0, 20)/' %t | not stagewright-opt --verify-memory 2>&1 | FileCheck %s --check-prefix=CASE11
// CASE11: error: 'command.pool' op lives between tasks that do not exist
// RUN: sed 's/slots(2 x 128)/slots(2 x 9223372036854775807)/' %t | not stagewright-opt --verify-memory 2>&1 | FileCheck %s --check-prefix=CASE12
// CASE12: error: 'command.pool' op lies outside its arena
// RUN: sed 's/command.rank 1/command.rank 3/' %t | not stagewright-opt --verify-memory 2>&1 | FileCheck %s --check-prefix=CASE13
// CASE13: error: is out of place: an executable holds command.rank 0, 1, 2, ...
// RUN: sed 's/command.executable "host"/command.executable "cuda"/' %t | not stagewright-opt --verify-memory 2>&1 | FileCheck %s --check-prefix=CASE14
// CASE14: error: is not for the target "host"
// RUN: sed '/layer.loss/d' %t | not stagewright-opt --verify-memory 2>&1 | FileCheck %s --check-prefix=CASE15
// CASE15: error: needs one layer.loss
// RUN: sed '/plan.mesh/d' %t | not stagewright-opt --verify-memory 2>&1 | FileCheck %s --check-prefix=CASE16
// CASE16: error: needs one plan.mesh
// RUN: sed 's/offsets \[0, 64, 128\]/offsets [0]/' %t | not stagewright-opt --verify-memory 2>&1 | FileCheck %s --check-prefix=CASE50
// CASE50: error: gives 1 offsets for 3 local buffers
// RUN: sed 's/offsets \[0, 64, 128\]/offsets [0, 0, 128]/' %t | not stagewright-opt --verify-memory 2>&1 | FileCheck %s --check-prefix=CASE51
// CASE51: error: has buffers outside their arena or over each other
// RUN: sed 's/offsets \[0, 64, 128\]/offsets [0, 640, 128]/' %t | not stagewright-opt --verify-memory 2>&1 | FileCheck %s --check-prefix=CASE52
// CASE52: error: has buffers outside their arena or over each other
// RUN: sed '/plan.placement stage(1) <saved, "\/loss\/softmax_cross_entropy:2">/s/offset(64)/offset(0)/' %t | not stagewright-opt --verify-memory 2>&1 | FileCheck %s --check-prefix=CASE53
// CASE53: error: puts #plan.value<saved, "/loss/softmax_cross_entropy:2"> over #plan.value<saved, "/loss/softmax_cross_entropy:1">
