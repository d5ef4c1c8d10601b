"""OpGoldens.inc: ops and arguments that the other make_*_goldens.py leave out, by what PyTorch computes in fp64.

    python3 make_op_goldens.py > OpGoldens.inc        (needs torch and numpy; made with 2.15.0)
"""
import pathlib
import sys

import torch

from golden_calls import begin, eighths, end, golden

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / 'goldens'))
from stagewright_random import RandomNumbers  # noqa: E402

F = torch.nn.functional
zeros = torch.zeros_like


def tensor(*shape, seed=0):
    return eighths(*shape, seed=seed).double().requires_grad_()


def of(y, *inputs, seed=9):
    """A gradient of y, and the gradients that it gives."""
    g = tensor(*y.shape, seed=seed).detach()
    return [g, *torch.autograd.grad(y, inputs, g)]


def linear():
    x, w, b = tensor(4, 5), tensor(3, 5, seed=1), tensor(3, seed=2)
    forward, backward = (F.pad(t, (0, 32 - t.shape[1])).flatten().detach() for t in (w.t(), w))
    y = F.linear(x, w, b)
    g, dx, dw, db = of(y, x, w, b)
    golden('linear', [x, forward, zeros(y), b], {2: y})
    golden('linear', [x, forward, zeros(y)], {2: F.linear(x, w)})
    golden('linear_input_grad', [g, backward, zeros(x)], {2: dx})
    golden('linear_weight_grad', [g, x, w], {2: w + dw})
    golden('bias_grad', [g, b], {1: b + db})
    thirds = w.detach() / 3
    for dtype, name in ((None, 'f32'), (torch.float16, 'f16'), (torch.bfloat16, 'bf16')):
        rounded = thirds if dtype is None else thirds.float().to(dtype).double()
        for kernel, t in (('pack_linear_forward', rounded.t()), ('pack_linear_input_grad', rounded)):
            packed = F.pad(t, (0, 32 - t.shape[1])).flatten()
            golden(kernel, [thirds, zeros(packed)], {1: packed}, round=name)
        golden('pack_conv2d_forward', [thirds.reshape(3, 5, 1, 1), zeros(rounded).flatten()], {1: rounded}, round=name)
        golden('pack_conv2d_input_grad', [thirds.reshape(3, 5, 1, 1), zeros(rounded).flatten()], {1: rounded.t()}, round=name)


def matmul():
    a, b = tensor(2, 3, 4), tensor(2, 4, 5, seed=1)
    golden('matmul', [a, b, zeros(a @ b)], {2: a @ b})
    golden('matmul_nt', [a, b.mT.contiguous(), zeros(a @ b)], {2: a @ b})
    golden('matmul_tn', [a.mT.contiguous(), b, zeros(a @ b)], {2: a @ b})


def activations():
    x, y = tensor(3, 5), tensor(3, 5, seed=1)
    for kernel, function, takes_result, attributes in (
            ('relu', F.relu, True, {}), ('tanh', torch.tanh, True, {}), ('sigmoid', torch.sigmoid, True, {}),
            ('gelu', F.gelu, False, {}), ('gelu', lambda t: F.gelu(t, approximate='tanh'), False, {'approximate': 'tanh'}),
            ('silu', F.silu, False, {})):
        result = function(x)
        g, dx = of(result, x)
        golden(kernel, [x, zeros(x)], {1: result}, **attributes)
        golden(kernel + '_grad', [g, result if takes_result else x, zeros(x)], {2: dx}, **attributes)
    result = F.silu(x) * y
    g, dx, dy = of(result, x, y)
    golden('swiglu', [x, y, zeros(x)], {2: result})
    golden('swiglu_grad', [g, x, y, zeros(x), zeros(y)], {3: dx, 4: dy})
    golden('copy', [x, zeros(x)], {1: x})


def arithmetic():
    a, b = tensor(3, 5), eighths(3, 5, seed=1, low=1).double()
    for kernel, function in (('add', torch.add), ('subtract', torch.sub), ('multiply', torch.mul), ('divide', torch.div)):
        golden(kernel, [a, b, zeros(a)], {2: function(a, b)})
    golden('scale', [a, zeros(a)], {1: a})
    golden('scale', [a, zeros(a)], {1: 0.75 * a - 0.5}, factor=0.75, shift=-0.5)
    golden('accumulate', [a, b], {1: a + b})
    golden('add_and_clear', [a, b], {0: zeros(a), 1: a + b})
    golden('clear', [a], {0: zeros(a)})
    golden('cast_to', [a / 3, zeros(a)], {1: a / 3})
    golden('cast_from', [a, zeros(a)], {1: a})


