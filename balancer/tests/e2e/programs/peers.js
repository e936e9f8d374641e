// What clients and workers do to one another: requests whose end is noted, a request that
// ends its worker, and connections that are kept for a short time. Notes one line of JSON
// for each thing in the file $NOTES.
const fs = require('node:fs');
const http = require('node:http');

const note = (what, url) =>
  fs.appendFileSync(process.env.NOTES, JSON.stringify({ what, url, pid: process.pid }) + '\n');

const server = http.createServer((request, response) => {
  const url = new URL(request.url, 'http://a');
  const after = Number(url.searchParams.get('ms') ?? 0);
  if (url.pathname === '/health') return response.end('ok');
  if (process.env.BARE) response.setHeader('Connection', 'keep-alive');
  note('begun', request.url);
  response.on('close', () => response.writableFinished || note('left', request.url));
  if (url.pathname === '/die') return process.exit(1);
  if (url.pathname === '/events') {
    response.writeHead(200, { 'Content-Type': 'text/event-stream' });
    const timer = setInterval(() => response.write('data: x\n\n'), 20);
    return response.on('close', () => clearInterval(timer));
  }
  request.resume().on('end', () => setTimeout(() => response.end('done'), after));
});
server.on('upgrade', (request, socket) => {
  note('begun', request.url);
  socket.write('HTTP/1.1 101 Switching Protocols\r\nUpgrade: test\r\nConnection: Upgrade\r\n\r\n');
  socket.on('error', () => {}).on('close', () => note('left', request.url));
  const last = new URL(request.url, 'http://a').searchParams.get('last');
  socket.resume().on('end', () => {
    note('ended', request.url);
    last ? setTimeout(() => socket.end('last words'), Number(last)) : socket.end();
  });
});
if (process.env.KEEP_MS) server.keepAliveTimeout = Number(process.env.KEEP_MS);
server.listen(process.env.PORT, process.env.HOST);
