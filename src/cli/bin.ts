#!/usr/bin/env node
import { main } from './main.ts';

// The exit code is set, not forced: what is written to a pipe would be cut off by process.exit().
process.exitCode = await main(process.argv.slice(2));
