/*
 * Loaded before a program (--require). Writes every path that the program opens, lists or stats to the file
 * OPENED_FILES, one per line. Modules that Node itself loads are not recorded.
 */
const fs = require('node:fs');
const { resolve } = require('node:path');
const { fileURLToPath } = require('node:url');

const log = fs.openSync(process.env.OPENED_FILES, 'a');
const write = fs.writeSync;
const NAMES = [
  'access',
  'chmod',
  'copyFile',
  'cp',
  'lstat',
  'mkdir',
  'open',
  'opendir',
  'readdir',
  'readFile',
  'readlink',
];
NAMES.push(
  'realpath',
  'rename',
  'rm',
  'stat',
  'truncate',
  'unlink',
  'writeFile',
  'exists',
  'watch',
  'createReadStream',
);

for (const owner of [fs, fs.promises]) {
  for (const name of [...NAMES, ...NAMES.map((one) => `${one}Sync`)]) {
    const real = owner[name];
    if (typeof real !== 'function') continue;
    owner[name] = Object.assign(function (path, ...rest) {
      if (typeof path === 'string' || Buffer.isBuffer(path)) write(log, `${resolve(String(path))}\n`);
      else if (path instanceof URL) write(log, `${fileURLToPath(path)}\n`);
      return real.call(this, path, ...rest);
    }, real);
  }
}
require('node:module').syncBuiltinESMExports();
