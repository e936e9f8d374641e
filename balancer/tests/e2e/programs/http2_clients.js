// Clients that speak HTTP/2 with prior knowledge: each has one connection with ten requests
// at a time, and opens a new one when it is asked to leave. Ends with the end of its input,
// and prints how many requests were answered and what went wrong with others.
const http2 = require('http2');

const [url, clients, path] = process.argv.slice(2);
const result = { answered: 0, connections: 0, refused: 0, wrong: [] };
let isOver = false;

function request(session) {
  return new Promise((resolve) => {
    let status;
    let length = 0;
    const stream = session.request({ ':path': path });
    stream.on('response', (headers) => { status = headers[':status']; });
    stream.on('data', (data) => { length += data.length; });
    stream.on('error', (error) => {
      // The balancer says that it has not begun it, so that it may be sent again.
      const isRefused = stream.rstCode === http2.constants.NGHTTP2_REFUSED_STREAM;
      if (!isRefused) result.wrong.push(`${error.code}: ${error.message}`);
    });
    stream.on('close', () => {
      if (status === 200 && length > 0) result.answered += 1;
      else if (status !== undefined) result.wrong.push(`status ${status}, ${length} bytes`);
      resolve();
    });
    stream.end();
  });
}

async function client() {
  while (!isOver) {
    const session = http2.connect(url);
    result.connections += 1;
    let isLeaving = false;
    session.on('goaway', () => { isLeaving = true; });
    session.on('error', (error) => {
      isLeaving = true;
      if (error.code === 'ECONNREFUSED') result.refused += 1;
      else result.wrong.push(`connection: ${error.code}`);
    });
    session.on('close', () => { isLeaving = true; });
    await new Promise((resolve) => {
      session.on('connect', resolve);
      session.on('close', resolve);
    });
    const loops = Array.from({ length: 10 }, async () => {
      while (!isOver && !isLeaving && !session.closed && !session.destroyed) await request(session);
    });
    await Promise.all(loops);
    session.close();
    if (isLeaving) await new Promise((resolve) => { setTimeout(resolve, 20); });
  }
}

process.stdin.resume();
process.stdin.on('end', () => { isOver = true; });
Promise.all(Array.from({ length: Number(clients) }, client)).then(() => {
  process.stdout.write(JSON.stringify(result), () => process.exit(0));
});
