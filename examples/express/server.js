// balancer --workers 4 -- node server.js
const app = require('express')();

app.get('/', (req, res) => res.send(`hello from worker ${process.env.WORKER_ID}\n`));
app.get('/slow', (req, res) => setTimeout(() => res.send('a second later\n'), 1000));

const server = app.listen(process.env.PORT, process.env.HOST, () => console.log('listening'));
process.on('SIGTERM', () => server.close(() => console.log('closed')));
