// A program that fails as a request asks for, byte for byte.
'use strict';
const net = require('node:net');

const head = (lines) => `HTTP/1.1 ${lines}\r\n\r\n`;
const routes = {
  '/close': (socket) => socket.destroy(),
  '/reset': (socket) => socket.resetAndDestroy(),
  '/die': () => process.kill(process.pid, 'SIGKILL'),
  '/slow': () => {},
  '/malformed': (socket) => socket.end(head('200 OK\r\nContent-Length: 5, 5') + 'hello'),
  '/cut': (socket) => {
    socket.write(`${head('200 OK\r\nContent-Length: 10')}body`);
    setTimeout(() => socket.destroy(), 50);
  },
  '/pause': (socket) => socket.write(`${head('200 OK\r\nContent-Length: 10')}body`),
  '/events': (socket) => {
    socket.write(`${head('200 OK\r\nContent-Type: text/event-stream')}data: 1\n\n`);
    setTimeout(() => socket.write('data: 2\n\n'), 1500);
  },
  '/tunnel': (socket) => socket.write(head('101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x')),
};

const server = net.createServer((socket) => {
  let seen = '';
  socket.on('error', () => {});
  socket.on('data', (bytes) => {
    seen += bytes;
    if (!seen.includes('\r\n\r\n')) return;
    const route = routes[seen.split(' ')[1]];
    seen = '';
    if (route) route(socket);
    else socket.write(`${head('200 OK\r\nContent-Length: 2')}ok`);
  });
});
process.on('SIGTERM', () => process.exit(0));
server.listen(Number(process.env.PORT), process.env.HOST);
