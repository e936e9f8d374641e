// Elements and words that all parts of the page use. Whatever the server says is
// set as text, never as markup.

const SVG = 'http://www.w3.org/2000/svg';

export const byId = (id) => document.getElementById(id);

/** An element with text, in a class. */
export function make(name, className, text) {
  const element = document.createElement(name);
  if (className) element.className = className;
  if (text !== undefined) element.textContent = text;
  return element;
}

/** An element of a drawing, with attributes. */
export function draw(name, attributes) {
  const element = document.createElementNS(SVG, name);
  for (const [attribute, value] of Object.entries(attributes)) element.setAttribute(attribute, value);
  return element;
}

/** Changes text only when it differs, so that nothing flickers and readers stay quiet. */
export function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

const grouped = new Intl.NumberFormat('en');

export const whole = (value) => grouped.format(value);

export const isNothing = (value) => value === null || value === undefined;

export const millis = (value) =>
  isNothing(value) ? '–' : `${value < 10 ? value.toFixed(1) : whole(Math.round(value))} ms`;

/** The two largest units, such as "3 h 12 min". */
export function duration(seconds) {
  const units = [[86400, 'd'], [3600, 'h'], [60, 'min'], [1, 's']];
  const first = units.findIndex(([size]) => seconds >= size);
  if (first < 0) return '0 s';
  const [size, name] = units[first];
  const large = `${Math.floor(seconds / size)} ${name}`;
  const next = units[first + 1];
  return next ? `${large} ${Math.floor((seconds % size) / next[0])} ${next[1]}` : large;
}
