/**
 * One end of a TCP connection, for a process that runs as another user. `listen HOST` prints its port, then everything
 * it receives, and answers with a token. `ask PORT HOST PATH` prints the status of the answer. `leave PORT HOST PATH
 * how` sends the same request and at once closes (`fin`) or resets (`rst`) the connection. Ends when standard input
 * ends.
 */
import { connect, createServer } from 'node:net';

const [what, first, host, path, how] = process.argv.slice(2);
process.stdin.resume().on('end', () => process.exit());

if (what === 'listen') {
  const server = createServer((socket) => {
    socket.on('error', () => {});
    socket.on('data', (chunk) => {
      process.stdout.write(chunk);
      const body = '{"access_token":"theirs","token_type":"Bearer","expires_in":60}';
      socket.end(
        `HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: ${body.length}\r\n\r\n${body}`,
      );
    });
  });
  server.listen(0, first, () => process.stdout.write(`${server.address().port}\n`));
} else {
  const socket = connect(Number(first), host, () => {
    socket.write(`GET ${path} HTTP/1.1\r\nHost: localhost:${first}\r\n\r\n`, () => {
      if (what !== 'leave') return;
      if (how === 'rst') socket.resetAndDestroy();
      else socket.destroy();
      process.stdout.write('left\n');
    });
  });
  socket.on('data', (chunk) => process.stdout.write(`${String(chunk).slice(9, 12)}\n`));
  socket.on('error', () => {});
}
