"""The page docs/benchmarks.md: tables and plots, and whether the figures are as promised."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

__all__ = ['checks', 'tables', 'write']

OURS = 'DataInStreamBuffer'
FIXED = 'fixed beat'
LIMIT = 'memcpy limit'
BY_HAND = ('queue.Queue', 'pyzmq PUB/SUB')
STYLES = {OURS: 'o-', FIXED: 's--', BY_HAND[0]: '^:', BY_HAND[1]: 'v:', LIMIT: '-'}
COLOURS = {
    OURS: 'tab:blue',
    FIXED: 'tab:gray',
    BY_HAND[0]: 'tab:orange',
    BY_HAND[1]: 'tab:green',
    LIMIT: 'black',
    'device directly': 'tab:purple',
}

Check = tuple[str, str, str, bool]  # what, measured, limit, whether it is kept

# What the page shows of many `max_poll_rate` and many consumers; the plots show all
SHOWN_RATES = ('30', '100')
SHOWN_COUNTS = ('1', '16', '64')


# -------------------------------------------------------------------- what must show


def checks(report: dict) -> list[dict]:
    """Compare the figures with what is promised. Times of a quick run are not judged."""
    found = []
    for name, check in _CHECKS.items():
        if name in report['results']:
            for what, measured, limit, kept in check(report['results'][name]):
                verdict = 'not judged' if report['quick'] else 'yes' if kept else 'no'
                found.append({'what': what, 'measured': measured, 'limit': limit, 'kept': verdict})
    return found


def _check_latency(latency: dict) -> Iterator[Check]:
    limits = (
        ('1 kS/s, reads of 20', '100', {'50': 0.8, '99': 6}),
        ('1 kS/s, reads of 10', '100', {'50': 1.5}),
        ('1 kS/s, reads of 10', '500', {'50': 0.6}),
    )
    for load, rate, percentiles in limits:
        figures = latency[load].get(rate)
        if figures is None:
            continue
        where = f'{load}, {rate} polls/s: '
        ours = figures[OURS]
        for percentile, limit in percentiles.items():
            value = 1e3 * ours[percentile]
            name = 'median latency' if percentile == '50' else f'{percentile}th percentile'
            what = f'{where}{name}'
            yield what, f'{value:.2f} ms', f'{limit} ms', value <= limit
        ratio = ours['50'] / figures[FIXED]['50']
        yield f'{where}median over fixed beat', f'{ratio:.2f}', '0.25', ratio <= 0.25
    cases = [figures for rates in latency.values() for figures in rates.values()]
    for other in BY_HAND:
        ahead = sum(figures[OURS]['50'] < figures[other]['50'] for figures in cases)
        what = f'median latency below {other}'
        yield what, f'{ahead} cases', f'all {len(cases)}', ahead == len(cases)


def _check_polls(polls: dict) -> Iterator[Check]:
    beats = [(float(rate), beat) for rates in polls.values() for rate, beat in rates.items()]
    most = max(beat['most'] / rate for rate, beat in beats)
    yield 'most polls in any second over `max_poll_rate`', f'{most:.2f}', '1', most <= 1
    intervals = [rate * beat['shortest'] for rate, beat in beats if beat['shortest'] is not None]
    shortest = min(intervals)
    what = 'shortest interval between polls times `max_poll_rate`'
    yield what, f'{shortest:.2f}', 'at least 0.5', shortest >= 0.5


def _check_everyday(everyday: dict) -> Iterator[Check]:
    load = '1 kS/s, 20 reads/s, 100 polls/s'
    ours, fixed = everyday[load][OURS], everyday[load][FIXED]
    yield f'{load} at most: polls', f'{ours["polls"]:.1f} /s', '45 /s', ours['polls'] <= 45
    less = ours['cpu'] < fixed['cpu']
    limit = f'{fixed["cpu"]:.2f} % (fixed beat)'
    yield f'{load} at most: CPU', f'{ours["cpu"]:.2f} %', limit, less


def _check_cpu(cpu: dict) -> Iterator[Check]:
    for consumers in ('1', '2', '4'):
        ratio = cpu[consumers][OURS]['ratio']
        what = f'CPU per GB over {LIMIT}, consumers: {consumers}'
        yield what, f'{ratio:.2f}', '1.15', ratio <= 1.15
    for other in BY_HAND:
        several = [costs for consumers, costs in cpu.items() if consumers != '1']
        ratio = max(costs[OURS]['seconds'] / costs[other]['seconds'] for costs in several)
        what = f'CPU per GB over {other}, 2 and more consumers'
        yield what, f'up to {ratio:.2f}', 'below 1', ratio < 1


def _check_consumers(consumers: dict) -> Iterator[Check]:
    last = 1e6 * consumers['last']
    yield 'a 64th consumer, per poll', f'{last:.1f} µs', '10 µs', last <= 10


def _check_large(large: dict) -> Iterator[Check]:
    ours = large[OURS]
    more = 1e3 * (ours['beside a large read'] - ours['alone'])
    yield 'worst read beside a large read, above that alone', f'{more:.0f} ms', '50 ms', more <= 50


def _check_frames(frames: dict) -> Iterator[Check]:
    ratio = frames[OURS]['ratio']
    yield 'a frame of start, read and stop, over direct', f'{ratio:.2f}', '1.25', ratio <= 1.25


def _check_blocks(blocks: dict) -> Iterator[Check]:
    # The worst directly is that a block has just been missed; a poll comes an interval later
    value, limit = 1e3 * blocks[OURS]['99'], 20 + 1000 / 30 + 5
    what = 'age of the newest sample in blocks of 20 ms at 30 polls/s, 99th percentile'
    yield what, f'{value:.0f} ms', f'{limit:.0f} ms', value <= limit


def _check_memory(memory: dict) -> Iterator[Check]:
    full = memory['full']
    yield 'memory per buffer, in rings', f'{full:.3f}', '1.02', full <= 1.02


_CHECKS: dict[str, Callable[[dict], Iterator[Check]]] = {
    'latency': _check_latency,
    'polls': _check_polls,
    'everyday': _check_everyday,
    'cpu': _check_cpu,
    'consumers': _check_consumers,
    'memory': _check_memory,
    'large': _check_large,
    'frames': _check_frames,
    'blocks': _check_blocks,
}


# -------------------------------------------------------------------- tables


def tables(report: dict) -> dict[str, str]:
    """Return the tables in Markdown, by the name of their place on the page."""
    facts = {'command': f'`{report["command"]}`', 'date': report['date'], **report['machine']}
    found = {
        'machine': _table(['', ''], facts.items()),
        'checks': _table(
            ['what', 'measured', 'limit', 'kept'], [check.values() for check in report['checks']]
        ),
    }
    for name, figures in report['results'].items():
        found[name] = _table(*_TABLES[name](figures))
    return found


def _table(header: list[str], rows: Iterable[Iterable[object]]) -> str:
    lines = [header, ['---'] * len(header), *rows]
    return '\n'.join('| ' + ' | '.join(map(str, line)) + ' |' for line in lines)


def _by_contender(
    figures: dict, columns: list[str], cell: Callable[[dict], str]
) -> tuple[list[str], list]:
    """A column for each contender, the key of the row in front."""
    contenders = list(dict.fromkeys(name for row in figures.values() for name in row))
    rows = [
        [*key, *(cell(row[name]) if name in row else '' for name in contenders)]
        for key, row in ((k if isinstance(k, tuple) else (k,), r) for k, r in figures.items())
    ]
    return [*columns, *contenders], rows


def _latency_table(latency: dict) -> tuple[list[str], list]:
    flat = {
        (load, rate): row
        for load, rates in latency.items()
        for rate, row in rates.items()
        if rate in SHOWN_RATES
    }
    return _by_contender(
        flat,
        ['stream', '`max_poll_rate`'],
        lambda f: ' / '.join(f'{1e3 * f[name]:.3g}' for name in ('50', '99')),
    )


def _polls_table(polls: dict) -> tuple[list[str], list]:
    rows = [
        [load, f'{rates["100"]["mean"]:.1f}', rates['100']['most']]
        for load, rates in polls.items()
        if '100' in rates
    ]
    return ['stream', 'mean per second', 'most in any second'], rows


def _milliseconds(seconds: float | None) -> str:
    return '' if seconds is None else f'{1e3 * seconds:.2f}'


def _cpu_table(cpu: dict) -> tuple[list[str], list]:
    return _by_contender(
        cpu, ['consumers'], lambda cost: f'{cost["seconds"]:.3f} ({cost["ratio"]:.2f})'
    )


def _everyday_table(everyday: dict) -> tuple[list[str], list]:
    return _by_contender(
        everyday, ['load'], lambda load: f'{load["cpu"]:.2f} % ({load["polls"]:.1f})'
    )


def _rate_table(rate: dict) -> tuple[list[str], list]:
    rows = [[name, f'{value / 1e6:.3g}'] for name, value in rate.items()]
    return ['', 'MS/s on each of 2 channels'], rows


def _consumers_table(consumers: dict) -> tuple[list[str], list]:
    rows = [
        [count, f'{1e6 * seconds:.1f}']
        for count, seconds in consumers['poll'].items()
        if count in SHOWN_COUNTS
    ]
    rows.append(['a 64th more', f'{1e6 * consumers["last"]:.1f}'])
    return ['consumers', 'µs per poll'], rows


def _memory_table(memory: dict) -> tuple[list[str], list]:
    rows = [
        ['right after the start', f'{memory["started"]:.3f}'],
        ['full', f'{memory["full"]:.3f}'],
    ]
    return ['', 'memory per buffer, in rings'], rows


def _large_table(large: dict) -> tuple[list[str], list]:
    rows = [
        [name, *(_milliseconds(value) for value in row.values())] for name, row in large.items()
    ]
    return ['worst read of 20 ms (ms)', *next(iter(large.values()))], rows


def _frames_table(frames: dict) -> tuple[list[str], list]:
    rows = [
        [name, _milliseconds(row['seconds']), f'{row["ratio"]:.2f}'] for name, row in frames.items()
    ]
    return ['start, read 20 ms, stop', 'ms', 'over direct'], rows


def _blocks_table(blocks: dict) -> tuple[list[str], list]:
    rows = [
        [name, *(_milliseconds(value) for value in row.values())] for name, row in blocks.items()
    ]
    return ['age of the newest sample (ms)', *next(iter(blocks.values()))], rows


_TABLES: dict[str, Callable[[dict], tuple[list[str], list]]] = {
    'cpu': _cpu_table,
    'consumers': _consumers_table,
    'memory': _memory_table,
    'everyday': _everyday_table,
    'polls': _polls_table,
    'large': _large_table,
    'frames': _frames_table,
    'blocks': _blocks_table,
    'latency': _latency_table,
    'rate': _rate_table,
}


# -------------------------------------------------------------------- the page and its plots


def write(report: dict, template: Path, folder: Path) -> None:
    """Put tables between the markers of a page, and write it and its plots into a folder."""
    text = template.read_text(encoding='utf-8')
    broken = [list(c.values())[:3] for c in report['checks'] if c['kept'] == 'no']
    shown = {**tables(report), 'checks': _table(['what', 'measured', 'limit'], broken)}
    for name, table in shown.items():
        place = re.compile(f'(<!-- begin {name} -->\n).*?(<!-- end -->)', re.DOTALL)
        text, places = place.subn(lambda m, table=table: f'{m[1]}{table}\n{m[2]}', text)
        assert places == 1, f'{template.name} has {places} places for the table "{name}"'
    images = folder / 'images'
    images.mkdir(parents=True, exist_ok=True)
    (folder / 'benchmarks.md').write_text(text, encoding='utf-8', newline='\n')
    _plot(report['results'], images)


def _plot(results: dict, folder: Path) -> None:
    import matplotlib

    matplotlib.use('Agg')
    from matplotlib import pyplot

    plots = {'latency': _plot_latency, 'cpu': _plot_cpu, 'consumers': _plot_consumers}
    for name, plot in plots.items():
        if name in results:
            figure = plot(pyplot, results[name])
            path = folder / f'benchmark_{name}.png'
            figure.savefig(path, dpi=72, pil_kwargs={'optimize': True})
            pyplot.close(figure)


def _plot_latency(pyplot, latency: dict):
    figure, axes = pyplot.subplots(
        1, len(latency), figsize=(11, 3.8), sharey=True, layout='constrained'
    )
    for axis, (load, rates) in zip(axes, latency.items(), strict=True):
        for number, name in enumerate((OURS, FIXED, *BY_HAND)):
            # Beside each other, so that the bars can be told apart
            x = [float(rate) * 1.06 ** (number - 1.5) for rate in rates]
            middle = [1e3 * figures[name]['50'] for figures in rates.values()]
            upper = [1e3 * figures[name]['99'] - m for figures, m in zip(rates.values(), middle)]  # noqa: B905
            axis.errorbar(
                x, middle, [[0] * len(x), upper], fmt=STYLES[name], color=COLOURS[name], label=name,
                markersize=5, elinewidth=1, capsize=2,
            )  # fmt: skip
        axis.set(xscale='log', yscale='log', title=load, xlabel='max_poll_rate (1/s)')
        axis.set_xticks([float(rate) for rate in rates], list(rates))
        axis.minorticks_off()
        axis.grid(alpha=0.3)
    axes[0].yaxis.set_major_formatter(lambda value, _: f'{value:g}')
    axes[0].set_ylabel('age of the newest sample (ms)')
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc='outside lower center', ncols=4, frameon=False)
    return figure


def _plot_cpu(pyplot, cpu: dict):
    figure, axis = pyplot.subplots(figsize=(7, 3.6), layout='constrained')
    names = [name for name in next(iter(cpu.values())) if name != LIMIT]
    for number, name in enumerate(names):
        here = [(x, row[name]['ratio']) for x, row in enumerate(cpu.values()) if name in row]
        x = [place + 0.2 * (number - (len(names) - 1) / 2) for place, _ in here]
        axis.bar(x, [ratio for _, ratio in here], 0.18, label=name, color=COLOURS[name])
    axis.axhline(1, color=COLOURS[LIMIT], linewidth=1, label=LIMIT)
    axis.set_xticks(range(len(cpu)), list(cpu))
    axis.set(xlabel='consumers', ylabel=f'CPU per gigabyte / {LIMIT}')
    figure.legend(loc='outside right upper', frameon=False)
    return figure


def _plot_consumers(pyplot, consumers: dict):
    figure, axis = pyplot.subplots(figsize=(5, 3.4), layout='constrained')
    counts = [int(count) for count in consumers['poll']]
    axis.plot(counts, [1e6 * seconds for seconds in consumers['poll'].values()], 'o-')
    axis.set(xlabel='consumers', ylabel='µs per poll', xlim=0, ylim=0)
    axis.set_xticks([1, 8, 16, 32, 64])
    axis.grid(alpha=0.3)
    return figure
