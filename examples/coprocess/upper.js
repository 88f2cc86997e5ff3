#!/usr/bin/env node
// A coprocess in Node: its words, then its input in capitals; status = how many words.
// Node cannot change descriptors 0 to 2 or its umask per call in one process, so it reads and writes what it opens.
'use strict';
const fs = require('fs');

function main(words, io) {
  if (words[0] === '--where') {
    io.out(`${process.cwd()} ${process.env.COLOUR || 'none'}\n`);
    return 0;
  }
  io.out(words.join(' ') + '\n');
  io.out(io.input().toString('latin1').replace(/[a-z]/g, (c) => c.toUpperCase()), 'latin1');
  io.err(`${words.length} words\n`);
  return words.length;
}

function writeAll(fd, data) {
  for (let at = 0; at < data.length; ) at += fs.writeSync(fd, data, at);
}

function streams(paths) {
  const fds = ['stdin', 'stdout', 'stderr'].map((name, fd) =>
    paths[name] === undefined ? fd : fs.openSync(paths[name], fd === 0 ? 'r' : 'a'));
  return {
    input: () => { try { return fs.readFileSync(fds[0]); } catch { return Buffer.alloc(0); } },
    out: (text, encoding) => writeAll(fds[1], Buffer.from(text, encoding)),
    err: (text) => writeAll(fds[2], Buffer.from(text)),
    close: () => fds.forEach((fd, number) => { if (fd !== number) fs.closeSync(fd); }),
  };
}

function setEnvironment(changes) {
  const before = { ...process.env };
  for (const [name, value] of Object.entries(changes || {})) {
    if (value === null) delete process.env[name]; else process.env[name] = value;
  }
  return before;
}

function invoke(request) {
  const here = process.cwd();
  const io = streams(request);
  const before = setEnvironment(request.env);
  const mask = process.umask(request.umask === undefined ? process.umask() : parseInt(request.umask, 8));
  try {
    if (request.cwd !== undefined) process.chdir(request.cwd);
    return main(request.argv.slice(1), io);
  } finally {
    process.umask(mask);
    process.chdir(here);
    setEnvironment(Object.fromEntries(Object.keys(process.env).filter((n) => !(n in before)).map((n) => [n, null])));
    setEnvironment(before);
    io.close();
  }
}

const fcli = {};
for (const name of ['VERSION', 'REQUEST_FIFO', 'RESPONSE_FIFO', 'CLIENT_PID', 'STREAMS', 'LOG']) {
  fcli[name] = process.env['FCLI_' + name];
  delete process.env['FCLI_' + name];
}
if (fcli.VERSION !== '1' || (fcli.CLIENT_PID && Number(fcli.CLIENT_PID) !== process.ppid)) {
  process.exitCode = main(process.argv.slice(2), streams({}));
} else {
  serve();
}

function letGo() {
  const log = fcli.LOG || '/dev/null';
  ['/dev/null', '/dev/null', log].forEach((path, fd) => {
    fs.closeSync(fd);  // the lowest number that is free comes next
    fs.openSync(path, fd === 0 ? 'r' : 'a');
  });
}

function serve() {
  const requests = fs.openSync(fcli.REQUEST_FIFO, 'r');
  const responses = fs.openSync(fcli.RESPONSE_FIFO, 'w');
  let announce = true;
  let rest = Buffer.alloc(0);
  const chunk = Buffer.alloc(65536);
  for (let size; (size = fs.readSync(requests, chunk)) > 0; ) {
    rest = Buffer.concat([rest, chunk.subarray(0, size)]);
    for (let end; (end = rest.indexOf(10)) >= 0; rest = rest.subarray(end + 1)) {
      const response = answer(rest.subarray(0, end).toString());
      if (announce) {
        announce = false;
        response.version = 1;
        response.features = ['cd', 'cwd', 'echo', 'env', 'flush', 'streams', 'umask', 'version'];
      }
      writeAll(responses, Buffer.from(JSON.stringify(response) + '\n'));
    }
  }

  function answer(line) {
    try {
      const request = JSON.parse(line);
      if (request.argv) {
        const status = invoke(request);
        if (fcli.STREAMS) { delete fcli.STREAMS; letGo(); }
        return { status: status & 255 };
      }
      if ('flush' in request) return { status: 0 };
      if ('version' in request) { announce = true; return { status: 0 }; }
      if ('echo' in request) return { status: 0, echo: request.echo };
      if ('cd' in request) { process.chdir(request.cd); return { status: 0 }; }
      if ('env' in request) { setEnvironment(request.env); return { status: 0 }; }
      return { status: 2, error: 'no request that is known' };
    } catch (error) {
      return { status: error instanceof SyntaxError ? 2 : 1, error: String(error.message) };
    }
  }
}
