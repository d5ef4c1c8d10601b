// RUN: stagewright-opt %S/Inputs/tied.mlir --phase-import --phase-precision --phase-search --phase-partition --phase-differentiate --insert-update --verify-parallel | FileCheck %s
// The table is read as it is and packed for the head; each use has a sum of its own, and the tokens have no gradient.
// CHECK: plan.function prepare([#plan.value<parameter, "wte.weight">]) -> [#plan.value<derived, "wte.weight/forward">
// CHECK: plan.function forward({{.*}}#plan.value<input, "tokens">
// CHECK: plan.function backward_weight({{.*}}) -> [#plan.value<accumulator, "wte.weight">, #plan.value<accumulator, "wte.weight/1">]
// CHECK-DAG: layer.embedding_grad
// CHECK-DAG: layer.linear_weight_grad
// The second sum moves into the first, of which the norm is taken once; one update.
// CHECK: plan.function norm({{.*}}) -> [#plan.value<accumulator, "wte.weight/1">, #plan.value<accumulator, "wte.weight">, #plan.value<shared, "partials/wte.weight">
// CHECK: %{{.*}}, %[[SUM:.*]] = layer.add_and_clear %arg1, %arg0
// CHECK-NEXT: layer.gradient_norm_partials %[[SUM]]
// CHECK-NOT: layer.gradient_norm_partials
// CHECK: layer.adam
// CHECK-NOT: layer.adam
// On two stages the one of the first use owns the parameter; the other sends its sum, receives the new weights and clears.
// RUN: sed 's/stages = 1/stages = 2/' %S/Inputs/tied.mlir | stagewright-opt --phase-import --phase-precision --phase-search --phase-partition --phase-differentiate --phase-parallel --phase-schedule > %t
// RUN: FileCheck %s --check-prefix=APART < %t
// APART: plan.shared "partials/wte.weight" : tensor<1xf64> from 0
// APART: plan.stage 0
// APART: plan.function backward_weight({{.*}}) -> [#plan.value<accumulator, "wte.weight">]
// APART: plan.function norm([#plan.value<accumulator, "wte.weight">, #plan.value<accumulator, "wte.weight/1">])
// APART: layer.add_and_clear
// APART: layer.adam
// APART: plan.stage 1
// APART: plan.function backward_weight({{.*}}) -> [#plan.value<accumulator, "wte.weight/1">]
// APART: plan.function norm([#plan.value<shared, "losses">])
// APART: plan.function update({{.*}}) -> [{{.*}}#plan.value<accumulator, "wte.weight/1">]
// APART-NOT: layer.adam
// APART: layer.clear
// APART: plan.rank 0 train(<"{{.*}}0RECV_SUM1, 0B1, 0NORM, ALL_GATHER, 0UPDATE, 0SEND_WEIGHT1">)
// APART: plan.rank 1 train(<"{{.*}}1B1, 1SEND_B1, 1SEND_SUM0, 1NORM, ALL_GATHER, 1RECV_WEIGHT0, 1UPDATE">)
// RUN: sed 's/0RECV_SUM1, //; s/, 0SEND_WEIGHT1//; s/1SEND_SUM0, //; s/1RECV_WEIGHT0, //' %t | not stagewright-opt --verify-schedule 2>&1 | FileCheck %s --check-prefix=ALONE
// ALONE: exchanges the parameters of other stages than those that share some
// RUN: sed '/plan.schedule/,/^  }/d; /layer.clear/d; s/, #plan.value<accumulator, "wte.weight\/1">\] {$/] {/; s/return %coefficient, %norm, %0 : tensor<1xf32>, tensor<1xf64>, tensor<5x6xf32>/return %coefficient, %norm : tensor<1xf32>, tensor<1xf64>/' %t | not stagewright-opt --verify-parallel 2>&1 | FileCheck %s --check-prefix=UNCLEARED
// UNCLEARED: does not add the gradient sum wte.weight/1, or its stage does not clear it
// RUN: stagewright-opt --phase-memory --phase-lower %t | FileCheck %s --check-prefix=MOVED
// MOVED: command.transfer 13 stage(0) peer(1) pool(-1) offset([[AT:.*]]) bytes(120) arena({{.*}}) partner(1)
// MOVED: command.transfer 14 stage(0) peer(1) pool(-1) offset(0) bytes(120) arena(0) partner(1)
// MOVED: command.transfer 12 stage(1) peer(0) pool(-1) offset(0) bytes(120) arena({{.*}}) partner(0)
// MOVED: command.transfer 15 stage(1) peer(0) pool(-1) offset(0) bytes(120) arena(0) partner(0)
// RUN: sed 's/index(1)/index(2)/' %S/Inputs/tied.mlir | not stagewright-opt --phase-import 2>&1 | FileCheck %s --check-prefix=INDEX
// RUN: sed '/parameter_use/d; s/%u/%w/g' %S/Inputs/tied.mlir | not stagewright-opt --phase-import 2>&1 | FileCheck %s --check-prefix=INDEX
// INDEX: reading 2 of parameter wte.weight is not marked as use 1
