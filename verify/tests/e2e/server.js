// Node's own cluster with the two routes that tell workers apart.
const cluster = require('node:cluster');
const http = require('node:http');

if (cluster.isPrimary) {
  for (let i = 0; i < 3; i++) cluster.fork();
  let listening = 0;
  cluster.on('listening', (_, address) => {
    if (++listening === 3) console.log(address.port);
  });
} else {
  const worker = { id: cluster.worker.id, pid: process.pid, isPrimary: false, isWorker: true };
  let requestCount = 0;
  let localCount = 0;
  http
    .createServer((request, response) => {
      const answer = (status, body) => {
        response.writeHead(status, { 'content-type': 'application/json' });
        response.end(JSON.stringify(body));
      };
      requestCount++;
      if (request.url === '/cluster/info') answer(200, { worker, stats: { requestCount } });
      else if (request.url === '/cluster/local-state') {
        answer(200, { worker, requestCount: ++localCount });
      } else answer(404, { error: 'not found' });
    })
    .listen(0, '127.0.0.1');
  // Without its primary it has no reason to live.
  process.on('disconnect', () => process.exit(0));
}
