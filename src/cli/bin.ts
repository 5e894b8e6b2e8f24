#!/usr/bin/env node
import './closed-prototypes.ts';
import { main } from './main.ts';

// Sets the exit code, since process.exit() would cut off output to a pipe.
void main(process.argv.slice(2)).then((code) => {
  process.exitCode = code;
});
