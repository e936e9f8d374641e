// balancer --workers 4 -- node_modules/.bin/bun server.js
const server = Bun.serve({
  hostname: process.env.HOST,
  port: process.env.PORT,
  routes: {
    '/': () => new Response(`hello from worker ${process.env.WORKER_ID}\n`),
    '/slow': async () => (await Bun.sleep(1000), new Response('a second later\n')),
  },
});
console.log(`listening on ${server.url}`);
process.on('SIGTERM', async () => (await server.stop(), console.log('closed')));
