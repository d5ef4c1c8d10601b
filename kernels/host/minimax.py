"""The polynomials of Math16.h: minimax fits, coefficients rounded to float one by one, lowest order first.

    python3 minimax.py        (needs mpmath; prints each polynomial, lowest order first, and its largest error)
"""
import struct

import mpmath as mp

mp.mp.prec = 120


def to_float(value):
    return mp.mpf(struct.unpack('f', struct.pack('f', float(value)))[0])


def remez(target, weight, low, high, powers):
    """Coefficients c with least max |weight(x) * (sum c_i x^powers_i - target(x))| on [low, high]."""
    count = len(powers) + 1
    points = [(low + high) / 2 - (high - low) / 2 * mp.cos(mp.pi * (i + mp.mpf(1) / 2) / count) for i in range(count)]
    grid = [(low + high) / 2 - (high - low) / 2 * mp.cos(mp.pi * i / 600) for i in range(601)]
    targets, weights = [target(x) for x in grid], [weight(x) for x in grid]
    for _ in range(12):
        rows = mp.matrix([[x ** p for p in powers] + [(-1) ** i / weight(x)] for i, x in enumerate(points)])
        solution = mp.lu_solve(rows, mp.matrix([target(x) for x in points]))
        coefficients = list(solution)[:-1]
        errors = [w * (sum(c * x ** p for c, p in zip(coefficients, powers)) - t)
                  for x, t, w in zip(grid, targets, weights)]
        # One point of largest error for each run of equal signs.
        runs = []
        for x, e in zip(grid, errors):
            if runs and (runs[-1][1] > 0) == (e > 0):
                if abs(e) > abs(runs[-1][1]):
                    runs[-1] = (x, e)
            else:
                runs.append((x, e))
        while len(runs) > count:
            runs.pop(0 if abs(runs[0][1]) < abs(runs[-1][1]) else -1)
        if len(runs) < count:
            break
        points = [x for x, _ in runs]
    return coefficients


def fit(name, target, weight, low, high, degree):
    low, high = mp.mpf(low), mp.mpf(high)
    rounded = []
    for i in range(degree + 1):
        known = list(rounded)
        rest = lambda x: target(x) - sum(c * x ** p for p, c in enumerate(known))
        rounded.append(to_float(remez(rest, weight, low, high, list(range(i, degree + 1)))[0]))
    worst = max(abs(weight(x) * (sum(c * x ** p for p, c in enumerate(rounded)) - target(x)))
                for x in (low + (high - low) * i / 5000 for i in range(5001)))
    print(f'{name}: error 2^{float(mp.log(worst, 2)):.1f}')
    print('   ', ', '.join(f'{float(c):.9g}f' for c in rounded))


# Taylor around 0 where the quotients are 0/0.
def near_zero(quotient, series):
    return lambda x: series(x) if abs(x) < mp.mpf('1e-6') else quotient(x)


half_log2 = mp.log(2) / 2
fit('exp(r) = 1 + r + r^2 q(r)', near_zero(lambda r: (mp.expm1(r) - r) / r ** 2, lambda r: mp.mpf(1) / 2 + r / 6),
    lambda r: max(r ** 2, mp.mpf('1e-4')) / mp.exp(r), -half_log2 * 1.002, half_log2 * 1.002, 4)
fit('log(1+f) = f - f^2/2 + f^3 q(f)',
    near_zero(lambda f: (mp.log1p(f) - f + f ** 2 / 2) / f ** 3, lambda f: mp.mpf(1) / 3 - f / 4),
    lambda f: max(abs(f ** 3 / mp.log1p(f)), mp.mpf('1e-4')) if f else mp.mpf('1e-4'),
    mp.sqrt(0.5) - 1, mp.sqrt(2) - 1, 8)
fit('tanh(x) = x + x^3 q(x^2)', near_zero(lambda s: (mp.tanh(mp.sqrt(s)) / mp.sqrt(s) - 1) / s,
                                         lambda s: -mp.mpf(1) / 3 + 2 * s / 15),
    lambda s: max(s, mp.mpf('1e-3')), 0, 0.625 ** 2, 5)
fit('erf(x) = x + x q(x^2)', near_zero(lambda s: mp.erf(mp.sqrt(s)) / mp.sqrt(s) - 1,
                                      lambda s: 2 / mp.sqrt(mp.pi) * (1 - s / 3) - 1),
    lambda s: mp.mpf(1), 0, 0.93 ** 2, 5)
fit('erf(t) = 1 - exp(-t - t q(t))', lambda t: (-mp.log(mp.erfc(t)) - t) / t,
    lambda t: t * mp.erfc(t), 0.92, 4.0, 7)