def movement():
    x, b = tensor(3, 4, 2), tensor(3, 1, 2, seed=1)
    y = x.permute(2, 0, 1).contiguous()
    golden('permute', [x, zeros(y)], {1: y}, dims=(2, 0, 1))
    part = x[1:3, 0:2, 1:2]
    g, dx = of(part, x)
    golden('slice', [x, zeros(part)], {1: part}, starts=(1, 0, 1))
    golden('slice_grad', [g, zeros(x)], {1: dx}, starts=(1, 0, 1))
    golden('concat', [x, b, torch.zeros(3, 5, 2)], {2: torch.cat((x, b), 1)}, dim=1)
    golden('concat', [x, b.expand(3, 4, 2).contiguous(), torch.zeros(6, 4, 2)], {2: torch.cat((x, b.expand(3, 4, 2)), 0)})
    golden('expand', [b, zeros(x)], {1: 0.75 * b.expand(3, 4, 2)}, scale=0.75)
    golden('reduce_sum', [x, zeros(b)], {1: 0.75 * x.sum(1, keepdim=True)}, scale=0.75)


def losses():
    logits, labels = tensor(6, 4), torch.tensor([1, 3, 0, 2, 2, 1])
    one, rows = torch.zeros(1), torch.tensor([6])
    for attributes in ({}, {'label_smoothing': 0.25}, {'ignore_index': 2}):
        loss = F.cross_entropy(logits, labels, **attributes)
        count = torch.tensor([float((labels != attributes.get('ignore_index', -100)).sum())])
        sums = logits.logsumexp(1)
        golden('softmax_cross_entropy', [logits, labels, rows, one, zeros(sums), one], {3: loss, 4: sums, 5: count}, **attributes)
        dlogits, = torch.autograd.grad(loss, logits)
        call = [logits, labels, sums, count, zeros(logits)]
        golden('softmax_cross_entropy_grad', call, {4: dlogits}, **attributes)
        golden('softmax_cross_entropy_grad', [*call, torch.tensor([4.0])], {4: dlogits * 2}, scale=0.5, **attributes)
    loss = F.cross_entropy(logits[:4], labels[:4])
    golden('softmax_cross_entropy', [logits, labels, torch.tensor([2]), one, zeros(sums), one], {3: loss, 4: sums, 5: [4]},
           rows_per_sample=2)
    right = logits.argmax(1) == labels
    golden('count_correct', [logits, labels, torch.tensor([5]), one], {3: right[:5].sum()})
    golden('count_correct', [logits, labels, torch.tensor([2]), one], {3: right[:4].sum()}, rows_per_sample=2)
    x, target = tensor(5, 3), eighths(5, 3, seed=1, low=0).double() / 2
    for kernel, function, scale in (('mse_loss', F.mse_loss, 2 / 15), ('bce_with_logits', F.binary_cross_entropy_with_logits, 1 / 15)):
        golden(kernel, [x, target, torch.tensor([4]), one], {3: function(x[:4], target[:4])})
        dx, = torch.autograd.grad(function(x, target), x)
        golden(kernel + '_grad', [x, target, zeros(x)], {2: dx / scale})
        golden(kernel + '_grad', [x, target, zeros(x), torch.tensor([4.0])], {2: dx * 4}, scale=scale)
    terms = x[:, 0]
    golden('append_loss', [terms, target[0, :1], torch.zeros(6)],
           {2: torch.cat((terms[:1] + target[0, :1], terms[1:], target[0, :1]))})
    golden('append_loss', [terms, target[0, :1], torch.zeros(6)],
           {2: torch.cat((terms[:1] + 0.25 * target[0, :1], terms[1:], target[0, :1]))}, weight=0.25)
    golden('mean_loss', [x[:, 0], one], {1: x[:, 0].mean()})
    golden('mean_loss', [x.reshape(-1), torch.zeros(3)], {1: x.mean(0)})
    golden('no_loss', [one + 1], {0: zeros(one)})


