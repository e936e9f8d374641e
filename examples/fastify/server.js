// balancer --workers 4 -- node server.js
const { setTimeout: sleep } = require('node:timers/promises');
const app = require('fastify')({ logger: true });

app.get('/', async () => `hello from worker ${process.env.WORKER_ID}\n`);
app.get('/slow', async () => (await sleep(1000), 'a second later\n'));

app.listen({ host: process.env.HOST, port: Number(process.env.PORT) });
process.on('SIGTERM', async () => (await app.close(), app.log.info('closed')));
