#!/usr/bin/env node
import './closed-prototypes.ts';
import { main } from './main.ts';

// Whoever read our output has enough: that is how `| head` ends, and no failure of ours.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code === 'EPIPE') process.exit();
  throw error;
});

// The exit code is set, not forced: what is written to a pipe would be cut off by process.exit().
void main(process.argv.slice(2)).then((code) => {
  process.exitCode = code;
});
