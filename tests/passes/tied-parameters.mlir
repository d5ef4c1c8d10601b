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
// RUN: sed 's/stages = 1/stages = 2/' %S/Inputs/tied.mlir | not stagewright-opt --phase-import --phase-precision --phase-search 2>&1 | FileCheck %s --check-prefix=APART
// APART: the layers wte and head share the parameter wte.weight, but lie on stages 0 and 1 of this partition
// APART: cut the model outside of blocks 0 to 1
// RUN: sed 's/index(1)/index(2)/' %S/Inputs/tied.mlir | not stagewright-opt --phase-import 2>&1 | FileCheck %s --check-prefix=INDEX
// RUN: sed '/parameter_use/d; s/%u/%w/g' %S/Inputs/tied.mlir | not stagewright-opt --phase-import 2>&1 | FileCheck %s --check-prefix=INDEX
// INDEX: reading 2 of parameter wte.weight is not marked as use 1
