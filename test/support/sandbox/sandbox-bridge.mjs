/*
 * The only way out of a sandbox's network namespace, and into it: sockets in a directory that both sides see (unix(7)
 * sockets with a path belong to no network namespace). `out-PORT`: a connection to 127.0.0.1:PORT inside reaches the
 * same port outside. `in-PORT`: the reverse, like a forwarded port.
 *
 * Inside: node sandbox-bridge.mjs DIRECTORY COMMAND … runs the command with these sockets.
 */

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync } from 'node:fs';
import net from 'node:net';
import { join } from 'node:path';

/**
 * Connects each incoming connection to the one that `open` returns.
 *
 * @param {() => net.Socket} open
 */
export function connecting(open) {
  return net.createServer((here) => {
    const there = open();
    for (const [one, other] of [
      [here, there],
      [there, here],
    ]) {
      one.on('error', () => other.destroy());
      one.pipe(other);
    }
  });
}

if (process.argv[1] !== undefined && import.meta.url === new URL(`file://${process.argv[1]}`).href) {
  const [directory, program, ...args] = process.argv.slice(2);
  for (const name of readdirSync(directory)) {
    const [way, port] = name.split('-');
    if (way !== 'out') continue;
    const server = connecting(() => net.connect(join(directory, name)));
    server.listen(Number(port), '127.0.0.1');
    await once(server, 'listening');
  }
  const forwarded = process.env.SANDBOX_FORWARDED_PORT;
  if (forwarded !== undefined) {
    const server = connecting(() => net.connect(Number(forwarded), '127.0.0.1'));
    server.listen(join(directory, `in-${forwarded}`));
    await once(server, 'listening');
  }
  // A terminal sends Ctrl-C to both processes.
  process.on('SIGINT', () => {});
  const child = spawn(program, args, { stdio: 'inherit' });
  const [code] = await once(child, 'exit');
  process.exit(code ?? 1);
}
