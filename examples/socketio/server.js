// balancer --workers 4 --strategy sticky -- node server.js
const server = require('node:http').createServer((req, res) => {
  if (req.url === '/slow') setTimeout(() => res.end('a second later\n'), 1000);
  else res.end(`hello from worker ${process.env.WORKER_ID}\n`);
});
const io = new (require('socket.io').Server)(server);

io.on('connection', (socket) => socket.on('hello', (reply) => reply(process.env.WORKER_ID)));
server.listen(process.env.PORT, process.env.HOST, () => console.log('listening'));
process.on('SIGTERM', () => io.close(() => console.log('closed')));
