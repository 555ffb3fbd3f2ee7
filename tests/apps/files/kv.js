// SPDX-License-Identifier: Apache-2.0
// A web server (express) that keeps what it is given in its memory: PUT and GET /kv/KEY; /boot is a number of this process.
const express = require('/srv/node_modules/express');
const boot = require('crypto').randomBytes(4).toString('hex');
const store = new Map();
const app = express();

app.use(express.text({ type: () => true }));
app.get('/boot', (q, r) => r.send(boot));
app.put('/kv/:key', (q, r) => { store.set(q.params.key, q.body); r.send(''); });
app.get('/kv/:key', (q, r) => store.has(q.params.key) ? r.send(store.get(q.params.key)) : r.sendStatus(404));
// libuv's thread pool and file system calls go on while the pod moves
setInterval(() => require('fs').readFile('/etc/passwd', () => {}), 10);
app.listen(8080, '0.0.0.0');
