"""What the make_*_goldens.py of layers share: calls of kernels with PyTorch's results, as C++ initializers."""
import torch


def number(x):
    x = float(x)
    return 'kNaN' if x != x else ('-' if x < 0 else '') + 'kInf' if x in (float('inf'), -float('inf')) else repr(x)


def row(values):
    return '{' + ', '.join(number(v) for v in values) + '}'


def attribute(name, value):
    if isinstance(value, (list, tuple)):
        return f'{{"{name}", std::vector<std::int64_t>{{{", ".join(map(str, value))}}}}}'
    if isinstance(value, str):
        return f'{{"{name}", std::string("{value}")}}'
    return f'{{"{name}", {value!r}}}' if isinstance(value, float) else f'{{"{name}", std::int64_t({int(value)})}}'


def eighths(*shape, seed=0, low=-16):
    """Random multiples of 1/8 between low/8 and 2."""
    generator = torch.Generator().manual_seed(seed + sum(shape))
    return torch.randint(low, 17, shape, generator=generator).float() / 8


def begin(script):
    print(f'// Made by {script}. Do not edit.')
    print('// kernel, attributes, shapes, operands before the call, operands after it (empty: not compared)')
    print('const GoldenCall kCalls[] = {')


def golden(kernel, operands, results, /, **attributes):
    """operands: tensors in the kernel's order; results: {operand number: PyTorch's tensor}."""
    flat = lambda values: torch.as_tensor(values).flatten().tolist()
    shapes = ', '.join('{' + ', '.join(map(str, t.shape)) + '}' for t in operands)
    print(f'    {{"{kernel}", {{{", ".join(attribute(*a) for a in attributes.items())}}}, {{{shapes}}},')
    print('     {' + ',\n      '.join(row(flat(t)) for t in operands) + '},')
    print('     {' + ',\n      '.join(row(flat(results[i])) if i in results else '{}'
                                      for i in range(len(operands))) + '}},')


def end():
    print('};')
