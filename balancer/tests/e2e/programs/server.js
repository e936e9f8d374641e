// Somebody else's program: listens on $PORT of $HOST, and does what a request
// or, as it starts, the file named by $MODE_FILE says.
'use strict';
const { appendFileSync, readFileSync, renameSync, writeFileSync } = require('node:fs');
const { spawn } = require('node:child_process');
const http = require('node:http');

const mode = process.env.MODE_FILE ? readFileSync(process.env.MODE_FILE, 'utf8').trim() : 'ok';
if (mode === 'exit') {
  console.error('a broken release');
  process.exit(1);
}
if (process.env.PORT_FILE) {
  writeFileSync(`${process.env.PORT_FILE}.new`, process.env.PORT);
  renameSync(`${process.env.PORT_FILE}.new`, process.env.PORT_FILE);
}
const kept = [];
const held = { now: 0, peak: 0, seen: [] };

const routes = {
  // Takes a body, and says how long it was.
  '/sink': (answer, query, request) => {
    let bytes = 0;
    request.on('data', (part) => { bytes += part.length; });
    request.on('end', () => answer.end(String(bytes)));
  },
  '/zeros': (answer, query) => {
    const part = Buffer.alloc(1 << 20);
    let left = Number(query.get('mb'));
    answer.setHeader('content-length', left * part.length);
    const more = () => {
      while (left-- > 0) if (!answer.write(part)) return answer.once('drain', more);
      answer.end();
    };
    more();
  },
  '/pid': (answer) => answer.end(String(process.pid)),
  '/mode': (answer) => answer.end(mode),
  '/env': (answer) => answer.end(JSON.stringify(process.env)),
  '/slow': (answer, query) => setTimeout(() => answer.end('slow'), Number(query.get('ms'))),
  // Knows how many of these there were at a time, and in which order they came.
  '/held': (answer, query) => {
    held.seen.push(query.get('name'));
    held.now += 1;
    held.peak = Math.max(held.peak, held.now);
    setTimeout(() => {
      held.now -= 1;
      answer.end('held');
    }, Number(query.get('ms')));
  },
  '/seen': (answer) => answer.end(JSON.stringify(held)),
  '/headers': (answer, _, request) => answer.end(JSON.stringify(request.headers)),
  '/exit': () => process.exit(Number(3)),
  '/busy': (answer) => {
    answer.end('busy from now on');
    answer.on('close', () => { for (;;); });
  },
  '/keep': (answer, query) => {
    kept.push(Buffer.alloc(Number(query.get('mb')) << 20, 1));
    answer.end('kept');
  },
  // Memory of a child, which takes it away with it.
  '/spike': (answer, query) => {
    const script = `b = Buffer.alloc(${Number(query.get('mb'))} << 20, 1); setTimeout(() => b.length, 3000)`;
    spawn(process.execPath, ['-e', script], { stdio: 'ignore' }).on('exit', () => answer.end('over'));
  },
  // A child in this process group, and one that leaves it.
  '/fork': (answer) => {
    const children = [false, true].map((detached) =>
      spawn('sh', ['-c', 'while :; do :; done'], { detached, stdio: 'ignore' }));
    answer.end(JSON.stringify(children.map((child) => child.pid)));
  },
  // Leaves orphans behind that end at once.
  '/orphans': (answer, query) => {
    const script = `i=0; while [ $i -lt ${Number(query.get('n'))} ]; do (sleep 0 &) ; i=$((i+1)); done`;
    spawn('sh', ['-c', script], { stdio: 'ignore' }).on('exit', (code) => answer.end(String(code)));
  },
  // An event stream without an end.
  '/stream': (answer) => {
    answer.setHeader('content-type', 'text/event-stream');
    answer.write('data: hello\n\n');
    const ticks = setInterval(() => answer.write('data: tick\n\n'), 50);
    answer.on('close', () => clearInterval(ticks));
  },
  '/print': (answer, query) => {
    process.stdout.write(query.get('text') ?? 'x'.repeat(Number(query.get('bytes'))) + '\n');
    answer.end('printed');
  },
  '/record-and-die': () => {
    appendFileSync(process.env.RECORD_FILE, 'x');
    process.kill(process.pid, 'SIGKILL');
  },
};

const server = http.createServer((request, answer) => {
  if (mode === '500') {
    answer.statusCode = 500;
    return answer.end('broken');
  }
  const url = new URL(request.url, 'http://program');
  const route = routes[url.pathname];
  if (route) return route(answer, url.searchParams, request);
  answer.statusCode = 404;
  answer.end('not here');
});
server.keepAliveTimeout = 75_000;
process.on('SIGTERM', () => server.close(() => process.exit(0)));
const listen = () => server.listen(Number(process.env.PORT), process.env.HOST);
if (mode === 'hang') {
  setInterval(() => {}, 1000);
} else {
  setTimeout(listen, mode === 'slow' ? 1500 : 0);
}
