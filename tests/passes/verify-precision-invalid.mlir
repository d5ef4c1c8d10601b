// One plan.precision, and every parameter of its master type.
// RUN: stagewright-opt %S/Inputs/mlp.mlir --phase-precision > %t
// RUN: stagewright-opt %t --verify-precision > %t.again
// RUN: sed '/plan.precision/d' %t | not stagewright-opt --verify-precision 2>&1 | FileCheck %s --check-prefix=CASE0
// CASE0: error: needs one plan.precision behind the phase precision, but has 0
// RUN: sed 's/master(f32)/master(f64)/' %t | not stagewright-opt --verify-precision 2>&1 | FileCheck %s --check-prefix=CASE1
// CASE1: error: is not of the master type 'f64'
// RUN: sed '/plan.settings/d' %t | not stagewright-opt --verify-precision 2>&1 | FileCheck %s --check-prefix=CASE2
// CASE2: error: needs one plan.settings
// RUN: sed '/layer.loss/d' %t | not stagewright-opt --verify-precision 2>&1 | FileCheck %s --check-prefix=CASE3
// CASE3: error: 'layer.model' op must end in a yield of the loss
// RUN: sed 's/compute(f32)/compute(bf16)/' %t | not stagewright-opt --verify-precision 2>&1 | FileCheck %s --check-prefix=CASE4
// CASE4: error: 'layer.linear' op computes with 'tensor<4x6xf32>', but the compute type is 'bf16'
// RUN: sed 's/compute(f32)/compute(f16)/' %t | not stagewright-opt --verify-precision 2>&1 | FileCheck %s --check-prefix=CASE5
// CASE5: error: computes in f16 and has no plan.loss_scale
