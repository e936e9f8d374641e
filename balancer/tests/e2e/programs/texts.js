// Somebody else's program: sends text in the form that the query of a request says.
'use strict';
const http = require('node:http');

const WORDS = ['balance', 'worker', '"id": 17,', 'x', '\n', 'ü'];

// The same for the same length, and neither random nor all alike.
function text(length) {
  let [seed, parts, size] = [length, [], 0];
  while (size < length) {
    seed = (seed * 1103515245 + 12345) % 2147483648;
    const word = Buffer.from(`${WORDS[(seed >> 8) % WORDS.length]} ${seed % 97}`);
    parts.push(word);
    size += word.length;
  }
  return Buffer.concat(parts).subarray(0, length);
}

const waiting = [];

http.createServer((request, answer) => {
  const { pathname, searchParams: query } = new URL(request.url, 'http://a');
  const body = text(Number(query.get('length') ?? 5000));
  answer.statusCode = Number(query.get('status') ?? 200);
  answer.setHeader('content-type', query.get('type') ?? 'text/plain; charset=utf-8');
  for (const [name, value] of query) if (name.startsWith('h-')) answer.setHeader(name.slice(2), value);
  switch (pathname) {
    case '/whole':
      answer.setHeader('content-length', body.length);
      answer.setHeader('etag', '"a"');
      answer.setHeader('accept-ranges', 'bytes');
      if ((request.headers['if-none-match'] ?? '').replace('W/', '') === '"a"') answer.statusCode = 304;
      if (request.headers.range) {
        answer.statusCode = 206;
        answer.setHeader('content-range', `bytes 0-${body.length - 1}/99999`);
      }
      return answer.end(request.method === 'HEAD' || answer.statusCode === 304 ? undefined : body);
    // In many parts, with pauses.
    case '/parts': {
      const size = Number(query.get('size') ?? 777);
      let at = 0;
      const more = () => {
        answer.write(body.subarray(at, at += size));
        return at < body.length ? setImmediate(more) : answer.end();
      };
      return more();
    }
    // A line, and the rest once somebody asks for it.
    case '/held':
      answer.write('first\n');
      return waiting.push(() => answer.end('last\n'));
    case '/go':
      waiting.splice(0).forEach((go) => go());
      return answer.end();
    case '/accepts':
      return answer.end(request.headers['accept-encoding']);
    // Ends in the middle of its response.
    case '/cut':
      if (query.has('known')) answer.setHeader('content-length', 2 * body.length);
      return answer.write(body, () => (query.has('exit') ? process.exit(3) : request.socket.destroy()));
    default:
      return answer.end('ok');
  }
}).listen(process.env.PORT, process.env.HOST);
