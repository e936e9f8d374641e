// A realtime application: WebSocket-like tunnels on /up, event streams on /events, and
// requests that take ?ms= on /slow and for ever on /part, after a part of the answer. On the signals that are named in SAYS_GOODBYE it says so
// on each connection and writes a line; on SIGTERM it ends once they are all closed, unless
// DIES is set.
const http = require('http');

const open = new Set();
const server = http.createServer((request, response) => {
  const url = new URL(request.url, 'http://x');
  if (url.pathname === '/events') {
    response.writeHead(200, { 'Content-Type': 'text/event-stream' });
    response.write('data: hello\n\n');
    open.add(response);
    response.on('close', () => open.delete(response));
    return;
  }
  if (url.pathname === '/part') {
    response.writeHead(200, { 'Content-Length': 1000 });
    response.write('hello');
    return;
  }
  const ms = Number(url.searchParams.get('ms') || 0);
  setTimeout(() => response.end(String(process.pid)), ms);
});
server.on('upgrade', (request, socket) => {
  socket.write('HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\nhello');
  open.add(socket);
  socket.on('data', (data) => socket.write(data));
  socket.on('error', () => {});
  socket.on('end', () => socket.end());
  socket.on('close', () => open.delete(socket));
});
server.listen(process.env.PORT, process.env.HOST);

const goodbye = (process.env.SAYS_GOODBYE || '').split(',').filter(Boolean);
for (const signal of goodbye) {
  process.on(signal, () => {
    console.log(`${signal} with ${open.size} open`);
    for (const connection of open) connection.write('data: bye\n\n');
  });
}
if (!process.env.DIES) {
  process.on('SIGTERM', () => {
    console.log(`told to end with ${open.size} open`);
    server.close();
    const ends = setInterval(() => {
      if (open.size === 0) {
        console.log('ends in order');
        clearInterval(ends);
        process.exit(0);
      }
    }, 5);
  });
}
