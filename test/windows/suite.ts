/** The tests on Windows, run by run.mjs on Node for Windows. */
import './credential-manager.ts';
import './locks.ts';
import './files.ts';
import './command.ts';