def vocabulary():
    """Columns of the logits and rows of the table in equal parts on ranks: cross_entropy and embedding of the whole."""
    logits, labels = tensor(6, 8), torch.tensor([1, 7, 0, 2, 5, 2])
    one, rows = torch.zeros(1), torch.tensor([6])
    for ranks in (1, 2):
        parts = logits.chunk(ranks, 1)
        columns = 8 // ranks
        statistics = torch.stack([
            torch.stack((part.logsumexp(1), part.gather(1, (labels % columns)[:, None])[:, 0] * (labels // columns == rank), part.sum(1)), 1)
            for rank, part in enumerate(parts)])
        sums = logits.logsumexp(1)
        for rank, part in enumerate(parts):
            golden('vocabulary_statistics', [part, labels, torch.tensor([rank]), zeros(statistics[rank])], {3: statistics[rank]})
        for attributes in ({}, {'label_smoothing': 0.25}, {'ignore_index': 2}):
            loss = F.cross_entropy(logits, labels, **attributes)
            count = torch.tensor([float((labels != attributes.get('ignore_index', -100)).sum())])
            golden('vocabulary_cross_entropy', [statistics, labels, rows, one, zeros(sums), one], {3: loss, 4: sums, 5: count},
                   vocabulary=8, **attributes)
            dlogits, = torch.autograd.grad(loss, logits)
            for rank, (part, dpart) in enumerate(zip(parts, dlogits.chunk(ranks, 1))):
                call = [part, labels, torch.tensor([rank]), sums, count, zeros(part)]
                golden('vocabulary_cross_entropy_grad', call, {5: dpart}, vocabulary=8, **attributes)
                golden('vocabulary_cross_entropy_grad', [*call, torch.tensor([4.0])], {5: dpart * 2}, vocabulary=8, scale=0.5, **attributes)
        loss = F.cross_entropy(logits[:4], labels[:4])
        golden('vocabulary_cross_entropy', [statistics, labels, torch.tensor([2]), one, zeros(sums), one], {3: loss, 4: sums, 5: [4]},
               vocabulary=8, rows_per_sample=2)
    ids, table = torch.tensor([5, 0, 3, 7, 3, 2]), tensor(8, 3)
    for padding in (None, 3):
        y = F.embedding(ids, table, padding_idx=padding)
        g, dtable = of(y, table)
        attributes = {} if padding is None else {'padding_idx': padding}
        for rank, (part, dpart) in enumerate(zip(table.chunk(2), dtable.chunk(2))):
            here = (ids // 4 == rank)[:, None]
            golden('embedding', [ids, part, zeros(y), torch.tensor([rank])], {2: y * here}, **attributes)
            golden('embedding_grad', [ids, g, part, torch.tensor([rank])], {2: part + dpart}, **attributes)


def optimizers():
    grad, p, m, v = (eighths(7, seed=seed).double() for seed in range(4))
    golden('gradient_norm_partials', [grad, torch.zeros(1)], {1: grad.square().sum()})
    for scale in (None, 4.0):
        for attributes in ({}, {'max_norm': 0.5}, {'max_norm': 64.0, 'skip': 1}):
            parameter = torch.zeros(7, dtype=torch.double, requires_grad=True)
            parameter.grad = grad / (scale or 1)
            bound = attributes.get('max_norm', 1.0)
            norm = torch.nn.utils.clip_grad_norm_(parameter, bound)
            coefficient = min(1.0, bound / (norm + 1e-6)) / (scale or 1)
            operands = [grad.square().sum().reshape(1), torch.zeros(1), torch.zeros(1)] + ([torch.tensor([scale])] if scale else [])
            golden('clip_coefficient', operands, {1: coefficient, 2: norm}, **attributes)
    rate, coefficient, v = torch.tensor([0.0625]), torch.tensor([0.5]), v.abs()
    g = grad * 0.5
    parameter = p.clone().requires_grad_()
    for options in ({}, {'eps': 0.125}):
        optimizer = torch.optim.Adagrad([parameter.detach().clone().requires_grad_()], lr=0.0625, **options)
        q, = optimizer.param_groups[0]['params']
        q.grad = g
        optimizer.step()
        golden('adagrad', [p, grad, rate, coefficient, torch.tensor([1]), torch.zeros(7)], {0: q, 1: zeros(p), 5: g * g},
               **({'epsilon': options['eps']} if options else {}))
    # Lion and Lamb, which torch has not: the formulas of tests/goldens/torch_training.py.
    for beta1, beta2, decay in ((0.9, 0.99, 0.0), (0.75, 0.5, 0.25)):
        direction = torch.sign(beta1 * m + (1 - beta1) * g) + decay * p
        wanted = {0: p - 0.0625 * direction, 1: zeros(p), 4: beta2 * m + (1 - beta2) * g}
        golden('lion', [p, grad, rate, coefficient, m], wanted, beta1=beta1, beta2=beta2, weight_decay=decay)
        golden('lion', [p, grad, rate, coefficient, m, torch.tensor([beta1])], wanted, beta1=0.25, beta2=beta2, weight_decay=decay)
    for changes in ({}, {'beta1': 0.75, 'beta2': 0.5, 'epsilon': 0.125, 'weight_decay': 0.25}, {'max_coeff': 0.5}, {'min_coeff': 9.0}):
        a = {'beta1': 0.9, 'beta2': 0.999, 'epsilon': 1e-8, 'weight_decay': 0.0, 'max_coeff': 10.0, 'min_coeff': 0.01} | changes
        first, second = a['beta1'] * m + (1 - a['beta1']) * g, a['beta2'] * v + (1 - a['beta2']) * g * g
        direction = first / (second.sqrt() + a['epsilon']) + a['weight_decay'] * p
        ratio = min(max(p.norm() / direction.norm(), a['min_coeff']), a['max_coeff'])
        corrections = torch.tensor([1 - a['beta1'] ** 2, 1 - a['beta2'] ** 2], dtype=torch.double)
        wanted = {0: p - 0.0625 * corrections[1].sqrt() / corrections[0] * ratio * direction, 1: zeros(p), 5: first, 6: second}
        golden('lamb', [p, grad, rate, coefficient, corrections, m, v], wanted, **changes)
        golden('lamb', [p, grad, rate, coefficient, corrections, m, v, torch.tensor([a['beta1']])], wanted, **(changes | {'beta1': 0.25}))


def rows():
    x, w = tensor(3, 5), tensor(5, seed=1)
    y = F.rms_norm(x, (5,), w, 0.125)
    golden('rms_norm', [x, zeros(x), torch.zeros(3), w], {1: y, 2: (x.square().mean(1) + 0.125).rsqrt()}, epsilon=0.125)
    ids, table = torch.tensor([3, 0, 3, 1]), tensor(4, 3)
    y = F.embedding(ids, table, padding_idx=3)
    golden('embedding', [ids, table, zeros(y)], {2: y}, padding_idx=3)
    angles = torch.outer(torch.arange(3).double(), 500.0 ** (-torch.arange(0, 4, 2).double() / 4))
    golden('rotary_table', [torch.zeros(3, 4)], {0: torch.cat((angles.cos(), angles.sin()), 1)}, base=500.0)


def signed(word):
    return word - 2**32 if word >= 2**31 else word


def dropout():
    """With the numbers of runtime/train/Random.h, of seed, step and micro-batch below."""
    RandomNumbers.seed, RandomNumbers.step, RandomNumbers.micro_batch = 0x9E3779B97F4A7C15, 3, 2
    random = torch.tensor([signed(RandomNumbers.seed & 0xFFFFFFFF), signed(RandomNumbers.seed >> 32), 3, 2])
    x = tensor(3, 7)
    for p, block, ordinal in ((0.5, 0, 0), (0.25, 5, 6)):
        factors = RandomNumbers.factors(21, block, ordinal, p).reshape(3, 7)
        golden('dropout', [x, random, zeros(x)], {2: x * factors}, p=p, block=block, ordinal=ordinal)
    for options, masked in (({}, False), ({'causal': 1}, False), ({'scale': 0.75, 'p': 0.25, 'block': 5, 'ordinal': 6}, True)):
        q, k, v = (tensor(2, 4, heads, 3, seed=seed) for heads, seed in ((4, 0), (2, 1), (2, 2)))
        mask = torch.tensor([[1, 0, 1, 1], [0, 0, 1, 0]])
        heads = [t.transpose(1, 2).repeat_interleave(4 // t.shape[2], 1) for t in (q, k, v)]
        scores = heads[0] @ heads[1].mT * options.get('scale', 3 ** -0.5)
        if 'causal' in options:
            scores = scores.masked_fill(torch.ones(4, 4).triu(1).bool(), -torch.inf)
        if masked:
            scores = scores.masked_fill(mask[:, None, None] == 0, -torch.inf)
        # Rows of probabilities count with a length rounded up to 64.
        factors = RandomNumbers.factors(2 * 4 * 4 * 64, options.get('block', 0), options.get('ordinal', 0), options.get('p', 0.5))
        y = (scores.softmax(-1) * factors.reshape(2, 4, 4, 64)[..., :4] @ heads[2]).transpose(1, 2)
        g, dq, dk, dv = of(y, q, k, v)
        sums, extra = scores.logsumexp(-1) / options.get('scale', 3 ** -0.5), [random, *([mask] if masked else [])]
        golden('attention_dropout', [q, k, v, zeros(y), zeros(sums), *extra], {3: y, 4: sums}, **options)
        golden('attention_dropout_grad', [g, q, k, v, y, sums, zeros(q), zeros(k), zeros(v), *extra], {6: dq, 7: dk, 8: dv}, **options)


begin('make_op_goldens.py')
for family in (linear, matmul, activations, arithmetic, movement, losses, vocabulary, optimizers, rows, dropout):
    family()
end()
