"""Plots of what was measured, by gnuplot, as SVG and PNG."""

import math

from . import common

TERMINALS = {".svg": "svg size {0},{1} dynamic background rgb 'white' font 'sans,11'",
             ".png": "pngcairo size {0},{1} font 'sans,9'"}
COLOURS = ["#1f5fa8", "#c8511b", "#4b8b3b", "#7a4fa0"]
# A panel of a plot that has several, and the room for what each line of bars needs, in pixels.
PANEL = 300, 230
LINE = 15
PANELS_BESIDE = 4


def _quoted(text):
    return '"' + str(text).replace("\\", "\\\\").replace('"', '\\"') + '"'


def _text(text):
    """What is drawn, where gnuplot takes an underscore for the begin of an index."""
    return _quoted(text.replace("_", "\\_"))


def _draw(path, size, lines):
    """Runs gnuplot for each kind of picture; returns the paths."""
    made = []
    for suffix, terminal in TERMINALS.items():
        out = path.with_name(path.name + suffix)
        script = path.with_name(path.name + ".gp")
        common.write_atomic(script, "\n".join([f"set terminal {terminal.format(*size)}", f"set output {_quoted(out)}",
                                               *lines, "unset output"]) + "\n")
        common.run(["gnuplot", script], path.with_name(path.name + ".log"), what=f"drawing {out.name}")
        made.append(out)
    script.unlink()
    path.with_name(path.name + ".log").unlink(missing_ok=True)
    return made


def ratios(path, title, rows, names):
    """Bars, of ratios to 1, on a logarithmic scale: rows are (label, one ratio for each name)."""
    values = [v for _, *found in rows for v in found if v]
    low, high = min([*values, 0.5]) * 0.9, max([*values, 2]) * 1.1
    lines = ["$data << end", *(f"{_text(label)} {' '.join(str(v or 'NaN') for v in found)}" for label, *found in rows), "end",
             f"set title {_text(title)}", "set logscale x 2", f"set xrange [{low:g}:{high:g}]",
             f"set yrange [{len(rows) - 0.3:g}:-0.7]", "set grid xtics", "set key outside bottom center horizontal",
             "set arrow 1 from 1, graph 0 to 1, graph 1 nohead lw 1.5", "set style fill solid 0.9 noborder",
             "set xtics (" + ", ".join(f"'1/{2 ** n}' 2**-{n}" for n in (8, 6, 4, 2, 1)) + ", '1' 1, '2' 2, '4' 4, '8' 8, '16' 16)",
             "low(v) = v < 1 ? v : 1", "high(v) = v < 1 ? 1 : v"]
    width = 0.8 / len(names)
    bars = []
    for i, name in enumerate(names):
        column, top = i + 2, -0.4 + i * width
        bars.append(f"$data using {column}:0:(low(${column})):(high(${column})):($0+{top:g}):($0+{top + width:g}):yticlabels(1)"
                    f" with boxxyerror lc rgb '{COLOURS[i]}' title {_text(name)}")
    return _draw(path, (900, 110 + LINE * len(rows)), [*lines, "plot " + ", \\\n     ".join(bars)])


def growth(path, title, panels):
    """A panel for each (title, {name: [(x, y), ...]}), with logarithmic scales, the axes of all the same lengths."""
    beside = min(PANELS_BESIDE, len(panels))
    above = math.ceil(len(panels) / beside)
    lines = ["set logscale xy", "set grid", "set key top left", "set format y '10^{%T}'",
             f"set multiplot layout {above},{beside} title {_text(title)}"]
    for i, (head, lists) in enumerate(panels):
        xs = sorted({x for points in lists.values() for x, _ in points})
        lines += [f"$data{i}_{k} << end\n" + "\n".join(f"{x} {y}" for x, y in points) + "\nend"
                  for k, points in enumerate(lists.values())]
        lines += [f"set title {_text(head)}", f"set xtics ({', '.join(f'{x}' for x in xs)})",
                  f"set xrange [{xs[0] * 0.8:g}:{xs[-1] * 1.25:g}]", "plot " + ", ".join(
                      f"$data{i}_{k} with linespoints pt 7 ps 0.5 lc rgb '{COLOURS[k]}' title {_text(name)}"
                      for k, name in enumerate(lists))]
    return _draw(path, (PANEL[0] * beside, PANEL[1] * above + 30), [*lines, "unset multiplot"])


def over_time(path, title, x, y, lists):
    """A line for each name, of points."""
    lines = ["set grid", "set key top right", "set yrange [0:*]", f"set title {_text(title)}", f"set xlabel {_text(x)}",
             f"set ylabel {_text(y)}", "set arrow 1 from 0, graph 0 to 0, graph 1 nohead dt 2"]
    lines += [f"$data{k} << end\n" + "\n".join(f"{a:g} {b:g}" for a, b in points) + "\nend"
              for k, points in enumerate(lists.values())]
    lines.append("plot " + ", ".join(f"$data{k} with linespoints pt 7 ps 0.5 lc rgb '{COLOURS[k]}' title {_text(name)}"
                                     for k, name in enumerate(lists)))
    return _draw(path, (900, 400), lines)
