/**
 * One end of a TCP connection, for a process that runs as another user: `listen HOST`, `client PORT HOST`, or
 * `leave PORT HOST how`, which sends a request and closes (`fin`) or resets (`rst`) at once. Says what it did on standard
 * output, and ends when standard input does.
 */
import { connect, createServer } from 'node:net';

const [what, first, host, how] = process.argv.slice(2);
process.stdin.resume().on('end', () => process.exit());

if (what === 'listen') {
  const server = createServer((socket) => {
    socket.on('error', () => {});
    // Marks a connection that somebody has accepted.
    socket.write('accepted\n');
  });
  server.listen(0, first, () => process.stdout.write(`${server.address().port}\n`));
} else {
  const socket = connect(Number(first), host, () => {
    socket.write('GET / HTTP/1.1\r\nHost: a\r\n\r\n', () => {
      if (what === 'leave' && how === 'rst') socket.resetAndDestroy();
      else if (what === 'leave') socket.destroy();
      process.stdout.write('sent\n');
    });
  });
  socket.on('error', () => {});
}
