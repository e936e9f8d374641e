// What there is to know beside workers and rates: how requests are divided, who waits, what
// has gone wrong, and certificates.

import { byId, duration, make, say, whole } from '/text.js';

/** From here on a certificate is bad news: the balancer warns of it as well. */
const SOON_SECONDS = 14 * 86400;

const rows = new Map();

/** The row of this name, which is made when it is first asked for. */
function row(name) {
  if (!rows.has(name)) {
    const box = make('div');
    const value = make('dd');
    box.append(make('dt', '', name), value);
    byId('conditions').append(box);
    rows.set(name, { box, value });
  }
  return rows.get(name);
}

function tell(name, words, isBad = false) {
  const { box, value } = row(name);
  box.hidden = words === null;
  say(value, words ?? '');
  value.className = isBad ? 'bad' : '';
}

export function drawConditions({ strategy, queue, faults, rejections, certificates }) {
  tell('Strategy', strategy);
  tell('Queue', queue && `${whole(queue.waiting)} waiting, ${whole(queue.maxConcurrency)} at a time for each worker`,
    queue?.waiting > 0);
  tell('Faults of workers', faultWords(faults), faults.length > 0);
  tell('Rejected', listed(rejections.map(({ reason, count }) => `${whole(count)} ${reason}`)), rejections.length > 0);
  const ends = certificates.map((one) => ({ ...one, left: one.notAfter - Date.now() / 1000 }));
  tell('Certificates', ends.length ? ends.map(certificateWords).join('\n') : null, ends.some(isBad));
}

const listed = (words) => (words.length ? words.join(', ') : 'none since the start');

function faultWords(faults) {
  return listed(faults.map(({ worker, fault, count }) => `${whole(count)} ${fault} at worker ${worker}`));
}

const certificateWords = ({ name, left }) =>
  left < 0 ? `${name}: expired ${duration(-left)} ago` : `${name}: expires in ${duration(left)}`;

/** Short-lived ones are renewed late: they are bad news in the last third of their life. */
const isBad = ({ notBefore, notAfter, left }) => left <= Math.min(SOON_SECONDS, (notAfter - notBefore) / 3);
