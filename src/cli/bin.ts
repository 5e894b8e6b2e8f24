#!/usr/bin/env node
import './closed-prototypes.ts';
import { main } from './main.ts';

// The exit code is set, not forced: what is written to a pipe would be cut off by process.exit().
void main(process.argv.slice(2)).then((code) => {
  process.exitCode = code;
});
