"""Goldens.inc: what PyTorch computes for a few numbers, in fp32 and fp64, as C++ initializers.

    python3 make_goldens.py > Goldens.inc        (needs torch; made with 2.15.0)
"""
import math

import torch

PARAM = [0.5, -1.25, 3.0, 0.0, 1e-3, -0.75, 2.0, 10.0]
GRADS = [[0.1, -0.2, 0.3, 0.0, 1e-4, 5.0, -7.0, 0.25], [-0.1, 0.4, 0.3, 1.0, -1e-4, 5.0, 6.0, -0.5],
         [0.2, 0.4, -0.6, 0.01, 1e-6, -5.0, 1.0, 0.125]]
RATE = 0.0625


def number(x):
    return 'kNaN' if math.isnan(x) else ('-' if x < 0 else '') + 'kInf' if math.isinf(x) else repr(float(x))


def row(values):
    return '{' + ', '.join(number(v) for v in values) + '}'


def train(make, dtype):
    p = torch.tensor(PARAM, dtype=dtype, requires_grad=True)
    optimizer = make([p])
    for grad in GRADS:
        p.grad = torch.tensor(grad, dtype=dtype)
        optimizer.step()
    return p.detach().tolist()


print('// Made by make_goldens.py. Do not edit.')
print(f'const std::vector<double> kParam = {row(PARAM)};')
print(f'const std::vector<std::vector<double>> kGrads = {{{", ".join(row(g) for g in GRADS)}}};')
print(f'constexpr double kRate = {RATE};')
print('// kernel, attributes, parameters after three steps in fp32 and in fp64')
print('const OptimizerGolden kOptimizers[] = {')
integer, real = (lambda name, v: f'{{"{name}", std::int64_t({int(v)})}}'), (lambda name, v: f'{{"{name}", {v!r}}}')
for options in ({}, {'weight_decay': 0.1}, {'momentum': 0.9}, {'momentum': 0.9, 'dampening': 0.5, 'weight_decay': 0.01},
                {'momentum': 0.8, 'nesterov': True}):
    make = lambda ps: torch.optim.SGD(ps, lr=RATE, **options)
    attributes = ', '.join((integer if k == 'nesterov' else real)(k, v) for k, v in options.items())
    print(f'    {{"sgd", {{{attributes}}}, {row(train(make, torch.float32))},\n     {row(train(make, torch.float64))}}},')
for decoupled in (False, True):
    for options in ({}, {'weight_decay': 0.1}, {'betas': (0.5, 0.75), 'eps': 1e-3, 'weight_decay': 0.01}):
        full = {'weight_decay': 0.0, **options}
        make = lambda ps: (torch.optim.AdamW if decoupled else torch.optim.Adam)(ps, lr=RATE, **full)
        attributes = [integer('decoupled', decoupled), real('weight_decay', full['weight_decay'])]
        if 'betas' in full:
            attributes += [real('beta1', full['betas'][0]), real('beta2', full['betas'][1]), real('epsilon', full['eps'])]
        print(f'    {{"adam", {{{", ".join(attributes)}}}, {row(train(make, torch.float32))},\n'
              f'     {row(train(make, torch.float64))}}},')
for options in ({}, {'lr_decay': 0.25, 'weight_decay': 0.1}):
    make = lambda ps: torch.optim.Adagrad(ps, lr=RATE, **options)
    attributes = ', '.join(real(k, v) for k, v in options.items())
    print(f'    {{"adagrad", {{{attributes}}}, {row(train(make, torch.float32))},\n'
          f'     {row(train(make, torch.float64))}}},')
print('};')

inf, nan = math.inf, math.nan
X = [0.0, -0.0, 0.5, -0.5, 1.0, -3.0, 5.5, -5.5, 30.0, -30.0, inf, -inf, nan]
F = torch.nn.functional
print(f'const std::vector<double> kActivationInputs = {row(X)};')
print('// kernel, gradient kernel, whether the gradient takes the result, attributes, result and gradient (of 2) in fp32')
print('const ActivationGolden kActivations[] = {')
for name, f, of_result, attributes in (
        ('relu', torch.relu, True, ''), ('tanh', torch.tanh, True, ''), ('gelu', F.gelu, False, ''),
        ('gelu', lambda x: F.gelu(x, approximate='tanh'), False, '{"approximate", std::string("tanh")}'),
        ('silu', F.silu, False, ''), ('sigmoid', torch.sigmoid, True, '')):
    x = torch.tensor(X, requires_grad=True)
    y = f(x)
    y.backward(torch.full_like(y, 2.0))
    print(f'    {{"{name}", "{name}_grad", {str(of_result).lower()}, {{{attributes}}},\n     {row(y.tolist())},\n'
          f'     {row(x.grad.tolist())}}},')
print('};')

x = torch.tensor([0.0, 0.5, -3.0, 30.0, -30.0, 100.0, -100.0, 5.5], requires_grad=True)
target = torch.tensor([0.0, 1.0, 0.25, 1.0, 1.0, 0.0, 0.0, 0.5])
loss = F.binary_cross_entropy_with_logits(x, target)
loss.backward()
print(f'const std::vector<double> kBceInputs = {row(x.tolist())}, kBceTargets = {row(target.tolist())};')
print(f'const std::vector<double> kBceGrad = {row(x.grad.tolist())};')
print(f'constexpr double kBce = {loss.item()!r};')

LOGITS = [[1.0, -2.0, 0.5, 3.0], [100.0, 99.0, -100.0, 0.0], [0.1, 0.2, 0.3, 0.4]]
LABELS = [3, 1, 0]
print(f'const std::vector<double> kLogits = {row(torch.tensor(LOGITS).flatten().tolist())}, kLabels = {row(LABELS)};')
print('// attributes, loss, gradient')
print('const CrossEntropyGolden kCrossEntropies[] = {')
for options in ({}, {'label_smoothing': 0.1}, {'ignore_index': 1}, {'ignore_index': 0, 'label_smoothing': 0.25}):
    logits = torch.tensor(LOGITS, requires_grad=True)
    loss = F.cross_entropy(logits, torch.tensor(LABELS), **options)
    loss.backward()
    attributes = ', '.join((integer if k == 'ignore_index' else real)(k, v) for k, v in options.items())
    print(f'    {{{{{attributes}}}, {loss.item()!r},\n     {row(logits.grad.flatten().tolist())}}},')
print('};')
