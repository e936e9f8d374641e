// The cluster at a glance: a number and a curve each.

import { markedEvents } from '/events.js';
import { byId, draw, isNothing, make, millis, say, whole } from '/text.js';

/** Samples that are kept, one a second; the balancer keeps as many. */
const KEPT = 300;
const HEIGHT = 30;
const MINUTES = 'in 5 min';

const samples = [];

const highest = (values, write) => (values.length ? `at most ${write(Math.max(...values))}` : '');
const altogether = (values) => `${whole(values.reduce((sum, value) => sum + value, 0))} ${MINUTES}`;

const figures = [
  { key: 'requests', label: 'Requests/s', write: whole, more: highest },
  { key: 'p50', label: 'Latency p50', write: millis, more: highest },
  { key: 'p95', label: 'Latency p95', write: millis, more: highest },
  { key: 'p99', label: 'Latency p99', write: millis, more: highest },
  { key: 'errors', label: 'Errors/s', write: whole, more: altogether },
  { key: 'inFlight', label: 'In flight', write: whole, more: highest },
];

for (const figure of figures) {
  const box = make('div');
  figure.value = make('dd', 'value', '–');
  figure.value.id = `figure-${figure.key}`;
  figure.note = make('dd', 'quiet note', '\u00a0');
  const picture = draw('svg', {
    class: 'spark', viewBox: `0 0 ${KEPT - 1} ${HEIGHT}`, preserveAspectRatio: 'none', 'aria-hidden': 'true',
  });
  figure.area = draw('path', { class: 'area' });
  figure.line = draw('path', { class: 'line' });
  figure.marks = { bad: draw('path', { class: 'mark bad' }), other: draw('path', { class: 'mark' }) };
  picture.append(figure.area, ...Object.values(figure.marks), figure.line);
  const holder = make('dd');
  holder.append(picture);
  box.append(make('dt', '', figure.label), figure.value, holder, figure.note);
  byId('figures').append(box);
}

/** Begins with what the balancer remembers. */
export function remember(history) {
  samples.splice(0, samples.length, ...history.slice(-KEPT));
  drawFigures();
}

/** Adds the newest second, which may come more than once. */
export function add(sample) {
  if (!sample || samples.at(-1)?.atMs === sample.atMs) return;
  samples.push(sample);
  if (samples.length > KEPT) samples.shift();
  drawFigures();
}

/** What each worker did in the last seconds, as a function from its id. */
export function lately() {
  const newest = samples.slice(-10);
  return (id) => newest.reduce((total, sample) => total + (sample.workers?.[id]?.requests ?? 0), 0);
}

function drawFigures() {
  const last = samples.at(-1);
  if (!last) return;
  const lines = { bad: '', other: '' };
  for (const { atMs, tone } of markedEvents()) {
    const x = KEPT - 1 - (last.atMs - atMs) / 1000;
    if (x >= 0) lines[tone === 'bad' ? 'bad' : 'other'] += `M${Math.min(x, KEPT - 1).toFixed(1)} 0V${HEIGHT}`;
  }
  for (const figure of figures) {
    say(figure.value, figure.write(last[figure.key]));
    const known = samples.map((sample) => sample[figure.key]).filter((value) => !isNothing(value));
    say(figure.note, figure.more(known, figure.write) || '\u00a0');
    for (const [tone, path] of Object.entries(figure.marks)) path.setAttribute('d', lines[tone]);
    drawCurve(figure, Math.max(...known, 1e-9));
  }
  byId('figures').classList.toggle('failing', last.errors > 0);
}

/** A curve with gaps where nothing was measured. */
function drawCurve({ key, line, area }, most) {
  const from = KEPT - samples.length;
  let [curve, ground, begun] = ['', '', null];
  const close = (x) => {
    if (begun !== null) ground += `L${x} ${HEIGHT}L${begun} ${HEIGHT}Z`;
    begun = null;
  };
  samples.forEach((sample, index) => {
    const [value, x] = [sample[key], from + index];
    if (isNothing(value)) {
      close(x - 1);
      return;
    }
    const y = (HEIGHT - 1 - ((HEIGHT - 2) * value) / most).toFixed(1);
    // A point that stands alone is drawn as a short stroke.
    curve += begun === null ? `M${x} ${y}h.5` : `L${x} ${y}`;
    ground += `${begun === null ? 'M' : 'L'}${x} ${y}`;
    begun ??= x;
  });
  close(KEPT - 1);
  line.setAttribute('d', curve);
  area.setAttribute('d', ground);
}
